"""Content in WooCommerce: title, description, attributes, images and categories of a product. Pure.

Invariant: what the shop's people added stays: attributes and categories that did not come from here are sent along. The
metadata `<prefix>content` says what came from here; a product without it shows no content document.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from adapters.store.woocommerce.desk import Item, Record, Refused, decoded, metadata, shown
from adapters.store.woocommerce.setting import Setting
from daemon.drift import same
from daemon.model import Fields, Patch

UNCATEGORISED: Final = "uncategorized"
_LISTED: Final = ("attributes", "images", "categories")
_OWN: Final = frozenset({"sku", "locale", "title", "description_html", *_LISTED})


class ContentDesk:
    """Content of simple and variable products; a variation's is its parent's."""

    where = "products"
    fields = "id,sku,type,parent_id,meta_data,name,description,status,attributes,images,categories"

    def __init__(self, setting: Setting) -> None:
        self._locale = setting.locale
        self._key = f"{setting.prefix}content"
        self.categories: Mapping[str, Sequence[int]] = {}
        """The shop's categories by name and by path ("Tools > Hammers"); filled before `item` is asked."""
        self.attachments: Mapping[str, str] = {}
        """Attachments in the shop's media library by `image_name`, as far as they are known."""

    def name(self, id_: str) -> str:
        return id_.rpartition("|")[0]

    def item(self, patch: Patch, record: Record) -> Item:
        if patch.identity.get("locale") != self._locale:
            raise Refused(f"locale {patch.identity.get('locale')} is not the one that this shop shows ({self._locale})")
        if record.get("type") == "variation":
            raise Refused("a variation has no content of its own; give the document the SKU of its parent")
        before = self._ours(record)
        if patch.fields is None:
            return {"status": "draft", "meta_data": [{"key": self._key, "value": '{"unpublished":true}'}]}
        fields = patch.fields
        known = {name: fields.get(name) for name in (*_LISTED, *sorted(fields.keys() - _OWN)) if fields.get(name)}
        item: Item = {"meta_data": [{"key": self._key, "value": _json(known)}]}
        if before.get("unpublished"):
            item["status"] = "publish"
        if fields.get("title") is not None:
            item["name"] = fields["title"]
        if fields.get("description_html") is not None:
            item["description"] = fields["description_html"]
        all_of_it = not patch.changed or not before
        for name, make in (
            ("attributes", self._attributes),
            ("images", self._images),
            ("categories", self._categories),
        ):
            if (all_of_it or name in patch.changed) and (fields.get(name) or before.get(name)):
                item[name] = make(fields, before, record)
        return item

    def _attributes(self, fields: Fields, before: Mapping[str, Any], record: Record) -> list[Item]:
        wanted = {str(name).casefold(): (name, value) for name, value in (fields.get("attributes") or {}).items()}
        ours = {str(name).casefold() for name in before.get("attributes") or {}}
        sent: list[Item] = []
        for one in record.get("attributes") or []:
            name = str(one.get("name")).casefold()
            if name in wanted and one.get("variation"):
                raise Refused(f"attribute {one.get('name')} tells the variations apart; it cannot be set as content")
            if name in wanted:
                _, value = wanted.pop(name)
                sent.append({**one, "options": _options(value)})
            elif name not in ours or one.get("variation"):
                sent.append(dict(one))
        sent += [{"name": name, "visible": True, "options": _options(value)} for name, value in wanted.values()]
        return [{**one, "position": place} for place, one in enumerate(sent)]

    def _images(self, fields: Fields, _before: Mapping[str, Any], record: Record) -> list[Item]:
        there = {str(image.get("id")) for image in record.get("images") or []}
        sent: list[Item] = []
        for image in in_order(fields.get("images") or []):
            if not image.get("url"):
                raise Refused("an image has no url; WooCommerce fetches images itself, its API takes no bytes")
            attachment = self.attachments.get(image_name(record, image))
            one: Item = {"id": int(attachment)} if attachment in there else {"src": image["url"]}
            if image.get("alt"):
                one["alt"] = image["alt"]
            sent.append(one)
        return sent

    def _categories(self, fields: Fields, before: Mapping[str, Any], record: Record) -> list[Item]:
        ids = [self._category(name) for name in fields.get("categories") or []]
        ours = {each for name in before.get("categories") or [] for each in self.categories.get(name, ())}
        for one in record.get("categories") or []:
            if one["id"] not in ours and one["id"] not in ids and one.get("slug") != UNCATEGORISED:
                ids.append(one["id"])
        return [{"id": each} for each in ids]

    def categorised(self, record: Record) -> bool:
        """Whether a product has categories that came from here."""
        return bool(self._ours(record).get("categories"))

    def _category(self, name: str) -> int:
        found = self.categories.get(name, ())
        if len(found) != 1:
            what = "several categories" if found else "no category"
            raise Refused(f'the shop has {what} "{name}"; make it there, or name it by its path: "Tools > Hammers"')
        return found[0]

    def missed(self, item: Item, record: Record) -> str:
        if "images" in item and len(record.get("images") or []) != len(item["images"]):
            return f"the shop took the call and shows {len(record.get('images') or [])} images of {len(item['images'])}"
        if "categories" in item:
            have = {one.get("id") for one in record.get("categories") or []}
            if not {one["id"] for one in item["categories"]} <= have:
                return "the shop took the call and does not show all categories"
        return shown(item, record, "status")

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        ours = self._ours(record)
        if not ours and self._key not in metadata(record):
            return
        if ours.pop("unpublished", False):
            return
        fields: dict[str, Any] = {"sku": record["sku"], "locale": self._locale}
        fields["title"] = html.unescape(str(record.get("name")))
        fields["description_html"] = record.get("description")
        fields |= ours
        fields["attributes"] = _shown_attributes(ours.get("attributes") or {}, record)
        names = {html.unescape(str(one.get("name"))) for one in record.get("categories") or []}
        wanted = ours.get("categories") or []
        fields["categories"] = [name for name in wanted if name in names or name.rpartition(" > ")[2] in names]
        images = record.get("images") or []
        if ours.get("images") and len(images) != len(ours["images"]):
            fields["images"] = [{"url": image.get("src"), "position": n} for n, image in enumerate(images)]
        yield f"{record['sku']}|{self._locale}", fields

    def _ours(self, record: Record) -> dict[str, Any]:
        value = decoded(metadata(record).get(self._key))
        return dict(value) if isinstance(value, Mapping) else {}


def in_order(images: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Images by position; without one they stay as they are."""
    return sorted(images, key=lambda image: int(str(image.get("position") or 0)))


def image_name(record: Record, image: Mapping[str, Any]) -> str:
    """What an attachment is remembered by: the product that it hangs on, and where it came from."""
    return f"{record['id']} {image.get('url')}"


def categories_by_name(records: Sequence[Record]) -> dict[str, list[int]]:
    """Ids by name and, for one below another, by path. Several of one name are all listed."""
    by_id = {record["id"]: record for record in records}
    found: dict[str, list[int]] = {}
    for record in records:
        path, above = [html.unescape(str(record.get("name")))], by_id.get(record.get("parent"))
        while above is not None and len(path) < 20:
            path.insert(0, html.unescape(str(above.get("name"))))
            above = by_id.get(above.get("parent"))
        for name in {path[-1], " > ".join(path)}:
            found.setdefault(name, []).append(record["id"])
    return found


def _options(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [("yes" if each else "no") if isinstance(each, bool) else str(each) for each in values if each is not None]


def _shown_attributes(ours: Mapping[str, Any], record: Record) -> dict[str, Any]:
    have = {str(one.get("name")).casefold(): list(one.get("options") or []) for one in record.get("attributes") or []}
    shown_now: dict[str, Any] = {}
    for name, value in ours.items():
        options = have.get(name.casefold())
        if options is None:
            continue
        there = [html.unescape(str(option)) for option in options]
        shown_now[name] = value if same(there, _options(value)) else there if len(there) != 1 else there[0]
    return shown_now


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

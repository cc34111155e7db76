"""Content in Magento: title, description, text attributes and images of a product, for each store view.

Invariant: only the fields that came are written; what has no place (categories, attributes without a code, images without a
note) is refused, never dropped. A product is saved by its SKU in the body, since a slash in an address does not reach Magento.
Its gallery is brought in order first, so that a note never speaks of images that are not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from adapters.store import album
from adapters.store.magento.api import Api, Record, Refusal
from adapters.store.magento.gallery import Gallery, digest_of, lead, shown
from daemon.drift import same
from daemon.model import Fields, Patch

_KNOWN: Final = frozenset({"sku", "locale", "title", "description_html", "attributes"})


class Contents:
    """Products by `sku|locale`; each locale is a store view, by the API of its own address."""

    def __init__(self, views: Mapping[str, Api], *, codes: Mapping[str, str], note: str, gallery: Gallery) -> None:
        """`note`: code of the text attribute that keeps what a document said of its images; "" for none."""
        self._views, self._codes, self._note, self._gallery = views, codes, note, gallery

    async def find(self, names: Iterable[str]) -> dict[str, Record]:
        """The products of these documents, as their store view shows them."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            sku, _, locale = name.rpartition("|")
            wanted.setdefault(locale, []).append(sku)
        found: dict[str, Record] = {}
        for locale, skus in wanted.items():
            if locale not in self._views:
                continue
            for product in await self._views[locale].found("products", "sku", skus):
                found[f"{product.get('sku')}|{locale}"] = await self._with_gallery({**product, "locale": locale})
        return found

    async def write(self, product: Record, patch: Patch) -> None:
        """Save one product. Raises Refusal and StoreError."""
        if patch.fields is None:
            raise Refusal('content is not taken off a product; set missing = "keep"')
        fields = patch.fields
        known = _KNOWN | {"images"} if self._note else _KNOWN
        more = sorted(name for name in fields.keys() - known if fields[name] not in (None, False, [], {}))
        attributes = fields.get("attributes") or {}
        more += sorted(f"attribute {name}" for name in attributes if name not in self._codes)
        if more:
            raise Refusal(
                f"Magento gets no {', '.join(more)} from here; leave it out, or name it in options.attributes (images: a note "
                "in options.content_note)"
            )
        values = {self._codes[name]: _text(name, value) for name, value in attributes.items()}
        if not patch.changed or "attributes" in patch.changed:
            gone = {code: "" for name, code in self._codes.items() if name not in attributes}
            values = {**gone, **values} if _codes_of(product) & gone.keys() else values
        if fields.get("description_html") is not None:
            values["description"] = str(fields["description_html"])
        if self._note:
            values |= await self._images(product, fields)
        body: dict[str, Any] = {"sku": product["sku"]}
        if fields.get("title") is not None:
            body["name"] = fields["title"]
        body["custom_attributes"] = [{"attribute_code": code, "value": value} for code, value in sorted(values.items())]
        view = self._views[str(product["locale"])]
        answer = await view.write("products", {"product": body, "saveOptions": True})
        if not isinstance(answer, dict) or answer.get("sku") != product["sku"]:
            raise view.transport.wrong_shape("the product that was saved")
        if "name" in body and not same(answer.get("name"), body["name"]):
            raise Refusal(f"the shop took the call and shows the title {str(answer.get('name'))[:80]!r}")
        if self._note in values and _values(answer).get(self._note) != values[self._note]:
            text = f"the shop took the call and does not show the attribute {self._note}; is it in the product's attribute set?"
            raise Refusal(text)

    async def _images(self, product: Record, fields: Fields) -> dict[str, str]:
        """Bring the gallery to what a document says; the attributes that say so. Raises Refusal and StoreError."""
        locale, sku = str(product["locale"]), str(product["sku"])
        images: Sequence[album.Image] = fields.get("images") or []
        before = self._noted(product)
        if not images and not before:
            return {}
        if any(album.position(image) is None for image in images):
            raise Refusal("a `position` in `images` is no number")
        # texts of images come from the first locale: the gallery has one for all views
        texts = locale == next(iter(self._views))
        hashes, entries = await self._gallery.show(sku, images, album.addresses(before), texts)
        gone = {digest for _, digest in album.noted(before)} - set(hashes)
        await self._gallery.drop(sku, entries, gone - (await self._elsewhere(sku, locale) if gone else set()))
        entries = await self._gallery.entries(sku)
        wanted = list(dict.fromkeys(digest for _, digest in album.by_position(zip(images, hashes, strict=True))))
        there = [digest for digest in shown(entries) if digest in wanted]
        if there != wanted or (wanted and shown([lead(entries)]) != wanted[:1]):
            raise Refusal(f"the shop took the calls and shows {len(there)} images of {len(wanted)}, or another order")
        said = {"images": images, "hashes": hashes, "locale": locale}
        return {self._note: orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode() if images else ""}

    async def _elsewhere(self, sku: str, locale: str) -> set[str]:
        """The images of a product in the other locales."""
        found: set[str] = set()
        for other in self._views.keys() - {locale}:
            for product in await self._views[other].found("products", "sku", [sku]):
                if product.get("sku") == sku:
                    found |= {digest for _, digest in album.noted(self._noted({**product, "locale": other}))}
        return found

    def _noted(self, product: Record) -> dict[str, Any]:
        """What a locale's document said of its images; a view without a note of its own shows that of all views."""
        try:
            said = orjson.loads(str(_values(product).get(self._note) or "{}"))
        except ValueError:
            return {}
        return said if isinstance(said, dict) and said.get("locale") == product.get("locale") else {}

    async def _with_gallery(self, product: Record) -> Record:
        """A product with its gallery, which some versions of Magento leave out of a search."""
        if not self._noted(product) or "media_gallery_entries" in product:
            return product
        return {**product, "media_gallery_entries": await self._gallery.entries(str(product["sku"]))}

    async def everything(self) -> AsyncIterator[Record]:
        for locale, view in self._views.items():
            async for product in view.search("products", []):
                yield await self._with_gallery({**product, "locale": locale})

    def documents(self, products: Iterable[Record]) -> list[tuple[str, Fields]]:
        """What the store views show."""
        found: list[tuple[str, Fields]] = []
        for product in products:
            values = _values(product)
            attributes = {
                name: values[code] for name, code in self._codes.items() if values.get(code) not in (None, "")
            }
            fields = {"sku": product.get("sku"), "locale": product["locale"], "title": product.get("name")}
            fields |= {"description_html": values.get("description"), "attributes": attributes}
            if self._note:
                fields["images"] = self._shown_images(product)
            found.append((f"{product.get('sku')}|{product['locale']}", fields))
        return found

    def _shown_images(self, product: Record) -> list[Any]:
        said, entries = self._noted(product), product.get("media_gallery_entries") or []
        there = shown(entries)
        labels = {digest_of(entry): str(entry.get("label") or "") for entry in entries}
        texts = product["locale"] == next(iter(self._views))
        images = [
            image if not texts or str(image.get("alt") or "") == labels[digest] else {**image, "alt": labels[digest]}
            for image, digest in album.shown(said, there)
        ]
        first = lead(entries)
        if images and (not first or shown([first]) != there[:1]):
            images.insert(0, {"url": first.get("file")})  # somebody made another one the product's image, or none
        return images


def _values(product: Record) -> dict[str, Any]:
    listed = [one for one in product.get("custom_attributes") or [] if isinstance(one, Mapping)]
    return {str(one.get("attribute_code")): one.get("value") for one in listed}


def _codes_of(product: Record) -> set[str]:
    return {code for code, value in _values(product).items() if value not in (None, "")}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refusal(f"attribute {name} is neither text nor a number")
    return str(value)

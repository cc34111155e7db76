"""What a product of Vendure's is to become for a content document, and what it shows of one. Pure.

Invariant: texts, custom fields and images that did not come from here stay. The product's note says, for each language, which
images and attributes did; what has no place in the shop is refused, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.store import album
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.values import Unfit, Unmapped, note, noted, to_field
from daemon.drift import same
from daemon.model import Fields

Product = Mapping[str, Any]
"""A product as the shop shows it."""
TEXTS: Final = {"title": "name", "description_html": "description", "slug": "slug"}
"""Field of a document -> field of a translation."""
_KNOWN: Final = frozenset({"sku", "locale", "attributes", "images", *TEXTS})
_UNPUBLISHED: Final = "unpublished"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a product is to show. What is None or left out stays as it is."""

    language: str
    texts: Mapping[str, str] = field(default_factory=dict)
    born: Mapping[str, str] = field(default_factory=dict)
    """What a translation needs when it is made, and keeps as the shop has it."""
    localised: Mapping[str, Any] = field(default_factory=dict)
    """Custom fields of the translation."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Custom fields of the product, its note among them."""
    assets: Sequence[str] | None = None
    """The first is the featured one."""
    enabled: bool | None = None

    def input(self, id_: str) -> dict[str, Any]:
        """The mutation's input."""
        given: dict[str, Any] = {"id": id_, "customFields": dict(self.fields)}
        if self.texts or self.born or self.localised:
            translation: dict[str, Any] = {"languageCode": self.language, **self.born, **self.texts}
            if self.localised:
                translation["customFields"] = dict(self.localised)
            given["translations"] = [translation]
        if self.assets is not None:
            given["assetIds"] = list(self.assets)
            if self.assets:
                given["featuredAssetId"] = self.assets[0]
        if self.enabled is not None:
            given["enabled"] = self.enabled
        return given

    def missed(self, product: Product) -> str:
        """What the product does not show; "" when all is there."""
        shown = translation(product, self.language) or {}
        if self.born and not shown:
            return f"no text in {self.language}"
        for name, value in self.texts.items():
            if shown.get(name) != value:
                return f"{name} {str(shown.get(name))[:60]!r} in {self.language}"
        for held, values in ((shown.get("customFields") or {}, self.localised), (product["customFields"], self.fields)):
            for name, value in values.items():
                if held.get(name) != value:
                    return f"another value in the custom field {name}"
        if self.assets is not None:
            ids = [str(asset["id"]) for asset in product.get("assets") or ()]
            if ids != list(self.assets):
                return f"{len(ids)} images, not these {len(self.assets)} in this order"
            if self.assets and featured(product) != self.assets[0]:
                return "another featured image"
        if self.enabled is not None and product.get("enabled") is not self.enabled:
            return f"enabled {product.get('enabled')}"
        return ""


class Pages:
    """The rules of one shop. `kinds`: custom field of Product -> type; `hashes`: asset -> the images it is."""

    def __init__(
        self,
        setting: Setting,
        language: str,
        kinds: Mapping[str, str],
        hashes: Callable[[Mapping[str, Any]], set[str]],
    ) -> None:
        self._setting = setting
        self._default = language
        self._kinds = kinds
        self._hashes = hashes

    def language(self, locale: str) -> str:
        """Raises Unmapped."""
        code = self._setting.locales.get(locale)
        if code is None:
            raise Unmapped(f"no language of the shop is meant by the locale {locale}; name it in options.locales")
        return code or self._default

    def known(self, product: Product) -> dict[str, str]:
        """Address -> hash of the images that came from here."""
        found: dict[str, str] = {}
        for kept in self._kept(product).values():
            found |= album.addresses(kept)
        return found

    # -- writing

    def gone(self, product: Product, language: str) -> Wanted | None:
        """What remains when a document goes; None when the shop has nothing of it."""
        kept = self._kept(product)
        if kept.pop(language, None) is None:
            return None
        if kept:
            return Wanted(language, fields={self._setting.product_note: note(kept)})
        return Wanted(language, fields={self._setting.product_note: note({_UNPUBLISHED: True})}, enabled=False)

    def wanted(
        self, product: Product, language: str, fields: Fields, hashes: Sequence[str], ids: Sequence[str]
    ) -> Wanted:
        """What a document makes of a product. `hashes`: of each of its images as they are listed; `ids`: the assets that
        they are, by position. Raises Unfit."""
        kept = self._kept(product)
        before = kept.get(language, {})
        texts, born = self._texts(product, language, fields)
        localised, own = self._attributes(before, fields)
        now = {
            "images": fields.get("images"),
            "hashes": hashes,
            "attributes": fields.get("attributes"),
            "nulls": [name for name in ("attributes", *TEXTS) if name in fields and fields[name] is None],
        }
        kept[language] = {name: value for name, value in now.items() if value}
        return Wanted(
            language,
            texts,
            born,
            localised,
            {**own, self._setting.product_note: note(kept)},
            self._assets(product, before, kept, hashes, ids),
            enabled=True if noted(product, self._setting.product_note).get(_UNPUBLISHED) else None,
        )

    def check(self, fields: Fields) -> None:
        """Raises Unfit for a document that has no place in the shop."""
        lost = sorted(name for name in fields.keys() - _KNOWN if fields[name] not in (None, [], {}))
        lost += sorted(
            f"attribute {name}" for name in (fields.get("attributes") or {}).keys() - self._setting.attributes
        )
        if lost:
            remedy = (
                'name attributes in options.attributes, leave the rest out, or make it the store\'s: owner = "store"'
            )
            raise Unfit(f"{', '.join(lost)}: no place in Vendure; {remedy}")
        for name in TEXTS:
            if not isinstance(fields.get(name), str | None):
                raise Unfit(f"`{name}` is no text")
        if any(album.position(image) is None for image in fields.get("images") or ()):
            raise Unfit("a `position` in `images` is no number")

    def _texts(self, product: Product, language: str, fields: Fields) -> tuple[dict[str, str], dict[str, str]]:
        texts = {place: fields[name] for name, place in TEXTS.items() if fields.get(name) is not None}
        if "description_html" in fields:
            texts.setdefault("description", "")
        if translation(product, language) is not None:
            return texts, {}
        if not texts.get("name"):
            raise Unfit(f"`title` is missing, and the product has no text in {language} yet")
        return texts, {"slug": texts["name"], "description": ""}

    def _attributes(self, before: Mapping[str, Any], fields: Fields) -> tuple[dict[str, Any], dict[str, Any]]:
        given = fields.get("attributes") or {}
        places = self._setting.attributes
        values: dict[str, Any] = {places[name]: None for name in before.get("attributes") or {} if name in places}
        values |= {places[name]: to_field(value, name, self._kinds[places[name]]) for name, value in given.items()}
        localised = {place: value for place, value in values.items() if self._kinds[place].startswith("locale")}
        return localised, {place: value for place, value in values.items() if place not in localised}

    def _assets(
        self,
        product: Product,
        before: Mapping[str, Any],
        kept: Mapping[str, Mapping[str, Any]],
        hashes: Sequence[str],
        ids: Sequence[str],
    ) -> list[str] | None:
        """All assets that the product is to have, ours first; images of other languages and other people's stay."""
        if not hashes and not before.get("hashes"):
            return None
        elsewhere = {digest for other in kept.values() for digest in other.get("hashes") or ()}
        went = set(before.get("hashes") or ()) - elsewhere
        stay = [
            str(asset["id"]) for asset in product.get("assets") or () if not self._hashes(asset) & (went | set(hashes))
        ]
        return [*ids, *(each for each in stay if each not in ids)]

    # -- reading

    def documents(self, product: Product, name: str) -> Iterator[tuple[str, Fields]]:
        """The documents that a product shows, by their ids."""
        kept = self._kept(product)
        firsts = {album.by_position(images)[0][1] for each in kept.values() if (images := album.noted(each))}
        for locale in self._setting.locales:
            language = self.language(locale)
            texts = translation(product, language)
            if texts is None or language not in kept:
                continue
            ours = kept[language]
            nulls = ours.get("nulls") or ()
            fields: dict[str, Any] = {"sku": name, "locale": locale}
            for field_, place in TEXTS.items():
                # a null leaves a title and a slug to the shop, and empties a description
                leaves = field_ in nulls and (place != "description" or not texts.get(place))
                fields[field_] = None if leaves else texts.get(place)
            attributes = self._shown_attributes(product, texts, ours)
            fields["attributes"] = None if "attributes" in nulls and not attributes else attributes
            fields["images"] = self._shown_images(product, ours, firsts)
            yield f"{name}|{locale}", fields

    def _shown_attributes(self, product: Product, texts: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, said in (ours.get("attributes") or {}).items():
            place = self._setting.attributes.get(name, "")
            kind = self._kinds.get(place, "")
            held = ((texts if kind.startswith("locale") else product).get("customFields") or {}).get(place)
            try:
                is_there = same(held, to_field(said, name, kind))
            except Unfit:
                is_there = False
            shown[name] = said if is_there else held
        return shown

    def _shown_images(self, product: Product, ours: Mapping[str, Any], firsts: set[str]) -> list[Any]:
        assets = list(product.get("assets") or ())
        there = [digest for asset in assets for digest in sorted(self._hashes(asset))]
        shown: list[Any] = [image for image, _ in album.shown(ours, there)]
        lead: Mapping[str, Any] = next((asset for asset in assets if str(asset["id"]) == featured(product)), {})
        if shown and not self._hashes(lead) & firsts:
            shown.insert(0, {"url": lead.get("preview")})  # somebody featured another one, or none
        return shown

    def _kept(self, product: Product) -> dict[str, dict[str, Any]]:
        """The note: language -> what came from here. What people made of it counts as far as it has a note's form."""
        said = noted(product, self._setting.product_note)
        forms = {"images": list, "hashes": list, "attributes": dict, "nulls": list}
        return {
            language: {name: kept[name] for name, form in forms.items() if isinstance(kept.get(name), form)}
            for language, kept in said.items()
            if isinstance(kept, dict)
        }


def translation(product: Product, language: str) -> Mapping[str, Any] | None:
    """A product's texts in one language."""
    for one in product.get("translations") or ():
        if one["languageCode"] == language:
            return dict(one)
    return None


def featured(product: Product) -> str:
    """The id of the featured asset; "" for none."""
    return str((product.get("featuredAsset") or {}).get("id") or "")

"""Content in Vendure: texts of a product by language, custom fields, and images as assets.

Invariant: a product is read before it is written, and counts as written only when the answer to the write shows all of it.
Images are in the shop before a product names them; an asset that the shop does not know is dropped by it without a word, so
the answer is looked at for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from adapters.store.album import Image
from adapters.store.loan import Pictures
from adapters.store.lookups import split
from adapters.store.vendure.assets import Assets, Gallery
from adapters.store.vendure.product import Pages, Product
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.shop import PAGE, Refused, Shop, portions
from adapters.store.vendure.values import Unfit, Unmapped, in_order
from adapters.store.vendure.wire import REJECTED, UNMAPPED, UNSENDABLE
from daemon.model import Fields, Outcome, Patch

_FETCHED: Final = 50
_BY_SKU: Final = "sku"


class Contents:
    """Content documents, `sku|locale`."""

    def __init__(self, shop: Shop, setting: Setting, pictures: Pictures) -> None:
        self._shop = shop
        self._setting = setting
        self._assets = Assets(shop, setting, pictures)

    async def check(self) -> None:
        """Raises StoreError when the shop lacks a custom field of the options, or one that several languages share."""
        shop, setting = self._shop, self._setting
        setup = await shop.setup()
        shop.note_field(setup, "Product", setting.product_note)
        if setting.product != _BY_SKU:
            shop.field_type(setup, "Product", setting.product)
        for name, place in setting.attributes.items():
            kind = shop.field_type(setup, "Product", place)
            if len(setting.locales) > 1 and not kind.startswith("locale"):
                hint = f'Declare it as localeString or localeText, or leave {name} out: owner = "store".'
                raise shop.misfit(f"has one value in all languages in the custom field {place} of Product", hint)

    async def _pages(self) -> tuple[Pages, str]:
        """The rules, and what to read of a product."""
        shop, setting = self._shop, self._setting
        setup = await shop.setup()
        kinds = {place: shop.field_type(setup, "Product", place) for place in setting.attributes.values()}
        localised = sorted(place for place, kind in kinds.items() if kind.startswith("locale"))
        own = {setting.product_note} | (kinds.keys() - set(localised)) | ({setting.product} - {_BY_SKU})
        texts = f"customFields {{ {' '.join(localised)} }}" if localised else ""
        selection = f"""id enabled featuredAsset {{ id }} assets {{ id preview tags {{ value }} }}
          translations {{ languageCode name slug description {texts} }}
          customFields {{ {" ".join(sorted(own))} }} variantList(options: {{ take: 2 }}) {{ totalItems items {{ sku }} }}"""
        return Pages(setting, setup.language, kinds, self._assets.hashes), selection

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write each product, one after the other."""
        pages, selection = await self._pages()
        found = await self._products(selection, [str(patch.identity["sku"]) for patch in patches])
        there = await self._assets.known(_images(patches))
        unsure: set[str] = set()

        async def write(patch: Patch) -> Outcome | None:
            name = str(patch.identity["sku"])
            if name in unsure:  # another language's call failed, and may have written all the same
                found.update(await self._products(selection, [name]))
            unsure.add(name)
            try:
                language = pages.language(str(patch.identity["locale"]))
                if patch.fields is not None:
                    pages.check(patch.fields)
                product = self._only(name, found)
                found[name] = [await self._write(pages, selection, product, language, patch, there)]
            except Unfit as unfit:
                raise Refused(str(unfit), UNMAPPED if isinstance(unfit, Unmapped) else UNSENDABLE) from None
            unsure.discard(name)
            return None

        return await self._shop.singly(patches, write)

    async def send_files(self, patches: Sequence[Patch]) -> None:
        """Images that the shop lacks. Raises StoreError."""
        if images := _images(patches):
            await self._assets.send(images)

    async def _write(
        self, pages: Pages, selection: str, product: Product, language: str, patch: Patch, there: dict[str, str]
    ) -> Product:
        """The product as it is then. Raises Refused, Unfit and StoreError."""
        shop = self._shop
        if patch.fields is None:
            wanted = pages.gone(product, language)
        else:
            images = patch.fields.get("images") or []
            gallery = (
                await self._assets.gallery(images, pages.known(product), there) if images else Gallery((), (), False)
            )
            if gallery.uploaded:  # that took its time
                name = str(patch.identity["sku"])
                product = self._only(name, await self._products(selection, [name]))
            wanted = pages.wanted(product, language, patch.fields, gallery.hashes, gallery.ids)
        if wanted is None or not wanted.missed(product):
            return product
        query = (
            f"""mutation Content($input: UpdateProductInput!) {{ updateProduct(input: $input) {{ {selection} }} }}"""
        )
        variables = {"input": wanted.input(str(product["id"]))}
        data = await shop.wire.ask(query, variables, self._setting.channel)
        shown: Product = shop.wire.part(data, "updateProduct", dict)
        if missed := wanted.missed(shown):
            raise Refused(f"the shop took the call and shows {missed}", REJECTED)
        return shown

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Products as documents, of those that the ERP has spoken of."""
        pages, selection = await self._pages()
        wanted = set(ids)
        names = {parts[0] for id_ in ids if (parts := split(id_, 2))}
        found = await self._products(selection, sorted(names))
        shown: dict[str, Fields] = {}
        for name in sorted(names):
            try:
                product = self._only(name, found)
            except Refused:
                continue
            shown.update((id_, fields) for id_, fields in pages.documents(product, name) if id_ in wanted)
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All products that the ERP has spoken of."""
        _, selection = await self._pages()
        query = f"""query Products($skip: Int!, $take: Int!) {{
          products(options: {{ skip: $skip, take: $take, sort: {{ id: ASC }},
            filter: {{ {self._setting.product_note}: {{ isNull: false }} }} }}) {{ items {{ {selection} }} }} }}"""
        names: set[str] = set()
        skip = 0
        while True:
            variables = {"skip": skip, "take": PAGE}
            page = await self._shop.items(query, variables, "products", self._setting.channel)
            names.update(filter(None, map(self._name, page)))
            skip += len(page)
            if len(page) < PAGE:
                break
        for some in in_order(names, _FETCHED):
            shown = await self.fetch([f"{name}|{locale}" for name in some for locale in self._setting.locales])
            for id_ in sorted(shown):
                yield id_, shown[id_]

    async def _products(self, selection: str, names: Iterable[str]) -> dict[str, list[Product]]:
        """The products that each name of the ERP's means: none, one, or too many."""
        shop, place, channel = self._shop, self._setting.product, self._setting.channel
        found: dict[str, list[Product]] = {}
        if place == _BY_SKU:
            variants = await shop.variants(names, f"product {{ {selection} }}", channel)
            return {sku: [shop.wire.part(one, "product", dict) for one in alike] for sku, alike in variants.items()}
        query = f"""query Products($names: [String!]!, $take: Int!) {{
          products(options: {{ take: $take, filter: {{ {place}: {{ in: $names }} }} }}) {{ items {{ {selection} }} }} }}"""
        for some in portions(names):
            for product in await shop.items(query, {"names": some, "take": PAGE}, "products", channel):
                found.setdefault(self._name(product), []).append(product)
        return found

    def _name(self, product: Product) -> str:
        """The ERP's name of a product; "" for none, and for one whose SKU would be one of several."""
        place = self._setting.product
        if place != _BY_SKU:
            return str((product.get("customFields") or {}).get(place) or "")
        variants = self._shop.wire.part(product, "variantList", dict)
        return str(variants["items"][0].get("sku") or "") if variants["totalItems"] == 1 else ""

    def _only(self, name: str, found: Mapping[str, Sequence[Product]]) -> Product:
        """The one product that is meant. Raises Refused."""
        products = found.get(name, [])
        by = "a variant with the SKU" if self._setting.product == _BY_SKU else f"a product with {self._setting.product}"
        if not products:
            raise Refused(f"the shop does not have {by} {name}", UNMAPPED)
        ids = ", ".join(str(product["id"]) for product in products)
        if len(products) > 1:
            raise Refused(f"more than one product (ids {ids}) has {by} {name}; which one is meant?", UNMAPPED)
        if self._setting.product == _BY_SKU and self._name(products[0]) != name:
            what = f"the product {ids} of the SKU {name} has several variants, and content is the product's"
            raise Refused(f"{what}; name a custom field of Product in options.product", UNMAPPED)
        return products[0]


def _images(patches: Iterable[Patch]) -> list[Image]:
    return [image for patch in patches for image in (patch.fields or {}).get("images") or ()]

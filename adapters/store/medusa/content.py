"""Content in Medusa: texts, images and categories of a product; all else that a document says in one metadata.

Invariant: a product is read and named as the document names it in the same call; categories that others set stay. The metadata
says what came from here: a product without it shows no content document, and with `unpublished` it was taken down by us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from adapters.store.http import LEFT_OUT, REJECTED
from adapters.store.loan import Memory, Pictures
from adapters.store.lookups import split
from adapters.store.medusa.api import Record
from adapters.store.medusa.finder import metadata
from adapters.store.medusa.images import Images, in_order
from adapters.store.medusa.setting import Setting
from adapters.store.medusa.shop import Shop, only
from adapters.store.medusa.values import Refused
from daemon.drift import same
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Outcome, Patch, Status

SIZE: Final = 200
"""Products of a page: they have long texts."""
_TEXTS: Final = {"title": "title", "description_html": "description", "handle": "handle", "subtitle": "subtitle"}
"""Field of a document -> field of a product."""
_EMPTY: Final = ("description", "subtitle")
"""What a product may have none of."""
_FIELDS: Final = (
    "id,title,description,handle,subtitle,external_id,status,metadata,"
    "variants.id,variants.sku,images.id,images.url,images.rank,categories.id"
)
_URLS: Final = "shop_images"
"""Key in the metadata: the addresses that the images have in the shop."""
_UNPUBLISHED: Final = "unpublished"


class Content:
    """Content documents, `sku|locale`."""

    def __init__(self, shop: Shop, setting: Setting, memory: Memory, pictures: Pictures) -> None:
        self._shop = shop
        self._setting = setting
        self._key = f"{setting.prefix}content"
        self._images = Images(shop.api, memory, pictures)

    async def check(self) -> None:
        """Nothing that the options name has to be in the shop."""

    # -- writing

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write products, all in one transaction of the shop's. Images that are bytes are uploaded before."""
        found = await self._products({str(patch.identity["sku"]) for patch in patches})
        named = any((patch.fields or {}).get("categories") for patch in patches)
        earlier = any(self._ours(each).get("categories") for alike in found.values() for each in alike)
        categories = await self._shop.categories() if named or earlier else {}
        outcomes: list[Outcome] = []
        rows: dict[str, tuple[Patch, dict[str, Any]]] = {}
        for patch in patches:
            try:
                product = self._only(str(patch.identity["sku"]), found)
                row = await self._row(patch, product, categories)
                if product["id"] in rows:
                    raise Refused(f"another document of this call is about the product {product['id']} too")  # noqa: TRY301 one place for every refusal
                rows[product["id"]] = patch, row
            except Refused as refused:
                outcomes.append(refused.outcome(patch))
            except StoreError as error:
                if error.where == self._shop.api.transport.where:
                    raise  # the shop is at fault, and not the image
                status = Status.REJECTED if error.retry is Retry.NEVER else Status.RETRY
                outcomes.append(Outcome(patch.id, status, error.message, error.code))
        if rows:
            body = {"update": [row for _, row in rows.values()]}
            answer = await self._shop.api.post("products/batch", body, _FIELDS)
            shown = {record["id"]: record for record in self._shop.api.records(answer, "updated")}
            outcomes += [self._outcome(patch, row, shown.get(id_)) for id_, (patch, row) in rows.items()]
        return outcomes

    async def send_files(self, patches: Sequence[Patch]) -> None:
        """Images without an address of their own. Raises StoreError when the shop takes none."""
        for patch in patches:
            for image in (patch.fields or {}).get("images") or ():
                try:
                    await self._images.url(image)
                except StoreError as error:
                    if error.where == self._shop.api.transport.where:
                        raise

    async def _row(self, patch: Patch, product: Record, categories: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The product to write. Raises Refused, and StoreError for an image."""
        if patch.identity.get("locale") != self._setting.locale:
            text = f"locale {patch.identity.get('locale')} is not the one that this shop shows ({self._setting.locale})"
            raise Refused(text)
        before = self._ours(product)
        if patch.fields is None:
            return {"id": product["id"], "status": "draft", "metadata": {self._key: {_UNPUBLISHED: True}}}
        fields = patch.fields
        row: dict[str, Any] = {"id": product["id"]}
        texts = {place: fields[name] for name, place in _TEXTS.items() if name in fields}
        row |= {place: text for place, text in texts.items() if text is not None or place in _EMPTY}
        if before.get(_UNPUBLISHED):
            row["status"] = "published"
        # a field that is sent once only is absent later, and stays; one that the document lost is among the changed ones
        said = {name: of for name, of in before.items() if name not in patch.changed and name != _UNPUBLISHED}
        said |= {name: value for name, value in fields.items() if name not in (*_TEXTS, "sku", "locale")}
        if fields.get("images") or ("images" in fields and before.get(_URLS)):
            urls = [await self._images.url(image) for image in in_order(fields["images"] or [])]
            held = {image.get("url"): image["id"] for image in reversed(product.get("images") or [])}
            # an id once: of several alike the others are made
            row["images"] = [{"url": url, **({"id": held.pop(url)} if url in held else {})} for url in urls]
            row["thumbnail"] = urls[0] if urls else None
            said[_URLS] = urls
        if fields.get("categories") or ("categories" in fields and before.get("categories")):
            row["categories"] = self._categories(fields["categories"] or [], before, product, categories)
        row["metadata"] = {self._key: said}
        return row

    @staticmethod
    def _categories(
        names: Sequence[str], before: Mapping[str, Any], product: Record, known: Mapping[str, Sequence[str]]
    ) -> list[dict[str, str]]:
        """Ours by name, and those that others set. Raises Refused."""
        ids: list[str] = []
        for name in names:
            found = known.get(name, ())
            if len(found) != 1:
                what = "several categories" if found else "no category"
                raise Refused(f'the shop has {what} "{name}"; make it there, or name it by its path: "Tools > Hammers"')
            ids.append(found[0])
        ours = {id_ for name in before.get("categories") or () for id_ in known.get(name, ())}
        ids += [each["id"] for each in product.get("categories") or () if each["id"] not in ours]
        return [{"id": id_} for id_ in dict.fromkeys(ids)]

    def _outcome(self, patch: Patch, row: Mapping[str, Any], product: Record | None) -> Outcome:
        if product is None:
            return Outcome(patch.id, Status.RETRY, "not in the answer", LEFT_OUT)
        missed = [name for name in (*_TEXTS.values(), "status") if name in row and row[name] != product.get(name)]
        if "images" in row and [image["url"] for image in row["images"]] != _urls(product):
            missed.append("images")
        there = {each.get("id") for each in product.get("categories") or ()}
        if not {each["id"] for each in row.get("categories", ())} <= there:
            missed.append("categories")
        if not same(metadata(product).get(self._key), row["metadata"][self._key]):
            missed.append(f"the metadata {self._key}")
        if not missed:
            return Outcome(patch.id, Status.OK)
        return Outcome(
            patch.id, Status.REJECTED, f"the shop took the call and does not show {', '.join(missed)}", REJECTED
        )

    # -- reading

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Products as documents."""
        names = {parts[0] for id_ in ids if (parts := split(id_, 2)) and parts[1] == self._setting.locale}
        found = await self._products(names)
        shown: dict[str, Fields] = {}
        for name in names:
            try:
                product = self._only(name, found)
            except Refused:
                continue
            if fields := self._document(name, product, await self._known(product)):
                shown[f"{name}|{self._setting.locale}"] = fields
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All products whose content came from here."""
        shown: dict[str, Fields] = {}
        async for page in self._shop.api.pages("products", "products", _FIELDS, size=SIZE):
            for product in page:
                for name in self._names(product):
                    if fields := self._document(name, product, await self._known(product)):
                        shown[f"{name}|{self._setting.locale}"] = fields
        for id_ in sorted(shown):
            yield id_, shown[id_]

    async def _known(self, product: Record) -> Mapping[str, Sequence[str]]:
        return await self._shop.categories() if self._ours(product).get("categories") else {}

    def _document(self, name: str, product: Record, known: Mapping[str, Sequence[str]]) -> Fields | None:
        said = self._ours(product)
        if self._key not in metadata(product) or said.get(_UNPUBLISHED):
            return None
        fields: dict[str, Any] = {"sku": name, "locale": self._setting.locale}
        fields |= {field: product.get(place) for field, place in _TEXTS.items()} | said
        urls = fields.pop(_URLS, None)
        if urls is not None and urls != _urls(product):
            fields["images"] = [{"url": url, "position": n} for n, url in enumerate(_urls(product))]
        there = {each.get("id") for each in product.get("categories") or ()}
        if said.get("categories"):
            fields["categories"] = [name for name in said["categories"] if there.intersection(known.get(name, ()))]
        return fields

    def _ours(self, product: Record) -> dict[str, Any]:
        value = metadata(product).get(self._key)
        return dict(value) if isinstance(value, Mapping) else {}

    # -- finding

    async def _products(self, names: set[str]) -> dict[str, list[Record]]:
        """The products of each name: by the SKU of a variant, or by a field of the product."""
        api, by = self._shop.api, self._setting.product
        found: dict[str, list[Record]] = {}
        if by != "sku":
            for product in await api.named("products", "products", _FIELDS, by, names):
                found.setdefault(str(product.get(by)), []).append(product)
            return found
        variants = await self._shop.variants(names, "product_id")
        ids = {str(variant["product_id"]) for alike in variants.values() for variant in alike}
        products = {each["id"]: each for each in await api.named("products", "products", _FIELDS, "id", ids)}
        for name, alike in variants.items():
            found[name] = [products[str(each["product_id"])] for each in alike if str(each["product_id"]) in products]
        return found

    def _only(self, name: str, found: Mapping[str, list[Record]]) -> Record:
        """The one product of a name. Raises Refused."""
        by = self._setting.product
        if by == "sku":
            product = only(name, found)
            if len(product.get("variants") or ()) > 1:
                text = f"{name} is one of several variants, and content is the product's"
                raise Refused(f'{text}; name products by options.product = "external_id" or "handle"')
            return product
        products = found.get(name, [])
        if len(products) != 1:
            ids = ", ".join(sorted(str(product["id"]) for product in products)[:5])
            raise Refused(
                f"the shop has {f'several products ({ids})' if products else 'no product'} with the {by} {name}"
            )
        return products[0]

    def _names(self, product: Record) -> list[str]:
        by = self._setting.product
        if by == "sku":
            skus = [variant.get("sku") for variant in product.get("variants") or ()]
            return [str(skus[0])] if len(skus) == 1 and skus[0] else []
        return [str(product[by])] if product.get(by) else []


def _urls(product: Record) -> list[Any]:
    images = sorted(product.get("images") or [], key=lambda image: int(image.get("rank") or 0))
    return [image.get("url") for image in images]

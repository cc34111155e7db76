"""What an adapter has to know of a Medusa before it writes: currencies, stock locations, price lists, variants by SKU.

Invariant: a SKU is looked up before each write, so an id never outlives a rename. What the shop's set-up says is at most a
minute old. Medusa itself takes a location or currency that does not exist, so both are checked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from adapters.store.medusa.api import Api, Record
from adapters.store.medusa.values import Refused
from adapters.store.turns import Turns
from daemon.errors import Retry, StoreError

MISFIT: Final = "E-STORE-MISFIT"
"""The shop lacks what the options of its adapter name."""
NO_PRODUCT: Final = "prod_erpsyncd"
"""An id that no product has."""
_DEPTH: Final = 20
_FRESH_S: Final = 60.0

T = TypeVar("T")


class Shop:
    """The shop as the adapter's parts ask for it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.turns = Turns()
        self._known: dict[str, tuple[float, Any]] = {}
        self._apart = False

    def forget(self) -> None:
        """Ask for the set-up anew next time."""
        self._known.clear()

    async def currencies(self) -> Mapping[str, bool]:
        """Currencies that the shop sells in, in lower case -> whether their prices include tax."""
        return await self._fresh("currencies", self._currencies)

    async def _currencies(self) -> dict[str, bool]:
        stores = await self.api.all("stores", "stores", "id,supported_currencies.currency_code")
        if not stores:
            raise self.api.transport.wrong_shape("a store")
        taxed = {
            str(each.get("value")).lower(): each.get("is_tax_inclusive") is True
            for each in await self.api.all(
                "price-preferences", "price_preferences", "id,attribute,value,is_tax_inclusive"
            )
            if each.get("attribute") == "currency_code"
        }
        codes = [one.get("currency_code") for store in stores for one in store.get("supported_currencies") or ()]
        return {str(code).lower(): taxed.get(str(code).lower(), False) for code in codes}

    async def locations(self) -> Mapping[str, str]:
        """Stock locations by id and name."""
        return await self._fresh("locations", lambda: self._by_name("stock-locations", "stock_locations", "name"))

    async def price_lists(self) -> Mapping[str, str]:
        """Price lists by id and title."""
        return await self._fresh("price_lists", lambda: self._by_name("price-lists", "price_lists", "title"))

    async def _by_name(self, path: str, name: str, field: str) -> dict[str, str]:
        """Ids by id and by name; a name that two have leads nowhere."""
        found: dict[str, str] = {}
        records = await self.api.all(path, name, f"id,{field}")
        for record in records:
            text = str(record.get(field))
            found[text] = "" if text in found else record["id"]
        return found | {record["id"]: record["id"] for record in records}

    async def categories(self) -> Mapping[str, Sequence[str]]:
        """Product categories by name and, for one below another, by path ("Tools > Hammers"): the ids of all that have it."""
        return await self._fresh("categories", self._categories)

    async def _categories(self) -> dict[str, list[str]]:
        records = await self.api.all("product-categories", "product_categories", "id,name,parent_category_id")
        by_id = {record["id"]: record for record in records}
        found: dict[str, list[str]] = {}
        for record in records:
            path, above = [str(record.get("name"))], by_id.get(record.get("parent_category_id"))
            while above is not None and len(path) < _DEPTH:
                path.insert(0, str(above.get("name")))
                above = by_id.get(above.get("parent_category_id"))
            for name in {path[-1], " > ".join(path)}:
                found.setdefault(name, []).append(record["id"])
        return found

    async def _fresh(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is not None and now - known[0] < _FRESH_S:
            held: T = known[1]
            return held
        value = await ask()
        self._known[name] = now, value
        return value

    def misfit(self, text: str, hint: str) -> StoreError:
        """The error for options that name what the shop does not have."""
        return self.api.transport.error(MISFIT, Retry.OPERATOR, text, hint)

    async def variants(self, skus: Iterable[str], fields: str) -> dict[str, list[Record]]:
        """The variants of each SKU: none, one, or too many."""
        found: dict[str, list[Record]] = {}
        for variant in await self.api.named("product-variants", "variants", f"id,sku,product_id,{fields}", "sku", skus):
            found.setdefault(str(variant.get("sku")), []).append(variant)
        return found

    async def update(self, rows: Sequence[Mapping[str, Any]], fields: str) -> dict[str, Record]:
        """Write variants, each row with its `id` and `product_id`; what the answer shows of each, by id.

        Medusa finds a variant by its own id and has no use for the product in the address, so variants of many products fit
        into one call. A product that cannot exist is named there: a Medusa that did look at it would refuse the call, having
        written nothing, and each product gets a call of its own from then on.
        """
        if not rows:
            return {}
        if not self._apart:
            try:
                return await self._update(NO_PRODUCT, rows, fields)
            except StoreError as error:
                if NO_PRODUCT not in error.message:
                    raise
                self._apart = True
        products: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            products.setdefault(str(row["product_id"]), []).append(row)
        shown: dict[str, Record] = {}
        for product in sorted(products):
            shown |= await self._update(product, products[product], fields)
        return shown

    async def _update(self, product: str, rows: Sequence[Mapping[str, Any]], fields: str) -> dict[str, Record]:
        bare = [{name: value for name, value in row.items() if name != "product_id"} for row in rows]
        answer = await self.api.post(f"products/{product}/variants/batch", {"update": bare}, f"id,sku,{fields}")
        return {record["id"]: record for record in self.api.records(answer, "updated")}


def only(sku: str, found: Mapping[str, list[Record]]) -> Record:
    """The one variant of a SKU. Raises Refused."""
    variants = found.get(sku, [])
    if not variants:
        raise Refused(f"the shop has no variant with the SKU {sku}")
    if len(variants) > 1:
        ids = ", ".join(sorted(str(variant["id"]) for variant in variants))
        raise Refused(f"the SKU {sku} is on {len(variants)} variants (ids {ids}); which one is meant?")
    return variants[0]

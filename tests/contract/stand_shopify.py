"""The `shopify` adapter before a shop that executes the Admin API's schema.

Invariant: as in stand.py. The ordinary price is one of a price list, since a variant's own price cannot be absent; the own
price has its laws in tests/unit/test_shopify.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles.shopify import ShopifyShop

LOCATION = "gid://shopify/Location/71"
LIST = "gid://shopify/PriceList/72"


class ShopifyStand(Stand):
    """A shop with one location and one price list."""

    adapter = "shopify"
    options: ClassVar[Mapping[str, Any]] = {"locations": {"default": LOCATION}, "price_lists": {"default": LIST}}
    server: ShopifyShop

    def __init__(self) -> None:
        super().__init__(ShopifyShop(token=TOKEN))
        self.server.add_list(LIST, "EUR")

    def make(self, count: int) -> None:
        known = {variant.sku for variant in self.server.variants.values()}
        for number in range(count):
            if self.sku(number) not in known:
                self.server.add(self.sku(number))

    def shown(self, entity: str) -> Mapping[str, Fields]:
        variants = self.server.variants
        if entity == "price":
            _, prices = self.server.lists[LIST]
            return {
                f"{variants[n].sku}|default|EUR|1": {
                    "sku": variants[n].sku, "price_list": "default", "currency": "EUR", "min_quantity": 1,
                    "amount": price.amount,
                }
                for n, price in prices.items()
            }  # fmt: skip
        return {
            f"{variant.sku}|default": {
                "sku": variant.sku, "location": "default", "available": variant.levels[LOCATION]["available"]
            }
            for variant in variants.values()
            if LOCATION in variant.levels
        }  # fmt: skip

    def tamper(self, patch: Patch) -> None:
        self.server.by_sku(patch.identity["sku"]).levels[LOCATION]["available"] = 999

    def refuse(self, patch: Patch) -> None:
        self.server.by_sku(patch.identity["sku"]).mutable = False

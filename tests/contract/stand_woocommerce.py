"""The stand of `woocommerce`: simple products and variations in turn, two variations to a parent.

Invariant: what is shown comes from the double's records alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles.woocommerce import WooShop


class WooStand(Stand):
    """WooCommerce: articles 0, 1, ... in turn a simple product and a variation, two variations to a parent."""

    adapter = "woocommerce"
    options: ClassVar[Mapping[str, Any]] = {"consumer_key": "ck_shop", "currency": "EUR"}
    server: WooShop

    def __init__(self) -> None:
        self._parents: list[int] = []
        super().__init__(WooShop(token=TOKEN))

    def make(self, count: int) -> None:
        have = {product["sku"] for product in self.server.products.values()}
        for number in range(count):
            sku = self.sku(number)
            if sku in have:
                continue
            if number % 2 == 0:
                self.server.product(sku)
                continue
            if number % 4 == 1 or not self._parents:
                self._parents.append(self.server.product(f"PARENT-{number:04}", kind="variable")["id"])
            self.server.product(sku, kind="variation", parent=self._parents[-1])

    def shown(self, entity: str) -> Mapping[str, Fields]:
        found: dict[str, Fields] = {}
        for product in self.server.products.values():
            sku = product["sku"]
            if entity == "stock" and product["manage_stock"]:
                found[f"{sku}|default"] = {
                    "sku": sku, "location": "default", "available": product["stock_quantity"]
                }  # fmt: skip
            if entity == "price" and product["regular_price"]:
                own = {"sku": sku, "price_list": "default", "currency": "EUR", "min_quantity": 1}
                found[f"{sku}|default|EUR|1"] = {**own, "amount": product["sale_price"] or product["regular_price"]}
        return found

    def tamper(self, patch: Patch) -> None:
        self.server.by_sku(patch.identity["sku"])["stock_quantity"] = 999

    def refuse(self, patch: Patch) -> None:
        self.server.refused.add(self.server.by_sku(patch.identity["sku"])["id"])

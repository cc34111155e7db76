"""The stand of `magento`.

Invariant: what is shown comes from the double's own state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles.magento import MagentoShop


class MagentoStand(Stand):
    """Magento: a base price cannot be removed, a source item can."""

    adapter = "magento"
    options: ClassVar[Mapping[str, Any]] = {"currency": "EUR"}
    removes = "stock"
    server: MagentoShop

    def __init__(self) -> None:
        super().__init__(MagentoShop(token=TOKEN))

    def make(self, count: int) -> None:
        self.server.products.update(self.sku(number) for number in range(count))

    def shown(self, entity: str) -> Mapping[str, Fields]:
        if entity == "stock":
            return {
                f"{sku}|default": {"sku": sku, "location": "default", "available": row["quantity"]}
                for (sku, _), row in self.server.stock.items()
            }
        own = {"price_list": "default", "currency": "EUR", "min_quantity": 1}
        return {
            f"{sku}|default|EUR|1": {"sku": sku, **own, "amount": price} for (sku, _), price in self.server.base.items()
        }

    def tamper(self, patch: Patch) -> None:
        self.server.stock[patch.identity["sku"], "default"]["quantity"] = 999

    def refuse(self, patch: Patch) -> None:
        self.server.refused.add(patch.identity["sku"])

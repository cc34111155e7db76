"""The `vendure` adapter before a Vendure whose channel sells in USD; the documents are in EUR.

Invariant: as in stand.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles.vendure import Vendure


class VendureStand(Stand):
    """Vendure."""

    adapter = "vendure"
    server: Vendure

    def __init__(self) -> None:
        super().__init__(Vendure(token=TOKEN), "/admin-api")

    def make(self, count: int) -> None:
        held = {variant["sku"] for variant in self.server.variants.values()}
        for number in range(count):
            if self.sku(number) not in held:
                self.server.variant(self.sku(number))

    def shown(self, entity: str) -> Mapping[str, Fields]:
        found: dict[str, Fields] = {}
        for variant in self.server.variants.values():
            sku = variant["sku"]
            if entity == "stock":
                for on_hand, allocated in variant["levels"].values():
                    found[f"{sku}|default"] = {"sku": sku, "location": "default", "available": on_hand - allocated}
                continue
            for code, price in variant["prices"][""].items():
                amount = f"{price // 100}.{price % 100:02}"
                identity = {"sku": sku, "price_list": "default", "currency": code, "min_quantity": 1}
                found["|".join(map(str, identity.values()))] = {**identity, "amount": amount}
        return found

    def tamper(self, patch: Patch) -> None:
        self.server.of(patch.identity["sku"])["levels"]["1"] = (999, 0)

    def refuse(self, patch: Patch) -> None:
        self.server.poisoned.add(patch.identity["sku"])

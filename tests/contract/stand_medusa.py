"""The `medusa` adapter before a Medusa with one stock location that sells in EUR.

Invariant: as in stand.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles.medusa import Medusa


class MedusaStand(Stand):
    """Medusa."""

    adapter = "medusa"
    server: Medusa

    def __init__(self) -> None:
        super().__init__(Medusa(token=TOKEN))

    def make(self, count: int) -> None:
        held = {variant["sku"] for variant in self.server.variants.values()}
        for number in range(count):
            if self.sku(number) not in held:
                self.server.variant(self.sku(number))

    def shown(self, entity: str) -> Mapping[str, Fields]:
        found: dict[str, Fields] = {}
        for variant in self.server.variants.values():
            sku = variant["sku"]
            level = self.server.levels.get((variant["items"][0][0], "sloc_1"))
            if entity == "stock" and level:
                number = level["stocked_quantity"] - level["reserved_quantity"]
                found[f"{sku}|default"] = {"sku": sku, "location": "default", "available": number}
            for row in variant["prices"] if entity == "price" else ():
                assert not row["rules"]
                assert row["min_quantity"] is None
                code, amount = row["currency_code"].upper(), row["amount"]
                identity = {"sku": sku, "price_list": "default", "currency": code, "min_quantity": 1}
                found["|".join(map(str, identity.values()))] = {**identity, "amount": str(amount)}
        return found

    def tamper(self, patch: Patch) -> None:
        self.server.level(patch.identity["sku"], 999)

    def refuse(self, patch: Patch) -> None:
        self.server.poisoned.add(self.server.of(patch.identity["sku"])["items"][0][0])

"""The `http` adapter before a shop of its protocol.

Invariant: as in stand.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.store.base import Store
from daemon.model import Fields, Patch
from tests.contract.stand import TOKEN, Stand
from tests.doubles import faults
from tests.doubles.shop import Shop


class HttpStand(Stand):
    """The open protocol."""

    adapter = "http"
    server: Shop

    def __init__(self) -> None:
        super().__init__(Shop(token=TOKEN), "/api")

    def another(self, **change: Any) -> Store:
        return super().another(**{"url": self.server.url, **change})

    def make(self, count: int) -> None:
        """The protocol's documents are made by writing them."""

    def shown(self, entity: str) -> Mapping[str, Fields]:
        return self.server.documents(entity)

    def tamper(self, patch: Patch) -> None:
        self.server.put("stock", patch.id, {**patch.identity, "available": 999})

    def refuse(self, patch: Patch) -> None:
        self.server.inject(faults.Reject({patch.id}, error="no such article"))

    def unknown(self) -> Patch | None:
        return None

"""What the contract suite needs of a storefront adapter: the adapter before a double of its storefront.

Invariant: a stand says what the double holds from the double's own state, never by asking the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import adapters.store
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from daemon.model import Fields, Limits, Patch
from tests.doubles.server import Server

TOKEN = "t0ken/with+odd=signs"
AT = 1_700_000_000_123_456


class Stand:
    """One adapter before one double. The suite speaks of articles by their number: 0, 1, 2, ..."""

    adapter: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    """`[store.<name>.options]` that the adapter needs."""
    location: ClassVar[str] = "default"
    """Location of the stock documents."""
    removes: ClassVar[str | None] = "price"
    """The entity on which removal is tried; None where the store can remove nothing."""

    def __init__(self, server: Server, path: str = "") -> None:
        self.server = server
        self.path = path
        self.memory = ShortMemory()
        self.store = self.another()

    # -- what a subclass says

    def make(self, count: int) -> None:
        """Let the store have `count` articles that show no stock and no price of ours yet."""
        raise NotImplementedError

    def shown(self, entity: str) -> Mapping[str, Fields]:
        """What a shopper is shown of "stock" or "price": documents by id, as `Patch.fields` would say it."""
        raise NotImplementedError

    def tamper(self, patch: Patch) -> None:
        """Somebody changes the stock of this document's article to 999 by hand."""
        raise NotImplementedError

    def refuse(self, patch: Patch) -> None:
        """From now on the store itself refuses this document of "stock", in its own way."""
        raise NotImplementedError

    def unknown(self) -> Patch | None:
        """A document of "stock" whose article the store does not have; None where the store takes any."""
        return self.stock(9999)

    # -- what the suite uses

    def another(self, **change: Any) -> Store:
        """A further store of the same adapter, with other settings; not open."""
        known: dict[str, Any] = {
            "name": "main",
            "url": self.server.root + self.path,
            "token": TOKEN,
            "timeout": 20.0,
            "limits": Limits(),
            "options": {"entities": ["stock", "price"], **self.options},
            "kinds": {"stock": "stock", "price": "price"},
            "memory": self.memory,
        }
        return adapters.store.factory(self.adapter)(StoreSettings(**(known | change)))

    def sku(self, number: int) -> str:
        return f"SKU-{number:04}"

    def stock(self, number: int, available: int = 5, version: int = 1) -> Patch:
        """Stock of one article."""
        identity = {"sku": self.sku(number), "location": self.location}
        name = "|".join(identity.values())
        fields = {**identity, "available": available}
        return Patch(name, version, AT, fields, identity, frozenset(fields))

    def price(self, number: int, amount: str | int = "12.50", version: int = 1) -> Patch:
        """The ordinary price of one article."""
        identity = {"sku": self.sku(number), "price_list": "default", "currency": "EUR", "min_quantity": 1}
        name = "|".join(map(str, identity.values()))
        fields = {**identity, "amount": amount}
        return Patch(name, version, AT, fields, identity, frozenset(fields))

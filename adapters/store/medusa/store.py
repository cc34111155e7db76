"""The Medusa store: one part for each kind of document, on one connection.

Invariant: every document that is written was looked up by its own name in the same call, and is acknowledged only when the
shop's answer shows what was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from adapters.store.base import StoreSettings
from adapters.store.medusa.api import Api
from adapters.store.medusa.content import Content
from adapters.store.medusa.credit import Credit
from adapters.store.medusa.orders import Orders
from adapters.store.medusa.price import Price
from adapters.store.medusa.setting import read
from adapters.store.medusa.shop import Shop
from adapters.store.medusa.stock import Stock
from daemon.model import Fields, Outcome, Patch

CONCURRENCY: Final = 4
"""Calls at a time; a Medusa process gets slower beyond (measured)."""
BATCH: Final = 300
SMALLER: Final = {"credit": 25, "order_status": 10, "content": 50}
"""Customers and orders take a call each; products have long texts."""


class Part(Protocol):
    """One kind of document."""

    async def check(self) -> None: ...
    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]: ...
    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]: ...
    def scan(self) -> AsyncIterator[tuple[str, Fields]]: ...


class MedusaStore:
    """A Medusa behind its admin API."""

    def __init__(self, settings: StoreSettings) -> None:
        setting = read(settings)
        limits = settings.limits
        self.limits = replace(
            limits,
            batch_size=min(limits.batch_size, BATCH),
            concurrency=min(limits.concurrency, CONCURRENCY),
            batch_sizes={name: SMALLER[kind] for name, kind in setting.kinds.items() if kind in SMALLER},
        )
        self._kinds = setting.kinds
        self._api = Api(settings)
        self._shop = Shop(self._api)
        made: dict[str, Part] = {
            "stock": Stock(self._shop, setting, settings.memory),
            "price": Price(self._shop, setting, settings.memory),
            "credit": Credit(self._shop, setting, settings.memory),
            "order_status": Orders(self._shop, setting, settings.memory),
            "content": Content(self._shop, setting, settings.memory, settings.pictures),
        }
        self._product = "sku" if setting.product == "sku" else "product"
        self._parts = {entity: made[kind] for entity, kind in setting.kinds.items()}
        self.with_files = [entity for entity, kind in setting.kinds.items() if kind == "content"]

    async def open(self) -> None:
        await self._api.transport.open()

    async def close(self) -> None:
        await self._api.transport.close()

    async def check(self) -> None:
        """Address, key, and that the shop has the locations and price lists that the options name."""
        self._shop.forget()
        await self._shop.currencies()
        for part in self._parts.values():
            await part.check()

    def remote(self, entity: str, patch: Patch) -> str | None:
        """A variant, customer or order: parallel writes of one leave prices twice, lose metadata and ship twice."""
        match self._kinds[entity]:
            case "credit":
                return f"customer:{patch.identity['customer']}"
            case "order_status":
                return f"order:{patch.identity['order']}"
            case "content":
                return f"{self._product}:{patch.identity['sku']}"
        return f"sku:{patch.identity['sku']}"

    async def send_files(self, entity: str, patches: Sequence[Patch]) -> None:
        if isinstance(part := self._parts[entity], Content):
            await part.send_files(patches)

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        return await self._parts[entity].apply(sorted(patches, key=lambda each: each.id)) if patches else []

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        return await self._parts[entity].fetch(list(dict.fromkeys(ids))) if ids else {}

    def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        return self._parts[entity].scan()

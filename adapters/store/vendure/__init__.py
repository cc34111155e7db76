"""The `vendure` adapter: Vendure 3 by its GraphQL admin API.

Invariant: every document that is written was looked up by its own name in the same call, and is acknowledged only when the
shop's answer names it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from adapters.store.base import Store, StoreSettings
from adapters.store.vendure.content import Contents
from adapters.store.vendure.credit import Credit
from adapters.store.vendure.orders import Orders
from adapters.store.vendure.price import Price
from adapters.store.vendure.setting import read
from adapters.store.vendure.shop import Shop
from adapters.store.vendure.stock import Stock
from adapters.store.vendure.wire import Wire
from daemon.model import Fields, Outcome, Patch

CONCURRENCY: Final = 2
"""Calls at a time; more gave nothing and deadlocked where they met (measured)."""
BATCH: Final = 100
"""Variants in one call take about a second (measured)."""
SMALLER: Final = {"credit": 25, "order_status": 10, "content": 10}


class Part(Protocol):
    """One kind of document."""

    async def check(self) -> None: ...
    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]: ...
    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]: ...
    def scan(self) -> AsyncIterator[tuple[str, Fields]]: ...


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError."""
    return VendureStore(settings)


class VendureStore:
    """A Vendure behind its admin API."""

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
        self._setting = setting
        self._wire = Wire(settings, setting)
        self._shop = Shop(self._wire, setting)
        made: dict[str, Part] = {
            "stock": Stock(self._shop, setting),
            "price": Price(self._shop, setting),
            "credit": Credit(self._shop, setting),
            "order_status": Orders(self._shop, setting),
            "content": Contents(self._shop, setting, settings.pictures),
        }
        self._parts = {entity: made[kind] for entity, kind in setting.kinds.items()}
        self.with_files = [entity for entity, kind in setting.kinds.items() if kind == "content"]

    async def open(self) -> None:
        await self._wire.transport.open()

    async def close(self) -> None:
        await self._wire.transport.close()

    async def check(self) -> None:
        """Address, key, and that the shop has the channels, locations and custom fields that the options name."""
        self._shop.forget()
        await self._shop.setup()
        for part in self._parts.values():
            await part.check()

    def remote(self, entity: str, patch: Patch) -> str | None:
        """A variant or product, a customer or an order: writes that share one deadlock or overwrite each other."""
        if self._kinds[entity] == "credit":
            return f"customer:{patch.identity['customer']}"
        if self._kinds[entity] == "order_status":
            return f"order:{patch.identity['order']}"
        if self._kinds[entity] == "content" and self._setting.product != "sku":
            return f"product:{patch.identity['sku']}"
        return f"sku:{patch.identity['sku']}"

    async def send_files(self, entity: str, patches: Sequence[Patch]) -> None:
        if isinstance(part := self._parts[entity], Contents):
            await part.send_files(patches)

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        return await self._parts[entity].apply(patches) if patches else []

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        return await self._parts[entity].fetch(list(dict.fromkeys(ids))) if ids else {}

    def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        return self._parts[entity].scan()

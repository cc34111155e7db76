"""A real storefront, an ERP's tables, and the daemon between them.

Invariant: what is asserted is what the storefront's own APIs show, against the mapping's own SQL, run by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg

from tests.e2e.stores.server import Server
from tests.integration.harness import Daemon, exact
from tests.integration.prepared import Ran, erpsyncd
from tests.waiting import until

WITHIN = 90.0
"""What a wait may take: a storefront is slow on a machine that is busy with something else."""

Documents = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Entity -> id -> fields."""


class Shop(Protocol):
    """A storefront as the tests see it."""

    server: Server

    async def documents(self) -> Documents: ...


@dataclass
class Scene:
    """All that takes part."""

    dsn: str
    """How the ERP's own programs reach its database."""
    erp: asyncpg.Connection
    shop: Shop
    daemon: Daemon
    truth: Callable[[], Awaitable[Documents]]
    """What the ERP says; an entity that the store does not show may be left out."""

    async def differences(self) -> list[str]:
        """Every document in which the storefront differs from the ERP, in the fields that a storefront has."""
        found: list[str] = []
        shown, said = await self.shop.documents(), await self.truth()
        for entity, documents in said.items():
            for id_, fields in documents.items():
                have = exact(shown[entity].get(id_, {}))
                want = {name: exact(fields.get(name)) for name in have}
                if not have or have != want:
                    found.append(f"{entity} {id_}: the store shows {have}, the ERP says {want or fields}")
            found += [
                f"{entity} {id_}: the store shows {shown[entity][id_]}, the ERP says nothing"
                for id_ in shown[entity].keys() - documents.keys()
                if exact(shown[entity][id_].get("available", 1))
            ]
        return found

    async def agree(self, what: str, within: float = WITHIN) -> None:
        """Wait until no document differs."""
        last: list[str] = []

        async def same() -> bool:
            last[:] = await self.differences()
            return not last

        try:
            await until(same, within=within, every=0.2, what="the storefront shows what the ERP says")
        except AssertionError:
            lines = [f"after {what}: {len(last)} differ", *last[:10], self.tail(), self.shop.server.tail(8)]
            raise AssertionError("\n".join(lines)) from None

    async def sees(self, look: Callable[[], Awaitable[Any]], what: Any, within: float = WITHIN) -> None:
        """Wait until a look gives this value."""

        async def seen() -> bool:
            last[0] = await look()
            return bool(last[0] == what)

        last: list[Any] = [None]
        try:
            await until(seen, within=within, every=0.05, what=f"it shows {what}")
        except AssertionError:
            raise AssertionError(f"it shows {last[0]!r} instead of {what!r}\n{self.tail()}") from None

    async def command(self, *arguments: str) -> Ran:
        """Run `erpsyncd ARGUMENTS` with this configuration."""
        return await erpsyncd(*arguments, "-c", self.daemon.config)

    async def nothing_waits(self) -> None:
        """Wait until no key is dirty, quarantined or held."""

        async def left() -> list[str]:
            entities = (await self.daemon.status())["stores"]["main"]["entities"]
            numbers = ("pending", "claimed", "quarantined", "held")
            return [
                f"{name}: {queue[what]} {what}" for name, queue in entities.items() for what in numbers if queue[what]
            ]

        await self.sees(left, [])

    async def kill_shop(self) -> None:
        await asyncio.to_thread(self.shop.server.kill)

    async def start_shop(self) -> None:
        await asyncio.to_thread(self.shop.server.start)

    @asynccontextmanager
    async def killed_at_work(self, entity: str) -> AsyncIterator[None]:
        """The shop is killed while it has calls for this entity, and is away for the body; then it shows the truth."""

        async def at_work() -> bool:
            return bool((await self.daemon.queue(entity))["claimed"])

        await self.sees(at_work, True)
        await self.kill_shop()
        yield
        await self.start_shop()
        await self.daemon.until_event("store_back", within=120)
        await self.agree("the shop came back")
        await self.nothing_waits()

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.daemon.output().splitlines()[-lines:])

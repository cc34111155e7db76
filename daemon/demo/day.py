"""The simulated business day: orders, picking, deliveries, prices and payments, written to the demo ERP as an ERP does.

Invariant: ordinary SQL only, one business event a transaction, and never more promised than there is: sellable stock
stays at or above zero. With nobody else at work the same seed gives the same choices from the same data.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg

from daemon.demo import day_office as office
from daemon.demo import day_sales as sales

RATE: Final = 6.0
"""Transactions a second at speed 1."""
_CYCLE: Final = 60.0

Action: TypeAlias = Callable[[sales.Connection, random.Random], Awaitable[str | None]]
"""One business event. Returns what happened in words, or None when there was nothing to do."""

WEIGHTS: Final[dict[Action, int]] = {
    sales.web_order: 26,
    sales.counter_sale: 16,
    sales.buy_out: 2,
    sales.start_picking: 18,
    sales.ship: 17,
    sales.tracking: 15,
    sales.delivered: 13,
    sales.delivery: 9,
    sales.transfer: 3,
    sales.cancel: 3,
    sales.take_back: 3,
    office.payment: 10,
    office.reprice: 6,
    office.release_or_hold: 2,
    office.change_limit: 2,
    office.edit_description: 3,
    office.edit_attribute: 1,
}
SCRIPT: Final[tuple[tuple[float, Action], ...]] = (
    (2.0, office.promotion),
    (4.0, sales.buy_out),
    (6.0, office.hold),
    (9.0, office.new_article),
    (12.0, office.bulk_update),
    (16.0, sales.take_back),
    (19.0, office.discontinue),
    (24.0, office.delete_article),
    (38.0, office.promotion),
    (46.0, office.bring_back),
)
"""What every minute of a day has, by its second, so that a short demo shows everything."""


@dataclass(slots=True)
class Tally:
    """What the day has done to the ERP so far."""

    committed: int = 0
    rolled_back: int = 0


async def run_day(
    dsn: str,
    *,
    speed: float = 1.0,
    seed: int = 1,
    stop: asyncio.Event,
    on_event: Callable[[str], None],
    tally: Tally | None = None,
) -> Tally:
    """Change the ERP until `stop`, counting in `tally`. Raises what asyncpg raises when the connection is lost."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "demo-erp", "lock_timeout": "5s"})
    tally = tally or Tally()
    day = _Day(random.Random(seed), on_event, tally)  # noqa: S311 - a repeatable day, no secret
    try:
        await day.work(connection, speed, stop)
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)
    return tally


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


class _Day:
    """Chooses what happens next, and does it."""

    def __init__(self, rng: random.Random, on_event: Callable[[str], None], tally: Tally) -> None:
        self._rng, self._on_event, self._tally = rng, on_event, tally

    async def work(self, connection: sales.Connection, speed: float, stop: asyncio.Event) -> None:
        """Event after event, with the pauses of a shop that is busy but not rushed."""
        loop = asyncio.get_running_loop()
        begin, due = loop.time(), list(SCRIPT)
        actions, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not stop.is_set():
            passed = (loop.time() - begin) * speed
            if passed >= _CYCLE:
                begin, due = loop.time(), list(SCRIPT)
            elif due and due[0][0] <= passed:
                await self.do(connection, due.pop(0)[1])
            else:
                await self.do(connection, self._rng.choices(actions, weights)[0])
            await _wait(stop, min(self._rng.expovariate(RATE), 3 / RATE) / speed)

    async def do(self, connection: sales.Connection, action: Action) -> None:
        """One business event in one transaction. A refusal by the ERP is told and changes nothing."""
        try:
            async with connection.transaction():
                text = await action(connection, self._rng)
        except sales.SecondThoughtsError as thought:
            self._tally.rolled_back += 1
            self._on_event(str(thought))
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.TransactionRollbackError) as error:
            self._tally.rolled_back += 1
            self._on_event(f"refused by the ERP: {error}")
        else:
            if text is not None:
                self._tally.committed += 1
                self._on_event(text)

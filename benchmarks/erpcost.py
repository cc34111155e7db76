"""Cost to the ERP: CPU of the PostgreSQL processes while 1 % of the rows change a minute, by events and by polling.

Invariant: the same writer commits the same changes in each part, and what it costs by itself is taken off. A change is as old
as the store's acknowledgement finds it, in each part, sent by the daemon's own adapter. The polls are as cheap as polls can
be: one prepared query, nothing else, no window for transactions that commit late; they ask as often as it takes to be as fresh
as the events were (their 99th percentile), or, where that cannot be kept, without a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from adapters.store.base import Store
from benchmarks import ground
from daemon.demo.embedded import Cluster
from daemon.model import Patch

ITEMS = 100_000
CHANGES_S = ITEMS * 0.01 / 60
_ROWS = (
    "select i.id as key, i.sku, s.on_hand as available, s.updated_at from stock_level s join item i on i.id = s.item_id"
)
_SINCE = f"{_ROWS} where s.updated_at > $1"

Ask = Callable[[asyncpg.Connection], Awaitable[list[asyncpg.Record]]]
"""One look of a poll: the rows that changed since the last."""


async def _write(connection: asyncpg.Connection, seconds: float) -> None:
    """Single-row commits, evenly."""
    statement = await connection.prepare(
        "update stock_level set on_hand = on_hand + 1, updated_at = clock_timestamp() where item_id = $1"
    )
    start, choose = time.perf_counter(), random.Random(1).randint
    for number in range(round(CHANGES_S * seconds)):
        await asyncio.sleep(max(start + number / CHANGES_S - time.perf_counter(), 0.0))
        await statement.fetch(choose(1, ITEMS))
    await asyncio.sleep(max(start + seconds - time.perf_counter(), 0.0))


async def _cost(cluster: Cluster, seconds: float) -> float:
    """CPU of the server's processes, in seconds an hour, while the writer writes."""
    writer = await asyncpg.connect(cluster.dsn())
    before, start = ground.tree_cpu_s(cluster.pid or 0), time.perf_counter()
    await _write(writer, seconds)
    used, took = ground.tree_cpu_s(cluster.pid or 0) - before, time.perf_counter() - start
    await writer.close()  # only now: what a process used leaves the sum with it
    return used / took * 3600


async def _polled(cluster: Cluster, store: Store, seconds: float, every: float, ask: Ask) -> tuple[float, float]:
    """The server's CPU while somebody polls and sends, and the age of a change at the store (99th percentile)."""
    ages: list[float] = []
    connection = await asyncpg.connect(cluster.dsn())

    async def polling() -> None:
        version = time.time_ns()
        while True:
            start = time.perf_counter()
            rows = await ask(connection)
            for first in range(0, len(rows), store.limits.batch_size):
                batch = rows[first : first + store.limits.batch_size]
                version += 1
                await store.apply("stock", [_patch(row, version) for row in batch])
                ages.extend(time.time() - row["updated_at"].timestamp() for row in batch)
            await asyncio.sleep(max(start + every - time.perf_counter(), 0.0))

    task = asyncio.create_task(polling())
    await asyncio.wait([task], timeout=1)
    ages.clear()
    cost = await _cost(cluster, seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await connection.close()
    return cost, sorted(ages)[int(len(ages) * 0.99)]


def _patch(row: asyncpg.Record, version: int) -> Patch:
    changed_at = round(row["updated_at"].timestamp() * 1e6)
    identity = {"sku": row["sku"]}
    return Patch(row["sku"], version, changed_at, {**identity, "available": row["available"]}, identity)


async def _as_fresh(
    cluster: Cluster, store: Store, seconds: float, fresh: float, ask: Ask
) -> tuple[float, float, float]:
    """As `_polled`, at the pause that makes its changes as fresh at the store; that pause first."""
    every = fresh
    for _ in range(3):
        _, age = await _polled(cluster, store, seconds, every, ask)
        every = max(every + fresh - age, 0.0)
        if not every:
            break
    return every, *await _polled(cluster, store, seconds, every, ask)


async def run(seconds: float = 30) -> dict[str, Any]:
    """Each way in turn on one server."""
    with ground.store() as url, Cluster(settings={"max_slot_wal_keep_size": "1GB", "autovacuum": "off"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, ITEMS)
        await connection.execute("alter table stock_level add updated_at timestamptz not null default now()")
        config = ground.configuration(
            cluster.dsn(), url, ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"), names=["stock"]
        )
        alone = await _cost(cluster, seconds)
        async with ground.daemon(config) as daemon:
            await daemon.until(ground.loaded)
            await asyncio.sleep(2)
            events = await _cost(cluster, seconds) - alone
            report = await daemon.until(ground.loaded)
        fresh = ground.entities(report)["stock"]["latency_seconds"]["p99"]

        await connection.execute("create index on stock_level (updated_at)")
        await connection.execute("vacuum analyze")
        indexed = await _cost(cluster, seconds)
        newest = await connection.fetchval("select max(updated_at) from stock_level")

        async def by_index(poller: asyncpg.Connection) -> list[asyncpg.Record]:
            nonlocal newest
            rows: list[asyncpg.Record] = await poller.fetch(_SINCE, newest)
            newest = max((row["updated_at"] for row in rows), default=newest)
            return rows

        shown: dict[int, Any] = {}

        async def by_comparison(poller: asyncpg.Connection) -> list[asyncpg.Record]:
            rows = await poller.fetch(_ROWS)
            changed = [row for row in rows if shown.get(row["key"], row["available"]) != row["available"]]
            shown.update((row["key"], row["available"]) for row in rows)
            return changed

        async with ground.adapter(url) as store:
            every, polled, age = await _as_fresh(cluster, store, seconds, fresh, by_index)
            same_second, second_age = await _polled(cluster, store, seconds, 1.0, by_index)
            compared, full_age = await _polled(cluster, store, seconds, fresh, by_comparison)
        await connection.close()
    return {
        "changes a second": round(CHANGES_S, 1),
        "events: staleness p99 s": fresh,
        "events: server CPU s/hour": round(events, 1),
        "updated_at, as fresh: every s": round(every, 4),
        "updated_at, as fresh: staleness p99 s": round(age, 4),
        "updated_at, as fresh: server CPU s/hour": round(polled - indexed, 1),
        "updated_at, every second: staleness p99 s": round(second_age, 2),
        "updated_at, every second: server CPU s/hour": round(same_second - indexed, 1),
        "updated_at: upkeep of its index, server CPU s/hour": round(indexed - alone, 1),
        "full compare, without pause: staleness p99 s": round(full_age, 2),
        "full compare, without pause: server CPU s/hour": round(compared - indexed, 1),
        "events beside updated_at": round(events / (polled - alone), 3),
        "events beside full compare": round(events / (compared - alone), 4),
    }

"""Cost to the ERP: CPU of the PostgreSQL processes while 1 % of the rows change a minute, by events and by polling.

Invariant: the same writer commits the same changes in each part, and what it costs by itself is taken off. The polls are as
cheap as polls can be: one prepared query, nothing else, no window for transactions that commit late; they ask as often as it
takes to be as fresh as the events were (their 99th percentile), or, where that cannot be kept, without a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster

ITEMS = 100_000
CHANGES_S = ITEMS * 0.01 / 60
_ROWS = (
    "select i.id as key, i.sku, s.on_hand as available, s.updated_at from stock_level s join item i on i.id = s.item_id"
)
_SINCE = f"{_ROWS} where s.updated_at > $1"


async def _write(dsn: str, seconds: float) -> None:
    """Single-row commits, evenly."""
    connection = await asyncpg.connect(dsn)
    statement = await connection.prepare(
        "update stock_level set on_hand = on_hand + 1, updated_at = now() where item_id = $1"
    )
    start, choose = time.perf_counter(), random.Random(1).randint
    for number in range(round(CHANGES_S * seconds)):
        await asyncio.sleep(max(start + number / CHANGES_S - time.perf_counter(), 0.0))
        await statement.fetch(choose(1, ITEMS))
    await asyncio.sleep(max(start + seconds - time.perf_counter(), 0.0))
    await connection.close()


async def _cost(cluster: Cluster, seconds: float) -> float:
    """CPU of the server's processes, in seconds an hour, while the writer writes."""
    before, start = ground.tree_cpu_s(cluster.pid or 0), time.perf_counter()
    await _write(cluster.dsn(), seconds)
    return (ground.tree_cpu_s(cluster.pid or 0) - before) / (time.perf_counter() - start) * 3600


async def _polled(
    cluster: Cluster, seconds: float, every: float, poll: Callable[[asyncpg.Connection], Awaitable[None]]
) -> tuple[float, float]:
    """The server's CPU while somebody polls, and how long a round took at its longest."""
    rounds: list[float] = []
    connection = await asyncpg.connect(cluster.dsn())

    async def polling() -> None:
        while True:
            start = time.perf_counter()
            await poll(connection)
            await asyncio.sleep(max(start + every - time.perf_counter(), 0.0))
            rounds.append(time.perf_counter() - start)

    task = asyncio.create_task(polling())
    await asyncio.wait([task], timeout=1)
    cost = await _cost(cluster, seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await connection.close()
    return cost, max(rounds)


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

        async def by_index(poller: asyncpg.Connection) -> None:
            nonlocal newest
            for row in await poller.fetch(_SINCE, newest):
                newest = max(newest, row["updated_at"])

        async def by_comparison(poller: asyncpg.Connection) -> None:
            await poller.fetch(_ROWS)

        polled, round_s = await _polled(cluster, seconds, fresh, by_index)
        same_second, _ = await _polled(cluster, seconds, 1.0, by_index)
        compared, full_s = await _polled(cluster, seconds, fresh, by_comparison)
        await connection.close()
    return {
        "changes a second": round(CHANGES_S, 1),
        "events: staleness p99 s": fresh,
        "events: server CPU s/hour": round(events, 1),
        "updated_at, as fresh: round at its longest s": round(round_s, 3),
        "updated_at, as fresh: server CPU s/hour": round(polled - indexed, 1),
        "updated_at, every second: server CPU s/hour": round(same_second - indexed, 1),
        "updated_at: upkeep of its index, server CPU s/hour": round(indexed - alone, 1),
        "full compare, without pause: round at its longest s": round(full_s, 2),
        "full compare, without pause: server CPU s/hour": round(compared - indexed, 1),
        "events beside updated_at": round(events / (polled - alone), 2),
        "events beside full compare": round(events / (compared - alone), 4),
    }

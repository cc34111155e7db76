"""Storm: one transaction changes every price while stock trickles.

Invariant: stock latency is sampled from the first commit of the storm until the last price is acknowledged; memory is the
process's highest resident set.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import ground, scale
from daemon.demo.embedded import Cluster


async def run(items: int, trickle: int = 20) -> dict[str, Any]:
    """Load, restart without changes compared anew, then the storm."""
    with ground.store() as url, Cluster(settings=scale.SETTINGS) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, items)
        async with ground.daemon(scale.configuration(cluster.dsn(), url)) as daemon:
            figures = await scale.load_and_compare(daemon, connection, items)
            figures |= await _storm(daemon, connection, items, trickle)
        await connection.close()
    return {"items": items, **figures}


async def _storm(daemon: ground.Daemon, connection: asyncpg.Connection, items: int, trickle: int) -> dict[str, Any]:
    await daemon.until(ground.loaded)
    other = await asyncpg.connect(connection_dsn(connection))
    ended = asyncio.Event()

    async def stock() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            await other.execute(
                "update stock_level set on_hand = $2 where item_id = $1", number % items + 1, 1000 + number
            )
            await asyncio.sleep(1 / trickle)

    writer = asyncio.create_task(stock())
    await connection.execute("update price set amount = amount + 1", timeout=1800)
    start = time.perf_counter()
    await daemon.until(lambda r: ground.entities(r)["price"]["applied_total"] >= items, within=3600)
    took = time.perf_counter() - start
    ended.set()
    await writer
    await other.close()
    report = await daemon.until(ground.loaded)
    latency = ground.entities(report)["stock"]["latency_seconds"]
    return {
        "storm drained documents/s": round(items / took),
        "stock p99 s during it": latency["p99"],
        "stock max s during it": latency["max"],
        "storm peak RSS MB": round(ground.peak_rss_mb(daemon.pid)),
    }


def connection_dsn(connection: asyncpg.Connection) -> str:
    host, port = connection.get_server_version() and connection._addr
    return f"postgresql://postgres@{host}:{port}/postgres"

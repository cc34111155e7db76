"""Storm: one transaction changes every price while stock trickles; and scale: a comparison that finds nothing changed.

Invariant: stock latency is sampled from the first commit of the storm until the last price is acknowledged; memory is the
process's highest resident set.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster


async def run(items: int, trickle: int = 20) -> dict[str, Any]:
    """Load, restart without changes compared anew, then the storm."""
    names = ["stock", "price"]
    with ground.store() as url, Cluster(settings={"max_slot_wal_keep_size": "16GB", "max_wal_size": "8GB"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, items)
        config = ground.configuration(
            cluster.dsn(),
            url,
            ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"),
            ground.entity("price", "price", ground.PRICE_SQL, "price"),
            names=names,
        )
        async with ground.daemon(config) as daemon:
            start = time.perf_counter()
            await daemon.until(ground.loaded, within=1800)
            load_s = time.perf_counter() - start
            load_rss = ground.peak_rss_mb(daemon.pid)
            state_mb = sum(f.stat().st_size for f in daemon.folder.glob("state.db*")) / 1e6
            compare = await _compare_again(daemon, connection, items)
            figures = await _storm(daemon, connection, items, trickle)
        await connection.close()
    return {
        "items": items,
        "first load documents/s": round(2 * items / load_s),
        "first load peak RSS MB": round(load_rss),
        "state file MB": round(state_mb),
        **compare,
        **figures,
    }


async def _compare_again(daemon: ground.Daemon, connection: asyncpg.Connection, items: int) -> dict[str, Any]:
    """Stop, make the slot a gap, start: everything is compared and nothing differs."""
    daemon.stop()
    while await connection.fetchval("select active from pg_replication_slots where slot_name = 'bench'"):
        await asyncio.sleep(0.05)
    await connection.execute("select pg_drop_replication_slot('bench')")
    daemon.start()
    before = time.perf_counter()
    while True:
        report = await daemon.status()
        if report is not None and report["source"]["state"] == "streaming":
            done = [e["unchanged_total"] for e in ground.entities(report).values()]
            if sum(done) >= 2 * items:
                break
        await asyncio.sleep(0.1)
    took = time.perf_counter() - before
    return {"unchanged keys/s": round(2 * items / took), "compare peak RSS MB": round(ground.peak_rss_mb(daemon.pid))}


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

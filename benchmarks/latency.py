"""Latency from the ERP's commit to the store's acknowledgement, at steady rates, and the daemon's CPU for each change.

Invariant: the percentiles are the daemon's own (ERP commit time to acknowledgement, clocks of one machine); writers commit
single rows at the rate named, and a rate that was not held is shown as what it was.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster

ITEMS = 100_000


async def run(rate: int, seconds: int, spread: int = 1) -> dict[str, Any]:
    """Single-row commits at `rate` a second for `seconds`, over `spread` entities."""
    names = [f"stock{n}" for n in range(spread)]
    with ground.store() as url, Cluster(settings={"max_slot_wal_keep_size": "8GB"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, ITEMS)
        parts = []
        for name in names:  # a table for each entity, so that a commit touches one of them
            await connection.execute(
                f"create table {name}_level (like stock_level including all);"
                f"insert into {name}_level select * from stock_level; alter publication erpsyncd add table {name}_level"
            )
            sql = ground.STOCK_SQL.replace("stock_level", f"{name}_level")
            parts.append(ground.entity(name, "stock", sql, f"{name}_level"))
        async with ground.daemon(ground.configuration(cluster.dsn(), url, *parts, names=names)) as daemon:
            await daemon.until(ground.loaded)
            before = ground.cpu_s(daemon.pid)
            statements = [
                await connection.prepare(f"update {name}_level set on_hand = $2 where item_id = $1") for name in names
            ]
            start, total = time.perf_counter(), rate * seconds
            choose = random.Random(1).randint
            for number in range(total):
                wait = start + number / rate - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                await statements[number % spread].fetch(choose(1, ITEMS), number + 1)
            took = time.perf_counter() - start
            report = await daemon.until(ground.loaded)
            used = ground.cpu_s(daemon.pid) - before
            latencies = [e["latency_seconds"] for e in ground.entities(report).values()]
        await connection.close()
    return {
        "rate": round(total / took, 1),
        "spread": spread,
        **{f"{name}_ms": round(max(entry[name] for entry in latencies) * 1000, 1) for name in ("p50", "p99", "max")},
        "cpu_us_per_change": round(used / total * 1e6),
    }

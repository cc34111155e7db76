"""Idle: what the daemon costs when nothing changes, in percent of a core.

Invariant: canaries, slot and publication are watched as always while it is measured.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster


async def run(seconds: int = 30) -> dict[str, Any]:
    """CPU of daemon and server over a quiet time."""
    with ground.store() as url, Cluster(settings={"max_slot_wal_keep_size": "1GB"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, 10_000)
        await connection.close()
        parts = [
            ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"),
            ground.entity("price", "price", ground.PRICE_SQL, "price"),
        ]
        config = ground.configuration(cluster.dsn(), url, *parts, names=["stock", "price"])
        async with ground.daemon(config) as daemon:
            await daemon.until(ground.loaded)
            await asyncio.sleep(2)
            ours, start = ground.cpu_s(daemon.pid), time.perf_counter()
            server = ground.tree_cpu_s(cluster.pid or 0)
            await asyncio.sleep(seconds)
            took = time.perf_counter() - start
            return {
                "idle daemon % of a core": round((ground.cpu_s(daemon.pid) - ours) / took * 100, 2),
                "idle server % of a core": round((ground.tree_cpu_s(cluster.pid or 0) - server) / took * 100, 2),
            }

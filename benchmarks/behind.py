"""Behind a storm: how long a commit that follows a large transaction waits in the server, whatever reads the log.

Invariant: the reader is PostgreSQL's own and looks at nothing but one mark in the bytes, so the time is the server's. It reads
by protocol 1, which tells a transaction when it is over (with the memory that the server gives to decoding by default, and
with what the daemon asks for by default), and by protocol 2, which tells a large one while it grows.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster

_WAYS = {
    "protocol 1": (("proto_version=1",), "64MB"),
    "protocol 1, 256 MB": (("proto_version=1",), "256MB"),
    "protocol 2, streaming": (("proto_version=2", "streaming=on"), "64MB"),
}


async def _behind(cluster: Cluster, options: tuple[str, ...], memory: str) -> tuple[float, float]:
    """Seconds that the transaction took, and from its end until the commit behind it has arrived."""
    connection = await asyncpg.connect(cluster.dsn())
    await connection.execute("select pg_create_logical_replication_slot('behind', 'pgoutput')")
    command = [str(cluster.bin_dir / "pg_recvlogical"), "-d", cluster.dsn(), "--slot", "behind", "--start", "-f", "-"]
    for option in (*options, "publication_names=erpsyncd"):
        command += ["-o", option]
    env = {**os.environ, "PGOPTIONS": f"-c logical_decoding_work_mem={memory}"}
    reader = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
    assert reader.stdout is not None
    arrived = asyncio.create_task(_until(reader.stdout, b"behind the storm"))
    while not await connection.fetchval("select active from pg_replication_slots where slot_name = 'behind'"):
        await asyncio.sleep(0.05)
    start = time.perf_counter()
    await connection.execute("update price set amount = amount + 1", timeout=1800)
    over = time.perf_counter()
    await connection.execute("update stock_level set note = 'behind the storm' where item_id = 1")
    at = await arrived
    reader.terminate()
    await reader.wait()
    await connection.execute("update stock_level set note = 'a note' where item_id = 1")
    while await connection.fetchval("select active from pg_replication_slots where slot_name = 'behind'"):
        await asyncio.sleep(0.05)
    await connection.execute("select pg_drop_replication_slot('behind')")
    await connection.close()
    return over - start, at - over


async def _until(pipe: asyncio.StreamReader, mark: bytes) -> float:
    """When the mark came."""
    tail = b""
    while piece := await pipe.read(1 << 20):
        if mark in tail + piece:
            return time.perf_counter()
        tail = piece[-len(mark) :]
    raise RuntimeError("pg_recvlogical ended before the mark came")


async def run(rows: int = 1_000_000) -> dict[str, Any]:
    """Each way in turn, on one server."""
    figures: dict[str, Any] = {"rows": rows}
    with Cluster(settings={"max_slot_wal_keep_size": "16GB", "max_wal_size": "8GB"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, rows)
        await connection.close()
        for name, way in _WAYS.items():
            took, behind = await _behind(cluster, *way)
            figures[f"{name}: the transaction s"] = round(took, 2)
            figures[f"{name}: the commit behind it s"] = round(behind, 2)
    return figures

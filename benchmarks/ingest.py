"""Ingest: a backlog in the slot becomes durable marks and a confirmed position, beside peers that read copies of the slot.

Invariant: all read the same log from the same server in the same run; ours counts as done only when the position behind
the last row is durable.
"""

from __future__ import annotations

import asyncio
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks import debezium
from daemon.demo.embedded import Cluster
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.ingest import Ingest
from daemon.metrics import Metrics
from daemon.model import QueueName, parse_lsn
from daemon.routing import Router, Rule
from daemon.rowindex import RowIndex
from daemon.state import StateFile
from daemon.walstream import WalStream

KEYS = 100_000
_QUEUE = QueueName("main", "stock")


async def _prepare(cluster: Cluster, rows: int) -> str:
    connection = await asyncpg.connect(cluster.dsn())
    await connection.execute(f"""
        create table stock_level (item_id bigint primary key, on_hand numeric, note text);
        insert into stock_level select g, 0, 'a note' from generate_series(1, {KEYS}) g;
        create publication erpsyncd for table stock_level""")
    for slot in ("peer", "psycopg2", "debezium", "dirty", "clean"):
        await connection.execute("select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
    await connection.execute(f"""
        do $$ begin for i in 0..{rows // 100 - 1} loop
          update stock_level set on_hand = i where item_id between (i * 100) % {KEYS} + 1 and (i * 100) % {KEYS} + 100;
          commit;
        end loop; end $$""")
    end: str = await connection.fetchval("select pg_current_wal_lsn()::text")
    await connection.close()
    return end


def _peer(cluster: Cluster, end: str) -> tuple[float, float]:
    command = [
        str(cluster.bin_dir / "pg_recvlogical"),
        "-d",
        cluster.dsn(),
        "--slot",
        "peer",
        "--start",
        "-f",
        "/dev/null",
    ]
    command += ["--endpos", end, "-o", "proto_version=1", "-o", "publication_names=erpsyncd", "--no-loop"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used


_PSYCOPG2 = """
import sys
import psycopg2, psycopg2.extras
dsn, end = sys.argv[1], int(sys.argv[2])
connection = psycopg2.connect(dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection)
cursor = connection.cursor()
options = {"proto_version": "1", "publication_names": "erpsyncd"}
cursor.start_replication(slot_name="psycopg2", decode=False, options=options, status_interval=10)
class Enough(Exception): pass
rows = set()
def take(message):
    payload = message.payload
    if payload[0] in b"UI":
        size = int.from_bytes(payload[9:13], "big")
        rows.add(payload[13:13 + size])
    if message.data_start >= end or message.wal_end >= end and payload[0] in b"C":
        message.cursor.send_feedback(flush_lsn=message.data_start)
        raise Enough
try:
    cursor.consume_stream(take)
except Enough:
    pass
"""


def _psycopg2(cluster: Cluster, end: str) -> tuple[float, float] | None:
    """The same log through psycopg2's replication cursor, keys collected in a set; None where it is not installed."""
    if importlib.util.find_spec("psycopg2") is None:
        return None
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # the last commit's own record begins a little before its end
    last = str(parse_lsn(end) - 200)
    subprocess.run([sys.executable, "-c", _PSYCOPG2, cluster.dsn(), last], check=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _ours(cluster: Cluster, slot: str, end: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="erpsyncd-bench-") as folder:
        state = StateFile(Path(folder) / "state.db")
        state.open()
        dirty = DirtySet(state)
        dirty.open([_QUEUE])
        erp = Erp(cluster.dsn(), connections=1, statement_timeout_s=10)
        await erp.open()
        writer = asyncio.create_task(state.run())
        if slot == "dirty":
            dirty.mark(_QUEUE, set(range(1, KEYS + 1)), 1)
            await state.settle()
        rule = Rule("stock", "public.stock_level", "item_id", "bigint", (_QUEUE,))
        ingest = Ingest(
            Router([rule]), dirty, state, RowIndex(state), Metrics(), erp.snapshot, lambda *_: None, lambda _: None
        )
        stream, target = WalStream(), parse_lsn(end)
        used, start = time.process_time(), time.perf_counter()
        await stream.open(cluster.dsn(), slot, "erpsyncd", 0)
        reading = asyncio.create_task(ingest.run(stream, ready=lambda: None))
        while state.durable < target:
            await asyncio.wait([reading], timeout=0.01)
            if reading.done():
                reading.result()
        took, used = time.perf_counter() - start, time.process_time() - used
        for task in (reading, writer):
            task.cancel()
        await asyncio.wait([reading, writer])
        await stream.close()
        await erp.close()
        state.close()
        return took, used


def run(rows: int = 1_000_000) -> dict[str, Any]:
    """Wall and CPU seconds of both, and the ratios."""
    with Cluster(settings={"max_wal_size": "8GB", "max_slot_wal_keep_size": "8GB"}) as cluster:
        end = asyncio.run(_prepare(cluster, rows))
        figures: dict[str, Any] = {"rows": rows}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            dirty = runner.run(_ours(cluster, "dirty", end))
            peer = _peer(cluster, end)
            other = _psycopg2(cluster, end)
            clean = runner.run(_ours(cluster, "clean", end))
        java = debezium.measure(cluster.dsn(), "debezium", rows) if debezium.here() else None
    for name, (wall, cpu) in {"peer": peer, "keys dirty before": dirty, "keys clean before": clean}.items():
        figures[f"{name}: wall s"], figures[f"{name}: cpu s"] = round(wall, 2), round(cpu, 2)
    for name, found in {"psycopg2": other, "Debezium's engine": java}.items():
        if found is not None:
            figures[f"{name}: wall s"], figures[f"{name}: cpu s"] = round(found[0], 2), round(found[1], 2)
            figures[f"{name}: wall beside ours"] = round(found[0] / clean[0], 1)
    for name, (wall, cpu) in {"keys dirty before": dirty, "keys clean before": clean}.items():
        figures[f"{name}: wall ratio"], figures[f"{name}: cpu ratio"] = (
            round(wall / peer[0], 2),
            round(cpu / peer[1], 2),
        )
    return figures

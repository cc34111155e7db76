"""The batch lane: a rebuild of a catalogue while stock changes, and extracts of many rows.

Invariant: stock latency is that of the daemon's own status, from a process that saw this part alone; memory is the process's
highest resident set.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster

CONTENT_SQL = (
    "select i.id as key, i.sku, d.html as description_html "
    "from item i join description d on d.item_id = i.id where i.id = any($1)"
)
JOB = """
[batch.texts]
entity = "content"
every = "30d"
"""
SETTINGS = {"max_slot_wal_keep_size": "8GB", "max_wal_size": "8GB"}


async def catalogue(products: int = 20_000, per_second: int = 50, quiet_s: int = 30) -> dict[str, Any]:
    """Stock at 50/s alone, the same during a rebuild of all content, and a rebuild that is killed in the middle."""
    with ground.store() as url, Cluster(settings=SETTINGS) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, products)
        await connection.execute(
            "create table description (item_id bigint primary key, html text not null);"
            "insert into description select g, (select string_agg('<p>' || md5(g::text || n) || '</p>', '')"
            f" from generate_series(1, 770) n) from generate_series(1, {products}) g;"
            "alter publication erpsyncd add table description",
            timeout=600,
        )
        config = ground.configuration(
            cluster.dsn(),
            url,
            ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"),
            ground.entity("content", "content", CONTENT_SQL, "description").replace('"5s"', '"1d"'),
            JOB,
            names=["stock", "content"],
        )
        async with ground.daemon(config) as daemon:
            start = time.perf_counter()
            await daemon.until(lambda r: ground.loaded(r) and not r["batches"]["texts"]["running"], within=1200)
            load_s = time.perf_counter() - start
            quiet, quiet_rss, _ = await _part(daemon, connection, per_second, quiet_s, rebuild=False)
            busy, busy_rss, took = await _part(daemon, connection, per_second, quiet_s, rebuild=True)
            rest = await _killed(daemon)
        await connection.close()
    return {
        "products": products,
        "first load s": round(load_s, 1),
        "rebuild s": round(took, 1),
        "rebuild documents/s": round(products / took),
        "stock p99 ms alone": round(quiet * 1000, 1),
        "stock p99 ms during the rebuild": round(busy * 1000, 1),
        "stock p99 ratio": round(busy / quiet, 2),
        "peak RSS MB alone": round(quiet_rss),
        "peak RSS MB during the rebuild": round(busy_rss),
        "documents sent after a kill at 4000": rest,
    }


async def _part(
    daemon: ground.Daemon, connection: asyncpg.Connection, per_second: int, seconds: int, *, rebuild: bool
) -> tuple[float, float, float]:
    """p99 of stock in seconds, peak memory in MB, and how long it took, in a process of its own."""
    daemon.stop()
    daemon.start()
    await daemon.until(lambda r: r["source"]["state"] == "streaming" and ground.loaded(r))
    ended = asyncio.Event()

    async def stock() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            await connection.execute(
                "update stock_level set on_hand = on_hand + 1 where item_id = $1", number % 5000 + 1
            )
            await asyncio.sleep(1 / per_second)

    writer = asyncio.create_task(stock())
    start = time.perf_counter()
    if rebuild:
        await _call(daemon, "POST", "/api/batches/catalogue")
        await daemon.until(lambda r: not r["batches"]["catalogue"]["running"], within=1200)
    else:
        await asyncio.sleep(seconds)
    took = time.perf_counter() - start
    ended.set()
    await writer
    report = await daemon.until(ground.loaded)
    return ground.entities(report)["stock"]["latency_seconds"]["p99"], ground.peak_rss_mb(daemon.pid), took


async def _killed(daemon: ground.Daemon) -> int:
    """A rebuild, kill -9 in its middle, the rest by the next process; how many documents that one sent."""
    await _call(daemon, "POST", "/api/batches/catalogue")
    await daemon.until(lambda r: (r["batches"]["catalogue"]["done"] or 0) >= 4000)
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    await daemon.until(lambda r: r["source"]["state"] == "streaming" and r["batches"]["catalogue"]["running"])
    await daemon.until(lambda r: not r["batches"]["catalogue"]["running"], within=1200)
    report = await daemon.until(ground.loaded)
    assert report["batches"]["catalogue"]["result"] == "done"
    return int(report["batches"]["catalogue"]["rows"])


async def _call(daemon: ground.Daemon, method: str, path: str) -> Any:
    headers = {"X-Erpsyncd": "1"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{daemon._url()}{path}", headers=headers) as response,
    ):
        answer = await response.json()
        assert response.status < 400, answer
        return answer


async def extracts(rows: int = 5_000_000) -> dict[str, Any]:
    """One window with all rows, in each format."""
    found: dict[str, Any] = {"rows": rows}
    with Cluster() as cluster, tempfile.TemporaryDirectory(prefix="erpsyncd-bench-") as folder:
        connection = await asyncpg.connect(cluster.dsn())
        await connection.execute(
            "create table sale (id bigint primary key, at timestamptz, sku text, amount numeric(12, 2), note text);"
            "insert into sale select n, '2026-01-01'::timestamptz + n * interval '1 ms', 'SKU-' || n % 10000, n / 100.0,"
            f" 'a note of some length ' || n from generate_series(1, {rows}) n",
            timeout=1200,
        )
        await connection.close()
        for suffix in ("csv", "csv.zst", "parquet"):
            took, peak = await asyncio.to_thread(_extract, cluster.dsn(), f"{folder}/sales.{suffix}", rows)
            found |= {f"{suffix} rows/s": round(rows / took), f"{suffix} peak RSS MB": round(peak)}
    return found


def _extract(dsn: str, to: str, rows: int) -> tuple[float, float]:
    order = {
        "job": "bench",
        "dsn": dsn,
        "sql": "select * from sale where at >= $1 and at < $2",
        "low": 1_767_139_200_000_000,
        "high": 1_775_000_000_000_000,
        "to": to,
        "timezone": "UTC",
        "timeout": 3600.0,
        "keep": None,
    }
    start, peak, said = time.perf_counter(), 0.0, {}
    command = [sys.executable, "-m", "daemon.jobs.writer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ground.REPO) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if Path(f"/proc/{process.pid}/status").exists():
                peak = max(peak, ground.peak_rss_mb(process.pid))
    assert said == {"rows": rows, "done": True}, said
    return time.perf_counter() - start, peak

"""The batch lane: a rebuild of a catalogue while stock changes, and extracts of many rows.

Invariant: after a rebuild, one that was killed too, every product shows its text and its images; an extract has every row, or
the run fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import ground
from benchmarks.lanes import Lanes, Part, figures
from daemon.demo.embedded import Cluster

CONTENT_SQL = (
    "select i.id as key, i.sku, d.html as description_html, "
    "(select json_agg(json_build_object('url', 'https://pictures.example/' || i.sku || '-' || n || '.jpg', "
    "'sha256', encode(sha256(convert_to(i.sku || n, 'UTF8')), 'hex'), 'position', n) order by n) "
    "from generate_series(1, 2) n) as images "
    "from item i join description d on d.item_id = i.id where i.id = any($1)"
)
JOB = """
[batch.texts]
entity = "content"
every = "30d"
"""
SETTINGS = {"max_slot_wal_keep_size": "8GB", "max_wal_size": "8GB"}


async def catalogue(
    products: int = 20_000, weight: int = 30_000, rounds: int = 3, part_s: float = 30.0
) -> dict[str, Any]:
    """Stock at 50/s alone, beside a rebuild of all content by another daemon, and beside one by the same daemon; a whole
    rebuild, and one that is killed in the middle."""
    with ground.store() as url, Cluster(settings=SETTINGS) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, products)
        await connection.execute(
            "create table description (item_id bigint primary key, html text not null);"
            "insert into description select g, (select string_agg('<p>' || md5(g::text || n) || '</p>', '')"
            f" from generate_series(1, {weight // 39}) n) from generate_series(1, {products}) g;"
            "alter publication erpsyncd add table description",
            timeout=600,
        )
        parts = {
            "stock": ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"),
            "content": ground.entity("content", "content", CONTENT_SQL, "description").replace('"5s"', '"1d"') + JOB,
        }

        def configured(name: str, *entities: str) -> str:
            text = ground.configuration(cluster.dsn(), url, *(parts[e] for e in entities), names=list(entities))
            return text.replace('slot = "bench"', f'slot = "{name}"')

        async with (
            ground.daemon(configured("one", "stock", "content")) as one,
            ground.daemon(configured("other", "content")) as other,
        ):
            start = time.perf_counter()
            for daemon in (one, other):
                await daemon.until(lambda r: ground.loaded(r) and not r["batches"]["texts"]["running"], within=1200)
                daemon.stop()
            load_s = time.perf_counter() - start
            lanes = Lanes(connection, 5000, "catalogue", ground.loaded)
            found: dict[str, list[Part]] = {name: [] for name in ("alone", "control", "rebuild")}
            for _ in range(rounds):
                found["alone"].append(await lanes.part(one, None, part_s))
                found["control"].append(await lanes.part(one, other, part_s))
                found["rebuild"].append(await lanes.part(one, one, part_s))
            whole = await lanes.part(one, one, None)
            one.start()
            rest = await _killed(one)
            await _compare(connection, url, products)
        await connection.close()
    return {
        "products": products,
        "bytes a document": weight,
        "first load of two daemons s": round(load_s, 1),
        "rebuild s": round(whole.took, 1),
        "rebuild documents/s": round(products / whole.took),
        **figures(found, "rebuild"),
        "peak RSS MB alone": round(max(part.rss for part in found["alone"])),
        "peak RSS MB during the rebuild": round(whole.rss),
        "documents of a run that was killed in the middle": rest,
    }


async def _killed(daemon: ground.Daemon) -> int:
    """A rebuild, kill -9 in its middle, the rest by the next process; how many documents the run counts."""
    await daemon.until(lambda r: r["source"]["state"] == "streaming" and ground.loaded(r))
    await daemon.call("POST", "/api/batches/catalogue")
    report = await daemon.until(lambda r: r["batches"]["catalogue"]["running"] and r["batches"]["catalogue"]["total"])
    middle = report["batches"]["catalogue"]["total"] // 2
    await daemon.until(lambda r: (r["batches"]["catalogue"]["done"] or 0) >= middle)
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    await daemon.until(lambda r: r["source"]["state"] == "streaming" and r["batches"]["catalogue"]["running"])
    await daemon.until(lambda r: not r["batches"]["catalogue"]["running"], within=1200)
    report = await daemon.until(ground.loaded)
    assert report["batches"]["catalogue"]["result"] == "done"
    return int(report["batches"]["catalogue"]["rows"])


async def _compare(connection: asyncpg.Connection, url: str, products: int) -> None:
    """Every product shows its text and its images. AssertionError for the first that does not."""
    said = {str(row["sku"]): (row["text"], json.loads(row["images"])) async for row in _rows(connection)}
    assert len(said) == products
    async with ground.adapter(url) as shop:
        async for _, fields in shop.scan("content"):
            text = hashlib.sha256(str(fields["description_html"]).encode()).hexdigest()
            assert (text, fields["images"]) == said.pop(str(fields["sku"])), fields["sku"]
    assert not said, f"{len(said)} products show nothing"


async def _rows(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Record]:
    """SKU, hash of the text and images of every product, as the mapping's own SQL gives them."""
    every = CONTENT_SQL.replace("where i.id = any($1)", "")
    sql = f"select sku, images, encode(sha256(convert_to(description_html, 'UTF8')), 'hex') as text from ({every}) d"
    async with connection.transaction():
        async for row in connection.cursor(sql, timeout=600):
            yield row


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

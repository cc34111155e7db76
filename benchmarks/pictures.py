"""Images: a first load of content with uploads while stock changes at the same store, killed in the middle.

Invariant: the shop's own library is what is counted; a file that came twice is there twice. At the end every product shows its
text and its images, in order, or the run fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import asyncpg

from benchmarks import ground
from benchmarks.batches import CHANGES, SETTINGS
from daemon.demo.embedded import Cluster

HTML, IMAGE = 30_000, 20_000
"""Bytes of a text, and of each of a product's two images."""
CONTENT_SQL = (
    "select i.id as key, i.sku, i.sku as title, d.html as description_html,"
    " (select json_agg(json_build_object('sha256', p.sha256, 'position', p.position) order by p.position)"
    " from picture p where p.item_id = i.id) as images"
    " from item i join description d on d.item_id = i.id where i.id = any($1)"
)
EXTRA = """
images = { sql = "select data from picture where sha256 = any($1)" }
[batch.texts]
entity = "content"
schedule = "0 0 1 1 *"
window = "@@"
"""
STORE = """
[store.main]
adapter = "vendure"
url = "{url}/admin-api"
token = {{ env = "BENCH_TOKEN" }}
rate = {{ per_second = 5000, burst = 5000 }}
concurrency = 4
brake = false
entities = ["stock", "content"]
options = {{ product_note = "erpContent", body_limit = 4000000 }}
"""


async def run(products: int = 1000, quiet_s: float = 20.0) -> dict[str, Any]:
    """Stock at 50/s alone, then while all content is sent for the first time, over a kill -9 in the middle."""
    with Cluster(settings=SETTINGS) as cluster, _shop(products) as url:
        connection = await asyncpg.connect(cluster.dsn())
        await _fill(connection, products)
        shut = (time.gmtime().tm_hour + 3) % 24  # no run of its own before it is asked for
        text = (
            ground.HEAD.replace("{dsn}", cluster.dsn())
            + ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level")
            + ground.entity("content", "content", CONTENT_SQL, "description").replace('"5s"', '"1d"')
            + EXTRA.replace("@@", f"{shut:02}:00-{shut:02}:01")
            + STORE.format(url=url)
        ).replace('[[entity.content.watch]]\ntable = "public.description"\nkey = "item_id"\n', "")
        text = text.replace("images = {", 'watch = [{ table = "public.description", key = "item_id" }]\nimages = {')
        async with ground.daemon(text) as daemon, aiohttp.ClientSession(url) as session:

            async def told(query: str = "") -> dict[str, Any]:
                async with session.get(f"/bench{query}") as answer:
                    return dict(await answer.json())

            async def half_way() -> bool:
                return bool((await told())["files"] >= products)

            await daemon.until(
                lambda r: not ground.entities(r)["stock"]["pending"] and _sent(r, "stock") >= products, within=1200
            )
            alone = await _part(connection, daemon, products, quiet_s, None)
            began = time.perf_counter()
            during = await _part(connection, daemon, products, None, half_way)
            took = time.perf_counter() - began
            rss = ground.peak_rss_mb(daemon.pid)
            daemon.process.kill()
            daemon.process.wait()
            daemon.start()
            await daemon.until(lambda r: ground.loaded(r) and not r["batches"]["texts"]["running"], within=3600)
            whole = await told("?whole")
            await _compare(connection, whole["shown"])
            assert whole["files"] == 2 * products, f"{whole['files']} files of {2 * products} images"
            after = await _part(connection, daemon, products, quiet_s, None)
        await connection.close()
    return {
        "products": products,
        "images uploaded": whole["files"],
        "images/s": round(products / took),
        **{
            f"stock {name} ms, {when}": round(part[name] * 1000, 1)
            for name in ("p50", "p99")
            for when, part in (("alone before", alone), ("during uploads", during), ("alone after", after))
        },
        "peak RSS MB": round(rss),
    }


@contextlib.contextmanager
def _shop(products: int) -> Iterator[str]:
    env = {**os.environ, "PYTHONPATH": str(ground.REPO)}
    command = [sys.executable, "-m", "benchmarks.pictures_shop", str(products)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ground.REPO) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _fill(connection: asyncpg.Connection, products: int) -> None:
    await ground.schema(connection, products)
    await connection.execute(
        "create table description (item_id bigint primary key, html text not null);"
        "create table picture (sha256 text primary key, item_id bigint, position int, data bytea not null);"
        "create index on picture (item_id);"
        "insert into description select g, (select string_agg('<p>' || md5(g::text || n) || '</p>', '')"
        f" from generate_series(1, {HTML // 39}) n) from generate_series(1, {products}) g;"
        "alter publication erpsyncd add table description",
        timeout=600,
    )
    for first in range(0, 2 * products, 1000):
        rows = []
        for number in range(first, min(first + 1000, 2 * products)):
            data = b"\x89PNG\r\n\x1a\n" + os.urandom(IMAGE)
            rows.append((hashlib.sha256(data).hexdigest(), number // 2 + 1, number % 2, data))
        await connection.copy_records_to_table("picture", records=rows)


def _sent(report: dict[str, Any], entity: str) -> int:
    return int(ground.entities(report)[entity]["applied_total"])


async def _part(
    connection: asyncpg.Connection,
    daemon: ground.Daemon,
    products: int,
    seconds: float | None,
    enough: Callable[[], Awaitable[bool]] | None,
) -> Any:
    """Stock changes for so long, or from the begin of the content's run until there is enough; stock's percentiles."""
    daemon.stop()
    daemon.start()
    await daemon.until(lambda r: r["source"]["state"] == "streaming" and not ground.entities(r)["stock"]["pending"])
    ended = asyncio.Event()

    async def stock() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            sql = "update stock_level set on_hand = on_hand + 1 where item_id = $1"
            await connection.execute(sql, number % products + 1)
            await asyncio.sleep(1 / CHANGES)

    writer = asyncio.create_task(stock())
    if seconds is not None:
        await asyncio.sleep(seconds)
    if enough is not None:
        await daemon.call("POST", "/api/batches/texts")
        while not await enough():
            await asyncio.sleep(0.5)
    report = await daemon.until(bool)
    ended.set()
    await writer
    return ground.entities(report)["stock"]["latency_seconds"]


async def _compare(connection: asyncpg.Connection, shown: dict[str, list[str]]) -> None:
    """Every product shows what the ERP says."""
    rows = await connection.fetch(
        "select i.sku, encode(sha256(convert_to(d.html, 'UTF8')), 'hex') as text,"
        " array_agg(p.sha256 order by p.position) as images from item i"
        " join description d on d.item_id = i.id join picture p on p.item_id = i.id group by 1, 2",
        timeout=600,
    )
    assert len(rows) == len(shown)
    for row in rows:
        assert shown[row["sku"]] == [row["text"], *row["images"]], row["sku"]

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
from benchmarks.batches import SETTINGS
from benchmarks.lanes import Lanes, Part, figures
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


async def run(
    products: int = 20_000, rounds: int = 3, part_s: float = 10.0, per_second: int | None = None
) -> dict[str, Any]:
    """Stock at 50/s alone, beside a first load of content by another daemon, and beside one by the same daemon; then the rest
    of both, with a kill -9 in the middle.

    Each daemon sends the content of one half of the products,
    `per_second` documents a second, or as fast as it goes."""
    with Cluster(settings=SETTINGS) as cluster, _shop(products) as url:
        connection = await asyncpg.connect(cluster.dsn())
        await _fill(connection, products)
        half = products // 2
        stock = ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level")
        head = ground.HEAD.replace("{dsn}", cluster.dsn())
        tail = STORE.format(url=url)
        mine = head + stock + _content(f"i.id > {half}", per_second) + tail
        theirs = head.replace('slot = "bench"', 'slot = "other"') + _content(f"i.id <= {half}", per_second) + tail
        async with (
            ground.daemon(mine) as one,
            ground.daemon(theirs.replace('"stock", "content"', '"content"')) as other,
            aiohttp.ClientSession(url) as session,
        ):

            async def told(query: str = "") -> dict[str, Any]:
                async with session.get(f"/bench{query}") as answer:
                    return dict(await answer.json())

            for daemon in (one, other):
                await daemon.until(lambda r: ground.loaded(r) or r["source"]["state"] == "streaming", within=1200)
            await one.until(lambda r: _sent(r, "stock") >= products, within=1200)
            for daemon in (one, other):
                daemon.stop()
            lanes = Lanes(
                connection, products, "texts", lambda r: not ground.entities(r).get("stock", {}).get("pending")
            )
            found: dict[str, list[Part]] = {"alone": [], "control": [], "during uploads": []}
            uploaded, before = 0, 0
            for _ in range(rounds):
                found["alone"].append(await lanes.part(one, None, part_s))
                found["control"].append(await lanes.part(one, other, part_s))
                before = (await told())["files"]
                found["during uploads"].append(await lanes.part(one, one, part_s))
                uploaded += (await told())["files"] - before
            rss = await _rest(one, told, middle=(before + products) // 2)
            await _rest(other, told, middle=None)
            whole = await told("?whole")
            await _compare(connection, whole["shown"])
            assert whole["files"] == 2 * products, f"{whole['files']} files of {2 * products} images"
        await connection.close()
    return {
        "products": products,
        "images uploaded, each once": whole["files"],
        "images/s": round(uploaded / (rounds * part_s)),
        **figures(found, "during uploads"),
        "peak RSS MB": round(rss),
    }


def _content(which: str, per_second: int | None) -> str:
    shut = (time.gmtime().tm_hour + 3) % 24  # no run of its own before it is asked for
    text = ground.entity("content", "content", CONTENT_SQL + f" and {which}", "description").replace('"5s"', '"1d"')
    text = text.replace('[[entity.content.watch]]\ntable = "public.description"\nkey = "item_id"\n', "")
    extra = EXTRA.replace("@@", f"{shut:02}:00-{shut:02}:01")
    extra += f"max_per_second = {per_second}\n" if per_second else ""
    return text + extra.replace("images = {", 'watch = [{ table = "public.description", key = "item_id" }]\nimages = {')


async def _rest(daemon: ground.Daemon, told: Callable[[], Awaitable[dict[str, Any]]], middle: int | None) -> float:
    """What is left of the content, with a kill -9 when so many files are there; the highest memory before it, in MB."""
    daemon.start()
    await daemon.until(lambda r: r["source"]["state"] == "streaming")
    await daemon.call("POST", "/api/batches/texts")
    while middle is not None and (await told())["files"] < middle:
        await asyncio.sleep(0.1)
    rss = ground.peak_rss_mb(daemon.pid)
    if middle is not None:
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
    await daemon.until(lambda r: ground.loaded(r) and not r["batches"]["texts"]["running"], within=3600)
    return rss


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

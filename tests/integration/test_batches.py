"""Jobs by the clock in a running daemon: content runs, rebuilds, extracts, and kills in the middle of each.

Invariant under test: content is sent only while a run of its job is open, every document arrives in the end, and the windows
of an extract follow each other whatever ended a run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest
import zstandard

from daemon.backfill import SENT_PAGE
from daemon.errors import EXIT_CONFIG
from tests.conftest import Database
from tests.doubles.shop import Hold, Retry
from tests.integration.harness import LATEST, TOKEN, Daemon
from tests.integration.stage import STOCK, Shop, Stage, lawful, mapped, sql_connection
from tests.waiting import until

pytestmark = pytest.mark.newest

KEYS = 60
SCHEMA = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null, title text not null);
insert into item select n, 'A' || n, n, 'Title ' || n from generate_series(1, {KEYS}) n;
create table sale (id bigint primary key, at timestamptz not null, amount numeric(12, 2) not null, note text);
create publication erpsyncd for table item;
"""
CONTENT = """
[entity.content]
key_type = "bigint"
sql = '''select id as key, sku, 'en' as locale, title, '[]'::json as images, '[]'::json as categories
           from item where id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""
SELDOM = """
[batch.texts]
entity = "content"
every = "30d"
"""


@asynccontextmanager
async def stage_of(
    database: Database, folder: Path, jobs: str, *, wait: bool = True, schema: str = SCHEMA
) -> AsyncIterator[Stage]:
    async with Shop(token=TOKEN) as shop:
        text = mapped(database.dsn, shop.url, folder / "state.db", f"{STOCK}\n{CONTENT}\n{jobs}")
        stage = Stage(await sql_connection(database.dsn), shop, Daemon(folder, text), text, database.dsn)
        try:
            await stage.erp.execute(schema)
            async with stage.daemon:
                if wait:
                    await stage.daemon.until_loaded()
                yield stage
        finally:
            stage.erp.terminate()


async def job(stage: Stage, name: str) -> dict[str, Any]:
    listed = json.loads((await stage.daemon.get("/api/batches"))[1])["batches"]
    found: dict[str, Any] = next(one for one in listed if one["job"] == name)
    return found


async def command(stage: Stage, *words: str) -> tuple[int, str]:
    ended = await stage.daemon.command("batch", *words)
    return ended.code, ended.output


async def at_rest(stage: Stage, name: str) -> dict[str, Any]:
    async def rests() -> dict[str, Any] | None:
        found = await job(stage, name)
        return found if not found["running"] and found["last"] is not None else None

    found: dict[str, Any] = await until(rests, within=LATEST, every=0.05, what=f"job {name} is at rest")
    return found


def versions(stage: Stage) -> dict[str, int]:
    return {id_: stage.shop.version("content", id_) or 0 for id_ in stage.shop.documents("content")}


def newer(stage: Stage, before: dict[str, int]) -> set[str]:
    """Documents that were sent since then."""
    return {id_ for id_, version in versions(stage).items() if version > before.get(id_, 0)}


async def test_content_waits_for_its_job_and_stock_does_not(database: Database, tmp_path: Path) -> None:
    async with stage_of(database, tmp_path, SELDOM) as stage:
        assert (await at_rest(stage, "texts"))["last"]["rows"] == KEYS  # a new job runs at once
        before = len(stage.shop.writes("content"))
        await stage.erp.execute("update item set on_hand = on_hand + 1000, title = title || '!'")
        await stage.until_shown("stock", f"A{KEYS}|default", available=KEYS + 1000)

        async def marked() -> bool:
            return bool((await stage.daemon.queue("content"))["pending"] == KEYS)

        await until(marked, within=LATEST, what="all content is marked")
        assert len(stage.shop.writes("content")) == before
        code, output = await command(stage, "run", "texts")
        assert code == 0, output
        assert f"done, {KEYS} rows" in output
        await stage.equal()
        code, output = await command(stage, "list")
        assert code == 0
        assert "texts      content, every 30d" in output
        assert "next 20" in output
        for verb in ("run", "cancel"):
            code, output = await command(stage, verb, "nope")
            assert code == 64
            assert "Known: catalogue, texts." in output
        metrics = (await stage.daemon.get("/metrics"))[1]
        assert 'erpsyncd_batch_rows{job="texts"} 60.0' in metrics
        assert (await stage.daemon.status())["batches"]["texts"]["result"] == "done"


async def test_a_new_job_runs_at_once_though_the_process_that_saw_it_first_could_not_start(
    database: Database, tmp_path: Path
) -> None:
    yearly = SELDOM.replace('every = "30d"', 'schedule = "0 3 1 1 *"')
    async with stage_of(
        database, tmp_path, yearly, schema=SCHEMA.replace("create publication", "-- "), wait=False
    ) as stage:
        assert await stage.daemon.wait() == EXIT_CONFIG
        await stage.erp.execute("create publication erpsyncd for table item")
        await stage.daemon.start()
        await stage.daemon.until_loaded()
        assert (await at_rest(stage, "texts"))["last"]["rows"] == KEYS


async def test_a_second_run_of_a_job_is_refused_and_a_cancelled_one_leaves_its_marks(
    database: Database, tmp_path: Path
) -> None:
    async with stage_of(database, tmp_path, SELDOM) as stage:
        await at_rest(stage, "texts")
        hold = Hold()
        stage.shop.inject(hold, entity="content", method="POST")
        await stage.erp.execute("update item set title = title || '?'")

        async def marked() -> bool:
            return bool((await stage.daemon.queue("content"))["pending"])

        await until(marked, within=LATEST, what="content is marked")
        assert (await command(stage, "run", "texts", "--no-wait"))[0] == 0
        await until(lambda: hold.reached.is_set(), within=LATEST, what="the store is called")
        code, output = await command(stage, "run", "texts")
        assert code == 2
        assert "E-RUN-BUSY" in output
        code, output = await command(stage, "run", "catalogue")
        assert code == 2
        assert "texts is running on content" in output
        assert (await command(stage, "cancel", "texts"))[0] == 0
        assert (await at_rest(stage, "texts"))["last"]["result"] == "cancelled"
        assert (await command(stage, "cancel", "texts"))[0] == 2
        stage.shop.clear()
        assert (await command(stage, "run", "texts"))[0] == 0
        await stage.equal()


async def test_a_kill_in_the_middle_of_a_run_leaves_it_to_the_next_process(database: Database, tmp_path: Path) -> None:
    async with stage_of(database, tmp_path, SELDOM) as stage:
        await at_rest(stage, "texts")
        hold = Hold()
        stage.shop.inject(hold, entity="content", method="POST")
        await stage.erp.execute("update item set title = title || '?'")

        async def marked() -> bool:
            return bool((await stage.daemon.queue("content"))["pending"] == KEYS)

        await until(marked, within=LATEST, what="all content is marked")
        assert (await command(stage, "run", "texts", "--no-wait"))[0] == 0
        await until(lambda: hold.reached.is_set(), within=LATEST, what="the store is called")
        open_run = (await job(stage, "texts"))["last"]
        assert open_run["result"] == "running"
        await stage.daemon.kill()
        stage.shop.clear()
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        last = (await at_rest(stage, "texts"))["last"]
        assert last["number"] == open_run["number"]
        assert last["result"] == "done"
        await stage.equal()
        lawful(stage.shop)


async def test_a_run_that_was_accepted_is_made_though_a_kill_comes_with_the_answer(
    database: Database, tmp_path: Path
) -> None:
    async with stage_of(database, tmp_path, SELDOM) as stage:
        await at_rest(stage, "texts")
        before = len(stage.shop.writes("content"))
        for _ in range(3):
            async with aiohttp.ClientSession(stage.daemon.url()) as session:
                async with session.post("/api/batches/catalogue", headers={"X-Erpsyncd": "1"}) as answer:
                    assert answer.status == 200
                await stage.daemon.kill()
            await stage.daemon.start()
            await stage.daemon.until_event("ready")
            last = (await at_rest(stage, "catalogue"))["last"]
            assert (last["result"], last["rows"]) == ("done", KEYS)
        assert sum(len(call.ids) for call in stage.shop.writes("content")[before:]) >= 3 * KEYS
        await stage.equal()


async def test_a_rebuild_sends_every_document_again_and_goes_on_after_a_kill(
    database: Database, tmp_path: Path
) -> None:
    async with stage_of(database, tmp_path, SELDOM) as stage:
        await at_rest(stage, "texts")
        before = versions(stage)
        await stage.erp.execute("update item set title = 'new' where id = 3")

        async def marked() -> bool:
            return bool((await stage.daemon.queue("content"))["pending"])

        await until(marked, within=LATEST, what="content is marked")
        code, output = await command(stage, "run", "catalogue", "--preview")
        assert code == 0
        assert f"main/content: {KEYS} documents, 1 changed; all of them are sent" in output
        hold = Hold()
        stage.shop.inject(hold, entity="content", method="POST")
        assert (await command(stage, "run", "catalogue", "--no-wait"))[0] == 0
        await until(lambda: hold.reached.is_set(), within=LATEST, what="the store is called")
        await stage.daemon.kill()
        stage.shop.clear()
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        assert (await at_rest(stage, "catalogue"))["last"]["result"] == "done"
        await stage.equal()
        assert newer(stage, before) == before.keys()


async def test_a_rebuild_that_was_cancelled_goes_on_where_it_was_when_it_is_run_again(
    database: Database, tmp_path: Path
) -> None:
    keys = 4 * SENT_PAGE
    async with stage_of(database, tmp_path, SELDOM) as stage:
        await at_rest(stage, "texts")
        await stage.erp.execute(
            f"insert into item select n, 'A' || n, n, 'Title ' || n from generate_series({KEYS + 1}, {keys}) n"
        )

        async def marked() -> bool:
            return bool((await stage.daemon.queue("content"))["pending"] == keys - KEYS)

        await until(marked, within=LATEST, what="all content is marked")
        assert (await command(stage, "run", "texts"))[0] == 0
        await stage.equal()
        before = versions(stage)
        beyond = [f"A{number}|en" for number in range(2 * SENT_PAGE + 50, keys + 1)]
        stage.shop.inject(Retry(ids=frozenset(beyond)), entity="content", method="POST")  # no run comes further
        assert (await command(stage, "run", "catalogue", "--no-wait"))[0] == 0

        async def half() -> bool:
            return bool((await job(stage, "catalogue"))["done"] == 2 * SENT_PAGE)

        await until(half, within=LATEST, what="two pages are settled, the third is under way")
        await until(lambda: len(newer(stage, before)) > 2 * SENT_PAGE, within=LATEST, what="some of the third")
        assert (await command(stage, "cancel", "catalogue"))[0] == 0
        assert (await at_rest(stage, "catalogue"))["last"]["result"] == "cancelled"
        stage.shop.clear()
        before = versions(stage)
        assert (await command(stage, "run", "catalogue"))[0] == 0
        assert newer(stage, before) == {f"A{number}|en" for number in range(2 * SENT_PAGE + 1, keys + 1)}
        await stage.equal()
        assert (await job(stage, "catalogue"))["last"]["result"] == "done"


async def test_a_rebuild_of_the_catalogue_is_of_every_entity_of_kind_content_and_its_preview_too(
    database: Database, tmp_path: Path
) -> None:
    texts = CONTENT.replace("[entity.content]", '[entity.texts]\nkind = "content"').replace("'en'", "'de'")
    async with stage_of(database, tmp_path, texts) as stage:
        before = {name: len(stage.shop.documents(name)) for name in ("content", "texts")}
        assert before == {"content": KEYS, "texts": KEYS}
        code, output = await command(stage, "run", "catalogue")
        assert code == 0, output
        for name in before:
            assert f"main/{name}: {KEYS} documents, nothing differs; all of them are sent" in output
        assert f"catalogue: done, {2 * KEYS} rows" in output
        await stage.equal()


def extract(folder: Path, suffix: str, sql: str = "select id, at, amount, note from sale") -> str:
    return f"""
[batch.sales]
extract = "{sql} where at >= $1 and at < $2 order by id"
every = "1h"
keep = 5
to = "{folder}/out/sales-{{date}}-{{time}}{suffix}"
"""


def files(folder: Path) -> list[dict[str, Any]]:
    """The manifests, oldest window first; what each says of its file is true."""
    found = [json.loads(path.read_text()) for path in folder.glob("out/*.manifest.json")]
    for manifest in found:
        content = (folder / "out" / manifest["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
        assert len(content) == manifest["bytes"]
    return sorted(found, key=lambda manifest: manifest["window"]["to"])


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("out/.*"))


SALES = "insert into sale select n, clock_timestamp(), n / 100.0, case when n % 3 > 0 then E'a,\"b\\n' || n end from "


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    if path.name.endswith(".parquet"):
        return [(row["id"], row["amount"], row["note"]) for row in pq.read_table(path).to_pylist()]
    content = path.read_bytes()
    if path.name.endswith(".zst"):
        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [(int(row["id"]), row["amount"], row["note"] or None) for row in rows]


@pytest.mark.parametrize("suffix", [".csv", ".csv.zst", ".parquet"])
async def test_windows_of_an_extract_follow_each_other_and_hold_every_row_once(
    database: Database, tmp_path: Path, suffix: str
) -> None:
    async with stage_of(database, tmp_path, SELDOM + extract(tmp_path, suffix)) as stage:
        await stage.erp.execute(SALES + "generate_series(1, 7000) n")
        code, output = await command(stage, "run", "sales")
        assert code == 0, output
        assert "done, 7000 rows" in output
        assert (await command(stage, "run", "sales"))[0] == 0  # nothing happened: an empty file, no gap
        await stage.erp.execute(SALES + "generate_series(7001, 7010) n")
        assert (await command(stage, "run", "sales"))[0] == 0
        manifests = files(tmp_path)
        assert [manifest["rows"] for manifest in manifests] == [7000, 0, 10]
        for one, following in itertools.pairwise(manifests):
            assert one["window"]["to"] == following["window"]["from"]
        got = [row for m in manifests for row in rows_of(tmp_path / "out" / m["file"])]
        told = await stage.erp.fetch("select id, amount, note from sale order by id")
        assert [(id_, float(amount), note) for id_, amount, note in got] == [
            (id_, float(amount), note) for id_, amount, note in told
        ]
        assert leftovers(tmp_path) == []


async def test_a_kill_in_the_middle_of_an_extract_repeats_its_window(database: Database, tmp_path: Path) -> None:
    # the query waits for a lock that the test holds
    slow = "select id, at, amount, note from sale cross join (select pg_advisory_lock_shared(7)) s"
    async with stage_of(database, tmp_path, SELDOM + extract(tmp_path, ".csv", slow)) as stage:
        await stage.erp.execute(SALES + "generate_series(1, 15) n")
        await stage.erp.execute("select pg_advisory_lock(7)")
        assert (await command(stage, "run", "sales", "--no-wait"))[0] == 0
        await until(lambda: list(tmp_path.glob("out/.erpsyncd-sales.part")), within=LATEST, what="it is being written")

        async def reading() -> bool:
            count = (
                "select count(*) from pg_stat_activity where application_name = 'erpsyncd sales' and state = 'active'"
            )
            return bool(await stage.erp.fetchval(count))

        await until(reading, within=LATEST, what="the query runs")
        window = (await job(stage, "sales"))["last"]["window"]
        await stage.daemon.kill()
        assert files(tmp_path) == []
        await stage.erp.execute("select pg_advisory_unlock(7)")
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        last = (await at_rest(stage, "sales"))["last"]
        assert last["result"] == "done"
        assert last["rows"] == 15
        assert last["window"] == window == [files(tmp_path)[0]["window"][end] for end in ("from", "to")]
        assert leftovers(tmp_path) == []


async def test_an_extract_that_fails_says_why_and_the_next_run_covers_its_window(
    database: Database, tmp_path: Path
) -> None:
    sql = "select id, at, amount / (select count(*) from item where id = 1) as part from sale"
    async with stage_of(database, tmp_path, SELDOM + extract(tmp_path, ".csv", sql)) as stage:
        await stage.erp.execute(SALES + "generate_series(1, 3) n")
        await stage.erp.execute("delete from item where id = 1")
        code, output = await command(stage, "run", "sales")
        assert code == 2
        assert "division by zero" in output
        assert "Traceback" not in output
        code, output = await command(stage, "list")
        assert code == 1
        assert "failed" in output
        await stage.erp.execute("insert into item values (1, 'A1', 1, 'Title 1')")
        assert (await command(stage, "run", "sales"))[0] == 0
        assert [manifest["rows"] for manifest in files(tmp_path)] == [3]

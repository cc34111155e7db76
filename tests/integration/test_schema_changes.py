"""The ERP's schema and publication change under the daemon.

Invariant under test: within ten seconds of its commit the change is named in the log, and in the status; the entity that
hangs on it is stopped or compared, the other one goes on, and in the end the store equals SQL, with no change of any row
needed for that.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database
from tests.integration.harness import LATEST
from tests.integration.recognition import happened, recognised
from tests.integration.stage import Stage, own_stage
from tests.waiting import until

SCHEMA = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint primary key, item_id bigint not null, qty int not null);
create table price (id bigint primary key, item_id bigint not null, amount numeric(12, 2) not null);
insert into item select n, 'A' || n from generate_series(1, 20) n;
insert into move select n, n, 10 from generate_series(1, 20) n;
insert into price select n, n, 5 from generate_series(1, 20) n;
create publication erpsyncd for table item, move, price;
"""
ENTITIES = """
[entity.stock]
sql = '''select i.id as key, i.sku, coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "move", key = "item_id" }]
[entity.price]
sql = '''select p.item_id as key, i.sku, p.amount, 'EUR' as currency
           from price p join item i on i.id = p.item_id where p.item_id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "price", key = "item_id" }]
"""


@asynccontextmanager
async def changing(database: Database, folder: Path) -> AsyncIterator[Stage]:
    async with own_stage(database, folder, SCHEMA, ENTITIES) as stage:
        await stage.equal()
        yield stage


async def stopped(stage: Stage, at: dt.datetime, words: str, code: str) -> None:
    """The stock is stopped soon and says why, in log and status; prices go on."""

    async def said() -> bool:
        return words in (await stage.daemon.queue("stock"))["stopped"]

    await until(said, within=LATEST, what="the entity is stopped")
    lines = [line for line in stage.daemon.events("entity_stopped") if line["entity"] == "stock"]
    lines = [line for line in lines if words in line["msg"] and line.get("code") == code]
    assert lines, stage.tail()
    recognised(lines[0], at)
    await prices_go_on(stage)
    assert not (await stage.daemon.queue("price"))["stopped"]


async def runs(stage: Stage, at: dt.datetime | None = None) -> None:
    """The stock goes on, soon after `at`, and is right; prices too."""

    async def on() -> bool:
        return not (await stage.daemon.queue("stock"))["stopped"]

    await until(on, within=LATEST, what="the entity goes on")
    if at is not None:
        recognised(stage.daemon.events("entity_resumed")[-1], at)
    await stage.equal()
    await prices_go_on(stage)


async def prices_go_on(stage: Stage) -> None:
    amount = await stage.erp.fetchval("update price set amount = amount + 1 where item_id = 1 returning amount")
    await stage.until_shown("price", "A1|default|EUR|1", amount=str(amount))


COLUMNS = {
    "renamed": (
        "alter table move rename column item_id to article",
        ("no column item_id", "E-SCHEMA"),
        "update move set article = 4 where id = 3",
        "alter table move rename column article to item_id",
        ("A4|default", 20),
    ),
    "dropped": (
        "alter table move drop column item_id",
        ("no column item_id", "E-SCHEMA"),
        "delete from move where id = 1",
        "alter table move add column item_id bigint not null default 7",
        ("A7|default", 190),
    ),
    "of another type": (
        "alter table move alter column item_id type text",
        ("is text now", "E-KEY-TYPE"),
        "update move set item_id = '5' where id = 6",
        "alter table move alter column item_id type int using item_id::int",
        ("A5|default", 20),
    ),
}


@pytest.mark.parametrize(("broken", "told", "unseen", "mended", "shows"), COLUMNS.values(), ids=COLUMNS.keys())
async def test_a_column_that_is_not_what_it_was_stops_its_entity_and_its_return_is_compared(
    database: Database,
    tmp_path: Path,
    broken: str,
    told: tuple[str, str],
    unseen: str,
    mended: str,
    shows: tuple[str, int],
) -> None:
    async with changing(database, tmp_path) as stage:
        await stopped(stage, await happened(stage.erp, broken), *told)
        await stage.erp.execute(unseen)
        await runs(stage, await happened(stage.erp, mended))
        await stage.until_shown("stock", shows[0], available=shows[1])
        await stage.erp.execute("delete from move where id = 2")
        await stage.equal()


async def test_values_that_a_change_of_type_rewrites_are_found(database: Database, tmp_path: Path) -> None:
    """A rewrite of the table is not in the stream."""
    async with changing(database, tmp_path) as stage:
        at = await happened(stage.erp, "alter table move alter column qty type bigint using qty * 3")
        recognised(await stage.daemon.until_event("schema_changed"), at)
        await stage.until_shown("stock", "A9|default", available=30)
        await runs(stage)


async def test_a_table_that_was_made_anew_is_named_and_compared_when_it_is_published(
    database: Database, tmp_path: Path
) -> None:
    async with changing(database, tmp_path) as stage:
        at = await happened(
            stage.erp,
            "create table other (like move including all); insert into other select id, item_id, 44 from move;"
            "drop table move; alter table other rename to move",
        )
        await stopped(stage, at, "not in the publication", "E-PUBLICATION-TABLE")
        await runs(stage, await happened(stage.erp, "alter publication erpsyncd add table move"))
        await stage.until_shown("stock", "A3|default", available=44)
        await stage.erp.execute("delete from move where id = 3")
        await stage.until_shown("stock", "A3|default", available=0)


async def test_a_table_that_is_exchanged_between_two_looks_is_compared(database: Database, tmp_path: Path) -> None:
    async with changing(database, tmp_path) as stage:
        at = await happened(
            stage.erp,
            "begin; create table other (like move including all); insert into other select id, item_id, 44 from move;"
            "drop table move; alter table other rename to move; alter publication erpsyncd add table move; commit",
        )
        recognised(await stage.daemon.until_event("schema_changed"), at)
        await stage.until_shown("stock", "A3|default", available=44)
        await runs(stage)


async def test_a_publication_that_tells_of_less_stops_what_hangs_on_it(database: Database, tmp_path: Path) -> None:
    async with changing(database, tmp_path) as stage:
        at = await happened(stage.erp, "alter publication erpsyncd set (publish = 'insert, update')")
        recognised(await stage.daemon.until_event("entity_stopped", count=2), at)
        assert {line["entity"] for line in stage.daemon.events("entity_stopped")} == {"stock", "price"}
        await stage.erp.execute("delete from move where id = 3")
        whole = "alter publication erpsyncd set (publish = 'insert, update, delete, truncate')"
        await runs(stage, await happened(stage.erp, whole))
        await stage.until_shown("stock", "A3|default", available=0)


async def test_a_publication_that_is_dropped_is_named_and_its_return_is_compared(
    database: Database, tmp_path: Path
) -> None:
    """Up to version 17 the stream fails and the slot is stuck; from 18 on rows are left out in silence."""
    async with changing(database, tmp_path) as stage:
        at = await happened(stage.erp, "drop publication erpsyncd")
        await stage.erp.execute("update move set qty = 99 where id = 3")

        async def said() -> bool:
            status = await stage.daemon.status()
            return status["verdict"] != "FRESH" and "publication" in str(status)

        await until(said, within=LATEST, what="the status says that the publication is gone")
        lines = stage.daemon.events("entity_stopped") + stage.daemon.events("erp_lost")
        recognised(min((line for line in lines if "publication" in line["msg"]), key=lambda line: line["ts"]), at)
        await stage.erp.execute("delete from move where id = 4")
        await stage.erp.execute("create publication erpsyncd for table item, move, price")
        await stage.until_shown("stock", "A3|default", available=99)
        await stage.until_shown("stock", "A4|default", available=0)
        await runs(stage)


async def test_a_daemon_that_starts_on_a_publication_that_was_made_anew_compares(
    database: Database, tmp_path: Path
) -> None:
    async with changing(database, tmp_path) as stage:
        await stage.daemon.kill()
        await stage.erp.execute("drop publication erpsyncd")
        await stage.erp.execute("update move set qty = 99 where id = 3")
        await stage.erp.execute("create publication erpsyncd for table item, move, price")
        await stage.daemon.start()
        await stage.until_shown("stock", "A3|default", available=99)
        await runs(stage)


async def test_a_replica_identity_that_tells_less_is_made_up_for(database: Database, tmp_path: Path) -> None:
    async with changing(database, tmp_path) as stage:
        await stage.erp.execute("alter table move replica identity full")
        await runs(stage)
        await stage.erp.execute("update move set item_id = 8 where id = 3")
        await stage.until_shown("stock", "A8|default", available=20)
        await stage.erp.execute("alter table move replica identity default")
        await stage.erp.execute("update move set item_id = 9 where id = 4")
        await stage.erp.execute("delete from move where id = 3")
        await stage.until_shown("stock", "A8|default", available=10)
        await stage.erp.execute("delete from move where id = 4")
        await stage.until_shown("stock", "A9|default", available=10)
        await runs(stage)


async def test_a_partition_that_came_while_the_daemon_was_away_is_compared(database: Database, tmp_path: Path) -> None:
    schema = SCHEMA.replace(
        "qty int not null);",
        "qty int not null) partition by range (id);\ncreate table move_1 partition of move for values from (0) to (1000);",
        1,
    )
    async with own_stage(database, tmp_path, schema, ENTITIES) as stage:
        await stage.equal()
        await stage.daemon.kill()
        await stage.erp.execute(
            "create table move_2 (like move including all);"
            "insert into move_2 select 1000 + n, n, 100 from generate_series(1, 9) n;"
            "alter table move attach partition move_2 for values from (1000) to (2000)"
        )
        await stage.daemon.start()
        await stage.until_shown("stock", "A3|default", available=110)
        await runs(stage)
        await stage.erp.execute("delete from move where id = 1003")
        await stage.until_shown("stock", "A3|default", available=10)


@pytest.mark.parametrize("how", ["dropped", "made anew", "advanced"])
async def test_a_slot_that_is_dropped_or_moved_under_the_stream_is_a_gap(
    database: Database, tmp_path: Path, how: str
) -> None:
    take = (
        "pg_replication_slot_advance($1, pg_current_wal_lsn())" if how == "advanced" else "pg_drop_replication_slot($1)"
    )
    async with changing(database, tmp_path) as stage:
        name = await stage.erp.fetchval(
            "select slot_name from pg_replication_slots where database = current_database()"
        )

        async def taken() -> bool:
            await stage.erp.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", name
            )
            await stage.erp.execute("update move set qty = qty + 1 where id = 4")
            try:
                await stage.erp.execute(f"select {take}", name)
            except asyncpg.ObjectInUseError:
                return False
            return True

        await until(taken, within=LATEST, every=0.001, what="the slot is taken before the daemon is back")
        at = await happened(stage.erp)
        await stage.erp.execute("delete from move where id = 3")
        if how == "made anew":
            with contextlib.suppress(asyncpg.DuplicateObjectError):  # the daemon was faster
                await stage.erp.execute("select pg_create_logical_replication_slot($1, 'pgoutput')", name)
        recognised(await stage.daemon.until_event("gap"), at)
        await stage.until_shown("stock", "A3|default", available=0)
        await runs(stage)


WRONG = {
    "a row filter": ("move where (id > 0)", "has a row filter", "E-ROW-FILTER"),
    "a list without the column": ("move (id, qty)", "move.item_id is not published", "E-COLUMN-LIST"),
}


@pytest.mark.newest
@pytest.mark.parametrize(("table", "words", "code"), WRONG.values(), ids=WRONG.keys())
async def test_a_table_that_is_published_in_part_stops_its_entity(
    database: Database, tmp_path: Path, table: str, words: str, code: str
) -> None:
    async with changing(database, tmp_path) as stage:
        at = await happened(stage.erp, f"alter publication erpsyncd set table item, price, {table}")
        await stopped(stage, at, words, code)
        await stage.erp.execute("update move set item_id = 4 where id = 3")
        await runs(stage, await happened(stage.erp, "alter publication erpsyncd set table item, price, move"))
        await stage.until_shown("stock", "A4|default", available=20)


MIXED = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint not null, item_id bigint not null, qty int not null, primary key (id, item_id))
    partition by range (id);
create table move_1 partition of move for values from (0) to (1000);
insert into item select n, 'A' || n from generate_series(1, 20) n;
insert into move select n, n, 10 from generate_series(1, 20) n;
create table price (id bigint primary key, item_id bigint not null, amount numeric(12, 2) not null);
insert into price select n, n, 5 from generate_series(1, 20) n;
create unique index by_id on move_1 (id);
create publication erpsyncd for table item, move, price;
"""


async def test_a_partition_whose_identity_tells_less_than_its_parents_stops_its_entity(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path, MIXED, ENTITIES) as stage:
        await stage.equal()
        at = await happened(stage.erp, "alter table move_1 replica identity using index by_id")
        await stopped(stage, at, "tells less than that of the table", "E-IDENTITY")
        await stage.daemon.terminate()
        await stage.erp.execute("update move set item_id = 4 where id = 3")
        await stage.daemon.start()
        assert await stage.daemon.wait() == 78
        assert "move_1 tells less" in stage.daemon.output()
        await stage.erp.execute("alter table move_1 replica identity default")
        await stage.daemon.start()
        await stage.until_shown("stock", "A4|default", available=20)
        await stage.until_shown("stock", "A3|default", available=0)
        await runs(stage)

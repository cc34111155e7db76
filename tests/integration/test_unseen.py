"""What no stream tells of: history that was exchanged, transactions from before a table was published, another mode.

Invariant under test: whatever passed unseen is recognised and compared; what was under way meanwhile is compared when it
has ended; nothing waits for a later change of its key.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.doubles.shop import Reject, Shop
from tests.faults.files import own_like
from tests.faults.test_slot_lost import until_free
from tests.faults.world import world
from tests.integration.harness import LATEST, TOKEN, Daemon
from tests.integration.stage import SMALL_ERP, STOCK, Stage, mapped, own_stage, sql_connection
from tests.integration.test_visibility import answer, hanging, standby_missing
from tests.waiting import until

TWO = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint primary key, item_id bigint not null, qty int not null);
insert into item select n, 'A' || n from generate_series(1, 20) n;
insert into move select n, n, 10 from generate_series(1, 20) n;
create publication erpsyncd for table item;
"""
BY_MOVES = """
[entity.stock]
sql = '''select i.id as key, i.sku, coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]
"""


@pytest.mark.parametrize("running", [False, True], ids=["while the daemon is away", "under the daemon"])
async def test_an_older_copy_that_has_written_since_is_a_gap(
    new_cluster: Callable[..., Cluster], tmp_path: Path, running: bool
) -> None:
    """Same system, same timeline, a log that is longer than our position: only what it says there gives it away."""
    cluster = await asyncio.to_thread(new_cluster)
    async with world(cluster, tmp_path) as place:
        await place.at_rest()
        await place.kill()
        await until_free(place)
        await asyncio.to_thread(cluster.stop)
        copy = cluster.folder / "copy"
        await asyncio.to_thread(shutil.copytree, cluster.data_dir, copy, copy_function=shutil.copy2)
        await asyncio.to_thread(own_like, cluster.data_dir, copy)
        await asyncio.to_thread(cluster.start)
        await place.start()
        await place.ready()
        await place.sql("update stock set qty = 4711 where item_id = 3")
        await place.sql("update price set amount = 47.11 where item_id = 3")
        await place.at_rest()
        if not running:
            await place.kill()
            await until_free(place)
        await asyncio.to_thread(cluster.stop, "immediate")
        await asyncio.to_thread(shutil.rmtree, cluster.data_dir)
        await asyncio.to_thread(copy.rename, cluster.data_dir)
        before = len(place.daemon.events("gap"))
        await asyncio.to_thread(cluster.start)
        if not running:
            position = place.durable() or 0
            end = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
            while await place.sql(end) <= position:
                await place.sql("select pg_logical_emit_message(false, 'filler', repeat('x', 1000000))")
            await place.sql("update stock set qty = 5 where item_id = 4")
            await place.start()
        line = await place.daemon.until_event("gap", count=before + 1)
        assert "restored from an older copy" in line["msg"]
        place.shops["main"].regressions.clear()
        await place.at_rest()
        shown = place.shops["main"].documents("stock")
        assert all(shown[f"A3|W{n}"]["available"] < 4711 for n in (1, 2))


async def test_a_transaction_that_wrote_before_its_table_was_published_is_not_lost(
    database: Database, tmp_path: Path
) -> None:
    """The log of a transaction is read with the publication of the moment of each row."""
    async with own_stage(database, tmp_path, TWO.replace("table item;", "table item, move;"), BY_MOVES) as stage:
        await stage.erp.execute("alter publication erpsyncd drop table move")
        await stage.daemon.until_event("entity_stopped")
        writer = await asyncpg.connect(stage.dsn)
        try:
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("update move set item_id = 4, qty = 7 where id = 3")
            await stage.erp.execute("alter publication erpsyncd add table move")
            await stage.daemon.until_event("entity_resumed")
            await stage.erp.execute("update move set qty = 11 where id = 9")
            await stage.until_shown("stock", "A9|default", available=11)
            await stage.equal()
            await transaction.commit()
            await stage.until_shown("stock", "A4|default", available=17)
            await stage.equal()
            await stage.erp.execute("delete from move where id = 3")
            await stage.until_shown("stock", "A4|default", available=10)
        finally:
            writer.terminate()


@pytest.mark.newest
async def test_a_commit_that_hangs_while_the_slot_is_moved_past_it_is_sent_when_it_is_seen(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    async with standby_missing(new_cluster, tmp_path) as stage:
        await stage.daemon.kill()
        async with hanging(stage, "update item set on_hand = 777 where id = 3"):
            await until_done(stage, "select pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) from {slots}")
            await stage.daemon.start()
            await stage.daemon.until_event("resync")
            await stage.erp.execute("update item set on_hand = 5 where id = 9")
            await stage.until_shown("stock", "A9|default", available=5)
            await stage.daemon.until_loaded()
            for _ in range(2):  # what has to be looked at once more is not forgotten
                await stage.daemon.kill()
                await stage.daemon.start()
                await stage.daemon.until_loaded()
            await answer(stage)
        await stage.until_shown("stock", "A3|default", available=777)
        await stage.equal()


POLLED = (
    '[[entity.stock.poll]]\nevery = "200ms"\nkeys = "select id from item where updated_at > $1 and updated_at <= $2"'
)


@pytest.mark.newest
@pytest.mark.parametrize("ways", [("poll", "stream"), ("stream", "poll"), ("stream", "poll", "stream")], ids="-".join)
async def test_what_changed_between_two_ways_of_hearing_of_changes_is_found(
    database: Database, tmp_path: Path, ways: tuple[str, ...]
) -> None:
    async with Shop(token=TOKEN) as shop:

        def text(mode: str) -> str:
            return mapped(database.dsn, shop.url, tmp_path / "state.db", STOCK + POLLED, mode=mode)

        stage = Stage(await sql_connection(database.dsn), shop, Daemon(tmp_path, text(ways[0])), text(ways[0]))
        try:
            await stage.erp.execute(SMALL_ERP)
            for value, mode in enumerate(ways, 100):
                # no clock of the row tells of this one, and no slot that is there by then
                await stage.erp.execute("update item set on_hand = $1 where id = 3", value)
                stage.daemon = Daemon(tmp_path, text(mode))
                await stage.daemon.start()
                await stage.daemon.until_loaded()
                await stage.until_shown("stock", "A3|default", available=value)
                await stage.equal()
                await stage.daemon.terminate()
        finally:
            await stage.daemon.kill()
            stage.erp.terminate()


LOOKED_UP = """
create table item (id bigint primary key, sku text not null, on_hand int not null);
create table note (id bigint primary key, code text not null);
insert into item select n, 'A' || n, n from generate_series(1, 20) n;
create publication erpsyncd for table item, note;
"""
BY_CODE = """
[entity.stock]
sql = "select id as key, sku, on_hand as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [
  { table = "item", key = "id" },
  { table = "note", column = "code", keys = "select code::bigint from unnest($1::text[]) code" },
]
"""


async def test_a_value_that_cannot_be_looked_up_stops_no_other_one(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, LOOKED_UP, BY_CODE) as stage:
        await stage.erp.execute("insert into note values (1, 'no number'), (2, '5'), (3, 'neither')")

        def compared() -> bool:
            return any("cannot be looked up" in line["msg"] for line in stage.daemon.events("backfill"))

        await until(compared, within=LATEST, what="everything is compared for the value that gives no key")
        await stage.erp.execute("update item set on_hand = 77 where id = 5")
        await stage.until_shown("stock", "A5|default", available=77)
        await stage.equal()
        assert not (await stage.daemon.queue("stock"))["stopped"]


async def test_a_key_that_was_mended_during_a_gap_is_sent_without_another_change(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path) as stage:
        stage.shop.inject(Reject({"A3|default"}), method="POST")
        await stage.erp.execute("update item set on_hand = 70 where id = 3")
        await stage.daemon.until_event("quarantined")
        await stage.daemon.kill()
        stage.shop.clear()
        await stage.erp.execute("update item set on_hand = 71 where id = 3")
        await until_done(stage, "select pg_drop_replication_slot(slot_name) from {slots}")
        await stage.daemon.start()
        await stage.daemon.until_event("gap")
        await stage.until_shown("stock", "A3|default", available=71)
        await stage.equal()


async def until_done(stage: Stage, sql: str) -> None:
    """Run a statement on the database's `{slots}` as soon as nobody reads them."""
    slots = "pg_replication_slots where database = current_database()"

    async def done() -> bool:
        try:
            await stage.erp.execute(sql.format(slots=slots))
        except asyncpg.ObjectInUseError:
            return False
        return True

    await until(done, within=LATEST, what=sql)

"""Much at once: many writers on the same keys, thousands of rows under one log position, a very large transaction.

Invariant under test: the last committed value wins for every key, nothing of what was rolled back is shown, a kill in the
middle of a transaction loses none of its rows, and memory does not grow with the size of a transaction.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.faults.world import watched, world
from tests.faults.writer import writing
from tests.integration.harness import LATEST
from tests.integration.stage import own_stage
from tests.waiting import until

pytestmark = pytest.mark.newest


@pytest.mark.timeout(300)
async def test_of_eight_interleaved_writers_the_last_commit_wins(cluster: Cluster, tmp_path: Path) -> None:
    async with world(cluster, tmp_path, stores=2) as place:
        async with watched(place), writing(place.dsn, seed=8, writers=8) as hands:

            def committed(count: int) -> bool:
                return sum(hand.committed for hand in hands) >= count

            await until(lambda: committed(200), within=LATEST, what="200 transactions")
            await place.kill()
            await until(lambda: committed(300), within=LATEST, what="300 transactions")
            await place.start()
            await place.daemon.until_event("ready")
            await until(lambda: committed(500), within=LATEST, what="500 transactions")
        assert sum(hand.rolled_back for hand in hands) > 0
        await place.at_rest()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", ["after_mark", "after_state_commit"])
async def test_a_kill_in_the_middle_of_a_copy_of_ten_thousand_rows_loses_none(
    cluster: Cluster, tmp_path: Path, point: str
) -> None:
    """They share one position in the log."""
    async with world(cluster, tmp_path) as place:
        await place.daemon.terminate()
        connection = await asyncpg.connect(place.dsn)
        try:
            items = [(n, f"C{n}") for n in range(1001, 11001)]
            async with connection.transaction():
                await connection.copy_records_to_table("item", records=items, columns=["id", "sku"])
                await connection.copy_records_to_table(
                    "stock", records=[(n, 1, n) for n, _ in items], columns=["item_id", "warehouse", "qty"]
                )
        finally:
            await connection.close()
        await place.start(f"{point}=kill:1")
        assert await place.daemon.wait() == -signal.SIGKILL
        place.killed = True
        await place.start()
        await place.daemon.until_event("ready")
        documents = place.shops["main"].documents
        await until(lambda: len(documents("stock")) > 10_000, within=120, every=0.5, what="all rows are shown")
        await place.at_rest(within=120)
        shown = place.shops["main"].documents("stock")
        assert [shown[f"C{n}|W1"]["available"] for n in (1001, 6000, 11000)] == [1001, 6000, 11000]


LARGE = """
create table item (id bigint primary key, sku text not null, on_hand int not null);
create table move (id bigint primary key, item_id bigint not null, qty int not null);
insert into item select n, 'A' || n, 1 from generate_series(1, 1000) n;
insert into move select n, 1 + n % 1000, 1 from generate_series(1, 1000000) n;
create index on move (item_id);
create publication erpsyncd for table item, move;
"""
SUMMED = """
[entity.stock]
sql = '''select i.id as key, i.sku, i.on_hand + coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]
"""


@pytest.mark.timeout(300)
async def test_memory_does_not_grow_with_the_size_of_a_transaction(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, LARGE, SUMMED) as stage:
        await stage.equal()
        before = peak(stage.daemon.pid)
        await stage.erp.execute("update move set qty = qty + 1")
        await stage.erp.execute("update item set on_hand = 50 where id = 5")
        await stage.until_shown("stock", "A5|default", available=2050)
        await stage.equal()
        assert peak(stage.daemon.pid) - before < 100_000, "kilobytes more than before a transaction of a million rows"
        assert peak(stage.daemon.pid) < 256_000
        await stage.erp.execute("update item set on_hand = 60 where id = 5")
        await stage.until_shown("stock", "A5|default", within=5, available=2060)
        assert stage.daemon.events("erp_lost") == [], "the stream was told of all the while"


def peak(pid: int) -> int:
    """The most memory that a process ever held, in kilobytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def test_what_the_instruments_say_is_what_an_outsider_measures(database: Database, tmp_path: Path) -> None:
    """While the store is away: the age of the oldest change, and the log that the slot keeps."""
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.shop.stop()
        try:
            outside = "select extract(epoch from clock_timestamp() - $1::timestamptz)::float8"
            begun = await stage.erp.fetchval("select clock_timestamp()")
            await stage.erp.execute("update item set on_hand = 99 where id = 9")
            ended = await stage.erp.fetchval("select clock_timestamp()")

            async def pending() -> bool:
                return bool((await stage.daemon.queue("stock"))["pending"])

            await until(pending, within=LATEST, what="the change is known")

            async def aged() -> bool:
                return float(await stage.erp.fetchval(outside, ended)) > 5

            await until(aged, within=LATEST, what="the change is five seconds old")
            least = float(await stage.erp.fetchval(outside, ended))
            queue = await stage.daemon.queue("stock")
            status = await stage.daemon.status()
            most = float(await stage.erp.fetchval(outside, begun))
            for said in (queue["oldest_unapplied_seconds"], status["worst_staleness_seconds"]):
                assert (
                    least * 0.9 - 1 <= said <= most * 1.1 + 1
                )  # the second is for two looks at a clock on a busy machine
            assert status["verdict"] != "FRESH"
        finally:
            await stage.shop.start()
        await stage.equal()

        async def slot_agrees() -> bool:
            """Asked between two looks of ours at the same figure, which must not have moved meanwhile."""
            sql = """select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint from pg_replication_slots
                     where database = current_database()"""
            slot = (await stage.daemon.status())["slot"]
            kept = int(await stage.erp.fetchval(sql))
            return bool(abs(slot["retained_bytes"] - kept) <= max(kept * 0.1, 65536))

        await until(slot_agrees, within=LATEST, what="the daemon and the server agree on the log that is kept")

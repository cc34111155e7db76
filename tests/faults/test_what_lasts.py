"""What lasts: a store that is away for an hour's changes, a line that is slow or parted, idle tables beside busy ones.

Invariant under test: the ERP's log is not pinned, the daemon's disk and memory grow with the number of keys and not with time,
the instruments are never rosier than what an outsider measures, and afterwards everything is right.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.faults.test_much_at_once import peak
from tests.faults.world import watched, world
from tests.faults.writer import writing
from tests.integration.harness import LATEST
from tests.integration.stage import own_stage
from tests.waiting import until

pytestmark = pytest.mark.newest

KEPT = """select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint from pg_replication_slots
          where database = current_database()"""
AGE = "select extract(epoch from clock_timestamp() - $1::timestamptz)::float8"
AN_HOUR = """
do $$ begin
    for n in 1..180000 loop
        update item set on_hand = on_hand + 1 where id = 1 + n % 20;
        commit;
    end loop;
end $$"""


@pytest.mark.timeout(300)
async def test_the_changes_of_an_hour_without_the_store_cost_one_write_a_document(
    database: Database, tmp_path: Path
) -> None:
    """Fifty transactions a second, as fast as the server takes them."""
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.shop.stop()
        await stage.erp.execute("set synchronous_commit = off")
        await stage.erp.execute(AN_HOUR)
        written = await stage.erp.fetchval("select pg_current_wal_lsn()::text")

        async def told() -> bool:
            sql = "select confirmed_flush_lsn >= $1::text::pg_lsn from pg_replication_slots where database = current_database()"
            return bool(await stage.erp.fetchval(sql, written))

        await until(told, within=120, every=0.1, what="the slot is past the hour although the store is away")
        await stage.erp.execute("checkpoint")

        async def kept_little() -> bool:
            return bool(await stage.erp.fetchval(KEPT) < 64 * 1024 * 1024)

        await until(kept_little, within=LATEST, every=0.1, what="less than 64 MB of log are kept")
        assert taken(tmp_path) < 32 * 1024 * 1024
        assert (await stage.daemon.queue("stock"))["pending"] <= 20
        before = len(stage.shop.writes())
        await stage.shop.start()
        await stage.equal()
        sent = Counter(id_ for call in stage.shop.writes()[before:] for id_ in call.ids)
        assert sent == {f"A{n}|default": 1 for n in range(1, 21)}


def taken(folder: Path) -> int:
    """Bytes of the state file and what lies beside it."""
    return sum(file.stat().st_size for file in folder.glob("state.db*"))


@pytest.mark.timeout(300)
async def test_a_million_dirty_keys_are_held_in_bounded_memory(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.shop.stop()
        before = peak(stage.daemon.pid)
        await stage.erp.execute("insert into item select n, 'B' || n, n from generate_series(1001, 1001000) n")

        async def marked() -> bool:
            queue = await stage.daemon.queue("stock")
            return bool(queue["pending"] + queue["claimed"] == 1_000_000)

        await until(marked, within=120, every=0.2, what="a million keys are dirty")
        await stage.daemon.until_event("store_lost")
        assert peak(stage.daemon.pid) - before < 200_000, "kilobytes more than before"
        await stage.daemon.kill()
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        await until(marked, within=120, every=0.2, what="all of them are known after a kill")
        assert peak(stage.daemon.pid) < 300_000


@pytest.mark.timeout(180)
async def test_idle_tables_beside_busy_ones_pin_no_log(database: Database, tmp_path: Path) -> None:
    """Busy are a table that is not published, and another database of the server."""
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.erp.execute("create table busy (id bigint generated always as identity, text text)")
        elsewhere = await asyncpg.connect(database.cluster.dsn())
        try:
            for _ in range(40):
                await stage.erp.execute(
                    "insert into busy (text) select repeat('x', 1000) from generate_series(1, 1000)"
                )
                await elsewhere.execute("select pg_logical_emit_message(true, 'busy', repeat('x', 1000000))")
            written = await stage.erp.fetchval("select pg_current_wal_lsn()::text")
            await stage.erp.execute("checkpoint")
        finally:
            await elsewhere.close()

        async def free() -> bool:
            sql = """select confirmed_flush_lsn >= $1::text::pg_lsn and $1::text::pg_lsn - restart_lsn < 32 * 1024 * 1024
                     from pg_replication_slots where database = current_database()"""
            return bool(await stage.erp.fetchval(sql, written))

        await until(free, within=60, every=0.1, what="the slot keeps less than two segments")
        assert stage.daemon.events("slot_at_risk") == []

        async def fresh() -> bool:
            return bool((await stage.daemon.status())["verdict"] == "FRESH")

        await until(fresh, within=LATEST, what="the verdict is FRESH")


async def test_a_line_that_carries_everything_late_delays_and_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """What lost packets are to a program: each piece comes, in order and late."""
    async with world(cluster, tmp_path) as place:
        place.read_line.delay = place.stream_line.delay = 0.1
        async with watched(place), writing(place.dsn, seed=4) as hands:
            await until(lambda: sum(hand.committed for hand in hands) >= 60, within=LATEST, what="60 transactions")
        await place.at_rest(within=90)


async def test_a_parted_line_is_never_shown_rosier_than_it_is_and_heals(cluster: Cluster, tmp_path: Path) -> None:
    async with world(cluster, tmp_path) as place:
        await place.at_rest()
        place.stream_line.stall()
        begun = await place.sql("select clock_timestamp()")
        await place.sql("update stock set qty = 4711 where item_id = 3")
        ended = await place.sql("select clock_timestamp()")

        async def aged() -> bool:
            return bool(await place.sql(AGE, ended) > 12)

        await until(aged, within=LATEST, every=0.2, what="the change is twelve seconds old")
        least = await place.sql(AGE, ended)
        status = await place.status()
        most = await place.sql(AGE, begun)
        said = status["worst_staleness_seconds"]
        # half a second between two canaries, and some for the clocks of a busy machine
        assert least * 0.9 - 0.5 <= said <= most * 1.1 + 1.5
        assert status["verdict"] != "FRESH"
        place.read_line.stall()
        async with writing(place.dsn, seed=5) as hands:
            await until(lambda: sum(hand.committed for hand in hands) >= 20, within=LATEST, what="20 transactions")
        assert (await place.status())["verdict"] != "FRESH"
        place.read_line.resume()
        place.stream_line.resume()
        await place.at_rest()

"""From poll rules to the stream and back: another way of hearing of changes begins.

Invariant under test: what changed between the two is found by comparing everything, and till then the store is said to be as
old as what the former way had seen last, never younger.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.doubles.faults import Hold
from tests.doubles.shop import Shop
from tests.integration.harness import LATEST, TOKEN, Daemon
from tests.integration.stage import Stage, mapped, sql_connection
from tests.waiting import until

TABLE = """
create table item (id bigint primary key, sku text not null, on_hand int not null, updated_at timestamptz not null);
insert into item select n, 'A' || n, n, now() - interval '1 day' from generate_series(1, 20) n;
create publication erpsyncd for table item with (publish_via_partition_root = true);
"""
MAPPING = """
[entity.stock]
sql = "select id as key, sku, on_hand as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
"""
POLL = 'poll = [{ every = "300ms", keys = "select id from item where updated_at > $1 and updated_at <= $2" }]'
WATCH = 'watch = [{ table = "item", key = "id" }]'
OLDEST = re.compile(r"^erpsyncd_oldest_unapplied_commit_timestamp_seconds\{.*\} (\S+)$", re.MULTILINE)


@pytest.mark.parametrize("first", ["poll", "stream"])
async def test_what_passed_between_two_ways_of_hearing_is_as_old_as_what_the_first_saw_last(
    database: Database, tmp_path: Path, first: str
) -> None:
    async with Shop(token=TOKEN) as shop:
        texts = {
            mode: mapped(database.dsn, shop.url, tmp_path / "state.db", MAPPING + rule, mode=mode)
            for mode, rule in (("poll", POLL), ("stream", WATCH))
        }
        second = "stream" if first == "poll" else "poll"
        stage = Stage(await sql_connection(database.dsn), shop, Daemon(tmp_path, texts[first]), texts[first])
        try:
            await stage.erp.execute(TABLE)
            async with stage.daemon:
                await stage.daemon.until_loaded()
                await stage.erp.execute("update item set on_hand = 70, updated_at = now() where id = 7")
                await stage.equal()
                await stage.daemon.terminate()
            stopped = float(await stage.erp.fetchval("select extract(epoch from clock_timestamp())"))
            await stage.erp.execute("update item set on_hand = 80 where id = 8")  # no clock of a row tells of it
            await stage.erp.execute("delete from item where id = 9")
            hold = Hold()
            shop.inject(hold, method="POST")
            async with Daemon(tmp_path, texts[second], name="second") as daemon:
                stage.daemon, stage.text = daemon, texts[second]
                await daemon.until_event("starting")

                async def dated() -> bool:
                    known = [float(at) for at in OLDEST.findall((await daemon.get("/metrics"))[1])]
                    return any(0 < at <= stopped for at in known)

                await until(dated, within=LATEST, what="the age goes back to before the stop")
                shop.clear()
                hold.release()
                await stage.equal()
        finally:
            stage.erp.terminate()

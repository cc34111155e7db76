"""mode = "poll": no logical replication; poll rules alone find what changed.

Invariant under test: on a server with wal_level = replica every row that its rule's window can see reaches the store, also
one that was committed late or while the daemon was away; the server is left without a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import TOKEN, Daemon
from tests.integration.stage import Stage, mapped, sql_connection

SCHEMA = """
create table item (id bigint primary key, sku text not null, on_hand int not null, updated_at timestamptz not null);
create index on item (updated_at);
insert into item select n, 'A' || n, n, now() - interval '1 day' from generate_series(1, 20) n;
"""
ENTITIES = """
[entity.stock]
sql = "select id as key, sku, on_hand as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
poll = [{ every = "300ms", overlap = "10s", keys = "select id from item where updated_at > $1 and updated_at <= $2" }]
"""
CHANGE = "update item set on_hand = $2, updated_at = now() where id = $1"


@pytest.fixture
def cluster_without_logical(new_cluster: Callable[..., Cluster]) -> Cluster:
    return new_cluster(settings={"wal_level": "replica"})


@asynccontextmanager
async def polling(cluster: Cluster, folder: Path) -> AsyncIterator[Stage]:
    database = Database(cluster, "postgres")
    async with Shop(token=TOKEN) as shop:
        text = mapped(database.dsn, shop.url, folder / "state.db", ENTITIES, mode="poll")
        stage = Stage(await sql_connection(database.dsn), shop, Daemon(folder, text), text)
        try:
            await stage.erp.execute(SCHEMA)
            async with stage.daemon:
                await stage.daemon.until_loaded()
                await stage.equal()
                yield stage
        finally:
            stage.erp.terminate()


async def test_poll_rules_alone_keep_the_store_true_where_the_log_cannot_be_read(
    cluster_without_logical: Cluster, tmp_path: Path
) -> None:
    async with polling(cluster_without_logical, tmp_path) as stage:
        await stage.erp.execute(CHANGE, 1, 100)
        await stage.equal()
        await stage.erp.execute("insert into item values (99, 'A99', 99, now())")
        await stage.equal()
        assert await stage.erp.fetchval("select count(*) from pg_replication_slots") == 0
        status = await stage.daemon.status()
        assert (status["source"]["mode"], status["source"]["state"]) == ("poll", "polling")
        assert (status["verdict"], status["slot"]) == ("FRESH", None)
        assert (await stage.daemon.get("/readyz"))[0] == 200


async def test_a_row_that_is_committed_late_is_found_by_the_overlap(
    cluster_without_logical: Cluster, tmp_path: Path
) -> None:
    async with polling(cluster_without_logical, tmp_path) as stage:
        slow = await sql_connection(cluster_without_logical.dsn())
        try:
            transaction = slow.transaction()
            await transaction.start()
            await slow.execute(CHANGE, 2, 200)  # updated_at says now, the commit comes some windows later
            for n in range(3):
                await stage.erp.execute(CHANGE, 3, 300 + n)
                await stage.until_shown("stock", "A3|default", available=300 + n)
            assert stage.shop.documents("stock")["A2|default"]["available"] == 2
            await transaction.commit()
            await stage.equal()
        finally:
            slow.terminate()


async def test_windows_go_on_over_a_kill_and_a_stop(cluster_without_logical: Cluster, tmp_path: Path) -> None:
    async with polling(cluster_without_logical, tmp_path) as stage:
        for end, item in ((stage.daemon.kill, 4), (stage.daemon.terminate, 5)):
            await stage.erp.execute(CHANGE, item, 500)
            await stage.equal()
            await end()
            await stage.erp.execute(CHANGE, item + 10, 600)
            # older than any overlap: only a window that begins where the last one ended finds it
            await asyncio.to_thread(cluster_without_logical.restart)
            stage.erp.terminate()
            stage.erp = await sql_connection(cluster_without_logical.dsn())
            await stage.daemon.start()
            await stage.daemon.until_event("ready")
            await stage.equal()
            assert stage.daemon.events("backfill") == []


async def test_an_erp_that_goes_away_is_waited_for(cluster_without_logical: Cluster, tmp_path: Path) -> None:
    async with polling(cluster_without_logical, tmp_path) as stage:
        await asyncio.to_thread(cluster_without_logical.restart, "immediate")
        stage.erp.terminate()
        stage.erp = await sql_connection(cluster_without_logical.dsn())
        await stage.erp.execute(CHANGE, 6, 700)
        await stage.equal()
        assert len(stage.daemon.events("starting")) == 1
        assert not stage.daemon.events("failed")

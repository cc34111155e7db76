"""The primary dies and a standby takes over, with and without a slot of ours on it.

Invariant under test: with all hosts in the DSN the daemon finds the new primary by itself, says that another server took
over, and ends in equality: what the old one alone had is taken back, what the new one got is shown.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.doubles.shop import Shop
from tests.faults.files import own_like
from tests.integration.harness import LATEST, TOKEN, Daemon
from tests.integration.stage import SMALL_ERP, STOCK, Stage, mapped, sql_connection
from tests.waiting import until

SYNCED = "select count(*) from pg_replication_slots where synced and not temporary and invalidation_reason is null"


async def a_standby(primary: Cluster, standby: Cluster) -> None:
    """Make `standby` a physical standby of `primary`, which is restarted for the copy."""
    connection = await asyncpg.connect(primary.dsn())
    await connection.execute("select pg_create_physical_replication_slot('standby', true)")
    await connection.close()
    await asyncio.to_thread(standby.stop)
    await asyncio.to_thread(primary.stop)
    await asyncio.to_thread(shutil.rmtree, standby.data_dir)
    await asyncio.to_thread(shutil.copytree, primary.data_dir, standby.data_dir)
    with (standby.data_dir / "postgresql.conf").open("a") as conf:
        source = f"host=127.0.0.1 port={primary.port} user=postgres dbname=postgres"
        conf.write(f"primary_conninfo = '{source}'\nprimary_slot_name = 'standby'\nhot_standby_feedback = on\n")
        if standby.version >= 17:
            conf.write("sync_replication_slots = on\n")
    (standby.data_dir / "standby.signal").touch()
    await asyncio.to_thread(own_like, primary.data_dir, standby.data_dir)
    await asyncio.to_thread(primary.start)
    await asyncio.to_thread(standby.start)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("failover", [True, False], ids=["with a failover slot", "without"])
async def test_a_standby_that_takes_over_is_found_and_ends_in_equality(
    new_cluster: Callable[..., Cluster], tmp_path: Path, failover: bool
) -> None:
    primary = await asyncio.to_thread(new_cluster)
    if failover and primary.version < 17:
        pytest.skip("failover slots came with PostgreSQL 17")
    standby = await asyncio.to_thread(new_cluster)
    await a_standby(primary, standby)
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    dsn = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
    async with Shop(token=TOKEN) as shop:
        text = mapped(dsn, shop.url, tmp_path / "state.db", STOCK)
        if failover:
            text = text.replace('canary = "1s"', 'canary = "1s"\nfailover_slot = true', 1)
        stage = Stage(await sql_connection(primary.dsn()), shop, Daemon(tmp_path, text), text)
        try:
            await stage.erp.execute(SMALL_ERP)
            async with stage.daemon:
                await stage.daemon.until_loaded()
                await stage.equal()
                there = await sql_connection(standby.dsn())
                if failover:

                    async def synced() -> bool:
                        return bool(await there.fetchval(SYNCED))

                    await until(synced, within=LATEST, what="the slot is on the standby")
                await stage.erp.execute("update item set on_hand = 70 where id = 3")

                async def replayed() -> bool:
                    return bool(await there.fetchval("select on_hand = 70 from item where id = 3"))

                await until(replayed, within=LATEST, what="the standby has the change")
                # from here on the old primary is alone with what it writes
                await stage.erp.execute(
                    "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = 'standby'"
                )
                await asyncio.to_thread(primary.stop, "immediate")
                stage.erp.terminate()
                stage.erp = there
                await there.execute("select pg_promote(true, 60)")
                await there.execute("update item set on_hand = 71 where id = 4")
                line = await stage.daemon.until_event("gap")
                assert "is gone" in line["msg"] or "another server took over" in line["msg"]
                if failover:
                    assert "another server took over" in line["msg"]
                await stage.until_shown("stock", "A4|default", available=71)
                await stage.equal()
                await there.execute("delete from item where id = 5")
                await stage.until_shown("stock", "A5|default", available=0)
                kept = await there.fetchval(
                    "select to_jsonb(s) ->> 'failover' from pg_replication_slots s where active"
                )
                assert not failover or kept == "true"
        finally:
            stage.erp.terminate()

"""Another database answers at the ERP's address: another cluster, or this one restored to a point in time.

Invariant under test: it is recognised under the daemon and at a start, named in log and status, and answered as `on_gap` says:
everything compared and taken back, or a halt before anything is sent. What passed unseen is never said to be younger than it
is.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.doubles.faults import Hold
from tests.faults.files import own_like
from tests.integration.harness import LATEST
from tests.integration.stage import SMALL_ERP, Stage, own_stage, sql_connection
from tests.waiting import until, until_sync

ARCHIVED = {"archive_mode": "on", "archive_command": "test -d ../archive && cp %p ../archive/%f"}
OTHER_ERP = SMALL_ERP.replace(
    "'A' || n, n from generate_series(1, 20)", "'A' || n, 1000 + n from generate_series(1, 15)"
)
RESTORE = """
restore_command = 'cp ../archive/%f %p'
recovery_target_name = 'before'
recovery_target_action = 'promote'
"""


def another_system(cluster: Cluster, new_cluster: Callable[..., Cluster]) -> Path:
    """The data of a server that was made for itself; items 16 to 20 are unknown to it."""
    other = new_cluster(settings=ARCHIVED)
    other.psql(OTHER_ERP)
    other.stop()
    return other.data_dir


def a_point_in_time(cluster: Cluster, new_cluster: Callable[..., Cluster]) -> Path:
    """A base backup that will be recovered to now; what is written after this call is not in it."""
    archive, base = cluster.folder / "archive", cluster.folder / "base"
    archive.mkdir()
    own_like(cluster.data_dir, archive)
    command = ["pg_basebackup", "--pgdata", base, "--dbname", cluster.dsn(), "--checkpoint", "fast"]
    subprocess.run([cluster.bin_dir / command[0], *command[1:]], check=True, timeout=60)
    cluster.psql("update item set on_hand = 300 where id = 3; delete from item where id = 5")
    cluster.psql("select pg_create_restore_point('before')")
    segment = cluster.psql("select pg_walfile_name(pg_switch_wal())").strip()
    until_sync(lambda: (archive / segment).exists(), within=LATEST, what="the log is in the archive")
    with (base / "postgresql.conf").open("a") as conf:
        conf.write(RESTORE)
    (base / "recovery.signal").touch()
    own_like(cluster.data_dir, base)
    return base


async def exchange(stage: Stage, cluster: Cluster, data: Path) -> None:
    """The server dies, and comes back on the same port with other data, ready to be written to."""
    stage.erp.terminate()
    await asyncio.to_thread(cluster.stop, "immediate")
    await asyncio.to_thread(shutil.rmtree, cluster.data_dir)
    await asyncio.to_thread(shutil.move, data, cluster.data_dir)
    await asyncio.to_thread(cluster.start)
    stage.erp = await sql_connection(cluster.dsn())

    async def promoted() -> bool:
        return not await stage.erp.fetchval("select pg_is_in_recovery()")

    await until(promoted, within=LATEST, what="the server is a primary")


HISTORIES = {
    "another system": (another_system, "this is another database system"),
    "a point in time": (a_point_in_time, "is gone"),
}
histories = pytest.mark.parametrize(("make", "words"), HISTORIES.values(), ids=HISTORIES.keys())
Make = Callable[[Cluster, Callable[..., Cluster]], Path]


@histories
@pytest.mark.parametrize("running", [False, True], ids=["at a start", "under the daemon"])
async def test_another_history_is_named_and_ends_in_equality(
    new_cluster: Callable[..., Cluster], tmp_path: Path, make: Make, words: str, running: bool
) -> None:
    cluster = await asyncio.to_thread(lambda: new_cluster(settings=ARCHIVED))
    async with own_stage(Database(cluster, "postgres"), tmp_path) as stage:
        data = await asyncio.to_thread(make, cluster, new_cluster)
        await stage.erp.execute("update item set on_hand = 77 where id = 7; delete from item where id = 8")
        await stage.equal()
        if not running:
            await stage.daemon.terminate()
        hold = Hold()
        stage.shop.inject(hold, method="POST")
        await exchange(stage, cluster, data)
        if not running:
            await stage.daemon.start()
        line = await stage.daemon.until_event("gap")
        assert (line["level"], line["code"], words in line["msg"]) == ("error", "E-GAP", True), line
        await stage.daemon.until_event("resync")

        async def named() -> bool:
            return any(words in note for note in (await stage.daemon.status())["notes"])

        await until(named, within=LATEST, what="the status says why everything is compared")
        assert "erpsyncd_gaps_total 1.0" in (await stage.daemon.get("/metrics"))[1]
        stage.shop.clear()
        hold.release()
        await stage.equal()
        await stage.erp.execute("update item set on_hand = 4 where id = 4; delete from item where id = 9")
        await stage.until_shown("stock", "A4|default", available=4)
        await stage.until_shown("stock", "A9|default", available=0)
        await stage.equal()


@histories
async def test_another_history_halts_before_anything_is_sent_where_that_is_wanted(
    new_cluster: Callable[..., Cluster], tmp_path: Path, make: Make, words: str
) -> None:
    cluster = await asyncio.to_thread(lambda: new_cluster(settings=ARCHIVED))
    async with own_stage(Database(cluster, "postgres"), tmp_path) as stage:
        data = await asyncio.to_thread(make, cluster, new_cluster)
        await stage.erp.execute("update item set on_hand = 77 where id = 7")
        await stage.equal()
        await stage.daemon.terminate()
        stage.daemon.config.write_text(stage.text.replace("[state]", 'on_gap = "halt"\n[state]', 1))
        await exchange(stage, cluster, data)
        before = len(stage.shop.writes())
        for _ in range(2):  # a halt is not forgotten by the next start
            await stage.daemon.start()
            assert await stage.daemon.wait() == 78
            (line,) = stage.daemon.events("stopped")
            assert line["code"] == "E-GAP"
            assert words in line["msg"]
            assert "resync" in line["msg"]
        assert len(stage.shop.writes()) == before
        assert await stage.erp.fetchval("select count(*) from pg_replication_slots") == 0
        stage.daemon.config.write_text(stage.text)
        await stage.daemon.start()
        await stage.daemon.until_event("resync")
        await stage.equal()


async def test_a_slot_that_was_made_on_the_restored_server_is_no_proof_that_it_is_the_same(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(lambda: new_cluster(settings=ARCHIVED))
    async with own_stage(Database(cluster, "postgres"), tmp_path) as stage:
        data = await asyncio.to_thread(a_point_in_time, cluster, new_cluster)
        await stage.erp.execute("update item set on_hand = 77 where id = 7")
        await stage.equal()
        name = await stage.erp.fetchval("select slot_name from pg_replication_slots")
        await stage.daemon.terminate()
        await exchange(stage, cluster, data)
        await stage.erp.execute("select pg_create_logical_replication_slot($1, 'pgoutput')", name)
        await stage.daemon.start()
        line = await stage.daemon.until_event("gap")
        assert "restored" in line["msg"] or "made anew by someone else" in line["msg"]
        await stage.equal()


CHANGE = "update item set on_hand = 70 where id = 3"
AWAY = {
    "a dropped slot": (
        f"{CHANGE}; select pg_drop_replication_slot(slot_name) from pg_replication_slots",
        "is gone",
    ),
    "a table out of the publication": (
        f"alter publication erpsyncd drop table item; {CHANGE}; alter publication erpsyncd add table item",
        "public.item is not what it was",
    ),
}


@pytest.mark.newest
@pytest.mark.parametrize(("happens", "words"), AWAY.values(), ids=AWAY.keys())
async def test_what_passed_unseen_is_never_said_to_be_younger_than_it_is(
    new_cluster: Callable[..., Cluster], tmp_path: Path, happens: str, words: str
) -> None:
    cluster = await asyncio.to_thread(new_cluster)
    async with own_stage(Database(cluster, "postgres"), tmp_path) as stage:
        await stage.equal()
        await stage.daemon.terminate()
        for statement in happens.split("; "):
            await stage.erp.execute(statement)
        changed = await stage.erp.fetchval("select clock_timestamp()")
        age = "select extract(epoch from clock_timestamp() - $1::timestamptz)::float8"

        async def aged() -> bool:
            return bool(await stage.erp.fetchval(age, changed) > 5)

        await until(aged, within=LATEST, what="the change is five seconds old")
        hold = Hold()
        stage.shop.inject(hold, method="POST")
        await stage.daemon.start()

        async def named() -> bool:
            return any(words in note for note in (await stage.daemon.status())["notes"])

        await stage.daemon.until_event("ready")
        await until(named, within=LATEST, what="the status says why everything is compared")
        least = await stage.erp.fetchval(age, changed)
        assert (await stage.daemon.queue("stock"))["oldest_unapplied_seconds"] >= least - 0.1, "two clocks are compared"
        stage.shop.clear()
        hold.release()
        await stage.equal()

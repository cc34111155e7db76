"""The state file's disk is full, the file is damaged, the file is lost.

Invariant under test: what is not durable here is not confirmed to the ERP; a full disk heals by itself, a damaged file is
refused with the remedy, and a lost one costs a comparison of everything, which finds every value.

A full disk is a limit on the size of files (RLIMIT_FSIZE), set on the running daemon: it needs no rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from daemon.demo.embedded import Cluster
from tests.doubles.shop import Hold
from tests.faults.world import World, watched, world
from tests.faults.writer import writing
from tests.integration.harness import LATEST
from tests.integration.stage import differences, sql_connection
from tests.waiting import until

pytestmark = pytest.mark.newest
TOUCH = "update item set sku = sku"


def fill_disk(place: World) -> None:
    """No file of the daemon's grows beyond what the log of its state file has now."""
    size = Path(f"{place.state}-wal").stat().st_size
    assert size > place.daemon.log_file.stat().st_size + 100_000, "its own log must still have room"
    resource.prlimit(place.daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def free_disk(place: World) -> None:
    resource.prlimit(place.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def written(place: World) -> int:
    """Where the ERP's log ends."""
    return int(await place.sql("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))


async def until_full(place: World) -> None:
    """Load until the state file cannot be written any more."""
    fill_disk(place)
    async with writing(place.dsn, seed=1):
        line = await place.daemon.until_event("state_failing")
        assert line["code"] == "E-STATE-WRITE"
        assert line["level"] == "error"
        assert "Free disk space" in line["msg"]


async def test_a_full_disk_holds_the_position_and_heals_when_there_is_space(cluster: Cluster, tmp_path: Path) -> None:
    async with world(cluster, tmp_path) as place, watched(place):
        await until_full(place)
        before = await written(place)
        for _ in range(20):
            await place.sql(TOUCH)
        await place.never_ahead()
        assert (await place.confirmed() or 0) < before, "what is not durable is not confirmed"
        assert len(place.daemon.events("state_failing")) == 1, "one line for one outage"
        free_disk(place)
        await place.daemon.until_event("state_back")
        await place.at_rest()


async def test_a_full_disk_does_not_keep_changes_from_the_store(cluster: Cluster, tmp_path: Path) -> None:
    async with world(cluster, tmp_path) as place:
        await until_full(place)
        await place.sql("update stock set qty = 777 where warehouse = 2")
        shop = place.shops["main"]

        def shown() -> bool:
            return any(d["available"] == 777 for d in shop.documents("stock").values())

        await until(shown, within=LATEST, what="the store follows while the disk is full")
        free_disk(place)
        await place.at_rest()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_daemon_that_ends_while_the_disk_is_full_loses_nothing(
    cluster: Cluster, tmp_path: Path, end: str
) -> None:
    async with world(cluster, tmp_path) as place:
        async with watched(place):
            await until_full(place)
            await place.sql("update stock set qty = qty + 1000")
            if end == "kill":
                await place.kill()
            else:
                assert await place.daemon.terminate() != 0, "what could not be written is no orderly end"
            await place.sql("delete from item where id = 3")
            await place.start()
        await place.at_rest()


RETURNS = {
    "a value": (
        "update stock set qty = 500 where item_id = 60",
        "update stock set qty = 5 where item_id = 60",
    ),
    "a document": (
        "insert into item values (61, 'brief'); insert into stock values (61, 1, 9)",
        "delete from stock where item_id = 61; delete from item where id = 61",
    ),
}


@pytest.mark.parametrize(("change", "back"), RETURNS.values(), ids=RETURNS.keys())
async def test_what_returned_while_disk_answer_and_daemon_were_lost_at_once_is_brought_to_the_store(
    cluster: Cluster, tmp_path: Path, change: str, back: str
) -> None:
    async with world(cluster, tmp_path) as place:
        await place.sql("insert into item values (60, 'quiet')")
        await place.sql("insert into stock values (60, 1, 5)")
        await place.at_rest()
        fill_disk(place)

        async def failing() -> bool:
            await place.sql(TOUCH)
            return bool(place.daemon.events("state_failing"))

        await until(failing, within=LATEST, what="the state file cannot be written any more")
        hold = Hold(after_write=True)
        shop = place.shops["main"]
        shop.inject(hold, method="POST")
        for statement in change.split("; "):
            await place.sql(statement)
        await asyncio.wait_for(hold.reached.wait(), LATEST)
        await place.kill()
        shop.clear()
        hold.release()
        for statement in back.split("; "):
            await place.sql(statement)
        await place.start()
        await place.at_rest()


@pytest.mark.parametrize("what", ["header", "pages"])
async def test_a_damaged_state_file_is_refused_with_the_remedy_and_the_remedy_helps(
    cluster: Cluster, tmp_path: Path, what: str
) -> None:
    async with world(cluster, tmp_path) as place:
        assert await place.daemon.terminate() == 0
        size = place.state.stat().st_size
        with place.state.open("r+b") as file:
            file.seek(0 if what == "header" else 4096)
            file.write(b"\xa5" * (4096 if what == "header" else size - 4096))
        await place.sql("update stock set qty = qty + 5")
        await place.start()
        assert await place.daemon.wait() == 78
        assert "E-STATE-CORRUPT" in place.daemon.output()
        assert "Move the file away and start again" in place.daemon.output()
        for file in place.state.parent.glob("state.db*"):
            file.rename(file.with_name(f"away-{file.name}"))
        await place.start()
        await place.ready()
        await place.at_rest()


async def test_a_lost_state_file_is_made_good_but_for_what_went_meanwhile(cluster: Cluster, tmp_path: Path) -> None:
    """What the ERP deleted while nobody knew of it is in no comparison from the ERP's side: reading the store back is
    what finds it, and it is told, not removed, since the store may have it from elsewhere."""
    async with world(cluster, tmp_path) as place:
        async with writing(place.dsn, seed=2):
            await until(lambda: len(place.shops["main"].writes()) > 20, within=LATEST, what="some load")
        await place.at_rest()
        await place.sql("insert into item values (58, 'kept'), (59, 'gone'); ")
        await place.sql("insert into stock values (58, 1, 5), (59, 1, 5)")
        await place.at_rest()
        await place.kill()
        for file in place.state.parent.glob("state.db*"):
            file.unlink()
        await place.sql("delete from item where id = 59")
        await place.sql("update stock set qty = 8 where item_id = 58")
        await place.start()
        await place.ready()
        shop = place.shops["main"]
        connection = await sql_connection(place.dsn)
        try:

            async def values_equal() -> bool:
                left = await differences(connection, place.text, shop)
                return {line.split(":")[0] for line in left} == {"stock gone|W1"}

            await until(values_equal, within=LATEST, every=0.1, what="every value equals SQL, the deleted item stays")
        finally:
            connection.terminate()
        found = await reconcile(place)
        assert "gone|W1" in found
        assert "kept|W1" not in found
        assert shop.regressions == []
        assert shop.conflicts == []


async def reconcile(place: World) -> str:
    """What reading the store back found, as JSON text."""
    run = await place.ask("POST", "/api/reconcile", {"entity": "stock"})

    async def ended() -> dict[str, Any] | None:
        state = await place.ask("GET", f"/api/runs/{run['id']}")
        return state if state["state"] != "running" else None

    state = await until(ended, within=LATEST, every=0.1, what="the comparison ends")
    assert state["state"] == "done", state
    return str(state)


async def test_a_state_file_that_another_process_reads_disturbs_nobody(cluster: Cluster, tmp_path: Path) -> None:
    """A backup or a curious person holds a read transaction open: the log of the file grows, nothing else happens."""
    async with world(cluster, tmp_path) as place:
        with contextlib.closing(sqlite3.connect(place.state)) as reader:
            reader.execute("begin")
            reader.execute("select count(*) from acked").fetchall()
            async with writing(place.dsn, seed=3), watched(place):
                await until(lambda: len(place.shops["main"].writes()) > 30, within=LATEST, what="some load")
            await place.at_rest()

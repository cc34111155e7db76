"""The server gives the slot up, or somebody moves it.

Invariant under test: it is noticed within ten seconds, while streaming and at a start, and is a gap that ends in equality,
deletions included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.faults.world import World, world
from tests.integration.harness import LATEST
from tests.integration.recognition import recognised
from tests.waiting import until

SMALL = {"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}


async def lose_slot(place: World) -> None:
    """Write so much that the server gives the slot up."""
    sql = "select wal_status from pg_replication_slots where slot_name = $1"

    async def lost() -> bool:
        await place.sql("select pg_logical_emit_message(false, 'filler', repeat('x', 1000000))")
        await place.sql("select pg_switch_wal()")
        await place.sql("checkpoint")
        return bool(await place.sql(sql, place.slot) == "lost")

    await until(lost, within=LATEST, what="the slot is lost")


async def changes(place: World) -> None:
    await place.sql("delete from stock where item_id = 7")
    await place.sql("delete from item where id = 7")
    await place.sql("update stock set qty = 55 where item_id = 8")


@pytest.mark.parametrize("running", [False, True], ids=["at a start", "while streaming"])
async def test_a_slot_that_the_server_gave_up_is_a_gap_and_ends_in_equality(
    new_cluster: Callable[..., Cluster], tmp_path: Path, running: bool
) -> None:
    cluster = await asyncio.to_thread(lambda: new_cluster(settings=SMALL))
    async with world(cluster, tmp_path) as place:
        if running:
            place.stream_line.stall()
        else:
            await place.kill()
        await changes(place)
        await lose_slot(place)
        at = await place.sql("select clock_timestamp()")
        if running:
            place.stream_line.resume()
            place.stream_line.cut()
        else:
            await place.start()
        line = await place.daemon.until_event("gap")
        recognised(line, at)
        assert line["level"] == "error"
        assert "was invalidated by the server" in line["msg"]
        await place.daemon.until_event("resync")
        await place.at_rest()
        assert "A7|default|EUR|1" not in place.shops["main"].documents("price")


@pytest.mark.newest
async def test_a_slot_that_somebody_advanced_is_a_gap_and_ends_in_equality(cluster: Cluster, tmp_path: Path) -> None:
    async with world(cluster, tmp_path) as place:
        await place.kill()
        await changes(place)
        await until_free(place)
        await place.sql("select pg_replication_slot_advance($1, pg_current_wal_lsn())", place.slot)
        at = await place.sql("select clock_timestamp()")
        await place.start()
        line = await place.daemon.until_event("gap")
        recognised(line, at)
        assert "was advanced or made anew by someone else" in line["msg"]
        await place.at_rest()
        assert "A7|default|EUR|1" not in place.shops["main"].documents("price")


async def until_free(place: World) -> None:
    sql = "select active_pid is null from pg_replication_slots where slot_name = $1"

    async def free() -> bool:
        return bool(await place.sql(sql, place.slot))

    await until(free, within=LATEST, what="nobody reads the slot")

"""The daemon ends at every named point of its way, or stumbles there over an error that nobody foresaw.

Invariant under test: wherever it ends, a start brings every store to what SQL says; redelivery is allowed, loss is not.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import failpoints
from daemon.demo.embedded import Cluster
from daemon.failpoints import POINTS, InjectedError, armed, parse
from tests.faults.world import World, watched, world
from tests.faults.writer import writing
from tests.integration.harness import REPO, environment

FIRST = ("slot_created", "slot_remembered", "backfill_page_offered", "backfill_page_done")
"""Passed on a first start."""
GAP = ("gap_slot_made", "gap_marked")
STEADY = tuple(point for point in POINTS if point not in FIRST + GAP)
pytestmark = pytest.mark.newest


async def ends_at(place: World, point: str, action: str) -> None:
    """The daemon passed the point: killed there, or ended with the code that lets systemd start it again."""
    code = await place.daemon.wait()
    assert code == (-signal.SIGKILL if action == "kill" else 2), place.tail()
    if action == "error":
        assert f"failpoint {point}" in place.daemon.output()
    place.killed = True


@pytest.mark.parametrize("action", ["kill", "error"])
@pytest.mark.parametrize("point", STEADY)
async def test_a_daemon_that_ends_under_load_loses_nothing(
    cluster: Cluster, tmp_path: Path, point: str, action: str
) -> None:
    async with world(cluster, tmp_path, stores=2) as place:
        await place.daemon.terminate()
        async with writing(place.dsn, seed=POINTS.index(point)):
            async with watched(place):
                await place.start(f"{point}={action}:5")
                await ends_at(place, point, action)
            # it ends again, in the middle of catching up
            await place.start(f"{point}={action}:1")
            await ends_at(place, point, action)
            await place.start()
            await place.daemon.until_event("ready")
        await place.at_rest()


@pytest.mark.parametrize("action", ["kill", "error"])
@pytest.mark.parametrize("point", FIRST)
async def test_a_first_start_that_ends_is_taken_up_again(
    cluster: Cluster, tmp_path: Path, point: str, action: str
) -> None:
    async with world(cluster, tmp_path, start=False) as place:
        async with writing(place.dsn, seed=POINTS.index(point)):
            await place.start(f"{point}={action}")
            await ends_at(place, point, action)
            await place.start()
            await place.daemon.until_event("ready")
        await place.ready()
        await place.at_rest()


@pytest.mark.parametrize("action", ["kill", "error"])
@pytest.mark.parametrize("point", GAP)
async def test_a_gap_that_is_being_answered_when_the_daemon_ends_is_still_a_gap(
    cluster: Cluster, tmp_path: Path, point: str, action: str
) -> None:
    async with world(cluster, tmp_path) as place:
        await place.kill()
        await place.drop_slot()
        await place.sql("delete from item where id = 7")
        await place.start(f"{point}={action}")
        await ends_at(place, point, action)
        await place.sql("delete from item where id = 8")
        await place.start()
        await place.daemon.until_event("gap")
        await place.daemon.until_event("ready")
        await place.at_rest()
        assert "A7|default|EUR|1" not in place.shops["main"].documents("price")
        assert "A8|default|EUR|1" not in place.shops["main"].documents("price")


def test_every_point_is_somewhere_in_the_daemon_once_and_no_other() -> None:
    named = [
        name
        for path in (REPO / "daemon").rglob("*.py")
        for name in re.findall(r'failpoints\.reach\("(\w+)"\)', path.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == sorted(POINTS)


def test_a_daemon_without_the_variable_passes_every_point() -> None:
    for point in POINTS:
        failpoints.reach(point)


def test_a_point_acts_at_its_passing_and_once() -> None:
    reach = armed({"after_claim": ("error", 2)})
    reach("after_claim")
    reach("after_read")
    with pytest.raises(InjectedError, match="after_claim"):
        reach("after_claim")
    reach("after_claim")


def test_words_are_understood_or_refused() -> None:
    assert parse("") == {}
    assert parse("after_claim=kill:3, after_ack=error") == {"after_claim": ("kill", 3), "after_ack": ("error", 1)}
    for text in ("after_lunch=kill", "after_claim", "after_claim=sleep", "after_claim=kill:x"):
        with pytest.raises(ValueError, match="ERPSYNCD_FAILPOINTS"):
            parse(text)


def test_a_word_that_is_not_understood_ends_the_process() -> None:
    env = environment({"ERPSYNCD_FAILPOINTS": "after_lunch=kill"})
    done = subprocess.run([sys.executable, "-m", "daemon.failpoints"], env=env, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"after_lunch" in done.stderr

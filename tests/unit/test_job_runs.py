"""Laws of a job's runs over days: windows without a gap, missed runs, restarts, the window of the day.

Invariant under test: time is the test's own, and goes minute by minute over nights that change the clock.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.config.outlet import Batch
from daemon.jobs import filing
from daemon.jobs.extract import ExtractError, ExtractJob
from daemon.jobs.job import Job
from daemon.jobs.records import Records, Run, micros, moment
from daemon.state import StateFile

PRAGUE = ZoneInfo("Europe/Prague")
TO = "/out/sales-{date}.csv"


class Sales(ExtractJob):
    """An extract whose file is written in no time, or not at all."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fails = False

    async def _work(self, run: Run) -> bool:
        if self.fails:
            raise ExtractError("the disk is full")
        return True


class World:
    """A state file and a clock that the test sets."""

    def __init__(self, folder: Path, begin: str, **batch: Any) -> None:
        self.now = dt.datetime.fromisoformat(begin).replace(tzinfo=PRAGUE).astimezone(dt.UTC)
        said = {"name": "sales", "extract": "select 1 where $1 < $2", "to": TO, "timezone": "Europe/Prague", **batch}
        self.batch = Batch.model_validate(said)
        self.state = StateFile(folder / "state.db")
        self.state.open()
        self.job = self.started()
        self.windows: list[tuple[dt.datetime, dt.datetime]] = []
        """Of the runs that ended well."""

    def started(self) -> Sales:
        records = Records(self.state)
        records.open()
        return Sales(self.batch, records, lambda: micros(self.now), lambda _name, _at: None, "")

    async def restart(self, *, after: dt.timedelta = dt.timedelta()) -> None:
        await self.state.drain()
        self.now += after
        self.job = self.started()

    async def look(self) -> Run | None:
        """What the job does at this moment: a run to its end, or nothing."""
        job = self.job
        job.open = job.open or job._due()
        if (run := job.open) is None:
            return None
        await job._finish(run)
        if run.result == "done" and run.low is not None and run.high is not None:
            self.windows.append((moment(run.low), moment(run.high)))
        return run

    async def minutes(self, count: int) -> list[Run]:
        found = []
        for _ in range(count):
            self.now += dt.timedelta(minutes=1)
            if (run := await self.look()) is not None:
                found.append(run)
        return found

    def whole(self) -> None:
        """No gap and no overlap."""
        for one, following in itertools.pairwise(self.windows):
            assert one[1] == following[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    made: list[World] = []

    def make(begin: str, **batch: Any) -> World:
        made.append(World(tmp_path, begin, **batch))
        return made[-1]

    yield make
    for one in made:
        one.state.close()


@pytest.mark.parametrize("begin", ["2026-03-27 12:00", "2026-10-23 12:00", "2026-06-01 12:00"])
@pytest.mark.parametrize("schedule", ["0 0 * * *", "30 2 * * *", "15 * * * *"])
async def test_windows_follow_each_other_over_midnight_and_over_both_changes_of_the_clock(
    world: Any, begin: str, schedule: str
) -> None:
    stage = world(begin, schedule=schedule)
    await stage.minutes(4 * 24 * 60)
    stage.whole()
    low, high = stage.windows[0][0], stage.windows[-1][1]
    if schedule == "15 * * * *":
        assert len(stage.windows) == (high - low) / dt.timedelta(hours=1)
        assert {b - a for a, b in stage.windows} == {dt.timedelta(hours=1)}
        return
    assert len(stage.windows) == 4
    names = [filing.named(TO, window[1], "Europe/Prague").name for window in stage.windows]
    assert len(set(names)) == 4, "each day has a file of its own, the one of 23 and the one of 25 hours too"
    if schedule == "0 0 * * *":
        days = [(a.astimezone(PRAGUE), b.astimezone(PRAGUE)) for a, b in stage.windows]
        assert all((a.hour, b.hour) == (0, 0) and b.date() - a.date() == dt.timedelta(days=1) for a, b in days)


async def test_a_failed_run_leaves_its_window_to_the_next(world: Any) -> None:
    stage = world("2026-06-01 12:00", schedule="0 * * * *")
    await stage.minutes(60)
    stage.job.fails = True
    assert [run.result for run in await stage.minutes(120)] == ["failed"] * 2
    stage.job.fails = False
    await stage.minutes(60)
    stage.whole()
    assert [b - a for a, b in stage.windows] == [dt.timedelta(hours=1), dt.timedelta(hours=3)]


async def test_runs_that_were_missed_while_the_daemon_was_down_are_made_up_once(world: Any) -> None:
    stage = world("2026-06-01 12:00", schedule="0 * * * *")
    await stage.minutes(60)
    await stage.restart(after=dt.timedelta(days=3, minutes=7))
    first = await stage.look()
    assert first is not None
    assert moment(first.planned).minute == 0
    assert await stage.minutes(30) == []
    stage.whole()
    assert stage.windows[-1][1] == moment(first.planned)


async def test_a_run_that_was_cut_off_is_taken_up_with_its_window_by_the_next_process(world: Any) -> None:
    stage = world("2026-06-01 12:00", schedule="0 * * * *")
    await stage.minutes(60)
    stage.now += dt.timedelta(minutes=60)
    cut = stage.job._due()
    assert cut is not None
    await stage.restart(after=dt.timedelta(hours=5))
    again = await stage.look()
    assert again is not None
    assert (again.id, again.low, again.high) == (cut.id, cut.low, cut.high)
    await stage.minutes(1)
    stage.whole()
    assert len(stage.windows) == 3


async def test_a_clock_that_is_set_back_writes_no_window_twice(world: Any) -> None:
    stage = world("2026-06-01 12:00", schedule="0 * * * *")
    await stage.minutes(180)
    stage.now -= dt.timedelta(minutes=90)
    await stage.minutes(180)
    stage.whole()
    assert len(set(stage.windows)) == len(stage.windows) == 4


class Nightly(Job):
    """A job that does nothing but ask whether it may."""

    def progress(self) -> tuple[int, int | None]:
        return 0, None

    async def _work(self, run: Run) -> bool:
        return self._may_work(run)


async def test_a_run_waits_outside_of_its_window_and_an_operators_does_not(world: Any) -> None:
    stage = world("2026-06-01 12:00", schedule="0 0 * * *")
    batch = Batch.model_validate(
        {"name": "n", "entity": "content", "every": 3600, "window": "22:00-06:00", "timezone": "Europe/Prague"}
    )
    records = Records(stage.state)
    records.open()
    job = Nightly(batch, records, lambda: micros(stage.now), lambda _name, _at: None)
    began, allowed = set(), set()
    for _ in range(24 * 4):
        stage.now += dt.timedelta(minutes=15)
        hour = stage.now.astimezone(PRAGUE).hour
        run = job._due()
        if run is not None:
            began.add(hour)
            assert job._may_work(run)
            job._last = micros(stage.now - dt.timedelta(hours=2))
        if job._may_work(Run(1, "n", False, 0, 0)):
            allowed.add(hour)
        assert job._may_work(Run(1, "n", True, 0, 0))
    assert began == allowed == {22, 23, 0, 1, 2, 3, 4, 5}

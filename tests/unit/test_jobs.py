"""Laws of jobs: when they are due, how fast they may go, what their windows and files are."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.outlet import Batch
from daemon.jobs import filing, timetable
from daemon.jobs.records import Records, Result, micros, moment
from daemon.jobs.throttle import Fast, part
from daemon.state import StateFile
from daemon.tap import BULK_BYTES, BYTES_S, CALL_BYTES, Tap

PRAGUE = ZoneInfo("Europe/Prague")


def cron(schedule: str, timezone: str = "Europe/Prague", **more: Any) -> Batch:
    return Batch.model_validate({"name": "j", "entity": "content", "schedule": schedule, "timezone": timezone, **more})


def every(seconds: float) -> Batch:
    return Batch.model_validate({"name": "j", "entity": "content", "every": seconds})


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=PRAGUE)


def test_a_job_is_due_at_its_moment_and_not_before() -> None:
    job, last = cron("15 2 * * *"), at("2026-06-01 02:15")
    assert timetable.due(job, last, at("2026-06-02 02:14:59")) is None
    assert timetable.due(job, last, at("2026-06-02 02:15")) == at("2026-06-02 02:15")


@pytest.mark.parametrize("days", [2, 40, 500, 2000])
def test_missed_runs_are_made_up_by_the_newest_alone(days: int) -> None:
    job, last = cron("15 2 * * *", "UTC"), dt.datetime(2026, 1, 1, 2, 15, tzinfo=dt.UTC)
    now = last + dt.timedelta(days=days, hours=3)
    due = timetable.due(job, last, now)
    assert due == last + dt.timedelta(days=days)
    assert timetable.due(job, due, now) is None


def test_a_time_that_summer_skips_comes_once_and_one_that_winter_repeats_comes_once() -> None:
    job = cron("30 2 * * *")
    for begin in ("2026-03-28 12:00", "2026-10-24 12:00"):  # both nights that follow change the clock
        last, ran = at(begin).astimezone(dt.UTC), []
        for minute in range(24 * 60):
            now = at(begin).astimezone(dt.UTC) + dt.timedelta(minutes=minute)
            if (due := timetable.due(job, last, now)) is not None:
                ran.append(due)
                last = due
        assert len(ran) == 1


def test_a_clock_that_is_set_back_repeats_no_run() -> None:
    job, last = cron("15 2 * * *"), at("2026-06-02 02:15")
    assert timetable.due(job, last, at("2026-06-02 01:50")) is None
    assert timetable.due(job, last, at("2026-06-02 02:20")) is None
    assert timetable.due(job, last, at("2026-06-03 02:15")) == at("2026-06-03 02:15")


def test_a_last_run_from_the_far_future_means_nothing() -> None:
    job, now = cron("15 2 * * *"), at("2026-06-02 01:00")
    last = timetable.trusted(at("2099-01-01 02:15"), now)
    assert timetable.due(job, last, at("2026-06-02 02:15")) == at("2026-06-02 02:15")


@given(seconds=st.integers(1, 100_000), passed=st.integers(0, 10**7))
def test_an_interval_keeps_its_rhythm_over_missed_runs(seconds: int, passed: int) -> None:
    last = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    now = last + dt.timedelta(seconds=passed)
    due = timetable.due(every(seconds), last, now)
    if passed < seconds:
        assert due is None
    else:
        assert due is not None
        assert due <= now < due + dt.timedelta(seconds=seconds)
        assert ((due - last).total_seconds()) % seconds == 0


def test_the_first_window_of_an_extract_begins_at_the_planned_moment_before() -> None:
    assert timetable.before(cron("0 0 * * *"), at("2026-03-30 00:00")) == at("2026-03-29 00:00")
    assert timetable.before(cron("0 0 1 * *"), at("2026-03-01 00:00")) == at("2026-02-01 00:00")


def test_a_window_may_pass_midnight() -> None:
    job = cron("0 * * * *", window="22:00-06:00")
    opened = [hour for hour in range(24) if job.open_at(at(f"2026-06-01 {hour:02}:30"))]
    assert opened == [0, 1, 2, 3, 4, 5, 22, 23]


# how fast


def test_nothing_is_sent_while_a_promise_of_the_fast_lane_is_broken() -> None:
    assert part([Fast(1, 6.0, 5.0, 1000), Fast(0, 0.0, 5.0, 1000)]) == 0.0


def test_an_idle_fast_lane_costs_nothing() -> None:
    assert part([Fast(0, 0.0, 5.0, 1000)]) == 1.0
    assert part([]) == 1.0


@given(age=st.floats(0, 5), moving=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_more_work_for_the_fast_lane_never_makes_a_job_faster(age: float, moving: int, more: int) -> None:
    less_loaded, loaded = part([Fast(moving, age, 5.0, 100)]), part([Fast(moving + more, age, 5.0, 100)])
    assert 0 < loaded <= less_loaded <= 1


async def test_a_closed_tap_lets_nothing_begin_and_sends_home_who_waits() -> None:
    tap = Tap(free=False)
    assert not tap.flowing
    assert not await tap.take(1)
    tap.set(0.0, "a reason")
    waiting = asyncio.create_task(tap.take(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    tap.close()
    assert await waiting is False


async def test_a_tap_of_its_own_is_open_and_without_a_limit() -> None:
    tap = Tap(free=True, urgent=True)
    assert tap.ready
    assert tap.room(500, 100) == 500
    for _ in range(1000):
        assert await tap.take(100)
    tap.set(10.0)
    tap.close()
    assert tap.ready


async def test_a_tap_lets_no_more_through_than_its_rate() -> None:
    tap, loop = Tap(free=False), asyncio.get_running_loop()
    tap.set(400.0)
    began = loop.time()
    for _ in range(20):
        assert await tap.take(10)
    # 200 documents at 400 a second; the first call and what a full second holds may be ahead
    assert loop.time() - began >= (200 - 10 - 1) / 400 - 0.05
    while tap.heavy:
        tap.weigh(1, [100])
    assert tap.room(500, 100) == 100
    tap.set(2.0)
    assert tap.room(500, 100) == 4


async def test_a_job_lets_no_more_bytes_through_than_the_fast_lane_can_bear() -> None:
    tap, loop = Tap(free=False), asyncio.get_running_loop()
    tap.set(math.inf)
    began = loop.time()
    for _ in range(12):
        assert await tap.take(10, CALL_BYTES)
    # one call may be ahead, another one in debt
    assert loop.time() - began >= 10 * CALL_BYTES / BYTES_S - 0.05


async def test_the_bytes_of_a_job_are_fewer_while_the_fast_lane_has_work() -> None:
    tap, loop = Tap(free=False), asyncio.get_running_loop()
    tap.set(math.inf, "", 0.25)
    began = loop.time()
    for _ in range(5):
        tap.set(math.inf, "", 0.25)  # as a job says again and again
        assert await tap.take(10, CALL_BYTES)
    assert loop.time() - began >= 3 * CALL_BYTES / (BYTES_S / 4) - 0.05
    tap.set(0.0, "the fast lane", 0.0)
    waiting = asyncio.create_task(tap.take(1, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    tap.set(math.inf)
    assert await asyncio.wait_for(waiting, 5)


async def test_bytes_of_the_fast_lane_have_no_rate() -> None:
    tap = Tap(free=True, urgent=True)
    for _ in range(1000):
        assert await tap.take(10, CALL_BYTES)
        assert tap.ready


async def test_the_heavier_keys_are_the_fewer_are_claimed_at_once() -> None:
    tap = Tap(free=False)
    tap.set(math.inf)
    tap.weigh(100, [500] * 100)
    while tap.heavy:
        tap.weigh(100, [500] * 100)
    assert tap.room(500, 100) == 100
    tap.weigh(10, [CALL_BYTES // 10] * 10)
    assert tap.heavy
    assert tap.room(500, 100) == 10
    assert tap.room(5000, 1000) == BULK_BYTES // (CALL_BYTES // 10)  # an interface for bulk takes more
    tap.weigh(1, [CALL_BYTES * 5])
    assert tap.room(500, 100) == 1
    urgent = Tap(free=True, urgent=True)
    assert not urgent.heavy
    urgent.weigh(10, [CALL_BYTES // 10] * 10)
    assert urgent.heavy
    assert urgent.room(500, 100) == 10


async def test_calls_that_keep_others_waiting_become_smaller_but_for_an_interface_for_bulk() -> None:
    tap = Tap(free=False)
    tap.set(math.inf)
    while tap.heavy:
        tap.weigh(50, [100] * 100)  # two documents a key
    assert tap.room(500, 100) == 100
    tap.held(100, 10.0)
    assert tap.room(500, 100) == 5
    assert tap.room(5000, 500) == 500
    urgent = Tap(free=True, urgent=True)
    urgent.held(100, 10.0)
    assert urgent.room(500, 100) == 500


# what is kept


@pytest.fixture
def state(tmp_path: Path) -> Any:
    made = StateFile(tmp_path / "state.db")
    made.open()
    yield made
    made.close()


async def test_a_window_moves_only_with_the_end_of_its_run(state: StateFile) -> None:
    records = Records(state)
    records.open()
    records.see("x", 5)
    run = records.begin("x", asked=False, planned=100, at=101, window=(50, 100))
    await state.drain()
    assert records.mark("x") == (100, None)
    assert records.newest("x")[0].result is Result.RUNNING
    records.end(run, Result.FAILED, 110, "why")
    await state.drain()
    assert records.mark("x") == (100, None)
    again = records.begin("x", asked=True, planned=200, at=201, window=(50, 200))
    records.end(again, Result.DONE, 210)
    await state.drain()
    assert records.mark("x") == (100, 200)  # an operator's run moves the window, not the schedule
    assert records.last_success("x") == 210


async def test_old_runs_of_one_job_do_not_push_out_another_jobs(state: StateFile) -> None:
    records = Records(state)
    records.open()
    records.begin("rare", asked=False, planned=1, at=1)
    for number in range(250):
        records.begin("often", asked=False, planned=number, at=number)
    await state.drain()
    assert len(records.newest("rare", 999)) == 1
    assert len(records.newest("often", 999)) <= 100


def test_times_survive_to_the_microsecond() -> None:
    for value in (0, 1, 1_700_000_000_123_457, 4_102_444_800_999_999):
        assert micros(moment(value)) == value


# files


def written(folder: Path, to: str, job: str, hour: int, text: bytes = b"x") -> Path:
    planned = dt.datetime(2026, 6, 1, hour, tzinfo=dt.UTC)
    window = {"from": f"{hour - 1:02}", "to": f"{hour:02}"}
    sink = filing.Sink(filing.temporary(to, job))
    sink.write(text)
    sink.close()
    path = filing.final(to, planned, "UTC", window)
    filing.publish(sink, path, {"job": job, "window": window, "sha256": sink.sha256})
    return path


def test_a_file_of_another_window_is_not_overwritten_and_the_same_window_is(tmp_path: Path) -> None:
    to = str(tmp_path / "sales-{date}.csv.zst")
    assert written(tmp_path, to, "j", 5).name == "sales-2026-06-01.csv.zst"
    assert written(tmp_path, to, "j", 6).name == "sales-2026-06-01-2.csv.zst"
    assert written(tmp_path, to, "j", 6).name == "sales-2026-06-01-2.csv.zst"
    assert not list(tmp_path.glob(".*"))


def test_the_day_in_a_name_is_the_jobs_own(tmp_path: Path) -> None:
    planned = dt.datetime(2026, 5, 31, 22, 30, tzinfo=dt.UTC)
    assert filing.named("/x/{date}-{time}.csv", planned, "Europe/Prague") == Path("/x/2026-06-01-003000.csv")


def test_retention_keeps_the_newest_files_of_this_job_and_no_others_are_touched(tmp_path: Path) -> None:
    to = str(tmp_path / "s-{time}.csv")
    mine = [written(tmp_path, to, "mine", hour) for hour in range(1, 6)]
    other = written(tmp_path, to, "other", 9)
    stranger = tmp_path / "s-000000.csv"
    stranger.write_text("by hand")
    assert sorted(filing.retire(to, "mine", 2)) == mine[:3]
    assert sorted(tmp_path.glob("*.csv")) == sorted([*mine[3:], other, stranger])
    assert len(list(tmp_path.glob("*.manifest.json"))) == 3


def test_a_manifest_says_the_digest_of_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, str(tmp_path / "a.csv"), "j", 3, b"abc")
    manifest = orjson.loads(Path(f"{path}.manifest.json").read_bytes())
    assert manifest["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

"""Laws of calls without an answer: which keys are in doubt, and what the ledger has of their documents meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from daemon.flights import AHEAD, FEW, Flights, appearing, said
from daemon.mapping import Change
from daemon.model import Outcome, Patch, Status
from daemon.state import StateFile
from tests.waiting import until

VERSION = 7
OK, RETRY, REJECTED = (Outcome("a", status) for status in (Status.OK, Status.RETRY, Status.REJECTED))


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateFile]:
    file = StateFile(tmp_path / "state.db")
    file.open()
    writer = asyncio.create_task(file.run())
    yield file
    writer.cancel()
    with suppress(asyncio.CancelledError):
        await writer
    file.close()


def change(before: bytes | None, after: bytes | None) -> Change:
    return Change(Patch("a", VERSION, 1, {}), before, after)


async def test_a_doubt_is_on_disk_before_the_call_and_outlives_the_process(state: StateFile) -> None:
    flights = Flights(state, 1)
    assert flights.depart([1, 2]) == set()
    await flights.secured()
    assert Flights(state, 1).keys == {1, 2}
    assert Flights(state, 2).keys == set()


async def test_only_an_answer_ends_a_doubt(state: StateFile) -> None:
    flights = Flights(state, 1)
    flights.depart([1, 2])
    assert flights.depart([2, 3]) == {2}
    flights.arrive([1, 3, 9])
    await state.settle()
    assert 2 in flights
    assert Flights(state, 1).keys == flights.keys == {2}


async def test_a_disk_that_takes_nothing_keeps_no_call_and_loses_no_doubt(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(state, "_write", full)
    flights = Flights(state, 1)
    flights.depart([1])
    async with asyncio.timeout(10):
        await flights.secured()
        await flights.secured()
    assert state.problem
    assert 1 in flights
    state.close()  # killed
    again = StateFile(state.path)
    again.open()
    assert Flights(again, 1).keys == {1}
    again.close()


@pytest.mark.parametrize("doubted", [False, True])
@pytest.mark.parametrize("outcome", [None, OK, RETRY, REJECTED])
def test_a_version_that_was_sent_is_used_up_whatever_the_answer(outcome: Outcome | None, doubted: bool) -> None:
    """A clock that goes back after a lost answer must not let a younger truth look older to the store."""
    assert said(change(b"old", b"new"), outcome, doubted)[:2] == ("a", VERSION)


@pytest.mark.parametrize(
    ("before", "after", "outcome", "doubted", "body"),
    [
        (b"old", b"new", OK, False, b"new"),
        (b"old", None, OK, False, None),
        (b"old", b"new", REJECTED, False, b"old"),
        (b"old", b"new", None, False, b"old"),
        (None, b"new", OK, False, b"new"),
        (None, b"new", None, False, b"new"),
        (None, b"new", RETRY, False, b"new"),
        (None, b"new", REJECTED, True, b"new"),
        (None, b"new", REJECTED, False, None),
    ],
)
def test_a_document_that_may_be_there_is_remembered(
    before: bytes | None, after: bytes | None, outcome: Outcome | None, doubted: bool, body: bytes | None
) -> None:
    assert said(change(before, after), outcome, doubted) == ("a", VERSION, body)


def test_documents_that_a_call_may_be_the_first_to_show_are_known_before_it() -> None:
    assert appearing([change(b"old", b"new"), change(None, b"new")]) == [("a", VERSION, b"new")]


async def test_versions_grow_over_a_kill_and_a_clock_that_is_set_back(state: StateFile) -> None:
    flights = Flights(state, 1)
    assert flights.stamp(1_000) == 1_000
    sent = flights.stamp(500)  # set back while it runs
    assert sent > 1_000
    await flights.secured()  # the call leaves; a kill follows
    assert Flights(state, 1).stamp(10) > sent
    assert Flights(state, 1).stamp(AHEAD * 2) == AHEAD * 2  # a clock that is right again is followed
    assert Flights(state, 2).stamp(10) == 10


async def test_versions_are_noted_ahead_so_that_few_calls_wait_for_them(state: StateFile) -> None:
    flights = Flights(state, 1)
    flights.stamp(1_000)
    await flights.secured()
    before = state.appended
    sent = flights.stamp(1_000 + AHEAD)
    await flights.secured()
    assert state.appended == before
    assert Flights(state, 1).stamp(10) > sent
    beyond = flights.stamp(2_000 + AHEAD)
    await flights.secured()
    assert state.appended == before + 1
    assert Flights(state, 1).stamp(10) > beyond


async def called(flights: Flights, key: int) -> None:
    """Keys of this queue lead to calls."""
    flights.expect([key])
    flights.decided([key])
    flights.depart([key])
    await flights.secured()
    flights.arrive([key])


async def test_a_call_that_was_expected_finds_its_doubt_on_disk(state: StateFile) -> None:
    flights = Flights(state, 1)
    await called(flights, 9)
    flights.expect([1, 2])
    assert 1 not in flights, "what is only expected may be compared with what was acknowledged"
    await until(lambda: Flights(state, 1).keys == {1, 2}, what="the doubt is written while the ERP is asked")
    flights.decided([1, 2])
    before = state.appended
    assert flights.depart([1, 2]) == set()
    await flights.secured()
    assert state.appended == before
    assert flights.keys == Flights(state, 1).keys == {1, 2}


async def test_an_expected_call_that_does_not_follow_leaves_no_doubt(state: StateFile) -> None:
    flights = Flights(state, 1)
    await called(flights, 9)
    flights.expect([1, 2])
    flights.decided([2])
    flights.depart([2])
    await state.settle()
    assert flights.keys == Flights(state, 1).keys == {2}


async def test_a_key_in_doubt_stays_so_when_an_expected_call_does_not_follow(state: StateFile) -> None:
    flights = Flights(state, 1)
    await called(flights, 9)
    flights.depart([1])
    flights.expect([1, 2])
    flights.depart([2])  # an heir, whose document is not sent yet
    flights.decided([])
    await state.settle()
    assert flights.keys == Flights(state, 1).keys == {1, 2}


async def test_a_unit_that_its_job_does_not_let_go_leaves_no_doubt(state: StateFile) -> None:
    flights = Flights(state, 1)
    await called(flights, 9)
    flights.expect([1])
    flights.decided([1])
    flights.stay([1])
    await state.settle()
    assert flights.keys == Flights(state, 1).keys == set()


async def test_where_nothing_was_sent_nothing_is_expected(state: StateFile) -> None:
    flights = Flights(state, 1)
    flights.expect([1])
    flights.decided([])
    await called(flights, 9)
    before = state.appended
    flights.expect(range(FEW + 1))
    flights.decided([])
    assert state.appended == before


async def test_a_call_waits_for_what_it_must_not_leave_before_and_for_nothing_newer(state: StateFile) -> None:
    flights = Flights(state, 1)
    flights.depart([1])
    flights.cover(document := state.append("insert into stamp values (7, 7)"))
    await flights.secured()
    assert state.flushed >= document
    newer = state.append("insert into stamp values (8, 8)")
    await flights.secured()
    assert state.flushed < newer

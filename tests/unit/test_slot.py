"""Laws of where to start: whether our position and the slot are one story, for every way in which they may not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.errors import EXIT_CONFIG, SourceError
from daemon.model import Fingerprint
from daemon.slot import Create, Gap, GapNote, Position, Server, Slot, Standby, Start, check_slot, judge_slot, renumbered

SERVER = Server(system_id="7001", timeline=3, dbname="erp", version=18, wal_lsn=9000)
SLOT = Slot(
    name="erpsyncd_erp",
    plugin="pgoutput",
    database="erp",
    active_pid=None,
    restart_lsn=900,
    confirmed=1000,
    wal_status="reserved",
    safe_bytes=10_000,
    invalidation="",
)
POSITION = Position(system_id="7001", timeline=3, dbname="erp", slot="erpsyncd_erp", lsn=1500)


def slot(**changes: Any) -> Slot:
    return replace(SLOT, **changes)


def server(**changes: Any) -> Server:
    return replace(SERVER, **changes)


def position(**changes: Any) -> Position:
    return replace(POSITION, **changes)


@pytest.mark.parametrize("lsn", [1000, 1001, 9000])
def test_a_position_within_the_slots_story_is_streamed_from(lsn: int) -> None:
    """Postgres was told less than is durable here, or exactly that."""
    assert judge_slot(position(lsn=lsn), SERVER, SLOT) == Start(lsn)


COMMIT = Fingerprint(1400, 77, 5)


@pytest.mark.parametrize(
    ("confirmed", "start"), [(1399, Start(1399, COMMIT)), (1400, Start(1500)), (1500, Start(1500))]
)
def test_a_slot_that_was_told_less_than_we_know_owes_the_proof_that_its_history_is_ours(
    confirmed: int, start: Start
) -> None:
    """A crash of either side looks like this, and so does an older copy of the server that has written since."""
    assert judge_slot(position(commit=COMMIT), SERVER, slot(confirmed=confirmed)) == start


@pytest.mark.parametrize("note", [GapNote("restored", renumbered=True), GapNote("dropped", spoilt=True)])
def test_a_gap_that_was_being_answered_is_still_one_after_a_crash(note: GapNote) -> None:
    known = position(gap=note)
    assert judge_slot(known, SERVER, SLOT) == Gap(note.reason, reusable=not note.spoilt)
    assert judge_slot(known, SERVER, slot(active_pid=7)) == Standby(7)
    assert renumbered(known, SERVER) == note.renumbered


@pytest.mark.parametrize("wal_status", ["reserved", "extended", "unreserved"])
def test_a_slot_in_danger_is_still_read(wal_status: str) -> None:
    assert judge_slot(POSITION, SERVER, slot(wal_status=wal_status)) == Start(1500)


@pytest.mark.parametrize("known", [None, position(lsn=0)])
def test_a_first_start_makes_the_slot_or_takes_the_one_that_was_made_for_it(known: Position | None) -> None:
    assert judge_slot(known, SERVER, None) == Create()
    assert judge_slot(known, SERVER, SLOT) == Start(1000)


@pytest.mark.parametrize("known", [None, position(lsn=0), POSITION])
def test_a_slot_that_another_one_reads_makes_a_standby(known: Position | None) -> None:
    assert judge_slot(known, SERVER, slot(active_pid=4711)) == Standby(4711)


GAPS: dict[str, tuple[Position, Server, Slot | None, str, bool, bool]] = {
    "advanced or made anew by someone": (position(lsn=999), SERVER, SLOT, "advanced or made anew", True, False),
    "dropped": (POSITION, SERVER, None, "is gone", False, False),
    "lost": (POSITION, SERVER, slot(wal_status="lost", restart_lsn=None), "max_slot_wal_keep_size", False, False),
    "invalidated": (POSITION, SERVER, slot(invalidation="idle_timeout"), "idle_timeout", False, False),
    "invalidated and read": (
        POSITION,
        SERVER,
        slot(invalidation="wal_removed", active_pid=1),
        "wal_removed",
        False,
        False,
    ),
    "another system": (POSITION, server(system_id="7002"), SLOT, "another database system", True, True),
    "another system without a slot": (POSITION, server(system_id="7002"), None, "database system", False, True),
    "another database": (POSITION, server(dbname="test"), slot(database="test"), "another database", True, False),
    "another database without a slot": (POSITION, server(dbname="test"), None, "another database", False, False),
    "restored from an older copy": (POSITION, server(wal_lsn=1499), SLOT, "older copy", True, True),
    "a standby took over": (POSITION, server(timeline=4), SLOT, "timeline 4, was 3", True, True),
    "a standby without the slot took over": (POSITION, server(timeline=4), None, "is gone", False, True),
    "the timeline went back": (POSITION, server(timeline=2), SLOT, "timeline 2, was 3", True, True),
}


@pytest.mark.parametrize("case", GAPS.values(), ids=GAPS.keys())
def test_a_gap_is_never_passed(case: tuple[Position, Server, Slot | None, str, bool, bool]) -> None:
    known, there, its_slot, words, reusable, other = case
    verdict = judge_slot(known, there, its_slot)
    assert isinstance(verdict, Gap)
    assert words in verdict.reason
    assert verdict.reusable == reusable
    assert renumbered(known, there) == other


def test_a_new_state_file_does_not_hide_that_the_slot_is_lost() -> None:
    verdict = judge_slot(None, SERVER, slot(wal_status="lost"))
    assert isinstance(verdict, Gap)
    assert not verdict.reusable


@pytest.mark.parametrize("theirs", [slot(plugin="wal2json"), slot(database="other"), slot(plugin="")])
def test_somebody_elses_slot_is_refused_and_left_alone(theirs: Slot) -> None:
    with pytest.raises(SourceError, match="choose another name") as refused:
        check_slot(theirs, SERVER)
    assert (refused.value.code, refused.value.exit_code) == ("E-SLOT-FOREIGN", EXIT_CONFIG)


@pytest.mark.parametrize("ours", [SLOT, None, slot(wal_status="lost")])
def test_our_own_slot_is_not_refused(ours: Slot | None) -> None:
    check_slot(ours, SERVER)

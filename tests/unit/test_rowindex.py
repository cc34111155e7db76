"""Laws of the row index: a row's former value is known or reported as unknown, before and after the disk has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.rowindex import RowIndex, row_name
from daemon.state import StateFile
from daemon.walevents import GONE

MOVE = "public.move.item_id"


class Ground:
    def __init__(self, path: Path) -> None:
        self.state = StateFile(path)
        self.state.open()
        self.index = RowIndex(self.state)
        self.index.open()
        self.index.wanted = frozenset({MOVE})

    async def filled(self, *rows: tuple[str, str | None]) -> None:
        self.index.begin(MOVE)
        self.index.fill(MOVE, rows)
        self.index.complete(MOVE)
        await self.state.drain()

    def reopened(self) -> Ground:
        self.state.close()
        return Ground(self.state.path)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path / "state.db")
    yield made
    made.state.close()


@pytest.mark.parametrize("flush", [True, False])
async def test_the_former_value_is_told_whether_the_disk_has_it_or_not(ground: Ground, flush: bool) -> None:
    await ground.filled()
    for new, former in ((b"1", set()), (b"2", {b"1"}), (b"2", {b"2"}), (GONE, {b"2"})):
        assert await ground.index.swap(MOVE, {b"r": new}) == (former, 0)
        if flush:
            await ground.state.drain()
            assert ground.index._recent == {}  # what the disk has costs no memory


async def test_a_row_that_went_and_was_never_known_is_reported(ground: Ground) -> None:
    await ground.filled(("a", "1"))
    assert await ground.index.swap(MOVE, {b"a": GONE, b"b": GONE, b"c": b"3"}) == ({b"1"}, 1)


async def test_a_row_without_a_value_is_known_too(ground: Ground) -> None:
    """NULL in a watched column is no unknown value: such rows must not have everything compared."""
    await ground.filled(("a", None))
    assert await ground.index.swap(MOVE, {b"a": None, b"b": None}) == (set(), 0)
    await ground.state.drain()
    assert await ground.index.swap(MOVE, {b"a": b"1", b"b": GONE}) == (set(), 0)
    assert await ground.index.swap(MOVE, {b"a": None}) == ({b"1"}, 0)
    assert await ground.index.swap(MOVE, {b"a": GONE}) == (set(), 0)


async def test_what_the_stream_said_wins_over_what_a_scan_finds(ground: Ground) -> None:
    ground.index.begin(MOVE)
    await ground.index.swap(MOVE, {b"a": b"new"})
    ground.index.fill(MOVE, [("a", "old"), ("b", "1")])
    await ground.state.drain()
    assert await ground.index.swap(MOVE, {b"a": GONE, b"b": GONE}) == ({b"new", b"1"}, 0)


async def test_while_it_is_filled_an_unknown_value_is_owed_a_comparison(ground: Ground) -> None:
    ground.index.begin(MOVE)
    assert await ground.index.swap(MOVE, {b"a": b"2"}) == (set(), 0)
    assert ground.index.complete(MOVE)
    assert ground.index.is_complete(MOVE)
    assert await ground.index.swap(MOVE, {b"x": GONE}) == (set(), 1)


async def test_where_nothing_will_be_filled_an_unknown_value_is_reported_at_once(ground: Ground) -> None:
    """The identity told less for a moment, and the catalogue was not looked at meanwhile."""
    ground.index.wanted = frozenset()
    assert await ground.index.swap(MOVE, {b"a": b"2", b"b": GONE}) == (set(), 2)
    assert await ground.index.swap(MOVE, {b"a": b"3"}) == ({b"2"}, 0)


async def test_rows_that_are_taken_after_the_identity_told_all_again_leave_nothing_behind(ground: Ground) -> None:
    """The stream announces tables ahead of the rows that were read before them."""
    ground.index.wanted = frozenset()
    ground.index.keep(MOVE, False)
    assert await ground.index.swap(MOVE, {b"a": b"2"}) == (set(), 1)
    await ground.state.drain()
    ground.index.keep(MOVE, True)
    assert await ground.index.swap(MOVE, {b"a": b"4"}) == (set(), 1), "meanwhile it may have been anything"


async def test_a_debt_outlives_a_crash_before_the_filling_began(ground: Ground) -> None:
    assert await ground.index.swap(MOVE, {b"a": b"2"}) == (set(), 0)
    await ground.state.drain()
    again = ground.reopened()
    assert again.index.begin(MOVE)
    again.state.close()


async def test_a_filling_in_which_nothing_was_missed_owes_nothing(ground: Ground) -> None:
    ground.index.begin(MOVE)
    ground.index.fill(MOVE, [("a", "1")])
    await ground.state.drain()
    assert await ground.index.swap(MOVE, {b"a": b"2"}) == ({b"1"}, 0)
    assert not ground.index.complete(MOVE)


async def test_an_interrupted_filling_is_owed_a_comparison_after_the_restart(ground: Ground) -> None:
    ground.index.begin(MOVE)
    await ground.state.drain()
    again = ground.reopened()
    assert not again.index.is_complete(MOVE)
    assert again.index.begin(MOVE)
    again.index.complete(MOVE)
    await again.state.drain()
    last = again.reopened()
    assert last.index.is_complete(MOVE)
    last.state.close()


async def test_after_a_gap_nothing_of_it_is_trusted(ground: Ground) -> None:
    await ground.filled(("a", "1"))
    ground.index.forget([MOVE])
    await ground.state.drain()
    assert not ground.index.is_complete(MOVE)
    assert ground.state.query("select * from rowkey") == []
    assert ground.index.begin(MOVE)


async def test_columns_do_not_mix(ground: Ground) -> None:
    await ground.index.swap("public.move.item_id", {b"a": b"1"})
    await ground.index.swap("public.move.place_id", {b"a": b"9"})
    assert await ground.index.swap("public.move.item_id", {b"a": b"2"}) == ({b"1"}, 0)


async def test_values_of_any_text_come_back_as_they_were(ground: Ground) -> None:
    await ground.filled()
    texts = ["", " ", "0012", "日本 \U0001f600", "q\"\\'", "1e5", "null"]
    await ground.index.swap(MOVE, {f"r{n}".encode(): text.encode() for n, text in enumerate(texts)})
    await ground.state.drain()
    former, unknown = await ground.index.swap(MOVE, {f"r{n}".encode(): GONE for n in range(len(texts))})
    assert (former, unknown) == ({text.encode() for text in texts}, 0)


def test_a_row_of_several_columns_has_one_name_and_columns_do_not_run_together() -> None:
    assert row_name(b"1\x002") != row_name(b"12")
    assert row_name(b"1\x002") == "1\x1f2"

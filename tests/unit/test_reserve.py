"""Laws of the reserve: what it took is there after a crash, once, for its own state file, and it never asks for space."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.reserve import Op, Reserve
from daemon.state import StateFile
from tests.unit.test_state import MARK, MARKS, Pause, fill_disk, on_disk, opened, writing
from tests.waiting import until

OPS: list[Op] = [("insert into a values (?, ?, ?)", (1, None, "ä")), ("insert into b values (?)", (b"\x00\xff",))]
MORE: list[Op] = [("delete from a", ())]
COUNTED = "insert into rowkey (relation, row) values ('t', randomblob(16))"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db-reserve"


def reserve(path: Path, owner: str = "one", size: int = 4096) -> tuple[Reserve, list[Op]]:
    made = Reserve(path, size)
    return made, made.open(owner)


def test_what_was_written_is_there_after_a_crash_and_for_its_own_token_alone(path: Path) -> None:
    first, found = reserve(path)
    assert found == []
    assert not first.used
    first.write(OPS)
    first.write(MORE)
    assert first.used
    second, found = reserve(path)
    assert found == [*OPS, *MORE]
    assert second.used
    second.write(OPS)
    assert reserve(path)[1] == [*OPS, *MORE, *OPS]
    assert reserve(path, "another")[1] == []


def test_what_is_void_never_comes_back(path: Path) -> None:
    made, _ = reserve(path)
    made.write(OPS * 5)
    made.void("two")
    assert not made.used
    assert reserve(path, "two")[1] == []
    made.write(MORE)  # shorter than what it is written over
    assert reserve(path, "two")[1] == MORE
    assert reserve(path, "one")[1] == []


def test_it_takes_its_place_beforehand_and_says_when_it_is_full(path: Path) -> None:
    made, _ = reserve(path)
    blocks = path.stat().st_blocks
    count = 25
    for _ in range(count):
        made.write(OPS)
    with pytest.raises(OSError, match="full"):
        made.write(OPS * 100)
    assert (path.stat().st_size, path.stat().st_blocks) == (4096, blocks)
    assert reserve(path)[1] == OPS * count


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_a_record_that_was_torn_ends_what_can_be_read(path: Path, cut: int) -> None:
    made, _ = reserve(path)
    made.write(OPS)
    made.write(MORE)
    content = bytearray(path.read_bytes())
    end = content.rstrip(b"\0")
    content[len(end) - cut] ^= 0xFF
    path.write_bytes(content)
    assert reserve(path)[1] == OPS


def test_a_place_that_cannot_be_had_is_told_at_the_first_write(tmp_path: Path) -> None:
    made, found = reserve(tmp_path / "no folder" / "reserve")
    assert found == []
    with pytest.raises(OSError, match="Bad file"):
        made.write(OPS)
    made.close()


def test_where_the_system_has_no_call_for_it_the_place_is_taken_by_writing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("posix_fallocate", "fdatasync"):
        monkeypatch.delattr(os, name)
    made, _ = reserve(path, size=1 << 16)
    assert path.stat().st_blocks * 512 >= 1 << 16
    made.write(OPS)
    again, found = reserve(path, size=1 << 16)
    assert found == OPS
    assert path.stat().st_size == 1 << 16
    again.write(MORE)
    assert reserve(path)[1] == [*OPS, *MORE]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    made = opened(tmp_path / "state.db")
    yield made
    made.close()


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("select count(*) from rowkey").fetchone()[0])
    finally:
        connection.close()


async def failing(state: StateFile) -> None:
    """The file takes nothing more: the disk is full."""
    fill_disk(state)
    state.append("insert into rowkey (relation, row, key) values ('full', 'x', zeroblob(200000))")
    await until(lambda: state.problem, what="the state file fails")


async def test_what_is_secured_on_a_full_disk_is_taken_in_by_the_next_start_once_and_in_order(state: StateFile) -> None:
    async with writing(state):
        await failing(state)
        for key in range(3):
            state.append(MARK, key, 1)
            state.append(COUNTED)
            state.advance(100)
            await state.secured()
        state.append(MARK, 99, 1)  # nobody waited for this one
        assert on_disk(state.path) == ([], 0)
    state.close()
    for _ in range(2):
        again = opened(state.path)
        assert on_disk(state.path) == ([0, 1, 2], 0), "marks, and no position: the log tells it again"
        assert rows(state.path) == 4
        again.close()


async def test_rows_that_come_after_their_like_was_set_aside_are_set_aside_too(state: StateFile) -> None:
    async with writing(state):
        await failing(state)
        for key in range(3):
            state.append_rows(MARKS, [(key, 1)])
            securing = asyncio.create_task(state.secured())
            await asyncio.sleep(0)  # it is being set aside
            state.append_rows(MARKS, [(key + 10, 1)])
            await securing
            await state.secured()
    state.close()
    opened(state.path).close()
    assert on_disk(state.path) == ([0, 1, 2, 10, 11, 12], 0)


async def test_a_disk_that_is_back_takes_everything_once(state: StateFile) -> None:
    async with writing(state):
        await failing(state)
        state.append(COUNTED)
        await state.secured()
        state.execute("pragma max_page_count = 1000000")
        await until(lambda: not state.problem, what="the state file takes something again")
        await state.settle()
    state.close()
    opened(state.path).close()
    assert rows(state.path) == 2


async def test_a_commit_that_was_under_way_is_not_set_aside(state: StateFile) -> None:
    async with writing(state):
        state.append(COUNTED)
        pause = Pause(state)
        await until(pause.reached.is_set, what="a transaction is under way")
        state.problem = "an earlier one failed"
        securing = [asyncio.create_task(state.secured()) for _ in range(2)]
        await asyncio.sleep(0)
        pause.released.set()
        await asyncio.gather(*securing)
        await state.settle()
    state.close()
    opened(state.path).close()
    assert rows(state.path) == 1


async def test_a_full_reserve_holds_the_call_until_the_disk_takes_something(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def full(*_: object) -> None:
        asked.set()
        raise OSError("the reserve is full")

    monkeypatch.setattr(state._reserve, "write", full)
    async with writing(state):
        await failing(state)
        state.append(COUNTED)
        call = asyncio.create_task(state.secured())
        await until(asked.is_set, what="the reserve was asked")
        await asyncio.sleep(0)
        assert not call.done()
        state.execute("pragma max_page_count = 1000000")
        await call
        assert rows(state.path) == 2
    state.close()


def test_a_state_file_that_was_moved_away_leaves_nothing_to_its_successor(tmp_path: Path) -> None:
    first = opened(tmp_path / "state.db")
    first._reserve.write([(MARK, (1, 1))])
    first.close()
    for file in tmp_path.glob("state.db"):
        file.rename(tmp_path / "away")
    second = opened(tmp_path / "state.db")
    assert on_disk(second.path) == ([], 0)
    second.close()

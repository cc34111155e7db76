"""Laws of the state file: order, one transaction for marks and position, full disks, files that cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from daemon import state as state_module
from daemon.errors import EXIT_CONFIG, Retry, StateError
from daemon.state import StateFile
from tests.waiting import until

MARK = "insert into dirty (queue, key, since) values (1, ?, ?)"
MARKS = (
    "insert into dirty (queue, key, since) select 1, json_extract(value, '$[0]'), json_extract(value, '$[1]') "
    "from json_each(?)"
)
BIG = "insert into rowkey (relation, row, key) values ('t', ?, zeroblob(20000))"


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return opened(tmp_path / "state.db")


def opened(path: Path) -> StateFile:
    state = StateFile(path)
    state.open()
    return state


@asynccontextmanager
async def writing(state: StateFile) -> AsyncIterator[asyncio.Task[None]]:
    """The writing task, ended as the application ends it, without the last drain."""
    task = asyncio.create_task(state.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def on_disk(path: Path) -> tuple[list[object], int]:
    """Marked keys and the position, as another process would find them."""
    connection = sqlite3.connect(path)
    try:
        keys = [key for (key,) in connection.execute("select key from dirty order by key")]
        ((lsn,),) = connection.execute("select lsn from source").fetchall()
        return keys, lsn
    finally:
        connection.close()


def fill_disk(state: StateFile) -> Callable[[], None]:
    """No page more may be written until the returned function is called."""
    ((pages,),) = state.query("pragma page_count")
    state.execute(f"pragma max_page_count = {pages}")
    return lambda: state.execute("pragma max_page_count = 1000000")


class Pause:
    """Holds the writing thread inside of a transaction: `append` it as an operation."""

    def __init__(self, state: StateFile) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        assert state._writer is not None
        state._writer.create_function("pause", 0, self._wait)
        state.append("select pause()")

    def _wait(self) -> int:
        self.reached.set()
        assert self.released.wait(10)
        return 0


async def test_a_position_is_durable_together_with_what_was_appended_before_it(state: StateFile) -> None:
    async with writing(state):
        for lsn in range(1, 200):
            state.append(MARK, lsn, 1)
            state.advance(lsn)
            if lsn % 7 == 0:
                await asyncio.sleep(0)
            keys, on_file = on_disk(state.path) if lsn % 20 == 0 else ([], 0)
            assert len(keys) >= on_file
        await until(lambda: state.durable == 199)
    assert on_disk(state.path) == (list(range(1, 200)), 199)
    state.close()


async def test_what_was_not_flushed_is_gone_after_a_crash_and_so_is_its_position(state: StateFile) -> None:
    async with writing(state):
        state.append(MARK, 1, 1)
        state.advance(10)
        await state.settle()
    state.append(MARK, 2, 1)
    state.advance(20)
    state.close()
    assert on_disk(state.path) == ([1], 10)


async def test_a_position_alone_moves_too_and_never_back(state: StateFile) -> None:
    async with writing(state):
        state.advance(50)
        await until(lambda: state.durable == 50)
        state.advance(40)
        state.append(MARK, 1, 1)
        await state.settle()
    assert state.durable == 50
    assert on_disk(state.path) == ([1], 50)
    state.close()


async def test_drain_writes_the_rest_once(state: StateFile) -> None:
    state.append(MARK, 1, 1)
    state.advance(10)
    await state.drain()
    await state.drain()
    state.close()
    assert on_disk(state.path) == ([1], 10)


async def test_settle_waits_for_what_was_appended_and_for_no_more(state: StateFile) -> None:
    async with writing(state):
        await state.settle()
        number = state.append(MARK, 1, 1)
        await state.settle()
        assert state.flushed >= number
        assert await state.read(lambda c: c.execute("select key from dirty").fetchall()) == [(1,)]
    state.close()


async def test_sources_wait_while_too_much_queues_up(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_FULL", 3)
    await state.room()
    for key in range(4):
        state.append(MARK, key, 1)
    waiting = asyncio.create_task(state.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with writing(state):
        await asyncio.wait_for(waiting, 5)
    state.close()


# -- a full disk


async def test_a_full_disk_moves_no_position_and_loses_nothing(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_RETRY_S", 0.01)
    empty = fill_disk(state)
    async with writing(state):
        state.append(BIG, "row")
        state.append(MARK, 1, 1)
        state.advance(10)
        await until(lambda: state.problem)
        state.append(MARK, 2, 2)  # what comes meanwhile waits behind it
        state.advance(20)
        await asyncio.sleep(0.05)
        assert (state.durable, state.flushed) == (0, 0)
        assert on_disk(state.path) == ([], 0)
        empty()
        await until(lambda: state.durable == 20)
    assert state.problem == ""
    assert on_disk(state.path) == ([1, 2], 20)
    state.close()


async def test_a_stop_while_the_disk_is_full_takes_no_position_along_without_its_marks(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_RETRY_S", 30.0)
    empty = fill_disk(state)
    async with writing(state):
        state.append(BIG, "row")
        state.append(MARK, 1, 1)
        state.advance(10)
        await until(lambda: state.problem)
    # the writer was cancelled between two attempts
    with pytest.raises(StateError) as refused:
        await state.drain()
    assert refused.value.code == "E-STATE-WRITE"
    assert on_disk(state.path) == ([], 0)
    empty()
    await state.drain()
    assert on_disk(state.path) == ([1], 10)
    state.close()


async def test_a_write_outside_of_the_queue_says_what_to_do_when_the_disk_is_full(state: StateFile) -> None:
    fill_disk(state)
    with pytest.raises(StateError, match="disk space") as refused:
        state.execute("insert into rowkey (relation, row, key) values ('t', 1, zeroblob(20000))")
    assert refused.value.code == "E-STATE-WRITE"
    state.close()


# -- cancellation and the writing thread


async def test_a_cancelled_flush_is_neither_lost_nor_written_twice(state: StateFile) -> None:
    once = "insert into rowkey (relation, row) values ('t', (select count(*) from rowkey))"
    async with writing(state) as task:
        state.append(once)
        pause = Pause(state)
        state.advance(10)
        await asyncio.to_thread(pause.reached.wait, 5)
        state.append(once)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()  # it waits for the thread
        pause.released.set()
        with suppress(asyncio.CancelledError):
            await task
    assert state.durable == 10
    await state.drain()
    assert state.query("select count(*) from rowkey") == [(2,)]
    state.close()


async def test_a_new_start_is_not_undone_by_a_flush_under_way(state: StateFile) -> None:
    """After a gap the position may go back; the older one must not return with what was being written."""
    async with writing(state):
        state.append(MARK, 1, 1)
        pause = Pause(state)
        state.advance(1000)
        await asyncio.to_thread(pause.reached.wait, 5)
        threading.Timer(0.05, pause.released.set).start()
        state.set_position(30)
        await state.settle()
        state.append(MARK, 2, 1)
        await state.settle()
        assert state.durable == 30
        assert on_disk(state.path) == ([1, 2], 30)
        state.advance(40)
        await until(lambda: state.durable == 40)
    state.close()


async def test_a_write_outside_of_the_queue_stays_out_of_a_flush_that_fails(state: StateFile) -> None:
    async with writing(state) as task:
        pause = Pause(state)
        state.append("insert into no_such_table values (1)")
        await asyncio.to_thread(pause.reached.wait, 5)
        threading.Timer(0.05, pause.released.set).start()
        state.execute("update source set slot = 'kept'")
        await until(lambda: state.problem)
        assert state.query("select slot from source") == [("kept",)]
        assert not task.done()
    state.close()


# -- opening


def test_a_folder_in_place_of_the_file_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is a folder") as refused:
        opened(tmp_path)
    assert (refused.value.code, refused.value.where) == ("E-STATE", "state.path")


def test_a_file_in_use_is_refused_and_free_again_after_a_close(tmp_path: Path) -> None:
    first = opened(tmp_path / "state.db")
    with pytest.raises(StateError, match="in use") as refused:
        opened(tmp_path / "state.db")
    assert refused.value.code == "E-STATE-IN-USE"
    assert refused.value.hint
    first.close()
    opened(tmp_path / "state.db").close()


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever its name says" * 50, b"SQLite format 3\0" + b"\1" * 5000]
)
def test_a_broken_file_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match="Move the file away") as refused:
        opened(path)
    error = refused.value
    assert (error.code, error.exit_code, error.retry) == ("E-STATE-CORRUPT", EXIT_CONFIG, Retry.OPERATOR)
    assert path.read_bytes() == content
    path.unlink()
    opened(path).close()  # the lock went with the failed attempt


def test_a_page_that_was_overwritten_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = opened(path)
    for key in range(2000):
        state.execute(MARK, (key, 1))
    state.close()
    content = bytearray(path.read_bytes())
    content[-9000:-4000] = b"\x5a" * 5000
    path.write_bytes(content)
    with pytest.raises(StateError, match="cannot be used"):
        opened(path)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("create table theirs (x)")
    connection.close()
    with pytest.raises(StateError, match="not an erpsyncd state file"):
        opened(path)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    state = opened(tmp_path / "state.db")
    state.execute("pragma user_version = 999")
    state.close()
    with pytest.raises(StateError, match="newer erpsyncd"):
        opened(tmp_path / "state.db")


def test_a_file_that_cannot_be_written_is_not_to_be_thrown_away(tmp_path: Path) -> None:
    """The marks in it are the only record of what is outstanding."""
    path = tmp_path / "state.db"
    opened(path).close()
    (tmp_path / "state.db-wal").mkdir()  # SQLite cannot make its log there
    with pytest.raises(StateError) as refused:
        opened(path)
    assert refused.value.code == "E-STATE-WRITE"
    assert "Move the file away" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"state\.path: cannot open"):
        opened(tmp_path / "file" / "state.db")


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    state = opened(tmp_path / "state.db")
    state.execute(MARK, (7, 5))
    state.set_position(99)
    state.close()
    state.close()
    again = opened(tmp_path / "state.db")
    assert again.query("select key, since from dirty") == [(7, 5)]
    assert again.query("select lsn from source") == [(99,)]
    again.close()


async def test_who_waits_for_what_is_being_written_asks_for_no_second_transaction(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, begun = state._flush, []

    async def counted() -> None:
        begun.append(state.appended)
        await flush()

    monkeypatch.setattr(state, "_flush", counted)
    async with writing(state):
        note = state.append(MARK, 1, 1)
        pause = Pause(state)
        state.hasten()
        await until(pause.reached.is_set, what="a transaction is under way")
        newer = state.append(MARK, 2, 1)
        call = asyncio.create_task(state.secured(note))
        await asyncio.sleep(0)
        pause.released.set()
        await call
        assert note <= state.flushed < newer
        assert len(begun) == 1
        await state.secured()
        assert state.flushed >= newer


async def test_rows_of_one_statement_share_an_operation_while_it_waits_and_keep_their_place(state: StateFile) -> None:
    first = state.append_rows(MARKS, [(1, 10)])
    assert state.append_rows(MARKS, [(2, 20), ("two", 30)]) == first
    state.append("update dirty set since = since + 1")
    last = state.append_rows(MARKS, [(3, 40)])
    assert last == first + 2
    await state.drain()
    assert state.query("select key, since from dirty order by key") == [(1, 11), (2, 21), (3, 40), ("two", 31)]


async def test_an_operation_grows_no_further_than_its_bound(state: StateFile) -> None:
    numbers = {state.append_rows(MARKS, [(key, 1)]) for key in range(250)}
    assert len(numbers) == 3
    await state.drain()
    assert on_disk(state.path)[0] == list(range(250))


async def test_rows_that_come_while_a_transaction_is_written_are_in_the_next(state: StateFile) -> None:
    async with writing(state):
        pause = Pause(state)
        first = state.append_rows(MARKS, [(1, 10)])
        state.hasten()
        await until(pause.reached.is_set, what="a transaction is under way")
        assert state.append_rows(MARKS, [(2, 20)]) > first
        state.advance(100)
        pause.released.set()
        await until(lambda: state.flushed >= first, what="the first transaction is on disk")
        keys, lsn = on_disk(state.path)
        assert 2 in keys or lsn == 0, "no position without its marks"
        await until(lambda: state.durable == 100, what="the position is durable")
        assert on_disk(state.path) == ([1, 2], 100)

"""Laws of checkpoints: made beside the writer, which never waits for one, and nothing durable depends on them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import checkpoints
from daemon.state import StateFile
from tests.waiting import until

MARK = "insert into dirty (queue, key, since) values (1, ?, zeroblob(1000))"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateFile]:
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "FEW", 10)
    made = StateFile(tmp_path / "state.db")
    made.open()
    yield made
    made.close()


async def write(state: StateFile, rows: range) -> None:
    for key in rows:
        state.append(MARK, key)
    await state.drain()


def copied(state: StateFile) -> int:
    """Rows that the database file itself has, without its log."""
    uri = f"{state.path.as_uri()}?immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    try:
        ((rows,),) = connection.execute("select count(*) from dirty").fetchall()
        return int(rows)
    except sqlite3.DatabaseError:
        return 0
    finally:
        connection.close()


def log_bytes(state: StateFile) -> int:
    return Path(f"{state.path}-wal").stat().st_size


async def test_what_was_written_comes_into_the_database_beside_the_writer(state: StateFile) -> None:
    await write(state, range(500))
    await until(lambda: copied(state) == 500, within=10, what="it is copied")


async def test_a_few_rows_are_not_worth_a_checkpoint_at_once(state: StateFile) -> None:
    await write(state, range(500))
    await until(lambda: copied(state) == 500, within=10, what="it is copied")
    begun = state._checkpoints._busy
    await write(state, range(500, 505))
    assert state._checkpoints._busy is begun


async def test_no_transaction_waits_for_a_checkpoint(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert goes_on.wait(30)

    monkeypatch.setattr(state._checkpoints, "_checkpoint", slow)
    try:
        await write(state, range(500))
        await until(begun.is_set, within=10, what="a checkpoint runs")
        await write(state, range(500, 600))
        assert state.query("select count(*) from dirty") == [(600,)]
    finally:
        goes_on.set()


async def test_a_log_that_nobody_copies_does_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LIMIT", 50)
    state = StateFile(tmp_path / "other.db")
    state.open()
    try:
        for start in range(0, 2000, 100):
            await write(state, range(start, start + 100))
        assert copied(state) == 2000
        assert log_bytes(state) < 2_000_000 < 2000 * 4096
    finally:
        state.close()

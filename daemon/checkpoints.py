"""Checkpoints of the state file: what is in SQLite's log is brought into the database beside the writer, not by it.

Invariant: a transaction never waits for a checkpoint while the log is below its limit; above it the writer makes one itself,
so that the log cannot grow without end. Nothing of what is durable depends on it: a transaction is on disk when the log is.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

EVERY_S = 5.0
FEW, SELDOM_S = 100, 60.0
"""Fewer changed rows than this are worth a checkpoint only now and then."""
LIMIT = 16_384
"""Pages of the log at which the writer helps itself: 64 MB."""
_ROUNDS = 3  # what is written during one is for the next; a log that is wholly copied is begun anew by the writer


class Checkpoints:
    """Those of one file. `connect` opens it once more; `open` and `close` block, `written` belongs to the event loop."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, "state-checkpoint")
        self._connection: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._busy: asyncio.Future[None] | None = None
        self._rows = 0
        self._at = 0.0

    def open(self, writer: sqlite3.Connection) -> None:
        """Take this work over from the connection that writes."""
        self._connection, self._writer = self._connect(), writer
        writer.execute(f"pragma wal_autocheckpoint = {LIMIT}")

    def close(self) -> None:
        """Idempotent."""
        self._thread.shutdown(wait=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def written(self) -> None:
        """A transaction is on disk: begin a checkpoint if it is time."""
        if self._writer is None or (self._busy is not None and not self._busy.done()):
            return
        loop = asyncio.get_running_loop()
        passed, rows = loop.time() - self._at, self._writer.total_changes
        if passed < EVERY_S or (rows - self._rows < FEW and passed < SELDOM_S):
            return
        self._at, self._rows = loop.time(), rows
        self._busy = loop.run_in_executor(self._thread, self._checkpoint)

    def _checkpoint(self) -> None:
        connection = self._connection
        assert connection is not None
        with contextlib.suppress(sqlite3.Error):  # the writer tells of a full disk; the log keeps everything
            for _ in range(_ROUNDS):
                _, size, copied = connection.execute("pragma wal_checkpoint(passive)").fetchone()
                if size == copied:
                    return

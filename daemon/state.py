"""The state file: one SQLite database in the state folder, one writing thread, one reading thread.

Invariant: operations reach the disk in the order in which they were appended, many in one transaction, and `durable` is
told of a log position only after every operation that was appended before it is on disk. A failed write (disk full) keeps
its operations and tries again: nothing is dropped, and no position moves. What a call must not leave before is then set aside
in a file whose place was taken beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import orjson

from daemon import failpoints, log
from daemon.checkpoints import Checkpoints
from daemon.errors import StateError
from daemon.model import Fingerprint, Lsn
from daemon.reserve import Op, Reserve
from daemon.stateschema import migrate, unusable

T = TypeVar("T")

_RETRY_S = 1.0
_GATHER_S = 0.05  # operations share a transaction with what follows, or a call that leaves; the position waits for it
_FULL = 50_000  # operations waiting to be written before sources are asked to wait
_ROWS = 100  # most rows that come together in one operation

_POSITION = "update source set lsn = ?"
_COMMIT = "update source set lsn = ?, commit_lsn = ?, commit_xid = ?, commit_at = ?"


def json_list(values: Iterable[Any]) -> str:
    """Values as one parameter that SQLite's json_each reads as rows."""
    return orjson.dumps(list(values)).decode()


sqlite3.register_adapter(list, json_list)


class StateFile:
    """The open state file. Use `read` for questions and `append` for changes; both from the event loop only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd = -1
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._write_thread = ThreadPoolExecutor(1, "state-writer")
        self._read_thread = ThreadPoolExecutor(1, "state-reader")
        self._ops: list[Op] = []
        self._position: Lsn = 0
        self._commit: Fingerprint | None = None
        self.appended = 0
        """Sequence number of the newest operation."""
        self.flushed = 0
        """Sequence number of the newest operation that is on disk."""
        self.durable: Lsn = 0
        self._epoch = 0  # grows when the position starts anew: an older flush must not bring the old one back
        self._turn = threading.Lock()  # a flush is one transaction on the writing connection; nobody else steps into it
        self._wake = asyncio.Event()
        self._haste = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._checkpoints = Checkpoints(self._connect)
        self._listeners: list[Callable[[], None]] = [self._checkpoints.written]
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._hasty: set[asyncio.Future[None]] = set()  # of the waiters, those that a failing disk lets go
        self._aside = 0  # sequence number of the newest operation that is in the reserve
        self._setting_aside = asyncio.Lock()
        self._committed = 0  # as `flushed`, for the writing thread
        self._under_way = 0  # sequence number of the newest operation that is being written
        self._sealed = 0  # sequence number of the newest operation that takes no more rows: some thread may be at it
        self.problem = ""
        """Why writing fails at the moment; empty when it does not."""

    # -- opening and closing (blocking; called before and after the loop's work)

    def open(self) -> None:
        """Create or migrate the file. Raises StateError with the remedy."""
        if self.path.is_dir():
            raise StateError(f"{self.path} is a folder", where="state.path", hint="Name a file in it: state.db.")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StateError(
                f"cannot open {self.path}: {exc.strerror}",
                where="state.path",
                hint="Give the daemon a folder that it can write to.",
            ) from exc
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise StateError(
                f"{self.path} is in use by another erpsyncd",
                where="state.path",
                code="E-STATE-IN-USE",
                hint="Stop the other one, or give this one a file of its own.",
            ) from exc
        try:
            self._writer = self._connect()
            migrate(self._writer)
            self._take_in(self._writer)
            self._reader = self._connect()
            self._reader.execute("pragma query_only = on")
            self._checkpoints.open(self._writer)
        except sqlite3.Error as exc:
            self.close()
            raise unusable(self.path, exc) from exc

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma cache_size = -16384")
        connection.execute("pragma temp_store = memory")
        return connection

    def _take_in(self, connection: sqlite3.Connection) -> None:
        """What a disk that took nothing had left to the reserve when the daemon ended."""
        ((token,),) = connection.execute("select reserve from source").fetchall()
        if ops := self._reserve.open(token):
            self._commit_ops(connection, ops, ())
            log.info("state_back", f"{len(ops)} operations were taken in that were set aside while the disk was full")

    def close(self) -> None:
        """Close connections, threads and the lock. Idempotent; unflushed operations are left to a replay."""
        self._write_thread.shutdown(wait=True)
        self._read_thread.shutdown(wait=True)
        self._checkpoints.close()
        for connection in (self._reader, self._writer):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._reader = self._writer = None
        self._reserve.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # -- questions

    def query(self, sql: str, params: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Blocking read, for what is asked rarely; it sees what has been flushed."""
        assert self._writer is not None
        with self._turn:
            return self._writer.execute(sql, params).fetchall()

    def execute(self, sql: str, params: tuple[Any, ...] = ()) -> None:
        """Blocking write, for what is written rarely; durable on return. Raises StateError."""
        assert self._writer is not None
        try:
            with self._turn:
                self._writer.execute(sql, params)
        except sqlite3.Error as exc:
            raise StateError(
                f"cannot write {self.path}: {exc}",
                where="state.path",
                code="E-STATE-WRITE",
                hint="Free disk space; the log position stays where it is.",
            ) from exc

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Run a question in the reading thread. It sees what has been flushed."""
        assert self._reader is not None
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, question, self._reader)

    # -- changes

    def append(self, sql: str, *params: Any) -> int:
        """Queue an operation for the next transaction; returns its sequence number."""
        self._ops.append((sql, params))
        self.appended += 1
        if len(self._ops) == _FULL:
            self._room.clear()
        self._wake.set()
        return self.appended

    def append_rows(self, sql: str, rows: list[tuple[Any, ...]]) -> int:
        """As `append`, for a statement that takes a few rows as one JSON array. They join those of the newest operation where
        it is the same statement and waits: each statement costs the writing thread more than a row."""
        if self.appended > self._sealed:
            last, params = self._ops[-1]
            if last is sql and len(params[0]) < _ROWS:
                params[0].extend(rows)
                return self.appended
        return self.append(sql, rows)

    def advance(self, lsn: Lsn, commit: Fingerprint | None = None) -> None:
        """Record that everything up to `lsn` has been appended: the end of `commit`, where it is one's.

        It becomes `durable` with the next transaction."""
        if lsn > self._position:
            self._position = lsn
            self._commit = commit or self._commit
            self._wake.set()

    def take_up(self) -> None:
        """Go on from the position that is on disk. Blocking; before the loop's work begins."""
        ((lsn,),) = self.query("select lsn from source")
        self._position = self.durable = lsn

    def set_position(self, lsn: Lsn) -> None:
        """Start anew from another position, which may be lower: after a gap, before streaming. Blocking, durable.

        Whatever gap there was is answered with that."""
        self._epoch += 1
        self.execute(
            "update source set lsn = ?, gap = null, commit_lsn = null, commit_xid = null, commit_at = null", (lsn,)
        )
        self._position = self.durable = lsn
        self._commit = None

    def on_flush(self, listener: Callable[[], None]) -> None:
        """Call `listener` in the loop after each transaction."""
        self._listeners.append(listener)

    async def room(self) -> None:
        """Wait while too many operations queue up for the disk."""
        await self._room.wait()

    async def settle(self) -> None:
        """Wait until everything appended so far is on disk."""
        if self.flushed >= self.appended:
            return
        await self._waiter()

    def hasten(self) -> None:
        """Write what was appended so far now, for somebody will wait for it."""
        self._haste.set()

    def _waiter(self, upto: int | None = None) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        upto = self.appended if upto is None else upto
        insort(self._waiters, (upto, waiter), key=itemgetter(0))
        if upto > self._under_way:
            self._haste.set()
        return waiter

    async def secured(self, upto: int | None = None) -> None:
        """Wait until everything appended so far, or up to this operation, is on disk: set aside where the file takes nothing
        at the moment."""
        upto = self.appended if upto is None else upto
        if self.flushed >= upto:
            return
        if not self.problem:
            waiter = self._waiter(upto)
            self._hasty.add(waiter)
            waiter.add_done_callback(self._hasty.discard)
            await waiter
        async with self._setting_aside:
            if max(self.flushed, self._aside) < upto:
                await self._set_aside()

    async def _set_aside(self) -> None:
        """Write what waits into the reserve; where that is full too, wait until the disk takes something."""
        self._sealed = upto = self.appended
        before = max(self._aside, self.flushed)
        ops = self._ops[before - self.flushed :]
        try:
            await asyncio.get_running_loop().run_in_executor(self._write_thread, self._write_aside, ops, before)
            self._aside = upto
        except OSError:
            await self._waiter()

    def _write_aside(self, ops: list[Op], before: int) -> None:
        """The operations after number `before`, but for those that were committed meanwhile."""
        if left := ops[max(self._committed - before, 0) :]:
            self._reserve.write(left)

    async def run(self) -> None:
        """Write what was appended, many operations in one transaction; for the life of the daemon."""
        while True:
            await self._wake.wait()
            if not self._waiters:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER_S):
                        await self._haste.wait()
            try:
                await self._flush()
            except sqlite3.Error as exc:
                self._failing(str(exc))
                self._wake.set()
                await asyncio.sleep(_RETRY_S)

    async def drain(self) -> None:
        """Write what is left at the end; one attempt. Raises StateError when the disk does not take it."""
        if self._ops or self._position > self.durable:
            try:
                await self._flush()
            except sqlite3.Error as exc:
                raise StateError(f"cannot write {self.path}: {exc}", code="E-STATE-WRITE") from exc

    async def _flush(self) -> None:
        """Write all that was appended so far. Raises sqlite3.Error; the operations wait for the next attempt then."""
        self._wake.clear()
        self._haste.clear()
        ops, position, epoch = self._ops[:], self._position, self._epoch
        self._sealed = self._under_way = upto = self.flushed + len(ops)
        write = asyncio.get_running_loop().run_in_executor(
            self._write_thread, self._write, ops, position, self._commit, epoch, upto
        )
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            # the thread goes on regardless: what it wrote must not be written again by drain()
            await asyncio.wait([write])
            if write.exception() is None:
                self._written(len(ops), position, epoch)
            raise
        failpoints.reach("after_state_commit")
        self._written(len(ops), position, epoch)

    def _written(self, count: int, position: Lsn, epoch: int) -> None:
        del self._ops[:count]
        if self.problem:
            log.info("state_back", "the state file can be written again")
            self.problem = ""
        self.flushed += count
        if epoch == self._epoch:
            self.durable = max(self.durable, position)
        if len(self._ops) < _FULL:
            self._room.set()
        while self._waiters and self._waiters[0][0] <= self.flushed:
            waiter = self._waiters.pop(0)[1]
            if not waiter.done():
                waiter.set_result(None)
        for listener in self._listeners:
            listener()

    def _failing(self, reason: str) -> None:
        if not self.problem:
            log.error(
                "state_failing",
                f"cannot write {self.path}: {reason}. Free disk space; the log position stays where it is meanwhile.",
                code="E-STATE-WRITE",
            )
        self.problem = reason
        for waiter in self._hasty:
            if not waiter.done():
                waiter.set_result(None)

    def _write(self, ops: list[Op], position: Lsn, commit: Fingerprint | None, epoch: int, upto: int) -> None:
        connection = self._writer
        assert connection is not None
        last: list[Op] = []
        if epoch == self._epoch and position > self.durable:
            last.append((_POSITION, (position,)) if commit is None else (_COMMIT, (position, *commit)))
        with self._turn:
            self._commit_ops(connection, ops, last)
            self._committed = upto

    def _commit_ops(self, connection: sqlite3.Connection, ops: Sequence[Op], last: Sequence[Op]) -> None:
        """One transaction. What is in the reserve is among the operations: it is void with their commit."""
        connection.execute("begin immediate")
        try:
            for sql, params in (*ops, *last):
                connection.execute(sql, params)  # rows become JSON by the adapter above
            token = secrets.token_hex(16) if self._reserve.used else ""
            if token:
                connection.execute("update source set reserve = ?", (token,))
            failpoints.reach("before_state_commit")
            connection.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("rollback")
            raise
        if token:
            self._reserve.void(token)

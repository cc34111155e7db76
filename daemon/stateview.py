"""A read-only view of the state file, beside the daemon or without one.

Invariant: neither the file nor its folder is written to. What the daemon has not flushed yet is not seen.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import orjson

from daemon.errors import StateError
from daemon.model import Acked, Key, QueueName

T = TypeVar("T")

_DOCUMENTS = """select key, id, version, body, at from acked
where queue = ? and key in (select value from json_each(?))"""
_KEYS = "select distinct key from acked where queue = ? and key > ? and body is not null order by key limit ?"
_FIRST_KEYS = "select distinct key from acked where queue = ? and body is not null order by key limit ?"


class StateView:
    """The file as it is on disk. A file that is not there is an empty one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "state-view")
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> StateView:
        try:
            await self._ask(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._ask(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        if not self._path.exists():
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.executescript(
                "create table queue (id, store, entity); create table acked (queue, key, id, version, body, at)"
            )
            return
        # without a log beside it nobody has the file open, and a plain open would make files there
        alone = not Path(f"{self._path}-wal").exists()
        uri = f"{self._path.resolve().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        try:
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
            try:
                connection.execute("select 1 from acked limit 1").fetchone()
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as exc:
            raise StateError(
                f"{self._path} cannot be read: {exc}",
                where="state.path",
                hint="Ask through the running daemon, or as its user.",
            ) from exc
        self._connection = connection

    async def _ask(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _query(self, question: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        assert connection is not None
        return await self._ask(lambda: question(connection))

    async def queue(self, name: QueueName) -> int:
        """The number of a queue; -1 for one that was never opened."""

        def ask(connection: sqlite3.Connection) -> int:
            sql = "select id from queue where store = ? and entity = ?"
            row = connection.execute(sql, (name.store, name.entity)).fetchone()
            return int(row[0]) if row else -1

        return await self._query(ask)

    async def documents(self, queue: int, keys: Sequence[Key]) -> dict[Key, dict[str, Acked]]:
        """Acknowledged documents by key and id, tombstones included; each key is there."""
        wanted = orjson.dumps(list(keys)).decode()
        rows = await self._query(lambda connection: connection.execute(_DOCUMENTS, (queue, wanted)).fetchall())
        found: dict[Key, dict[str, Acked]] = {key: {} for key in keys}
        for key, id_, version, body, at in rows:
            found[key][id_] = Acked(id_, version, body.encode() if isinstance(body, str) else body, at)
        return found

    async def keys(self, queue: int, after: Key | None, limit: int) -> list[Key]:
        """A page of the keys with documents in the store, in key order."""
        sql, given = (_FIRST_KEYS, (queue, limit)) if after is None else (_KEYS, (queue, after, limit))
        rows = await self._query(lambda connection: connection.execute(sql, given).fetchall())
        return [key for (key,) in rows]

    async def count(self, queue: int) -> int:
        """Documents acknowledged and not removed."""
        sql = "select count(*) from acked where queue = ? and body is not null"
        rows = await self._query(lambda connection: connection.execute(sql, (queue,)).fetchall())
        return int(rows[0][0])

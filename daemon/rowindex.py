"""The row index: for tables whose replica identity does not carry a watched column, which value each row had last.

Invariant: a row's former value is either known from here or reported as unknown; it is never guessed. The index changes in
the same ordered writes as the marks, so it is never ahead of the confirmed position by more than the marks are.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable

import orjson

from daemon.state import StateFile

_LOOKUP = "select row, key from rowkey where relation = ? and row in (select value from json_each(?))"
_SET = """insert or replace into rowkey (relation, row, key)
select ?, json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?)"""
_FILL = """insert into rowkey (relation, row, key)
select ?, json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?) where true on conflict do nothing"""
_FORGET = "delete from rowkey where relation = ? and row in (select value from json_each(?))"

SEPARATOR = "\x1f"


def row_name(identity: bytes) -> str:
    """The stream's identity columns as the index's text key."""
    return identity.decode("utf-8").replace("\x00", SEPARATOR)


class RowIndex:
    """Row identity -> value of one watched column, for each `relation` name ("schema.table.column")."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._recent: dict[tuple[str, str], str | None] = {}
        self._unflushed: deque[tuple[int, tuple[str, str]]] = deque()
        self._newest: dict[tuple[str, str], int] = {}
        state.on_flush(self._forget_recent)

    async def swap(self, relation: str, rows: dict[bytes, bytes | None]) -> tuple[set[bytes], int]:
        """Put the newest values in (None: the row is gone); returns former values and how many rows had none known."""
        names = {row_name(row): value for row, value in rows.items()}
        former: dict[str, str | None] = {}
        ask: list[str] = []
        for name in names:
            if (relation, name) in self._recent:
                former[name] = self._recent[relation, name]
            else:
                ask.append(name)
        if ask:
            wanted = orjson.dumps(ask).decode()

            def lookup(connection: sqlite3.Connection) -> list[tuple[str, str | None]]:
                return connection.execute(_LOOKUP, (relation, wanted)).fetchall()

            former.update(await self._state.read(lookup))
        gone = [name for name, value in names.items() if value is None]
        kept = [(name, value.decode("utf-8")) for name, value in names.items() if value is not None]
        sequence = 0
        if kept:
            sequence = self._state.append(_SET, relation, orjson.dumps(kept).decode())
        if gone:
            sequence = self._state.append(_FORGET, relation, orjson.dumps(gone).decode())
        for name, value in names.items():
            self._recent[relation, name] = value.decode("utf-8") if value is not None else None
            self._newest[relation, name] = sequence
            self._unflushed.append((sequence, (relation, name)))
        unknown = sum(1 for name in gone if name not in former)
        return {value.encode() for value in former.values() if value is not None}, unknown

    def fill(self, relation: str, rows: Iterable[tuple[str, str | None]]) -> None:
        """Put in what a scan of the table found; what the stream said already wins."""
        self._state.append(_FILL, relation, orjson.dumps(list(rows)).decode())

    def _forget_recent(self) -> None:
        while self._unflushed and self._unflushed[0][0] <= self._state.flushed:
            sequence, name = self._unflushed.popleft()
            if self._newest.get(name) == sequence:
                del self._newest[name]
                self._recent.pop(name, None)

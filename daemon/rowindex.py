"""The row index: for tables whose replica identity does not carry a watched column, which value each row had last.

Invariant: a row's former value is either known from here or reported as unknown; it is never guessed. The index changes in
the same ordered writes as the marks, so it is never ahead of the confirmed position by more than the marks are.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable

from daemon.state import StateFile, json_list
from daemon.walevents import GONE

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


def _text(value: bytes | None) -> str | None:
    return value.decode("utf-8") if value is not None else None


class RowIndex:
    """Row identity -> value of one watched column, for each `relation` name ("schema.table.column")."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._recent: dict[tuple[str, str], str | None] = {}
        self._unflushed: deque[tuple[int, tuple[str, str]]] = deque()
        self._newest: dict[tuple[str, str], int] = {}
        self._complete: set[str] = set()
        self._unsure: set[str] = set()
        self._unkept: set[str] = set()
        self.wanted: frozenset[str] = frozenset()
        """What will be filled where it is not complete."""
        state.on_flush(self._forget_recent)

    def open(self) -> None:
        """Load which relations are complete. Blocking; before the loop's work begins."""
        self._complete = {name for (name,) in self._state.query("select relation from indexed where complete")}
        self._unsure = {name for (name,) in self._state.query("select relation from indexed where not complete")}

    def is_complete(self, relation: str) -> bool:
        return relation in self._complete

    def begin(self, relation: str) -> bool:
        """A filling begins; returns whether an earlier one was interrupted."""
        self._state.append("insert into indexed (relation, complete) values (?, 0) on conflict do nothing", relation)
        return relation in self._unsure

    def complete(self, relation: str) -> bool:
        """The filling ended; returns whether a row changed meanwhile whose former value was not known."""
        if relation not in self._unkept:
            self._state.append("update indexed set complete = 1 where relation = ?", relation)
            self._complete.add(relation)
        unsure = relation in self._unsure
        self._unsure.discard(relation)
        return unsure

    def forget(self, relations: Iterable[str]) -> None:
        """These may be outdated: they are filled anew."""
        for relation in relations:
            self._state.append("delete from rowkey where relation = ?", relation)
            self._state.append("insert or replace into indexed (relation, complete) values (?, 0)", relation)
            self._complete.discard(relation)
            self._unsure.add(relation)
            for name in [name for name in self._recent if name[0] == relation]:
                del self._recent[name]

    def keep(self, relation: str, kept: bool) -> bool:
        """Whether the stream keeps a relation up to date from here on; returns whether it has to be filled for that.

        While the table's replica identity carries the column, nothing is kept, and what was known becomes outdated."""
        if not kept and relation not in self._unkept:
            self._unkept.add(relation)
            self.forget([relation])
        elif kept and relation in self._unkept:
            self._unkept.discard(relation)
            return True
        return False

    async def room(self) -> None:
        """Wait while the disk is behind."""
        await self._state.room()

    async def swap(self, relation: str, rows: dict[bytes, bytes | None]) -> tuple[set[bytes], int]:
        """Put the newest values in (None: NULL, GONE: the row went); returns former values, and how many rows had one that
        is not known: those that went where the index is complete, all that it does not have where it never will be. Where
        it is still to be filled, a comparison is owed for them afterwards."""
        names = {row_name(row): value for row, value in rows.items()}
        former: dict[str, str | None] = {}
        ask: list[str] = []
        for name in names:
            if (relation, name) in self._recent:
                former[name] = self._recent[relation, name]
            else:
                ask.append(name)
        if ask:
            wanted = json_list(ask)

            def lookup(connection: sqlite3.Connection) -> list[tuple[str, str | None]]:
                return connection.execute(_LOOKUP, (relation, wanted)).fetchall()

            former.update(await self._state.read(lookup))
        gone = [name for name, value in names.items() if value == GONE]
        if relation not in self._unkept:  # else these rows are from before, and what comes next will not be put in
            self._put(relation, names, gone)
        known = {value.encode() for value in former.values() if value is not None}
        if relation in self._complete:
            return known, sum(1 for name in gone if name not in former)
        unknown = len(names) - len(former)
        if relation not in self.wanted:
            return known, unknown
        if unknown and relation not in self._unsure:
            self._unsure.add(relation)
            self.begin(relation)  # the debt is on disk with the position
        return known, 0

    def _put(self, relation: str, names: dict[str, bytes | None], gone: list[str]) -> None:
        kept = [(name, _text(value)) for name, value in names.items() if value != GONE]
        sequence = 0
        if kept:
            sequence = self._state.append(_SET, relation, json_list(kept))
        if gone:
            sequence = self._state.append(_FORGET, relation, json_list(gone))
        for name, value in names.items():
            self._recent[relation, name] = _text(value) if value != GONE else None
            self._newest[relation, name] = sequence
            self._unflushed.append((sequence, (relation, name)))

    def fill(self, relation: str, rows: Iterable[tuple[str, str | None]]) -> None:
        """Put in what a scan of the table found; what the stream said already wins."""
        self._state.append(_FILL, relation, json_list(rows))

    def _forget_recent(self) -> None:
        while self._unflushed and self._unflushed[0][0] <= self._state.flushed:
            sequence, name = self._unflushed.popleft()
            if self._newest.get(name) == sequence:
                del self._newest[name]
                self._recent.pop(name, None)

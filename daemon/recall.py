"""The memory of a store's adapter in the state file: the store's own ids, over restarts.

Invariant: what was put is seen at once and written with everything else that is appended; a memory that is lost is learnt
again from the store, so nothing here has to be on disk before a call, unless the adapter asks for it (`secured`).
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import orjson

from daemon.state import StateFile, json_list

_MOST = 50_000  # names kept in memory beside the file
_GET = "select name, value from remembered where store = ? and kind = ? and name in (select value from json_each(?))"
_PUT = """insert into remembered (store, kind, name, value) select ?, ?, key, value from json_each(?) where true
on conflict do update set value = excluded.value"""
_FORGET = "delete from remembered where store = ? and kind = ? and name in (select value from json_each(?))"


class Recall:
    """One store's memory, see `adapters.store.loan.Memory`."""

    def __init__(self, state: StateFile, store: str) -> None:
        self._state = state
        self._store = store
        self._near: OrderedDict[tuple[str, str], tuple[str | None, int]] = OrderedDict()
        """(kind, name) -> value (None: not there), and the operation that must be on disk before the entry may go."""

    async def get(self, kind: str, names: Iterable[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        far: list[str] = []
        for name in names:
            entry = self._near.get((kind, name))
            if entry is None:
                far.append(name)
            elif entry[0] is not None:
                found[name] = entry[0]
        if far:
            asked = (self._store, kind, json_list(far))

            def ask(connection: sqlite3.Connection) -> list[tuple[str, str]]:
                return connection.execute(_GET, asked).fetchall()

            for name, value in await self._state.read(ask):
                known = self._near.get((kind, name))  # put or forgotten meanwhile
                if known is None:
                    self._keep(kind, name, value, 0)
                    found[name] = value
                elif known[0] is not None:
                    found[name] = known[0]
        return found

    def put(self, kind: str, values: Mapping[str, str]) -> None:
        new = {n: v for n, v in values.items() if self._near.get((kind, n), (None, 0))[0] != v}
        if not new:
            return
        number = self._state.append(_PUT, self._store, kind, orjson.dumps(new).decode())
        for name, value in new.items():
            self._keep(kind, name, value, number)

    def forget(self, kind: str, names: Iterable[str]) -> None:
        gone = list(names)
        if gone:
            number = self._state.append(_FORGET, self._store, kind, json_list(gone))
            for name in gone:
                self._keep(kind, name, None, number)

    async def secured(self) -> None:
        await self._state.secured()

    def _keep(self, kind: str, name: str, value: str | None, number: int) -> None:
        self._near[kind, name] = value, number
        self._near.move_to_end((kind, name))
        while len(self._near) > _MOST:
            oldest = next(iter(self._near))
            if self._near[oldest][1] > self._state.flushed:
                break  # the file does not have it yet
            del self._near[oldest]

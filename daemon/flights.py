"""Flights: the keys of a queue that have a call out, or had one of which the store did not answer for every document.

Invariant: before a call leaves it is on disk that its keys may show something else than what was acknowledged, so that
neither a lost answer nor a crash lets a value that returned to the acknowledged one pass for unchanged. Only the store's
answer ends the doubt. Versions grow in the same way: what a call may have shown is on disk, so that a clock that was set
back gives no lower one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daemon.mapping import Change
from daemon.model import Key, Micros, Outcome, Status
from daemon.state import StateFile, json_list

_DEPART = "insert or ignore into flight (queue, key) select ?, value from json_each(?)"
_STAMP = "insert into stamp (queue, newest) values (?, ?) on conflict do update set newest = excluded.newest"
_ARRIVE = "delete from flight where queue = ? and key in (select value from json_each(?))"


class Flights:
    """One queue's, over one state file. Construction reads what an earlier run left behind; blocking."""

    def __init__(self, state: StateFile, queue: int) -> None:
        self._state = state
        self._queue = queue
        self._keys: set[Key] = {key for (key,) in state.query("select key from flight where queue = ?", (queue,))}
        self._newest = self._noted = max(
            (n for (n,) in state.query("select newest from stamp where queue = ?", (queue,))), default=0
        )

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    @property
    def keys(self) -> frozenset[Key]:
        return frozenset(self._keys)

    def depart(self, keys: Iterable[Key]) -> set[Key]:
        """A call with these keys is about to leave, after `secured`; returns those that were in doubt already."""
        keys = set(keys)
        before = keys & self._keys
        if new := keys - before:
            self._keys |= new
            self._state.append(_DEPART, self._queue, json_list(new))
        return before

    def stamp(self, clock: Micros) -> Micros:
        """What the versions of the next documents start from: our clock, and above all that a call may have carried."""
        self._newest = max(self._newest + 1, clock)
        return self._newest

    async def secured(self) -> None:
        """Wait until all that was appended is on disk, stamps included."""
        if self._noted < self._newest:
            self._noted = self._newest
            self._state.append(_STAMP, self._queue, self._newest)
        await self._state.secured()

    def arrive(self, keys: Iterable[Key]) -> None:
        """The store answered for every document of these keys."""
        if back := self._keys.intersection(keys):
            self._keys -= back
            self._state.append(_ARRIVE, self._queue, json_list(back))


def appearing(changes: Sequence[Change]) -> list[tuple[str, int, bytes | None]]:
    """Documents that a call may be the first to show: the ledger has them before it leaves, so that their ids are known."""
    return [(change.patch.id, change.patch.version, change.after) for change in changes if change.before is None]


def said(change: Change, outcome: Outcome | None, doubted: bool) -> tuple[str, int, bytes | None]:
    """What the ledger is to have of a document: its word, or without one only the version, which is used up."""
    body = change.before
    if outcome is not None and outcome.status is Status.OK:
        body = change.after
    elif body is None and (doubted or outcome is None or outcome.status is not Status.REJECTED):
        body = change.after  # it may be there for the first time
    return change.patch.id, change.patch.version, body

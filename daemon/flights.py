"""Flights: the keys of a queue that have a call out, or had one of which the store did not answer for every document.

Invariant: before a call leaves it is on disk that its keys may show something else than what was acknowledged, so that
neither a lost answer nor a crash lets a value that returned to the acknowledged one pass for unchanged. Only the store's
answer ends the doubt. A doubt may be on disk before it is known whether a call follows. Versions grow in the same way: what a
call may have shown is on disk, so that a clock that was set back gives no lower one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from daemon.mapping import Change
from daemon.model import Key, Micros, Outcome, Status
from daemon.state import StateFile, json_list

_DEPART = "insert or ignore into flight (queue, key) select ?, value from json_each(?)"
_STAMP = "insert into stamp (queue, newest) values (?, ?) on conflict do update set newest = excluded.newest"
_ARRIVE = "delete from flight where queue = ? and key in (select value from json_each(?))"

FEW = 100
"""Most keys that are noted before it is known whether they differ: with more of them the call takes longer than the note."""
AHEAD: Micros = 10_000_000
"""Versions are noted ahead of what was sent, so that few calls wait for that; after a start they go on from the note."""


class Flights:
    """One queue's, over one state file. Construction reads what an earlier run left behind; blocking."""

    def __init__(self, state: StateFile, queue: int) -> None:
        self._state = state
        self._queue = queue
        self._keys: set[Key] = {key for (key,) in state.query("select key from flight where queue = ?", (queue,))}
        self._expected: set[Key] = set()  # noted, and no call has left
        self._asked: set[Key] = set()  # of these, those that are being read
        self._likely = False
        self._upto = 0
        self._newest = self._noted = max(
            (n for (n,) in state.query("select newest from stamp where queue = ?", (queue,))), default=0
        )

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    @property
    def keys(self) -> frozenset[Key]:
        return frozenset(self._keys)

    def expect(self, keys: Collection[Key]) -> None:
        """These keys are about to be read. Where the last ones led to a call, so will these: what a call waits for is written
        meanwhile. Ends with `decided`, before the next."""
        likely, self._likely = self._likely, False
        self._asked = set(keys) - self._keys if likely and len(keys) <= FEW else set()
        if self._asked:
            self._expected |= self._asked
            self.cover(self._state.append(_DEPART, self._queue, json_list(self._asked)))
            self._state.hasten()

    def decided(self, called: Iterable[Key]) -> None:
        """These keys are about to depart; the others that were expected go nowhere for now."""
        going = set(called)
        self._likely |= bool(going)
        self.stay(self._asked - going)
        self._asked = set()

    def stay(self, keys: Iterable[Key]) -> None:
        """No call that was expected for these keys leaves for now."""
        if back := self._expected.intersection(keys):
            self._expected -= back
            self._state.append(_ARRIVE, self._queue, json_list(back))

    def depart(self, keys: Iterable[Key]) -> set[Key]:
        """A call with these keys is about to leave, after `secured`; returns those that were in doubt already."""
        keys = set(keys)
        before = keys & self._keys
        new = keys - before
        if unwritten := new - self._expected:
            self.cover(self._state.append(_DEPART, self._queue, json_list(unwritten)))
        self._expected -= new
        self._keys |= new
        return before

    def stamp(self, clock: Micros) -> Micros:
        """What the versions of the next documents start from: our clock, and above all that a call may have carried."""
        self._newest = max(self._newest + 1, clock)
        return self._newest

    def cover(self, number: int) -> None:
        """No call leaves before this operation of the state file is on disk."""
        self._upto = max(self._upto, number)

    async def secured(self) -> None:
        """Wait until all that a call must not leave before is on disk, stamps included."""
        if self._noted < self._newest:
            self._noted = self._newest + AHEAD
            self.cover(self._state.append(_STAMP, self._queue, self._noted))
        await self._state.secured(self._upto)

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

"""Hindsight: what was compared while transactions were under way that the stream may never tell of, is compared once more.

A transaction that wrote before the slot (or before its table was published) is not in the stream, and as long as it has not
ended, or waits for a synchronous standby, no comparison sees it either.

Invariant: from before the first page of such a comparison until every transaction has ended that ran when it began, the
entity is noted here, on disk too; then it is compared again. What ends within a moment is waited for instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from daemon import log
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.model import Xid
from daemon.state import StateFile

_GRACE_S = 1.0
_LOOK_S = 0.05
_EVERY_S = 1.0
_STORE = "insert or replace into hindsight (entity, relations, xids) values (?, ?, ?)"
_DROP = "delete from hindsight where entity = ?"


@dataclass(slots=True)
class _Note:
    relations: set[str] = field(default_factory=set)
    """Tables whose row index has to be filled anew as well."""
    xids: frozenset[Xid] | None = None
    """What ran when the comparison began; None: it has not begun."""


class Hindsight:
    """Entities whose last comparison may have been too early for some transactions."""

    def __init__(self, erp: Erp, state: StateFile, again: Callable[[str, frozenset[str]], None]) -> None:
        self._erp = erp
        self._state = state
        self._again = again
        self._notes: dict[str, _Note] = {}
        self._turn = asyncio.Lock()

    def open(self) -> None:
        """Load what was noted. Blocking; before the loop's work begins."""
        for entity, relations, xids in self._state.query("select entity, relations, xids from hindsight"):
            known = None if xids is None else frozenset(map(int, xids.split()))
            self._notes[entity] = _Note(set(orjson.loads(relations)), known)

    def note(self, entity: str, relation: str = "") -> None:
        """A comparison of this entity is asked for, which begins anew: changes before it may have passed unseen."""
        note = self._notes.setdefault(entity, _Note())
        note.xids = None
        if relation:
            note.relations.add(relation)
        self._save(entity, note)

    def _save(self, entity: str, note: _Note) -> None:
        xids = None if note.xids is None else " ".join(map(str, sorted(note.xids)))
        self._state.append(_STORE, entity, orjson.dumps(sorted(note.relations)).decode(), xids)

    async def settle(self, entity: str) -> None:
        """Call before the first page of a comparison: remember what is under way now, after waiting a moment for it."""
        async with self._turn:
            note = self._notes.get(entity)
            if note is None or note.xids is not None:
                return
            loop = asyncio.get_running_loop()
            end = loop.time() + _GRACE_S
            running = (await self._erp.snapshot()).running
            while running and loop.time() < end:
                await asyncio.sleep(_LOOK_S)
                running = await self._unseen(running)
            if self._notes.get(entity) is not note or note.xids is not None:
                return
            if running:
                note.xids = running
                self._save(entity, note)
            else:
                self._forget(entity)

    async def run(self) -> None:
        """Look now and then whether they have ended; for the life of the daemon."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self._look()
            except ErpsyncError as exc:
                log.debug("backfill", str(exc))

    async def _look(self) -> None:
        waiting = {entity: note.xids for entity, note in self._notes.items() if note.xids}
        if not waiting:
            return
        running = await self._unseen(frozenset().union(*waiting.values()))
        for entity, xids in waiting.items():
            note = self._notes.get(entity)
            if note is not None and note.xids == xids and not xids & running:
                relations = frozenset(note.relations)
                self._forget(entity)
                self._again(entity, relations)

    async def _unseen(self, xids: frozenset[Xid]) -> frozenset[Xid]:
        snapshot = await self._erp.snapshot()
        return frozenset(xid for xid in xids if not snapshot.sees(xid))

    def _forget(self, entity: str) -> None:
        del self._notes[entity]
        self._state.append(_DROP, entity)

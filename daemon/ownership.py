"""Who shows a document: one id may move from one ERP key to another, and must not be taken down by the one that lost it.

Invariant: a document that another key of the queue shows, or is about to show, is never removed or zeroed for the key that
no longer gives it; and no two writes of one id are in flight at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from daemon.ledger import Ledger
from daemon.mapping import Change, Documents
from daemon.model import Key

Changes = dict[Key, list[Change]]
Retired = dict[Key, list[tuple[str, int, bytes | None]]]


class Ownership:
    """The ids of one queue."""

    def __init__(self, ledger: Ledger, queue: int, zeroed: Callable[[bytes], bool]) -> None:
        self._ledger = ledger
        self._queue = queue
        self._zeroed = zeroed
        self._flying: set[str] = set()

    async def sort_out(self, changes: Changes, documents: Mapping[Key, Documents]) -> tuple[set[Key], Retired]:
        """Take from `changes` what may not be sent: returns the keys to be tried again shortly, and the documents to
        be forgotten for a key (as tombstones) because another key shows them now."""
        retired = await self._moved(changes, documents)
        later: set[Key] = set()
        taken: set[str] = set()
        for key, mine in changes.items():
            ids = {change.patch.id for change in mine}
            if ids.isdisjoint(self._flying) and ids.isdisjoint(taken):
                taken |= ids
            else:
                later.add(key)
        for key in later:
            del changes[key]
        return later, retired

    async def _moved(self, changes: Changes, documents: Mapping[Key, Documents]) -> Retired:
        none: Documents = {}
        gone: dict[str, Key] = {}
        for key, mine in changes.items():
            given = documents.get(key, none)
            for change in mine:
                if change.patch.id not in given:
                    gone[change.patch.id] = key
        if not gone:
            return {}
        owners = await self._owners(gone)
        for key, given in documents.items():
            for id_ in given.keys() & gone.keys():
                owners.setdefault(id_, set()).add(key)
        retired: Retired = {}
        for id_, key in gone.items():
            if owners.get(id_, set()) - {key}:
                change = next(change for change in changes[key] if change.patch.id == id_)
                changes[key].remove(change)
                retired.setdefault(key, []).append((id_, change.patch.version, None))
        return retired

    async def _owners(self, gone: Mapping[str, Key]) -> dict[str, set[Key]]:
        """Which other keys the ledger has these documents for; not as what was left when that key went itself."""
        owners = await self._ledger.owners(self._queue, gone.keys())
        others = {other for id_, keys in owners.items() for other in keys if other != gone[id_]}
        if not others:
            return {}
        known = await self._ledger.lookup(self._queue, others, keep=False)

        def shows(key: Key, id_: str) -> bool:
            acked = known[key].get(id_) if key in known else None
            return acked is not None and acked.body is not None and not self._zeroed(acked.body)

        return {id_: {key for key in keys if shows(key, id_)} for id_, keys in owners.items()}

    def depart(self, changes: Iterable[Change]) -> None:
        """These documents are on their way to the store."""
        self._flying.update(change.patch.id for change in changes)

    def arrive(self, changes: Iterable[Change]) -> None:
        """The store has answered for them, or will not."""
        self._flying.difference_update(change.patch.id for change in changes)

"""Who shows a document: one id may move from one ERP key to another, and must not be taken down by the one that lost it.

Invariant: a document that another key of the queue shows, or is about to show, is never removed or zeroed for the key that
no longer gives it; and no two writes of one id are in flight at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from daemon.ledger import KeyDocuments, Ledger
from daemon.mapping import Change, Documents
from daemon.model import Acked, Key

Changes = dict[Key, list[Change]]
Ledgered = dict[Key, list[tuple[str, int, bytes | None]]]


class Ownership:
    """The ids of one queue."""

    def __init__(self, ledger: Ledger, queue: int, zeroed: Callable[[bytes], bool]) -> None:
        self._ledger = ledger
        self._queue = queue
        self._zeroed = zeroed
        self._flying: set[str] = set()

    async def sort_out(
        self, changes: Changes, documents: Mapping[Key, Documents], known: Mapping[Key, KeyDocuments]
    ) -> tuple[set[Key], Ledgered]:
        """Take from `changes` what may not be sent: returns the keys to be tried again shortly, and what the ledger is to
        have of documents that another key shows now: a tombstone for the key that lost one, its word for the other."""
        later = {key for key, mine in changes.items() if any(change.patch.id in self._flying for change in mine)}
        for key in later:
            del changes[key]
        lost, passed = await self._moved(changes, documents, known)
        taken: set[str] = set()
        for key, mine in changes.items():
            ids = {change.patch.id for change in mine}
            if ids.isdisjoint(taken):
                taken |= ids
            else:
                later.add(key)
        ledgered = passed
        for key, tombstones in lost.items():
            if key not in later:
                ledgered.setdefault(key, []).extend(tombstones)
        for key in later & changes.keys():
            del changes[key]
        return later, ledgered

    async def _moved(
        self, changes: Changes, documents: Mapping[Key, Documents], known: Mapping[Key, KeyDocuments]
    ) -> tuple[Ledgered, Ledgered]:
        none: Documents = {}
        gone: dict[str, Key] = {}
        for key, mine in changes.items():
            given = documents.get(key, none)
            for change in mine:
                if change.patch.id not in given:
                    gone[change.patch.id] = key
        lost: Ledgered = {}
        passed: Ledgered = {}
        if not gone:
            return lost, passed
        owners = await self._owners(gone)
        heirs: dict[str, Key] = {}
        for key, given in documents.items():
            heirs.update(dict.fromkeys(given.keys() & gone.keys(), key))
        for id_, key in gone.items():
            heir = heirs.get(id_)
            if heir is None and not owners.get(id_, set()) - {key}:
                continue
            change = next(change for change in changes[key] if change.patch.id == id_)
            changes[key].remove(change)
            lost.setdefault(key, []).append((id_, change.patch.version, None))
            shown = known[key][id_]
            held = known.get(heir, {}).get(id_) if heir is not None else None
            if heir is not None and heir in known and (held is None or held.body is None):
                # it is not sent for the new key yet, and may never be: what the store shows stays known
                passed.setdefault(heir, []).append((id_, change.patch.version, shown.body))
                if heir in changes:
                    changes[heir] = [_follow(c, change, shown) if c.patch.id == id_ else c for c in changes[heir]]
        return lost, passed

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


def _follow(change: Change, removal: Change, shown: Acked) -> Change:
    """A document's first change for a key, where another key has shown it so far."""
    version = max(change.patch.version, removal.patch.version + 1)
    return Change(replace(change.patch, version=version), shown.body, change.after)

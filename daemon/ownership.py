"""Who shows a document: one id may move from one ERP key to another, and must not be taken down by the one that lost it.

Invariant: a document that another key of the queue shows, or is about to show, is never removed or zeroed for the key that
no longer gives it; and no two writes of one id are in flight at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace

from daemon.ledger import KeyDocuments, Ledger
from daemon.mapping import Change, Documents
from daemon.model import Acked, Key

Changes = dict[Key, list[Change]]
Ledgered = dict[Key, list[tuple[str, int, bytes | None]]]
_NOTHING = Acked("", 0, None, 0)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What may not be sent, and what follows from it."""

    later: set[Key]
    """Keys to be tried again shortly."""
    heirs: set[Key]
    """Keys that got a document from another one: in doubt until the store has answered for them."""
    ledgered: Ledgered
    """A tombstone for each key that lost a document, its last word for each heir."""
    known: Mapping[Key, KeyDocuments]
    """The ledger's rows of all these keys."""


class Ownership:
    """The ids of one queue. `zeroed` tells what is left of a document that went, None where nothing is; `claimed` are the
    keys in flight."""

    def __init__(
        self, ledger: Ledger, queue: int, zeroed: Callable[[bytes], bool] | None, claimed: Container[Key]
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._zeroed = zeroed
        self._claimed = claimed
        self._flying: set[str] = set()

    async def sort_out(
        self, changes: Changes, documents: Mapping[Key, Documents], known: Mapping[Key, KeyDocuments]
    ) -> Sorted:
        """Take from `changes` what may not be sent now, or not for this key."""
        later = {key for key, mine in changes.items() if any(change.patch.id in self._flying for change in mine)}
        for key in later:
            del changes[key]
        lost: Ledgered = {}
        rows = await self._take_over(changes, documents, known, later, lost)
        passed = await self._moved(changes, documents, known, later, lost)
        for key in later & changes.keys():
            del changes[key]
        taken: set[str] = set()
        for key, mine in changes.items():
            ids = {change.patch.id for change in mine}
            if ids.isdisjoint(taken):
                taken |= ids
            else:
                later.add(key)
        for key in later & changes.keys():
            del changes[key]
        heirs = set(passed)
        for key in lost.keys() - later:
            passed.setdefault(key, []).extend(lost[key])
        return Sorted(later, heirs, passed, rows)

    async def _take_over(
        self,
        changes: Changes,
        documents: Mapping[Key, Documents],
        known: Mapping[Key, KeyDocuments],
        later: set[Key],
        lost: Ledgered,
    ) -> Mapping[Key, KeyDocuments]:
        """A document appears under a key: the zero that another key left behind is not what the store shows any more, and
        must not pass for it if that key gives the document again."""
        new = {
            c.patch.id: key for key, mine in changes.items() for c in mine if c.before is None and c.after is not None
        }
        if self._zeroed is None or not new:
            return known
        none: Documents = {}
        owners = await self._ledger.owners(self._queue, new.keys())
        left = [
            (id_, key)
            for id_, keys in owners.items()
            for key in keys
            if key != new[id_] and id_ not in documents.get(key, none)
        ]
        if not left:
            return known
        others = {key for _, key in left if key not in known}
        rows = {**known, **await self._ledger.lookup(self._queue, others, keep=False)}
        for id_, key in left:
            acked, heir = rows[key].get(id_, _NOTHING), new[id_]
            if acked.body is None or not self._zeroed(acked.body) or _of(changes, key, id_) is not None:
                continue  # its own change for this key says what becomes of it
            if key in others and key in self._claimed:
                later.add(heir)  # until it has landed
                continue
            lost.setdefault(key, []).append((id_, acked.version, None))
            changes[heir] = [_above(c, acked.version) if c.patch.id == id_ else c for c in changes[heir]]
        return rows

    async def _moved(
        self,
        changes: Changes,
        documents: Mapping[Key, Documents],
        known: Mapping[Key, KeyDocuments],
        later: set[Key],
        lost: Ledgered,
    ) -> Ledgered:
        """Tombstones for keys that lost a document to another one, and what the store shows of it for that one."""
        none: Documents = {}
        gone: dict[str, list[Key]] = {}
        for key, mine in changes.items():
            given = documents.get(key, none)
            for change in mine:
                if change.patch.id not in given:
                    gone.setdefault(change.patch.id, []).append(key)
        passed: Ledgered = {}
        if not gone:
            return passed
        owners = await self._owners(gone)
        heirs: dict[str, Key] = {}
        for key, given in documents.items():
            heirs.update(dict.fromkeys(given.keys() & gone.keys(), key))
        for id_, keys in gone.items():
            newest = max(keys, key=lambda key: known[key][id_].version)
            heir = heirs.get(id_)
            losers = keys if heir is not None or owners[id_] else [key for key in keys if key != newest]
            version = max(
                known[newest][id_].version + 1, *(_take(changes, key, id_).patch.version for key in losers), 0
            )
            for key in losers:
                lost.setdefault(key, []).append((id_, version, None))
            if heir is None:
                continue
            own, shown = known[heir].get(id_, _NOTHING), known[newest][id_]
            if own.body is None or own.version < shown.version:
                # it is not sent for the new key yet, and may never be: what the store shows stays known
                passed.setdefault(heir, []).append((id_, version, shown.body))
                if _of(changes, heir, id_) is None:
                    later.add(heir)  # it was compared with what it showed long ago
                else:
                    changes[heir] = [_follow(c, version, shown) if c.patch.id == id_ else c for c in changes[heir]]
        return passed

    async def _owners(self, gone: Mapping[str, list[Key]]) -> dict[str, set[Key]]:
        """Which other keys the ledger has these documents for; not as what was left when that key went itself."""
        owners = await self._ledger.owners(self._queue, gone.keys())
        owners = {id_: owners.get(id_, set()).difference(keys) for id_, keys in gone.items()}
        known = await self._ledger.lookup(self._queue, set().union(*owners.values()), keep=False)

        def shows(key: Key, id_: str) -> bool:
            body = known[key].get(id_, _NOTHING).body
            return body is not None and (self._zeroed is None or not self._zeroed(body))

        return {id_: {key for key in keys if shows(key, id_)} for id_, keys in owners.items()}

    def depart(self, changes: Iterable[Change]) -> None:
        """These documents are on their way to the store."""
        self._flying.update(change.patch.id for change in changes)

    def arrive(self, changes: Iterable[Change]) -> None:
        """The store has answered for them, or will not."""
        self._flying.difference_update(change.patch.id for change in changes)


def _take(changes: Changes, key: Key, id_: str) -> Change:
    """The change of this document for this key, which is not to be sent."""
    change = _of(changes, key, id_)
    assert change is not None
    changes[key].remove(change)
    return change


def _of(changes: Changes, key: Key, id_: str) -> Change | None:
    return next((change for change in changes.get(key, ()) if change.patch.id == id_), None)


def _above(change: Change, version: int) -> Change:
    return replace(change, patch=replace(change.patch, version=max(change.patch.version, version + 1)))


def _follow(change: Change, version: int, shown: Acked) -> Change:
    """A document's first change for a key, where another key has shown it so far."""
    return replace(_above(change, version), before=shown.body)

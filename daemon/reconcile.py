"""The reconcile: reads a store back page by page and compares it with what it acknowledged and with what the ERP says now.

Invariant: it never writes to a store; what differs is at most marked, and a worker does the rest. A document counts as
different only when nothing of its key moved between two looks at it: no mark, no call, no acknowledgement.

What never came from here is left as it is, unless it is asked for by name (`foreign`): then it is put under the smallest key of
the entity's type as if it had been sent for that. Whatever that key shows, these are not among it, so that a worker takes them
down like any document that the ERP has no longer, with its brake.

Mending is one step without a pause: the key is marked, then the ledger is told what the store really shows. So the next
comparison of that key sees the difference as it is, with its brake; a call in flight is never overtaken, since a key in
flight is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from daemon import log
from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.drift import Drift, Kind, Tally, differing, judge
from daemon.erp import Erp
from daemon.errors import Retry, StoreError
from daemon.gate import Gate
from daemon.ledger import KeyDocuments, Ledger
from daemon.mapping import Documents, Mapper
from daemon.metrics import Metrics
from daemon.model import Acked, Fields, Key, Micros, Missing, QueueName
from daemon.truth import read_documents

_KEYS = 500  # ids whose keys are read from the ERP at a time
_SUSPECTS = 1_000  # documents that get their second look together
_STRANGERS = 100_000  # unknown ids that are remembered; the rest is counted
_ATTEMPTS = 5  # without progress
_FLIGHT_S = 30.0

Shown = dict[str, Fields]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a comparison of one queue works on."""

    name: QueueName
    entity: Entity
    mapper: Mapper
    erp: Erp
    dirty: DirtySet
    ledger: Ledger
    gate: Gate
    metrics: Metrics
    observed: Callable[[int], None]
    """Told how many documents more (or fewer) the store shows than was known."""
    caught_up: Callable[[], Awaitable[bool]]
    """Waits until everything that is visible in the ERP now is marked; False when that cannot be said."""
    erp_now: Callable[[], Micros]
    lowest: Key | None
    """The smallest key that the entity's SQL can be asked for."""


class Reconcile:
    """One pass over one queue. `tally` may be read at any time."""

    def __init__(self, bench: Bench, *, fix: bool, foreign: bool = False) -> None:
        self.bench = bench
        self._fix = fix
        self._remove_foreign = foreign and bench.entity.missing is not Missing.KEEP and bench.lowest is not None
        self._queue = bench.dirty.queue(bench.name)
        self._suspects: dict[str, Key] = {}
        self._strangers: list[str] = []
        self._more_strangers = 0
        self._unsent: set[str] = set()
        self.tally = Tally()

    async def run(self) -> Tally:
        """Compare everything once. Raises ErpsyncError when the store or the ERP cannot be read."""
        bench, tally = self.bench, self.tally
        about: dict[str, Any] = {"entity": bench.name.entity, "store": bench.name.store}
        tally.total = await bench.ledger.count(self._queue.id)
        log.info("reconcile", f"{bench.name}: reading the store back, {tally.total} documents", **about)
        low = ""
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                high = page[-1][0]
                await self._page(dict(page), low, high)
                low = high
        await self._page({}, low, None)
        await self._second_look()
        await self._foreign()
        tally.ended = True
        bench.metrics.reconciled(bench.name, time.time())
        say = log.warning if tally.drift else log.info
        about.update({kind.value: count for kind, count in tally.counts.items() if count})
        say("reconcile", f"{bench.name}: {tally.line()}", compared=tally.compared, mended=tally.mended, **about)
        return tally

    # -- reading the store

    async def _pages(self) -> AsyncGenerator[list[tuple[str, Fields]], None]:
        """What the store shows, in pages of growing ids. A failure that passes is read over from where it was."""
        gate, size = self.bench.gate, self.bench.gate.store.limits.batch_for(self.bench.name.entity)
        after, attempts = "", 0
        while True:
            scan = gate.store.scan(self.bench.name.entity)

            async def some(scan: AsyncIterator[tuple[str, Fields]] = scan) -> list[tuple[str, Fields]]:
                found: list[tuple[str, Fields]] = []
                async for item in scan:
                    found.append(item)
                    if len(found) >= size:
                        break
                return found

            try:
                while read := await gate.read(some):
                    page = [item for item in read if item[0] > after]
                    if page:
                        after, attempts = page[-1][0], 0
                        yield page
                return
            except StoreError as exc:
                attempts += 1
                if exc.retry is not Retry.LATER or attempts >= _ATTEMPTS:
                    raise
            finally:
                close = getattr(scan, "aclose", None)
                if close is not None:
                    await close()

    # -- the first look

    async def _page(self, shown: Shown, low: str, high: str | None) -> None:
        """Everything with an id above `low` up to and with `high`, in the store or in the ledger."""
        ledger, queue = self.bench.ledger, self._queue.id
        while True:
            ids, upto = await ledger.between(queue, low, high, _KEYS)
            end = upto if upto is not None else high
            part = {i: f for i, f in shown.items() if i > low and (end is None or i <= end)}
            await self._look(ids, part)
            for id_ in part.keys() - ids.keys() - self._unsent:
                if len(self._strangers) < _STRANGERS:
                    self._strangers.append(id_)
                else:
                    self._more_strangers += 1
            if upto is None:
                return
            low = upto

    async def _look(self, ids: dict[str, Key], shown: Shown) -> None:
        bench, tally = self.bench, self.tally
        still = {key for key in ids.values() if not self._queue.moving(key)}
        known = await bench.ledger.lookup(self._queue.id, still, keep=False)
        said, bad = await self._truth(still)
        behind = {key: self._behind(said, known, key) for key in still - bad}
        equal = 0
        for key, fields in behind.items():
            for id_ in fields.keys() - known[key].keys() - self._unsent:
                self._unsent.add(id_)
                self._suspects[id_] = key
        for id_, key in ids.items():
            if key not in still:
                tally.moving += 1
                continue
            if key in bad:
                tally.unreadable += 1
                continue
            acked = known[key].get(id_)
            body = acked.body if acked is not None else None
            if body is None and id_ not in shown:
                continue  # removed, and gone
            if judge(body, shown.get(id_)) or id_ in behind[key]:
                self._suspects[id_] = key
            else:
                equal += 1
        tally.compared += equal
        bench.metrics.compared(bench.name, equal, 0)
        if len(self._suspects) >= _SUSPECTS:
            await self._second_look()

    async def _truth(self, keys: Collection[Key]) -> tuple[dict[Key, Documents], set[Key]]:
        if not keys:
            return {}, set()
        said, bad = await read_documents(self.bench.erp, self.bench.entity, self.bench.mapper, list(keys))
        return said, set(bad)

    def _behind(self, said: dict[Key, Documents], known: dict[Key, KeyDocuments], key: Key) -> dict[str, Any]:
        """Documents of a key for which the ERP now says something else than was acknowledged: id -> fields."""
        changes, _ = self.bench.mapper.diff(said.get(key, {}), known[key], 0, 0)
        found: dict[str, Any] = {}
        for change in changes:
            before = orjson.loads(change.before) if change.before is not None else {}
            after = orjson.loads(change.after) if change.after is not None else {}
            found[change.patch.id] = differing(after, before) or {"": (None, None)}
        return found

    # -- the second look

    async def _second_look(self) -> None:
        """Ask everybody again about what seemed to differ, and believe it only when nothing moved meanwhile."""
        suspects, self._suspects = self._suspects, {}
        if not suspects:
            return
        bench = self.bench
        keys = {key for key in suspects.values() if not self._queue.moving(key)}
        before = _frozen(await bench.ledger.lookup(self._queue.id, keys, keep=False))
        said, bad = await self._truth(keys)
        shown: Shown = {}
        ids = [id_ for id_, key in suspects.items() if key in keys]
        size = bench.gate.store.limits.batch_for(bench.name.entity)
        for start in range(0, len(ids), size):
            some = ids[start : start + size]
            shown.update(await self._fetch(some))
        behind = {key: self._behind(said, before, key) for key in keys - bad}
        sure = await bench.caught_up() if any(behind.values()) else True
        after = await bench.ledger.lookup(self._queue.id, keys, keep=False)
        # from here on without a pause
        found: dict[Key, list[Drift]] = {}
        for id_, key in suspects.items():
            if key not in keys or self._queue.moving(key) or after[key] != before[key]:
                self.tally.moving += 1
                continue
            if key in bad:
                self.tally.unreadable += 1
                continue
            drift = _drift(id_, key, before[key].get(id_), shown.get(id_), behind[key].get(id_))
            if drift is not None and drift.kind is Kind.BEHIND and not sure:
                self.tally.moving += 1
                continue
            self.tally.compared += 1
            bench.metrics.compared(bench.name, 1, drift is not None, int(drift is not None and self._fix))
            if drift is not None:
                found.setdefault(key, []).append(drift)
        for key, drifts in found.items():
            if self._fix:
                self._mend(key, drifts, after[key], shown)
            for drift in drifts:
                self.tally.add(drift, mended=self._fix)

    async def _fetch(self, ids: list[str]) -> Shown:
        bench = self.bench
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return dict(await bench.gate.read(lambda: bench.gate.store.fetch(bench.name.entity, ids)))
            except StoreError as exc:
                if exc.retry is not Retry.LATER or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("not reached")

    def _mend(self, key: Key, drifts: list[Drift], known: KeyDocuments, shown: Shown) -> None:
        bench = self.bench
        bench.dirty.mark(bench.name, {key}, bench.erp_now())
        seen: list[tuple[str, int, bytes | None]] = []
        for drift in drifts:
            if drift.kind is Kind.BEHIND:
                continue
            fields, acked = shown.get(drift.id), known[drift.id]
            body = orjson.dumps(dict(fields), default=str, option=orjson.OPT_SORT_KEYS) if fields is not None else None
            bench.observed((body is not None) - (acked.body is not None))
            seen.append((drift.id, acked.version, body))
        if seen:
            bench.ledger.record(self._queue.id, {key: known}, {key: seen}, time.time_ns() // 1000)

    # -- what nobody knows

    async def _foreign(self) -> None:
        """Ids that were not known when they were read: either they are new since then, or they came from elsewhere."""
        if self._strangers:
            await self._landed()
        ledger, tally = self.bench.ledger, self.tally
        strangers = await ledger.unknown(self._queue.id, self._strangers)
        tally.moving += len(self._strangers) - len(strangers)
        adopted = await self._adopt(strangers) if self._remove_foreign else False
        for id_ in strangers:
            tally.add(Drift(Kind.FOREIGN, id_), mended=adopted)
        tally.counts[Kind.FOREIGN] += self._more_strangers
        count = len(strangers) + self._more_strangers
        tally.compared += count
        self.bench.metrics.compared(self.bench.name, count, count)

    async def _adopt(self, ids: Sequence[str]) -> bool:
        """Let foreign documents be taken down by the way that all writes take; False while that way is not free."""
        bench, key, size = self.bench, self.bench.lowest, max(self.bench.gate.store.limits.batch_size, 1)
        if key is None or not ids:
            return False
        shown: Shown = {}
        for start in range(0, len(ids), size):
            shown.update(await self._fetch(list(ids[start : start + size])))
        unknown = set(await bench.ledger.unknown(self._queue.id, list(shown)))
        known = await bench.ledger.lookup(self._queue.id, {key}, keep=False)
        # from here on without a pause
        if self._queue.moving(key):
            return False
        bodies = [
            (id_, 0, orjson.dumps(dict(fields), default=str, option=orjson.OPT_SORT_KEYS))
            for id_, fields in shown.items()
            if id_ in unknown
        ]
        bench.dirty.mark(bench.name, {key}, bench.erp_now())
        bench.observed(len(bodies))
        bench.ledger.record(self._queue.id, known, {key: bodies}, time.time_ns() // 1000)
        return True

    async def _landed(self) -> None:
        """Wait until the calls that are out now have been answered: one of them may have written what was read."""
        flying = dict(self._queue.claimed)
        end = asyncio.get_running_loop().time() + _FLIGHT_S
        while any(self._queue.claimed.get(key) is flight for key, flight in flying.items()):
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(0.02)


def _frozen(known: dict[Key, KeyDocuments]) -> dict[Key, dict[str, Acked]]:
    return {key: dict(documents) for key, documents in known.items()}


def _drift(
    id_: str, key: Key, acked: Acked | None, shown: Fields | None, behind: Mapping[str, tuple[Any, Any]] | None
) -> Drift | None:
    """How a document differs, if it does. `behind`: what the ERP says otherwise than was acknowledged."""
    verdict = judge(acked.body, shown) if acked is not None else None
    if verdict is not None:
        return Drift(verdict[0], id_, key, verdict[1])
    return Drift(Kind.BEHIND, id_, key, behind) if behind is not None else None

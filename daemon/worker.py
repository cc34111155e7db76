"""The worker of one queue: claim, re-read, compare, send, acknowledge. There is no other way to write to a store.

Invariant: a key's truth is read only in a snapshot that sees every transaction which marked it, it has one request in
flight at a time, and its mark goes only when the store itself acknowledged each of its documents. Whatever fails is given
back, set aside with its reason, or waits; nothing is dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from daemon import failpoints, log
from daemon.brakes import Brake
from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.errors import ErpsyncError, Retry, SourceLost, StoreError
from daemon.flights import Flights, appearing, said
from daemon.gate import Gate
from daemon.heldlines import HeldLines
from daemon.latency import LatencyWindow
from daemon.ledger import KeyDocuments, Ledger
from daemon.mapping import Change, Documents, Mapper
from daemon.metrics import Metrics
from daemon.model import Claim, Key, Micros, Missing, Outcome, Patch, QueueName, Status
from daemon.ownership import Ownership
from daemon.pacing import Backoff
from daemon.tap import Tap
from daemon.truth import read_claimed
from daemon.unit import Unit

_READ = 500  # keys in one re-read
_LINGER_S = 0.009  # re-reads are at least so far apart
_HIDDEN_MIN_S, _HIDDEN_MAX_S = 0.002, 0.25  # between looks at a commit that is not visible yet
_SOURCE_RETRY_S, _STOPPED_RETRY_S = 1.0, 2.0
_FLYING_S = 0.02  # before a document that is in flight for another key is looked at again
_ITEM_BACKOFF = Backoff(base=1.0, cap=60.0)


class Worker:
    """Drains one queue. `clock` gives our time and `offset` the ERP's clock minus ours, in microseconds."""

    def __init__(
        self,
        name: QueueName,
        entity: Entity,
        mapper: Mapper,
        erp: Erp,
        dirty: DirtySet,
        ledger: Ledger,
        flights: Flights,
        gate: Gate,
        metrics: Metrics,
        brake: Brake | None,
        clock: Callable[[], Micros],
        offset: Callable[[], Micros],
        tap: Tap | None = None,
    ) -> None:
        self.name = name
        self._entity = entity
        self._mapper = mapper
        self._erp = erp
        self._dirty = dirty
        self._queue = dirty.queue(name)
        self._ledger = ledger
        self._flights = flights
        zeroed = mapper.zeroed if entity.missing is Missing.ZERO else None
        self._ownership = Ownership(ledger, self._queue.id, zeroed, self._queue.claimed)
        self._gate = gate
        self._metrics = metrics
        self._counters = metrics.queue(name, entity.lane)
        self._resolve, self._sending = metrics.stage("resolve"), metrics.stage("send")
        self._brake = brake
        self._clock = clock
        self._offset = offset
        self._tap = Tap(free=True, urgent=True) if tap is None else tap
        self._fields: dict[str, Any] = {"entity": name.entity, "store": name.store}
        self._room = asyncio.Semaphore(gate.store.limits.concurrency)
        self._edge = log.Edge("entity_stopped", "entity_resumed", **self._fields)
        self._gathered_at = 0.0
        self._allowed: set[Key] = set()
        self.insisted: set[Key] = set()
        """Keys whose documents are sent although the store acknowledged them."""
        self._held = HeldLines(name)
        self.latency = LatencyWindow()
        self.stopped = ""
        """Why this entity cannot be read; empty when it can."""

    # -- the loop

    async def run(self, draining: asyncio.Event) -> None:
        """Work until `draining` is set; calls in flight are finished first."""
        stop = asyncio.ensure_future(draining.wait())
        try:
            async with asyncio.TaskGroup() as calls:
                while not draining.is_set():
                    await self._linger()
                    if not self._queue.ready.is_set() or self._room.locked():
                        await self._first(stop, self._claimable())
                    if self._gate.breaker.open:
                        await self._first(stop, self._gate.wait())
                    if not self._tap.ready:
                        await self._first(stop, self._tap.wait())
                    if self._tap.heavy:  # what was acknowledged is on disk and leaves memory before more is read
                        await self._first(stop, self._ledger.settled())
                    if draining.is_set():
                        break
                    units = await self._gather()
                    self._flights.decided(key for unit in units for key in unit.claims)
                    for unit in units:
                        await self._room.acquire()
                        calls.create_task(self._send(unit), name=f"send {self.name}")
        finally:
            stop.cancel()

    async def _first(self, stop: asyncio.Future[Any], work: Coroutine[Any, Any, None]) -> None:
        """Wait for work, but not beyond `stop`."""
        task = asyncio.get_running_loop().create_task(work, name=f"wait {self.name}")
        try:
            await asyncio.wait((stop, task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            task.result()

    async def _linger(self) -> None:
        """Let changes that follow each other closely come together: one read and one call then serve them all."""
        passed = asyncio.get_running_loop().time() - self._gathered_at
        if passed < _LINGER_S:
            await asyncio.sleep(_LINGER_S - passed)

    async def _claimable(self) -> None:
        """Wait until a key may be claimed and a call may follow."""
        queue = self._queue
        async with self._room:
            pass
        while not queue.ready.is_set():
            try:
                async with asyncio.timeout_at(self._dirty.next_alarm(self.name)):
                    await queue.ready.wait()
            except TimeoutError:
                return

    # -- reading

    async def _gather(self) -> list[Unit]:
        """Claim keys, read their truth, and pack what differs into calls. Gives back whatever cannot be read now."""
        loop = asyncio.get_running_loop()
        self._gathered_at = loop.time()
        most = self._tap.room(_READ, self._limit)
        claims = {claim.key: claim for claim in self._dirty.claim(self.name, most, self._gathered_at)}
        if not claims:
            return []
        self._flights.expect(claims)
        try:
            failpoints.reach("after_claim")
            hidden, documents, bad = await read_claimed(self._erp, self._dirty, self._entity, self._mapper, claims)
            self._give_back(claims, hidden)
            if not claims:
                return []
            failpoints.reach("after_erp_read")
            self._tap.weigh(len(claims), (len(made.body) for mine in documents.values() for made in mine.values()))
            known = await self._ledger.lookup(self._queue.id, claims.keys())
        except SourceLost:
            self._dirty.fail(self.name, claims, loop.time() + _SOURCE_RETRY_S, counts=False)
            return []
        except ErpsyncError as exc:
            self._stop(exc)
            self._dirty.fail(self.name, claims, loop.time() + _STOPPED_RETRY_S, counts=False)
            return []
        except BaseException:
            self._dirty.fail(self.name, claims, loop.time(), counts=False)
            raise
        self._resume()
        for key, error in bad.items():
            if claims.pop(key, None) is not None:
                self._quarantine(key, error.code, str(error))
        try:
            units = await self._compare(claims, documents, known)
            self._resolve.observe(loop.time() - self._gathered_at)
            return units
        except BaseException:
            self._dirty.fail(self.name, claims.keys() & self._queue.claimed.keys(), loop.time(), counts=False)
            raise

    def _give_back(self, claims: dict[Key, Claim], hidden: set[Key]) -> None:
        """Keys whose transactions are not visible to other sessions yet are looked at again shortly."""
        if not hidden:
            return
        oldest = min(claims[key].since for key in hidden)
        wait = min(max((self._clock() + self._offset() - oldest) / 1e6 * 0.1, _HIDDEN_MIN_S), _HIDDEN_MAX_S)
        self._dirty.fail(self.name, hidden, asyncio.get_running_loop().time() + wait, counts=False)
        for key in hidden:
            del claims[key]

    async def _compare(
        self, claims: dict[Key, Claim], documents: dict[Key, Documents], known: dict[Key, KeyDocuments]
    ) -> list[Unit]:
        now, stamp = self._clock(), self._flights.stamp(self._clock())
        found: dict[Key, list[Change]] = {}
        for key, claim in claims.items():
            since = claim.since or now + self._offset()
            sure = key not in self._flights and key not in self.insisted
            changes, _ = self._mapper.diff(documents.get(key, {}), known[key], since, stamp, sure=sure)
            if changes:
                found[key] = changes
        if not found:
            return self._pack(claims, found, known, now)
        moved = await self._ownership.sort_out(found, documents, known)
        self._flights.depart(moved.heirs)
        self._flights.cover(self._ledger.record(self._queue.id, moved.known, moved.ledgered, now))
        if later := moved.later:
            self._dirty.fail(self.name, later, asyncio.get_running_loop().time() + _FLYING_S, counts=False)
        return self._pack({k: c for k, c in claims.items() if k not in later}, found, known, now)

    def _pack(
        self, claims: dict[Key, Claim], found: dict[Key, list[Change]], known: dict[Key, KeyDocuments], now: Micros
    ) -> list[Unit]:
        """Changes as calls; keys without any are done, keys that the brake stops are held."""
        clean: list[Key] = []
        units: list[Unit] = []
        unit = Unit()
        for key, claim in claims.items():
            changes = found.get(key)
            if not changes:
                clean.append(key)
                continue
            if self._brake is not None and key not in self._allowed:
                reason = self._brake.check(now / 1e6, changes)
                if reason:
                    self._hold(key, reason)
                    continue
            if unit.size and unit.size + len(changes) > self._limit:
                units.append(unit)
                unit = Unit()
            unit.add(key, claim, changes, known[key])
            self._ownership.depart(changes)
        if unit.size:
            units.append(unit)
        if clean:
            self._forget(clean)
            self._flights.arrive(clean)
            self._dirty.done(self.name, clean)
            self._counters.count("unchanged", len(clean))
        self._held.tell(asyncio.get_running_loop().time())
        return units

    # -- sending

    async def _send(self, unit: Unit) -> None:
        """Bring one unit to the store and end its claims by what the store said of each document."""
        if not await self._admitted(unit):
            return
        patches = [change.patch for changes in unit.changes.values() for change in changes]
        limit = self._limit
        outcomes: dict[str, Outcome] = {}
        try:
            await self._depart(unit)
            for start in range(0, len(patches), limit):
                outcomes.update({o.id: o for o in await self._call(patches[start : start + limit])})
        except StoreError:
            pass  # the gate has opened the breaker and logged it; what was not answered is read again and sent later
        finally:
            self._room.release()
            self._land(unit)
            self._settle(unit, outcomes)

    @property
    def _limit(self) -> int:
        """Most documents in one call."""
        limits = self._gate.store.limits
        return limits.bulk_for(self.name.entity) if self._tap.bulk else limits.batch_for(self.name.entity)

    async def _admitted(self, unit: Unit) -> bool:
        """Wait until the job lets the unit go. When its run ends first, the keys are given back untouched."""
        admitted = False
        try:
            admitted = await self._tap.take(unit.size, unit.weight)
        finally:
            if not admitted:
                self._room.release()
                self._land(unit)
                self._dirty.fail(self.name, unit.claims, asyncio.get_running_loop().time(), counts=False)
        return admitted

    def _forget(self, keys: Iterable[Key]) -> None:
        self._allowed.difference_update(keys)
        self.insisted.difference_update(keys)

    def _land(self, unit: Unit) -> None:
        self._ownership.arrive(change for changes in unit.changes.values() for change in changes)
        self._flights.stay(unit.claims)

    async def _depart(self, unit: Unit) -> None:
        """Before a call leaves it is on disk which keys it may change and which documents it may be the first to show."""
        unit.doubted = self._flights.depart(unit.claims)
        first = {key: appearing(changes) for key, changes in unit.changes.items()}
        self._flights.cover(self._ledger.record(self._queue.id, unit.known, first, self._clock()))
        await self._flights.secured()

    async def _call(self, patches: Sequence[Patch]) -> Sequence[Outcome]:
        """One call; a batch that the store refuses as a whole is halved until the document at fault stands alone."""
        failpoints.reach("before_store_call")
        try:
            started = asyncio.get_running_loop().time()
            outcomes = await self._gate.apply(self.name.entity, patches, self._entity.lane, self._tap.held)
            self._sending.observe(asyncio.get_running_loop().time() - started)
            failpoints.reach("after_store_call")
            return outcomes
        except StoreError as exc:
            if exc.retry is not Retry.NEVER and exc.code != "E-STORE-TOO-LARGE":
                raise
            if len(patches) == 1:
                return [Outcome(patches[0].id, Status.REJECTED, exc.message, exc.code)]
        middle = len(patches) // 2
        return [*await self._call(patches[:middle]), *await self._call(patches[middle:])]

    def _settle(self, unit: Unit, outcomes: dict[str, Outcome]) -> None:
        """End the claims of a unit: acknowledged, set aside, or given back."""
        now, erp_now = self._clock(), self._clock() + self._offset()
        acks: dict[Key, list[tuple[str, int, bytes | None]]] = {}
        done: list[Key] = []
        landed: list[Key] = []
        later: dict[int, list[Key]] = {}
        for key, changes in unit.changes.items():
            answers = [(change, outcomes.get(change.patch.id)) for change in changes]
            taken = [c for c, o in answers if o is not None and o.status is Status.OK]
            if taken and self._brake is not None:
                self._brake.documents += sum((c.before is None) - (c.after is None) for c in taken)
            self._tap.sent += len(taken)
            acks[key] = [said(change, outcome, key in unit.doubted) for change, outcome in answers]
            if key not in unit.doubted and all(o is not None and o.status is not Status.RETRY for _, o in answers):
                landed.append(key)
            refused = next((o for _, o in answers if o is not None and o.status is Status.REJECTED), None)
            if len(taken) == len(changes):
                done.append(key)
            elif refused is not None:
                self._quarantine(key, refused.code or "E-STORE-REJECTED", f"{refused.id}: {refused.error}")
            else:
                unanswered = all(o is None for _, o in answers)
                later.setdefault(0 if unanswered else unit.claims[key].attempt + 1, []).append(key)
        self._ledger.record(self._queue.id, unit.known, acks, now)
        failpoints.reach("after_ack")
        self._flights.arrive([*landed, *done])
        if done:
            self._forget(done)
            self._dirty.done(self.name, done)
            self._measure((unit.claims[key] for key in done), erp_now)
        loop_now = asyncio.get_running_loop().time()
        for attempt, keys in later.items():
            wait = _ITEM_BACKOFF.wait(attempt, random.random) if attempt else 0.0
            self._dirty.fail(self.name, keys, loop_now + wait, counts=attempt > 0)
            self._counters.count("retried", len(keys))

    def _measure(self, claims: Iterable[Claim], erp_now: Micros) -> None:
        for claim in claims:
            if claim.background:
                self._counters.count("applied")
                continue
            seconds = max(erp_now - claim.since, 0) / 1e6
            self._counters.applied(seconds)
            self.latency.record(seconds)

    # -- what cannot be sent

    def _quarantine(self, key: Key, code: str, reason: str) -> None:
        self._dirty.park(self.name, key, "quarantined", code, reason, self._clock() + self._offset())
        self._forget((key,))
        self._counters.count("quarantined")
        self._metrics.error(code)
        log.warning("quarantined", reason, key=key, code=code, **self._fields)

    def _hold(self, key: Key, reason: str) -> None:
        self._dirty.park(self.name, key, "held", "E-BRAKE", reason, self._clock() + self._offset())
        self._counters.count("held")
        self._held.add(reason)

    def allow(self, keys: Iterable[Key]) -> None:
        """Let these keys past the brake once: until the store has answered them, in this process."""
        self._allowed.update(keys)

    def observed(self, documents: int) -> None:
        """The store was found to show so many documents more (or fewer) than it had acknowledged."""
        if self._brake is not None:
            self._brake.documents += documents

    def _stop(self, exc: ErpsyncError) -> None:
        self.stopped = str(exc)
        self._metrics.error(exc.code)
        self._edge.down(str(exc), code=exc.code)

    def _resume(self) -> None:
        if self.stopped:
            self.stopped = ""
            self._edge.up(f"{self.name.entity} can be read again")

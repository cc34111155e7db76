"""A content job: opens the tap of an entity's queues, at a speed that the fast lane can bear, until the backlog is sent.

Invariant: the backlog is what was marked when the run began; what comes later may go with it and never keeps it open. A
rebuild is a comparison that sends everything: its cursor is what is durable about it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.backfill import Backfill
from daemon.config.outlet import Batch, Store
from daemon.dirtyset import DirtySet
from daemon.jobs.job import Job
from daemon.jobs.records import Records, Run
from daemon.jobs.throttle import Fast, part
from daemon.model import Micros, QueueName
from daemon.runs import BusyError
from daemon.tap import Tap
from daemon.worker import Worker

_LOOK_S = 0.25
_SAVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """What a content job works with. `erp_now` is the ERP's clock, on which changes are dated."""

    dirty: DirtySet
    backfills: Mapping[QueueName, Backfill]
    workers: Mapping[QueueName, Worker]
    taps: Mapping[QueueName, Tap]
    stores: Mapping[str, Store]
    fast: Mapping[QueueName, float]
    """The queues of the fast lane with their targets in seconds."""
    busy: dict[str, str]
    """Entity -> the job that has an open run on it; two never share one."""
    erp_now: Callable[[], Micros]


class ContentJob(Job):
    """The run of a `[batch.*]` with `entity`; `names` are the queues of that entity."""

    at_first = True
    unit = "documents"
    often = True

    def __init__(
        self,
        batch: Batch,
        records: Records,
        clock: Callable[[], Micros],
        told: Callable[[str, float], None],
        names: Sequence[QueueName],
        lanes: Lanes,
    ) -> None:
        super().__init__(batch, records, clock, told)
        self.kind = "rebuild" if batch.rebuild else "content"
        if batch.rebuild:
            self.at_first = False  # the first load sends everything anyway
        self._names = tuple(names)
        self.entities = tuple(sorted({name.entity for name in names}))
        self._lanes = lanes
        self._left = 0
        self._first_left = 0
        self._begun: Micros = 0
        if self.open is not None:  # it was cut off: what it was to send is sent now
            self._begun = self.open.started

    def start(self) -> None:
        for entity in self.entities:
            if (other := self._lanes.busy.get(entity)) not in (None, self.name):
                raise BusyError(f"job {other} is running on {entity}", hint="Wait for its end, or cancel it.")
        super().start()

    def progress(self) -> tuple[int, int | None]:
        if self.batch.rebuild:
            jobs = [self._lanes.backfills[name].job for name in self._names]
            totals = [job.total if job.resend else job.done for job in jobs]
            total = sum(t for t in totals if t is not None)
            return sum(job.done for job in jobs), total if None not in totals else None
        done = max(self._first_left - self._left, 0)
        return done, self._first_left or None

    def _begin(self, *, asked: bool, planned: Micros) -> Run | None:
        run = super()._begin(asked=asked, planned=planned)
        self._begun, self._first_left = self._lanes.erp_now(), 0
        if self.batch.rebuild:  # the request and the run reach the disk together
            for name in self._names:
                backfill, place = self._lanes.backfills[name], self._records.place(self.name, self._number(name))
                backfill.resend(*(place or (None, 0)))
                self._records.take_up(self.name, self._number(name))
        return run

    def _number(self, name: QueueName) -> int:
        return self._lanes.dirty.queue(name).id

    async def _work(self, run: Run) -> bool:
        lanes, taps = self._lanes, [self._lanes.taps[name] for name in self._names]
        while not await self._mine(run):
            if self._cancelled.is_set():
                return False
        before, sent = run.rows, sum(tap.sent for tap in taps)
        saved = asyncio.get_running_loop().time()
        try:
            for tap in taps:
                tap.bulk = True
            while not self._complete():
                if self._cancelled.is_set():
                    self._leave()
                    return False
                self._adjust(run)
                await self._sleep(_LOOK_S)
                run.rows = before + sum(tap.sent for tap in taps) - sent
                if asyncio.get_running_loop().time() - saved > _SAVE_S:
                    saved = asyncio.get_running_loop().time()
                    self._records.progress(run)
            run.rows = before + sum(tap.sent for tap in taps) - sent
            return True
        finally:
            for tap in taps:
                tap.close(f"job {self.name}, its next run")
            for entity in self.entities:
                lanes.busy.pop(entity, None)

    async def _mine(self, run: Run) -> bool:
        """Take the entities, or wait a little for the job that has them."""
        others = {self._lanes.busy[e] for e in self.entities if self._lanes.busy.get(e, self.name) != self.name}
        if others:
            self.waits_for = f"job {', '.join(sorted(others))}"
            await self._sleep(_LOOK_S)
            return False
        self._lanes.busy.update(dict.fromkeys(self.entities, run.job))
        return True

    def _leave(self) -> None:
        """Give a rebuild up, so that it can be taken up where it was."""
        if not self.batch.rebuild:
            return
        for name in self._names:
            cursor, done = self._lanes.backfills[name].give_up()
            self._lanes.workers[name].insisted.clear()
            if done:
                self._records.leave(self.name, self._number(name), cursor, done)

    # -- the end

    def _complete(self) -> bool:
        self._left = sum(self._remaining(name) for name in self._names)
        self._first_left = max(self._first_left, self._left)
        if self.batch.rebuild:
            return not any(self._lanes.backfills[name].job.resend for name in self._names)
        return not any(self._behind(name) for name in self._names)

    def _remaining(self, name: QueueName) -> int:
        queue = self._lanes.dirty.queue(name)
        return len(queue.fresh) + len(queue.claimed) + len(queue.waiting) + len(queue.background) + queue.spilled

    def _behind(self, name: QueueName) -> bool:
        queue, job = self._lanes.dirty.queue(name), self._lanes.backfills[name].job
        since = queue.moving_since()
        return job.phase != "done" or bool(queue.background) or (since is not None and since <= self._begun)

    # -- the speed

    def _adjust(self, run: Run) -> None:
        open_ = self._may_work(run)
        words = []
        for name in self._names:
            tap = self._lanes.taps[name]
            if not open_:
                tap.set(0.0, f"its window {self.batch.window}")
            else:
                share = self._part(name.store)
                tap.set(self._speed(name, share), "" if share else "the fast lane, which is behind its target", share)
            words.append(tap.waits_for)
        self.waits_for = "; ".join(dict.fromkeys(filter(None, words)))

    def _speed(self, name: QueueName, share: float) -> float:
        store = self._lanes.stores[name.store]
        most = self.batch.max_per_second
        if most is None:
            if share >= 1.0:
                return math.inf  # the store's budget is the limit
            most = store.rate.per_second * (1.0 - store.fast_share) * store.batch_size
        return most * share

    def _part(self, store: str) -> float:
        lanes, now = self._lanes, self._lanes.erp_now()
        shop = lanes.stores[store]
        capacity = shop.rate.per_second * shop.batch_size
        fast = []
        for name, target in lanes.fast.items():
            if name.store != store:
                continue
            since = lanes.dirty.queue(name).moving_since()
            age = 0.0 if since is None else max(now - since, 0) / 1e6
            queue = lanes.dirty.queue(name)
            moving = len(queue.fresh) + len(queue.claimed) + len(queue.background) + queue.spilled
            fast.append(Fast(moving, age, target, capacity))
        return part(fast)

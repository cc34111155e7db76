"""The backfill: compares every key of a queue, page by page, when nothing fresher waits; first load and re-scans alike.

Invariant: the cursor is stored only after each key of its page is acknowledged or durable in the dirty set by itself, so a
crash repeats a page and skips none. After the ERP's keys come the keys that only the store still has: they find deletions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from daemon import failpoints, log
from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.erp import SMALLEST, Erp
from daemon.errors import ErpsyncError, Retry
from daemon.ledger import Ledger
from daemon.model import Key, Micros, QueueName, Xid
from daemon.state import StateFile, json_list

PAGE = 2_000
SENT_PAGE = 500
"""Keys of a page whose documents are all sent: a crash sends it again."""
_RETRY_S = 2.0
_REPORT_S = 10.0
_STORE = """insert or replace into job (queue, phase, cursor, since, done, xid, mapping, again, again_xid, resend)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_HIDDEN_S = 0.05


@dataclass(slots=True)
class Job:
    """How far a queue's comparison is. `phase`: erp, store or done."""

    phase: str = "erp"
    cursor: Key | None = None
    since: Micros = 0
    """Commit time of what made a re-scan necessary; 0 for a first load or a routine comparison."""
    done: int = 0
    first: bool = True
    total: int | None = None
    xid: Xid | None = None
    """Transaction that made it necessary; no page is read before it is visible."""
    again: Micros | None = None
    """Commit time of the oldest change that came when it was under way, and asks for another comparison after it."""
    again_xid: Xid | None = None
    begun: bool = False
    resend: bool = False
    """Every document is sent, whatever the store acknowledged."""

    @property
    def oldest(self) -> Micros | None:
        """Commit time of the oldest change whose keys are not all compared."""
        return min((at for at in (self.since, self.again) if at), default=None)

    @property
    def progress(self) -> float | None:
        """0 to 1, where the number of keys is known."""
        if self.phase == "done":
            return 1.0
        return min(self.done / self.total, 0.99) if self.total else None


def forget_others(state: StateFile, queues: Iterable[int]) -> None:
    """Queues that the configuration has no longer miss changes from now on: they are compared anew when they return."""
    state.execute("delete from job where queue not in (select value from json_each(?))", (json_list(queues),))


class Backfill:
    """The comparison of one queue."""

    def __init__(
        self,
        name: QueueName,
        entity: Entity,
        erp: Erp,
        dirty: DirtySet,
        ledger: Ledger,
        state: StateFile,
        now: Callable[[], Micros],
        settle: Callable[[str], Awaitable[None]],
    ) -> None:
        self.insist: Callable[[Iterable[Key]], None] = lambda _keys: None
        """Told of keys whose documents are to be sent although the store acknowledged them."""
        self.name = name
        self._entity = entity
        self._erp = erp
        self._dirty = dirty
        self._ledger = ledger
        self._state = state
        self._now = now
        self._settle = settle
        self._queue = dirty.queue(name).id
        self._mapping = entity.digest()
        self._wanted = asyncio.Event()
        self.job, mapping = self._load()
        self.new = not mapping
        """Nothing of it was ever compared."""
        self.reason = "" if self.job.oldest is None else "begun before the start of the daemon"
        """Why everything is compared once more; empty when that is done."""
        if mapping not in ("", self._mapping):
            self.request(now(), "its mapping has changed")
        self.loaded = self.job.phase == "done" or not self.job.first
        """The first load is complete: what is not marked is known to be equal."""
        self.problem = ""
        self.smallest: Key | None = None
        """What the first page starts below, as the query's own parameter type has it."""
        self.lowest: Key | None = None
        """The smallest key that the entity's SQL can be asked for; None where that is not known."""
        if self.job.phase != "done":
            self._wanted.set()

    def _load(self) -> tuple[Job, str]:
        """The stored job, and the mapping that it was for; empty when there is none."""
        sql = "select phase, cursor, since, done, xid, mapping, again, again_xid, resend from job where queue = ?"
        rows = self._state.query(sql, (self._queue,))
        if not rows:
            return Job(), ""
        phase, cursor, since, done, xid, mapping, again, again_xid, resend = rows[0]
        first = not phase.endswith("+") and phase != "done"
        job = Job(phase.removesuffix("+"), cursor, since, done, first, None, xid, again, again_xid)
        job.begun = job.phase == "store" or cursor is not None
        job.resend = bool(resend)
        return job, mapping

    def request(
        self, since: Micros, reason: str, xid: Xid | None = None, *, renumbered: bool = False, patient: bool = False
    ) -> None:
        """Compare everything, from the beginning; durable with the marks around it. `xid` made it necessary; those of
        earlier requests mean nothing any more when the ERP's transactions are `renumbered`.

        A `patient` one lets a comparison that is under way end and comes after it: requests of this kind may keep coming,
        and must not keep it from ever ending."""
        self.reason = reason
        job = self.job
        busy = job.phase != "done"
        if patient and busy and job.begun:
            job.again = min(job.again or since, since)
            job.again_xid = _newest(job.again_xid, xid)
            self._save()
            return
        oldest = min((s for s in ((job.since, job.again, since) if busy else (since,)) if s), default=0)
        earlier = _newest(job.xid, job.again_xid) if busy and not renumbered else None
        newest = _newest(earlier, xid)
        self._begin(Job("erp", None, oldest, 0, first=busy and self.job.first, xid=newest, resend=busy and job.resend))
        log.info("backfill", f"comparing all of {self.name}: {reason}", entity=self.name.entity, store=self.name.store)
        self._wanted.set()

    def _begin(self, job: Job) -> None:
        """Begin anew. What was quarantined may have been mended by what passed unseen: it is tried like the others."""
        self.job = job
        self._dirty.release(self.name, "quarantined")
        self._save()

    def resend(self, cursor: Key | None = None, done: int = 0) -> None:
        """Send every document again, from the beginning or from where an earlier round was given up; durable."""
        if self.job.phase == "done":
            self.job = Job("erp", cursor, 0, done, first=False, resend=True)
        else:
            self.job.resend = True
            if self.job.begun:  # what it has compared so far is not sent yet
                self.request(self.job.since, "every document is sent again")
        self._save()
        self._wanted.set()

    def give_up(self) -> tuple[Key | None, int]:
        """End a round of `resend`; a comparison that was due goes on. Returns where it was, for a later round."""
        job = self.job
        if not job.resend or job.phase == "done":
            return None, 0
        place = (job.cursor, job.done) if job.phase == "erp" else (None, 0)
        job.resend = False
        if not job.first and not job.since and job.again is None:
            self.job = Job("done", None, 0, job.done, first=False)
        self._save()
        return place

    def _save(self) -> None:
        job = self.job
        phase = job.phase if job.first or job.phase == "done" else f"{job.phase}+"
        row = (phase, job.cursor, job.since, job.done, job.xid, self._mapping, job.again, job.again_xid, job.resend)
        self._state.append(_STORE, self._queue, *row)

    async def run(self) -> None:
        """Work whenever there is a comparison to do; for the life of the daemon."""
        edge = log.Edge("entity_stopped", "entity_resumed", entity=self.name.entity, store=self.name.store)
        while True:
            await self._wanted.wait()
            try:
                await self._work()
                self.problem = ""
                edge.up(f"{self.name} is compared again")
            except ErpsyncError as exc:
                if exc.retry is not Retry.LATER:
                    self.problem = str(exc)
                    edge.down(str(exc), code=exc.code)
                await asyncio.sleep(_RETRY_S)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        job = self.job
        started = reported = loop.time()
        first = job.done
        if job.total is None:
            job.total = await self._count()
        log.info("backfill", f"{self.name}: comparing {_of(job)} keys", entity=self.name.entity, store=self.name.store)
        while job.phase != "done":
            await self._visible(job)
            if not job.begun:
                await self._settle(self._entity.name)
            job.begun = True
            size = SENT_PAGE if job.resend else PAGE
            keys = await self._page(job, size)
            # the page begins above the smallest value of the key's type, which a key may have too
            first_of_all = [self._lowest()] if job.phase == "erp" and job.cursor is None else []
            first_of_all = [key for key in first_of_all if key == self.lowest]
            if keys or first_of_all:
                if job.resend and job.phase == "erp":
                    self.insist([*first_of_all, *keys])
                self._dirty.offer(self.name, [*first_of_all, *keys], job.since or self._now())
                failpoints.reach("backfill_page_offered")
                await self._dirty.page_done(self.name)
                failpoints.reach("backfill_page_done")
            if job is not self.job:  # a new request came: begin again
                job, started, first = self.job, loop.time(), 0
                job.total = await self._count()
                continue
            job.done += len(keys) if job.phase == "erp" else 0
            if len(keys) >= size:
                job.cursor = keys[-1]
            else:
                job.phase, job.cursor = ("store", None) if job.phase == "erp" else ("done", None)
            if job.phase == "done":
                job.since, job.resend, self.loaded = 0, False, True
            if job.phase == "done" and job.again is not None:
                self._begin(Job("erp", None, job.again, first=False, xid=job.again_xid))
            else:
                self.reason = "" if job.phase == "done" else self.reason
                self._save()
            if job is not self.job:
                job, started, first = self.job, loop.time(), 0
                job.total = await self._count()
            if loop.time() - reported > _REPORT_S:
                reported = loop.time()
                rate = (job.done - first) / (reported - started)
                log.info(
                    "backfill",
                    f"{self.name}: {_of(job)} keys compared, {rate:.0f}/s",
                    entity=self.name.entity,
                    store=self.name.store,
                )
        self._wanted.clear()
        took = loop.time() - started
        log.info(
            "backfill",
            f"{self.name}: all {job.done} keys compared in {took:.1f} s",
            entity=self.name.entity,
            store=self.name.store,
        )

    async def _visible(self, job: Job) -> None:
        """Wait until other sessions see the transaction that made the comparison necessary."""
        while job.xid is not None and job is self.job:
            snapshot = await self._erp.snapshot()
            self._dirty.saw(snapshot)
            if snapshot.sees(job.xid):
                job.xid = None
                return
            await asyncio.sleep(_HIDDEN_S)

    async def _page(self, job: Job, size: int) -> list[Key]:
        after = self._lowest() if job.cursor is None else job.cursor
        if job.phase == "erp":
            where = f"entity.{self._entity.name}.all_keys"
            return await self._erp.page(where, self._entity.all_keys, after, size)
        return await self._ledger.keys(self._queue, after, size)

    def _lowest(self) -> Key:
        return SMALLEST[self._entity.key_type] if self.smallest is None else self.smallest

    async def _count(self) -> int | None:
        where = f"entity.{self._entity.name}.all_keys"
        sql = f"select count(*) from ({self._entity.all_keys}) as every_key"  # noqa: S608 -- the mapping's own query
        try:
            rows = await self._erp.fetch(where, sql, self._lowest(), 2**31 - 1)
        except ErpsyncError:
            return None  # a figure for the display only; the pages themselves will say what is wrong
        return int(rows[0][0])


def _newest(one: Xid | None, other: Xid | None) -> Xid | None:
    return max((xid for xid in (one, other) if xid is not None), default=None)


def _of(job: Job) -> str:
    return f"{job.done} of {job.total}" if job.total is not None else str(job.done)

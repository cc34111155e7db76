"""What an operator may ask of the running daemon, made from its parts; the store's own schedule of comparisons too.

Invariant: nothing here writes to a store. Comparisons and operators add marks or bring back what was set aside; a worker
does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from daemon import log
from daemon.backfill import Backfill
from daemon.config import Config
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.errors import ErpsyncError, Retry, SourceLost
from daemon.gate import Gate
from daemon.jobs.board import Board
from daemon.ledger import Ledger
from daemon.lookup import Lookup
from daemon.metrics import Metrics
from daemon.model import Key, Micros, QueueName, parse_lsn
from daemon.plan import Ground, Planner
from daemon.poller import Poller
from daemon.preflight import mapper_of
from daemon.reconcile import Bench, Reconcile
from daemon.runs import BusyError, Run, Runs
from daemon.source import Source
from daemon.state import StateFile
from daemon.stateview import StateView
from daemon.worker import Worker

SET_ASIDE = ("quarantined", "held")
_CATCH_UP_S = 15.0
_SOON_S = 60.0  # a poll rule that looks at least so often is waited for
_LIST = """select q.store, q.entity, p.key, p.since, p.code, p.reason, p.at from parked p join queue q on q.id = p.queue
where p.kind = ?1 and (?2 is null or q.store = ?2) and (?3 is null or q.entity = ?3) order by p.since, p.key limit ?4"""


class Parts(Protocol):
    """The daemon's parts that an operator's commands work on."""

    @property
    def config(self) -> Config: ...
    @property
    def dirty(self) -> DirtySet: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def state(self) -> StateFile: ...
    @property
    def erp(self) -> Erp: ...
    @property
    def source(self) -> Source: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def gates(self) -> Mapping[str, Gate]: ...
    @property
    def workers(self) -> Mapping[QueueName, Worker]: ...
    @property
    def backfills(self) -> Mapping[QueueName, Backfill]: ...
    @property
    def board(self) -> Board: ...
    @property
    def lookups(self) -> Sequence[Lookup]: ...
    @property
    def pollers(self) -> Sequence[Poller]: ...
    def erp_now(self) -> Micros: ...


class Operations:
    """The commands as functions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.runs = Runs()

    async def run(self) -> None:
        """Runs, and comparisons by the clock; for the life of the daemon."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runs.run(), name="runs")
            for store in self._parts.config.store.values():
                if store.reconcile is not None:
                    group.create_task(self._by_the_clock(store.name), name=f"reconcile {store.name}")

    # -- what is set aside

    async def set_aside(self, kind: str, store: str | None, entity: str | None, limit: int) -> list[dict[str, Any]]:
        """Quarantined or held keys, the oldest first."""
        await self._parts.state.settle()
        given = (kind, store, entity, limit)
        rows = await self._parts.state.read(lambda connection: connection.execute(_LIST, given).fetchall())
        now = self._parts.erp_now()
        return [
            {
                "store": of_store,
                "entity": of_entity,
                "key": key,
                "since": since,
                "age_seconds": round(max(now - since, 0) / 1e6, 3),
                "code": code,
                "reason": reason,
                "at": at,
            }
            for of_store, of_entity, key, since, code, reason, at in rows
        ]

    def count_aside(self, kind: str, names: Sequence[QueueName]) -> int:
        stats = [self._parts.dirty.stats(name) for name in names]
        return sum(s.held if kind == "held" else s.quarantined for s in stats)

    def release(self, kind: str, names: Sequence[QueueName], keys: Collection[Key] | None, reason: str) -> int:
        """Try keys that are set aside again. Held ones pass the brake once: an operator has seen what they do."""
        count = 0
        for name in names:
            released = self._parts.dirty.release(name, kind, keys)
            if kind == "held":
                self._parts.workers[name].allow(released)
            self._tell("released", f"{len(released)} {kind} keys of {name} are tried again", name, released, reason)
            count += len(released)
        return count

    def drop(self, kind: str, names: Sequence[QueueName], keys: Collection[Key] | None, reason: str) -> int:
        """Give keys up: the store keeps what it shows until their next change, or a comparison."""
        count = 0
        for name in names:
            dropped = self._parts.dirty.drop(name, kind, keys)
            self._tell("dropped", f"{len(dropped)} {kind} keys of {name} are given up", name, dropped, reason)
            count += len(dropped)
        return count

    def _tell(self, event: str, text: str, name: QueueName, keys: Sequence[Key], reason: str) -> None:
        if keys:
            log.info(
                event,
                f"{text}: {reason}",
                reason=reason,
                keys=len(keys),
                key=keys[0] if len(keys) == 1 else None,
                entity=name.entity,
                store=name.store,
            )

    # -- backfill

    def backfill(self, names: Sequence[QueueName], keys: Collection[Key] | None) -> None:
        """Compare all keys of these queues, or mark some of them."""
        for name in names:
            if keys is None:
                self._parts.backfills[name].request(0, "an operator asked for it")
            else:
                self._parts.dirty.mark(name, frozenset(keys), self._parts.erp_now())

    def backfilled(self, name: QueueName) -> dict[str, Any]:
        """How far a queue's comparison is, and what keeps it."""
        parts = self._parts
        backfill, gate, stats = parts.backfills[name], parts.gates[name.store], parts.dirty.stats(name)
        job = backfill.job
        return {
            "store": name.store,
            "entity": name.entity,
            "done": job.phase == "done",
            "compared": job.done,
            "total": job.total,
            "problem": parts.workers[name].stopped or backfill.problem,
            "waits_for": gate.breaker.reason if gate.breaker.open else parts.board.taps[name].waits_for,
            "quarantined": stats.quarantined,
            "held": stats.held,
        }

    async def waiting(self, name: QueueName, keys: Collection[Key]) -> tuple[int, list[dict[str, Any]]]:
        """How many of these keys are on their way, and which are set aside."""
        queue = self._parts.dirty.queue(name)
        aside = {key for key in keys if key in queue.parked}
        moving = sum(1 for key in keys if key not in aside and queue.moving(key))
        if not aside:
            return moving, []
        rows = [row for kind in SET_ASIDE for row in await self.set_aside(kind, name.store, name.entity, 10_000)]
        return moving, [row for row in rows if row["key"] in aside]

    # -- comparisons and plans

    def reconcile(self, names: Sequence[QueueName], *, fix: bool, foreign: bool = False) -> Run:
        """Compare what these stores show, one queue after the other. Raises ErpsyncError when it cannot begin."""
        source = self._parts.source
        if source.state not in ("streaming", "polling"):
            # a standby's ledger is old, and without the ERP nothing tells a change on its way from a difference
            raise SourceLost(
                f"nothing can be compared while the source is {source.state}: {source.reason}".rstrip(": ")
            )
        for name in names:
            if not self._parts.backfills[name].loaded:
                raise ErpsyncError(
                    f"{name} is in its first load: what the store shows cannot be judged yet",
                    code="E-RECONCILE-LOADING",
                    retry=Retry.LATER,
                    hint="Wait until `erpsyncd status` says that it is loaded.",
                )
        passes = {name: Reconcile(self._bench(name), fix=fix, foreign=foreign) for name in names}

        async def work() -> None:
            for one in passes.values():
                await one.run()

        def show(full: bool) -> list[dict[str, Any]]:
            shown = []
            for name, one in passes.items():
                tally = one.tally.as_json()
                if not full:
                    del tally["documents"]
                shown.append({"store": name.store, "entity": name.entity, "line": one.tally.line(), **tally})
            return shown

        return self.runs.start("reconcile", frozenset(map(str, names)), work, show)

    def _bench(self, name: QueueName) -> Bench:
        parts = self._parts
        entity = parts.config.entity[name.entity]
        return Bench(
            name=name,
            entity=entity,
            mapper=mapper_of(entity),
            erp=parts.erp,
            dirty=parts.dirty,
            ledger=parts.ledger,
            gate=parts.gates[name.store],
            metrics=parts.metrics,
            observed=parts.workers[name].observed,
            caught_up=lambda: self.caught_up(name.entity),
            erp_now=parts.erp_now,
            lowest=parts.backfills[name].lowest,
        )

    def plan(self, names: Sequence[QueueName], limit: int) -> Run:
        """What would be sent if everything were compared now."""
        parts = self._parts
        view = StateView(parts.config.state.path)
        planners = [
            Planner(
                ground_of(parts.config, name, parts.erp, parts.backfills[name].smallest, view, parts.state.settle),
                limit=limit,
            )
            for name in names
        ]

        async def work() -> None:
            async with view:
                for planner in planners:
                    await planner.run()

        def show(full: bool) -> list[dict[str, Any]]:
            shown = [planner.plan.as_json() for planner in planners]
            if not full:
                for one in shown:
                    del one["documents"], one["refused"]
            return shown

        return self.runs.start("plan", frozenset(), work, show)

    @property
    def board(self) -> Board:
        """The jobs."""
        return self._parts.board

    async def caught_up(self, entity: str) -> bool:
        """Wait until what is visible in the ERP now is marked, as far as something announces it; False when it takes too
        long to say so."""
        parts = self._parts
        asked = parts.erp_now()
        pollers = []
        for rule in parts.config.entity[entity].poll:
            if rule.every <= _SOON_S:
                pollers += [poller for poller in parts.pollers if poller.name == f"{entity}/{rule.name}"]
        wait = _CATCH_UP_S + max(
            (rule.every for rule in parts.config.entity[entity].poll if rule.every <= _SOON_S), default=0
        )
        lsn = 0
        if parts.config.erp.mode == "stream":
            try:
                rows = await parts.erp.fetch("erp.dsn", "select pg_current_wal_insert_lsn()::text")
            except ErpsyncError:
                return False
            lsn = parse_lsn(rows[0][0])

        def there() -> bool:
            stats = [parts.dirty.stats(lookup.name) for lookup in parts.lookups if lookup.entity == entity]
            return (
                parts.state.durable >= lsn
                and all((poller.state.last or 0) > asked for poller in pollers)
                and not any(s.pending + s.claimed for s in stats)
            )

        return await _until(there, wait)

    async def _by_the_clock(self, store: str) -> None:
        schedule = self._parts.config.store[store].reconcile
        assert schedule is not None
        names = [name for name in self._parts.backfills if name.store == store]
        while True:
            await asyncio.sleep(schedule.every)
            try:
                run = self.reconcile(names, fix=schedule.fix)
            except (BusyError, ErpsyncError) as exc:
                log.info("reconcile", f"{store}: not now: {exc}", store=store, code=exc.code)
                continue
            await run.ended.wait()


def ground_of(
    config: Config,
    name: QueueName,
    erp: Erp,
    smallest: Key | None,
    view: StateView,
    flushed: Callable[[], Any],
) -> Ground:
    """What a plan of this queue is made from."""
    entity = config.entity[name.entity]
    jobs = [batch for batch in config.batch.values() if batch.entity == name.entity]
    return Ground(name, entity, config.store[name.store], jobs, mapper_of(entity), erp, smallest, view, flushed)


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        if loop.time() > end:
            return False
        await asyncio.sleep(0.02)
    return True

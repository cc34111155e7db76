"""The application: builds every part from the configuration and runs them as one tree of named tasks.

Invariant: a task that should live as long as the daemon and returns is an error. Stop order: sources of marks, then
workers (calls in flight are finished, up to a deadline), then the state file, then the ERP is told the last position.
A store's fault ends nothing here; a fault of source or configuration ends the daemon with an error that says what to mend.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from daemon import __version__, log
from daemon.announcer import Announcer
from daemon.backfill import Backfill
from daemon.brakes import Brake
from daemon.comparisons import Comparisons
from daemon.config import Config
from daemon.control import Control
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.figures import ready, report
from daemon.flights import Flights
from daemon.gate import Gate, gates_of
from daemon.ingest import Ingest
from daemon.jobs.board import Board
from daemon.ledger import Ledger
from daemon.lookup import Lookup
from daemon.metrics import Metrics
from daemon.model import Lane, Micros, QueueName
from daemon.operations import Operations
from daemon.pictures import gallery_of
from daemon.poller import Poller, forget_other_rules
from daemon.preflight import examine, mapper_of
from daemon.publicationwatch import PublicationWatch
from daemon.recall import Recall
from daemon.routing import Router
from daemon.rowindex import RowIndex
from daemon.sdnotify import Notifier
from daemon.slotwatch import Looks, send_canaries, watch_slot
from daemon.source import Source
from daemon.sources import Marker, lookups_of, rules_of
from daemon.staleness import Report
from daemon.state import StateFile
from daemon.status import StatusServer
from daemon.worker import Worker

DRAIN_S = 15.0
"""How long calls in flight may take at a stop; less than TimeoutStopSec of the unit."""
_CLOCK_S = 30.0
_RETRY_S = 1.0


def _micros() -> Micros:
    return time.time_ns() // 1000


class App:
    """One run with one configuration. `serve` returns when `stop` is set; a reload builds another App."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        self.config = config
        names = config.queues()
        self._rules = rules_of(config)
        self._lookup_rules = lookups_of(self._rules)
        self.metrics = Metrics([(name, Lane(config.entity[name.entity].lane)) for name in names])
        self._announcer = Announcer(notifier, self.metrics)
        self.state = StateFile(config.state.path)
        self.dirty = DirtySet(self.state)
        self.ledger = Ledger(self.state)
        self.marker = Marker(config, self.dirty)
        self.erp = Erp(
            config.erp.dsn.reveal(),
            connections=config.erp.connections,
            statement_timeout_s=config.erp.statement_timeout,
        )
        self.board = Board(config, self.state, self.dirty, self.metrics, _micros, self.erp_now)
        self.gallery = gallery_of(config, self.erp)
        self.gates: dict[str, Gate] = {}
        self.workers: dict[QueueName, Worker] = {}
        self.lookups: list[Lookup] = []
        self.pollers: list[Poller] = []
        self._router = Router(self._rules)
        self._index = RowIndex(self.state)
        self.comparisons = Comparisons(config, self.erp, self.dirty, self.ledger, self.state, self._index, self.erp_now)
        self.looks = Looks()
        self._active = asyncio.Event()
        self._examined = False
        self.ingest = Ingest(
            self._router,
            self.dirty,
            self.state,
            self._index,
            self.metrics,
            self.erp.snapshot,
            self.comparisons.rescan,
            self.comparisons.indexer.again,
            self._offset_s,
        )
        self.source = Source(
            config,
            self.state,
            self.ingest,
            self.metrics,
            compare_all=self.comparisons.everything,
            compare_known=self.comparisons.everything_known,
            connected=self._connect,
            streaming=self._activate,
            now=self.erp_now,
        )
        self.operations = Operations(self)
        self.control = Control(config, self.operations)

    # -- building

    def open(self) -> None:
        """Open the state file and build every part. Blocking. Raises StateError or ConfigError."""
        config = self.config
        self.state.open()
        names = config.queues()
        self.dirty.open([*names, *self._lookup_rules])
        self._index.open()
        self.state.take_up()
        self.gates = gates_of(config, self.metrics, lambda store: Recall(self.state, store), self.gallery)
        self.comparisons.open()
        self.workers = {name: self._worker(name) for name in names}
        self.board.open(self.comparisons.jobs, self.workers)
        self.lookups = [
            Lookup(name, rule, self.erp, self.dirty, self.marker, self.comparisons.rescan)
            for name, rule in self._lookup_rules.items()
        ]
        for entity in config.entity.values():
            for number, rule in enumerate(entity.poll):
                self.pollers.append(Poller(entity, rule, number, self.erp, self.marker, self.state, self._polled))
        if config.erp.mode == "poll":
            forget_other_rules(self.state, {poller.name for poller in self.pollers})

    def _worker(self, name: QueueName) -> Worker:
        entity, store = self.config.entity[name.entity], self.config.store[name.store]
        mapper = mapper_of(entity)
        brake = None
        if store.brake is not None:
            ((documents,),) = self.state.query(
                "select count(*) from acked where queue = ? and body is not null", (self.dirty.queue(name).id,)
            )
            brake = Brake(
                entity.kind,
                share=store.brake.share,
                min_keys=store.brake.min_keys,
                window_s=store.brake.window,
                documents=documents,
            )
        flights = Flights(self.state, self.dirty.queue(name).id)
        self.dirty.mark(name, flights.keys - self.dirty.queue(name).parked.keys(), _micros())
        return Worker(
            name,
            entity,
            mapper,
            self.erp,
            self.dirty,
            self.ledger,
            flights,
            self.gates[name.store],
            self.metrics,
            brake,
            _micros,
            self._offset,
            self.board.taps[name],
        )

    @property
    def backfills(self) -> Mapping[QueueName, Backfill]:
        """The comparison of each queue."""
        return self.comparisons.jobs

    # -- running

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises the error that a person must mend."""
        config = self.config
        status = config.status
        token = status.token.reveal() if status.token is not None else None
        server = StatusServer(
            (status.host, status.port), token, self.report, self.metrics, self.ready, routes=self.control.routes()
        )
        draining = asyncio.Event()
        writer: asyncio.Task[None] | None = None
        try:
            for gate in self.gates.values():
                await gate.store.open()
            await server.start()
            log.info(
                "starting",
                f"erpsyncd {__version__}, {', '.join(config.entity)} for {', '.join(config.store)}, status at {server.url}",
                version=__version__,
                config=config.digest,
                slot=config.slot_name(),
                url=server.url,
            )
            writer = asyncio.get_running_loop().create_task(self.state.run(), name="state writer")
            async with asyncio.TaskGroup() as workers:
                drained = [
                    workers.create_task(self._when_active(worker.run(draining), draining), name=f"worker {worker.name}")
                    for worker in self.workers.values()
                ]
                async with asyncio.TaskGroup() as sources:
                    feeds = [sources.create_task(_forever(work, name), name=name) for name, work in self._tasks(writer)]
                    await stop.wait()
                    self._announcer.stopping()
                    for feed in feeds:
                        feed.cancel()
                draining.set()
                if drained:
                    _, late = await asyncio.wait(drained, timeout=DRAIN_S)
                    for task in late:
                        task.cancel()
        finally:
            draining.set()
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])
                await self.state.drain()
            await self.dirty.close()
            await server.close()
            for gate in self.gates.values():
                await gate.store.close()
            await self.gallery.close()
            await self.erp.close()

    def _tasks(self, writer: asyncio.Task[None]) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """The long-lived tasks, by name."""
        stream = self.config.erp.mode == "stream"
        tasks: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("state", _watch(writer)),
            ("announcer", self._announcer.run(self.report)),
            ("clock", self._watch_clock()),
            ("count", self.dirty.keep_count()),
            ("operations", self.operations.run()),
            ("jobs", self._when_active(self.board.run())),
        ]
        if stream:
            tasks += [
                ("source", self.source.run()),
                ("canary", send_canaries(self.config, self._active)),
                ("row index", self._when_active(self.comparisons.indexer.run())),
                ("publication", self._when_active(self._publication_watch().run())),
                ("slot", watch_slot(self.config, self._active, self.looks)),
            ]
        else:
            tasks.append(("source", self.source.poll()))
        tasks.append(("hindsight", self._when_active(self.comparisons.hindsight.run())))
        tasks += [(f"probe {name}", self._probe(gate)) for name, gate in self.gates.items()]
        tasks += [
            (f"backfill {name}", self._when_active(self.comparisons.run(job)))
            for name, job in self.comparisons.jobs.items()
        ]
        tasks += [(f"lookup {job.name}", self._when_active(job.run())) for job in self.lookups]
        tasks += [(f"poll {rule.name}", self._when_active(rule.run())) for rule in self.pollers]
        return tasks

    def _publication_watch(self) -> PublicationWatch:
        name = self.config.erp.publication
        again, index = self.comparisons.unseen, self.comparisons.index
        return PublicationWatch(name, self._rules, self._router, self.ingest, self.erp, self.state, again, index)

    async def _when_active(self, work: Coroutine[Any, Any, None], draining: asyncio.Event | None = None) -> None:
        """A standby, and a daemon that has not seen the ERP yet, keep quiet."""
        try:
            while not self._active.is_set():
                if draining is not None and draining.is_set():
                    return
                try:
                    async with asyncio.timeout(0.2 if draining is not None else None):
                        await self._active.wait()
                except TimeoutError:
                    continue
            await work
        finally:
            work.close()

    async def _connect(self) -> None:
        """Connect for reading, and examine the ERP before the first stream. Raises what must be mended."""
        await self.erp.open()
        before = await self._measure_clock()
        self.dirty.forget_seen()
        if not self._examined:
            findings = await examine(self.erp, self.config)
            for problem in findings.unknown_options():
                log.error("option_unknown", str(problem), option=problem.where, code=problem.code)
            findings.raise_first()
            self._router.parents = findings.parents
            self.comparisons.index(findings.indexed)
            self.comparisons.start_below(findings.smallest, findings.lowest)
            for rule in self.pollers:
                if rule.begin(before):
                    self.comparisons.look_back(rule.entity, f"poll rule {rule.name} is new")
            self._examined = True

    def _activate(self) -> None:
        if not self._active.is_set():
            self._active.set()
        how = "polling" if self.config.erp.mode == "poll" else "streaming"
        self._announcer.ready(how)

    def _polled(self) -> None:
        times = [poller.state.last for poller in self.pollers]
        if all(t is not None for t in times):
            self.looks.polled_at = min((t for t in times if t is not None), default=None)

    # -- watching

    def _offset(self) -> Micros:
        return int(self._offset_s() * 1e6)

    def _offset_s(self) -> float:
        return self.looks.offset_s or 0.0

    def erp_now(self) -> Micros:
        """The ERP's clock, as far as we know it."""
        return _micros() + self._offset()

    async def _measure_clock(self) -> Micros:
        clock = await self.erp.clock()
        self.looks.offset_s = clock.offset_s
        return clock.erp

    async def _watch_clock(self) -> None:
        while True:
            await asyncio.sleep(_CLOCK_S)
            try:
                await self._measure_clock()
            except ErpsyncError:
                continue  # the source tells of a lost ERP

    async def _probe(self, gate: Gate) -> None:
        """Ask a store now and then while it is not known to be there, so that its return is seen without a change."""
        while True:
            if not gate.reached or gate.breaker.open:
                with contextlib.suppress(ErpsyncError):  # another call may be the probe
                    await gate.probe()
            await asyncio.sleep(_RETRY_S)

    # -- figures

    def ready(self) -> tuple[bool, str]:
        """Whether /readyz says yes, and why not."""
        return ready(self)

    def report(self) -> Report:
        """How things stand at this moment; every display takes its numbers from here."""
        return report(self, _micros())


async def _watch(task: asyncio.Task[None]) -> None:
    """Be a task that ends when another one does, with its error."""
    await asyncio.shield(task)


async def _forever(work: Coroutine[Any, Any, None], name: str) -> None:
    """Run what must not return."""
    await work
    raise RuntimeError(f"task {name} ended by itself")

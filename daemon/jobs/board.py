"""All jobs of a configuration, their taps, and the built-in rebuild of the catalogue.

Invariant: every queue has one tap; a queue of the batch lane whose entity a job sends is closed until that job's run opens
it, every other one is open by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from daemon.backfill import Backfill
from daemon.config import Config
from daemon.config.entity import Kind
from daemon.config.outlet import Batch
from daemon.dirtyset import DirtySet
from daemon.errors import ErpsyncError
from daemon.jobs.content import ContentJob, Lanes
from daemon.jobs.extract import ExtractJob
from daemon.jobs.job import Job
from daemon.jobs.records import Records
from daemon.jobview import JobView
from daemon.metrics import Metrics
from daemon.model import Lane, Micros, QueueName
from daemon.state import StateFile
from daemon.tap import Tap
from daemon.worker import Worker

CATALOGUE: Final = "catalogue"
"""The built-in job: every document of kind content is sent again."""


class UnknownJobError(ErpsyncError):
    """There is no such job."""

    code = "E-BATCH-UNKNOWN"


class Board:
    """The jobs of one run of the daemon."""

    def __init__(
        self,
        config: Config,
        state: StateFile,
        dirty: DirtySet,
        metrics: Metrics,
        clock: Callable[[], Micros],
        erp_now: Callable[[], Micros],
    ) -> None:
        self._config = config
        self._dirty = dirty
        self._metrics = metrics
        self._clock, self._erp_now = clock, erp_now
        self._records = Records(state)
        sent = {batch.entity for batch in config.batch.values() if not batch.rebuild}
        urgent = {name.entity for name in config.queues() if config.entity[name.entity].lane is Lane.FAST}
        self.taps: dict[QueueName, Tap] = {
            name: Tap(free=name.entity not in sent - urgent, urgent=name.entity in urgent) for name in config.queues()
        }
        self.jobs: dict[str, Job] = {}

    def open(self, backfills: Mapping[QueueName, Backfill], workers: Mapping[QueueName, Worker]) -> None:
        """Build the jobs. Blocking; before the loop's work begins."""
        self._records.open()
        config = self._config
        for name, backfill in backfills.items():
            backfill.insist = workers[name].insisted.update
        fast = {n: config.entity[n.entity].target for n in self.taps if config.entity[n.entity].lane is Lane.FAST}
        lanes = Lanes(self._dirty, backfills, workers, self.taps, config.store, fast, {}, self._erp_now)
        about = self._records, self._clock, self._metrics.batch_succeeded
        for batch in config.batch.values():
            if batch.entity is None:
                self.jobs[batch.name] = ExtractJob(batch, *about, config.erp.dsn.reveal())
            else:
                names = [name for name in self.taps if name.entity == batch.entity]
                self.jobs[batch.name] = ContentJob(batch, *about, names, lanes)
        content = [name for name in self.taps if config.entity[name.entity].kind is Kind.CONTENT]
        if content and CATALOGUE not in self.jobs:
            rebuild = Batch.model_construct(name=CATALOGUE, entity=content[0].entity, rebuild=True)
            self.jobs[CATALOGUE] = ContentJob(rebuild, *about, content, lanes)

    async def run(self) -> None:
        """For the life of the daemon."""
        try:
            async with asyncio.TaskGroup() as group:
                for job in self.jobs.values():
                    group.create_task(job.run(), name=f"job {job.name}")
                await asyncio.Event().wait()
        finally:
            for tap in self.taps.values():
                tap.end()

    def job(self, name: str) -> Job:
        """Raises UnknownJobError."""
        if name not in self.jobs:
            raise UnknownJobError(f"there is no job {name!r}", hint=f"Known: {', '.join(sorted(self.jobs)) or 'none'}.")
        return self.jobs[name]

    def views(self) -> tuple[JobView, ...]:
        """How the jobs stand."""
        return tuple(job.view() for job in self.jobs.values())

"""The comparisons: everything that can ask for one, and what has to be asked for together with it.

Invariant: where changes may have passed unseen, the row index of the tables in question is filled anew, and what was under
way in the ERP meanwhile is looked at once more when it has ended (hindsight). Requests are durable with the marks around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from daemon.backfill import Backfill, forget_others
from daemon.config import Config
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.hindsight import Hindsight
from daemon.indexer import Indexed, Indexer
from daemon.ledger import Ledger
from daemon.model import Key, Micros, QueueName, Xid
from daemon.rowindex import RowIndex
from daemon.sources import queues_of, rules_of
from daemon.state import StateFile


class Comparisons:
    """The comparison of each queue, the row index that they wait for, and who may ask."""

    def __init__(
        self,
        config: Config,
        erp: Erp,
        dirty: DirtySet,
        ledger: Ledger,
        state: StateFile,
        index: RowIndex,
        now: Callable[[], Micros],
    ) -> None:
        self._config = config
        self._erp = erp
        self._dirty = dirty
        self._ledger = ledger
        self._state = state
        self._now = now
        self.indexer = Indexer(index, erp, self.entity)
        self.hindsight = Hindsight(erp, state, self._once_more)
        self.jobs: dict[QueueName, Backfill] = {}

    def open(self) -> None:
        """Load them. Blocking; before the loop's work begins."""
        names = self._config.queues()
        forget_others(self._state, [self._dirty.queue(name).id for name in names])
        self.hindsight.open()
        for name in names:
            entity = self._config.entity[name.entity]
            job = self.jobs[name] = Backfill(
                name, entity, self._erp, self._dirty, self._ledger, self._state, self._now, self.hindsight.settle
            )
            if job.new:
                self.hindsight.note(name.entity)

    def index(self, columns: Iterable[tuple[str, str]]) -> None:
        """Watched (table, column) that the replica identity does not carry: they need a row index."""
        rules = rules_of(self._config)
        self.indexer.want(
            Indexed(table, column, frozenset(r.entity for r in rules if (r.table, r.column) == (table, column)))
            for table, column in sorted(columns)
        )

    def start_below(self, smallest: Mapping[str, Key], lowest: Mapping[str, Key]) -> None:
        """What the first page of an entity's keys starts below, and the smallest key that can be read, by entity."""
        for name, job in self.jobs.items():
            job.smallest, job.lowest = smallest.get(name.entity), lowest.get(name.entity)

    async def run(self, job: Backfill) -> None:
        """One comparison, for the life of the daemon. It waits for the row index, so that no row changes unseen."""
        if self._config.erp.mode == "stream":
            await self.indexer.of(job.name.entity)
        await job.run()

    # -- who asks

    def rescan(self, entity: str, since: Micros, reason: str, xid: Xid | None = None) -> None:
        """Compare all keys of an entity in every store: something that was seen can have changed any of them."""
        for name in queues_of(self._config, entity):
            self.jobs[name].request(since, reason, xid, patient=True)

    def entity(self, entity: str, reason: str, since: Micros | None = None) -> None:
        """Compare all keys of an entity in every store, from the beginning."""
        for name in queues_of(self._config, entity):
            self.jobs[name].request(since or self._now(), reason)

    def unseen(self, table: str, entities: Iterable[str], reason: str, since: Micros | None = None) -> None:
        """Rows of a table changed without a word in the stream, none before `since`, and some may still."""
        self.indexer.again(table)
        for entity in entities:
            self.hindsight.note(entity, table)
            self.entity(entity, reason, since)

    def look_back(self, entity: str, reason: str) -> None:
        """Compare what was compared before something new began to tell of its changes."""
        if any(not self.jobs[name].new for name in queues_of(self._config, entity)):
            self.entity(entity, reason)

    def everything(self, since: Micros, reason: str, renumbered: bool) -> None:
        """After a gap: any row may have changed, in transactions that may still be under way."""
        if renumbered:
            self._dirty.forget_transactions()
        self.indexer.again()
        for name, job in self.jobs.items():
            self.hindsight.note(name.entity)
            job.request(since, reason, renumbered=renumbered)

    def everything_known(self, reason: str, since: Micros | None = None) -> None:
        """Another way of hearing of changes begins: what was compared before it is compared again. `since` is what the
        former way had seen last; what changed unseen may be as old."""
        if any(not job.new for job in self.jobs.values()):
            self.everything(min(self._now(), since or self._now()), reason, False)

    def _once_more(self, entity: str, relations: frozenset[str]) -> None:
        for relation in sorted(relations):
            self.indexer.again(relation)
        self.entity(entity, "transactions have ended that were under way when it was compared")

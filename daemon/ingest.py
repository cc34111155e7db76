"""Ingest: the stream's bytes become marks; the position follows when they are durable.

Invariant: the position moves past a transaction only after every mark it led to has been appended (state.py makes both
durable together), and past a keepalive only between transactions. A lost connection starts over from the durable position.
While the server owes the proof that its history is ours, nothing is marked and nothing confirmed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from daemon import failpoints, log
from daemon.dirtyset import DirtySet
from daemon.errors import DecodeError, OtherHistory, SourceError, SourceLost
from daemon.metrics import Metrics
from daemon.model import Fingerprint, Lsn, Micros, Snapshot, Xid, format_lsn, widen_xid
from daemon.pgoutput import Decoder
from daemon.routing import ColumnSeen, Router, Rule, convert
from daemon.rowindex import RowIndex
from daemon.slot import CANARY
from daemon.state import StateFile
from daemon.stops import Stops, column_cause
from daemon.walevents import (
    Begin,
    Commit,
    Event,
    Keepalive,
    Message,
    Plan,
    Relation,
    ServerError,
    StreamEnd,
    Touch,
    Touched,
    Truncate,
)
from daemon.walstream import WalStream

_INTEGERS = (20, 21, 23)  # int8, int2, int4


@dataclass(slots=True)
class Progress:
    """What the displays want to know of the stream; LSNs and times only grow within one epoch."""

    received: Lsn = 0
    received_at: float = 0.0
    canary_at: Micros | None = None
    """Commit time of the newest canary that came back, on the ERP's clock."""
    transactions: int = 0
    rows: int = 0
    stopped: Stops = field(default_factory=Stops)
    """Why entities are not routed, or not wholly."""


class Ingest:
    """One replication connection at a time, from bytes to marks."""

    def __init__(
        self,
        router: Router,
        dirty: DirtySet,
        state: StateFile,
        index: RowIndex,
        metrics: Metrics,
        snapshot: Callable[[], Awaitable[Snapshot]],
        rescan: Callable[[str, Micros, str, Xid], None],
        fill: Callable[[str], None],
        offset_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._router = router
        self._dirty = dirty
        self._state = state
        self._index = index
        self._metrics = metrics
        self._snapshot = snapshot
        self._rescan = rescan
        self._fill = fill
        self._decoder = Decoder(self._plan)
        self._near = 0
        self._receive = metrics.stage("receive")
        self._offset_s = offset_s
        self._seen_at = 0.0
        self._owed: Fingerprint | None = None
        self.progress = Progress()
        self.stream: WalStream | None = None
        self._place = ""
        state.on_flush(self._tell)

    def _tell(self, *, now: bool = False) -> None:
        if self.stream is not None:
            self.stream.confirm(0 if self._owed else self._state.durable, now=now)

    async def run(self, stream: WalStream, *, ready: Callable[[], None], owed: Fingerprint | None = None) -> None:
        """Read one connection until it is lost (SourceLost) or cannot go on (SourceError, DecodeError).

        `owed`: a commit whose changes are all known, which the stream must tell again; OtherHistory when it does not."""
        self.stream, self._place = stream, stream.place
        self._owed = owed
        self._decoder.reset()
        self._near = 0  # it may be another server, whose transactions have other numbers
        await self._look()
        ready()
        try:
            while True:
                data = await stream.read()
                failpoints.reach("after_read")
                self._metrics.wal_bytes.inc(len(data))
                self._metrics.wal_received.set(time.time())
                self.progress.received_at = stream.received_at
                for event in self._decoder.feed(data):
                    await self._take(event)
                await self._state.room()
                if stream.more:  # one chunk is a few milliseconds of work: workers have their turn before the next
                    await asyncio.sleep(0)
        finally:
            self.stream = None

    def replan(self) -> None:
        """The routing rules' tables changed: ask them anew at each table's next row."""
        self._decoder.replan()

    async def _look(self) -> None:
        """Note what is visible now: transactions from before need no gate."""
        snapshot = await self._snapshot()
        self._dirty.saw(snapshot)
        self._near = max(self._near, snapshot.xmax)
        self._seen_at = time.monotonic()

    async def _take(self, event: Event) -> None:
        if self._owed is not None and self._known(event, self._owed):
            return
        match event:
            case Touched():
                await self._touched(event)
            case Commit():
                self.progress.transactions += 1
                self._metrics.transactions.inc()
                self.progress.received = max(self.progress.received, event.end_lsn)
                self._state.advance(event.end_lsn, _fingerprint(event))
            case Keepalive():
                self.progress.received = max(self.progress.received, event.wal_end)
                if event.idle:
                    self._state.advance(event.wal_end)
                if event.reply:
                    self._tell(now=True)
            case Message(prefix=prefix, commit_at=at):
                if prefix == CANARY and at is not None:
                    self.progress.canary_at = max(self.progress.canary_at or 0, at)
            case Truncate():
                self._truncated(event)
            case Relation():
                self._announced(event)
            case ServerError():
                raise _server_error(event, self._place)
            case StreamEnd():
                raise SourceLost("the ERP ended the stream", where=self._place)

    def _known(self, event: Event, owed: Fingerprint) -> bool:
        """Whether an event tells what was durable before, up to the commit that proves it. Raises OtherHistory."""
        match event:
            case Touched() | Truncate():
                if event.begin.final_lsn < owed.end_lsn:
                    return True
            case Commit() if event.end_lsn < owed.end_lsn:
                return True
            case Commit() if _fingerprint(event) == owed:
                self._owed = None
                self._tell()
                return True
            case Keepalive(wal_end=wal_end) if wal_end <= owed.end_lsn or not event.idle:
                if event.reply:
                    self._tell(now=True)
                return True
            case Commit() | Keepalive():
                pass
            case _:
                return False
        raise OtherHistory(
            f"the server's log does not hold the commit at {format_lsn(owed.end_lsn)} that it told of before: "
            "the database was restored from an older copy",
            where="erp.slot",
        )

    async def _touched(self, event: Touched) -> None:
        xid = widen_xid(event.begin.xid32, self._near)
        self._near = max(self._near, xid)
        self._receive.observe(max(time.time() + self._offset_s() - event.begin.commit_at / 1e6, 0.0))
        if not self._dirty.seen.sees(xid) and time.monotonic() - self._seen_at > 1.0:
            # catching up: one look saves gating every key of what committed long ago
            await self._look()
        for touch, rows in event.rows:
            await self._former(touch, rows, event.begin)
        for touch, values in event.values:
            self._mark(touch, values, event.begin.commit_at, xid)
        failpoints.reach("after_mark")

    def _mark(self, touch: Touch, values: set[bytes] | frozenset[bytes], since: Micros, xid: int) -> None:
        rules = touch.payload
        assert isinstance(rules, tuple)
        for rule in rules:
            try:
                keys = convert(values, rule)
            except DecodeError as exc:
                self._misfit(rule, exc, since, xid)
                continue
            self._metrics.marks.inc(len(keys))
            for name in rule.queues:
                self._dirty.mark(name, keys, since, xid)

    def _misfit(self, rule: Rule, exc: DecodeError, since: Micros, xid: int) -> None:
        """A column changed its type under us: that entity is compared as a whole, the others go on."""
        self.progress.stopped.stop(rule.entity, column_cause(rule.table, rule.column), str(exc), exc.code)
        self._rescan(rule.entity, since, f"{rule.table}.{rule.column} does not fit", xid)

    async def _former(self, touch: Touch, rows: dict[bytes, bytes | None], begin: Begin) -> None:
        """Mark the values that these rows had before, from the row index."""
        table = self._router.parents.get(touch.relation.table, touch.relation.table)
        column = touch.relation.columns[touch.index].name
        former, unknown = await self._index.swap(f"{table}.{column}", rows)
        xid = widen_xid(begin.xid32, self._near)
        if former:
            self._mark(touch, former, begin.commit_at, xid)
        if unknown:
            rules = touch.payload
            assert isinstance(rules, tuple)
            for entity in {rule.entity for rule in rules}:
                reason = f"{unknown} rows of {table} changed or went whose {column} is not known"
                self._rescan(entity, begin.commit_at, reason, xid)

    def _truncated(self, event: Truncate) -> None:
        xid = widen_xid(event.begin.xid32, self._near)
        for relation in event.relations:
            for entity in sorted(self._router.entities(relation.table)):
                log.warning("truncated", f"{relation.table} was truncated: all of {entity} is compared", entity=entity)
                self._rescan(entity, event.begin.commit_at, f"{relation.table} was truncated", xid)

    def _plan(self, relation: Relation) -> Plan:
        columns = [ColumnSeen(column.name, column.in_identity) for column in relation.columns]
        wants, _ = self._router.wants(relation.table, columns)
        touches = []
        table = self._router.parents.get(relation.table, relation.table)
        for want in wants:
            if self._index.keep(f"{table}.{relation.columns[want.index].name}", want.indexed):
                self._fill(table)
            key_type = "bigint" if relation.columns[want.index].type_oid in _INTEGERS else "text"
            rules = tuple(rule if rule.key_type else _typed(rule, key_type) for rule in want.rules)
            touches.append(Touch(relation, want.index, rules, indexed=want.indexed))
        return tuple(touches)

    def _announced(self, relation: Relation) -> None:
        columns = [ColumnSeen(column.name, column.in_identity) for column in relation.columns]
        _, broken = self._router.wants(relation.table, columns)
        for rule in broken:  # the publication's watch tells when it is back, and has everything compared
            reason = f"{relation.table} has no column {rule.column} any more ({rule.where})"
            self.progress.stopped.stop(rule.entity, column_cause(rule.table, rule.column), reason, "E-SCHEMA")


def _fingerprint(event: Commit) -> Fingerprint:
    return Fingerprint(event.end_lsn, event.begin.xid32, event.begin.commit_at)


def _typed(rule: Rule, key_type: str) -> Rule:
    return Rule(rule.entity, rule.table, rule.column, key_type, rule.queues, rule.keys_sql, rule.where)


def _server_error(event: ServerError, place: str) -> Exception:
    """What an error on the stream means, whose address stands at `place`. 57P01 may be a lost slot: the next look tells."""
    if event.sqlstate in ("55006", "57P01", "57P02", "57P03", "53300") or event.sqlstate.startswith("08"):
        return SourceLost(event.text, where="erp.slot", code=f"E-STREAM-{event.sqlstate}")
    if event.sqlstate == "42704":
        return SourceError(
            event.text,
            where="erp.publication",
            code="E-PUBLICATION",
            hint="The slot is older than the publication: drop the slot, then start anew (everything is compared).",
        )
    if event.sqlstate == "42501":
        return SourceError(event.text, where=place, code="E-SOURCE-PRIVILEGE")
    return SourceLost(f"{event.text} ({event.sqlstate})", where="erp.slot", code=f"E-STREAM-{event.sqlstate}")

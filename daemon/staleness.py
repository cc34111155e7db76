"""The staleness arithmetic: what the daemon may claim about how far the stores are behind the ERP.

Invariant: a claim is never better than the evidence. FRESH needs proof from every part (stream, clock, canary, first
load, queues); what cannot be known is UNKNOWN and counts as a violation. Every display takes its numbers from one
`Report`, so CLI, page, metrics and log cannot disagree. `now` is a parameter: nothing here reads a clock.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from daemon import __version__
from daemon.jobview import JobView
from daemon.latency import LatencyView as LatencyView
from daemon.latency import LatencyWindow as LatencyWindow
from daemon.model import Lane, Lsn, Micros, QueueName, format_lsn
from daemon.words import format_bytes, format_seconds

Breaker: TypeAlias = Literal["closed", "open"]
Mode: TypeAlias = Literal["stream", "poll"]
State: TypeAlias = Literal["starting", "streaming", "standby", "lost", "gap", "polling"]
Sample: TypeAlias = tuple[str, tuple[str, ...], float]
"""A gauge: its name without prefix, its label values, its value."""

NO_LATENCY = LatencyView()
CANARY_SLACK_S = 2.0
"""How late a canary may be for reasons of scheduling before that says anything about the path."""
CANARY_MISSES = 3
"""After so many intervals without a canary nobody can say what happened in the ERP since."""
WAL_STATUS = {"": 0, "reserved": 1, "extended": 2, "unreserved": 3, "lost": 4}
"""wal_status of the slot as a number that grows with the danger; 0 = no slot known."""


class Verdict(enum.StrEnum):
    FRESH = "FRESH"
    STALE = "STALE"
    UNKNOWN = "UNKNOWN"


VERDICT_CODE = {Verdict.FRESH: 0, Verdict.STALE: 1, Verdict.UNKNOWN: 2}
"""Exit code of `erpsyncd status` and value of the metric."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """One entity of one store, as the app sees it at this moment."""

    queue: QueueName
    lane: Lane
    target_s: float
    pending: int = 0
    claimed: int = 0
    quarantined: int = 0
    held: int = 0
    oldest_unapplied: Micros | None = None
    """ERP commit time of the oldest change that is not acknowledged; quarantined and held keys included."""
    loaded: bool = True
    """The first load is done."""
    load_progress: float | None = None
    """0..1, where the size of the load is known."""
    comparing: str = ""
    """Why all its keys are compared once more; empty when they are not."""
    stopped: str = ""
    """Why this entity is stopped; empty while it runs."""
    applied_total: int = 0
    unchanged_total: int = 0
    latency: LatencyView = NO_LATENCY


@dataclass(frozen=True, slots=True)
class StoreView:
    name: str
    breaker: Breaker = "closed"
    reason: str = ""
    """Why the breaker is open."""
    queues: tuple[QueueView, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotView:
    """The replication slot, as the ERP's Postgres describes it."""

    name: str
    wal_status: str = "reserved"
    """reserved | extended | unreserved | lost"""
    active: bool = True
    retained_bytes: int = 0
    """Log that the ERP keeps because of this slot."""
    safe_bytes: int | None = None
    """Log that may still be written before the slot is lost; None = without limit."""
    confirmed_lag_bytes: int = 0
    """Log between what we confirmed and what the ERP has written."""


@dataclass(frozen=True, slots=True)
class SourceView:
    """The ERP side. In poll mode `canary_received_at` is the ERP time up to which a completed round has looked."""

    mode: Mode = "stream"
    state: State = "starting"
    reason: str = ""
    received: Lsn = 0
    durable: Lsn = 0
    confirmed: Lsn = 0
    slot: SlotView | None = None
    canary_received_at: Micros | None = None
    """Commit time of the newest canary that came back, on the ERP's clock."""
    canary_every_s: float = 5.0
    clock_offset_s: float | None = None
    """The ERP's clock minus ours; None = not measured."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known at one moment. `judge` makes it; displays only print it."""

    source: SourceView
    stores: tuple[StoreView, ...]
    now: Micros
    """Our clock."""
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is not FRESH, the gravest first."""
    notes: tuple[str, ...]
    """What an operator should see although it does not decide the verdict."""
    worst_s: float | None
    """System staleness. With UNKNOWN it is a lower bound; None where not even that can be said."""
    worst_at: QueueName | None
    """Where it is; None = the newest canary is what bounds it."""
    jobs: tuple[JobView, ...] = ()

    @property
    def queues(self) -> Iterator[QueueView]:
        return (queue for store in self.stores for queue in store.queues)

    @property
    def quarantined(self) -> int:
        return sum(queue.quarantined for queue in self.queues)

    @property
    def held(self) -> int:
        return sum(queue.held for queue in self.queues)

    @property
    def canary_age_s(self) -> float | None:
        at = self.source.canary_received_at
        return None if at is None else self._age(at)

    def age_s(self, queue: QueueView) -> float | None:
        """Staleness of one queue: 0 with nothing outstanding, None where the clock is unknown."""
        return 0.0 if queue.oldest_unapplied is None else self._age(queue.oldest_unapplied)

    def of(self, queue: QueueView) -> Verdict:
        """The verdict over one queue alone; the path from the ERP is judged for all queues together."""
        age = self.age_s(queue)
        if age is None or queue.stopped or not queue.loaded:
            return Verdict.UNKNOWN
        return Verdict.STALE if age > queue.target_s else Verdict.FRESH

    def _age(self, at: Micros) -> float | None:
        return age_s(at, self.now, self.source.clock_offset_s)

    def line(self) -> str:
        """`FRESH worst 3.1s (stock, main) slot 2.4MB behind 0 quarantined`; other verdicts say why after a colon."""
        if self.worst_s is None:
            worst = "worst unknown"
        else:
            place = f"{self.worst_at.entity}, {self.worst_at.store}" if self.worst_at else bound_name(self.source.mode)
            bound = "at least " if self.verdict is Verdict.UNKNOWN else ""
            worst = f"worst {bound}{format_seconds(self.worst_s)} ({place})"
        slot = self.source.slot
        if self.source.mode == "poll":
            behind = "no slot"
        elif slot is None:
            behind = "slot unknown"
        else:
            behind = f"slot {format_bytes(slot.confirmed_lag_bytes)} behind"
        text = f"{self.verdict} {worst} {behind} {self.quarantined} quarantined"
        if self.held:
            text += f" {self.held} held"
        return f"{text}: {'; '.join(self.reasons)}" if self.reasons else text

    def as_json(self) -> dict[str, Any]:
        """The object of /api/status. Seconds that are unknown are null; 0 means nothing is outstanding."""
        source, slot, at = self.source, self.source.slot, self.worst_at
        return {
            "verdict": self.verdict.value,
            "worst_staleness_seconds": _round(self.worst_s),
            "worst": {"entity": at.entity, "store": at.store} if at else None,
            "line": self.line(),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "version": __version__,
            "at": self.now / 1e6,
            "source": {"mode": source.mode, "state": source.state, "reason": source.reason},
            "position": {
                "received": format_lsn(source.received),
                "durable": format_lsn(source.durable),
                "confirmed": format_lsn(source.confirmed),
            },
            "slot": None
            if slot is None
            else {
                "name": slot.name,
                "wal_status": slot.wal_status,
                "active": slot.active,
                "retained_bytes": slot.retained_bytes,
                "safe_bytes": slot.safe_bytes,
                "confirmed_lag_bytes": slot.confirmed_lag_bytes,
            },
            "canary_age_seconds": _round(self.canary_age_s),
            "canary_every_seconds": source.canary_every_s,
            "clock_offset_seconds": source.clock_offset_s,
            "quarantined": self.quarantined,
            "held": self.held,
            "batches": {job.name: job.as_json() for job in self.jobs},
            "stores": {
                store.name: {
                    "breaker": store.breaker,
                    "reason": store.reason,
                    "entities": {queue.queue.entity: self._queue_json(queue) for queue in store.queues},
                }
                for store in self.stores
            },
        }

    def _queue_json(self, queue: QueueView) -> dict[str, Any]:
        return {
            "verdict": self.of(queue).value,
            "lane": queue.lane.value,
            "target_seconds": queue.target_s,
            "pending": queue.pending,
            "claimed": queue.claimed,
            "quarantined": queue.quarantined,
            "held": queue.held,
            "oldest_unapplied_seconds": _round(self.age_s(queue)),
            "latency_seconds": queue.latency.as_json(),
            "applied_total": queue.applied_total,
            "unchanged_total": queue.unchanged_total,
            "loaded": queue.loaded,
            "backfill_progress": queue.load_progress,
            "comparing": queue.comparing,
            "stopped": queue.stopped,
        }

    def gauges(self) -> Iterator[Sample]:
        """The same numbers for /metrics: timestamps rather than ages where a stuck process must be seen to age."""
        source, slot = self.source, self.source.slot
        yield "verdict", (), VERDICT_CODE[self.verdict]
        yield "worst_staleness_seconds", (), _number(self.worst_s)
        yield "source_up", (), float(source.state in ("streaming", "polling"))
        yield "canary_received_timestamp_seconds", (), (source.canary_received_at or 0) / 1e6
        yield "clock_offset_seconds", (), _number(source.clock_offset_s)
        for stage, lsn in (("received", source.received), ("durable", source.durable), ("confirmed", source.confirmed)):
            yield "wal_position_bytes", (stage,), lsn
        yield "slot_state", (), WAL_STATUS.get(slot.wal_status, 0) if slot else 0
        yield "slot_active", (), float(slot is not None and slot.active)
        yield "slot_retained_bytes", (), slot.retained_bytes if slot else math.nan
        yield "slot_safe_bytes", (), _number(slot.safe_bytes if slot else None)
        yield "slot_confirmed_lag_bytes", (), slot.confirmed_lag_bytes if slot else math.nan
        for job in self.jobs:
            yield from job.gauges()
        for store in self.stores:
            yield "breaker_open", (store.name,), float(store.breaker == "open")
            for queue in store.queues:
                labels = (queue.queue.store, queue.queue.entity, queue.lane.value)
                yield "oldest_unapplied_commit_timestamp_seconds", labels, (queue.oldest_unapplied or 0) / 1e6
                yield "pending_keys", labels, queue.pending
                yield "claimed_keys", labels, queue.claimed
                yield "quarantined_keys", labels, queue.quarantined
                yield "held_keys", labels, queue.held
                yield "staleness_target_seconds", labels, queue.target_s
                yield "loaded", labels, float(queue.loaded)
                yield "entity_stopped", labels, float(bool(queue.stopped))


def judge(source: SourceView, stores: Sequence[StoreView], now: Micros) -> Report:
    """The verdict over everything. `now` is our clock; ages are taken on the ERP's, which is ours plus the offset."""
    unknown = [*_source_doubts(source, now), *_queue_doubts(stores)]
    stale: list[str] = []
    worst: float | None = None
    worst_at: QueueName | None = None
    offset = source.clock_offset_s
    if source.canary_received_at is not None:
        worst = age_s(source.canary_received_at, now, offset)
        tightest = min((q.target_s for s in stores for q in s.queues if q.lane is Lane.FAST), default=math.inf)
        # the canary after the newest one left at least this long ago and is not back
        path = -math.inf if worst is None else worst - source.canary_every_s - CANARY_SLACK_S
        if path > tightest:
            where = "polling" if source.mode == "poll" else "the change log"
            stale.append(f"{where} is at least {format_seconds(path)} behind")
    late: list[tuple[float, str]] = []
    for store in stores:
        for queue in store.queues:
            age = 0.0 if queue.oldest_unapplied is None else age_s(queue.oldest_unapplied, now, offset)
            if age is None:
                continue
            if queue.lane is Lane.FAST and queue.oldest_unapplied is not None and (worst is None or age > worst):
                worst, worst_at = age, queue.queue
            if age > queue.target_s:
                late.append((age / max(queue.target_s, 1e-3), _late(store, queue, age)))
    stale += [text for _, text in sorted(late, reverse=True)]
    verdict = Verdict.UNKNOWN if unknown else Verdict.STALE if stale else Verdict.FRESH
    return Report(source, tuple(stores), now, verdict, (*unknown, *stale), _notes(source, stores), worst, worst_at)


def _late(store: StoreView, queue: QueueView, age: float) -> str:
    text = (
        f"{queue.queue.entity} in {store.name} is {format_seconds(age)} behind, target {format_seconds(queue.target_s)}"
    )
    causes = [f"{queue.quarantined} quarantined"] if queue.quarantined else []
    causes += [f"{queue.held} held"] if queue.held else []
    if store.breaker == "open":
        causes.append(f"store calls stopped{_why(store.reason)}")
    return f"{text} ({', '.join(causes)})" if causes else text


def _source_doubts(source: SourceView, now: Micros) -> Iterator[str]:
    words = {
        "starting": "starting",
        "standby": "standing by, another daemon holds the slot",
        "lost": "the ERP cannot be read",
        "gap": "changes are missing between our position and the slot",
    }
    if source.state in words:
        yield f"{words[source.state]}{_why(source.reason, ' ({})')}"
    if source.slot is not None and source.slot.wal_status == "lost":
        yield f"slot {source.slot.name} is lost"
    if source.clock_offset_s is None:
        yield "the ERP's clock is not known"
        return
    beat = bound_name(source.mode)
    if source.canary_received_at is None:
        yield f"no {beat} has come back yet"
        return
    age = age_s(source.canary_received_at, now, source.clock_offset_s)
    if age is not None and age > CANARY_MISSES * source.canary_every_s + CANARY_SLACK_S:
        yield f"no {beat} for {format_seconds(age)}"


def _queue_doubts(stores: Sequence[StoreView]) -> Iterator[str]:
    if not any(store.queues for store in stores):
        yield "no entity is kept in any store"
    for store in stores:
        for queue in store.queues:
            name = f"{queue.queue.entity} in {store.name}"
            if queue.stopped:
                yield f"{name} is stopped ({queue.stopped})"
            elif not queue.loaded:
                done = "" if queue.load_progress is None else f" ({queue.load_progress:.0%} done)"
                yield f"{name} is in its first load{done}"


def _notes(source: SourceView, stores: Sequence[StoreView]) -> tuple[str, ...]:
    notes = []
    if source.slot is not None and source.slot.wal_status == "unreserved":
        notes.append(f"slot {source.slot.name} is at risk: the ERP may drop the log that it needs")
    for store in stores:
        if store.breaker == "open":
            notes.append(f"calls to {store.name} are stopped{_why(store.reason)}")
        for queue in store.queues:
            if queue.comparing and queue.loaded:
                notes.append(f"all of {queue.queue.entity} in {store.name} is compared: {queue.comparing}")
            if queue.quarantined:
                notes.append(f"{queue.quarantined} quarantined in {queue.queue.entity}, {store.name}")
            if queue.held:
                notes.append(f"{queue.held} held for approval in {queue.queue.entity}, {store.name}")
    return tuple(notes)


def bound_name(mode: Mode) -> str:
    """What bounds the age of things not read yet: the canary in the log, or the last poll round."""
    return "poll round" if mode == "poll" else "canary"


def age_s(at: Micros, now: Micros, clock_offset_s: float | None) -> float | None:
    """Seconds from an ERP time to our `now`, never negative; None where the clocks cannot be compared."""
    return None if clock_offset_s is None else max(0.0, (now - at) / 1e6 + clock_offset_s)


def _why(reason: str, form: str = ": {}") -> str:
    return form.format(reason) if reason else ""


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _number(value: float | None) -> float:
    return math.nan if value is None else value

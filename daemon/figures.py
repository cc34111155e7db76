"""The figures: one report of how things stand, gathered from every part that runs.

Invariant: nothing is counted here; each number is read from the part that keeps it, at one moment, without waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from daemon.backfill import Backfill
from daemon.config import Config
from daemon.dirtyset import DirtySet
from daemon.gate import Gate
from daemon.ingest import Ingest
from daemon.jobs.board import Board
from daemon.lookup import Lookup
from daemon.metrics import Metrics
from daemon.model import Lane, Micros, QueueName
from daemon.slotwatch import Looks
from daemon.source import Source
from daemon.staleness import QueueView, Report, SourceView, StoreView, judge
from daemon.state import StateFile
from daemon.worker import Worker


class Parts(Protocol):
    """What the figures are gathered from."""

    @property
    def config(self) -> Config: ...
    @property
    def dirty(self) -> DirtySet: ...
    @property
    def state(self) -> StateFile: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def ingest(self) -> Ingest: ...
    @property
    def source(self) -> Source: ...
    @property
    def looks(self) -> Looks: ...
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


def report(parts: Parts, now: Micros) -> Report:
    """How things stand. `now` is our clock."""
    looks, ingest = parts.looks, parts.ingest
    polls = parts.config.erp.mode == "poll"
    source = SourceView(
        mode="poll" if polls else "stream",
        state=parts.source.state,
        reason=parts.source.reason,
        received=ingest.progress.received,
        durable=parts.state.durable,
        confirmed=ingest.stream.confirmed if ingest.stream is not None else parts.state.durable,
        slot=looks.slot,
        canary_received_at=looks.polled_at if polls else ingest.progress.canary_at,
        canary_every_s=_canary_every(parts.config),
        clock_offset_s=looks.offset_s,
    )
    views = tuple(
        StoreView(
            name=name,
            breaker="open" if gate.breaker.open else "closed",
            reason=gate.breaker.reason,
            queues=tuple(_queue_view(parts, queue, now) for queue in parts.workers if queue.store == name),
        )
        for name, gate in parts.gates.items()
    )
    return replace(judge(source, views, now), jobs=parts.board.views())


def ready(parts: Parts) -> tuple[bool, str]:
    """Whether the daemon does its work, and why not."""
    source = parts.source
    if source.state not in ("streaming", "polling"):
        return False, f"source {source.state}: {source.reason}".rstrip(": ")
    if not any(gate.reached and not gate.breaker.open for gate in parts.gates.values()):
        reasons = "; ".join(f"{name}: {gate.breaker.reason or 'not reached yet'}" for name, gate in parts.gates.items())
        return False, f"no store can be reached ({reasons})"
    return True, source.state


def _canary_every(config: Config) -> float:
    if config.erp.mode == "stream":
        return config.erp.canary
    return max((rule.every for entity in config.entity.values() for rule in entity.poll), default=10.0)


def _queue_view(parts: Parts, name: QueueName, now: Micros) -> QueueView:
    entity = parts.config.entity[name.entity]
    worker, backfill = parts.workers[name], parts.backfills[name]
    stats = parts.dirty.stats(name)
    ages = [stats.oldest, backfill.job.oldest]
    stopped = worker.stopped or backfill.problem or parts.ingest.progress.stopped.reason(name.entity)
    for lookup in parts.lookups:
        if lookup.entity == name.entity:
            ages.append(parts.dirty.stats(lookup.name).oldest)
            stopped = stopped or lookup.stopped
    counters = parts.metrics.queue(name, Lane(entity.lane))
    return QueueView(
        queue=name,
        lane=Lane(entity.lane),
        target_s=entity.target,
        pending=stats.pending,
        claimed=stats.claimed,
        quarantined=stats.quarantined,
        held=stats.held,
        oldest_unapplied=min((age for age in ages if age), default=None),
        loaded=backfill.loaded,
        load_progress=backfill.job.progress,
        comparing=backfill.reason,
        stopped=stopped,
        applied_total=counters.total("applied"),
        unchanged_total=counters.total("unchanged"),
        latency=worker.latency.view(now),
    )

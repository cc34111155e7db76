"""Counters and gauges for Prometheus, in a registry of their own.

Invariant: label values are bounded (store, entity, lane, outcome, reason, stage, job; never a key or a position), every
series that can be named at start exists from the start, and gauges of state come from the report alone. The paths that
run for every change touch only what was looked up beforehand.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from daemon import __version__
from daemon.model import Lane, QueueName

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES: Final = ("applied", "unchanged", "retried", "quarantined", "held")
"""What became of a claimed key: acknowledged; equal to the acknowledged; to be tried again; put aside; braked."""
REQUEST_OUTCOMES: Final = ("ok", "later", "operator", "never")
"""What became of a store call: taken, or the retry decision of its error."""
STAGES: Final = ("receive", "resolve", "send")
"""ERP commit -> received; claimed -> compared with what was acknowledged; call begun -> answered, waiting included."""
LATENCY_BUCKETS: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0),
)
STAGE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_QUEUE: Final = ("store", "entity", "lane")
REPORTED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "verdict": ("0 FRESH, 1 STALE, 2 UNKNOWN.", ()),
    "worst_staleness_seconds": ("System staleness of the fast lane; NaN = unknown, a lower bound with verdict 2.", ()),
    "source_up": ("1 while changes come in from the ERP.", ()),
    "canary_received_timestamp_seconds": ("ERP commit time of the newest canary that came back; 0 = none.", ()),
    "clock_offset_seconds": ("The ERP's clock minus ours; NaN = not measured.", ()),
    "wal_position_bytes": ("Log position as a number: received, durable here, confirmed to the ERP.", ("stage",)),
    "slot_state": ("0 no slot, 1 reserved, 2 extended, 3 unreserved, 4 lost.", ()),
    "slot_active": ("1 while a connection uses the slot.", ()),
    "slot_retained_bytes": ("Log that the ERP keeps because of the slot; NaN = unknown.", ()),
    "slot_safe_bytes": ("Log that may be written before the slot is lost; NaN = unknown or unlimited.", ()),
    "slot_confirmed_lag_bytes": ("Log between the confirmed position and the ERP's newest; NaN = unknown.", ()),
    "breaker_open": ("1 while the store as a whole does not take calls; a probe goes out now and then.", ("store",)),
    "oldest_unapplied_commit_timestamp_seconds": (
        "ERP commit time of the oldest change that the store has not acknowledged; 0 = none. Age: time() - (x > 0).",
        _QUEUE,
    ),
    "batch_running": ("1 while a run of the job is open.", ("job",)),
    "batch_progress_ratio": ("How much of the open run is done; NaN = none is open, or not known.", ("job",)),
    "batch_rows": ("Documents or rows of the newest run.", ("job",)),
    "batch_failed": ("1 when the newest run failed.", ("job",)),
    "pending_keys": ("Keys marked and not in flight.", _QUEUE),
    "claimed_keys": ("Keys in flight.", _QUEUE),
    "quarantined_keys": ("Keys that need a correction before they can be sent.", _QUEUE),
    "held_keys": ("Keys held by a brake for an operator's decision.", _QUEUE),
    "staleness_target_seconds": ("Configured staleness objective.", _QUEUE),
    "loaded": ("1 when the first load is done.", _QUEUE),
    "entity_stopped": ("1 while the entity is stopped.", _QUEUE),
}
"""Every gauge that a report fills: help text and labels."""


class Reported(Protocol):
    """What `update` needs of a report."""

    def gauges(self) -> Iterator[tuple[str, tuple[str, ...], float]]: ...


class Buckets:
    """One series of a histogram: observing costs a bisection and two additions, whatever the count."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def add_to(self, family: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        names = [*map(str, self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


class _Histograms(Collector):
    """A histogram family over `Buckets`, made for observing many equal values at once."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._series: dict[tuple[str, ...], Buckets] = {}

    def series(self, *labels: str) -> Buckets:
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Buckets(self._bounds)
        return found

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, series in self._series.items():
            series.add_to(family, labels)
        yield family


class QueueMetrics:
    """The counters of one queue, looked up once. The worker holds it; the app reads `total` into its QueueView."""

    __slots__ = ("_counters", "_totals", "latency")

    def __init__(self, latency: Buckets, counters: dict[str, Counter]) -> None:
        self.latency = latency
        self._counters = counters
        self._totals = dict.fromkeys(counters, 0)

    def applied(self, seconds: float, count: int = 1) -> None:
        """`count` changes acknowledged by the store this long after their ERP commit."""
        self.latency.observe(seconds, count)
        self.count("applied", count)

    def count(self, outcome: str, count: int = 1) -> None:
        """`outcome` is one of OUTCOMES."""
        self._counters[outcome].inc(count)
        self._totals[outcome] += count

    def total(self, outcome: str) -> int:
        """What `changes_total` says, so that the report and the metric are one number."""
        return self._totals[outcome]


class Metrics:
    """All series of one daemon."""

    def __init__(
        self,
        queues: Iterable[tuple[QueueName, Lane]] = (),
        *,
        jobs: Iterable[str] = (),
        version: str = __version__,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter that nobody asks for
        self.registry = CollectorRegistry()
        self._gauges = {name: self._gauge(name, *about) for name, about in REPORTED.items()}
        self._children: dict[tuple[str, tuple[str, ...]], Gauge] = {}
        self._gauges["verdict"].set(2)  # nothing is known before the first report
        self._latency = self._histograms(
            "change_latency_seconds", "ERP commit to the store's acknowledgement.", _QUEUE, LATENCY_BUCKETS
        )
        self._stages = self._histograms("stage_latency_seconds", "Time in one stage.", ("stage",), STAGE_BUCKETS)
        self._changes = self._counter("changes_total", "Keys by what became of them.", (*_QUEUE, "outcome"))
        self._requests = self._counter("store_requests_total", "Calls to a store.", ("store", "outcome"))
        self._durations = self._histograms(
            "store_request_duration_seconds", "Duration of store calls.", ("store",), STAGE_BUCKETS
        )
        self._throttled = self._counter("store_throttled_total", "Times a store asked to slow down.", ("store",))
        self._drift = self._counter("reconcile_drift_total", "Documents found to differ.", ("store", "entity"))
        self._compared = self._counter("reconcile_compared_total", "Documents compared.", ("store", "entity"))
        self._corrected = self._counter("reconcile_corrected_total", "Differences mended.", ("store", "entity"))
        self._reconciled = self._gauge(
            "reconcile_last_full_timestamp_seconds", "End of the last full pass; 0 = none.", ("store", "entity")
        )
        self._batch = self._gauge(
            "batch_last_success_timestamp_seconds", "Last success of a batch job; 0 = none.", ("job",)
        )
        self._errors = self._counter("errors_total", "Errors by their stable code.", ("reason",))
        self.transactions = self._counter("transactions_total", "ERP transactions received.")
        self.marks = self._counter("marks_total", "Keys marked dirty, coalesced ones included.")
        self.wal_bytes = self._counter("wal_received_bytes_total", "Bytes received from the replication stream.")
        self.wal_received = self._gauge(
            "wal_received_timestamp_seconds",
            "When the stream last brought anything, keepalives included; 0 = never.",
            (),
        )
        self.reconnects = self._counter("reconnects_total", "Reconnections to the replication stream.")
        self.gaps = self._counter("gaps_total", "Gaps found between our position and the slot.")
        self.loop_lag = self._gauge("eventloop_lag_seconds", "How late the event loop last woke up.", ())
        self.reloaded = self._gauge(
            "config_last_reload_success_timestamp_seconds", "Last accepted configuration; 0 = the one from start.", ()
        )
        self._gauge("build_info", "1; the labels say what runs.", ("version", "python")).labels(
            version, platform.python_version()
        ).set(1)
        ProcessCollector(registry=self.registry)
        self._queues: dict[QueueName, QueueMetrics] = {}
        for queue, lane in queues:
            self.queue(queue, lane)
        for stage in STAGES:
            self.stage(stage)
        for job in jobs:
            self._batch.labels(job)

    def queue(self, queue: QueueName, lane: Lane) -> QueueMetrics:
        """The handle of one queue, made with all its series at 0 when it is new."""
        found = self._queues.get(queue)
        if found is not None:
            return found
        labels = (queue.store, queue.entity, lane.value)
        made = QueueMetrics(
            self._latency.series(*labels),
            {outcome: self._changes.labels(*labels, outcome) for outcome in OUTCOMES},
        )
        self._queues[queue] = made
        for counter in (self._drift, self._compared, self._corrected):
            counter.labels(queue.store, queue.entity)
        self._reconciled.labels(queue.store, queue.entity)
        for outcome in REQUEST_OUTCOMES:
            self._requests.labels(queue.store, outcome)
        self._durations.series(queue.store)
        self._throttled.labels(queue.store)
        for name, (_, names) in REPORTED.items():
            if names == _QUEUE:
                self._child(name, labels)
        self._child("breaker_open", (queue.store,))
        return made

    def stage(self, stage: str) -> Buckets:
        """One of STAGES; hold on to it and call `observe(seconds, count)`."""
        return self._stages.series(stage)

    def request(self, store: str, outcome: str, seconds: float) -> None:
        """One call to a store; `outcome` is one of REQUEST_OUTCOMES."""
        self._requests.labels(store, outcome).inc()
        self._durations.series(store).observe(seconds)

    def throttled(self, store: str) -> None:
        self._throttled.labels(store).inc()

    def error(self, code: str) -> None:
        """An error was logged; its code is the label `reason`."""
        self._errors.labels(code).inc()

    def compared(self, queue: QueueName, documents: int, drift: int, corrected: int = 0) -> None:
        labels = (queue.store, queue.entity)
        self._compared.labels(*labels).inc(documents)
        self._drift.labels(*labels).inc(drift)
        self._corrected.labels(*labels).inc(corrected)

    def reconciled(self, queue: QueueName, at: float) -> None:
        """A full pass ended at this time (seconds since the epoch)."""
        self._reconciled.labels(queue.store, queue.entity).set(at)

    def batch_succeeded(self, job: str, at: float) -> None:
        self._batch.labels(job).set(at)

    def update(self, report: Reported) -> None:
        """Set every gauge of state from the report."""
        for name, labels, value in report.gauges():
            self._child(name, labels).set(value)

    def exposition(self) -> bytes:
        """The text of /metrics (CONTENT_TYPE)."""
        return generate_latest(self.registry)

    def _child(self, name: str, labels: tuple[str, ...]) -> Gauge:
        found = self._children.get((name, labels))
        if found is None:
            gauge = self._gauges[name]
            found = self._children[name, labels] = gauge.labels(*labels) if labels else gauge
        return found

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"erpsyncd_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"erpsyncd_{name}", text, labels, registry=self.registry)

    def _histograms(self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> _Histograms:
        made = _Histograms(f"erpsyncd_{name}", text, labels, bounds)
        self.registry.register(made)
        return made

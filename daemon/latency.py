"""Latency over the recent past, cheap enough to be fed for every change.

Invariant: a percentile is never understated: it is the upper edge of its bucket (buckets grow by 4.4 %), cut at the
largest value seen. Memory does not depend on the number of changes. Time comes in with `view(now)`; no clock is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from daemon.model import Micros

_PER_DOUBLING = 16
_LOWEST = -10 * _PER_DOUBLING
"""2**-10 s: about a millisecond and everything below it."""
_BUCKETS = 32 * _PER_DOUBLING
"""Up to 2**22 s, 48 days, and everything above it."""


@dataclass(frozen=True, slots=True)
class LatencyView:
    """Seconds from ERP commit to the store's acknowledgement over the recent past; None = no change in that time."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    def as_json(self) -> dict[str, float | None]:
        values = {"p50": self.p50, "p95": self.p95, "p99": self.p99, "max": self.max}
        return {name: None if value is None else round(value, 4) for name, value in values.items()}


class LatencyWindow:
    """Counts in logarithmic buckets, in `slices` pieces of the window; a piece is dropped before it leaves the window.

    The pieces turn when someone looks (`view`), so recording costs one logarithm and one addition.
    """

    __slots__ = ("_counts", "_old", "_slice", "_slices", "_started", "_top")

    def __init__(self, window_s: float = 300.0, slices: int = 5) -> None:
        self._slice: Micros = max(1, int(window_s * 1e6 / slices))
        self._slices = slices
        self._old: list[tuple[Micros, list[int], float]] = []
        self._counts = [0] * _BUCKETS
        self._top = -1.0
        self._started: Micros | None = None

    def record(self, seconds: float) -> None:
        self.record_many(seconds, 1)

    def record_many(self, seconds: float, count: int) -> None:
        """`count` changes that took this long. Negative (clocks differ) counts as zero."""
        if seconds > self._top:
            self._top = seconds if seconds > 0.0 else 0.0
        index = ceil(log2(seconds) * _PER_DOUBLING) - _LOWEST if seconds > 0.0009765625 else 0
        self._counts[index if index < _BUCKETS else -1] += count

    def view(self, now: Micros) -> LatencyView:
        """Percentiles over the window that ends at `now` (any clock, as long as it is always the same one)."""
        self._turn(now)
        tops = [top for _, _, top in self._old] + [self._top]
        counts = [sum(column) for column in zip(self._counts, *(old for _, old, _ in self._old), strict=True)]
        total = sum(counts)
        if not total:
            return LatencyView()
        top = max(tops)
        found: list[float] = []
        seen = index = 0
        for share in (0.50, 0.95, 0.99):
            need = ceil(total * share)
            while seen + counts[index] < need:
                seen += counts[index]
                index += 1
            edge = 2.0 ** ((index + _LOWEST) / _PER_DOUBLING)
            found.append(top if index == _BUCKETS - 1 else min(edge, top))
        return LatencyView(found[0], found[1], found[2], top)

    def _turn(self, now: Micros) -> None:
        if self._started is None or now < self._started:
            self._started = now
        if now - self._started >= self._slice:
            self._old.append((now, self._counts, self._top))
            self._counts = [0] * _BUCKETS
            self._top = -1.0
            self._started = now
        horizon = now - self._slice * (self._slices - 1)
        self._old = [piece for piece in self._old if horizon < piece[0] <= now]

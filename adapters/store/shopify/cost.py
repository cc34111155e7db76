"""Shopify's budget as its answers tell it: points that refill, and how long a call has to wait for its own.

Invariant: pure; the caller brings the time, in seconds on any steady clock. What the shop said last is believed and only
refilled from then on; background calls leave half of the bucket to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN_COST: Final = 10.0
"""Points of a call that was never made yet; a mutation's default."""
BACKGROUND_SHARE: Final = 0.5
LONGEST_WAIT: Final = 60.0


class CostBucket:
    """The points of one app in one shop. Before the first answer nothing is known and nothing waits."""

    def __init__(self) -> None:
        self._most: float | None = None
        self._points = 0.0
        self._rate = 0.0
        self._at = 0.0
        self._costs: dict[str, float] = {}

    def learn(self, name: str, cost: object, now: float) -> None:
        """Take in `extensions.cost` of an answer to the operation `name`; what is not understood is left aside."""
        if not isinstance(cost, Mapping):
            return
        requested = _number(cost.get("requestedQueryCost"))
        if requested is not None:
            self._costs[name] = requested
        status = cost.get("throttleStatus")
        if not isinstance(status, Mapping):
            return
        most, points, rate = (_number(status.get(k)) for k in ("maximumAvailable", "currentlyAvailable", "restoreRate"))
        if most and rate and points is not None:
            self._most, self._points, self._rate, self._at = most, min(points, most), rate, now

    def wait(self, name: str, now: float, *, background: bool = False) -> float:
        """Seconds until the operation may go; 0.0 when it may go now, and then its points are taken."""
        if self._most is None:
            return 0.0
        self._points = min(self._points + max(now - self._at, 0.0) * self._rate, self._most)
        self._at = max(now, self._at)
        needed = min(self.cost(name), self._most)
        floor = min(self._most * BACKGROUND_SHARE, self._most - needed) if background else 0.0
        lacking = needed + floor - self._points
        if lacking > 1e-6:
            return lacking / self._rate
        self._points -= needed
        return 0.0

    def cost(self, name: str) -> float:
        """What the shop asked for the operation last."""
        return self._costs.get(name, UNKNOWN_COST)

    def throttled(self, name: str) -> float | None:
        """Seconds after a refusal for haste: until the points of the operation are there. None: nothing is known."""
        if self._most is None:
            return None
        lacking = min(self.cost(name), self._most) - self._points
        return min(max(lacking / self._rate, 0.1), LONGEST_WAIT)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0.0 <= number < 1e12 else None

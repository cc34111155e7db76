"""How fast and whether at all a store is called: token bucket, backoff, breaker.

Invariant: pure; the caller brings the time (seconds on any steady clock) and acts on the answer. The fast lane's reserved
share of a budget is never spent by the batch lane, and an open breaker lets exactly one probe through at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.errors import Retry, StoreError
from daemon.model import Lane


class TokenBucket:
    """A budget of calls. `reserve` is the share that only the fast lane may use, of the burst and of the rate."""

    def __init__(self, per_second: float, burst: float, reserve: float = 0.5, now: float = 0.0) -> None:
        self._rate = per_second
        self._burst = max(burst, 1.0)
        self._batch_rate = per_second * (1.0 - reserve)
        self._batch_burst = max(self._burst * (1.0 - reserve), 1.0) if reserve < 1 else 0.0
        self._tokens = self._burst
        self._batch = self._batch_burst
        self._at = now

    def take(self, now: float, lane: Lane = Lane.FAST) -> float:
        """0.0 when a call may go now (and is counted), else the seconds to wait before asking again."""
        passed = max(now - self._at, 0.0)
        self._at = now
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._batch = min(self._batch + passed * self._batch_rate, self._batch_burst)
        wait = (1.0 - self._tokens) / self._rate if self._tokens < 1.0 else 0.0
        if lane is Lane.BATCH and self._batch < 1.0:
            wait = max(wait, (1.0 - self._batch) / self._batch_rate) if self._batch_rate else 60.0
        if wait > 0.0:
            return wait
        self._tokens -= 1.0
        if lane is Lane.BATCH:
            self._batch -= 1.0
        return 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing waits with jitter, so that many waiters do not come back together."""

    base: float = 0.5
    cap: float = 30.0
    factor: float = 2.0

    def wait(self, attempt: int, random: Callable[[], float], retry_after: float | None = None) -> float:
        """Seconds before attempt number `attempt` + 1; never less than the other side asked for."""
        grown = min(self.base * self.factor ** min(max(attempt - 1, 0), 30), self.cap)
        wait = grown * (0.5 + random() / 2)
        return max(wait, retry_after or 0.0)


class Breaker:
    """Whether a store may be called. It opens on the store's failures as a whole, never on one document's."""

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self._backoff = backoff
        self._random = random
        self._failures = 0
        self._retry_at = 0.0
        self._probing = False
        self.reason = ""
        self.operator = False
        """A person must act: credentials, address. Probes go on all the same, since the mending may be at the store."""

    @property
    def open(self) -> bool:
        return self._failures > 0

    def closed_for(self, now: float) -> float:
        """Seconds until the next probe may go; 0.0 when it may go now."""
        if not self._failures:
            return 0.0
        return max(self._retry_at - now, 0.05 if self._probing else 0.0)

    def wait(self, now: float) -> float:
        """0.0: call (as the one probe when open). Otherwise the seconds to wait before asking again."""
        if not self._failures:
            return 0.0
        if now < self._retry_at:
            return self._retry_at - now
        if self._probing:
            return 0.05
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The store answered."""
        self._failures = 0
        self._probing = False
        self.reason, self.operator = "", False

    def failed(self, now: float, error: StoreError) -> None:
        """The store as a whole did not take a call."""
        self._failures += 1
        self._probing = False
        self.operator = error.retry is Retry.OPERATOR
        self.reason = str(error)
        self._retry_at = now + self._backoff.wait(self._failures, self._random, error.retry_after)

    def abandoned(self) -> None:
        """The probe was cancelled before it had an answer."""
        self._probing = False

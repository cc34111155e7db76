"""How fast and whether at all a store is called: token bucket, backoff, breaker.

Invariant: pure; the caller brings the time (seconds on any steady clock) and acts on the answer. The fast lane's reserved
share of a budget is never spent by the batch lane, and an open breaker lets one probe through at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.errors import Retry, StoreError
from daemon.model import Lane

_NEVER = 60.0  # before asking again for what only a new configuration can give
_ROUNDING = 1e-9  # seconds; less is no wait but the last bit of a sum
_ASK_AGAIN = 0.05  # while another caller's probe is out


class TokenBucket:
    """A budget of calls. `reserve` is the share that only the fast lane may use, of the burst and of the rate.

    While the fast lane waits for a token the batch lane gets none, save where the burst is a single call.
    """

    def __init__(self, per_second: float, burst: float, reserve: float = 0.5, now: float = 0.0) -> None:
        self._rate = per_second
        self._burst = max(burst, 1.0)
        self._floor = min(self._burst * reserve, self._burst - 1.0)
        """What the batch lane leaves in the bucket."""
        self._batch_rate = per_second * (1.0 - reserve)
        self._batch_burst = max(self._burst * (1.0 - reserve), 1.0) if reserve < 1 else 0.0
        self._tokens = self._burst
        self._batch = self._batch_burst
        self._at = now

    def take(self, now: float, lane: Lane = Lane.FAST) -> float:
        """0.0 when a call may go now (and is counted), else the seconds to wait before asking again."""
        passed = max(now - self._at, 0.0)
        self._at = max(now, self._at)
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._batch = min(self._batch + passed * self._batch_rate, self._batch_burst)
        if lane is Lane.FAST:
            wait = (1.0 - self._tokens) / self._rate
        elif self._batch_rate <= 0.0:
            return _NEVER
        else:
            wait = max((1.0 + self._floor - self._tokens) / self._rate, (1.0 - self._batch) / self._batch_rate)
        if wait > _ROUNDING:
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
    """Whether a store may be called. It opens on the store's failures as a whole, never on one document's.

    A caller that says when its call `started` helps to tell the probe from a call that was out before it.
    """

    def __init__(
        self,
        backoff: Backoff,
        random: Callable[[], float],
        operator_backoff: Backoff = Backoff(base=1.0, cap=60.0),
    ) -> None:
        self._backoff = backoff
        self._operator_backoff = operator_backoff
        self._random = random
        self._failures = 0
        self._retry_at = 0.0
        self._probing = False
        self._probed_at = 0.0
        self.reason = ""
        self.operator = False
        """A person must act: credentials, address. Probes go on all the same, since the mending may be at the store."""
        self.since: float | None = None
        """When it opened; None while it is closed."""

    @property
    def open(self) -> bool:
        return self._failures > 0

    @property
    def first(self) -> bool:
        """It opened, and no probe has failed since."""
        return self._failures == 1

    def closed_for(self, now: float) -> float:
        """Seconds until the next probe may go; 0.0 when it may go now."""
        if not self._failures:
            return 0.0
        return max(self._retry_at - now, _ASK_AGAIN if self._probing else 0.0)

    def wait(self, now: float) -> float:
        """0.0: call (as the one probe when open). Otherwise the seconds to wait before asking again."""
        wait = self.closed_for(now)
        if self._failures and wait == 0.0:
            self._probing, self._probed_at = True, now
        return wait

    def succeeded(self, started: float | None = None) -> bool:
        """The store answered; returns whether calls may go. One that was out before it opened does not close it: the store
        may have asked for time since."""
        if self._failures and started is not None and not self._is_probe(started):
            return False
        self._failures = 0
        self._probing = False
        self.reason, self.operator, self.since = "", False, None
        return True

    def failed(self, now: float, error: StoreError, started: float | None = None) -> None:
        """The store as a whole did not take a call."""
        if self._failures and not self._is_probe(started):
            # a call that was out when the breaker opened: no new evidence, but its word on when to come back counts
            self._retry_at = max(self._retry_at, now + (error.retry_after or 0.0))
            if error.retry is Retry.OPERATOR and not self.operator:
                self.operator, self.reason = True, str(error)
            return
        self._failures += 1
        self._probing = False
        self.operator = error.retry is Retry.OPERATOR
        self.reason = str(error)
        if self.since is None:
            self.since = now
        backoff = self._operator_backoff if self.operator else self._backoff
        self._retry_at = now + backoff.wait(self._failures, self._random, error.retry_after)

    def abandoned(self, started: float | None = None) -> None:
        """A call was cancelled before it had an answer; if it was the probe, the next one may go."""
        if self._is_probe(started):
            self._probing = False

    def _is_probe(self, started: float | None) -> bool:
        return self._probing and (started is None or started >= self._probed_at)


class Aimd:
    """How many calls may be in flight: one more after each round of successes, half after a refusal for haste.

    Refusals within `settle` seconds of each other are one: they come from calls that were out together.
    """

    def __init__(self, most: int, settle: float = 1.0) -> None:
        self._most = max(float(most), 1.0)
        self._settle = settle
        self._level = self._most
        self._lowered_at: float | None = None

    @property
    def limit(self) -> int:
        """Calls that may be in flight now; at least one."""
        return int(self._level + _ROUNDING)

    def succeeded(self) -> None:
        """A call was taken."""
        self._level = min(self._level + 1.0 / self._level, self._most)

    def throttled(self, now: float) -> None:
        """The store asked for less at a time, or its calls got into each other's way."""
        if self._lowered_at is not None and now - self._lowered_at < self._settle:
            return
        self._lowered_at = now
        self._level = max(self._level / 2, 1.0)


class Portion:
    """How many documents a call may carry so that it takes about `long` seconds at most, for others wait for what it writes."""

    def __init__(self, long: float = 1.0, most: float = 10_000.0) -> None:
        self._long = long
        self._most = most
        self.limit = most
        """Documents; at least one."""

    def observe(self, documents: int, seconds: float) -> None:
        """So many took so long."""
        if seconds > self._long:
            self.limit = max(min(documents * self._long / seconds, self.limit), 1.0)
        else:
            self.limit = min(self.limit * 1.25, self._most)


class Pulse:
    """Whether a store answers much more slowly than it is used to: it has too many calls at a time.

    `usual` follows faster answers at once and slower ones slowly, so that a store which became slow for good is the new
    measure after a while.
    """

    def __init__(self, factor: float = 4.0, least: float = 1.0) -> None:
        self._factor = factor
        self._least = least
        self.usual: float | None = None
        """Seconds of an ordinary answer; None before the first."""

    def observe(self, seconds: float) -> bool:
        """Note one answer; True when it came too slowly."""
        usual = self.usual
        if usual is None:
            self.usual = seconds
            return False
        self.usual = usual + (seconds - usual) * (0.3 if seconds < usual else 0.05)
        return seconds > max(self._least, usual * self._factor)

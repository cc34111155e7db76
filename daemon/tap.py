"""The tap of a queue in the batch lane: whether its worker may send now, and how many documents and bytes a second.

Invariant: over any time no more than `rate` documents and BYTES_S bytes a second pass, beyond one second's worth or one call;
a closed tap lets nothing begin, and what waits at it is given back. It belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Final

from daemon.pacing import Portion

BYTES_S: Final = 4 << 20
"""Most bytes of documents a second in a job: measured in docs/performance.md as what the fast lane does not feel."""
CALL_BYTES: Final = 256 << 10
"""About what a read and a call may weigh, so that neither keeps event loop and disk from others for long."""
BULK_BYTES: Final = 2 << 20
"""The same for an interface that takes more than ORDINARY documents at once: its calls are few and take long."""
ORDINARY: Final = 100
_GUESS: Final = 16 << 10
"""Bytes of a key before the first was read."""
_LEAST_S: Final = 0.01


class _Flow:
    """So much a second, and `most` at once. One call may take more than there is, and leaves a debt.

    No `TokenBucket`: that one knows two lanes and lets a call through at a time, whatever it weighs, at a rate that stays.
    """

    def __init__(self, rate: float, most: float) -> None:
        self.rate, self._most = rate, most
        self._left, self._at = 1.0, 0.0

    def set(self, rate: float, most: float) -> None:
        if 0.0 < self.rate < math.inf:
            self.wait()  # what has passed was at the former rate
        self.rate, self._most = rate, most
        self._left = min(self._left, most)

    def begin(self) -> None:
        """Nothing was saved up before."""
        self._left, self._at = 1.0, asyncio.get_running_loop().time()

    def spend(self, amount: int) -> None:
        self._left -= amount

    def wait(self) -> float:
        """Seconds until something may pass; the rate is above 0."""
        if math.isinf(self.rate):
            self._left = 1.0
            return 0.0
        now = asyncio.get_running_loop().time()
        self._left = min(self._left + (now - self._at) * self.rate, self._most)
        self._at = now
        return max((1.0 - self._left) / self.rate, 0.0)


class Tap:
    """`free`: no job opens it, so that it is open by itself. `urgent`: it is of the fast lane, where bytes have no rate.

    Heavy keys are read few at a time in both lanes, for memory holds what was acknowledged until it is on disk.
    """

    def __init__(self, *, free: bool, urgent: bool = False) -> None:
        self._free, self._urgent = free, urgent
        self._open = free
        self._documents = _Flow(math.inf, math.inf)
        self._bytes = _Flow(math.inf if urgent else BYTES_S, CALL_BYTES)
        self._weight = 0.0 if urgent else float(_GUESS)
        self._each = 1.0
        self._portion = Portion()
        self._changed = asyncio.Event()
        self._ended = False
        self.sent = 0
        """Documents that the store acknowledged, since the process began."""
        self.waits_for = "" if free else "its job's next run"
        """Why nothing passes; empty while something may."""
        self.bulk = False
        """Calls may be as large as the store's interface for bulk takes."""

    @property
    def flowing(self) -> bool:
        """Whether a worker may claim now."""
        return self._open and self.rate > 0.0 and not self._ended

    @property
    def ready(self) -> bool:
        """Whether a worker may claim at this moment."""
        return self.flowing and self._wait() <= _LEAST_S

    @property
    def rate(self) -> float:
        """Documents a second at present; infinite without a limit."""
        return self._documents.rate

    @property
    def heavy(self) -> bool:
        """Whether its keys are so large that few of them are read at once."""
        return self._weight * ORDINARY > CALL_BYTES

    def set(self, rate: float, waits_for: str = "", part: float = 1.0) -> None:
        """A run is open: so many documents a second, and this part of BYTES_S; a rate of 0 lets nothing pass for now, because
        of `waits_for`."""
        if not self._open:
            self._documents.begin()
        self._open, self.waits_for = True, waits_for
        self._documents.set(rate, max(rate, 1.0))
        if part > 0.0 and not self._urgent:
            self._bytes.set(BYTES_S * part, CALL_BYTES)
        self._wake()

    def close(self, waits_for: str = "its job's next run") -> None:
        """The run is over."""
        self._open, self.bulk = self._free, False
        self._documents.set(math.inf, math.inf)
        if not self._urgent:
            self._bytes.set(BYTES_S, CALL_BYTES)
        self.waits_for = "" if self._free else waits_for
        self._wake()

    def end(self) -> None:
        """The daemon stops: whoever waits here goes home."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait until a worker may claim."""
        while True:
            wait = self._wait() if self.flowing else None
            if wait is not None and wait <= _LEAST_S:
                return
            await self._pause(wait)

    def room(self, most: int, call: int) -> int:
        """How many keys to claim at once: `most`, or fewer where they are heavy or their calls take long; for a job no more
        than one call of `call` documents takes, and no more than pass within about two seconds."""
        if self._weight:
            most = min(most, int((BULK_BYTES if call > ORDINARY else CALL_BYTES) / self._weight))
        if not self._urgent and call <= ORDINARY:
            most = min(most, int(self._portion.limit / self._each))
        if not self._free or not math.isinf(self.rate):
            most = min(most, call)
        if not math.isinf(self.rate):
            most = min(most, int(self.rate * 2))
        return max(most, 1)

    def weigh(self, keys: int, sizes: Iterable[int]) -> None:
        """So many keys were read; their documents have these sizes in bytes. Heavier ones count at once, lighter ones
        slowly."""
        listed = list(sizes)
        weight, self._each = sum(listed) / keys, max(len(listed) / keys, 1.0)
        self._weight = max(weight, self._weight * 0.8 + weight * 0.2)

    def held(self, documents: int, seconds: float) -> None:
        """A call kept others from what it wrote for so long: changes of the fast lane to the same things waited for it."""
        self._portion.observe(documents, seconds)

    async def take(self, documents: int, size: int = 0) -> bool:
        """Wait until documents may go, and count these with their bytes; False when the tap was closed: nothing may go."""
        while self._open and not self._ended:
            if self.rate > 0.0 and (wait := self._wait()) <= 0.0:
                self._documents.spend(documents)
                self._bytes.spend(size)
                return True
            await self._pause(wait if self.rate > 0.0 else None)
        return False

    def _wait(self) -> float:
        """Seconds until the next document; a call larger than what there is runs into debt."""
        return max(self._documents.wait(), self._bytes.wait())

    async def _pause(self, seconds: float | None) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

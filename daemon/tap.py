"""The tap of a queue in the batch lane: whether its worker may send now, and how many documents a second.

Invariant: over any time no more than `rate` documents a second pass, beyond one second's worth or one call; a closed tap
lets nothing begin, and what waits at it is given back. It belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import math

_LEAST_S = 0.01


class Tap:
    """`free`: no job opens it, so that it is open by itself."""

    def __init__(self, *, free: bool) -> None:
        self._free = free
        self._open = free
        self._rate = math.inf
        self._tokens = 1.0
        self._at = 0.0
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
        return self._open and self._rate > 0.0 and not self._ended

    @property
    def ready(self) -> bool:
        """Whether a worker may claim at this moment."""
        return self.flowing and self._wait() <= _LEAST_S

    @property
    def rate(self) -> float:
        """Documents a second at present; infinite without a limit."""
        return self._rate

    def set(self, rate: float, waits_for: str = "") -> None:
        """A run is open: so many documents a second; 0 lets nothing pass for now, because of `waits_for`."""
        if not self._open:
            self._tokens, self._at = 1.0, asyncio.get_running_loop().time()
        self._open, self.waits_for = True, waits_for
        self._rate = rate
        self._tokens = min(self._tokens, max(rate, 1.0))
        self._wake()

    def close(self, waits_for: str = "its job's next run") -> None:
        """The run is over."""
        self._open, self._rate, self.bulk = self._free, math.inf, False
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
        """How many keys to claim at once: `most`; for a job no more than one call takes (its documents are large), and no
        more than pass within about two seconds."""
        if self._free and math.isinf(self._rate):
            return most
        return call if math.isinf(self._rate) else max(min(int(self._rate * 2), call), 1)

    async def take(self, documents: int) -> bool:
        """Wait until so many documents may go, and count them; False when the tap was closed: nothing may go."""
        while self._open and not self._ended:
            if self._rate > 0.0 and (wait := self._wait()) <= 0.0:
                self._tokens -= documents
                return True
            await self._pause(wait if self._rate > 0.0 else None)
        return False

    def _wait(self) -> float:
        """Seconds until the next document; a call larger than one second's worth runs into debt."""
        if math.isinf(self._rate):
            self._tokens = 1.0
            return 0.0
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._tokens + (now - self._at) * self._rate, max(self._rate, 1.0))
        self._at = now
        return max((1.0 - self._tokens) / self._rate, 0.0)

    async def _pause(self, seconds: float | None) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

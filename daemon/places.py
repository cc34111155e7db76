"""Who may call a store now: a number of places that adapts, a budget, and one call at a time for each remote thing.

Invariant: two calls in flight never share a remote name, whatever their entities; the fast lane goes first wherever both
wait, and the batch lane never holds all places of a store that has more than one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from daemon.model import Lane, Limits
from daemon.pacing import Aimd, TokenBucket

_FIRST = (Lane.FAST, Lane.BATCH)


class Queue:
    """Waiters in order, the fast lane first. `grant` decides who may go; it is asked whenever something was freed."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, list[tuple[Callable[[], bool], asyncio.Future[None]]]] = {lane: [] for lane in _FIRST}

    async def enter(self, lane: Lane, grant: Callable[[], bool], give_back: Callable[[], None]) -> None:
        """Wait until `grant` took what is wanted. When cancelled after that, `give_back` returns it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (grant, future)
        self._waiting[lane].append(entry)
        self.wake()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                give_back()
            else:
                self._waiting[lane].remove(entry)
            self.wake()
            raise

    def wake(self) -> None:
        """Let go whoever may."""
        for lane in _FIRST:
            waiting = self._waiting[lane]
            gone = [entry for entry in waiting if not entry[1].done() and entry[0]()]
            for entry in gone:
                waiting.remove(entry)
                entry[1].set_result(None)


class Places:
    """Calls in flight of one store, fewer for a while when it asks for that, and the remote things that they write."""

    def __init__(self, most: int, fast_share: float) -> None:
        self.aimd = Aimd(most)
        self._share = fast_share
        self._out = dict.fromkeys(_FIRST, 0)
        self._busy: set[str] = set()
        self._queue = Queue()

    @contextlib.asynccontextmanager
    async def hold(self, lane: Lane, names: frozenset[str] = frozenset()) -> AsyncIterator[None]:
        """One place and all of `names`, as long as the block lasts. Who waits for the one keeps nobody from the others."""
        await self._queue.enter(lane, lambda: self._take(lane, names), lambda: self._return(lane, names))
        try:
            yield
        finally:
            self._return(lane, names)
            self._queue.wake()

    def _take(self, lane: Lane, names: frozenset[str]) -> bool:
        limit = self.aimd.limit
        if sum(self._out.values()) >= limit or not self._busy.isdisjoint(names):
            return False
        if lane is Lane.BATCH and self._out[lane] >= max(int(limit * (1 - self._share)), 1):
            return False
        self._out[lane] += 1
        self._busy |= names
        return True

    def _return(self, lane: Lane, names: frozenset[str]) -> None:
        self._out[lane] -= 1
        self._busy -= names


@dataclass(slots=True)
class _Turn:
    """One call's account: an apply may make several requests, the first of which is paid."""

    lane: Lane
    paid: bool = True
    waited: float = 0.0


_TURN: ContextVar[_Turn | None] = ContextVar("turn", default=None)


class Budget:
    """A store's requests by the second. Awaiting it is the `pace` of an adapter."""

    def __init__(self, limits: Limits, fast_share: float) -> None:
        self._bucket = TokenBucket(limits.per_second, limits.burst, fast_share)

    async def take(self, lane: Lane) -> float:
        """Wait for one request's worth; returns the seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (wait := self._bucket.take(loop.time(), lane)) > 0.0:
            await asyncio.sleep(wait)
        return loop.time() - began

    @contextlib.contextmanager
    def turn(self, lane: Lane, *, paid: bool = True) -> Iterator[_Turn]:
        """Requests in this block are of `lane`; the first was `paid` by `take`."""
        turn = _Turn(lane, paid)
        token = _TURN.set(turn)
        try:
            yield turn
        finally:
            _TURN.reset(token)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """This block's time does not count as the store's answer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            if (turn := _TURN.get()) is not None:
                turn.waited += loop.time() - began

    async def __call__(self) -> None:
        """Before each request of an adapter."""
        turn = _TURN.get()
        if turn is None:
            return  # a session being opened or closed, or asked outside of a call
        if turn.paid:
            turn.paid = False
            return
        turn.waited += await self.take(turn.lane)

"""The one door to a store: every call of every worker goes through its budget, its breaker and its number of calls in flight.

Invariant: a store is called only with a token, with the breaker's leave, and with fewer calls in flight than its
concurrency. A store's loss and its return are logged once each; nothing here ever stops the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from adapters import store as stores
from adapters.store.base import Store, StoreSettings
from daemon import config, log
from daemon.errors import Retry, StoreError
from daemon.metrics import Metrics
from daemon.model import Lane, Outcome, Patch
from daemon.pacing import Backoff, Breaker, TokenBucket

T = TypeVar("T")

_THROTTLED = "E-STORE-THROTTLED"
NOT_NOW = "E-STORE-NOT-NOW"
"""The breaker is open and another call is the probe: nothing was sent."""
_OF_THE_BATCH = ("E-STORE-TOO-LARGE", "E-STORE-REFUSED")


class Gate:
    """A store with its budget. `apply` raises StoreError like the adapter; a lost store is waited for beforehand."""

    def __init__(self, name: str, store: Store, metrics: Metrics, *, fast_share: float) -> None:
        self.name = name
        self.store = store
        limits = store.limits
        self._metrics = metrics
        self._bucket = TokenBucket(limits.per_second, limits.burst, fast_share)
        self.breaker = Breaker(Backoff(), random.random)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._batch_slots = asyncio.Semaphore(max(int(limits.concurrency * (1 - fast_share)), 1))
        self._edge = log.Edge("store_lost", "store_back", store=name)
        self.reached = False
        """The store has answered at least once."""

    async def wait(self) -> None:
        """Wait while the breaker keeps everybody out, so that nothing is read from the ERP only to grow old here."""
        loop = asyncio.get_running_loop()
        while self.breaker.open and (wait := self.breaker.closed_for(loop.time())) > 0.0:
            await asyncio.sleep(wait)

    async def apply(self, entity: str, patches: Sequence[Patch], lane: Lane) -> Sequence[Outcome]:
        """One call. Raises StoreError; LATER and OPERATOR ones have opened the breaker."""
        return await self._call(lambda: self.store.apply(entity, patches), lane)

    async def read(self, question: Callable[[], Awaitable[T]], lane: Lane = Lane.BATCH) -> T:
        """One call that only reads, on the same budget. Waits for a store that is lost; raises StoreError."""
        await self.wait()
        return await self._call(question, lane)

    async def _call(self, call: Callable[[], Awaitable[T]], lane: Lane) -> T:
        async with contextlib.AsyncExitStack() as places:
            if lane is Lane.BATCH:
                await places.enter_async_context(self._batch_slots)
            # the token comes first: a call that waits for its budget must not hold a place that the fast lane needs
            await self._token(lane)
            await places.enter_async_context(self._slots)
            loop = asyncio.get_running_loop()
            if self.breaker.wait(loop.time()) > 0.0:
                raise StoreError(self.breaker.reason, code=NOT_NOW, retry=Retry.LATER)
            started = loop.time()
            try:
                answer = await call()
            except StoreError as exc:
                self._metrics.request(self.name, str(exc.retry.value), loop.time() - started)
                self._failed(exc, started)
                raise
            except BaseException:
                self.breaker.abandoned(started)
                raise
            self._metrics.request(self.name, "ok", loop.time() - started)
            self._answered(started)
            return answer

    async def _token(self, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        while (wait := self._bucket.take(loop.time(), lane)) > 0.0:
            await asyncio.sleep(wait)

    async def probe(self) -> None:
        """Ask once whether the store is there, so that readiness does not wait for the first change."""
        await self.wait()
        with contextlib.suppress(StoreError):  # told by `_failed`
            await self._call(self.store.check, Lane.FAST)

    def _failed(self, exc: StoreError, started: float) -> None:
        if exc.code in _OF_THE_BATCH or exc.retry is Retry.NEVER:
            self._answered(started)  # the store is well; it is this batch that it does not want
            return
        self.breaker.failed(asyncio.get_running_loop().time(), exc, started)
        if exc.code == _THROTTLED:
            self._metrics.throttled(self.name)
        self._metrics.error(exc.code)
        self._edge.down(str(exc), code=exc.code)

    def _answered(self, started: float) -> None:
        self.reached = True
        if self.breaker.succeeded(started) and self._edge.is_down:
            self._edge.up("the store answers again")


def adapter_of(store: config.Store) -> Store:
    """The adapter of a configured store, not yet open. Raises ConfigError for an address that it cannot use."""
    return stores.factory(store.adapter)(
        StoreSettings(
            name=store.name,
            url=store.url,
            token=store.token.reveal() if store.token is not None else "",
            timeout=store.timeout,
            limits=store.limits(),
            options={**store.options, "entities": list(store.entities)},
        )
    )


def gates_of(configured: config.Config, metrics: Metrics) -> dict[str, Gate]:
    """Each configured store behind its gate. Raises ConfigError for an address that its adapter cannot use."""
    return {
        store.name: Gate(store.name, adapter_of(store), metrics, fast_share=store.fast_share)
        for store in configured.store.values()
    }

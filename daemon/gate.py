"""The one door to a store: every call of every worker goes through its budget, its breaker and its number of calls in flight.

Invariant: a store is called only with a token, with the breaker's leave, and with fewer calls in flight than its
concurrency, never two of them for one remote thing. A store's loss and its return are logged once each, a wish for fewer calls
is no loss; nothing here ever stops the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from adapters import store as stores
from adapters.store.base import Store, StoreSettings, TakesFiles
from adapters.store.loan import Memory, Pictures
from daemon import config, log
from daemon.config.entity import Kind
from daemon.errors import ConfigError, Retry, StoreError
from daemon.metrics import Metrics
from daemon.model import Lane, Outcome, Patch
from daemon.pacing import Backoff, Breaker, Pulse
from daemon.places import Budget, Places

T = TypeVar("T")

_TOO_MANY = ("E-STORE-THROTTLED", "E-STORE-BUSY")
NOT_NOW = "E-STORE-NOT-NOW"
"""The breaker is open and another call is the probe: nothing was sent."""
_OF_THE_BATCH = ("E-STORE-TOO-LARGE", "E-STORE-REFUSED")


class Gate:
    """A store with its budget. `apply` raises StoreError like the adapter; a lost store is waited for beforehand."""

    def __init__(
        self, name: str, store: Store, metrics: Metrics, *, fast_share: float, budget: Budget | None = None
    ) -> None:
        self.name = name
        self.store = store
        self._files = store if isinstance(store, TakesFiles) else None
        limits = store.limits
        self._metrics = metrics
        self._budget = budget if budget is not None else Budget(limits, fast_share)
        self.breaker = Breaker(Backoff(), random.random)
        self._places = Places(limits.concurrency, fast_share)
        self._pulse = Pulse()
        self._edge = log.Edge("store_lost", "store_back", store=name)
        self.reached = False
        """The store has answered at least once."""

    @property
    def allowed(self) -> int:
        """Calls that may be in flight now: the configured number, or fewer while the store asks for that."""
        return self._places.aimd.limit

    async def wait(self) -> None:
        """Wait while the breaker keeps everybody out, so that nothing is read from the ERP only to grow old here."""
        loop = asyncio.get_running_loop()
        while self.breaker.open and (wait := self.breaker.closed_for(loop.time())) > 0.0:
            await asyncio.sleep(wait)

    async def apply(
        self,
        entity: str,
        patches: Sequence[Patch],
        lane: Lane,
        held: Callable[[int, float], None] = lambda _documents, _seconds: None,
    ) -> Sequence[Outcome]:
        """One call, beside no other that writes the same remote things; files go before it. `held` is told for how many
        seconds nobody else could write those of so many documents. Raises StoreError; LATER and OPERATOR ones have opened the
        breaker."""
        if self._files is not None and entity in self._files.with_files and not self.breaker.open:
            await self._send_files(self._files, entity, patches, lane)
        names = frozenset(filter(None, (self.store.remote(entity, patch) for patch in patches)))
        loop = asyncio.get_running_loop()

        async def call() -> Sequence[Outcome]:
            started = loop.time()
            try:
                return await self.store.apply(entity, patches)
            finally:
                if names:
                    held(len(patches), loop.time() - started)

        return await self._call(call, lane, names)

    async def _send_files(self, store: TakesFiles, entity: str, patches: Sequence[Patch], lane: Lane) -> None:
        """That takes long and says nothing of how fast the store is; what fails is met again by the call, which tells."""
        async with self._places.hold(lane):
            with self._budget.turn(lane, paid=False), contextlib.suppress(StoreError):
                await store.send_files(entity, patches)

    async def read(self, question: Callable[[], Awaitable[T]], lane: Lane = Lane.BATCH) -> T:
        """One call that only reads, on the same budget. Waits for a store that is lost; raises StoreError."""
        await self.wait()
        return await self._call(question, lane)

    async def _call(self, call: Callable[[], Awaitable[T]], lane: Lane, names: frozenset[str] = frozenset()) -> T:
        # the token comes first: a call that waits for its budget must not hold a place that the fast lane needs
        await self._budget.take(lane)
        async with self._places.hold(lane, names):
            loop = asyncio.get_running_loop()
            if self.breaker.wait(loop.time()) > 0.0:
                raise StoreError(self.breaker.reason, code=NOT_NOW, retry=Retry.LATER)
            started = loop.time()
            with self._budget.turn(lane) as turn:
                try:
                    answer = await call()
                except StoreError as exc:
                    self._metrics.request(self.name, str(exc.retry.value), loop.time() - started)
                    self._failed(exc, started)
                    raise
                except BaseException:
                    self.breaker.abandoned(started)
                    raise
            took = loop.time() - started
            self._metrics.request(self.name, "ok", took)
            if self._pulse.observe(took - turn.waited):
                self._places.aimd.throttled(loop.time())
            else:
                self._places.aimd.succeeded()
            self._answered(started)
            return answer

    async def probe(self) -> None:
        """Ask once whether the store is there, so that readiness does not wait for the first change."""
        await self.wait()
        with contextlib.suppress(StoreError):  # told by `_failed`
            await self._call(self.store.check, Lane.FAST)

    def _failed(self, exc: StoreError, started: float) -> None:
        if exc.code in _OF_THE_BATCH or exc.retry is Retry.NEVER:
            self._answered(started)  # the store is well; it is this batch that it does not want
            return
        now, closed = asyncio.get_running_loop().time(), not self.breaker.open
        self.breaker.failed(now, exc, started)
        self._metrics.error(exc.code)
        if exc.code in _TOO_MANY:
            self._metrics.throttled(self.name)
            self._places.aimd.throttled(now)
            if self.breaker.first:  # it asked for time and is not lost; what it says after that time counts
                if closed:
                    log.warning("store_throttled", str(exc), store=self.name, code=exc.code)
                return
        self._edge.down(str(exc), grave=exc.retry is Retry.OPERATOR, code=exc.code)

    def _answered(self, started: float) -> None:
        self.reached = True
        if self.breaker.succeeded(started) and self._edge.is_down:
            self._edge.up("the store answers again")


def adapter_of(store: config.Store, kinds: Mapping[str, str], **lent: Any) -> Store:
    """The adapter of a configured store, not yet open; `lent` is what the daemon lends it beside that (StoreSettings).

    Raises ConfigError for an address, entity or option that it cannot use.
    """
    return stores.factory(store.adapter)(
        StoreSettings(
            name=store.name,
            url=store.url,
            token=store.token.reveal() if store.token is not None else "",
            timeout=store.timeout,
            limits=store.limits(),
            options={**store.options, "entities": list(store.entities)},
            kinds={name: kinds[name] for name in store.entities},
            **lent,
        )
    )


def kinds_of(configured: config.Config) -> dict[str, str]:
    """What each entity is, by name; "" for a kind of one's own."""
    return {name: "" if entity.kind is Kind.CUSTOM else str(entity.kind) for name, entity in configured.entity.items()}


def gates_of(
    configured: config.Config, metrics: Metrics, memory: Callable[[str], Memory], pictures: Pictures | None = None
) -> dict[str, Gate]:
    """Each configured store behind its gate; `memory` gives the one of a store by its name.

    Raises ConfigError for what an adapter cannot use.
    """
    kinds = kinds_of(configured)
    gates: dict[str, Gate] = {}
    for store in configured.store.values():
        budget = Budget(store.limits(), store.fast_share)
        lent: dict[str, Any] = {"memory": memory(store.name), "pace": budget}
        if pictures is not None:
            lent["pictures"] = pictures
        adapter = adapter_of(store, kinds, **lent)
        gates[store.name] = Gate(store.name, adapter, metrics, fast_share=store.fast_share, budget=budget)
    return gates


def refusals(configured: config.Config) -> list[ConfigError]:
    """What the adapters cannot use of a configuration that is good otherwise: one error a store."""
    kinds, found = kinds_of(configured), []
    for store in configured.store.values():
        try:
            adapter_of(store, kinds)
        except ConfigError as error:
            found.append(error)
    return found

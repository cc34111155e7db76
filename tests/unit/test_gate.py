"""Laws of the door to a store: who may call while it is lost, and whose word closes the breaker."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from daemon import log
from daemon.errors import Retry, StoreError
from daemon.gate import NOT_NOW, Gate
from daemon.metrics import Metrics
from daemon.model import Lane, Limits, Outcome, Patch, Status
from daemon.places import Budget
from tests.waiting import until

PATCH = Patch("A", 1, 0, {"x": 1})


class Store:
    """Each call waits for its answer, which the test gives."""

    def __init__(self) -> None:
        self.limits = Limits(concurrency=4, per_second=1000, burst=1000)
        self.calls: list[asyncio.Future[Sequence[Outcome]]] = []

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        answer: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self.calls.append(answer)
        return await answer

    async def check(self) -> None:
        await self.apply("", ())

    def remote(self, entity: str, patch: Patch) -> str | None:
        return patch.identity.get("remote")

    def take(self, number: int) -> None:
        self.calls[number].set_result([Outcome("A", Status.OK)])

    def refuse(
        self, number: int, retry: Retry = Retry.LATER, retry_after: float | None = None, code: str = "E-X"
    ) -> None:
        self.calls[number].set_exception(StoreError("no", retry=retry, retry_after=retry_after, code=code))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate("shop", store, Metrics([]), fast_share=0.5)  # type: ignore[arg-type]


async def called(gate: Gate, store: Store, count: int = 1) -> list[asyncio.Task[Any]]:
    before = len(store.calls)
    tasks = [asyncio.create_task(gate.apply("stock", [PATCH], Lane.FAST)) for _ in range(count)]
    await until(lambda: len(store.calls) == before + count)
    return tasks


async def test_a_call_that_was_out_before_does_not_end_the_time_that_the_store_asked_for(
    gate: Gate, store: Store
) -> None:
    early, refused = await called(gate, store, 2)
    store.refuse(1, retry_after=30.0, code="E-STORE-THROTTLED")
    with pytest.raises(StoreError):
        await refused
    store.take(0)
    assert [outcome.status for outcome in await early] == [Status.OK]
    assert gate.breaker.open
    assert gate.breaker.closed_for(asyncio.get_running_loop().time()) > 25
    with pytest.raises(StoreError) as told:
        await gate.apply("stock", [PATCH], Lane.FAST)
    assert told.value.code == NOT_NOW
    assert len(store.calls) == 2


async def test_the_probe_alone_goes_and_its_answer_closes_the_breaker(gate: Gate, store: Store) -> None:
    (lost,) = await called(gate, store)
    store.refuse(0)
    with pytest.raises(StoreError):
        await lost
    await asyncio.wait_for(gate.wait(), 5)
    (probe,) = await called(gate, store)
    with pytest.raises(StoreError) as told:
        await gate.apply("stock", [PATCH], Lane.FAST)
    assert told.value.code == NOT_NOW
    store.take(1)
    await probe
    assert not gate.breaker.open
    await called(gate, store, 2)
    store.take(2)
    store.take(3)


async def test_a_cancelled_probe_lets_the_next_one_go(gate: Gate, store: Store) -> None:
    (lost,) = await called(gate, store)
    store.refuse(0)
    with pytest.raises(StoreError):
        await lost
    await gate.wait()
    (probe,) = await called(gate, store)
    probe.cancel()
    await asyncio.wait([probe])
    await asyncio.wait_for(gate.wait(), 5)
    (second,) = await called(gate, store)
    store.take(2)
    await second
    assert not gate.breaker.open


async def test_a_cancelled_call_that_is_not_the_probe_lets_no_second_one_go(gate: Gate, store: Store) -> None:
    early, refused = await called(gate, store, 2)
    store.refuse(1)
    with pytest.raises(StoreError):
        await refused
    await gate.wait()
    (probe,) = await called(gate, store)
    early.cancel()
    await asyncio.wait([early])
    with pytest.raises(StoreError) as told:
        await gate.apply("stock", [PATCH], Lane.FAST)
    assert told.value.code == NOT_NOW
    store.take(2)
    await probe


@pytest.mark.parametrize("code", ["E-STORE-REFUSED", "E-STORE-TOO-LARGE"])
async def test_a_store_that_does_not_want_a_batch_is_well(gate: Gate, store: Store, code: str) -> None:
    (call,) = await called(gate, store)
    store.refuse(0, Retry.NEVER, code=code)
    with pytest.raises(StoreError):
        await call
    assert not gate.breaker.open
    assert gate.reached


async def test_no_more_calls_are_out_than_the_store_bears(gate: Gate, store: Store) -> None:
    tasks = [asyncio.create_task(gate.apply("stock", [PATCH], Lane.FAST)) for _ in range(6)]
    await until(lambda: len(store.calls) == 4)
    await asyncio.sleep(0.01)
    assert len(store.calls) == 4
    for number in range(6):
        await until(lambda number=number: len(store.calls) > number)
        store.take(number)
    await asyncio.gather(*tasks)


async def test_two_entities_of_one_remote_thing_are_never_written_at_once(gate: Gate, store: Store) -> None:
    one, other = (Patch(name, 1, 0, {"x": 1}, {"remote": "product:A"}) for name in ("stock", "price"))
    first = asyncio.create_task(gate.apply("stock", [one], Lane.FAST))
    second = asyncio.create_task(gate.apply("price", [other], Lane.FAST))
    await until(lambda: len(store.calls) == 1)
    (elsewhere,) = await called(gate, store)
    assert len(store.calls) == 2
    store.take(0)
    await first
    await until(lambda: len(store.calls) == 3)
    store.take(1)
    store.take(2)
    await asyncio.gather(second, elsewhere)


@pytest.mark.parametrize("code", ["E-STORE-BUSY", "E-STORE-THROTTLED"])
async def test_a_store_that_asks_for_less_is_called_less_at_a_time(gate: Gate, store: Store, code: str) -> None:
    (call,) = await called(gate, store)
    store.refuse(0, code=code)
    with pytest.raises(StoreError):
        await call
    assert gate.allowed == 2


async def test_a_store_that_asks_for_time_is_lost_only_when_it_takes_no_call_after_that_time(
    gate: Gate, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "event", lambda name, *_args, **_fields: told.append(name))

    async def refused(count: int, code: str, retry: Retry = Retry.LATER) -> None:
        await gate.wait()
        tasks = await called(gate, store, count)
        for number in range(len(store.calls) - count, len(store.calls)):
            store.refuse(number, retry, retry_after=0.01, code=code)
        assert all(isinstance(end, StoreError) for end in await asyncio.gather(*tasks, return_exceptions=True))

    async def answered() -> None:
        await gate.wait()
        [task] = await called(gate, store)
        store.take(-1)
        await task

    await refused(3, "E-STORE-THROTTLED")
    assert told == ["store_throttled"]
    await answered()
    assert told == ["store_throttled"]
    await refused(1, "E-STORE-THROTTLED")
    await refused(1, "E-STORE-THROTTLED")
    assert told == ["store_throttled", "store_throttled", "store_lost"]
    await refused(1, "E-STORE-AUTH", Retry.OPERATOR)  # now a person must act
    assert told[3:] == ["store_lost"]
    await answered()
    assert told[4:] == ["store_back"]


class Quick(Store):
    """Answers at once, and notes when it was called and for what."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(concurrency=4, per_second=50, burst=10)
        self.at: dict[str, list[float]] = {"stock": [], "content": []}

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        self.at[entity].append(asyncio.get_running_loop().time())
        return [Outcome("A", Status.OK)]


async def test_the_fast_lane_keeps_its_share_of_a_budget_that_the_batch_lane_wants_whole() -> None:
    store, loop = Quick(), asyncio.get_running_loop()
    gate = Gate("shop", store, Metrics([]), fast_share=0.5)  # type: ignore[arg-type]
    end = loop.time() + 2.0

    async def greedy() -> None:
        while loop.time() < end:
            await gate.apply("content", [PATCH], Lane.BATCH)

    async def steady() -> list[float]:
        """Four fifths of the share: 20 calls a second."""
        waits, due = [], loop.time()
        while (due := due + 0.05) < end:
            await asyncio.sleep(max(due - loop.time(), 0.0))
            asked = loop.time()
            await gate.apply("stock", [PATCH], Lane.FAST)
            waits.append(loop.time() - asked)
        return waits

    began = loop.time()
    *_, waits = await asyncio.gather(*(greedy() for _ in range(8)), steady())
    passed = loop.time() - began
    assert len(waits) >= 35, "every call that the fast lane asked for"
    assert statistics.median(waits) < 1 / 50, "it waits for no token that the batch lane took"
    fast, batch = len(store.at["stock"]), len(store.at["content"])
    assert fast + batch <= 10 + 50 * passed + 1
    assert batch <= 5 + 25 * passed + 1, "the batch lane never has more than its own part"
    assert batch >= 0.6 * 25 * 2.0, "and has all of that, since it is left"


async def test_how_long_others_had_to_wait_for_what_a_call_wrote_is_told_and_its_own_wait_is_not(
    gate: Gate, store: Store
) -> None:
    told: list[tuple[int, float]] = []
    shared = Patch("A", 1, 0, {"x": 1}, {"remote": "product:A"})

    def held(documents: int, seconds: float) -> None:
        told.append((documents, seconds))

    first = asyncio.create_task(gate.apply("content", [shared], Lane.BATCH, held))
    second = asyncio.create_task(gate.apply("content", [shared], Lane.BATCH, held))
    alone = asyncio.create_task(gate.apply("content", [PATCH], Lane.BATCH, held))
    await until(lambda: len(store.calls) == 2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: loop.time() - began > 0.2)
    store.take(0)
    store.take(1)
    await asyncio.gather(first, alone)
    assert [documents for documents, _ in told] == [1]
    assert told[0][1] >= 0.2
    await until(lambda: len(store.calls) == 3)
    store.refuse(2)
    with pytest.raises(StoreError):
        await second
    assert len(told) == 2
    assert told[1][1] < 0.2


# -- files


class Files(Store):
    """A store that takes files; each sending waits for the test too."""

    with_files = ("stock", "content")

    def __init__(self) -> None:
        super().__init__()
        self.sendings: list[asyncio.Future[None]] = []

    async def send_files(self, entity: str, patches: Sequence[Patch]) -> None:
        sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sendings.append(sending)
        await sending


SHARED = Patch("A", 1, 0, {"x": 1}, {"remote": "product:A"})


async def test_files_go_before_their_call_and_beside_what_writes_the_same_things() -> None:
    store = Files()
    gate = Gate("shop", store, Metrics([]), fast_share=0.5)  # type: ignore[arg-type]
    content = asyncio.create_task(gate.apply("content", [SHARED], Lane.BATCH))
    await until(lambda: store.sendings)
    stock = asyncio.create_task(gate.apply("stock", [SHARED], Lane.FAST))
    await until(lambda: len(store.sendings) == 2)
    store.sendings[1].set_result(None)  # of stock: it has none
    await until(lambda: store.calls)
    store.take(0)
    await stock
    assert not content.done(), "its files are under way"
    assert len(store.calls) == 1
    store.sendings[0].set_result(None)
    await until(lambda: len(store.calls) == 2)
    store.take(1)
    assert [outcome.status for outcome in await content] == [Status.OK]


async def test_what_fails_while_files_go_is_told_by_the_call_alone() -> None:
    store = Files()
    gate = Gate("shop", store, Metrics([]), fast_share=0.5)  # type: ignore[arg-type]
    content = asyncio.create_task(gate.apply("content", [SHARED], Lane.BATCH))
    await until(lambda: store.sendings)
    store.sendings[0].set_exception(StoreError("no", code="E-X", retry=Retry.LATER))
    await until(lambda: store.calls)
    assert not gate.breaker.open
    store.refuse(0)
    with pytest.raises(StoreError):
        await content
    assert gate.breaker.open
    with pytest.raises(StoreError) as told:
        await gate.apply("content", [SHARED], Lane.BATCH)
    assert told.value.code == NOT_NOW
    assert len(store.sendings) == 1, "to a store that is lost nothing is sent"


async def test_files_that_are_there_cost_nothing_of_the_budget() -> None:
    store = Files()
    budget = Budget(Limits(per_second=0.01, burst=1), fast_share=0.0)
    gate = Gate("shop", store, Metrics([]), fast_share=0.0, budget=budget)  # type: ignore[arg-type]
    content = asyncio.create_task(gate.apply("content", [SHARED], Lane.BATCH))
    await until(lambda: store.sendings)
    store.sendings[0].set_result(None)  # it asked the store nothing
    await until(lambda: store.calls)
    store.take(0)
    await content

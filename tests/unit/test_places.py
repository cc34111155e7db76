"""Laws of who may call a store: remote things, places that adapt, a budget that counts each request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Lane, Limits
from daemon.pacing import Pulse
from daemon.places import Budget, Places
from tests.waiting import until


class Call:
    """Holds something until it is told to let go."""

    def __init__(self, holding: contextlib.AbstractAsyncContextManager[None]) -> None:
        self.inside = False
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(holding))

    async def _run(self, holding: contextlib.AbstractAsyncContextManager[None]) -> None:
        async with holding:
            self.inside = True
            await self.let_go.wait()
        self.inside = False

    async def end(self) -> None:
        self.let_go.set()
        await self.task


@pytest.fixture
async def settled() -> AsyncIterator[None]:
    yield
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def turns() -> None:
    """Let every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_calls_never_hold_the_same_remote_thing(settled: None) -> None:
    places = Places(10, 0.0)
    first = Call(places.hold(Lane.FAST, frozenset({"a", "b"})))
    second = Call(places.hold(Lane.FAST, frozenset({"b", "c"})))
    third = Call(places.hold(Lane.FAST, frozenset({"c"})))
    await turns()
    assert (first.inside, second.inside, third.inside) == (True, False, True)
    await first.end()
    await turns()
    assert not second.inside  # c is still out
    await third.end()
    await until(lambda: second.inside)
    await second.end()


async def test_a_call_without_a_remote_thing_waits_for_nobody(settled: None) -> None:
    places = Places(10, 0.0)
    first, second = (Call(places.hold(Lane.FAST, frozenset())) for _ in range(2))
    await until(lambda: first.inside and second.inside)
    await first.end()
    await second.end()


async def test_a_cancelled_waiter_leaves_nothing_behind(settled: None) -> None:
    places = Places(10, 0.0)
    first = Call(places.hold(Lane.FAST, frozenset({"a"})))
    waiting = Call(places.hold(Lane.FAST, frozenset({"a", "b"})))
    await turns()
    waiting.task.cancel()
    await asyncio.wait([waiting.task])
    other = Call(places.hold(Lane.FAST, frozenset({"b"})))
    await until(lambda: other.inside)
    await first.end()
    await other.end()


async def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_it_back(settled: None) -> None:
    places = Places(10, 0.0)
    first = Call(places.hold(Lane.FAST, frozenset({"a"})))
    waiting = Call(places.hold(Lane.FAST, frozenset({"a"})))
    await turns()
    first.let_go.set()
    await first.task  # the grant is made, the waiter has not run yet
    waiting.task.cancel()
    await asyncio.wait([waiting.task])
    again = Call(places.hold(Lane.FAST, frozenset({"a"})))
    await until(lambda: again.inside)
    await again.end()


async def test_the_fast_lane_goes_first_where_both_wait_for_a_remote_thing(settled: None) -> None:
    places = Places(10, 0.0)
    holder = Call(places.hold(Lane.BATCH, frozenset({"a"})))
    await turns()
    batch = Call(places.hold(Lane.BATCH, frozenset({"a"})))
    await turns()
    fast = Call(places.hold(Lane.FAST, frozenset({"a"})))
    await turns()
    await holder.end()
    await until(lambda: fast.inside)
    assert not batch.inside
    await fast.end()
    await until(lambda: batch.inside)
    await batch.end()


async def test_the_batch_lane_never_holds_all_places(settled: None) -> None:
    places = Places(4, 0.5)
    batch = [Call(places.hold(Lane.BATCH)) for _ in range(4)]
    await turns()
    assert [call.inside for call in batch] == [True, True, False, False]
    fast = [Call(places.hold(Lane.FAST)) for _ in range(3)]
    await turns()
    assert [call.inside for call in fast] == [True, True, False]
    await fast[0].end()
    await until(lambda: fast[2].inside)  # before the batch calls that came earlier
    for call in [*fast[1:], *batch]:
        await call.end()


async def test_a_store_that_asks_for_less_gets_fewer_calls_at_a_time(settled: None) -> None:
    places = Places(4, 0.5)
    places.aimd.throttled(1.0)
    calls = [Call(places.hold(Lane.FAST)) for _ in range(3)]
    await turns()
    assert [call.inside for call in calls] == [True, True, False]
    for call in calls:
        await call.end()


async def test_each_request_of_a_call_costs_and_the_first_is_paid(settled: None) -> None:
    budget = Budget(Limits(per_second=1000.0, burst=10.0), 0.0)
    await budget.take(Lane.FAST)
    with budget.turn(Lane.FAST) as turn:
        await budget()
        assert turn.waited == 0.0
        for _ in range(15):
            await budget()
        assert turn.waited > 0.0  # ten were there, the others had to be waited for
    await budget()  # outside of a call nothing is asked for


async def test_an_upload_is_no_slowness_of_the_store(settled: None) -> None:
    budget = Budget(Limits(), 0.0)
    with budget.aside():
        await turns()  # outside of a call it means nothing
    with budget.turn(Lane.FAST) as turn:
        before = asyncio.get_running_loop().time()
        with budget.aside():
            await asyncio.sleep(0.02)
        assert 0.01 < turn.waited <= asyncio.get_running_loop().time() - before


@given(st.lists(st.floats(0.0, 0.9), min_size=1, max_size=50))
def test_a_quick_store_is_never_called_slow(answers: list[float]) -> None:
    pulse = Pulse()
    assert not any(pulse.observe(seconds) for seconds in answers)


def test_a_store_much_slower_than_usual_is_seen_and_in_the_end_is_the_new_measure() -> None:
    pulse = Pulse()
    for _ in range(20):
        assert not pulse.observe(0.2)
    assert pulse.observe(3.0)
    slow = [pulse.observe(3.0) for _ in range(100)]
    assert slow[0]
    assert not slow[-1]


async def test_a_call_that_waits_for_its_place_keeps_nobody_from_what_it_will_write(settled: None) -> None:
    places = Places(2, 0.5)  # one of them at most for the batch lane
    out = Call(places.hold(Lane.BATCH, frozenset({"a"})))
    waiting = Call(places.hold(Lane.BATCH, frozenset({"b"})))
    await turns()
    fast = Call(places.hold(Lane.FAST, frozenset({"b"})))
    await turns()
    assert (out.inside, waiting.inside, fast.inside) == (True, False, True)
    await fast.end()
    await out.end()
    await until(lambda: waiting.inside)
    await waiting.end()

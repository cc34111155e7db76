"""Laws of pacing: a budget is never overspent, the fast lane never waits for the batch lane, a lost store is probed alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.errors import Retry, StoreError
from daemon.model import Lane
from daemon.pacing import Aimd, Backoff, Breaker, Portion, TokenBucket

FAST, BATCH = Lane.FAST, Lane.BATCH


def highest() -> float:
    return 1.0


def lost(retry_after: float | None = None) -> StoreError:
    return StoreError("no answer", retry=Retry.LATER, retry_after=retry_after)


def revoked() -> StoreError:
    return StoreError("the token is refused", retry=Retry.OPERATOR)


# -- the budget

rates = st.floats(min_value=0.1, max_value=1000)
bursts = st.floats(min_value=1, max_value=1000)
shares = st.floats(min_value=0, max_value=1)
asks = st.lists(st.tuples(st.floats(min_value=0, max_value=5), st.sampled_from(list(Lane))), max_size=200)


@given(rates, bursts, shares, asks)
def test_a_budget_is_never_overspent(rate: float, burst: float, share: float, steps: list[tuple[float, Lane]]) -> None:
    bucket = TokenBucket(rate, burst, share)
    now = taken = of_batch = 0.0
    for passed, lane in steps:
        now += passed
        if bucket.take(now, lane) == 0.0:
            taken += 1
            of_batch += lane is BATCH
        assert taken <= burst + rate * now + 1e-6
        assert of_batch <= max(burst * (1 - share), 1) + rate * (1 - share) * now + 1e-6


@given(rates, bursts, shares, st.sampled_from(list(Lane)), st.integers(min_value=1, max_value=50))
def test_who_waits_as_long_as_told_gets_its_call(
    rate: float, burst: float, share: float, lane: Lane, calls: int
) -> None:
    if lane is BATCH and share > 0.99:
        return
    bucket = TokenBucket(rate, burst, share)
    now = 0.0
    for _ in range(calls):
        if wait := bucket.take(now, lane):
            now += wait
            assert bucket.take(now, lane) == 0.0


@given(rates, st.floats(min_value=2, max_value=1000), st.floats(min_value=0.1, max_value=1), st.integers(0, 300))
def test_the_batch_lane_leaves_the_fast_lane_its_share(rate: float, burst: float, share: float, asked: int) -> None:
    bucket = TokenBucket(rate, burst, share)
    for _ in range(asked):
        bucket.take(0.0, BATCH)
    fast = 0
    while bucket.take(0.0, FAST) == 0.0:
        fast += 1
    assert fast >= int(min(burst * share, burst - 1))


def test_the_batch_lane_yields_first() -> None:
    bucket = TokenBucket(10, 20, 0.5)
    served = {FAST: 0, BATCH: 0}
    for step in range(1, 1001):
        for lane in (BATCH, FAST):  # both want every token there is, the batch lane asks first
            served[lane] += bucket.take(step / 10, lane) == 0.0
    assert served[FAST] >= 999
    assert served[BATCH] <= 10


def test_the_batch_lane_uses_what_is_left() -> None:
    bucket = TokenBucket(10, 20, 0.25)
    served = {FAST: 0, BATCH: 0}
    for step in range(1, 10_001):
        served[BATCH] += bucket.take(step / 100, BATCH) == 0.0
        if step % 20 == 0:  # half of the rate
            served[FAST] += bucket.take(step / 100, FAST) == 0.0
    assert served[FAST] == 500
    assert 480 <= served[BATCH] <= 520


def test_the_batch_lane_alone_has_its_own_share_of_the_rate() -> None:
    bucket = TokenBucket(10, 20, 0.75)
    served = sum(bucket.take(step / 100, BATCH) == 0.0 for step in range(10_001))
    assert 250 <= served <= 250 + 5


def test_a_share_of_everything_leaves_the_batch_lane_nothing() -> None:
    bucket = TokenBucket(10, 20, 1.0)
    assert bucket.take(0.0, BATCH) > 1
    assert bucket.take(1e6, BATCH) > 1
    assert bucket.take(1e6, FAST) == 0.0


def test_a_burst_of_one_call_serves_both_lanes() -> None:
    bucket = TokenBucket(1, 1, 0.5)
    assert bucket.take(0.0, BATCH) == 0.0
    assert bucket.take(1.0, FAST) == 0.0
    assert bucket.take(2.0, BATCH) == 0.0


def test_a_clock_that_steps_back_mints_no_calls() -> None:
    bucket = TokenBucket(1, 1)
    taken = sum(bucket.take(now, FAST) == 0.0 for _ in range(50) for now in (10.0, 0.0))
    assert taken == 1


# -- backoff


def test_waits_grow_to_a_cap() -> None:
    backoff = Backoff(base=1, cap=60, factor=2)
    assert [backoff.wait(attempt, highest) for attempt in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_jitter_takes_away_half_at_most(attempt: int, chance: float) -> None:
    backoff = Backoff()
    full = backoff.wait(attempt, highest)
    assert full / 2 <= backoff.wait(attempt, lambda: chance) <= full <= backoff.cap


def test_the_other_side_is_never_asked_earlier_than_it_said() -> None:
    assert Backoff(cap=30).wait(1, lambda: 0.0, retry_after=120.0) == 120.0
    assert Backoff(base=8).wait(1, highest, retry_after=1.0) == 8.0


# -- the breaker


def test_a_closed_breaker_lets_everybody_through() -> None:
    breaker = Breaker(Backoff(), highest)
    assert [breaker.wait(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert (breaker.open, breaker.reason, breaker.since) == (False, "", None)


def test_an_open_breaker_lets_one_probe_through() -> None:
    breaker = Breaker(Backoff(base=1), highest)
    breaker.failed(10.0, lost())
    assert breaker.open
    assert breaker.since == 10.0
    assert "no answer" in breaker.reason
    assert not breaker.operator
    assert breaker.wait(10.5) == 0.5
    assert breaker.closed_for(11.0) == 0.0
    assert breaker.wait(11.0) == 0.0
    assert breaker.wait(11.0) > 0.0
    assert breaker.closed_for(11.0) > 0.0
    breaker.succeeded()
    assert breaker.wait(11.0) == 0.0
    assert breaker.since is None


def probe_times(breaker: Breaker, error: StoreError, number: int) -> list[float]:
    """The waits between the probes of a store that stays lost."""
    now, waits = 0.0, []
    breaker.failed(now, error)
    for _ in range(number):
        wait = breaker.wait(now)
        waits.append(wait)
        now += wait
        assert breaker.wait(now) == 0.0
        breaker.failed(now, error)
    return waits


def test_probes_of_a_lost_store_grow_rare() -> None:
    assert probe_times(Breaker(Backoff(), highest), lost(), 8) == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_revoked_token_is_probed_once_a_minute_at_last() -> None:
    """The mending may be at the store, which tells nobody."""
    breaker = Breaker(Backoff(), highest)
    assert probe_times(breaker, revoked(), 8) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert breaker.operator
    assert breaker.since == 0.0
    breaker.succeeded()
    assert not breaker.operator


def test_the_store_says_when_to_come_back() -> None:
    breaker = Breaker(Backoff(), highest)
    breaker.failed(0.0, lost(retry_after=90.0))
    assert breaker.wait(89.0) == 1.0
    assert breaker.wait(90.0) == 0.0


def test_calls_that_fail_together_are_one_loss() -> None:
    breaker = Breaker(Backoff(base=1), highest)
    for _ in range(8):
        breaker.failed(0.0, lost())
    assert breaker.wait(0.0) == 1.0
    breaker.failed(0.1, lost(retry_after=5.0))
    assert breaker.wait(0.1) == 5.0
    breaker.failed(0.2, revoked())
    assert breaker.operator
    assert "token" in breaker.reason


def test_a_late_failure_is_not_the_probes() -> None:
    breaker = Breaker(Backoff(base=1), highest)
    breaker.failed(0.0, lost())
    assert breaker.wait(1.0) == 0.0
    breaker.failed(1.5, lost(), started=-8.0)
    assert breaker.wait(60.0) > 0.0, "the probe is still out"
    breaker.failed(61.0, lost(), started=1.0)
    assert breaker.wait(61.0) == 2.0


def test_an_abandoned_probe_leaves_its_place() -> None:
    breaker = Breaker(Backoff(base=1), highest)
    breaker.failed(0.0, lost())
    assert breaker.wait(1.0) == 0.0
    breaker.abandoned()
    assert breaker.wait(1.0) == 0.0


@dataclass
class Call:
    started: float
    probe: bool


class Calls(RuleBasedStateMachine):
    """Callers that come when they like and get any answer, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(Backoff(base=1), highest)
        self.now = 0.0
        self.out: list[Call] = []

    @rule(passed=st.floats(min_value=0.01, max_value=40))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @rule()
    def call(self) -> None:
        open_ = self.breaker.open
        expected = self.breaker.closed_for(self.now)
        wait = self.breaker.wait(self.now)
        assert wait == expected
        if wait == 0.0:
            self.now += 1e-6
            self.out.append(Call(self.now, open_))

    @precondition(lambda self: self.out)
    @rule(which=st.integers(min_value=0), error=st.builds(lost) | st.builds(revoked))
    def fails(self, which: int, error: StoreError) -> None:
        call = self.out.pop(which % len(self.out))
        self.breaker.failed(self.now, error, call.started)
        assert self.breaker.open
        assert self.breaker.reason

    @precondition(lambda self: self.out)
    @rule(which=st.integers(min_value=0))
    def succeeds(self, which: int) -> None:
        self.out.pop(which % len(self.out))
        self.breaker.succeeded()
        for call in self.out:
            call.probe = False  # it is one of many calls to a store that is there
        assert not self.breaker.open

    @invariant()
    def one_probe_is_out_at_most(self) -> None:
        if self.breaker.open:
            assert sum(call.probe for call in self.out) <= 1

    @invariant()
    def it_is_open_since_some_time_or_closed(self) -> None:
        assert (self.breaker.since is not None) == self.breaker.open
        assert self.breaker.closed_for(self.now) <= 60.0


TestCalls = Calls.TestCase


# -- calls in flight


def test_haste_is_halved_once_a_round_and_regained_slowly() -> None:
    aimd = Aimd(8, settle=1.0)
    assert aimd.limit == 8
    for _ in range(4):
        aimd.throttled(0.0)
    assert aimd.limit == 4
    aimd.throttled(1.0)
    aimd.throttled(2.0)
    aimd.throttled(3.0)
    assert aimd.limit == 1
    aimd.succeeded()
    assert aimd.limit == 2
    for _ in range(1000):
        aimd.succeeded()
    assert aimd.limit == 8


@pytest.mark.parametrize("most", [0, 1, 4, 64])
@given(st.lists(st.booleans(), max_size=200))
def test_there_is_always_room_for_one_call(most: int, answers: list[bool]) -> None:
    aimd = Aimd(most, settle=0.0)
    for now, good in enumerate(answers):
        aimd.succeeded() if good else aimd.throttled(now)
        assert 1 <= aimd.limit <= max(most, 1)


# -- how much in a call


@given(st.floats(min_value=0.001, max_value=100), st.integers(1, 1000))
def test_a_call_is_made_as_small_as_it_must_be_to_be_short_and_never_empty(each: float, most: int) -> None:
    portion = Portion(long=1.0, most=most)
    for _ in range(60):
        documents = max(int(portion.limit), 1)
        portion.observe(documents, documents * each)
        assert 1 <= portion.limit <= most
    took = max(int(portion.limit), 1) * each
    assert took <= 1.25 + each
    assert took >= min(0.25, most * each)


def test_one_slow_call_is_soon_forgotten() -> None:
    portion = Portion(long=1.0, most=100)
    portion.observe(100, 30.0)
    assert portion.limit < 4
    for _ in range(20):
        portion.observe(1, 0.01)
    assert portion.limit == 100

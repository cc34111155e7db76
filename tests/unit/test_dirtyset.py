"""Laws of the dirty set that need an unlucky moment: each is one story, told in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from daemon.dirtyset import DirtySet
from daemon.model import Claim, QueueName, Snapshot
from daemon.state import StateFile
from tests.waiting import until

T = TypeVar("T")
NAME = QueueName("shop", "stock")


class SlowReads(StateFile):
    """What is read is handed over when `answers` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers = asyncio.Event()
        self.asked = 0

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        answer = await super().read(question)
        self.asked += 1
        await self.answers.wait()
        return answer


class Ground:
    """A dirty set over a file, and the writing by hand."""

    def __init__(self, path: Path, window: int) -> None:
        self.state = SlowReads(path)
        self.state.open()
        self.set = DirtySet(self.state, window=window)
        self.set.open([NAME])
        self.queue = self.set.queue(NAME)

    def mark(self, *keys: int, since: int = 1, xid: int | None = None) -> None:
        self.set.mark(NAME, set(keys), since, xid)

    def claim(self, limit: int = 100, now: float = 0.0) -> dict[object, Claim]:
        return {claim.key: claim for claim in self.set.claim(NAME, limit, now)}

    async def reopened(self, window: int = 100) -> Ground:
        """After a crash: only what was flushed is there."""
        self.state.close()
        return Ground(self.state.path, window)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[int], Ground]]:
    made: list[Ground] = []

    def ground(window: int = 100) -> Ground:
        made.append(Ground(tmp_path / "state.db", window))
        return made[-1]

    yield ground
    for one in made:
        one.state.answers.set()
        await until(lambda one=one: not one.set._refills)
        one.state.close()


async def refilling(ground: Ground) -> None:
    """A refill has read the disk and is about to hand over what it found."""
    await until(lambda: ground.queue.refilling)
    await ground.state.drain()
    await until(lambda: ground.state.asked == 1)


async def answered(ground: Ground) -> None:
    ground.state.answers.set()
    await until(lambda: not ground.queue.refilling)


async def test_a_key_that_was_done_while_a_refill_read_it_is_written_at_its_next_mark(
    make: Callable[[int], Ground],
) -> None:
    ground = make(1)
    ground.mark(1)
    ground.mark(2, since=2)
    assert ground.claim().keys() == {1}
    await refilling(ground)  # it has read 1 and 2
    ground.set.done(NAME, [1])
    await answered(ground)
    ground.mark(1, since=3)
    ground.state.advance(30)
    await ground.state.drain()
    after = await ground.reopened()
    assert after.state.query("select lsn from source") == [(30,)]
    assert after.claim().keys() == {1, 2}
    after.state.close()


async def test_a_mark_that_came_while_a_refill_read_is_waited_for(make: Callable[[int], Ground]) -> None:
    ground = make(1)
    ground.set.saw(Snapshot(100, 100))
    ground.mark(1)
    ground.mark(2, since=2)
    assert ground.claim().keys() == {1}
    await refilling(ground)
    ground.mark(2, since=3, xid=150)
    await answered(ground)
    ground.set.done(NAME, [1])
    assert ground.claim() == {}
    await ground.state.drain()
    await until(lambda: not ground.queue.refilling)
    assert ground.claim() == {2: Claim(2, 2, frozenset({150}))}


async def test_a_key_that_waits_on_disk_alone_keeps_each_transaction_of_its_marks(
    make: Callable[[int], Ground],
) -> None:
    ground = make(1)
    ground.set.saw(Snapshot(100, 100))
    ground.state.answers.set()
    ground.mark(1)
    ground.mark(2, since=2, xid=150)
    ground.mark(2, since=3, xid=151)
    ground.mark(2, since=4)
    ground.set.done(NAME, ground.claim())
    await ground.state.drain()
    await until(lambda: ground.queue.fresh)
    assert ground.claim() == {2: Claim(2, 2, frozenset({150, 151}))}


async def test_a_comparison_waits_until_what_is_marked_on_disk_is_in_memory(make: Callable[[int], Ground]) -> None:
    ground = make(1)
    ground.state.answers.set()
    ground.mark(1)
    ground.mark(2, since=2)
    ground.set.offer(NAME, [2, 3], 5)
    assert ground.claim().keys() == {1}
    await ground.state.drain()
    await until(lambda: ground.queue.fresh)
    claims = ground.claim()
    assert claims == {2: Claim(2, 2)}
    ground.set.done(NAME, [1, 2])
    await ground.state.drain()
    await until(lambda: not ground.queue.refilling)
    while not (claims := ground.claim()):
        await ground.state.drain()
        await asyncio.sleep(0.001)
    assert claims == {3: Claim(3, 0, background=True)}
    ground.set.done(NAME, [3])
    await asyncio.wait_for(ground.set.page_done(NAME), 5)
    await ground.state.drain()
    assert ground.state.query("select * from dirty") == []


async def test_marks_in_flight_add_up_on_disk(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    ground.set.saw(Snapshot(100, 100))
    for since, xid in ((10, 150), (20, 151), (30, 152)):
        ground.mark(1, since=since, xid=xid)
        if since == 10:
            assert ground.claim().keys() == {1}
    await ground.state.drain()
    after = await ground.reopened()
    assert after.claim() == {1: Claim(1, 10, frozenset({150, 151, 152}))}
    after.state.close()


async def test_a_comparison_in_flight_that_is_marked_ages_and_is_given_back_as_a_mark(
    make: Callable[[int], Ground],
) -> None:
    ground = make(100)
    ground.set.offer(NAME, [1], 5)
    assert ground.claim()[1].background
    ground.mark(1, since=10)
    assert ground.set.stats(NAME).oldest == 10
    ground.set.fail(NAME, [1], 1.0)
    await asyncio.wait_for(ground.set.page_done(NAME), 5)  # it is durable by itself now
    assert ground.claim(now=2.0) == {1: Claim(1, 10, attempt=1)}


async def test_an_older_change_makes_a_marked_key_older(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    ground.mark(1, 2, since=100)
    ground.mark(1, since=40)
    ground.mark(1, since=90)
    await ground.state.drain()
    assert ground.set.stats(NAME).oldest == 40
    after = await ground.reopened()
    assert {key: claim.since for key, claim in after.claim().items()} == {1: 40, 2: 100}
    after.state.close()


async def test_a_parked_key_comes_back_at_its_next_mark_with_its_old_age(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    ground.mark(1, since=10)
    ground.claim()
    ground.set.park(NAME, 1, "quarantined", "E-TEST", "it does not fit", 50)
    assert ground.claim() == {}
    assert ground.set.stats(NAME).oldest == 10
    ground.mark(1, since=60, xid=150)
    await ground.state.drain()
    after = await ground.reopened()
    assert after.claim() == {1: Claim(1, 10, frozenset({150}))}
    assert after.queue.parked == {}
    after.state.close()


async def test_marking_a_fresh_key_again_costs_no_write(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    ground.mark(*range(50), since=10)
    before = ground.state.appended
    for since in range(11, 60):
        ground.mark(*range(50), since=since)
    assert ground.state.appended == before


async def test_keys_that_waited_together_are_all_announced(make: Callable[[int], Ground]) -> None:
    """More of them than one claim takes: the rest must not sleep until the next mark."""
    ground = make(100)
    ground.mark(*range(10))
    ground.set.fail(NAME, ground.claim(), 5.0)
    assert ground.claim(now=1.0) == {}
    assert not ground.queue.ready.is_set()
    assert len(ground.claim(limit=4, now=6.0)) == 4
    assert ground.queue.ready.is_set()


async def test_a_key_that_is_marked_on_disk_again_counts_once(make: Callable[[int], Ground]) -> None:
    ground = make(2)
    ground.state.answers.set()
    for since in range(1, 4):  # as after a crash, when the log comes again
        ground.mark(*range(10), since=since)
    assert ground.set.stats(NAME).pending == 3 * 10  # no more than roughly
    counting = asyncio.create_task(ground.set.recount())
    await refilling(ground)
    await counting
    assert ground.set.stats(NAME).pending == 10


async def test_marks_that_come_while_it_counts_are_counted_the_next_time(make: Callable[[int], Ground]) -> None:
    ground = make(2)
    ground.mark(*range(10))
    ground.mark(*range(10), since=2)
    counting = asyncio.create_task(ground.set.recount())
    await refilling(ground)
    ground.mark(*range(5, 20), since=3)
    ground.state.answers.set()
    await counting
    assert ground.set.stats(NAME).pending >= 20
    ground.state.asked = 0
    counting = asyncio.create_task(ground.set.recount())
    await refilling(ground)
    await counting
    assert ground.set.stats(NAME).pending == 20


async def test_a_refill_that_cannot_read_is_tried_again(
    make: Callable[[int], Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.spill._RETRY_S", 0.01)
    ground = make(1)
    ground.state.answers.set()
    ground.mark(1)
    ground.mark(2, since=2)
    real, failures = ground.state.read, iter([sqlite3.OperationalError("disk I/O error")])

    async def failing(question: Callable[[sqlite3.Connection], T]) -> T:
        for error in failures:
            raise error
        return await real(question)

    monkeypatch.setattr(ground.state, "read", failing)
    ground.set.done(NAME, ground.claim())
    await ground.state.drain()
    await until(lambda: ground.queue.ready.is_set())
    assert ground.claim() == {}
    await until(lambda: ground.queue.fresh)
    assert ground.claim().keys() == {2}

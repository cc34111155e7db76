"""The dirty set against a simple model: marks, claims, endings, flushes, refills and crashes in any order.

Invariant under test: a mark is lost by nothing but `done` for a claim made after it, over crashes too; its age and the
transactions to be waited for go with it; no key is in flight twice; the position on disk is never ahead of its marks.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.dirtyset import DirtySet
from daemon.model import Key, Micros, QueueName, Snapshot, Xid
from daemon.state import StateFile

T = TypeVar("T")
NAME = QueueName("shop", "stock")
KEYS = 5
FOREVER = 1e9
some_keys = st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=4)


class HeldReads(StateFile):
    """Reads answer with what was on disk when they were asked, but only when the test lets them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers = asyncio.Event()

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        assert self._reader is not None
        answer = question(self._reader)
        await self.answers.wait()
        return answer


@dataclass(frozen=True)
class Mark:
    since: Micros
    xid: Xid | None


@dataclass
class Truth:
    """What is outstanding. `marks` holds every change that no store has acknowledged."""

    marks: dict[Key, list[Mark]] = field(default_factory=dict)
    flights: dict[Key, int] = field(default_factory=dict)
    """In flight: how many of its marks the claim covers."""
    parked: dict[Key, str] = field(default_factory=dict)
    lsn: int = 0

    def oldest(self) -> Micros | None:
        return min((mark.since for marks in self.marks.values() for mark in marks), default=None)

    def on_disk(self) -> Truth:
        """What a crash leaves of it."""
        return Truth({k: list(m) for k, m in self.marks.items()}, {}, dict(self.parked), self.lsn)


class Machine(RuleBasedStateMachine):
    """One queue with a few keys and a window that may be far too small for them."""

    @initialize(window=st.sampled_from([1, 3, 100]), text=st.booleans())
    def begin(self, window: int, text: bool) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="erpsyncd-test-")
        self.loop = asyncio.new_event_loop()
        self.window = window
        self.keys: list[Key] = [f"k{n}" if text else n for n in range(KEYS)]
        self.truth = Truth()
        self.disk = Truth()
        self.log: list[tuple[int, frozenset[Key], Mark]] = []
        self.open_marks: list[tuple[frozenset[Key], Mark]] = []
        self.page: set[Key] = set()
        self.time = 1000
        self.clock = 0.0
        self.next_xid = 100
        self.hidden: set[Xid] = set()
        self.run(self._open)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.run(self._everything_is_delivered)
        finally:
            self._drop()
            self.loop.close()
            self.folder.cleanup()

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        async def step() -> Any:
            result = work(*args)
            if asyncio.iscoroutine(result):
                result = await result
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(step())

    def _open(self) -> None:
        self.state = HeldReads(Path(self.folder.name) / "state.db")
        self.state.open()
        self.state.execute("pragma synchronous = off")
        ((lsn,),) = self.state.query("select lsn from source")
        self.state.set_position(lsn)
        self.set = DirtySet(self.state, window=self.window)
        self.set.open([NAME])
        self.queue = self.set.queue(NAME)

    def _drop(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with suppress(asyncio.CancelledError):
                self.loop.run_until_complete(asyncio.wait(tasks))
        self.state.close()

    # -- the ERP

    @rule(numbers=some_keys, gated=st.booleans(), back=st.sampled_from([0, 0, 0, 25]))
    def mark(self, numbers: set[int], gated: bool, back: int) -> None:
        """Part of a transaction: its keys are marked, its commit is yet to come."""
        self.time += 10
        xid = None
        if gated:
            xid, self.next_xid = self.next_xid, self.next_xid + 1
            self.hidden.add(xid)
        keys = frozenset(self.keys[n] for n in numbers)
        mark = Mark(self.time - back, xid)
        self.open_marks.append((keys, mark))
        self.run(self._mark, keys, mark)

    def _mark(self, keys: frozenset[Key], mark: Mark) -> None:
        self.set.mark(NAME, keys, mark.since, mark.xid)
        for key in keys:
            self.truth.marks.setdefault(key, []).append(mark)
            self.truth.parked.pop(key, None)

    @rule()
    def commit(self) -> None:
        """The position moves past all that was marked."""
        lsn = self.truth.lsn + 10
        self.log += [(lsn, keys, mark) for keys, mark in self.open_marks]
        self.open_marks.clear()
        self.truth.lsn = lsn
        self.run(self.state.advance, lsn)

    @precondition(lambda self: self.hidden)
    @rule(data=st.data())
    def become_visible(self, data: st.DataObject) -> None:
        self.hidden -= data.draw(st.sets(st.sampled_from(sorted(self.hidden)), min_size=1))
        self._saw()

    def _saw(self) -> None:
        xmin = min(self.hidden, default=self.next_xid)
        self.set.saw(Snapshot(xmin, self.next_xid, frozenset(self.hidden)))

    @precondition(lambda self: not self.page)
    @rule(numbers=some_keys)
    def offer(self, numbers: set[int]) -> None:
        """A page of a comparison; a key in flight may have been read too early and is marked."""
        self.time += 10
        keys = {self.keys[n] for n in numbers}
        for key in keys & self.truth.flights.keys():
            self.truth.marks.setdefault(key, []).append(Mark(self.time, None))
        self.page = {key for key in keys if not self.truth.marks.get(key)}
        self.run(self.set.offer, NAME, keys, self.time)

    # -- the worker

    @rule(limit=st.integers(1, 6), late=st.booleans())
    def claim(self, limit: int, late: bool) -> None:
        self.clock += 100.0 if late else 1.0
        self.run(self._claim, limit, self.clock)

    def _claim(self, limit: int, now: float) -> int:
        claims = self.set.claim(NAME, limit, now)
        assert len(claims) <= limit
        for claim in claims:
            marks = self.truth.marks.get(claim.key, [])
            assert claim.key not in self.truth.flights, "a key is in flight twice"
            assert claim.key not in self.truth.parked, "a parked key is claimed"
            assert claim.background == (not marks), "only what is not marked is background work"
            if marks:
                assert claim.since == min(mark.since for mark in marks), "the age is that of the oldest change"
            unseen = {m.xid for m in marks if m.xid is not None and not self.set.seen.sees(m.xid)}
            assert claim.xids == unseen, "a claim carries the transactions to be waited for"
            self.truth.flights[claim.key] = len(marks)
        return len(claims)

    @precondition(lambda self: self.truth.flights)
    @rule(data=st.data(), how=st.sampled_from(["done", "done", "fail", "wait", "park", "hold"]))
    def end(self, data: st.DataObject, how: str) -> None:
        keys = data.draw(st.sets(st.sampled_from(sorted(self.truth.flights, key=str)), min_size=1))
        self.run(self._end, sorted(keys, key=str), how)

    def _end(self, keys: list[Key], how: str) -> None:
        if how == "done":
            self.set.done(NAME, keys)
            for key in keys:
                del self.truth.marks.get(key, [])[: self.truth.flights.pop(key)]
                self.page.discard(key)
        elif how in ("fail", "wait"):
            self.set.fail(NAME, keys, self.clock + (50.0 if how == "wait" else 0.0), counts=how == "fail")
            for key in keys:
                del self.truth.flights[key]
        else:
            for key in keys:
                self._park(key, "held" if how == "hold" else "quarantined")

    def _park(self, key: Key, kind: str) -> None:
        self.time += 10
        self.set.park(NAME, key, kind, "E-TEST", "it does not fit", self.time)
        covered = self.truth.flights.pop(key)
        marks = self.truth.marks.setdefault(key, [])
        if not marks:
            marks.append(Mark(self.time, None))
            covered = 1
        if covered == len(marks):
            self.truth.parked[key] = kind
            # it was read, so its transactions were visible
            self.truth.marks[key] = [replace(mark, xid=None) for mark in marks]
        self.page.discard(key)

    @precondition(lambda self: self.truth.parked)
    @rule(kind=st.sampled_from(["held", "quarantined"]), numbers=some_keys, which=st.booleans(), drop=st.booleans())
    def operate(self, kind: str, numbers: set[int], which: bool, drop: bool) -> None:
        """An operator releases or forgets parked keys."""
        keys = {self.keys[n] for n in numbers} if which else None
        expected = {k for k, p in self.truth.parked.items() if p == kind and (keys is None or k in keys)}
        found = self.run(self.set.drop if drop else self.set.release, NAME, kind, keys)
        assert set(found) == expected
        for key in expected:
            del self.truth.parked[key]
            if drop:
                self.truth.marks[key] = []

    # -- the disk

    @rule()
    def flush(self) -> None:
        self.run(self._flush)

    async def _flush(self) -> None:
        await self.state.drain()
        self.disk = self.truth.on_disk()

    @rule()
    def let_reads_answer(self) -> None:
        self.run(self._answer)

    async def _answer(self) -> None:
        self.state.answers.set()
        for _ in range(5):
            await asyncio.sleep(0)
        self.state.answers.clear()

    @rule()
    def crash(self) -> None:
        """Only what was flushed survives; the stream tells again what came after the position on disk."""
        self._drop()
        self.run(self._open)
        assert self.state.durable == self.disk.lsn
        self.truth = self.disk.on_disk()
        self.page.clear()  # its cursor was not stored: it is offered again
        self._saw()
        self.open_marks.clear()
        again = [(lsn, keys, mark) for lsn, keys, mark in self.log if lsn > self.truth.lsn]
        for lsn, keys, mark in again:
            self.run(self._mark, keys, mark)
            self.truth.lsn = lsn
            self.run(self.state.advance, lsn)

    # -- at any time

    @invariant()
    def figures_are_honest(self) -> None:
        if not hasattr(self, "set"):
            return
        oldest, told = self.truth.oldest(), self.set.stats(NAME).oldest
        assert oldest is None or (told is not None and told <= oldest), "a key that waits keeps ageing"
        assert len(self.queue.claimed) == len(self.truth.flights)
        assert {key: parked.kind for key, parked in self.queue.parked.items()} == self.truth.parked

    @invariant()
    def what_can_be_claimed_is_announced(self) -> None:
        if hasattr(self, "set"):
            due = self.queue.fresh or (self.page & set(self.queue.background) and not self.queue.spilled)
            assert self.queue.ready.is_set() or not due, "a worker sleeps although there is work"

    @invariant()
    def a_page_is_over_when_each_key_is_compared_or_marked(self) -> None:
        if hasattr(self, "set") and self.queue.settled.is_set():
            self.page = {key for key in self.page if not self.truth.marks.get(key)}
            assert not self.page

    async def _everything_is_delivered(self) -> None:
        self.state.answers.set()
        self.hidden.clear()
        self._saw()
        for _ in range(60):
            await self._flush()
            await asyncio.sleep(0)
            for kind in ("held", "quarantined"):
                for key in self.set.release(NAME, kind):
                    del self.truth.parked[key]
            self._end(list(self.truth.flights), "done")
            self._claim(100, FOREVER)
        assert not any(self.truth.marks.values()), f"never claimed: {self.truth.marks}"
        assert not self.page
        await self.set.page_done(NAME) if self.queue.settled.is_set() or self.queue.page else None
        stats = self.set.stats(NAME)
        assert (stats.pending, stats.claimed, stats.oldest) == (0, 0, None)
        assert self.state.query("select count(*) from dirty") == [(0,)]
        assert self.state.query("select count(*) from parked") == [(0,)]


TestDirtySet = Machine.TestCase
TestDirtySet.settings = settings(stateful_step_count=60, max_examples=3 * settings().max_examples)

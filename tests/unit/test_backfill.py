"""Laws of the comparison: pages, their cursor over crashes, requests that come while one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daemon import backfill as module
from daemon.backfill import Backfill
from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.errors import SourceError
from daemon.ledger import Ledger
from daemon.model import Key, QueueName, Snapshot
from daemon.state import StateFile
from tests.waiting import until

NAME = QueueName("shop", "stock")
NOW = 5_000_000
LOWEST = -(2**63)


@dataclass
class FakeErp:
    """Keys 1 to `last`, a snapshot, and a door before each page."""

    last: int = 9
    snapshot_: Snapshot = Snapshot(100, 100)  # noqa: RUF009 - frozen
    open_: asyncio.Event = field(default_factory=asyncio.Event)
    pages: list[Key] = field(default_factory=list)
    error: Exception | None = None

    async def snapshot(self) -> Snapshot:
        return self.snapshot_

    async def page(self, where: str, sql: str, after: Any, limit: int) -> list[Key]:
        self.pages.append(after)
        await self.open_.wait()
        if self.error is not None:
            raise self.error
        return list(range(max(after, 0) + 1, self.last + 1))[:limit]

    async def fetch(self, where: str, sql: str, *args: Any) -> list[Any]:
        return [(self.last,)]


class Ground:
    def __init__(self, path: Path) -> None:
        self.state = StateFile(path)
        self.state.open()
        self.dirty = DirtySet(self.state)
        self.dirty.open([NAME])
        self.ledger = Ledger(self.state)
        self.erp = FakeErp()
        entity = Entity.model_construct(
            name="stock", key_type="bigint", all_keys="select id from item where id > $1 order by id limit $2"
        )
        self.settled: list[str] = []
        """What the daemon was asked to look at before a first page."""
        self.job = Backfill(
            NAME,
            entity,
            self.erp,  # type: ignore[arg-type]  # a double
            self.dirty,
            self.ledger,
            self.state,
            lambda: NOW,
            self.settle,
        )
        self.job.lowest = LOWEST
        self.compared: list[Key] = []
        self.lowest = 0
        """How often the smallest key was compared, which no page holds."""

    @asynccontextmanager
    async def running(self, *, work: bool = True) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.state.run()), asyncio.create_task(self.job.run())]
        if work:
            tasks.append(asyncio.create_task(self.worker()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def settle(self, entity: str) -> None:
        self.settled.append(entity)

    async def worker(self) -> None:
        while True:
            keys = [claim.key for claim in self.dirty.claim(NAME, 2, 1e9)]
            self.compared += [key for key in keys if key != LOWEST]
            self.lowest += LOWEST in keys
            self.dirty.done(NAME, keys)
            await asyncio.sleep(0)

    async def finished(self) -> None:
        await until(lambda: self.job.job.phase == "done")
        await self.state.settle()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    monkeypatch.setattr(module, "_HIDDEN_S", 0.005)
    monkeypatch.setattr(Entity, "digest", lambda self: "m1")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Ground]]:
    made: list[Ground] = []

    def ground() -> Ground:
        for one in made:
            one.state.close()
        made.append(Ground(tmp_path / "state.db"))
        return made[-1]

    yield ground
    made[-1].state.close()


async def test_a_first_load_compares_every_key_once(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.erp.open_.set()
    assert not ground.job.loaded
    async with ground.running():
        await ground.finished()
    assert sorted(ground.compared) == list(range(1, 10))
    assert ground.lowest == 1
    assert ground.settled == ["stock"]
    assert ground.job.loaded
    assert ground.job.job.progress == 1.0
    again = make()
    assert (again.job.loaded, again.job.job.phase) == (True, "done")


async def test_the_next_page_waits_until_each_key_of_the_last_is_settled(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.erp.open_.set()
    async with ground.running(work=False):
        await until(lambda: ground.dirty.queue(NAME).page == {LOWEST, 1, 2, 3})
        claims = ground.dirty.claim(NAME, 10, 0.0)
        ground.dirty.done(NAME, [LOWEST, 1])
        ground.dirty.mark(NAME, {2}, 7)
        await asyncio.sleep(0.02)
        assert len(ground.erp.pages) == 1
        assert {claim.key for claim in claims} == {LOWEST, 1, 2, 3}
        ground.dirty.fail(NAME, [2, 3], 0.0)  # 2 is durable by its own mark, 3 is not
        await asyncio.sleep(0.02)
        assert len(ground.erp.pages) == 1
        ground.dirty.done(NAME, [claim.key for claim in ground.dirty.claim(NAME, 10, 1.0)])
        await until(lambda: len(ground.erp.pages) == 2)


async def test_a_crash_repeats_a_page_and_skips_none(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.erp.open_.set()
    async with ground.running(work=False):
        for last in (3, 6):
            await until(lambda last=last: last in ground.dirty.queue(NAME).page)
            if last == 3:
                ground.dirty.done(NAME, [claim.key for claim in ground.dirty.claim(NAME, 10, 0.0)])
        await ground.state.settle()
    again = make()
    again.erp.open_.set()
    async with again.running():
        await again.finished()
    assert sorted(again.compared) == [4, 5, 6, 7, 8, 9]


async def test_keys_that_only_the_store_still_has_are_compared_too(make: Callable[[], Ground]) -> None:
    ground = make()
    for key in (4, 50, 51):
        ground.ledger.record(1, {key: {}}, {key: [("A", 1, b"{}")]}, 1)
    ground.erp.open_.set()
    async with ground.running():
        await ground.finished()
    assert {50, 51} <= set(ground.compared)


async def test_a_hidden_transaction_is_waited_for(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.erp.open_.set()
    ground.job.request(NOW, "a table was truncated", 150)
    async with ground.running():
        await asyncio.sleep(0.03)
        assert ground.erp.pages == []
        ground.erp.snapshot_ = Snapshot(151, 151)
        await ground.finished()
    assert sorted(ground.compared) == list(range(1, 10))


async def test_requests_that_keep_coming_do_not_keep_a_comparison_from_ending(make: Callable[[], Ground]) -> None:
    ground = make()
    async with ground.running():
        for number in range(9):
            await until(lambda number=number: len(ground.erp.pages) > number)
            if number < 3:
                ground.job.request(NOW + number, "rows went that were not known", patient=True)
            ground.erp.open_.set()
            await asyncio.sleep(0)
            ground.erp.open_.clear()
            if ground.job.loaded:
                break
        assert ground.job.loaded
        assert ground.job.job.oldest == NOW
        ground.erp.open_.set()
        await ground.finished()
    assert sorted(ground.compared) == sorted([*range(1, 10)] * 2), "one more comparison serves them all"
    assert ground.job.job.oldest is None


async def test_what_is_owed_after_a_comparison_outlives_a_crash(make: Callable[[], Ground]) -> None:
    ground = make()
    async with ground.running():
        await until(lambda: ground.erp.pages)
        ground.job.request(NOW, "a table was truncated", 150, patient=True)
        await ground.state.settle()
    again = make()
    assert again.job.job.oldest == NOW
    assert not again.job.loaded
    again.erp.open_.set()
    async with again.running():
        await until(lambda: again.job.loaded)
        await asyncio.sleep(0.02)
        assert sorted(again.compared) == list(range(1, 10)), "the second waits for its transaction"
        again.erp.snapshot_ = Snapshot(151, 151)
        await again.finished()
    assert len(again.compared) == 18


async def test_a_gap_begins_anew_at_once_and_waits_for_no_former_transaction(make: Callable[[], Ground]) -> None:
    ground = make()
    async with ground.running():
        await until(lambda: ground.erp.pages)
        ground.job.request(NOW, "a table was truncated", 150, patient=True)
        ground.job.request(NOW + 5, "the database was restored", renumbered=True)
        ground.erp.open_.set()
        await ground.finished()
    assert len(ground.compared) in (9, 12)
    assert ground.job.job.oldest is None


async def test_a_changed_mapping_compares_anew(make: Callable[[], Ground], monkeypatch: pytest.MonkeyPatch) -> None:
    ground = make()
    ground.erp.open_.set()
    async with ground.running():
        await ground.finished()
        await ground.state.settle()
    monkeypatch.setattr(Entity, "digest", lambda self: "m2")
    again = make()
    assert (again.job.loaded, again.job.job.phase, again.job.job.oldest) == (True, "erp", NOW)


async def test_a_query_that_fails_is_told_and_tried_again(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.erp.open_.set()
    ground.erp.error = SourceError("no such column")
    async with ground.running():
        await until(lambda: ground.job.problem)
        ground.erp.error = None
        await ground.finished()
        assert ground.job.problem == ""
    assert sorted(ground.compared) == list(range(1, 10))


async def test_a_comparison_tries_again_what_was_quarantined_and_leaves_alone_what_is_held(
    make: Callable[[], Ground],
) -> None:
    ground = make()
    ground.erp.open_.set()
    async with ground.running():
        await ground.finished()
        ground.dirty.mark(NAME, {3, 4}, NOW)
        await until(lambda: ground.compared.count(3) == 2)
    ground.dirty.mark(NAME, {3, 4}, NOW)
    ground.dirty.claim(NAME, 2, 1e9)
    ground.dirty.park(NAME, 3, "quarantined", "E-STORE-REJECTED", "no", NOW)
    ground.dirty.park(NAME, 4, "held", "E-BRAKE", "too many", NOW)
    ground.compared.clear()
    async with ground.running():
        ground.job.request(NOW, "the slot was lost", renumbered=True)
        await ground.finished()
        await until(lambda: 3 in ground.compared)
    assert 4 not in ground.compared
    assert list(ground.dirty.queue(NAME).parked) == [4]

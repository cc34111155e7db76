"""Laws of hindsight: what was under way when something was compared is looked at once more, over crashes too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import hindsight as module
from daemon.hindsight import Hindsight
from daemon.model import Snapshot
from daemon.state import StateFile
from tests.waiting import until

QUIET = Snapshot(100, 100)
BUSY = Snapshot(90, 100, frozenset({90, 95}))


class Ground:
    def __init__(self, path: Path) -> None:
        self.state = StateFile(path)
        self.state.open()
        self.now = QUIET
        self.again: list[tuple[str, frozenset[str]]] = []
        self.hindsight = Hindsight(self, self.state, lambda *what: self.again.append(what))  # type: ignore[arg-type]
        self.hindsight.open()

    async def snapshot(self) -> Snapshot:
        return self.now

    async def watched(self) -> None:
        """Let it look at least once."""
        looks = 0
        before = self.snapshot

        async def counted() -> Snapshot:
            nonlocal looks
            looks += 1
            return await before()

        self.snapshot = counted  # type: ignore[method-assign]
        task = asyncio.create_task(self.hindsight.run())
        await until(lambda: looks or self.again)
        task.cancel()
        self.snapshot = before  # type: ignore[method-assign]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Ground]]:
    monkeypatch.setattr(module, "_GRACE_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    monkeypatch.setattr(module, "_EVERY_S", 0.01)
    made: list[Ground] = []

    def ground() -> Ground:
        for one in made:
            one.state.close()
        made.append(Ground(tmp_path / "state.db"))
        return made[-1]

    yield ground
    made[-1].state.close()


async def test_nothing_that_runs_asks_for_nothing(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.hindsight.note("stock")
    await ground.hindsight.settle("stock")
    await ground.state.drain()
    assert ground.state.query("select * from hindsight") == []


async def test_what_ends_within_a_moment_is_waited_for(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.now = BUSY
    ground.hindsight.note("stock")
    asyncio.get_running_loop().call_later(0.02, setattr, ground, "now", QUIET)
    await ground.hindsight.settle("stock")
    await ground.state.drain()
    assert ground.state.query("select * from hindsight") == []


async def test_the_entity_is_compared_again_when_all_that_ran_has_ended_and_not_before(
    make: Callable[[], Ground],
) -> None:
    ground = make()
    ground.now = BUSY
    ground.hindsight.note("stock", "public.item")
    await ground.hindsight.settle("stock")
    for running in ({90, 95, 120}, {95}):
        ground.now = Snapshot(min(running), 130, frozenset(running))
        await ground.watched()
        assert ground.again == []
    ground.now = Snapshot(120, 130, frozenset({120}))
    await until_again(ground)
    assert ground.again == [("stock", frozenset({"public.item"}))]


async def until_again(ground: Ground) -> None:
    task = asyncio.create_task(ground.hindsight.run())
    await until(lambda: ground.again)
    task.cancel()


async def test_a_crash_forgets_nothing(make: Callable[[], Ground]) -> None:
    ground = make()
    ground.now = BUSY
    ground.hindsight.note("stock", "public.item")
    ground.hindsight.note("price")
    await ground.hindsight.settle("stock")
    await ground.state.drain()
    again = make()
    again.now = Snapshot(200, 200)
    await until_again(again)
    assert again.again == [("stock", frozenset({"public.item"}))]
    again.now = Snapshot(210, 220, frozenset({210}))
    await again.hindsight.settle("price")  # its comparison had not begun
    again.now = Snapshot(220, 220)
    again.again.clear()
    await until_again(again)
    assert again.again == [("price", frozenset())]

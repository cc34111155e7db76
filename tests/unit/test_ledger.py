"""Laws of the ledger: its newest word counts at once, before the disk has it, whatever memory had to let go."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from daemon.ledger import HEAVY, Ledger
from daemon.model import Acked, Key
from daemon.state import StateFile

T = TypeVar("T")
QUEUE = 1


class Ground:
    def __init__(self, path: Path, cache: int = 100) -> None:
        self.state = StateFile(path)
        self.state.open()
        self.ledger = Ledger(self.state, cache=cache)

    async def record(
        self, key: Key, *documents: tuple[str, int, bytes | None], queue: int = QUEUE, at: int = 7
    ) -> None:
        known = await self.ledger.lookup(queue, [key])
        self.ledger.record(queue, known, {key: documents}, at)

    async def told(self, key: Key, queue: int = QUEUE) -> dict[str, tuple[int, bytes | None]]:
        documents = (await self.ledger.lookup(queue, [key]))[key]
        return {id_: (acked.version, acked.body) for id_, acked in documents.items()}

    def cached(self) -> set[Key]:
        return {key for _, key in self.ledger._cache}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[int], Ground]]:
    made: list[Ground] = []

    def ground(cache: int = 100) -> Ground:
        for one in made:
            one.state.close()
        made.append(Ground(tmp_path / "state.db", cache))
        return made[-1]

    yield ground
    made[-1].state.close()


async def test_what_was_recorded_is_told_before_the_disk_has_it(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    assert await ground.told(1) == {}
    await ground.record(1, ("A", 5, b"{}"))
    assert await ground.told(1) == {"A": (5, b"{}")}
    await ground.record(1, ("A", 6, b'{"x":1}'), ("B", 1, b"{}"))
    assert await ground.told(1) == {"A": (6, b'{"x":1}'), "B": (1, b"{}")}
    assert await ground.told(2) == {}


async def test_all_of_it_is_there_after_a_restart(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    body = '{"name":"Zoë 日本 \\u0001\\""}'.encode()
    await ground.record(1, ("A|x", 5, body), ("B", 2**62, None), at=99)
    await ground.record("k", ("C", 1, b"{}"))
    await ground.state.drain()
    again = make(100)
    assert await again.told(1) == {"A|x": (5, body), "B": (2**62, None)}
    assert await again.told("k") == {"C": (1, b"{}")}
    assert (await again.ledger.lookup(QUEUE, [1]))[1]["A|x"] == Acked("A|x", 5, body, 99)


async def test_a_removed_document_stays_as_a_tombstone_with_its_version(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    await ground.record(1, ("A", 5, b"{}"))
    await ground.record(1, ("A", 6, None))
    await ground.state.drain()
    again = make(100)
    assert await again.told(1) == {"A": (6, None)}
    assert await again.ledger.count(QUEUE) == 0
    assert await again.ledger.keys(QUEUE, 0, 10) == []


async def test_memory_is_bounded_but_never_lets_go_what_the_disk_does_not_have(make: Callable[[int], Ground]) -> None:
    ground = make(4)
    for key in range(10):
        await ground.record(key, ("A", 1, b"{}"))
        assert await ground.told(key) == {"A": (1, b"{}")}
    for key in range(10):
        assert await ground.told(key) == {"A": (1, b"{}")}
    assert len(ground.cached()) >= 10
    await ground.state.drain()
    assert await ground.told(3) == {"A": (1, b"{}")}
    assert len(ground.cached()) == 4
    for key in range(10):
        assert await ground.told(key) == {"A": (1, b"{}")}
        assert len(ground.cached()) <= 4


async def test_what_was_recorded_twice_stays_until_the_second_is_on_disk(make: Callable[[int], Ground]) -> None:
    ground = make(1)
    await ground.record(1, ("A", 1, b"{}"))
    flush = asyncio.create_task(ground.state.drain())
    await asyncio.sleep(0)  # the first is on its way to the disk
    await ground.record(1, ("A", 2, b'{"x":2}'))
    await flush
    for key in range(2, 6):
        await ground.told(key)
    assert await ground.told(1) == {"A": (2, b'{"x":2}')}
    await ground.state.drain()
    for key in range(2, 6):
        await ground.told(key)
    assert await ground.told(1) == {"A": (2, b'{"x":2}')}


async def test_the_hot_keys_outlive_a_walk_through_all(make: Callable[[int], Ground]) -> None:
    ground = make(8)
    await ground.record(1, ("A", 1, b"{}"))
    await ground.state.drain()
    await ground.told(1)
    await ground.ledger.lookup(QUEUE, range(100, 200))
    await ground.ledger.lookup(QUEUE, [201], keep=False)
    assert ground.cached() == {1}


async def test_a_slow_answer_of_the_disk_does_not_hide_what_was_recorded_meanwhile(
    make: Callable[[int], Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, b"{}"))
    await ground.state.drain()
    ground.ledger._cache.clear()
    released = asyncio.Event()
    real = ground.state.read

    async def held(question: Callable[[sqlite3.Connection], T]) -> T:
        answer = await real(question)
        await released.wait()
        return answer

    monkeypatch.setattr(ground.state, "read", held)
    lookup = asyncio.create_task(ground.told(1))
    await asyncio.sleep(0.01)
    ground.ledger.record(QUEUE, {1: {}}, {1: [("A", 2, b'{"x":2}')]}, 9)
    released.set()
    assert await lookup == {"A": (2, b'{"x":2}')}


async def test_owners_are_those_that_show_a_document_now(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, b"{}"), ("B", 1, b"{}"))
    await ground.record(2, ("A", 1, b"{}"))
    await ground.record(3, ("A", 1, None))
    await ground.record(4, ("A", 1, b"{}"), queue=2)
    for _ in range(2):
        assert await ground.ledger.owners(QUEUE, ["A", "B", "C"]) == {"A": {1, 2}, "B": {1}}
        await ground.state.drain()
    await ground.record(1, ("A", 2, None))
    assert await ground.ledger.owners(QUEUE, ["A"]) == {"A": {2}}


async def test_an_owner_that_reaches_the_disk_while_it_is_asked_for_is_found(
    make: Callable[[int], Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was read before the write, the answer comes after it: neither the one nor memory would have it."""
    ground = make(100)
    await ground.record(1, ("A", 1, b"{}"))
    real = ground.state.read

    async def overtaken(question: Callable[[sqlite3.Connection], T]) -> T:
        answer = await real(question)
        await ground.state.drain()
        return answer

    monkeypatch.setattr(ground.state, "read", overtaken)
    assert await ground.ledger.owners(QUEUE, ["A"]) == {"A": {1}}


async def test_keys_come_in_order_page_by_page_with_what_is_not_on_disk_yet(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    writer = asyncio.create_task(ground.state.run())
    for key in (30, -5, 10, 20):
        await ground.record(key, ("A", 1, b"{}"), ("B", 1, b"{}"))
    assert await ground.ledger.keys(QUEUE, -(2**63), 3) == [-5, 10, 20]
    assert await ground.ledger.keys(QUEUE, 20, 3) == [30]
    writer.cancel()
    await asyncio.wait([writer])


async def test_queues_do_not_mix(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, b"{}"), queue=1)
    await ground.record(1, ("A", 8, b"[]"), queue=2)
    await ground.state.drain()
    assert await ground.told(1, queue=1) == {"A": (1, b"{}")}
    assert await ground.told(1, queue=2) == {"A": (8, b"[]")}
    assert await ground.ledger.count(1) == 1


async def test_a_number_and_its_text_are_two_keys(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, b"{}"))
    await ground.record("1", ("B", 1, b"{}"))
    await ground.state.drain()
    again = make(100)
    assert (await again.told(1)).keys() == {"A"}
    assert (await again.told("1")).keys() == {"B"}


async def test_nothing_acknowledged_writes_nothing(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    before = ground.state.appended
    ground.ledger.record(QUEUE, {1: {}}, {1: []}, 5)
    assert ground.state.appended == before
    assert await ground.told(1) == {}


async def test_large_documents_leave_memory_by_their_bytes_and_are_told_all_the_same(
    make: Callable[[int], Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.ledger.CACHE_BYTES", 10_000)
    ground = make(1000)
    for key in range(50):
        await ground.record(key, (f"A{key}", 1, b'"' + b"x" * 1000 + b'"'))
    await ground.state.drain()
    await ground.told(0)
    assert len(ground.cached()) <= 10
    for key in range(50):
        assert (await ground.told(key))[f"A{key}"][0] == 1
    assert len(ground.cached()) <= 11


HUGE = b'{"html":"' + b"x" * HEAVY + b'"}'


async def test_a_heavy_document_leaves_memory_when_the_disk_has_it_and_not_before(
    make: Callable[[int], Ground],
) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, HUGE))
    assert await ground.told(1) == {"A": (1, HUGE)}
    assert ground.cached() == {1}
    await ground.state.drain()
    assert ground.cached() == set()
    assert await ground.told(1) == {"A": (1, HUGE)}


async def test_a_heavy_document_that_is_sent_again_costs_the_disk_its_version_alone(
    make: Callable[[int], Ground],
) -> None:
    ground = make(100)
    await ground.record(1, ("A", 1, HUGE), ("B", 1, b"{}"))
    await ground.state.drain()
    await ground.record(1, ("A", 2, HUGE), ("B", 2, b"{}"), at=50)
    assert all(len(str(params)) < HEAVY for _, params in ground.state._ops)
    assert await ground.told(1) == {"A": (2, HUGE), "B": (2, b"{}")}
    await ground.state.drain()
    again = make(100)
    assert await again.told(1) == {"A": (2, HUGE), "B": (2, b"{}")}
    assert (await again.ledger.lookup(QUEUE, [1]))[1]["A"].at == 50


async def test_the_newest_of_many_words_on_a_heavy_document_is_on_disk(make: Callable[[int], Ground]) -> None:
    ground = make(100)
    other = HUGE.replace(b"x", b"y")
    for version, body in enumerate((HUGE, HUGE, None, HUGE, other, b"{}", other, other), 1):
        await ground.record(1, ("A", version, body))
    await ground.state.drain()
    assert await make(100).told(1) == {"A": (8, other)}


async def test_a_document_that_leaves_memory_while_the_disk_is_asked_is_not_missed(
    make: Callable[[int], Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was read before the write, and the write is on disk before the answer comes."""
    ground = make(100)
    real, released = ground.state.read, asyncio.Event()

    async def overtaken(question: Callable[[sqlite3.Connection], T]) -> T:
        answer = await real(question)
        await released.wait()
        return answer

    monkeypatch.setattr(ground.state, "read", overtaken)
    lookup = asyncio.create_task(ground.told(1))
    await asyncio.sleep(0)
    ground.ledger.record(QUEUE, {1: {}}, {1: [("A", 1, HUGE)]}, 7)
    await ground.state.drain()
    released.set()
    assert await lookup == {"A": (1, HUGE)}
    assert ground.cached() == set()

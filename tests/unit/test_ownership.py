"""Laws of documents that go from key to key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from daemon.ledger import KeyDocuments, Ledger
from daemon.mapping import Change, Documents, Made
from daemon.model import Acked, Patch
from daemon.ownership import Ownership, Sorted
from daemon.state import StateFile

QUEUE, ID, NOW = 1, "a", 100
ZERO, TEN, NEW = b"0", b"10", b"12"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    state = StateFile(tmp_path / "state.db")
    state.open()
    writer = asyncio.create_task(state.run())
    yield Ledger(state)
    writer.cancel()
    with suppress(asyncio.CancelledError):
        await writer
    state.close()


class Batch:
    """Keys that are compared together. `lost` and `gives` say what each has to send of the document."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.claimed: set[int | str] = set()
        self.ownership = Ownership(ledger, QUEUE, lambda body: body == ZERO, self.claimed)
        self.changes: dict[int | str, list[Change]] = {}
        self.documents: dict[int | str, Documents] = {}
        self.known: dict[int | str, KeyDocuments] = {}

    async def acked(self, key: int, version: int, body: bytes | None) -> None:
        known = await self.ledger.lookup(QUEUE, [key])
        self.ledger.record(QUEUE, known, {key: [(ID, version, body)]}, NOW)

    async def lost(self, key: int) -> None:
        self.known |= await self.ledger.lookup(QUEUE, [key])
        self.changes[key] = [Change(Patch(ID, NOW, 1, {}), self.known[key][ID].body, ZERO)]

    async def gives(self, key: int) -> None:
        self.known |= await self.ledger.lookup(QUEUE, [key])
        before = self.known[key].get(ID, Acked(ID, 0, None, 0)).body
        self.documents[key] = {ID: Made({}, NEW)}
        self.changes[key] = [Change(Patch(ID, NOW, 1, {}), before, NEW)]

    async def gives_unchanged(self, key: int) -> None:
        self.known |= await self.ledger.lookup(QUEUE, [key])
        self.documents[key] = {ID: Made({}, ZERO)}

    async def sorted(self) -> Sorted:
        return await self.ownership.sort_out(self.changes, self.documents, self.known)

    def sent(self) -> dict[int | str, bytes | None]:
        return {key: change.after for key, mine in self.changes.items() for change in mine}


@pytest.fixture
def batch(ledger: Ledger) -> Batch:
    return Batch(ledger)


async def test_a_document_that_no_key_gives_is_taken_down(batch: Batch) -> None:
    await batch.acked(1, 5, TEN)
    await batch.lost(1)
    found = await batch.sorted()
    assert batch.sent() == {1: ZERO}
    assert (found.later, found.heirs, found.ledgered) == (set(), set(), {})


async def test_a_document_that_another_key_shows_is_not_taken_down(batch: Batch) -> None:
    await batch.acked(1, 5, TEN)
    await batch.acked(2, 6, NEW)
    await batch.lost(1)
    found = await batch.sorted()
    assert batch.sent() == {}
    assert found.ledgered == {1: [(ID, NOW, None)]}


async def test_the_zero_that_a_key_left_behind_keeps_no_document(batch: Batch) -> None:
    await batch.acked(1, 5, ZERO)
    await batch.acked(2, 6, TEN)
    await batch.lost(2)
    await batch.sorted()
    assert batch.sent() == {2: ZERO}


async def test_an_heir_knows_what_the_store_shows_and_is_in_doubt(batch: Batch) -> None:
    await batch.acked(1, 5, TEN)
    await batch.lost(1)
    await batch.gives(2)
    found = await batch.sorted()
    assert batch.sent() == {2: NEW}
    assert batch.changes[2][0].before == TEN
    assert found.heirs == {2}
    assert found.ledgered == {1: [(ID, NOW, None)], 2: [(ID, NOW, TEN)]}
    assert batch.changes[2][0].patch.version > NOW


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_of_several_keys_that_lost_it_none_writes_over_the_heir(batch: Batch, order: tuple[int, int]) -> None:
    """A key in doubt sends everything again, the zeros that it left behind included."""
    await batch.acked(1, 5, ZERO)
    await batch.acked(2, 6, TEN)
    for key in order:
        await batch.lost(key)
    await batch.gives(3)
    found = await batch.sorted()
    assert batch.sent() == {3: NEW}
    assert found.ledgered[3] == [(ID, NOW, TEN)], "what was shown last"
    assert found.ledgered[1] == found.ledgered[2] == [(ID, NOW, None)]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_of_several_keys_that_lost_it_one_takes_it_down(batch: Batch, order: tuple[int, int]) -> None:
    await batch.acked(1, 5, ZERO)
    await batch.acked(2, 6, TEN)
    for key in order:
        await batch.lost(key)
    found = await batch.sorted()
    assert batch.sent() == {2: ZERO}
    assert found.ledgered == {1: [(ID, NOW, None)]}


async def test_a_document_in_flight_keeps_everybody_else_waiting(batch: Batch) -> None:
    await batch.acked(1, 5, TEN)
    await batch.gives(2)
    batch.ownership.depart(batch.changes.pop(2))
    await batch.lost(1)
    found = await batch.sorted()
    assert found.later == {1}
    assert batch.sent() == {}
    assert found.ledgered == {}, "until the store has answered, nobody knows who shows it"


async def test_what_a_key_left_behind_is_forgotten_when_another_shows_the_document(batch: Batch) -> None:
    """Else it would pass for what the store shows when the first key gives the same again."""
    await batch.acked(1, 500, ZERO)
    await batch.gives(2)
    found = await batch.sorted()
    assert batch.sent() == {2: NEW}
    assert found.ledgered == {1: [(ID, 500, None)]}
    assert 1 in found.known
    assert batch.changes[2][0].patch.version == 501


async def test_what_a_key_in_flight_left_behind_is_waited_for(batch: Batch) -> None:
    await batch.acked(1, 5, ZERO)
    batch.claimed.add(1)
    await batch.gives(2)
    found = await batch.sorted()
    assert found.later == {2}
    assert (batch.sent(), found.ledgered) == ({}, {})


async def test_a_word_from_before_another_key_showed_the_document_does_not_count(batch: Batch) -> None:
    await batch.acked(3, 4, ZERO)
    await batch.acked(1, 6, TEN)
    await batch.lost(1)
    await batch.gives_unchanged(3)
    found = await batch.sorted()
    assert batch.sent() == {}
    assert found.later == found.heirs == {3}, "compared again, and sent whatever it gives"
    assert found.ledgered == {1: [(ID, NOW, None)], 3: [(ID, NOW, TEN)]}

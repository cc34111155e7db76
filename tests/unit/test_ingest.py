"""Laws of the ingest: what moves the position, what is marked and how, and which faults end what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daemon.dirtyset import DirtySet
from daemon.errors import DecodeError, OtherHistory, SourceError, SourceLost
from daemon.ingest import Ingest
from daemon.metrics import Metrics
from daemon.model import Claim, Fingerprint, QueueName, Snapshot
from daemon.routing import Router, Rule
from daemon.rowindex import RowIndex
from daemon.state import StateFile
from tests.doubles import walbytes as wal
from tests.doubles.walbytes import EPOCH_US

NAME = QueueName("shop", "stock")
ITEM = wal.relation(1, "public", "item", "d", [("id", 20, True), ("name", 25, False)])
FIRST = EPOCH_US + 1_000_000


class Wire:
    """A replication connection that brings these pieces and is then cut."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.confirmed: list[tuple[int, bool]] = []
        self.received_at = 0.0
        self.place = "erp.dsn"
        self.seen: Callable[[], None] = lambda: None

    @property
    def more(self) -> bool:
        return bool(self.pieces)

    async def read(self) -> bytes:
        self.seen()
        if not self.pieces:
            raise SourceLost("cut")
        return self.pieces.pop(0)

    def confirm(self, durable: int, *, now: bool = False) -> None:
        self.confirmed.append((durable, now))


@dataclass
class Ground:
    state: StateFile
    dirty: DirtySet
    ingest: Ingest
    snapshot: Snapshot = Snapshot(100, 100)  # noqa: RUF009 - frozen
    rescans: list[tuple[Any, ...]] = field(default_factory=list)

    async def run(self, *pieces: bytes, owed: Fingerprint | None = None) -> Wire:
        wire = Wire(*pieces)
        with suppress(SourceLost):
            await self.ingest.run(wire, ready=lambda: None, owed=owed)  # type: ignore[arg-type]
        return wire

    def claims(self) -> dict[Any, Claim]:
        return {claim.key: claim for claim in self.dirty.claim(NAME, 100, 1e9)}


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    state = StateFile(tmp_path / "state.db")
    state.open()
    dirty = DirtySet(state)
    dirty.open([NAME])
    router = Router([Rule("stock", "public.item", "id", "bigint", (NAME,), where="entity.stock.watch.0")])

    async def snapshot() -> Snapshot:
        return made.snapshot

    def rescan(*what: Any) -> None:
        made.rescans.append(what)

    ingest = Ingest(router, dirty, state, RowIndex(state), Metrics([]), snapshot, rescan, lambda table: None)
    made = Ground(state, dirty, ingest)
    yield made
    state.close()


def transaction(lsn: int, *keys: bytes, xid: int = 150, at: int = FIRST) -> bytes:
    rows = b"".join(wal.insert(1, [key, b"x"]) for key in keys)
    return wal.begin(lsn, at, xid) + ITEM + rows + wal.commit(lsn, lsn + 8)


async def test_a_commit_moves_the_position_to_its_end(ground: Ground) -> None:
    await ground.run(transaction(500, b"1", b"2"))
    await ground.state.drain()
    assert ground.state.durable == 508
    assert ground.claims() == {n: Claim(n, FIRST, frozenset({150})) for n in (1, 2)}


async def test_workers_have_a_turn_before_what_waits_is_read(ground: Ground) -> None:
    turns: list[None] = []
    before: list[int] = []

    async def worker() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    wire = Wire(transaction(500, b"1"), transaction(600, b"2"), transaction(700, b"3"))
    wire.seen = lambda: before.append(len(turns))
    working = asyncio.create_task(worker())
    with suppress(SourceLost):
        await ground.ingest.run(wire, ready=lambda: None)  # type: ignore[arg-type]
    working.cancel()
    assert before[0] < before[1] < before[2]


async def test_a_transaction_that_is_cut_off_moves_nothing(ground: Ground) -> None:
    whole = transaction(500, b"1", b"2")
    await ground.run(whole[:-10])
    await ground.state.drain()
    assert ground.state.durable == 0
    await ground.run(whole)
    await ground.state.drain()
    assert ground.state.durable == 508
    assert ground.claims().keys() == {1, 2}


async def test_a_transaction_that_leads_to_nothing_moves_the_position_too(ground: Ground) -> None:
    other = wal.relation(2, "public", "other", "d", [("id", 20, True)])
    await ground.run(wal.begin(500, FIRST, 150) + other + wal.insert(2, [b"1"]) + wal.commit(500, 508))
    await ground.state.drain()
    assert ground.state.durable == 508
    assert ground.claims() == {}


async def test_a_keepalive_counts_between_transactions_only(ground: Ground) -> None:
    await ground.run(wal.begin(500, FIRST, 150) + ITEM, wal.keepalive(900))
    await ground.state.drain()
    assert ground.state.durable == 0
    await ground.run(transaction(500, b"1") + wal.keepalive(900))
    await ground.state.drain()
    assert ground.state.durable == 900


async def test_a_keepalive_that_asks_is_told_what_is_durable_and_no_more(ground: Ground) -> None:
    wire = await ground.run(transaction(500, b"1"), wal.keepalive(900, reply=True))
    assert wire.confirmed == [(0, True)]
    await ground.state.drain()
    wire = await ground.run(wal.keepalive(950, reply=True))
    assert wire.confirmed == [(900, True)]


OWED = Fingerprint(608, 151, FIRST)


async def test_what_is_told_again_is_not_marked_again_and_proves_the_history(ground: Ground) -> None:
    ground.state.set_position(700)
    again = transaction(500, b"1") + transaction(600, b"2", xid=151)
    wire = await ground.run(wal.keepalive(480, reply=True), again, wal.keepalive(650, reply=True), owed=OWED)
    assert wire.confirmed[0] == (0, True), "nothing is confirmed before the proof"
    assert wire.confirmed[-1] == (700, True)
    assert ground.claims() == {}
    await ground.run(transaction(700, b"3", xid=152))
    assert ground.claims().keys() == {3}
    await ground.state.drain()
    assert ground.state.durable == 708


@pytest.mark.parametrize(
    "other",
    [
        transaction(600, b"2", xid=999),
        transaction(600, b"2", xid=151, at=FIRST + 1),
        transaction(596, b"2", xid=151) + transaction(640, b"3", xid=152),
        transaction(500, b"1") + wal.keepalive(900),
    ],
    ids=["another number", "another time", "another place", "nothing there"],
)
async def test_another_history_is_recognised_before_anything_of_it_is_marked_or_confirmed(
    ground: Ground, other: bytes
) -> None:
    ground.state.set_position(700)
    with pytest.raises(OtherHistory, match="restored from an older copy"):
        await ground.run(other, owed=OWED)
    await ground.state.drain()
    assert ground.claims() == {}
    assert ground.state.durable == 700


async def test_the_newest_commit_is_remembered_with_the_position(ground: Ground) -> None:
    await ground.run(transaction(500, b"1") + transaction(600, b"2", xid=151) + wal.keepalive(900))
    await ground.state.drain()
    ((*commit,),) = ground.state.query("select lsn, commit_lsn, commit_xid, commit_at from source")
    assert commit == [900, 608, 151, FIRST]


async def test_a_transaction_that_is_visible_already_is_not_waited_for(ground: Ground) -> None:
    ground.snapshot = Snapshot(151, 200, frozenset({160}))
    await ground.run(transaction(500, b"1", xid=150) + transaction(600, b"2", xid=160))
    assert ground.claims() == {1: Claim(1, FIRST), 2: Claim(2, FIRST, frozenset({160}))}


@pytest.mark.parametrize("first", [3 * 2**30, 5 * 2**32 + 7])
async def test_another_server_has_numbers_of_its_own(ground: Ground, first: int) -> None:
    """A number that is widened by the former server's would never be seen, and the key never be sent."""
    ground.snapshot = Snapshot(first, first)
    await ground.run(transaction(500, b"1", xid=(first + 1) & 0xFFFFFFFF))
    assert ground.claims()[1].xids == {first + 1}
    ground.dirty.done(NAME, [1])
    ground.dirty.forget_transactions()
    ground.snapshot = Snapshot(700, 700)
    await ground.run(transaction(600, b"2", xid=800))
    assert ground.claims()[2].xids == {800}


async def test_marks_of_a_former_servers_transactions_wait_for_none_of_them(ground: Ground) -> None:
    await ground.run(transaction(500, b"1", b"2", b"3", b"4", xid=150))
    ground.claims()
    ground.dirty.mark(NAME, {1}, FIRST, 151)
    ground.dirty.fail(NAME, [2, 3], 0.0)
    await ground.state.drain()
    ground.dirty.forget_transactions()
    ground.dirty.fail(NAME, [1, 4], 0.0)
    assert {key: (claim.since, claim.xids) for key, claim in ground.claims().items()} == dict.fromkeys(
        (1, 2, 3, 4), (FIRST, frozenset())
    )
    await ground.state.drain()
    assert ground.state.query("select count(*), count(xids) from dirty") == [(4, 0)]


async def test_a_truncated_table_has_its_entities_compared_once_that_is_visible(ground: Ground) -> None:
    await ground.run(wal.begin(500, FIRST, 150) + ITEM + wal.truncate(1) + wal.commit(500, 508))
    assert ground.rescans == [("stock", FIRST, "public.item was truncated", 150)]


async def test_a_canary_that_came_back_is_noted(ground: Ground) -> None:
    canary = wal.begin(500, FIRST, 150) + wal.message("erpsyncd.canary", b"1") + wal.commit(500, 508)
    await ground.run(canary, wal.message("somebody.else", b"2"))
    assert ground.ingest.progress.canary_at == FIRST


async def test_a_column_that_went_stops_its_entity_and_is_routed_again_when_it_is_back(ground: Ground) -> None:
    without = wal.relation(1, "public", "item", "d", [("name", 25, True)])
    await ground.run(wal.begin(500, FIRST, 150) + without + wal.insert(1, [b"x"]) + wal.commit(500, 508))
    assert "no column id" in ground.ingest.progress.stopped.reason("stock")
    await ground.run(transaction(600, b"1"))
    assert ground.claims().keys() == {1}
    assert ground.ingest.progress.stopped.resume("stock", "column public.item.id", "it is back")
    assert ground.ingest.progress.stopped.reason("stock") == ""


@pytest.mark.parametrize("sqlstate", ["57P01", "55006", "08006", "XX000"])
async def test_an_error_on_the_stream_is_looked_into_and_tried_again(ground: Ground, sqlstate: str) -> None:
    with pytest.raises(SourceLost):
        await ground.ingest.run(Wire(wal.error(sqlstate, "gone")), ready=lambda: None)  # type: ignore[arg-type]


async def test_a_missing_publication_is_for_a_person(ground: Ground) -> None:
    wire = Wire(wal.error("42704", 'publication "erpsyncd" does not exist'))
    with pytest.raises(SourceError) as raised:
        await ground.ingest.run(wire, ready=lambda: None)  # type: ignore[arg-type]
    assert raised.value.code == "E-PUBLICATION"


async def test_an_unknown_message_stops_and_is_not_passed(ground: Ground) -> None:
    with pytest.raises(DecodeError):
        await ground.ingest.run(
            Wire(wal.wal(b"?"), transaction(500, b"1")),  # type: ignore[arg-type]
            ready=lambda: None,
        )
    await ground.state.drain()
    assert ground.state.durable == 0


async def test_the_end_of_the_stream_is_a_loss(ground: Ground) -> None:
    task = asyncio.create_task(
        ground.ingest.run(Wire(wal.copy_done()), ready=lambda: None)  # type: ignore[arg-type]
    )
    with pytest.raises(SourceLost, match="ended the stream"):
        await task

"""From the bytes of the log to marks, against a model of the table: rows come, change, move and go under any replica identity.

Invariant under test: of each committed change the keys that the row pointed at before and after are marked, or their entity is
compared; nothing is marked that no row pointed at; identities that change, crashes and what is told again take nothing away.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from daemon.dirtyset import DirtySet
from daemon.errors import SourceLost
from daemon.ingest import Ingest
from daemon.metrics import Metrics
from daemon.model import Key, QueueName, Snapshot
from daemon.routing import Router, Rule
from daemon.rowindex import RowIndex
from daemon.state import StateFile
from tests.doubles import walbytes as wal
from tests.doubles.walbytes import EPOCH_US

STOCK, MOVES = QueueName("shop", "stock"), QueueName("shop", "moves")
TABLE = "public.move"
LEAVES = {1: "move_1", 2: "move_2"}
RULES = (
    Rule("stock", TABLE, "item", "bigint", (STOCK,), where="entity.stock.watch.0"),
    Rule("moves", TABLE, "id", "bigint", (MOVES,), where="entity.moves.watch.0"),
)
INDEXED = f"{TABLE}.item"
ids = st.integers(1, 6)
items = st.integers(1, 4)
Row = int | None
"""The item that a row points at."""


def leaf_of(id_: int) -> int:
    return 1 if id_ < 4 else 2


def text(value: int | None) -> bytes | None:
    return None if value is None else str(value).encode()


@dataclass
class Change:
    """One message, as it stands in the log: with the identity that the table had when it was written."""

    leaf: int
    identity: str
    body: bytes


@dataclass
class Transaction:
    changes: list[Change] = field(default_factory=list)
    keys: dict[QueueName, set[Key]] = field(default_factory=lambda: {STOCK: set(), MOVES: set()})
    """What it pointed at before and after."""
    end: int = 0


class Wire:
    """A connection that brings these bytes and is then cut."""

    received_at = 0.0
    place = "erp.dsn"
    more = False

    def __init__(self, content: bytes) -> None:
        self.content = [content]

    async def read(self) -> bytes:
        if not self.content:
            raise SourceLost("cut")
        return self.content.pop()

    def confirm(self, durable: int, *, now: bool = False) -> None:
        del durable, now


class Machine(RuleBasedStateMachine):
    """A table of two partitions, its log, and the part of the daemon that reads it."""

    @initialize(first=st.dictionaries(ids, items, max_size=4), identity=st.sampled_from("dfi"))
    def begin(self, first: dict[int, Row], identity: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="erpsyncd-test-")
        self.loop = asyncio.new_event_loop()
        self.rows: dict[int, Row] = dict(first)
        self.identity = identity
        self.seen_identity = ""
        """What the look at the catalogue saw last; on disk."""
        self.open: Transaction | None = None
        self.inside: dict[int, Row] = {}
        self.log: list[Transaction] = []
        self.read = 0
        """How many of the log's transactions have been read."""
        self.lsn = 1000
        self.pointed: dict[QueueName, set[Key]] = {STOCK: set(), MOVES: set()}
        self.missed: dict[QueueName, set[Key]] = {STOCK: set(), MOVES: set()}
        self.compared: set[str] = set()
        self.run(self._open)
        self.settle()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.settle()
        finally:
            self.state.close()
            self.loop.close()
            self.folder.cleanup()

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        async def step() -> Any:
            result = work(*args)
            return await result if asyncio.iscoroutine(result) else result

        return self.loop.run_until_complete(step())

    def _open(self) -> None:
        self.state = StateFile(Path(self.folder.name) / "state.db")
        self.state.open()
        self.state.execute("pragma synchronous = off")
        self.state.take_up()
        self.dirty = DirtySet(self.state)
        self.dirty.open([STOCK, MOVES])
        self.index = RowIndex(self.state)
        self.index.open()
        router = Router(RULES, {f"public.{leaf}": TABLE for leaf in LEAVES.values()})
        self.ingest = Ingest(
            router, self.dirty, self.state, self.index, Metrics([]), self._snapshot, self._compare, self._again
        )
        self._want()

    async def _snapshot(self) -> Snapshot:
        return Snapshot(10**9, 10**9)

    def _want(self) -> None:
        """What has to be filled, as the catalogue says at a start and at each look."""
        self.index.wanted = frozenset({INDEXED} if self.identity == "d" else ())

    def _again(self, _table: str) -> None:
        self.index.forget(self.index.wanted)

    def _compare(self, entity: str, *_: object) -> None:
        self.compared.add(entity)

    # -- the ERP

    def _touch(self, body: bytes, leaf: int, id_: int, *rows: Row) -> None:
        assert self.open is not None
        self.open.changes.append(Change(leaf, self.identity, body))
        self.open.keys[MOVES].add(id_)
        self.open.keys[STOCK].update(row for row in rows if row is not None)

    def _transaction(self) -> None:
        if self.open is None:
            self.open, self.inside = Transaction(), dict(self.rows)

    def _old(self, id_: int, row: Row) -> tuple[list[bytes | None], bytes]:
        """What the log has of a row that was."""
        whole = self.identity != "d"
        return [text(id_), text(row) if whole else None], b"O" if self.identity == "f" else b"K"

    @rule(id_=ids, item=items)
    def put(self, id_: int, item: int) -> None:
        """Insert a row, or let it point at another item."""
        self._transaction()
        leaf, row = leaf_of(id_), self.inside.get(id_)
        new = [text(id_), text(item)]
        if row is None:
            body = wal.insert(leaf, new)
        else:
            old, kind = self._old(id_, row)
            told = self.identity == "f" or (self.identity == "i" and row != item)
            body = wal.update(leaf, new, old if told else None, kind=kind)
        self._touch(body, leaf, id_, row, item)
        self.inside[id_] = item

    @rule(id_=ids)
    def delete(self, id_: int) -> None:
        self._transaction()
        if id_ in self.inside:
            row = self.inside.pop(id_)
            old, kind = self._old(id_, row)
            self._touch(wal.delete(leaf_of(id_), old, kind=kind), leaf_of(id_), id_, row)

    @rule(id_=ids, other=ids)
    def rename(self, id_: int, other: int) -> None:
        """Another key; into the other partition it is a row that goes and one that comes."""
        self._transaction()
        if id_ not in self.inside or other in self.inside:
            return
        row = self.inside.pop(id_)
        self.inside[other] = row
        old, kind = self._old(id_, row)
        new = [text(other), text(row)]
        if leaf_of(id_) == leaf_of(other):
            self._touch(wal.update(leaf_of(id_), new, old, kind=kind), leaf_of(id_), id_, row)
        else:
            self._touch(wal.delete(leaf_of(id_), old, kind=kind), leaf_of(id_), id_, row)
            self._touch(wal.insert(leaf_of(other), new), leaf_of(other), other, row)
        assert self.open is not None
        self.open.keys[MOVES].add(other)

    @rule()
    def truncate(self) -> None:
        self._transaction()
        for id_, row in self.inside.items():
            assert self.open is not None
            self.open.keys[MOVES].add(id_)
            self.open.keys[STOCK].update(() if row is None else (row,))
        assert self.open is not None
        self.open.changes.append(Change(0, self.identity, wal.truncate(*LEAVES)))
        self.inside.clear()

    @precondition(lambda self: self.open is not None)
    @rule(rolled_back=st.sampled_from([False, False, True]))
    def end(self, rolled_back: bool) -> None:
        assert self.open is not None
        if not rolled_back:
            self.lsn += 100
            self.open.end = self.lsn
            self.log.append(self.open)
            self.rows = self.inside
        self.open = None

    @precondition(lambda self: self.open is None)
    @rule(identity=st.sampled_from("dfi"))
    def alter(self, identity: str) -> None:
        self.identity = identity

    @precondition(lambda self: self.open is None)
    @rule(identity=st.sampled_from("dfi"), id_=ids, item=items, then=items, read=st.booleans())
    def alter_for_a_change(self, identity: str, id_: int, item: int, then: int, read: bool) -> None:
        """Another identity that nobody looks at while it lasts, and a change of the same row after it."""
        before, self.identity = self.identity, identity
        self.put(id_, item)
        self.end(rolled_back=False)
        if read:
            self.deliver()
        self.identity = before
        self.put(id_, then)
        self.end(rolled_back=False)

    # -- the daemon

    def _bytes(self, transactions: list[Transaction]) -> bytes:
        """As a new connection brings them: each table is announced before its first row and when it has changed."""
        said: dict[int, str] = {}
        content = wal.copy_both()
        for transaction in transactions:
            content += wal.begin(transaction.end - 8, EPOCH_US + transaction.end, transaction.end)
            for change in transaction.changes:
                for leaf in (change.leaf,) if change.leaf else LEAVES:
                    if said.get(leaf) != change.identity:
                        said[leaf] = change.identity
                        columns = [("id", 20, True), ("item", 20, change.identity != "d")]
                        content += wal.relation(leaf, "public", LEAVES[leaf], change.identity, columns)
                content += change.body
            content += wal.commit(transaction.end - 8, transaction.end)
        return content

    @rule()
    def deliver(self) -> None:
        """Read all that is in the log, and do what it asks for."""
        news, self.read = self.log[self.read :], len(self.log)
        self.run(self._read, self._bytes(news))
        for name, entity in ((STOCK, "stock"), (MOVES, "moves")):
            due = set().union(*(transaction.keys[name] for transaction in news))
            self.pointed[name] |= due
            marked = {claim.key for claim in self.dirty.claim(name, 100, 1e9)}
            assert marked <= self.pointed[name], "nothing is guessed"
            self.dirty.done(name, marked)
            if entity not in self.compared:
                self.missed[name] |= due - marked
        self._take_comparisons()

    async def _read(self, content: bytes) -> None:
        with suppress(SourceLost):
            await self.ingest.run(Wire(content), ready=lambda: None)  # type: ignore[arg-type]

    def _take_comparisons(self) -> None:
        """A comparison finds whatever was missed before it."""
        for name in (STOCK, MOVES):
            if name.entity in self.compared:
                self.missed[name].clear()
        self.compared.clear()

    @rule()
    def settle(self) -> None:
        """The look at the catalogue, and the filling of the row index: afterwards nothing is missing."""
        self.deliver()
        self._want()
        if self.identity != self.seen_identity:
            self.index.forget([INDEXED])
            self._compare("stock")
            self._compare("moves")
            self.seen_identity = self.identity
        if self.identity == "d" and not self.index.is_complete(INDEXED):
            owed = self.index.begin(INDEXED)
            self.index.fill(INDEXED, [(str(id_), None if row is None else str(row)) for id_, row in self.rows.items()])
            if self.index.complete(INDEXED) or owed:
                self._compare("stock")
        self._take_comparisons()
        self.flush()
        assert self.missed == {STOCK: set(), MOVES: set()}

    @rule()
    def flush(self) -> None:
        self.run(self.state.drain)
        assert self.state.durable <= max((transaction.end for transaction in self.log[: self.read]), default=0)

    @rule()
    def crash(self) -> None:
        """What was not flushed is gone; the log tells everything after the position again."""
        self.state.close()
        self.run(self._open)
        self.read = sum(transaction.end <= self.state.durable for transaction in self.log)


TestRouting = Machine.TestCase
TestRouting.settings = settings(stateful_step_count=50)

"""The decoder against streams that a model understands, in any pieces, and against bytes that nobody should send.

Invariant under test: how the bytes are cut never changes what they say; whatever they are, nothing but DecodeError comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import DecodeError
from daemon.pgoutput import Decoder
from daemon.walevents import GONE, Commit, Keepalive, Message, Plan, Relation, ServerError, StreamEnd, Touch, Touched
from daemon.walevents import Truncate as Truncated
from tests.doubles import walbytes as wal
from tests.doubles.walbytes import EPOCH_US, UNCHANGED, Row

Said = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """A table, the positions of its watched columns (called w), and of those in its replica identity."""

    oid: int
    identity: str
    width: int
    watched: tuple[int, ...]
    key: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"public.t{self.oid}"

    def announced(self) -> bytes:
        columns = [(f"{'w' if n in self.watched else 'c'}{n}", 20, n in self.key) for n in range(self.width)]
        return wal.relation(self.oid, "public", f"t{self.oid}", self.identity, columns)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    width = draw(st.integers(1, 4))
    columns = st.integers(0, width - 1)
    identity = draw(st.sampled_from("dfi"))
    key = set(range(width)) if identity == "f" else draw(st.sets(columns, min_size=1))
    watched = draw(st.sets(columns, max_size=2))
    return Table(draw(st.integers(1, 3)), identity, width, tuple(sorted(watched)), tuple(sorted(key)))


texts = st.sampled_from([b"", b"1", b"77", b"d\0\0\0\x08w", "日本".encode(), b"x" * 300])
values = st.one_of(texts, st.none(), st.just(UNCHANGED))


@dataclass
class Model:
    """Naive decoding: what the messages say is kept beside their bytes, message by message."""

    parts: list[bytes] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    tables: dict[int, Table] = field(default_factory=dict)
    transaction: tuple[int, int, int] | None = None
    lsn: int = 1000

    def announce(self, table: Table) -> None:
        self.tables[table.oid] = table
        self.parts.append(table.announced())
        self.said.append(("relation", table.name, table.identity, table.width))

    def begin(self, xid: int) -> None:
        self.transaction = (self.lsn + 40, EPOCH_US + self.lsn, xid)
        self.parts.append(wal.begin(*self.transaction))

    def commit(self) -> None:
        assert self.transaction is not None
        self.lsn += 50
        self.parts.append(wal.commit(self.lsn - 10, self.lsn))
        self.said.append(("commit", self.transaction, self.lsn))
        self.transaction = None

    def row(self, table: Table, new: Row | None, old: Row | None, kind: bytes) -> None:
        assert self.transaction is not None
        if new is None:
            assert old is not None
            self.parts.append(wal.delete(table.oid, old, kind=kind))
        elif old is None and kind == b"I":
            self.parts.append(wal.insert(table.oid, new))
        else:
            self.parts.append(wal.update(table.oid, new, old, kind=kind))
        for row, former in ((old, True), (new, False)):
            if row is not None:
                self._tuple(table, row, former=former)

    def _tuple(self, table: Table, row: Row, *, former: bool) -> None:
        for column in table.watched:
            value = row[column]
            if isinstance(value, bytes):
                self.said.append(("value", self.transaction, table.name, column, value))
            if column not in table.key and value is not UNCHANGED:
                name = b"\0".join(v if isinstance(v, bytes) else b"" for n, v in enumerate(row) if n in table.key)
                self.said.append(("row", self.transaction, table.name, column, name, GONE if former else value))


@st.composite
def rows(draw: st.DrawFn, table: Table) -> Row:
    return draw(st.lists(values, min_size=table.width, max_size=table.width))


@st.composite
def former_rows(draw: st.DrawFn, table: Table, kind: bytes) -> Row:
    """The old row: only its identity with K, all of it with O."""
    row = draw(rows(table))
    whole = kind == b"O"
    return [(v if v is not UNCHANGED else None) if whole or n in table.key else None for n, v in enumerate(row)]


@st.composite
def streams(draw: st.DrawFn) -> Model:
    model = Model()
    model.parts.append(wal.copy_both())
    for _ in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.integers(0, 2))):
            _between(draw, model)
        model.begin(draw(st.integers(0, 2**32 - 1)))
        for _ in range(draw(st.integers(0, 8))):
            _within(draw, model)
        model.commit()
    if draw(st.booleans()):
        model.parts.append(wal.error("57P01", "terminating connection") + wal.copy_done())
        model.said += [("error", "57P01", "terminating connection"), ("end",)]
    return model


def _between(draw: st.DrawFn, model: Model) -> None:
    match draw(st.sampled_from(["keepalive", "notice", "abort", "message"])):
        case "keepalive":
            reply = draw(st.booleans())
            model.parts.append(wal.keepalive(model.lsn, reply=reply))
            model.said.append(("keepalive", model.lsn, reply, model.transaction is None))
        case "notice":
            model.parts.append(wal.notice())
        case "abort":
            model.parts.append(wal.stray_abort())
        case "message":
            transactional = model.transaction is not None and draw(st.booleans())
            content = draw(texts)
            model.parts.append(wal.message("canary", content, transactional=transactional))
            at = model.transaction[1] if model.transaction is not None and transactional else None
            model.said.append(("message", "canary", content, at))


def _within(draw: st.DrawFn, model: Model) -> None:
    action = draw(st.sampled_from(["row", "row", "row", "row", "announce", "between", "truncate", "origin", "type"]))
    if action == "announce" or not model.tables:
        model.announce(draw(tables()))
    elif action == "between":
        _between(draw, model)
    elif action == "origin":
        model.parts.append(wal.origin())
    elif action == "type":
        model.parts.append(wal.type_name(16500))
    elif action == "truncate":
        oids = draw(st.lists(st.sampled_from(sorted(model.tables)), min_size=1, max_size=2, unique=True))
        model.parts.append(wal.truncate(*oids))
        model.said.append(("truncate", model.transaction, tuple(model.tables[oid].name for oid in oids)))
    else:
        table = model.tables[draw(st.sampled_from(sorted(model.tables)))]
        kind = b"O" if table.identity == "f" else b"K"
        change = draw(st.sampled_from(["insert", "update", "rename", "delete"]))
        new = None if change == "delete" else draw(rows(table))
        old = draw(former_rows(table, kind)) if change in ("rename", "delete") else None
        model.row(table, new, old, b"I" if change == "insert" else kind)


# -- the decoder's events in the model's words


def watched(relation: Relation) -> Plan:
    columns = enumerate(relation.columns)
    return tuple(Touch(relation, n, None, indexed=not c.in_identity) for n, c in columns if c.name.startswith("w"))


def words(event: Any) -> list[Said]:
    match event:
        case Relation():
            return [("relation", event.table, event.identity, len(event.columns))]
        case Commit():
            return [("commit", _of(event.begin), event.end_lsn)]
        case Touched():
            said: list[Said] = []
            for touch, found in event.values:
                said += [("value", _of(event.begin), touch.relation.table, touch.index, value) for value in found]
            for touch, ended in event.rows:
                said += [("row", _of(event.begin), touch.relation.table, touch.index, *pair) for pair in ended.items()]
            return said
        case Truncated():
            return [("truncate", _of(event.begin), tuple(relation.table for relation in event.relations))]
        case Message():
            return [("message", event.prefix, event.content, event.commit_at)]
        case Keepalive():
            return [("keepalive", event.wal_end, event.reply, event.idle)]
        case ServerError():
            return [("error", event.sqlstate, event.text)]
        case StreamEnd():
            return [("end",)]
    raise AssertionError(event)


def _of(begin: Any) -> tuple[int, int, int]:
    return begin.final_lsn, begin.commit_at, begin.xid32


def settled(said: list[Said]) -> list[Any]:
    """Values and rows between two other events have no order among themselves; a row's newest state counts."""
    out: list[Any] = []
    found: set[Said] = set()
    newest: dict[Said, Any] = {}
    for one in [*said, None]:
        if one is not None and one[0] == "value":
            found.add(one)
        elif one is not None and one[0] == "row":
            newest[one[:-1]] = one[-1]
        else:
            if found or newest:
                out.append((frozenset(found), frozenset(newest.items())))
            found, newest = set(), {}
            out.append(one)
    return out


@given(streams())
def test_a_stream_says_what_the_model_says(model: Model) -> None:
    assert fed(b"".join(model.parts)) == settled(model.said)


@given(streams(), st.data())
def test_how_the_bytes_are_cut_changes_nothing(model: Model, data: st.DataObject) -> None:
    content = b"".join(model.parts)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=12).map(sorted))
    assert fed(content, cuts) == settled(model.said)


@settings(max_examples=15)
@given(streams())
def test_each_single_cut_changes_nothing(model: Model) -> None:
    content = b"".join(model.parts)
    expected = settled(model.said)
    step = max(len(content) // 200, 1)
    for cut in range(0, len(content), step):
        assert fed(content, [cut]) == expected
    assert fed(content, list(range(len(content)))) == expected


@given(st.binary(max_size=200), st.booleans())
def test_of_arbitrary_bytes_comes_nothing_but_a_decode_error(content: bytes, as_copy: bool) -> None:
    stirred(wal.framed(b"d", content) if as_copy else content)


@given(streams(), st.data())
def test_a_stream_that_ends_early_waits_for_the_rest(model: Model, data: st.DataObject) -> None:
    content = b"".join(model.parts)
    end = data.draw(st.integers(0, len(content)))
    reader = Decoder(watched)
    events = [word for event in reader.feed(content[:end]) for word in words(event)]
    events += [word for event in reader.feed(content[end:]) for word in words(event)]
    assert settled(events) == settled(model.said)


@given(streams(), st.data())
def test_a_damaged_stream_is_refused_or_read_and_the_cuts_do_not_decide(model: Model, data: st.DataObject) -> None:
    content = bytearray(b"".join(model.parts))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert stirred(bytes(content)) == stirred(bytes(content), list(range(0, len(content), 7)))


@given(streams(), st.data())
def test_a_message_that_is_too_short_is_refused_and_takes_nothing_from_the_next(
    model: Model, data: st.DataObject
) -> None:
    """The frame is whole, its content ends early: what follows must not be read as its end."""
    parts = [*model.parts]
    at = data.draw(st.integers(0, len(parts) - 1))
    kind, body = parts[at][:1], parts[at][5:]
    parts[at] = wal.framed(kind, body[: data.draw(st.integers(0, len(body)))])
    content = b"".join(parts)
    whole, pieces = stirred(content), stirred(content, [len(b"".join(parts[:n])) for n in range(1, len(parts))])
    assert whole == pieces


@given(streams())
def test_a_decoder_that_was_reset_has_forgotten_the_connection(model: Model) -> None:
    content = b"".join(model.parts)
    reader = Decoder(watched)
    for stop in (len(content) // 3, len(content) // 2):
        reader.feed(content[:stop])
        reader.reset()
    assert settled([word for event in reader.feed(content) for word in words(event)]) == settled(model.said)


TABLE = Table(1, "d", 2, (0, 1), (0,))


@pytest.mark.parametrize(
    ("content", "words_"),
    [
        (wal.insert(9, [b"1"]), "not announced"),
        (TABLE.announced() + wal.insert(1, [b"1", b"2"]), "outside of a transaction"),
        (wal.begin(1, EPOCH_US, 5) * 2, "inside a transaction"),
        (wal.commit(1, 2), "without a transaction"),
        (wal.truncate(1), "outside of a transaction"),
        (wal.wal(b"S" + bytes(5)), "unknown replication message 'S'"),
        (wal.framed(b"D", b"\0\0"), "unknown protocol message 'D'"),
        (wal.framed(b"d", b"x"), "unknown copy message"),
        (b"d\0\0\0\x03", "length 3"),
        (wal.framed(b"d", b""), "empty copy message"),
    ],
)
def test_what_is_not_understood_stops_the_stream(content: bytes, words_: str) -> None:
    with pytest.raises(DecodeError, match=words_):
        Decoder(watched).feed(content)


def fed(content: bytes, cuts: Iterable[int] = ()) -> list[Any]:
    """What a decoder says of these bytes, handed over in pieces."""
    reader = Decoder(watched)
    said: list[Said] = []
    last = 0
    for cut in [*cuts, len(content)]:
        for event in reader.feed(content[last:cut]):
            said += words(event)
        last = cut
    return settled(said)


def stirred(content: bytes, cuts: Iterable[int] = ()) -> list[Any]:
    """The same of bytes that may be bad: the last word is then `refused`."""
    reader = Decoder(watched)
    said: list[Said] = []
    last = 0
    for cut in [*cuts, len(content)]:
        try:
            events = reader.feed(content[last:cut])
        except DecodeError:
            return [("refused",)]
        for event in events:
            said += words(event)
        last = cut
    return settled(said)

"""Decode the replication stream: framed bytes in, transactions and the key columns they touched out.

Invariant: only what routing needs is read; every other byte is stepped over. Bytes that are not well-formed pgoutput v1
raise DecodeError and nothing else, and an unknown message stops the stream instead of being skipped.

Message formats: PostgreSQL documentation, "Streaming Replication Protocol" and "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.errors import DecodeError
from daemon.model import Lsn, Micros
from daemon.walevents import (
    GONE,
    Begin,
    Column,
    Commit,
    Event,
    Keepalive,
    Message,
    Plan,
    Planner,
    Relation,
    ServerError,
    StreamEnd,
    Touch,
    Touched,
    Truncate,
)

# Postgres counts microseconds from 2000-01-01.
PG_EPOCH_US = 946_684_800_000_000

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_u64 = struct.Struct(">Q").unpack_from
_i64 = struct.Struct(">q").unpack_from
_begin = struct.Struct(">QqI").unpack_from
_commit = struct.Struct(">BQQq").unpack_from
# CopyData, XLogData, row message, table, shape (a new row of so many columns, the first one a text), size of that column
_head_struct = struct.Struct(">BIB24xBIII")
_head, _HEAD_SIZE = _head_struct.unpack_from, _head_struct.size
_ROW_SIZE = 38  # the least that a row message can have: a table, one tuple without columns
_status = struct.Struct(">cIcQQQqB").pack


def _nothing(_value: bytes) -> None:
    """No table is at hand."""


def status_update(durable: Lsn, now: Micros, *, reply: bool = False) -> bytes:
    """A standby status update as CopyData: written, flushed and applied are all what is durable here."""
    return _status(b"d", 38, b"r", durable, durable, durable, now - PG_EPOCH_US, reply)


@dataclass(slots=True)
class Decoder:
    """Keeps the relations and the open transaction between chunks of bytes."""

    planner: Planner
    relations: dict[int, Relation] = field(default_factory=dict)
    begin: Begin | None = None
    _plans: dict[int, Plan] = field(default_factory=dict)
    _simple: dict[int, tuple[Touch, int]] = field(default_factory=dict)
    """Tables whose plan is one unindexed first column: the usual case, decoded without a call."""
    _dirty: dict[Touch, None] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    _have: int = 0
    _need: int = 5
    _out: list[Event] = field(default_factory=list)

    def reset(self) -> None:
        """Forget everything of a connection; relations are announced anew on the next."""
        for touch in self._dirty:
            touch.values = set()
            touch.rows = {}
        self.relations.clear()
        self._plans.clear()
        self._simple.clear()
        self._dirty.clear()
        self._parts.clear()
        self._out.clear()
        self._have, self._need, self.begin = 0, 5, None

    def replan(self) -> None:
        """Ask the planner anew, after the routing rules changed."""
        self._plans.clear()
        self._simple.clear()

    def feed(self, data: bytes) -> list[Event]:
        """Decode what has come; a message that is not complete yet is kept. Raises DecodeError."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        buf = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        try:
            end = self._scan(buf)
        except (struct.error, IndexError, UnicodeDecodeError, ValueError) as exc:
            raise DecodeError(
                f"malformed replication message: {exc}", hint="Report this with the server's version."
            ) from exc
        rest = buf[end:]
        self._parts = [rest] if rest else []
        self._have = len(rest)
        self._hand_over()
        out, self._out = self._out, []
        return out

    def _scan(self, buf: bytes) -> int:
        pos, end = 0, len(buf)
        head, size_of_head, simple = _head, _HEAD_SIZE, self._simple
        table, shape_of_row = 0, 0
        add: Callable[[bytes], None] = _nothing
        while end - pos >= size_of_head:
            # one look at the usual row message: an insert or update without an old row, one wanted column, which is first
            copy, length, part, kind, oid, shape, size = head(buf, pos)
            after = pos + 1 + length
            if after > end:
                break
            if copy == 100 and part == 119 and (kind == 85 or kind == 73):
                if oid != table and oid in simple:
                    table, (touch, shape_of_row) = oid, simple[oid]
                    self._dirty[touch] = None
                    add = touch.values.add
                stop = pos + size_of_head + size
                if oid == table and shape == shape_of_row and stop <= after:
                    add(buf[pos + size_of_head : stop])
                    pos = after
                    continue
            table = 0  # what follows may hand the values over, or describe the table anew
            if length < 4:
                raise DecodeError(f"message of length {length}")
            self._one(buf, pos, after)
            pos = after
        while end - pos >= 5:
            length = _u32(buf, pos + 1)[0]
            if length < 4:
                raise DecodeError(f"message of length {length}")
            after = pos + 1 + length
            if after > end:
                self._need = after - pos
                return pos
            self._one(buf, pos, after)
            pos = after
        self._need = 5
        return pos

    def _one(self, buf: bytes, pos: int, after: int) -> None:
        """Decode one message of the connection, from its type byte at `pos` up to `after`."""
        size = after - pos
        if buf[pos] != 100:  # not CopyData
            self._protocol(buf[pos:after])
        elif size < 6:
            raise DecodeError("an empty copy message")
        elif buf[pos + 5] == 119:  # XLogData
            if size < 31:
                raise DecodeError("a log message that ends before it begins")
            kind = buf[pos + 30]
            if kind == 85 or kind == 73 or kind == 68:  # Update, Insert, Delete
                if size < _ROW_SIZE:
                    raise DecodeError("a row message without a row")
                oid = _u32(buf, pos + 31)[0]
                plan = self._plans.get(oid)
                if plan is None:
                    plan = self._plan(oid)
                for touch in plan:
                    self._dirty[touch] = None
                    if touch.indexed:
                        self._index_row(buf, pos + 35, after, touch)
                    else:
                        self._touch_row(buf, pos + 35, after, touch)
            else:
                self._message(buf[pos + 30 : after], kind)
        elif buf[pos + 5] == 107:  # keepalive
            if size != 23:
                raise DecodeError("keepalive of a wrong length")
            wal_end, sent = _u64(buf, pos + 6)[0], _i64(buf, pos + 14)[0]
            self._hand_over()
            self._out.append(Keepalive(wal_end, sent + PG_EPOCH_US, buf[pos + 22] != 0, self.begin is None))
        else:
            raise DecodeError(f"unknown copy message {chr(buf[pos + 5])!r}")

    # -- rows

    def _touch_row(self, buf: bytes, pos: int, end: int, touch: Touch) -> None:
        """Take the wanted column from each tuple of a row message that starts at `pos`."""
        index = touch.index
        while pos < end:
            # pos stands on K, O or N; columns follow
            pos += 3
            for _ in range(index):
                kind = buf[pos]
                if kind == 116 or kind == 98:  # text or binary value
                    pos += 5 + _u32(buf, pos + 1)[0]
                elif kind == 110 or kind == 117:  # null or unchanged
                    pos += 1
                else:
                    raise DecodeError(f"unknown column kind {chr(kind)!r}")
            kind = buf[pos]
            if kind == 116:
                length = _u32(buf, pos + 1)[0]
                pos += 5 + length
                if pos > end:
                    raise DecodeError("a value reaches beyond its message")
                touch.values.add(buf[pos - length : pos])
                if pos == end:
                    return
            # a second tuple follows only after an old one: step over the rest of this one
            pos = self._next_tuple(buf, pos, end, touch, kind)

    def _next_tuple(self, buf: bytes, pos: int, end: int, touch: Touch, kind: int) -> int:
        done = touch.index + (kind == 116)
        for _ in range(len(touch.relation.columns) - done):
            kind = buf[pos]
            if kind == 116 or kind == 98:
                pos += 5 + _u32(buf, pos + 1)[0]
            elif kind == 110 or kind == 117:
                pos += 1
            else:
                raise DecodeError(f"unknown column kind {chr(kind)!r}")
        if pos > end:
            raise DecodeError("a value reaches beyond its message")
        return pos

    def _index_row(self, buf: bytes, pos: int, end: int, touch: Touch) -> None:
        """Take (row identity, wanted column) of each tuple: the old row ends, the new one has its value. A large value that
        the server does not repeat is as it was."""
        relation = touch.relation
        while pos < end:
            old = buf[pos] != 78  # K or O, not N
            unchanged = False
            columns: list[bytes | None] = []
            count = _u16(buf, pos + 1)[0]
            pos += 3
            for number in range(count):
                kind = buf[pos]
                if kind == 116 or kind == 98:
                    length = _u32(buf, pos + 1)[0]
                    columns.append(buf[pos + 5 : pos + 5 + length])
                    pos += 5 + length
                elif kind == 110 or kind == 117:
                    columns.append(None)
                    unchanged = unchanged or (kind == 117 and number == touch.index)
                    pos += 1
                else:
                    raise DecodeError(f"unknown column kind {chr(kind)!r}")
            if pos > end or count != len(relation.columns):
                raise DecodeError("a row that does not fit its table")
            row = b"\x00".join(
                value or b"" for column, value in zip(relation.columns, columns, strict=True) if column.in_identity
            )
            value = columns[touch.index]
            if not unchanged:
                touch.rows[row] = GONE if old else value
            if value is not None:
                touch.values.add(value)

    def _plan(self, oid: int) -> Plan:
        relation = self.relations.get(oid)
        if relation is None:
            raise DecodeError(f"a row of table {oid}, which was not announced")
        plan = self._plans[oid] = self.planner(relation)
        if len(plan) == 1 and plan[0].index == 0 and not plan[0].indexed:
            self._simple[oid] = plan[0], 78 << 24 | len(relation.columns) << 8 | 116
        return plan

    def _hand_over(self) -> None:
        """Put what the open transaction has touched so far into the output."""
        if not self._dirty:
            return
        if self.begin is None:
            raise DecodeError("a row outside of a transaction")
        values, rows = [], []
        for touch in self._dirty:
            if touch.values:
                values.append((touch, touch.values))
                touch.values = set()
            if touch.rows:
                rows.append((touch, touch.rows))
                touch.rows = {}
        self._dirty.clear()
        if values or rows:
            self._out.append(Touched(self.begin, tuple(values), tuple(rows)))

    # -- everything that is rare

    def _message(self, buf: bytes, kind: int) -> None:
        match chr(kind):
            case "B":
                if self.begin is not None:
                    raise DecodeError("a transaction inside a transaction")
                self._hand_over()  # there is nothing, or it is outside of a transaction
                final_lsn, at, xid = _begin(buf, 1)
                self.begin = Begin(final_lsn, at + PG_EPOCH_US, xid)
            case "C":
                if self.begin is None:
                    raise DecodeError("a commit without a transaction")
                self._hand_over()
                _, _, end_lsn, _ = _commit(buf, 1)
                self._out.append(Commit(self.begin, end_lsn))
                self.begin = None
            case "R":
                # rows decoded under the old description go out first
                self._hand_over()
                relation = _relation(buf, 1, len(buf))
                self.relations[relation.oid] = relation
                self._plans.pop(relation.oid, None)
                self._simple.pop(relation.oid, None)
                self._out.append(relation)
            case "T":
                self._hand_over()
                self._truncate(buf, 1)
            case "M":
                self._hand_over()
                transactional = buf[1] & 1
                prefix, at = _text(buf, 10, len(buf))
                length = _u32(buf, at)[0]
                if at + 4 + length > len(buf):
                    raise DecodeError("a value reaches beyond its message")
                commit_at = self.begin.commit_at if transactional and self.begin else None
                self._out.append(Message(prefix, buf[at + 4 : at + 4 + length], commit_at))
            case "O" | "Y":
                pass  # origin and type names: nothing is routed by them
            case "A":
                pass  # PostgreSQL 18 sends stray stream aborts even on protocol version 1
            case other:
                raise DecodeError(f"unknown replication message {other!r}")

    def _truncate(self, buf: bytes, pos: int) -> None:
        if self.begin is None:
            raise DecodeError("a truncate outside of a transaction")
        count = _u32(buf, pos)[0]
        oids = [_u32(buf, pos + 5 + 4 * n)[0] for n in range(count)]
        known = tuple(self.relations[oid] for oid in oids if oid in self.relations)
        self._out.append(Truncate(self.begin, known))

    def _protocol(self, buf: bytes) -> None:
        """A message of the connection itself, outside of the copy data."""
        match chr(buf[0]):
            case "E":
                fields: dict[str, str] = {}
                at = 5
                while at < len(buf) and buf[at]:
                    code = chr(buf[at])
                    fields[code], at = _text(buf, at + 1, len(buf))
                self._hand_over()
                self._out.append(ServerError(fields.get("C", ""), fields.get("M", "")))
            case "c" | "C":
                self._hand_over()
                self._out.append(StreamEnd())
            case "W" | "N" | "S" | "Z":
                pass  # copy begins; notices, parameters and readiness carry nothing for us
            case other:
                raise DecodeError(f"unknown protocol message {other!r}")


def _text(buf: bytes, pos: int, end: int) -> tuple[str, int]:
    """A zero-terminated string and the position behind it."""
    stop = buf.index(0, pos, end)
    return buf[pos:stop].decode("utf-8"), stop + 1


def _relation(buf: bytes, pos: int, end: int) -> Relation:
    oid = _u32(buf, pos)[0]
    schema, pos = _text(buf, pos + 4, end)
    name, pos = _text(buf, pos, end)
    identity = chr(buf[pos])
    count = _u16(buf, pos + 1)[0]
    pos += 3
    columns: list[Column] = []
    for _ in range(count):
        flags = buf[pos]
        column, pos = _text(buf, pos + 1, end)
        type_oid = _u32(buf, pos)[0]
        pos += 8
        columns.append(Column(column, type_oid, bool(flags & 1)))
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))

"""Writes the bytes of a replication stream, as the server sends them: the other side of the decoder.

Invariant: formats are those of the PostgreSQL documentation ("Streaming Replication Protocol", "Logical Replication Message
Formats", protocol version 1), written without a look at the decoder.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 in Unix microseconds."""


class Unchanged:
    """A large value that the server does not repeat."""


UNCHANGED: Final = Unchanged()
Value = bytes | None | Unchanged
Row = Sequence[Value]


def framed(kind: bytes, body: bytes) -> bytes:
    """A message of the connection."""
    return kind + struct.pack(">I", len(body) + 4) + body


def wal(payload: bytes, start: int = 0, end: int = 0, sent_at: int = EPOCH_US) -> bytes:
    """One logical replication message as CopyData."""
    return framed(b"d", b"w" + struct.pack(">QQq", start, end, sent_at - EPOCH_US) + payload)


def keepalive(wal_end: int, sent_at: int = EPOCH_US, *, reply: bool = False) -> bytes:
    return framed(b"d", b"k" + struct.pack(">Qq?", wal_end, sent_at - EPOCH_US, reply))


def begin(final_lsn: int, commit_at: int, xid: int) -> bytes:
    return wal(b"B" + struct.pack(">QqI", final_lsn, commit_at - EPOCH_US, xid))


def commit(commit_lsn: int, end_lsn: int, commit_at: int = EPOCH_US) -> bytes:
    return wal(b"C" + struct.pack(">BQQq", 0, commit_lsn, end_lsn, commit_at - EPOCH_US))


def relation(oid: int, schema: str, name: str, identity: str, columns: Sequence[tuple[str, int, bool]]) -> bytes:
    """`columns`: name, type oid, whether it is part of the replica identity."""
    body = b"R" + struct.pack(">I", oid) + schema.encode() + b"\0" + name.encode() + b"\0" + identity.encode()
    body += struct.pack(">H", len(columns))
    for column, type_oid, in_identity in columns:
        body += bytes([in_identity]) + column.encode() + b"\0" + struct.pack(">Ii", type_oid, -1)
    return wal(body)


def _tuple(row: Row) -> bytes:
    body = struct.pack(">H", len(row))
    for value in row:
        if value is None:
            body += b"n"
        elif isinstance(value, Unchanged):
            body += b"u"
        else:
            body += b"t" + struct.pack(">I", len(value)) + value
    return body


def insert(oid: int, new: Row) -> bytes:
    return wal(b"I" + struct.pack(">I", oid) + b"N" + _tuple(new))


def update(oid: int, new: Row, old: Row | None = None, *, kind: bytes = b"K") -> bytes:
    """`old` with kind K (the identity) or O (the whole row)."""
    former = b"" if old is None else kind + _tuple(old)
    return wal(b"U" + struct.pack(">I", oid) + former + b"N" + _tuple(new))


def delete(oid: int, old: Row, *, kind: bytes = b"K") -> bytes:
    return wal(b"D" + struct.pack(">I", oid) + kind + _tuple(old))


def truncate(*oids: int, options: int = 0) -> bytes:
    return wal(b"T" + struct.pack(">IB", len(oids), options) + struct.pack(f">{len(oids)}I", *oids))


def message(prefix: str, content: bytes, *, transactional: bool = True, lsn: int = 0) -> bytes:
    head = b"M" + struct.pack(">?Q", transactional, lsn) + prefix.encode() + b"\0"
    return wal(head + struct.pack(">I", len(content)) + content)


def origin(lsn: int = 0, name: str = "elsewhere") -> bytes:
    return wal(b"O" + struct.pack(">Q", lsn) + name.encode() + b"\0")


def type_name(oid: int, schema: str = "public", name: str = "mood") -> bytes:
    return wal(b"Y" + struct.pack(">I", oid) + schema.encode() + b"\0" + name.encode() + b"\0")


def stray_abort(xid: int = 7) -> bytes:
    """What PostgreSQL 18 sends at times although nothing is streamed."""
    return wal(b"A" + struct.pack(">II", xid, xid))


def error(sqlstate: str, text: str) -> bytes:
    fields = (("S", "FATAL"), ("V", "FATAL"), ("C", sqlstate), ("M", text))
    return framed(b"E", b"".join(code.encode() + value.encode() + b"\0" for code, value in fields) + b"\0")


def notice(text: str = "well") -> bytes:
    return framed(b"N", b"SNOTICE\0M" + text.encode() + b"\0\0")


def copy_both() -> bytes:
    """The answer to START_REPLICATION."""
    return framed(b"W", b"\0\0\0")


def copy_done() -> bytes:
    return framed(b"c", b"")

"""What the replication stream says: tables, the values that transactions touched, commits, keepalives.

Invariant: values only; `pgoutput` makes them and `ingest` takes them, in the order of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.model import Lsn, Micros


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type_oid: int
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream describes it. `identity` is d(efault), f(ull), i(ndex) or n(othing)."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[Column, ...]

    @property
    def table(self) -> str:
        return f"{self.schema}.{self.name}"


GONE = b"\xff"
"""In place of a row's value: the row is no longer there. No text of any encoding is this byte alone."""


class Touch:
    """One column of one table that routing wants, and the raw values met since the last `take`.

    `indexed` asks for (row identity, value) pairs, for tables whose replica identity does not carry the column.
    """

    __slots__ = ("index", "indexed", "payload", "relation", "rows", "values")

    def __init__(self, relation: Relation, index: int, payload: object, *, indexed: bool = False) -> None:
        self.relation = relation
        self.index = index
        self.payload = payload
        self.indexed = indexed
        self.values: set[bytes] = set()
        self.rows: dict[bytes, bytes | None] = {}
        """For an indexed column: row identity -> newest value, None for NULL; GONE for a row that ended."""


@dataclass(frozen=True, slots=True)
class Begin:
    final_lsn: Lsn
    commit_at: Micros
    xid32: int


@dataclass(frozen=True, slots=True)
class Touched:
    """Values that one transaction touched: part of it when it is large."""

    begin: Begin
    values: tuple[tuple[Touch, frozenset[bytes] | set[bytes]], ...]
    rows: tuple[tuple[Touch, dict[bytes, bytes | None]], ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    begin: Begin
    end_lsn: Lsn


@dataclass(frozen=True, slots=True)
class Truncate:
    begin: Begin
    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class Message:
    prefix: str
    content: bytes
    commit_at: Micros | None
    """Commit time of its transaction; None for a non-transactional message."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    wal_end: Lsn
    sent_at: Micros
    reply: bool
    idle: bool
    """No transaction is open: everything before `wal_end` has been handed over."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """ErrorResponse on the stream."""

    sqlstate: str
    text: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The server ended the copy mode."""


Event = Touched | Commit | Truncate | Message | Keepalive | Relation | ServerError | StreamEnd
Plan = tuple[Touch, ...]
Planner = Callable[[Relation], Plan]

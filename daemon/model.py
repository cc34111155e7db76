"""The values that rooms hand to each other; frozen and free of I/O.

Invariant: a value here means the same in every room. Times are integer microseconds since the Unix epoch (`Micros`) on the
ERP's clock unless a name says otherwise; log positions are plain integers (`Lsn`), printed the way Postgres prints them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Lsn: TypeAlias = int
"""A byte position in the ERP's write-ahead log."""
Micros: TypeAlias = int
"""Microseconds since 1970-01-01 UTC."""
Xid: TypeAlias = int
"""A 64-bit transaction id (epoch included), comparable with pg_current_snapshot()."""
Key: TypeAlias = int | str
"""An ERP key of an entity: int for bigint/integer, str for uuid/text."""

Fields: TypeAlias = Mapping[str, Any]
"""Identity and other fields of a document; JSON values, amounts already exact (int or decimal string)."""


class Lane(enum.StrEnum):
    FAST = "fast"
    BATCH = "batch"


class Missing(enum.StrEnum):
    """What it means that a document which was there is no longer produced."""

    ZERO = "zero"
    UNPUBLISH = "unpublish"
    KEEP = "keep"


def format_lsn(lsn: Lsn) -> str:
    """`0x16B374D848` -> `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> Lsn:
    """`16/B374D848` -> int. Raises ValueError on anything else."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"not a log position: {text!r}")
    return int(high, 16) << 32 | int(low, 16)


class Fingerprint(NamedTuple):
    """A commit that the stream told of: what another history of the same database system would not have there."""

    end_lsn: Lsn
    xid32: int
    commit_at: Micros


@dataclass(frozen=True, slots=True)
class QueueName:
    """One lane of work: the documents of one entity for one store. One worker drains it."""

    store: str
    entity: str

    def __str__(self) -> str:
        return f"{self.store}/{self.entity}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that a worker took: it is in flight until done, failed or parked."""

    key: Key
    since: Micros
    """Commit time of the oldest change of this key that the store has not acknowledged."""
    xids: frozenset[Xid] = frozenset()
    """Transactions that marked it and were not known to be visible then; empty when none has to be waited for."""
    attempt: int = 0
    background: bool = False
    """Offered by a backfill page, not by a change: its age is no change latency."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a statement of the ERP can see: pg_current_snapshot()."""

    xmin: Xid
    xmax: Xid
    running: frozenset[Xid] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """From `xmin:xmax:xip,xip`. Raises ValueError on anything else."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: Xid) -> bool:
        """Whether a committed transaction is visible in it."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


NOTHING_SEEN = Snapshot(0, 0)


def widen_xid(xid32: int, near: Xid) -> Xid:
    """The 64-bit id of a 32-bit one from the log: the one closest to `near`, a recent 64-bit id."""
    xid = (near & ~0xFFFFFFFF) | xid32
    if xid > near + 0x80000000 and xid >= 0x100000000:
        return xid - 0x100000000
    if xid < near - 0x80000000:
        return xid + 0x100000000
    return xid


@dataclass(frozen=True, slots=True)
class Acked:
    """What the store acknowledged last for one document. `body` is None for a removed one."""

    id: str
    version: int
    body: bytes | None
    at: Micros
    """When the store acknowledged it, on our clock."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One document to be written to a store, absolute and idempotent.

    `fields` holds identity and all other fields; None removes the document. `changed` names the fields that differ from
    what the store acknowledged last (all of them on a first send); an adapter that can write fields one by one may use it.
    """

    id: str
    version: int
    """Grows with every send of this id."""
    changed_at: Micros
    """ERP commit time of the oldest change that this patch carries."""
    fields: Fields | None
    identity: Fields = field(default_factory=dict)
    changed: frozenset[str] = frozenset()


class Status(enum.StrEnum):
    """The store's own word on one document."""

    OK = "ok"
    RETRY = "retry"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one patch. Anything that the store did not name is not acknowledged: status RETRY."""

    id: str
    status: Status
    error: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store can take in one call and at a time."""

    batch_size: int = 100
    """Most documents in one call, whatever the entity."""
    concurrency: int = 4
    per_second: float = 50.0
    burst: float = 100.0
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    """Entities of which one call takes fewer."""
    bulk_sizes: Mapping[str, int] = field(default_factory=dict)
    """Entities with an interface for large calls: documents in one call of a job, which may be more than `batch_size`."""

    def batch_for(self, entity: str) -> int:
        """Most documents of an entity in one call; at least one."""
        return max(min(self.batch_size, self.batch_sizes.get(entity, self.batch_size)), 1)

    def bulk_for(self, entity: str) -> int:
        """Documents of an entity in one call of a job; never fewer than in an ordinary call."""
        return max(self.bulk_sizes.get(entity, 0), self.batch_for(entity))


Row: TypeAlias = Mapping[str, Any]

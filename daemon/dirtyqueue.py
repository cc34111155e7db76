"""The memory of one queue of the dirty set: which keys are in which state.

Invariant: only DirtySet changes these; a key is in at most one of fresh, claimed, waiting and parked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.model import Key, Micros, QueueName, Xid


class Tag(NamedTuple):
    """What one mark says; shared by all the keys that a transaction marked."""

    since: Micros
    xids: frozenset[Xid] = frozenset()


class Parked(NamedTuple):
    since: Micros
    kind: str


@dataclass(slots=True)
class Waiting:
    tag: Tag
    durable: bool
    attempt: int


@dataclass(slots=True)
class InFlight:
    tag: Tag
    durable: bool
    attempt: int


@dataclass(frozen=True, slots=True)
class QueueStats:
    pending: int
    claimed: int
    quarantined: int
    held: int
    oldest: Micros | None


@dataclass(slots=True)
class Queue:
    """The memory of one queue. Only DirtySet changes it."""

    id: int
    name: QueueName
    fresh: dict[Key, Tag] = field(default_factory=dict)
    order: deque[Key] = field(default_factory=deque)
    claimed: dict[Key, InFlight] = field(default_factory=dict)
    again: dict[Key, Tag] = field(default_factory=dict)
    waiting: dict[Key, Waiting] = field(default_factory=dict)
    alarm: list[tuple[float, Key]] = field(default_factory=list)
    parked: dict[Key, Parked] = field(default_factory=dict)
    page: set[Key] = field(default_factory=set)
    background: deque[Key] = field(default_factory=deque)
    attempts: dict[Key, int] = field(default_factory=dict)
    spilled: int = 0
    spilled_since: Micros = 0
    refilling: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def moving(self, key: Key) -> bool:
        """Whether a key is marked, in flight, set aside or about to be compared; while some wait on disk, any may be."""
        return bool(
            self.spilled
            or key in self.fresh
            or key in self.claimed
            or key in self.waiting
            or key in self.parked
            or key in self.page
        )

    def stats(self) -> QueueStats:
        """Counts and the commit time of the oldest change that is not acknowledged."""
        held = sum(1 for p in self.parked.values() if p.kind == "held")
        ages = [
            min((tag.since for tag in self.fresh.values()), default=0),
            min((f.tag.since for f in self.claimed.values() if f.tag.since), default=0),
            min((w.tag.since for w in self.waiting.values() if w.tag.since), default=0),
            min((p.since for p in self.parked.values()), default=0),
            self.spilled_since if self.spilled else 0,
        ]
        return QueueStats(
            pending=len(self.fresh) + len(self.waiting) + len(self.again) + self.spilled + len(self.background),
            claimed=len(self.claimed),
            quarantined=len(self.parked) - held,
            held=held,
            oldest=min((a for a in ages if a), default=None),
        )

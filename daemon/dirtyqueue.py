"""The memory of one queue of the dirty set: which keys are in which state.

Invariant: only DirtySet changes these; a key is in at most one of fresh, claimed, waiting and parked.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.model import Key, Micros, QueueName, Xid


class Tag(NamedTuple):
    """What one mark says; shared by all the keys that a transaction marked."""

    since: Micros
    xids: frozenset[Xid] = frozenset()


def joined(one: Tag, other: Tag) -> Tag:
    """Both marks as one: the older age, all transactions. Age 0 is that of a comparison, which has none."""
    return Tag(min(one.since, other.since) if one.since else other.since, one.xids | other.xids)


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
    newest: Micros = 0
    """Age of the youngest mark so far: only an older one than this can make a marked key older."""
    spilled: int = 0
    """Keys that wait on disk alone, roughly until the next count; 0 says exactly that there is none."""
    uncounted: bool = False
    """Whether keys may be in `spilled` twice: of a marked key it is not known here whether it waits on disk already."""
    spilled_since: Micros = 0
    refilling: bool = False
    changed: set[Key] = field(default_factory=set)
    """Keys whose rows changed while a refill reads: what it has read of them is outdated."""
    arrived: int = 0
    arrived_since: Micros = 0
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

    def freshen(self, key: Key, tag: Tag) -> None:
        self.fresh[key] = tag
        self.order.append(key)
        self.ready.set()

    def spill(self, keys: set[Key], since: Micros) -> None:
        """These are marked on disk and find no room here."""
        self.spilled_since = min(self.spilled_since, since) if self.spilled else since
        self.uncounted |= self.spilled > 0
        self.spilled += len(keys)
        if self.refilling:
            self.changed |= keys
            self.arrived_since = min(self.arrived_since, since) if self.arrived else since
            self.arrived += len(keys)

    def begin_refill(self) -> None:
        self.refilling, self.arrived = True, 0
        self.changed.clear()

    def refill(self, rows: Iterable[tuple[Key, Tag]], *, complete: bool) -> None:
        """Take in the oldest marks on disk; `complete` says that there are no others."""
        count, last = 0, self.spilled_since
        for key, tag in rows:
            count, last = count + 1, tag.since
            if key in self.changed and self.arrived:
                self.arrived_since = min(self.arrived_since, tag.since)
            if not (key in self.changed or key in self.claimed or key in self.waiting or key in self.fresh):
                self.fresh[key] = tag
                self.order.append(key)
                self.leave_page(key)
        self.newest = max(self.newest, last)
        if complete:
            self.spilled, self.spilled_since = self.arrived, self.arrived_since
        else:
            self.spilled = max(self.spilled - count, 1)
            self.spilled_since = min(last, self.arrived_since) if self.arrived else last

    def recount(self, marks: int) -> None:
        """So many marks were on disk when the reading began; those held here are among them."""
        held = sum(each.durable for each in self.claimed.values()) + sum(each.durable for each in self.waiting.values())
        self.spilled = max(marks - len(self.fresh) - held, 1) + self.arrived

    def leave_page(self, *keys: Key) -> None:
        """These are compared, or marked and durable by themselves."""
        self.page.difference_update(keys)
        if not self.page:
            self.settled.set()

    def forget_transactions(self) -> None:
        """Marks keep their age alone."""
        for marks in (self.fresh, self.again):
            for key, tag in marks.items():
                marks[key] = Tag(tag.since)
        for flight in self.claimed.values():
            flight.tag = Tag(flight.tag.since)
        for wait in self.waiting.values():
            wait.tag = Tag(wait.tag.since)

    def next_alarm(self) -> float | None:
        """When the first waiting key may be claimed."""
        while self.alarm and self.alarm[0][1] not in self.waiting:
            heapq.heappop(self.alarm)
        return self.alarm[0][0] if self.alarm else None

    def wake(self, now: float) -> None:
        """Let those claim again who waited until now."""
        while self.alarm and self.alarm[0][0] <= now:
            _, key = heapq.heappop(self.alarm)
            wait = self.waiting.pop(key, None)
            if wait is None:
                continue
            self.attempts[key] = wait.attempt
            self.ready.set()
            if wait.durable:
                self.fresh[key] = wait.tag
                self.order.appendleft(key)
            else:
                self.background.appendleft(key)

    def moving_since(self, patience: int = 3) -> Micros | None:
        """Commit time of the oldest change on its way; not of what is set aside, or was refused `patience` times."""
        ages = [
            min((tag.since for tag in self.fresh.values()), default=0),
            min((f.tag.since for f in self.claimed.values() if f.tag.since), default=0),
            min((tag.since for tag in self.again.values()), default=0),
            min((w.tag.since for w in self.waiting.values() if w.tag.since and w.attempt < patience), default=0),
            self.spilled_since if self.spilled else 0,
        ]
        return min((age for age in ages if age), default=None)

    def stats(self) -> QueueStats:
        """Counts and the commit time of the oldest change that is not acknowledged."""
        held = sum(1 for p in self.parked.values() if p.kind == "held")
        ages = [
            min((tag.since for tag in self.fresh.values()), default=0),
            min((f.tag.since for f in self.claimed.values() if f.tag.since), default=0),
            min((tag.since for tag in self.again.values()), default=0),
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

"""The plan: what would be sent to a store if everything were compared now.

Invariant: it reads, and nothing else: neither the store nor the state is written to, and nothing is marked. What it finds is
what a worker would find, by the same mapping and the same differences.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from daemon.brakes import Brake
from daemon.config.entity import Entity
from daemon.config.outlet import Batch, Store
from daemon.erp import SMALLEST, Erp
from daemon.mapping import Change, Mapper
from daemon.model import Key, Lane, QueueName
from daemon.stateview import StateView
from daemon.truth import read_documents
from daemon.words import format_seconds

LISTED = 1_000
"""Most changes that are named one by one; all are counted."""
_PAGE = 2_000
_READ = 500
_SHORT = 200

Difference = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Listed:
    """One document that would be sent: name -> (from, to)."""

    id: str
    key: Key
    kind: str
    fields: Difference

    def as_json(self) -> dict[str, Any]:
        fields = {name: [_short(was), _short(is_)] for name, (was, is_) in self.fields.items()}
        return {"id": self.id, "key": self.key, "kind": self.kind, "fields": fields}


@dataclass(slots=True)
class QueuePlan:
    """What would happen in one queue. Counts are of documents where not said otherwise."""

    name: QueueName
    lane: Lane
    keys: int = 0
    unchanged: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("new", "changed", "removed"), 0))
    held_keys: int = 0
    """Keys that the brake would hold for an operator if nothing counted in its window yet."""
    refused: dict[Key, str] = field(default_factory=dict)
    """Keys whose rows cannot be shown, with the reason; the first of them."""
    refused_keys: int = 0
    calls: int = 0
    seconds: float | None = 0.0
    """How long the calls take at the store's rate; None: this lane has no share of it."""
    listed: list[Listed] = field(default_factory=list)
    ended: bool = False

    @property
    def changes(self) -> int:
        return sum(self.counts.values())

    def line(self) -> str:
        """`main/stock: 3 of 52 documents would be sent (1 new, 2 changed), 1 call, about 0.0s`."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        took = "never: the batch lane has no share" if self.seconds is None else f"about {format_seconds(self.seconds)}"
        text = f"{self.name}: {self.changes} of {self.changes + self.unchanged} documents would be sent"
        if self.changes:
            text += f" ({kinds}), {self.calls} call{'s' if self.calls != 1 else ''}, {took}"
        if self.held_keys:
            text += f", {self.held_keys} keys would be held by the brake, its window taken as empty"
        return text + (f", {self.refused_keys} keys cannot be shown" if self.refused_keys else "")

    def as_json(self) -> dict[str, Any]:
        return {
            "store": self.name.store,
            "entity": self.name.entity,
            "lane": self.lane.value,
            "keys": self.keys,
            "unchanged": self.unchanged,
            "changes": self.changes,
            "counts": dict(self.counts),
            "held_keys": self.held_keys,
            "refused_keys": self.refused_keys,
            "refused": {str(key): reason for key, reason in self.refused.items()},
            "calls": self.calls,
            "seconds": self.seconds,
            "ended": self.ended,
            "line": self.line(),
            "documents": [listed.as_json() for listed in self.listed],
        }


@dataclass(frozen=True, slots=True)
class Ground:
    """What a plan of one queue is made from. `flushed` waits until the file holds what the daemon acknowledged."""

    name: QueueName
    entity: Entity
    store: Store
    jobs: Sequence[Batch]
    mapper: Mapper
    erp: Erp
    smallest: Key | None
    view: StateView
    flushed: Callable[[], Awaitable[None]]


class Planner:
    """Plans one queue. `plan` may be read at any time."""

    def __init__(self, ground: Ground, *, limit: int) -> None:
        self._ground = ground
        self._limit = min(limit, LISTED)
        self._packed = 0
        self._changed: set[Key] = set()
        self.plan = QueuePlan(ground.name, Lane(ground.entity.lane))

    async def run(self) -> QueuePlan:
        """Compare every key once, those that only the store still has included."""
        ground, plan = self._ground, self.plan
        await ground.flushed()
        queue = await ground.view.queue(ground.name)
        brake = await self._brake(queue)
        where = f"entity.{ground.entity.name}.all_keys"
        after = SMALLEST[ground.entity.key_type] if ground.smallest is None else ground.smallest
        while keys := await ground.erp.page(where, ground.entity.all_keys, after, _PAGE):
            await self._compare(queue, keys, brake)
            if len(keys) < _PAGE:
                break
            after = keys[-1]
        last: Key | None = None
        while keys := await ground.view.keys(queue, last, _PAGE):
            await self._compare(queue, [key for key in keys if key not in self._changed], brake, again=True)
            last = keys[-1]
        plan.seconds = duration(plan.calls, plan.changes, plan.lane, ground.store, ground.jobs)
        plan.ended = True
        return plan

    async def _brake(self, queue: int) -> Brake | None:
        ground, brake = self._ground, self._ground.store.brake
        if brake is None:
            return None
        documents = await ground.view.count(queue)
        return Brake(
            ground.entity.kind,
            share=brake.share,
            min_keys=brake.min_keys,
            window_s=brake.window,
            documents=documents,
        )

    async def _compare(self, queue: int, keys: Sequence[Key], brake: Brake | None, *, again: bool = False) -> None:
        """`again`: keys that were compared before, unless the ERP has them no more; what is equal is counted already."""
        ground, plan = self._ground, self.plan
        now = time.time_ns() // 1000
        for start in range(0, len(keys), _READ):
            some = keys[start : start + _READ]
            documents, bad = await read_documents(ground.erp, ground.entity, ground.mapper, some)
            await ground.flushed()
            known = await ground.view.documents(queue, some)
            for key in some:
                if key in bad:
                    if not again:
                        self._refuse(key, str(bad[key]))
                    continue
                changes, unchanged = ground.mapper.diff(documents.get(key, {}), known[key], now, now)
                if not again:
                    plan.keys += 1
                    plan.unchanged += unchanged
                if changes:
                    self._changed.add(key)
                    self._count(key, changes, brake)

    def _refuse(self, key: Key, reason: str) -> None:
        self.plan.keys += 1
        self.plan.refused_keys += 1
        if len(self.plan.refused) < self._limit:
            self.plan.refused[key] = reason

    def _count(self, key: Key, changes: Sequence[Change], brake: Brake | None) -> None:
        plan = self.plan
        held = brake is not None and bool(brake.check(0.0, changes))
        plan.held_keys += held
        if not held:
            self._pack(len(changes))
        for change in changes:
            listed = _listed(key, change)
            plan.counts[listed.kind] += 1
            if len(plan.listed) < self._limit:
                plan.listed.append(listed)

    def _pack(self, documents: int) -> None:
        """Keys travel whole while they fit into one call, as the worker packs them."""
        size = max(self._ground.store.batch_size, 1)
        if self._packed and self._packed + documents <= size:
            self._packed += documents
            return
        self.plan.calls += math.ceil(documents / size)
        self._packed = documents if documents < size else 0


def _listed(key: Key, change: Change) -> Listed:
    before: Mapping[str, Any] = orjson.loads(change.before) if change.before is not None else {}
    after: Mapping[str, Any] = orjson.loads(change.after) if change.after is not None else {}
    kind = "new" if change.before is None else "removed" if change.after is None else "changed"
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Listed(change.patch.id, key, kind, {name: (before.get(name), after.get(name)) for name in names})


def duration(calls: int, documents: int, lane: Lane, store: Store, jobs: Sequence[Batch]) -> float | None:
    """Seconds that these calls wait for the store's rate, from a full bucket; answers are taken as immediate."""
    share = 1.0 if lane is Lane.FAST else 1.0 - store.fast_share
    if share <= 0.0:
        return 0.0 if not calls else None
    seconds = max(calls - max(store.rate.burst * share, 1.0), 0.0) / (store.rate.per_second * share)
    slowest = [documents / job.max_per_second for job in jobs if job.max_per_second is not None]
    return max([seconds, *slowest])


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return value if len(text) <= _SHORT else f"{text[:_SHORT]}... ({len(text)} characters)"

"""What every source of marks shares: the queues of an entity, and where marks that need a lookup go.

Invariant: a mark for an entity reaches the queue of every store that shows it, in one synchronous step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from daemon.config import Config
from daemon.dirtyset import DirtySet
from daemon.model import Key, Micros, QueueName, Xid
from daemon.routing import LOOKUP, Rule


def queues_of(config: Config, entity: str) -> tuple[QueueName, ...]:
    """The entity's queue of each store that shows it."""
    return tuple(name for name in config.queues() if name.entity == entity)


def rules_of(config: Config) -> list[Rule]:
    """All watches as routing rules. A rule with a query gets a lookup queue of its own, named by table and column."""
    rules: list[Rule] = []
    for entity in config.entity.values():
        for number, watch in enumerate(entity.watch):
            where = f"entity.{entity.name}.watch.{number}"
            if watch.key is not None:
                queues = queues_of(config, entity.name)
                rules.append(Rule(entity.name, watch.table, watch.key, entity.key_type, queues, where=where))
            elif watch.column is not None and watch.keys is not None:
                lookup = QueueName(LOOKUP, f"{entity.name} by {watch.table}.{watch.column}")
                rules.append(Rule(entity.name, watch.table, watch.column, "", (lookup,), watch.keys, f"{where}.keys"))
    return rules


def lookups_of(rules: Iterable[Rule]) -> dict[QueueName, Rule]:
    """Lookup queue -> the rule whose query empties it."""
    return {rule.queues[0]: rule for rule in rules if rule.keys_sql}


class Marker:
    """Marks an entity in all its queues."""

    def __init__(self, config: Config, dirty: DirtySet) -> None:
        self._dirty = dirty
        self._queues: Mapping[str, tuple[QueueName, ...]] = {
            entity: queues_of(config, entity) for entity in config.entity
        }

    def mark(self, entity: str, keys: AbstractSet[Key], since: Micros, xid: Xid | None = None) -> None:
        for name in self._queues[entity]:
            self._dirty.mark(name, keys, since, xid)

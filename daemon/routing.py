"""Route changed rows to entity keys: which columns of which table point at which entities.

Invariant: a watched column's old and new value are both marked, and a value that cannot be known from the stream is looked
up in the row index, never guessed and never dropped. Pure: it is told what the stream says and answers with marks to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from daemon.errors import DecodeError
from daemon.keytypes import BIGINT
from daemon.model import Key, QueueName

_NUMBERS = ("bigint", "integer")
LOOKUP = ""
"""Store name of lookup queues: marks in them are column values whose keys a query gives."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One watch: a change of `column` in `table` dirties keys of `entity`."""

    entity: str
    table: str
    column: str
    key_type: str
    queues: tuple[QueueName, ...]
    """Where its marks go: the entity's queue of each store, or the rule's own lookup queue."""
    keys_sql: str = ""
    """The query that turns column values into keys; empty when the value is the key."""
    where: str = ""


@dataclass(frozen=True, slots=True)
class ColumnSeen:
    """A column as the stream announced it."""

    name: str
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Want:
    """A column to be read from a table's rows, and the rules that hang on it."""

    index: int
    rules: tuple[Rule, ...]
    indexed: bool
    """The replica identity does not carry the column: old values come from the row index."""


class Router:
    """All watches, by table. `parents` maps a partition to the table that the watches name."""

    def __init__(self, rules: Iterable[Rule], parents: Mapping[str, str] | None = None) -> None:
        self._by_table: dict[str, list[Rule]] = {}
        for rule in rules:
            self._by_table.setdefault(rule.table, []).append(rule)
        self.parents = dict(parents or {})

    def tables(self) -> list[str]:
        return sorted(self._by_table)

    def rules(self, table: str) -> list[Rule]:
        return self._by_table.get(self.parents.get(table, table), [])

    def entities(self, table: str) -> set[str]:
        """Entities that a change of this table can touch."""
        return {rule.entity for rule in self.rules(table)}

    def wants(self, table: str, columns: Iterable[ColumnSeen]) -> tuple[list[Want], list[Rule]]:
        """Columns to read from this table, and the rules whose column it does not have (any more)."""
        by_column: dict[str, list[Rule]] = {}
        for rule in self.rules(table):
            by_column.setdefault(rule.column, []).append(rule)
        wants: list[Want] = []
        for index, column in enumerate(columns):
            rules = by_column.pop(column.name, None)
            if rules:
                wants.append(Want(index, tuple(rules), indexed=not column.in_identity))
        return wants, [rule for rules in by_column.values() for rule in rules]


def convert(values: Iterable[bytes], rule: Rule) -> set[Key]:
    """Column values as keys. Raises DecodeError naming the watch when a value is not of the key's type."""
    try:
        return _whole(values) if rule.key_type in _NUMBERS else {value.decode("utf-8") for value in values}
    except ValueError as exc:
        raise DecodeError(
            f"column {rule.column} of {rule.table} holds a value that is no {rule.key_type}",
            where=rule.where,
            code="E-KEY-TYPE",
            hint=f"Give entity.{rule.entity}.key_type the column's type.",
        ) from exc


def _whole(values: Iterable[bytes]) -> set[Key]:
    keys: set[Key] = set(map(int, values))
    if keys and (min(keys) not in BIGINT or max(keys) not in BIGINT):  # of a numeric column
        raise ValueError("beyond bigint")
    return keys

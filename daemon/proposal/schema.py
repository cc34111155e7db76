"""What the proposer knows of a database: tables, columns, keys and references, as values.

Invariant: pure. Names are as PostgreSQL stores them; `quoted` is how a statement writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

KEY_TYPES = {"int8": "bigint", "int4": "integer", "int2": "integer", "uuid": "uuid", "text": "text", "varchar": "text"}
_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "money"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_MOMENTS = frozenset({"timestamptz", "timestamp", "date"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is the base type's name in pg_type."""

    name: str
    quoted: str
    type: str
    label: bool = False
    """Of an enumerated type."""

    @property
    def is_number(self) -> bool:
        return self.type in _NUMBERS

    @property
    def is_text(self) -> bool:
        return self.type in _TEXTS or self.label

    @property
    def is_moment(self) -> bool:
        return self.type in _MOMENTS

    @property
    def is_float(self) -> bool:
        return self.type in {"float4", "float8"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of one column."""

    column: str
    table: str
    """`schema.table` that it points to."""
    to: str
    """Column there."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, partitions folded into it."""

    name: str
    """`schema.table`."""
    quoted: str
    columns: Mapping[str, Column]
    primary: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    leading: frozenset[str] = frozenset()
    """Columns that an index starts with."""
    rows: float = 0.0
    """As the planner estimates."""
    identity: str = "d"
    """pg_class.relreplident: d, n, f, i."""

    @property
    def short(self) -> str:
        return self.name.partition(".")[2]

    @property
    def key(self) -> Column | None:
        """The primary key, where it is one column of a type that can be a key."""
        if len(self.primary) != 1:
            return None
        column = self.columns[self.primary[0]]
        return column if column.type in KEY_TYPES else None

    def carries(self, column: str) -> bool:
        """Whether the log says this column of a deleted row."""
        return self.identity == "f" or (self.identity == "d" and column in self.primary)


@dataclass(frozen=True, slots=True)
class Schema:
    """All tables that the login may look at, by `schema.table`."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    views: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What each view reads, by `schema.view`."""

    def find(self, name: str) -> list[Table]:
        """Tables that a person may mean by `table` or `schema.table`."""
        if name in self.tables:
            return [self.tables[name]]
        return [table for table in self.tables.values() if table.short == name]

    def behind(self, view: str) -> Sequence[str]:
        """What a view reads that a person may mean by `view` or `schema.view`; empty where it is none."""
        if view in self.views:
            return self.views[view]
        return next((read for name, read in self.views.items() if name.partition(".")[2] == view), ())

    def outward(self, table: Table) -> Iterator[tuple[Reference, Table]]:
        """References of a table to others, with the table that each points to."""
        for reference in table.references:
            other = self.tables.get(reference.table)
            if other is not None and other.name != table.name:
                yield reference, other

    def between(self, child: Table, parent: Table) -> Reference | None:
        """The first reference of `child` to the primary key of `parent`."""
        return next((r for r, other in self.outward(child) if other is parent and (r.to,) == parent.primary), None)

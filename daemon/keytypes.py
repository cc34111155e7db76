"""Which of PostgreSQL's types carry an entity's keys: in a watched column, and in and out of a query.

Invariant: pure. Refused is only what can never match a key of the entity; of a type that is not known here (an enum, an
extension's) nothing is said, and its values are judged when they come.
"""

from __future__ import annotations

from typing import Final

_INTEGERS: Final = frozenset({"int2", "int4", "int8"})
_NUMBERS: Final = _INTEGERS | {"numeric"}
_WORDS: Final = frozenset({"text", "varchar", "bpchar", "name", "citext"})

BIGINT: Final = range(-(2**63), 2**63)
"""Numbers that can be keys: what the state file holds exactly."""
WATCHED: Final[dict[str, frozenset[str]]] = {
    "bigint": _NUMBERS,
    "integer": frozenset({"int2", "int4"}),
    "uuid": frozenset({"uuid"}),
    "text": _WORDS | _INTEGERS | {"uuid"},
}
"""By the entity's key_type: types of a watched column. The stream brings every value as text, which can be a key of text."""
_QUERIED: Final = {"bigint": _NUMBERS, "integer": _NUMBERS, "uuid": _WORDS | {"uuid"}, "text": _WORDS | {"uuid"}}
"""The same for what a query takes and gives, whose values come as numbers or as text."""
_TAKEN: Final = _NUMBERS | _WORDS | {"uuid"}
_GIVEN: Final = _TAKEN | {"bool", "float4", "float8", "date", "timestamp", "timestamptz", "bytea", "json", "jsonb"}


def misfit(key_type: str, taken: str | None, given: str | None) -> str:
    """Why a query cannot be about keys of `key_type`; empty where it can, or where that is not known.

    `taken` is the type of its keys' parameter or of that array's elements, `given` that of its column of keys, as pg_type
    names them; None where it has none.
    """
    fitting = _QUERIED[key_type]
    if given in _GIVEN - fitting:
        return f"the query gives keys of type {given}, the entity's key_type is {key_type}"
    if taken in _TAKEN - fitting:
        return f"the query compares its $1 with type {taken}, the entity's key_type is {key_type}"
    return ""

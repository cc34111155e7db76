"""Where a store and the truth part: the kinds of drift, and how two documents are compared.

Invariant: two spellings of one value are equal (5, "5", "5.00"; null, absent, an empty list), two values never are. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from daemon.model import Fields, Key

LISTED = 1_000
"""Differences that are named one by one; the rest is counted."""
_SHOWN = 200
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class Kind(enum.StrEnum):
    CHANGED = "changed"
    """The store shows something else than it acknowledged."""
    MISSING = "missing"
    """The store acknowledged it and does not show it."""
    EXTRA = "extra"
    """The store shows what it was told to remove."""
    FOREIGN = "foreign"
    """The store shows what did not come from here."""
    BEHIND = "behind"
    """The store shows what it acknowledged, the ERP says otherwise, and nothing is on its way."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One document that differs. `fields`: name -> (what should be there, what is there)."""

    kind: Kind
    id: str
    key: Key | None = None
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        fields = {name: [_short(should), _short(is_)] for name, (should, is_) in self.fields.items()}
        return {"kind": self.kind.value, "id": self.id, "key": self.key, "fields": fields}


@dataclass(slots=True)
class Tally:
    """What one pass found. `moving`: documents left out because a change of their key is on its way."""

    total: int = 0
    compared: int = 0
    moving: int = 0
    unreadable: int = 0
    mended: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    listed: list[Drift] = field(default_factory=list)
    ended: bool = False

    @property
    def drift(self) -> int:
        return sum(self.counts.values())

    def add(self, drift: Drift, *, mended: bool) -> None:
        self.counts[drift.kind] += 1
        self.mended += mended
        if len(self.listed) < LISTED:
            self.listed.append(drift)

    def line(self) -> str:
        """`12 compared, 2 differ (1 changed, 1 missing), 2 mended, 3 in motion`."""
        parts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        text = f"{self.compared} compared, {self.drift} differ{f' ({parts})' if parts else ''}"
        if self.mended:
            text += f", {self.mended} marked to be sent again"
        if self.moving:
            text += f", {self.moving} in motion"
        return text + (f", {self.unreadable} unreadable" if self.unreadable else "")

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "compared": self.compared,
            "differ": self.drift,
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "mended": self.mended,
            "moving": self.moving,
            "unreadable": self.unreadable,
            "ended": self.ended,
            "documents": [drift.as_json() for drift in self.listed],
        }


def judge(acked: bytes | None, shown: Fields | None) -> tuple[Kind, dict[str, tuple[Any, Any]]] | None:
    """How what the store shows (None: nothing) differs from what it acknowledged (None: its removal)."""
    if acked is None:
        return None if shown is None else (Kind.EXTRA, {})
    if shown is None:
        return Kind.MISSING, {}
    fields = differing(orjson.loads(acked), shown)
    return (Kind.CHANGED, fields) if fields else None


def differing(ours: Mapping[str, Any], theirs: Fields) -> dict[str, tuple[Any, Any]]:
    """The fields of ours that are another value there; fields that only they have are their own affair."""
    return {name: (value, theirs.get(name)) for name, value in ours.items() if not same(value, theirs.get(name))}


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values mean the same."""
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return True
    if _empty(one) and _empty(other):
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if _is_list(one) and _is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    left, right = _number(one), _number(other)
    return left is not None and left == right


def _empty(value: Any) -> bool:
    return value is None or (_is_list(value) and not value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"

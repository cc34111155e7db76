"""Turn the ERP's rows into documents and documents into patches.

Invariant: a value reaches the store exactly as the ERP has it or not at all: amounts are exact decimals, a float never
becomes money or quantity, and a row that cannot be shown quarantines its own key only. Pure and synchronous.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from daemon.errors import ConfigError, MappingError
from daemon.model import Acked, Key, Micros, Missing, Patch

# JavaScript's numbers are exact up to here; larger whole numbers travel as strings
_LARGEST = 2**53 - 1

_REQUIRED: dict[str, tuple[str, ...]] = {
    "stock": ("sku", "available"),
    "price": ("sku", "currency", "amount"),
    "credit": ("customer",),
    "order_status": ("order", "status"),
    "content": ("sku",),
}
_LISTS: dict[str, tuple[str, ...]] = {"order_status": ("fulfilments",), "content": ("images", "categories")}
_JSON = orjson.OPT_SORT_KEYS

Transform = Callable[[Sequence[Mapping[str, Any]]], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Made:
    """A document and its canonical bytes, which are what two documents are compared by."""

    fields: dict[str, Any]
    body: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """One document that differs: the patch, and the canonical bytes before and after (None: not there)."""

    patch: Patch
    before: bytes | None
    after: bytes | None


Documents = dict[str, Made]


class Mapper:
    """The mapping of one entity. `where` is its place in the configuration, `entity.<name>`."""

    def __init__(
        self,
        kind: str,
        identity: Sequence[str],
        defaults: Mapping[str, str | int],
        missing: Missing,
        where: str,
        transform: Transform | None = None,
    ) -> None:
        self.kind = kind
        self.identity = tuple(identity)
        self._defaults = dict(defaults)
        self._missing = missing
        self._where = where
        self._transform = transform
        self._required = _REQUIRED.get(kind, ())
        self._lists = _LISTS.get(kind, ())
        self._keep_key = "key" in self.identity

    def check_columns(self, names: Iterable[str]) -> None:
        """Refuse SQL that cannot give this entity's documents. Raises ConfigError naming the column."""
        if self._transform is not None:
            return  # what the function gives is seen when it runs
        given = set(names)
        wanted = {"key", *self._required, *(name for name in self.identity if name not in self._defaults)}
        if lacking := sorted(wanted - given):
            raise ConfigError(
                f"the query gives no column {', '.join(f'`{name}`' for name in lacking)}",
                where=f"{self._where}.sql",
                code="E-MAPPING-COLUMN",
                hint=f"A {self.kind} document needs it; add it to the select list.",
            )

    def documents(self, rows: Iterable[Mapping[str, Any]]) -> tuple[dict[Key, Documents], dict[Key, MappingError]]:
        """Documents by key and id, and the keys whose rows cannot be shown. A key without rows is in neither."""
        good: dict[Key, Documents] = {}
        bad: dict[Key, MappingError] = {}
        if self._transform is not None:
            rows = self._transform(list(rows))
        for row in rows:
            raw = row["key"]
            key: Key = raw if type(raw) is int or type(raw) is str else str(raw)
            if key in bad:
                continue
            try:
                id_, fields = self._document(row)
                body = orjson.dumps(fields, option=_JSON)
            except MappingError as exc:
                bad[key] = exc
                good.pop(key, None)
                continue
            except (TypeError, orjson.JSONEncodeError) as exc:
                bad[key] = self._error(f"cannot be written as JSON: {exc}")
                good.pop(key, None)
                continue
            mine = good.setdefault(key, {})
            twin = mine.get(id_)
            if twin is not None and twin.body != body:
                bad[key] = self._error(f"two rows say different things for {id_}")
                del good[key]
                continue
            mine[id_] = Made(fields, body)
        return good, bad

    def _document(self, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        fields: dict[str, Any] = {}
        for name, value in row.items():
            kind = type(value)
            if kind is int:
                fields[name] = value if -_LARGEST <= value <= _LARGEST else str(value)
            elif value is None or kind is bool:
                fields[name] = value
            else:
                fields[name] = self._value(name, value)
        if not self._keep_key:
            del fields["key"]
        for name in self._lists:
            if fields.get(name) is None:
                fields[name] = []
        if self.kind == "stock":
            self._whole(fields, row)
        for name in self._required:
            if fields.get(name) is None:
                raise self._error(f"`{name}` is NULL or missing")
        parts = []
        for name in self.identity:
            value = fields.get(name)
            if value is None:
                value = self._defaults.get(name)
                if value is None:
                    raise self._error(f"`{name}` is NULL, but it is part of the document's identity")
                fields[name] = value
            parts.append(value if type(value) is str else str(value))
        return "|".join(parts), fields

    def _whole(self, fields: dict[str, Any], row: Mapping[str, Any]) -> None:
        """Stock is sold in whole pieces: a fraction of one is not available."""
        available = row.get("available")
        if type(available) is int:
            return
        if isinstance(available, Decimal):
            fields["available"] = exact(Decimal(available.__floor__()))
        elif available is not None:
            raise self._error("`available` must be a number")

    def _value(self, name: str, value: Any) -> Any:
        match value:
            case str():
                return self._text(name, value)
            case Decimal():
                if not value.is_finite():
                    raise self._error(f"`{name}` is {value}: not a number that a store can show")
                return exact(value)
            case float():
                raise self._error(
                    f"`{name}` is a binary floating-point number, which is not exact",
                    hint="Cast it to numeric in the SQL.",
                )
            case dt.datetime():
                return self._moment(name, value)
            case dt.date() | dt.time():
                return value.isoformat()
            case uuid.UUID():
                return str(value)
            case dict():
                return {str(k): self._inner(name, v) for k, v in value.items()}
            case list() | tuple():
                return [self._inner(name, v) for v in value]
            case _:
                raise self._error(
                    f"`{name}` has a type that JSON does not know ({type(value).__name__})",
                    hint="Cast it to text in the SQL.",
                )

    def _inner(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if -_LARGEST <= value <= _LARGEST else str(value)
        return self._value(name, value)

    def _text(self, name: str, value: str) -> str:
        if "\x00" in value:
            raise self._error(f"`{name}` holds a NUL character")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise self._error(f"`{name}` holds a lone surrogate") from None
        return value

    def _moment(self, name: str, value: dt.datetime) -> str:
        if value.tzinfo is None:
            return value.isoformat()
        try:
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        except (OverflowError, ValueError):
            raise self._error(f"`{name}` is a moment that JSON cannot show") from None

    def _error(self, message: str, hint: str = "Correct the ERP's data or the SQL.") -> MappingError:
        return MappingError(message, where=f"{self._where}.sql", hint=hint)

    # -- differences

    def diff(
        self, documents: Documents, acked: Mapping[str, Acked], since: Micros, now: Micros
    ) -> tuple[list[Change], int]:
        """What differs from what the store acknowledged, and how many documents do not. `now` seeds versions."""
        changes: list[Change] = []
        unchanged = 0
        for id_, made in documents.items():
            last = acked.get(id_)
            if last is not None and last.body == made.body:
                unchanged += 1
                continue
            before = last.body if last is not None else None
            changes.append(Change(self._patch(id_, made.fields, before, last, since, now), before, made.body))
        for id_, last in acked.items():
            if id_ in documents or last.body is None:
                continue
            change = self._gone(id_, last, since, now)
            if change is None:
                unchanged += 1
            else:
                changes.append(change)
        return changes, unchanged

    def _patch(
        self, id_: str, fields: dict[str, Any], before: bytes | None, last: Acked | None, since: Micros, now: Micros
    ) -> Patch:
        version = max(last.version + 1, now) if last is not None else now
        if before is None:
            changed = frozenset(fields)
        else:
            known = orjson.loads(before)
            changed = frozenset(name for name in fields.keys() | known.keys() if fields.get(name) != known.get(name))
        return Patch(id_, version, since, fields, {name: fields[name] for name in self.identity}, changed)

    def _gone(self, id_: str, last: Acked, since: Micros, now: Micros) -> Change | None:
        """A document that was there and is not produced any more."""
        assert last.body is not None
        if self._missing is Missing.KEEP:
            return None
        known = orjson.loads(last.body)
        identity = {name: known.get(name) for name in self.identity}
        if self._missing is Missing.UNPUBLISH:
            return Change(Patch(id_, max(last.version + 1, now), since, None, identity), last.body, None)
        zero = {"available": 0} if self.kind == "stock" else {"available": 0, "hold": True}
        fields = {**known, **zero}
        body = orjson.dumps(fields, option=_JSON)
        if body == last.body:
            return None
        return Change(self._patch(id_, fields, last.body, last, since, now), last.body, body)


def exact(value: Decimal) -> int | str:
    """A finite decimal as JSON has it here: whole numbers as integers, others as strings with the ERP's digits."""
    if value == value.to_integral_value():
        whole = int(value)
        return whole if -_LARGEST <= whole <= _LARGEST else str(whole)
    return format(value, "f")

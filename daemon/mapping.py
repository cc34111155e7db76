"""Turn the ERP's rows into documents and documents into patches.

Invariant: a value reaches the store exactly as the ERP has it or not at all: amounts are exact decimals, a float never
becomes money or quantity, and a row that cannot be shown quarantines its own key only. Different identities never share
an id. Pure and synchronous.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import orjson

from daemon.contents import Contents
from daemon.digits import LARGEST as _LARGEST
from daemon.digits import exact as exact
from daemon.errors import ConfigError, ErpsyncError, MappingError
from daemon.model import Acked, Key, Micros, Missing, Patch

# more than a numeric of PostgreSQL's has; JSON text may say 1e999999999, which nobody can write out
_DIGITS = 150_000

_REQUIRED: dict[str, tuple[str, ...]] = {
    "stock": ("sku", "available"),
    "price": ("sku", "currency", "amount"),
    "credit": ("customer",),
    "order_status": ("order", "status"),
    "content": ("sku",),
}
_NUMBERS: dict[str, tuple[str, ...]] = {
    "stock": ("available",),
    "price": ("amount", "compare_at", "min_quantity"),
    "credit": ("limit", "balance", "available"),
}
# the protocol's own names beside a document's fields
_RESERVED = frozenset({"id", "version", "changed_at", "deleted"})
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
    """The mapping of one entity. `where` is its place in the configuration, `entity.<name>`.

    `transform` makes rows of rows, also with column `key`; it is pure, and what it gives for a key does not depend on the
    rows of other keys. `key_type` is int or str where it is known which of them the marks carry.
    """

    def __init__(
        self,
        kind: str,
        identity: Sequence[str],
        defaults: Mapping[str, str | int],
        missing: Missing,
        where: str,
        transform: Transform | None = None,
        key_type: type[int] | type[str] | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.kind = kind
        self.identity = tuple(identity)
        self._identity = tuple((name, defaults.get(name), name == identity[0]) for name in identity)
        self._defaults = dict(defaults)
        self._missing = missing
        self._where = where
        self._transform = transform
        self._key_type = key_type
        self._contents = Contents() if contents is None else contents
        self._reserved = _RESERVED - {"id"} if self.identity == ("id",) else _RESERVED
        self._numbers = _NUMBERS.get(kind, ())
        self._required = _REQUIRED.get(kind, ())
        self._lists = _LISTS.get(kind, ())
        self._keep_key = "key" in self.identity

    def check_columns(self, names: Iterable[str]) -> None:
        """Refuse SQL that cannot give this entity's documents. Raises ConfigError naming the column."""
        names = list(names)
        given = set(names)
        wanted = {"key"}
        if self._transform is None:  # what a function gives is seen when it runs
            wanted |= {*self._required, *(name for name in self.identity if name not in self._defaults)}
        if lacking := sorted(wanted - given):
            raise self._misfit(
                f"the query gives no column {_ticked(lacking)}",
                f"A {self.kind} document needs it; add it to the select list.",
            )
        if len(given) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise self._misfit(
                f"the query gives {_ticked(twice)} more than once", "Give each column a name of its own."
            )
        if self._transform is not None:
            return
        if "?column?" in given:
            raise self._misfit("a column of the query has no name", "Name the expression: `... as name`.")
        if taken := sorted(given & self._reserved):
            raise self._misfit(
                f"the query gives {_ticked(taken)}, which is one of the protocol's own names",
                "Give the column another name.",
            )

    def documents(self, rows: Iterable[Mapping[str, Any]]) -> tuple[dict[Key, Documents], dict[Key, MappingError]]:
        """Documents by key and id, and the keys whose rows cannot be shown. A key without rows is in neither.

        Raises ConfigError when a row's `key` is no key at all: its rows would pass for missing ones.
        """
        good: dict[Key, Documents] = {}
        bad: dict[Key, MappingError] = {}
        if self._transform is not None:
            rows = self._transformed(list(rows), bad)
        plain = (int, str) if self._key_type is None else (self._key_type,)
        for row in rows:
            raw = row["key"]
            key: Key = raw if type(raw) in plain else self._key(raw)
            if key in bad:
                continue
            try:
                id_, fields = self._document(row)
                # a copy has a block of its own size: orjson's is up to eight times as large, and bodies are kept
                body = bytes(memoryview(orjson.dumps(self._contents.compared(fields), option=_JSON)))
            except MappingError as exc:
                bad[key] = exc
                good.pop(key, None)
                continue
            except (TypeError, ValueError, RecursionError) as exc:
                bad[key] = self._error(f"cannot be written as JSON: {exc}")
                good.pop(key, None)
                continue
            mine = good.get(key)
            if mine is None:
                good[key] = {id_: Made(fields, body)}
                continue
            twin = mine.get(id_)
            if twin is not None and twin.body != body:
                bad[key] = self._error(f"two rows say different things for {id_}")
                del good[key]
                continue
            mine[id_] = Made(fields, body)
        return good, bad

    def _key(self, raw: Any) -> Key:
        """A key that is neither a plain int nor str, or not of the marks' type."""
        key: Key | None = None
        if isinstance(raw, uuid.UUID):
            key = str(raw)
        elif isinstance(raw, Decimal) and raw.is_finite() and raw == raw.to_integral_value():
            key = int(raw)
        elif isinstance(raw, (int, str)) and not isinstance(raw, bool):
            key = raw
        if key is None or (self._key_type is not None and not isinstance(key, self._key_type)):
            found = "is NULL" if raw is None else f"has values of type {type(raw).__name__}"
            raise self._misfit(f"column `key` {found}; they match no key of this entity", "Select a key of `key_type`.")
        return key

    def _transformed(
        self, rows: Sequence[Mapping[str, Any]], bad: dict[Key, MappingError]
    ) -> Iterable[Mapping[str, Any]]:
        """What the function makes of the rows; where it fails, key by key, so that only the key at fault is set aside."""
        groups: dict[Key, list[Mapping[str, Any]]] = {}
        for row in rows:
            groups.setdefault(self._key(row["key"]), []).append(row)
        try:
            return self._run(rows, groups)
        except Exception:  # noqa: BLE001 -- anything can come out of an integrator's function; it is named below
            made: list[Mapping[str, Any]] = []
        for key, mine in groups.items():
            try:
                made += self._run(mine, (key,))
            except Exception as exc:  # noqa: BLE001
                words = str(exc.message if isinstance(exc, ErpsyncError) else exc).split("\n")[0][:200]
                bad[key] = MappingError(
                    f"the function fails: {type(exc).__name__}: {words}",
                    where=f"{self._where}.transform",
                    hint="Correct the function or the ERP's data.",
                )
        return made

    def _run(self, rows: Sequence[Mapping[str, Any]], keys: Container[Key]) -> list[Mapping[str, Any]]:
        assert self._transform is not None
        made = list(self._transform(rows))
        for row in made:
            if self._key(row["key"]) not in keys:
                raise self._error(f"it gives key {row['key']!r}, which it was not given")
            if taken := sorted(self._reserved.intersection(row.keys())):
                raise self._error(f"it gives {_ticked(taken)}, which is one of the protocol's own names")
        return made

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
        for name in self._required:
            if fields.get(name) is None:
                raise self._error(f"`{name}` is NULL or missing")
        for name in self._numbers:
            value = row.get(name)
            if type(value) is not int and value is not None and not isinstance(value, Decimal):
                raise self._error(f"`{name}` must be a number", hint="Cast it to numeric in the SQL.")
        if self.kind == "stock" and isinstance(available := row["available"], Decimal):
            # sold in whole pieces: a fraction of one is not available
            fields["available"] = exact(available.to_integral_value(ROUND_FLOOR))
        if problem := self._contents.shape(fields):
            raise self._error(problem)
        return self._id(fields), fields

    def _id(self, fields: dict[str, Any]) -> str:
        """The id of a document; identity fields that it lacks get their defaults."""
        parts = []
        for name, default, first in self._identity:
            value = fields.get(name)
            if value is None:
                if default is None:
                    raise self._error(f"`{name}` is NULL, but it is part of the document's identity")
                value = fields[name] = default
            if type(value) is str:
                if not value:
                    raise self._error(f"`{name}` is empty, but it is part of the document's identity")
                if not first and "|" in value:  # only behind the first could a bar make two identities one id
                    raise self._error(f"`{name}` holds a bar, which separates the parts of an id")
                parts.append(value)
            elif type(value) is int:
                parts.append(str(value))
            else:
                raise self._error(f"`{name}` is neither text nor a number, but it is part of the document's identity")
        return "|".join(parts)

    def _value(self, name: str, value: Any) -> Any:
        match value:
            case str():
                return self._text(name, value)
            case int():
                return value if -_LARGEST <= value <= _LARGEST else str(value)
            case Decimal():
                if not value.is_finite():
                    raise self._error(f"`{name}` is {value}: not a number that a store can show")
                if not -_DIGITS < value.adjusted() < _DIGITS:
                    raise self._error(f"`{name}` has more digits than a number of PostgreSQL's")
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
                return {self._text(name, k): self._inner(name, v) for k, v in value.items()}
            case list() | tuple():
                return [self._inner(name, v) for v in value]
            case _:
                raise self._error(
                    f"`{name}` has a type that JSON does not know ({type(value).__name__})",
                    hint="Cast it to text in the SQL.",
                )

    def _inner(self, name: str, value: Any) -> Any:
        return value if value is None or isinstance(value, bool) else self._value(name, value)

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._error(f"`{name}` holds an object whose names are not text")
        if "\x00" in value:
            raise self._error(f"`{name}` holds a NUL character")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise self._error(f"`{name}` holds a lone surrogate") from None
        return value

    def _moment(self, name: str, value: dt.datetime) -> str:
        if value.tzinfo is None:  # a timestamp without time zone says no moment; it is passed on as it stands
            return value.isoformat()
        try:
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        except (OverflowError, ValueError):
            raise self._error(f"`{name}` is a moment that JSON cannot show") from None

    def _error(self, message: str, hint: str = "Correct the ERP's data or the SQL.") -> MappingError:
        return MappingError(message, where=f"{self._where}.sql", hint=hint)

    def _misfit(self, message: str, hint: str) -> ConfigError:
        return ConfigError(message, where=f"{self._where}.sql", code="E-MAPPING-COLUMN", hint=hint)

    # -- differences

    def diff(
        self, documents: Documents, acked: Mapping[str, Acked], since: Micros, now: Micros, *, sure: bool = True
    ) -> tuple[list[Change], int]:
        """What differs from what the store acknowledged, and how many documents do not. `now` seeds versions. Where it is
        not `sure` that the store shows what it acknowledged, everything counts as different."""
        changes: list[Change] = []
        unchanged = 0
        for id_, made in documents.items():
            last = acked.get(id_)
            if sure and last is not None and last.body == made.body:
                unchanged += 1
                continue
            before = last.body if last is not None else None
            patch = self._patch(id_, made.fields, before if sure else None, last, since, now)
            changes.append(Change(patch, before, made.body))
        for id_, last in acked.items():
            if id_ in documents or last.body is None:
                continue
            change = self._gone(id_, last, since, now, sure)
            if change is None:
                unchanged += 1
            else:
                changes.append(change)
        return changes, unchanged

    @property
    def _zero(self) -> dict[str, Any]:
        return {"available": 0} if self.kind == "stock" else {"available": 0, "hold": True}

    def zeroed(self, body: bytes) -> bool:
        """Whether a document is what is left of one that went."""
        return self._missing is Missing.ZERO and self._zero.items() <= orjson.loads(body).items()

    def _patch(
        self, id_: str, fields: dict[str, Any], before: bytes | None, last: Acked | None, since: Micros, now: Micros
    ) -> Patch:
        version = max(last.version + 1, now) if last is not None else now
        fields = self._contents.sent(fields, new=last is None or last.body is None)
        if before is None:
            changed = frozenset(fields)
        else:
            known = orjson.loads(before)
            changed = frozenset(name for name in fields.keys() | known.keys() if _differ(name, fields, known))
        return Patch(id_, version, since, fields, {name: fields[name] for name in self.identity}, changed)

    def _gone(self, id_: str, last: Acked, since: Micros, now: Micros, sure: bool) -> Change | None:
        """A document that was there and is not produced any more."""
        assert last.body is not None
        if self._missing is Missing.KEEP:
            return None
        known = orjson.loads(last.body)
        identity = {name: known.get(name) for name in self.identity}
        if self._missing is Missing.UNPUBLISH:
            return Change(Patch(id_, max(last.version + 1, now), since, None, identity), last.body, None)
        fields = {**known, **self._zero}
        body = orjson.dumps(fields, option=_JSON)
        if sure and body == last.body:
            return None
        return Change(self._patch(id_, fields, last.body if sure else None, last, since, now), last.body, body)


def _differ(name: str, fields: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a field is not the same JSON in both; absent is not null, and true is not 1."""
    if name not in fields or name not in known:
        return True
    one, other = fields[name], known[name]
    if type(one) is str and type(other) is str:
        return one != other
    return orjson.dumps(one, option=_JSON) != orjson.dumps(other, option=_JSON)


def _ticked(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

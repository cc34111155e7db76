"""The demo storefront's memory: documents in one SQLite file, and what a document must look like to get in.

Invariant: an older version never replaces a newer one; a batch is one transaction; a document that is refused is named
with its reason and does not hold the others. Only the thread that opened a `ShopStore` uses it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import orjson

ENTITY: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
SCAN_LIMIT: Final = 1000
MAX_ID: Final = 4096
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - reads the same on every version
_OWN: Final = frozenset({"version", "changed_at", "deleted"})
_MAX_INT: Final = 2**63 - 1

_TEXT, _WHOLE, _EXACT, _FLAG, _LIST, _TABLE = (
    "a text",
    "a whole number",
    "an exact decimal",
    "true or false",
    "a list",
    "an object",
)

_SHAPES: Final[dict[str, dict[str, str]]] = {
    "stock": {"sku": _TEXT, "available": _WHOLE},
    "price": {"sku": _TEXT, "currency": _TEXT, "amount": _EXACT},
    "credit": {
        "customer": _TEXT,
        "currency": _TEXT,
        "limit": _EXACT,
        "balance": _EXACT,
        "available": _EXACT,
        "hold": _FLAG,
    },
    "order_status": {"order": _TEXT, "status": _TEXT, "fulfilments": _LIST},
    "content": {"sku": _TEXT, "title": _TEXT, "description_html": _TEXT, "attributes": _TABLE, "images": _LIST},
}
"""Fields that the shop's pages rely on. Entities of other names are taken as they come."""

_SCHEMA: Final = """
create table if not exists document (
    entity      text not null,
    id          text not null,
    version     integer not null,
    deleted     integer not null,
    sku         text,
    title       text,
    changed_at  integer not null,
    received_at integer not null,
    body        blob not null,
    primary key (entity, id)
) without rowid;
create index if not exists document_sku on document (sku, entity) where sku is not null;
create index if not exists document_recent on document (entity, received_at);
"""

_UPSERT: Final = """
insert into document (entity, id, version, deleted, sku, title, changed_at, received_at, body)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (entity, id) do update set
    version = excluded.version, deleted = excluded.deleted, sku = excluded.sku, title = excluded.title,
    changed_at = excluded.changed_at, received_at = excluded.received_at, body = excluded.body
"""


class RefusedError(ValueError):
    """The document cannot be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A document whose shown value became another one, for whoever watches the pages."""

    entity: str
    id: str
    fields: dict[str, Any]
    deleted: bool
    changed_at: int
    received_at: int

    def shown(self) -> dict[str, Any]:
        return {
            "entity": self.entity,
            "id": self.id,
            "deleted": self.deleted,
            "fields": self.fields,
            "at": self.received_at / 1_000_000,
            "lag": max(0.0, (self.received_at - self.changed_at) / 1_000_000),
        }


@dataclass(frozen=True, slots=True)
class _Checked:
    id: str
    version: int
    changed_at: int
    deleted: bool
    fields: dict[str, Any]


def micros(text: str) -> int:
    """`2026-07-25T10:00:00.5Z` -> microseconds since 1970. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _is_exact(value: object) -> bool:
    if isinstance(value, str):
        try:
            return Decimal(value).is_finite()
        except InvalidOperation:
            return False
    return isinstance(value, int) and not isinstance(value, bool)


def _fits(kind: str, value: object) -> bool:
    if kind == _TEXT:
        return isinstance(value, str)
    if kind == _WHOLE:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == _EXACT:
        return _is_exact(value)
    if kind == _FLAG:
        return isinstance(value, bool)
    return isinstance(value, list if kind == _LIST else dict)


def _check(entity: str, document: object) -> _Checked:
    if not isinstance(document, dict):
        raise RefusedError("not an object")
    name = document.get("id")
    if not isinstance(name, str) or not name or len(name) > MAX_ID:
        raise RefusedError(f"id must be a text of 1 to {MAX_ID} characters")
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= _MAX_INT:
        raise RefusedError("version must be a whole number from 0 to 2^63-1")
    try:
        changed_at = micros(document.get("changed_at", ""))
    except (ValueError, TypeError, OverflowError):
        raise RefusedError("changed_at must be an RFC 3339 time with an offset") from None
    deleted = document.get("deleted", False)
    if not isinstance(deleted, bool):
        raise RefusedError("deleted must be true or false")
    if not deleted:
        for field, kind in _SHAPES.get(entity, {}).items():
            if field not in document:
                raise RefusedError(f"{field} is missing")
            if not _fits(kind, document[field]):
                raise RefusedError(f"{field} must be {kind}")
    return _Checked(name, version, changed_at, deleted, {k: v for k, v in document.items() if k not in _OWN})


class ShopStore:
    """All documents, by entity and id."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def write(self, entity: str, documents: Sequence[object], now: int) -> tuple[list[dict[str, str]], list[Change]]:
        """One result a document, and those whose value is another one now."""
        results: list[dict[str, str]] = []
        changes: list[Change] = []
        self._db.execute("begin immediate")
        try:
            for document in documents:
                try:
                    checked = _check(entity, document)
                    change = self._put(entity, checked, now)
                except RefusedError as refused:
                    name = document.get("id") if isinstance(document, dict) else None
                    results.append({"id": str(name or ""), "status": "rejected", "error": str(refused)})
                    continue
                results.append({"id": checked.id, "status": "ok"})
                if change is not None:
                    changes.append(change)
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        return results, changes

    def _put(self, entity: str, new: _Checked, now: int) -> Change | None:
        old = self._db.execute(
            "select version, deleted, body from document where entity = ? and id = ?", (entity, new.id)
        ).fetchone()
        if old is not None and new.version < old[0]:
            return None  # a late call; what is shown is newer, and that is as good as stored
        body = orjson.dumps(new.fields, option=orjson.OPT_SORT_KEYS)
        same = old is not None and bool(old[1]) == new.deleted and old[2] == body
        if same and new.version == old[0]:
            return None  # the same call once more
        sku, title = new.fields.get("sku"), new.fields.get("title")
        row = (
            entity,
            new.id,
            new.version,
            new.deleted,
            sku if isinstance(sku, str) else None,
            title if isinstance(title, str) else None,
            new.changed_at,
            now,
            body,
        )
        self._db.execute(_UPSERT, row)
        return None if same else Change(entity, new.id, new.fields, new.deleted, new.changed_at, now)

    def get(self, entity: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Documents that are shown, in the order asked; unknown and deleted ids are left out."""
        found = []
        for name in dict.fromkeys(ids):
            row = self._db.execute(
                "select id, version, changed_at, body from document where entity = ? and id = ? and not deleted",
                (entity, name),
            ).fetchone()
            if row is not None:
                found.append(_document(*row))
        return found

    def scan(self, entity: str, after: str, limit: int) -> list[dict[str, Any]]:
        """The next page of documents that are shown, ids growing by their bytes."""
        rows = self._db.execute(
            "select id, version, changed_at, body from document where entity = ? and id > ? and not deleted"
            " order by id limit ?",
            (entity, after, limit),
        )
        return [_document(*row) for row in rows]

    def skus(self, words: str, category: str, limit: int, offset: int) -> list[str]:
        """SKUs of a page of the catalogue: those with a price or stock, found by words in SKU or title."""
        like = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._db.execute(
            "select distinct d.sku from document d where d.sku is not null and not d.deleted"
            " and (d.sku like :like escape '\\' or d.title like :like escape '\\')"
            " and d.entity in ('stock', 'price', 'content')"
            " and (:category = '' or exists (select 1 from document c, json_each(c.body, '$.categories') g"
            "      where c.sku = d.sku and c.entity = 'content' and not c.deleted and g.value = :category))"
            " and exists (select 1 from document p where p.sku = d.sku and p.entity = 'price' and not p.deleted)"
            " order by d.sku limit :limit offset :offset",
            {"like": like, "category": category, "limit": limit, "offset": offset},
        )
        return [row[0] for row in rows]

    def categories(self) -> list[str]:
        rows = self._db.execute(
            "select distinct g.value from document c, json_each(c.body, '$.categories') g"
            " where c.entity = 'content' and not c.deleted and g.type = 'text' order by 1"
        )
        return [row[0] for row in rows]

    def of_sku(self, sku: str) -> list[dict[str, Any]]:
        """Everything that is shown about one product."""
        rows = self._db.execute(
            "select entity, id, deleted, changed_at, received_at, body from document where sku = ? and not deleted",
            (sku,),
        )
        return [_change(*row).shown() for row in rows]

    def recent(self, entity: str, limit: int) -> list[dict[str, Any]]:
        """The documents that came last, newest first."""
        rows = self._db.execute(
            "select entity, id, deleted, changed_at, received_at, body from document"
            " where entity = ? and not deleted order by received_at desc, id desc limit ?",
            (entity, limit),
        )
        return [_change(*row).shown() for row in rows]

    def counts(self) -> dict[str, int]:
        return dict(self._db.execute("select entity, count(*) from document where not deleted group by entity"))


def _document(name: str, version: int, changed_at: int, body: bytes) -> dict[str, Any]:
    moment = (_EPOCH + timedelta(microseconds=changed_at)).isoformat(timespec="microseconds")
    return {**orjson.loads(body), "id": name, "version": version, "changed_at": moment.replace("+00:00", "Z")}


def _change(entity: str, name: str, deleted: int, changed_at: int, received_at: int, body: bytes) -> Change:
    return Change(entity, name, orjson.loads(body), bool(deleted), changed_at, received_at)

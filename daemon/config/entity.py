"""The tables [entity.*]: what a kind of document is, where its truth is read and what makes a key dirty.

Invariant: an entity that was built can be read (sql), enumerated (all_keys) and has an identity; each of its watches
leads from a changed row to keys in exactly one way.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from daemon.config.section import Finding, Raw, Section, TableName, Whole, Word, derived
from daemon.config.values import Delay, Duration, KeysSql, Text, WindowSql, resolve_path
from daemon.model import Lane, Missing


class Kind(enum.StrEnum):
    """What the documents of an entity are; a kind fixes identity and fields."""

    STOCK = "stock"
    PRICE = "price"
    CREDIT = "credit"
    ORDER_STATUS = "order_status"
    CONTENT = "content"
    CUSTOM = "custom"


class KeyType(enum.StrEnum):
    BIGINT = "bigint"
    INTEGER = "integer"
    UUID = "uuid"
    TEXT = "text"


_IDENTITY: dict[Kind, tuple[str, ...]] = {
    Kind.STOCK: ("sku", "location"),
    Kind.PRICE: ("sku", "price_list", "currency", "min_quantity"),
    Kind.CREDIT: ("customer",),
    Kind.ORDER_STATUS: ("order",),
    Kind.CONTENT: ("sku", "locale"),
}
_IDENTITY_DEFAULTS: dict[Kind, dict[str, str | int]] = {
    Kind.STOCK: {"location": "default"},
    Kind.PRICE: {"price_list": "default", "min_quantity": 1},
    Kind.CONTENT: {"locale": "default"},
}
_ZERO_KINDS = (Kind.STOCK, Kind.CREDIT)


def kind_of(name: str, given: object = None) -> Kind:
    """The kind that a table [entity.<name>] means: the one given, else its name, else custom."""
    for word in (given, name) if given is None else (given,):
        if isinstance(word, str) and word in set(Kind):
            return Kind(word)
    return Kind.CUSTOM


def _table(value: str) -> str:
    parts = value.split(".")
    if len(parts) > 2 or not all(parts) or re.search(r"[\s\"]", value):
        raise ValueError('must be "schema.table" as Postgres stores the names, without quotes')
    return value if len(parts) == 2 else f"public.{value}"


def _column(value: str) -> str:
    if '"' in value or "\0" in value:
        raise ValueError("must be a column's name as Postgres stores it, without quotes")
    return value


def _transform(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", value):
        raise ValueError('must be "module.path:function"')
    return value


Column = Annotated[Word, AfterValidator(_column)]


class Watch(Section):
    """A table whose changed rows dirty keys of this entity."""

    table: Annotated[Word, AfterValidator(_table)] = Field(
        description='Watched table, "schema.table"; a bare name means schema public.'
    )
    key: Column | None = Field(default=None, description="Column of that table that holds the entity's key.")
    column: Column | None = Field(
        default=None,
        description="Column whose values are handed to the query in keys, where the row has no key itself.",
    )
    keys: KeysSql | None = Field(
        default=None, description="Query that gives the entity's keys for the values of column; $1 is their array."
    )

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        given = {"key", "column", "keys"} & set(raw)
        if not given:
            yield ("key",), "is missing: name the column that holds the key, or column and keys (a query of $1)"
        elif "key" in given and len(given) > 1:
            yield ("key",), "stands beside column or keys; give either key, or column and keys"
        elif given == {"column"}:
            yield ("keys",), "is missing: the query that gives keys for the values of column ($1)"
        elif given == {"keys"}:
            yield ("column",), "is missing: the column of the table whose values become $1"


def _poll_name(data: dict[str, Any]) -> str:
    return f"poll-{hashlib.sha256(data['keys'].encode()).hexdigest()[:8]}"


class Poll(Section):
    """A query that finds keys which no row change announces."""

    every: Duration = Field(description="How often the query runs.")
    keys: WindowSql = Field(
        description="Query that gives keys; $1 is the start of the window and $2 its end, on the ERP's clock."
    )
    overlap: Delay = Field(
        default=0.0,
        description="How far each window reaches back into the one before, for commits that come late. "
        'Default: "0s" in mode stream, "60s" in mode poll.',
    )
    name: Word = Field(
        default_factory=derived(_poll_name),
        description="Name under which the end of the last window is kept. Default: derived from the query.",
    )


class Owner(enum.StrEnum):
    """Who decides what a field of a document says in the store."""

    ERP = "erp"
    STORE = "store"
    """Never sent."""
    ONCE = "once"
    """Sent with a document that is new to the store, and the store's from then on."""


class Images(Section):
    """Where the bytes of images are that a document names by their hash, and what an image may be."""

    sql: KeysSql | None = Field(
        default=None, description="Query that gives column data (bytea) for an array of hashes, $1."
    )
    folder: Annotated[Text, BeforeValidator(resolve_path)] | None = Field(
        default=None, description="Folder with files named by their SHA-256, also below its first two digits."
    )
    max_bytes: Annotated[Whole, Field(ge=1)] = Field(default=20_000_000, description="Largest size of one image.")
    types: tuple[Word, ...] = Field(
        default=("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"),
        min_length=1,
        description="Media types that are taken; the bytes decide, not the name.",
    )


class Entity(Section):
    """One kind of document: its truth, its keys, its triggers."""

    named = True

    name: TableName = ""
    kind: Kind = Field(
        default_factory=derived(lambda data: kind_of(data["name"])),
        description="What the documents are: stock, price, credit, order_status, content or custom. Default: "
        "the table's own name where it is one of these, else custom.",
    )
    lane: Lane = Field(
        default_factory=derived(lambda data: Lane.BATCH if data["kind"] is Kind.CONTENT else Lane.FAST),
        description="fast is sent within seconds, batch is sent throttled by a job of [batch.*]. Default: "
        "batch for content, else fast.",
    )
    target: Duration = Field(
        default_factory=derived(lambda data: 5.0 if data["lane"] is Lane.FAST else 86400.0),
        description='Staleness objective; older than this is STALE. Default: "5s" in the fast '
        'lane, "1d" in the batch lane.',
    )
    key_type: KeyType = Field(
        default=KeyType.BIGINT, description="Postgres type of the entity's key: bigint, integer, uuid or text."
    )
    identity: tuple[Word, ...] = Field(
        default_factory=derived(lambda data: _IDENTITY.get(data["kind"], ("key",))),
        min_length=1,
        description='Fields that make a document\'s id, in this order; only for kind custom. Default there: ["key"].',
    )
    sql: KeysSql = Field(
        description="Query that reads the truth; $1 is an array of keys. Column key says which key a row belongs to, "
        "the other columns are the document's fields."
    )
    all_keys: WindowSql = Field(
        description="Query that enumerates all keys page by page: keys above $1 in ascending order, at most $2 of them."
    )
    transform: Annotated[Word, AfterValidator(_transform)] | None = Field(
        default=None, description="Pure function rows -> documents where SQL cannot say it, as module.path:function."
    )
    missing: Missing = Field(
        default_factory=derived(lambda data: Missing.ZERO if data["kind"] is Kind.STOCK else Missing.UNPUBLISH),
        description="What it means that a document is no longer produced: zero (stock and credit only), unpublish or "
        "keep. Default: zero for stock, else unpublish.",
    )
    owner: dict[Word, Owner] = Field(
        default_factory=dict, description="Whose a field is: erp (the default), store or once; only for kind content."
    )
    sanitize: bool = Field(
        default=False, strict=True, description="Clean description_html of scripts and the like; only for kind content."
    )
    images: Images | None = Field(default=None, description="Where images are that are named by their hash.")
    watch: tuple[Watch, ...] = Field(default=(), description="Tables whose changes dirty keys of this entity.")
    poll: tuple[Poll, ...] = Field(default=(), description="Rules for keys that change by the clock, not by a row.")

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        kind = kind_of(str(raw.get("name", "")), raw.get("kind"))
        if raw.get("missing") == Missing.ZERO and kind not in _ZERO_KINDS:
            yield (
                ("missing",),
                f'"zero" has a meaning for stock and credit only, not for {kind}; use "unpublish" or "keep"',
            )
        if "identity" in raw and kind is not Kind.CUSTOM:
            fields = ", ".join(_IDENTITY[kind])
            yield ("identity",), f"kind {kind} has its own identity ({fields}); leave it out"
        yield from _of_content(raw, kind)
        yield from _repeated(raw.get("poll"))

    def identity_fields(self) -> tuple[str, ...]:
        """Names of the fields that make a document's id, in order."""
        return self.identity

    def identity_defaults(self) -> dict[str, str | int]:
        """Values of identity fields that the query may leave out."""
        return dict(_IDENTITY_DEFAULTS.get(self.kind, {}))

    def digest(self) -> str:
        """Stands for everything that decides which documents there are and which changes are seen."""
        text = self.model_dump_json(exclude={"name", "lane", "target", "poll"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def watched_tables(self) -> frozenset[str]:
        """Tables, as "schema.table", whose changes matter here."""
        return frozenset(watch.table for watch in self.watch)


def _of_content(raw: Raw, kind: Kind) -> Iterator[Finding]:
    for key in ("owner", "sanitize", "images"):
        if key in raw and kind is not Kind.CONTENT:
            yield (key,), "is for kind content; leave it out"
    owner = raw.get("owner")
    for name in set(owner if isinstance(owner, dict) else ()) & {*_IDENTITY[Kind.CONTENT], "key"}:
        yield ("owner", name), "is part of the document's identity, which is the ERP's"


def _repeated(polls: Any) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, poll in enumerate(polls if isinstance(polls, list | tuple) else ()):
        name = poll.get("name") if isinstance(poll, dict) else None
        if isinstance(name, str):
            if name in seen:
                yield ("poll", index, "name"), f'"{name}" stands for another rule of this entity already'
            seen.add(name)

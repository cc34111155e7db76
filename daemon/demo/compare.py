"""Holds what the storefront shows against the ERP, document by document, with the SQL of the configuration.

Invariant: nothing of the daemon's own code or state takes part: the truth is the configured SQL run once more, in one
snapshot, by another connection. A difference is named with both values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import asyncpg
import orjson

from daemon.demo.shop import DemoShop

IDENTITY: Final[dict[str, dict[str, str]]] = {
    "stock": {"sku": "", "location": "default"},
    "price": {"sku": "", "price_list": "default", "currency": "", "min_quantity": "1"},
    "credit": {"customer": ""},
    "order_status": {"order": ""},
    "content": {"sku": "", "locale": "default"},
}
"""Identity fields of each entity, and what stands for one that the SQL does not have."""
_PAGE: Final = 5000
_SMALLEST: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Difference:
    entity: str
    id: str
    field: str
    erp: object
    store: object

    def __str__(self) -> str:
        return f"{self.entity} {self.id}: {self.field} is {self.store} in the store and {self.erp} in the ERP"


@dataclass(frozen=True, slots=True)
class Comparison:
    counts: Mapping[str, int]
    """Documents compared, by entity."""
    differences: tuple[Difference, ...]

    @property
    def documents(self) -> int:
        return sum(self.counts.values())


async def compare(dsn: str, shop: DemoShop, entities: Mapping[str, Mapping[str, Any]]) -> Comparison:
    """`entities` are the `[entity.*]` tables of the configuration, as TOML has them."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "demo-comparison"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            truth = {name: await _truth(connection, name, table) for name, table in entities.items()}
    finally:
        await connection.close(timeout=5)
    counts: dict[str, int] = {}
    differences: list[Difference] = []
    for name, table in entities.items():
        shown = await shop.documents_of(name)
        differences += differ(name, truth[name], shown, str(table.get("missing", "zero")))
        counts[name] = len(truth[name].keys() | shown.keys())
    return Comparison(counts, tuple(differences))


async def _truth(connection: Any, entity: str, table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    keys: list[int] = []
    while page := await connection.fetch(table["all_keys"], keys[-1] if keys else _SMALLEST, _PAGE):
        keys += [row[0] for row in page]
    statement = await connection.prepare(table["sql"])
    json = {column.name for column in statement.get_attributes() if column.type.name in {"json", "jsonb"}}
    documents: dict[str, dict[str, Any]] = {}
    for row in await statement.fetch(keys):
        fields = {k: orjson.loads(v) if k in json and v is not None else v for k, v in row.items() if k != "key"}
        documents["|".join(str(fields.get(k, d)) for k, d in IDENTITY[entity].items())] = fields
    return documents


def differ(
    entity: str, truth: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Mapping[str, Any]], missing: str
) -> list[Difference]:
    """`missing` says what becomes of a document that the ERP has no longer: zero, unpublish or keep."""
    found: list[Difference] = []
    for name, fields in truth.items():
        document = shown.get(name)
        if document is None:
            found.append(Difference(entity, name, "document", "there", "not there"))
            continue
        found += [
            Difference(entity, name, field, value, document.get(field))
            for field, value in fields.items()
            if not _same(value, document.get(field))
        ]
    for name in shown.keys() - truth.keys():
        document = shown[name]
        if missing == "unpublish":
            found.append(Difference(entity, name, "document", "not there", "there"))
        elif missing == "zero" and not _same(0, document.get("available", 0)):
            found.append(Difference(entity, name, "available", 0, document["available"]))
    return found


def _same(erp: object, store: object) -> bool:
    if isinstance(erp, bool) or not isinstance(erp, int | Decimal):
        return erp == store
    if isinstance(store, bool) or not isinstance(store, int | str):
        return False
    try:
        return Decimal(store) == erp
    except InvalidOperation:
        return False

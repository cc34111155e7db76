"""Credit: one metafield of type json on the company, company location or customer, compared and set.

Invariant: the metafield is written only over the value that was just read; Shopify has no credit limit of its own, so it
holds the whole document. A customer is found by an exact external id or address that exactly one in the shop has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from adapters.store.loan import Memory
from adapters.store.shopify import documents
from adapters.store.shopify.articles import Articles, parts, term
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.options import Options
from adapters.store.shopify.results import Fault, Results, faults_of, settle
from daemon.model import Fields, Patch

KEY: Final = "credit"
ROWS: Final = 25
"""Metafields of one call; the API takes no more."""
SEARCHED: Final = 40
STALE: Final = ("STALE_OBJECT", "INVALID_COMPARE_DIGEST")
LATER: Final = ("INTERNAL_ERROR",)
_FIELDS: Final = {"company": "companies", "company_location": "companyLocations", "customer": "customers"}
_DOCUMENTS: Final = {
    "company": documents.COMPANIES,
    "company_location": documents.COMPANY_LOCATIONS,
    "customer": documents.CUSTOMERS,
}


@dataclass(frozen=True, slots=True)
class Owner:
    """One metafield on its way. `digest`: of the value that is there; None where there is none."""

    patch: Patch
    name: str
    id: str
    digest: str | None


class Credit:
    """The credit of one shop's customers."""

    def __init__(self, client: Client, articles: Articles, options: Options, memory: Memory) -> None:
        self._client = client
        self._nodes = articles
        self._owner = options.customers
        self._memory = memory
        self._kind = f"owner-{options.customers}"
        self._where = {"namespace": options.namespace, "key": KEY}

    async def apply(self, patches: Sequence[Patch], results: Results) -> None:
        """Write the documents. Raises StoreError when a whole call fails."""
        by_name = {str(patch.identity["customer"]): patch for patch in patches}
        rows = await self._rows(by_name, results)
        gone = [row for row in rows if row.patch.fields is None]
        for some in parts(gone, ROWS):
            named = [{"ownerId": row.id, **self._where} for row in some]
            data = await self._client.run(documents.METAFIELDS_DELETE, {"metafields": named})
            payload = self._client.shape(data.get("metafieldsDelete"), dict, "what became of the metafields")
            faults = faults_of(payload)
            for row in some:
                if faults:
                    results.refuse(row.patch, faults[0].message)
                else:
                    results.ok(row.patch)
        for some in parts([row for row in rows if row.patch.fields is not None], ROWS):
            await settle(some, self._set, lambda again: self._reread(again, results), results, stale=STALE, later=LATER)

    async def _rows(self, by_name: Mapping[str, Patch], results: Results) -> list[Owner]:
        found, refused = await self._read(by_name)
        for name, why in refused.items():
            if by_name[name].fields is None:
                results.ok(by_name[name])  # what is not there shows nothing
            else:
                results.refuse(by_name[name], why)
        return [
            Owner(by_name[name], name, node["id"], (node["metafield"] or {}).get("compareDigest"))
            for name, node in sorted(found.items())
        ]

    async def _reread(self, rows: Sequence[Owner], results: Results) -> list[Owner]:
        return await self._rows({row.name: row.patch for row in rows}, results)

    async def _set(self, rows: Sequence[Owner]) -> list[Fault]:
        metafields = [
            {
                "ownerId": row.id,
                **self._where,
                "type": "json",
                "value": _value(row.patch.fields or {}),
                "compareDigest": row.digest,
            }
            for row in rows
        ]
        data = await self._client.run(documents.METAFIELDS_SET, {"metafields": metafields})
        payload = self._client.shape(data.get("metafieldsSet"), dict, "what became of the metafields")
        return faults_of(payload, "metafields")

    # -- who is who

    async def _read(self, names: Iterable[str]) -> tuple[dict[str, Json], dict[str, str]]:
        """The shop's customers with their metafield, and why there is none for the other names."""
        wanted = sorted(set(names))
        known = await self._memory.get(self._kind, wanted)
        held = [name for name in wanted if name in known]
        nodes = await self._nodes.nodes([known[name] for name in held], documents.OWNERS_READ, self._where)
        found = {n: node for n, node in zip(held, nodes, strict=True) if node is not None and self._is(node, n)}
        self._memory.forget(self._kind, [name for name in held if name not in found])
        refused: dict[str, str] = {}
        for some in parts([name for name in wanted if name not in found], SEARCHED):
            shown: dict[str, list[Json]] = {name: [] for name in some}
            field = "email" if self._owner == "customer" else "external_id"
            query = " OR ".join(term(field, name) for name in some)
            pages = self._nodes.pages(_DOCUMENTS[self._owner], _FIELDS[self._owner], query, self._where)
            async for node in pages:
                for name in some:
                    if self._is(node, name):
                        shown[name].append(node)
            for name, those in shown.items():
                if len(those) == 1:
                    found[name] = those[0]
                    self._memory.put(self._kind, {name: those[0]["id"]})
                else:
                    what = self._owner.replace("_", " ")
                    number = len(those) or "no"
                    refused[name] = f"the shop has {number} {what} for the ERP's customer {name}; it must be one"
        return found, refused

    def _is(self, node: Mapping[str, Any], name: str) -> bool:
        if self._owner == "customer":
            return (self._name(node) or "").lower() == name.lower()
        return self._name(node) == name

    def _name(self, node: Mapping[str, Any]) -> str | None:
        if self._owner == "customer":
            return (node["defaultEmailAddress"] or {}).get("emailAddress")
        name: str | None = node["externalId"]
        return name

    # -- reading back

    async def fetch(self, ids: Sequence[str]) -> Mapping[str, Fields]:
        found, _ = await self._read(ids)
        shown = {name: _fields(name, node) for name, node in found.items()}
        return {name: fields for name, fields in shown.items() if fields is not None}

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """Everything, in the order of the ids. All pages are read first, since Shopify knows no such order."""
        found: dict[str, Fields] = {}
        pages = self._nodes.pages(_DOCUMENTS[self._owner], _FIELDS[self._owner], None, self._where, background=True)
        async for node in pages:
            name = self._name(node)
            fields = _fields(name, node) if name else None
            if name and fields is not None:
                found[str(fields["customer"])] = fields
        for id_ in sorted(found):
            yield id_, found[id_]


def _value(fields: Fields) -> str:
    return orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS).decode()


def _fields(name: str, node: Mapping[str, Any]) -> Fields | None:
    """The document of a customer; None where the metafield is not there. What somebody else wrote there is drift."""
    held = node["metafield"]
    if held is None:
        return None
    try:
        value = orjson.loads(held["value"])
    except ValueError:
        value = None
    return value if isinstance(value, dict) and value.get("customer") else {"customer": name}

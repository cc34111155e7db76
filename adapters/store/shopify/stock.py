"""Stock: the quantity of one inventory item at one location, compared and set.

Invariant: a quantity is set only over the one that was just read; where it changed meanwhile it is read and set once more,
then the ERP is asked again. A negative quantity is shown as zero, which Shopify takes, and never as what was there before.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.store.loan import Memory
from adapters.store.shopify import documents
from adapters.store.shopify.articles import Article, Articles, gid, parts
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.options import Options
from adapters.store.shopify.results import Fault, Results, faults_of, settle, unwritten
from adapters.store.shopify.variants import VariantRow, update
from daemon.model import Fields, Patch, Status

ROWS: Final = 250
ACTIVATIONS: Final = 10
"""First quantities in one call; each is a mutation of its own in it."""
LARGEST: Final = 1_000_000_000
REASON: Final = "correction"
_KNOWN: Final = ("sku", "location", "available", "backorder")
_OWED: Final = "below_zero"
_STALE: Final = ("CHANGE_FROM_QUANTITY_STALE", "COMPARE_QUANTITY_STALE")
_LATER: Final = ("IDEMPOTENCY_CONCURRENT_REQUEST", "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED")
_POLICY: Final = {True: "CONTINUE", False: "DENY"}


@dataclass(frozen=True, slots=True)
class Level:
    """One quantity on its way. `level`: the shop's id of the place; None where the item is not stocked there yet."""

    patch: Patch
    sku: str
    location: str
    article: Article
    level: str | None
    shown: int
    wanted: int


def place_of(id_: str) -> tuple[str, str]:
    """SKU and location of a document's id; a bar can only be in the SKU."""
    sku, _, location = id_.rpartition("|")
    return sku, location


class Stock:
    """The stock of one shop."""

    def __init__(self, client: Client, articles: Articles, options: Options, memory: Memory, name: str) -> None:
        self._client = client
        self._articles = articles
        self._options = options
        self._memory = memory
        self._document = f"gid://erpsyncd/Store/{name}"

    async def apply(self, patches: Sequence[Patch], results: Results) -> None:
        """Write quantities. Raises StoreError when a whole call fails."""
        placed: dict[str, list[Patch]] = {}
        for patch in patches:
            location = str(patch.identity.get("location", "default"))
            if location in self._options.locations:
                placed.setdefault(location, []).append(patch)
            else:
                results.refuse(patch, f"no location of the shop is mapped to {location}; see options.locations")
        rows: list[Level] = []
        for location, those in sorted(placed.items()):
            rows += await self._levels(location, those, results)
        gone = [row for row in rows if row.patch.fields is None]
        rows = sorted((row for row in rows if row.patch.fields is not None), key=lambda r: (r.sku, r.location))
        await self._end(gone, results)
        rows = await self._policies(rows, results)
        await self._start([row for row in rows if row.level is None], results)
        held = [row for row in rows if row.level is not None]
        for some in parts(held, ROWS):
            await settle(
                some, self._set, lambda again: self._reread(again, results), results, stale=_STALE, later=_LATER
            )
        self._remember(rows)

    async def _levels(self, location: str, patches: Sequence[Patch], results: Results) -> list[Level]:
        """What the shop shows at one location now. A patch that has no place there gets its outcome."""
        by_sku = {str(patch.identity["sku"]): patch for patch in patches}
        read, refused = await self._read(location, by_sku)
        for sku, why in refused.items():
            patch = by_sku[sku]
            if patch.fields is None:
                results.ok(patch)  # what is not there shows nothing
            else:
                results.refuse(patch, why)
        rows = []
        for sku, (article, node) in read.items():
            patch = by_sku[sku]
            item = node["inventoryItem"]
            wanted = 0 if patch.fields is None else patch.fields.get("available")
            if why := unwritten(patch, _KNOWN):
                results.refuse(patch, why)
            elif isinstance(wanted, bool) or not isinstance(wanted, int) or wanted > LARGEST:
                results.refuse(patch, f"available is {wanted!r}; Shopify takes whole numbers up to {LARGEST}")
            elif patch.fields is not None and not item["tracked"]:
                results.refuse(patch, f"the shop does not track the quantity of {sku}; switch that on in the shop")
            else:
                level, shown = _shown(item)
                rows.append(Level(patch, sku, location, article, level, shown, wanted))
        return rows

    async def _read(self, location: str, skus: Iterable[str]) -> tuple[dict[str, tuple[Article, Json]], dict[str, str]]:
        variables = {"location": self._options.locations[location], "name": self._options.quantity}
        return await self._articles.read(skus, documents.STOCK_READ, variables)

    async def _set(self, rows: Sequence[Level]) -> list[Fault]:
        quantities = [
            {
                "inventoryItemId": gid("InventoryItem", row.article.item),
                "locationId": self._options.locations[row.location],
                "quantity": max(row.wanted, 0),
                "changeFromQuantity": row.shown,
            }
            for row in rows
        ]
        change = {
            "name": self._options.quantity,
            "reason": REASON,
            "referenceDocumentUri": self._document,
            "quantities": quantities,
        }
        # one key a call: it makes the repetition over a dying connection harmless, and no later call an echo of this one
        data = await self._client.run(documents.STOCK_SET, {"input": change, "key": str(uuid.uuid4())})
        payload = self._client.shape(data.get("inventorySetQuantities"), dict, "what became of the quantities")
        return faults_of(payload, "quantities")

    async def _reread(self, rows: Sequence[Level], results: Results) -> list[Level]:
        """The rows with the quantity that is shown now; one that has no place any more gets its outcome."""
        fresh: list[Level] = []
        for location in sorted({row.location for row in rows}):
            those = {row.sku: row for row in rows if row.location == location}
            read, refused = await self._read(location, those)
            for sku, why in refused.items():
                results.refuse(those[sku].patch, why)
            for sku, (article, node) in read.items():
                level, shown = _shown(node["inventoryItem"])
                if level is None:
                    results.later(those[sku].patch, "the shop stopped to stock the article there in this moment")
                else:
                    fresh.append(replace(those[sku], article=article, level=level, shown=shown))
        return fresh

    async def _start(self, rows: Sequence[Level], results: Results) -> None:
        """First quantities: the item becomes stocked at the location with its quantity in one step."""
        for some in parts(rows, ACTIVATIONS):
            variables: dict[str, Any] = {}
            for n, row in enumerate(some):
                variables |= {
                    f"i{n}": gid("InventoryItem", row.article.item),
                    f"l{n}": self._options.locations[row.location],
                    f"q{n}": max(row.wanted, 0),
                    f"k{n}": str(uuid.uuid4()),
                }
            document = documents.activate(len(some), self._options.quantity)
            data, failed = await self._client.parts(document, variables)
            refused: dict[str, Fault] = {}
            for n, row in enumerate(some):
                payload = data.get(f"r{n}")
                if error := failed.get(f"r{n}"):
                    results.failed(row.patch, error)
                elif isinstance(payload, dict) and (faults := faults_of(payload)):
                    refused[row.patch.id] = faults[0]
                elif isinstance(payload, dict) and payload.get("inventoryLevel"):
                    results.ok(row.patch)
            await self._started_by_another([row for row in some if row.patch.id in refused], refused, results)

    async def _started_by_another(self, rows: Sequence[Level], refused: Mapping[str, Fault], results: Results) -> None:
        """An item that somebody stocked in the same moment has a quantity to be set now; the others are refused."""
        for location in sorted({row.location for row in rows}):
            those = {row.sku: row for row in rows if row.location == location}
            read, _ = await self._read(location, those)
            for sku, row in those.items():
                if sku in read and _shown(read[sku][1]["inventoryItem"])[0] is not None:
                    results.later(row.patch, refused[row.patch.id].message)
                else:
                    results.refuse(row.patch, refused[row.patch.id].message)

    async def _end(self, rows: Sequence[Level], results: Results) -> None:
        """Documents that go: the item is no longer stocked at the location."""
        for row in rows:
            if row.level is None:
                results.ok(row.patch)
                continue
            data = await self._client.run(documents.STOCK_END, {"level": row.level})
            payload = self._client.shape(data.get("inventoryDeactivate"), dict, "what became of the location")
            if faults := faults_of(payload):
                results.refuse(row.patch, faults[0].message)
            else:
                results.ok(row.patch)

    def _remember(self, rows: Sequence[Level]) -> None:
        """What is below zero in the ERP and shown as zero: the comparison must know it for the same."""
        self._memory.put(_OWED, {row.patch.id: str(row.wanted) for row in rows if row.wanted < 0})
        self._memory.forget(_OWED, [row.patch.id for row in rows if row.wanted >= 0])

    async def _policies(self, rows: Sequence[Level], results: Results) -> list[Level]:
        """`backorder`, whether the variant may be sold below zero: written first, for those that say it. The rows whose
        quantity may follow."""
        changes = [
            VariantRow(row.patch, row.article, {"inventoryPolicy": _POLICY[row.patch.fields["backorder"]]})
            for row in rows
            if row.patch.fields is not None
            and isinstance(row.patch.fields.get("backorder"), bool)
            and ("backorder" in row.patch.changed or not row.patch.changed)
        ]
        if not changes:
            return list(rows)
        said = results.aside([change.patch for change in changes])
        await update(self._client, self._articles, changes, said, _same_policy)
        failed = {outcome.id for outcome in said.all() if outcome.status is not Status.OK}
        results.take(outcome for outcome in said.all() if outcome.id in failed)
        return [row for row in rows if row.patch.id not in failed]

    # -- reading back

    async def fetch(self, ids: Sequence[str]) -> Mapping[str, Fields]:
        placed: dict[str, dict[str, str]] = {}
        for id_ in ids:
            sku, location = place_of(id_)
            if location in self._options.locations:
                placed.setdefault(location, {})[sku] = id_
        owed = await self._memory.get(_OWED, ids)
        found: dict[str, Fields] = {}
        for location, those in sorted(placed.items()):
            read, _ = await self._read(location, those)
            for sku, (_, node) in read.items():
                fields = _fields(node, location, owed.get(those[sku]))
                if fields is not None:
                    found[those[sku]] = fields
        return found

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """Everything, in the order of the ids. All pages are read first, since Shopify knows no such order."""
        found: dict[str, Fields] = {}
        twice: set[str] = set()
        for location, id_ in sorted(self._options.locations.items()):
            seen: set[str] = set()
            async for node in self._nodes(id_):
                sku = node["sku"]
                if not sku:
                    continue
                if sku in seen:
                    twice.add(sku)
                seen.add(sku)
                fields = _fields(node, location, None)
                if fields is not None:
                    found[f"{sku}|{location}"] = fields
        self._articles.forget(twice)  # so that the next write sees the ambiguity
        names = sorted(name for name in found if place_of(name)[0] not in twice)
        for some in parts(names, 500):
            owed = await self._memory.get(_OWED, some)
            for name in some:
                fields = found[name]
                if name in owed and fields["available"] == 0:
                    fields = {**fields, "available": int(owed[name])}
                yield name, fields

    async def _nodes(self, location: str) -> AsyncIterator[Json]:
        """All variants by id: each page asks for those above the last one, since deep pages are not served."""
        last = "0"
        while True:
            variables = {
                "query": f"id:>{last}", "first": 100, "after": None, "location": location, "name": self._options.quantity,
            }  # fmt: skip
            data = await self._client.run(documents.STOCK_SCAN, variables, background=True)
            connection = self._client.shape(data.get("productVariants"), dict, "variants")
            nodes = connection["nodes"]
            for node in nodes:
                yield node
            if not nodes or not connection["pageInfo"]["hasNextPage"]:
                return
            last = self._articles.above(last, nodes)


def _shown(item: Mapping[str, Any]) -> tuple[str | None, int]:
    """The id of the place and the quantity there."""
    level = item["inventoryLevel"]
    if level is None:
        return None, 0
    quantities = level["quantities"]
    return level["id"], quantities[0]["quantity"] if quantities else 0


def _fields(node: Mapping[str, Any], location: str, owed: str | None) -> Fields | None:
    level, shown = _shown(node["inventoryItem"])
    if level is None or not node["inventoryItem"]["tracked"]:
        return None
    available = int(owed) if owed is not None and shown == 0 else shown
    backorder = node["inventoryPolicy"] == _POLICY[True]
    return {"sku": node["sku"], "location": location, "available": available, "backorder": backorder}


def _same_policy(row: VariantRow, variant: Mapping[str, Any]) -> str:
    shown = variant.get("inventoryPolicy")
    return "" if shown == row.values["inventoryPolicy"] else f"the shop shows the inventory policy {shown} all the same"

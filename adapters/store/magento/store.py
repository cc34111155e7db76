"""The Magento store: stock as source items, prices as base and tier prices; orders, credits, content one by one.

Invariant: one writer, since Magento's own statements deadlock under parallel writes; beside it only a bulk of prices, which the
shop writes. Nothing is written for a SKU that the shop did not name in the same call, since Magento takes stock of SKUs that do
not exist (magento2#38154). A failure that is told without its row is laid at a document's door only where it names its SKU;
else the batch is refused as a whole, so that halving finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from adapters.store import answers
from adapters.store.base import StoreSettings
from adapters.store.http import REJECTED
from adapters.store.magento.api import Api, Record, Refusal, in_searches
from adapters.store.magento.bulk import OPEN, Bulk
from adapters.store.magento.content import Contents
from adapters.store.magento.credit import Credits
from adapters.store.magento.gallery import Gallery
from adapters.store.magento.levels import SOURCES, Levels, row_of
from adapters.store.magento.orders import Orders
from adapters.store.magento.shipments import Shipments
from adapters.store.options import Options, kinds_of
from adapters.store.singly import singly
from adapters.store.transport import Transport
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Outcome, Patch, Status

BATCH: Final = 100
CONTENT_BATCH: Final = 10
"""Content documents in one call: each product is saved once for itself, and once for each of its new images."""
BULK: Final = 1000
"""Prices in one call of a job, where the asynchronous interface is used."""
ALL_GROUPS: Final = "ALL GROUPS"
_STOCK: Final = frozenset({"sku", "location", "available", "backorder"})
_PRICE: Final = frozenset({"sku", "price_list", "currency", "min_quantity", "amount", "tax_included", "compare_at"})
_CHECKS: Final = {
    "stock": (SOURCES, "sku"),
    "order_status": ("orders", "entity_id"),
    "credit": ("companyCredits", "company_id"),
}

Single = Orders | Credits | Contents
"""Kinds whose documents take a call each."""
_THINGS: Final = {Orders: "order", Credits: "company credit", Contents: "product and store view"}


class MagentoStore:
    """A Magento or Adobe Commerce shop."""

    def __init__(self, settings: StoreSettings) -> None:
        options = Options(settings)
        self._kinds = kinds_of(settings, ("stock", "price", "credit", "order_status", "content"))
        priced = "price" in self._kinds.values()
        named = options.table("sources")
        self._sources = named or {"default": "default"}
        only = next(iter(named.values())) if len(named) == 1 else ""
        self._currency = options.text("currency") if priced else options.text("currency", "")
        self._list = options.text("price_list", "default")
        self._groups = options.table("customer_groups")
        self._store_id = options.number("store_id", 0, 0)
        self._website = options.number("website_id", 0, 0)
        self._taxed = options.flag("prices_include_tax")
        scope = options.text("store_code", "all")
        by = options.text("order", "increment_id", ("increment_id", "entity_id"))
        prefix, statuses = options.text("order_prefix", ""), options.table("statuses")
        locales, codes = options.table("locales") or {"default": scope}, options.table("attributes")
        carrier, credit = (
            options.text("carrier_code", "custom"),
            options.text("credit", "limit", ("limit", "available")),
        )
        note, ships_from = options.text("content_note", ""), options.text("ships_from", only)
        bulky = bool(options.flag("async_bulk", False))
        options.end()
        for name, mapping in (
            ("sources", self._sources),
            ("customer_groups", self._groups),
            ("locales", locales),
            ("attributes", codes),
        ):
            if len(set(mapping.values())) < len(mapping):
                raise options.error(name, "two of them lead to one place in the shop", "Each needs its own.")
        self._batch = min(settings.limits.batch_size, BATCH)
        self._writer = asyncio.Lock()
        self._pace = settings.pace
        self.limits = dataclasses.replace(
            settings.limits,
            batch_size=self._batch,
            concurrency=2 if bulky and priced else 1,  # the second one beside a bulk that is waited for
            bulk_sizes={entity: BULK for entity, kind in self._kinds.items() if kind == "price" and bulky},
            batch_sizes={entity: CONTENT_BATCH for entity, kind in self._kinds.items() if kind == "content"},
        )
        self._transport = Transport(
            settings.name,
            settings.url,
            headers={"Authorization": f"Bearer {settings.token}"} if settings.token else {},
            secrets=[settings.token],
            timeout=settings.timeout,
            connections=4,
            pace=settings.pace,
        )
        self._api = Api(self._transport, scope)
        self._bulk = Bulk(self._api, settings.memory, settings.pace, on=bulky)
        both = {"stock", "order_status"} <= set(self._kinds.values())
        self._levels = Levels(self._api, settings.memory, kept=both)
        shipments = Shipments(self._api, self._levels, carrier=carrier, sources=self._sources, source=ships_from)
        orders = Orders(self._api, shipments, by=by, prefix=prefix, statuses=statuses)
        self._singles: dict[str, Single] = {
            "order_status": orders,
            "credit": Credits(self._api, field=credit),
            "content": Contents(
                {each: Api(self._transport, view) for each, view in locales.items()},
                codes=codes,
                note=note,
                gallery=Gallery(Api(self._transport, "all"), settings.pictures),
            ),
        }

    async def open(self) -> None:
        await self._transport.open()

    async def close(self) -> None:
        await self._transport.close()

    async def check(self) -> None:
        kind = next(iter(self._kinds.values()), "stock")
        path, field = _CHECKS.get(kind, ("products", "sku"))
        async for _ in self._api.search(path, [(field, "eq", "0")]):
            return

    def remote(self, entity: str, patch: Patch) -> str | None:  # noqa: ARG002 one writer a product, whatever the entity
        if "sku" in patch.identity:
            return f"product:{patch.identity['sku']}"
        return None

    # -- writing

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        if not patches:
            return []
        single = self._singles.get(self._kinds.get(entity, ""))
        if single is not None:
            async with self._alone():
                return await self._one_by_one(single, patches)
        if self._kinds.get(entity) == "price":
            return await self._rows(entity, patches)
        async with self._alone(), self._levels.turn:
            outcomes = await self._rows(entity, patches)
            done = {outcome.id for outcome in outcomes if outcome.status is Status.OK}
            self._levels.written(
                {
                    (self._sources[str(patch.identity["location"])], str(patch.identity["sku"])): None
                    if patch.fields is None
                    else Decimal(str(patch.fields["available"]))
                    for patch in patches
                    if patch.id in done
                }
            )
        return outcomes

    async def _rows(self, entity: str, patches: Sequence[Patch]) -> list[Outcome]:
        """Stock and prices go in rows, many in a call."""
        known = await self._known({str(patch.identity["sku"]) for patch in patches})
        outcomes: list[Outcome] = []
        rows: dict[str, list[tuple[Patch, Record]]] = {}
        for patch in sorted(patches, key=lambda each: each.id):
            try:
                sku = str(patch.identity["sku"])
                path, row = self._stock(patch) if self._kinds.get(entity) != "price" else self._price(patch)
            except Refusal as reason:
                outcomes.append(Outcome(patch.id, Status.REJECTED, str(reason), answers.UNMAPPED))
                continue
            if sku in known:
                rows.setdefault(path, []).append((patch, row))
            else:
                text = f"the shop has no product with the SKU {sku}"
                outcomes.append(Outcome(patch.id, Status.REJECTED, text, answers.UNMAPPED))
        priced = self._kinds.get(entity) == "price"
        done: list[Outcome] = []
        for path in sorted(rows):
            done += await (self._prices(entity, path, rows[path]) if priced else self._send(path, rows[path]))
        return outcomes + done

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        with self._pace.aside():
            await self._writer.acquire()
        try:
            yield
        finally:
            self._writer.release()

    async def _prices(self, entity: str, path: str, rows: Sequence[tuple[Patch, Record]]) -> list[Outcome]:
        """Prices wait for a bulk that may still write them; more of them than a call takes go by one. Raises StoreError."""
        if text := await self._bulk.waits({str(row["sku"]) for _, row in rows}):
            return [Outcome(patch.id, Status.RETRY, text, OPEN) for patch, _ in rows]
        if not self._bulk.on or len(rows) <= self._batch:
            async with self._alone():
                return await self._send(path, rows)
        return await self._bulk.run(path, rows, lambda skus: self._shown(entity, skus))

    async def _one_by_one(self, single: Single, patches: Sequence[Patch]) -> list[Outcome]:
        """Orders and companies take a call each. Raises StoreError while nothing was taken; else the rest comes again."""
        found = await single.find([patch.id for patch in patches])

        async def write(patch: Patch) -> None:
            if patch.id not in found:
                raise Refusal(f"the shop has no {_THINGS[type(single)]} {patch.id}")
            await single.write(found[patch.id], patch)

        return await singly(sorted(patches, key=lambda each: each.id), write, Refusal, _refused, _alone)

    async def _send(self, path: str, rows: Sequence[tuple[Patch, Record]]) -> list[Outcome]:
        """One call. Raises StoreError; those before it are absolute, so repeating them does no harm."""
        body = {"sourceItems" if path.startswith(SOURCES) else "prices": [row for _, row in rows]}
        failures = await self._api.failures(path, body)
        failed: dict[str, str] = {}
        for text, values in failures:
            # an article with several tiers in this call is named, but not the tier
            named = [str(row["sku"]) for _, row in rows if row["sku"] in values]
            if len(rows) > 1 and (len(named) != 1 or "SKU" not in f"{text} {values}".upper()):
                said = self._transport.quote(text)
                raise self._transport.error(answers.REFUSED, Retry.NEVER, f"does not say which row it refuses: {said}")
            for sku in named or [str(row["sku"]) for _, row in rows]:
                failed.setdefault(sku, self._transport.quote(text))
        return [
            Outcome(patch.id, Status.REJECTED, failed[row["sku"]], REJECTED)
            if row["sku"] in failed
            else Outcome(patch.id, Status.OK)
            for patch, row in rows
        ]

    def _stock(self, patch: Patch) -> tuple[str, Record]:
        location = str(patch.identity.get("location"))
        source = self._sources.get(location)
        if source is None:
            raise Refusal(f"location {location} is no source of the shop; name it in options.sources")
        row: dict[str, Any] = {"sku": patch.identity["sku"], "source_code": source}
        if patch.fields is None:
            return f"{SOURCES}-delete", row
        _refuse_more(patch.fields, _STOCK)
        if patch.fields.get("backorder"):
            raise Refusal("backorders are a setting of the product in Magento; leave `backorder` out")
        return SOURCES, row_of(row, Decimal(str(patch.fields["available"])))

    def _price(self, patch: Patch) -> tuple[str, Record]:
        identity = patch.identity
        if identity.get("currency") != self._currency:
            raise Refusal(f"the shop's prices are in {self._currency}, this one is in {identity.get('currency')}")
        fields = patch.fields or {}
        _refuse_more(fields, _PRICE)
        if fields.get("compare_at") is not None:
            raise Refusal("special prices are not written; leave `compare_at` out")
        if fields.get("tax_included") not in (None, self._taxed):
            raise Refusal(
                "the price says whether tax is included, the shop says otherwise (options.prices_include_tax)"
            )
        quantity = str(identity.get("min_quantity"))
        price_list = str(identity.get("price_list"))
        amount = _number(Decimal(str(fields.get("amount", 0))))
        if price_list == self._list and quantity == "1":
            if patch.fields is None:
                raise Refusal('a product must have a price in Magento; take it off sale, or set missing = "keep"')
            return "products/base-prices", {"sku": identity["sku"], "price": amount, "store_id": self._store_id}
        group = ALL_GROUPS if price_list == self._list else self._groups.get(price_list)
        if group is None:
            raise Refusal(
                f"price list {price_list} is no customer group of the shop; name it in options.customer_groups"
            )
        row: dict[str, Any] = {"sku": identity["sku"], "customer_group": group, "website_id": self._website}
        row |= {"quantity": _number(Decimal(quantity)), "price": amount, "price_type": "fixed"}
        return ("products/tier-prices-delete" if patch.fields is None else "products/tier-prices"), row

    # -- reading

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        single = self._singles.get(self._kinds.get(entity, ""))
        if single is not None:
            return dict(single.documents((await single.find(ids)).values()))
        cut = 3 if self._kinds.get(entity) == "price" else 1
        wanted = set(ids)
        known = await self._known({name.rsplit("|", cut)[0] for name in ids})
        return {name: fields for name, fields in await self._shown(entity, known) if name in wanted}

    async def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        single = self._singles.get(self._kinds.get(entity, ""))
        if single is not None:
            shown = dict(single.documents([record async for record in single.everything()]))
        elif self._kinds.get(entity) == "price":
            known = {str(record.get("sku")) async for record in self._api.search("products", [])}
            shown = dict(await self._shown(entity, known))
        else:
            records = [record async for record in self._api.search(SOURCES, [])]
            shown = dict(self._stocked(records))
        for name in sorted(shown):
            yield name, shown[name]

    async def _known(self, skus: Iterable[str]) -> set[str]:
        """Those of the SKUs that are in the shop, letter by letter: MySQL compares without case."""
        wanted = set(skus)
        found: set[str] = set()
        for condition, value, _ in in_searches(wanted):
            async for record in self._api.search("products", [("sku", condition, value)]):
                found.add(str(record.get("sku")))
        return found & wanted

    async def _shown(self, entity: str, skus: Iterable[str]) -> list[tuple[str, Fields]]:
        if self._kinds.get(entity) != "price":
            records: list[Record] = []
            for condition, value, _ in in_searches(skus):
                records += [record async for record in self._api.search(SOURCES, [("sku", condition, value)])]
            return self._stocked(records)
        shown: list[tuple[str, Fields]] = []
        ordered = sorted(skus)
        for start in range(0, len(ordered), BATCH):
            body = {"skus": ordered[start : start + BATCH]}
            ordinary = await self._api.listed("products/base-prices-information", body)
            shown += [
                self._priced(each, self._list, "1") for each in ordinary if each.get("store_id") == self._store_id
            ]
            for record in await self._api.listed("products/tier-prices-information", body):
                lists = [name for name, group in self._groups.items() if group == record.get("customer_group")]
                lists += [self._list] if record.get("customer_group") == ALL_GROUPS else []
                if record.get("price_type") == "fixed" and record.get("website_id") == self._website and lists:
                    shown.append(self._priced(record, lists[0], _plain(record.get("quantity"))))
        return shown

    def _priced(self, record: Record, price_list: str, quantity: str) -> tuple[str, Fields]:
        identity: dict[str, Any] = {"sku": record["sku"], "price_list": price_list, "currency": self._currency}
        identity["min_quantity"] = int(quantity) if quantity.isdecimal() else quantity
        name = "|".join(str(value) for value in identity.values())
        return name, {**identity, "amount": record.get("price"), "tax_included": self._taxed}

    def _stocked(self, records: Iterable[Record]) -> list[tuple[str, Fields]]:
        shown: list[tuple[str, Fields]] = []
        for record in records:
            for location, source in self._sources.items():
                if record.get("source_code") == source:
                    fields = {
                        "sku": record.get("sku"),
                        "location": location,
                        "available": _plain(record.get("quantity")),
                    }
                    if record.get("status") != int(Decimal(str(record.get("quantity") or 0)) > 0):
                        fields["available"] = (
                            0 if not record.get("status") else None
                        )  # sold out by hand, or on sale at 0
                    shown.append((f"{record.get('sku')}|{location}", fields))
        return shown


def _refuse_more(fields: Fields, known: frozenset[str]) -> None:
    more = sorted(name for name in fields.keys() - known if fields[name] not in (None, False, [], {}))
    if more:
        raise Refusal(f"Magento has no place for {', '.join(more)}; leave it out of the SQL")


def _number(value: Decimal) -> Any:
    """A JSON number with exactly these digits."""
    return orjson.Fragment(format(value, "f"))


def _plain(value: Any) -> str:
    """`10.0000` -> `10`."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _refused(patch: Patch, error: Refusal) -> Outcome:
    return Outcome(patch.id, Status.REJECTED, str(error), answers.UNMAPPED)


def _alone(patch: Patch, error: StoreError) -> Outcome | None:
    if error.retry is not Retry.NEVER:
        return None
    return Outcome(patch.id, Status.REJECTED, error.message, REJECTED if error.code == answers.REFUSED else error.code)

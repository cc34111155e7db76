"""The WooCommerce store: looks the records up that patches are about, writes them in batches, reads them back.

Invariant: nothing is written to a record that was not read in the same call and named as the patch names it, since WooCommerce
has no compare-and-set and a renamed article would get another one's numbers. Each patch has one outcome; "ok" means that the
shop answered this item and shows what was written.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from adapters.store import answers
from adapters.store.base import StoreSettings
from adapters.store.http import REJECTED
from adapters.store.lookups import in_parts
from adapters.store.transport import Transport
from adapters.store.turns import Turns
from adapters.store.woocommerce import setting as settings_of
from adapters.store.woocommerce.api import BATCH, PAGE, Api, Said, lost
from adapters.store.woocommerce.content import ContentDesk, categories_by_name, image_name, in_order
from adapters.store.woocommerce.desk import (
    CreditDesk,
    Desk,
    Item,
    OrderDesk,
    PriceDesk,
    Record,
    Refused,
    StockDesk,
    metadata,
)
from adapters.store.woocommerce.moves import Moves
from daemon.errors import StoreError
from daemon.model import Fields, Outcome, Patch, Status

CONTENT_BATCH: Final = 10
"""Content documents in one call: the shop fetches their images before it answers."""
_VARIATIONS: Final = "variations"
_ALIKE: Final = 5
"""So many records of one name are remembered; two are enough to refuse it."""
_REMOTE: Final = {"credit": ("customer", "customer"), "order_status": ("order", "order")}


class WooStore:
    """A WooCommerce shop."""

    def __init__(self, settings: StoreSettings) -> None:
        self._setting = setting = settings_of.read(settings)
        self._memory = settings.memory
        small = {entity: CONTENT_BATCH for entity, kind in setting.kinds.items() if kind == "content"}
        self.limits = dataclasses.replace(
            settings.limits, batch_size=min(settings.limits.batch_size, BATCH), batch_sizes=small
        )
        self._transport = Transport(
            settings.name,
            setting.url,
            headers={"Authorization": setting.authorization} if settings.token else {},
            secrets=setting.secrets,
            timeout=settings.timeout,
            connections=settings.limits.concurrency + 2,
            pace=settings.pace,
        )
        self._api = Api(self._transport)
        self._turns, self._moves = Turns(), Moves(self._api)
        self._stocked = "stock" in setting.kinds.values()

    async def open(self) -> None:
        await self._transport.open()

    async def close(self) -> None:
        await self._transport.close()

    async def check(self) -> None:
        await self._api.check(self._desk(next(iter(self._setting.kinds), "")).where)

    def remote(self, entity: str, patch: Patch) -> str | None:
        """Stock, price and content of an article are one product."""
        thing, field = _REMOTE.get(self._setting.kinds.get(entity, ""), ("product", "sku"))
        return f"{thing}:{self._folded(self._desk(entity), str(patch.identity.get(field)))}"

    def _desk(self, entity: str) -> Desk:
        match self._setting.kinds.get(entity, ""):
            case "price":
                return PriceDesk(self._setting)
            case "credit":
                return CreditDesk(self._setting)
            case "order_status":
                return OrderDesk(self._setting)
            case "content":
                return ContentDesk(self._setting)
        return StockDesk(self._setting)

    # -- writing

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        if not patches:
            return []
        desk = self._desk(entity)
        if isinstance(desk, StockDesk):
            async with self._turns.stock():
                return await self._apply(desk, patches)
        return await self._apply(desk, patches)

    async def _apply(self, desk: Desk, patches: Sequence[Patch]) -> list[Outcome]:
        found = await self._find(desk, {desk.name(patch.id) for patch in patches})
        if isinstance(desk, ContentDesk):
            await self._prepare(desk, patches, found)
        outcomes: list[Outcome] = []
        work: dict[str, dict[int, tuple[Item, list[tuple[Patch, Item]]]]] = {}
        moving: list[int] = []
        for patch in sorted(patches, key=lambda each: each.id):
            try:
                record = self._only(desk, desk.name(patch.id), found.get(desk.name(patch.id), []))
                item = desk.item(patch, record)
            except Refused as reason:
                outcomes.append(Outcome(patch.id, Status.REJECTED, str(reason), answers.UNMAPPED))
                continue
            whole, parts = work.setdefault(_place(desk, record), {}).setdefault(record["id"], ({}, []))
            _merge(whole, item)
            parts.append((patch, item))
            if isinstance(desk, OrderDesk) and item.get("status", record.get("status")) != record.get("status"):
                moving.append(record["id"])
        if not moving or not self._stocked:
            return outcomes + await self._write(desk, work)
        async with self._turns.order():
            before = await self._moves.look(moving)
            outcomes += await self._write(desk, work)
            with contextlib.suppress(StoreError):  # the orders are written all the same; a comparison finds the rest
                await self._moves.undo(before)
        return outcomes

    async def _write(
        self, desk: Desk, work: Mapping[str, Mapping[int, tuple[Item, list[tuple[Patch, Item]]]]]
    ) -> list[Outcome]:
        """One batch for the products, one for the variations of each parent. Raises StoreError while nothing was taken."""
        outcomes: list[Outcome] = []
        failed: StoreError | None = None
        for place in sorted(work):
            ids = sorted(work[place])
            for start in range(0, len(ids), BATCH):
                part = ids[start : start + BATCH]
                items: list[Record] = [{"id": each, **work[place][each][0]} for each in part]
                said: Sequence[Said]
                try:
                    said = [lost(failed)] * len(part) if failed else await self._api.batch(place, items)
                except StoreError as error:
                    if not outcomes:
                        raise
                    failed = error  # what was taken is told now; the rest comes again and meets the failure by itself
                    said = [lost(error)] * len(part)
                for each, word in zip(part, said, strict=True):
                    outcomes += [self._outcome(desk, one, item, word) for one, item in work[place][each][1]]
        return outcomes

    def _outcome(self, desk: Desk, patch: Patch, item: Item, said: Said) -> Outcome:
        if said.record is None:
            return Outcome(patch.id, said.status, said.error, said.code)
        missed = desk.missed(item, said.record)
        if missed:
            return Outcome(patch.id, Status.REJECTED, self._transport.quote(missed), REJECTED)
        if isinstance(desk, ContentDesk) and patch.fields is not None and "images" in item:
            images = zip(in_order(patch.fields["images"]), said.record.get("images") or [], strict=False)
            self._memory.put("image", {image_name(said.record, ours): str(theirs["id"]) for ours, theirs in images})
        return Outcome(patch.id, Status.OK)

    def _only(self, desk: Desk, name: str, records: Sequence[Record]) -> Record:
        thing = desk.where.removesuffix("s")
        by = "SKU" if desk.where == "products" else getattr(self._setting, thing)
        if not records:
            raise Refused(f"the shop has no {thing} with the {by} {name}")
        if len(records) > 1:
            ids = ", ".join(map(str, sorted(record["id"] for record in records)[:5]))
            raise Refused(f"the shop has several {desk.where} with the {by} {name} (ids {ids}); it must be one")
        return records[0]

    async def _prepare(
        self, desk: ContentDesk, patches: Sequence[Patch], found: Mapping[str, Sequence[Record]]
    ) -> None:
        """The shop's categories and what is known of its media library, where a patch speaks of them."""
        named = any(patch.fields and patch.fields.get("categories") for patch in patches)
        if named or any(desk.categorised(record) for alike in found.values() for record in alike):
            records = await self._api.all("products/categories", {"_fields": "id,name,parent,slug"})
            desk.categories = categories_by_name(records)
        names = {
            image_name(record, image)
            for patch in patches
            for record in found.get(desk.name(patch.id), ())
            for image in (patch.fields or {}).get("images") or []
        }
        if names:
            desk.attachments = await self._memory.get("image", names)

    # -- reading

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        desk, wanted = self._desk(entity), set(ids)
        found = await self._find(desk, {desk.name(each) for each in ids})
        records = [alike[0] for alike in found.values() if len(alike) == 1]
        return {name: fields for record in records for name, fields in desk.documents(record) if name in wanted}

    async def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        desk = self._desk(entity)
        shown: dict[str, Fields] = {}
        async for record in self._everything(desk):
            for name, fields in desk.documents(record):
                shown.setdefault(name, fields)
        for name in sorted(shown):
            yield name, shown[name]

    async def _everything(self, desk: Desk) -> AsyncIterator[Record]:
        query = self._query(desk) | {"orderby": "id", "order": "asc"}
        parents: list[int] = []
        async for page in self._api.pages(desk.where, query):
            for record in page:
                if record.get("type") == "variable":
                    parents.append(record["id"])
                if named := self._named(desk, record):
                    yield named
        if not parents or isinstance(desk, ContentDesk):
            return
        try:
            variations = await self._api.all(_VARIATIONS, query)
        except StoreError as error:
            if error.code != answers.URL_WRONG:
                raise
            variations = []  # before WooCommerce 10.3 only the variations of one parent can be listed
            for parent in parents:
                variations += await self._api.all(f"products/{parent}/variations", query)
        for record in variations:
            if record.get("sku"):
                yield record

    # -- finding

    async def _find(self, desk: Desk, names: Iterable[str]) -> dict[str, list[Record]]:
        """The records of these names as they are now; of a name that several have, all."""
        spelt: dict[str, list[str]] = {}
        for name in sorted(set(names)):
            spelt.setdefault(self._folded(desk, name), []).append(name)
        if desk.where == "products":
            records = await self._products(desk, spelt)
        else:
            records = await self._people(desk, set(spelt))
        found: dict[str, list[Record]] = {}
        for record in records:
            for name in spelt.get(self._key(desk, record), ()):
                found.setdefault(name, []).append(record if desk.where == "products" else {**record, "name": name})
        return found

    async def _products(self, desk: Desk, skus: Iterable[str]) -> list[Record]:
        """Products and variations. MySQL compares without case and accents, so more may come than was asked for."""
        records: dict[int, Record] = {}
        for part in in_parts(skus, PAGE, commas=True):
            for record in await self._api.all("products", self._query(desk) | {"sku": ",".join(part)}):
                records[record["id"]] = record
        return list(records.values())

    async def _people(self, desk: Desk, names: set[str]) -> list[Record]:
        """Customers or orders. What is remembered of them is proved by reading them; the others are learnt in bulk."""
        how, kind = self._how(desk), desk.where
        query = self._query(desk)
        if how == "id":
            ids = {name: self._number(desk, name) for name in names}
            return await self._api.by_ids(kind, [each for each in ids.values() if each], query)
        remembered = await self._memory.get(f"{kind} {how}", names)
        held = {name: set(map(int, some.split(","))) for name, some in remembered.items()}
        records = await self._api.by_ids(kind, set().union(*held.values()), query)
        shown = {record["id"]: self._key(desk, record) for record in records}
        missing = {name for name in names if name not in held or any(shown.get(each) != name for each in held[name])}
        self._memory.forget(f"{kind} {how}", missing)
        if missing:
            if how == "email":
                more = [record for name in missing for record in await self._api.all(kind, query | {"email": name})]
            else:
                more = await self._api.all(kind, query | {"orderby": "id", "order": "asc"})
            alike: dict[str, list[str]] = {}
            for record in more:
                alike.setdefault(self._key(desk, record), []).append(str(record["id"]))
            # what two share is remembered as theirs, so that it is refused each time without reading all of them
            self._memory.put(f"{kind} {how}", {name: ",".join(some[:_ALIKE]) for name, some in alike.items() if name})
            records += [record for record in more if record["id"] not in shown]
        return records

    def _how(self, desk: Desk) -> str:
        return self._setting.customer if desk.where == "customers" else self._setting.order

    def _folded(self, desk: Desk, name: str) -> str:
        """A name as records are compared by it: an address is one however it is spelt."""
        return name.lower() if desk.where == "customers" and self._setting.customer == "email" else name

    def _number(self, desk: Desk, name: str) -> int:
        """The shop's id that a name of the ERP says; 0 for none."""
        prefix = self._setting.order_prefix if desk.where == "orders" else ""
        text = name.removeprefix(prefix)
        return int(text) if name.startswith(prefix) and text.isdecimal() and len(text) < 19 else 0

    def _key(self, desk: Desk, record: Record) -> str:
        """The ERP's name of a record; empty for none."""
        if desk.where == "products":
            return str(record.get("sku") or "")
        how = self._how(desk)
        prefix = self._setting.order_prefix if desk.where == "orders" else ""
        value = metadata(record).get(how.removeprefix("metadata:")) if how.startswith("metadata:") else record.get(how)
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        return self._folded(desk, f"{prefix}{text}") if text else ""

    def _named(self, desk: Desk, record: Record) -> Record | None:
        name = self._key(desk, record)
        if not name:
            return None
        return record if desk.where == "products" else {**record, "name": name}

    def _query(self, desk: Desk) -> dict[str, str]:
        query = {"_fields": desk.fields}
        if desk.where == "customers":
            query["role"] = "all"
        if isinstance(desk, ContentDesk):
            query["context"] = "edit"  # as it is stored; else WordPress puts paragraphs around it
        return query


def _place(desk: Desk, record: Record) -> str:
    if record.get("type") == "variation":
        return f"products/{record.get('parent_id')}/variations"
    return desk.where


def _merge(whole: Item, item: Item) -> None:
    """Several documents of one record become one item, so that the shop saves it once."""
    for key, value in item.items():
        whole[key] = [*whole.get(key, []), *value] if key == "meta_data" else value

"""Stock in Medusa: one level for each inventory item and stock location.

Invariant: a SKU's number goes to the one inventory item that is its variant's alone; kits, shared items and unknown locations
are refused by name. What the ERP has sold beyond its stock leaves a level of zero, never the one that was there before. All
levels of a call are one transaction of the shop's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from adapters.store.http import LEFT_OUT, REJECTED
from adapters.store.loan import Memory
from adapters.store.lookups import split
from adapters.store.medusa.api import Record
from adapters.store.medusa.setting import Setting
from adapters.store.medusa.shop import Shop, only
from adapters.store.medusa.values import Refused, decimal, homeless, whole
from daemon.digits import exact
from daemon.drift import same
from daemon.model import Fields, Outcome, Patch, Status

_ITEM: Final = "inventory_items.inventory."
_LEVEL: Final = ("id", "location_id", "stocked_quantity", "reserved_quantity", "incoming_quantity")
_FIELDS: Final = ",".join(
    [
        "allow_backorder",
        "manage_inventory",
        "inventory_items.required_quantity",
        f"{_ITEM}variants.id",
        *(f"{_ITEM}location_levels.{name}" for name in _LEVEL),
    ]
)
_LEVELS: Final = "inventory-items/location-levels/batch"
_DELETED: Final = "deleted"
_OWED: Final = "below_zero"

Place = tuple[str, str]
"""Inventory item and stock location; of a level that was deleted, that word and its id."""


class Stock:
    """Stock documents, `sku|location`."""

    def __init__(self, shop: Shop, setting: Setting, memory: Memory) -> None:
        self._shop = shop
        self._setting = setting
        self._memory = memory

    async def check(self) -> None:
        """Raises StoreError when the options name a location that the shop does not have."""
        known = await self._shop.locations()
        for location, name in self._setting.locations.items():
            if not known.get(name):
                hint = f"It has: {', '.join(sorted(known)) or 'none'}. Correct options.locations."
                raise self._shop.misfit(f"has no one stock location {name} (for {location})", hint)

    async def _locations(self) -> dict[str, str]:
        """The ERP's location -> id of a stock location. Without the option: by name, or `default` for the only one."""
        known = await self._shop.locations()
        if self._setting.locations:
            meant = {location: known.get(name, "") for location, name in self._setting.locations.items()}
        elif len(set(known.values())) == 1:
            meant = {"default": next(iter(known.values()))}
        else:
            meant = {name: id_ for name, id_ in known.items() if name != id_}
        return {location: id_ for location, id_ in meant.items() if id_}

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write levels, and whether a variant may be sold without stock."""
        async with self._shop.turns.stock():
            return await self._apply(patches)

    async def _apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        locations = await self._locations()
        found = await self._shop.variants((str(patch.identity["sku"]) for patch in patches), _FIELDS)
        outcomes: list[Outcome] = []
        batch: dict[str, list[Any]] = {"create": [], "update": [], "delete": []}
        sent: list[tuple[Patch, Record, Place, Any]] = []
        for patch in patches:
            try:
                variant = only(str(patch.identity["sku"]), found)
                item, location = _item(variant), _meant(str(patch.identity["location"]), locations)
                level = _level(item, location)
                row = self._row(patch, item, location, level)
            except Refused as refused:
                outcomes.append(refused.outcome(patch))
                continue
            if row is not None:
                batch["update" if level else "create"].append(row)
                sent.append((patch, variant, (item["id"], location), row["stocked_quantity"]))
            elif level:
                batch["delete"].append(level["id"])
                sent.append((patch, variant, (_DELETED, level["id"]), level["id"]))
            else:
                outcomes.append(Outcome(patch.id, Status.OK))  # it is gone already
        self._remember(sent)
        shown = await self._write(batch)
        missed = await self._allow(sent)
        for patch, variant, place, wanted in sent:
            outcomes.append(_outcome(patch, wanted, shown.get(place), missed.get(variant["id"], "")))
        return outcomes

    def _row(self, patch: Patch, item: Record, location: str, level: Record) -> dict[str, Any] | None:
        """The level to write; None to remove it. Raises Refused."""
        place = {"inventory_item_id": item["id"], "location_id": location}
        reserved = level.get("reserved_quantity") or 0
        if patch.fields is None:
            if not reserved and not level.get("incoming_quantity"):
                return None
            return {
                **place,
                "stocked_quantity": whole(reserved, "reserved_quantity"),
            }  # Medusa keeps it: none is left to sell
        homeless(patch, ("sku", "location", "available", "backorder"))
        number = whole(patch.fields.get("available"), "available")
        if not self._setting.on_hand:
            number += whole(reserved, "reserved_quantity")
        return {
            **place,
            "stocked_quantity": max(number, 0),
        }  # Medusa takes none below; with zero there is nothing to sell

    def _remember(self, sent: Iterable[tuple[Patch, Record, Place, Any]]) -> None:
        """What an empty level stands for where the ERP says less: the comparison must know it for the same."""
        numbers = {
            patch.id: None if patch.fields is None else whole(patch.fields.get("available"), "available")
            for patch, *_ in sent
        }
        self._memory.put(
            _OWED, {id_: str(number) for id_, number in numbers.items() if number is not None and number < 0}
        )
        self._memory.forget(_OWED, [id_ for id_, number in numbers.items() if number is None or number >= 0])

    async def _write(self, batch: Mapping[str, list[Any]]) -> dict[Place, Any]:
        """What the answer shows: a level's number, or its id where it was deleted."""
        body: dict[str, Any] = {name: rows for name, rows in batch.items() if rows}
        if not body:
            return {}
        if "delete" in body:
            body["force"] = True  # without it Medusa keeps a level that has stock
        api = self._shop.api
        answer = await api.post(_LEVELS, body, adds="create" in body)  # a level is not created twice
        shown: dict[Place, Any] = {}
        for name in ("created", "updated"):
            for row in api.records(answer, name):
                shown[str(row.get("inventory_item_id")), str(row.get("location_id"))] = row.get("stocked_quantity")
        gone = answer.get("deleted")
        for id_ in gone if isinstance(gone, list) else ():
            shown[_DELETED, str(id_)] = id_
        return shown

    async def _allow(self, sent: Iterable[tuple[Patch, Record, Place, Any]]) -> dict[str, str]:
        """Let variants be sold without stock, or not; why one does not show what its document says."""
        rows: dict[str, dict[str, Any]] = {}
        for patch, variant, _, _ in sent:
            wanted = (patch.fields or {}).get("backorder")
            if wanted is not None and bool(wanted) is not variant.get("allow_backorder"):
                row = {"id": variant["id"], "product_id": variant["product_id"], "allow_backorder": bool(wanted)}
                rows[variant["id"]] = row
        shown = await self._shop.update(list(rows.values()), "allow_backorder")
        return {
            id_: "the shop took the call and does not show whether the variant is sold without stock"
            for id_, row in rows.items()
            if shown.get(id_, {}).get("allow_backorder") is not row["allow_backorder"]
        }

    # -- reading

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Levels as documents."""
        skus = {parts[0] for id_ in ids if (parts := split(id_, 2))}
        found = await self._shop.variants(skus, _FIELDS)
        locations, wanted = await self._locations(), set(ids)
        single = [variants[0] for variants in found.values() if len(variants) == 1]
        return await self._documents(single, locations, wanted)

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All levels of locations that the ERP has a name for."""
        locations = await self._locations()
        shown: dict[str, Fields] = {}
        async for page in self._shop.api.pages("product-variants", "variants", f"id,sku,{_FIELDS}"):
            shown.update(await self._documents(page, locations))
        for id_ in sorted(shown):
            yield id_, shown[id_]

    async def _documents(
        self, variants: Iterable[Record], locations: Mapping[str, str], wanted: Container[str] | None = None
    ) -> dict[str, Fields]:
        shown: dict[str, Fields] = {}
        empty: set[str] = set()
        for variant in variants:
            for id_, stocked, fields in self._levels(variant, locations):
                if wanted is None or id_ in wanted:
                    shown[id_] = fields
                    if not stocked:
                        empty.add(id_)
        owed = await self._memory.get(_OWED, empty)
        for id_, number in owed.items():
            shown[id_] = {**shown[id_], "available": int(number)}
        return shown

    def _levels(self, variant: Record, locations: Mapping[str, str]) -> Iterator[tuple[str, Decimal, Fields]]:
        sku = variant.get("sku")
        if not sku:
            return
        try:
            item = _item(variant)
        except Refused:
            return
        for name, location in locations.items():
            if level := _level(item, location):
                number = stocked = decimal(level.get("stocked_quantity") or 0, "stocked_quantity")
                if not self._setting.on_hand:
                    number -= decimal(level.get("reserved_quantity") or 0, "reserved_quantity")
                fields = {"sku": sku, "location": name, "available": exact(number)}
                yield f"{sku}|{name}", stocked, {**fields, "backorder": variant.get("allow_backorder") is True}


def _item(variant: Record) -> Record:
    """The inventory item of a variant. Raises Refused where its number would not be the SKU's."""
    sku = variant.get("sku")
    if variant.get("manage_inventory") is not True:
        raise Refused(f"the shop does not manage the inventory of {sku}; switch it on there")
    links = [link for link in variant.get("inventory_items") or () if isinstance(link, Mapping)]
    if len(links) != 1 or not same(links[0].get("required_quantity"), 1):
        raise Refused(f"{sku} is a kit in the shop; its number follows from that of its parts")
    item = links[0].get("inventory")
    if not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
        raise Refused(f"{sku} has no inventory item in the shop")
    if len(item.get("variants") or ()) > 1:
        raise Refused(f"{sku} shares its inventory item with other variants of the shop; one number cannot be both")
    return item


def _level(item: Record, location: str) -> Record:
    for level in item.get("location_levels") or ():
        if isinstance(level, Mapping) and level.get("location_id") == location:
            return level
    return {}


def _meant(name: str, locations: Mapping[str, str]) -> str:
    if name not in locations:
        raise Refused(f"no stock location of the shop is meant by the location {name}; name it in options.locations")
    return locations[name]


def _outcome(patch: Patch, wanted: Any, shown: Any, missed: str) -> Outcome:
    if shown is None:
        return Outcome(patch.id, Status.RETRY, "not in the answer", LEFT_OUT)
    if not missed and not same(shown, wanted):
        missed = f"{wanted} was sent, the shop shows {shown}"
    return Outcome(patch.id, Status.REJECTED, missed, REJECTED) if missed else Outcome(patch.id, Status.OK)

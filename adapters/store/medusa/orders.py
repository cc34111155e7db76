"""Order status in Medusa: what the ERP says in one metadata, its shipments as fulfilments, and what a status is to do.

Invariant: a fulfilment adds up when it is made twice, so it is made only when the order, read in the same call, has none that
bears the ERP's id or holds the same lines. What is read back is the metadata, corrected by what the order shows.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.store.loan import Memory
from adapters.store.medusa.api import Record
from adapters.store.medusa.finder import Finder, metadata
from adapters.store.medusa.halves import Halves, count, counts_as_shipped, half_made, lacking
from adapters.store.medusa.setting import Setting
from adapters.store.medusa.shop import Shop
from adapters.store.medusa.single import each_alone
from adapters.store.medusa.values import UNSENDABLE, Refused, decimal
from daemon.drift import same
from daemon.model import Fields, Outcome, Patch

_FULFILLMENTS: Final = ",".join(
    f"fulfillments.{name}"
    for name in (
        "id", "location_id", "metadata", "shipped_at", "delivered_at", "canceled_at", "items.line_item_id", "items.quantity",
        "items.inventory_item_id",
    )
)  # fmt: skip
_COUNTS: Final = ("quantity", "fulfilled_quantity", "shipped_quantity")
_ITEMS: Final = ",".join(("items.id", "items.variant_sku", *(f"items.detail.{name}" for name in _COUNTS)))
_FIELDS: Final = f"display_id,status,{_ITEMS},{_FULFILLMENTS}"
_SENT: Final = frozenset({"sent", "shipped", "in_transit", "delivered", "done"})
_WHOLE: Final = "whole order"
"""The id of the fulfilment of an order whose document has no shipments."""
_REACHED: Final = {
    "completed": ("completed", "archived"),
    "canceled": ("canceled", "archived"),
    "archived": ("archived",),
}
_VERBS: Final = {"completed": "complete", "canceled": "cancel", "archived": "archive"}

Lines = dict[str, Decimal]
"""Line item of the order -> pieces."""


class Orders:
    """Order documents, `order`."""

    def __init__(self, shop: Shop, setting: Setting, memory: Memory) -> None:
        self._api, self._turns = shop.api, shop.turns
        self._setting = setting
        self._halves = Halves(shop.api)
        self._key, self._id_key = f"{setting.prefix}order", f"{setting.prefix}id"
        self._orders = Finder(
            shop.api, memory, path="orders", fields=_FIELDS, by=setting.order, prefix=setting.order_prefix
        )

    async def check(self) -> None:
        """Nothing that the options name has to be in the shop."""

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Bring each order to what its document says."""
        found = await self._orders.find(patch.id for patch in patches)

        async def write(patch: Patch) -> None:
            await self._bring(self._orders.only(patch.id, found), patch)

        return await each_alone(patches, write)

    async def _bring(self, order: Record, patch: Patch) -> None:
        """Raises Refused and StoreError."""
        said = {name: value for name, value in (patch.fields or {}).items() if name != "order"}
        action = self._setting.statuses.get(str(said.get("status")), "")
        if order.get("status") == action == "canceled":
            return  # as the ERP says; of a canceled order Medusa takes nothing else, no metadata either
        if patch.fields is not None:
            order = await self._ship(order, said, action)
            await self._deliver(order, said, action)
        if not same(metadata(order).get(self._key), said or None):
            body = {"metadata": {self._key: said or ""}}  # an empty text is how Medusa removes a key
            shown = self._shown(await self._api.post(f"orders/{order['id']}", body, "id,metadata"), order)
            if not same(metadata(shown).get(self._key), said or None):
                raise Refused(f"the shop took the call and does not show the metadata {self._key}")
        if action in _VERBS and order.get("status") not in _REACHED[action]:
            path = f"orders/{order['id']}/{_VERBS[action]}"
            async with self._turns.order():
                self._shown(await self._api.post(path, {}, "id,status", adds=True), order)

    def _shown(self, answer: Mapping[str, Any], order: Record) -> Record:
        record = answer.get("order")
        if not isinstance(record, dict) or record.get("id") != order["id"]:
            raise self._api.transport.wrong_shape("the order that was written")
        return record

    # -- shipments

    async def _ship(self, order: Record, said: Mapping[str, Any], action: str) -> Record:
        """The order, with every shipment that has left the house as a fulfilment that is shipped."""
        for shipment in self._shipments(order, said, action):
            mine = self._mine(order, shipment)
            if mine is None or (not _is_gone(mine) and half_made(order, _lines(shipment, _held(order, mine)))):
                order = await self._made(order, shipment, mine)
                mine = self._mine(order, shipment)
            if mine is None:
                raise Refused(f"the shop took the call and does not show the shipment {shipment['id']}")
            if not _is_gone(mine):
                body = {"items": _items(_lines(shipment, _held(order, mine))), "labels": self._labels(shipment)}
                path = f"orders/{order['id']}/fulfillments/{mine['id']}/shipments"
                answer = await self._api.post(path, body, f"id,{_ITEMS},{_FULFILLMENTS}", adds=True)
                order = {**order, **self._shown(answer, order)}
        return order

    async def _made(self, order: Record, shipment: Mapping[str, Any], half: Record | None) -> Record:
        """The order with the fulfilment of a shipment, of which a shop that was killed may have left a half."""
        if half is None or not counts_as_shipped(order, _lines(shipment, _held(order, half))):
            return await self._fulfil(order, shipment, instead=half)
        whole = await self._halves.ship(half, self._labels(shipment))
        return {**order, "fulfillments": [whole if each is half else each for each in order["fulfillments"]]}

    async def _fulfil(self, order: Record, shipment: Mapping[str, Any], instead: Record | None) -> Record:
        """The order with the fulfilment of a shipment, which is made `instead` of a half of it."""
        lines = _lines(shipment, lacking(order))
        body = {"items": _items(lines), "metadata": {self._id_key: shipment["id"]}}
        path = f"orders/{order['id']}/fulfillments"
        async with self._turns.order():
            if instead is not None:
                await self._halves.undo(order, instead, lines)
            answer = await self._api.post(path, body, f"id,{_ITEMS},{_FULFILLMENTS}", adds=True)
        return {**order, **self._shown(answer, order)}

    def _shipments(self, order: Record, said: Mapping[str, Any], action: str) -> list[Mapping[str, Any]]:
        """The shipments that have left the house; all that is left of an order where its status alone says so."""
        if not self._setting.fulfilments:
            return []
        listed = _records(said.get("fulfilments"))
        if listed or action not in ("shipped", "delivered"):
            return [{**each, "id": str(each.get("id"))} for each in listed if _has_left(each)]
        lines = [{"sku": item.get("variant_sku"), "quantity": left} for item, left in lacking(order) if left > 0]
        whole = {"id": _WHOLE, "lines": lines}
        return [whole] if lines or self._mine(order, whole) else []

    def _mine(self, order: Record, shipment: Mapping[str, Any]) -> Record | None:
        """The fulfilment of a shipment: by the ERP's id, or one of the shop's people with the same lines."""
        live = _live(order)
        for each in live:
            if metadata(each).get(self._id_key) == shipment["id"]:
                return each
        wanted = _by_sku((line.get("sku"), line.get("quantity")) for line in _records(shipment.get("lines")))
        skus = {item["id"]: item.get("variant_sku") for item in order.get("items") or ()}
        for each in live:
            held = _by_sku((skus.get(of.get("line_item_id")), of.get("quantity")) for of in each.get("items") or ())
            if self._id_key not in metadata(each) and wanted and held == wanted:
                return each
        return None

    def _labels(self, shipment: Mapping[str, Any]) -> list[dict[str, str]]:
        """A label needs an address to follow the parcel at; without one the number is in the metadata only."""
        number, urls = shipment.get("tracking_number"), self._setting.tracking_urls
        url = urls.get(str(shipment.get("carrier")), urls.get("*"))
        if not number or url is None:
            return []
        address = url.replace("{number}", quote(str(number), safe=""))
        return [{"tracking_number": str(number), "tracking_url": address, "label_url": address}]

    async def _deliver(self, order: Record, said: Mapping[str, Any], action: str) -> None:
        for each in self._undelivered(order, said, action):
            path = f"orders/{order['id']}/fulfillments/{each['id']}/mark-as-delivered"
            self._shown(await self._api.post(path, {}, "id", adds=True), order)

    def _undelivered(self, order: Record, said: Mapping[str, Any], action: str) -> list[Record]:
        """Fulfilments that shall be delivered and are not."""
        if not self._setting.fulfilments:
            return []
        live = _live(order)
        if action != "delivered":
            shipments = self._shipments(order, said, action)
            arrived = [each for each in shipments if str(each.get("status")).lower() == "delivered"]
            live = [mine for each in arrived if (mine := self._mine(order, each)) is not None]
        return [each for each in live if each.get("delivered_at") is None]

    # -- reading

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """What the ERP said last, corrected where the order shows something else."""
        found = await self._orders.find(ids)
        single = [records[0] for records in found.values() if len(records) == 1]
        return dict(pair for order in single for pair in self._documents(order))

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All orders that the ERP has spoken of."""
        shown: dict[str, Fields] = {}
        async for order in self._orders.everything():
            shown.update(self._documents(order))
        for id_ in sorted(shown):
            yield id_, shown[id_]

    def _documents(self, order: Record) -> list[tuple[str, Fields]]:
        name, held = self._orders.name(order), metadata(order).get(self._key)
        if not name or not isinstance(held, dict):
            return []
        said = dict(held)
        with contextlib.suppress(Refused):  # somebody else wrote into the metadata: it is shown as it is
            said |= self._corrections(order, said)
        return [(name, {"order": name, **said})]

    def _corrections(self, order: Record, said: Mapping[str, Any]) -> dict[str, Any]:
        """Fields for which the order shows something else than the ERP said. Raises Refused for lines without numbers."""
        found: dict[str, Any] = {}
        action = self._setting.statuses.get(str(said.get("status")), "")
        if action in _VERBS and order.get("status") not in _REACHED[action]:
            found["status"] = order.get("status")
        elif self._undelivered(order, said, action):
            found["status"] = "not delivered"
        if self._setting.fulfilments and said.get("fulfilments"):
            gone = [each for each in self._shipments(order, said, action) if self._mine(order, each) is None]
            ids = {each["id"] for each in gone}
            kept = [each for each in _records(said["fulfilments"]) if str(each.get("id")) not in ids]
            found |= {"fulfilments": kept} if ids else {}
        return found


def _has_left(shipment: Any) -> bool:
    """Whether it is on its way to the customer; what comes back from there is no fulfilment."""
    if not isinstance(shipment, Mapping) or shipment.get("kind") == "return":
        return False
    return str(shipment.get("status")).lower() in _SENT


def _is_gone(fulfilment: Record) -> bool:
    """Whether it has left the house in the shop, too."""
    return fulfilment.get("shipped_at") is not None or fulfilment.get("delivered_at") is not None


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _live(order: Record) -> list[Record]:
    """The fulfilments that were not canceled."""
    return [each for each in _records(order.get("fulfillments")) if each.get("canceled_at") is None]


def _held(order: Record, fulfilment: Record) -> list[tuple[Record, Decimal]]:
    """The line items of a fulfilment. Its own quantities are those of inventory items, which a kit has several of."""
    ids = {of.get("line_item_id") for of in fulfilment.get("items") or ()}
    items = [item for item in order.get("items") or () if item["id"] in ids]
    return [(item, count(item, "quantity")) for item in items]


def _lines(shipment: Mapping[str, Any], room: Sequence[tuple[Record, Decimal]]) -> Lines:
    """The lines of a shipment as line items of the order, which have room for so many pieces. Raises Refused."""
    rows: Lines = {}
    for line in _records(shipment.get("lines")):
        rest = decimal(line.get("quantity"), "quantity")
        for item, most in room:
            take = min(rest, most - rows.get(item["id"], Decimal(0)))
            if item.get("variant_sku") == line.get("sku") and take > 0:
                rows[item["id"]] = rows.get(item["id"], Decimal(0)) + take
                rest -= take
        if rest > 0:
            raise Refused(f"shipment {shipment['id']} has {rest} of {line.get('sku')} more than the order lacks")
    if not rows:
        raise Refused(f"shipment {shipment['id']} has no lines", UNSENDABLE)
    return rows


def _items(lines: Lines) -> list[dict[str, Any]]:
    return [{"id": id_, "quantity": orjson.Fragment(format(pieces, "f"))} for id_, pieces in lines.items()]


def _by_sku(lines: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for sku, quantity in lines:
        found[str(sku)] = found.get(str(sku), Decimal(0)) + decimal(quantity, "quantity")
    return found

"""Shipments of an order in Magento: what the ERP has sent, as shipments with tracking numbers.

Invariant: shipments and tracking numbers add up, so each is made only when the order's shipments, read in the same call, do not
show it; one is the ERP's by the comment that holds its number. What is no shipment to the customer is never made one, and what
cannot be shown is told, never left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from adapters.store.magento.api import Api, Record, Refusal
from adapters.store.magento.levels import Levels
from daemon.errors import StoreError

MARK: Final = "erpsyncd "
SENT: Final = frozenset({"sent", "shipped", "in_transit", "delivered", "done"})
_DEFAULT: Final = "default"
"""The source of a shop that has one."""

Lines = Mapping[str, Decimal]
"""SKU -> pieces."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A shipment of the ERP's that has left for the customer."""

    id: str
    lines: Lines
    number: str
    carrier: str
    location: str
    """Where it left from; empty where the ERP does not say."""


class Shipments:
    """The shipments of one shop."""

    def __init__(self, api: Api, levels: Levels, *, carrier: str, sources: Mapping[str, str], source: str) -> None:
        """`source`: code of the source that parcels without a location leave from; "" leaves it to Magento."""
        self._api, self._levels, self._carrier = api, levels, carrier
        self._sources, self._source = sources, source

    async def bring(
        self, order: Record, wanted: Mapping[str, Parcel], before: Mapping[str, Parcel]
    ) -> tuple[bool, str]:
        """Make what the order lacks of `wanted`; `before` is what the ERP had said last. Whether a shipment was made, and
        what cannot be shown. Raises Refusal while nothing was made, and StoreError."""
        if not wanted and not any(Decimal(str(item.get("qty_shipped") or 0)) for item in order.get("items") or []):
            return False, ""
        ours: dict[str, Record] = {}
        for one in await self._api.found("shipments", "order_id", [str(order["entity_id"])]):
            for text in (str(note.get("comment")) for note in one.get("comments") or []):
                if text.startswith(MARK):
                    ours.setdefault(text.removeprefix(MARK), one)
        left = {item["item_id"]: _left(item) for item in order.get("items") or []}
        new = [(parcel, self._body(order, parcel, left)) for id_, parcel in wanted.items() if id_ not in ours]
        for parcel, body in new:
            await self._make(order, parcel, body)
        # what no comment of ours speaks of yet may have lowered a source and not be answered
        if skus := {sku for id_ in wanted.keys() - before.keys() for sku in wanted[id_].lines}:
            await self._levels.again(skus)
        told = [
            f"the ERP no longer says that shipment {id_} was sent, and Magento takes none back"
            for id_ in sorted(ours.keys() - wanted.keys())
        ]
        for id_ in sorted(ours.keys() & wanted.keys()):
            if "items" in ours[id_] and _held(order, ours[id_]) != wanted[id_].lines:
                told.append(f"shipment {id_} has other lines in the shop, and Magento changes none")
            await self._track(order, ours[id_], wanted[id_], before.get(id_))
        return bool(new), "; ".join(told)

    async def _make(self, order: Record, parcel: Parcel, body: Record) -> None:
        try:
            await self._levels.room(self._from(parcel) or _DEFAULT, parcel.lines)
            await self._api.write(f"order/{order['entity_id']}/ship", body, adds=True)
        except StoreError:
            with contextlib.suppress(StoreError):  # the next call tells
                await self._levels.again(parcel.lines)
            raise

    def _from(self, parcel: Parcel) -> str:
        """The code of the source that a parcel left from; "" leaves it to Magento. Raises Refusal."""
        if not parcel.location:
            return self._source
        if parcel.location not in self._sources:
            text = f"shipment {parcel.id} left from {parcel.location}, which is no source of the shop"
            raise Refusal(f"{text}; name it in options.sources")
        return self._sources[parcel.location]

    def _body(self, order: Record, parcel: Parcel, left: dict[Any, Decimal]) -> Record:
        comment = {"comment": f"{MARK}{parcel.id}", "is_visible_on_front": 0}
        body: dict[str, Any] = {"items": _items(order, parcel, left), "notify": False, "appendComment": True}
        body["comment"] = comment
        if parcel.number:
            body["tracks"] = [self._tracking(parcel)]
        if source := self._from(parcel):
            body["arguments"] = {"extension_attributes": {"source_code": source}}
        return body

    def _tracking(self, parcel: Parcel) -> dict[str, Any]:
        return {"track_number": parcel.number, "title": parcel.carrier or "Carrier", "carrier_code": self._carrier}

    async def _track(self, order: Record, one: Record, parcel: Parcel, before: Parcel | None) -> None:
        """Give a shipment that is there its tracking number; the one that the ERP gave it before goes."""
        there = {str(track.get("track_number")): track for track in one.get("tracks") or []}
        if before is not None and before.number != parcel.number and before.number in there:
            await self._api.delete(f"shipment/track/{there[before.number]['entity_id']}")
        if parcel.number and parcel.number not in there:
            entity = {"order_id": order["entity_id"], "parent_id": one["entity_id"], **self._tracking(parcel)}
            answer = await self._api.write("shipment/track", {"entity": entity}, adds=True)
            if not isinstance(answer, dict) or str(answer.get("track_number")) != parcel.number:
                raise self._api.transport.wrong_shape("the tracking number that was added")


def parcels(fulfilments: Any) -> dict[str, Parcel]:
    """What of a document's `fulfilments` has left for the customer, by its id. Raises Refusal."""
    found: dict[str, Parcel] = {}
    if fulfilments is not None and not isinstance(fulfilments, list | tuple):
        raise Refusal("`fulfilments` is no list")
    for entry in fulfilments or ():
        if not isinstance(entry, Mapping):
            raise Refusal("an entry of `fulfilments` is no object")
        if entry.get("kind") == "return" or str(entry.get("status")).lower() not in SENT:
            continue
        id_ = entry.get("id")
        if not isinstance(id_, str | int) or isinstance(id_, bool) or id_ == "":
            raise Refusal("an entry of `fulfilments` has no `id`; without it nobody can say whether the shop has it")
        if str(id_) in found:
            raise Refusal(f"two `fulfilments` have the id {id_}")
        lines = _lines(str(id_), entry.get("lines"))
        if not lines:
            raise Refusal(f"shipment {id_} has no lines")
        known = {sku: pieces for sku, pieces in lines.items() if pieces}
        number, carrier, location = (str(entry.get(key) or "") for key in ("tracking_number", "carrier", "location"))
        if known:  # else nothing has left
            found[str(id_)] = Parcel(str(id_), known, number, carrier, location)
    return found


def _lines(id_: str, lines: Any) -> Lines:
    found: dict[str, Decimal] = {}
    for line in lines if isinstance(lines, list | tuple) else ():
        sku = line.get("sku") if isinstance(line, Mapping) else None
        if not isinstance(sku, str) or not sku:
            raise Refusal(f"shipment {id_} has a line without a SKU")
        try:
            pieces = Decimal(str(line.get("quantity")))
        except InvalidOperation:
            pieces = Decimal("NaN")
        if not pieces.is_finite() or pieces < 0:
            raise Refusal(f"shipment {id_} has {str(line.get('quantity'))[:50]!r} of {sku}, which is no quantity")
        found[sku] = found.get(sku, Decimal(0)) + pieces
    return found


def _left(item: Record) -> Decimal:
    """What of an order's item can still be shipped, as Magento reckons it."""
    ordered, *gone = (
        Decimal(str(item.get(f"qty_{name}") or 0)) for name in ("ordered", "shipped", "canceled", "refunded")
    )
    return ordered - sum(gone)


def _whole(order: Record) -> Iterable[Record]:
    """The items that are shipped: of a configurable article's two the upper one."""
    return (item for item in order.get("items") or [] if not item.get("parent_item_id"))


def _items(order: Record, parcel: Parcel, left: dict[Any, Decimal]) -> Sequence[Record]:
    """The lines of a shipment as order items; `left` is what the order still lacks."""
    rows: list[Record] = []
    for sku, pieces in parcel.lines.items():
        rest = pieces
        for item in _whole(order):
            take = min(rest, left[item["item_id"]])
            if item.get("sku") == sku and take > 0:
                rows.append({"order_item_id": item["item_id"], "qty": orjson.Fragment(format(take, "f"))})
                left[item["item_id"]] -= take
                rest -= take
        if rest > 0:
            raise Refusal(f"shipment {parcel.id} has {rest} of {sku} more than the order lacks")
    return rows


def _held(order: Record, one: Record) -> Lines:
    """What a shipment holds."""
    skus = {item["item_id"]: str(item.get("sku")) for item in _whole(order)}
    held: dict[str, Decimal] = {}
    for row in one.get("items") or []:
        sku = skus.get(row.get("order_item_id"))
        if sku is not None:
            held[sku] = held.get(sku, Decimal(0)) + Decimal(str(row.get("qty") or 0))
    return held

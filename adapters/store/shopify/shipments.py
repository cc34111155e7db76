"""What an order status document is in an order: which shipments it wants, what is left to fulfil, and back. Pure.

Invariant: `shown` says of an order what the patch said, as far as the order shows it. Which fulfilment is which shipment of
the ERP stands in the metafield `order`, beside the document itself; a fulfilment stands for one shipment at most.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from adapters.store.answers import exact
from adapters.store.shopify.articles import number_of
from adapters.store.shopify.work import NotYet, Refused
from daemon.model import Fields

ORDER: Final = "order"
"""Key of the metafield."""
BOOK: Final = "_shop"
"""In the metafield: what is the adapter's own."""
SENT: Final = frozenset({"sent", "shipped", "in_transit", "out_for_delivery", "delivered", "done"})
"""Statuses of a shipment, in lower case, that has left."""
EVENTS: Final[Mapping[str, str]] = {
    "in_transit": "IN_TRANSIT",
    "out_for_delivery": "OUT_FOR_DELIVERY",
    "delivered": "DELIVERED",
}
_RANK: Final = {"IN_TRANSIT": 1, "OUT_FOR_DELIVERY": 2, "ATTEMPTED_DELIVERY": 2, "NOT_DELIVERED": 2, "DELIVERED": 3}
_ALIVE: Final = ("PENDING", "OPEN", "SUCCESS")
_HELD: Final = ("ON_HOLD", "SCHEDULED")
_READY: Final = ("OPEN", "IN_PROGRESS")


class Lacking(Exception):
    """The order has fewer pieces left than the shipment has."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """One shipment of the ERP that has left. `lines`: SKU -> pieces."""

    id: str
    number: str
    company: str
    lines: Counter[str]
    event: str
    """What Shopify calls how far it is; empty where it is only sent."""

    @property
    def tracking(self) -> dict[str, str]:
        """A FulfillmentTrackingInput; empty where nothing is known."""
        return {name: value for name, value in (("number", self.number), ("company", self.company)) if value}


class Begun(NamedTuple):
    """A fulfilment that was asked for: with which tracking number, and which fulfilments there were before."""

    number: str
    before: list[str]


@dataclass(slots=True)
class Book:
    """What the metafield remembers. `sent`: shipment -> numbers of its fulfilments. `begun`: shipments for which one was asked
    for, while it is not known what became of it."""

    document: dict[str, Any] = field(default_factory=dict)
    sent: dict[str, list[str]] = field(default_factory=dict)
    begun: dict[str, Begun] = field(default_factory=dict)

    def value(self, document: Mapping[str, Any]) -> str:
        kept = {"sent": self.sent, **({"begun": self.begun} if self.begun else {})}
        return json.dumps({**document, BOOK: kept}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def claimed(self) -> set[str]:
        return {number for numbers in self.sent.values() for number in numbers}


def book_of(node: Mapping[str, Any]) -> Book:
    """From an order with `said`; an empty one where nothing came from here or it cannot be read."""
    try:
        value = json.loads(node["said"]["value"], parse_float=exact) if node["said"] else {}
    except ValueError:
        value = {}
    if not isinstance(value, dict):
        return Book()
    book = value.pop(BOOK, None)
    kept = book if isinstance(book, dict) else {}
    sent, begun = kept.get("sent"), kept.get("begun")
    book_ = Book(value)
    if isinstance(sent, dict):
        book_.sent = {
            name: [str(each) for each in numbers] for name, numbers in sent.items() if isinstance(numbers, list)
        }
    if isinstance(begun, dict):
        book_.begun = {name: Begun(*one) for name, one in begun.items() if isinstance(one, list) and len(one) == 2}
    return book_


def alive(node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The fulfilments of an order that were not cancelled and did not fail, by number."""
    return {number_of(one["id"]): one for one in node["fulfillments"] if one["status"] in _ALIVE}


def numbers_of(fulfilment: Mapping[str, Any]) -> list[str]:
    """Its tracking numbers."""
    return [one["number"] for one in fulfilment["trackingInfo"] if one["number"]]


def wanted(fields: Fields) -> list[Shipment]:
    """The shipments of a document that have left for the customer. Raises Refused."""
    found: dict[str, Shipment] = {}
    for one in fields.get("fulfilments") or ():
        if not isinstance(one, Mapping) or str(one.get("status")).lower() not in SENT or one.get("kind") == "return":
            continue
        name = str(one.get("id") or "")
        if not name or name in found:
            raise Refused(f"a shipment has {'no id' if not name else f'the id {name} of another one'}")
        lines: Counter[str] = Counter()
        for line in one.get("lines") or ():
            lines[str(line.get("sku"))] += _pieces(name, line.get("quantity"))
        if not lines:
            raise Refused(f"shipment {name} has no lines")
        if not +lines:
            continue  # nothing left
        number, company = str(one.get("tracking_number") or ""), str(one.get("carrier") or "")
        event = EVENTS.get(str(one.get("status")).lower(), "")
        found[name] = Shipment(name, number, company, +lines, event)
    return list(found.values())


def _pieces(name: str, quantity: Any) -> int:
    try:
        number = Decimal(str(quantity))
        pieces = int(number)
    except (InvalidOperation, ValueError, OverflowError):
        raise Refused(f"shipment {name} has a line with the quantity {quantity}") from None
    if pieces != number or pieces < 0:
        raise Refused(f"shipment {name} has a line with the quantity {quantity}; Shopify counts whole pieces")
    return pieces


def behind(fulfilment: Mapping[str, Any], event: str) -> bool:
    """Whether it is to be told that a shipment has come this far."""
    return _RANK.get(str(fulfilment["displayStatus"]), 0) < _RANK.get(event, 0)


def lines_of(document: Fields, name: str) -> Counter[str]:
    """The lines of a shipment as a document said them; none where it did not say it."""
    try:
        return next((one.lines for one in wanted(document) if one.id == name), Counter())
    except (Refused, AttributeError):
        return Counter()


def recognised(shipment: Shipment, number: str, fulfilment: Mapping[str, Any], book: Book) -> bool:
    """Whether a fulfilment that stands for no shipment yet is this one: it has its tracking number, or it came, just so,
    after one was asked for."""
    tracked = numbers_of(fulfilment)
    if shipment.number and shipment.number in tracked:
        return True
    begun = book.begun.get(shipment.id)
    return begun is not None and number not in begun.before and tracked == ([begun.number] if begun.number else [])


def fits(lines: Counter[str], need: Counter[str]) -> bool:
    """Whether a fulfilment with these lines may be a part of what is needed."""
    return bool(+lines) and lines <= need


def pieces(need: Counter[str], orders: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """What to fulfil, a list for each location, since a fulfilment is at one: from a single location if one has it all.
    Raises Lacking, or NotYet where it is only held back."""
    ready = [one for one in orders if one["status"] in _READY and _may(one)]
    places: dict[str, list[Mapping[str, Any]]] = {}
    for one in ready:
        location = (one["assignedLocation"]["location"] or {}).get("id") or ""
        places.setdefault(location, []).append(one)
    for some in places.values():
        rows, rest = _take(need, some)
        if not rest:
            return [rows]
    made, rest = [], need
    for some in places.values():
        rows, rest = _take(rest, some)
        if rows:
            made.append(rows)
    if not rest:
        return made
    if not _take(rest, [one for one in orders if one["status"] in _HELD])[1]:
        raise NotYet("the shop holds the order back")
    raise Lacking(", ".join(f"{count} of {sku}" for sku, count in sorted(rest.items())))


def _may(order: Mapping[str, Any]) -> bool:
    return any(one["action"] == "CREATE_FULFILLMENT" for one in order["supportedActions"])


def _take(need: Counter[str], orders: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Lines of these fulfilment orders that serve the need, and what is left of it."""
    rest, rows = Counter(need), []
    for order in orders:
        taken = []
        for line in order["lineItems"]["nodes"]:
            count = min(rest[str(line["sku"])], line["remainingQuantity"])
            if count > 0:
                taken.append({"id": line["id"], "quantity": count})
                rest[str(line["sku"])] -= count
        if taken:
            rows.append({"fulfillmentOrderId": order["id"], "fulfillmentOrderLineItems": taken})
    return rows, +rest


def shown(node: Mapping[str, Any], cancelled: Iterable[str]) -> Fields | None:
    """The document that an order shows; None where there is none. `cancelled`: words of the ERP that cancel an order."""
    book = book_of(node)
    if not book.document.get("order"):
        return None
    live = alive(node)
    fields = dict(book.document)
    words = set(cancelled)
    if words and (str(fields.get("status")) in words) != bool(node["cancelledAt"]):
        fields["status"] = "cancelled in the shop" if node["cancelledAt"] else "not cancelled in the shop"
    try:
        left = {shipment.id for shipment in wanted(fields)}
    except (Refused, AttributeError):
        left = set()
    if left:
        fields["fulfilments"] = [
            changed
            for one in fields["fulfilments"]
            if (changed := _shown(one, left, [live.get(n) for n in book.sent.get(str(one.get("id")), ())])) is not None
        ]
    return fields


def _shown(
    shipment: Mapping[str, Any], left: set[str], those: Sequence[Mapping[str, Any] | None]
) -> Mapping[str, Any] | None:
    if str(shipment.get("id")) not in left or shipment.get("kind") == "return":
        return shipment
    there = [one for one in those if one is not None]
    if not there or len(there) < len(those):
        return None
    event = EVENTS.get(str(shipment["status"]).lower(), "")
    number = str(shipment.get("tracking_number") or "")
    said: dict[str, Any] = dict(shipment)
    for one in there:
        if behind(one, event):
            said["status"] = str(one["displayStatus"]).lower()
        if number and number not in numbers_of(one):
            said["tracking_number"] = next(iter(numbers_of(one)), None)
    return said

"""The Shopify double's orders: fulfilment orders, fulfilments, events, cancellations.

Invariant: a fulfilment takes only pieces that are left, at one location, from fulfilment orders that are open and allow it;
what adds up adds up, as in the real shop; an order with goods under way, or cancelled already, is not cancelled.
"""

# ruff: noqa: N802, N803 -- resolvers have the names of the API's fields and arguments

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]
HERE: Final = "gid://shopify/Location/71"


@dataclass
class FulfilmentOrder:
    id: str
    location: str
    lines: dict[str, list[Any]]
    """Id of a line -> SKU and pieces left."""
    status: str = "OPEN"
    may: bool = True
    """Whether the app may fulfil it: it is not a fulfilment service's."""


@dataclass
class Fulfilment:
    id: str
    lines: dict[str, int]
    tracking: list[Json] = field(default_factory=list)
    status: str = "SUCCESS"
    events: list[str] = field(default_factory=list)

    @property
    def display(self) -> str:
        return self.events[-1] if self.events else "FULFILLED"


@dataclass
class Order:
    id: str
    name: str
    todo: list[FulfilmentOrder]
    fulfilments: list[Fulfilment] = field(default_factory=list)
    cancelled: str | None = None
    restocked: bool = False
    key: str = ""
    """Value of the unique metafield by which it may be found."""


class Desk:
    """The state of orders; a part of `ShopifyShop`."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.jobs: dict[str, Any] = {}
        """What a job does when it is looked at."""
        self.told: list[bool] = []
        """Whether the customer was told, of each fulfilment and cancellation."""
        self._running = 9000

    def number(self) -> int:
        self._running += 1
        return self._running

    def add_order(self, name: str, *places: dict[str, int]) -> Order:
        """An order; each of `places` is what one location is to fulfil."""
        todo = []
        for at, lines in enumerate(places):
            rows = {f"gid://shopify/FulfillmentOrderLineItem/{self.number()}": [s, n] for s, n in lines.items()}
            location = HERE if at == 0 else f"gid://shopify/Location/{71 + at}"
            todo.append(FulfilmentOrder(f"gid://shopify/FulfillmentOrder/{self.number()}", location, rows))
        order = Order(f"gid://shopify/Order/{self.number()}", name, todo)
        self.orders[order.id] = order
        return order

    def fulfil(self, order: Order, lines: dict[str, int], *numbers: str) -> Fulfilment:
        """Somebody at the shop ships these pieces."""
        made = Fulfilment(f"gid://shopify/Fulfillment/{self.number()}", dict(lines))
        made.tracking = [{"number": number, "company": "Post", "url": None} for number in numbers]
        for sku, count in lines.items():
            for rows in (todo.lines for todo in order.todo):
                for row in rows.values():
                    if row[0] == sku:
                        row[1] -= min(row[1], count)
        order.fulfilments.append(made)
        return made

    def show_order(self, order: Order) -> Json:
        def metafield(_info: Any, key: str, namespace: str) -> Json | None:
            value = self.metafields.get((order.id, namespace, key))  # type: ignore[attr-defined]
            if value is None:
                return None
            return {"value": value, "compareDigest": hashlib.sha256(value.encode()).hexdigest()}

        def fulfillments(_info: Any, first: int, **_others: Any) -> list[Json]:
            return [self.show_fulfilment(one) for one in order.fulfilments[:first]]

        def todo(_info: Any, first: int, after: str | None = None, **_others: Any) -> Json:
            return _page([self.show_todo(one) for one in order.todo], first, after)

        return {
            "__typename": "Order",
            "id": order.id,
            "name": order.name,
            "cancelledAt": order.cancelled,
            "metafield": metafield,
            "fulfillmentsCount": {"count": len(order.fulfilments)},
            "fulfillments": fulfillments,
            "fulfillmentOrders": todo,
        }

    def show_fulfilment(self, one: Fulfilment) -> Json:
        def lines(_info: Any, first: int, after: str | None = None, **_others: Any) -> Json:
            nodes = [
                {"id": f"{one.id}-{sku}", "quantity": n, "lineItem": {"id": sku, "sku": sku}}
                for sku, n in one.lines.items()
            ]
            return _page(nodes, first, after)

        return {
            "__typename": "Fulfillment",
            "id": one.id,
            "status": one.status,
            "displayStatus": one.display,
            "trackingInfo": lambda _info, first, **_others: one.tracking[:first],
            "fulfillmentLineItems": lines,
        }

    def show_todo(self, one: FulfilmentOrder) -> Json:
        def lines(_info: Any, first: int, after: str | None = None, **_others: Any) -> Json:
            nodes = [{"id": id_, "sku": sku, "remainingQuantity": n} for id_, (sku, n) in one.lines.items()]
            return _page(nodes, first, after)

        actions = [{"action": "CREATE_FULFILLMENT" if one.may else "REQUEST_FULFILLMENT"}]
        return {
            "id": one.id,
            "status": one.status,
            "assignedLocation": {"location": {"id": one.location}},
            "supportedActions": actions if one.status in ("OPEN", "IN_PROGRESS") else [],
            "lineItems": lines,
        }


def _page(nodes: list[Any], first: int, after: str | None) -> Json:
    start = int(after or 0)
    end = start + first
    return {"nodes": nodes[start:end], "pageInfo": {"hasNextPage": end < len(nodes), "endCursor": str(end)}}


def _refused(message: str) -> Json:
    return {"fulfillment": None, "userErrors": [{"field": ["fulfillment"], "message": message}]}


class DeskRoot:
    """The fields of QueryRoot and Mutation that are about orders."""

    _shop: Any

    def order(self, _info: Any, id: str) -> Json | None:
        order = self._shop.orders.get(id)
        return None if order is None else self._shop.show_order(order)

    def orders(self, _info: Any, first: int, after: Any = None, query: str | None = None, **_others: Any) -> Json:
        names = {name.lstrip("#").lower() for name in re.findall(r'name:"([^"]*)"', query or "")}
        above = re.search(r"id:>(\d+)", query or "")
        found = [
            self._shop.show_order(order)
            for order in self._shop.orders.values()
            if (not names or order.name.lstrip("#").lower() in names)
            and (above is None or int(order.id.rpartition("/")[2]) > int(above[1]))
        ]
        return _page(found, first, after)

    def orderByIdentifier(self, _info: Any, identifier: Json) -> Json | None:
        wanted = identifier["customId"]["value"]
        found = [order for order in self._shop.orders.values() if order.key == wanted]
        return self._shop.show_order(found[0]) if found else None

    def _fulfilment(self, id_: str) -> Fulfilment | None:
        every = (one for order in self._shop.orders.values() for one in order.fulfilments)
        return next((one for one in every if one.id == id_), None)

    def fulfillment(self, _info: Any, id: str) -> Json | None:
        one = self._fulfilment(id)
        return None if one is None else self._shop.show_fulfilment(one)

    def fulfillmentOrder(self, _info: Any, id: str) -> Json | None:
        every = (one for order in self._shop.orders.values() for one in order.todo)
        return next((self._shop.show_todo(one) for one in every if one.id == id), None)

    def fulfillmentCreate(self, _info: Any, fulfillment: Json, **_others: Any) -> Json:
        taken, lines, locations = [], {}, set()
        order: Order | None = None
        for row in fulfillment["lineItemsByFulfillmentOrder"]:
            pairs = [(o, one) for o in self._shop.orders.values() for one in o.todo]
            order, todo = next((o, one) for o, one in pairs if one.id == row["fulfillmentOrderId"])
            if todo.status not in ("OPEN", "IN_PROGRESS") or not todo.may:
                return _refused("The fulfillment order is not in an open state.")
            locations.add(todo.location)
            for part in row["fulfillmentOrderLineItems"]:
                held = todo.lines[part["id"]]
                if part["quantity"] > held[1]:
                    return _refused("Invalid fulfillment order line item quantity requested.")
                taken.append((todo, held, part["quantity"]))
                lines[held[0]] = lines.get(held[0], 0) + part["quantity"]
        if len(locations) != 1 or order is None:
            return _refused("All fulfillment orders must be assigned to the same location.")
        for todo, held, quantity in taken:
            held[1] -= quantity
            if not any(row[1] for row in todo.lines.values()):
                todo.status = "CLOSED"
        made = Fulfilment(f"gid://shopify/Fulfillment/{self._shop.number()}", lines)
        if tracking := fulfillment.get("trackingInfo"):
            made.tracking = [{"url": None, "number": None, "company": None, **tracking}]
        order.fulfilments.append(made)
        self._shop.told.append(bool(fulfillment.get("notifyCustomer")))
        return {"fulfillment": self._shop.show_fulfilment(made), "userErrors": []}

    def fulfillmentTrackingInfoUpdate(
        self, _info: Any, fulfillmentId: str, trackingInfoInput: Json, notifyCustomer: bool = False
    ) -> Json:
        one = self._fulfilment(fulfillmentId)
        assert one is not None
        one.tracking = [{"url": None, "number": None, "company": None, **trackingInfoInput}]
        return {"fulfillment": self._shop.show_fulfilment(one), "userErrors": []}

    def fulfillmentEventCreate(self, _info: Any, fulfillmentEvent: Json) -> Json:
        one = self._fulfilment(fulfillmentEvent["fulfillmentId"])
        if one is None or one.status != "SUCCESS":
            return {"fulfillmentEvent": None, "userErrors": [{"field": ["id"], "message": "Fulfillment not found"}]}
        one.events.append(fulfillmentEvent["status"])
        event = {"id": "gid://shopify/FulfillmentEvent/1", "status": fulfillmentEvent["status"]}
        return {"fulfillmentEvent": event, "userErrors": []}

    def orderCancel(
        self, _info: Any, orderId: str, restock: bool, notifyCustomer: bool = False, **_others: Any
    ) -> Json:
        order = self._shop.orders[orderId]
        if order.cancelled or any(one.status == "SUCCESS" for one in order.fulfilments):
            error = {"code": "INVALID", "field": ["orderId"], "message": "Cannot cancel this order."}
            return {"job": None, "orderCancelUserErrors": [error]}
        job = f"gid://shopify/Job/{self._shop.number()}"

        def happens() -> None:
            order.cancelled, order.restocked = "2026-11-28T05:00:00Z", restock
            for one in order.todo:
                one.status = "CANCELLED"

        self._shop.jobs[job] = happens
        self._shop.told.append(notifyCustomer)
        return {"job": {"id": job, "done": False}, "orderCancelUserErrors": []}

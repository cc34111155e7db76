"""Orders of the Vendure double: lines, fulfilments, their states, and what leads from one to the next.

Invariant: the rules are those of @vendure/core 3.7.3 (default order and fulfilment process, manual handler), as read in its
source and seen on a server: a quantity is fulfilled once, a state is never gone back to, an order follows its fulfilments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphql import GraphQLError, GraphQLResolveInfo

ORDER_FIELDS: Final = {"erpOrder": "Text", "erpNumber": "String", "erpStatus": "String"}
HANDLER: Final = "manual-fulfillment"
_SHIPPED: Final = {"PartiallyShipped", "Shipped", "PartiallyDelivered", "Delivered", "Cancelled", "Modifying"}
_NEXT: Final = {
    "AddingItems": {"ArrangingPayment", "Cancelled"},
    "ArrangingPayment": {"PaymentAuthorized", "PaymentSettled", "Cancelled"},
    "PaymentAuthorized": {"PaymentSettled", "Cancelled", "Modifying"},
    "PaymentSettled": _SHIPPED,
    "PartiallyShipped": _SHIPPED - {"PartiallyShipped", "Delivered"},
    "Shipped": _SHIPPED - {"PartiallyShipped", "Shipped"},
    "PartiallyDelivered": {"Delivered", "Cancelled", "Modifying"},
    "Delivered": {"Cancelled"},
    "Modifying": {"PaymentSettled", "PartiallyShipped", "Shipped", "PartiallyDelivered"},
    "Cancelled": set(),
}
_FULFILMENT_NEXT: Final = {
    "Pending": {"Shipped", "Delivered", "Cancelled"},
    "Shipped": {"Delivered", "Cancelled"},
    "Delivered": {"Cancelled"},
    "Cancelled": set(),
}


class Orders:
    """The orders of one shop."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.out_of_stock: set[str] = set()
        """SKUs that the shop has too few of to ship any."""
        self.arguments = ("method", "trackingCode")
        """What the fulfilment handler takes."""
        self._numbers = iter(range(1, 1_000_000))

    def place(
        self, code: str, lines: Mapping[str, int], state: str = "PaymentSettled", number: str | None = None
    ) -> str:
        """An order with these SKUs; `number` is what the ERP calls it."""
        id_ = str(next(self._numbers))
        self.known[id_] = {
            "__typename": "Order", "id": id_, "code": code, "state": state, "fulfillments": [],
            "lines": [
                {"id": str(next(self._numbers)), "quantity": quantity, "productVariant": {"sku": sku}}
                for sku, quantity in lines.items()
            ],
            "customFields": {**dict.fromkeys(ORDER_FIELDS), "erpNumber": number},
        }  # fmt: skip
        return id_

    def of(self, code: str) -> dict[str, Any]:
        return next(order for order in self.known.values() if order["code"] == code)

    def fulfil(self, code: str, lines: Mapping[str, int], method: str, state: str = "Pending") -> str:
        """A fulfilment that somebody in the shop makes by hand."""
        order = self.of(code)
        ids = {line["productVariant"]["sku"]: line["id"] for line in order["lines"]}
        rows = [{"orderLineId": ids[sku], "quantity": quantity} for sku, quantity in lines.items()]
        made = self.make(rows, {"method": method, "trackingCode": ""})
        for step in ("Shipped", "Delivered", "Cancelled"):
            if made["state"] != state and step in (state, "Shipped"):
                self.move(made["id"], step)
        return str(made["id"])

    def shown(self, code: str) -> list[tuple[str, str, dict[str, int]]]:
        """(method, state, SKU -> quantity) of an order's fulfilments, by method."""
        order = self.of(code)
        skus = {line["id"]: line["productVariant"]["sku"] for line in order["lines"]}
        return sorted(
            (one["method"], one["state"], {skus[line["orderLineId"]]: line["quantity"] for line in one["lines"]})
            for one in order["fulfillments"]
        )

    def _lines(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for order in self.known.values():
            for line in order["lines"]:
                yield order, line

    def order_of(self, fulfilment: str) -> dict[str, Any] | None:
        for order in self.known.values():
            if any(one["id"] == fulfilment for one in order["fulfillments"]):
                return order
        return None

    def order_of_line(self, line_id: str) -> dict[str, Any] | None:
        return next((order for order, line in self._lines() if line["id"] == line_id), None)

    # -- what Vendure's services do

    def make(self, rows: list[dict[str, Any]], arguments: Mapping[str, str]) -> dict[str, Any]:
        if not sum(row["quantity"] for row in rows):
            return _error("EmptyOrderLineSelectionError", "EMPTY_ORDER_LINE_SELECTION_ERROR")
        lines = {line["id"]: (order, line) for order, line in self._lines()}
        for row in rows:
            order, line = lines[row["orderLineId"]]
            if row["quantity"] > line["quantity"] - _taken(order, line["id"]):
                return _error("ItemsAlreadyFulfilledError", "ITEMS_ALREADY_FULFILLED_ERROR")
        for row in rows:
            sku = lines[row["orderLineId"]][1]["productVariant"]["sku"]
            if sku in self.out_of_stock:
                text = f'Cannot create a Fulfillment as "{sku}" has insufficient stockOnHand (0)'
                return {**_error("InsufficientStockOnHandError", "INSUFFICIENT_STOCK_ON_HAND_ERROR"), "message": text}
        method = arguments.get("method") if "method" in self.arguments else "standard"
        if method is None:
            raise GraphQLError('null value in column "method" of relation "fulfillment" violates not-null constraint')
        made = {
            "__typename": "Fulfillment", "id": str(next(self._numbers)), "state": "Pending", "method": method,
            "trackingCode": arguments.get("trackingCode", ""), "lines": [dict(row) for row in rows],
        }  # fmt: skip
        lines[rows[0]["orderLineId"]][0]["fulfillments"].append(made)
        return made

    def move(self, id_: str, state: str) -> dict[str, Any]:
        order = self.order_of(id_)
        if order is None:
            text = f'No Fulfillment with the id "{id_}" could be found'
            raise GraphQLError(text, extensions={"code": "ENTITY_NOT_FOUND"})
        one = next(one for one in order["fulfillments"] if one["id"] == id_)
        if state not in _FULFILMENT_NEXT[one["state"]]:
            text = f'Cannot transition Fulfillment from "{one["state"]}" to "{state}"'
            said = _error("FulfillmentStateTransitionError", "FULFILLMENT_STATE_TRANSITION_ERROR")
            return {**said, "transitionError": text}
        one["state"] = state
        if state in ("Shipped", "Delivered"):
            counted = ("Shipped", "Delivered")[("Shipped", "Delivered").index(state) :]
            whole = all(line["quantity"] <= _taken(order, line["id"], counted) for line in order["lines"])
            reached = state if whole else f"Partially{state}"
            if reached in _NEXT[order["state"]]:
                order["state"] = reached
        return one

    def cancel(self, id_: str) -> dict[str, Any]:
        order = self.known[id_]
        if order["state"] not in ("AddingItems", "ArrangingPayment"):
            if not sum(line["quantity"] for line in order["lines"]):
                return _error("EmptyOrderLineSelectionError", "EMPTY_ORDER_LINE_SELECTION_ERROR")
            for line in order["lines"]:
                line["quantity"] = 0
        order["state"] = "Cancelled"
        return order


def _taken(order: Mapping[str, Any], line: str, states: tuple[str, ...] = ("Pending", "Shipped", "Delivered")) -> int:
    rows = [row for one in order["fulfillments"] if one["state"] in states for row in one["lines"]]
    return sum(int(row["quantity"]) for row in rows if row["orderLineId"] == line)


def _error(kind: str, code: str) -> dict[str, Any]:
    return {"__typename": kind, "errorCode": code, "message": f"errorResult.{code}"}


class OrderRoot:
    """The resolvers of orders."""

    def _enter(self) -> dict[str, Any]:
        raise NotImplementedError

    def _orders(self) -> Orders:
        raise NotImplementedError

    def _page(self, items: list[dict[str, Any]], options: Mapping[str, Any] | None) -> dict[str, Any]:
        raise NotImplementedError

    def fulfillmentHandlers(self, info: GraphQLResolveInfo) -> list[dict[str, Any]]:  # noqa: N802 the schema's name
        self._enter()
        args = [{"name": name, "type": "string", "required": False} for name in self._orders().arguments]
        return [{"code": HANDLER, "args": args}]

    def orders(self, info: GraphQLResolveInfo, options: Any = None) -> Mapping[str, Any]:
        self._enter()
        items = list(self._orders().known.values())
        for name, operator in (options or {}).get("filter", {}).items():
            held = [(order, order.get(name) or order["customFields"].get(name)) for order in items]
            if "isNull" in operator:
                items = [order for order, value in held if (value is None) is operator["isNull"]]
            else:
                items = [order for order, value in held if value in operator["in"]]
        return self._page(items, options)

    def addFulfillmentToOrder(self, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._enter()
        if input["handler"]["code"] != HANDLER:
            return _error("InvalidFulfillmentHandlerError", "INVALID_FULFILLMENT_HANDLER_ERROR")
        arguments = {each["name"]: each["value"] for each in input["handler"]["arguments"]}
        return self._orders().make(input["lines"], arguments)

    def transitionFulfillmentToState(self, info: GraphQLResolveInfo, id: str, state: str) -> dict[str, Any]:  # noqa: N802
        self._enter()
        return self._orders().move(id, state)

    def cancelOrder(self, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._enter()
        return self._orders().cancel(input["orderId"])

    def setOrderCustomFields(self, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._enter()
        order = self._orders().known.get(input["id"])
        if order is None:
            text = f'No Order with the id "{input["id"]}" could be found'
            raise GraphQLError(text, extensions={"code": "ENTITY_NOT_FOUND"})
        order["customFields"].update(input.get("customFields") or {})
        return order

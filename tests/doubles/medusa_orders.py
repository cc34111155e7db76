"""Orders of the Medusa double: lines, fulfilments, shipments, and what a shop that was killed leaves of them.

Invariant: what it does was seen from Medusa 2.21.2, whose order is the order's lines and its fulfilments, written one after the
other: a fulfilment of which the lines do not know cannot be shipped, nor be cancelled but by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.doubles.server import json_answer

Json = dict[str, Any]


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.answer = json_answer({"type": kind, "message": message}, status)


class Orders:
    """The orders of one shop. What it stands in has variants and levels."""

    variants: dict[str, Json]
    levels: dict[tuple[str, str], Json]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.orders: dict[str, Json] = {}
        self.ships = True
        """The shop has a shipping option."""
        self.reservations: dict[str, Json] = {}
        self.unreserved: set[str] = set()
        """Lines of orders whose reservations a half-made fulfilment has ended."""
        self.sold_out: set[str] = set()
        """Inventory items of which nothing can be reserved."""
        self._last = 0

    def _next(self) -> str:
        self._last += 1
        return f"{self._last:06}"

    def order(self, *lines: tuple[str, int], **values: Any) -> Json:
        """An order of so many pieces of each SKU."""
        number = len(self.orders) + 1
        items = [
            {
                "id": f"ordli_{self._next()}",
                "variant_sku": sku,
                "detail": {"quantity": pieces, "fulfilled_quantity": 0, "shipped_quantity": 0},
            }
            for sku, pieces in lines
        ]
        made: Json = {
            "id": f"order_{self._next()}", "display_id": number, "status": "pending", "metadata": None, "items": items,
            "fulfillments": [], **values,
        }  # fmt: skip
        self.orders[made["id"]] = made
        return made

    def fulfil(self, order: Json, *lines: tuple[str, int], metadata: Json | None = None) -> Json:
        """A fulfilment as the shop's people make it."""
        ids = {item["variant_sku"]: item["id"] for item in order["items"]}
        rows = [{"id": ids[sku], "quantity": pieces} for sku, pieces in lines]
        self._fulfil(order, {"items": rows, "metadata": metadata})
        made: Json = order["fulfillments"][-1]
        return made

    def halve(self, order: Json, *lines: tuple[str, int], metadata: Json, reserved: bool) -> Json:
        """A fulfilment as it stands when the shop is killed before the order's lines count it, and before or after the
        reservations of its pieces have ended."""
        made = self.fulfil(order, *lines, metadata=metadata)
        for row in made["items"]:
            line = next(item for item in order["items"] if item["id"] == row["line_item_id"])
            line["detail"]["fulfilled_quantity"] -= row["quantity"]
            row["inventory_item_id"] = "iitem_of_" + line["variant_sku"]
            if reserved:
                self._keep(line["id"], row["inventory_item_id"], line["detail"]["quantity"])
            else:
                self.unreserved.add(line["id"])
        return made

    def _keep(self, line: str, item: str, quantity: Any) -> Json:
        made = {"id": f"resitem_{self._next()}", "line_item_id": line, "inventory_item_id": item, "quantity": quantity}
        self.reservations[made["id"]] = made
        self.unreserved.discard(line)
        return made

    def reserve(self, body: Json, id_: str = "") -> Json:
        """A reservation that is made, or one that is set."""
        if id_:
            held = known(self.reservations, id_, "Reservation")
            held["quantity"] = only(body, {"quantity"})["quantity"]
            return held
        only(body, {"line_item_id", "inventory_item_id", "location_id", "quantity"})
        if body["inventory_item_id"] in self.sold_out:
            raise Problem(400, "not_allowed", f"Not enough stock available for item {body['inventory_item_id']}")
        return self._keep(body["line_item_id"], body["inventory_item_id"], body["quantity"])

    def _bare(self, id_: str) -> Json:
        held = {each["id"]: each for order in self.orders.values() for each in order["fulfillments"]}
        one = known(held, id_, "Fulfillment")
        if one["shipped_at"]:
            raise Problem(400, "not_allowed", f"Fulfillment with id {id_} already shipped")
        return one

    def ship_bare(self, id_: str, body: Json) -> Json:
        """Ship a fulfilment, and leave the lines of its order alone."""
        one = self._bare(id_)
        one["labels"], one["shipped_at"] = only(body, {"labels"})["labels"], "2026-11-28T05:00:00.000Z"
        return one

    def cancel_bare(self, id_: str) -> Json:
        """Cancel a fulfilment, whatever the lines of its order say."""
        one = self._bare(id_)
        one["canceled_at"] = one["canceled_at"] or "2026-11-28T05:00:00.000Z"
        return one

    def _write_order(self, order: Json, what: list[str], body: Json) -> None:
        if order["status"] == "canceled":
            raise Problem(400, "invalid_data", f"Order with id {order['id']} has been canceled.")
        fulfilments = {each["id"]: each for each in order["fulfillments"]}
        match what:
            case []:
                order["metadata"] = merged(order["metadata"], only(body, {"metadata"})["metadata"])
            case ["fulfillments"]:
                self._fulfil(order, only(body, {"items", "metadata", "location_id", "no_notification"}))
            case ["fulfillments", id_, "shipments"]:
                one = known(fulfilments, id_, "Fulfillment")
                if one["shipped_at"]:
                    raise Problem(400, "not_allowed", "Shipment has already been created")
                self._count_shipped(order, only(body, {"items", "labels"})["items"])
                for label in body.get("labels", ()):
                    if not label["tracking_url"].startswith("http"):
                        raise Problem(
                            400, "invalid_data", "Invalid request: Invalid url for field 'labels, 0, tracking_url'"
                        )
                one["shipped_at"], one["labels"] = "2026-11-28T05:00:00.000Z", body.get("labels", [])
            case ["fulfillments", id_, "mark-as-delivered"]:
                one = known(fulfilments, id_, "Fulfillment")
                if one["delivered_at"]:
                    raise Problem(400, "not_allowed", "Fulfillment has already been marked delivered")
                one["delivered_at"] = "2026-11-28T05:00:00.000Z"
            case ["cancel"] if order["status"] == "completed":
                raise Problem(400, "not_allowed", "Cannot cancel a completed order.")
            case ["cancel" | "complete" | "archive" as verb]:
                order["status"] = {"cancel": "canceled", "complete": "completed", "archive": "archived"}[verb]
            case _:
                raise Problem(404, "not_found", "no such thing")

    def _count_shipped(self, order: Json, rows: list[Json]) -> None:
        lines = {item["id"]: item["detail"] for item in order["items"]}
        for row in rows:
            if row["quantity"] > lines[row["id"]]["fulfilled_quantity"] - lines[row["id"]]["shipped_quantity"]:
                text = f"Cannot ship more items than what was fulfilled for item {row['id']}."
                raise Problem(400, "invalid_data", text)
        for row in rows:
            lines[row["id"]]["shipped_quantity"] += row["quantity"]

    def _leave(self, sku: str, pieces: int) -> None:
        """Shipped pieces leave the level, and with them their reservation."""
        for variant in self.variants.values():
            if variant["sku"] == sku and (level := self.levels.get((variant["items"][0][0], "sloc_1"))):
                level["stocked_quantity"] -= pieces
                level["reserved_quantity"] -= pieces

    def _fulfil(self, order: Json, body: Json) -> None:
        if not self.ships:
            raise Problem(500, "unknown_error", "An unknown error occurred.")
        items = {item["id"]: item["detail"] for item in order["items"]}
        for row in body["items"]:
            held = items[row["id"]]
            if row["quantity"] > held["quantity"] - held["fulfilled_quantity"]:
                text = f"Quantity to fulfill exceeds the reserved quantity for the item: {row['id']}"
                raise Problem(400, "invalid_data", text)
            if row["id"] in self.unreserved:
                raise Problem(400, "invalid_data", f"No stock reservation found for item {row['id']}")
        for row in body["items"]:
            items[row["id"]]["fulfilled_quantity"] += row["quantity"]
            self._leave(
                next(item["variant_sku"] for item in order["items"] if item["id"] == row["id"]), row["quantity"]
            )
        rows = [{"line_item_id": row["id"], "quantity": row["quantity"]} for row in body["items"]]
        made = {"id": f"ful_{self._next()}", "metadata": body.get("metadata"), "items": rows, "labels": []}
        order["fulfillments"].append(
            {**made, "location_id": "sloc_1", "shipped_at": None, "delivered_at": None, "canceled_at": None}
        )


def known(records: Mapping[str, Json], id_: str, what: str) -> Json:
    if id_ not in records:
        raise Problem(404, "not_found", f"{what} with id: {id_} was not found")
    return records[id_]


def merged(held: Json | None, given: Json | None) -> Json:
    """Metadata after a write: by top-level key, where an empty text removes one."""
    return {name: value for name, value in {**(held or {}), **(given or {})}.items() if value != ""}


def only(body: Json, names: Iterable[str]) -> Json:
    if strange := sorted(set(body) - set(names)):
        text = ", ".join(f"'{name}'" for name in strange)
        raise Problem(400, "invalid_data", f"Invalid request: Unrecognized fields: {text}")
    return body

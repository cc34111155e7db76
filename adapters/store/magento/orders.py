"""Order status in Magento: the status by a comment of the order, shipments with their tracking numbers.

Invariant: comments and shipments add up, so each is written only when the order, read in the same call, does not show it yet.
What the ERP said last stands in the newest comment that begins with MARK; it is what is read back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from adapters.store.magento.api import Api, Record, Refusal
from daemon.drift import same
from daemon.model import Fields, Patch

MARK: Final = "erpsyncd "
SENT: Final = frozenset({"sent", "shipped", "in_transit", "delivered", "done"})


class Orders:
    """Orders by their increment id (the number that the customer sees) or entity id, behind a prefix of the ERP's."""

    def __init__(self, api: Api, *, by: str, prefix: str, statuses: Mapping[str, str], carrier: str) -> None:
        self._api, self._by, self._prefix = api, by, prefix
        self._statuses, self._carrier = statuses, carrier

    async def find(self, names: Iterable[str]) -> dict[str, Record]:
        """The orders of these names."""
        bare = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        if self._by == "entity_id":
            bare = [name for name in bare if name.isdecimal()]
        return {self._name(order): order for order in await self._api.found("orders", self._by, bare)}

    async def write(self, order: Record, patch: Patch) -> None:
        """Bring one order to what the patch says. Raises Refusal and StoreError."""
        if patch.fields is None:
            if _said(order):
                await self._comment(order, str(order["status"]), {})
            return
        status = str(patch.fields.get("status"))
        word = self._statuses.get(status)
        if word is None:
            raise Refusal(f'status "{status}" has no counterpart in the shop; name it in options.statuses')
        shipped = await self._ship(order, patch.fields.get("fulfilments") or [])
        said = {name: value for name, value in patch.fields.items() if name != "order"}
        stays = order.get("status") == word or (bool(patch.changed) and "status" not in patch.changed)
        if shipped or not stays or not same(_said(order), said):
            await self._comment(order, str(order["status"]) if stays and not shipped else word, said)

    async def _comment(self, order: Record, status: str, said: Mapping[str, Any]) -> None:
        text = MARK + orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
        entry = {"comment": text, "status": status, "is_customer_notified": 0, "is_visible_on_front": 0}
        answer = await self._api.write(f"orders/{order['entity_id']}/comments", {"statusHistory": entry}, adds=True)
        if answer is not True:
            raise self._api.transport.wrong_shape("true for a comment")

    async def _ship(self, order: Record, fulfilments: Sequence[Any]) -> bool:
        """Make the shipments that the order lacks; whether there was any."""
        wanted = [each for each in fulfilments if isinstance(each, Mapping) and str(each.get("status")).lower() in SENT]
        if not wanted:
            return False
        there = await self._api.found("shipments", "order_id", [str(order["entity_id"])])
        known = {str(one.get("comment")) for each in there for one in each.get("comments") or []}
        left = {
            item["item_id"]: Decimal(str(item.get("qty_ordered") or 0)) - Decimal(str(item.get("qty_shipped") or 0))
            for item in order.get("items") or []
        }
        new = [each for each in wanted if f"{MARK}{each.get('id')}" not in known]
        for each in new:
            body: dict[str, Any] = {"items": self._items(order, each, left), "notify": False, "appendComment": True}
            body["comment"] = {"comment": f"{MARK}{each.get('id')}", "is_visible_on_front": 0}
            if each.get("tracking_number"):
                title = str(each.get("carrier") or "Carrier")
                track = {"track_number": str(each["tracking_number"]), "title": title, "carrier_code": self._carrier}
                body["tracks"] = [track]
            await self._api.write(f"order/{order['entity_id']}/ship", body, adds=True)
        return bool(new)

    @staticmethod
    def _items(order: Record, fulfilment: Mapping[str, Any], left: dict[Any, Decimal]) -> list[Record]:
        """The lines of a shipment as order items; `left` is what the order still lacks."""
        rows: list[Record] = []
        for line in fulfilment.get("lines") or []:
            rest = Decimal(str(line.get("quantity") or 0))
            for item in order.get("items") or []:
                take = min(rest, left[item["item_id"]])
                if item.get("sku") == line.get("sku") and not item.get("parent_item_id") and take > 0:
                    rows.append({"order_item_id": item["item_id"], "qty": orjson.Fragment(format(take, "f"))})
                    left[item["item_id"]] -= take
                    rest -= take
            if rest > 0:
                raise Refusal(
                    f"shipment {fulfilment.get('id')} has {rest} of {line.get('sku')} more than the order lacks"
                )
        if not rows:
            raise Refusal(f"shipment {fulfilment.get('id')} has no lines")
        return rows

    async def everything(self) -> AsyncIterator[Record]:
        async for order in self._api.search("orders", []):
            yield order

    def documents(self, orders: Iterable[Record]) -> list[tuple[str, Fields]]:
        """What the orders show, of those that the ERP has spoken of."""
        shown: list[tuple[str, Fields]] = []
        for order in orders:
            said = _said(order)
            if not said:
                continue
            status = order.get("status")
            if self._statuses.get(str(said.get("status"))) != status:
                said = {**said, "status": status}
            shown.append((self._name(order), {"order": self._name(order), **said}))
        return shown

    def _name(self, order: Record) -> str:
        return f"{self._prefix}{order.get(self._by)}"


def _said(order: Record) -> dict[str, Any]:
    """What the ERP said last of an order; empty when it said nothing, or took it back."""
    marked = [one for one in order.get("status_histories") or [] if str(one.get("comment")).startswith(MARK + "{")]
    if not marked:
        return {}
    newest = max(marked, key=lambda one: int(one.get("entity_id") or 0))
    try:
        said = orjson.loads(str(newest["comment"]).removeprefix(MARK))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

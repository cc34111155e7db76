"""Order status in Magento: the status by a comment of the order, shipments with their tracking numbers.

Invariant: comments add up, so one is written only when the order, read in the same call, does not show it yet. What the ERP
said last stands in the newest comment that begins with MARK; it is what is read back, and it is written after all else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson

from adapters.store.magento.api import Api, Record, Refusal
from adapters.store.magento.shipments import MARK, Shipments, parcels
from daemon.drift import same
from daemon.model import Fields, Patch


class Orders:
    """Orders by their increment id (the number that the customer sees) or entity id, behind a prefix of the ERP's."""

    def __init__(self, api: Api, shipments: Shipments, *, by: str, prefix: str, statuses: Mapping[str, str]) -> None:
        self._api, self._shipments = api, shipments
        self._by, self._prefix, self._statuses = by, prefix, statuses

    async def find(self, names: Iterable[str]) -> dict[str, Record]:
        """The orders of these names."""
        bare = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        if self._by == "entity_id":
            bare = [name for name in bare if name.isdecimal()]
        found: dict[str, list[Record]] = {}
        for order in await self._api.found("orders", self._by, bare):
            found.setdefault(self._name(order), []).append(order)
        return {
            name: some[0] if len(some) == 1 else {"alike": [order["entity_id"] for order in some]}
            for name, some in found.items()
        }

    async def write(self, order: Record, patch: Patch) -> None:
        """Bring one order to what the patch says. Raises Refusal and StoreError."""
        if "alike" in order:  # increment ids are unique in one store only
            ids = ", ".join(map(str, order["alike"]))
            raise Refusal(f"{len(order['alike'])} orders of the shop are called so (ids {ids}); which one is meant?")
        if patch.fields is None:
            if _said(order):
                await self._comment(order, str(order["status"]), {})
            return
        status = str(patch.fields.get("status"))
        word = self._statuses.get(status)
        if word is None:
            raise Refusal(f'status "{status}" has no counterpart in the shop; name it in options.statuses')
        shipped, told = await self._ship(order, patch.fields)
        said = {name: value for name, value in patch.fields.items() if name != "order"}
        stays = order.get("status") == word or (bool(patch.changed) and "status" not in patch.changed)
        if shipped or not stays or not same(_said(order), said):
            await self._comment(order, str(order["status"]) if stays and not shipped else word, said)
        if told:
            raise Refusal(told)

    async def _ship(self, order: Record, fields: Fields) -> tuple[bool, str]:
        """Whether a shipment was made, and what of the ERP's shipments cannot be shown."""
        if fields.get("fulfilments") is None:
            return False, ""
        wanted = parcels(fields["fulfilments"])
        try:
            before = parcels(_said(order).get("fulfilments"))
        except Refusal:
            before = {}  # somebody else wrote such a comment
        return await self._shipments.bring(order, wanted, before)

    async def _comment(self, order: Record, status: str, said: Mapping[str, Any]) -> None:
        text = MARK + orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
        entry = {"comment": text, "status": status, "is_customer_notified": 0, "is_visible_on_front": 0}
        answer = await self._api.write(f"orders/{order['entity_id']}/comments", {"statusHistory": entry}, adds=True)
        if answer is not True:
            raise self._api.transport.wrong_shape("true for a comment")

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

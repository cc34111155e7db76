"""Fulfilments of which a shop that was killed made a half: the order's lines do not count them, or count them as shipped alone.

Invariant: one is mended only after it was seen so for longer than any call lasts, since it may be in the making. It is undone
only after what is to leave the house is reserved for the order again, since Medusa fulfils nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from adapters.store import answers
from adapters.store.medusa.api import Api, Record
from adapters.store.medusa.values import Refused, decimal
from daemon.errors import Retry, StoreError

PATIENCE_S: Final = 10.0
"""A call that makes a fulfilment lasts parts of a second, and the half that counts is a few statements of it."""
_REMEMBERED: Final = 1000

Pieces = Mapping[str, Decimal]
"""Line item of the order -> pieces of a fulfilment."""


def half_made(order: Record, pieces: Pieces) -> bool:
    """Whether the order's lines count fewer pieces as fulfilled, and not shipped, than a fulfilment has that was not."""
    return not _fits(order, pieces, "fulfilled_quantity", "shipped_quantity")


def counts_as_shipped(order: Record, pieces: Pieces) -> bool:
    """Whether of a half-made fulfilment the lines count the shipment: there is no room to fulfil its pieces anew."""
    return not _fits(order, pieces, "quantity", "fulfilled_quantity")


def _fits(order: Record, pieces: Pieces, of: str, less: str) -> bool:
    room = {item["id"]: left for item, left in _differences(order, of, less)}
    return all(number <= room.get(id_, Decimal(0)) for id_, number in pieces.items())


class Halves:
    """Of one shop."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seen: dict[str, float] = {}
        """Fulfilment -> when it was seen half made first, on the loop's clock."""

    async def undo(self, order: Record, fulfilment: Record, pieces: Pieces) -> None:
        """Reserve its pieces anew and cancel it. Raises StoreError while it may be in the making, Refused for want of stock."""
        id_ = self._ripe(fulfilment)
        await self._reserve(order, fulfilment, pieces)
        await self._api.post(f"fulfillments/{id_}/cancel", {}, "id")
        del self._seen[id_]

    async def ship(self, fulfilment: Record, labels: Sequence[Mapping[str, str]]) -> Record:
        """The fulfilment, shipped by itself: the lines count that already. Raises StoreError while it may be in the making."""
        id_ = self._ripe(fulfilment)
        answer = await self._api.post(f"fulfillments/{id_}/shipment", {"labels": labels}, "id,shipped_at", adds=True)
        shown = answer.get("fulfillment")
        if not isinstance(shown, dict) or not shown.get("shipped_at"):
            raise self._api.transport.wrong_shape("the fulfilment that was shipped")
        del self._seen[id_]
        return {**fulfilment, "shipped_at": shown["shipped_at"]}

    def _ripe(self, fulfilment: Record) -> str:
        """Its id. Raises StoreError for one that was not seen long enough."""
        id_, now = str(fulfilment["id"]), asyncio.get_running_loop().time()
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()  # they only wait longer
        if now - self._seen.setdefault(id_, now) < PATIENCE_S:
            words = f"shows the fulfilment {id_} and does not count its pieces yet"
            raise self._api.transport.error(answers.BUSY, Retry.LATER, words)
        return id_

    async def _reserve(self, order: Record, fulfilment: Record, pieces: Pieces) -> None:
        """All that the order's lines lack. The half may have ended their reservations, whole or in part."""
        lacks = {item["id"]: left for item, left in lacking(order)}
        fields = "id,line_item_id,inventory_item_id,quantity"
        held = await self._api.named("reservations", "reservations", fields, "line_item_id", pieces)
        rows = {(row.get("line_item_id"), row.get("inventory_item_id")): row for row in held}
        for of in fulfilment.get("items") or ():
            line, item = of.get("line_item_id"), of.get("inventory_item_id")
            if item is None or not pieces.get(line):
                continue  # Medusa does not manage its inventory
            each = decimal(of.get("quantity"), "quantity") / pieces[line]  # a kit takes several of an item for a piece
            wanted = {"quantity": orjson.Fragment(format(lacks[line] * each, "f"))}
            row = rows.get((line, item))
            if row is None:
                place = {"line_item_id": line, "inventory_item_id": item, "location_id": fulfilment.get("location_id")}
                await self._write("reservations", {**place, **wanted}, fulfilment)
            elif decimal(row.get("quantity"), "quantity") < lacks[line] * each:
                await self._write(f"reservations/{row['id']}", wanted, fulfilment)

    async def _write(self, path: str, body: Mapping[str, Any], fulfilment: Record) -> None:
        try:
            await self._api.post(path, body, "id", adds=path == "reservations")
        except StoreError as error:
            if error.code != answers.REFUSED:
                raise
            raise Refused(
                f"the shop was stopped while it made the fulfilment {fulfilment['id']}, and its pieces cannot be reserved "
                f"again: {error.message}. Raise the level there, then retry"
            ) from None


def lacking(order: Record) -> list[tuple[Record, Decimal]]:
    """The line items of an order, with what was not put into a fulfilment yet. Raises Refused."""
    return _differences(order, "quantity", "fulfilled_quantity")


def _differences(order: Record, of: str, less: str) -> list[tuple[Record, Decimal]]:
    """The line items of an order, with how much more there is of one count than of another."""
    return [(item, count(item, of) - count(item, less)) for item in order.get("items") or ()]


def count(item: Record, name: str) -> Decimal:
    """Pieces of a line item: ordered (`quantity`), `fulfilled_quantity`, `shipped_quantity`. Raises Refused."""
    return decimal((item.get("detail") or {}).get(name) or 0, name)

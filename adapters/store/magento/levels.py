"""The quantities that were written to source items last, and how a shipment of ours is kept from changing them.

Invariant: Magento takes what is shipped off its source by itself and ships no more than lies there, while the ERP's number has
it off already or is about to. So a source shows the number that was written last once more after a shipment, and a piece is
never off twice. Without a memory of that number the source is left as it is, and a comparison finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from adapters.store.loan import Memory
from adapters.store.magento.api import Api, Record

SOURCES: Final = "inventory/source-items"
_KIND: Final = "source quantity"


class Levels:
    """The source items of one shop."""

    def __init__(self, api: Api, memory: Memory, *, kept: bool) -> None:
        """`kept`: whether numbers are remembered, that is, whether this store gets both stock and orders."""
        self._api, self._memory, self._kept = api, memory, kept
        self.turn = asyncio.Lock()
        """Held from a stock call's begin until its numbers are remembered, and while numbers are written once more."""

    def written(self, numbers: Mapping[tuple[str, str], Decimal | None]) -> None:
        """Remember what the shop took, by source code and SKU; None was removed."""
        if not self._kept:
            return
        known = {_name(*of): format(number, "f") for of, number in numbers.items() if number is not None}
        self._memory.put(_KIND, known)
        self._memory.forget(_KIND, {_name(*of) for of in numbers} - known.keys())

    async def room(self, source: str, lines: Mapping[str, Decimal]) -> None:
        """Let a source have these pieces, which the ERP has shipped, beside its number. Raises StoreError."""
        async with self.turn:
            rows = [
                row_of(row, known + lines[row["sku"]])
                for quantity, known, row in await self._known(lines)
                if row["source_code"] == source and row["sku"] in lines and quantity < lines[row["sku"]]
            ]
            await self._write(rows)

    async def again(self, skus: Iterable[str]) -> None:
        """Write the remembered numbers of these SKUs where the shop shows others. Raises StoreError."""
        async with self.turn:
            await self._write(
                [row_of(row, known) for quantity, known, row in await self._known(skus) if quantity != known]
            )

    async def _known(self, skus: Iterable[str]) -> list[tuple[Decimal, Decimal, Record]]:
        """What the shop shows and what is remembered, of those that have both."""
        if not self._kept:
            return []
        there = {
            _name(str(one.get("source_code")), str(one.get("sku"))): one
            for one in await self._api.found(SOURCES, "sku", skus)
        }
        numbers = await self._memory.get(_KIND, there)
        return [
            (Decimal(str(there[name].get("quantity") or 0)), Decimal(number), there[name])
            for name, number in sorted(numbers.items())
        ]

    async def _write(self, rows: Sequence[Record]) -> None:
        if rows:
            await self._api.failures(SOURCES, {"sourceItems": rows})


def row_of(item: Mapping[str, Any], quantity: Decimal) -> dict[str, Any]:
    """A source item as it is written; without its status an article that was sold out stays so whatever its quantity is."""
    number = orjson.Fragment(format(quantity, "f"))
    return {"sku": item["sku"], "source_code": item["source_code"], "quantity": number, "status": int(quantity > 0)}


def _name(source: str, sku: str) -> str:
    return f"{source} {sku}"  # the code of a source has no space

"""What a change of an order's status does to stock in WooCommerce, and its undoing.

Invariant: WooCommerce puts an order's pieces back when it is cancelled and takes them off when it is paid, on top of whatever
number is there, while the ERP's number counts them by itself. So the number from before is written once more, but only where
it changed by exactly these pieces within the call: anything else is what shoppers bought, and is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adapters.store.woocommerce.api import BATCH, Api

Place = tuple[str, int]
"""(path of the list, id) of a product or a variation."""


@dataclass(frozen=True, slots=True)
class Look:
    """How it was before."""

    pieces: Mapping[Place, int] = field(default_factory=dict)
    """Pieces of the orders."""
    levels: Mapping[Place, int] = field(default_factory=dict)
    """Stock of those whose stock is managed."""


class Moves:
    """The stock behind the orders of one shop."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def look(self, orders: Iterable[int]) -> Look:
        """What these orders can move. Raises StoreError."""
        pieces: Counter[Place] = Counter()
        for order in await self._api.by_ids("orders", orders, {"_fields": "id,line_items"}):
            for line in order.get("line_items") or []:
                product, variation, quantity = (line.get(key) for key in ("product_id", "variation_id", "quantity"))
                if not isinstance(product, int) or not product or not isinstance(quantity, int):
                    continue  # the article was deleted, or is sold by weight
                pieces["products", product] += quantity
                if isinstance(variation, int) and variation:
                    pieces[f"products/{product}/variations", variation] += quantity
        return Look(pieces, await self._levels(pieces))

    async def undo(self, look: Look) -> None:
        """Write the numbers from before where these orders moved them. Raises StoreError."""
        moved: dict[str, list[dict[str, int]]] = {}
        for (path, id_), now in sorted((await self._levels(look.levels)).items()):
            before, pieces = look.levels[path, id_], look.pieces[path, id_]
            if pieces and abs(now - before) == pieces:
                moved.setdefault(path, []).append({"id": id_, "stock_quantity": before})
        for path, items in moved.items():
            for start in range(0, len(items), BATCH):
                await self._api.batch(path, items[start : start + BATCH])

    async def _levels(self, places: Iterable[Place]) -> dict[Place, int]:
        lists: dict[str, list[int]] = {}
        for path, id_ in places:
            lists.setdefault(path, []).append(id_)
        found: dict[Place, int] = {}
        for path, ids in sorted(lists.items()):
            for record in await self._api.by_ids(path, ids, {"_fields": "id,manage_stock,stock_quantity"}):
                number = record.get("stock_quantity")
                if record.get("manage_stock") is True and isinstance(number, int):
                    found[path, record["id"]] = number
        return found

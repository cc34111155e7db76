"""Price lists in Medusa: their prices by ids of our making.

Invariant: Medusa adds a further price wherever the id is a new one, and lets a price that was deleted keep its id for ever,
saying nothing when it is written. So the id of a price is remembered, learnt from the list where it is not, and a price counts
as written only when the answer shows it. A price is removed only after a look at the list.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from adapters.store.http import LEFT_OUT, REJECTED
from adapters.store.loan import Memory
from adapters.store.medusa.api import Api, Record
from adapters.store.medusa.terms import Offer, Terms, terms_of
from daemon.drift import same
from daemon.model import Outcome, Status

_FIELDS: Final = (
    "id,currency_code,amount,min_quantity,max_quantity,price_set.variant.id,price_set.variant.sku,price_rules.attribute"
)


class Lists:
    """All price lists of a shop."""

    def __init__(self, api: Api, memory: Memory) -> None:
        self._api = api
        self._memory = memory
        self._learnt: set[str] = set()
        self._learning = asyncio.Lock()

    async def everything(self, place: str) -> AsyncIterator[tuple[str, Record]]:
        """All prices of a list, each beside its SKU. Their ids are learnt on the way."""
        ids: dict[str, str] = {}
        path = f"price-lists/{place}/prices"
        async for page in self._api.pages(path, "prices", _FIELDS):
            for row in page:
                variant, terms = _variant(row), terms_of(row)
                if terms is not None and variant.get("id"):
                    name = _name(variant["id"], terms)
                    ids[name] = f"{ids[name]} {row['id']}" if name in ids else str(row["id"])
                if variant.get("sku"):
                    yield str(variant["sku"]), row
        self._memory.put(_kind(place), ids)
        self._learnt.add(place)

    async def write(self, place: str, offers: Sequence[Offer]) -> list[Outcome]:
        """Set and remove prices of one list, in one call, and once more for those whose id had been used up."""
        removing = any(offer.amount is None for offer in offers)
        names = {_name(offer.variant["id"], offer.terms): offer for offer in offers}
        known = await self._memory.get(_kind(place), names)
        if removing:
            known = await self._learn(place, names)
        elif len(known) < len(names):
            async with self._learning:  # one reads the list, the others wait for it
                if place not in self._learnt:
                    await self._learn(place, ())
            known = await self._memory.get(_kind(place), names)
        ids = {name: known.get(name, "").split() for name in names}
        first = {name: ids[name][0] if ids[name] else _own(place, name) for name in names}
        shown = await self._send(place, names, first, [each for some in ids.values() for each in some])
        lost = [name for name, offer in names.items() if offer.amount is not None and first[name] not in shown]
        if lost:
            known = await self._learn(place, lost)
            for name in lost:
                used = known.get(name, "").split()
                first[name] = used[0] if used else f"{_own(place, name)}_{names[name].patch.version}"
            shown |= await self._send(place, {name: names[name] for name in lost}, first, [])
        outcomes = [_outcome(offer, shown.get(first[name])) for name, offer in names.items()]
        self._remember(place, names, first, {outcome.id for outcome in outcomes if outcome.status is Status.OK})
        return outcomes

    def _remember(self, place: str, names: Mapping[str, Offer], first: Mapping[str, str], written: set[str]) -> None:
        self._memory.forget(_kind(place), [name for name, offer in names.items() if offer.amount is None])
        set_ = [name for name, offer in names.items() if offer.amount is not None and offer.patch.id in written]
        self._memory.put(_kind(place), {name: first[name] for name in set_})

    async def _learn(self, place: str, names: Collection[str]) -> Mapping[str, str]:
        """Read the list; what it has for these names, and nothing that it had before."""
        self._memory.forget(_kind(place), names)
        async for _ in self.everything(place):
            pass
        return await self._memory.get(_kind(place), names)

    async def _send(
        self, place: str, names: Mapping[str, Offer], first: Mapping[str, str], known: Sequence[str]
    ) -> dict[str, Record]:
        """What the answer shows, by id. Of the known ids, those that are not written are deleted."""
        rows = [
            {"id": first[name], "variant_id": offer.variant["id"], **offer.terms.row(offer.amount)}
            for name, offer in names.items()
            if offer.amount is not None
        ]
        gone = sorted(set(known) - {row["id"] for row in rows})
        body = {key: some for key, some in (("update", rows), ("delete", gone)) if some}
        if not body:
            return {}
        answer = await self._api.post(f"price-lists/{place}/prices/batch", body)
        return {row["id"]: row for row in self._api.records(answer, "updated")}


def _outcome(offer: Offer, row: Record | None) -> Outcome:
    id_ = offer.patch.id
    if offer.amount is None:
        return Outcome(id_, Status.OK)  # the list was read, and what it had is deleted
    if row is None or _variant(row).get("id") != offer.variant["id"] or terms_of(row) != offer.terms:
        return Outcome(id_, Status.RETRY, "not in the answer", LEFT_OUT)
    if not same(row.get("amount"), offer.amount):
        return Outcome(id_, Status.REJECTED, f"{offer.amount} was sent, the shop shows {row.get('amount')}", REJECTED)
    return Outcome(id_, Status.OK)


def _variant(row: Record) -> Mapping[str, Any]:
    price_set = row.get("price_set")
    variant = price_set.get("variant") if isinstance(price_set, Mapping) else None
    return variant if isinstance(variant, Mapping) else {}


def _kind(place: str) -> str:
    return f"price of {place}"


def _name(variant: str, terms: Terms) -> str:
    return f"{variant} {terms.currency} {terms.quantity}"


def _own(place: str, name: str) -> str:
    """The first id that a price gets: the same each time, so that a call whose answer was lost is no second price."""
    return f"price_erpsyncd_{hashlib.sha256(f'{place} {name}'.encode()).hexdigest()[:32]}"

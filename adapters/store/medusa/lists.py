"""Price lists in Medusa: their prices by ids of our making.

Invariant: Medusa adds a further price wherever the id is a new one, and lets a price that was deleted keep its id for ever,
saying nothing when it is written. So the id of a price is remembered, learnt from the list where it is not, and a price counts
as written only when the answer shows it. A price is removed only where the whole list was read since the start.
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
_USED: Final = "-"
"""In place of an id: the price was removed from here, and its first id with it."""


class Lists:
    """All price lists of a shop."""

    def __init__(self, api: Api, memory: Memory) -> None:
        self._api = api
        self._memory = memory
        self._learnt: set[str] = set()
        self._learning = asyncio.Lock()
        self._reads: list[set[str]] = []
        """For each reading of a list that is under way, the prices that were written meanwhile."""

    async def everything(self, place: str) -> AsyncIterator[tuple[str, Record]]:
        """All prices of a list, each beside its SKU. Their ids are learnt on the way."""
        ids: dict[str, str] = {}
        written: set[str] = set()
        self._reads.append(written)
        try:
            async for page in self._api.pages(f"price-lists/{place}/prices", "prices", _FIELDS):
                for row in page:
                    variant, terms = _variant(row), terms_of(row)
                    if terms is not None and variant.get("id"):
                        name = _name(variant["id"], terms)
                        ids[name] = f"{ids[name]} {row['id']}" if name in ids else str(row["id"])
                    if variant.get("sku"):
                        yield str(variant["sku"]), row
        finally:
            self._reads = [each for each in self._reads if each is not written]
        self._memory.put(_kind(place), {name: some for name, some in ids.items() if name not in written})
        self._learnt.add(place)

    async def write(self, place: str, offers: Sequence[Offer]) -> list[Outcome]:
        """Set and remove prices of one list, in one call, and once more for those whose id had been used up."""
        names = {_name(offer.variant["id"], offer.terms): offer for offer in offers}
        removed = [name for name, offer in names.items() if offer.amount is None]
        known = await self._memory.get(_kind(place), names)
        if removed or len(known) < len(names):
            async with self._learning:  # one reads the list, the others wait for it
                if place not in self._learnt:
                    await self._learn(place, removed)
            known = await self._memory.get(_kind(place), names)
        ids = {name: [] if known.get(name) == _USED else known.get(name, "").split() for name in names}
        first = {
            name: ids[name][0] if ids[name] else _own(place, name, offer.patch.version if name in known else None)
            for name, offer in names.items()
        }
        self._writing(names)
        shown = await self._send(place, names, first, [each for some in ids.values() for each in some])
        lost = [name for name, offer in names.items() if offer.amount is not None and first[name] not in shown]
        if lost:
            known = await self._learn(place, lost)
            for name in lost:
                used = known.get(name, "").split()
                first[name] = used[0] if used else _own(place, name, names[name].patch.version)
            shown |= await self._send(place, {name: names[name] for name in lost}, first, [])
        said = {name: _outcome(offer, shown.get(first[name])) for name, offer in names.items()}
        self._writing(names)
        self._memory.put(_kind(place), dict.fromkeys(removed, _USED))
        good = [name for name, outcome in said.items() if outcome.status is Status.OK and name not in removed]
        self._memory.put(_kind(place), {name: first[name] for name in good})
        return list(said.values())

    def _writing(self, names: Collection[str]) -> None:
        for written in self._reads:
            written.update(names)

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
        return Outcome(id_, Status.REJECTED, f"{offer.amount:f} was sent, the shop shows {row.get('amount')}", REJECTED)
    return Outcome(id_, Status.OK)


def _variant(row: Record) -> Mapping[str, Any]:
    price_set = row.get("price_set")
    variant = price_set.get("variant") if isinstance(price_set, Mapping) else None
    return variant if isinstance(variant, Mapping) else {}


def _kind(place: str) -> str:
    return f"price of {place}"


def _name(variant: str, terms: Terms) -> str:
    return f"{variant} {terms.currency} {terms.quantity}"


def _own(place: str, name: str, version: int | None = None) -> str:
    """The id that a price gets: the first time always the same, so that a call whose answer was lost is no second price;
    where that is used up, one with the version."""
    digest = hashlib.sha256(f"{place} {name}".encode()).hexdigest()[:32]
    return f"price_erpsyncd_{digest}" if version is None else f"price_erpsyncd_{digest}_{version}"

"""Prices in Medusa: of the variant itself by currency and quantity, and of price lists, which it shows to customer groups.

Invariant: Medusa replaces all prices of a variant by those of the call, so they are read just before and sent along; prices
with rules (of a region) are the shop's own and stay. A currency that the shop does not sell in and an amount that its numbers
cannot hold are refused here, since Medusa takes both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from adapters.store.http import LEFT_OUT, REJECTED
from adapters.store.loan import Memory
from adapters.store.lookups import split
from adapters.store.medusa.api import Record
from adapters.store.medusa.lists import Lists
from adapters.store.medusa.setting import Setting
from adapters.store.medusa.shop import Shop, only
from adapters.store.medusa.terms import Offer, Terms, terms_of
from adapters.store.medusa.values import UNSENDABLE, Refused, amount, decimal, homeless, plain, whole
from daemon.drift import same
from daemon.model import Fields, Outcome, Patch, Status

_FIELDS: Final = "*prices,prices.price_rules.*"
_KNOWN: Final = ("sku", "price_list", "currency", "min_quantity", "amount", "tax_included")
OWN: Final = "default"
"""The price list that is the variants' own prices, unless the options lead it to a price list of the shop."""


class Price:
    """Price documents, `sku|price_list|currency|min_quantity`."""

    def __init__(self, shop: Shop, setting: Setting, memory: Memory) -> None:
        self._shop = shop
        self._setting = setting
        self._lists = Lists(shop.api, memory)

    async def check(self) -> None:
        """Raises StoreError when the options name a price list that the shop does not have."""
        if not self._setting.price_lists:
            return
        known = await self._shop.price_lists()
        for name, place in self._setting.price_lists.items():
            if not known.get(place):
                hint = "Correct options.price_lists; an id (plist_...) is never ambiguous."
                raise self._shop.misfit(f"has no one price list {place} (for {name})", hint)

    async def _places(self) -> dict[str, str]:
        """The ERP's price list -> id of the shop's; "" is the variants' own prices."""
        places = {OWN: ""}
        if self._setting.price_lists:
            known = await self._shop.price_lists()
            places |= {name: known[place] for name, place in self._setting.price_lists.items() if known.get(place)}
            if OWN in self._setting.price_lists and not places[OWN]:
                del places[OWN]
        return places

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write prices: one call for the variants' own, one for each list."""
        currencies, places = await self._shop.currencies(), await self._places()
        found = await self._shop.variants((str(patch.identity["sku"]) for patch in patches), _FIELDS)
        outcomes: list[Outcome] = []
        offers: dict[str, list[Offer]] = {}
        for patch in patches:
            name = str(patch.identity["price_list"])
            try:
                variant = only(str(patch.identity["sku"]), found)
                if name not in places:
                    raise Refused(f"no price list of the shop is meant by {name}; name it in options.price_lists")  # noqa: TRY301 one place for every refusal
                offer = _offer(patch, variant, currencies)
            except Refused as refused:
                outcomes.append(refused.outcome(patch))
                continue
            offers.setdefault(places[name], []).append(offer)
        for place, some in sorted(offers.items()):
            outcomes += await (self._lists.write(place, some) if place else self._write(some))
        return outcomes

    async def _write(self, offers: Sequence[Offer]) -> list[Outcome]:
        """Write the variants' own prices."""
        of: dict[str, list[Offer]] = {}
        for offer in offers:
            of.setdefault(offer.variant["id"], []).append(offer)
        rows = [
            {"id": id_, "product_id": some[0].variant["product_id"], "prices": _prices(some)}
            for id_, some in sorted(of.items())
        ]
        shown = await self._shop.update(rows, _FIELDS)
        return [_outcome(offer, shown.get(offer.variant["id"])) for offer in offers]

    # -- reading

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Prices as documents. A price list is read whole, since Medusa cannot ask for a part of it."""
        places, wanted = await self._places(), set(ids)
        lists: dict[str, set[str]] = {}
        for id_ in ids:
            parts = split(id_, 4)
            if parts and parts[1] in places:
                lists.setdefault(parts[1], set()).add(parts[0])
        shown: dict[str, Fields] = {}
        currencies = await self._shop.currencies()
        for name, skus in sorted(lists.items()):
            if places[name]:
                rows = [pair async for pair in self._lists.everything(places[name])]
            else:
                found = await self._shop.variants(skus, _FIELDS)
                rows = [pair for variants in found.values() if len(variants) == 1 for pair in _own(variants[0])]
            shown |= _documents(name, rows, currencies)
        return {id_: fields for id_, fields in shown.items() if id_ in wanted}

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All prices without rules, of variants and of the lists that the options name."""
        currencies = await self._shop.currencies()
        shown: dict[str, Fields] = {}
        for name, place in (await self._places()).items():
            if place:
                rows = [pair async for pair in self._lists.everything(place)]
                shown |= _documents(name, rows, currencies)
                continue
            async for page in self._shop.api.pages("product-variants", "variants", f"id,sku,{_FIELDS}"):
                shown |= _documents(name, [pair for variant in page for pair in _own(variant)], currencies)
        for id_ in sorted(shown):
            yield id_, shown[id_]


def _offer(patch: Patch, variant: Record, currencies: Mapping[str, bool]) -> Offer:
    """What a document says. Raises Refused."""
    code, quantity = str(patch.identity["currency"]), whole(patch.identity["min_quantity"], "min_quantity")
    currency = code.lower()
    if code != code.upper():
        raise Refused(f"the currency is {code}; write it in capitals in the SQL", UNSENDABLE)
    if currency not in currencies:
        raise Refused(f"the shop does not sell in {code}; it does in {', '.join(sorted(currencies)).upper()}")
    if quantity < 1:
        raise Refused(f"`min_quantity` is {quantity}, which is below 1", UNSENDABLE)
    if patch.fields is None:
        return Offer(patch, variant, Terms(currency, quantity), None)
    homeless(patch, _KNOWN)
    taxed = patch.fields.get("tax_included")
    if taxed is not None and bool(taxed) is not currencies[currency]:
        words = "include" if currencies[currency] else "do not include"
        raise Refused(
            f"`tax_included` is {str(taxed).lower()}, but prices in {code} {words} tax in the shop", UNSENDABLE
        )
    return Offer(patch, variant, Terms(currency, quantity), amount(patch.fields.get("amount"), "amount"))


def _prices(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """All prices of one variant as they shall be, those that stay included. Of several alike one is left."""
    rows = [row for row in offers[0].variant.get("prices") or () if isinstance(row, Mapping)]
    changed = {offer.terms: offer for offer in offers}
    kept = [_row(row) for row in rows if terms_of(row) not in changed]
    for terms, offer in changed.items():
        if offer.amount is not None:
            alike = [row for row in rows if terms_of(row) == terms]
            kept.append({**({"id": alike[0]["id"]} if alike else {}), **terms.row(offer.amount), "rules": {}})
    return kept


def _row(row: Record) -> dict[str, Any]:
    """A price as it is, to be sent back."""
    same_words = {name: row.get(name) for name in ("id", "currency_code")}
    numbers = {name: _number(row.get(name)) for name in ("amount", "min_quantity", "max_quantity")}
    return {**same_words, **numbers, "rules": row.get("rules") or {}}


def _number(value: Any) -> Any:
    return None if value is None else orjson.Fragment(format(decimal(value, "price"), "f"))


def _own(variant: Record) -> Iterator[tuple[str, Record]]:
    """The prices of a variant, each beside its SKU."""
    if variant.get("sku"):
        for row in variant.get("prices") or ():
            yield str(variant["sku"]), row


def _documents(name: str, rows: Sequence[tuple[str, Record]], currencies: Mapping[str, bool]) -> dict[str, Fields]:
    """Prices as documents; of several alike the lowest, which is the one that Medusa shows."""
    shown: dict[str, Fields] = {}
    for sku, row in rows:
        terms = terms_of(row)
        if terms is None:
            continue
        code = terms.currency.upper()
        id_ = f"{sku}|{name}|{code}|{terms.quantity}"
        known = shown.get(id_)
        if known and decimal(known["amount"], "amount") <= decimal(row.get("amount"), "amount"):
            continue
        identity = {"sku": sku, "price_list": name, "currency": code, "min_quantity": terms.quantity}
        shown[id_] = {
            **identity,
            "amount": plain(row.get("amount")),
            "tax_included": currencies.get(terms.currency, False),
        }
    return shown


def _outcome(offer: Offer, variant: Record | None) -> Outcome:
    """What the shop said about one price of a variant."""
    id_ = offer.patch.id
    if variant is None:
        return Outcome(id_, Status.RETRY, "not in the answer", LEFT_OUT)
    if variant.get("sku") != offer.patch.identity["sku"]:
        return Outcome(id_, Status.RETRY, "the variant got another SKU during the call", LEFT_OUT)
    amounts = [row.get("amount") for row in variant.get("prices") or () if terms_of(row) == offer.terms]
    if offer.amount is None:
        missed = "the shop still shows the price" if amounts else ""
    elif len(amounts) == 1 and same(amounts[0], offer.amount):
        missed = ""
    else:
        missed = f"{offer.amount:f} was sent, the shop shows {', '.join(map(str, amounts)) or 'none'}"
    return Outcome(id_, Status.REJECTED, missed, REJECTED) if missed else Outcome(id_, Status.OK)

"""Prices in Vendure: one for each variant, channel and currency; a price list is a channel.

Invariant: an amount that the shop's money cannot hold, a list without a channel and a quantity step are refused by name; a
price of another currency or channel is left as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from adapters.store.lookups import split
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.shop import Setup, Shop
from adapters.store.vendure.stock import acknowledged, outcome
from adapters.store.vendure.values import Unfit, from_field, homeless, major, minor, to_field
from adapters.store.vendure.wire import MISFIT, UNMAPPED, UNSENDABLE
from daemon.errors import StoreError
from daemon.model import Fields, Outcome, Patch

_WRITE: Final = """mutation Price($input: [UpdateProductVariantInput!]!) {
  updateProductVariants(input: $input) { id sku } }"""
_ENTITY: Final = "ProductVariantPrice"
_SCANNED: Final = 100


class Price:
    """Price documents, `sku|price_list|currency|min_quantity`."""

    def __init__(self, shop: Shop, setting: Setting) -> None:
        self._shop = shop
        self._setting = setting
        own = " ".join(sorted(setting.price_fields.values()))
        self._selection = f"prices {{ currencyCode price {f'customFields {{ {own} }}' if own else ''} }}"

    async def check(self) -> None:
        """Raises StoreError when the shop lacks a channel or custom field of the options."""
        for token in self._setting.channels.values():
            setup = await self._shop.setup(token)
            for name in self._setting.price_fields.values():
                self._shop.field_type(setup, _ENTITY, name)

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write prices, one transaction of the shop's for each channel."""
        lists: dict[str, list[Patch]] = {}
        outcomes: list[Outcome] = []
        for patch in patches:
            name = str(patch.identity["price_list"])
            if name in self._setting.channels:
                lists.setdefault(name, []).append(patch)
            else:
                text = f"no channel of the shop is meant by the price list {name}; name it in options.price_lists"
                outcomes.append(self._shop.refuse(patch.id, text, UNMAPPED))
        for name, some in sorted(lists.items()):
            outcomes += await self._apply(self._setting.channels[name], name, some)
        return outcomes

    async def _apply(self, channel: str, name: str, patches: Sequence[Patch]) -> list[Outcome]:
        shop = self._shop
        try:
            setup = await shop.setup(channel)
        except StoreError as error:
            if error.code != MISFIT or name == "default":
                raise
            return [shop.refuse(patch.id, error.message, UNMAPPED) for patch in patches]  # the other lists go on
        found = await shop.variants((patch.identity["sku"] for patch in patches), "", channel)
        outcomes: list[Outcome] = []
        rows: dict[str, list[dict[str, Any]]] = {}
        sent: dict[str, list[Patch]] = {}
        for patch in patches:
            variant = shop.only(patch.identity["sku"], found, channel)
            if isinstance(variant, str):
                outcomes.append(shop.refuse(patch.id, variant, UNMAPPED))
                continue
            try:
                row = self._row(setup, patch)
            except Unfit as unfit:
                outcomes.append(shop.refuse(patch.id, str(unfit), UNSENDABLE))
                continue
            rows.setdefault(variant["id"], []).append(row)
            sent.setdefault(variant["id"], []).append(patch)
        if rows:
            inputs = [{"id": id_, "prices": prices} for id_, prices in sorted(rows.items())]
            said = acknowledged(shop, await shop.wire.ask(_WRITE, {"input": inputs}, channel))
            outcomes += [outcome(patch, said.get(id_)) for id_, some in sent.items() for patch in some]
        return outcomes

    def _row(self, setup: Setup, patch: Patch) -> dict[str, Any]:
        """The input for one price. Raises Unfit."""
        currency, step = str(patch.identity["currency"]), patch.identity["min_quantity"]
        if str(step) != "1":
            raise Unfit(f"`min_quantity` is {step}; Vendure has one price whatever the quantity")
        if patch.fields is None:
            if currency == setup.currency:
                raise Unfit(
                    f"the price in {currency}, the channel's own currency, cannot be taken away: the variant could not be "
                    'shown any more; set missing = "keep" for this entity, or take the variant out of the channel'
                )
            return {"currencyCode": currency, "price": 0, "delete": True}
        fields = patch.fields
        known = ("sku", "price_list", "currency", "min_quantity", "amount", "tax_included", *self._setting.price_fields)
        if complaint := homeless(patch, known, "name a custom field in options.price_fields or leave it out"):
            raise Unfit(complaint)
        taxed = fields.get("tax_included")
        if taxed is not None and bool(taxed) is not setup.tax_included:
            words = "includes" if setup.tax_included else "does not include"
            raise Unfit(f"`tax_included` is {str(taxed).lower()}, but a price of this channel {words} tax")
        row: dict[str, Any] = {"currencyCode": currency, "price": minor(fields.get("amount"), "amount", setup.digits)}
        own = {
            field: to_field(fields[name], name, self._shop.field_type(setup, _ENTITY, field), setup.digits)
            for name, field in self._setting.price_fields.items()
            if name in fields
        }
        return {**row, "customFields": own} if own else row

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Prices as documents."""
        lists: dict[str, list[str]] = {}
        for id_ in ids:
            parts = split(id_, 4)
            if parts and parts[1] in self._setting.channels and parts[3] == "1":
                lists.setdefault(parts[1], []).append(parts[0])
        wanted = set(ids)
        shown: dict[str, Fields] = {}
        for name, skus in sorted(lists.items()):
            shown.update((id_, fields) for id_, fields in (await self._read(name, skus)).items() if id_ in wanted)
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All prices of the channels that stand for a price list."""
        lists = list(self._setting.channels)
        # every variant of another channel is in the shop's default channel too
        everything = "" if len(lists) > 1 else self._setting.channel
        async for skus in self._shop.skus(everything, _SCANNED):
            page: dict[str, Fields] = {}
            for name in lists:
                page.update(await self._read(name, skus))
            for id_ in sorted(page):
                yield id_, page[id_]

    async def _read(self, name: str, skus: Sequence[str]) -> dict[str, Fields]:
        channel = self._setting.channels[name]
        setup = await self._shop.setup(channel)
        found = await self._shop.variants(skus, self._selection, channel)
        shown: dict[str, Fields] = {}
        for sku, variants in found.items():
            for price in variants[0].get("prices") or () if len(variants) == 1 else ():
                shown[f"{sku}|{name}|{price['currencyCode']}|1"] = self._document(setup, sku, name, price)
        return shown

    def _document(self, setup: Setup, sku: str, name: str, price: Mapping[str, Any]) -> Fields:
        own = price.get("customFields") or {}
        extra = {
            field: from_field(own.get(place), self._shop.field_type(setup, _ENTITY, place), setup.digits)
            for field, place in self._setting.price_fields.items()
        }
        return {
            "sku": sku,
            "price_list": name,
            "currency": price["currencyCode"],
            "min_quantity": 1,
            "amount": major(price["price"], setup.digits),
            "tax_included": setup.tax_included,
            **extra,
        }

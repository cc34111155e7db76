"""Stock in Vendure: one level for each variant and stock location.

Invariant: the number that a shopper may buy is the ERP's, reservations of the shop included as the options say; a location
or SKU that is not known gets no number at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from adapters.store.lookups import split
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.shop import Setup, Shop
from adapters.store.vendure.values import Unfit, homeless, whole
from adapters.store.vendure.wire import LEFT_OUT, UNMAPPED, UNSENDABLE
from daemon.model import Fields, Outcome, Patch, Status

_LEVELS: Final = "stockLevels { stockLocationId stockOnHand stockAllocated }"
_WRITE: Final = """mutation Stock($input: [UpdateProductVariantInput!]!) {
  updateProductVariants(input: $input) { id sku } }"""
_SCANNED: Final = 100


class Stock:
    """Stock documents, `sku|location`."""

    def __init__(self, shop: Shop, setting: Setting) -> None:
        self._shop = shop
        self._setting = setting

    async def check(self) -> None:
        """Raises StoreError when the options name a location that the shop does not have."""
        setup = await self._shop.setup()
        for location, name in self._setting.locations.items():
            if not setup.locations.get(name):
                hint = f"It has: {', '.join(sorted(setup.locations)) or 'none in this channel'}. Correct options.locations."
                raise self._shop.misfit(f"has no one stock location {name} (for {location})", hint)

    def _location(self, setup: Setup, name: str) -> str:
        """The id of a location of the ERP's; "" when none is meant by it."""
        if self._setting.locations:
            return setup.locations.get(self._setting.locations.get(name, ""), "")
        if len(setup.locations) == 1:
            return next(iter(setup.locations.values())) if name == "default" else ""
        return setup.locations.get(name, "")

    def _names(self, setup: Setup) -> dict[str, str]:
        """Id of a stock location -> what the ERP calls it."""
        names = list(self._setting.locations or (setup.locations if len(setup.locations) != 1 else ("default",)))
        found = {self._location(setup, name): name for name in names}
        found.pop("", None)
        return found

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write levels, all in one transaction of the shop's."""
        async with self._shop.levels:
            return await self._apply(patches)

    async def _apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        shop, channel = self._shop, self._setting.channel
        setup = await shop.setup()
        selection = "" if self._setting.on_hand else _LEVELS
        found = await shop.variants((patch.identity["sku"] for patch in patches), selection, channel)
        outcomes: list[Outcome] = []
        levels: dict[str, dict[str, int]] = {}
        sent: dict[str, list[Patch]] = {}
        for patch in patches:
            sku, location = patch.identity["sku"], self._location(setup, str(patch.identity["location"]))
            variant = shop.only(sku, found, channel)
            if isinstance(variant, str):
                outcomes.append(shop.refuse(patch.id, variant, UNMAPPED))
            elif not location:
                text = f"no stock location of the shop is meant by the location {patch.identity['location']}"
                outcomes.append(shop.refuse(patch.id, f"{text}; name it in options.locations", UNMAPPED))
            elif complaint := _complaint(patch):
                outcomes.append(shop.refuse(patch.id, complaint, UNSENDABLE))
            else:
                fields: Fields = patch.fields or {}
                try:
                    number = whole(fields.get("available"), "available")
                except Unfit as unfit:
                    outcomes.append(shop.refuse(patch.id, str(unfit), UNSENDABLE))
                    continue
                if not self._setting.on_hand:
                    number += _level(variant, location).get("stockAllocated", 0)
                levels.setdefault(variant["id"], {})[location] = number
                sent.setdefault(variant["id"], []).append(patch)
        if levels:
            outcomes += await self._write(levels, sent)
        return outcomes

    async def _write(
        self, levels: Mapping[str, Mapping[str, int]], sent: Mapping[str, Sequence[Patch]]
    ) -> list[Outcome]:
        rows = [
            {
                "id": variant,
                "stockLevels": [{"stockLocationId": id_, "stockOnHand": number} for id_, number in sorted(of.items())],
            }
            for variant, of in sorted(levels.items())
        ]
        data = await self._shop.wire.ask(_WRITE, {"input": rows}, self._setting.channel)
        said = acknowledged(self._shop, data)
        return [outcome(patch, said.get(variant)) for variant, some in sent.items() for patch in some]

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Levels as documents."""
        asked = {id_: parts for id_ in ids if (parts := split(id_, 2))}
        setup = await self._shop.setup()
        found = await self._shop.variants((sku for sku, _ in asked.values()), _LEVELS, self._setting.channel)
        shown: dict[str, Fields] = {}
        for id_, (sku, name) in asked.items():
            variant = self._shop.only(sku, found, "")
            location = self._location(setup, name)
            if location and not isinstance(variant, str) and (level := _level(variant, location)):
                shown[id_] = self._document(sku, name, level)
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All levels of locations that the ERP has a name for."""
        names = self._names(await self._shop.setup())
        async for skus in self._shop.skus(self._setting.channel, _SCANNED):
            found = await self._shop.variants(skus, _LEVELS, self._setting.channel)
            page: dict[str, Fields] = {}
            for sku, variants in found.items():
                for location, name in names.items():
                    if len(variants) == 1 and (level := _level(variants[0], location)):
                        page[f"{sku}|{name}"] = self._document(sku, name, level)
            for id_ in sorted(page):
                yield id_, page[id_]

    def _document(self, sku: str, location: str, level: Mapping[str, Any]) -> Fields:
        number = level["stockOnHand"] - (0 if self._setting.on_hand else level["stockAllocated"])
        return {"sku": sku, "location": location, "available": number}


def _complaint(patch: Patch) -> str:
    if patch.fields is None:
        return 'a stock level cannot be taken away in Vendure; set missing = "zero" for this entity'
    return homeless(patch, ("sku", "location", "available"), "leave it out of the SQL")


def _level(variant: Mapping[str, Any], location: str) -> Mapping[str, Any]:
    for level in variant.get("stockLevels") or ():
        if level["stockLocationId"] == location:
            return dict(level)
    return {}


def acknowledged(shop: Shop, data: Mapping[str, Any]) -> dict[str, str]:
    """Variant -> the SKU it had when it was written, for each that the shop's answer names."""
    rows = shop.wire.part(data, "updateProductVariants", list)
    return {row["id"]: row["sku"] for row in rows if isinstance(row, Mapping) and "id" in row and "sku" in row}


def outcome(patch: Patch, sku: str | None) -> Outcome:
    """What the shop said about one patch."""
    if sku is None:
        return Outcome(patch.id, Status.RETRY, "not in the answer", LEFT_OUT)
    if sku != patch.identity["sku"]:
        return Outcome(patch.id, Status.RETRY, "the variant got another SKU during the call", LEFT_OUT)
    return Outcome(patch.id, Status.OK)

"""What a price of the ERP is in the shop and back: ids, exact amounts, and why a document has no place.

Invariant: amounts are compared as decimals, digit by digit of their value; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from daemon.model import Fields, Patch


@dataclass(frozen=True, slots=True)
class Place:
    """What a price's id says."""

    sku: str
    name: str
    currency: str
    quantity: int


def place_of(id_: str) -> Place | None:
    """From a document's id; a bar can only be in the SKU. None: it is no id of a price."""
    sku, *rest = id_.rsplit("|", 3)
    if len(rest) != 3 or not rest[2].isdigit():
        return None
    return Place(sku, rest[0], rest[1], int(rest[2]))


def amount_of(value: object) -> Decimal | None:
    """An exact amount of a document or an answer; None for none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def unfit(place: Place, patch: Patch, shop: Mapping[str, Any]) -> str:
    """Why the variant's own price cannot show this document; empty when it can."""
    if patch.fields is None:
        return "a variant of Shopify always has a price; take it out of sale by its stock or its content instead"
    if place.currency != shop["currencyCode"]:
        return f"the shop's own prices are in {shop['currencyCode']}, not in {place.currency}; map a price list to it"
    if place.quantity > 1:
        return "the shop's own price has no quantities; map a price list to it"
    return _taxed_otherwise(patch, shop) or _no_amount(patch)


def unfit_for_list(place: Place, patch: Patch, shop: Mapping[str, Any]) -> str:
    """Why a price list cannot show this document; empty when it can."""
    if patch.fields is None:
        return ""
    if place.quantity > 1 and patch.fields.get("compare_at") is not None:
        return "a quantity price of Shopify has no compare_at"
    return _taxed_otherwise(patch, shop) or _no_amount(patch)


def _taxed_otherwise(patch: Patch, shop: Mapping[str, Any]) -> str:
    taxed = (patch.fields or {}).get("tax_included")
    if taxed is None or taxed is shop["taxesIncluded"]:
        return ""
    return f"tax_included is {taxed}, but the shop's prices are {'with' if shop['taxesIncluded'] else 'without'} tax"


def _no_amount(patch: Patch) -> str:
    return "" if amount_of((patch.fields or {}).get("amount")) is not None else "amount is no number"


def differs(fields: Fields, amount: object, compare_at: object) -> str:
    for name, shown in (("amount", amount), ("compare_at", compare_at)):
        if name in fields and amount_of(fields[name]) != amount_of(shown):
            return f"the shop keeps {name} {shown} instead of {fields[name]}; give it as many digits as the shop keeps"
    return ""


def id_of(fields: Fields) -> str:
    return "|".join(str(fields[name]) for name in ("sku", "price_list", "currency", "min_quantity"))


def own_fields(sku: str, shop: Mapping[str, Any], node: Mapping[str, Any]) -> Fields:
    identity = {"sku": sku, "price_list": "default", "currency": shop["currencyCode"], "min_quantity": 1}
    shown = {"amount": node["price"], "compare_at": node["compareAtPrice"], "tax_included": shop["taxesIncluded"]}
    return identity | shown


def list_fields(name: str, shop: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Fields]:
    """The documents that one price of a list stands for: for one piece, and for each quantity break."""
    sku = node["variant"]["sku"]
    if not sku:
        return {}
    base = {"sku": sku, "price_list": name, "currency": node["price"]["currencyCode"]}
    base["tax_included"] = shop["taxesIncluded"]
    compare_at = (node["compareAtPrice"] or {}).get("amount")
    made: list[Fields] = [{**base, "min_quantity": 1, "amount": node["price"]["amount"], "compare_at": compare_at}]
    made += [
        {**base, "min_quantity": b["minimumQuantity"], "amount": b["price"]["amount"]}
        for b in node["quantityPriceBreaks"]["nodes"]
    ]
    return {id_of(fields): fields for fields in made}

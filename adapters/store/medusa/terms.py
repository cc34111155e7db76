"""The terms of a price, currency and least quantity, which tell the prices of a variant apart. Pure.

Invariant: two prices with equal terms are one document; a price with rules of the shop has no terms of ours.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from adapters.store.medusa.api import Record
from daemon.model import Patch


class Terms(NamedTuple):
    """For whom a price is, within a variant or list."""

    currency: str
    """In lower case, as Medusa keeps it."""
    quantity: int

    def row(self, amount: Decimal) -> dict[str, Any]:
        """A price on these terms, as Medusa takes it. The ordinary one has no least quantity."""
        least = None if self.quantity == 1 else self.quantity
        number = orjson.Fragment(format(amount, "f"))
        return {"currency_code": self.currency, "amount": number, "min_quantity": least, "max_quantity": None}


class Offer(NamedTuple):
    """A document about a price: None as amount takes the price away."""

    patch: Patch
    variant: Record
    terms: Terms
    amount: Decimal | None


def terms_of(row: Record) -> Terms | None:
    """The terms of a price in the shop; None where its own rules or a broken quantity make it another thing."""
    if row.get("rules") or row.get("price_rules"):
        return None
    least = row.get("min_quantity")
    try:
        quantity = Decimal(str(1 if least is None else least))
    except ArithmeticError:
        return None
    if quantity != quantity.to_integral_value() or not row.get("currency_code"):
        return None
    return Terms(str(row["currency_code"]).lower(), max(int(quantity), 1))

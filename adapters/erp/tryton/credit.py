"""Rows of credit.sql to credit: what a customer owes and has on order, against the limit.

Invariant: the balance is rounded as Tryton rounds it: what is owed first, then sale by sale, half to even. Without a limit
there is neither an amount that is available nor a hold. Pure. Source: trytond 8.2, modules account and sale_credit_limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any


def _rounded(amount: Decimal, rounding: Decimal) -> Decimal:
    if not rounding:
        return amount
    return (amount / rounding).quantize(Decimal(1), ROUND_HALF_EVEN) * rounding


def credit(rows: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Rows of credit.sql, one for each customer, to documents of kind credit."""
    for row in rows:
        balance = _rounded(row["receivable"], row["rounding"])
        for amount in row["sales"] or ():
            balance = _rounded(balance + amount, row["rounding"])
        limit: Decimal | None = row["limit"]
        yield {
            "key": row["key"],
            "customer": row["customer"],
            "currency": row["currency"],
            "limit": limit,
            "balance": balance,
            "available": None if limit is None else limit - balance,
            "hold": limit is not None and balance > limit,
        }

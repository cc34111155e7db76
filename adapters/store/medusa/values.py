"""Values between documents and Medusa: quantities, amounts, and what has no place.

Invariant: an amount leaves with the ERP's digits and is refused where Medusa's own floating point would change it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from adapters.store.answers import UNMAPPED
from daemon import digits
from daemon.model import Outcome, Patch, Status

UNSENDABLE: Final = "E-STORE-UNSENDABLE"
"""The shop cannot hold this value as it is."""
DIGITS: Final = 15
"""Significant decimal digits that survive JavaScript's numbers, which Medusa's are on their way to the database."""
ZERO: Final = Decimal("0.0001")
"""What is not above it is zero for Medusa (MEDUSA_EPSILON)."""
LARGEST: Final = 2**53 - 1


class Refused(Exception):
    """This document cannot be shown in this shop; the text says why."""

    def __init__(self, text: str, code: str = UNMAPPED) -> None:
        super().__init__(text)
        self.code = code

    def outcome(self, patch: Patch) -> Outcome:
        return Outcome(patch.id, Status.REJECTED, str(self), self.code)


def decimal(value: Any, name: str) -> Decimal:
    """A number of a document or of an answer. Raises Refused."""
    number = digits.decimal(value)
    if number is None:
        raise Refused(f"`{name}` is {str(value)[:50]!r}, which is no number", UNSENDABLE)
    return number


def whole(value: Any, name: str) -> int:
    """A quantity. Raises Refused."""
    number = decimal(value, name)
    if number != number.to_integral_value() or abs(number) > LARGEST:
        raise Refused(f"`{name}` is {value}; the adapter writes whole numbers up to {LARGEST}", UNSENDABLE)
    return int(number)


def amount(value: Any, name: str) -> Decimal:
    """An amount of money. Raises Refused for what Medusa takes and does not keep."""
    number = decimal(value, name)
    if number < 0:
        raise Refused(f"`{name}` is {value}; a price below zero is none", UNSENDABLE)
    if 0 < number <= ZERO:
        raise Refused(f"`{name}` is {value}; Medusa takes for zero what is not above {ZERO}", UNSENDABLE)
    if len(number.normalize().as_tuple().digits) > DIGITS:
        raise Refused(f"`{name}` is {value}; Medusa keeps {DIGITS} digits of an amount", UNSENDABLE)
    return number


def plain(value: Any) -> int | str:
    """A number that the shop answered, as a document says it."""
    return digits.exact(decimal(value, "answer"))


def homeless(patch: Patch, known: Iterable[str]) -> None:
    """Raises Refused for fields that have a value and no place. A null needs none."""
    fields = patch.fields or {}
    lost = sorted(name for name, value in fields.items() if value is not None and name not in known)
    if lost:
        names = ", ".join(f"`{name}`" for name in lost)
        raise Refused(f"{names} has no place in Medusa; leave it out of the SQL", UNSENDABLE)

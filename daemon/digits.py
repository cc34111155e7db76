"""Numbers as JSON carries them here.

Invariant: pure; every digit of a decimal survives, and no reader's floating point changes a whole number.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

LARGEST: Final = 2**53 - 1
"""JavaScript's numbers are exact up to here; larger whole numbers travel as strings."""
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def decimal(value: Any) -> Decimal | None:
    """A number of a document or of an answer, exact; None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        return value
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def exact(value: Decimal) -> int | str:
    """A finite decimal as JSON has it here: whole numbers as integers, others as strings with the ERP's digits."""
    if not value:
        return 0
    whole = value == value.to_integral_value()
    if whole and value.adjusted() < 16 and -LARGEST <= (number := int(value)) <= LARGEST:
        return number
    return format(value, "f").partition(".")[0] if whole else format(value, "f")

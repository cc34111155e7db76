"""Values between documents and Vendure: money in minor units, custom fields by their type, what has no place.

Invariant: an amount is exact on both sides or it is refused; nothing passes through a float. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from daemon.digits import decimal, exact
from daemon.model import Patch

LARGEST: Final = 2**31 - 1
"""Of a whole number in GraphQL."""


class Unfit(ValueError):
    """A value that Vendure cannot hold as it is; the text says why."""


class Unmapped(Unfit):
    """A name of the ERP's that no option gives a place in the shop."""


def whole(value: Any, name: str) -> int:
    """A quantity. Raises Unfit."""
    number = _decimal(value, name)
    if number != number.to_integral_value() or abs(number) > LARGEST:
        raise Unfit(f"`{name}` is {value}; Vendure has whole numbers up to {LARGEST}")
    return int(number)


def minor(value: Any, name: str, digits: int) -> int:
    """An amount in minor units. Raises Unfit for one with more decimals than the shop's money has."""
    number = _decimal(value, name).scaleb(digits)
    if number != number.to_integral_value():
        raise Unfit(f"`{name}` is {value}, but the shop's money has {digits} decimals")
    if abs(number) > 2**53:
        raise Unfit(f"`{name}` is {value}, which is more than the shop's money can hold")
    return int(number)


def major(value: int, digits: int) -> int | str:
    """Minor units as an amount."""
    return exact(Decimal(value).scaleb(-digits))


def _decimal(value: Any, name: str) -> Decimal:
    number = decimal(value)
    if number is None:
        raise Unfit(f"`{name}` is {str(value)[:50]!r}, which is no number")
    return number


def to_field(value: Any, name: str, kind: str, digits: int | None = None) -> Any:
    """A value for a custom field of this type; with `digits`, numbers are money. Raises Unfit."""
    if value is None:
        return None
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    match kind:
        case "string" | "text" | "localeString" | "localeText":
            if isinstance(value, str):
                return value
            return format(value, "f") if isinstance(value, Decimal) else orjson.dumps(value).decode()
        case "boolean" if isinstance(value, bool):
            return value
        case "int" if is_number or isinstance(value, str):
            number = whole(value, name) if digits is None else minor(value, name, digits)
            if abs(number) > LARGEST:
                raise Unfit(f"`{name}` is {value}; an int field of Vendure ends at {LARGEST} (minor units)")
            return number
        case "float":
            raise Unfit(
                f"the custom field for `{name}` is a float, which holds no exact amount; make it a string or int"
            )
    raise Unfit(f"`{name}` is {type(value).__name__}, which a custom field of type {kind} cannot hold")


def from_field(value: Any, kind: str, digits: int | None = None) -> Any:
    """What a custom field holds, as a document says it."""
    if digits is not None and kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return major(value, digits)
    return value


def note(fields: Mapping[str, Any]) -> str:
    """What an order's or a product's custom field keeps: a canonical text, so that equal values are equal texts."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()


def noted(record: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What was kept there; empty for nothing, and for what people wrote into it."""
    text = (record.get("customFields") or {}).get(place)
    try:
        said = orjson.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def homeless(patch: Patch, known: Iterable[str], remedy: str) -> str:
    """Why a document cannot be held whole; "" when each of its values has a place. A null needs none."""
    fields: Mapping[str, Any] = patch.fields or {}
    lost = sorted(name for name, value in fields.items() if value is not None and name not in known)
    if not lost:
        return ""
    names = ", ".join(f"`{name}`" for name in lost)
    return f"{names} has no place in Vendure; {remedy}"


def in_order(names: Iterable[str], size: int) -> list[list[str]]:
    """Names in portions, so that the ids that start with them (`name|...`) grow over all portions."""
    portions: list[list[str]] = []
    head = ""
    for name in sorted(f"{name}|" for name in set(names)):
        chained = bool(head) and name.startswith(head)
        if not portions or (len(portions[-1]) >= size and not chained):
            portions.append([])
        if not chained:
            head = name
        portions[-1].append(name[:-1])
    return portions

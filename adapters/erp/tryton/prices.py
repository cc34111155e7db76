"""Rows of price.sql to prices: the list price, and each price list by its formulas and quantities.

Invariant: an amount is what Tryton would ask for that quantity in the product's sale unit: the first line that fits decides,
and a list without one has no price. Pure. Source: trytond 8.2, modules product, sale, product_price_list and sale_price_list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adapters.erp.tryton.formula import evaluate

Row = Mapping[str, Any]

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure: how many of its category's base it holds, and the reverse."""

    factor: Decimal
    rate: Decimal

    @classmethod
    def of(cls, texts: Sequence[str]) -> Unit:
        """From the two columns' text, to twelve decimals as Tryton reads them."""
        return cls(*(Decimal(f"{Decimal(text):.12f}") for text in texts))

    @property
    def by_factor(self) -> bool:
        """Whether the factor is the more exact of the two: it has fewer decimals."""
        factor, rate = (_decimals(value) for value in (self.factor, self.rate))
        return factor < rate or (factor == rate and self.factor >= 1)


def _decimals(value: Decimal) -> int:
    return len(f"{value:f}".partition(".")[2].rstrip("0"))


def price_in(price: Decimal, held: Unit, asked: Unit) -> Decimal:
    """A price for one `held` unit as a price for one `asked` unit."""
    made = price / held.factor if held.by_factor else price * held.rate
    return made * asked.factor if asked.by_factor else made / asked.rate


def quantity_in(quantity: Decimal, held: Unit, asked: Unit) -> Decimal:
    """A quantity of `held` units in `asked` units."""
    made = quantity * held.factor if held.by_factor else quantity / held.rate
    return made / asked.factor if asked.by_factor else made * asked.rate


_KILOGRAM = Unit(_ONE, _ONE)
_LITER = Unit(Decimal("0.001"), Decimal(1000))
"""What weight and volume are told in, where a line names no other unit; Tryton's own units of these names."""


def _measured(told: Sequence[str] | None, default: Unit, asked: Sequence[str] | None) -> Decimal:
    """A product's weight or volume, from value, factor and rate, in the unit that a line asks for; 0 without one."""
    if told is None or told[0] is None:
        return Decimal(0)
    value = quantity_in(Decimal(told[0]), Unit.of(told[1:]), default)
    return value if asked is None else quantity_in(value, default, Unit.of(asked))


class _Product:
    """One product with all lists that its prices need."""

    def __init__(self, rows: Sequence[Row]) -> None:
        first = rows[0]
        self.key, self.sku, self.currency = first["key"], first["sku"], first["currency"]
        self._step = _ONE.scaleb(-first["digits"])
        self._list_price: Decimal | None = first["list_price"]
        self._kept = Unit.of(first["kept_unit"]) if first["kept_unit"] else None
        self._sold = Unit.of(first["sold_unit"]) if first["sold_unit"] else None
        self._cost = self._cost_price(first)
        self._rows = {row["list"]: row for row in rows}

    def documents(self) -> Iterator[Row]:
        for number, row in self._rows.items():
            if number is None:
                if self._list_price is not None:
                    yield self._document("default", _ONE, self._shown(self._list_price), tax_included=False)
            elif row["shown"]:
                yield from self._list(row)

    def _list(self, row: Row) -> Iterator[Row]:
        """A price for one piece, and one for each quantity from which on it is another."""
        before: Decimal | None = None
        for quantity in sorted({_ONE, *(step for step in self._steps(row) if step > 1)}):
            price = self._compute(row, quantity)
            if price is None:
                continue
            amount = self._shown(price)
            if amount != before:
                yield self._document(row["price_list"], quantity, amount, tax_included=row["tax_included"])
            before = amount

    def _document(self, name: str, quantity: Decimal, amount: Decimal, *, tax_included: bool) -> Row:
        return {
            "key": self.key,
            "sku": self.sku,
            "price_list": name,
            "currency": self.currency,
            "min_quantity": int(quantity) if quantity == int(quantity) else f"{quantity.normalize():f}",
            "amount": amount,
            "tax_included": tax_included,
        }

    def _cost_price(self, row: Row) -> Decimal:
        if row["components"] is None:
            cost: Decimal = row["cost_price"]
            return cost
        total = Decimal(0)
        for price, quantity, kept, asked in row["components"]:
            one = Decimal(price)
            if kept is not None:
                one = price_in(one, Unit.of(kept), Unit.of(asked))
            total += one * Decimal(quantity)
        return total.quantize(self._step)

    def _shown(self, price: Decimal) -> Decimal:
        """A price for the unit in stock as one for the unit that is sold."""
        if self._kept is not None and self._sold is not None:
            price = price_in(price, self._kept, self._sold)
        return price.quantize(self._step)

    def _steps(self, row: Row) -> Iterator[Decimal]:
        """Quantities in the sale unit at which another line of this list, or of one below it, may fit."""
        for text in row["quantities"] or ():
            if text is not None:
                quantity = Decimal(text)
                if self._kept is not None and self._sold is not None and row["counted_in"] != "product_sale":
                    quantity = quantity_in(quantity, self._kept, self._sold)
                yield quantity
        if (below := self._rows.get(row["parent"])) is not None and row["parent"] is not None:
            yield from self._steps(below)

    def _compute(self, row: Row, quantity: Decimal) -> Decimal | None:
        """The price of a list for one unit in stock, where that many sale units are bought; None without a line."""
        counted = quantity
        if self._kept is not None and self._sold is not None and row["counted_in"] != "product_sale":
            counted = quantity_in(quantity, self._sold, self._kept)
        lines = zip(row["formulas"] or (), row["quantities"] or (), row["units"] or (), strict=True)
        for formula, least, (weighed_in, measured_in) in lines:
            if least is not None and Decimal(least) > counted:
                continue
            names = self._names(row, quantity)
            names["weight"] = _measured(row["weight"], _KILOGRAM, weighed_in)
            names["volume"] = _measured(row["volume"], _LITER, measured_in)
            price = evaluate(formula, names)
            return None if price is None else price.quantize(self._step)
        return None

    def _names(self, row: Row, quantity: Decimal) -> dict[str, Decimal | None]:
        names = {"list_price": self._list_price, "cost_price": self._cost}
        names["unit_price"] = names.get(row["base"]) if row["base"] else None
        if row["parent"] is not None:
            below = self._rows.get(row["parent"])
            names["parent_unit_price"] = None if below is None else self._compute(below, quantity)
        return names


def prices(rows: Sequence[Row]) -> Iterable[Row]:
    """Rows of price.sql, one for each product and list, to documents of kind price."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["key"], []).append(row)
    for group in groups.values():
        yield from _Product(group).documents()

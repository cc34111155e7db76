"""Price lists as Odoo computes them: the first rule that fits, its base, its formula; price lists that rest on others.

Invariant: pure and exact. A price that cannot be known, in a currency without a rate or in a circle of price lists, is an
error of that product alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Row = Mapping[str, Any]

PLAIN = "default"
"""Price list of the documents that show the sales price itself."""


def documents(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """One row a variant, of price.sql, to one document for each price list and quantity.

    A quantity is 1, one that the option `quantities` names, or one from which on a rule gives another amount. Amounts are
    not rounded unless the row says so. Raises ValueError naming the price lists.
    """
    for row in rows:
        yield from _Product(row).documents()


class _Product:
    def __init__(self, row: Row) -> None:
        self._row = row
        self._lists = {one["id"]: one for one in row["lists"]}
        self._rules: dict[int, list[Row]] = {}
        for rule in row["rules"]:
            self._rules.setdefault(rule["list"], []).append(rule)

    def documents(self) -> Iterator[dict[str, Any]]:
        row = self._row
        if row["plain"]:
            amount = _rounded(row["list_price"], row["rounding"]) if row["rounded"] else row["list_price"]
            yield self._document(PLAIN, row["list_money"], Decimal(1), amount)
        asked = {Decimal(1), *(Decimal(quantity) for quantity in row["quantities"])}
        for one in self._lists.values():
            if not one["shown"]:
                continue
            last: Decimal | None = None
            for quantity in sorted(asked | self._breaks(one["id"], ())):
                amount = self._price(one, quantity, ())
                if row["rounded"]:
                    amount = _rounded(amount, one["rounding"])
                if amount != last or quantity in asked:
                    yield self._document(one["name"], one["currency"], quantity, amount)
                last = amount

    def _document(self, name: str, currency: str, quantity: Decimal, amount: Decimal) -> dict[str, Any]:
        row = self._row
        return {
            "key": row["key"],
            "sku": row["sku"],
            "price_list": name,
            "currency": currency,
            "min_quantity": quantity,
            "amount": amount,
        }

    def _breaks(self, list_: int, above: tuple[int, ...]) -> set[Decimal]:
        """Quantities from which on another rule may apply, here or in a price list below."""
        if list_ in above:
            return set()
        found: set[Decimal] = set()
        for rule in self._rules.get(list_, ()):
            if (least := _number(rule["min_quantity"])) > 0:
                found.add(least)
            if rule["base"] == "pricelist" and rule["base_list"] in self._lists:
                found |= self._breaks(rule["base_list"], (*above, list_))
        return found

    def _price(self, one: Row, quantity: Decimal, above: tuple[int, ...]) -> Decimal:
        """The amount in the price list's own currency."""
        if one["id"] in above:
            names = " and ".join(self._lists[number]["name"] for number in above)
            raise ValueError(f"price lists rest on each other: {names}")
        fits = (rule for rule in self._rules.get(one["id"], ()) if quantity >= _number(rule["min_quantity"]))
        rule = next(fits, None)
        if rule is None:
            return self._converted(self._row["list_price"], self._row["list_money"], one)
        if rule["compute"] == "fixed":
            return _number(rule["fixed"])
        base = self._base(rule, one, quantity, above)
        if rule["compute"] == "percentage":
            return base - base * _number(rule["percent"]) / 100
        return _formula(rule, base) if rule["compute"] == "formula" else base

    def _base(self, rule: Row, one: Row, quantity: Decimal, above: tuple[int, ...]) -> Decimal:
        row = self._row
        if rule["base"] == "pricelist" and rule["base_list"] in self._lists:
            below = self._lists[rule["base_list"]]
            return self._converted(self._price(below, quantity, (*above, one["id"])), below["currency"], one)
        if rule["base"] == "standard_price":
            return self._converted(row["cost"], row["money"], one)
        return self._converted(row["list_price"], row["list_money"], one)

    def _converted(self, amount: Decimal, money: str, one: Row) -> Decimal:
        if money == one["currency"]:
            return amount
        rates = self._row["rates"]
        if rates is None:
            raise ValueError(
                f"price list {one['name']} is in {one['currency']} and rests on an amount in {money}: set currency_rates"
            )
        return amount * _number(rates[one["currency"]]) / _number(rates[money])


def _formula(rule: Row, base: Decimal) -> Decimal:
    discount = -_number(rule["markup"]) if rule["base"] == "standard_price" else _number(rule["discount"])
    price = base - base * discount / 100
    if step := _number(rule["round"]):
        price = _rounded(price, step)
    price += _number(rule["surcharge"])
    if margin := _number(rule["min_margin"]):
        price = max(price, base + margin)
    if margin := _number(rule["max_margin"]):
        price = min(price, base + margin)
    return price


def _rounded(amount: Decimal, step: Any) -> Decimal:
    """To the nearest multiple of `step`, halves away from zero."""
    unit = _number(step)
    return (amount / unit).quantize(Decimal(1), ROUND_HALF_UP) * unit


def _number(value: Any) -> Decimal:
    return Decimal(0) if value is None else Decimal(value)

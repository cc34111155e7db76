"""Formulas and rounding of the Tryton pack, against values that Tryton itself computed.

Invariant under test: a formula gives what Tryton gives, to the last digit, or fails where Tryton fails, naming the formula.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.erp.tryton.credit import credit
from adapters.erp.tryton.formula import FormulaError, evaluate
from adapters.erp.tryton.prices import Unit, price_in, prices, quantity_in

DATA = Path(__file__).parent.parent / "data" / "tryton"
CASES = json.loads((DATA / "formulas.json").read_text())


@pytest.mark.parametrize(("formula", "given", "said"), CASES, ids=[f"{c[0]}-{c[1]['list_price']}" for c in CASES])
def test_a_formula_gives_what_tryton_gives(formula: str, given: dict[str, str | None], said: str | None) -> None:
    names = {name: None if value is None else Decimal(value) for name, value in given.items()}
    if said == "error":
        with pytest.raises(FormulaError, match="formula"):
            evaluate(formula, names)
        return
    value = evaluate(formula, names)
    assert (None if value is None else str(value.quantize(Decimal("0.0001")))) == said


@pytest.mark.parametrize(
    "formula",
    ["__import__('os').system('true')", "list_price.__class__", "open('/etc/passwd')", "(", "Decimal(10) ** 99999999"],
)
def test_a_formula_reaches_nothing_but_its_prices(formula: str) -> None:
    with pytest.raises(FormulaError):
        evaluate(formula, {"list_price": Decimal(1)})


def row(**fields: Any) -> dict[str, Any]:
    base = {
        "key": 7, "sku": "A", "currency": "EUR", "digits": 4, "list_price": Decimal(25), "cost_price": Decimal(10),
        "components": None, "kept_unit": None, "sold_unit": None, "weight": None, "volume": None,
        "list": 1, "price_list": "Trade", "parent": None, "base": "list_price", "counted_in": "product_default",
        "tax_included": False, "shown": True, "formulas": None, "quantities": None, "units": None,
    }  # fmt: skip
    made = {**base, **fields}
    if made["formulas"] and not made["units"]:
        made["units"] = [[None, None] for _ in made["formulas"]]
    return made


def steps(*rows: dict[str, Any]) -> list[tuple[str, Any, str]]:
    return [(made["price_list"], made["min_quantity"], str(made["amount"])) for made in prices(rows)]


def test_the_first_line_that_fits_decides_and_only_other_prices_are_shown() -> None:
    lines = {"formulas": ["unit_price*.7", "unit_price*.7", "unit_price*.9"], "quantities": ["10", "5", None]}
    assert steps(row(**lines)) == [("Trade", 1, "22.5000"), ("Trade", 5, "17.5000")]


def test_a_list_without_a_line_that_fits_has_no_price() -> None:
    assert steps(row()) == []
    assert steps(row(formulas=["1"], quantities=["10"])) == [("Trade", 10, "1.0000")]


def test_a_price_that_is_not_there_is_not_shown() -> None:
    assert steps(row(list_price=None, formulas=["unit_price*2"], quantities=[None])) == []
    assert steps(row(list_price=None, list=None, price_list="default")) == []


def test_a_list_takes_the_price_of_the_one_below_it_at_the_same_quantity() -> None:
    below = row(list=2, price_list="Base", shown=False, formulas=["10", "20"], quantities=["6", None])
    above = row(parent=2, formulas=["parent_unit_price - 1"], quantities=[None])
    assert steps(below, above) == [("Trade", 1, "19.0000"), ("Trade", 6, "9.0000")]


def test_prices_and_steps_are_those_of_the_unit_that_is_sold() -> None:
    each, dozen = ["1", "1"], ["12", "0.083333333333"]
    sold = row(kept_unit=each, sold_unit=dozen, list_price=Decimal("0.25"), formulas=["unit_price*.5", "unit_price"],
               quantities=["24", None])  # fmt: skip
    assert steps(sold) == [("Trade", 1, "3.0000"), ("Trade", 2, "1.5000")]
    assert price_in(Decimal("0.25"), Unit.of(each), Unit.of(dozen)) == 3
    assert quantity_in(Decimal(24), Unit.of(each), Unit.of(dozen)) == 2


def test_a_kit_costs_what_its_parts_cost() -> None:
    kit = row(components=[["10", "2", None, None], ["0.5", "3", ["1", "1"], ["12", "0.083333333333"]]], base="cost_price",
              formulas=["unit_price"], quantities=[None])  # fmt: skip
    assert steps(kit) == [("Trade", 1, "38.0000")]


def test_weight_counts_in_kilograms_unless_the_line_names_another_unit() -> None:
    lines = {"formulas": ["weight * 4"], "quantities": [None], "weight": ["750", "0.001", "1000"]}
    assert steps(row(**lines)) == [("Trade", 1, "3.0000")]
    assert steps(row(**lines, units=[[["0.001", "1000"], None]])) == [("Trade", 1, "3000.0000")]


def test_credit_is_rounded_sale_by_sale_half_to_even() -> None:
    given = {"key": 1, "customer": "C", "currency": "EUR", "rounding": Decimal("0.01"), "limit": Decimal(10)}
    (made,) = credit([{**given, "receivable": Decimal("1.00"), "sales": [Decimal("0.125"), Decimal("0.125")]}])
    assert (made["balance"], made["available"], made["hold"]) == (Decimal("1.24"), Decimal("8.76"), False)


def test_a_customer_without_a_limit_has_neither_an_available_amount_nor_a_hold() -> None:
    given = {"key": 1, "customer": "C", "currency": "EUR", "rounding": Decimal("0.01"), "limit": None}
    (made,) = credit([{**given, "receivable": Decimal(99), "sales": None}])
    assert (made["limit"], made["available"], made["hold"]) == (None, None, False)

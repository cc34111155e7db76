"""Laws of Odoo's price lists, on rows as price.sql gives them; the amounts are worked out by hand from Odoo's rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from adapters.erp.odoo.prices import documents


def list_(number: int, name: str, currency: str = "USD", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "currency": currency, "rounding": Decimal("0.01"), "shown": True, **more}


def rule(number: int, **more: Any) -> dict[str, Any]:
    """A rule of price list `number`; the rows come in Odoo's order."""
    return {
        "list": number,
        "min_quantity": Decimal(0),
        "compute": "formula",
        "base": "list_price",
        "base_list": None,
        "fixed": None,
        "percent": None,
        "discount": None,
        "markup": None,
        "round": None,
        "surcharge": None,
        "min_margin": None,
        "max_margin": None,
        **{name: Decimal(value) if isinstance(value, str) and value[0] in "-.0123456789" else value
           for name, value in more.items()},
    }  # fmt: skip


def amounts(rules: list[dict[str, Any]], lists: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, str]:
    """`list|quantity` -> amount of a product for 100.00 that costs 60.00."""
    row = {
        "key": 1,
        "sku": "A",
        "money": "USD",
        "list_money": "USD",
        "rounding": Decimal("0.01"),
        "list_price": Decimal("100.00"),
        "cost": Decimal("60.00"),
        "plain": False,
        "rounded": False,
        "quantities": [],
        "lists": lists or [list_(1, "L")],
        "rules": rules,
        "rates": None,
        **more,
    }
    return {f"{d['price_list']}|{d['min_quantity']}": f"{d['amount'].normalize():f}" for d in documents([row])}


@pytest.mark.parametrize(
    ("fields", "amount"),
    [
        ({"compute": "fixed", "fixed": "80"}, "80"),
        ({"compute": "fixed"}, "0"),
        ({"compute": "percentage", "percent": "33.33"}, "66.67"),
        ({"compute": "percentage", "percent": "-10"}, "110"),
        ({"compute": "percentage", "percent": "10", "base": "standard_price"}, "54"),
        ({"discount": "12.5"}, "87.5"),
        ({"discount": "10", "base": "standard_price", "markup": "25"}, "75"),
        # rounded before the surcharge: 87.77 -> 90 - 0.01
        ({"discount": "12.23", "round": "10", "surcharge": "-0.01"}, "89.99"),
        # a half goes up: 87.50 -> 88
        ({"discount": "12.5", "round": "1"}, "88"),
        ({"discount": "95", "min_margin": "20"}, "120"),
        ({"discount": "-50", "max_margin": "30"}, "130"),
        ({"base": "standard_price", "markup": "10", "min_margin": "15", "max_margin": "40"}, "75"),
        ({"base": "pricelist", "base_list": None, "discount": "1"}, "99"),
    ],
)
def test_a_rule_gives_what_odoo_computes(fields: dict[str, Any], amount: str) -> None:
    assert amounts([rule(1, **fields)]) == {"L|1": amount}


def test_without_a_rule_the_list_has_the_sales_price() -> None:
    assert amounts([]) == {"L|1": "100"}
    assert amounts([], plain=True) == {"default|1": "100", "L|1": "100"}


def test_the_first_rule_that_the_quantity_reaches_decides() -> None:
    rules = [
        rule(1, compute="fixed", fixed="70", min_quantity="50"),
        rule(1, compute="fixed", fixed="80", min_quantity="10"),
        rule(1, compute="fixed", fixed="95"),
        rule(1, compute="fixed", fixed="1"),
    ]
    assert amounts(rules) == {"L|1": "95", "L|10": "80", "L|50": "70"}


def test_a_break_that_changes_nothing_is_not_shown_but_one_that_was_asked_for_is() -> None:
    rules = [rule(1, compute="fixed", fixed="95", min_quantity="10"), rule(1, compute="fixed", fixed="95")]
    assert amounts(rules) == {"L|1": "95"}
    assert amounts(rules, quantities=[5, 10]) == {"L|1": "95", "L|5": "95", "L|10": "95"}


def test_a_list_rests_on_another_to_any_depth_and_has_its_breaks() -> None:
    lists = [list_(1, "A"), list_(2, "B"), list_(3, "C", shown=False)]
    rules = [
        rule(1, base="pricelist", base_list=2, discount="10"),
        rule(2, base="pricelist", base_list=3, surcharge="1"),
        rule(3, compute="fixed", fixed="50", min_quantity="12"),
    ]
    assert amounts(rules, lists) == {"A|1": "90.9", "A|12": "45.9", "B|1": "101", "B|12": "51"}


def test_lists_that_rest_on_each_other_are_an_error_and_no_endless_loop() -> None:
    lists = [list_(1, "A"), list_(2, "B")]
    rules = [rule(1, base="pricelist", base_list=2), rule(2, base="pricelist", base_list=1)]
    with pytest.raises(ValueError, match="rest on each other: A and B"):
        amounts(rules, lists)


def test_another_currency_needs_rates() -> None:
    lists = [list_(1, "E", "EUR")]
    with pytest.raises(ValueError, match="in EUR and rests on an amount in USD: set currency_rates"):
        amounts([], lists)
    rates = {"USD": Decimal(1), "EUR": Decimal("0.8")}
    assert amounts([], lists, rates=rates) == {"E|1": "80"}
    assert amounts([rule(1, compute="fixed", fixed="7")], lists) == {"E|1": "7"}


def test_amounts_are_rounded_only_when_asked_for() -> None:
    rules = [rule(1, compute="percentage", percent="33.335")]
    assert amounts(rules) == {"L|1": "66.665"}
    assert amounts(rules, rounded=True) == {"L|1": "66.67"}

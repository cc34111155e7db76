"""Laws of comparing what a store shows: two spellings of a value are one, two values never are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.drift import LISTED, Drift, Kind, Tally, differing, judge, same

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


@given(JSON, JSON)
def test_same_is_the_same_both_ways(one: Any, other: Any) -> None:
    assert same(one, other) == same(other, one)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_number_is_one_however_it_is_written(number: Decimal) -> None:
    short = format(number.normalize(), "f")
    assert same(format(number, "f"), short)
    if number == int(number):
        assert same(int(number), format(number, "f"))


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_two_numbers_are_two(one: int, other: int) -> None:
    assert same(one, f"{other}.00") == (one == other)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("007", "7", False),
        ("1e3", 1000, False),
        (True, 1, False),
        (False, 0, False),
        ("", None, False),
        (0, None, False),
        ([], None, True),
        ("12.50", "12.5", True),
        ({"a": None}, {}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ("²", 2, False),
        ("NaN", "NaN", True),
    ],
)
def test_what_is_equal_and_what_is_not(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal


def test_fields_of_the_stores_own_do_not_count() -> None:
    assert differing({"available": 5, "backorder": None}, {"available": "5", "seo": "x"}) == {}
    assert differing({"available": 5}, {}) == {"available": (5, None)}


def test_every_way_to_differ_has_its_name() -> None:
    body = orjson.dumps({"available": 5})
    assert judge(body, {"available": 5}) is None
    assert judge(body, {"available": 4}) == (Kind.CHANGED, {"available": (5, 4)})
    assert judge(body, None) == (Kind.MISSING, {})
    assert judge(None, {"available": 4}) == (Kind.EXTRA, {})
    assert judge(None, None) is None


def test_a_tally_counts_all_and_names_some() -> None:
    tally = Tally()
    for number in range(LISTED + 5):
        tally.add(Drift(Kind.MISSING, str(number), number), mended=True)
    assert tally.drift == tally.mended == LISTED + 5
    assert len(tally.as_json()["documents"]) == LISTED
    assert tally.line().startswith(f"0 compared, {LISTED + 5} differ ({LISTED + 5} missing)")


def test_a_long_value_is_cut_when_shown() -> None:
    shown = Drift(Kind.CHANGED, "a", 1, {"html": ("x" * 5000, ["y" * 5000])}).as_json()["fields"]["html"]
    assert all(len(value) < 300 for value in shown)

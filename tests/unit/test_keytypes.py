"""Laws of the types of keys: what cannot match is refused, what is not known is not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.erp import plain_key
from daemon.errors import SourceError
from daemon.keytypes import WATCHED, misfit


@pytest.mark.parametrize(
    ("key_type", "types"),
    [
        ("bigint", {"int2", "int4", "int8", "numeric"}),
        ("integer", {"int2", "int4", "int8", "numeric"}),
        ("uuid", {"uuid", "text", "varchar", "bpchar", "name", "citext"}),
        ("text", {"uuid", "text", "varchar", "bpchar", "name", "citext"}),
    ],
)
def test_a_query_is_about_keys_that_come_as_its_key_type_does(key_type: str, types: set[str]) -> None:
    known = {type_ for fitting in WATCHED.values() for type_ in fitting} | {"bool", "float8", "timestamptz"}
    assert {type_ for type_ in known if not misfit(key_type, None, type_)} == types
    floats = {"bool", "float8", "timestamptz"}  # as a parameter they may hold whole numbers
    assert {type_ for type_ in known - floats if not misfit(key_type, type_, None)} == types


@pytest.mark.parametrize("key_type", list(WATCHED))
def test_of_types_that_are_not_known_nothing_is_said(key_type: str) -> None:
    assert misfit(key_type, "mood", "ltree") == misfit(key_type, None, None) == ""


def test_a_misfit_names_both_types() -> None:
    assert misfit("bigint", "int8", "text") == "the query gives keys of type text, the entity's key_type is bigint"
    assert misfit("uuid", "int8", "uuid") == "the query compares its $1 with type int8, the entity's key_type is uuid"


@pytest.mark.parametrize("value", ["9223372036854775807", "-9223372036854775808", "7", "7.00"])
def test_a_numeric_without_a_fraction_is_a_whole_key(value: str) -> None:
    key = plain_key(Decimal(value), "entity.stock.all_keys")
    assert (key, type(key)) == (int(Decimal(value)), int)


@pytest.mark.parametrize("value", ["9223372036854775808", "7.5", "NaN", "Infinity", "1e400"])
def test_a_numeric_that_the_state_cannot_hold_exactly_is_no_key(value: str) -> None:
    with pytest.raises(SourceError, match=r"no whole number within bigint") as refused:
        plain_key(Decimal(value), "entity.stock.all_keys")
    assert (refused.value.code, refused.value.where) == ("E-KEY-TYPE", "entity.stock.all_keys")

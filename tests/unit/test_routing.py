"""Laws of routing: which columns of which tables point at which entities, and what a value becomes."""

from __future__ import annotations

import pytest

from daemon.errors import DecodeError
from daemon.model import QueueName
from daemon.routing import ColumnSeen, Router, Rule, Want, convert

STOCK = QueueName("shop", "stock")
PRICE = QueueName("shop", "price")


def rule(entity: str = "stock", table: str = "public.item", column: str = "id", key_type: str = "bigint") -> Rule:
    return Rule(entity, table, column, key_type, (QueueName("shop", entity),), where=f"entity.{entity}.watch.0")


def seen(*names: str, identity: tuple[str, ...] = ("id",)) -> list[ColumnSeen]:
    return [ColumnSeen(name, name in identity) for name in names]


def test_a_watched_column_is_found_where_it_stands() -> None:
    router = Router([rule()])
    assert router.wants("public.item", seen("name", "id")) == ([Want(1, (rule(),), indexed=False)], [])


def test_columns_that_nobody_watches_cost_nothing() -> None:
    assert Router([rule()]).wants("public.other", seen("id")) == ([], [])
    assert Router([rule()]).entities("public.other") == set()


def test_rules_on_one_column_share_one_look() -> None:
    rules = [rule("stock"), rule("price")]
    wants, broken = Router(rules).wants("public.item", seen("id"))
    assert wants == [Want(0, tuple(rules), indexed=False)]
    assert broken == []


def test_rules_on_different_columns_of_one_table_are_both_served() -> None:
    router = Router([rule("stock", column="id"), rule("price", column="parent_id")])
    wants, _ = router.wants("public.item", seen("parent_id", "id"))
    assert [(want.index, want.rules[0].entity) for want in wants] == [(0, "price"), (1, "stock")]


def test_a_column_outside_of_the_identity_needs_the_row_index() -> None:
    """A delete, or an update of it, does not say which value it had."""
    router = Router([rule(column="item_id")])
    ((want,), _) = router.wants("public.item", seen("id", "item_id"))
    assert want.indexed
    ((want,), _) = router.wants("public.item", seen("id", "item_id", identity=("id", "item_id")))
    assert not want.indexed


def test_a_column_that_went_is_named_and_the_others_go_on() -> None:
    rules = [rule("stock", column="id"), rule("price", column="item_id")]
    wants, broken = Router(rules).wants("public.item", seen("id"))
    assert [want.rules for want in wants] == [(rules[0],)]
    assert broken == [rules[1]]


def test_a_partition_is_routed_as_the_table_that_the_watch_names() -> None:
    router = Router([rule(table="public.move")], {"public.move_2026": "public.move"})
    assert router.entities("public.move_2026") == {"stock"}
    ((want,), _) = router.wants("public.move_2026", seen("x", "id"))
    assert want.index == 1
    assert router.entities("public.move_2027") == set()
    router.parents = {"public.move_2027": "public.move"}  # a partition that came later
    assert router.entities("public.move_2027") == {"stock"}


def test_the_tables_are_those_of_the_watches() -> None:
    assert Router([rule(table="b.y"), rule(table="a.x"), rule(table="b.y")]).tables() == ["a.x", "b.y"]


@pytest.mark.parametrize(
    ("key_type", "raw", "keys"),
    [
        ("bigint", {b"1", b"-7", b"9223372036854775807"}, {1, -7, 2**63 - 1}),
        ("integer", {b"0", b"007"}, {0, 7}),
        ("text", {b"", b" a ", "日本".encode()}, {"", " a ", "日本"}),
        ("uuid", {b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
    ],
)
def test_a_value_of_the_log_becomes_the_key_that_the_sql_will_give(
    key_type: str, raw: set[bytes], keys: set[int | str]
) -> None:
    assert convert(raw, rule(key_type=key_type)) == keys


@pytest.mark.parametrize(
    ("key_type", "raw"),
    [("bigint", b"12.5"), ("bigint", b"9223372036854775808"), ("integer", b"abc"), ("text", b"\xff\xfe")],
)
def test_a_value_that_is_no_key_is_refused_with_its_place(key_type: str, raw: bytes) -> None:
    with pytest.raises(DecodeError, match=r"entity\.stock\.watch\.0.*column id of public\.item") as refused:
        convert({raw}, rule(key_type=key_type))
    assert refused.value.code == "E-KEY-TYPE"
    assert "key_type" in refused.value.hint

"""Laws of the proposer: nothing is made up, every table that a query reads is watched, names survive."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import config as configuration
from daemon.cli_init import _written
from daemon.config import Dsn
from daemon.proposal import vocabulary
from daemon.proposal.draft import Draft, Question, Watch
from daemon.proposal.propose import propose
from daemon.proposal.schema import Column, Reference, Schema, Table
from daemon.proposal.write import Setting, write

SETTING = Setting(
    '"postgresql://erpsyncd@db/erp"', "http", "https://shop.example/x", "SHOP", "/var/lib/erpsyncd/state.db"
)


def table(name: str, *columns: str, primary: str = "id", to: dict[str, str] | None = None, rows: float = 0.0) -> Table:
    """`table("price", "id int8", "amount numeric", to={"item_id": "item"})`."""
    made = {}
    for text in columns:
        word, kind = text.rsplit(" ", 1)
        plain = word.isidentifier() and word == word.lower()
        made[word] = Column(word, word if plain else f'"{word}"', kind)
    references = tuple(Reference(column, f"public.{other}", "id") for column, other in (to or {}).items())
    return Table(
        f"public.{name}", name, made, tuple(primary.split()), references, frozenset({primary.split()[0]}), rows
    )


ITEM = table("item", "id int8", "sku text", "name text", "active bool")
LIST = table("price_list", "id int4", "code text", "currency bpchar")


def schema(*tables: Table) -> Schema:
    return Schema({t.name: t for t in tables})


def proposed(kind: str, named: list[Table], *others: Table, **fields: str) -> Draft:
    given_fields = {f"{kind}.{name}": value for name, value in fields.items()}
    draft, questions = propose(kind, named, schema(*named, *others), given_fields)
    assert not questions
    assert draft is not None
    return draft


def asked(kind: str, named: list[Table], *others: Table) -> list[Question]:
    draft, questions = propose(kind, named, schema(*named, *others), {})
    assert draft is None
    return questions


def test_a_field_that_no_column_gives_is_asked_for_and_never_made_up() -> None:
    price = table("price", "id int8", "item_id int8", "amount numeric", to={"item_id": "item"})
    assert [question.field for question in asked("price", [price], ITEM)] == ["currency"]
    draft = proposed("price", [price], ITEM, currency="'EUR'")
    assert "'EUR' as currency" in draft.sql


def test_all_that_is_missing_is_told_at_once() -> None:
    thing = table("thing", "id int8", "sku text")
    assert [question.field for question in asked("price", [thing])] == ["amount", "currency"]
    assert [question.field for question in asked("order_status", [table("o", "id int8")])] == ["order", "status"]


def test_a_table_without_a_key_of_one_column_is_refused_with_the_reason() -> None:
    (question,) = asked("stock", [table("bin", "a int8", "b int8", "qty int4", primary="a b")])
    assert question.field == "key"
    assert "primary key" in question.text


def test_every_table_that_the_query_reads_is_watched() -> None:
    level = table(
        "stock_level",
        "item_id int8",
        "warehouse_id int4",
        "on_hand numeric",
        primary="item_id warehouse_id",
        to={"item_id": "item", "warehouse_id": "warehouse"},
    )
    held = table("reservation", "id int8", "item_id int8", "warehouse_id int4", "quantity numeric")
    held = Table(
        held.name,
        held.quoted,
        held.columns,
        held.primary,
        (Reference("item_id", "public.item", "id"), Reference("warehouse_id", "public.warehouse", "id")),
    )
    draft = proposed("stock", [level, held], ITEM, table("warehouse", "id int4", "code text"))
    assert [(watch.table, watch.key or watch.column) for watch in draft.watches] == [
        ("public.item", "id"),
        ("public.stock_level", "item_id"),
        ("public.warehouse", "id"),
        ("public.reservation", "item_id"),
    ]
    assert draft.watches[2].keys == "select distinct item_id from stock_level where warehouse_id = any($1)"
    assert "x.item_id = r.id and x.warehouse_id = l.id" in draft.sql
    assert draft.watches[3].why  # the log does not carry item_id of a deleted reservation
    assert not draft.watches[1].why


def test_a_dated_price_gets_a_rule_by_the_clock() -> None:
    price = table(
        "price",
        *("id int8", "item_id int8", "price_list_id int4", "amount numeric", "date_start date", "date_end date"),
        to={"item_id": "item", "price_list_id": "price_list"},
    )
    draft = proposed("price", [price], ITEM, LIST)
    (poll,) = draft.polls
    assert poll.keys == (
        "select item_id from price where date_start > $1 and date_start <= $2 or date_end + 1 > $1 and date_end + 1 <= $2"
    )
    assert "l.currency" in draft.sql
    assert draft.sql.startswith("select distinct on (r.id, l.code, l.currency)")


def test_a_binary_float_never_becomes_a_price_as_it_is() -> None:
    article = table("article", "id int8", "sku text", "price float8", "currency text")
    draft = proposed("price", [article])
    assert "r.price::numeric as amount" in draft.sql
    assert any("float" in note for note in draft.notes)


def test_a_missing_index_on_a_large_table_is_told() -> None:
    price = table(
        "price", "id int8", "item_id int8", "amount numeric", "currency text", to={"item_id": "item"}, rows=5e6
    )
    assert any("no index" in note for note in proposed("price", [price], ITEM).notes)


def test_a_name_that_two_tables_fit_as_well_is_no_guess() -> None:
    here, there = table("price", "id int8"), table("price", "id int8")
    there = Table("other.price", "other.price", there.columns)
    assert vocabulary.likely([here], "price") is here
    assert vocabulary.likely([here, there], "price") is None


def test_names_are_compared_without_case_and_separators() -> None:
    columns = [Column("ItemCode", '"ItemCode"', "text"), Column("Reference", '"Reference"', "text")]
    assert vocabulary.pick(columns, vocabulary.SKU) is columns[0]


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
)
def test_any_name_and_any_query_comes_back_from_the_file(name: str, sql: str) -> None:
    draft = Draft("stock", "bigint", sql, "select 1", (Watch(name, column=name, keys=sql),), notes=("note",))
    read = tomllib.loads(write([draft], SETTING))["entity"]["stock"]
    # TOML has one end of line, and a literal block keeps the indentation that it is shown with
    assert read["watch"] == [{"table": name, "column": name, "keys": sql}]
    assert [line.strip() for line in read["sql"].strip().split("\n")] == [
        line.strip() for line in sql.strip().split("\n")
    ]


def test_what_is_written_is_a_good_configuration(tmp_path: Path) -> None:
    credit = table("customer", "id int8", "number text", "credit_limit numeric", "on_hold bool", "currency text")
    content = table("text", "id int8", "item_id int8", "locale text", "title text", to={"item_id": "item"})
    drafts = [proposed("credit", [credit]), proposed("content", [content], ITEM)]
    loaded = configuration.load_text(write(drafts, SETTING), env={"SHOP": "token"}, base=tmp_path)
    assert list(loaded.entity) == ["credit", "content"]
    assert loaded.batch["content"].entity == "content"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://erpsyncd@db/erp", '"postgresql://erpsyncd@db/erp"'),
        ("postgresql://erpsyncd:geheim@db/erp", '{ env = "ERPSYNCD_ERP_DSN" }'),
        ("postgresql://erpsyncd@db/erp?password=geheim", '{ env = "ERPSYNCD_ERP_DSN" }'),
    ],
)
def test_a_password_is_never_written(url: str, shown: str) -> None:
    assert _written(url, Dsn(url)) == shown

"""Keys and values of every kind, and rows whose former key the log does not say.

Invariant under test: a key is neither guessed nor dropped, whatever its type and wherever it stands; a value arrives digit
for digit or not at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.integration.stage import STOCK, Stage, own_stage
from tests.integration.test_operator import ITEMS, desk, zeros
from tests.waiting import until


def stock_of(key_type: str) -> str:
    return STOCK.replace("[entity.stock]", f'[entity.stock]\nkey_type = "{key_type}"')


@pytest.mark.parametrize(
    ("key_type", "column", "values"),
    [
        ("integer", "int", ["1", "-7", "2147483647", "3"]),
        ("bigint", "bigint", ["1", "-7", "9223372036854775807", "3"]),
        ("bigint", "int", ["1", "-7", "2147483647", "3"]),
        ("bigint", "numeric(19)", ["1", "-7", "9223372036854775807", "3"]),
        ("text", "text", ["'a'", "'Zoë 日本 \U0001f600'", "'q''\"\\%'", "'1'"]),
        ("text", "varchar(20)", ["'a'", "' b '", "'B'", "'1'"]),
        ("uuid", "uuid", [f"'{n}0000000-0000-4000-8000-00000000000{n}'" for n in (1, 7, 8, 9)]),
    ],
)
async def test_a_key_of_each_type_is_followed_over_a_restart(
    database: Database, tmp_path: Path, key_type: str, column: str, values: list[str]
) -> None:
    first, second, third, later = values
    schema = f"""
        create table item (id {column} primary key, sku text not null, on_hand int not null);
        insert into item values ({first}, 'A1', 1), ({second}, 'A2', 2), ({third}, 'A3', 3);
        create publication erpsyncd for table item;"""
    async with own_stage(database, tmp_path, schema, stock_of(key_type)) as stage:
        await stage.equal()
        await stage.erp.execute(f"update item set on_hand = 22 where id = {second}")
        await stage.equal()
        await stage.erp.execute(f"update item set id = {later}, sku = 'A4' where id = {first}")
        await stage.equal()
        await stage.daemon.kill()
        await stage.erp.execute(f"update item set on_hand = 33 where id = {third}")
        await stage.erp.execute(f"delete from item where id = {second}")
        await stage.daemon.start()
        await stage.equal()
        shown = {id_: document["available"] for id_, document in stage.shop.documents("stock").items()}
        assert shown == {"A1|default": 0, "A2|default": 0, "A3|default": 33, "A4|default": 1}


MOVES = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint primary key, note text, item_id bigint references item, qty int not null);
insert into item select n, 'A' || n from generate_series(1, 20) n;
insert into move select n, repeat('x', 10), n, 10 * n from generate_series(1, 20) n;
create publication erpsyncd for table item, move;
"""
BY_MOVES = """
[entity.stock]
sql = '''select i.id as key, i.sku, coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]
"""


async def moved(stage: Stage) -> None:
    """Rows that the log names by their primary key alone change hands and end; both items must show it."""
    await stage.erp.execute("update move set item_id = 2 where id = 1")
    await stage.equal()
    await stage.erp.execute("update move set item_id = null where id = 3")
    await stage.equal()
    await stage.erp.execute("delete from move where id in (4, 5)")
    await stage.equal()
    await stage.erp.execute("update move set id = 106, item_id = 7 where id = 6")
    await stage.equal()
    async with stage.erp.transaction():
        await stage.erp.execute("update move set item_id = 9 where id = 8")
        await stage.erp.execute("update move set item_id = 10 where id = 8")
        await stage.erp.execute("delete from move where id = 8")
    await stage.equal()


async def test_a_row_that_was_there_before_the_daemon_takes_its_former_key_along(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path, MOVES, BY_MOVES) as stage:
        await stage.equal()
        await moved(stage)


async def test_a_row_that_came_later_takes_its_former_key_along(database: Database, tmp_path: Path) -> None:
    schema = MOVES.replace("insert into move", "--")
    async with own_stage(database, tmp_path, schema, BY_MOVES) as stage:
        await stage.erp.execute("insert into move select n, '', n, 10 * n from generate_series(1, 20) n")
        await stage.equal()
        await moved(stage)


async def test_a_row_that_moved_while_the_daemon_was_away_takes_its_former_key_along(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path, MOVES, BY_MOVES) as stage:
        await stage.daemon.kill()
        await stage.erp.execute("update move set item_id = 2 where id = 1")
        await stage.daemon.start()
        await stage.equal()
        await stage.erp.execute("update move set item_id = 3 where id = 1")
        await stage.equal()


PRICES = """
create table item (id bigint primary key, sku text not null, amount numeric, currency text default 'EUR');
insert into item values (1, 'A1', 1.10);
create publication erpsyncd for table item;
"""
PRICE = """
[entity.price]
sql = "select id as key, sku, currency, amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""
EXACT = {
    "0.1": "0.1",
    "1.10": "1.10",
    "3": 3,
    "3.00": 3,
    "0.0000000001": "0.0000000001",
    "12345678901234567890.123456789": "12345678901234567890.123456789",
    "9007199254740991": 9007199254740991,
    "9007199254740993": "9007199254740993",
    "-0.30": "-0.30",
}


async def test_amounts_arrive_digit_for_digit(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, PRICES, PRICE) as stage:
        await stage.erp.executemany(
            "insert into item values ($1, $2, $3::text::numeric)",
            [(n, f"P{n}", amount) for n, amount in enumerate(EXACT, 100)],
        )
        await stage.equal()
        documents = stage.shop.documents("price")
        assert [documents[f"P{n}|default|EUR|1"]["amount"] for n in range(100, 100 + len(EXACT))] == [*EXACT.values()]


async def test_an_amount_that_is_no_number_is_set_aside_and_holds_nothing_up(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path, PRICES, PRICE) as stage:
        await stage.erp.execute("update item set amount = 'NaN' where id = 1; insert into item values (2, 'A2', 2)")
        await stage.until_shown("price", "A2|default|EUR|1", amount=2)
        line = await stage.daemon.until_event("quarantined")
        assert (line["entity"], line["key"]) == ("price", 1)
        assert (await stage.daemon.queue("price"))["quarantined"] == 1
        assert stage.shop.documents("price")["A1|default|EUR|1"]["amount"] == "1.10"
        await stage.erp.execute("update item set amount = 4.5 where id = 1")
        await stage.equal()
        assert (await stage.daemon.queue("price"))["quarantined"] == 0


async def test_a_sku_is_shown_in_the_erps_own_letters(database: Database, tmp_path: Path) -> None:
    skus = [
        "Müller-Öl",
        "日本-螺子",
        "\U0001f529",
        "e\u0301",
        "é",
        "a\"b\\c'd",
        "<b>&amp;",
        "ش-1",
        "tab\tnew\nline",
        " ",
        "x" * 300,
    ]
    async with own_stage(database, tmp_path) as stage:
        await stage.erp.executemany("insert into item values ($1, $2, 1)", list(enumerate(skus, 100)))
        await stage.equal()
        assert {f"{sku}|default" for sku in skus} <= stage.shop.documents("stock").keys()
        await stage.erp.execute("update item set on_hand = on_hand + 1 where id >= 100")
        await stage.equal()


async def test_a_truncated_table_empties_the_store(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.erp.execute("truncate item")
        await stage.equal()
        assert {document["available"] for document in stage.shop.documents("stock").values()} == {0}
        await stage.erp.execute("insert into item values (3, 'A3', 5)")
        await stage.equal()


@pytest.mark.newest
async def test_a_truncation_is_held_for_a_person_where_it_would_empty_the_store(
    database: Database, tmp_path: Path
) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("alter table reserve add foreign key (item_id) references item; truncate item cascade")

        def both() -> bool:
            return {line["entity"] for line in at.daemon.events("held")} == {"stock", "price"}

        await until(both, within=20.0, what="both entities are held")
        await at.quiet()
        assert zeros(at) == 10, "what the brake lets pass"
        assert len(at.shop.documents("price")) == ITEMS - 10
        assert (await at.do("held", "release", "--reason", "it was meant")).code == 0
        await at.quiet()
        assert zeros(at) == ITEMS
        assert at.shop.documents("price") == {}

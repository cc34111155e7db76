"""The main job: what changes in the ERP shows in the store, whatever kind of change it is.

Invariant under test: once the ERP is quiet the store shows for every key what the mapping's SQL says, got there without a
step back, and nothing that was never committed was ever shown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.demo import seed
from tests.conftest import Database
from tests.integration.stage import Stage, demo_stage, own_stage


@pytest.fixture
async def stage(database: Database, tmp_path: Path) -> AsyncIterator[Stage]:
    """The demo ERP under the shipped mapping."""
    async with demo_stage(database, tmp_path) as made:
        yield made


async def follow(stage: Stage, *statements: str) -> None:
    """Each statement by itself must move the store to what SQL says then."""
    for statement in statements:
        await stage.erp.execute(statement)
        await stage.equal()


async def test_stock_follows_its_rows_their_keys_and_their_end(stage: Stage) -> None:
    await follow(
        stage,
        "insert into item (id, sku, name) values (901, 'NEW-1', 'x'), (902, 'NEW-2', 'y')",
        "insert into stock_level values (901, 1, 7), (901, 2, 5), (902, 1, 3)",
        "insert into reservation (id, order_id, item_id, warehouse_id, quantity) values (901, 1, 901, 1, 2)",
    )
    await stage.until_shown("stock", "NEW-1|default", available=10)
    await follow(
        stage,
        "update stock_level set on_hand = 9.9 where item_id = 901 and warehouse_id = 1",
        "update reservation set item_id = 902 where id = 901",  # replica identity full says the old one
        "update stock_level set item_id = 902 where item_id = 901 and warehouse_id = 2",  # part of the primary key
    )
    assert stage.shop.documents("stock")["NEW-1|default"]["available"] == 9
    assert stage.shop.documents("stock")["NEW-2|default"]["available"] == 6
    await follow(
        stage,
        "delete from reservation where id = 901",
        "insert into item (id, sku, name) values (903, 'NEW-3', 'z')",
        "update item set id = 904, sku = 'NEW-4' where id = 903",  # the primary key itself
        "update item set active = false where id = 902",
        "update item set sku = 'NEW-5' where id = 901",
        "delete from stock_level where item_id = 901",
        "delete from item where id in (901, 904)",
    )
    assert {stage.shop.documents("stock")[f"NEW-{n}|default"]["available"] for n in range(1, 6)} == {0}


async def test_prices_follow_their_rows_and_the_list_that_they_are_in(stage: Stage) -> None:
    await follow(
        stage,
        "insert into price (id, item_id, price_list_id, min_quantity, amount) values (9001, 1, 1, 100, 1.10)",
        "update price set amount = 0.95 where id = 9001",
        "update price set item_id = 2 where id = 9001",
        "update price set min_quantity = 200 where id = 9001",
    )
    await follow(stage, "update price_list set code = 'SHOP' where code = 'RETAIL'")  # found by the watch's query
    assert not any("|RETAIL|" in id_ for id_ in stage.shop.documents("price"))
    await follow(
        stage,
        "delete from price where id = 9001",
        "update item set active = false where id = 3",
        "update item set active = true where id = 3",
        "delete from price where item_id = 4",
    )


async def test_credit_follows_the_customer_and_the_invoices(stage: Stage) -> None:
    await follow(
        stage,
        "insert into customer (id, number, name, credit_limit) values (901, 'N1', 'x', 100.5), (902, 'N2', 'y', 50)",
        "insert into invoice (id, customer_id, amount) values (901, 901, 0.1), (902, 901, 0.2)",
    )
    await stage.until_shown("credit", "N1", balance=Decimal("0.3"), available=Decimal("100.2"), hold=False)
    await follow(
        stage,
        "update invoice set paid = 0.1 where id = 901",
        "update invoice set customer_id = 902 where id = 902",
        "update customer set on_hold = true where id = 901",
        "delete from invoice where id = 901",
        "delete from customer where id = 901",
    )
    assert stage.shop.documents("credit")["N1"] | {"available": 0, "hold": True} == stage.shop.documents("credit")["N1"]


async def test_order_status_follows_shipments_and_their_lines_and_outlives_the_order(stage: Stage) -> None:
    await follow(
        stage,
        "insert into sales_order (id, number, customer_id) values (901, 'SO-1', 1), (902, 'SO-2', 1)",
        "insert into shipment (id, order_id, number, carrier) values (901, 901, 'SH-1', 'DHL')",
        "insert into shipment_line values (901, 1, 2), (901, 2, 1.5)",
        "update shipment_line set quantity = 3 where shipment_id = 901 and item_id = 1",
        "update shipment_line set item_id = 5 where shipment_id = 901 and item_id = 1",
        "delete from shipment_line where shipment_id = 901 and item_id = 2",
        "update shipment set tracking_number = 'T1', status = 'in_transit' where id = 901",
        "update sales_order set status = 'shipped' where id = 901",
    )
    lines = [{"sku": await stage.erp.fetchval("select sku from item where id = 5"), "quantity": "3"}]
    fulfilment = {"id": "SH-1", "status": "in_transit", "carrier": "DHL", "tracking_number": "T1", "lines": lines}
    assert stage.shop.documents("order_status")["SO-1"]["fulfilments"] == [fulfilment]
    await follow(stage, "update shipment set order_id = 902 where id = 901")
    assert stage.shop.documents("order_status")["SO-1"]["fulfilments"] == []
    await follow(stage, "delete from shipment where id = 901", "delete from sales_order where id = 901")
    assert stage.shop.documents("order_status")["SO-1"]["status"] == "shipped"


async def test_content_follows_texts_pictures_attributes_and_categories(stage: Stage) -> None:
    await follow(
        stage,
        "update description set html = '<p>5 > 3 & «ok»</p>' where item_id = 1 and locale = 'en'",
        "insert into description values (1, 'fr', 'Vis à bois', '')",
        "insert into item_attribute values (1, 'farbe', 'grün')",
        "update item_attribute set item_id = 2 where item_id = 1 and name = 'farbe'",
        "update item_image set item_id = 2, position = 9 where id = 1",
        "delete from item_image where item_id = 2",
        "update category set name = 'Schrauben & Muttern' where id = (select category_id from item_category limit 1)",
        "delete from item_category where item_id = 1",
        "delete from description where item_id = 1 and locale = 'fr'",
        "update item set active = false where id = 2",
    )
    sku = await stage.erp.fetchval("select sku from item where id = 1")
    assert stage.shop.documents("content")[f"{sku}|en"]["description_html"] == "<p>5 > 3 & «ok»</p>"
    assert f"{sku}|fr" not in stage.shop.documents("content")


async def test_one_commit_reaches_every_entity_that_it_touches(stage: Stage) -> None:
    async with stage.erp.transaction():
        await stage.erp.execute("update stock_level set on_hand = on_hand + 50 where item_id = 1")
        await stage.erp.execute("update price set amount = amount + 0.01 where item_id = 1")
        await stage.erp.execute("update customer set credit_limit = credit_limit + 1 where id = 1")
    await stage.equal()
    assert {
        entity for entity in stage.shop.history if any(len(w) > 1 for w in stage.shop.history[entity].values())
    } == {*("stock", "price", "credit")}


async def test_nothing_of_a_rolled_back_transaction_reaches_the_store(stage: Stage) -> None:
    before = len(stage.shop.writes())
    transaction = stage.erp.transaction()
    await transaction.start()
    await stage.erp.execute("update stock_level set on_hand = 987654")
    await stage.erp.execute("update price set amount = 987654")
    await stage.erp.execute("insert into item (sku, name) values ('GHOST', 'x')")
    await transaction.rollback()
    await stage.erp.execute("update stock_level set on_hand = 1000 where item_id = 1 and warehouse_id = 1")
    await stage.equal()
    assert len(stage.shop.writes()) == before + 1
    assert "987654" not in repr(stage.shop.history)
    assert "GHOST" not in repr(stage.shop.history)


async def test_nothing_of_a_rolled_back_savepoint_reaches_the_store_and_the_rest_does(stage: Stage) -> None:
    async with stage.erp.transaction():
        await stage.erp.execute("update stock_level set on_hand = 1001 where item_id = 1 and warehouse_id = 1")
        savepoint = stage.erp.transaction()
        await savepoint.start()
        await stage.erp.execute("update stock_level set on_hand = 987654 where item_id in (1, 2)")
        await savepoint.rollback()
        async with stage.erp.transaction():
            await stage.erp.execute("update stock_level set on_hand = 1002 where item_id = 3 and warehouse_id = 1")
    await stage.equal()
    assert "987654" not in repr(stage.shop.history)
    changed = [id_ for id_, writes in stage.shop.history["stock"].items() if len(writes) > 1]
    skus = await stage.erp.fetch("select sku from item where id in (1, 3)")
    assert sorted(changed) == sorted(f"{row['sku']}|default" for row in skus)


async def test_ten_thousand_copied_rows_arrive_in_full_batches(stage: Stage) -> None:
    before = len(stage.shop.writes("stock"))
    items = [(n, f"COPY-{n}", "x") for n in range(10_000, 20_000)]
    async with stage.erp.transaction():
        await stage.erp.copy_records_to_table("item", columns=("id", "sku", "name"), records=items)
        await stage.erp.copy_records_to_table("stock_level", records=[(n, 1, Decimal(n)) for n, *_ in items])
    await stage.until_shown("stock", "COPY-19999|default", available=19_999)
    await stage.equal()
    assert len(stage.shop.writes("stock")) - before <= 120  # of a hundred documents each


async def test_a_dated_price_begins_and_ends_by_the_clock_alone(stage: Stage) -> None:
    sku = await stage.erp.fetchval("select sku from item where id = 7")
    standing = stage.shop.documents("price")[f"{sku}|RETAIL|EUR|1"]["amount"]
    await stage.erp.execute(
        "insert into price (item_id, price_list_id, amount, valid_from, valid_to)"
        " values (7, 1, 0.07, now() + interval '2 s', now() + interval '5 s')"
    )
    await stage.until_shown("price", f"{sku}|RETAIL|EUR|1", amount="0.07")
    await stage.until_shown("price", f"{sku}|RETAIL|EUR|1", amount=standing)
    await stage.equal()


BY_WAREHOUSE = """
[entity.stock]
sql = '''select i.id as key, i.sku, w.code as location, floor(s.on_hand)::bigint as available
           from stock_level s join item i on i.id = s.item_id join warehouse w on w.id = s.warehouse_id
          where i.id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [
    { table = "stock_level", key = "item_id" },
    { table = "item", key = "id" },
    { table = "warehouse", column = "id", keys = "select item_id from stock_level where warehouse_id = any($1)" },
]
"""


async def test_each_warehouse_is_a_document_of_its_own(database: Database, tmp_path: Path) -> None:
    schema = seed.schema_sql() + (
        "insert into warehouse values (1, 'RENDSBURG'), (2, 'LINZ');"
        "insert into item (id, sku, name) select n, 'A' || n, 'x' from generate_series(1, 30) n;"
        "insert into stock_level select i.id, w.id, i.id * w.id from item i, warehouse w;"
    )
    async with own_stage(database, tmp_path, schema, BY_WAREHOUSE) as stage:
        await stage.equal()
        assert len(stage.shop.documents("stock")) == 60
        await follow(
            stage,
            "update stock_level set on_hand = 99 where item_id = 1 and warehouse_id = 2",
            "delete from stock_level where item_id = 2 and warehouse_id = 1",
            "update warehouse set code = 'WIEN' where id = 2",
        )
        documents = stage.shop.documents("stock")
        assert (documents["A1|WIEN"]["available"], documents["A1|LINZ"]["available"]) == (99, 0)
        assert (documents["A2|RENDSBURG"]["available"], documents["A2|WIEN"]["available"]) == (0, 4)
        assert all(len(stage.shop.history["stock"][f"A{n}|RENDSBURG"]) == 1 for n in range(3, 31))

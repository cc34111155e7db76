"""The demo ERP and its day on real servers: the schema stands, every event does what it says, nothing oversells.

Invariant under test: what the day commits is consistent at every commit; the comparison of store and ERP finds each
difference and no other.
"""

from __future__ import annotations

import asyncio
import random
import re
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from daemon.demo import day, day_office, day_sales, seed
from daemon.demo.compare import Difference, compare, differ
from daemon.demo.compare import _truth as truth_of
from daemon.demo.setting import shipped_config
from daemon.demo.shop import DemoShop
from tests.conftest import Database

PUBLISHED = {
    *("item", "warehouse", "stock_level", "reservation", "price_list", "price", "customer", "invoice"),
    *("sales_order", "sales_order_line", "shipment", "shipment_line"),
    *("description", "item_attribute", "item_image", "category", "item_category"),
}
OVERSOLD = """
select count(*) from stock_level s
 where on_hand < (select coalesce(sum(quantity), 0) from reservation r
                   where r.item_id = s.item_id and r.warehouse_id = s.warehouse_id)"""
ENTITIES: dict[str, dict[str, Any]] = tomllib.loads(shipped_config())["entity"]


@pytest.fixture
async def erp(database: Database) -> Any:
    """A connection of the owner to a seeded ERP."""
    connection = await database.connect()
    await seed.create(connection)
    await seed.fill(connection)
    return connection


async def test_the_schema_publishes_all_tables_and_each_can_be_updated(erp: Any) -> None:
    rows = await erp.fetch("select tablename from pg_publication_tables where pubname = 'erpsyncd'")
    assert {row["tablename"] for row in rows} == PUBLISHED
    assert not await erp.fetchval(
        "select count(*) from pg_publication_rel r join pg_class c on c.oid = r.prrelid where c.relreplident = 'n'"
        " or c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)"
    )


async def test_the_daemons_role_reads_everything_and_writes_nothing(database: Database, erp: Any) -> None:
    reader = await asyncpg.connect(database.cluster.dsn(database.name, "erpsyncd"))
    try:
        assert await reader.fetchval("select count(*) from item") >= 50
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("update item set name = 'x'")
        await reader.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("update item set name = 'x'")
    finally:
        await reader.close()


async def test_the_seed_promises_no_more_than_there_is_and_new_rows_find_free_ids(erp: Any) -> None:
    assert await erp.fetchval(OVERSOLD) == 0
    assert await erp.fetchval("select count(*) from reservation") > 10
    for statement in (
        "insert into item (sku, name) values ('NEW-1', 'x')",
        "insert into customer (number, name) values ('C9999', 'x')",
        "insert into sales_order (number, customer_id) values ('SO-X', 1)",
        "insert into shipment (order_id, number) values (1, 'SH-X')",
    ):
        await erp.execute(statement)


async def test_every_event_of_the_day_happens_and_never_oversells(erp: Any) -> None:
    rng, happened = random.Random(11), set()  # noqa: S311
    actions = [*day.WEIGHTS, *(action for _, action in day.SCRIPT)]
    for _ in range(8):
        for action in actions:
            try:
                async with erp.transaction():
                    if await action(erp, rng) is not None:
                        happened.add(action)
            except day_sales.SecondThoughtsError:
                happened.add(action)
            assert await erp.fetchval(OVERSOLD) == 0, action.__name__
    assert happened == set(actions)


async def test_an_order_that_is_taken_back_leaves_nothing(erp: Any) -> None:
    before = await erp.fetchrow("select (select count(*) from sales_order), (select sum(quantity) from reservation)")
    with pytest.raises(day_sales.SecondThoughtsError, match="rolled back"):
        async with erp.transaction():
            await day_sales.take_back(erp, random.Random(1))  # noqa: S311
    after = await erp.fetchrow("select (select count(*) from sales_order), (select sum(quantity) from reservation)")
    assert tuple(after) == tuple(before)


async def test_a_promotion_is_one_dated_row_that_lies_ahead(erp: Any) -> None:
    async with erp.transaction():
        assert await day_office.promotion(erp, random.Random(1))  # noqa: S311
    rows = await erp.fetch(
        "select valid_from > now() as ahead, valid_to - valid_from as lasts from price where valid_from is not null"
    )
    assert [row["ahead"] for row in rows] == [True]
    assert rows[0]["lasts"].total_seconds() == day_office.PROMOTION_LASTS


async def test_the_day_runs_until_it_is_told_to_stop(database: Database, erp: Any) -> None:
    stop, events, tally = asyncio.Event(), list[str](), day.Tally()

    def told(event: str) -> None:
        events.append(event)
        if len(events) == 60:
            stop.set()

    async with asyncio.timeout(60):
        given = await day.run_day(database.dsn, speed=200, seed=5, stop=stop, on_event=told, tally=tally)
    assert given is tally
    assert len(events) == tally.committed + tally.rolled_back == 60
    assert all("\n" not in event for event in events)
    assert await erp.fetchval(OVERSOLD) == 0


async def test_the_same_seed_chooses_the_same_from_the_same_data(erp: Any) -> None:
    told: list[list[str]] = []
    for _ in range(2):
        rng, texts = random.Random(4), list[str]()  # noqa: S311
        transaction = erp.transaction()
        await transaction.start()
        for action in day.WEIGHTS:
            if action is not day_sales.take_back:
                texts.append(re.sub(r"S[OH]-\d+", "#", await action(erp, rng) or ""))  # sequences are not rolled back
        await transaction.rollback()
        told.append(texts)
    assert told[0] == told[1]


async def test_a_store_that_has_it_all_equals_the_erp_and_each_difference_is_found(
    database: Database, erp: Any, tmp_path: Path
) -> None:
    shop = DemoShop(tmp_path / "shop.db", "t")
    await shop.start()
    try:
        async with aiohttp.ClientSession(shop.url, headers={"Authorization": "Bearer t"}) as client:

            async def send(entity: str, version: int, documents: dict[str, dict[str, Any]]) -> None:
                body = [
                    {"id": name, "version": version, "changed_at": "2026-07-25T10:00:00Z", **fields}
                    for name, fields in documents.items()
                ]
                async with client.post(
                    f"/api/erpsyncd/{entity}", data=orjson.dumps({"documents": body}, default=str)
                ) as answer:
                    results = orjson.loads(await answer.read())["results"]
                assert [result for result in results if result["status"] != "ok"] == []

            for entity, table in ENTITIES.items():
                await send(entity, 1, await truth_of(erp, entity, table))
            result = await compare(database.dsn, shop, ENTITIES)
            assert result.differences == ()
            assert set(result.counts) == set(ENTITIES)
            assert min(result.counts.values()) >= 25

            await erp.execute("update stock_level set on_hand = on_hand + 1 where item_id = 1 and warehouse_id = 1")
            await erp.execute("update price set amount = amount + 0.01 where item_id = 2 and price_list_id = 1")
            await erp.execute("update item set active = false where id = 3")
            found = (await compare(database.dsn, shop, ENTITIES)).differences
        by_entity: dict[str, list[Difference]] = {}
        for difference in found:
            by_entity.setdefault(difference.entity, []).append(difference)
        assert [d.field for d in by_entity["price"]].count("amount") == 1
        assert [d.erp for d in by_entity["price"]].count("not there") == 5
        assert [d.field for d in by_entity["stock"]] == ["available", "available"]
        assert set(by_entity) == {"stock", "price", "content"}
    finally:
        await shop.close()


@pytest.mark.parametrize(
    ("missing", "left", "found"),
    [
        ("zero", {"available": 0}, 0),
        ("zero", {"available": "0.00"}, 0),
        ("zero", {"available": 3}, 1),
        ("unpublish", {"available": 0}, 1),
        ("keep", {"available": 3}, 0),
    ],
)
def test_what_the_erp_has_no_longer_is_judged_by_the_mapping(missing: str, left: dict[str, Any], found: int) -> None:
    assert len(differ("stock", {}, {"A|default": left}, missing)) == found

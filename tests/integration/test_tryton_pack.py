"""The Tryton pack on a small real Tryton database, which Tryton's own program has answered for.

Invariant under test: the storefront shows what Tryton says; rows that change as Tryton changes them reach it, also where the
log carries keys only; options mean what the documentation says.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon import config as configuration
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.e2e.tryton.stage import ENTITIES, differences, text_of
from tests.integration.harness import TOKEN, Daemon
from tests.integration.prepared import set_up, with_roles
from tests.integration.stage import Stage, sql_connection
from tests.waiting import until

pytestmark = pytest.mark.newest

DATA = Path(__file__).parent.parent / "data" / "tryton"
MOVE = """
insert into stock_move
 (company, product, unit, quantity, internal_quantity, from_location, to_location, state, {more})
select p.company, r.id, 1, {quantity}, {quantity}, f.id, t.id, '{state}', {values} from product_product r
cross join (select company from stock_move limit 1) p
join stock_location f on f.code = '{source}' join stock_location t on t.code = '{target}' where r.code = '{sku}'"""


def move(sku: str, quantity: int, source: str, target: str, state: str, **more: str) -> str:
    more = {"effective_date": "current_date - 1", **more}
    return MOVE.format(
        sku=sku, quantity=quantity, source=source, target=target, state=state,
        more=", ".join(more), values=", ".join(more.values()),
    )  # fmt: skip


@pytest.fixture
async def tryton(database: Database) -> Database:
    """The sample, restored."""
    sql = gzip.decompress((DATA / "tryton82.sql.gz").read_bytes()).decode()
    database.cluster.psql(sql, database.name)
    return database


@asynccontextmanager
async def running(erp: Database, folder: Path, options: str = "") -> AsyncIterator[Stage]:
    async with Shop(token=TOKEN) as shop:
        text = text_of(erp.dsn, shop.url, folder / "state.db", options)
        await set_up(erp, text, folder)
        text = with_roles(erp, text)
        made = Stage(await sql_connection(erp.dsn), shop, Daemon(folder, text), text)
        try:
            async with made.daemon:
                await made.daemon.until_loaded()
                yield made
        finally:
            made.erp.terminate()


async def stock_of(erp: Database, folder: Path, options: str) -> dict[tuple[str, str], Any]:
    """What the pack's query gives with these options, by sku and location."""
    text = text_of(erp.dsn, "http://127.0.0.1:9", folder / "s.db", options)
    stock = configuration.load_text(text, base=folder).entity["stock"]
    connection = await erp.connect()
    keys = [row[0] for row in await connection.fetch("select id from product_product")]
    rows = await connection.fetch(stock.sql, keys)
    return {(row["sku"], row["location"]): row["available"] for row in rows}


async def test_the_storefront_shows_what_tryton_said(tryton: Database, tmp_path: Path) -> None:
    said = json.loads((DATA / "answers.json").read_text())
    async with running(tryton, tmp_path) as stage:
        await until(lambda: not differences(said, stage.shop), within=40, what="\n".join(differences(said, stage.shop)))
        assert sum(map(len, said.values())) > 110


async def test_rows_that_tryton_changes_reach_the_storefront(tryton: Database, tmp_path: Path) -> None:
    async with running(tryton, tmp_path) as stage:
        erp, shop = stage.erp, stage.shop
        held = shop.documents("stock")["FIL03|default"]["available"]
        await erp.execute(move("FIL03", 9, "SUP", "STO", "done"))
        await stage.until_shown("stock", "FIL03|default", available=held + 9)
        await erp.execute(move("FIL03", 4, "STO", "OUT", "assigned"))
        await stage.until_shown("stock", "FIL03|default", available=held + 5)
        await erp.execute(move("FIL03", 3, "STO", "OUT", "draft"))  # wanted, and not set aside
        kit = shop.documents("stock")["KIT|default"]["available"]
        await erp.execute(
            move("WID-RED", 20, "SUP", "A1", "done")
        )  # a part of the kit, on a shelf below the storage zone
        await erp.execute(move("GAD", 10, "SUP", "STO", "done"))
        await stage.until_shown("stock", "KIT|default", available=kit + 10)

        gad = "(select id from product_product where code = 'GAD')"
        one = "(select id from party_party where code = 'C0001')"
        of_gad = f"(select template from product_product where id = {gad})"
        await erp.execute(f"update product_list_price set list_price = 88 where template = {of_gad}")
        await stage.until_shown("price", "GAD|default|USD|1", amount=88)
        await erp.execute(f"update product_cost_price set cost_price = 40 where product = {gad}")
        await stage.until_shown("price", "GAD|Projects|USD|1", amount="52.0000")  # its own formula: cost_price * 1.3
        await erp.execute(f"delete from product_price_list_line where product = {gad}")
        await stage.until_shown(
            "price", "GAD|Projects|USD|1", amount="19.4900"
        )  # the list below it, by category, less 0.5
        await erp.execute(f'delete from "product_template-product_category" where template = {of_gad}')
        await stage.until_shown("price", "GAD|Projects|USD|1", amount="78.7000")
        await erp.execute("update product_price_list set name = 'Trade' where name = 'Wholesale'")
        await stage.until_gone("price", "GAD|Wholesale|USD|1")
        await stage.until_shown("price", "GAD|Trade|USD|1", amount="79.2000")
        await stage.until_shown("customer_price_list", "C0001", price_list="Trade")

        await erp.execute(f"update party_party_credit_limit_amount set credit_limit_amount = 5 where party = {one}")
        await stage.until_shown("credit", "C0001", limit=5, hold=True)
        await erp.execute(f"delete from party_party_credit_limit_amount where party = {one}")
        await stage.until_shown("credit", "C0001", limit=200)

        await erp.execute(
            "update stock_shipment_out set shipping_reference = 'NEW-1' where shipping_reference = '1Z-999'"
        )
        await until(
            lambda: "NEW-1" in json.dumps(shop.documents("order_status")), within=40, what="the new tracking number"
        )
        await erp.execute("update ir_translation set value = 'Truc' where value = 'Bidule'")
        await stage.until_shown("content", "WID-RED|fr", title="Truc")
        await erp.execute("delete from product_image")
        await stage.until_shown("content", "WID-RED|fr", images=[])
        await erp.execute("update product_template set active = false where code = 'FIL'||'04'")
        await stage.until_gone("content", "FIL04|en")
        await stage.until_gone("price", "FIL04|default|USD|1")
        await stage.until_shown("stock", "FIL04|default", available=0)
        assert stage.daemon.events("quarantined") == []


async def test_a_dated_line_begins_and_ends_by_the_clock_of_the_company(tryton: Database, tmp_path: Path) -> None:
    async with running(tryton, tmp_path) as stage:
        line = "(select id from product_product where code = 'FIL05')"
        lists = "(select id from product_price_list where name = 'Wholesale')"
        today = "(now() at time zone (select timezone from company_company))::date"
        insert = (
            "insert into product_price_list_line (price_list, product, formula, sequence, start_date, end_date) values"
        )
        await stage.erp.execute("update product_price_list_line set sequence = 10")  # those without one come first
        await stage.erp.execute(f"{insert} ({lists}, {line}, '1.5', 0, {today} + 1, null)")
        await stage.erp.execute(f"{insert} ({lists}, {line}, '2.5', 1, null, {today} - 1)")
        await stage.erp.execute(f"{insert} ({lists}, {line}, '3.5', 2, {today}, {today})")
        await stage.until_shown("price", "FIL05|Wholesale|USD|1", amount="3.5000")
        price = configuration.load_text(stage.text, base=tmp_path).entity["price"]
        for days, found in ((0, False), (1, True)):
            keys = await stage.erp.fetch(
                price.poll[0].keys, *await stage.erp.fetchrow(f"select now(), now() + interval '{days} days'")
            )
            assert (len(keys) > 0) is found


async def test_options_decide_what_counts_as_sellable(tryton: Database, tmp_path: Path) -> None:
    base = await stock_of(tryton, tmp_path, "")
    by_warehouse = await stock_of(tryton, tmp_path, 'by_warehouse = true\nwarehouses = ["WH"]')
    assert {sku: n for (sku, place), n in by_warehouse.items() if place == "WH"} == {
        sku: n for (sku, _), n in base.items()
    }
    promised = await stock_of(tryton, tmp_path, "promised = true")
    assert base["GAD", "default"] - promised["GAD", "default"] == 4  # ordered, and nobody has set it aside
    await tryton.execute(move("FIL06", 5, "SUP", "IN", "done"))
    assert (await stock_of(tryton, tmp_path, ""))["FIL06", "default"] == 0
    assert (await stock_of(tryton, tmp_path, 'sellable = "warehouse"'))["FIL06", "default"] == 5
    await tryton.execute(
        move("FIL07", 5, "SUP", "STO", "draft", effective_date="null", planned_date="current_date + 3")
    )
    for days, counted in ((1, 0), (5, 5)):
        planned = await stock_of(tryton, tmp_path, f"forecast = true\nforecast_days = {days}")
        assert planned["FIL07", "default"] == counted


async def test_a_database_without_the_modules_is_read_with_their_options_off(tryton: Database, tmp_path: Path) -> None:
    await tryton.execute("""
        drop table product_component, sale_line_component, product_image, carrier, stock_package;
        alter table product_price_list drop parent;
        alter table product_price_list_line drop start_date, drop end_date, drop weight_uom, drop volume_uom;
        alter table product_template drop weight, drop weight_uom, drop volume, drop volume_uom, drop attribute_set;
        alter table product_product drop attributes;
        alter table stock_shipment_out drop shipping_reference, drop carrier;
        delete from product_price_list_line where formula like '%parent%'""")
    off = "kits = false\nimages = false\ncarriers = false\npackages = false\npromised = true\nforecast = true"
    async with running(tryton, tmp_path, off) as stage:
        assert all(stage.shop.documents(entity) for entity in ENTITIES)
        assert stage.daemon.events("quarantined") == stage.daemon.events("entity_stopped") == []

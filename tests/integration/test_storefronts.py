"""The daemon between an ERP and two storefronts at once, WooCommerce and Magento, each behind its double.

Invariant: what a shopper is shown follows the ERP's rows; one document that a store refuses holds no other.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database
from tests.doubles.magento import MagentoShop
from tests.doubles.woocommerce import WooShop
from tests.integration.harness import Daemon
from tests.integration.stage import STOCK, grounded
from tests.waiting import until

TOKEN = "shop-secret"
WITHIN = 60.0

ERP = """
create table item (id bigint primary key, sku text not null, on_hand int not null, amount numeric(12, 2) not null);
create table sale (id bigint primary key, number text not null, status text not null, tracking text);
insert into item select n, 'A' || n, n, n + 0.25 from generate_series(1, 12) n;
insert into sale values (1, '1', 'open', null);
create publication erpsyncd for table item, sale;
"""

CONFIG = """
[entity.price]
missing = "keep"
sql = "select id as key, sku, 'EUR' as currency, amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}]
[entity.order_status]
missing = "keep"
sql = '''select id as key, number as "order", status, case when tracking is null then '[]'::json else json_build_array(
  json_build_object('id', 'S1', 'status', 'sent', 'carrier', 'DHL', 'tracking_number', tracking,
  'lines', json_build_array(json_build_object('sku', 'A1', 'quantity', '1')))) end as fulfilments
  from sale where id = any($1)'''
all_keys = "select id from sale where id > $1 order by id limit $2"
watch = [{{ table = "sale", key = "id" }}]

[store.woo]
adapter = "woocommerce"
url = "{woo}"
token = "{token}"
entities = ["stock", "price", "order_status"]
brake = false
options = {{ consumer_key = "ck_shop", currency = "EUR", order = "number", statuses = {{ open = "processing" }} }}
[store.magento]
adapter = "magento"
url = "{magento}"
token = "{token}"
entities = ["stock", "price", "order_status"]
brake = false
options = {{ currency = "EUR", statuses = {{ open = "processing", delivered = "complete" }} }}
"""


@pytest.mark.newest
async def test_two_storefronts_follow_the_erp(database: Database, tmp_path: Path) -> None:
    async with WooShop(token=TOKEN) as woo, MagentoShop(token=TOKEN) as magento:
        skus = [f"A{n}" for n in range(1, 13)]
        parent = woo.product("P", kind="variable")
        for n, sku in enumerate(skus):
            woo.product(sku, **({} if n % 2 else {"kind": "variation", "parent": parent["id"]}))
        magento.products.update(skus)
        theirs, order = woo.order(number="1"), magento.order("1", ("A1", 1))
        erp = await asyncpg.connect(database.dsn)
        await erp.execute(ERP)
        shops = CONFIG.format(woo=woo.root, magento=magento.root, token=TOKEN)
        text = grounded(database.dsn, tmp_path / "state.db") + STOCK + shops

        async def equal() -> bool:
            rows = await erp.fetch("select sku, on_hand, amount::text from item where sku = any($1)", skus)
            want = {row["sku"]: (row["on_hand"], row["amount"]) for row in rows}
            one = {p["sku"]: (p["stock_quantity"], p["regular_price"]) for p in woo.products.values()}
            two = {sku: row["quantity"] for (sku, _), row in magento.stock.items()}
            prices = {sku: float(price) for (sku, _), price in magento.base.items()}
            return (
                all(one[sku] == value for sku, value in want.items())
                and two == {sku: value[0] for sku, value in want.items()}
                and prices == {sku: float(value[1]) for sku, value in want.items()}
            )

        daemon = Daemon(tmp_path / "daemon", text)
        async with daemon:
            await until(equal, within=WITHIN, what="both stores show what the ERP says")
            await erp.execute("update item set on_hand = on_hand * 10, amount = amount + 1")
            # an article that neither store has is set aside and holds nobody
            await erp.execute(
                "insert into item values (99, 'NEW', 1, 1); update sale set status = 'delivered', tracking = 'T1'"
            )
            await until(equal, within=WITHIN, what="both stores follow")
            await until(
                lambda: (theirs["status"], order["status"]) == ("completed", "complete"),
                within=WITHIN,
                what="the order is delivered in both stores",
            )

            async def set_aside() -> bool:
                stores = (await daemon.status())["stores"]
                return all(
                    stores[name]["entities"][entity]["quarantined"] == 1
                    and not stores[name]["entities"][entity]["pending"]
                    for name in ("woo", "magento")
                    for entity in ("stock", "price")
                )

            await until(set_aside, within=WITHIN, what="the unknown article is quarantined in both stores")
            assert len(magento.shipments) == 1
            assert magento.shipments[0]["tracks"][0]["track_number"] == "T1"
            assert not woo.overlaps
            assert not magento.overlaps
        assert TOKEN not in daemon.output()
        await asyncio.wait_for(erp.close(), 10)

"""Prices of a job through Magento's asynchronous bulk interface, and a kill -9 while the shop's consumer stands still.

Invariant: what the killed process gave to the consumer is never what a shopper sees last.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database
from tests.doubles.magento import MagentoShop
from tests.integration.harness import Daemon
from tests.integration.stage import STOCK, grounded
from tests.waiting import until

TOKEN = "shop-secret"
WITHIN = 60.0
COUNT = 250

ERP = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null, amount int not null);
insert into item select n, 'A' || n, n, n from generate_series(1, {COUNT}) n;
create publication erpsyncd for table item;
"""

CONFIG = """
[entity.price]
lane = "batch"
missing = "keep"
sql = "select id as key, sku, 'EUR' as currency, amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}]
[batch.prices]
entity = "price"
every = "2s"

[store.shop]
adapter = "magento"
url = "{url}"
token = "{token}"
entities = ["stock", "price"]
brake = false
options = {{ currency = "EUR", async_bulk = true }}
"""


@pytest.mark.newest
async def test_a_killed_daemon_s_open_bulk_overtakes_nothing(database: Database, tmp_path: Path) -> None:
    async with MagentoShop(token=TOKEN) as shop:
        shop.products.update(f"A{n}" for n in range(1, COUNT + 1))
        shop.consumes = False
        erp = await asyncpg.connect(database.dsn)
        await erp.execute(ERP)
        text = grounded(database.dsn, tmp_path / "state.db") + STOCK + CONFIG.format(url=shop.root, token=TOKEN)

        def stocked(add: int) -> bool:
            return {key[0]: row["quantity"] for key, row in shop.stock.items()} == {
                f"A{n}": n + add for n in range(1, COUNT + 1)
            }

        def asked() -> int:
            return sum(call.entity.startswith("bulk/") for call in shop.calls)

        async with Daemon(tmp_path / "daemon", text) as daemon:
            await until(lambda: shop.bulks and asked(), within=WITHIN, what="the job's prices are with the shop")
            [operations] = shop.bulks.values()
            assert len(operations) > 100
            await daemon.kill()
            await erp.execute("update item set on_hand = on_hand + 1000, amount = amount + 1000")
            before = asked()
            await daemon.start()
            await until(lambda: asked() > before, within=WITHIN, what="the open bulk is asked for after the kill")
            await until(lambda: stocked(1000), within=WITHIN, what="stock goes on meanwhile")
            assert (shop.base, len(shop.bulks)) == ({}, 1)
            shop.consumes = True

            def newest() -> bool:
                prices = {sku: float(price) for (sku, _), price in shop.base.items()}
                return prices == {f"A{n}": n + 1000 for n in range(1, COUNT + 1)}

            await until(newest, within=WITHIN, what="the shop shows the newest prices")

            async def settled() -> bool:
                queue = await daemon.queue("price", "shop")
                return not queue["pending"] + queue["claimed"]

            await until(settled, within=WITHIN, what="every price is acknowledged")
            shop.consume(10 * COUNT)
            assert newest()
            assert TOKEN not in daemon.output()
        await asyncio.wait_for(erp.close(), 10)

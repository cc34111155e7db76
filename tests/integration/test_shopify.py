"""The daemon between an ERP and a Shopify shop: stock, orders and content, over a kill in the middle of a bulk operation.

Invariant: what the shop shows is what the ERP says at the end; no image is uploaded twice, no operation runs beside another
one, and a comparison then finds what was changed by hand and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.doubles.shopify import ShopifyShop
from tests.integration.harness import LATEST, Daemon
from tests.integration.stage import STOCK, grounded, sql_connection
from tests.waiting import until

TOKEN = "shpat_secret"
KEYS, PICTURED = 80, 12

ERP = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null, title text not null, image text);
insert into item select n, 'A' || n, n, 'Title ' || n from generate_series(1, {KEYS}) n;
create table sale (id bigint primary key, number text not null, status text not null, parcel text);
insert into sale values (1, '1001', 'open', null);
create publication erpsyncd for table item, sale;
"""

CONFIG = """
[entity.order_status]
missing = "keep"
sql = '''select id as key, number as "order", status, case when parcel is null then '[]'::json else json_build_array(
  json_build_object('id', 'S1', 'status', 'delivered', 'carrier', 'DHL', 'tracking_number', parcel,
  'lines', json_build_array(json_build_object('sku', 'A1', 'quantity', '2')))) end as fulfilments
  from sale where id = any($1)'''
all_keys = "select id from sale where id > $1 order by id limit $2"
watch = [{{ table = "sale", key = "id" }}]
[entity.content]
key_type = "bigint"
sql = '''select id as key, sku, title, '<p>' || title as description_html, json_build_object('n', id) as attributes,
  case when image is null then '[]'::json else json_build_array(json_build_object('sha256', image, 'alt', sku)) end as images
  from item where id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}]
images = {{ folder = "{folder}/images" }}
[batch.texts]
entity = "content"
every = "30d"
[batch.catalogue]
entity = "content"
rebuild = true

[store.main]
adapter = "shopify"
url = "{url}"
token = "{token}"
entities = ["stock", "order_status", "content"]
brake = false
options = {{ locations = {{ default = 71 }} }}
"""


@pytest.mark.newest
async def test_a_shopify_shop_follows_the_erp_over_a_kill_in_a_bulk_operation(
    database: Database, tmp_path: Path
) -> None:
    erp = await sql_connection(database.dsn)
    await erp.execute(ERP)
    (tmp_path / "images").mkdir()
    for number in range(1, PICTURED + 1):
        body = b"\x89PNG\r\n\x1a\n" + b"%d" % number * 100
        name = hashlib.sha256(body).hexdigest()
        (tmp_path / "images" / f"{name}.png").write_bytes(body)
        await erp.execute("update item set image = $1 where id = $2", name, number)
    async with ShopifyShop(token=TOKEN) as shop:
        for number in range(1, KEYS + 1):
            shop.add(f"A{number}").levels["gid://shopify/Location/71"] = {"available": 0, "on_hand": 0}
        order = shop.add_order("#1001", {"A1": 5})
        text = grounded(database.dsn, tmp_path / "state.db") + STOCK
        daemon = Daemon(tmp_path / "daemon", text + CONFIG.format(folder=tmp_path, url=shop.root, token=TOKEN))

        async def equal() -> bool:
            want = {row["sku"]: row["title"] for row in await erp.fetch("select sku, title from item")}
            return want == {v.sku: shop.products[v.product].texts["title"] for v in shop.variants.values()}

        shop.bulk_looks = 10_000
        async with daemon:
            await until(lambda: len(shop.operations) == 1, within=LATEST, what="a bulk operation is under way")
            await until(
                lambda: all(v.levels["gid://shopify/Location/71"]["available"] for v in shop.variants.values()),
                within=LATEST,
                what="stock goes on meanwhile",
            )
            await daemon.kill()
            await daemon.start()
            await daemon.until_event("ready")
            await until(lambda: bool(shop.documents.get("erpsyncdBulkFind")), within=LATEST, what="it is looked for")
            assert len(shop.operations) == 1
            shop.bulk_looks = shop.operations[0].looks = 1
            await until(equal, within=LATEST, what="the shop shows all content")
            assert [len(operation.lines) for operation in shop.operations] == [KEYS], "it did not run again"
            assert Counter(shop.uploads).most_common(1)[0][1] == 1
            assert len(shop.files) == PICTURED

            await erp.execute("update item set title = title || '!'; update sale set status = 'shipped', parcel = 'T1'")
            await until(
                lambda: [one.display for one in order.fulfilments] == ["DELIVERED"], within=LATEST, what="delivered"
            )
            ended = await daemon.command("batch", "run", "texts")
            assert ended.code == 0, ended.output
            assert await equal()
            assert (len(shop.operations), shop.at_once) == (2, 1)

            assert (await daemon.command("reconcile")).code == 0, "nothing differs"
            product = shop.products[shop.by_sku("A3").product]
            product.texts["title"], product.media = "By hand", []
            order.fulfilments[0].tracking[0]["number"] = "X"
            ended = await daemon.command("reconcile", "content", "--json")
            assert ended.code == 1
            assert [one["id"] for one in json.loads(ended.output)["queues"][0]["documents"]] == ["A3|default"]
            assert (await daemon.command("reconcile", "order_status", "--fix")).code == 1
            assert (await daemon.command("reconcile", "content", "--fix")).code == 1
            ended = await daemon.command("batch", "run", "texts")
            assert ended.code == 0, ended.output
            await until(equal, within=LATEST, what="it is mended")
            await until(lambda: order.fulfilments[0].tracking[0]["number"] == "T1", within=LATEST, what="and the order")
            assert len(shop.files) == sum(name.endswith(".png") for name in shop.uploads) == PICTURED
        assert TOKEN not in daemon.output()
    await erp.close()

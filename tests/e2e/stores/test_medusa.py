"""Odoo's own tables and a real Medusa: what a shopper sees follows Odoo, whatever happens to the shop on the way.

Invariant under test: no change is lost, none is shown twice or half, and one bad row holds no other.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

import asyncpg
import pytest
import pytest_asyncio

from daemon.demo.embedded import Cluster
from daemon.demo.setting import free_port
from tests.conftest import Database
from tests.e2e.stores import odoo_office as odoo
from tests.e2e.stores.medusa_owner import add_articles, add_categories, add_customers, open_shop
from tests.e2e.stores.medusa_shop import Answer, Medusa, web_number
from tests.e2e.stores.scene import Documents, Scene
from tests.integration.harness import Daemon
from tests.integration.odoo import ENTITIES, Reader, oracle, restore
from tests.integration.prepared import set_up, with_roles
from tests.integration.stage import sql_connection
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.newest, pytest.mark.timeout(300)]

LISTS = ("Wholesale", "VIP")
VIP, TRADE = "C0001", "C0002"
"""A customer of each list."""
PARTNER = {VIP: 7, TRADE: 8}
LAST = "BULK0150"
"""Articles of the sample after this one are left out."""
OPTIONS = 'order_number = "client_order_ref"\nlocales = ["en_US"]\nimage_url = "https://erp.example"'
CONFIG = """
[erp]
dsn = "{dsn}"
pack = "odoo"
canary = "1s"
[erp.options]
{options}
[entity.content]
lane = "fast"
[state]
path = "{state}"
[status]
listen = "127.0.0.1:{port}"
[store.main]
adapter = "medusa"
url = "{url}"
token = "{token}"
entities = ["stock", "price", "credit", "order_status", "content"]
brake = false
batch_size = 300
timeout = "30s"
[store.main.options]
locations = {{ WH = "WH" }}
price_lists = {{ {lists} }}
customer = "metadata:erp_number"
order_prefix = "WEB-"
statuses = {{ shipped = "delivered" }}
locale = "en_US"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(erp: Database, shops: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """The shop has Odoo's articles, categories and customers, the daemon has loaded them."""
    folder = tmp_path_factory.mktemp("stores")
    await restore(erp)
    sql = await sql_connection(erp.dsn)
    try:
        await odoo.only(sql, LAST)
        async with Medusa(shops, folder / "medusa") as shop, Reader(erp, OPTIONS) as reader:
            await asyncio.to_thread(shop.make_database)
            with shop.server:
                await open_shop(shop, "WH", LISTS)
                await add_categories(shop, [row[0] for row in await sql.fetch("select name from product_category")])
                skus = await sql.fetch(
                    "select default_code from product_product where default_code is not null and active"
                )
                await add_articles(shop, [row[0] for row in skus])
                await add_customers(shop, [(VIP, "VIP"), (TRADE, "Wholesale")])
                lists = ", ".join(f'{title} = "{shop.place[title]}"' for title in LISTS)
                port = free_port(0, strict=False)  # commands look for the daemon there
                text = CONFIG.format(
                    dsn=erp.dsn,
                    options=OPTIONS,
                    state=folder / "state.db",
                    port=port,
                    url=shop.server.url,
                    token=shop.key,
                    lists=lists,
                )
                await set_up(erp, text, folder, full_identity=True)
                text = with_roles(erp, text)

                async def said() -> Documents:
                    found = {entity: await reader.documents(entity) for entity in ENTITIES}
                    for fields in found["content"].values():
                        fields["categories"] = sorted(fields["categories"])
                    return found

                made = Scene(erp.dsn, sql, shop, Daemon(folder, text), said)
                made.daemon.config.chmod(0o600)
                async with made.daemon:
                    await made.daemon.until_loaded(within=180)
                    yield made
                    assert shop.key not in made.daemon.output()
    finally:
        sql.terminate()


def medusa(at: Scene) -> Medusa:
    assert isinstance(at.shop, Medusa)
    return at.shop


async def seen(at: Scene, sku: str, what: str, token: str = "") -> object:
    """What a shopper sees on an article's page."""
    value = (await medusa(at).page(sku, token))[what]
    return Decimal(str(value)) if isinstance(value, int | float) else value


async def test_the_first_load_shows_what_odoo_itself_says(at: Scene) -> None:
    await at.agree("the first load")
    shown, said = await medusa(at).documents(), oracle()
    stock = {row["sku"]: Decimal(row["free"]).to_integral_value(ROUND_FLOOR) for row in said["stock"]}
    mine = {id_.partition("|")[0]: fields["available"] for id_, fields in shown["stock"].items()}
    assert len(mine) > 150
    assert mine == {sku: stock[sku] for sku in mine}
    prices = {
        f"{row['sku']}|{row['list'] or 'default'}|USD|1": Decimal(row["amount"])
        for row in said["price"]
        if Decimal(row["min_quantity"]) == 1
    }
    asked = shown["price"].keys() & prices.keys()
    assert len(asked) > 150
    digits = Decimal("0.0001")  # of the file
    assert {id_: shown["price"][id_]["amount"].quantize(digits, ROUND_HALF_UP) for id_ in asked} == {
        id_: prices[id_].quantize(digits) for id_ in asked
    }
    doctor = await at.command("doctor")
    assert doctor.code in (0, 1), doctor.out


async def test_a_count_is_what_the_shopper_can_buy(at: Scene) -> None:
    for quantity in (0, 40):
        await odoo.count(at.erp, "BULK0110", quantity)
        await at.sees(lambda: seen(at, "BULK0110", "stock"), quantity)
    await at.agree("two counts")


async def test_a_customer_who_logged_in_sees_the_price_list_and_a_guest_the_sales_price(at: Scene) -> None:
    sku, token = "BULK0011", await medusa(at).log_in(VIP)
    await odoo.list_price(at.erp, sku, "14.40")
    await odoo.fixed_price(at.erp, sku, "VIP", "12.25")
    await at.sees(lambda: seen(at, sku, "price"), Decimal("14.4"))
    await at.sees(lambda: seen(at, sku, "price", token), Decimal("12.25"))
    rule = await odoo.fixed_price(at.erp, sku, "VIP", "11", begins="2 seconds")  # by the clock alone
    await at.sees(lambda: seen(at, sku, "price", token), 11)
    await at.erp.execute("delete from product_pricelist_item where id = $1", rule)
    await at.sees(lambda: seen(at, sku, "price", token), Decimal("12.25"))
    await at.agree("rules that came and went")


async def test_credit_follows_the_limit_and_an_order(at: Scene) -> None:
    await at.erp.execute("""update res_partner set credit_limit = '{"1": 2500.0}' where id = $1""", PARTNER[TRADE])
    await at.agree("another limit")
    shown = (await medusa(at).documents())["credit"][TRADE]
    assert (Decimal(shown["limit"]), shown["hold"]) == (2500, False)


async def test_a_web_order_goes_through_odoo_until_the_customer_sees_it_delivered(at: Scene) -> None:
    shop, parcels = medusa(at), [("WID-RED", 3), ("GAD2", 2)]
    token = await shop.log_in(VIP)
    order = await shop.order(token, dict(parcels))
    first, second = await odoo.take_in(at.erp, PARTNER[VIP], web_number(order["display_id"]), parcels)
    await at.agree("Odoo took the order in")  # of stock too: reserved there and here

    async def parcels_seen() -> tuple[int, bool]:
        bought = await shop.bought(token, order["id"])
        sent = [parcel for parcel in bought["fulfillments"] if parcel["shipped_at"]]
        return len(sent), bought["fulfillment_status"] == "delivered"

    await odoo.ship(at.erp, first)
    await at.sees(parcels_seen, (1, False))
    await odoo.ship(at.erp, second)
    await at.sees(parcels_seen, (2, True))
    await at.agree("the order is delivered")


async def test_a_shop_that_is_killed_while_orders_ship_has_each_fulfilment_once(at: Scene) -> None:
    shop, sku = medusa(at), "WID-BLU"
    token = await shop.log_in(TRADE)
    orders: dict[str, int] = {}
    for _ in range(5):
        order = await shop.order(token, {sku: 1})
        [picking] = await odoo.take_in(at.erp, PARTNER[TRADE], web_number(order["display_id"]), [(sku, 1)])
        orders[order["id"]] = picking
    await at.agree("five orders")
    for picking in orders.values():
        await odoo.ship(at.erp, picking)

    async def made() -> int:
        return sum([len((await shop.bought(token, order))["fulfillments"]) for order in orders])

    await until(made, within=60, every=0.01, what="a fulfilment is made")
    await at.kill_shop()
    await at.start_shop()

    async def but_stock() -> list[str]:
        return [line for line in await at.differences() if not line.startswith(f"stock {sku}|")]

    await at.sees(but_stock, [])
    await at.nothing_waits()
    for order in orders:
        bought = await shop.bought(token, order)
        # the order's own status may stay behind a kill between a delivery and its entry there
        assert [bool(each["delivered_at"]) for each in live(bought)] == [True]
    # Medusa makes a fulfilment in several transactions: a kill between them leaves its level beside its reservations
    mended = await at.command("reconcile", "stock", "--fix")
    assert mended.code in (0, 1), mended.err
    await at.agree("the comparison")


def live(bought: Answer) -> list[Answer]:
    """The fulfilments of an order that were not canceled."""
    return [each for each in bought["fulfillments"] if each["canceled_at"] is None]


@pytest.mark.parametrize("shipped", [False, True])
async def test_a_fulfilment_that_a_kill_left_half_made_becomes_whole(at: Scene, shipped: bool) -> None:
    """The orders of the kill before meet this now and then; here it is made by hand."""
    shop, sku = medusa(at), "WID-BLU"
    token = await shop.log_in(TRADE)
    order = await shop.order(token, {sku: 2})
    web = web_number(order["display_id"])
    [picking] = await odoo.take_in(at.erp, PARTNER[TRADE], web, [(sku, 2)])
    await at.agree("an order")
    [shipment] = (await at.truth())["order_status"][web]["fulfilments"]
    await shop.halve(order["id"], shipment["id"], shipped=shipped)
    await odoo.ship(at.erp, picking)

    async def far() -> tuple[str, int]:
        bought = await shop.bought(token, order["id"])
        return bought["fulfillment_status"], len(live(bought))

    await at.sees(far, ("delivered", 1))
    await at.nothing_waits()
    mended = await at.command("reconcile", "stock", "--fix")  # one that is made anew took its pieces off twice
    assert mended.code in (0, 1), mended.err
    await at.agree("the comparison")


async def test_a_page_shows_text_and_picture_of_odoo(at: Scene) -> None:
    await odoo.describe(at.erp, "CAB", "Cable, per metre", "Copper & rubber\nsold by the metre")
    await at.sees(lambda: seen(at, "CAB", "title"), "Cable, per metre")
    await at.sees(lambda: seen(at, "CAB", "description"), "Copper &amp; rubber<br>sold by the metre")
    await at.erp.execute(
        """update ir_attachment set checksum = 'feedbead' || substr(checksum, 9)
            where res_model = 'product.template' and res_id = 1"""
    )

    async def pictures() -> list[str]:
        return [url.partition("=")[2] for url in (await medusa(at).page("WID-RED"))["pictures"]]

    await at.sees(pictures, ["feedbead"])
    await at.agree("texts and a picture")


async def test_parallel_changes_of_one_product_leave_the_last_truth(at: Scene) -> None:
    sku = "BULK0120"

    async def someone(number: int) -> None:
        rng = random.Random(number)  # noqa: S311 -- repeatable
        connection = await asyncpg.connect(at.dsn)
        try:
            for _ in range(25):
                await odoo.count(connection, sku, rng.randrange(500))
                await odoo.list_price(connection, sku, f"{rng.randrange(1, 9999) / 100:.2f}")
                await odoo.describe(connection, sku, f"Bulk {rng.randrange(10**6)}", "changed")
        finally:
            await connection.close()

    await asyncio.gather(*map(someone, range(4)))
    await at.agree("parallel changes")
    await at.nothing_waits()


async def test_one_poison_row_in_a_batch_holds_no_other(at: Scene) -> None:
    stranger, dear = "BULK0030-X", "BULK0031"
    item = await odoo.product(at.erp, "BULK0030")
    new = None
    try:
        async with at.erp.transaction():
            await at.erp.execute("update stock_quant set quantity = quantity + 7 where location_id = $1", odoo.STOCK)
            await at.erp.execute("update product_template set list_price = list_price + 1")
            await odoo.list_price(at.erp, dear, "1234567890123456.789")  # more digits than the shop keeps
            new = await odoo.copy(at.erp, "product_product", item, default_code=stranger, combination_indices="0")

        async def others() -> list[str]:
            return [line for line in await at.differences() if f" {dear}|" not in line and stranger not in line]

        await at.sees(others, [])

        async def aside() -> list[str]:
            listed = await at.command("quarantine", "list", "--json")
            assert listed.code in (0, 1), listed.err
            return sorted(f"{key['entity']} {key['code']}" for key in json.loads(listed.out)["keys"])

        unmapped = [f"{entity} E-STORE-UNMAPPED" for entity in ("content", "price")]
        await at.sees(aside, sorted([*unmapped, "price E-STORE-UNSENDABLE", "stock E-STORE-UNMAPPED"]))
    finally:
        await odoo.list_price(at.erp, dear, "21.10")
        await at.erp.execute("delete from product_product where id = $1", new)
    await at.agree("the rows were corrected")
    await at.nothing_waits()


async def test_a_shop_that_is_killed_at_work_and_comes_back_shows_the_truth(at: Scene) -> None:
    await at.erp.execute("update product_template set list_price = list_price + 2")
    async with at.killed_at_work("price"):
        await at.erp.execute("update stock_quant set quantity = quantity + 10 where location_id = $1", odoo.STOCK)
        await at.daemon.until_event("store_lost")
        await at.erp.execute("update product_template set list_price = list_price + 0.5")


async def test_reconcile_finds_and_mends_what_a_person_changed_in_the_shop(at: Scene) -> None:
    await at.agree("before")
    sound = await at.command("reconcile", "--json")
    assert sound.code == 0, sound.out
    shop, sku = medusa(at), "BULK0040"
    variant = await shop.variant(sku)
    place = (await shop.admin("stock-locations"))["stock_locations"][0]["id"]
    item, product = variant["inventory_items"][0]["inventory_item_id"], variant["product_id"]
    await shop.admin(f"inventory-items/{item}/location-levels/{place}", {"stocked_quantity": 4711})
    await shop.admin(
        f"products/{product}/variants/{variant['id']}", {"prices": [{"currency_code": "usd", "amount": 1}]}
    )
    await shop.admin(f"products/{product}", {"description": "BUY NOW"})
    customers = (await shop.admin("customers", fields="metadata"))["customers"]
    id_ = next(one["id"] for one in customers if (one["metadata"] or {}).get("erp_number") == VIP)
    await shop.admin(f"customers/{id_}", {"metadata": {"erpsyncd_credit": ""}})
    assert len(await at.differences()) == 4
    found = await at.command("reconcile", "--fix", "--json")
    assert found.code == 1, found.out
    queues = {queue["entity"]: queue["differ"] for queue in json.loads(found.out)["queues"]}
    assert queues == {"stock": 1, "price": 1, "credit": 1, "order_status": 0, "content": 1}
    await at.agree("the comparison")
    assert (await at.command("reconcile")).code == 0

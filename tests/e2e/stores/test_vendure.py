"""The demo ERP and a real Vendure: what a shopper sees follows the ERP, whatever happens to the shop on the way.

Invariant under test: no change is lost, none is shown twice or half, and one bad row holds no other.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from daemon.demo.embedded import Cluster
from daemon.demo.setting import free_port
from tests.conftest import Database
from tests.e2e.stores.demo_office import picture, send, set_price, take_in, write
from tests.e2e.stores.scene import Documents, Scene
from tests.e2e.stores.vendure_owner import USER, USER_PASSWORD, add_articles, add_customers, open_shop
from tests.e2e.stores.vendure_shop import LISTS, Vendure
from tests.integration.harness import Daemon
from tests.integration.prepared import demo_erp, set_up, with_roles
from tests.integration.stage import configured, sql_connection, truth
from tests.waiting import until

FIND = """query($sku: String!) { productVariants(options: { filter: { sku: { eq: $sku } } }) {
  items { product { id } } } }"""
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.newest, pytest.mark.timeout(300)]

ENTITIES = ("stock", "price", "credit", "order_status", "content")
OPTIONS = """
[store.main.options]
auth = "login"
user = "{user}"
price_lists = {{ {lists} }}
customer = "erpNumber"
order_note = "erpOrder"
product_note = "erpContent"
locales = {{ en = "en", de = "de" }}
statuses = {{ confirmed = "PaymentSettled", picking = "PaymentSettled" }}

[store.main.options.credit]
limit = "creditLimit"
balance = "creditBalance"
available = "creditAvailable"
currency = "creditCurrency"
hold = "creditHold"
"""


def text_of(dsn: str, shop: Vendure, state: Path, pictures: Path) -> str:
    """The configuration that the project ships, for this shop."""
    text = configured(dsn, shop.admin_url, state, token=USER_PASSWORD)
    text = text.replace('adapter = "http"', 'adapter = "vendure"')
    text = text.replace(
        '"127.0.0.1:0"', f'"127.0.0.1:{free_port(0, strict=False)}"'
    )  # commands look for the daemon there
    text = text.replace("'url', m.url", "'url', nullif(m.url, '')")  # pictures are files here
    # categories follow rules of the shop's, and it has no fields for these attributes
    more = f'owner = {{ categories = "store", attributes = "store" }}\n[entity.content.images]\nfolder = "{pictures}"\n'
    text = text.replace("[[entity.content.watch]]", f"{more}[[entity.content.watch]]", 1)
    text = text.replace(
        "l.code as price_list", "case l.code when 'RETAIL' then 'default' else l.code end as price_list"
    )
    # Vendure cannot take away a price in the channel's own currency
    text = re.sub(r'^missing = "unpublish" ', 'missing = "keep" ', text, flags=re.MULTILINE)
    lists = ", ".join(f'{name} = "{token}"' for name, token in shop.channels.items() if name != "default")
    return text + OPTIONS.format(user=USER, lists=lists)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(erp: Database, shops: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """The shop has the ERP's articles and customers, the daemon has loaded them."""
    folder = tmp_path_factory.mktemp("stores")
    sql = await sql_connection(erp.dsn)
    try:
        await demo_erp(erp)
        # no orders from before the shop was there, and no quantity prices, which Vendure does not have
        await sql.execute("delete from sales_order; delete from price where min_quantity > 1; delete from item_image")
        async with Vendure(shops, folder / "vendure") as shop:
            with shop.server:
                await open_shop(shop)
                await add_articles(shop, await sql.fetch("select sku, name from item order by id"))
                await add_customers(shop, await sql.fetch("select number, name from customer order by id"))
                text = text_of(erp.dsn, shop, folder / "state.db", pictures_of(folder))
                await set_up(erp, text, folder)
                text = with_roles(erp, text)

                async def said() -> Documents:
                    return {name: of for name, of in (await truth(sql, text)).items() if name in ENTITIES}

                made = Scene(erp.dsn, sql, shop, Daemon(folder, text), said)
                made.daemon.config.chmod(0o600)
                async with made.daemon:
                    await made.daemon.until_loaded(within=120)
                    yield made
                    assert USER_PASSWORD not in made.daemon.output()
    finally:
        sql.terminate()


def pictures_of(folder: Path) -> Path:
    """Where the ERP keeps its pictures."""
    place = folder / "pictures"
    place.mkdir(exist_ok=True)
    return place


def vendure(at: Scene) -> Vendure:
    assert isinstance(at.shop, Vendure)
    return at.shop


async def cents(at: Scene, sku: str, name: str = "default", token: str = "") -> int:
    """The price on an article's page."""
    return int((await vendure(at).page(sku, name, token))["price"])


async def test_the_first_load_shows_every_document(at: Scene) -> None:
    await at.agree("the first load")
    doctor = await at.command("doctor")
    assert doctor.code in (0, 1), doctor.out


async def test_a_sold_out_article_is_sold_out_for_the_shopper(at: Scene) -> None:
    sku = "HAM-ENG-500"
    await at.erp.execute("update stock_level set on_hand = 0 where item_id = (select id from item where sku = $1)", sku)

    async def level() -> str:
        return str((await vendure(at).page(sku))["stockLevel"])

    await at.sees(level, "OUT_OF_STOCK")
    await at.erp.execute(
        "update stock_level set on_hand = 40 where item_id = (select id from item where sku = $1)", sku
    )
    await at.sees(level, "IN_STOCK")
    await at.agree("stock of one article")


async def test_a_customer_who_logged_in_sees_the_price_list_and_a_guest_the_retail_price(at: Scene) -> None:
    sku = "PLR-COMB-180"
    number = await at.erp.fetchval("select number from customer order by id limit 1")
    token = await vendure(at).log_in(number, "TRADE")
    for name, amount in (("TRADE", "19.99"), ("default", "24.50"), ("EXPORT", "28.10")):
        await set_price(at.erp, sku, name, Decimal(amount))
    await at.sees(lambda: cents(at, sku, "TRADE", token), 1999)
    await at.sees(lambda: cents(at, sku), 2450)
    await at.sees(lambda: cents(at, sku, "EXPORT"), 2810)
    assert (await vendure(at).page(sku, "EXPORT"))["currencyCode"] == LISTS["EXPORT"]
    await at.agree("three price lists")


async def test_a_price_that_begins_by_the_clock_alone_is_shown(at: Scene) -> None:
    sku = "MSR-CAL-150"
    await at.erp.execute(
        """insert into price (item_id, price_list_id, amount, valid_from)
           select i.id, l.id, 33.30, now() + interval '2 seconds' from item i, price_list l
            where i.sku = $1 and l.code = 'RETAIL'""",
        sku,
    )
    await at.sees(lambda: cents(at, sku), 3330)


async def test_credit_follows_invoices_payments_and_a_hold(at: Scene) -> None:
    customer = await at.erp.fetchval("select max(id) from customer")
    await at.erp.execute("insert into invoice (customer_id, amount) values ($1, 123.45)", customer)
    await at.agree("an invoice")
    await at.erp.execute("update invoice set paid = amount where customer_id = $1", customer)
    await at.erp.execute("update customer set on_hold = true, credit_limit = 0.01 where id = $1", customer)
    await at.agree("payments and a hold")


async def test_a_web_order_goes_through_the_erp_until_the_customer_sees_it_delivered(at: Scene) -> None:
    number = await at.erp.fetchval("select number from customer order by id limit 1")
    shop, first, second = vendure(at), {"WRN-RAT-13": 3}, {"SDR-BIT-SET32": 2}
    lines = {**first, **second}
    token = await shop.log_in(number, "default")
    code = await shop.order(token, lines)
    order = await take_in(at.erp, number, code, lines)
    await at.agree("the ERP took the order in")  # of stock too: reserved there, allocated here
    await at.erp.execute("update sales_order set status = 'picking' where id = $1", order)
    await send(at.erp, order, "OUT-1", first, "picking")

    async def seen() -> tuple[str, list[tuple[str, str]]]:
        order = await shop.bought(token, code)
        return order["state"], sorted((one["state"], one["trackingCode"]) for one in order["fulfillments"])

    await at.sees(seen, ("PartiallyShipped", [("Shipped", "OUT-1-T")]))
    await send(at.erp, order, "OUT-2", second, "shipped")
    await at.sees(seen, ("Shipped", [("Shipped", "OUT-1-T"), ("Shipped", "OUT-2-T")]))
    await at.erp.execute("update shipment set status = 'delivered' where order_id = $1", order)
    await at.erp.execute("update sales_order set status = 'delivered' where id = $1", order)
    await at.sees(seen, ("Delivered", [("Delivered", "OUT-1-T"), ("Delivered", "OUT-2-T")]))
    await at.agree("the order is delivered")


async def test_a_shop_that_is_killed_while_orders_ship_has_each_fulfilment_once(at: Scene) -> None:
    number = await at.erp.fetchval("select number from customer order by id limit 1")
    shop, lines = vendure(at), {"BLT-M8X40-A2": 1}
    token = await shop.log_in(number, "default")
    orders: dict[str, int] = {}
    for _ in range(6):
        code = await shop.order(token, lines)
        orders[code] = await take_in(at.erp, number, code, lines)
    await at.agree("six orders")
    for code, order in orders.items():
        await send(at.erp, order, f"OUT-{code}", lines, "shipped")

    async def made() -> int:
        return sum([len((await shop.bought(token, code))["fulfillments"]) for code in orders])

    await until(made, within=60, every=0.01, what="a fulfilment is made")
    await at.kill_shop()
    await at.start_shop()
    await at.agree("the shop came back")
    for code in orders:
        order = await shop.bought(token, code)
        assert order["state"] == "Shipped"
        assert [one["trackingCode"] for one in order["fulfillments"]] == [f"OUT-{code}-T"]
    await at.nothing_waits()


async def test_a_page_shows_text_and_pictures_of_the_erp_in_each_language(at: Scene) -> None:
    sku, html = "GLU-EPX-25", "<p>Zwei Komponenten &amp; fünf Minuten</p>"
    await write(at.erp, sku, "de", "Epoxidkleber 25 ml", html)
    await write(at.erp, sku, "en", "Two-part epoxy, 25 ml", "<p>Now in a <em>syringe</em></p>")
    folder = pictures_of(at.daemon.folder)
    first = await picture(at.erp, folder, sku, 1, 40)
    second = await picture(at.erp, folder, sku, 2, 80)
    await at.sees(lambda: vendure(at).pictures(sku), [first, second])
    await at.agree("texts in two languages")
    another = await picture(at.erp, folder, sku, 1, 120)
    await at.sees(lambda: vendure(at).pictures(sku), [another, second])
    await at.erp.execute("delete from item_image where sha256 = $1", second)
    await at.sees(lambda: vendure(at).pictures(sku), [another])


async def test_parallel_changes_of_one_product_leave_the_last_truth(at: Scene) -> None:
    sku = "BRG-6204-2RS"

    async def someone(seed_: int) -> None:
        rng = random.Random(seed_)  # noqa: S311 -- repeatable
        connection = await asyncpg.connect(at.dsn)
        try:
            for _ in range(25):
                await connection.execute(
                    """update stock_level set on_hand = $2 where item_id = (select id from item where sku = $1)
                        and warehouse_id = $3""",
                    sku,
                    Decimal(rng.randrange(500)),
                    rng.choice((1, 2)),
                )
                await set_price(connection, sku, rng.choice(list(LISTS)), Decimal(rng.randrange(1, 9999)) / 100)
                await connection.execute("update customer set credit_limit = credit_limit + 1 where id = 1")
                await write(connection, sku, "en", f"Ball bearing {rng.randrange(10**6)}", "<p>changed</p>")
        finally:
            await connection.close()

    await asyncio.gather(*map(someone, range(4)))
    await at.agree("parallel changes")
    await at.nothing_waits()


async def test_one_poison_row_in_a_batch_holds_no_other(at: Scene) -> None:
    sku, stranger = "OIL-PEN-400", "NOT-IN-THE-SHOP"
    try:
        async with at.erp.transaction():
            await at.erp.execute("update stock_level set on_hand = on_hand + 7")
            await at.erp.execute("update price set amount = amount + 1")
            # more than an integer column of the shop's database holds, which fails the whole call
            await set_price(at.erp, sku, "default", Decimal("99999999.99"))
            await at.erp.execute(
                "insert into item (sku, name) values ($1, 'an article that the shop does not sell')", stranger
            )

        async def others() -> list[str]:
            return [line for line in await at.differences() if f" {sku}|default" not in line and stranger not in line]

        await at.sees(others, [])

        async def aside() -> list[tuple[str, str]]:
            listed = await at.command("quarantine", "list", "--json")
            assert listed.code in (0, 1), listed.err
            return sorted((key["entity"], key["code"]) for key in json.loads(listed.out)["keys"])

        await at.sees(aside, [("price", "E-STORE-REFUSED"), ("stock", "E-STORE-UNMAPPED")])
    finally:
        await set_price(at.erp, sku, "default", Decimal("7.90"))
        await at.erp.execute("delete from item where sku = $1", stranger)
    await at.agree("the rows were corrected")
    await at.nothing_waits()


async def test_a_shop_that_is_killed_at_work_and_comes_back_shows_the_truth(at: Scene) -> None:
    await at.erp.execute("update price set amount = amount + 2; update stock_level set on_hand = on_hand + 1")
    async with at.killed_at_work("price"):
        await at.erp.execute("update stock_level set on_hand = on_hand + 10; update customer set credit_limit = 777")
        await at.daemon.until_event("store_lost")
        status = await at.daemon.status()
        assert status["stores"]["main"]["entities"]["stock"]["pending"] > 0
        await at.erp.execute("update stock_level set on_hand = on_hand + 10")


async def test_reconcile_finds_and_mends_what_a_person_changed_in_the_shop(at: Scene) -> None:
    await at.agree("before")
    sound = await at.command("reconcile", "--json")
    assert sound.code == 0, sound.out
    shop = vendure(at)
    sku = "SDR-VDE-SET6"
    variant, customer = await shop.variant(sku), await shop.customer("C1001")
    write = "mutation($i: [UpdateProductVariantInput!]!) { updateProductVariants(input: $i) { id } }"
    place = (await shop.admin("{ stockLocations { items { id } } }"))["stockLocations"]["items"][0]["id"]
    await shop.admin(write, i=[{"id": variant, "stockLevels": [{"stockLocationId": place, "stockOnHand": 4711}]}])
    await shop.admin(write, at="TRADE", i=[{"id": variant, "price": 1}])
    await shop.admin(
        "mutation($i: UpdateCustomerInput!) { updateCustomer(input: $i) { ... on ErrorResult { errorCode message } } }",
        i={"id": customer, "customFields": {"creditLimit": "1000000", "creditHold": None}},
    )
    product = (await shop.admin(FIND, sku=sku))["productVariants"]["items"][0]["product"]["id"]
    await shop.admin(
        "mutation($i: UpdateProductInput!) { updateProduct(input: $i) { id } }",
        i={"id": product, "translations": [{"languageCode": "en", "description": "BUY NOW"}]},
    )
    assert len(await at.differences()) == 4
    found = await at.command("reconcile", "--fix", "--json")
    assert found.code == 1, found.out
    queues = json.loads(found.out)["queues"]
    assert {queue["entity"]: queue["counts"]["changed"] for queue in queues} == {
        "stock": 1,
        "price": 1,
        "credit": 1,
        "order_status": 0,
        "content": 1,
    }
    await at.agree("the comparison")
    assert (await at.command("reconcile")).code == 0

"""The Odoo pack at work: what Odoo writes for a business event, by SQL, reaches the store through the daemon.

The daemon has the roles that `erpsyncd sql setup` makes, and no others.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import TOKEN, Daemon, erpsyncd, exact
from tests.integration.odoo import ENTITIES, KITS, Reader, restore, text_of
from tests.integration.prepared import set_up, written
from tests.integration.stage import lawful, sql_connection
from tests.waiting import until

pytestmark = [pytest.mark.newest, pytest.mark.timeout(400)]

WITHIN = 60.0
OPTIONS = 'locales = ["en_US", "fr_FR"]\nimage_url = "https://erp.example"'
# a job for content is another matter
FAST = '[entity.content]\nlane = "fast"\n'
READ, REPLICATION = "odoo_pack_read", "odoo_pack_repl"


@dataclass
class Scene:
    """Odoo, the store and the daemon between them."""

    erp: asyncpg.Connection
    shop: Shop
    daemon: Daemon
    reader: Reader

    async def does(self, *statements: str) -> None:
        """One transaction of Odoo's."""
        async with self.erp.transaction():
            for statement in statements:
                await self.erp.execute(statement)

    async def shows(self, entity: str, id_: str, **fields: Any) -> None:
        """Wait until a document shows these fields."""

        def seen() -> bool:
            document = exact(self.shop.documents(entity).get(id_, {}))
            return all(name in document and document[name] == exact(value) for name, value in fields.items())

        try:
            await until(seen, within=WITHIN, what=f"{entity} {id_} shows {fields}")
        except AssertionError as error:
            raise AssertionError(f"{error}\nit shows {self.shop.documents(entity).get(id_)}\n{self.tail()}") from None

    async def hides(self, entity: str, id_: str) -> None:
        await until(lambda: id_ not in self.shop.documents(entity), within=WITHIN, what=f"{entity} {id_} is gone")

    async def equals(self, *entities: str) -> None:
        """Wait until the store shows for every key what the pack reads from Odoo's tables now."""
        last: list[str] = []

        async def same() -> bool:
            last.clear()
            for entity in entities or ENTITIES:
                truth = {id_: exact(fields) for id_, fields in (await self.reader.documents(entity)).items()}
                shown = {id_: exact(fields) for id_, fields in self.shop.documents(entity).items()}
                last.extend(
                    f"{entity} {id_}: {shown.get(id_)} is {fields}"
                    for id_, fields in truth.items()
                    if shown.get(id_) != fields
                )
                last.extend(
                    f"{entity} {id_}: {shown[id_]} is gone"
                    for id_ in shown.keys() - truth.keys()
                    if entity != "order_status" and shown[id_].get("available") != 0
                )
            return not last

        try:
            await until(same, within=WITHIN, every=0.3, what="the store equals Odoo")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *last[:8], self.tail()])) from None

    def tail(self) -> str:
        return "\n".join(self.daemon.output().splitlines()[-15:])


@asynccontextmanager
async def scene(
    database: Database,
    folder: Path,
    entities: tuple[str, ...] = ENTITIES,
    options: str = OPTIONS,
    more: str = "",
    before: str = "",
) -> AsyncIterator[Scene]:
    await restore(database)
    if before:
        await database.execute(before)
    async with Shop(token=TOKEN) as shop, Reader(database, options) as reader:
        text = text_of(database.dsn, options, entities, shop.url, folder)
        text += "batch_size = 1000\nrate = { per_second = 1000 }\n" + (FAST if "content" in entities else "") + more
        await set_up(database, text, folder, read_role=READ, replication_role=REPLICATION)
        dsn, replication = (database.cluster.dsn(database.name, role) for role in (READ, REPLICATION))
        text = text.replace(f'"{database.dsn}"', f'"{dsn}"\nreplication_dsn = "{replication}"', 1)
        erp = await sql_connection(database.dsn)
        try:
            async with Daemon(folder, text) as daemon:
                await daemon.until_loaded(within=WITHIN)
                made = Scene(erp, shop, daemon, reader)
                yield made
                lawful(shop)
        finally:
            erp.terminate()


@pytest.fixture
async def odoo(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(database, tmp_path) as made:
        await made.equals()
        yield made


async def test_what_odoo_writes_reaches_the_store(odoo: Scene) -> None:
    await stock(odoo)
    await prices(odoo)
    await defaults(odoo)
    await credit(odoo)
    await orders(odoo)
    await content(odoo)
    await odoo.equals()


async def stock(odoo: Scene) -> None:
    gadget = "GAD2|WH"
    await odoo.shows("stock", gadget, available=28)
    # beside a locked quant Odoo inserts others: of a receipt, and of a reservation, without a quantity
    await odoo.does(
        "insert into stock_quant (id, product_id, location_id, company_id, quantity, reserved_quantity, in_date)"
        " values (90001, 3, 8, 1, -4, 0, now())"
    )
    await odoo.shows("stock", gadget, available=24)
    await odoo.does(
        "insert into stock_quant (id, product_id, location_id, company_id, quantity, reserved_quantity, in_date)"
        " values (90002, 3, 17, 1, null, 5, now())"
    )
    await odoo.shows("stock", gadget, available=19)
    # they are merged later: one row takes all, the others go
    await odoo.does(
        "update stock_quant set quantity = quantity - 4, reserved_quantity = reserved_quantity + 5"
        " where product_id = 3 and location_id = 8 and id < 90000",
        "delete from stock_quant where id in (90001, 90002)",
    )
    await odoo.equals("stock")
    await odoo.shows("stock", gadget, available=19)
    # a move to the customer, and all that there is goes
    await odoo.does("update stock_quant set location_id = 5 where product_id = 3 and location_id in (8, 17)")
    await odoo.shows("stock", gadget, available=0)
    await odoo.does("delete from stock_quant where product_id = 1")
    await odoo.shows("stock", "WID-RED|WH", available=0)
    # the shelf leaves the warehouse with what lies there
    await odoo.does("update stock_quant set location_id = 17 where product_id = 4 and quantity > 0")
    await odoo.does("update stock_location set location_id = 2, parent_path = '2/17/' where id = 17")
    await odoo.shows("stock", "CAB|WH", available=0)
    await odoo.does("update stock_location set location_id = 8, parent_path = '1/7/8/17/' where id = 17")
    await odoo.shows("stock", "CAB|WH", available=12)


RULE = (
    "insert into product_pricelist_item (id, pricelist_id, company_id, currency_id, applied_on, display_applied_on, base,"
    " compute_price, min_quantity, fixed_price, percent_price, product_tmpl_id, product_id, categ_id, date_start, date_end)"
    " values ({values})"
)


async def prices(odoo: Scene) -> None:
    blue = "WID-BLU|VIP|USD|1"
    await odoo.shows("price", blue, amount="18.88125")
    # a rule for the variant on the list below: 5 % less on the list that rests on it
    await odoo.does(
        RULE.format(
            values="901, 1, 1, 1, '0_product_variant', '1_product', 'list_price', 'fixed', 0, 10, 0, 1, 2, null, null, null"
        )
    )
    await odoo.shows("price", blue, amount="9.5")
    await odoo.does("update product_pricelist_item set fixed_price = 12 where id = 901")
    await odoo.shows("price", blue, amount="11.4")
    await odoo.does("update product_pricelist_item set product_id = 1 where id = 901")
    await odoo.shows("price", blue, amount="18.88125")
    await odoo.shows("price", "WID-RED|VIP|USD|1", amount="11.4")
    await odoo.does("delete from product_pricelist_item where id = 901")
    await odoo.shows("price", "WID-RED|VIP|USD|1", amount="21.01875")
    # a quantity break for a whole product comes and goes
    await odoo.does(
        RULE.format(
            values="902, 1, 1, 1, '1_product', '1_product', 'list_price', 'percentage', 50, null, 40, 1, null, null, null, null"
        )
    )
    await odoo.shows("price", "WID-BLU|Wholesale|USD|50", amount="15.9")
    await odoo.does("delete from product_pricelist_item where id = 902")
    await odoo.hides("price", "WID-BLU|Wholesale|USD|50")
    # dates: no row changes when they come and pass
    await odoo.does(
        RULE.format(
            values="903, 1, 1, 1, '1_product', '1_product', 'list_price', 'fixed', 0, 7, 0, 2, null, null,"
            " (now() at time zone 'utc') + interval '3 seconds', null"
        )
    )
    await odoo.shows("price", "GAD2|Wholesale|USD|1", amount=7)
    await odoo.does(
        "update product_pricelist_item set date_end = (now() at time zone 'utc') + interval '3 seconds' where id = 903"
    )
    await odoo.shows("price", "GAD2|Wholesale|USD|1", amount=90)
    await odoo.does("update product_pricelist_item set date_start = null, date_end = null where id = 903")
    await odoo.shows("price", "GAD2|Wholesale|USD|1", amount=7)
    await odoo.does("delete from product_pricelist_item where id = 903")
    # what the attribute costs; the template's price
    await odoo.does("update product_template_attribute_value set price_extra = 4 where id = 1")
    await odoo.shows("price", "WID-RED|default|USD|1", amount="30.5")
    await odoo.does("update product_template set list_price = 5 where id = 3")
    await odoo.shows("price", "CAB|default|USD|1", amount=5)
    await odoo.equals("price")


async def defaults(odoo: Scene) -> None:
    """Values that a company gives as jsonb, and what holds where a row has none."""
    await odoo.does(
        RULE.format(
            values="904, 2, 1, 1, '1_product', '1_product', 'standard_price', 'percentage', 0,"
            " null, 0, 5, null, null, null, null"
        )
    )
    bulk = "BULK0001|VIP|USD|1"
    await odoo.shows("price", bulk, amount=0)
    await odoo.does(
        "insert into ir_default (id, field_id, company_id, json_value) values (901, 3175, null, '3.25'), (902, 3175, 1, '4.5')"
    )
    await odoo.shows("price", bulk, amount="4.5")
    await odoo.does("delete from ir_default where id = 902")
    await odoo.shows("price", bulk, amount="3.25")
    await odoo.does("""update product_product set standard_price = '{"1": 6.75, "2": 1}' where id = 6""")
    await odoo.shows("price", bulk, amount="6.75")
    # a value of another company alone is none, a null is a value
    await odoo.does("""update product_product set standard_price = '{"2": 1}' where id = 6""")
    await odoo.shows("price", bulk, amount="3.25")
    await odoo.does("""update product_product set standard_price = '{"1": null}' where id = 6""")
    await odoo.shows("price", bulk, amount=0)
    await odoo.does("delete from product_pricelist_item where id = 904")
    # category: its rule reaches what was moved below it
    await odoo.does(
        RULE.format(
            values="905, 1, 1, 1, '2_product_category', '1_product', 'list_price', 'fixed', 0, 3, 0, null, null, 2, null, null"
        )
    )
    await odoo.does("update product_template set categ_id = 5 where id = 6")
    await odoo.shows("price", "BULK0002|Wholesale|USD|1", amount=10)
    await odoo.does(
        "update product_category set parent_id = 2, parent_path = '1/2/5/', complete_name = 'All / Saleable / Cat A1'"
        " where id = 5"
    )
    await odoo.shows("price", "BULK0002|Wholesale|USD|1", amount=3)
    await odoo.shows("content", "BULK0002|en_US", categories=["All", "Saleable", "Cat A1"])


async def credit(odoo: Scene) -> None:
    await odoo.shows("credit", "C0002", limit=200, balance=2300, available=-2100, hold=True)
    await odoo.does("update ir_default set json_value = '5000.0' where field_id = 4198")
    await odoo.shows("credit", "C0002", limit=5000, available=2700, hold=False)
    await odoo.does("""update res_partner set credit_limit = '{"1": 0.0}' where id = 8""")
    await odoo.shows("credit", "C0002", limit=None, available=None, hold=False)
    await odoo.does("""update res_partner set credit_limit = '{"1": 2000.0}' where id = 8""")
    await odoo.shows("credit", "C0002", limit=2000, available=-300, hold=True)
    # an invoice is paid in part: its line says what is open
    await odoo.does("update account_move_line set amount_residual = 100, reconciled = false where id = (select min(l.id)"
                    " from account_move_line l join account_account a on a.id = l.account_id"
                    " where l.partner_id = 7 and a.account_type = 'asset_receivable')")  # fmt: skip
    await odoo.shows("credit", "C0001", receivable=100, available=900)
    await odoo.does("update res_company set account_use_credit_limit = false where id = 1")
    await odoo.shows("credit", "C0001", limit=None, hold=False)
    await odoo.does("update sale_order set state = 'cancel' where id = 3")
    await odoo.shows("credit", "C0002", balance=0)


async def orders(odoo: Scene) -> None:
    await odoo.does("update product_product set default_code = 'BULK-ONE' where id = 6")

    def renamed() -> bool:
        (parcel,) = odoo.shop.documents("order_status")["S00003"]["fulfilments"]
        return "BULK-ONE" in {line["sku"] for line in parcel["lines"]}

    await until(renamed, within=WITHIN, what="the open delivery shows the new reference")
    await odoo.shows("order_status", "S00003", status="cancelled")
    await odoo.does("update sale_order set state = 'sale', delivery_status = 'partial' where id = 3")
    await odoo.shows("order_status", "S00003", status="partially_shipped")
    await odoo.does(
        "update stock_move set state = 'done', quantity = product_uom_qty where picking_id = 6",
        "update stock_picking set state = 'done', date_done = now() where id = 6",
        "update sale_order set delivery_status = 'full' where id = 3",
    )
    await odoo.shows("order_status", "S00003", status="shipped")
    shown = odoo.shop.documents("order_status")["S00003"]["fulfilments"]
    assert [(parcel["id"], parcel["status"], len(parcel["lines"])) for parcel in shown] == [
        ("WH/OUT/00003", "done", 100)
    ]
    returned = odoo.shop.documents("order_status")["S00001"]
    assert [parcel["id"] for parcel in returned["fulfilments"]] == ["WH/OUT/00001"]
    assert [parcel["id"] for parcel in returned["returns"]] == ["WH/IN/00002"]


async def content(odoo: Scene) -> None:
    await odoo.does(
        """update product_template set name = '{"en_US": "Cable", "fr_FR": "Câble"}',"""
        """ description_sale = '{"en_US": "1 < 2\\nand more"}' where id = 3"""
    )
    await odoo.shows("content", "CAB|fr_FR", title="Câble", description_html="1 &lt; 2<br>and more")
    await odoo.shows("content", "CAB|en_US", title="Cable")
    await odoo.does("delete from ir_attachment where res_model = 'product.template' and res_id = 1")
    await odoo.shows("content", "WID-RED|en_US", images=[])
    # archived: the variant, then the template; and back
    await odoo.does(
        "update product_template set active = false where id = 3",
        "update product_product set active = false where id = 4",
    )
    await odoo.shows("stock", "CAB|WH", available=0)
    await odoo.hides("price", "CAB|default|USD|1")
    await odoo.hides("content", "CAB|en_US")
    await odoo.does("update product_product set active = true where id = 4")
    await odoo.does("update product_template set active = true where id = 3")
    await odoo.shows("stock", "CAB|WH", available=12)
    await odoo.shows("content", "CAB|en_US", title="Cable")
    await odoo.does("update product_product set default_code = 'CAB-2' where id = 4")
    await odoo.shows("stock", "CAB-2|WH", available=12)
    await odoo.shows("stock", "CAB|WH", available=0)


RANDOM = (
    "update stock_quant set quantity = {n} where id = (select id from stock_quant order by md5(id || '{s}') limit 1)",
    "update stock_quant set reserved_quantity = {n} where product_id = {p}",
    "delete from stock_quant where id = (select id from stock_quant order by md5(id || '{s}') limit 1)",
    "insert into stock_quant (id, product_id, location_id, quantity, reserved_quantity, in_date)"
    " values ({new}, {p}, {place}, nullif({n}, 3), 1, now())",
    "update stock_quant set product_id = {p}, location_id = {place} where id = (select max(id) from stock_quant)",
    "update stock_location set location_id = {up}, parent_path = case {up} when 8 then '1/7/8/17/' else '2/17/' end"
    " where id = 17",
    "update stock_warehouse set code = 'W{n}' where id = 1",
    "update product_product set active = not active where id = {p}",
    # of a product that no finished delivery has: what was shipped keeps the name under which it was shown
    "update product_product set default_code = 'NEW{s}' where id = 4",
    """update product_product set standard_price = '{{"1": {n}}}' where id = {p}""",
    "update product_template set list_price = {n}, sale_ok = not sale_ok where id = {t}",
    "update product_template set active = not active where id = {t}",
    """update product_template set name = '{{"en_US": "T{s}"}}', categ_id = {c} where id = {t}""",
    "update product_template set is_storable = not is_storable where id = {t}",
    "update product_template_attribute_value set price_extra = {n} where id = {a}",
    "delete from product_variant_combination where product_product_id = {a}",
    "update product_category set parent_id = {c}, parent_path = '{c}/5/', complete_name = 'X{s}' where id = 5",
    "update product_category set name = 'N{s}' where id = {c}",
    """update product_pricelist set name = '{{"en_US": "L{s}"}}', active = true where id = {a}""",
    "update product_pricelist set active = false where id = {a}",
    "insert into product_pricelist_item (id, pricelist_id, applied_on, display_applied_on, base, compute_price, fixed_price,"
    " min_quantity, product_tmpl_id, product_id, categ_id) values ({new}, {a}, {kind}, '1_product', 'list_price', 'fixed', {n},"
    " {few}, case {kind} when '1_product' then {t} end, case {kind} when '0_product_variant' then {p} end,"
    " case {kind} when '2_product_category' then {c} end)",
    "update product_pricelist_item set applied_on = '3_global', product_id = null, product_tmpl_id = null, categ_id = null"
    " where id = (select max(id) from product_pricelist_item where base <> 'pricelist')",
    "update product_pricelist_item set pricelist_id = {a} where id = (select max(id) from product_pricelist_item)"
    " and base <> 'pricelist'",
    "delete from product_pricelist_item where id = (select id from product_pricelist_item order by md5(id || '{s}') limit 1)",
    "update ir_default set json_value = '{n}.5' where field_id = 4198",
    "insert into ir_default (id, field_id, json_value) values ({new}, 3175, '{n}')",
    "delete from ir_default where field_id = 3175",
    """update res_partner set credit_limit = '{{"1": {n}.5}}' where id in (7, 8) and id % 2 = {odd}""",
    "update res_partner set ref = 'R{s}', active = true where id = 7",
    "update res_partner set active = not active where id = 8",
    "update res_company set account_use_credit_limit = not account_use_credit_limit",
    "update account_move_line set amount_residual = {n}, reconciled = false where partner_id = 7",
    "update account_move_line set partner_id = 8 where id = (select min(id) from account_move_line)",
    "update account_move set state = case state when 'posted' then 'draft' else 'posted' end where id = 1",
    "update sale_order set partner_id = 7, state = 'sale' where id = 3",
    "update sale_order set partner_id = 8, delivery_status = 'partial' where id = 3",
    "update sale_order set state = 'cancel' where id = 1",
    "delete from sale_order_line where id = (select min(id) from sale_order_line where order_id = 3)",
    "update sale_order_line set qty_delivered = {n}, product_uom_qty = {n} + 1 where order_id = 3",
    "delete from sale_order_line_invoice_rel",
    "update stock_picking set state = 'cancel', sale_id = {few} where id = 6",
    "update stock_picking set sale_id = null where id = 4",
    "update stock_move set state = 'done', quantity = {n} where picking_id = 6",
    "update stock_move set picking_id = 1 where id = (select max(id) from stock_move where picking_id = 6)",
    "delete from stock_move where id = (select max(id) from stock_move where picking_id = 6)",
    "update ir_attachment set checksum = md5('{s}') where res_field = 'image_1920'",
    "update ir_attachment set res_id = {t} where res_field = 'image_1920'",
)
"""Rows as Odoo's events leave them, in any order: what the documents are then, the pack's own queries say."""


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_key_is_missed_whatever_changes(odoo: Scene, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
    order = [*RANDOM, *chance.choices(RANDOM, k=40)]
    chance.shuffle(order)
    for number, statement in enumerate(order):
        await odoo.does(
            statement.format(
                n=chance.randint(0, 9),
                p=chance.randint(1, 9),
                t=chance.randint(1, 8),
                c=chance.choice((1, 2, 3, 4)),
                a=chance.randint(1, 2),
                few=chance.randint(1, 3),
                odd=chance.randint(0, 1),
                up=chance.choice((2, 8)),
                place=chance.choice((5, 8, 17)),
                kind=chance.choice(("'0_product_variant'", "'1_product'", "'2_product_category'", "'3_global'")),
                new=100_000 + number,
                s=f"{seed}{number}",
            )
        )
        if number % 15 == 14:
            await odoo.equals()
    await odoo.equals()


async def test_steps_that_move_everything_leave_stock_unharmed_and_survive_a_kill(
    database: Database, tmp_path: Path
) -> None:
    async with scene(database, tmp_path, ("stock", "price")) as odoo:
        # every product: a global rule, a price list renamed, a category moved, a default of the company
        await odoo.does(
            "update product_pricelist_item set price_discount = 20 where id = 4",
            """update product_pricelist set name = '{"en_US": "Trade"}' where id = 1""",
            "update product_category set parent_id = 2, parent_path = '1/2/' || id || '/' where id in (4, 5)",
            "insert into ir_default (id, field_id, company_id, json_value) values (901, 3175, 1, '4.5')",
        )
        await odoo.does(
            "insert into stock_quant (id, product_id, location_id, company_id, quantity, reserved_quantity, in_date)"
            " values (90001, 3, 8, 1, 100, 0, now())"
        )
        await odoo.shows("stock", "GAD2|WH", available=128)
        await odoo.daemon.kill()
        await odoo.daemon.start()
        await odoo.daemon.until_event("ready", within=WITHIN)
        await odoo.equals("stock", "price")
        names = {id_.split("|")[1] for id_ in odoo.shop.documents("price")}
        assert names == {"default", "Trade", "VIP"}
        # a rule for everything goes: its row says no more than an id
        await odoo.does("delete from product_pricelist_item where id = 4")
        await odoo.shows("price", "BULK0002|Trade|USD|1", amount=11)
        await odoo.equals("price")


RATES = "create table res_currency_rate (id int primary key, currency_id int, company_id int, name date, rate numeric)"


async def test_a_contact_that_changes_its_company_and_a_new_rate_move_the_credit_of_the_companies(
    database: Database, tmp_path: Path
) -> None:
    options = "invoice_partner = true\ncurrency_rates = true"
    async with scene(database, tmp_path, ("credit",), options, before=RATES) as odoo:
        await odoo.does(
            "insert into res_partner (id, name, active, parent_id, commercial_partner_id, autopost_bills)"
            " values (90, 'Buyer', true, 8, 8, 'ask')",
            "update sale_order set partner_invoice_id = 90 where id = 3",
        )
        await odoo.shows("credit", "C0002", to_invoice=2300)
        await odoo.does("update res_partner set parent_id = 7, commercial_partner_id = 7 where id = 90")
        await odoo.shows("credit", "C0001", to_invoice=2300)
        await odoo.shows("credit", "C0002", to_invoice=0)
        await odoo.does(
            "update sale_order set currency_id = (select id from res_currency where name = 'EUR') where id = 3",
            "update sale_order_line set currency_id = (select id from res_currency where name = 'EUR') where order_id = 3",
        )
        await odoo.does(
            "insert into res_currency_rate select 1, id, 1, current_date, 0.8 from res_currency where name = 'EUR'"
        )
        await odoo.shows("credit", "C0001", to_invoice=2875)
        await odoo.does("update res_currency_rate set rate = 0.5")
        await odoo.shows("credit", "C0001", to_invoice=4600)
        await odoo.does("delete from res_currency_rate")
        await odoo.shows("credit", "C0001", to_invoice=2300)


async def test_what_happens_to_a_part_reaches_each_kit_above_it(database: Database, tmp_path: Path) -> None:
    async with scene(database, tmp_path, ("stock",), "kits = true", before=KITS) as odoo:
        await odoo.shows("stock", "BULK0001|WH", available=16)
        await odoo.does("update stock_quant set reserved_quantity = 40 where product_id = 1")
        await odoo.shows("stock", "BULK0002|WH", available=5)
        await odoo.shows("stock", "BULK0001|WH", available=10)
        await odoo.does("delete from stock_quant where id = 9001")
        await odoo.shows("stock", "BULK0001|WH", available=0)
        await odoo.does("update mrp_bom_line set product_id = 3, product_uom_id = 1 where id = 4")
        await odoo.shows("stock", "BULK0002|WH", available=100)
        await odoo.shows("stock", "BULK0001|WH", available=50)  # 25 batches by the gadgets, 25 by the cable
        await odoo.does("delete from mrp_bom_line where id = 2")
        await odoo.does("update mrp_bom_line set product_qty = 10 where id = 4")
        await odoo.shows("stock", "BULK0001|WH", available=15)  # 13 gadgets a batch: 7.69 batches
        await odoo.does("update product_template set is_storable = false where id = 2")
        await odoo.shows("stock", "BULK0001|WH", available=0)
        await odoo.does("update product_template set is_storable = true where id = 2")
        await odoo.shows("stock", "BULK0001|WH", available=15)
        await odoo.does("delete from mrp_bom where id = 2")
        await odoo.equals("stock")


async def test_a_name_that_odoo_does_not_know_stops_the_start_and_is_told_by_doctor(
    database: Database, tmp_path: Path
) -> None:
    await restore(database)
    options = 'company = "My Compani"\nwarehouses = ["HW", "WH"]'
    text = text_of(database.dsn, options, ("stock",), folder=tmp_path)
    await set_up(database, text, tmp_path, read_role=READ, replication_role=REPLICATION)
    file = written(tmp_path, text)
    ended = await erpsyncd("run", "-c", file, within=WITHIN)
    assert ended.code == 78
    lines = [json.loads(line) for line in ended.output.splitlines()]
    assert [(line["option"], line["code"]) for line in lines if line["event"] == "option_unknown"] == [
        ("erp.options.company", "E-OPTION-UNKNOWN"),
        ("erp.options.warehouses", "E-OPTION-UNKNOWN"),
    ]
    said = " ".join(line["msg"] for line in lines)
    assert '"My Compani" is not known to the ERP; did you mean "My Company"?' in said
    assert (
        '"HW" is not known to the ERP; did you mean "WH"?' in said or '"HW" is not known to the ERP; known: WH' in said
    )
    told = await erpsyncd("doctor", "--json", "-c", file, within=WITHIN)
    checks = [(r["check"], r["status"]) for r in json.loads(told.output) if r["check"] == "options"]
    assert checks == [("options", "FAIL"), ("options", "FAIL")]

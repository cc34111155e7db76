"""The Odoo pack against a second opinion on Odoo's rules, over rows that a seed chose: whatever they are, both agree."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.conftest import Database
from tests.integration.odoo import Reader, restore
from tests.integration.odoo_model import Credit, Prices, Stock

pytestmark = pytest.mark.newest

PRODUCTS = [1, 2, 3, 4, 6, 7]
LISTS = {1: "Wholesale", 2: "VIP", 3: "Third"}
PLACES = [5, 8, 17, 71, 72, 4, 14, 700]
WORLD = """
insert into product_pricelist
select (jsonb_populate_record(l, '{"id": 3, "name": {"en_US": "Third"}}')).* from product_pricelist l where id = 1;
update product_category set parent_id = 4, parent_path = '4/5/', complete_name = 'Cat A / Cat A1' where id = 5;
update product_template set categ_id = case id when 1 then 4 else 5 end where id in (1, 2, 6);
insert into stock_location (id, location_id, name, usage, parent_path, active) values
  (70, 1, 'W2', 'view', '1/70/', true), (71, 70, 'Stock', 'internal', '1/70/71/', true),
  (72, 71, 'Deep', 'internal', '1/70/71/72/', false), (700, 1, 'Other', 'internal', '1/700/', true);
insert into stock_warehouse
    (id, company_id, view_location_id, lot_stock_id, code, name, active, reception_steps, delivery_steps)
values (7, 1, 70, 71, 'W2', 'Second', true, 'one_step', 'ship_only');
insert into res_partner (id, name, active, parent_id, commercial_partner_id, autopost_bills)
values (90, 'Buyer of two', true, 8, 8, 'ask'), (91, 'Buyer of one', true, 7, 7, 'ask');
create table res_currency_rate (id int primary key, currency_id int, company_id int, name date, rate numeric);
"""


@pytest.fixture
async def erp(database: Database) -> AsyncIterator[asyncpg.Connection]:
    await restore(database)
    await database.execute(WORLD)
    connection = await asyncpg.connect(database.dsn)
    try:
        yield connection
    finally:
        connection.terminate()


def amount(chance: random.Random, low: float, high: float) -> Decimal:
    return Decimal(str(round(chance.uniform(low, high), 2)))


def maybe(chance: random.Random, low: float, high: float) -> Decimal | None:
    return chance.choice((None, Decimal(0), amount(chance, low, high)))


async def insert(erp: asyncpg.Connection, table: str, like: int | None = None, **fields: Any) -> None:
    """A row; `like` another one where that is given."""
    names = ", ".join(fields)
    places = ", ".join(f"${number}" for number in range(1, len(fields) + 1))
    if like is None:
        await erp.execute(f"insert into {table} ({names}) values ({places})", *fields.values())
        return
    columns = await erp.fetch(
        "select attname::text from pg_attribute where attrelid = $1::regclass and attnum > 0", table
    )
    kept = ", ".join(f'"{column[0]}"' for column in columns if column[0] not in fields)
    await erp.execute(
        f"insert into {table} ({names}, {kept}) select {places}, {kept} from {table} where id = {like}",
        *fields.values(),
    )


async def new_rules(erp: asyncpg.Connection, chance: random.Random) -> None:
    await erp.execute("delete from product_pricelist_item")
    now = await erp.fetchval("select now() at time zone 'utc'")
    day = await erp.fetchval("select interval '1 day'")
    templates = {row[0]: row[1] for row in await erp.fetch("select id, product_tmpl_id from product_product")}
    for number in range(chance.randint(5, 60)):
        kind = chance.choice(("0_product_variant", "1_product", "2_product_category", "3_global"))
        product, list_ = chance.choice(PRODUCTS), chance.choice((1, 2, 3))
        below = chance.choice([other for other in LISTS if other > list_] or [None])
        begins, ends = chance.choice((None, None, -5, -1, 1)), chance.choice((None, None, -1, 1, 5))
        discount = maybe(chance, -20, 60)
        await insert(
            erp, "product_pricelist_item",
            id=100 + number, pricelist_id=list_, applied_on=kind, display_applied_on="1_product",
            base=chance.choice(("list_price", "list_price", "standard_price", "pricelist")), base_pricelist_id=below,
            compute_price=chance.choice(("fixed", "percentage", "formula", "formula")),
            fixed_price=amount(chance, 0, 50), percent_price=chance.choice((None, float(amount(chance, -10, 50)))),
            price_discount=discount, price_markup=None if discount is None else -discount,
            price_round=chance.choice((None, Decimal(0), Decimal("0.05"), Decimal(1), Decimal(10))),
            price_surcharge=maybe(chance, -3, 3), price_min_margin=maybe(chance, 0, 20), price_max_margin=maybe(chance, 0, 40),
            min_quantity=chance.choice((None, Decimal(0), Decimal("0.5"), Decimal(2), Decimal(5), Decimal(10))),
            product_tmpl_id=templates[product] if kind[0] in "01" else None,
            product_id=product if kind[0] == "0" else None,
            categ_id=chance.choice((1, 2, 3, 4, 5)) if kind[0] == "2" else None,
            date_start=None if begins is None else now + begins * day, date_end=None if ends is None else now + ends * day,
        )  # fmt: skip
    cost = amount(chance, 0, 30)
    await erp.execute(
        "update product_product set standard_price = jsonb_build_object('1', $1::numeric) where id = 3", cost
    )


async def test_any_price_rules_give_the_same_prices(erp: asyncpg.Connection, database: Database) -> None:
    for seed in range(12):
        await new_rules(erp, random.Random(seed))  # noqa: S311 -- to be repeated, not to be secret
        async with Reader(database) as reader:
            documents = (await reader.documents("price", list(PRODUCTS))).values()
        shown: dict[tuple[str, str], dict[float, float]] = {}
        for document in documents:
            steps = shown.setdefault((document["sku"], document["price_list"]), {})
            steps[float(document["min_quantity"])] = float(document["amount"])
        model = await Prices.read(erp)
        for product in PRODUCTS:
            for list_, name in LISTS.items():
                steps = shown[model.products[product]["sku"], name]
                for quantity in (1, 2, 3, 5, 7, 10, 100):
                    amount_shown = steps[max(step for step in steps if step <= quantity)]
                    said = model.price(product, list_, quantity)
                    assert amount_shown == pytest.approx(said, abs=1e-6), (seed, product, name, quantity)


async def test_any_quants_and_moves_give_the_same_stock(erp: asyncpg.Connection, database: Database) -> None:
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311
        await erp.execute("delete from stock_quant; delete from stock_move")
        for number in range(chance.randint(10, 60)):
            await insert(
                erp, "stock_quant",
                id=1000 + number, product_id=chance.choice(PRODUCTS), location_id=chance.choice(PLACES),
                quantity=maybe(chance, -5, 60), reserved_quantity=maybe(chance, 0, 5) or Decimal(0),
                in_date=await erp.fetchval("select now()::timestamp"),
            )  # fmt: skip
        for number in range(chance.randint(0, 60)):
            quantity = amount(chance, 0, 9)
            await insert(
                erp, "stock_move",
                id=5000 + number, company_id=1, product_id=chance.choice(PRODUCTS), product_uom=1, name="x",
                location_id=chance.choice(PLACES), location_dest_id=chance.choice(PLACES),
                location_final_id=chance.choice((None, *PLACES)), procure_method="make_to_stock",
                product_uom_qty=quantity, product_qty=quantity, date=await erp.fetchval("select now()::timestamp"),
                state=chance.choice(("draft", "waiting", "confirmed", "assigned", "partially_available", "done", "cancel")),
            )  # fmt: skip
        model = await Stock.read(erp)
        for policy in ("free", "on_hand", "promised", "forecast"):
            async with Reader(database, f'sellable = "{policy}"') as reader:
                shown = await reader.documents("stock", list(PRODUCTS))
            skus = {row[0]: row[1] for row in await erp.fetch("select id, default_code from product_product")}
            assert len(shown) == 2 * len(PRODUCTS)
            for product in PRODUCTS:
                for code, view in (("WH", "1/7/"), ("W2", "1/70/")):
                    said = model.available(policy, product, view)
                    assert shown[f"{skus[product]}|{code}"]["available"] == said, (seed, policy, product, code)


async def new_orders(erp: asyncpg.Connection, chance: random.Random, euro: int) -> None:
    await erp.execute("""
        delete from sale_order_line_invoice_rel; delete from sale_order_line where order_id > 100;
        delete from sale_order where id > 100; update sale_order set state = 'cancel';
        delete from account_move_line where id > 100000; delete from account_move where id > 100000;
        update product_template set invoice_policy = case when id % 2 = 0 then 'delivery' else 'order' end""")
    line = bill = 100000
    for order in range(101, 101 + chance.randint(1, 6)):
        money = chance.choice((1, 1, euro))
        await insert(
            erp, "sale_order", 3,
            id=order, state=chance.choice(("sale", "sale", "sale", "draft", "sent", "cancel")), currency_id=money,
            partner_id=chance.choice((7, 8, 90, 91)), partner_invoice_id=chance.choice((7, 8, 90, 91)), name=f"X{order}",
        )  # fmt: skip
        for _ in range(chance.randint(0, 5)):
            line += 1
            await insert(
                erp, "sale_order_line", 4,
                id=line, order_id=order, product_id=chance.choice(PRODUCTS), product_uom=chance.choice((1, 2)),
                product_uom_qty=Decimal(chance.choice(("0", "1", "3", "12", "2.5"))), price_total=amount(chance, 0, 500),
                discount=maybe(chance, 5, 50), qty_delivered=chance.choice((None, Decimal(0), Decimal(1), Decimal(2))),
                untaxed_amount_to_invoice=chance.choice((None, Decimal(0), Decimal(5), Decimal(-1))), currency_id=money,
            )  # fmt: skip
            for _ in range(chance.choice((0, 0, 1, 2))):
                bill += 1
                await insert(
                    erp, "account_move", 1,
                    id=bill, name=f"M{bill}", move_type=chance.choice(("out_invoice", "out_refund", "out_receipt")),
                    state=chance.choice(("posted", "posted", "draft", "cancel")),
                    payment_state=chance.choice(("not_paid", "paid", "invoicing_legacy")),
                )  # fmt: skip
                await insert(
                    erp, "account_move_line", 1,
                    id=bill, move_id=bill, partner_id=None,
                    quantity=amount(chance, 0, 4), product_uom_id=chance.choice((1, 2, None)),
                )  # fmt: skip
                await insert(erp, "sale_order_line_invoice_rel", order_line_id=line, invoice_line_id=bill)


async def test_any_orders_and_invoices_give_the_same_amount_to_invoice(
    erp: asyncpg.Connection, database: Database
) -> None:
    euro = await erp.fetchval("select id from res_currency where name = 'EUR'")
    await erp.execute(f"""
        insert into res_currency_rate values
          (1, {euro}, 1, current_date - 3, 0.873), (2, {euro}, 1, current_date + 1, 9),
          (3, {euro}, null, current_date, 1.3)""")
    for seed in range(10):
        await new_orders(erp, random.Random(seed), euro)  # noqa: S311
        model = await Credit.read(erp, rate=0.873)
        for invoice_partner in (False, True):
            for twice in (False, True):
                options = (
                    f"currency_rates = true\ninvoice_partner = {invoice_partner}\ndiscount_twice = {twice}".lower()
                )
                async with Reader(database, options) as reader:
                    shown = await reader.documents("credit", [7, 8])
                for partner, ref in ((7, "C0001"), (8, "C0002")):
                    said = model.to_invoice(partner, invoice_partner=invoice_partner, discount_twice=twice)
                    told = float(shown[ref]["to_invoice"])
                    assert told == pytest.approx(said, abs=1e-6), (seed, options, ref)

"""The Odoo pack against what Odoo's own program said of the same database, and Odoo's rules beyond that day."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest

from daemon.preflight import examine
from tests.conftest import Database
from tests.integration.odoo import KITS, Reader, number, oracle, restore, shown

pytestmark = pytest.mark.newest


@pytest.fixture
async def odoo(database: Database) -> Database:
    await restore(database)
    return database


async def test_every_row_is_what_odoo_says(odoo: Database) -> None:
    said = oracle()
    async with Reader(odoo, "quantities = [10]") as reader:
        stock = await reader.documents("stock")
        assert {id_: d["available"] for id_, d in stock.items()} == {
            f"{row['sku']}|{said['warehouse']['code']}": int(row["free"].to_integral_value(ROUND_FLOOR))
            for row in said["stock"]
        }
        price = await reader.documents("price")
        wanted = {
            f"{row['sku']}|{row['list'] or 'default'}|{said['currency']}|{row['min_quantity']}": row["amount"]
            for row in said["price"]
        }
        # Odoo's answer was written down with four digits
        assert [
            (id_, price[id_]["amount"], amount)
            for id_, amount in wanted.items()
            if abs(number(price[id_]["amount"]) - amount) > Decimal("0.00005")
        ] == []
        assert len([id_ for id_ in price if "|default|" in id_]) == len([r for r in said["price"] if not r["list"]])
        credit = await reader.documents("credit")
        assert {id_: [number(d[n]) for n in ("limit", "receivable", "to_invoice")] for id_, d in credit.items()} == {
            row["customer"]: [row["limit"], row["receivable"], row["to_invoice"]] for row in said["credit"]
        }
        for document in credit.values():
            assert number(document["available"]) == number(document["limit"]) - number(document["balance"])
            assert document["hold"] is (number(document["available"]) < 0)
        orders = await reader.documents("order_status")
        assert {
            id_: (d["state"], d["delivery_status"], d["invoice_status"], d["reference"],
                  sorted((p["id"], p["status"]) for p in d["fulfilments"] + d["returns"]))
            for id_, d in orders.items()
        } == {
            row["order"]: (row["state"], row["delivery_status"] or None, row["invoice_status"], row["reference"] or None,
                           sorted(tuple(p) for p in row["pickings"]))
            for row in said["order_status"]
        }  # fmt: skip
        content = await reader.documents("content")
        assert {id_: (d["title"], d["description_html"], d["categories"][-1]) for id_, d in content.items()} == {
            f"{row['sku']}|default": (row["title"], row["description_sale"] or None, row["categ"])
            for row in said["content"]
        }


async def test_on_hand_is_what_odoo_says(odoo: Database) -> None:
    async with Reader(odoo, 'sellable = "on_hand"\nwarehouses = ["WH"]') as reader:
        stock = await reader.documents("stock")
    assert {id_: d["available"] for id_, d in stock.items()} == {
        f"{row['sku']}|WH": int(row["on_hand"].to_integral_value(ROUND_FLOOR)) for row in oracle()["stock"]
    }


async def test_the_pack_fits_the_database_with_every_option_that_it_can_have(odoo: Database) -> None:
    everything = (
        'company = "My Company"\nwarehouses = ["WH"]\nsellable = "forecast"\nsku = "default_code"\non_sale = true\n'
        'price_lists = ["VIP"]\ninvoice_partner = true\ndiscount_twice = false\nround_prices = true\n'
        'locales = ["fr_FR", "en_US"]\nimage_url = "https://erp.example/"\norder_number = "client_order_ref"'
    )
    for options in ("", everything):
        async with Reader(odoo, options) as reader:
            found = await examine(reader.erp, reader.config)
            assert [str(p) for p in found.problems if "PUBLICATION" not in p.code and "SLOT" not in p.code] == []


# Odoo's rules beyond that day; what is expected was worked out by hand ----------------------------------------------------

MOVE = (
    "insert into stock_move (id, company_id, product_id, product_uom, location_id, location_dest_id, location_final_id,"
    " name, procure_method, product_uom_qty, product_qty, state, date) values"
)


async def available(odoo: Database, sellable: str, product: int) -> dict[str, int]:
    found = await shown(odoo, "stock", f'sellable = "{sellable}"', product)
    return {document["location"]: document["available"] for document in found.values()}


async def test_each_policy_says_what_may_be_sold(odoo: Database) -> None:
    await odoo.execute(f"""
        update stock_quant set reserved_quantity = 2 where product_id = 3 and location_id = 8;
        {MOVE}
        (9001, 1, 3, 1, 8, 5, null, 'x', 'make_to_stock', 2, 2, 'assigned', now()),
        (9002, 1, 3, 1, 8, 5, null, 'x', 'make_to_stock', 5, 5, 'confirmed', now()),
        (9003, 1, 3, 1, 4, 9, 8, 'x', 'make_to_stock', 7, 7, 'waiting', now()),
        (9004, 1, 3, 1, 8, 17, null, 'x', 'make_to_stock', 9, 9, 'confirmed', now()),
        (9005, 1, 3, 1, 8, 11, 5, 'x', 'make_to_stock', 1, 1, 'partially_available', now()),
        (9006, 1, 3, 1, 8, 5, null, 'x', 'make_to_stock', 3, 3, 'done', now()),
        (9007, 1, 3, 1, 8, 5, null, 'x', 'make_to_stock', 4, 4, 'draft', now());
    """)
    wanted = {"on_hand": 28, "free": 26, "promised": 20, "forecast": 27}
    assert {policy: (await available(odoo, policy, 3))["WH"] for policy in wanted} == wanted


async def test_a_warehouse_has_what_lies_below_it_and_nothing_else(odoo: Database) -> None:
    await odoo.execute("""
        insert into stock_location (id, location_id, name, usage, parent_path, active) values
        (70, 1, 'W2', 'view', '1/70/', true), (71, 70, 'Stock', 'internal', '1/70/71/', true),
        (72, 71, 'Deep', 'internal', '1/70/71/72/', false), (700, 1, 'Other', 'internal', '1/700/', true);
        insert into stock_warehouse (id, company_id, view_location_id, lot_stock_id, code, name, active, reception_steps,
                                     delivery_steps)
        values (7, 1, 70, 71, 'W2', 'Second', true, 'one_step', 'ship_only');
        insert into stock_quant (id, product_id, location_id, quantity, reserved_quantity, in_date) values
        (9001, 3, 71, 4.4, 0, now()), (9002, 3, 72, 0.2, 0, now()), (9003, 3, 72, null, 1.5, now()),
        (9004, 3, 700, 50, 0, now()), (9005, 3, 70, 0, 0, now());
    """)
    assert await available(odoo, "free", 3) == {"WH": 28, "W2": 3}
    assert list(await shown(odoo, "stock", 'warehouses = ["W2"]', 3)) == ["GAD2|W2"]
    await odoo.execute("update stock_warehouse set active = false where id = 7")
    assert await available(odoo, "free", 3) == {"WH": 28}


async def test_what_is_not_on_sale_has_no_documents(odoo: Database) -> None:
    await odoo.execute("""
        update product_template set is_storable = false where id = 2;
        update product_product set default_code = '' where id = 4;
        update product_product set active = false where id = 6;
        update product_template set sale_ok = false where id = 6;
    """)
    assert list(await shown(odoo, "stock", "", 3, 4, 6, 7)) == ["BULK0002|WH"]
    assert {id_.split("|")[0] for id_ in await shown(odoo, "price", "", 3, 4, 6, 7)} == {"GAD2", "BULK0002"}
    assert list(await shown(odoo, "stock", "on_sale = true", 7)) == []


async def price(odoo: Database, product: int, list_: str, quantity: int = 1, options: str = "") -> str:
    found = await shown(odoo, "price", f"quantities = [{quantity}]\n{options}", product)
    amounts = [d["amount"] for d in found.values() if (d["price_list"], d["min_quantity"]) == (list_, quantity)]
    assert len(amounts) == 1
    return f"{number(amounts[0]).normalize():f}"


async def test_of_the_rules_that_fit_the_first_in_odoos_order_decides(odoo: Database) -> None:
    """Kind of rule, then quantity from above, then the category's full name from above, then the newest."""
    rule = (
        "insert into product_pricelist_item (id, pricelist_id, applied_on, display_applied_on, base, compute_price,"
        " fixed_price, min_quantity, product_tmpl_id, product_id, categ_id) values ({}, 1, '{}', '1_product', 'list_price',"
        " 'fixed', {}, {}, {}, {}, {})"
    )
    await odoo.execute("delete from product_pricelist_item where pricelist_id = 1")
    await odoo.execute("""
        update product_category set parent_id = 4, parent_path = '4/5/', complete_name = 'Cat A / Cat A1' where id = 5;
        update product_template set categ_id = 5 where id = 2""")
    steps = [
        ("3_global", 10, 0, "null", "null", "null", "10"),
        ("3_global", 11, 0, "null", "null", "null", "11"),  # newer
        ("3_global", 12, 5, "null", "null", "null", "11"),  # not reached
        ("2_product_category", 20, 0, "null", "null", 4, "20"),  # the parent
        ("2_product_category", 21, 0, "null", "null", 5, "21"),  # 'Cat A / Cat A1' is above 'Cat A'
        ("2_product_category", 22, 0, "null", "null", 4, "21"),
        ("2_product_category", 23, 0, "null", "null", 3, "21"),  # another category
        ("1_product", 30, 0, 2, "null", "null", "30"),
        ("1_product", 31, 0, 1, "null", "null", "30"),  # another product
        ("0_product_variant", 40, 0, 2, 3, "null", "40"),
        ("0_product_variant", 41, 0, 1, 1, "null", "40"),  # another variant
        ("0_product_variant", 42, 1, 2, 3, "null", "42"),  # a quantity of one is reached and is above none
    ]
    for id_, (kind, fixed, least, template, product, category, wanted) in enumerate(steps, 9001):
        await odoo.execute(rule.format(id_, kind, fixed, least, template, product, category))
        assert await price(odoo, 3, "Wholesale") == wanted, f"after rule {kind} {fixed}"
    assert await price(odoo, 3, "Wholesale", 5) == "42"


async def test_dates_hold_to_the_second(odoo: Database) -> None:
    for start, end, applies in (
        ("- interval '1 day'", "+ interval '1 day'", True),
        ("+ interval '1 day'", "+ interval '2 days'", False),
        ("- interval '2 days'", "- interval '2 seconds'", False),
    ):
        await odoo.execute(f"""
            delete from product_pricelist_item where id = 9001;
            insert into product_pricelist_item (id, pricelist_id, applied_on, display_applied_on, base, compute_price,
                                                fixed_price, min_quantity, product_tmpl_id, date_start, date_end)
            values (9001, 1, '1_product', '1_product', 'list_price', 'fixed', 5, 0, 2,
                    (now() at time zone 'utc') {start}, (now() at time zone 'utc') {end})""")
        assert await price(odoo, 3, "Wholesale") == ("5" if applies else "90")


async def test_an_archived_list_and_one_of_another_company_are_not_shown_but_can_be_rested_on(odoo: Database) -> None:
    lists = {d["price_list"] for d in (await shown(odoo, "price", "", 3)).values()}
    assert lists == {"default", "Wholesale", "VIP"}
    before = await price(odoo, 3, "VIP")
    for change in ("active = false", "active = true, company_id = 77"):
        await odoo.execute(f"update product_pricelist set {change} where id = 1")
        lists = {d["price_list"] for d in (await shown(odoo, "price", "", 3)).values()}
        assert lists == {"default", "VIP"}
        assert await price(odoo, 3, "VIP") == before
    assert {d["price_list"] for d in (await shown(odoo, "price", "list_price = false", 3)).values()} == {"VIP"}


async def test_another_currency_is_refused_without_rates_and_converted_with_them(odoo: Database) -> None:
    await odoo.execute("""
        update product_pricelist set currency_id = (select id from res_currency where name = 'EUR') where id = 1;
        create table res_currency_rate (id int primary key, currency_id int, company_id int, name date, rate numeric);
        insert into res_currency_rate select n, c.id, company, day, rate from res_currency c, (values
          (1, 1, date '2020-01-01', 0.9), (2, 1, current_date - 1, 0.8), (3, 1, current_date + 30, 0.5),
          (4, null, current_date - 1, 0.7)) v(n, company, day, rate) where c.name = 'EUR';
    """)
    async with Reader(odoo) as reader:
        refused = await reader.refused("price", [3])
    assert "set currency_rates" in refused[3]
    # 99.90 USD at 0.8 less 10 %, to 0.05, plus 0.10; and 5 % less on that, in USD
    assert await price(odoo, 3, "Wholesale", options="currency_rates = true") == "72.05"
    assert abs(Decimal(await price(odoo, 3, "VIP", options="currency_rates = true")) - Decimal("85.559375")) < Decimal(
        "1e-9"
    )


async def test_what_is_ordered_counts_as_odoo_counts_it(odoo: Database) -> None:
    async def to_invoice(options: str = "") -> Decimal:
        return number((await shown(odoo, "credit", options, 8))["C0002"]["to_invoice"])

    assert await to_invoice() == 2300
    await odoo.execute("update sale_order_line set discount = 10 where id = 4")  # of 23.00
    assert await to_invoice() == Decimal("2297.70")
    assert await to_invoice("discount_twice = false") == 2300
    # invoiced by delivery: one of two is delivered
    await odoo.execute("""
        update sale_order_line set discount = 0, qty_delivered = 1 where id = 4;
        update product_template set invoice_policy = 'delivery' where id = (
          select product_tmpl_id from product_product where id = 6)""")
    assert await to_invoice() == Decimal("2288.50")
    await odoo.execute("update sale_order set state = 'sent' where id = 3")
    assert await to_invoice() == 0
    # an order of another partner that is invoiced to this one
    await odoo.execute("update sale_order set state = 'sale', partner_id = 7 where id = 3")
    assert await to_invoice() == 0
    assert await to_invoice("invoice_partner = true") == Decimal("2288.50")


async def test_a_limit_is_the_partners_own_else_the_companys_default_else_none(odoo: Database) -> None:
    async def limit() -> Any:
        return (await shown(odoo, "credit", "", 8))["C0002"]["limit"]

    assert await limit() == 200
    for value, wanted in (('{"1": 50.5}', "50.5"), ('{"2": 50.5}', 200), ('{"1": null}', None), ('{"1": 0}', None)):
        await odoo.execute(f"update res_partner set credit_limit = '{value}' where id = 8")
        assert await limit() == wanted, value
    await odoo.execute("update res_partner set credit_limit = null where id = 8; delete from ir_default where id = 18")
    assert await limit() is None


async def test_options_that_read_tables_of_modules(odoo: Database) -> None:
    """Columns as the modules delivery and product make them."""
    await odoo.execute("""
        create table delivery_carrier (id int primary key, name jsonb);
        insert into delivery_carrier values (1, '{"en_US": "Fast Post"}');
        alter table stock_picking add carrier_id int, add carrier_tracking_ref varchar;
        update stock_picking set carrier_id = 1, carrier_tracking_ref = 'T-1' where id = 1;
        create table product_attribute (id int primary key, name jsonb);
        insert into product_attribute values (1, '{"en_US": "Colour", "fr_FR": "Couleur"}');
        create table product_attribute_value (id int primary key, attribute_id int, name jsonb);
        insert into product_attribute_value values (1, 1, '{"en_US": "Red", "fr_FR": "Rouge"}'), (2, 1, '{"en_US": "Blue"}');
    """)
    order = (await shown(odoo, "order_status", "carriers = true", 1))["S00001"]
    assert [(p["carrier"], p["tracking_number"]) for p in order["fulfilments"]] == [("Fast Post", "T-1")]
    options = 'attributes = true\nlocales = ["fr_FR"]\nimage_url = "https://erp.example/"'
    content = await shown(odoo, "content", options, 1, 2)
    assert content["WID-RED|fr_FR"]["attributes"] == {"Couleur": "Rouge"}
    assert content["WID-BLU|fr_FR"]["attributes"] == {"Couleur": "Blue"}
    assert content["WID-BLU|fr_FR"]["images"][0]["url"] == (
        "https://erp.example/web/image/product.product/2/image_1920?unique=b6c31dce"
    )
    assert list(await shown(odoo, "order_status", 'order_number = "client_order_ref"', 1, 2, 3)) == ["WEB-1001"]


async def test_every_rule_can_be_planned_with_every_switch(odoo: Database) -> None:
    await odoo.execute("""
        create table res_currency_rate (id int primary key, currency_id int, company_id int, name date, rate numeric);
        create table delivery_carrier (id int primary key, name jsonb);
        alter table stock_picking add carrier_id int, add carrier_tracking_ref varchar;
        create table product_attribute (id int primary key, name jsonb);
        create table product_attribute_value (id int primary key, attribute_id int, name jsonb);
        create publication erpsyncd;
    """)
    await odoo.execute(KITS)
    switches = (
        "currency_rates = true\ncarriers = true\nattributes = true\ninvoice_partner = true\nkits = true\n"
        'image_url = "x"\nsellable = "forecast"'
    )
    async with Reader(odoo, switches) as reader:
        for table in reader.config.watched_tables():
            await odoo.execute(f"alter publication erpsyncd add table {table}")
        found = await examine(reader.erp, reader.config)
        assert [str(problem) for problem in found.problems if problem.code != "E-SLOT-UNBOUNDED"] == []

"""Odoo's rules where a database has more than the sample: companies, currencies, units, contacts, languages, steps.

Rows are as Odoo writes them; what is expected was worked out by hand from what Odoo's own program does with them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Database
from tests.integration.odoo import KITS, Reader, number, restore, shown

pytestmark = pytest.mark.newest

EUROPE = """
create table res_currency_rate (id int primary key, currency_id int, company_id int, name date, rate numeric);
insert into res_currency_rate select n, c.id, company, day, rate from res_currency c, (values
  (1, 1, date '2020-01-01', 0.9), (2, 1, current_date, 0.8), (3, 1, current_date + 1, 0.5), (4, null, current_date, 0.7)
) v(n, company, day, rate) where c.name = 'EUR';
"""


def company(id_: int, name: str, path: str, **more: str) -> str:
    """A company like the first one."""
    changes = {"id": str(id_), "name": f"'{name}'", "parent_path": f"'{path}'", **more}
    sets = ", ".join(f"{column} = {value}" for column, value in changes.items())
    return f"""
    create temporary table made as select * from res_company where id = 1;
    update made set {sets};
    insert into res_company select * from made;
    drop table made;"""


@pytest.fixture
async def odoo(database: Database) -> Database:
    await restore(database)
    return database


async def to_invoice(odoo: Database, options: str = "") -> Decimal:
    """Of C0002, whose one order S00003 has a hundred lines of 23.00 to invoice."""
    return number((await shown(odoo, "credit", options, 8))["C0002"]["to_invoice"])


async def test_a_branch_sells_what_the_company_above_it_has(odoo: Database) -> None:
    """And neither the company above nor a sister sells what a branch has."""
    await odoo.execute(company(2, "Branch", "1/2/") + company(3, "Sister", "1/3/") + company(4, "Stranger", "4/"))
    await odoo.execute("update product_template set company_id = 1 where id = 2")
    lists = {
        name: {d["price_list"] for d in (await shown(odoo, "price", f'company = "{name}"', 3)).values()}
        for name in ("My Company", "Branch", "Stranger")
    }
    both = {"default", "Wholesale", "VIP"}
    assert lists == {"My Company": both, "Branch": both, "Stranger": set()}
    await odoo.execute("update product_template set company_id = 2 where id = 2")
    await odoo.execute("update product_pricelist set company_id = 2 where id = 2")
    assert {d["price_list"] for d in (await shown(odoo, "price", 'company = "Branch"', 3)).values()} == both
    for name in ("My Company", "Sister"):
        assert await shown(odoo, "price", f'company = "{name}"', 3) == {}
        assert {d["price_list"] for d in (await shown(odoo, "price", f'company = "{name}"', 4)).values()} == both - {
            "VIP"
        }


async def test_a_sales_price_is_in_the_money_of_the_first_company_unless_the_product_has_its_own(
    odoo: Database,
) -> None:
    euro = "(select id from res_currency where name = 'EUR')"
    await odoo.execute(company(2, "Europe", "2/", currency_id=euro))
    await odoo.execute("update product_pricelist set company_id = null")
    plain = [d for d in (await shown(odoo, "price", 'company = "Europe"', 3)).values() if d["price_list"] == "default"]
    assert [(d["currency"], number(d["amount"])) for d in plain] == [("USD", Decimal("99.9"))]
    await odoo.execute(f"update product_pricelist set currency_id = {euro}; update product_template set company_id = 2")
    everything = (await shown(odoo, "price", 'company = "Europe"', 3)).values()
    assert {(d["price_list"], d["currency"]) for d in everything} == {
        ("default", "EUR"), ("Wholesale", "EUR"), ("VIP", "EUR"),
    }  # fmt: skip


async def test_orders_in_another_currency_count_at_the_rate_of_today(odoo: Database) -> None:
    await odoo.execute(f"""
        {EUROPE}
        update sale_order set currency_rate = 2, currency_id = (select id from res_currency where name = 'EUR')
         where id = 3;
        update sale_order_line set currency_id = (select id from res_currency where name = 'EUR') where order_id = 3;
    """)
    # 2300 EUR at 0.8 EUR a dollar: the company's own newest rate, not tomorrow's and not the one of all companies
    assert await to_invoice(odoo, "currency_rates = true") == 2875
    # without rates only the order knows one
    assert await to_invoice(odoo) == 1150
    await odoo.execute("delete from res_currency_rate where company_id = 1 and name <= current_date")
    # none of the company's own has begun: the one for all companies
    assert await to_invoice(odoo, "currency_rates = true") == Decimal("3285.71")
    await odoo.execute("delete from res_currency_rate where company_id is null")
    # none has begun at all: the first one there is
    assert await to_invoice(odoo, "currency_rates = true") == 4600


async def test_what_was_invoiced_in_another_unit_counts_in_the_orders(odoo: Database) -> None:
    async def invoiced(quantity: str, unit: int, kind: str = "out_invoice", state: str = "posted") -> Decimal:
        """What is taken off of 2300 for line 4, two pieces of 11.50."""
        await odoo.execute(f"""
            delete from sale_order_line_invoice_rel where order_line_id = 4;
            update account_move set move_type = '{kind}', state = '{state}' where id = 1;
            update account_move_line set quantity = {quantity}, product_uom_id = {unit} where id = 1;
            insert into sale_order_line_invoice_rel (order_line_id, invoice_line_id) values (4, 1);
        """)
        return 2300 - await to_invoice(odoo)

    assert await invoiced("1", 1) == Decimal("11.50")
    assert await invoiced("1", 1, "out_refund") == Decimal("-11.50")
    assert await invoiced("1", 1, "out_receipt") == Decimal("11.50")
    assert await invoiced("1", 1, state="draft") == 0
    assert await invoiced("1", 1, state="cancel") == 0
    # a dozen is twelve and not 12.01, for all that 0.08333333333333333 says
    assert await invoiced("1", 2) == 138
    assert await invoiced("-1", 2) == -138
    # in the order's unit a quantity is rounded up, to 0.01: a seventh of a dozen is 1.72 pieces
    assert await invoiced("0.143", 2) == Decimal("19.78")


async def test_without_limits_nothing_is_to_be_invoiced_as_in_odoo(odoo: Database) -> None:
    await odoo.execute("update res_company set account_use_credit_limit = false")
    document = (await shown(odoo, "credit", "", 8))["C0002"]
    assert (document["limit"], document["to_invoice"], document["hold"]) == (None, 0, False)


async def test_a_contact_counts_for_the_company_behind_it(odoo: Database) -> None:
    """Accounts name the company itself; an order may name a contact of it."""
    await odoo.execute("""
        insert into res_partner (id, name, ref, active, parent_id, commercial_partner_id, autopost_bills)
        values (90, 'Buyer', 'C0090', true, 8, 8, 'ask');
        update sale_order set partner_invoice_id = 90, partner_id = 90 where id = 3;
    """)
    assert await shown(odoo, "credit", "", 90) == {}
    assert await to_invoice(odoo, "invoice_partner = true") == 2300
    assert await to_invoice(odoo) == 0  # builds that look at the partner who ordered
    # the contact changes the company
    await odoo.execute("update res_partner set parent_id = 7, commercial_partner_id = 7 where id = 90")
    assert await to_invoice(odoo, "invoice_partner = true") == 0
    found = (await shown(odoo, "credit", "invoice_partner = true", 7))["C0001"]
    assert number(found["to_invoice"]) == 2300


async def status(odoo: Database, **fields: str) -> str:
    sets = ", ".join(f"{name} = {value}" for name, value in fields.items())
    await odoo.execute(f"update sale_order set {sets} where id = 3")
    return str((await shown(odoo, "order_status", "", 3))["S00003"]["status"])


async def test_an_order_is_shipped_only_when_something_left_the_house(odoo: Database) -> None:
    for delivery, said in (
        ("null", "confirmed"), ("'pending'", "confirmed"), ("'started'", "confirmed"),
        ("'partial'", "partially_shipped"), ("'full'", "shipped"),
    ):  # fmt: skip
        assert await status(odoo, delivery_status=delivery) == said, delivery
    assert await status(odoo, locked="true") == "shipped"
    assert await status(odoo, state="'cancel'") == "cancelled"
    assert await status(odoo, state="'sent'") == "quotation"


async def test_lines_of_a_delivery_are_in_the_products_unit(odoo: Database) -> None:
    async def pieces() -> Any:
        (parcel,) = (await shown(odoo, "order_status", "", 3))["S00003"]["fulfilments"]
        return {line["sku"]: line["quantity"] for line in parcel["lines"]}["BULK0001"]

    # two dozens; then some of them left, and two single pieces beside them
    await odoo.execute("update stock_move set product_uom = 2, product_uom_qty = 2, product_qty = 24 where id = 1013")
    assert await pieces() == "24"
    await odoo.execute("update stock_move set state = 'done', quantity = 1.5 where id = 1013")
    assert await pieces() == "18"
    await odoo.execute("update stock_move set product_id = 6, product_uom_qty = 2 where id = 1014")
    assert await pieces() == "20"
    await odoo.execute("update stock_move set state = 'cancel' where id = 1014")
    assert await pieces() == "18"


async def test_a_text_without_a_translation_is_the_english_one(odoo: Database) -> None:
    await odoo.execute("""
        update product_template set name = '{"en_US": "Gadget", "fr_FR": "Gadget bleu"}', description_sale = '{"en_US": "Good"}'
         where id = 2;
        update product_template set name = '{"de_DE": "Kabel"}', description_sale = null where id = 3;
    """)
    options = 'locales = ["fr_FR", "en_US", "pt_BR"]'
    content = await shown(odoo, "content", options, 3, 4)
    assert {id_: (d["title"], d["description_html"]) for id_, d in content.items()} == {
        "GAD2|fr_FR": ("Gadget bleu", "Good"),
        "GAD2|en_US": ("Gadget", "Good"),
        "GAD2|pt_BR": ("Gadget", "Good"),
        "CAB|fr_FR": ("Kabel", None),
        "CAB|en_US": ("Kabel", None),
        "CAB|pt_BR": ("Kabel", None),
    }


async def test_lists_that_rest_on_each_other_set_their_products_aside_and_no_others(odoo: Database) -> None:
    await odoo.execute("""
        delete from product_pricelist_item;
        insert into product_pricelist_item (id, pricelist_id, applied_on, display_applied_on, base, base_pricelist_id,
                                            compute_price, percent_price, product_tmpl_id)
        values (901, 1, '1_product', '1_product', 'pricelist', 2, 'percentage', 10, 2),
               (902, 2, '1_product', '1_product', 'pricelist', 1, 'percentage', 10, 2);
    """)
    async with Reader(odoo) as reader:
        refused = await reader.refused("price", [3, 4])
        assert list(refused) == [3]
        assert "price lists rest on each other: Wholesale and VIP" in refused[3]
        assert await reader.documents("price", [4])


async def test_a_kit_can_be_sold_as_often_as_its_scarcest_part_allows(odoo: Database) -> None:
    await odoo.execute(KITS)

    async def kits(*products: int, options: str = "") -> dict[str, int]:
        found = await shown(odoo, "stock", f"kits = true\n{options}", *products)
        return {document["sku"]: document["available"] for document in found.values()}

    # two pieces of BULK0001 are made of 3 gadgets (100), 500 g of cable (12.5 kg) and a BULK0002 (a dozen of 100 widgets)
    assert await kits(6, 7) == {"BULK0001": 16, "BULK0002": 8}
    # 4 kg are reserved: 17 batches of half a kilogram are left, the widgets allow 8.33
    await odoo.execute("update stock_quant set reserved_quantity = 4 where product_id = 4")
    assert await kits(6) == {"BULK0001": 16}
    await odoo.execute("update stock_quant set reserved_quantity = 11.75 where product_id = 4")
    assert await kits(6) == {"BULK0001": 3}  # a batch and a half
    assert await kits(6, options='sellable = "on_hand"') == {"BULK0001": 16}
    # no stock is kept of a part, or none of it goes in: it does not count
    await odoo.execute("update mrp_bom_line set product_qty = 0 where id = 3")
    assert await kits(6) == {"BULK0001": 3}
    await odoo.execute("update product_template set is_storable = false where id = 3")
    assert await kits(6, 4) == {"BULK0001": 66}  # 33.33 batches of three gadgets, two pieces each
    # an archived bill is none
    await odoo.execute("update mrp_bom set active = false where id = 1; delete from stock_quant where product_id = 6")
    assert await kits(6) == {"BULK0001": 0}
    # parts are shown for themselves, as before
    assert await kits(3) == {"GAD2": 100}


async def test_a_line_of_a_bill_may_be_for_some_variants_and_a_variant_may_have_a_bill_of_its_own(
    odoo: Database,
) -> None:
    await odoo.execute(KITS)
    await odoo.execute("""
        insert into mrp_bom values (10, 'phantom', 1, null, 1, 1, null, true, 0);
        insert into mrp_bom_line values (11, 10, 3, 1, 1), (12, 10, 4, 1, 12);
        insert into mrp_bom_line_product_template_attribute_value_rel
        select 10 + c.product_product_id, c.product_template_attribute_value_id
          from product_variant_combination c where c.product_product_id in (1, 2);
    """)

    async def kits() -> dict[str, int]:
        found = await shown(odoo, "stock", "kits = true", 1, 2)
        return {document["sku"]: document["available"] for document in found.values()}

    assert await kits() == {"WID-RED": 100, "WID-BLU": 12}
    await odoo.execute("""
        insert into mrp_bom values (20, 'phantom', 1, 2, 1, 1, null, true, 0), (21, 'normal', 1, 1, 1, 1, null, true, -1);
        insert into mrp_bom_line values (21, 20, 3, 50, 1);
    """)
    assert await kits() == {"WID-RED": 100, "WID-BLU": 2}
    await odoo.execute("update mrp_bom set sequence = 5 where id = 20")
    assert await kits() == {"WID-RED": 100, "WID-BLU": 12}

"""Runs in Tryton's own environment: a company with products, price lists and customers, made through proteus.

Invariant: everything is written by Tryton itself; nothing here knows erpsyncd.
"""

from __future__ import annotations

import io
import os
import sys
from decimal import Decimal
from typing import Any

os.environ["TRYTOND_DATABASE_URI"], os.environ["TRYTOND_CONFIG"], DATABASE = sys.argv[1:4]

import PIL.Image  # noqa: E402 -- trytond reads the environment when it is imported
from proteus import Model, config  # noqa: E402
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, create_tax, get_accounts  # noqa: E402
from trytond.modules.account_invoice.tests.tools import create_payment_term, set_fiscalyear_invoice_sequences  # noqa: E402
from trytond.modules.company.tests.tools import create_company, get_company  # noqa: E402

PROTEUS = config.set_trytond(database=sys.argv[1] + DATABASE)
PROTEUS.skip_warning = True

if "company" not in PROTEUS.context:
    PROTEUS._context.update(PROTEUS.get_proxy("res.user").get_preferences(True, PROTEUS.context))


def model(name: str) -> Any:
    return Model.get(name)


def one(name: str, /, **fields: Any) -> Any:
    (found,) = model(name).find([(field, "=", value) for field, value in fields.items()])
    return found


def picture(red: int) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (red, 20, 60)).save(out, "PNG")
    return out.getvalue()


def template(name: str, code: str, suffixes: list[str], price: str, cost: str, **more: Any) -> Any:
    made = model("product.template")()
    made.name, made.code, made.salable, made.purchasable = name, code, True, True
    made.type = more.get("type", "goods")
    made.default_uom = one("product.uom", name=more.get("unit", "Unit"))
    if "sale_unit" in more:
        made.sale_uom = one("product.uom", name=more["sale_unit"])
    made.list_price = Decimal(price)
    made.account_category = one("product.category", name="Goods")
    for name in more.get("categories", ()):
        made.categories.append(one("product.category", name=name))
    while len(made.products) < len(suffixes):
        made.products.new()
    for product, suffix in zip(made.products, suffixes, strict=True):
        product.suffix_code = suffix
        product.cost_price = Decimal(cost)
        product.description = f"{name} {suffix}\n<fine> & good"
    made.save()
    return made


def products() -> None:
    category = model("product.category")
    accounts = get_accounts(get_company())
    tax = create_tax(Decimal(".20"), get_company())
    tax.save()
    goods = category(name="Goods", accounting=True)
    goods.account_expense, goods.account_revenue = accounts["expense"], accounts["revenue"]
    goods.customer_taxes.append(tax)
    goods.save()
    tools = category(name="Tools")
    tools.save()
    category(name="Hand tools", parent=tools).save()
    category(name="Garden").save()
    widget = template("Widget", "WID", ["-RED", "-BLU"], "25.00", "10", categories=["Hand tools"])
    template("Gadget", "GAD", [""], "99.90", "55")
    template("Cable", "CAB", [""], "4.5", "2", unit="Kilogram")
    template("Egg", "EGG", [""], "0.25", "0.1", sale_unit="Dozen")
    template("Advice", "ADV", [""], "120", "0", type="service")
    kit = template("Starter kit", "KIT", [""], "149", "0", type="kit")
    kit = model("product.template")(kit.id)
    for sku, quantity in (("WID-RED", 2.0), ("GAD", 1.0)):
        part = kit.components.new()
        part.product, part.quantity = one("product.product", code=sku), quantity
    kit.save()
    for number in range(12):
        template(f"Filler {number}", f"FIL{number:02d}", [""], "7.00", "3")
    model("product.image")(template=widget, image=picture(1), description="front").save()


def dozen() -> None:
    made = model("product.uom")(name="Dozen", symbol="dz", factor=12.0, rate=round(1 / 12, 12), rounding=1.0, digits=0)
    made.category = one("product.uom", name="Unit").category
    made.save()


def price_lists() -> None:
    trade = model("product.price_list")(name="Wholesale", price="list_price", unit="product_default")
    for sku, category, quantity, formula in (
        ("WID-RED", None, 10.0, "unit_price * 0.7"),
        ("WID-RED", None, None, "unit_price * 0.8"),
        (None, "Tools", None, 'Decimal("19.99")'),
        (None, None, 24.0, "unit_price * 0.85"),
        (None, None, None, "unit_price * 0.9"),
    ):
        line = trade.lines.new()
        line.quantity, line.formula = quantity, formula
        if sku:
            line.product = one("product.product", code=sku)
        if category:
            line.category = one("product.category", name=category)
    trade.save()
    dear = model("product.price_list")(name="Projects", price="cost_price", unit="product_sale", parent=trade)
    for sku, quantity, formula in (
        ("GAD", None, "cost_price * 1.3"),
        ("CAB", 5.0, "list_price - 1"),
        (None, None, "parent_unit_price - 0.5"),
    ):
        line = dear.lines.new()
        line.quantity, line.formula = quantity, formula
        if sku:
            line.product = one("product.product", code=sku)
    dear.save()


def parties() -> None:
    term = create_payment_term()
    term.save()
    for name, code in (("Customer One", "C0001"), ("Customer Two", "C0002"), ("Customer Three", "C0003")):
        model("party.party")(name=name, code=code, customer_payment_term=term).save()
    model("party.party")(name="Supplier", code="S0001", supplier_payment_term=term).save()


def build() -> None:
    """From a database with modules only to one that sells."""
    create_company(config=PROTEUS)
    PROTEUS._context.update(PROTEUS.get_proxy("res.user").get_preferences(True, PROTEUS.context))
    company = get_company()
    company.timezone = "Europe/Prague"
    company.save()
    create_chart(company)
    year = set_fiscalyear_invoice_sequences(create_fiscalyear(company))
    year.click("create_period")
    dozen()
    products()
    price_lists()
    parties()
    french = one("ir.lang", code="fr")
    french.click("load_translations")
    cash = one("account.account", code="1.1.1")
    (journal,) = model("account.journal").find([("type", "=", "cash")])
    model("account.invoice.payment.method")(
        name="Cash", journal=journal, credit_account=cash, debit_account=cash
    ).save()


if __name__ == "__main__":
    build()

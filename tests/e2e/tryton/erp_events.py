"""Runs in Tryton's own environment: what happens in a business, each as a clerk would do it through proteus.

Invariant: each event is one function of plain values, and Tryton has committed it when the function returns.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from erp_oracle import today
from erp_world import PROTEUS, model, one, picture, template
from proteus import Wizard


def product(sku: str) -> Any:
    return one("product.product", code=sku)


def location(code: str) -> Any:
    return one("stock.location", code=code)


def party(code: str) -> Any:
    return one("party.party", code=code)


def price_list(name: str) -> Any:
    return one("product.price_list", name=name)


def count(**stock: float) -> None:
    """An inventory of the storage zone; names hold _ for -."""
    made = model("stock.inventory")(location=location("STO"))
    for name, quantity in stock.items():
        line = made.lines.new()
        line.product, line.quantity = product(name.replace("_", "-")), float(quantity)
    made.save()
    made.click("confirm")


def template_price(sku: str, price: str) -> None:
    made = model("product.template")(product(sku).template.id)
    made.list_price = Decimal(price)
    made.save()


def variant_price(sku: str, price: str | None) -> None:
    made = product(sku)
    made.list_price = None if price is None else Decimal(price)
    made.save()


def cost_price(sku: str, price: str) -> None:
    wizard = Wizard("product.modify_cost_price", [product(sku)])
    wizard.form.cost_price = price
    wizard.execute("modify")


def line_formula(name: str, number: int, formula: str) -> None:
    line = price_list(name).lines[number]
    line.formula = formula
    line.save()


def add_line(name: str, formula: str, sku: str | None = None, quantity: float | None = None, days: Any = None) -> None:
    made = price_list(name)
    line = made.lines.new()
    line.formula, line.quantity, line.sequence = formula, quantity, 1
    if sku:
        line.product = product(sku)
    if days:
        line.start_date, line.end_date = (today() + dt.timedelta(days=day) for day in days)
    made.save()


def weigh(sku: str, weight: float, unit: str) -> None:
    made = model("product.template")(product(sku).template.id)
    made.weight, made.weight_uom = weight, one("product.uom", name=unit)
    made.save()


def remove_line(name: str, number: int) -> None:
    made = price_list(name)
    made.lines.remove(made.lines[number])
    made.save()


def list_base(name: str, base: str) -> None:
    made = price_list(name)
    made.price = base
    made.save()


def rename_list(name: str, to: str) -> None:
    made = price_list(name)
    made.name = to
    made.save()


def customer_list(code: str, name: str | None) -> None:
    made = party(code)
    made.sale_price_list = price_list(name) if name else None
    made.save()


def default_list(name: str | None) -> None:
    made = model("sale.configuration")(1)
    made.sale_price_list = price_list(name) if name else None
    made.save()


def credit_limit(code: str, amount: str | None) -> None:
    made = party(code)
    made.credit_limit_amount = None if amount is None else Decimal(amount)
    made.save()


def default_limit(amount: str | None) -> None:
    made = model("account.configuration")(1)
    made.default_credit_limit_amount = None if amount is None else Decimal(amount)
    made.save()


def new_party(code: str) -> None:
    model("party.party")(name=f"Party {code}", code=code).save()


def quote(code: str, lines: dict[str, float], method: str = "order", shipment: str = "order") -> int:
    made = model("sale.sale")(party=party(code))
    made.invoice_method, made.shipment_method, made.reference = method, shipment, f"WEB-{code}"
    for sku, quantity in lines.items():
        line = made.lines.new()
        line.product, line.quantity = product(sku), float(quantity)
        if quantity < 0:
            line.unit_price = Decimal(18)
    made.save()
    made.click("quote")
    number: int = made.id
    return number


def confirm(sale: int) -> None:
    model("sale.sale")(sale).click("confirm")


def order(code: str, lines: dict[str, float], method: str = "order", shipment: str = "order") -> int:
    sale = quote(code, lines, method, shipment)
    confirm(sale)
    return sale


def ship(sale: int, step: str) -> None:
    (shipment,) = model("sale.sale")(sale).shipments
    shipment.click(step)


def track(sale: int, reference: str, carrier: bool = True) -> None:
    (shipment,) = model("sale.sale")(sale).shipments
    shipment.shipping_reference = reference
    if carrier:
        shipment.carrier = _carrier()
    shipment.save()


def _carrier() -> Any:
    found = model("carrier").find([])
    if found:
        return found[0]
    owner = model("party.party")(name="Parcel Post", code="P0001")
    owner.save()
    made = template("Freight", "FRT", [""], "5", "3", type="service")
    carrier = model("carrier")(party=owner, carrier_product=made.products[0])
    carrier.save()
    return carrier


def post(sale: int) -> None:
    model("sale.sale")(sale).invoices[0].click("post")


def pay(sale: int, part: str | None = None) -> None:
    pay_invoice(model("sale.sale")(sale).invoices[0], part)


def pay_invoice(invoice: Any, part: str | None = None) -> None:
    wizard = model("account.invoice")(invoice.id).click("pay")
    (wizard.form.payment_method,) = model("account.invoice.payment.method").find([("name", "=", "Cash")])
    if part:
        wizard.form.amount = Decimal(part)
    wizard.execute("choice")
    if part:
        wizard.form.type = "partial"
        wizard.execute("pay")


def receive_return(sale: int) -> None:
    (shipment,) = model("sale.sale")(sale).shipment_returns
    shipment.click("receive")
    shipment.click("do")


def cancel_shipment(sale: int, *, give_up: bool) -> None:
    ship(sale, "cancel")
    handle(model("sale.sale")(sale), give_up=give_up)


def handle(sale: Any, *, give_up: bool) -> None:
    wizard = sale.click("handle_shipment_exception")
    chosen = wizard.form.ignore_moves if give_up else wizard.form.recreate_moves
    chosen.extend(chosen.find([("id", "in", [move.id for move in wizard.form.domain_moves])]))
    wizard.execute("handle")


def cancel_order(sale: int) -> None:
    model("sale.sale")(sale).click("cancel")


def delete_order(sale: int) -> None:
    cancel_order(sale)
    model("sale.sale")(sale).delete()


def buy(sku: str, quantity: float) -> int:
    made = model("purchase.purchase")(party=party("S0001"), invoice_method="fulfillment")
    line = made.lines.new()
    line.product, line.quantity, line.unit_price = product(sku), float(quantity), Decimal(10)
    made.save()
    made.click("quote")
    made.click("confirm")
    arrival = model("stock.shipment.in")(supplier=made.party)
    made.reload()
    for move in made.moves:
        arrival.incoming_moves.append(model("stock.move")(move.id))
    arrival.save()
    number: int = arrival.id
    return number


def arrive(arrival: int, step: str) -> None:
    model("stock.shipment.in")(arrival).click(step)


def shelf(code: str, parent: str) -> None:
    model("stock.location")(name=f"Shelf {code}", code=code, type="storage", parent=location(parent)).save()


def move(sku: str, quantity: float, source: str, target: str) -> None:
    """From one storage location to another."""
    made = model("stock.shipment.internal")(from_location=location(source), to_location=location(target))
    line = made.moves.new()
    line.product, line.quantity = product(sku), float(quantity)
    line.from_location, line.to_location = made.from_location, made.to_location
    made.save()
    for button in ("wait", "assign_try", "do"):
        made.click(button)


def plan(sku: str, quantity: float, days: int) -> None:
    """Goods that a supplier will bring."""
    made = model("stock.move")(product=product(sku), quantity=float(quantity))
    made.unit, made.from_location, made.to_location = made.product.default_uom, location("SUP"), location("STO")
    made.unit_price, made.currency = Decimal(10), model("company.company")(PROTEUS.context["company"]).currency
    made.planned_date = today() + dt.timedelta(days=days)
    made.save()


def name(sku: str, text: str, language: str = "en") -> None:
    with PROTEUS.set_context(language=language):
        made = model("product.template")(product(sku).template.id)
        made.name = text
        made.save()


def describe(sku: str, text: str) -> None:
    made = product(sku)
    made.description = text
    made.save()


def rename_category(old: str, new: str, language: str = "en") -> None:
    number = one("product.category", name=old).id
    with PROTEUS.set_context(language=language):
        made = model("product.category")(number)
        made.name = new
        made.save()


def reparent(category: str, parent: str | None) -> None:
    made = one("product.category", name=category)
    made.parent = one("product.category", name=parent) if parent else None
    made.save()


def categorize(sku: str, category: str, *, remove: bool = False) -> None:
    number = one("product.category", name=category).id
    told = [("remove" if remove else "add", [number])]
    PROTEUS.get_proxy("product.template").write([product(sku).template.id], {"categories": told}, PROTEUS.context)


def add_picture(sku: str, red: int, *, variant: bool = False) -> None:
    owner = product(sku)
    made = model("product.image")(template=owner.template, image=picture(red))
    if variant:
        made.product = owner
    made.save()


def remove_pictures(sku: str) -> None:
    for image in model("product.image").find([("template", "=", product(sku).template.id)]):
        image.delete()


def attributes(sku: str, **values: str) -> None:
    kinds, sets = model("product.attribute"), model("product.attribute.set")
    found = sets.find([])
    chosen = found[0] if found else sets(name="All")
    for key in values:
        if not kinds.find([("name", "=", key)]):
            made = kinds(name=key, string=key.title(), type_="char")
            made.save()
            chosen.attributes.append(kinds(made.id))
    chosen.save()
    owner = model("product.template")(product(sku).template.id)
    owner.attribute_set = sets(chosen.id)
    owner.save()
    made = product(sku)
    made.attributes = values
    made.save()


def rename(sku: str, code: str) -> None:
    made = model("product.template")(product(sku).template.id)
    made.code = code
    made.save()


def deactivate(sku: str) -> None:
    made = model("product.template")(product(sku).template.id)
    made.active = False
    made.save()


def delete(sku: str) -> None:
    model("product.template")(product(sku).template.id).delete()


def kit_quantity(sku: str, quantity: float) -> None:
    made = model("product.template")(product(sku).template.id)
    part = made.components[0]
    part.quantity = float(quantity)
    part.save()


def bulk(number: int) -> int:
    rows = [[f"BULK{i:04d}", f"Bulk {i}", "goods", "Unit", "Unit", "9.99", "True", "-A"] for i in range(number)]
    fields = ["code", "name", "type", "default_uom", "sale_uom", "list_price", "salable", "products/suffix_code"]
    made: int = PROTEUS.get_proxy("product.template").import_data(fields, rows, PROTEUS.context)
    return made


def bulk_price(price: str) -> None:
    proxy = PROTEUS.get_proxy("product.template")
    ids = proxy.search([("code", "like", "BULK%")], 0, None, None, PROTEUS.context)
    proxy.write(ids, {"list_price": Decimal(price)}, PROTEUS.context)


def recount() -> None:
    made = model("stock.inventory")(location=location("STO"), empty_quantity="keep")
    made.save()
    made.click("complete_lines")
    for line in made.lines:
        line.quantity = (line.expected_quantity or 0) + 1
    made.save()
    made.click("confirm")

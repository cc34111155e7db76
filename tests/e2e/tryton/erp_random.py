"""Runs in Tryton's own environment: random operations of a business, chosen and filled in by a seed.

Invariant: an operation follows from its seed and the database alone.
"""

from __future__ import annotations

import random

from erp_events import (
    add_line,
    cancel_order,
    categorize,
    count,
    credit_limit,
    delete_order,
    handle,
    list_base,
    move,
    order,
    pay_invoice,
    price_list,
    product,
    quote,
    remove_line,
    reparent,
    template_price,
    variant_price,
)  # fmt: skip
from erp_world import model

_SOLD = ("WID-RED", "WID-BLU", "GAD", "CAB", "EGG", "KIT")
_STEPS = {"waiting": "assign_try", "assigned": "pick", "picked": "pack", "packed": "do"}


def random_step(seed: int) -> str:
    """One random operation, chosen and filled in by the seed; its name, and why Tryton refused it if it did."""
    chance = random.Random(seed)  # noqa: S311 -- repeatable, no secret
    chosen = chance.choice(_RANDOM)
    try:
        chosen(chance)
    except Exception as error:  # noqa: BLE001 -- told to the test, which judges it
        return f"{chosen.__name__} refused: {type(error).__name__} {error}"
    return chosen.__name__


def _order(chance: random.Random) -> None:
    lines = {sku: float(chance.randint(1, 9)) for sku in chance.sample(_SOLD, chance.randint(1, 3))}
    method = chance.choice(("order", "fulfillment", "manual"))
    order(chance.choice(("C0001", "C0002")), lines, method, chance.choice(("order", "order", "invoice")))


def _quote_and_drop(chance: random.Random) -> None:
    sale = quote("C0001", {chance.choice(_SOLD): 1.0})
    (delete_order if chance.random() < 0.5 else cancel_order)(sale)


def _ship(chance: random.Random) -> None:
    found = model("stock.shipment.out").find([("state", "in", list(_STEPS))])
    if found:
        shipment = chance.choice(found)
        shipment.click(_STEPS[shipment.state])


def _cancel_shipment(chance: random.Random) -> None:
    found = model("stock.shipment.out").find([("state", "in", ["waiting", "assigned"])])
    if found:
        chance.choice(found).click("cancel")
    for sale in model("sale.sale").find([("shipment_state", "=", "exception")]):
        handle(sale, give_up=chance.random() < 0.5)


def _post(chance: random.Random) -> None:
    found = model("account.invoice").find([("state", "=", "draft"), ("type", "=", "out")])
    if found:
        invoice = chance.choice(found)
        line = invoice.lines[0]
        if chance.random() < 0.3 and line.quantity and line.quantity > 1:
            line.quantity -= 1
            line.save()
        model("account.invoice")(invoice.id).click("post")


def _pay_one(chance: random.Random) -> None:
    found = model("account.invoice").find([("state", "=", "posted"), ("type", "=", "out")])
    if found:
        pay_invoice(chance.choice(found))


def _cancel_invoice(chance: random.Random) -> None:
    found = model("account.invoice").find([("state", "in", ["draft", "posted"]), ("type", "=", "out")])
    if found:
        chance.choice(found).click("cancel")


def _bill(chance: random.Random) -> None:
    found = model("sale.sale").find([("invoice_method", "=", "manual"), ("state", "=", "processing")])
    if found:
        chance.choice(found).click("manual_invoice")


def _move(chance: random.Random) -> None:
    source, target = chance.choice((("STO", "A1"), ("A1", "STO")))
    move(chance.choice(_SOLD[:4]), float(chance.randint(1, 5)), source, target)


def _count(chance: random.Random) -> None:
    count(**{chance.choice(_SOLD[:5]).replace("-", "_"): float(chance.randint(0, 400))})


def _price(chance: random.Random) -> None:
    sku, amount = chance.choice(_SOLD), f"{chance.randint(100, 9999) / 100:.2f}"
    if chance.random() < 0.5:
        template_price(sku, amount)
    else:
        variant_price(sku, chance.choice((None, amount)))


def _line(chance: random.Random) -> None:
    formula = chance.choice(("unit_price*0.5", "list_price-1", "cost_price*1.3", "unit_price * (1 - 0.15)", "19.95"))
    sku = chance.choice((None, *_SOLD))
    add_line(
        "Wholesale", formula, sku, chance.choice((None, 5.0, 10.0)), chance.choice((None, (0, 3), (-3, -1), (2, 5)))
    )


def _unline(chance: random.Random) -> None:
    lines = price_list("Wholesale").lines
    if len(lines) > 2:
        remove_line("Wholesale", chance.randrange(len(lines)))


def _base(chance: random.Random) -> None:
    list_base("Wholesale", chance.choice(("list_price", "cost_price")))


def _limit(chance: random.Random) -> None:
    credit_limit(chance.choice(("C0001", "C0002")), chance.choice((None, "500", "9000")))


def _category(chance: random.Random) -> None:
    sku, category = chance.choice(_SOLD), chance.choice(("Tools", "Garden"))
    owner = model("product.template")(product(sku).template.id)
    categorize(sku, category, remove=category in [c.name for c in owner.categories])


def _tree(chance: random.Random) -> None:
    reparent("Hand tools", chance.choice((None, "Tools", "Garden")))


_RANDOM = (
    *[_order] * 4,
    *[_ship] * 7,
    *[_post, _pay_one, _move, _count, _price, _line] * 2,
    *(_quote_and_drop, _cancel_shipment, _cancel_invoice, _bill, _unline, _base, _limit, _category, _tree),
)

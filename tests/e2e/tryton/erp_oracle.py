"""Runs in Tryton's own environment: what Tryton itself says that a storefront should show.

Invariant: every value comes from Tryton's own fields and methods, never from SQL; nothing here knows erpsyncd's queries.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import html
import math
import zoneinfo
from decimal import Decimal
from typing import Any

from erp_world import PROTEUS, model
from trytond.pool import Pool
from trytond.tools.decimal_ import DecimalNull
from trytond.transaction import Transaction

QUANTITIES = (1, 5, 6, 10, 24)


def read(name: str, ids: list[int], fields: list[str], **context: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = PROTEUS.get_proxy(name).read(ids, fields, {**PROTEUS.context, **context})
    return found


def search(name: str, domain: list[Any], **context: Any) -> list[int]:
    found: list[int] = PROTEUS.get_proxy(name).search(domain, 0, None, None, {**PROTEUS.context, **context})
    return found


def today() -> dt.date:
    return dt.datetime.now(zoneinfo.ZoneInfo("Europe/Prague")).date()


def sold(prefix: str) -> list[dict[str, Any]]:
    ids = search("product.product", [("code", "!=", None), ("salable", "=", True), ("code", "like", prefix + "%")])
    return read("product.product", ids, ["code", "type", "consumable"])


def stock(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    goods = [row for row in rows if row["type"] != "service"]
    context: dict[str, Any] = {
        "locations": search("stock.location", [("type", "=", "warehouse")]),
        "stock_date_end": today(),
        "stock_assign": True,
        "stock_skip_warehouse": True,
        **more,
    }
    field = context.pop("field", "quantity")
    context["stock_date_end"] += dt.timedelta(days=context.pop("days", 0))
    levels = {r["id"]: r[field] for r in read("product.product", [row["id"] for row in goods], [field], **context)}
    return {
        f"{row['code']}|default": {
            "available": max(math.floor(round(levels[row["id"]], 9)), 0),
            "backorder": bool(row["consumable"]),
        }
        for row in goods
    }


def prices(rows: list[dict[str, Any]], quantities: tuple[int, ...]) -> dict[str, Any]:
    """By sku and list: what one sale unit costs at each quantity; None where there is no price."""
    ids = {row["id"]: row["code"] for row in rows}
    made: dict[str, Any] = {}
    # one transaction for all: Tryton reads lists and categories once, and computes each price anew
    with Transaction().start(
        PROTEUS.database_name, PROTEUS.user, context=dict(PROTEUS.context), readonly=True
    ) as begun:
        for entry in [None, *Pool().get("product.price_list").search([])]:
            name, taxed = (entry.name, entry.tax_included) if entry else ("default", False)
            for quantity in quantities if entry else (1,):
                # those that only fill the shelves are alike: one piece is enough
                asked = [number for number, sku in ids.items() if quantity == 1 or not sku.startswith("FIL")]
                with begun.set_context(quantity=quantity, **({"price_list": entry.id} if entry else {})):
                    for product in Pool().get("product.product").browse(asked):
                        place = made.setdefault(f"{ids[product.id]}|{name}", {"tax_included": taxed})
                        amount = product.sale_price_uom
                        place[str(quantity)] = None if amount is None else str(amount)
    return made


def parties() -> list[dict[str, Any]]:
    ids = search("party.party", [("code", "!=", None)])
    own = read("company.company", [PROTEUS.context["company"]], ["party"])[0]["party"]
    fields = ["code", "credit_amount", "credit_limit_amount", "sale_price_list"]
    return read("party.party", [number for number in ids if number != own], fields)


def credit() -> dict[str, Any]:
    made = {}
    for row in parties():
        limit, used = row["credit_limit_amount"], row["credit_amount"]
        made[row["code"]] = {
            "currency": "USD",
            "limit": None if limit is None else str(limit),
            "balance": str(used),
            "available": None if limit is None else str(limit - used),
            "hold": limit is not None and used > limit,
        }
    return made


def customer_price_lists() -> dict[str, Any]:
    default = model("sale.configuration")(1).sale_price_list
    names = {r["id"]: r["name"] for r in read("product.price_list", search("product.price_list", []), ["name"])}
    return {
        row["code"]: {"price_list": names.get(row["sale_price_list"] or (default.id if default else None))}
        for row in parties()
    }


def orders() -> dict[str, Any]:
    made = {}
    for sale in model("sale.sale").find([("number", "!=", None), ("state", "!=", "draft")]):
        made[sale.number] = {
            "reference": sale.reference or None,
            "status": sale.state,
            "shipment_status": sale.shipment_state,
            "payment_status": sale.invoice_state,
            "fulfilments": [_delivery(s) for s in sorted(sale.shipments, key=lambda s: s.number)]
            + [_returned(s) for s in sorted(sale.shipment_returns, key=lambda s: s.number)],
        }
    return made


def _delivery(shipment: Any) -> dict[str, Any]:
    return {
        "id": shipment.number,
        "kind": "delivery",
        "status": shipment.state,
        "carrier": shipment.carrier.party.name if shipment.carrier else None,
        "tracking_number": shipment.shipping_reference or None,
        "lines": _lines(shipment.outgoing_moves),
    }


def _returned(shipment: Any) -> dict[str, Any]:
    return {
        "id": f"return {shipment.number}",
        "kind": "return",
        "status": shipment.state,
        "carrier": None,
        "tracking_number": None,
        "lines": _lines(shipment.incoming_moves),
    }


def _lines(moves: Any) -> list[dict[str, Any]]:
    counted: dict[str, float] = {}
    for move in moves:
        if move.state != "cancelled":
            counted[move.product.code] = counted.get(move.product.code, 0) + move.quantity
    return [{"sku": sku, "quantity": f"{quantity:g}"} for sku, quantity in sorted(counted.items())]


def content(rows: list[dict[str, Any]]) -> dict[str, Any]:
    made = {}
    for language in search("ir.lang", [("translatable", "=", True)]):
        code = read("ir.lang", [language], ["code"])[0]["code"]
        fields = ["name", "description", "template", "attributes", "images", "code"]
        products = read("product.product", [row["id"] for row in rows], fields, language=code)
        templates = _by_id(
            "product.template", [p["template"] for p in products], ["name", "categories", "images"], code
        )
        categories = _by_id("product.category", _all(templates, "categories"), ["rec_name"], code)
        pictures = _by_id(
            "product.image",
            [*_all(templates, "images"), *(number for product in products for number in product["images"])],
            ["product", "image", "description"],
            code,
        )
        for product in products:
            template = templates[product["template"]]
            shared = [number for number in template["images"] if pictures[number]["product"] is None]
            used = [pictures[number] for number in [*product["images"], *shared]]
            made[f"{product['code']}|{code}"] = _content(product, template, categories, used)
    return made


def _by_id(name: str, ids: list[int], fields: list[str], language: str) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in read(name, sorted(set(ids)), fields, language=language)}


def _all(rows: dict[int, dict[str, Any]], field: str) -> list[int]:
    return [number for row in rows.values() for number in row[field]]


def _content(
    product: dict[str, Any],
    template: dict[str, Any],
    categories: dict[int, dict[str, Any]],
    pictures: list[dict[str, Any]],
) -> dict[str, Any]:
    text = product["description"]
    return {
        "title": template["name"],
        "description_html": None if text is None else html.escape(text, quote=False).replace("\n", "<br>"),
        "attributes": product["attributes"] or {},
        "categories": sorted(categories[number]["rec_name"] for number in template["categories"]),
        "images": [
            {
                "sha256": hashlib.sha256(picture["image"]).hexdigest(),
                "position": position,
                **({"alt": picture["description"]} if picture["description"] is not None else {}),
            }
            for position, picture in enumerate(pictures, 1)
        ],
    }


def answers(prefix: str = "", quantities: tuple[int, ...] = QUANTITIES, **more: Any) -> dict[str, Any]:
    """All of it, of products whose code begins so."""
    rows = sold(prefix)
    return {
        "stock": stock(rows, **more),
        "price": prices(rows, quantities),
        "credit": credit(),
        "customer_price_list": customer_price_lists(),
        "order_status": orders(),
        "content": content(rows),
    }


def formulas(cases: list[tuple[str, dict[str, str | None]]]) -> list[str | None]:
    """What Tryton's evaluation gives for formulas with those prices; an error counts as the word "error"."""
    made: list[str | None] = []
    with Transaction().start(PROTEUS.database_name, 1, context=dict(PROTEUS.context), readonly=True):
        line = Pool().get("product.price_list.line")(weight_uom=None, volume_uom=None)
        for formula, given in cases:
            names = {name: DecimalNull() if value is None else Decimal(value) for name, value in given.items()}
            line.formula = formula
            try:
                value = line.get_unit_price(names=names)
            except Exception:  # noqa: BLE001 -- Tryton's own words for it need a saved line
                made.append("error")
            else:
                made.append(None if value is None else str(value))
    return made

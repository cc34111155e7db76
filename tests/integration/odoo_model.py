"""Odoo's rules for prices, stock and credit over rows of its tables, one number at a time: a second opinion on the pack.

Invariant: written from what Odoo's program does and in its way, with floats and loops; nothing is taken from the pack.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

Row = Mapping[str, Any]
PLANNED = ("waiting", "confirmed", "assigned", "partially_available")


def rounded(value: float, step: float, *, up: bool = False) -> float:
    """To a multiple of `step`: halves away from zero, or each fraction; what only floats make of a value is no fraction."""
    if not value or not step:
        return value
    count = abs(value) / step
    noise = 2.0 ** (math.log2(count) - 52)
    whole = math.ceil(count - noise) if up else math.floor(count + noise + 0.5)
    return math.copysign(whole, value) * step


def _by_id(rows: Sequence[Row]) -> dict[int, Row]:
    return {row["id"]: row for row in rows}


@dataclass
class Prices:
    """Price rules, products and categories as they are now."""

    rules: Sequence[Row]
    products: Mapping[int, Row]
    categories: Mapping[int, Row]
    extras: Mapping[int, float]
    now: Any

    @classmethod
    async def read(cls, erp: asyncpg.Connection) -> Prices:
        products = """
            select p.id, p.default_code as sku, p.product_tmpl_id as template, t.categ_id, t.list_price,
                   p.standard_price::text as cost
              from product_product p join product_template t on t.id = p.product_tmpl_id
             where p.active and t.active and p.default_code <> ''"""
        extras = """
            select c.product_product_id as id, sum(v.price_extra) as extra from product_variant_combination c
              join product_template_attribute_value v on v.id = c.product_template_attribute_value_id group by 1"""
        # the database's collation orders the names
        categories = "select id, parent_path, rank() over (order by complete_name) as place from product_category"
        return cls(
            await erp.fetch("select * from product_pricelist_item"),
            _by_id(await erp.fetch(products)),
            _by_id(await erp.fetch(categories)),
            {row["id"]: float(row["extra"] or 0) for row in await erp.fetch(extras)},
            await erp.fetchval("select date_trunc('second', now() at time zone 'utc')"),
        )

    def price(self, product: int, list_: int, quantity: float) -> float:
        for rule in self._ordered(list_):
            if quantity >= float(rule["min_quantity"] or 0) and self._fits(rule, self.products[product]):
                return self._computed(rule, product, quantity)
        return self._sales_price(product)

    def _ordered(self, list_: int) -> list[Row]:
        """Kind, quantity from above, name of the category from above, newest; an empty value comes before all others."""

        def place(rule: Row) -> tuple[Any, ...]:
            least, category = rule["min_quantity"], rule["categ_id"]
            return (
                rule["applied_on"],
                (least is not None, -float(least or 0)),
                (category is not None, -self.categories[category]["place"] if category else 0),
                -rule["id"],
            )

        return sorted((r for r in self.rules if r["pricelist_id"] == list_ and self._holds(r)), key=place)

    def _holds(self, rule: Row) -> bool:
        begins, ends = rule["date_start"], rule["date_end"]
        return (begins is None or begins <= self.now) and (ends is None or ends >= self.now)

    def _fits(self, rule: Row, product: Row) -> bool:
        if rule["applied_on"] == "2_product_category":
            above: str = self.categories[rule["categ_id"]]["parent_path"]
            return str(self.categories[product["categ_id"]]["parent_path"]).startswith(above)
        if rule["applied_on"] == "1_product":
            return bool(rule["product_tmpl_id"] == product["template"])
        return rule["applied_on"] == "3_global" or rule["product_id"] == product["id"]

    def _sales_price(self, product: int) -> float:
        return float(self.products[product]["list_price"] or 0) + self.extras.get(product, 0.0)

    def _computed(self, rule: Row, product: int, quantity: float) -> float:
        value = {
            name: float(value or 0)
            for name, value in rule.items()
            if name.split("_")[0] in ("fixed", "percent", "price")
        }
        if rule["compute_price"] == "fixed":
            return value["fixed_price"]
        if rule["base"] == "pricelist" and rule["base_pricelist_id"]:
            base = self.price(product, rule["base_pricelist_id"], quantity)
        elif rule["base"] == "standard_price":
            base = float(json.loads(self.products[product]["cost"] or "{}").get("1") or 0)
        else:
            base = self._sales_price(product)
        if rule["compute_price"] == "percentage":
            return base - base * value["percent_price"] / 100
        off = -value["price_markup"] if rule["base"] == "standard_price" else value["price_discount"]
        price = rounded(base - base * off / 100, value["price_round"]) + value["price_surcharge"]
        if value["price_min_margin"]:
            price = max(price, base + value["price_min_margin"])
        if value["price_max_margin"]:
            price = min(price, base + value["price_max_margin"])
        return price


@dataclass
class Stock:
    """Quants and moves as they are now."""

    quants: Sequence[Row]
    moves: Sequence[Row]
    paths: Mapping[int, str]

    @classmethod
    async def read(cls, erp: asyncpg.Connection) -> Stock:
        return cls(
            await erp.fetch("select * from stock_quant"),
            await erp.fetch("select * from stock_move"),
            {row["id"]: row["parent_path"] for row in await erp.fetch("select id, parent_path from stock_location")},
        )

    def available(self, policy: str, product: int, view: str) -> int:
        """In a warehouse whose view location has this path; for goods that are counted to 0.01."""
        held = [q for q in self.quants if q["product_id"] == product and self.paths[q["location_id"]].startswith(view)]
        level = sum(float(quant["quantity"] or 0) for quant in held)
        if policy == "free":
            level -= sum(float(quant["reserved_quantity"] or 0) for quant in held)
        for move in self.moves:
            if policy not in ("promised", "forecast") or move["product_id"] != product or move["state"] not in PLANNED:
                continue
            inside = self.paths[move["location_id"]].startswith(view)
            stays = self.paths[move["location_final_id"] or move["location_dest_id"]].startswith(view)
            if inside and not stays:
                level -= float(move["product_qty"])
            if stays and not inside and policy == "forecast":
                level += float(move["product_qty"])
        return math.floor(rounded(level, 0.01) + 1e-6)


@dataclass
class Credit:
    """Orders with their lines and what was invoiced of them; `rate` is one dollar in the other currency today."""

    orders: Sequence[Row]
    lines: Sequence[Row]
    invoiced: Sequence[Row]
    units: Mapping[int, Row]
    companies: Mapping[int, int]
    rate: float

    @classmethod
    async def read(cls, erp: asyncpg.Connection, rate: float) -> Credit:
        lines = """
            select l.*, t.invoice_policy from sale_order_line l join product_product p on p.id = l.product_id
              join product_template t on t.id = p.product_tmpl_id"""
        invoiced = """
            select r.order_line_id as line, l.quantity, l.product_uom_id as unit, m.move_type, m.state, m.payment_state
              from sale_order_line_invoice_rel r join account_move_line l on l.id = r.invoice_line_id
              join account_move m on m.id = l.move_id"""
        partners = await erp.fetch("select id, commercial_partner_id as company from res_partner")
        return cls(
            await erp.fetch("select * from sale_order where state = 'sale'"),
            await erp.fetch(lines),
            await erp.fetch(invoiced),
            _by_id(await erp.fetch("select * from uom_uom")),
            {row["id"]: row["company"] for row in partners},
            rate,
        )

    def to_invoice(self, partner: int, *, invoice_partner: bool, discount_twice: bool) -> float:
        sums: dict[int, float] = {}
        for order in self.orders:
            whose = self.companies[order["partner_invoice_id"]] if invoice_partner else order["partner_id"]
            lines = [line for line in self.lines if line["order_id"] == order["id"]]
            if whose == partner and any((line["untaxed_amount_to_invoice"] or 0) > 0 for line in lines):
                open_ = sum(self._open(line, discount_twice=discount_twice) for line in lines)
                sums[order["currency_id"]] = sums.get(order["currency_id"], 0.0) + open_
        return sum(rounded(value if money == 1 else value / self.rate, 0.01) for money, value in sums.items())

    def _open(self, line: Row, *, discount_twice: bool) -> float:
        if not line["product_uom_qty"]:
            return 0.0
        ordered = float(line["product_uom_qty"])
        due = float(line["qty_delivered"] or 0) if line["invoice_policy"] == "delivery" else ordered
        price = float(line["price_total"]) / ordered
        if discount_twice:
            price *= 1 - float(line["discount"] or 0) / 100
        return rounded(price * (due - self._billed(line)), 0.01)

    def _billed(self, line: Row) -> float:
        """In the line's unit."""
        total, unit = 0.0, self.units[line["product_uom"]]
        for bill in self.invoiced:
            if bill["line"] != line["id"] or not (
                bill["state"] == "posted" or bill["payment_state"] == "invoicing_legacy"
            ):
                continue
            quantity = float(bill["quantity"])
            if bill["unit"]:
                if bill["unit"] != unit["id"]:
                    quantity = quantity / float(self.units[bill["unit"]]["factor"]) * float(unit["factor"])
                quantity = rounded(quantity, float(unit["rounding"]), up=True)
            total += -quantity if bill["move_type"] == "out_refund" else quantity
        return total

"""What Odoo writes when its users do something that the storefront tests look at, as SQL on Odoo's own tables.

Invariant: one event is one transaction, and a new row is a copy of one that Odoo itself wrote, with other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

STOCK = 8
"""The location WH/Stock."""
_ORDER, _LINE, _PICKING = 3, 4, 6
"""An order that Odoo made, one of its lines, its delivery."""


async def copy(erp: asyncpg.Connection, table: str, row: int, **values: Any) -> int:
    """A copy of a row with these values and an id of its own."""
    id_ = await erp.fetchval(f"select max(id) + 1 from {table}")
    await erp.execute(
        f"insert into {table} select (jsonb_populate_record(t, $2)).* from {table} t where id = $1",
        row,
        {"id": id_, **values},
    )
    return int(id_)


async def product(erp: asyncpg.Connection, sku: str) -> int:
    """The id of the variant with this reference."""
    return int(await erp.fetchval("select id from product_product where default_code = $1 and active", sku))


async def only(erp: asyncpg.Connection, last: str) -> None:
    """Forget the sample's articles after this one, and that an order came from another shop."""
    async with erp.transaction():
        gone = await erp.fetch(
            "select id, product_tmpl_id from product_product where default_code > $1 and default_code like 'BULK%'",
            last,
        )
        for table, column in (("stock_quant", "product_id"), ("product_product", "id")):
            await erp.execute(f"delete from {table} where {column} = any($1)", [row["id"] for row in gone])
        await erp.execute("delete from product_template where id = any($1)", [row["product_tmpl_id"] for row in gone])
        await erp.execute("update sale_order set client_order_ref = null")


async def count(erp: asyncpg.Connection, sku: str, quantity: int) -> None:
    """An inventory count: this is on the shelf."""
    await erp.execute(
        "update stock_quant set quantity = $2 where product_id = $1 and location_id = $3",
        await product(erp, sku),
        quantity,
        STOCK,
    )


async def take_in(
    erp: asyncpg.Connection, partner: int, reference: str, parcels: Sequence[tuple[str, int]]
) -> list[int]:
    """A web order is confirmed: one delivery for each (SKU, quantity), reserved. Gives their ids."""
    async with erp.transaction():
        order = await copy(
            erp,
            "sale_order",
            _ORDER,
            partner_id=partner,
            partner_invoice_id=partner,
            name=f"S-{reference}",
            client_order_ref=reference,
            state="sale",
            delivery_status="pending",
        )
        move = await erp.fetchval("select min(id) from stock_move where picking_id = $1", _PICKING)
        made = []
        for number, (sku, quantity) in enumerate(parcels, 1):
            item = await product(erp, sku)
            line = await copy(
                erp,
                "sale_order_line",
                _LINE,
                order_id=order,
                order_partner_id=partner,
                product_id=item,
                product_uom_qty=quantity,
                qty_delivered=0,
            )
            name = f"WH/OUT/{reference}-{number}"
            made.append(
                await copy(
                    erp, "stock_picking", _PICKING, sale_id=order, name=name, partner_id=partner, state="assigned"
                )
            )
            await copy(
                erp,
                "stock_move",
                move,
                picking_id=made[-1],
                product_id=item,
                product_uom_qty=quantity,
                product_qty=quantity,
                quantity=quantity,
                state="assigned",
                sale_line_id=line,
            )
            await _take(erp, item, 0, quantity)
    return made


async def ship(erp: asyncpg.Connection, picking: int) -> None:
    """A delivery is validated."""
    async with erp.transaction():
        for move in await erp.fetch(
            "select product_id, quantity, sale_line_id from stock_move where picking_id = $1", picking
        ):
            await _take(erp, move["product_id"], -move["quantity"], -move["quantity"])
            await erp.execute(
                "update sale_order_line set qty_delivered = product_uom_qty where id = $1", move["sale_line_id"]
            )
        await erp.execute("update stock_move set state = 'done' where picking_id = $1", picking)
        await erp.execute("update stock_picking set state = 'done', date_done = now() where id = $1", picking)
        await erp.execute(
            """update sale_order o set delivery_status = case when exists (
                 select from stock_picking p where p.sale_id = o.id and p.state <> 'done') then 'partial' else 'full' end
                where id = (select sale_id from stock_picking where id = $1)""",
            picking,
        )


async def _take(erp: asyncpg.Connection, item: int, quantity: Any, reserved: Any) -> None:
    done = await erp.execute(
        """update stock_quant set quantity = quantity + $2, reserved_quantity = reserved_quantity + $3
            where id = (select max(id) from stock_quant where product_id = $1 and location_id = $4)""",
        item,
        quantity,
        reserved,
        STOCK,
    )
    assert done == "UPDATE 1", done


async def fixed_price(erp: asyncpg.Connection, sku: str, list_: str, amount: str, begins: str = "") -> int:
    """A rule for one variant in a price list, from now on or from an SQL interval ahead. Gives its id."""
    rule = await erp.fetchval(
        """insert into product_pricelist_item (id, pricelist_id, company_id, currency_id, applied_on, display_applied_on,
             base, compute_price, min_quantity, fixed_price, product_id, product_tmpl_id, date_start)
           select (select max(id) + 1 from product_pricelist_item), l.id, 1, l.currency_id, '0_product_variant', '1_product',
                  'list_price', 'fixed', 0, $3::text::numeric, p.id, p.product_tmpl_id,
                  case when $4 <> '' then (now() at time zone 'utc') + $4::text::interval end
             from product_product p, product_pricelist l
            where p.default_code = $1 and p.active and l.name ->> 'en_US' = $2
           returning id""",
        sku,
        list_,
        amount,
        begins,
    )
    return int(rule)


async def list_price(erp: asyncpg.Connection, sku: str, amount: str) -> None:
    """The sales price of an article's template."""
    await erp.execute(
        """update product_template set list_price = $2::text::numeric
            where id = (select product_tmpl_id from product_product where default_code = $1 and active)""",
        sku,
        amount,
    )


async def describe(erp: asyncpg.Connection, sku: str, title: str, text: str) -> None:
    """Name and sales description of an article's template."""
    await erp.execute(
        """update product_template set name = name || jsonb_build_object('en_US', $2::text),
                  description_sale = jsonb_build_object('en_US', $3::text)
            where id = (select product_tmpl_id from product_product where default_code = $1 and active)""",
        sku,
        title,
        text,
    )

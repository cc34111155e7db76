"""What sales and the warehouse do during the demo day: orders, picking, shipments, goods in.

Invariant: nobody promises more than there is. A sale looks at what is on hand less what is reserved, in the same
transaction that takes it.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final, TypeAlias

from daemon.demo.catalogue import CARRIERS

Connection: TypeAlias = Any
"""An asyncpg connection inside a transaction."""

SELLABLE: Final = """
select s.item_id, s.warehouse_id, i.sku, s.on_hand - coalesce(r.quantity, 0) as sellable
  from stock_level s
  join item i on i.id = s.item_id
  left join (select item_id, warehouse_id, sum(quantity) as quantity from reservation group by 1, 2) r
    on r.item_id = s.item_id and r.warehouse_id = s.warehouse_id
 where i.active and s.on_hand - coalesce(r.quantity, 0) >= 1
 order by s.item_id, s.warehouse_id"""


_LOW: Final = 25
"""Shelves with less than this are filled up."""


class SecondThoughtsError(Exception):
    """Raised inside a transaction to take everything back; its text is told."""


async def choose(c: Connection, rng: random.Random, query: str, *args: Any) -> Any:
    """One row of a query, or None where there is none."""
    rows = await c.fetch(query, *args)
    return rng.choice(rows) if rows else None


# Orders ---------------------------------------------------------------------------------------------------------------


async def web_order(c: Connection, rng: random.Random) -> str | None:
    customer = await choose(c, rng, "select id, name from customer where not on_hold order by id")
    shelves = await c.fetch(SELLABLE)
    if customer is None or not shelves:
        return None
    order, number = await _new_order(c, customer["id"], "confirmed")
    chosen = rng.sample(shelves, min(len(shelves), rng.choice((1, 1, 2, 3))))
    said = []
    for shelf in chosen:
        quantity = min(rng.choice((1, 2, 3, 5, 10)), int(shelf["sellable"]))
        await _line(c, order, shelf["item_id"], quantity)
        await c.execute(
            "insert into reservation (order_id, item_id, warehouse_id, quantity) values ($1, $2, $3, $4)",
            order,
            shelf["item_id"],
            shelf["warehouse_id"],
            Decimal(quantity),
        )
        said.append(f"{quantity} × {shelf['sku']}")
    return f"web order {number}: {', '.join(said)} for {customer['name']}"


async def buy_out(c: Connection, rng: random.Random) -> str | None:
    """One customer takes all there is of one article, in every warehouse."""
    shelves = await c.fetch(SELLABLE)
    left: dict[int, int] = {}
    for shelf in shelves:
        left[shelf["item_id"]] = left.get(shelf["item_id"], 0) + int(shelf["sellable"])
    scarce = [item for item, quantity in left.items() if quantity <= 6 * _LOW]
    customer = await choose(c, rng, "select id, name from customer where not on_hold order by id")
    if not scarce or customer is None:
        return None
    item = rng.choice(scarce)
    order, number = await _new_order(c, customer["id"], "confirmed")
    await _line(c, order, item, left[item])
    for shelf in shelves:
        if shelf["item_id"] == item:
            await c.execute(
                "insert into reservation (order_id, item_id, warehouse_id, quantity) values ($1, $2, $3, $4)",
                order,
                item,
                shelf["warehouse_id"],
                Decimal(int(shelf["sellable"])),
            )
            sku = shelf["sku"]
    return f"web order {number}: the last {left[item]} × {sku} for {customer['name']}"


async def counter_sale(c: Connection, rng: random.Random) -> str | None:
    shelf = await choose(c, rng, SELLABLE)
    customer = await choose(c, rng, "select id, name from customer where not on_hold order by id")
    if shelf is None or customer is None:
        return None
    quantity = min(rng.choice((1, 1, 2, 4)), int(shelf["sellable"]))
    order, number = await _new_order(c, customer["id"], "delivered")
    await _line(c, order, shelf["item_id"], quantity)
    await _take(c, shelf["item_id"], shelf["warehouse_id"], quantity)
    return f"counter sale {number}: {quantity} × {shelf['sku']}"


async def _new_order(c: Connection, customer: int, status: str) -> tuple[int, str]:
    row = await c.fetchrow(
        "insert into sales_order (number, customer_id, status)"
        " select 'SO-' || (20000 + coalesce(max(id), 0) + 1), $1, $2 from sales_order returning id, number",
        customer,
        status,
    )
    return row["id"], row["number"]


async def _line(c: Connection, order: int, item: int, quantity: int) -> None:
    await c.execute(
        "insert into sales_order_line (order_id, item_id, quantity, amount)"
        " select $1, $2, $3, $3 * coalesce(min(amount), 0) from price where item_id = $2 and price_list_id = 1",
        order,
        item,
        Decimal(quantity),
    )


async def _take(c: Connection, item: int, warehouse: int, quantity: int | Decimal) -> None:
    await c.execute(
        "update stock_level set on_hand = on_hand - $3 where item_id = $1 and warehouse_id = $2",
        item,
        warehouse,
        Decimal(quantity),
    )


async def start_picking(c: Connection, rng: random.Random) -> str | None:
    order = await choose(c, rng, "select id, number from sales_order where status = 'confirmed' order by id limit 5")
    if order is None:
        return None
    await c.execute("update sales_order set status = 'picking' where id = $1", order["id"])
    return f"{order['number']} goes to picking"


async def ship(c: Connection, rng: random.Random) -> str | None:
    order = await choose(
        c,
        rng,
        "select id, number, customer_id from sales_order where status = 'picking' order by id limit 5",
    )
    if order is None:
        return None
    parts = await c.fetch(
        "delete from reservation where order_id = $1 returning item_id, warehouse_id, quantity", order["id"]
    )
    shipment = await c.fetchrow(
        "insert into shipment (order_id, number) select $1, 'SH-' || (30000 + coalesce(max(id), 0) + 1) from shipment"
        " returning id, number",
        order["id"],
    )
    for part in parts:
        await _take(c, part["item_id"], part["warehouse_id"], part["quantity"])
        await c.execute(
            "insert into shipment_line (shipment_id, item_id, quantity) values ($1, $2, $3)"
            " on conflict (shipment_id, item_id) do update set quantity = shipment_line.quantity + excluded.quantity",
            shipment["id"],
            part["item_id"],
            part["quantity"],
        )
    await c.execute("update sales_order set status = 'shipped' where id = $1", order["id"])
    await c.execute(
        "insert into invoice (customer_id, amount)"
        " select $1, coalesce(sum(amount), 0) from sales_order_line where order_id = $2",
        order["customer_id"],
        order["id"],
    )
    return f"{order['number']} packed as {shipment['number']}, invoiced"


async def tracking(c: Connection, rng: random.Random) -> str | None:
    shipment = await choose(c, rng, "select id, number from shipment where status = 'packed' order by id limit 5")
    if shipment is None:
        return None
    carrier, prefix = rng.choice(CARRIERS)
    number = f"{prefix}{rng.randint(10**9, 10**10 - 1)}"
    await c.execute(
        "update shipment set status = 'in_transit', carrier = $2, tracking_number = $3 where id = $1",
        shipment["id"],
        carrier,
        number,
    )
    return f"{carrier} took {shipment['number']}: {number}"


async def delivered(c: Connection, rng: random.Random) -> str | None:
    shipment = await choose(
        c,
        rng,
        "select id, number, order_id from shipment where status = 'in_transit' order by id limit 5",
    )
    if shipment is None:
        return None
    await c.execute("update shipment set status = 'delivered' where id = $1", shipment["id"])
    await c.execute("update sales_order set status = 'delivered' where id = $1", shipment["order_id"])
    return f"{shipment['number']} delivered"


async def cancel(c: Connection, rng: random.Random) -> str | None:
    order = await choose(
        c, rng, "select id, number from sales_order where status = 'confirmed' order by id desc limit 5"
    )
    if order is None:
        return None
    await c.execute("delete from reservation where order_id = $1", order["id"])
    await c.execute("update sales_order set status = 'cancelled' where id = $1", order["id"])
    return f"{order['number']} cancelled, its stock is free again"


async def take_back(c: Connection, rng: random.Random) -> str | None:
    """An order that is entered and rolled back: the storefront must never hear of it."""
    text = await web_order(c, rng)
    if text is None:
        return None
    raise SecondThoughtsError(f"rolled back: {text}")


# Stock ------------------------------------------------------------------------------------------------------------


async def delivery(c: Connection, rng: random.Random) -> str | None:
    low = await c.fetch(
        "select s.item_id, s.warehouse_id, i.sku from stock_level s join item i on i.id = s.item_id"
        " where i.active and s.on_hand < $1 order by s.on_hand, s.item_id, s.warehouse_id limit 8",
        _LOW,
    )
    if not low:
        return None
    chosen = rng.sample(low, min(len(low), rng.randint(1, 4)))
    for shelf in chosen:
        await c.execute(
            "update stock_level set on_hand = on_hand + $3 where item_id = $1 and warehouse_id = $2",
            shelf["item_id"],
            shelf["warehouse_id"],
            Decimal(rng.choice((5, 10, 20, 25))),
        )
    return f"goods in: {', '.join(shelf['sku'] for shelf in chosen)}"


async def transfer(c: Connection, rng: random.Random) -> str | None:
    shelf = await choose(c, rng, SELLABLE)
    if shelf is None:
        return None
    quantity = min(10, int(shelf["sellable"]))
    await _take(c, shelf["item_id"], shelf["warehouse_id"], quantity)
    await c.execute(
        "insert into stock_level (item_id, warehouse_id, on_hand)"
        " select $1, id, $3 from warehouse where id <> $2 order by id limit 1"
        " on conflict (item_id, warehouse_id) do update set on_hand = stock_level.on_hand + excluded.on_hand",
        shelf["item_id"],
        shelf["warehouse_id"],
        Decimal(quantity),
    )
    return f"{quantity} × {shelf['sku']} moved between warehouses"

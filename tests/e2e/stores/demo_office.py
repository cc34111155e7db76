"""What the demo ERP's users do that the storefront tests look at: prices, web orders, shipments, texts and pictures.

Invariant: one event is one transaction, as the ERP would write it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import asyncpg

_SET_PRICE = """
update price p set amount = $3 from item i, price_list l
 where i.id = p.item_id and l.id = p.price_list_id and p.valid_from is null
   and i.sku = $1 and l.code = case $2 when 'default' then 'RETAIL' else $2 end"""


async def set_price(erp: asyncpg.Connection, sku: str, name: str, amount: Decimal) -> None:
    """The standing price in a list; `default` is the retail list."""
    await erp.execute(_SET_PRICE, sku, name, amount)


async def take_in(erp: asyncpg.Connection, number: str, code: str, lines: Mapping[str, int]) -> int:
    """The ERP takes a web order in and reserves for it."""
    async with erp.transaction():
        order = await erp.fetchval(
            "insert into sales_order (number, customer_id) select $1, id from customer where number = $2 returning id",
            code,
            number,
        )
        for sku, quantity in lines.items():
            item = await erp.fetchval("select id from item where sku = $1", sku)
            await erp.execute(
                "insert into sales_order_line (order_id, item_id, quantity, amount) values ($1, $2, $3, 1)",
                order,
                item,
                quantity,
            )
            await erp.execute(
                "insert into reservation (order_id, item_id, warehouse_id, quantity) values ($1, $2, 1, $3)",
                order,
                item,
                quantity,
            )
    return int(order)


async def send(erp: asyncpg.Connection, order: int, shipment: str, lines: Mapping[str, int], status: str) -> None:
    """Part of an order leaves the ERP's warehouse, in one transaction with its stock."""
    async with erp.transaction():
        key = await erp.fetchval(
            """insert into shipment (order_id, number, status, carrier, tracking_number)
               values ($1, $2, 'in_transit', 'DHL', $2 || '-T') returning id""",
            order,
            shipment,
        )
        for sku, quantity in lines.items():
            item = await erp.fetchval("select id from item where sku = $1", sku)
            await erp.execute("insert into shipment_line values ($1, $2, $3)", key, item, quantity)
            await erp.execute("delete from reservation where order_id = $1 and item_id = $2", order, item)
            await erp.execute(
                "update stock_level set on_hand = on_hand - $2 where item_id = $1 and warehouse_id = 1", item, quantity
            )
        await erp.execute("update sales_order set status = $2 where id = $1", order, status)


async def write(erp: asyncpg.Connection, sku: str, locale: str, title: str, html: str) -> None:
    """A page's text in one language."""
    await erp.execute(
        """insert into description (item_id, locale, title, html) select id, $2, $3, $4 from item where sku = $1
           on conflict (item_id, locale) do update set title = excluded.title, html = excluded.html""",
        sku,
        locale,
        title,
        html,
    )


async def picture(erp: asyncpg.Connection, folder: Path, sku: str, position: int, grey: int) -> str:
    """A picture of an article at this position, instead of the one that was there. Gives its SHA-256."""
    data = _png(grey)
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    async with erp.transaction():
        item = await erp.fetchval("select id from item where sku = $1", sku)
        await erp.execute("delete from item_image where item_id = $1 and position = $2", item, position)
        await erp.execute(
            "insert into item_image (item_id, position, url, alt, sha256) values ($1, $2, '', $3, $4)",
            item,
            position,
            f"{sku} {position}",
            name,
        )
    return name


def _png(grey: int) -> bytes:
    """Eight by eight pixels of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([grey]) * 8) * 8
    head = struct.pack("!IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

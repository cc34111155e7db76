"""Fills the demo ERP: the catalogue, its prices and stock, customers with invoices, and the orders of the last days.

Invariant: the same seed number gives the same rows, except for their dates; everything is written in one transaction,
so nobody ever sees half an ERP. Reservations never exceed what is on hand.
"""

from __future__ import annotations

import html
import random
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from importlib.resources import files
from typing import Any

from daemon.demo.catalogue import ARTICLES, CARRIERS, CATEGORIES, CUSTOMERS, Article

WAREHOUSES = ("RENDSBURG", "LINZ")
PRICE_LISTS = (("RETAIL", "EUR"), ("TRADE", "EUR"), ("EXPORT", "USD"))
CENT = Decimal("0.01")
TRADE_BREAKS = ((1, Decimal("0.90")), (10, Decimal("0.84")), (50, Decimal("0.76")))
USD_FACTOR = Decimal("1.12")


def schema_sql() -> str:
    """The DDL of the demo ERP, publication and read role included."""
    return files("daemon.demo").joinpath("schema.sql").read_text(encoding="utf-8")


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def attributes_of(article: Article) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in article.attributes.split("; "))
    return {name.strip(): value.strip() for name, value in pairs}


def description_html(article: Article, locale: str) -> str:
    """What a merchandiser would have typed: a paragraph and a list."""
    points = "".join(
        f"<li><strong>{html.escape(name)}:</strong> {html.escape(value)}</li>"
        for name, value in attributes_of(article).items()
    )
    if locale == "de":
        lead = f"<p>{html.escape(article.german)} für Werkstatt und Baustelle. Artikelnummer {article.sku}.</p>"
        return f"{lead}<h3>Auf einen Blick</h3><ul>{points}</ul><p>Bestellt bis 14 Uhr, Versand am selben Tag.</p>"
    lead = f"<p>{html.escape(article.text)}</p>"
    return f"{lead}<h3>At a glance</h3><ul>{points}</ul><p>Ordered by 2 pm, shipped the <em>same working day</em>.</p>"


async def create(connection: Any) -> None:
    """Run the DDL. The connection must be a superuser's, the database empty."""
    await connection.execute(schema_sql())


async def fill(connection: Any, seed: int = 1) -> None:
    """Write all rows. `connection` is an asyncpg connection on an empty demo ERP."""
    rng = random.Random(seed)  # noqa: S311 - a repeatable day, no secret
    async with connection.transaction():
        await _fill_items(connection, rng)
        await _fill_prices(connection)
        await _fill_customers(connection, rng)
        await _fill_orders(connection, rng)
        await _advance_identities(connection)
    await connection.execute("analyze")


async def _copy(connection: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=rows)


async def _fill_items(connection: Any, rng: random.Random) -> None:
    category_ids = {name: number for number, (name, _) in enumerate(CATEGORIES, 1)}
    await _copy(
        connection,
        "category",
        ("id", "parent_id", "name"),
        [(category_ids[name], category_ids[parent] if parent else None, name) for name, parent in CATEGORIES],
    )
    await _copy(connection, "warehouse", ("id", "code"), list(enumerate(WAREHOUSES, 1)))
    articles = list(enumerate(ARTICLES, 1))
    await _copy(connection, "item", ("id", "sku", "name"), [(i, a.sku, a.name) for i, a in articles])
    stock = []
    for i, article in articles:
        first = rng.randint(article.stock // 3, article.stock * 2 // 3)
        stock += [(i, 1, Decimal(first)), (i, 2, Decimal(article.stock - first))]
    await _copy(connection, "stock_level", ("item_id", "warehouse_id", "on_hand"), stock)
    await _copy(
        connection, "item_category", ("item_id", "category_id"), [(i, category_ids[a.category]) for i, a in articles]
    )
    texts = [(i, "en", a.name, description_html(a, "en")) for i, a in articles]
    texts += [(i, "de", a.german, description_html(a, "de")) for i, a in articles if a.german]
    await _copy(connection, "description", ("item_id", "locale", "title", "html"), texts)
    facts = [(i, name, value) for i, a in articles for name, value in attributes_of(a).items()]
    await _copy(connection, "item_attribute", ("item_id", "name", "value"), facts)
    images = [(i, i, 1, f"/img/{a.sku}.svg", a.name) for i, a in articles]
    await _copy(connection, "item_image", ("id", "item_id", "position", "url", "alt"), images)


async def _fill_prices(connection: Any) -> None:
    await _copy(
        connection, "price_list", ("id", "code", "currency"), [(i, *row) for i, row in enumerate(PRICE_LISTS, 1)]
    )
    rows = []
    for i, article in enumerate(ARTICLES, 1):
        retail = Decimal(article.price)
        rows.append((i, 1, 1, retail))
        rows += [(i, 2, quantity, cents(retail * factor)) for quantity, factor in TRADE_BREAKS]
        rows.append((i, 3, 1, cents(retail * USD_FACTOR)))
    await _copy(connection, "price", ("item_id", "price_list_id", "min_quantity", "amount"), rows)


async def _fill_customers(connection: Any, rng: random.Random) -> None:
    customers = [
        (i, f"C{1000 + i}", name, Decimal(limit), currency) for i, (name, currency, limit) in enumerate(CUSTOMERS, 1)
    ]
    await _copy(connection, "customer", ("id", "number", "name", "credit_limit", "currency"), customers)
    invoices = []
    for i, _, _, limit, _ in customers:
        for _ in range(rng.randint(1, 4)):
            amount = cents(limit * Decimal(rng.randint(3, 22)) / 100)
            paid = rng.choice((Decimal(0), Decimal(0), cents(amount / 2), amount))
            invoices.append((i, amount, paid))
    await _copy(connection, "invoice", ("customer_id", "amount", "paid"), invoices)


async def _fill_orders(connection: Any, rng: random.Random) -> None:
    now = await connection.fetchval("select now()")
    ages = await connection.fetchval(
        "select array_agg(n * interval '40 minutes' order by n desc) from generate_series(1, 40) n"
    )
    orders, lines, reservations, shipment_lines = [], [], [], []
    shipments: list[tuple[Any, ...]] = []
    for number, age in enumerate(ages, 1):
        status = (
            "delivered" if number <= 8 else "shipped" if number <= 20 else "picking" if number <= 26 else "confirmed"
        )
        orders.append((number, f"SO-{20000 + number}", rng.randint(1, len(CUSTOMERS)), status, now - age))
        warehouse = rng.randint(1, 2)
        picked = rng.sample(range(1, len(ARTICLES) + 1), rng.randint(1, 4))
        for item in picked:
            quantity = rng.randint(1, max(1, min(12, ARTICLES[item - 1].stock // 20)))
            lines.append((number, item, Decimal(quantity), Decimal(ARTICLES[item - 1].price) * quantity))
            if status in {"confirmed", "picking"}:
                reservations.append((number, item, warehouse, Decimal(quantity)))
            else:
                shipment_lines.append((len(shipments) + 1, item, Decimal(quantity)))
        if status in {"shipped", "delivered"}:
            carrier, prefix = rng.choice(CARRIERS)
            tracking = f"{prefix}{rng.randint(10**9, 10**10 - 1)}"
            shipment_status = "delivered" if status == "delivered" else "in_transit"
            key = len(shipments) + 1
            shipments.append((key, number, f"SH-{30000 + key}", shipment_status, carrier, tracking))
    await _copy(connection, "sales_order", ("id", "number", "customer_id", "status", "placed_at"), orders)
    await _copy(connection, "sales_order_line", ("order_id", "item_id", "quantity", "amount"), lines)
    await _copy(connection, "reservation", ("order_id", "item_id", "warehouse_id", "quantity"), reservations)
    await _copy(connection, "shipment", ("id", "order_id", "number", "status", "carrier", "tracking_number"), shipments)
    await _copy(connection, "shipment_line", ("shipment_id", "item_id", "quantity"), shipment_lines)


async def _advance_identities(connection: Any) -> None:
    """COPY with explicit ids leaves the sequences where they were."""
    for table in ("item", "warehouse", "category", "item_image", "price_list", "customer", "sales_order", "shipment"):
        await connection.execute(
            f"select setval(pg_get_serial_sequence('{table}', 'id'), (select max(id) from {table}))"  # noqa: S608 - names from above
        )

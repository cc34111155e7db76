"""What the office does during the demo day: prices, promotions, payments, credit, texts and the range itself.

Invariant: a promotion is one dated price row written ahead of its time; no row changes when it starts or ends. Articles
that orders refer to are taken out of the range and never deleted.
"""

from __future__ import annotations

import html
import random
from decimal import Decimal
from typing import Final

from daemon.demo.day_sales import Connection, choose
from daemon.demo.seed import TRADE_BREAKS, USD_FACTOR, cents

PROMOTION_STARTS_IN: Final = 8
PROMOTION_LASTS: Final = 20
_SMALLEST_RANGE: Final = 50
_NEWCOMERS: Final = (
    ("WRN-STUBBY-10", "Stubby ratchet 10 mm", "13.40"),
    ("DRL-CNT-90", "Countersink 90°, 6 flutes", "11.80"),
    ("GLV-WNT-10", "Winter gloves, size 10", "14.60"),
    ("BOX-TOTE-2", "Tool tote, two trays", "36.90"),
    ("SDR-PREC-6", "Precision screwdrivers, 6 pieces", "16.20"),
)
_NOTES: Final = (
    "New batch: now packed without plastic.",
    "Back from the test bench: our customers use it daily.",
    "Supplied with a test certificate on request.",
    "Please mind the safety data in the download area.",
)


# Prices ---------------------------------------------------------------------------------------------------------------


async def reprice(c: Connection, rng: random.Random) -> str | None:
    """One article in all lists: trade and export follow retail."""
    row = await choose(
        c,
        rng,
        "select p.item_id, i.sku, p.amount from price p join item i on i.id = p.item_id"
        " where p.price_list_id = 1 and p.valid_from is null and i.active order by p.id",
    )
    if row is None:
        return None
    retail = cents(row["amount"] * Decimal(rng.choice(("0.95", "0.98", "1.02", "1.04"))))
    prices = [(1, 1, retail), (3, 1, cents(retail * USD_FACTOR))]
    prices += [(2, quantity, cents(retail * factor)) for quantity, factor in TRADE_BREAKS]
    for price_list, quantity, amount in prices:
        await c.execute(
            "update price set amount = $4 where item_id = $1 and price_list_id = $2 and min_quantity = $3"
            " and valid_from is null",
            row["item_id"],
            price_list,
            quantity,
            amount,
        )
    return f"{row['sku']} now costs {retail} EUR, was {row['amount']}"


async def promotion(c: Connection, rng: random.Random) -> str | None:
    """A price with dates. Two promotions of one article never overlap."""
    row = await choose(
        c,
        rng,
        "select p.item_id, i.sku, p.amount from price p join item i on i.id = p.item_id"
        " where p.price_list_id = 1 and p.valid_from is null and i.active and not exists"
        " (select from price d where d.item_id = p.item_id and d.valid_to > now()) order by p.id",
    )
    if row is None:
        return None
    amount = cents(row["amount"] * Decimal("0.80"))
    await c.execute(
        "insert into price (item_id, price_list_id, amount, valid_from, valid_to)"
        " values ($1, 1, $2, now() + $3 * interval '1 second', now() + $4 * interval '1 second')",
        row["item_id"],
        amount,
        PROMOTION_STARTS_IN,
        PROMOTION_STARTS_IN + PROMOTION_LASTS,
    )
    return f"promotion: {row['sku']} for {amount} EUR, starts in {PROMOTION_STARTS_IN} s, lasts {PROMOTION_LASTS} s"


async def bulk_update(c: Connection, rng: random.Random) -> str | None:
    percent = rng.choice((-2, -1, 1, 2))
    factor = (100 + Decimal(percent)) / 100
    done = await c.execute("update price set amount = round(amount * $1, 2) where price_list_id = 2", factor)
    return f"price list TRADE: {percent:+d} % on {done.split()[-1]} prices in one transaction"


# Customers ------------------------------------------------------------------------------------------------------------


async def payment(c: Connection, rng: random.Random) -> str | None:
    row = await choose(
        c,
        rng,
        "select v.id, v.amount - v.paid as due, u.name, u.currency"
        " from invoice v join customer u on u.id = v.customer_id where v.amount > v.paid order by v.id limit 12",
    )
    if row is None:
        return None
    amount = row["due"] if rng.random() < 0.7 else cents(row["due"] / 2)
    await c.execute("update invoice set paid = paid + $2 where id = $1", row["id"], amount)
    return f"{row['name']} paid {amount} {row['currency']}"


async def hold(c: Connection, rng: random.Random) -> str | None:
    row = await choose(c, rng, "select id, name from customer where not on_hold order by id")
    if row is None:
        return None
    await c.execute("update customer set on_hold = true where id = $1", row["id"])
    return f"{row['name']} is on hold"


async def release_or_hold(c: Connection, rng: random.Random) -> str | None:
    row = await choose(c, rng, "select id, name from customer where on_hold order by id")
    if row is None:
        return await hold(c, rng)
    await c.execute("update customer set on_hold = false where id = $1", row["id"])
    return f"{row['name']} may order again"


async def change_limit(c: Connection, rng: random.Random) -> str | None:
    row = await choose(c, rng, "select id, name, credit_limit, currency from customer order by id")
    if row is None:
        return None
    limit = max(Decimal(1000), row["credit_limit"] + rng.choice((-1000, 500, 1000, 2500)))
    await c.execute("update customer set credit_limit = $2 where id = $1", row["id"], limit)
    return f"credit limit of {row['name']}: {limit} {row['currency']}"


# The range ------------------------------------------------------------------------------------------------------------


async def edit_description(c: Connection, rng: random.Random) -> str | None:
    row = await choose(
        c,
        rng,
        "select d.item_id, i.sku, d.html from description d join item i on i.id = d.item_id"
        " where d.locale = 'en' and i.active order by d.item_id",
    )
    if row is None:
        return None
    text = row["html"].split("<blockquote>", 1)[0] + f"<blockquote>{html.escape(rng.choice(_NOTES))}</blockquote>"
    await c.execute("update description set html = $2 where item_id = $1 and locale = 'en'", row["item_id"], text)
    return f"text of {row['sku']} edited"


async def edit_attribute(c: Connection, rng: random.Random) -> str | None:
    row = await choose(c, rng, "select id, sku from item where active order by id")
    if row is None:
        return None
    await c.execute(
        "insert into item_attribute (item_id, name, value) values ($1, 'Batch', $2)"
        " on conflict (item_id, name) do update set value = excluded.value",
        row["id"],
        f"{rng.randint(1000, 9999)}",
    )
    return f"batch of {row['sku']} noted"


async def new_article(c: Connection, rng: random.Random) -> str | None:
    known = {row["sku"] for row in await c.fetch("select sku from item")}
    offers = [offer for offer in _NEWCOMERS if offer[0] not in known]
    if not offers:
        return None
    sku, name, price = rng.choice(offers)
    item = await c.fetchval("insert into item (sku, name) values ($1, $2) returning id", sku, name)
    retail = Decimal(price)
    prices = [(item, 1, 1, retail), (item, 3, 1, cents(retail * USD_FACTOR))]
    prices += [(item, 2, quantity, cents(retail * factor)) for quantity, factor in TRADE_BREAKS]
    await c.executemany(
        "insert into price (item_id, price_list_id, min_quantity, amount) values ($1, $2, $3, $4)", prices
    )
    await c.execute(
        "insert into stock_level (item_id, warehouse_id, on_hand) select $1, id, $2 from warehouse",
        item,
        Decimal(rng.randint(10, 40)),
    )
    await c.execute(
        "insert into description (item_id, locale, title, html) values ($1, 'en', $2, $3)",
        item,
        name,
        f"<p>New in our range: {html.escape(name)}.</p>",
    )
    await c.execute("insert into item_image (item_id, url, alt) values ($1, $2, $3)", item, f"/img/{sku}.svg", name)
    await c.execute(
        "insert into item_category (item_id, category_id) select $1, id from category where name = 'Hand tools'", item
    )
    return f"new article {sku}"


async def discontinue(c: Connection, rng: random.Random) -> str | None:
    row = await choose(
        c,
        rng,
        "select id, sku from item i where active and not exists (select from reservation r where r.item_id = i.id)"
        " and (select count(*) from item where active) > $1 order by id",
        _SMALLEST_RANGE,
    )
    if row is None:
        return None
    await c.execute("update item set active = false where id = $1", row["id"])
    return f"{row['sku']} discontinued"


async def bring_back(c: Connection, rng: random.Random) -> str | None:
    row = await choose(c, rng, "select id, sku from item where not active order by id")
    if row is None:
        return None
    await c.execute("update item set active = true where id = $1", row["id"])
    return f"{row['sku']} is back in the range"


async def delete_article(c: Connection, rng: random.Random) -> str | None:
    """With everything that hangs on it: the log carries the deletes of its prices, stock and texts as well."""
    row = await choose(
        c,
        rng,
        "select id, sku from item i where not exists (select from sales_order_line l where l.item_id = i.id)"
        " and (select count(*) from item where active) > $1 order by id",
        _SMALLEST_RANGE,
    )
    if row is None:
        return None
    await c.execute("delete from item where id = $1", row["id"])
    return f"{row['sku']} deleted from the ERP"

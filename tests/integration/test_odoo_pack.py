"""The Odoo pack against what Odoo's own program said of the same database, and Odoo's rules beyond that day."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest

from daemon.preflight import examine
from tests.conftest import Database
from tests.integration.odoo import Reader, oracle, restore

pytestmark = pytest.mark.newest


@pytest.fixture
async def odoo(database: Database) -> Database:
    await restore(database)
    return database


def number(value: Any) -> Decimal:
    return Decimal(str(value))


async def test_every_row_is_what_odoo_says(odoo: Database) -> None:
    said = oracle()
    async with Reader(odoo, "quantities = [10]") as reader:
        stock = await reader.documents("stock")
        assert {id_: d["available"] for id_, d in stock.items()} == {
            f"{row['sku']}|{said['warehouse']['code']}": int(row["free"].to_integral_value(ROUND_FLOOR))
            for row in said["stock"]
        }
        price = await reader.documents("price")
        wanted = {
            f"{row['sku']}|{row['list'] or 'default'}|{said['currency']}|{row['min_quantity']}": row["amount"]
            for row in said["price"]
        }
        # Odoo's answer was written down with four digits
        assert [
            (id_, price[id_]["amount"], amount)
            for id_, amount in wanted.items()
            if abs(number(price[id_]["amount"]) - amount) > Decimal("0.00005")
        ] == []
        assert len([id_ for id_ in price if "|default|" in id_]) == len([r for r in said["price"] if not r["list"]])
        credit = await reader.documents("credit")
        assert {id_: [number(d[n]) for n in ("limit", "receivable", "to_invoice")] for id_, d in credit.items()} == {
            row["customer"]: [row["limit"], row["receivable"], row["to_invoice"]] for row in said["credit"]
        }
        for document in credit.values():
            assert number(document["available"]) == number(document["limit"]) - number(document["balance"])
            assert document["hold"] is (number(document["available"]) < 0)
        orders = await reader.documents("order_status")
        assert {
            id_: (d["state"], d["delivery_status"], d["invoice_status"], d["reference"],
                  sorted((p["id"], p["status"]) for p in d["fulfilments"] + d["returns"]))
            for id_, d in orders.items()
        } == {
            row["order"]: (row["state"], row["delivery_status"] or None, row["invoice_status"], row["reference"] or None,
                           sorted(tuple(p) for p in row["pickings"]))
            for row in said["order_status"]
        }  # fmt: skip
        content = await reader.documents("content")
        assert {id_: (d["title"], d["description_html"], d["categories"][-1]) for id_, d in content.items()} == {
            f"{row['sku']}|default": (row["title"], row["description_sale"] or None, row["categ"])
            for row in said["content"]
        }


async def test_on_hand_is_what_odoo_says(odoo: Database) -> None:
    async with Reader(odoo, 'sellable = "on_hand"\nwarehouses = ["WH"]') as reader:
        stock = await reader.documents("stock")
    assert {id_: d["available"] for id_, d in stock.items()} == {
        f"{row['sku']}|WH": int(row["on_hand"].to_integral_value(ROUND_FLOOR)) for row in oracle()["stock"]
    }


async def test_the_pack_fits_the_database_with_every_option_that_it_can_have(odoo: Database) -> None:
    everything = (
        'company = "My Company"\nwarehouses = ["WH"]\nsellable = "forecast"\nsku = "default_code"\non_sale = true\n'
        'price_lists = ["VIP"]\ninvoice_partner = true\ndiscount_twice = false\nround_prices = true\n'
        'locales = ["fr_FR", "en_US"]\nimage_url = "https://erp.example/"\norder_number = "client_order_ref"'
    )
    for options in ("", everything):
        async with Reader(odoo, options) as reader:
            found = await examine(reader.erp, reader.config)
            assert [str(p) for p in found.problems if "PUBLICATION" not in p.code and "SLOT" not in p.code] == []

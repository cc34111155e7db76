"""A business's events in a real Tryton, one after the other: after each the storefront shows what Tryton says.

Invariant under test: no event is missed and no number differs; Tryton's own statements never fail because of us.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.e2e.tryton.stage import Stage
from tests.waiting import until

pytestmark = [pytest.mark.newest, pytest.mark.timeout(600)]
OnStage = Callable[..., AbstractAsyncContextManager[Stage]]
RED = "WID-RED"


async def test_stock_follows_counts_arrivals_moves_and_kits(on_stage: OnStage) -> None:
    async with on_stage() as at:
        await at.event("count", WID_RED=100, WID_BLU=50, GAD=30, CAB=12.5, EGG=144)
        await at.event("count", WID_RED=97)
        await at.event("shelf", code="A1", parent="STO")
        await at.event("move", sku=RED, quantity=5, source="STO", target="A1")
        await at.event("kit_quantity", sku="KIT", quantity=3)
        arrival = await at.event("buy", sku=RED, quantity=40)
        await at.event("arrive", arrival=arrival, step="receive")
        await at.event("arrive", arrival=arrival, step="do")
        await at.event("plan", sku="GAD", quantity=7, days=3)
        await at.event("recount")


async def test_prices_follow_amounts_formulas_dates_and_categories(on_stage: OnStage) -> None:
    async with on_stage() as at:
        await at.event("template_price", sku=RED, price="26.50")
        await at.event("variant_price", sku="WID-BLU", price="31.00")
        await at.event("variant_price", sku="WID-BLU", price=None)
        await at.event("cost_price", sku="GAD", price="60.25")
        await at.event("line_formula", name="Wholesale", number=1, formula="unit_price * 0.75")
        await at.event("add_line", name="Wholesale", formula="list_price - 5", sku="GAD")
        await at.event("add_line", name="Wholesale", formula="list_price - 7", sku="CAB", days=[0, 2])
        await at.event("add_line", name="Wholesale", formula="list_price - 9", sku="EGG", days=[1, 2])
        await at.event("weigh", sku="GAD", weight=750.0, unit="Gram")
        await at.event("add_line", name="Projects", formula="list_price + weight * 4", sku="GAD")
        await at.event("remove_line", name="Wholesale", number=0)
        await at.event("list_base", name="Wholesale", base="cost_price")
        await at.event("rename_list", name="Wholesale", to="Trade")
        await at.event("categorize", sku="GAD", category="Tools")
        await at.event("reparent", category="Hand tools", parent=None)
        await at.event("reparent", category="Hand tools", parent="Tools")
        await at.event("customer_list", code="C0001", name="Trade")
        await at.event("default_list", name="Projects")
        await at.event("customer_list", code="C0001", name=None)


async def test_orders_and_credit_follow_a_sale_from_quote_to_payment(on_stage: OnStage) -> None:
    async with on_stage() as at:
        await at.event("count", WID_RED=100, WID_BLU=50, GAD=30, CAB=12.5)
        await at.event("credit_limit", code="C0001", amount="1000")
        await at.event("credit_limit", code="C0001", amount="150")
        await at.event("default_limit", amount="200")
        await at.event("new_party", code="C0009")
        sale = await at.event("quote", code="C0001", lines={RED: 12, "GAD": 2, "KIT": 1})
        await at.event("confirm", sale=sale)
        for step in ("assign_try", "pick", "pack"):
            await at.event("ship", sale=sale, step=step)
        await at.event("track", sale=sale, reference="1Z-999")
        await at.event("ship", sale=sale, step="do")
        await at.event("post", sale=sale)
        await at.event("pay", sale=sale, part="100")
        await at.event("pay", sale=sale)
        returned = await at.event("order", code="C0001", lines={RED: -2})
        await at.event("receive_return", sale=returned)
        billed = await at.event("order", code="C0002", lines={"WID-BLU": 5, "GAD": 1}, method="fulfillment")
        await at.event("cancel_shipment", sale=billed, give_up=False)
        await at.event("cancel_shipment", sale=await at.do("order", code="C0002", lines={"GAD": 3}), give_up=True)
        await at.event("cancel_order", sale=await at.event("quote", code="C0002", lines={"GAD": 1}))
        await at.event("delete_order", sale=await at.event("quote", code="C0002", lines={"GAD": 1}))


async def test_content_follows_texts_languages_pictures_and_deletions(on_stage: OnStage) -> None:
    async with on_stage() as at:
        await at.event("describe", sku=RED, text="New & <long>\n" + "x" * 5000)
        await at.event("name", sku=RED, text="Widget Mk2")
        await at.event("name", sku=RED, text="Bidule", language="fr")
        await at.event("rename_category", old="Tools", new="Outils", language="fr")
        await at.event("rename_category", old="Tools", new="All tools")
        await at.event("add_picture", sku=RED, red=200)
        await at.event("add_picture", sku=RED, red=100, variant=True)
        await at.event("remove_pictures", sku=RED)
        await at.event("attributes", sku=RED, color="red", size="M")
        await at.event("rename", sku="GAD", code="GAD2")
        await at.event("deactivate", sku="FIL01")
        await at.event("delete", sku="FIL02")


async def test_an_import_of_a_thousand_products_and_one_price_for_all(on_stage: OnStage) -> None:
    async with on_stage() as at:
        await at.do("bulk", number=1000)
        await at.agree("an import", prefix="BULK00", within=120, quantities=[1, 12])
        await at.do("bulk_price", price="11.00")
        await at.do("count", WID_RED=77)
        await at.agree("a count beside a price for all", prefix="WID", within=120)
        await at.agree("a price for all", prefix="BULK00", within=120, quantities=[1, 12])
        wanted = {f"BULK{number:04d}-A|default|USD|1" for number in range(1000)}

        def all_shown() -> bool:
            shown = at.shop.documents("price")
            return all(id_ in shown and shown[id_]["amount"] == 11 for id_ in wanted)

        await until(all_shown, within=120, what="each of the thousand has the new price")
        assert len(at.shop.documents("stock")) >= 1000


async def test_what_is_promised_and_what_is_planned_count_where_it_is_asked_for(on_stage: OnStage) -> None:
    async with on_stage("forecast = true\nforecast_days = 7") as at:
        how = {"field": "forecast_quantity", "days": 7}
        await at.do("count", WID_RED=100, GAD=30)
        await at.do("plan", sku="GAD", quantity=7, days=3)
        await at.do("plan", sku=RED, quantity=9, days=20)
        await at.agree("planned moves", **how)
        await at.do("order", code="C0001", lines={RED: 12, "KIT": 2})
        await at.agree("an order", **how)


@pytest.mark.parametrize("seed", [11, 12])
async def test_random_operations_leave_no_difference(on_stage: OnStage, seed: int) -> None:
    async with on_stage() as at:
        await at.do("count", WID_RED=500, WID_BLU=500, GAD=500, CAB=500, EGG=500)
        await at.do("shelf", code="A1", parent="STO")
        for code in ("C0001", "C0002"):
            await at.do("credit_limit", code=code, amount="100000")
        done = []
        for step in range(40):
            done.append(await at.do("random_step", seed=seed * 1000 + step))
            assert "psycopg" not in done[-1]
            await at.agree(" ".join(done[-3:]), quantities=[1, 6, 12])
        refused = [name for name in done if "refused" in name]
        assert len(refused) < 14, refused

"""Laws of the magento adapter beyond the contract: sources, tier prices, failures without a row, deadlocks, settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.store import answers
from adapters.store.base import Store, StoreSettings
from adapters.store.magento import create
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Limits, Status
from tests.documents import KINDS, LISTED, one, patch, written
from tests.doubles import faults
from tests.doubles.magento import MagentoShop

TOKEN = "integration-token"
STATUSES = {"open": "processing", "picking": "picking", "delivered": "complete"}
OPTIONS = {
    "currency": "EUR",
    "sources": {"default": "default", "berlin": "ber"},
    "customer_groups": {"b2b": "Wholesale"},
}


def made(shop: MagentoShop | None, **change: Any) -> Store:
    known: dict[str, Any] = {
        "name": "main", "url": shop.root if shop else "https://shop.example", "token": TOKEN, "timeout": 20.0,
        "limits": Limits(), "options": OPTIONS, "kinds": KINDS,
    }  # fmt: skip
    return create(StoreSettings(**(known | change)))


def stock(sku: str, available: int = 5, location: str = "default", **more: Any) -> dict[str, Any]:
    return {"sku": sku, "location": location, "available": available, **more}


def price(sku: str, amount: str | int = "12.50", **change: Any) -> dict[str, Any]:
    return {"sku": sku, **LISTED, "amount": amount, **change}


@pytest.fixture
async def shop() -> AsyncIterator[MagentoShop]:
    async with MagentoShop(token=TOKEN) as server:
        server.source_codes.add("ber")
        server.products |= {"A", "B", "a,b", "x|y", "s/1 é&%"}
        yield server


@pytest.fixture
async def store(shop: MagentoShop) -> AsyncIterator[Store]:
    one = made(shop)
    await one.open()
    yield one
    await one.close()


async def test_stock_goes_to_the_source_of_its_location(shop: MagentoShop, store: Store) -> None:
    await written(store, "stock", stock("A", 3), stock("A", 0, "berlin"), stock("B", 7, "berlin"))
    assert {key: (row["quantity"], row["status"]) for key, row in shop.stock.items()} == {
        ("A", "default"): (3, 1),
        ("A", "ber"): (0, 0),
        ("B", "ber"): (7, 1),
    }
    assert len(shop.writes()) == 1


@pytest.mark.parametrize("sku", ["a,b", "x|y", "s/1 é&%"])
async def test_a_sku_of_any_characters_is_found(store: Store, sku: str) -> None:
    await written(store, "stock", stock(sku))
    await written(store, "price", price(sku))


async def test_a_sku_that_differs_in_case_is_another(shop: MagentoShop, store: Store) -> None:
    outcome = await one(store, "stock", stock("b"))
    assert (outcome.status, outcome.code) == (Status.REJECTED, answers.UNMAPPED)
    assert not shop.writes()


async def test_stock_that_somebody_closed_by_hand_shows_as_sold_out(shop: MagentoShop, store: Store) -> None:
    await written(store, "stock", stock("A", 3))
    shop.stock["A", "default"]["status"] = 0
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 0


async def test_tier_prices_are_written_read_back_and_removed(shop: MagentoShop, store: Store) -> None:
    tiers = [
        price("A", "10.90", price_list="b2b"),
        price("A", 9, price_list="b2b", min_quantity=10),
        price("A", "11.00", min_quantity=5),
    ]
    await written(store, "price", price("A"), *tiers)
    assert len(shop.tiers) == 3
    assert (await one(store, "price", tiers[0], gone=True)).status is Status.OK
    assert await store.fetch("price", ["A|b2b|EUR|1"]) == {}
    assert len(shop.tiers) == 2


@pytest.mark.parametrize(
    "fields",
    [
        price("A", currency="USD"),
        price("A", price_list="vip"),
        price("A", compare_at="20.00"),
        price("A", tax_included=True),
        price("A", unit="kg"),
    ],
)
async def test_a_price_that_the_shop_cannot_show_is_refused(shop: MagentoShop, store: Store, fields: Any) -> None:
    outcome = await one(store, "price", fields)
    assert (outcome.status, outcome.code, bool(outcome.error)) == (Status.REJECTED, answers.UNMAPPED, True)
    assert not shop.writes()


@pytest.mark.parametrize("fields", [stock("A", location="mars"), stock("A", backorder=True), stock("A", due="soon")])
async def test_stock_that_the_shop_cannot_show_is_refused(shop: MagentoShop, store: Store, fields: Any) -> None:
    outcome = await one(store, "stock", fields)
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert not shop.writes()


async def test_a_base_price_cannot_be_removed(store: Store) -> None:
    outcome = await one(store, "price", price("A"), gone=True)
    assert (outcome.status, "missing" in outcome.error) == (Status.REJECTED, True)


async def test_a_failure_that_names_its_sku_is_that_document_s(shop: MagentoShop, store: Store) -> None:
    shop.inject(
        faults.Status(
            200, {}, b'[{"message": "Invalid attribute %fieldName = %fieldValue.", "parameters": ["SKU", "A"]}]'
        ),
        entity="products/base-prices",
    )
    outcomes = await store.apply("price", [patch("price", price(sku)) for sku in ("A", "B")])
    assert {outcome.id[0]: outcome.status for outcome in outcomes} == {"A": Status.REJECTED, "B": Status.OK}
    assert "Invalid attribute SKU = A." in {outcome.error for outcome in outcomes}


async def test_a_failure_without_its_row_refuses_the_batch_until_the_row_stands_alone(
    shop: MagentoShop, store: Store
) -> None:
    bad, good = patch("price", price("A", -5)), patch("price", price("B"))
    with pytest.raises(StoreError) as caught:
        await store.apply("price", [bad, good])
    assert (caught.value.retry, caught.value.code) == (Retry.NEVER, answers.REFUSED)
    [alone] = await store.apply("price", [bad])
    assert (alone.status, alone.error) == (Status.REJECTED, "Invalid attribute Price = -5.")
    assert [outcome.status for outcome in await store.apply("price", [good])] == [Status.OK]
    assert set(shop.base) == {("B", 0)}


async def test_a_failure_of_a_tier_price_names_its_row_by_placeholders(shop: MagentoShop, store: Store) -> None:
    shop.groups.discard("Wholesale")
    tier, base = patch("price", price("A", price_list="b2b")), patch("price", price("B"))
    outcomes = {outcome.id: outcome for outcome in await store.apply("price", [tier, base])}
    assert outcomes[base.id].status is Status.OK
    assert outcomes[tier.id].status is Status.REJECTED
    assert "SKU = A" in outcomes[tier.id].error


async def test_a_failure_of_one_of_an_article_s_tiers_is_not_laid_at_the_other_s_door(shop: MagentoShop) -> None:
    shop.groups.discard("Wholesale")
    store = made(shop, options={**OPTIONS, "customer_groups": {"b2b": "Wholesale"}})
    await store.open()
    bad, good = patch("price", price("A", price_list="b2b")), patch("price", price("A", min_quantity=5))
    with pytest.raises(StoreError) as caught:
        await store.apply("price", [bad, good])
    assert (caught.value.code, caught.value.retry) == (answers.REFUSED, Retry.NEVER)
    outcomes = [(await store.apply("price", [each]))[0].status for each in (bad, good)]
    assert outcomes == [Status.REJECTED, Status.OK]
    await store.close()


async def test_a_deadlock_is_nobodys_fault_and_asks_for_fewer_calls(shop: MagentoShop, store: Store) -> None:
    shop.deadlocks = 1
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [patch("stock", stock("A"))])
    assert (caught.value.retry, caught.value.code) == (Retry.LATER, answers.BUSY)
    await written(store, "stock", stock("A"))


# Orders and companies


def shipment(name: str, *lines: tuple[str, int], status: str = "sent") -> dict[str, Any]:
    rows = [{"sku": sku, "quantity": str(count)} for sku, count in lines]
    return {"id": name, "status": status, "carrier": "DHL", "tracking_number": f"T-{name}", "lines": rows}


@pytest.fixture
async def seller(shop: MagentoShop) -> AsyncIterator[Store]:
    one = made(shop, options={**OPTIONS, "statuses": STATUSES, "order_prefix": "W-", "credit": "available"})
    await one.open()
    yield one
    await one.close()


async def test_an_order_goes_to_delivered_by_its_shipments(shop: MagentoShop, seller: Store) -> None:
    order = shop.order("000000001", ("A", 3), ("B", 1))
    name = {"order": "W-000000001"}
    await written(seller, "order_status", {**name, "status": "picking", "fulfilments": []})
    parts = [shipment("S1", ("A", 2))]
    await written(seller, "order_status", {**name, "status": "picking", "fulfilments": parts})
    parts.append(shipment("S2", ("A", 1), ("B", 1)))
    await written(seller, "order_status", {**name, "status": "delivered", "fulfilments": parts})
    assert order["status"] == "complete"
    assert [one["tracks"][0]["track_number"] for one in shop.shipments] == ["T-S1", "T-S2"]


async def test_the_same_order_twice_adds_neither_comment_nor_shipment(shop: MagentoShop, seller: Store) -> None:
    order = shop.order("1", ("A", 1))
    fields = {"order": "W-1", "status": "delivered", "fulfilments": [shipment("S1", ("A", 1))]}
    for _ in range(2):
        await written(seller, "order_status", fields)
    assert (len(order["status_histories"]), len(shop.shipments)) == (1, 1)


async def test_a_shipment_whose_answer_was_lost_is_not_made_again(shop: MagentoShop, seller: Store) -> None:
    shop.order("1", ("A", 1))
    fields = {"order": "W-1", "status": "delivered", "fulfilments": [shipment("S1", ("A", 1))]}
    shop.inject(faults.FailAfterWrite(drop=True), calls=1, entity="order/1/ship")
    with pytest.raises(StoreError) as caught:
        await seller.apply("order_status", [patch("order_status", fields)])
    assert caught.value.retry is Retry.LATER
    shop.clear()
    await written(seller, "order_status", fields)
    assert len(shop.shipments) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"status": "lost in space"},
        {"status": "delivered", "fulfilments": []},
        {"fulfilments": [shipment("S1", ("A", 2))]},
        {"fulfilments": [shipment("S1")]},
        {"order": "W-2"},
        {"order": "1"},
    ],
)
async def test_an_order_that_cannot_go_there_is_refused_and_the_others_go(
    shop: MagentoShop, seller: Store, change: dict[str, Any]
) -> None:
    shop.order("1", ("A", 1))
    shop.order("9", ("A", 1))
    bad = patch("order_status", {"order": "W-1", "status": "open", "fulfilments": [], **change})
    good = patch("order_status", {"order": "W-9", "status": "picking", "fulfilments": []})
    outcomes = {outcome.id: outcome for outcome in await seller.apply("order_status", [bad, good])}
    assert outcomes[good.id].status is Status.OK
    assert (outcomes[bad.id].status, bool(outcomes[bad.id].error)) == (Status.REJECTED, True)
    assert not shop.shipments


async def test_a_return_is_no_shipment(shop: MagentoShop, seller: Store) -> None:
    shop.order("1", ("A", 2))
    back = {**shipment("return 1", ("A", 1), status="done"), "kind": "return"}
    sent = {**shipment("S1", ("A", 1), status="done"), "kind": "delivery"}
    await written(seller, "order_status", {"order": "W-1", "status": "picking", "fulfilments": [sent, back]})
    assert [one["comments"][0]["comment"] for one in shop.shipments] == ["erpsyncd S1"]


@pytest.mark.parametrize(
    "fulfilments",
    [
        [shipment("S1", ("A", 1)), shipment("S1", ("A", 1))],
        [shipment("S1", ("A", 1)), {**shipment("S2", ("A", 1)), "id": None}],
        [shipment("S1", ("A", 1)), shipment("S2", ("A", 2))],
        [{**shipment("S1"), "lines": [{"sku": "A", "quantity": "many"}]}],
        [{**shipment("S1"), "lines": [{"sku": "A", "quantity": "NaN"}]}],
        [{**shipment("S1"), "lines": [{"sku": "A", "quantity": -1}]}],
        [{**shipment("S1"), "lines": [{"quantity": 1}]}],
        [{**shipment("S1", ("A", 1)), "location": "moon"}],
        ["S1"],
        "S1",
    ],
)
async def test_shipments_that_cannot_be_made_are_refused_before_any_is(
    shop: MagentoShop, seller: Store, fulfilments: Any
) -> None:
    shop.order("1", ("A", 2))
    outcome = await one(seller, "order_status", {"order": "W-1", "status": "picking", "fulfilments": fulfilments})
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert not shop.writes()


async def test_what_was_cancelled_or_refunded_is_not_left_to_ship(shop: MagentoShop, seller: Store) -> None:
    order = shop.order("1", ("A", 2), ("A", 2))
    order["items"][0] |= {"qty_canceled": 1, "qty_refunded": 1}
    fields = {"order": "W-1", "status": "picking", "fulfilments": [shipment("S1", ("A", 2))]}
    await written(seller, "order_status", fields)
    assert [item["qty_shipped"] for item in order["items"]] == [0, 2]


async def test_a_tracking_number_that_comes_later_or_is_corrected_is_shown(shop: MagentoShop, seller: Store) -> None:
    shop.order("1", ("A", 2))
    sent = shipment("S1", ("A", 1))
    for number in (None, "00340", "00341", "00341"):
        fields = {"order": "W-1", "status": "picking", "fulfilments": [{**sent, "tracking_number": number}]}
        await written(seller, "order_status", fields)
        tracks = [track["track_number"] for track in shop.shipments[0]["tracks"]]
        assert tracks == ([number] if number else [])
    shop.shipments[0]["tracks"].append({"entity_id": 99, "track_number": "by hand"})
    await written(seller, "order_status", {**fields, "fulfilments": [sent]})
    assert [track["track_number"] for track in shop.shipments[0]["tracks"]] == ["by hand", "T-S1"]


@pytest.mark.parametrize(
    ("now", "word"), [([], "no longer says"), ([shipment("S1", ("A", 1)), shipment("S2", ("A", 1))], "other lines")]
)
async def test_what_magento_cannot_change_in_a_shipment_is_told_and_the_rest_is_shown(
    shop: MagentoShop, seller: Store, now: list[Any], word: str
) -> None:
    order = shop.order("1", ("A", 4))
    fields = {"order": "W-1", "status": "open", "fulfilments": [shipment("S1", ("A", 2))]}
    await written(seller, "order_status", fields)
    for _ in range(2):
        outcome = await one(seller, "order_status", {**fields, "status": "picking", "fulfilments": now})
        assert (outcome.status, word in outcome.error, "S1" in outcome.error) == (Status.REJECTED, True, True)
    assert order["status"] == "picking"
    assert len(shop.shipments) == max(len(now), 1)


async def test_two_orders_of_one_number_are_not_chosen_from(shop: MagentoShop, seller: Store) -> None:
    for _ in range(2):
        shop.order("1", ("A", 1))
    outcome = await one(seller, "order_status", {"order": "W-1", "status": "picking", "fulfilments": []})
    assert (outcome.status, "(ids 1, 2)" in outcome.error) == (Status.REJECTED, True)
    assert not shop.writes()
    assert await seller.fetch("order_status", ["W-1"]) == {}


@pytest.mark.parametrize(
    ("options", "location", "source"),
    [({}, "berlin", "ber"), ({"ships_from": "ber"}, None, "ber"), ({"sources": {"berlin": "ber"}}, None, "ber")],
)
async def test_a_shipment_is_taken_off_the_source_that_it_left_from(
    shop: MagentoShop, options: dict[str, Any], location: str | None, source: str
) -> None:
    shop.many_sources = True
    shop.order("1", ("A", 1))
    store = made(shop, options={**OPTIONS, "statuses": STATUSES, **options})
    await store.open()
    await written(store, "stock", stock("A", 5, "berlin"))
    parcel = {**shipment("S1", ("A", 1)), "location": location}
    await written(store, "order_status", {"order": "1", "status": "delivered", "fulfilments": [parcel]})
    await store.close()


DELIVERED = {"order": "W-1", "status": "delivered", "fulfilments": [shipment("S1", ("A", 3))]}


@pytest.mark.parametrize("before", [10, 3])
@pytest.mark.parametrize("stock_first", [True, False])
async def test_a_shipment_takes_no_piece_off_that_the_erp_has_taken_off(
    shop: MagentoShop, seller: Store, before: int, stock_first: bool
) -> None:
    shop.order("1", ("A", 3))
    await written(seller, "stock", stock("A", before))
    if stock_first:
        await written(seller, "stock", stock("A", before - 3))
    await written(seller, "order_status", DELIVERED)
    assert shop.stock["A", "default"]["quantity"] == (before - 3 if stock_first else before)
    await written(seller, "stock", stock("A", before - 3))
    calls = len(shop.calls)
    await written(seller, "order_status", DELIVERED)
    assert shop.stock["A", "default"]["quantity"] == before - 3
    assert not [call for call in shop.calls[calls:] if call.write]


@pytest.mark.parametrize("left", [0, 7])
@pytest.mark.parametrize("fault", [faults.FailAfterWrite(drop=True), faults.FailAfterWrite(), faults.Status(503)])
@pytest.mark.parametrize("lost", ["inventory/source-items", "order/1/ship", "orders/1/comments"])
async def test_whichever_answer_is_lost_a_shipment_takes_no_piece_off_twice(
    shop: MagentoShop, seller: Store, left: int, lost: str, fault: faults.Fault
) -> None:
    shop.order("1", ("A", 3))
    await written(seller, "stock", stock("A", left))
    wanted = [patch("order_status", DELIVERED)]
    shop.inject(fault, entity=lost, write=True)
    with pytest.raises(StoreError) as caught:
        await seller.apply("order_status", wanted)
    assert caught.value.retry is Retry.LATER
    shop.clear()
    await written(seller, "order_status", DELIVERED)
    assert len(shop.shipments) == 1
    assert shop.stock["A", "default"]["quantity"] == left


async def test_a_shipment_that_the_shop_refuses_leaves_the_number_as_it_was(shop: MagentoShop, seller: Store) -> None:
    shop.order("1", ("A", 3))
    await written(seller, "stock", stock("A", 0))
    shop.inject(faults.Status(400), entity="order/1/ship")
    outcome = await one(seller, "order_status", DELIVERED)
    assert outcome.status is Status.REJECTED
    assert shop.stock["A", "default"]["quantity"] == 0


async def test_without_a_memory_of_its_number_a_source_is_left_as_the_shop_has_it(shop: MagentoShop) -> None:
    shop.order("1", ("A", 3))
    shop.stock["A", "default"] = {"sku": "A", "source_code": "default", "quantity": 10, "status": 1}
    store = made(shop, options={**OPTIONS, "statuses": STATUSES, "order_prefix": "W-"})
    await store.open()
    await written(store, "order_status", DELIVERED)
    assert shop.stock["A", "default"]["quantity"] == 7
    await store.close()


async def test_an_order_that_the_erp_took_back_shows_nothing_of_it(shop: MagentoShop, seller: Store) -> None:
    order = shop.order("1", ("A", 1))
    fields = {"order": "W-1", "status": "picking", "fulfilments": []}
    await written(seller, "order_status", fields)
    for _ in range(2):
        assert (await one(seller, "order_status", fields, gone=True)).status is Status.OK
        assert await seller.fetch("order_status", ["W-1"]) == {}
    assert len(order["status_histories"]) == 2


async def test_the_limit_is_set_so_that_what_is_available_is_what_the_erp_says(
    shop: MagentoShop, seller: Store
) -> None:
    credit = shop.credit(5, balance="-120.50")
    fields = {"customer": "5", "currency": "EUR", "available": "879.50", "hold": False}
    await written(seller, "credit", fields)
    assert float(credit["credit_limit"]) == 1000


async def test_the_limit_of_a_company_is_written_where_that_is_wanted(shop: MagentoShop, store: Store) -> None:
    shop.credit(5, balance="-120.50")
    await written(store, "credit", {"customer": "5", "currency": "EUR", "limit": 5000})
    assert (await one(store, "credit", {"customer": "5"}, gone=True)).status is Status.OK
    assert (await store.fetch("credit", ["5"]))["5"]["limit"] == 0


@pytest.mark.parametrize(
    "change", [{"hold": True}, {"balance": 5}, {"currency": "USD"}, {"limit": None}, {"customer": "6"}, {"limit": -1}]
)
async def test_credit_that_a_company_cannot_have_is_refused(shop: MagentoShop, store: Store, change: Any) -> None:
    shop.credit(5)
    outcome = await one(store, "credit", {"customer": "5", "currency": "EUR", "limit": 5000, **change})
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert not shop.writes()


@pytest.fixture
async def writer(shop: MagentoShop) -> AsyncIterator[Store]:
    views = {"locales": {"en": "all", "de": "german"}, "attributes": {"Size": "size_text", "Steel": "steel"}}
    one = made(shop, options={**OPTIONS, **views})
    await one.open()
    yield one
    await one.close()


def content(sku: str, locale: str = "en", **change: Any) -> dict[str, Any]:
    own = {"title": "Nuts & bolts", "description_html": "<p>Of steel</p>", "attributes": {"Size": "M8", "Steel": 4}}
    return {"sku": sku, "locale": locale, **own, "images": [], "categories": [], **change}


async def test_content_is_written_for_each_store_view(shop: MagentoShop, writer: Store) -> None:
    german = content("s/1 é&%", "de", title="Schrauben", attributes={"Size": "M8"})
    await written(writer, "content", content("s/1 é&%"), content("A", title="Other"))
    await written(writer, "content", german)
    assert shop.views["all", "s/1 é&%"]["name"] == "Nuts & bolts"
    assert shop.views["german", "s/1 é&%"]["name"] == "Schrauben"


async def test_an_attribute_that_went_is_emptied_and_others_stay(shop: MagentoShop, writer: Store) -> None:
    shop.views["all", "A"] = {"colour": "red"}
    await written(writer, "content", content("A"))
    await written(writer, "content", content("A", attributes={"Size": "M9"}))
    assert {"colour": "red", "size_text": "M9", "steel": ""}.items() <= shop.views["all", "A"].items()


@pytest.mark.parametrize(
    "change",
    [
        {"locale": "fr"},
        {"sku": "C"},
        {"images": [{"url": "https://erp.example/a.jpg"}]},
        {"categories": ["Tools"]},
        {"attributes": {"Colour": "red"}},
        {"attributes": {"Size": ["M8", "M9"]}},
    ],
)
async def test_content_that_the_shop_cannot_show_is_refused(
    shop: MagentoShop, writer: Store, change: dict[str, Any]
) -> None:
    outcome = await one(writer, "content", content("A", **change) if "sku" not in change else content(**change))
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert not shop.writes()


async def test_content_is_not_taken_off(writer: Store) -> None:
    assert (await one(writer, "content", content("A"), gone=True)).status is Status.REJECTED


async def test_what_went_between_look_and_write_is_no_wrong_address(shop: MagentoShop, store: Store) -> None:
    body = b'{"message": "No such entity with %fieldName = %fieldValue", "parameters": {"fieldName": "id"}}'
    shop.inject(faults.Status(404, {}, body), write=True, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [patch("stock", stock("A"))])
    assert (caught.value.retry, caught.value.code) == (Retry.LATER, answers.FAILED)


# Limits and settings


def test_there_is_one_writer_and_a_call_has_a_hundred_rows_at_most() -> None:
    limits = made(None, limits=Limits(batch_size=500, concurrency=8)).limits
    assert (limits.concurrency, limits.batch_for("stock")) == (1, 100)
    assert made(None, limits=Limits(batch_size=20)).limits.batch_for("price") == 20


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"options": {}}, "store.main.options.currency"),
        ({"options": {**OPTIONS, "source": {}}}, "store.main.options.source"),
        ({"options": {**OPTIONS, "sources": {"a": "x", "b": "x"}}}, "store.main.options.sources"),
        ({"options": {**OPTIONS, "sources": ["a"]}}, "store.main.options.sources"),
        ({"options": {**OPTIONS, "store_id": -1}}, "store.main.options.store_id"),
        ({"kinds": {"loyalty": ""}}, "store.main.entities"),
        ({"url": "shop.example"}, "store.main.url"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(None, **change)
    assert caught.value.where == where
    assert TOKEN not in str(caught.value)

"""Laws of the woocommerce adapter beyond the contract: variations, lists, customers, orders, content, settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from adapters.store import answers
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from adapters.store.woocommerce import create
from adapters.store.woocommerce.desk import decoded, encoded
from daemon.drift import differing
from daemon.errors import ConfigError
from daemon.model import Limits, Status
from tests.documents import KINDS, LISTED, one, patch, written
from tests.doubles import faults
from tests.doubles.woocommerce import WooShop

TOKEN = "cs_0123456789"
STOCK = {"sku": "A", "location": "default", "available": 9}


def made(shop: WooShop | None, **change: Any) -> Store:
    options = {"consumer_key": "ck_shop", "currency": "EUR", **change.pop("options", {})}
    known: dict[str, Any] = {
        "name": "main", "url": shop.root if shop else "https://shop.example", "token": TOKEN, "timeout": 20.0,
        "limits": Limits(), "options": options, "kinds": KINDS, "memory": ShortMemory(),
    }  # fmt: skip
    return create(StoreSettings(**(known | change)))


@pytest.fixture
async def shop() -> AsyncIterator[WooShop]:
    async with WooShop(token=TOKEN) as server:
        yield server


@pytest.fixture
async def store(shop: WooShop) -> AsyncIterator[Store]:
    one = made(shop)
    await one.open()
    yield one
    await one.close()


# Articles


async def test_one_call_writes_the_products_and_one_the_variations_of_each_parent(shop: WooShop, store: Store) -> None:
    shop.product("A")
    shop.product("B")
    for parent in ("P", "Q"):
        above = shop.product(parent, kind="variable")
        for size in ("S", "L"):
            shop.product(f"{parent}-{size}", kind="variation", parent=above["id"])
    skus = ["A", "B", "P-S", "P-L", "Q-S", "Q-L"]
    outcomes = await store.apply(
        "stock", [patch("stock", {"sku": sku, "location": "default", "available": 3}) for sku in skus]
    )
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert [len(call.ids) for call in shop.writes()] == [2, 2, 2]
    assert len(shop.calls) == 4
    assert all(list(call.ids) == sorted(call.ids, key=int) for call in shop.writes())


async def test_an_article_that_got_another_sku_is_followed_and_not_written(shop: WooShop, store: Store) -> None:
    product = shop.product("OLD")
    await written(store, "stock", {"sku": "OLD", "location": "default", "available": 3})
    product["sku"] = "NEW"
    outcome = await one(store, "stock", {"sku": "OLD", "location": "default", "available": 9})
    assert outcome.status is Status.REJECTED
    assert product["stock_quantity"] == 3
    await written(store, "stock", {"sku": "NEW", "location": "default", "available": 4})


@pytest.mark.parametrize("skus", [("X", "X"), ("X", "x")])
async def test_a_sku_that_two_articles_have_is_refused_and_one_that_differs_in_case_is_another(
    shop: WooShop, store: Store, skus: tuple[str, str]
) -> None:
    for sku in skus:
        shop.product(sku)
    outcome = await one(store, "stock", {"sku": "X", "location": "default", "available": 9})
    assert outcome.status is (Status.REJECTED if skus[0] == skus[1] else Status.OK)
    assert [product["stock_quantity"] for product in shop.products.values()] == (
        [None, None] if skus[0] == skus[1] else [9, None]
    )


async def test_a_sku_with_a_comma_a_bar_or_a_space_is_found(shop: WooShop, store: Store) -> None:
    for sku in ("A,B", "A", "B", "a|b", "a b&c", "é/1"):
        shop.product(sku)
        await written(store, "stock", {"sku": sku, "location": "default", "available": 5})


async def test_another_location_is_refused(shop: WooShop, store: Store) -> None:
    shop.product("A")
    outcome = await one(store, "stock", {"sku": "A", "location": "berlin", "available": 9})
    assert (outcome.status, "berlin" in outcome.error) == (Status.REJECTED, True)
    assert not shop.writes()


async def test_a_shop_that_does_not_manage_stock_has_not_taken_it(shop: WooShop, store: Store) -> None:
    shop.product("A")
    shop.manages_stock = False
    outcome = await one(store, "stock", {"sku": "A", "location": "default", "available": 9})
    assert outcome.status is Status.REJECTED
    assert "Inventory" in outcome.error


async def test_stock_with_more_fields_is_read_back_and_removed_as_sold_out(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    fields = {"sku": "A", "location": "default", "available": 0, "backorder": True, "due": "2026-12-01", "fixed": False}
    await written(store, "stock", fields)
    assert (await one(store, "stock", fields, gone=True)).status is Status.OK
    assert (product["manage_stock"], product["stock_status"], product["meta_data"]) == (False, "outofstock", [])


async def test_a_failure_in_one_item_that_passes_is_tried_again_and_not_quarantined(
    shop: WooShop, store: Store
) -> None:
    shop.broken[shop.product("A")["id"]] = 503
    shop.product("B")
    both = [patch("stock", {"sku": sku, "location": "default", "available": 1}) for sku in "AB"]
    outcomes = {outcome.id: outcome.status for outcome in await store.apply("stock", both)}
    assert outcomes == {"A|default": Status.RETRY, "B|default": Status.OK}


async def test_older_shops_list_variations_parent_by_parent(shop: WooShop, store: Store) -> None:
    shop.lists_variations = False
    parent = shop.product("P", kind="variable")
    shop.product("P-S", kind="variation", parent=parent["id"])
    await written(store, "stock", {"sku": "P-S", "location": "default", "available": 5})


# Prices


async def test_a_price_below_another_is_a_sale(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    await written(store, "price", {"sku": "A", **LISTED, "amount": "9.50", "compare_at": "12.00"})
    assert (product["regular_price"], product["sale_price"]) == ("12.00", "9.50")
    await written(store, "price", {"sku": "A", **LISTED, "amount": 11})
    assert (product["regular_price"], product["sale_price"]) == ("11", "")


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "USD"},
        {"price_list": "wholesale"},
        {"min_quantity": 10},
        {"compare_at": "9.50"},
        {"tax_included": True},
    ],
)
async def test_a_price_that_the_shop_cannot_show_is_refused(
    shop: WooShop, store: Store, change: dict[str, Any]
) -> None:
    shop.product("A")
    outcome = await one(store, "price", {"sku": "A", **LISTED, "amount": "9.50", **change})
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert not shop.writes()


async def test_other_lists_are_metadata_where_that_is_wanted(shop: WooShop) -> None:
    store = made(shop, options={"other_price_lists": "metadata", "prices_include_tax": False})
    await store.open()
    product = shop.product("A")
    ordinary = {"sku": "A", **LISTED, "amount": "12.50", "tax_included": False}
    others = [{**ordinary, "price_list": "B2B_1", "amount": 11}, {**ordinary, "min_quantity": 10, "amount": "9.90"}]
    patches = [patch("price", fields) for fields in [ordinary, *others]]
    assert {outcome.status for outcome in await store.apply("price", patches)} == {Status.OK}
    assert len(shop.writes()) == 1
    shown = {name: fields async for name, fields in store.scan("price")}
    assert set(shown) == {each.id for each in patches}
    for each in patches:
        assert each.fields is not None
        assert differing(each.fields, shown[each.id]) == {}
    assert (await one(store, "price", others[0], gone=True)).status is Status.OK
    assert "A|B2B_1|EUR|1" not in await store.fetch("price", [each.id for each in patches])
    assert product["regular_price"] == "12.50"
    await store.close()


async def test_a_variable_product_has_no_price(shop: WooShop, store: Store) -> None:
    shop.product("P", kind="variable")
    assert (await one(store, "price", {"sku": "P", **LISTED, "amount": 5})).status is Status.REJECTED


# Customers and orders

CREDIT = {"currency": "EUR", "limit": 5000, "balance": "120.50", "available": "4879.50", "hold": False, "terms": None}


@pytest.mark.parametrize("how", ["id", "email", "username", "metadata:erp_number"])
async def test_credit_is_metadata_of_the_customer(shop: WooShop, how: str) -> None:
    store = made(shop, options={"customer": how})
    await store.open()
    shop.customer("other@example.com")
    person = shop.customer("ann@example.com")
    person["meta_data"].append({"id": 1, "key": "erp_number", "value": "C-1"})
    name = {"id": str(person["id"]), "email": "ann@example.com", "username": "ann"}.get(how, "C-1")
    for hold in (False, True):
        await written(store, "credit", {"customer": name, **CREDIT, "hold": hold})
    assert {"key": "erpsyncd_credit_hold", "value": "yes"}.items() <= person["meta_data"][-1].items()
    assert (await one(store, "credit", {"customer": "nobody"})).status is Status.REJECTED
    assert (await one(store, "credit", {"customer": name}, gone=True)).status is Status.OK
    assert [entry["key"] for entry in person["meta_data"]] == ["erp_number"]
    await store.close()


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Ann@Example.com", "ann@example.com"), ("ann@example.com", "ANN@example.com")]
)
async def test_an_e_mail_address_is_one_however_it_is_spelt(shop: WooShop, theirs: str, ours: str) -> None:
    store = made(shop, options={"customer": "email"})
    await store.open()
    person = shop.customer(theirs)
    for limit in (1, 2):
        assert (await one(store, "credit", {"customer": ours, **CREDIT, "limit": limit})).status is Status.OK
        assert (await store.fetch("credit", [ours]))[ours]["limit"] == str(limit)
    assert {entry["key"] for entry in person["meta_data"]} >= {"erpsyncd_credit_limit"}
    same = [store.remote("credit", patch("credit", {"customer": name})) for name in (ours, theirs)]
    assert same[0] == same[1]
    await store.close()


async def test_the_prefix_stands_before_an_order_s_metadata_too(shop: WooShop) -> None:
    store = made(shop, options={"order": "metadata:erp_number", "order_prefix": "WEB-"})
    await store.open()
    order = shop.order()
    order["meta_data"].append({"id": 1, "key": "erp_number", "value": "7"})
    await written(store, "order_status", {"order": "WEB-7", "status": "delivered", "fulfilments": []})
    assert order["status"] == "completed"
    assert (await one(store, "order_status", {"order": "7", "status": "delivered"})).status is Status.REJECTED
    await store.close()


async def test_a_remembered_customer_who_became_another_is_not_written(shop: WooShop) -> None:
    store = made(shop, options={"customer": "email"})
    await store.open()
    person = shop.customer("ann@example.com")
    await written(store, "credit", {"customer": "ann@example.com", **CREDIT})
    person["email"] = "eve@example.com"
    outcome = await one(store, "credit", {"customer": "ann@example.com", **CREDIT, "limit": 1})
    assert outcome.status is Status.REJECTED
    assert "4879.50" in orjson.dumps(person).decode()
    await store.close()


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_name_that_two_customers_share_is_refused_every_time(shop: WooShop, remembered: bool) -> None:
    store = made(shop, options={"customer": "metadata:erp_number"})
    await store.open()
    first, second = shop.customer("ann@example.com"), shop.customer("eve@example.com")
    first["meta_data"].append({"id": 1, "key": "erp_number", "value": "C-1"})
    if remembered:
        await written(store, "credit", {"customer": "C-1", **CREDIT})
    second["meta_data"].append({"id": 2, "key": "erp_number", "value": "C-1"})
    if remembered:
        assert (await one(store, "credit", {"customer": "unknown", **CREDIT})).status is Status.REJECTED  # reads all
    before = len(shop.writes())
    for _ in range(3):
        outcome = await one(store, "credit", {"customer": "C-1", **CREDIT, "limit": 1})
        assert (outcome.status, outcome.code) == (Status.REJECTED, answers.UNMAPPED)
        assert f"(ids {first['id']}, {second['id']})" in outcome.error
    assert len(shop.writes()) == before
    second["meta_data"].clear()
    await written(store, "credit", {"customer": "C-1", **CREDIT, "limit": 2})
    await store.close()


async def test_a_return_is_in_no_line_of_shipments(shop: WooShop, store: Store) -> None:
    order = shop.order()
    sent = {"id": "S1", "kind": "delivery", "status": "done", "carrier": "DHL", "tracking_number": "00340", "lines": []}
    back = {**sent, "id": "return 1", "kind": "return", "carrier": "UPS", "tracking_number": "1Z"}
    await written(
        store, "order_status", {"order": str(order["id"]), "status": "delivered", "fulfilments": [sent, back]}
    )
    assert {"key": "erpsyncd_order_tracking_text", "value": "DHL 00340"}.items() <= order["meta_data"][-1].items()


async def test_an_order_goes_to_delivered_with_its_shipments(shop: WooShop) -> None:
    store = made(shop, options={"order_prefix": "WEB-", "statuses": {"PICKING": "processing"}})
    await store.open()
    order = shop.order()
    name = f"WEB-{order['id']}"
    shipment = {"id": "S1", "status": "sent", "carrier": "DHL", "tracking_number": "00340", "lines": [{"sku": "A"}]}
    await written(store, "order_status", {"order": name, "status": "PICKING", "fulfilments": []})
    await written(store, "order_status", {"order": name, "status": "delivered", "fulfilments": [shipment]})
    assert order["status"] == "completed"
    assert {"key": "erpsyncd_order_tracking_text", "value": "DHL 00340"}.items() <= order["meta_data"][-1].items()
    assert (await one(store, "order_status", {"order": name, "status": "lost in space"})).status is Status.REJECTED
    assert (await one(store, "order_status", {"order": "WEB-x", "status": "delivered"})).status is Status.REJECTED
    await store.close()


async def test_a_status_of_the_shop_stays_until_the_erp_says_another_one(shop: WooShop, store: Store) -> None:
    order = shop.order()
    fields = {"order": str(order["id"]), "status": "delivered", "fulfilments": []}
    await written(store, "order_status", fields)
    order["status"] = "refunded"
    assert (await one(store, "order_status", fields, changed={"fulfilments"})).status is Status.OK
    assert order["status"] == "refunded"
    shown = await store.fetch("order_status", [fields["order"]])  # type: ignore[list-item]
    assert shown[str(order["id"])]["status"] == "refunded"


def line(product: dict[str, Any], quantity: int, *, reduced: bool = True) -> dict[str, Any]:
    parent = product["parent_id"]
    ids = {"product_id": parent or product["id"], "variation_id": product["id"] if parent else 0}
    return {**ids, "quantity": quantity, "reduced": reduced}


@pytest.mark.parametrize("stock_first", [True, False])
@pytest.mark.parametrize("kind", ["simple", "variation", "parent"])
async def test_a_cancelled_order_puts_no_piece_back_that_the_erp_has_counted(
    shop: WooShop, store: Store, kind: str, stock_first: bool
) -> None:
    shop.product("B")
    above = shop.product("P", kind="variable")
    product = shop.product("A") if kind == "simple" else shop.product("A", kind="variation", parent=above["id"])
    held = above if kind == "parent" else product
    if kind == "parent":
        product["manage_stock"] = "parent"
    level = {"sku": held["sku"], "location": "default"}
    order = shop.order(line_items=[line(product, 2), line(product, 1)])
    await written(store, "stock", {**level, "available": 5})
    if stock_first:
        await written(store, "stock", {**level, "available": 8})
    gone = {"order": str(order["id"]), "status": "cancelled", "fulfilments": []}
    for _ in range(2):
        await written(store, "order_status", gone)
    assert held["stock_quantity"] == (8 if stock_first else 5)
    await written(store, "stock", {**level, "available": 8})
    assert held["stock_quantity"] == 8


async def test_an_order_that_the_erp_confirms_takes_no_piece_off_that_the_erp_has_taken_off(
    shop: WooShop, store: Store
) -> None:
    order = shop.order(status="pending", line_items=[line(shop.product("A"), 3, reduced=False)])
    await written(store, "stock", {"sku": "A", "location": "default", "available": 5})
    await written(store, "order_status", {"order": str(order["id"]), "status": "confirmed", "fulfilments": []})
    assert (order["status"], shop.by_sku("A")["stock_quantity"]) == ("processing", 5)


async def test_what_shoppers_bought_meanwhile_is_not_undone(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    order = shop.order(line_items=[line(product, 3)])
    await written(store, "stock", {**STOCK, "available": 5})
    hold = shop.inject(faults.Hold(), calls=1, entity="orders", write=True)
    assert isinstance(hold, faults.Hold)
    fields = {"order": str(order["id"]), "status": "cancelled", "fulfilments": []}
    task = asyncio.create_task(store.apply("order_status", [patch("order_status", fields)]))
    await hold.reached.wait()
    product["stock_quantity"] -= 1
    hold.release()
    assert [one.status for one in await task] == [Status.OK]
    assert product["stock_quantity"] == 7


async def test_a_number_that_comes_while_an_order_moves_stock_is_written_last(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    order = shop.order(line_items=[line(product, 3)])
    await written(store, "stock", {**STOCK, "available": 5})
    hold = shop.inject(faults.Hold(), calls=1, entity="products", write=True)
    assert isinstance(hold, faults.Hold)
    fields = {"order": str(order["id"]), "status": "cancelled", "fulfilments": []}
    task = asyncio.create_task(store.apply("order_status", [patch("order_status", fields)]))
    await hold.reached.wait()
    later = asyncio.create_task(store.apply("stock", [patch("stock", STOCK)]))
    done, _ = await asyncio.wait({later}, timeout=0.2)
    assert not done
    hold.release()
    assert [one.status for one in [*await task, *await later]] == [Status.OK] * 2
    assert product["stock_quantity"] == 9


async def test_an_order_whose_stock_cannot_be_looked_at_again_is_written_all_the_same(
    shop: WooShop, store: Store
) -> None:
    order = shop.order(line_items=[line(shop.product("A"), 3)])
    await written(store, "stock", {"sku": "A", "location": "default", "available": 5})
    hold = shop.inject(faults.Hold(after_write=True), calls=1, entity="orders", write=True)
    assert isinstance(hold, faults.Hold)
    fields = {"order": str(order["id"]), "status": "cancelled", "fulfilments": []}
    task = asyncio.create_task(store.apply("order_status", [patch("order_status", fields)]))
    await hold.reached.wait()
    shop.inject(faults.Status(503), entity="products")
    hold.release()
    assert [one.status for one in await task] == [Status.OK]
    shop.clear()
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 8  # a comparison finds it


# Content


def content(**change: Any) -> dict[str, Any]:
    return {
        "sku": "A", "locale": "default", "title": "Nuts & bolts", "description_html": "<p>Of <b>steel</b></p>",
        "attributes": {"Size": "M8", "Uses": ["wood", "steel"]}, "categories": ["Tools > Small"],
        "images": [{"url": "https://erp.example/b.jpg", "position": 2, "alt": "back"},
                   {"url": "https://erp.example/a.jpg", "position": 1, "alt": None}],
        **change,
    }  # fmt: skip


async def test_content_is_written_read_back_and_images_are_fetched_once(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    tools = shop.category("Tools")
    shop.category("Small", tools["id"])
    shop.category("Small")
    await written(store, "content", content())
    await written(store, "content", content(title="Bolts"))
    assert shop.downloads == ["https://erp.example/a.jpg", "https://erp.example/b.jpg"]
    assert [image["alt"] for image in product["images"]] == ["", "back"]


async def test_what_the_shops_people_added_stays(shop: WooShop, store: Store) -> None:
    sale, tools = shop.category("Sale"), shop.category("Tools")
    colour = {"id": 0, "name": "Colour", "variation": True, "visible": True, "position": 0, "options": ["red", "blue"]}
    product = shop.product("A", kind="variable", attributes=[colour], categories=[sale], images=[{"id": 5, "src": "x"}])
    await written(store, "content", content(categories=["Tools"], images=[]))
    assert [one["id"] for one in product["categories"]] == [tools["id"], sale["id"]]
    assert [one["name"] for one in product["attributes"]] == ["Colour", "Size", "Uses"]
    assert product["images"] == [{"id": 5, "src": "x"}]
    await written(store, "content", content(categories=[], images=[], attributes={"Size": "M9"}))
    assert [one["id"] for one in product["categories"]] == [sale["id"]]
    assert [one["name"] for one in product["attributes"]] == ["Colour", "Size"]


async def test_content_that_went_is_a_draft_and_comes_back(shop: WooShop, store: Store) -> None:
    product = shop.product("A")
    fields = content(categories=[])
    await written(store, "content", fields)
    assert (await one(store, "content", fields, gone=True)).status is Status.OK
    assert product["status"] == "draft"
    assert await store.fetch("content", ["A|default"]) == {}
    await written(store, "content", fields)
    assert product["status"] == "publish"


@pytest.mark.parametrize(
    "change",
    [
        {"locale": "de"},
        {"categories": ["Nowhere"]},
        {"categories": ["Small"]},
        {"images": [{"sha256": "00", "position": 1}]},
        {"images": [{"url": "https://erp.example/broken.jpg", "position": 1}]},
        {"attributes": {"colour": "red"}},
    ],
)
async def test_content_that_the_shop_cannot_show_is_refused(
    shop: WooShop, store: Store, change: dict[str, Any]
) -> None:
    shop.category("Small")
    shop.category("Small")
    shop.product("A", attributes=[{"id": 0, "name": "Colour", "variation": True, "options": ["red"]}])
    outcome = await one(store, "content", {**content(categories=[], images=[], attributes={}), **change})
    assert (outcome.status, bool(outcome.error)) == (Status.REJECTED, True)
    assert TOKEN not in outcome.error


async def test_a_variation_has_no_content(shop: WooShop, store: Store) -> None:
    shop.product("A", kind="variation", parent=shop.product("P", kind="variable")["id"])
    outcome = await one(store, "content", content(categories=[]))
    assert (outcome.status, "parent" in outcome.error) == (Status.REJECTED, True)


async def test_html_that_wordpress_changes_shows_as_drift(shop: WooShop, store: Store) -> None:
    shop.product("A")
    fields = content(categories=[], images=[], description_html="<p>a</p><script>b</script>")
    await one(store, "content", fields)
    shown = await store.fetch("content", ["A|default"])
    assert set(differing(fields, shown["A|default"])) == {"description_html"}


# Values and settings


@pytest.mark.parametrize(
    "value", ["", "a", "yes", "no", "7", '"q"', "[1]", "{", True, False, [], [1, "a"], {"a": None}]
)
def test_a_value_survives_as_metadata(value: Any) -> None:
    assert decoded(encoded(value)) == value


def test_a_number_survives_as_metadata_by_its_digits() -> None:
    assert (decoded(encoded(7)), decoded(encoded("7.10")), encoded(None)) == ("7", "7.10", None)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"options": {"consumer_key": "", "currency": "EUR"}}, "store.main.options.consumer_key"),
        ({"options": {"currancy": "EUR"}}, "store.main.options.currancy"),
        ({"options": {"currency": None}}, "store.main.options.currency"),
        ({"options": {"other_price_lists": "drop"}}, "store.main.options.other_price_lists"),
        ({"options": {"customer": "name"}}, "store.main.options.customer"),
        ({"options": {"order": "metadata:"}}, "store.main.options.order"),
        ({"options": {"statuses": {"a": 1}}}, "store.main.options.statuses"),
        ({"options": {"prices_include_tax": "yes"}}, "store.main.options.prices_include_tax"),
        ({"kinds": {"loyalty": ""}}, "store.main.entities"),
        ({"url": "http://shop.example"}, "store.main.url"),
        ({"url": "https://user:x@shop.example"}, "store.main.url"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(None, **change)
    assert caught.value.where == where
    assert TOKEN not in str(caught.value)


async def test_key_and_secret_may_be_one_secret_and_are_in_no_address(shop: WooShop) -> None:
    store = made(shop, token=f"ck_shop:{TOKEN}", options={"consumer_key": None})
    await store.open()
    await store.check()
    assert all(call.authorized for call in shop.calls)
    await store.close()


def test_a_call_is_never_larger_than_the_shop_takes() -> None:
    limits = made(None, limits=Limits(batch_size=500)).limits
    assert (limits.batch_for("stock"), limits.batch_for("content")) == (100, 10)

"""Laws of the `shopify` adapter that the contract suite does not know: compare-and-set, budget, ids, own prices, options."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.store import answers, shopify
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from adapters.store.shopify.cost import CostBucket
from adapters.store.shopify.results import Fault, Results, settle
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import ListPrice, ShopifyShop

HERE = "gid://shopify/Location/71"
LIST = "gid://shopify/PriceList/72"
TOKEN = "shpat_1"
OPTIONS = {"locations": {"default": HERE}, "price_lists": {"dealers": LIST}}


def settings(url: str, **change: Any) -> StoreSettings:
    known: dict[str, Any] = {
        "name": "main",
        "url": url,
        "token": TOKEN,
        "timeout": 20.0,
        "limits": Limits(),
        "options": OPTIONS,
        "kinds": {"stock": "stock", "price": "price", "credit": "credit"},
        "memory": ShortMemory(),
    }
    return StoreSettings(**(known | change))


@pytest.fixture
async def shop() -> AsyncIterator[ShopifyShop]:
    async with ShopifyShop(token=TOKEN) as made:
        made.add_list(LIST, "EUR")
        yield made


@pytest.fixture
async def store(shop: ShopifyShop) -> AsyncIterator[Store]:
    made = shopify.create(settings(shop.root))
    await made.open()
    yield made
    await made.close()


def stock(sku: str, available: int, **more: Any) -> Patch:
    fields = {"sku": sku, "location": "default", "available": available, **more}
    return Patch(f"{sku}|{fields['location']}", 1, 0, fields, {"sku": sku, "location": fields["location"]})


def price(sku: str, amount: str, name: str = "default", quantity: int = 1, currency: str = "EUR", **more: Any) -> Patch:
    identity = {"sku": sku, "price_list": name, "currency": currency, "min_quantity": quantity}
    return Patch(f"{sku}|{name}|{currency}|{quantity}", 1, 0, {**identity, "amount": amount, **more}, identity)


async def one(store: Store, entity: str, patch: Patch) -> Outcome:
    [outcome] = await store.apply(entity, [patch])
    return outcome


def stocked(shop: ShopifyShop, sku: str, available: int = 3) -> Any:
    variant = shop.add(sku)
    variant.levels[HERE] = {"available": available, "on_hand": available}
    return variant


# Stock


async def test_stock_that_a_sale_changed_meanwhile_is_read_once_more_and_set(shop: ShopifyShop, store: Store) -> None:
    variant = stocked(shop, "A")
    other = stocked(shop, "B")
    shop.before_write = lambda: variant.levels[HERE].update(available=2)
    outcomes = await store.apply("stock", [stock("A", 9), stock("B", 8)])
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert (variant.levels[HERE]["available"], other.levels[HERE]["available"]) == (9, 8)
    _, calls = shop.documents["erpsyncdStockSet"]
    changes = [{q["changeFromQuantity"] for q in call["input"]["quantities"]} for call in calls]
    assert changes == [{3}, {2, 3}]
    assert len({call["key"] for call in calls}) == 2


async def test_stock_that_changes_each_time_is_left_to_a_new_reading_of_the_erp(
    shop: ShopifyShop, store: Store
) -> None:
    variant = stocked(shop, "A")

    def sale() -> None:
        variant.levels[HERE]["available"] -= 1
        shop.before_write = sale

    shop.before_write = sale
    assert (await one(store, "stock", stock("A", 9))).status is Status.RETRY
    assert variant.levels[HERE]["available"] == 1
    assert len(shop.documents["erpsyncdStockSet"][1]) == 2


async def test_a_call_repeated_over_a_dying_connection_counts_once(shop: ShopifyShop, store: Store) -> None:
    variant = stocked(shop, "A")
    shop.inject(faults.FailAfterWrite(drop=True), write=True, calls=1)
    assert (await one(store, "stock", stock("A", 9))).status is Status.OK
    assert shop.replays == 1
    assert variant.levels[HERE]["available"] == 9


async def test_rows_at_fault_leave_an_atomic_batch_and_the_others_are_set(shop: ShopifyShop, store: Store) -> None:
    for sku in "ABCD":
        stocked(shop, sku)
    shop.by_sku("B").mutable = shop.by_sku("D").mutable = False
    outcomes = await store.apply("stock", [stock(sku, 7) for sku in "ABCD"])
    assert {o.id[0]: o.status.value for o in outcomes} == {"A": "ok", "B": "rejected", "C": "ok", "D": "rejected"}
    assert [shop.by_sku(sku).levels[HERE]["available"] for sku in "ABCD"] == [7, 3, 7, 3]


async def test_a_quantity_below_zero_is_shown_as_zero_and_is_no_drift(shop: ShopifyShop, store: Store) -> None:
    variant = stocked(shop, "A")
    assert (await one(store, "stock", stock("A", -4))).status is Status.OK
    assert variant.levels[HERE]["available"] == 0
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == -4
    assert [fields["available"] async for _, fields in store.scan("stock")] == [-4]
    await store.apply("stock", [stock("A", 0)])
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 0


async def test_on_hand_is_set_where_the_options_say_so(shop: ShopifyShop) -> None:
    variant = stocked(shop, "A", 3)
    store = shopify.create(settings(shop.root, options={**OPTIONS, "quantity": "on_hand"}))
    await store.open()
    assert (await one(store, "stock", stock("A", 9))).status is Status.OK
    assert variant.levels[HERE] == {"available": 3, "on_hand": 9}
    await store.close()


def test_shipped_pieces_are_not_taken_off_twice() -> None:
    kinds = {"stock": "stock", "order_status": "order_status"}
    with pytest.raises(ConfigError) as caught:
        shopify.create(settings("https://shop.example", kinds=kinds, options={**OPTIONS, "quantity": "on_hand"}))
    assert caught.value.where == "store.main.options.quantity"
    assert "twice" in caught.value.message


async def test_backorder_is_the_inventory_policy(shop: ShopifyShop, store: Store) -> None:
    variant = stocked(shop, "A")
    for value, policy in ((True, "CONTINUE"), (False, "DENY")):
        assert (await one(store, "stock", stock("A", 9, backorder=value))).status is Status.OK
        assert variant.policy == policy
        assert (await store.fetch("stock", ["A|default"]))["A|default"]["backorder"] is value


@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (stock("A", 1, location="elsewhere"), "elsewhere"),
        (stock("A", 1, colour="red"), "colour"),
        (stock("TWICE", 1), "2 variants"),
        (stock("LOOSE", 1), "track"),
        (stock("a", 1), "no variant"),
        (stock("A", 2_000_000_000), "whole numbers"),
    ],
    ids=lambda value: value.id if isinstance(value, Patch) else value,
)
async def test_what_has_no_place_is_refused_with_its_reason(
    shop: ShopifyShop, store: Store, patch: Patch, word: str
) -> None:
    for sku in ("A", "TWICE", "TWICE"):
        stocked(shop, sku)
    stocked(shop, "LOOSE").tracked = False
    outcome = await one(store, "stock", patch)
    assert outcome.status is Status.REJECTED
    assert word in outcome.error
    assert all(variant.levels[HERE]["available"] == 3 for variant in shop.variants.values())


async def test_a_sku_that_moved_to_another_variant_is_followed(shop: ShopifyShop, store: Store) -> None:
    old = stocked(shop, "A")
    assert (await one(store, "stock", stock("A", 5))).status is Status.OK
    shop.rename(old, "OLD")
    new = stocked(shop, "A")
    assert (await one(store, "stock", stock("A", 6))).status is Status.OK
    assert (old.levels[HERE]["available"], new.levels[HERE]["available"]) == (5, 6)
    del shop.variants[new.number]
    assert (await one(store, "stock", stock("A", 7))).status is Status.REJECTED


async def test_a_search_that_lags_behind_writes_to_no_other_sku(shop: ShopifyShop, store: Store) -> None:
    variant = stocked(shop, "A")
    variant.sku = "B"  # the search still shows it as A
    assert (await one(store, "stock", stock("A", 5))).status is Status.REJECTED
    assert variant.levels[HERE]["available"] == 3


async def test_ids_are_learnt_in_bulk_and_once(shop: ShopifyShop, store: Store) -> None:
    for number in range(100):
        stocked(shop, f"S{number:03}")
    patches = [stock(f"S{number:03}", 1) for number in range(100)]
    for _ in range(2):
        assert {o.status for o in await store.apply("stock", patches)} == {Status.OK}
    assert {name: len(calls) for name, (_, calls) in shop.documents.items()} == {
        "erpsyncdVariantsFind": 3,
        "erpsyncdStockRead": 2,
        "erpsyncdStockSet": 2,
    }


@pytest.mark.parametrize("sku", ['a "b" c', "back\\slash", "A OR sku:B", "x:y", "ключ", "a|b", " lead"])
async def test_any_sku_is_searched_for_as_it_stands(shop: ShopifyShop, store: Store, sku: str) -> None:
    stocked(shop, "B")
    variant = stocked(shop, sku)
    assert (await one(store, "stock", stock(sku, 8))).status is Status.OK
    assert variant.levels[HERE]["available"] == 8
    assert set(await store.fetch("stock", [f"{sku}|default"])) == {f"{sku}|default"}


# Prices


async def test_own_prices_of_many_products_share_a_request(shop: ShopifyShop, store: Store) -> None:
    for number in range(25):
        shop.add(f"S{number:02}", product=1 + number // 2)
    patches = [price(f"S{number:02}", f"{number}.25", compare_at=None) for number in range(25)]
    assert {o.status for o in await store.apply("price", patches)} == {Status.OK}
    assert {variant.price for variant in shop.variants.values()} == {f"{number}.25" for number in range(25)}
    calls = {name: len(calls) for name, (_, calls) in shop.documents.items() if "Update" in name}
    assert calls == {"erpsyncdVariantsUpdate10": 1, "erpsyncdVariantsUpdate3": 1}
    fetched = await store.fetch("price", [patch.id for patch in patches])
    assert {fields["amount"] for fields in fetched.values()} == {f"{number}.25" for number in range(25)}
    assert dict([item async for item in store.scan("price")]) == fetched


async def test_compare_at_comes_and_goes(shop: ShopifyShop, store: Store) -> None:
    variant = shop.add("A")
    await store.apply("price", [price("A", "9.90", compare_at="12.00")])
    assert (variant.price, variant.compare_at) == ("9.90", "12.00")
    await store.apply("price", [price("A", "9.90")])
    assert variant.compare_at == "12.00", "a field that is not said is left alone"
    await store.apply("price", [price("A", "9.90", compare_at=None)])
    assert variant.compare_at is None


async def test_one_bad_price_does_not_hold_the_others_of_its_product(shop: ShopifyShop, store: Store) -> None:
    shop.add("A", product=1)
    shop.add("B", product=1)
    outcomes = await store.apply("price", [price("A", "-1"), price("B", "2.50")])
    assert {o.id[0]: o.status.value for o in outcomes} == {"A": "rejected", "B": "ok"}
    assert (shop.by_sku("A").price, shop.by_sku("B").price) == ("0.00", "2.50")


@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (price("A", "1.00", currency="USD"), "EUR"),
        (price("A", "1.00", quantity=10), "quantities"),
        (price("A", "1.00", "vip"), "vip"),
        (price("A", "1.00", tax_included=True), "tax"),
        (price("A", "1.00", "dealers", currency="USD"), "EUR"),
        (price("A", "1.00", "dealers", 10, compare_at="2.00"), "compare_at"),
        (price("A", "1.234"), "1.23"),
        (Patch("A|default|EUR|1", 1, 0, None, price("A", "1").identity), "always has a price"),
    ],
    ids=lambda value: f"{value.id} {sorted(value.fields or ())}" if isinstance(value, Patch) else value,
)
async def test_a_price_that_has_no_place_is_refused_with_its_reason(
    shop: ShopifyShop, store: Store, patch: Patch, word: str
) -> None:
    shop.add("A")
    outcome = await one(store, "price", patch)
    assert outcome.status is Status.REJECTED
    assert word in outcome.error


async def test_quantity_prices_stand_in_a_price_list_beside_the_price_for_one(shop: ShopifyShop, store: Store) -> None:
    variant = shop.add("A")
    early = price("A", "8.00", "dealers", 10)
    assert (await one(store, "price", early)).status is Status.RETRY, "the list has no price for one piece yet"
    patches = [price("A", "9.00", "dealers"), early, price("A", "7.00", "dealers", 100)]
    first = {o.id: o.status for o in await store.apply("price", patches)}
    assert set(first.values()) == {Status.OK}
    again = price("A", "7.50", "dealers", 100)
    assert (await one(store, "price", again)).status is Status.OK
    held = shop.lists[LIST][1][variant.number]
    assert (held.amount, {q: amount for q, (_, amount) in held.breaks.items()}) == ("9.00", {10: "8.00", 100: "7.50"})
    fetched = await store.fetch("price", [patch.id for patch in patches])
    assert {name: fields["amount"] for name, fields in fetched.items()} == {
        "A|dealers|EUR|1": "9.00", "A|dealers|EUR|10": "8.00", "A|dealers|EUR|100": "7.50",
    }  # fmt: skip
    gone = Patch(again.id, 2, 0, None, again.identity)
    for _ in range(2):
        assert (await one(store, "price", gone)).status is Status.OK
        assert set(held.breaks) == {10}


async def test_a_price_list_is_read_page_by_page(shop: ShopifyShop, store: Store) -> None:
    for number in range(120):
        shop.lists[LIST][1][shop.add(f"S{number:03}").number] = ListPrice("1.00")
    for _ in range(2):
        names = [name async for name, _ in store.scan("price") if "dealers" in name]
        assert names == [f"S{number:03}|dealers|EUR|1" for number in range(120)]
    asked = [variables["first"] for variables in shop.documents["erpsyncdListRead"][1]]
    assert [first for first in asked if first > 1] == [50, 25] + [12] * 20, (
        "a page that is too dear is made smaller, once"
    )


async def test_two_calls_never_write_one_product_at_a_time(shop: ShopifyShop, store: Store) -> None:
    for number in range(20):
        shop.add(f"S{number:02}", product=1 + number % 2)
    patches = [price(f"S{number:02}", "3.00") for number in range(20)]
    said = await asyncio.gather(*(store.apply("price", [patch]) for patch in patches))
    assert {o.status for outcomes in said for o in outcomes} == {Status.OK}
    assert shop.overlaps == []


# Credit


def credit(customer: str, limit: str = "5000.50", **more: Any) -> Patch:
    fields = {"customer": customer, "currency": "EUR", "limit": limit, "available": -3, "hold": False, **more}
    return Patch(customer, 1, 0, fields, {"customer": customer})


@pytest.mark.parametrize(
    ("customers", "kind", "names"),
    [
        ("company", "Company", ["C-1", "c-1", 'C "2"']),
        ("company_location", "CompanyLocation", ["L-1", "L-2"]),
        ("customer", "Customer", ["a@x.example", "b@x.example"]),
    ],
)
async def test_credit_is_a_metafield_of_who_buys(
    shop: ShopifyShop, customers: str, kind: str, names: list[str]
) -> None:
    for number in range(60):
        shop.owners[f"gid://shopify/{kind}/{number}"] = f"z{number}@y.example"
    for number, name in enumerate(names):
        shop.owners[f"gid://shopify/{kind}/{100 + number}"] = name
    store = shopify.create(settings(shop.root, options={**OPTIONS, "customers": customers}))
    await store.open()
    patches = [credit(name) for name in names] + [credit(f"z{number}@y.example") for number in range(60)]
    for _ in range(2):
        assert {o.status for o in await store.apply("credit", patches)} == {Status.OK}
    assert len(shop.metafields) == len(patches)
    fetched = await store.fetch("credit", [patch.id for patch in patches])
    assert fetched == {patch.id: patch.fields for patch in patches}
    assert dict([item async for item in store.scan("credit")]) == fetched
    gone = Patch(names[0], 2, 0, None, {"customer": names[0]})
    for _ in range(2):
        assert (await one(store, "credit", gone)).status is Status.OK
    assert await store.fetch("credit", [names[0]]) == {}
    await store.close()


async def test_credit_is_set_only_over_the_value_that_was_read(shop: ShopifyShop, store: Store) -> None:
    for number in range(3):
        shop.owners[f"gid://shopify/Company/{number}"] = f"C-{number}"
    place = ("gid://shopify/Company/1", "erpsyncd", "credit")
    shop.before_write = lambda: shop.metafields.update({place: '{"by": "hand"}'})
    outcomes = await store.apply("credit", [credit("C-0"), credit("C-1"), credit("C-2", note="refuse"), credit("C-9")])
    assert {o.id: o.status.value for o in outcomes} == {"C-0": "ok", "C-1": "ok", "C-2": "rejected", "C-9": "rejected"}
    assert "5000.50" in shop.metafields[place]

    def again() -> None:
        shop.metafields[place] = f'{{"by": "hand", "n": {len(shop.documents["erpsyncdMetafieldsSet"][1])}}}'
        shop.before_write = again

    shop.before_write = again
    assert (await one(store, "credit", credit("C-1", "1"))).status is Status.RETRY


async def test_credit_of_a_customer_whose_number_moved_is_followed(shop: ShopifyShop, store: Store) -> None:
    old, new = "gid://shopify/Company/1", "gid://shopify/Company/2"
    shop.owners[old] = "C-1"
    await store.apply("credit", [credit("C-1")])
    shop.owners.update({old: "C-OLD", new: "C-1"})
    assert (await one(store, "credit", credit("C-1", "7"))).status is Status.OK
    assert '"limit":"7"' in shop.metafields[new, "erpsyncd", "credit"]
    shop.owners["gid://shopify/Company/3"] = "C-2"
    shop.owners["gid://shopify/Company/4"] = "C-2"
    outcome = await one(store, "credit", credit("C-2"))
    assert (outcome.status, "2 company" in outcome.error) == (Status.REJECTED, True)


# Budget and errors


@pytest.mark.parametrize("status", [200, 429])
async def test_throttled_is_later_whatever_its_status(shop: ShopifyShop, store: Store, status: int) -> None:
    stocked(shop, "A")
    await store.check()
    shop.throttle_status, shop.points, shop.restore = status, -1e9, 0.001
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [stock("A", 5)])
    assert (caught.value.code, caught.value.retry) == (answers.THROTTLED, Retry.LATER)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0


def test_a_call_waits_for_its_points_and_a_background_call_leaves_half() -> None:
    bucket = CostBucket()
    assert bucket.wait("a", 0.0) == 0.0, "nothing is known before the first answer"
    told = {"maximumAvailable": "1000.0", "currentlyAvailable": "110", "restoreRate": "100.0"}
    bucket.learn("a", {"requestedQueryCost": 100, "throttleStatus": told}, 0.0)
    assert bucket.wait("a", 0.0, background=True) == pytest.approx(4.9)
    assert bucket.wait("a", 0.0) == 0.0
    assert bucket.wait("a", 0.0) == pytest.approx(0.9)
    assert bucket.wait("a", 0.95) == 0.0
    assert bucket.throttled("a") == pytest.approx(0.95)
    bucket.learn("b", {"requestedQueryCost": 9e9}, 1.0)
    assert bucket.wait("b", 100.0) == 0.0, "no call waits for more than the bucket can hold"
    for nonsense in (None, [], {"throttleStatus": 1}, {"throttleStatus": {"maximumAvailable": "x"}}):
        bucket.learn("a", nonsense, 0.0)


@pytest.mark.parametrize(
    ("code", "retry", "said"),
    [
        ("ACCESS_DENIED", Retry.OPERATOR, answers.AUTH),
        ("INTERNAL_SERVER_ERROR", Retry.LATER, answers.FAILED),
        ("MAX_COST_EXCEEDED", Retry.LATER, answers.TOO_LARGE),
        ("INVALID_VARIABLE", Retry.NEVER, answers.REFUSED),
        ("undefinedField", Retry.OPERATOR, answers.ANSWER),
    ],
)
async def test_an_error_in_a_200_carries_its_decision(
    shop: ShopifyShop, store: Store, code: str, retry: Retry, said: str
) -> None:
    body = f'{{"errors": [{{"message": "no {TOKEN}", "extensions": {{"code": "{code}"}}}}]}}'
    shop.inject(faults.Status(200, {}, body))
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [stock("A", 5)])
    assert (caught.value.retry, caught.value.code) == (retry, said)
    assert TOKEN not in str(caught.value)


async def test_what_was_acknowledged_before_a_later_call_failed_stays_acknowledged(
    shop: ShopifyShop, store: Store
) -> None:
    for number in range(15):
        shop.add(f"S{number:02}")
    shop.inject(faults.Empty500(), entity="erpsyncdVariantsUpdate5")
    outcomes = await store.apply("price", [price(f"S{number:02}", "3.00") for number in range(15)])
    assert sorted(o.status.value for o in outcomes) == ["ok"] * 10 + ["retry"] * 5
    assert {o.id[:3] for o in outcomes if o.status is Status.OK} == {
        variant.sku for variant in shop.variants.values() if variant.price == "3.00"
    }


async def test_an_atomic_batch_that_names_no_row_is_halved() -> None:
    class Line:
        def __init__(self, patch: Patch) -> None:
            self.patch = patch

    lines = [Line(stock(f"S{n}", n)) for n in range(9)]
    results = Results([line.patch for line in lines], str)

    async def send(rows: Any) -> list[Fault]:
        return [Fault(None, "X", "bad")] if lines[4] in rows else []

    async def reread(rows: Any) -> Any:
        return rows

    await settle(lines, send, reread, results, stale=())
    assert [o.status.value for o in results.all()] == ["ok"] * 4 + ["rejected"] + ["ok"] * 4


# Options


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"options": {}}, "store.main.options.locations"),
        ({"options": {"locations": {"default": "Main street"}}}, "store.main.options.locations.default"),
        ({"options": {"locations": {"a": 1, "b": "1"}}}, "store.main.options.locations"),
        ({"options": {**OPTIONS, "price_lists": {"a": True}}}, "store.main.options.price_lists.a"),
        ({"options": {**OPTIONS, "quantity": "reserved"}}, "store.main.options.quantity"),
        ({"options": {**OPTIONS, "colour": 1}}, "store.main.options.colour"),
        ({"options": {**OPTIONS, "locale": 7}}, "store.main.options.locale"),
        ({"options": {**OPTIONS, "locales": {"german": "DE!"}}}, "store.main.options.locales.german"),
        ({"options": {**OPTIONS, "locales": {"default": "de"}}}, "store.main.options.locales.default"),
        ({"options": {**OPTIONS, "locales": {"a": "de", "b": "de"}}}, "store.main.options.locales"),
        ({"options": {**OPTIONS, "orders": "number"}}, "store.main.options.orders"),
        ({"options": {**OPTIONS, "product": "title"}}, "store.main.options.product"),
        ({"options": {**OPTIONS, "order_prefix": 7}}, "store.main.options.order_prefix"),
        ({"options": {**OPTIONS, "cancelled": "cancelled"}}, "store.main.options.cancelled"),
        ({"options": {**OPTIONS, "notify": "yes"}}, "store.main.options.notify"),
        ({"options": {**OPTIONS, "customers": "people"}}, "store.main.options.customers"),
        ({"options": {**OPTIONS, "namespace": "a b"}}, "store.main.options.namespace"),
        ({"kinds": {"loyalty": ""}}, "store.main.entities"),
    ],
)
def test_what_the_adapter_cannot_use_is_refused_before_any_call(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shopify.create(settings("https://shop.example", **change))
    assert caught.value.where == place
    assert caught.value.hint

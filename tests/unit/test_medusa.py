"""Laws of the `medusa` adapter that the contract suite does not know: levels, kits, prices beside prices, lists, credit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from adapters.store import answers, medusa
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from adapters.store.medusa.api import Api
from daemon.drift import differing
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles.faults import FailAfterWrite, Hold
from tests.doubles.medusa import Medusa

TOKEN = "sk_0123456789"
KINDS = {kind: kind for kind in ("stock", "price", "credit")}


@pytest.fixture
async def shop() -> AsyncIterator[Medusa]:
    async with Medusa(token=TOKEN) as shop:
        yield shop


def made(shop: Medusa | None, memory: ShortMemory | None = None, **options: Any) -> Store:
    kinds = options.pop("kinds", KINDS)
    url = shop.root if shop else "https://shop.example"
    given = {"entities": list(kinds), **options}
    return medusa.create(StoreSettings("main", url, TOKEN, 20.0, Limits(), given, kinds, memory or ShortMemory()))


async def opened(shop: Medusa, memory: ShortMemory | None = None, **options: Any) -> Store:
    store = made(shop, memory, **options)
    await store.open()
    return store


def patch(identity: Mapping[str, Any], version: int = 1, **fields: Any) -> Patch:
    whole = {**identity, **fields} if fields else None
    return Patch("|".join(map(str, identity.values())), version, 0, whole, identity, frozenset(fields))


def stock(sku: str, available: Any, location: str = "default", **more: Any) -> Patch:
    return patch({"sku": sku, "location": location}, available=available, **more)


def price(sku: str, amount: Any, name: str = "default", currency: str = "EUR", quantity: Any = 1, **more: Any) -> Patch:
    identity = {"sku": sku, "price_list": name, "currency": currency, "min_quantity": quantity}
    return patch(identity, amount=amount, **more)


def gone(one: Patch, version: int = 2) -> Patch:
    return Patch(one.id, version, 0, None, one.identity)


def only(outcomes: Sequence[Outcome]) -> Outcome:
    [outcome] = outcomes
    return outcome


async def taken(store: Store, entity: str, *patches: Patch) -> None:
    """They are written, and read back as they were said."""
    assert [(each.status, each.error) for each in await store.apply(entity, patches)] == [(Status.OK, "")] * len(
        patches
    )
    scanned = {name: fields async for name, fields in store.scan(entity)}
    for shown in (await store.fetch(entity, [each.id for each in patches]), scanned):
        for each in patches:
            if each.fields is None:
                assert each.id not in shown
            else:
                assert differing(each.fields, shown[each.id]) == {}


async def refused(store: Store, entity: str, one: Patch, *words: str) -> None:
    outcome = only(await store.apply(entity, [one]))
    assert outcome.status is Status.REJECTED
    assert outcome.code in (answers.UNMAPPED, "E-STORE-UNSENDABLE")
    for word in words:
        assert word in outcome.error


# Options


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"stock": "free"}, "stock"),
        ({"locations": {"a": "Hall", "b": "Hall"}}, "locations"),
        ({"price_lists": {"a": "B2B", "b": "B2B"}}, "price_lists"),
        ({"price_lists": "B2B"}, "price_lists"),
        ({"customer": "phone"}, "customer"),
        ({"customer": "metadata:"}, "customer"),
        ({"location": "Hall"}, "location"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(None, **options)
    assert caught.value.where == f"store.main.options.{key}"


@pytest.mark.parametrize("options", [{"locations": {"main": "Nowhere"}}, {"price_lists": {"b2b": "plist_none"}}])
async def test_check_names_what_the_shop_does_not_have(shop: Medusa, options: dict[str, Any]) -> None:
    store = await opened(shop, **options)
    with pytest.raises(StoreError) as caught:
        await store.check()
    assert (caught.value.code, caught.value.retry) == ("E-STORE-MISFIT", Retry.OPERATOR)
    await store.close()


async def test_a_title_that_two_price_lists_have_is_nobodys_and_an_id_is_somebodys(shop: Medusa) -> None:
    first, _ = shop.price_list("B2B"), shop.price_list("B2B")
    store = await opened(shop, price_lists={"b2b": "B2B"})
    with pytest.raises(StoreError):
        await store.check()
    await store.close()
    store = await opened(shop, price_lists={"b2b": first["id"]})
    await store.check()
    await store.close()


# Stock


@pytest.mark.parametrize(("meaning", "level"), [("available", 9), ("on_hand", 5)])
async def test_a_level_counts_what_the_shop_has_reserved_as_the_option_says(
    shop: Medusa, meaning: str, level: int
) -> None:
    shop.variant("A")
    held = shop.level("A", 10, reserved=4)
    store = await opened(shop, stock=meaning)
    await taken(store, "stock", stock("A", 5))
    held = shop.levels[shop.of("A")["items"][0][0], "sloc_1"]
    assert (held["stocked_quantity"], held["reserved_quantity"]) == (level, 4)
    await store.close()


async def test_oversold_stock_leaves_nothing_to_sell_and_is_read_back_as_the_erp_says_it(shop: Medusa) -> None:
    shop.variant("A")
    shop.level("A", 10, reserved=4)
    memory = ShortMemory()
    store = await opened(shop, memory)
    for number, stocked in ((-3, 1), (-4, 0), (-5, 0), (2, 6), (-7, 0)):
        await taken(store, "stock", stock("A", number))
        assert shop.levels[shop.of("A")["items"][0][0], "sloc_1"]["stocked_quantity"] == stocked
    shop.levels[shop.of("A")["items"][0][0], "sloc_1"]["stocked_quantity"] = 9
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 5, "a change by hand is seen"
    await store.close()


async def test_without_its_memory_an_oversold_level_reads_as_what_the_shop_shows(shop: Medusa) -> None:
    shop.variant("A")
    shop.level("A", 10)
    store = await opened(shop)
    await taken(store, "stock", stock("A", -5))
    await store.close()
    store = await opened(shop, ShortMemory())
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 0
    await taken(store, "stock", stock("A", -5))
    await store.close()


async def test_levels_of_several_locations_go_in_one_call_and_are_told_apart(shop: Medusa) -> None:
    shop.locations["sloc_2"] = "Hall 2"
    shop.variant("A")
    shop.variant("B")
    store = await opened(shop, locations={"main": "Warehouse", "hall": "sloc_2"})
    await taken(store, "stock", stock("A", 5, "main"), stock("A", 7, "hall"), stock("B", 1, "hall"))
    assert len(shop.writes()) == 1
    await refused(store, "stock", stock("A", 5, "Warehouse"), "location Warehouse")
    assert [name async for name, _ in store.scan("stock")] == ["A|hall", "A|main", "B|hall"]
    await store.close()


async def test_without_the_option_several_locations_are_meant_by_their_names(shop: Medusa) -> None:
    shop.locations["sloc_2"] = "Hall 2"
    shop.variant("A")
    store = await opened(shop)
    await taken(store, "stock", stock("A", 5, "Warehouse"), stock("A", 7, "Hall 2"))
    await refused(store, "stock", stock("A", 5), "location default")
    await store.close()


async def test_a_number_that_is_not_one_items_alone_is_refused(shop: Medusa) -> None:
    shop.variant("BIG", items=[("iitem_x", 12)])
    shop.variant("KIT", items=[("iitem_a", 1), ("iitem_b", 1)])
    shop.variant("ONE", items=[("iitem_s", 1)])
    shop.variant("TWO", items=[("iitem_s", 1)])
    shop.variant("FREE", manage_inventory=False)
    store = await opened(shop)
    for sku, word in (("BIG", "kit"), ("KIT", "kit"), ("ONE", "shares"), ("TWO", "shares"), ("FREE", "manage")):
        await refused(store, "stock", stock(sku, 3), sku, word)
    assert shop.levels == {}
    assert [name async for name, _ in store.scan("stock")] == []
    await store.close()


@pytest.mark.parametrize("available", ["1.5", True, None, "many", 2**60])
async def test_a_quantity_that_medusa_would_take_and_change_is_refused(shop: Medusa, available: Any) -> None:
    shop.variant("A")
    store = await opened(shop)
    await refused(store, "stock", stock("A", available), "available")
    assert not shop.writes()
    await store.close()


async def test_a_fraction_that_somebody_put_into_a_level_is_shown(shop: Medusa) -> None:
    shop.variant("A")
    level = shop.level("A", 3)
    level["stocked_quantity"], level["reserved_quantity"] = 2.5, 0.25
    store = await opened(shop)
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == "2.25"
    await refused(store, "stock", stock("A", 3), "reserved_quantity")
    await store.close()


async def test_a_field_without_a_place_is_refused_and_a_null_needs_none(shop: Medusa) -> None:
    shop.variant("A")
    store = await opened(shop)
    await refused(store, "stock", stock("A", 1, shelf="R7"), "shelf")
    await taken(store, "stock", stock("A", 1, shelf=None))
    await store.close()


async def test_a_removed_level_is_gone_whatever_was_in_stock_and_once_more_is_no_failure(shop: Medusa) -> None:
    shop.variant("A")
    store = await opened(shop)
    await taken(store, "stock", stock("A", 5))
    for _ in range(2):
        await taken(store, "stock", gone(stock("A", 5)))
    assert shop.levels == {}
    await store.close()


@pytest.mark.parametrize("why", ["reserved_quantity", "incoming_quantity"])
@pytest.mark.parametrize("meaning", ["available", "on_hand"])
async def test_a_level_that_medusa_keeps_has_nothing_left_to_sell(shop: Medusa, why: str, meaning: str) -> None:
    """One with pieces that orders have reserved, or that are on their way, cannot be removed."""
    shop.variant("A")
    level = shop.level("A", 10)
    level[why] = 4
    store = await opened(shop, stock=meaning)
    assert only(await store.apply("stock", [gone(stock("A", 5))])).status is Status.OK
    [level] = shop.levels.values()
    assert level["stocked_quantity"] == level["reserved_quantity"]
    level[why] = 0
    await taken(store, "stock", gone(stock("A", 5)))
    assert shop.levels == {}
    await store.close()


async def test_backorder_is_written_where_it_differs_and_left_where_nothing_is_said(shop: Medusa) -> None:
    for sku in ("A", "B"):
        shop.variant(sku)
    store = await opened(shop)
    await taken(store, "stock", stock("A", 5, backorder=True), stock("B", 5))
    assert [shop.of(sku)["allow_backorder"] for sku in ("A", "B")] == [True, False]
    await taken(store, "stock", stock("A", 6, backorder=True))
    assert [call.entity.partition("/")[0] for call in shop.writes()] == [
        "inventory-items",
        "products",
        "inventory-items",
    ]
    await taken(store, "stock", stock("A", 6))
    assert shop.of("A")["allow_backorder"] is True
    await store.close()


async def test_a_level_that_somebody_made_meanwhile_is_met_by_the_next_look(shop: Medusa) -> None:
    shop.variant("A")
    store = await opened(shop)
    hold = Hold()
    shop.inject(hold, write=True)
    call = asyncio.create_task(store.apply("stock", [stock("A", 5)]))
    await hold.reached.wait()
    shop.level("A", 1)
    shop.clear()
    with pytest.raises(StoreError) as caught:
        await call
    assert (caught.value.code, caught.value.retry) == (answers.BUSY, Retry.LATER)
    await taken(store, "stock", stock("A", 5))
    await store.close()


async def test_a_conflict_in_the_shops_database_asks_for_fewer_calls(shop: Medusa) -> None:
    shop.variant("A")
    store = await opened(shop)
    shop.conflicts = 1
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [stock("A", 5)])
    assert (caught.value.code, caught.value.retry) == (answers.BUSY, Retry.LATER)
    await store.close()


async def test_an_article_that_got_another_sku_is_followed_and_not_written(shop: Medusa) -> None:
    variant = shop.variant("OLD")
    store = await opened(shop)
    await taken(store, "stock", stock("OLD", 3))
    variant["sku"] = "NEW"
    await refused(store, "stock", stock("OLD", 9), "OLD")
    await taken(store, "stock", stock("NEW", 4))
    await store.close()


@pytest.mark.parametrize("sku", ["a|b", "a b&c=d#e", "é/1", "[x]", "50%", 'q"uo\\te'])
async def test_a_sku_of_any_spelling_is_found(shop: Medusa, sku: str) -> None:
    shop.variant(sku)
    store = await opened(shop)
    await taken(store, "stock", stock(sku, 3))
    await taken(store, "price", price(sku, "1.10"))
    await store.close()


# Prices of variants


async def test_prices_of_other_currencies_quantities_and_regions_stay(shop: Medusa) -> None:
    shop.currencies["usd"] = False
    variant = shop.variant("A")
    shop.add_price(variant, "A", "usd", 2.5)
    shop.add_price(variant, "A", "eur", 1.1, rules={"region_id": "reg_1"})
    shop.add_price(variant, "A", "eur", 0.9, min_quantity=100, max_quantity=500)
    before = list(variant["prices"])
    store = await opened(shop)
    await taken(store, "price", price("A", "1.25"))
    after = shop.of("A")["prices"]
    assert [row for row in after if row in before] == before
    assert len(after) == 4
    await store.close()


async def test_a_price_keeps_its_id_and_of_several_alike_one_is_left(shop: Medusa) -> None:
    """Parallel writes of others leave a price twice; Medusa then shows the lower one."""
    variant = shop.variant("A")
    first = shop.add_price(variant, "A", "eur", 3)
    shop.add_price(variant, "A", "eur", 2, min_quantity=1)
    store = await opened(shop)
    assert (await store.fetch("price", ["A|default|EUR|1"]))["A|default|EUR|1"]["amount"] == 2
    await taken(store, "price", price("A", "4.50"))
    assert [(row["id"], row["amount"]) for row in shop.of("A")["prices"]] == [(first["id"], 4.5)]
    await store.close()


async def test_prices_by_quantity_are_documents_of_their_own(shop: Medusa) -> None:
    shop.variant("A")
    store = await opened(shop)
    await taken(store, "price", price("A", 3), price("A", "2.50", quantity=10), price("A", 2, quantity=100))
    await taken(store, "price", gone(price("A", 0, quantity=10)), price("A", "2.10", quantity=100))
    assert [(row["min_quantity"], row["amount"]) for row in shop.of("A")["prices"]] == [(None, 3), (100, 2.1)]
    await store.close()


async def test_variants_of_many_products_are_one_call(shop: Medusa) -> None:
    skus = [f"A{n:03}" for n in range(150)]
    for n, sku in enumerate(skus):
        shop.variant(sku, f"prod_{n // 2}")
    before = {sku: shop.of(sku)["product_id"] for sku in skus}
    store = await opened(shop)
    await store.apply("price", [price(sku, "1.10") for sku in skus])
    assert len(shop.writes()) == 1
    assert {sku: shop.of(sku)["product_id"] for sku in skus} == before
    await store.close()


async def test_a_medusa_that_looks_at_the_product_gets_a_call_for_each(shop: Medusa) -> None:
    shop.looks_at_products = True
    for sku, product in (("A", "prod_a"), ("B", "prod_b"), ("C", "prod_a")):
        shop.variant(sku, product)
    store = await opened(shop)
    for amount in ("1.10", "1.20"):
        await taken(store, "price", *(price(sku, amount) for sku in "ABC"))
    tried = [call.entity.split("/")[1] for call in shop.writes()]
    assert tried == ["prod_erpsyncd", "prod_a", "prod_b", "prod_a", "prod_b"]
    await store.close()


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (price("A", 1, currency="USD"), "USD"),
        (price("A", 1, currency="eur"), "capitals"),
        (price("A", "-0.01"), "below zero"),
        (price("A", "1234567890123.456"), "15 digits"),
        (price("A", "0.0001"), "for zero"),
        (price("A", 1, quantity="0.5"), "min_quantity"),
        (price("A", 1, quantity=0), "min_quantity"),
        (price("A", 1, compare_at=2), "compare_at"),
        (price("A", 1, tax_included=True), "tax"),
        (price("A", 1, "dealers"), "dealers"),
    ],
)
async def test_a_price_that_medusa_would_take_and_nobody_see_right_is_refused(
    shop: Medusa, one: Patch, word: str
) -> None:
    shop.variant("A")
    store = await opened(shop)
    await refused(store, "price", one, word)
    assert not shop.writes()
    await store.close()


@pytest.mark.parametrize("amount", [0, "0.00", "0.00011", "0.00125", "12.340000000000000000000", "123456789012.345"])
async def test_an_amount_that_medusa_keeps_is_written_and_read_back_exactly(shop: Medusa, amount: Any) -> None:
    shop.variant("A")
    store = await opened(shop)
    await taken(store, "price", price("A", amount))
    await store.close()


async def test_tax_is_what_the_shop_says_of_the_currency(shop: Medusa) -> None:
    shop.currencies["eur"] = True
    shop.variant("A")
    store = await opened(shop)
    await taken(store, "price", price("A", 1, tax_included=True))
    await refused(store, "price", price("A", 1, tax_included=False), "include tax")
    await store.close()


# Price lists


@pytest.fixture
def dealers(shop: Medusa) -> Any:
    shop.variant("A")
    shop.variant("B")
    return shop.price_list("Dealers")


LISTS = {"b2b": "Dealers"}


def amounts(place: Any) -> list[Any]:
    return sorted(row["amount"] for row in place["prices"].values())


async def test_prices_of_a_list_are_beside_the_variants_own(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists=LISTS)
    await taken(
        store,
        "price",
        price("A", 3),
        price("A", 2, "b2b"),
        price("A", "1.50", "b2b", quantity=10),
        price("B", 1, "b2b"),
    )
    assert amounts(dealers) == [1, 1.5, 2]
    assert [row["amount"] for row in shop.of("A")["prices"]] == [3]
    await store.close()


async def test_the_default_prices_can_be_a_list_too(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists={"default": "Dealers"})
    await taken(store, "price", price("A", 3))
    assert (amounts(dealers), shop.of("A")["prices"]) == ([3], [])
    await store.close()


async def test_a_price_that_somebody_put_into_the_list_is_taken_over_and_not_doubled(
    shop: Medusa, dealers: Any
) -> None:
    shop.add_price(dealers, "A", "eur", 5)
    shop.add_price(dealers, "A", "eur", 1)
    store = await opened(shop, price_lists=LISTS)
    await taken(store, "price", price("A", 2, "b2b"))
    assert amounts(dealers) == [2]
    await store.close()


async def test_one_that_came_later_is_found_by_a_comparison(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists=LISTS)
    await taken(store, "price", price("A", 2, "b2b"))
    shop.add_price(dealers, "A", "eur", 1)
    shown = {name: fields["amount"] async for name, fields in store.scan("price")}
    assert shown == {"A|b2b|EUR|1": 1}
    await taken(store, "price", price("A", 2, "b2b", version=2))
    assert amounts(dealers) == [2]
    await store.close()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_price_that_was_removed_comes_back_although_its_id_is_used_up(
    shop: Medusa, dealers: Any, restarted: bool
) -> None:
    store = await opened(shop, price_lists=LISTS)
    for version in (1, 3, 5):
        await taken(store, "price", price("A", version, "b2b", version=version), price("B", 9, "b2b", version=version))
        if restarted:
            await store.close()
            store = await opened(shop, price_lists=LISTS)  # with nothing in its memory
        assert only(await store.apply("price", [gone(price("A", 1, "b2b"), version + 1)])).status is Status.OK
        assert amounts(dealers) == [9]
    await store.close()


async def test_a_lost_answer_is_no_second_price(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists=LISTS)
    shop.inject(FailAfterWrite(), write=True, calls=1)
    with pytest.raises(StoreError):
        await store.apply("price", [price("A", 2, "b2b")])
    await taken(store, "price", price("A", 3, "b2b", version=2))
    assert amounts(dealers) == [3]
    await store.close()


async def test_a_list_is_not_read_for_prices_that_are_known(shop: Medusa, dealers: Any) -> None:
    memory = ShortMemory()
    for amount in (1, 2):
        store = await opened(shop, memory, price_lists=LISTS)
        await store.apply("price", [price("A", amount, "b2b")])
        await store.close()
    assert sum(call.entity.endswith("/prices") for call in shop.calls) == 1
    assert amounts(dealers) == [2]


async def test_a_list_is_read_once_for_all_that_is_removed_and_comes_back(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists=LISTS)
    for version in range(1, 9, 2):
        await store.apply("price", [price("A", version, "b2b", version=version)])
        await store.apply("price", [gone(price("A", 1, "b2b"), version + 1)])
        assert amounts(dealers) == []
    assert sum(call.entity.endswith("/prices") for call in shop.calls) == 1
    assert len(shop.writes()) == 8
    await store.close()


async def test_a_price_that_changes_while_its_list_is_read_is_not_forgotten(
    shop: Medusa, dealers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(shop, price_lists=LISTS)
    await taken(store, "price", price("A", 1, "b2b"))
    read, changed = asyncio.Event(), asyncio.Event()
    pages = Api.pages

    async def slowly(self: Api, path: str, name: str, fields: str, **more: Any) -> AsyncIterator[Any]:
        async for page in pages(self, path, name, fields, **more):
            yield page
            if path.endswith("/prices"):
                read.set()
                await changed.wait()

    with monkeypatch.context() as patched:
        patched.setattr(Api, "pages", slowly)
        reading = asyncio.create_task(_all(store))
        await read.wait()
        await store.apply("price", [gone(price("A", 1, "b2b"), 2)])
        await store.apply("price", [price("A", 3, "b2b", version=3)])
        changed.set()
        await reading
    await store.apply("price", [gone(price("A", 1, "b2b"), 4)])
    assert amounts(dealers) == []
    await store.close()


async def _all(store: Store) -> list[Any]:
    return [item async for item in store.scan("price")]


async def test_many_calls_at_once_read_an_unknown_list_once(shop: Medusa, dealers: Any) -> None:
    store = await opened(shop, price_lists=LISTS)
    await store.check()
    await asyncio.gather(*(store.apply("price", [price(sku, 1, "b2b", quantity=n)]) for sku in "AB" for n in (1, 2)))
    assert sum(call.entity.endswith("/prices") for call in shop.calls) == 1
    assert amounts(dealers) == [1, 1, 1, 1]
    await store.close()


# Credit


def credit(customer: str, **fields: Any) -> Patch:
    return patch({"customer": customer}, **fields)


async def test_credit_is_one_metadata_and_the_shops_own_stays(shop: Medusa) -> None:
    customer = shop.customer("a@x.example", metadata={"tier": "gold"})
    store = await opened(shop)
    said = {"limit": "1000.50", "balance": 12, "available": None, "hold": False, "currency": "EUR"}
    await taken(store, "credit", credit("a@x.example", **said))
    assert customer["metadata"] == {"tier": "gold", "erpsyncd_credit": {"customer": "a@x.example", **said}}
    await taken(store, "credit", gone(credit("a@x.example")))
    assert customer["metadata"] == {"tier": "gold"}
    await store.close()


async def test_an_account_is_meant_and_not_the_guest_with_its_address(shop: Medusa) -> None:
    guest = shop.customer("a@x.example", has_account=False)
    account = shop.customer("a@x.example")
    store = await opened(shop)
    await taken(store, "credit", credit("a@x.example", limit=1))
    assert guest["metadata"] is None
    assert account["metadata"] == {"erpsyncd_credit": {"customer": "a@x.example", "limit": 1}}
    await store.close()


@pytest.mark.parametrize("held", ["a@x.example", "A@X.example"])
async def test_an_address_is_one_however_it_is_spelt(shop: Medusa, held: str) -> None:
    shop.customer(held)
    store = await opened(shop)
    await taken(store, "credit", credit("A@X.example", limit=1))
    assert [name async for name, _ in store.scan("credit")] == ["A@X.example"]
    await store.close()


async def test_a_customer_who_is_not_there_or_is_there_twice_is_refused_alone(shop: Medusa) -> None:
    for name in ("ACME", "ACME", "Bolt"):
        shop.customer(f"{shop.root}{name}", company_name=name)
    store = await opened(shop, customer="company_name", metadata_prefix="erp_")
    outcomes = await store.apply("credit", [credit(name, limit=1) for name in ("ACME", "Bolt", "None")])
    said = {outcome.id: outcome for outcome in outcomes}
    assert {id_: outcome.status for id_, outcome in said.items()} == {
        "ACME": Status.REJECTED, "Bolt": Status.OK, "None": Status.REJECTED,
    }  # fmt: skip
    assert "cus_" in said["ACME"].error
    assert [each["metadata"] for each in shop.customers.values()] == [
        None,
        None,
        {"erp_credit": {"customer": "Bolt", "limit": 1}},
    ]
    await store.close()


async def test_a_customer_by_metadata_is_learnt_once_and_followed(shop: Medusa) -> None:
    first = shop.customer("a@x.example", metadata={"erp_id": "C-1"})
    second = shop.customer("b@x.example", metadata={"erp_id": "C-2"})
    store = await opened(shop, customer="metadata:erp_id")
    for limit in (1, 2):
        await store.apply("credit", [credit("C-1", limit=limit)])
    assert len(shop.calls) == 4
    first["metadata"]["erp_id"], second["metadata"]["erp_id"] = "C-9", "C-1"
    await taken(store, "credit", credit("C-1", limit=3))
    assert [each["metadata"]["erpsyncd_credit"]["limit"] for each in (first, second)] == [2, 3]
    await store.close()


async def test_a_customer_whom_the_shop_refuses_holds_no_other(shop: Medusa) -> None:
    bad = shop.customer("a@x.example")
    shop.customer("b@x.example")
    shop.poisoned.add(bad["id"])
    store = await opened(shop)
    outcomes = await store.apply("credit", [credit(f"{name}@x.example", limit=1) for name in "ab"])
    assert [outcome.status for outcome in outcomes] == [Status.REJECTED, Status.OK]
    assert "plugin" in outcomes[0].error
    await store.close()

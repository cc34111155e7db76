"""Laws of the `vendure` adapter that the contract suite does not know: login, channels, custom fields, options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import answers, vendure
from adapters.store.base import Store, StoreSettings
from adapters.store.vendure import values
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles.vendure import Vendure

TOKEN = "k3y-of-the-shop"
KINDS = {"stock": "stock", "price": "price", "credit": "credit"}
OPTIONS: dict[str, Any] = {
    "price_lists": {"b2b": "b2b-token"},
    "credit": {"limit": "creditLimit", "balance": "creditBalance", "hold": "creditHold"},
    "customer": "erpId",
}


def settings(url: str = "http://127.0.0.1:1/admin-api", token: str = TOKEN, **options: Any) -> StoreSettings:
    kinds = options.pop("kinds", KINDS)
    return StoreSettings("main", url, token, 20.0, Limits(), {"entities": list(kinds), **OPTIONS, **options}, kinds)


@pytest.fixture
async def shop() -> AsyncIterator[Vendure]:
    async with Vendure(token=TOKEN) as shop:
        shop.channel("b2b-token", "b2b", "EUR")
        yield shop


async def opened(shop: Vendure, **options: Any) -> Store:
    store = vendure.create(settings(f"{shop.root}/admin-api", **options))
    await store.open()
    return store


def patch(identity: Mapping[str, Any], **fields: Any) -> Patch:
    whole = {**identity, **fields} if fields else None
    return Patch("|".join(map(str, identity.values())), 1, 0, whole, identity, frozenset(fields))


def stock(sku: str, available: Any, location: str = "default") -> Patch:
    return patch({"sku": sku, "location": location}, available=available)


def price(sku: str, amount: Any, name: str = "default", currency: str = "EUR", step: int = 1, **more: Any) -> Patch:
    identity = {"sku": sku, "price_list": name, "currency": currency, "min_quantity": step}
    return patch(identity, amount=amount, **more)


def only(outcomes: Any) -> Outcome:
    [outcome] = outcomes
    assert isinstance(outcome, Outcome)
    return outcome


# Login


async def test_a_login_gives_a_session_that_is_used_again(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop, auth="login", user="erp")
    for number in (1, 2):
        assert only(await store.apply("stock", [stock("A", number)])).status is Status.OK
    assert shop.logins == 1
    await store.close()


async def test_a_session_that_the_shop_forgot_is_made_anew(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop, auth="login", user="erp")
    await store.check()
    shop.sessions.clear()
    assert only(await store.apply("stock", [stock("A", 3)])).status is Status.OK
    assert shop.logins == 2
    await store.close()


async def test_a_wrong_password_is_for_the_operator_and_not_told(shop: Vendure) -> None:
    store = await opened(shop, token="wr0ng-password", auth="login", user="erp")
    with pytest.raises(StoreError) as caught:
        await store.check()
    assert (caught.value.code, caught.value.retry) == (answers.AUTH, Retry.OPERATOR)
    assert "wr0ng" not in str(caught.value)
    await store.close()


# Stock


async def test_available_is_written_beside_what_the_shop_has_reserved(shop: Vendure) -> None:
    shop.variant("A")
    shop.of("A")["levels"]["1"] = (10, 4)
    store = await opened(shop)
    await store.apply("stock", [stock("A", 5)])
    assert shop.of("A")["levels"]["1"] == (9, 4)
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 5
    await store.close()


async def test_on_hand_is_written_as_it_is(shop: Vendure) -> None:
    shop.variant("A")
    shop.of("A")["levels"]["1"] = (10, 4)
    store = await opened(shop, stock="on_hand")
    await store.apply("stock", [stock("A", 5)])
    assert shop.of("A")["levels"]["1"] == (5, 4)
    assert (await store.fetch("stock", ["A|default"]))["A|default"]["available"] == 5
    await store.close()


async def test_two_locations_of_a_variant_go_in_one_call(shop: Vendure) -> None:
    shop.locations["2"] = "Hall"
    shop.variant("A")
    store = await opened(shop, locations={"main": "Default Stock Location", "hall": "Hall"})
    outcomes = await store.apply("stock", [stock("A", 5, "main"), stock("A", 7, "hall")])
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert shop.of("A")["levels"] == {"1": (5, 0), "2": (7, 0)}
    assert [name async for name, _ in store.scan("stock")] == ["A|hall", "A|main"]
    await store.close()


async def test_an_unmapped_location_gets_no_number(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop)
    outcome = only(await store.apply("stock", [stock("A", 5, "elsewhere")]))
    assert outcome.status is Status.REJECTED
    assert "elsewhere" in outcome.error
    assert shop.of("A")["levels"] == {}
    await store.close()


async def test_a_sku_on_two_variants_is_nobodys(shop: Vendure) -> None:
    shop.variant("A")
    shop.variant("A")
    store = await opened(shop)
    outcome = only(await store.apply("stock", [stock("A", 5)]))
    assert outcome.status is Status.REJECTED
    assert "ids 1, 2" in outcome.error
    assert not shop.writes()
    assert [name async for name, _ in store.scan("stock")] == []
    await store.close()


async def test_a_rename_is_followed(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop)
    await store.apply("stock", [stock("A", 5)])
    shop.of("A")["sku"] = "B"
    shop.variant("A")
    await store.apply("stock", [stock("A", 7), stock("B", 9)])
    assert (shop.of("A")["levels"]["1"], shop.of("B")["levels"]["1"]) == ((7, 0), (9, 0))
    await store.close()


async def test_taking_a_stock_level_away_is_refused_with_the_remedy(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop)
    outcome = only(await store.apply("stock", [patch({"sku": "A", "location": "default"})]))
    assert (outcome.status, outcome.code) == (Status.REJECTED, "E-STORE-UNSENDABLE")
    assert "zero" in outcome.error
    await store.close()


async def test_a_deadlock_within_http_200_asks_for_fewer_calls(shop: Vendure) -> None:
    shop.variant("A")
    store = await opened(shop)
    shop.deadlocks = 1
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [stock("A", 5)])
    assert (caught.value.code, caught.value.retry) == (answers.BUSY, Retry.LATER)
    assert only(await store.apply("stock", [stock("A", 5)])).status is Status.OK
    await store.close()


# Prices


async def test_a_price_list_is_a_channel(shop: Vendure) -> None:
    shop.variant("A", "b2b-token")
    store = await opened(shop)
    outcomes = await store.apply("price", [price("A", "9.98"), price("A", "6.66", "b2b")])
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert shop.of("A")["prices"] == {"": {"EUR": 998}, "b2b-token": {"EUR": 666}}
    assert [name async for name, _ in store.scan("price")] == ["A|b2b|EUR|1", "A|default|EUR|1"]
    await store.close()


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (price("A", "1.234"), "2 decimals"),
        (price("A", 1, "vip"), "vip"),
        (price("A", 1, step=10), "min_quantity"),
        (price("A", 1, tax_included=True), "tax_included"),
        (price("A", 1, compare_at=2), "compare_at"),
        (price("B", 1, "b2b"), "b2b-token"),
        (patch({"sku": "A", "price_list": "b2b", "currency": "EUR", "min_quantity": 1}), "taken away"),
    ],
)
async def test_a_price_that_has_no_place_is_refused_alone(shop: Vendure, bad: Patch, word: str) -> None:
    shop.variant("A", "b2b-token")
    shop.variant("B")
    store = await opened(shop)
    outcomes = {outcome.id: outcome for outcome in await store.apply("price", [bad, price("B", 2)])}
    assert outcomes.pop(bad.id).status is Status.REJECTED
    assert [outcome.status for outcome in outcomes.values()] == [Status.OK]
    outcome = only(await store.apply("price", [bad]))
    assert word in outcome.error
    assert shop.of("A")["prices"] == {"": {}, "b2b-token": {}}
    await store.close()


# Credit


async def test_credit_lies_in_custom_fields_in_minor_units(shop: Vendure) -> None:
    shop.customer("a@b.test", "C-1")
    shop.customer("b@b.test", "C-2")
    store = await opened(shop)
    one = patch({"customer": "C-1"}, limit="5000.50", balance=0, hold=True)
    assert only(await store.apply("credit", [one])).status is Status.OK
    held = shop.customers["1"]["customFields"]
    assert (held["creditLimit"], held["creditBalance"], held["creditHold"]) == (500050, 0, True)
    assert await store.fetch("credit", ["C-1", "C-2", "C-3"]) == {"C-1": one.fields}
    assert [item async for item in store.scan("credit")] == [("C-1", one.fields)]
    gone = patch({"customer": "C-1"})
    assert only(await store.apply("credit", [gone])).status is Status.OK
    assert await store.fetch("credit", ["C-1"]) == {}
    await store.close()


async def test_one_customer_that_the_shop_refuses_does_not_hold_the_others(shop: Vendure) -> None:
    for number in (1, 2, 3):
        shop.customer(f"c{number}@b.test", f"C-{number}")
    shop.poisoned.add("c2@b.test")
    store = await opened(shop)
    patches = [patch({"customer": f"C-{number}"}, limit=number) for number in (1, 2, 3)]
    outcomes = {outcome.id: outcome.status for outcome in await store.apply("credit", patches)}
    assert outcomes == {"C-1": Status.OK, "C-2": Status.REJECTED, "C-3": Status.OK}
    await store.close()


async def test_an_e_mail_address_is_found_whatever_its_case(shop: Vendure) -> None:
    shop.customer("a@b.test")
    store = await opened(shop, customer="emailAddress")
    assert only(await store.apply("credit", [patch({"customer": "A@b.test"}, limit=1)])).status is Status.OK
    assert set(await store.fetch("credit", ["A@b.test"])) == {"A@b.test"}
    await store.close()


async def test_a_value_without_a_field_is_refused(shop: Vendure) -> None:
    shop.customer("a@b.test", "C-1")
    store = await opened(shop)
    outcome = only(await store.apply("credit", [patch({"customer": "C-1"}, limit=1, available=2)]))
    assert outcome.status is Status.REJECTED
    assert "`available`" in outcome.error
    await store.close()


# Set-up


@pytest.mark.parametrize(
    "wrong",
    [
        {"credit": {"limit": "nosuch"}},
        {"locations": {"main": "Nowhere"}},
        {"price_lists": {"vip": "nosuch"}},
        {"customer": "nosuch"},
    ],
)
async def test_check_says_what_the_shop_lacks(shop: Vendure, wrong: dict[str, Any]) -> None:
    store = await opened(shop, **wrong)
    with pytest.raises(StoreError) as caught:
        await store.check()
    assert (caught.value.code, caught.value.retry) == ("E-STORE-MISFIT", Retry.OPERATOR)
    assert caught.value.hint
    await store.close()


async def test_a_call_that_the_shop_would_not_take_is_not_sent(shop: Vendure) -> None:
    store = await opened(shop, body_limit=2_000)
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", [stock("A" * 2_000, 1)])
    assert (caught.value.code, caught.value.retry) == (answers.TOO_LARGE, Retry.LATER)
    await store.close()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"credit": {}}, "credit"),
        ({"credit": {"limit": "a-b"}}, "credit"),
        ({"credit": {"limt": "a"}}, "credit.limt"),
        ({"stock": "reserved"}, "stock"),
        ({"auth": "login"}, "user"),
        ({"user": "erp"}, "user"),
        ({"locations": {"a": "x", "b": "x"}}, "locations"),
        ({"price_lists": {"a": "x", "b": "x"}}, "price_lists"),
        ({"customer": "a { b }"}, "customer"),
        ({"chanel": "x"}, "chanel"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_named(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vendure.create(settings(**options))
    assert caught.value.where == f"store.main.options.{where}"


@pytest.mark.parametrize("kind", [""])
def test_an_entity_that_has_no_place_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vendure.create(settings(kinds={"x": kind}))
    assert caught.value.where == "store.main.entities"


# Values


@pytest.mark.parametrize(
    ("amount", "units"), [("12.34", 1234), (7, 700), ("0.10", 10), ("-1.5", -150), ("5000", 500000)]
)
def test_money_is_exact_both_ways(amount: Any, units: int) -> None:
    assert values.minor(amount, "amount", 2) == units
    assert values.minor(values.major(units, 2), "amount", 2) == units


@pytest.mark.parametrize("amount", ["1.234", "x", None, True, 1.5, "NaN", "1e5"])
def test_what_is_no_exact_amount_is_refused(amount: Any) -> None:
    with pytest.raises(values.Unfit):
        values.minor(amount, "amount", 2)


def test_a_float_field_never_holds_an_amount() -> None:
    with pytest.raises(values.Unfit):
        values.to_field("1.50", "limit", "float", 2)
    assert values.to_field("1.50", "limit", "string", 2) == "1.50"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_portions_of_names_keep_their_ids_in_order(size: int) -> None:
    names = ["A", "A-1", "A|", "A|B", "A|B|C", "B", "AB", "a", "é"]
    ids: list[str] = []
    for part in values.in_order(names, size):
        ids += sorted(f"{name}|{end}" for name in part for end in ("b", "z"))
    assert ids == sorted(f"{name}|{end}" for name in names for end in ("b", "z"))

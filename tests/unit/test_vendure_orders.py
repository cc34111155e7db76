"""Laws of order status in the `vendure` adapter: one fulfilment for one shipment, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import vendure
from adapters.store.base import Store, StoreSettings
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Fields, Limits, Outcome, Patch, Status
from tests.doubles.faults import Empty500, FailAfterWrite, Hold, Slow
from tests.doubles.vendure import Vendure
from tests.waiting import until

TOKEN = "k3y-of-the-shop"
KINDS = {"orders": "order_status"}
OPTIONS: dict[str, Any] = {
    "entities": ["orders"],
    "order_note": "erpOrder",
    "statuses": {"confirmed": "PaymentSettled", "quotation": "PaymentAuthorized"},
}
OURS_1, OURS_2 = "DHL [erpsyncd OUT-1]", "DHL [erpsyncd OUT-2]"


@pytest.fixture
async def shop() -> AsyncIterator[Vendure]:
    async with Vendure(token=TOKEN) as shop:
        yield shop


@pytest.fixture
async def store(shop: Vendure) -> AsyncIterator[Store]:
    store = made(shop)
    await store.open()
    yield store
    await store.close()


def settings(url: str = "http://127.0.0.1:1/admin-api", **options: Any) -> StoreSettings:
    return StoreSettings("main", url, TOKEN, 20.0, Limits(), {**OPTIONS, **options}, KINDS)


def made(shop: Vendure, **options: Any) -> Store:
    return vendure.create(settings(f"{shop.root}/admin-api", **options))


def said(order: str, **fields: Any) -> Patch:
    whole = {"order": order, **fields} if fields else None
    return Patch(order, 1, 0, whole, {"order": order}, frozenset(fields))


def sent(id_: str, lines: Mapping[str, int], status: str = "shipped", **more: Any) -> dict[str, Any]:
    rows = [{"sku": sku, "quantity": str(quantity)} for sku, quantity in lines.items()]
    return {"id": id_, "status": status, "carrier": "DHL", "tracking_number": f"T-{id_}", "lines": rows, **more}


async def outcome(store: Store, patch: Patch) -> Outcome:
    [one] = await store.apply("orders", [patch])
    return one


async def shown(store: Store, order: str) -> Fields | None:
    return (await store.fetch("orders", [order])).get(order)


async def test_an_order_goes_to_delivered_by_its_shipments(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 3, "B": 2})
    first, second = {"A": 1}, {"A": 2, "B": 2}
    days: list[tuple[Patch, str]] = [
        (said("W1", status="confirmed", fulfilments=[sent("OUT-1", first, "picking")]), "PaymentSettled"),
        (said("W1", status="confirmed", fulfilments=[sent("OUT-1", first)], reference="R"), "PartiallyShipped"),
        (said("W1", status="shipped", fulfilments=[sent("OUT-1", first), sent("OUT-2", second)]), "Shipped"),
        (
            said("W1", status="shipped", fulfilments=[sent("OUT-1", first, "delivered"), sent("OUT-2", second)]),
            "PartiallyDelivered",
        ),
        (said("W1", status="delivered", fulfilments=[sent("OUT-1", first), sent("OUT-2", second)]), "Delivered"),
    ]
    for patch, state in days:
        assert (await outcome(store, patch)).status is Status.OK
        assert shop.orders.of("W1")["state"] == state
        assert await shown(store, "W1") == patch.fields
        assert [item async for item in store.scan("orders")] == [("W1", patch.fields)]
    assert shop.orders.shown("W1") == [(OURS_1, "Delivered", first), (OURS_2, "Delivered", second)]
    assert [one["trackingCode"] for one in shop.orders.of("W1")["fulfillments"]] == ["T-OUT-1", "T-OUT-2"]


async def test_the_same_patch_twice_writes_nothing_the_second_time(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 3})
    patch = said("W1", status="delivered", fulfilments=[sent("OUT-1", {"A": 3})])
    assert (await outcome(store, patch)).status is Status.OK
    writes = len(shop.writes())
    another = made(shop)  # a process that was started anew knows nothing
    await another.open()
    for one in (store, another):
        assert (await outcome(one, patch)).status is Status.OK
    assert len(shop.writes()) == writes
    await another.close()


async def test_nothing_else_changes_a_stock_level_while_a_fulfilment_does(shop: Vendure) -> None:
    kinds = {"orders": "order_status", "stock": "stock"}
    options = {**OPTIONS, "entities": list(kinds)}
    store = vendure.create(StoreSettings("main", f"{shop.root}/admin-api", TOKEN, 20.0, Limits(), options, kinds))
    await store.open()
    for order in ("W1", "W2", "W3"):
        shop.orders.place(order, {"A": 1, "B": 1})
    shop.variant("A")
    shop.inject(Slow(0.05), write=True)
    identity = {"sku": "A", "location": "default"}
    level = Patch("A|default", 1, 0, {**identity, "available": 5}, identity, frozenset(("available",)))
    outcomes = await asyncio.gather(
        store.apply("orders", [said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 1, "B": 1})])]),
        store.apply("stock", [level]),
        store.apply("orders", [said("W2", status="cancelled", fulfilments=[])]),
        store.apply("orders", [said("W3", status="shipped", fulfilments=[sent("OUT-3", {"A": 1, "B": 1})])]),
    )
    assert [one.status for [one] in outcomes] == [Status.OK] * 4
    assert shop.overlaps == []
    await store.close()


@pytest.mark.parametrize("fault", [FailAfterWrite(drop=True), FailAfterWrite()])
async def test_whichever_answer_is_lost_a_shipment_is_one_fulfilment(
    shop: Vendure, store: Store, fault: FailAfterWrite
) -> None:
    shop.orders.place("W1", {"A": 4})
    patch = said("W1", status="delivered", fulfilments=[sent("OUT-1", {"A": 2}), sent("OUT-2", {"A": 2})])
    shop.inject(fault, write=True)
    for _ in range(7):  # two made, four moves, the note: each is taken, and its answer lost
        with pytest.raises(StoreError) as caught:
            await store.apply("orders", [patch])
        assert caught.value.retry is Retry.LATER
    assert await shown(store, "W1") == patch.fields
    shop.clear()
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [(OURS_1, "Delivered", {"A": 2}), (OURS_2, "Delivered", {"A": 2})]
    assert (len(shop.writes("make")), len(shop.writes("move"))) == (2, 4)
    assert not shop.overlaps


@pytest.mark.parametrize("step", ["make", "move", "cancel"])
async def test_a_step_that_fails_leaves_nothing_noted(shop: Vendure, store: Store, step: str) -> None:
    shop.orders.place("W1", {"A": 1})
    patch = said("W1", status="cancelled" if step == "cancel" else "shipped")
    shop.inject(Empty500(), entity=step, calls=1)
    with pytest.raises(StoreError):
        await store.apply("orders", [patch])
    assert shop.orders.of("W1")["customFields"]["erpOrder"] is None
    assert await shown(store, "W1") is None
    assert (await outcome(store, patch)).status is Status.OK
    assert await shown(store, "W1") == patch.fields


async def test_a_shipment_that_the_shop_refuses_is_told_and_nothing_is_noted(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1, "B": 1})
    shop.orders.out_of_stock.add("B")
    patch = said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 1}), sent("OUT-2", {"B": 1})])
    told = await outcome(store, patch)
    assert (told.status, told.code) == (Status.REJECTED, "E-STORE-REJECTED")
    assert "insufficient stockOnHand" in told.error
    assert shop.orders.of("W1")["customFields"]["erpOrder"] is None
    shop.orders.out_of_stock.clear()
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [(OURS_1, "Shipped", {"A": 1}), (OURS_2, "Shipped", {"B": 1})]


async def test_a_fulfilment_made_by_hand_is_neither_adopted_nor_touched(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 3})
    shop.orders.fulfil("W1", {"A": 1}, "DHL OUT-1")
    patch = said("W1", status="confirmed", fulfilments=[sent("OUT-1", {"A": 2}, "delivered")])
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [("DHL OUT-1", "Pending", {"A": 1}), (OURS_1, "Delivered", {"A": 2})]
    more = said("W1", status="confirmed", fulfilments=[sent("OUT-1", {"A": 2}, "delivered"), sent("OUT-2", {"A": 1})])
    told = await outcome(store, more)
    assert told.status is Status.REJECTED
    assert "1 of A more" in told.error
    assert len(shop.orders.shown("W1")) == 2
    assert await shown(store, "W1") == patch.fields


async def test_what_people_shipped_counts_for_a_status_without_shipments(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 3})
    shop.orders.fulfil("W1", {"A": 2}, "by hand", "Shipped")
    patch = said("W1", status="shipped")
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [("[erpsyncd W1]", "Shipped", {"A": 1}), ("by hand", "Shipped", {"A": 2})]
    assert await shown(store, "W1") == patch.fields
    told = await outcome(store, said("W1", status="delivered"))
    assert "PartiallyDelivered in the shop, not Delivered" in told.error  # what they made is theirs to move


async def test_partly_delivered_is_shipped_only_when_all_of_it_has_left(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 2})
    first = sent("OUT-1", {"A": 1}, "delivered")
    told = await outcome(store, said("W1", status="shipped", fulfilments=[first]))
    assert "PartiallyDelivered in the shop, not Shipped" in told.error
    whole = said("W1", status="shipped", fulfilments=[first, sent("OUT-2", {"A": 1})])
    assert (await outcome(store, whole)).status is Status.OK
    assert await shown(store, "W1") == whole.fields


async def test_a_fulfilment_of_ours_that_was_cancelled_by_hand_is_drift_and_made_anew(
    shop: Vendure, store: Store
) -> None:
    shop.orders.place("W1", {"A": 1})
    patch = said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 1})])
    await store.apply("orders", [patch])
    shop.orders.move(shop.orders.of("W1")["fulfillments"][0]["id"], "Cancelled")
    assert await shown(store, "W1") == {"order": "W1", "status": "shipped", "fulfilments": []}
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [(OURS_1, "Cancelled", {"A": 1}), (OURS_1, "Shipped", {"A": 1})]
    assert await shown(store, "W1") == patch.fields


async def test_what_was_changed_by_hand_is_shown_as_it_is(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 2})
    patch = said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 2})])
    await store.apply("orders", [patch])
    order = shop.orders.of("W1")
    [ours] = order["fulfillments"]
    ours.update(trackingCode="T-9", method="UPS [erpsyncd OUT-1]", state="Pending")
    ours["lines"][0]["quantity"] = 1
    order["state"] = "PaymentSettled"
    now = {"id": "OUT-1", "status": "Pending", "carrier": "UPS", "tracking_number": "T-9"}
    now["lines"] = [{"sku": "A", "quantity": 1}]  # type: ignore[assignment] -- a mapping of texts until here
    assert await shown(store, "W1") == {"order": "W1", "status": "PaymentSettled", "fulfilments": [now]}
    order["state"] = "Cancelled"
    assert (await shown(store, "W1") or {})["status"] == "Cancelled"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tracking_number": "T-9"}, "another tracking number"),
        ({"carrier": "UPS"}, "another carrier"),
        ({"lines": [{"sku": "A", "quantity": 1}]}, "other lines"),
    ],
)
async def test_what_vendure_cannot_change_in_a_fulfilment_is_told_with_the_remedy(
    shop: Vendure, store: Store, change: dict[str, Any], word: str
) -> None:
    shop.orders.place("W1", {"A": 2})
    first = sent("OUT-1", {"A": 2})
    await store.apply("orders", [said("W1", status="confirmed", fulfilments=[first])])
    corrected = said("W1", status="confirmed", fulfilments=[{**first, **change, "status": "delivered"}])
    told = await outcome(store, corrected)
    assert told.status is Status.REJECTED
    assert word in told.error
    assert "cancel the fulfilment" in told.error
    [(_, state, _)] = shop.orders.shown("W1")
    assert state == "Delivered"  # what can be done is done
    shop.orders.move(shop.orders.of("W1")["fulfillments"][0]["id"], "Cancelled")
    assert (await outcome(store, corrected)).status is Status.OK
    assert await shown(store, "W1") == corrected.fields


@pytest.mark.parametrize(
    "change",
    [{"tracking_number": "T-9"}, {"carrier": "UPS"}, {"lines": [{"sku": "A", "quantity": 1}]}],
)
async def test_a_fulfilment_of_ours_is_replaced_where_that_is_wanted_whatever_answer_is_lost(
    shop: Vendure, change: dict[str, Any]
) -> None:
    shop.orders.place("W1", {"A": 2, "B": 1})
    theirs = shop.orders.fulfil("W1", {"B": 1}, "by hand", "Shipped")
    store = made(shop, fulfilment_changes="replace")
    await store.open()
    first = sent("OUT-1", {"A": 2})
    await store.apply("orders", [said("W1", status="confirmed", fulfilments=[first])])
    corrected = said("W1", status="confirmed", fulfilments=[{**first, **change}])
    shop.inject(FailAfterWrite(drop=True), write=True)
    for _ in range(4):  # one cancelled, one made, moved, and the note
        with pytest.raises(StoreError):
            await store.apply("orders", [corrected])
    shop.clear()
    assert (await outcome(store, corrected)).status is Status.OK
    assert await shown(store, "W1") == corrected.fields
    live = [one for one in shop.orders.of("W1")["fulfillments"] if one["state"] != "Cancelled"]
    assert {one["state"] for one in live} == {"Shipped"}
    assert len(live) == 2
    assert theirs in [one["id"] for one in live]
    back = await outcome(store, said("W1", status="confirmed", fulfilments=[]))
    assert "no longer says" in back.error  # taking back is for people all the same
    await store.close()


async def test_a_replacement_that_the_order_has_no_room_for_cancels_nothing(shop: Vendure) -> None:
    shop.orders.place("W1", {"A": 2})
    store = made(shop, fulfilment_changes="replace")
    await store.open()
    await store.apply("orders", [said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 2})])])
    told = await outcome(store, said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 3})]))
    assert "1 of A more" in told.error
    assert shop.orders.shown("W1") == [(OURS_1, "Shipped", {"A": 2})]
    await store.close()


async def test_a_shipment_that_the_erp_takes_back_is_left_to_people(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1})
    await store.apply("orders", [said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 1})])])
    for back in (said("W1", status="confirmed", fulfilments=[]), said("W1", status="confirmed")):
        told = await outcome(store, back)
        assert told.status is Status.REJECTED
        assert "no longer says that OUT-1 was sent" in told.error
    assert shop.orders.shown("W1") == [(OURS_1, "Shipped", {"A": 1})]


async def test_two_fulfilments_with_one_mark_are_not_chosen_from(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 2})
    for _ in range(2):
        shop.orders.fulfil("W1", {"A": 1}, OURS_1)
    told = await outcome(store, said("W1", status="confirmed", fulfilments=[sent("OUT-1", {"A": 1})]))
    assert told.status is Status.REJECTED
    assert "2 fulfilments" in told.error
    assert not shop.writes()


async def test_a_call_that_was_given_up_and_is_taken_late_is_seen(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 2})
    patch = said("W1", status="confirmed", fulfilments=[sent("OUT-1", {"A": 1})])
    hold = Hold()
    shop.inject(hold, entity="make", calls=1)
    given_up = asyncio.create_task(outcome(store, patch))
    await hold.reached.wait()
    given_up.cancel()
    assert (await outcome(store, patch)).status is Status.OK  # the shop does not show it yet
    hold.release()
    await until(lambda: len(shop.orders.shown("W1")) == 2)
    told = await outcome(store, patch)
    assert (told.status, told.code) == (Status.REJECTED, "E-STORE-REJECTED")
    assert "2 fulfilments" in told.error
    assert len((await shown(store, "W1") or {})["fulfilments"]) == 2
    late = shop.orders.of("W1")["fulfillments"][-1]
    shop.orders.move(late["id"], "Cancelled")
    assert (await outcome(store, patch)).status is Status.OK
    assert await shown(store, "W1") == patch.fields


# Cancelled, unpaid, being changed


async def test_an_order_is_cancelled_once_and_stays_so(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1})
    shop.orders.place("W2", {"A": 1}, "ArrangingPayment")
    for order in ("W1", "W2"):
        patch = said(order, status="canceled")
        for _ in range(2):
            assert (await outcome(store, patch)).status is Status.OK
        assert shop.orders.of(order)["state"] == "Cancelled"
        assert await shown(store, order) == patch.fields
    assert len(shop.writes("cancel")) == 2
    told = await outcome(store, said("W1", status="confirmed"))
    assert "final" in told.error


async def test_an_order_that_has_left_is_not_cancelled(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1})
    id_ = shop.orders.fulfil("W1", {"A": 1}, "by hand", "Shipped")
    told = await outcome(store, said("W1", status="cancelled"))
    assert told.status is Status.REJECTED
    assert f"fulfilment {id_}" in told.error
    assert not shop.writes()


async def test_nothing_is_shipped_before_it_is_paid(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1}, "PaymentAuthorized")
    told = await outcome(store, said("W1", status="shipped"))
    assert told.status is Status.REJECTED
    assert "PaymentAuthorized" in told.error
    assert not shop.writes()
    assert (await outcome(store, said("W1", status="quotation"))).status is Status.OK


async def test_an_order_that_people_are_changing_comes_again(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1}, "Modifying")
    assert (await outcome(store, said("W1", status="shipped"))).status is Status.RETRY
    assert not shop.writes()


# Which order, which words


async def test_an_order_is_found_by_its_custom_field_and_two_of_a_name_are_nobodys(shop: Vendure) -> None:
    shop.orders.place("W1", {"A": 1}, number="S-1")
    shop.orders.place("W2", {"A": 1}, number="S-2")
    shop.orders.place("W3", {"A": 1}, number="S-2")
    store = made(shop, order="erpNumber")
    await store.open()
    patches = [said("S-1", status="shipped"), said("S-2", status="shipped"), said("W1", status="shipped")]
    told = {one.id: one for one in await store.apply("orders", patches)}
    assert (told["S-1"].status, told["S-2"].code, told["W1"].code) == (
        Status.OK,
        "E-STORE-UNMAPPED",
        "E-STORE-UNMAPPED",
    )
    assert "2 orders" in told["S-2"].error
    assert [item async for item in store.scan("orders")] == [("S-1", patches[0].fields)]
    await store.close()


async def test_a_document_that_goes_takes_its_note_along_and_no_more(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1})
    await store.apply("orders", [said("W1", status="shipped")])
    assert (await outcome(store, said("W1"))).status is Status.OK
    assert await shown(store, "W1") is None
    assert shop.orders.of("W1")["state"] == "Shipped"


async def test_a_return_is_no_delivery(shop: Vendure, store: Store) -> None:
    shop.orders.place("W1", {"A": 1})
    back = sent("return 1", {"A": 1}, "done", kind="return")
    patch = said("W1", status="shipped", fulfilments=[sent("OUT-1", {"A": 1}, "done"), back])
    assert (await outcome(store, patch)).status is Status.OK
    assert len(shop.orders.shown("W1")) == 1
    assert await shown(store, "W1") == patch.fields


async def test_words_of_the_erp_mean_what_the_options_say(shop: Vendure) -> None:
    shop.orders.place("W1", {"A": 1})
    store = made(shop, fulfilment_statuses={"done": "Delivered", "picked": "Shipped"}, mark="shop of ours")
    await store.open()
    patch = said("W1", status="Payment_Settled", fulfilments=[sent("OUT-1", {"A": 1}, "DONE", carrier=None)])
    assert (await outcome(store, patch)).status is Status.OK
    assert shop.orders.shown("W1") == [("[shop of ours OUT-1]", "Delivered", {"A": 1})]
    assert await shown(store, "W1") == patch.fields
    await store.close()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"status": "lost"}, '"lost"'),
        ({"status": None}, "statuses"),
        ({"status": "shipped", "fulfilments": [sent("", {"A": 1})]}, "no `id`"),
        ({"status": "shipped", "fulfilments": [sent("X", {})]}, "no lines"),
        ({"status": "shipped", "fulfilments": [sent("X", {"A": 1}), sent("X", {"A": 1})]}, "two"),
        ({"status": "shipped", "fulfilments": [sent("X", {"B": 1})]}, "1 of B more"),
        ({"status": "shipped", "fulfilments": [sent("X", {"A": "0.5"})]}, "whole numbers"),  # type: ignore[dict-item]
        ({"status": "shipped", "fulfilments": [sent("X", {"A": -1})]}, "-1 of A"),
        ({"status": "shipped", "fulfilments": ["OUT-1"]}, "no object"),
        ({"status": "shipped", "fulfilments": [{"id": "X", "status": "sent", "lines": [{"quantity": 1}]}]}, "SKU"),
    ],
)
async def test_what_cannot_be_brought_about_is_refused_alone_and_before_any_write(
    shop: Vendure, store: Store, fields: dict[str, Any], word: str
) -> None:
    shop.orders.place("W1", {"A": 3})
    shop.orders.place("W2", {"A": 1})
    told = {one.id: one for one in await store.apply("orders", [said("W1", **fields), said("W2", status="shipped")])}
    assert (told["W1"].status, told["W2"].status) == (Status.REJECTED, Status.OK)
    assert word in told["W1"].error
    assert shop.orders.of("W1")["fulfillments"] == []
    assert await shown(store, "W1") is None


async def test_a_failure_amid_several_orders_tells_what_was_done(shop: Vendure, store: Store) -> None:
    for order in ("W1", "W2", "W3"):
        shop.orders.place(order, {"A": 1})
    await store.apply("orders", [said("W1", status="shipped")])
    shop.inject(Empty500(), entity="make")
    patches = [said(order, status="shipped") for order in ("W1", "W2", "W3")]
    told = {one.id: one.status for one in await store.apply("orders", patches)}
    assert told == {"W1": Status.OK, "W2": Status.RETRY, "W3": Status.RETRY}
    with pytest.raises(StoreError):
        await store.apply("orders", patches[1:])


def test_two_documents_of_one_order_never_go_at_once(shop: Vendure) -> None:
    store = made(shop)
    assert store.remote("orders", said("W1", status="shipped")) == "order:W1"


# Set-up


async def test_check_says_what_the_shop_lacks_for_orders(shop: Vendure) -> None:
    lacking: tuple[dict[str, str], ...] = (
        {"order_note": "nosuch"},
        {"order_note": "erpNumber"},  # a short text
        {"order": "nosuch"},
        {"fulfilment_handler": "nosuch"},
    )
    for options in ({}, *lacking):
        store = made(shop, **options)
        await store.open()
        if not options:
            await store.check()
        else:
            with pytest.raises(StoreError) as caught:
                await store.check()
            assert (caught.value.code, caught.value.retry) == ("E-STORE-MISFIT", Retry.OPERATOR)
        await store.close()
    shop.orders.arguments = ("trackingCode",)
    store = made(shop)
    await store.open()
    with pytest.raises(StoreError, match="method and trackingCode"):
        await store.check()
    shop.orders.place("W1", {"A": 1})
    told = await outcome(store, said("W1", status="shipped"))
    assert "without our mark" in told.error
    await store.close()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"order_note": ""}, "order_note"),
        ({"order_note": "a-b"}, "order_note"),
        ({"order": "a b"}, "order"),
        ({"statuses": {"x": "Nowhere"}}, "statuses.x"),
        ({"fulfilment_statuses": {"x": "Pending"}}, "fulfilment_statuses.x"),
        ({"fulfilment_changes": "ignore"}, "fulfilment_changes"),
    ],
)
def test_an_option_of_orders_that_cannot_be_honoured_is_named(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vendure.create(settings(**options))
    assert caught.value.where == f"store.main.options.{where}"


def test_a_number_on_hand_beside_fulfilments_would_take_pieces_off_twice_and_is_refused() -> None:
    kinds = {"orders": "order_status", "stock": "stock"}
    options = {**OPTIONS, "entities": list(kinds), "stock": "on_hand"}
    with pytest.raises(ConfigError) as caught:
        vendure.create(StoreSettings("main", "http://127.0.0.1:1/admin-api", TOKEN, 20.0, Limits(), options, kinds))
    assert caught.value.where == "store.main.options.stock"
    for kind in ("order_status", "stock"):
        alone = {**options, "entities": [kind]}
        vendure.create(
            StoreSettings("main", "http://127.0.0.1:1/admin-api", TOKEN, 20.0, Limits(), alone, {kind: kind})
        )

"""Laws of order status in the `shopify` adapter: nothing is shipped twice, nothing is taken for another shipment."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.store import shopify
from adapters.store.base import Store
from adapters.store.loan import ShortMemory
from daemon.drift import differing
from daemon.errors import StoreError
from daemon.model import Outcome, Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import ShopifyShop
from tests.doubles.shopify_orders import Order
from tests.unit.test_shopify import TOKEN, settings


@pytest.fixture
async def shop() -> AsyncIterator[ShopifyShop]:
    async with ShopifyShop(token=TOKEN) as made:
        yield made


async def opened(shop: ShopifyShop, memory: ShortMemory | None = None, **options: Any) -> Store:
    made = shopify.create(
        settings(
            shop.root,
            kinds={"order_status": "order_status"},
            options={"cancelled": ["cancelled"], **options},
            memory=memory or ShortMemory(),
        )
    )
    await made.open()
    return made


@pytest.fixture
async def store(shop: ShopifyShop) -> AsyncIterator[Store]:
    made = await opened(shop)
    yield made
    await made.close()


def shipment(name: str, lines: dict[str, Any], status: str = "sent", number: str | None = None) -> dict[str, Any]:
    rows = [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()]
    return {"id": name, "status": status, "carrier": "DHL", "tracking_number": number, "lines": rows}


def order(name: str, status: str, *fulfilments: dict[str, Any], **more: Any) -> Patch:
    fields = {"order": name, "status": status, "fulfilments": list(fulfilments), **more}
    return Patch(name, 1, 0, fields, {"order": name}, frozenset(fields))


async def one(store: Store, patch: Patch) -> Outcome:
    [outcome] = await store.apply("order_status", [patch])
    return outcome


async def no_drift(store: Store, *patches: Patch) -> None:
    fetched = await store.fetch("order_status", [patch.id for patch in patches])
    scanned = {name: fields async for name, fields in store.scan("order_status")}
    assert set(scanned) == {patch.id for patch in patches}
    for patch in patches:
        assert patch.fields is not None
        assert differing(patch.fields, fetched[patch.id]) == {}
        assert differing(patch.fields, scanned[patch.id]) == {}


async def drift(store: Store, patch: Patch) -> set[str]:
    assert patch.fields is not None
    return set(differing(patch.fields, (await store.fetch("order_status", [patch.id]))[patch.id]))


def shipped(made: Order) -> Counter[str]:
    """Pieces in fulfilments that were not cancelled."""
    total: Counter[str] = Counter()
    for each in made.fulfilments:
        if each.status == "SUCCESS":
            total.update(each.lines)
    return total


async def test_a_status_is_a_metafield_and_changes_nothing_else(shop: ShopifyShop, store: Store) -> None:
    patches = []
    for number in range(60):
        shop.add_order(f"#{1000 + number}", {"A": 1})
        patches.append(order(str(1000 + number), "confirmed", invoice="R-1", total="12.50"))
    for _ in range(2):
        for start in range(0, 60, 25):
            said = await store.apply("order_status", patches[start : start + 25])
            assert {(o.status, o.error) for o in said} == {(Status.OK, "")}
    assert all(not made.fulfilments and not made.cancelled for made in shop.orders.values())
    assert store.limits.batch_for("order_status") == 25
    await no_drift(store, *patches)
    gone = Patch("1000", 2, 0, None, {"order": "1000"})
    for _ in range(2):
        assert (await one(store, gone)).status is Status.OK
    assert (await one(store, Patch("7", 2, 0, None, {"order": "7"}))).status is Status.OK
    await no_drift(store, *patches[1:])


async def test_a_shipment_is_a_fulfilment_and_goes_on_to_delivered(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 3, "B": 2})
    first = {"A": "2.000", "B": 1}
    for status, display, count in (
        ("sent", "FULFILLED", 0),
        ("in_transit", "IN_TRANSIT", 1),
        ("Delivered", "DELIVERED", 2),
    ):
        patch = order("1001", "shipped", shipment("S-1", first, status, "T1"), shipment("S-2", {"A": 1}, "packed"))
        for _ in range(2):
            assert (await one(store, patch)).error == ""
            [fulfilment] = made.fulfilments
            assert fulfilment.lines == {"A": 2, "B": 1}
            assert (fulfilment.display, len(fulfilment.events)) == (display, count)
        assert fulfilment.tracking == [{"number": "T1", "company": "DHL", "url": None}]
        await no_drift(store, patch)
    rest = order(
        "1001", "done", shipment("S-1", first, "delivered", "T1"), shipment("S-2", {"A": 1, "B": 1}, "sent", None)
    )
    assert (await one(store, rest)).status is Status.OK
    assert [each.lines for each in made.fulfilments] == [{"A": 2, "B": 1}, {"A": 1, "B": 1}]
    assert [each.status for each in made.todo] == ["CLOSED"]
    await no_drift(store, rest)
    late = order(
        "1001", "done", shipment("S-1", first, "delivered", "T9"), shipment("S-2", {"A": 1, "B": 1}, "sent", "T2")
    )
    assert (await one(store, late)).status is Status.OK
    assert [each.tracking[0]["number"] for each in made.fulfilments] == ["T9", "T2"]
    assert shop.told == [False, False]
    await no_drift(store, late)


@pytest.mark.parametrize("number", ["T1", None], ids=["tracked", "untracked"])
@pytest.mark.parametrize("lost", ["erpsyncdFulfilmentCreate", "erpsyncdFulfilmentEvent", "erpsyncdMetafieldsSet"])
@pytest.mark.parametrize("drop", [True, False])
async def test_after_a_lost_answer_nothing_is_shipped_twice(
    shop: ShopifyShop, number: str | None, lost: str, drop: bool
) -> None:
    made = shop.add_order("#1001", {"A": 9})
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, "delivered", number))
    store = await opened(shop)
    await store.check()  # a connection that is kept alive
    shop.inject(faults.FailAfterWrite(drop=drop), entity=lost, calls=1)
    said: list[Outcome] = []
    with contextlib.suppress(StoreError):
        said = list(await store.apply("order_status", [patch]))
    # over a connection that dies, what is absolute is sent once more
    assert not said or (drop, lost, said[0].status) == (True, "erpsyncdMetafieldsSet", Status.RETRY)
    await store.close()
    again = await opened(shop)
    assert (await one(again, patch)).status is Status.OK
    assert [each.lines for each in made.fulfilments] == [{"A": 2}]
    assert made.fulfilments[0].events == ["DELIVERED"]
    await no_drift(again, patch)
    await again.close()


async def test_a_number_that_changes_after_a_lost_answer_ships_nothing_twice(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 9})
    shop.inject(faults.FailAfterWrite(), entity="erpsyncdFulfilmentCreate", calls=1)
    with pytest.raises(StoreError):
        await store.apply("order_status", [order("1001", "shipped", shipment("S-1", {"A": 2}, number="T1"))])
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, number="T2"))
    assert (await one(store, patch)).status is Status.OK
    assert [(each.lines, each.tracking[0]["number"]) for each in made.fulfilments] == [({"A": 2}, "T2")]
    await no_drift(store, patch)


async def test_two_shipments_that_look_alike_are_two_fulfilments(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 9})
    twins = [shipment("S-1", {"A": 2}, number="T1"), shipment("S-2", {"A": 2}, number="T1")]
    for patch in (order("1001", "shipped", twins[0]), order("1001", "shipped", *twins)):
        assert (await one(store, patch)).status is Status.OK
    assert [each.lines for each in made.fulfilments] == [{"A": 2}, {"A": 2}]
    await no_drift(store, order("1001", "shipped", *twins))


async def test_a_foreign_fulfilment_is_not_taken_for_ours(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 9})
    foreign = [shop.fulfil(made, {"A": 2}), shop.fulfil(made, {"A": 2}, "X1")]
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}))
    assert (await one(store, patch)).status is Status.OK
    assert len(made.fulfilments) == 3
    assert [each.events for each in foreign] == [[], []]
    assert shipped(made) == Counter(A=6)
    await no_drift(store, patch)


async def test_a_fulfilment_that_came_while_ours_was_lost_is_not_taken_for_ours(
    shop: ShopifyShop, store: Store
) -> None:
    made = shop.add_order("#1001", {"A": 9})
    shop.inject(faults.Status(500), entity="erpsyncdFulfilmentCreate", calls=1)
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, number="T1"))
    with pytest.raises(StoreError):
        await store.apply("order_status", [patch])
    shop.fulfil(made, {"A": 2}, "X1")
    assert (await one(store, patch)).status is Status.OK
    assert [each.tracking[0]["number"] for each in made.fulfilments] == ["X1", "T1"]


async def test_a_fulfilment_with_our_tracking_number_is_ours(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 9})
    shop.fulfil(made, {"A": 2}, "T1")
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, "delivered", "T1"))
    assert (await one(store, patch)).status is Status.OK
    assert [(each.lines, each.display) for each in made.fulfilments] == [({"A": 2}, "DELIVERED")]
    await no_drift(store, patch)


async def test_what_the_shop_has_shipped_already_is_not_shipped_again(shop: ShopifyShop, store: Store) -> None:
    same, other = shop.add_order("#1001", {"A": 2}), shop.add_order("#1002", {"A": 2})
    shop.fulfil(same, {"A": 2})
    shop.fulfil(other, {"A": 2}, "X1")
    shop.add_order("#1003", {"A": 1})
    patches = [order(name, "shipped", shipment("S-1", {"A": 2}, number="T1")) for name in ("1001", "1002", "1003")]
    said = {o.id: o for o in await store.apply("order_status", patches)}
    assert said["1001"].status is Status.OK, "the order has no other pieces: these are the ones"
    assert same.fulfilments[0].tracking[0]["number"] == "T1"
    assert said["1002"].status is said["1003"].status is Status.REJECTED
    assert "1 of A more than the order lacks" in said["1003"].error
    assert [len(each.fulfilments) for each in shop.orders.values()] == [1, 1, 0]
    await no_drift(store, patches[0])


async def test_a_shipment_from_several_locations_is_a_fulfilment_at_each(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 2, "B": 1}, {"A": 3, "C": 1})
    patch = order("1001", "shipped", shipment("S-1", {"A": 4, "B": 1, "C": 1}, "delivered", "T1"))
    shop.inject(faults.FailAfterWrite(), entity="erpsyncdFulfilmentCreate", calls=1)
    with pytest.raises(StoreError):
        await store.apply("order_status", [patch])
    for _ in range(2):
        assert (await one(store, patch)).error == ""
        assert shipped(made) == Counter(A=4, B=1, C=1)
        assert len(made.fulfilments) == 2
    await no_drift(store, patch)
    single = shop.add_order("#1002", {"A": 1}, {"A": 2, "B": 1})
    assert (await one(store, order("1002", "shipped", shipment("S-2", {"A": 1, "B": 1})))).status is Status.OK
    assert len(single.fulfilments) == 1, "one location has it all"


async def test_an_order_with_many_fulfilments_and_lines_is_read_whole(shop: ShopifyShop, store: Store) -> None:
    lines = {f"S{number:03}": 1 for number in range(70)}
    made = shop.add_order("#1001", lines)
    names = sorted(lines, reverse=True)
    patch = order(
        "1001", "shipped", *(shipment(f"S-{n}", dict.fromkeys(names[n * 8 : n * 8 + 8], 1)) for n in range(8))
    )
    for _ in range(2):
        assert (await one(store, patch)).status is Status.OK
        assert len(made.fulfilments) == 8
    await no_drift(store, patch)


async def test_returns_and_shipments_without_a_piece_are_not_fulfilled(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 2})
    back = {**shipment("S-1", {"A": 1}, "done"), "kind": "return"}
    patch = order(
        "1001", "done", {**shipment("S-1", {"A": 2}, "done"), "kind": "delivery"}, back, shipment("S-2", {"A": 0})
    )
    for _ in range(2):
        assert (await one(store, patch)).error == ""
        assert [each.lines for each in made.fulfilments] == [{"A": 2}]
    await no_drift(store, patch)


async def test_orders_of_a_batch_do_not_wait_for_each_other(shop: ShopifyShop, store: Store) -> None:
    patches = []
    for number in range(1001, 1009):
        shop.add_order(f"#{number}", {"A": 1}, {"B": 1}, {"C": 1}, {"D": 1}, {"E": 1}, {"F": 1})
        patches.append(order(str(number), "shipped", shipment("S-1", dict.fromkeys("AF", 1), number=f"T{number}")))
    hold = faults.Hold(after_write=True)
    shop.inject(hold, entity="erpsyncdFulfilmentCreate", calls=1)
    call = asyncio.create_task(store.apply("order_status", patches))
    await shop.until(lambda: len(shop.writes("erpsyncdFulfilmentCreate")) == 15)  # one order waits
    hold.release()
    assert {(o.status, o.error) for o in await call} == {(Status.OK, "")}
    assert [shipped(made) for made in shop.orders.values()] == [Counter("AF")] * 8
    await no_drift(store, *patches)


async def test_what_was_undone_in_the_shop_is_drift_and_is_mended(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 2})
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, "delivered", "T1"))
    await one(store, patch)
    made.fulfilments[0].tracking[0]["number"] = "X9"
    assert await drift(store, patch) == {"fulfilments"}
    made.fulfilments[0].events.clear()
    assert await drift(store, patch) == {"fulfilments"}
    assert (await one(store, patch)).status is Status.OK
    assert (made.fulfilments[0].tracking[0]["number"], made.fulfilments[0].display) == ("T1", "DELIVERED")
    made.fulfilments[0].status = "CANCELLED"
    for row in made.todo[0].lines.values():
        row[1] = 2
    made.todo[0].status = "OPEN"
    assert await drift(store, patch) == {"fulfilments"}
    assert (await one(store, patch)).status is Status.OK
    assert shipped(made) == Counter(A=2)
    await no_drift(store, patch)
    shop.metafields[made.id, "erpsyncd", "order"] = "no json"
    assert (await one(store, patch)).status is Status.OK, "its tracking number tells it"
    assert shipped(made) == Counter(A=2)
    await no_drift(store, patch)


@pytest.mark.parametrize(("change", "status"), [("ON_HOLD", Status.RETRY), ("SCHEDULED", Status.RETRY)])
async def test_an_order_that_the_shop_holds_back_waits(
    shop: ShopifyShop, store: Store, change: str, status: Status
) -> None:
    made = shop.add_order("#1001", {"A": 2})
    made.todo[0].status = change
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}))
    outcome = await one(store, patch)
    assert (outcome.status, "holds" in outcome.error) == (status, True)
    made.todo[0].status = "OPEN"
    assert (await one(store, patch)).status is Status.OK


async def test_an_order_is_cancelled_only_by_a_word_that_was_named(shop: ShopifyShop, store: Store) -> None:
    made, kept = shop.add_order("#1001", {"A": 2}), shop.add_order("#1002", {"A": 1})
    patch, shut = order("1001", "cancelled"), order("1002", "canceled")
    for _ in range(2):
        assert {o.status for o in await store.apply("order_status", [patch, shut])} == {Status.OK}
    assert (bool(made.cancelled), kept.cancelled, shop.told) == (True, None, [False])
    await no_drift(store, patch, shut)
    kept.cancelled = "2026-11-28T05:00:00Z"
    assert await drift(store, shut) == {"status"}
    outcome = await one(store, shut)
    assert (outcome.status, "cannot be taken back" in outcome.error) == (Status.REJECTED, True)
    under_way = shop.add_order("#1003", {"A": 1})
    shop.fulfil(under_way, {"A": 1})
    outcome = await one(store, order("1003", "cancelled"))
    assert (outcome.status, "Cannot cancel this order." in outcome.error) == (Status.REJECTED, True)


@pytest.mark.parametrize("owned", [True, False], ids=["the ERP's stock", "the shop's stock"])
async def test_pieces_of_a_cancelled_order_go_back_only_to_the_shops_own_stock(shop: ShopifyShop, owned: bool) -> None:
    made = shop.add_order("#1001", {"A": 2})
    kinds = {"order_status": "order_status", **({"stock": "stock"} if owned else {})}
    options = {"cancelled": ["cancelled"], "locations": {"default": 71}}
    store = shopify.create(settings(shop.root, kinds=kinds, options=options))
    await store.open()
    assert (await one(store, order("1001", "cancelled"))).status is Status.OK
    assert (bool(made.cancelled), made.restocked) == (True, not owned)
    await store.close()


async def test_without_words_no_order_is_ever_cancelled(shop: ShopifyShop) -> None:
    made = shop.add_order("#1001", {"A": 2})
    store = await opened(shop, cancelled=[])
    patch = order("1001", "cancelled")
    assert (await one(store, patch)).status is Status.OK
    assert made.cancelled is None
    await no_drift(store, patch)
    await store.close()


async def test_the_customer_is_told_where_that_is_wanted(shop: ShopifyShop) -> None:
    shop.add_order("#1001", {"A": 2})
    store = await opened(shop, notify=True)
    await one(store, order("1001", "shipped", shipment("S-1", {"A": 2})))
    assert shop.told == [True]
    await store.close()


async def test_the_metafield_shows_the_document_to_a_theme(shop: ShopifyShop, store: Store) -> None:
    made = shop.add_order("#1001", {"A": 2})
    patch = order("1001", "shipped", shipment("S-1", {"A": 2}, number="T1"), note="ключ")
    await one(store, patch)
    value = json.loads(shop.metafields[made.id, "erpsyncd", "order"])
    number = made.fulfilments[0].id.rpartition("/")[2]
    assert value == {**(patch.fields or {}), "_shop": {"sent": {"S-1": [number]}}}


@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (order("2001", "x"), "no order 2001"),
        (order("1002", "x"), "2 orders"),
        (order("1001", "x", shipment("", {"A": 1})), "no id"),
        (order("1001", "x", shipment("S", {"A": 1}), shipment("S", {"B": 1})), "of another one"),
        (order("1001", "x", shipment("S", {})), "no lines"),
        (order("1001", "x", shipment("S", {"A": "1.5"})), "whole pieces"),
        (order("1001", "x", shipment("S", {"A": "many"})), "quantity many"),
        (order("1001", "x", shipment("S", {"Z": 1})), "1 of Z more"),
        (order("1003", "x", shipment("S", {"A": 1})), "more than the order lacks"),
        (order("1001", "x", note="refuse"), "invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_document_that_has_no_place_is_refused_alone(
    shop: ShopifyShop, store: Store, patch: Patch, word: str
) -> None:
    for name in ("#1001", "#1002", "1002"):
        shop.add_order(name, {"A": 5, "B": 5})
    shop.add_order("#1003", {"A": 5}).todo[0].may = False
    shop.add_order("#1004", {"A": 1})
    said = {o.id: o for o in await store.apply("order_status", [patch, order("1004", "fine")])}
    assert said["1004"].status is Status.OK
    assert said[patch.id].status is Status.REJECTED
    assert word in said[patch.id].error
    assert all(not made.fulfilments for made in shop.orders.values())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "1001"),
        ({}, "#1001"),
        ({"order_prefix": "WEB-"}, "WEB-1001"),
        ({"orders": "id"}, "9003"),
        ({"orders": "erp.number"}, "SO-77"),
        ({"orders": "erp.number", "order_prefix": "SO-"}, "SO-SO-77"),
    ],
)
async def test_an_order_is_found_as_the_options_say(shop: ShopifyShop, options: dict[str, Any], name: str) -> None:
    made = shop.add_order("#1001", {"A": 1})
    made.key = "SO-77"
    assert made.id.endswith("/9003")
    memory = ShortMemory()
    store = await opened(shop, memory, **options)
    patch = order(name, "confirmed")
    for _ in range(2):
        assert (await one(store, patch)).status is Status.OK
    await no_drift(store, patch)
    wrong = await one(store, order("KAS-1001", "confirmed"))
    assert wrong.status is Status.REJECTED
    await store.close()


async def test_an_order_whose_name_moved_is_followed(shop: ShopifyShop, store: Store) -> None:
    old = shop.add_order("#1001", {"A": 1})
    assert (await one(store, order("1001", "a"))).status is Status.OK
    old.name = "#OLD"
    new = shop.add_order("#1001", {"A": 1})
    assert (await one(store, order("1001", "b"))).status is Status.OK
    assert '"status":"b"' in shop.metafields[new.id, "erpsyncd", "order"]
    assert '"status":"a"' in shop.metafields[old.id, "erpsyncd", "order"]


async def test_a_metafield_that_somebody_writes_meanwhile_is_written_over_what_is_read(
    shop: ShopifyShop, store: Store
) -> None:
    made = shop.add_order("#1001", {"A": 1})
    place = (made.id, "erpsyncd", "order")
    shop.before_write = lambda: shop.metafields.update({place: "{}"})
    assert (await one(store, order("1001", "a"))).status is Status.OK
    assert '"status":"a"' in shop.metafields[place]

"""Laws of order status in the `medusa` adapter: what a status does, shipments that are made once, what is read back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import medusa
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from daemon.drift import differing
from daemon.errors import ConfigError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles.faults import FailAfterWrite, Hold
from tests.doubles.medusa import Medusa

TOKEN = "sk_0123456789"
KINDS = {"order_status": "order_status"}
STATUSES = {"shipped": "shipped", "arrived": "delivered", "closed": "completed", "cancelled": "canceled"}


@pytest.fixture
async def shop() -> AsyncIterator[Medusa]:
    async with Medusa(token=TOKEN) as shop:
        yield shop


def made(url: str, memory: ShortMemory | None = None, **options: Any) -> Store:
    given = {"entities": list(KINDS), "statuses": STATUSES, **options}
    return medusa.create(StoreSettings("main", url, TOKEN, 20.0, Limits(), given, KINDS, memory or ShortMemory()))


@pytest.fixture
async def store(shop: Medusa) -> AsyncIterator[Store]:
    one = made(shop.root)
    await one.open()
    yield one
    await one.close()


def patch(order: Any, status: str = "picking", **fields: Any) -> Patch:
    identity = {"order": str(order)}
    whole = {**identity, "status": status, **fields}
    return Patch(str(order), 1, 0, whole, identity, frozenset(whole))


def sent(id_: str, *lines: tuple[str, Any], status: str = "sent", **more: Any) -> dict[str, Any]:
    return {"id": id_, "status": status, "lines": [{"sku": sku, "quantity": pieces} for sku, pieces in lines], **more}


async def outcome(store: Store, one: Patch) -> Outcome:
    [said] = await store.apply("order_status", [one])
    return said


async def taken(store: Store, one: Patch) -> None:
    """It is taken, the same again changes nothing, and it is read back as it was said."""
    said = await outcome(store, one)
    assert (said.status, said.error) == (Status.OK, "")
    assert one.fields is not None
    shown = await store.fetch("order_status", [one.id])
    assert differing(one.fields, shown[one.id]) == {}
    assert {name: fields async for name, fields in store.scan("order_status")}[one.id] == shown[one.id]
    assert (await outcome(store, one)).status is Status.OK
    assert await store.fetch("order_status", [one.id]) == shown


def state(order: Mapping[str, Any]) -> list[tuple[str, bool, bool]]:
    """The ERP's id of each fulfilment, whether it was shipped, whether it was delivered."""
    return [
        ((each["metadata"] or {}).get("erpsyncd_id", ""), bool(each["shipped_at"]), bool(each["delivered_at"]))
        for each in order["fulfillments"]
    ]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"statuses": {"done": "complete"}}, "statuses.done"),
        ({"order": "number"}, "order"),
        ({"fulfilments": True}, "fulfilments"),
        ({"tracking_urls": {"DHL": "dhl.example/{number}"}}, "tracking_urls.DHL"),
        ({"tracking_urls": {"DHL": "https://dhl.example/"}}, "tracking_urls.DHL"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made("https://shop.example", **options)
    assert caught.value.where == f"store.main.options.{key}"


@pytest.mark.parametrize(
    ("stock", "fulfilments", "good"),
    [("on_hand", "create", False), ("on_hand", "metadata", True), ("available", "create", True)],
)
def test_what_is_shipped_is_taken_off_once(stock: str, fulfilments: str, good: bool) -> None:
    kinds = {"stock": "stock", "order_status": "order_status"}
    given = {"entities": list(kinds), "stock": stock, "fulfilments": fulfilments}
    settings = StoreSettings("main", "https://shop.example", TOKEN, 20.0, Limits(), given, kinds)
    with contextlib.nullcontext() if good else pytest.raises(ConfigError, match="twice"):
        medusa.create(settings)


@pytest.mark.parametrize("stock_first", [True, False])
async def test_a_fulfilment_never_falls_between_the_look_and_the_write_of_stock(
    shop: Medusa, stock_first: bool
) -> None:
    shop.variant("A")
    shop.level("A", 10, reserved=4)
    shop.order(("A", 4))
    kinds = {"stock": "stock", "order_status": "order_status"}
    given = {"entities": list(kinds), "statuses": STATUSES}
    store = medusa.create(StoreSettings("main", shop.root, TOKEN, 20.0, Limits(), given, kinds, ShortMemory()))
    await store.open()
    identity = {"sku": "A", "location": "default"}
    free = Patch("A|default", 1, 0, {**identity, "available": 6}, identity, frozenset({"available"}))
    hold = Hold(after_write=not stock_first)
    place = "inventory-items/location-levels/batch" if stock_first else "orders/*/fulfillments"
    shop.inject(hold, entity=place)
    calls = [("stock", free), ("order_status", patch(1, "shipped"))]
    first, second = calls if stock_first else reversed(calls)
    one = asyncio.create_task(store.apply(first[0], [first[1]]))
    await hold.reached.wait()
    other = asyncio.create_task(store.apply(second[0], [second[1]]))
    held = len(shop.calls) + stock_first  # an order may be read meanwhile
    with pytest.raises(TimeoutError):
        await shop.until(lambda: len(shop.calls) > held, 0.3)
    hold.release()
    assert {each.status for done in (await one, await other) for each in done} == {Status.OK}
    [level] = shop.levels.values()
    assert (level["stocked_quantity"], level["reserved_quantity"]) == (6, 0)
    await store.close()


# What the ERP says


async def test_what_the_erp_says_is_one_metadata_and_the_shops_own_stays(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 1), metadata={"gift": True})
    await taken(store, patch(1, reference="R-7"))
    assert order["metadata"] == {"gift": True, "erpsyncd_order": {"status": "picking", "reference": "R-7"}}
    assert order["status"] == "pending"
    gone = Patch("1", 2, 0, None, {"order": "1"})
    assert (await outcome(store, gone)).status is Status.OK
    assert order["metadata"] == {"gift": True}
    assert await store.fetch("order_status", ["1"]) == {}


async def test_the_same_again_is_no_write(shop: Medusa, store: Store) -> None:
    shop.order(("A", 2))
    one = patch(1, "arrived", fulfilments=[sent("D1", ("A", 2))])
    await taken(store, one)
    before = len(shop.writes())
    assert (await outcome(store, one)).status is Status.OK
    assert len(shop.writes()) == before


async def test_an_order_is_found_by_its_number_behind_a_prefix(shop: Medusa) -> None:
    for _ in range(12):
        shop.order(("A", 1))
    store = made(shop.root, order_prefix="WEB-")
    await store.open()
    await taken(store, patch("WEB-2"))
    for name in ("2", "WEB-99", "WEB-x", "WEB-"):
        said = await outcome(store, patch(name))
        assert said.status is Status.REJECTED
        assert name in said.error
    assert [each["display_id"] for each in shop.orders.values() if each["metadata"]] == [2]
    await store.close()


async def test_orders_that_are_known_are_not_looked_for_again(shop: Medusa) -> None:
    shop.order(("A", 1))
    memory = ShortMemory()
    for status in ("picking", "packed"):
        store = made(shop.root, memory)
        await store.open()
        await store.apply("order_status", [patch(1, status)])
        await store.close()
    assert len([call for call in shop.calls if not call.write]) == 2


async def test_an_order_by_metadata_that_two_have_is_nobodys(shop: Medusa) -> None:
    for number in ("SO1", "SO2", "SO2"):
        shop.order(("A", 1), metadata={"erp": number})
    store = made(shop.root, order="metadata:erp")
    await store.open()
    await taken(store, patch("SO1"))
    said = await outcome(store, patch("SO2"))
    assert said.status is Status.REJECTED
    assert "order_" in said.error
    await store.close()


# Shipments


async def test_a_shipment_that_has_left_is_a_fulfilment_that_is_shipped(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 3), ("B", 1))
    first = sent("D1", ("A", "2"), status="picking")
    await taken(store, patch(1, fulfilments=[first]))
    assert state(order) == []
    first["status"] = "done"
    await taken(store, patch(1, fulfilments=[first]))
    assert state(order) == [("D1", True, False)]
    second = sent("D2", ("A", 1), ("B", 1), status="delivered")
    await taken(store, patch(1, fulfilments=[first, second]))
    assert state(order) == [("D1", True, False), ("D2", True, True)]
    await taken(store, patch(1, "arrived", fulfilments=[first, second]))
    assert state(order) == [("D1", True, True), ("D2", True, True)]


async def test_what_comes_back_is_no_fulfilment(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 1))
    await taken(store, patch(1, fulfilments=[sent("D1", ("A", 1)), sent("R1", ("A", 1), status="done", kind="return")]))
    assert state(order) == [("D1", True, False)]


async def test_a_parcel_is_followed_where_its_carrier_has_an_address(shop: Medusa) -> None:
    order = shop.order(("A", 1), ("B", 1), ("C", 1))
    store = made(
        shop.root, tracking_urls={"DHL": "https://dhl.example/?n={number}", "*": "https://any.example/{number}"}
    )
    await store.open()
    parcels = [
        sent("D1", ("A", 1), carrier="DHL", tracking_number="0/1"),
        sent("D2", ("B", 1), carrier="UPS", tracking_number="7"),
        sent("D3", ("C", 1), carrier="DHL", tracking_number=None),
    ]
    await taken(store, patch(1, fulfilments=parcels))
    urls = [[label["tracking_url"] for label in each["labels"]] for each in order["fulfillments"]]
    assert urls == [["https://dhl.example/?n=0%2F1"], ["https://any.example/7"], []]
    await store.close()


@pytest.mark.parametrize(
    "step", ["", "/fulfillments", "/fulfillments/*/shipments", "/fulfillments/*/mark-as-delivered"]
)
async def test_a_lost_answer_ships_nothing_twice(shop: Medusa, store: Store, step: str) -> None:
    order = shop.order(("A", 5))
    shop.inject(FailAfterWrite(), calls=1, entity=f"orders/*{step}")
    one = patch(1, "arrived", fulfilments=[sent("D1", ("A", 2))])
    assert (await outcome(store, one)).status is Status.RETRY
    await taken(store, one)
    assert state(order) == [("D1", True, True)]
    assert order["items"][0]["detail"]["fulfilled_quantity"] == 2


async def test_what_the_shops_people_have_packed_is_taken_over(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 2), ("B", 1))
    shop.fulfil(order, ("A", 2))
    await taken(store, patch(1, fulfilments=[sent("D1", ("A", 2))]))
    assert state(order) == [("", True, False)]


async def test_a_fulfilment_that_was_canceled_is_made_again(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 2))
    one = patch(1, fulfilments=[sent("D1", ("A", 2))])
    await taken(store, one)
    order["fulfillments"][0]["canceled_at"] = "2026-11-28"
    order["items"][0]["detail"] |= {"fulfilled_quantity": 0, "shipped_quantity": 0}
    shown = (await store.fetch("order_status", ["1"]))["1"]
    assert one.fields is not None
    assert set(differing(one.fields, shown)) == {"fulfilments"}
    await taken(store, one)
    assert len(order["fulfillments"]) == 2


@pytest.mark.parametrize("broken", [{"lines": 7}, {"lines": [7]}, {"lines": [{"sku": "A"}]}, 7])
async def test_a_metadata_that_somebody_broke_is_shown_as_it_is(shop: Medusa, store: Store, broken: Any) -> None:
    shipment = {"id": "D1", "status": "sent", **broken} if isinstance(broken, dict) else broken
    said = {"status": "arrived", "fulfilments": [shipment]}
    order = shop.order(("A", 2), metadata={"erpsyncd_order": said})
    shop.fulfil(order, ("A", 1))
    shown = {name: fields async for name, fields in store.scan("order_status")}
    assert shown["1"]["order"] == "1"
    await taken(store, patch(1, "arrived", fulfilments=[sent("D1", ("A", 1))]))


@pytest.mark.parametrize(
    ("lines", "word"), [([("A", 3)], "more than the order lacks"), ([("X", 1)], "X"), ([], "no lines")]
)
async def test_a_shipment_that_the_order_has_no_room_for_is_refused_alone(
    shop: Medusa, store: Store, lines: list[Any], word: str
) -> None:
    shop.order(("A", 2))
    shop.order(("A", 2))
    said = await store.apply("order_status", [patch(1, fulfilments=[sent("D1", *lines)]), patch(2)])
    assert [each.status for each in said] == [Status.REJECTED, Status.OK]
    assert word in said[0].error


async def test_one_sku_on_two_lines_is_filled_line_by_line(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 2), ("A", 3))
    await taken(store, patch(1, fulfilments=[sent("D1", ("A", 4))]))
    assert [item["detail"]["fulfilled_quantity"] for item in order["items"]] == [2, 2]


async def test_a_failure_at_one_order_holds_no_other_and_comes_again(shop: Medusa, store: Store) -> None:
    """A Medusa without a shipping option fails at a fulfilment, without words."""
    shop.order(("A", 2))
    shop.order(("A", 2))
    shop.ships = False
    said = await store.apply("order_status", [patch(1, fulfilments=[sent("D1", ("A", 1))]), patch(2)])
    assert [each.status for each in said] == [Status.RETRY, Status.OK]
    shop.ships = True
    await taken(store, patch(1, fulfilments=[sent("D1", ("A", 1))]))


async def test_shipments_stay_in_the_metadata_where_the_option_says_so(shop: Medusa) -> None:
    order = shop.order(("A", 2))
    store = made(shop.root, fulfilments="metadata")
    await store.open()
    await taken(store, patch(1, "arrived", fulfilments=[sent("D1", ("A", 9))]))
    assert order["fulfillments"] == []
    await store.close()


# What a status does


@pytest.mark.parametrize(("status", "delivered"), [("shipped", False), ("arrived", True)])
async def test_without_shipments_a_status_is_for_all_that_is_left(
    shop: Medusa, store: Store, status: str, delivered: bool
) -> None:
    order = shop.order(("A", 2), ("B", 5))
    shop.fulfil(order, ("A", 1), metadata={"by": "hand"})
    await taken(store, patch(1, status))
    assert state(order) == [("", False, delivered), ("whole order", True, delivered)]
    assert [item["detail"]["fulfilled_quantity"] for item in order["items"]] == [2, 5]


@pytest.mark.parametrize(("status", "word"), [("closed", "completed"), ("cancelled", "canceled")])
async def test_a_status_moves_the_order_once(shop: Medusa, store: Store, status: str, word: str) -> None:
    order = shop.order(("A", 2))
    await taken(store, patch(1, status))
    assert order["status"] == word
    assert [call.entity.rpartition("/")[2] for call in shop.writes()][1:] == [
        {"closed": "complete"}.get(status, "cancel")
    ]


async def test_an_order_that_the_shop_closed_otherwise_is_told_and_shown(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 2), status="completed")
    said = await outcome(store, patch(1, "cancelled"))
    assert said.status is Status.REJECTED
    assert "Cannot cancel a completed order" in said.error
    assert (await store.fetch("order_status", ["1"]))["1"]["status"] == "completed"
    order["status"] = "archived"
    await taken(store, patch(1, "closed"))


async def test_an_order_that_was_canceled_in_the_shop_is_as_the_erp_says(shop: Medusa, store: Store) -> None:
    shop.order(("A", 2), status="canceled")
    assert (await outcome(store, patch(1, "cancelled"))).status is Status.OK
    assert shop.writes() == []
    assert (await outcome(store, patch(1, "picking"))).status is Status.REJECTED


async def test_a_delivery_that_was_taken_back_by_hand_is_shown(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 2))
    await taken(store, patch(1, "arrived"))
    order["fulfillments"][0]["delivered_at"] = None
    assert (await store.fetch("order_status", ["1"]))["1"]["status"] == "not delivered"
    await taken(store, patch(1, "arrived"))


# -- a shop that was killed


@pytest.mark.parametrize("reserved", [True, False])
async def test_a_fulfilment_of_which_a_killed_shop_made_a_half_is_made_anew(
    shop: Medusa, store: Store, reserved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.store.medusa.halves.PATIENCE_S", 0.0)
    order = shop.order(("A", 3), ("B", 1))
    half = shop.halve(order, ("A", 2), metadata={"erpsyncd_id": "OUT/1"}, reserved=reserved)
    await taken(store, patch(1, fulfilments=[sent("OUT/1", ("A", 2))]))
    assert half["canceled_at"]
    [_, made] = order["fulfillments"]
    assert (made["metadata"], made["shipped_at"] is not None) == ({"erpsyncd_id": "OUT/1"}, True)
    assert order["items"][0]["detail"] == {"quantity": 3, "fulfilled_quantity": 2, "shipped_quantity": 2}
    assert [row["quantity"] for row in shop.reservations.values()] == [3], "what the order's line lacks"


async def test_a_fulfilment_that_may_be_in_the_making_is_waited_for(shop: Medusa, store: Store) -> None:
    order = shop.order(("A", 1))
    half = shop.halve(order, ("A", 1), metadata={"erpsyncd_id": "OUT/1"}, reserved=True)
    one = patch(1, fulfilments=[sent("OUT/1", ("A", 1))])
    for _ in range(2):
        said = await outcome(store, one)
        assert (said.status, said.code) == (Status.RETRY, "E-STORE-BUSY")
        assert "does not count its pieces yet" in said.error
    order["items"][0]["detail"]["fulfilled_quantity"] = 1  # it was
    await taken(store, one)
    assert (half["canceled_at"], len(order["fulfillments"])) == (None, 1)


async def test_a_half_whose_pieces_are_sold_is_told_with_what_is_to_do(
    shop: Medusa, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.store.medusa.halves.PATIENCE_S", 0.0)
    order = shop.order(("A", 1))
    half = shop.halve(order, ("A", 1), metadata={"erpsyncd_id": "OUT/1"}, reserved=False)
    shop.sold_out.add("iitem_of_A")
    said = await outcome(store, patch(1, fulfilments=[sent("OUT/1", ("A", 1))]))
    assert said.status is Status.REJECTED
    assert "Not enough stock" in said.error
    assert "Raise the level there, then retry" in said.error
    assert half["canceled_at"] is None, "nothing was undone that cannot be made anew"


async def test_a_fulfilment_that_the_lines_count_as_shipped_alone_is_shipped_by_itself(
    shop: Medusa, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order(("A", 2), ("B", 1))
    half = shop.fulfil(order, ("A", 2), metadata={"erpsyncd_id": "OUT/1"})
    order["items"][0]["detail"]["shipped_quantity"] = 2
    one = patch(1, fulfilments=[sent("OUT/1", ("A", 2))])
    assert (await outcome(store, one)).code == "E-STORE-BUSY"
    monkeypatch.setattr("adapters.store.medusa.halves.PATIENCE_S", 0.0)
    await taken(store, one)
    assert half["shipped_at"]
    assert (half["canceled_at"], len(order["fulfillments"])) == (None, 1)
    assert order["items"][0]["detail"] == {"quantity": 2, "fulfilled_quantity": 2, "shipped_quantity": 2}

"""Content and order status of the `shopify` adapter under the failures that the contract suite tries on stock and prices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.store import answers, shopify
from adapters.store.base import Store
from daemon.errors import Retry, StoreError
from daemon.model import Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import ShopifyShop
from tests.unit.test_shopify import TOKEN, settings
from tests.unit.test_shopify_content import Shelf, content
from tests.unit.test_shopify_orders import order, shipment

KINDS = {"content": "content", "order_status": "order_status"}
LATER, OPERATOR = Retry.LATER, Retry.OPERATOR


@pytest.fixture
async def shop() -> AsyncIterator[ShopifyShop]:
    async with ShopifyShop(token=TOKEN) as made:
        made.add("A")
        made.add("B")
        made.add_order("#1001", {"A": 9})
        made.add_order("#1002", {"A": 9})
        yield made


@pytest.fixture
async def store(shop: ShopifyShop) -> AsyncIterator[Store]:
    shelf = Shelf()
    shelf.add(b"picture")
    made = shopify.create(settings(shop.root, kinds=KINDS, pictures=shelf, options={"locales": {"german": "de"}}))
    await made.open()
    yield made
    await made.close()


def patches(entity: str) -> list[Patch]:
    if entity == "content":
        image = Shelf().add(b"picture", alt="x")
        return [
            content("A", title="Hammer", images=[image]),
            content("A", "german", title="H"),
            content("B", title="Axe"),
        ]
    return [
        order("1001", "shipped", shipment("S-1", {"A": 2}, "delivered", "T1")),
        order("1002", "shipped", shipment("S-2", {"A": 1})),
    ]


async def works(shop: ShopifyShop, store: Store, entity: str) -> None:
    """The law after every misfortune: the same documents go through, once."""
    shop.clear()
    for _ in range(3):
        said = await store.apply(entity, patches(entity))
        if {o.status for o in said} == {Status.OK}:
            break
    assert {(o.status, o.error) for o in said} == {(Status.OK, "")}
    if entity == "content":
        assert len(shop.files) == 1
        assert shop.products[shop.by_sku("A").product].texts["title"] == "Hammer"
    else:
        assert [[one.lines for one in made.fulfilments] for made in shop.orders.values()] == [[{"A": 2}], [{"A": 1}]]
        assert [one.events for made in shop.orders.values() for one in made.fulfilments] == [["DELIVERED"], []]


@pytest.mark.parametrize("entity", sorted(KINDS))
@pytest.mark.parametrize("skipped", range(0, 14, 3))
@pytest.mark.parametrize(
    ("fault", "retry", "code"),
    [
        (faults.Throttle(7), LATER, answers.THROTTLED),
        (faults.Empty500(), LATER, answers.FAILED),
        (faults.Reset(), LATER, answers.UNREACHABLE),
        (faults.Status(401), OPERATOR, answers.AUTH),
        (faults.Html(), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b'{"data": {}}'), OPERATOR, answers.ANSWER),
    ],
    ids=["throttle", "500", "reset", "401", "html", "no-data"],
)
async def test_a_failure_at_any_step_carries_its_decision_and_harms_nothing(
    shop: ShopifyShop, store: Store, entity: str, skipped: int, fault: faults.Fault, retry: Retry, code: str
) -> None:
    hold = faults.Hold()
    shop.inject(hold, entity=None, calls=1)
    call: asyncio.Task[Any] = asyncio.create_task(store.apply(entity, patches(entity)))  # type: ignore[arg-type]
    for _ in range(skipped):
        await hold.reached.wait()
        following = faults.Hold()
        shop.inject(following, calls=1)
        hold.release()
        reached = asyncio.ensure_future(following.reached.wait())
        await asyncio.wait([reached, call], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        hold = following
        if call.done():
            break
    shop.inject(fault)
    hold.release()
    [ended] = await asyncio.gather(call, return_exceptions=True)
    if isinstance(ended, StoreError):
        assert (ended.retry, ended.code, ended.where) == (retry, code, "store.main")
        assert TOKEN not in str(ended)
    else:
        said = {outcome.status for outcome in ended}
        assert said <= {Status.OK, Status.RETRY}, "an upload that fails, or the last step, is one document's alone"
    await works(shop, store, entity)


@pytest.mark.parametrize("entity", sorted(KINDS))
async def test_a_cancelled_call_leaves_the_adapter_usable(shop: ShopifyShop, store: Store, entity: str) -> None:
    for _ in range(12):
        hold = faults.Hold(after_write=True)
        shop.inject(hold, write=True)
        call = asyncio.create_task(store.apply(entity, patches(entity)))  # type: ignore[arg-type]
        reached = asyncio.ensure_future(hold.reached.wait())
        await asyncio.wait([reached, call], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if call.done():
            break
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        shop.clear()
    await works(shop, store, entity)


@pytest.mark.parametrize("entity", sorted(KINDS))
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": {"nodes": [7]}}', b'{"data": {"products": 1, "orders": 1}}']
)
async def test_a_wrong_answer_to_a_read_is_for_the_operator(
    shop: ShopifyShop, store: Store, entity: str, body: bytes
) -> None:
    await works(shop, store, entity)
    shop.inject(faults.Status(200, {}, body))
    with pytest.raises(StoreError) as caught:
        await store.fetch(entity, [patch.id for patch in patches(entity)])
    assert caught.value.retry is OPERATOR
    with pytest.raises(StoreError) as caught:
        [item async for item in store.scan(entity)]
    assert caught.value.retry is OPERATOR
    await works(shop, store, entity)

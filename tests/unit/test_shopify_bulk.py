"""Laws of bulk operations in the `shopify` adapter: one at a time, never doubled, each line by its own result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from graphql import parse

from adapters.store import answers
from adapters.store.base import Store
from adapters.store.shopify import bulk
from adapters.store.shopify import content as content_module
from adapters.store.shopify.bulk import Line
from daemon.errors import Retry, StoreError
from daemon.model import Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import ShopifyShop
from tests.doubles.shopify_bulk import Operation
from tests.unit.test_shopify import TOKEN, price
from tests.unit.test_shopify_content import Shelf, content, no_drift, opened

MANY = 60
RUN = "erpsyncdBulkRun"


@pytest.fixture
async def shop() -> AsyncIterator[ShopifyShop]:
    async with ShopifyShop(token=TOKEN) as made:
        for number in range(MANY):
            made.add(f"S{number:03}")
        yield made


@pytest.fixture
async def store(shop: ShopifyShop) -> AsyncIterator[Store]:
    made = await opened(shop, Shelf())
    yield made
    await made.close()


def catalogue(title: str = "Hammer", count: int = MANY) -> list[Patch]:
    return [content(f"S{number:03}", title=f"{title} {number}", attributes={"n": number}) for number in range(count)]


def titles(shop: ShopifyShop) -> list[str]:
    return [product.texts["title"] for product in shop.products.values()]


async def statuses(store: Store, patches: list[Patch]) -> dict[Status, int]:
    said = [outcome.status for outcome in await store.apply("content", patches)]
    return {status: said.count(status) for status in set(said)}


async def test_a_rebuild_is_one_operation_that_costs_no_points(shop: ShopifyShop, store: Store) -> None:
    assert store.limits.bulk_for("content") == 1000
    patches = catalogue()
    assert await statuses(store, patches) == {Status.OK: MANY}
    [operation] = shop.operations
    assert (len(operation.lines), operation.status) == (MANY, "COMPLETED")
    assert not [name for name in shop.documents if name.startswith("erpsyncdProductsUpdate")]
    assert await statuses(store, patches) == {Status.OK: MANY}
    assert len(shop.operations) == 1, "what is shown is not written"
    await no_drift(store, *patches)


async def test_a_few_products_are_no_operation(shop: ShopifyShop, store: Store) -> None:
    assert await statuses(store, catalogue(count=content_module.BULK_FROM - 1)) == {
        Status.OK: content_module.BULK_FROM - 1
    }
    assert shop.operations == []


async def test_each_line_has_its_own_outcome(shop: ShopifyShop, store: Store) -> None:
    patches = catalogue()
    patches[7] = content("S007", title="x" * 300)
    patches[8] = content("S008", title="A", description_html="<script>alert()")
    shop.before_write = lambda: shop.products.pop(shop.by_sku("S009").product)
    said = {o.id: o for o in await store.apply("content", patches)}
    bad = {name: o.error for name, o in said.items() if o.status is not Status.OK}
    assert sorted(bad) == ["S007|default", "S008|default", "S009|default"]
    assert "too long" in bad["S007|default"]
    assert "description_html" in bad["S008|default"]
    assert "does not exist" in bad["S009|default"]


async def test_prices_do_not_wait_for_an_operation(shop: ShopifyShop, store: Store) -> None:
    hold = faults.Hold()
    shop.inject(hold, entity="erpsyncdBulkRead", calls=1)
    rebuild = asyncio.create_task(statuses(store, catalogue()))
    await hold.reached.wait()
    [outcome] = await store.apply("price", [price("S000", "3.50")])
    assert outcome.status is Status.OK
    assert not rebuild.done()
    hold.release()
    assert await rebuild == {Status.OK: MANY}


async def test_operations_of_one_process_follow_each_other(
    shop: ShopifyShop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "BULK_FROM", 30)
    patches = catalogue()
    halves = await asyncio.gather(statuses(store, patches[:30]), statuses(store, patches[30:]))
    assert halves == [{Status.OK: 30}, {Status.OK: 30}]
    assert (len(shop.operations), shop.at_once) == (2, 1)


@pytest.mark.parametrize("drop", [True, False])
async def test_an_operation_whose_answer_was_lost_is_waited_for_and_not_run_again(
    shop: ShopifyShop, store: Store, drop: bool
) -> None:
    await store.check()
    shop.inject(faults.FailAfterWrite(drop=drop), entity=RUN, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("content", catalogue())
    assert caught.value.retry is Retry.LATER
    shop.bulk_looks = 3
    assert await statuses(store, catalogue()) == {Status.OK: MANY}
    assert len(shop.operations) == 1, "what it wrote is seen"


async def test_a_new_process_waits_for_the_operation_of_a_killed_one(shop: ShopifyShop, store: Store) -> None:
    hold = faults.Hold()
    shop.inject(hold, entity="erpsyncdBulkRead", calls=1)
    rebuild = asyncio.create_task(store.apply("content", catalogue("Old")))
    await hold.reached.wait()
    rebuild.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rebuild
    shop.clear()
    new = await opened(shop, Shelf())
    assert await statuses(new, [content("S000", title="New")]) == {Status.OK: 1}
    assert titles(shop)[:2] == ["New", "Old 1"], "what was under way did not come over what is newer"
    assert await statuses(new, catalogue("Old")) == {Status.OK: MANY}
    assert [operation.status for operation in shop.operations] == ["COMPLETED"]
    await new.close()


async def test_while_an_earlier_operation_goes_on_nothing_is_written(
    shop: ShopifyShop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "QUIET_WITHIN", 0.3)
    shop.inject(faults.FailAfterWrite(), entity=RUN, calls=1)
    shop.bulk_looks = 1000
    with pytest.raises(StoreError):
        await store.apply("content", catalogue("Old"))
    assert await statuses(store, [content("S000", title="New")]) == {Status.RETRY: 1}
    assert "Old 0" not in titles(shop)
    shop.operations[0].looks = 0
    assert await statuses(store, [content("S000", title="New")]) == {Status.OK: 1}
    assert titles(shop)[:2] == ["New", "Old 1"]


async def test_operations_of_others_are_not_waited_for(shop: ShopifyShop, store: Store) -> None:
    text = "mutation theirs { productUpdate(product: {}) { userErrors { message } } }"
    shop.operations.append(Operation("gid://shopify/BulkOperation/1", text, parse(text), [], looks=10_000))
    assert await statuses(store, catalogue()) == {Status.OK: MANY}


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (("FAILED", "INTERNAL_SERVER_ERROR", 40), "ended as failed"),
        (("FAILED", "TIMEOUT", 0), "ended as failed"),
        (("CANCELED", None, 40), "ended as canceled"),
        (("EXPIRED", None, 0), "ended as expired"),
        (("COMPLETED", None, 50), "not in the results"),
    ],
)
async def test_lines_without_a_result_are_sent_again_and_the_others_are_not(
    shop: ShopifyShop, store: Store, end: tuple[str, str | None, int], word: str
) -> None:
    shop.bulk_ends.append(end)
    said = await store.apply("content", catalogue())
    counts = {status: [o.status for o in said].count(status) for status in (Status.OK, Status.RETRY)}
    assert counts == {Status.OK: end[2], Status.RETRY: MANY - end[2]}
    assert {word in o.error for o in said if o.status is Status.RETRY} == {True}
    assert await statuses(store, catalogue()) == {Status.OK: MANY}
    assert [len(operation.lines) for operation in shop.operations[1:]] in ([MANY - end[2]], [])


async def test_an_operation_without_the_right_is_for_the_operator(shop: ShopifyShop, store: Store) -> None:
    shop.bulk_ends.append(("FAILED", "ACCESS_DENIED", 0))
    with pytest.raises(StoreError) as caught:
        await store.apply("content", catalogue())
    assert (caught.value.code, caught.value.retry) == (answers.AUTH, Retry.OPERATOR)


async def test_a_shop_that_begins_no_operation_now_is_asked_again_later(shop: ShopifyShop, store: Store) -> None:
    shop.bulk_limit = 0
    said = await store.apply("content", catalogue())
    assert {(o.status, "limit reached" in o.error) for o in said} == {(Status.RETRY, True)}
    shop.bulk_limit = 1
    assert await statuses(store, catalogue()) == {Status.OK: MANY}


async def test_an_operation_that_does_not_end_is_cancelled(
    shop: ShopifyShop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "RUN_WITHIN", 0.3)
    shop.bulk_looks = 1000
    said = await store.apply("content", catalogue())
    assert {(o.status, "was cancelled" in o.error) for o in said} == {(Status.RETRY, True)}
    [operation] = shop.operations
    assert operation.status == "CANCELING"
    shop.bulk_looks = operation.looks = 1
    assert await statuses(store, catalogue()) == {Status.OK: MANY}
    assert [one.status for one in shop.operations] == ["CANCELED", "COMPLETED"]


@pytest.mark.parametrize(
    ("fault", "entity"),
    [
        (faults.Status(403), "upload"),
        (faults.Reset(), "upload"),
        (faults.Status(404), "results"),
        (faults.Reset(), "results"),
    ],
)
async def test_files_that_cannot_be_had_are_no_trouble_of_the_shop(
    shop: ShopifyShop, store: Store, fault: faults.Fault, entity: str
) -> None:
    shop.inject(fault, entity=entity)
    assert await statuses(store, catalogue()) == {Status.RETRY: MANY}
    shop.clear()
    assert await statuses(store, catalogue()) == {Status.OK: MANY}
    assert len(shop.operations) == 1, "what an operation wrote is seen without its results"


async def test_large_files_are_several_operations(
    shop: ShopifyShop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LARGEST", 5_000)
    assert await statuses(store, catalogue()) == {Status.OK: MANY}
    assert sum(len(operation.lines) for operation in shop.operations) == MANY
    assert len(shop.operations) > 2
    assert max(len(held["content"]) for held in shop.staged.values() if "key" in held) <= 5_000


def test_a_result_is_read_by_its_line_number() -> None:
    reader: Any = bulk.Bulk.__new__(bulk.Bulk)
    line = bulk.Bulk._line(reader, b'{"data":{"productUpdate":{"userErrors":[]}},"__lineNumber":3}', "productUpdate")
    assert line == (3, Line({"userErrors": []}))
    line = bulk.Bulk._line(reader, b'{"errors":[{"message":"boom"}],"__lineNumber":4}', "productUpdate")
    assert line == (4, Line(None, "boom"))

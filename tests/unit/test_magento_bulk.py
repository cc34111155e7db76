"""Laws of asynchronous bulks in the `magento` adapter: one at a time, each row by its own operation, nothing newer lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from adapters.store import answers
from adapters.store.base import Store, StoreSettings
from adapters.store.loan import ShortMemory
from adapters.store.magento import bulk, create
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.documents import KINDS, LISTED, one, patch, written
from tests.doubles import faults
from tests.doubles.magento import MagentoShop
from tests.waiting import until

TOKEN = "integration-token"
OPTIONS = {"currency": "EUR", "customer_groups": {"b2b": "Wholesale"}}
SKUS = [f"P{number:03d}" for number in range(130)]
BASE = "products/base-prices"


def made(shop: MagentoShop | None, memory: Any = None, *, on: bool = True, limits: Limits | None = None) -> Store:
    url = shop.root if shop else "https://shop.example"
    options = {**OPTIONS, "async_bulk": on}
    return create(StoreSettings("main", url, TOKEN, 20.0, limits or Limits(), options, KINDS, memory or ShortMemory()))


async def opened(shop: MagentoShop, memory: Any = None, *, on: bool = True) -> Store:
    store = made(shop, memory, on=on)
    await store.open()
    return store


def price(sku: str, amount: str | int = "12.5", **change: Any) -> dict[str, Any]:
    return {"sku": sku, **LISTED, "amount": amount, **change}


def prices(amount: str | int = "12.5", skus: Iterable[str] = SKUS) -> list[Patch]:
    return [patch("price", price(sku, amount)) for sku in skus]


def by_sku(outcomes: Iterable[Outcome]) -> Mapping[str, Outcome]:
    return {outcome.id.partition("|")[0]: outcome for outcome in outcomes}


def statuses(outcomes: Iterable[Outcome]) -> set[Status]:
    return {outcome.status for outcome in outcomes}


def synchronous(shop: MagentoShop) -> int:
    """Price calls of one row or more that were made at once."""
    return len([call for call in shop.writes(BASE) if call.ids])


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "QUIET_WITHIN": 0.05,
        "STALLED": 0.3,
        "RUN_WITHIN": 1.0,
        "SETTLES": 0.6,
        "_FIRST": 0.01,
    }.items():
        monkeypatch.setattr(bulk, name, value)


@pytest.fixture
async def shop() -> AsyncIterator[MagentoShop]:
    async with MagentoShop(token=TOKEN) as server:
        server.products |= set(SKUS)
        yield server


@pytest.fixture
async def memory() -> ShortMemory:
    return ShortMemory()


@pytest.fixture
async def store(shop: MagentoShop, memory: ShortMemory) -> AsyncIterator[Store]:
    one = await opened(shop, memory)
    yield one
    await one.close()


# Where it is used


def test_without_the_option_a_job_s_call_has_the_ordinary_size_and_there_is_one_writer() -> None:
    limits = made(None, on=False).limits
    assert (limits.bulk_for("price"), limits.concurrency) == (100, 1)
    limits = made(None).limits
    assert (limits.bulk_for("price"), limits.batch_for("price"), limits.bulk_for("stock")) == (1000, 100, 100)
    assert limits.concurrency == 2


def test_an_option_that_is_no_flag_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        create(
            StoreSettings("main", "https://shop.example", TOKEN, 20.0, Limits(), {**OPTIONS, "async_bulk": 1}, KINDS)
        )
    assert caught.value.where == "store.main.options.async_bulk"


async def test_a_job_s_prices_go_by_one_bulk_and_an_ordinary_call_does_not(shop: MagentoShop, store: Store) -> None:
    assert statuses(await store.apply("price", prices())) == {Status.OK}
    assert (len(shop.bulks), synchronous(shop)) == (1, 0)
    assert {shop.base[sku, 0] for sku in SKUS} == {"12.5"}
    await written(store, "price", *(price(sku, "13") for sku in SKUS[:100]))
    assert (len(shop.bulks), synchronous(shop)) == (1, 1)


@pytest.mark.parametrize("tells", [True, False], ids=["with results", "read back"])
async def test_tier_prices_are_written_and_removed_by_a_bulk(shop: MagentoShop, store: Store, tells: bool) -> None:
    shop.tells_results = tells
    tiers = [price(sku, 9, price_list="b2b", min_quantity=10) for sku in SKUS]
    assert statuses(await store.apply("price", [patch("price", each) for each in tiers])) == {Status.OK}
    assert len(shop.tiers) == len(SKUS)
    assert statuses(await store.apply("price", [patch("price", each, gone=True) for each in tiers])) == {Status.OK}
    assert (shop.tiers, len(shop.bulks)) == ({}, 2)


async def test_the_same_patches_twice_show_the_same(shop: MagentoShop, store: Store) -> None:
    for _ in range(2):
        assert statuses(await store.apply("price", prices())) == {Status.OK}
    assert ({shop.base[sku, 0] for sku in SKUS}, len(shop.base)) == ({"12.5"}, len(SKUS))


# Each row by its own operation


@pytest.mark.parametrize("first_id", [0, 4711])
async def test_each_row_is_told_by_its_own_operation(shop: MagentoShop, store: Store, first_id: int) -> None:
    shop.first_id = first_id
    shop.ends = {
        "P003": (3, "Something was wrong with it"),
        "P050": (2, "Deadlock found when trying to get lock"),
        "P051": (3, "SQLSTATE[40001]: Serialization failure: 1213 Deadlock found"),
        "P070": (5, "Property has a wrong type"),
    }
    patches = [*prices(skus=[sku for sku in SKUS if sku != "P010"]), patch("price", price("P010", -5))]
    told = by_sku(await store.apply("price", patches))
    assert (told["P003"].status, told["P003"].error) == (Status.REJECTED, "Something was wrong with it")
    assert {(told[sku].status, told[sku].code) for sku in ("P050", "P051")} == {(Status.RETRY, answers.BUSY)}
    assert (told["P070"].status, told["P070"].error) == (Status.REJECTED, "Property has a wrong type")
    assert (told["P010"].status, told["P010"].error) == (Status.REJECTED, "Invalid attribute Price = -5.")
    others = set(SKUS) - {"P003", "P010", "P050", "P051", "P070"}
    assert {told[sku].status for sku in others} == {Status.OK}
    assert {sku for sku, _ in shop.base} == others


async def test_a_bulk_of_which_every_row_is_rejected_is_not_waited_for(shop: MagentoShop, store: Store) -> None:
    shop.ends = dict.fromkeys(SKUS, (5, "no"))
    assert statuses(await store.apply("price", prices())) == {Status.REJECTED}
    shop.ends = {}
    await written(store, "price", price("P000"))


async def test_a_complete_operation_that_says_nothing_of_its_service_is_read_back(
    shop: MagentoShop, store: Store
) -> None:
    shop.tells_results = False
    patches = [*prices(skus=SKUS[1:]), patch("price", price("P000", -5))]
    told = by_sku(await store.apply("price", patches))
    assert told["P000"].status is Status.RETRY
    assert {told[sku].status for sku in SKUS[1:]} == {Status.OK}


async def test_rows_are_not_acknowledged_by_results_that_are_not_theirs(shop: MagentoShop, store: Store) -> None:
    body = b'{"operations_list": [{"id": 0, "status": 1, "result_serialized_data": "[]"}]}'
    shop.inject(faults.Status(200, {}, body), entity="bulk/b0000000-0000-4000-8000-000000000000/detailed-status")
    assert statuses(await store.apply("price", prices())) == {Status.RETRY}


# Nothing newer is overtaken


async def test_no_consumer_is_told_with_its_name_and_prices_wait_while_stock_goes_on(
    shop: MagentoShop, store: Store
) -> None:
    shop.consumes = False
    with pytest.raises(StoreError) as caught:
        await store.apply("price", prices("12.5"))
    assert (caught.value.retry, caught.value.code) == (Retry.LATER, bulk.OPEN)
    assert "async.operations.all" in caught.value.hint
    waits = await one(store, "price", price("P000", "15"))
    assert (waits.status, waits.code, synchronous(shop)) == (Status.RETRY, bulk.OPEN, 0)
    assert statuses(await store.apply("price", prices("15"))) == {Status.RETRY}
    assert len(shop.bulks) == 1
    await written(store, "stock", {"sku": "P000", "location": "default", "available": 5})
    shop.consumes = True
    await written(store, "price", price("P000", "15"))
    shop.consume(1000)
    assert shop.base["P000", 0] == "15"


async def test_an_open_bulk_is_told_again_now_and_then_and_not_with_each_price(
    shop: MagentoShop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "TOLD_EVERY", 0.5)
    shop.consumes = False
    with pytest.raises(StoreError):
        await store.apply("price", prices())
    assert isinstance(await answered(store), Outcome)
    told = await until(lambda: complaint(store))
    assert (told.code, "async.operations.all" in told.hint) == (bulk.OPEN, True)
    assert isinstance(await answered(store), Outcome)


async def answered(store: Store) -> Outcome | StoreError:
    """What becomes of a newer price."""
    try:
        return await one(store, "price", price("P000", "15"))
    except StoreError as told:
        return told


async def complaint(store: Store) -> StoreError | None:
    answer = await answered(store)
    return answer if isinstance(answer, StoreError) else None


async def taken(store: Store) -> bool:
    answer = await answered(store)
    return isinstance(answer, Outcome) and answer.status is Status.OK


async def test_a_bulk_that_is_slow_is_for_another_attempt_and_stays_remembered(
    shop: MagentoShop, store: Store, memory: ShortMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "STALLED", 60.0)
    monkeypatch.setattr(bulk, "RUN_WITHIN", 0.2)
    shop.step = 1
    outcomes = await store.apply("price", prices())
    assert {(outcome.status, outcome.code) for outcome in outcomes} == {(Status.RETRY, bulk.OPEN)}
    assert (await one(store, "price", price("P129", "15"))).status is Status.RETRY
    assert await memory.get("bulk", ["price"])
    shop.step = 1000
    assert statuses(await store.apply("price", prices("15"))) == {Status.OK}
    assert {shop.base[sku, 0] for sku in SKUS} == {"15"}
    assert not await memory.get("bulk", ["price"])


async def killed(shop: MagentoShop, memory: ShortMemory) -> None:
    """A process that ends while its bulk is open, after the uuid was told."""
    shop.consumes = False
    store = await opened(shop, memory)
    task = asyncio.create_task(store.apply("price", prices("12.5")))
    await until(lambda: any(call.entity.endswith("/status") for call in shop.calls))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


@pytest.mark.parametrize("on", [True, False], ids=["option on", "option off meanwhile"])
async def test_after_a_kill_nothing_is_written_until_the_bulk_has_ended(
    shop: MagentoShop, memory: ShortMemory, on: bool
) -> None:
    await killed(shop, memory)
    store = await opened(shop, memory, on=on)
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY
    assert synchronous(shop) == 0
    shop.consumes = True
    await written(store, "price", price("P000", "15"))
    shop.consume(1000)
    assert (shop.base["P000", 0], shop.base["P001", 0]) == ("15", "12.5")
    await store.close()


async def test_with_the_memory_lost_an_open_bulk_is_found_in_the_shop(shop: MagentoShop, memory: ShortMemory) -> None:
    await killed(shop, memory)
    store = await opened(shop, ShortMemory())
    waits = await one(store, "price", price("P000", "15"))
    assert (waits.status, next(iter(shop.bulks)) in waits.error) == (Status.RETRY, True)
    shop.consumes = True
    await written(store, "price", price("P000", "15"))
    await store.close()


async def test_without_the_option_and_a_bulk_the_shop_is_not_asked_about_any(shop: MagentoShop) -> None:
    store = await opened(shop, on=False)
    await written(store, "price", price("P000"))
    assert not [call for call in shop.calls if call.entity.startswith("bulk")]
    await store.close()


async def test_a_bulk_whose_answer_was_lost_is_given_time_to_appear_and_then_to_end(
    shop: MagentoShop, store: Store, memory: ShortMemory
) -> None:
    shop.consumes = False
    fault = shop.inject(faults.FailAfterWrite(drop=True), entity=BASE, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("price", prices("12.5"))
    assert caught.value.retry is Retry.LATER
    shop.clear(fault)
    assert len(shop.bulks) == 1
    [known] = (await memory.get("bulk", ["price"])).values()
    assert known.endswith(',""]')
    hidden, shop.bulks = shop.bulks, {}  # the shop is still taking it up
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY
    shop.bulks = hidden
    await until(lambda: time.time() - float(known[1:].partition(",")[0]) > bulk.SETTLES)
    assert (await answered(store)).code == bulk.OPEN
    assert synchronous(shop) == 0
    shop.consumes = True
    await written(store, "price", price("P000", "15"))
    shop.consume(1000)
    assert shop.base["P000", 0] == "15"


async def test_a_bulk_that_never_arrived_is_given_up_when_its_time_has_passed(shop: MagentoShop, store: Store) -> None:
    fault = shop.inject(faults.Reset(), entity=BASE, calls=1)
    with pytest.raises(StoreError):
        await store.apply("price", prices("12.5"))
    shop.clear(fault)
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY
    await until(lambda: taken(store))
    assert (shop.base["P000", 0], shop.bulks) == ("15", {})


async def test_a_bulk_that_the_shop_refuses_holds_nobody_up(shop: MagentoShop, store: Store) -> None:
    fault = shop.inject(faults.Status(400, {}, b'{"message": "Maximum items is 20"}'), entity=BASE, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("price", prices())
    assert (caught.value.retry, caught.value.code) == (Retry.NEVER, answers.REFUSED)
    shop.clear(fault)
    await written(store, "price", price("P000", "15"))


async def test_a_bulk_that_was_deleted_in_the_shop_holds_nobody_up_when_its_time_has_passed(
    shop: MagentoShop, memory: ShortMemory
) -> None:
    await killed(shop, memory)
    shop.bulks.clear()
    store = await opened(shop, memory)
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY
    await until(lambda: taken(store))
    assert shop.base["P000", 0] == "15"
    await store.close()


@pytest.mark.parametrize(
    "body", [b"{}", b'{"bulk_uuid": "b", "request_items": []}', b'{"bulk_uuid": "", "request_items": []}', b"[]"]
)
async def test_an_answer_without_a_bulk_is_for_the_operator_and_counts_as_lost(
    shop: MagentoShop, store: Store, memory: ShortMemory, body: bytes
) -> None:
    shop.inject(faults.Status(202, {}, body), entity=BASE, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("price", prices())
    assert (caught.value.retry, caught.value.code) == (Retry.OPERATOR, answers.ANSWER)
    assert await memory.get("bulk", ["price"])
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY


class Note(ShortMemory):
    """A memory that tells in which order it was used."""

    def __init__(self, shop: MagentoShop) -> None:
        super().__init__()
        self.shop, self.said = shop, list[tuple[str, int]]()

    def put(self, kind: str, values: Mapping[str, str]) -> None:
        super().put(kind, values)
        self.said.append(("put" if values["price"].endswith(',""]') else "uuid", len(self.shop.writes(BASE))))

    async def secured(self) -> None:
        self.said.append(("secured", len(self.shop.writes(BASE))))


async def test_that_a_bulk_begins_is_on_disk_before_it_is_sent_and_its_uuid_is_kept_at_once(shop: MagentoShop) -> None:
    memory = Note(shop)
    store = await opened(shop, memory)
    assert statuses(await store.apply("price", prices())) == {Status.OK}
    assert memory.said == [("put", 0), ("secured", 0), ("uuid", 1), ("secured", 1)]
    await store.close()


async def test_beside_a_bulk_only_prices_of_its_products_and_other_bulks_wait(shop: MagentoShop, store: Store) -> None:
    others = [f"Q{number:03d}" for number in range(130)]
    shop.products |= {"Q", *others}
    shop.consumes = False
    task = asyncio.create_task(store.apply("price", prices("12.5")))
    await until(lambda: any(call.entity.endswith("/status") for call in shop.calls))
    assert (await one(store, "price", price("Q", "15"))).status is Status.OK
    assert (await one(store, "price", price("P000", "15"))).status is Status.RETRY
    for skus in (SKUS, others):
        assert statuses(await store.apply("price", prices("15", skus))) == {Status.RETRY}
    assert len(shop.bulks) == 1
    shop.consumes = True
    assert statuses(await task) == {Status.OK}
    assert (await one(store, "price", price("P000", "15"))).status is Status.OK

"""The laws of a storefront adapter, the same for each of them; an adapter joins by a stand in tests/contract/stands.py.

Invariant: what an adapter reports is what the store did. Every patch has one outcome, every failure is a StoreError with
a decision, and whatever went wrong with one call, the next one works.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

import adapters.store
from adapters.store import answers
from daemon.drift import differing
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Outcome, Patch, Status
from tests.contract import stands
from tests.contract.stand import TOKEN, Stand
from tests.doubles import faults

LATER, OPERATOR = Retry.LATER, Retry.OPERATOR
WHOLE_BATCH = (answers.REFUSED, answers.TOO_LARGE)


@pytest.fixture(params=stands.names())
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    made = stands.stand(request.param)
    async with made.server:
        made.store = made.another()
        await made.store.open()
        yield made
        await made.store.close()


def by_id(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    found = {outcome.id: outcome for outcome in outcomes}
    assert len(found) == len(outcomes), "two outcomes for one patch"
    return found


def stocks(stand: Stand, count: int) -> list[Patch]:
    stand.make(count)
    return [stand.stock(number, number + 1) for number in range(count)]


def statuses(outcomes: Sequence[Outcome]) -> set[Status]:
    return {outcome.status for outcome in outcomes}


def assert_same(patches: Sequence[Patch], shown: Mapping[str, Fields]) -> None:
    """Each document is there with the values of the patch."""
    for patch in patches:
        assert patch.fields is not None
        assert patch.id in shown, f"{patch.id} is not shown"
        assert differing(patch.fields, shown[patch.id]) == {}


async def failure(store: object, patches: Sequence[Patch]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", patches)  # type: ignore[attr-defined]
    assert caught.value.where == "store.main"
    return caught.value


async def settled(stand: Stand, patches: Sequence[Patch]) -> dict[str, Outcome]:
    """What the daemon makes of a batch: one that is refused as a whole is halved until the one at fault is found."""
    try:
        return by_id(await stand.store.apply("stock", patches))
    except StoreError as error:
        if error.code not in WHOLE_BATCH:
            raise
        if len(patches) == 1:
            return {patches[0].id: Outcome(patches[0].id, Status.REJECTED, str(error), error.code)}
    middle = len(patches) // 2
    return {**await settled(stand, patches[:middle]), **await settled(stand, patches[middle:])}


async def works(stand: Stand) -> None:
    """The law after every misfortune: the next call goes through."""
    stand.server.clear()
    [patch] = [stand.stock(0, 77, version=1000)]
    stand.make(1)
    assert statuses(await stand.store.apply("stock", [patch])) == {Status.OK}
    assert_same([patch], stand.shown("stock"))


def test_every_adapter_is_held_to_this_contract() -> None:
    assert stands.names() == adapters.store.names()


def test_every_adapter_has_a_sheet() -> None:
    folder = Path(adapters.store.__file__).parent
    for name in adapters.store.names():
        sheet = tomllib.loads((folder / f"{name}.sheet.toml").read_text())
        assert sheet["adapter"] == name


# Writing


@pytest.mark.parametrize("entity", ["stock", "price"])
async def test_a_batch_is_written_and_acknowledged(stand: Stand, entity: str) -> None:
    stand.make(40)
    patches = [stand.stock(n, n) if entity == "stock" else stand.price(n, f"{n + 1}.25") for n in range(40)]
    size = stand.store.limits.batch_for(entity)
    for start in range(0, len(patches), size):
        part = patches[start : start + size]
        outcomes = await stand.store.apply(entity, part)
        assert statuses(outcomes) == {Status.OK}
        assert set(by_id(outcomes)) == {patch.id for patch in part}
    assert_same(patches, stand.shown(entity))
    assert set(stand.shown(entity)) == {patch.id for patch in patches}
    assert not stand.server.overlaps


@pytest.mark.parametrize("entity", ["stock", "price"])
async def test_the_same_patch_twice_changes_nothing(stand: Stand, entity: str) -> None:
    stand.make(1)
    patch = stand.stock(0, 7) if entity == "stock" else stand.price(0, "7.10")
    for _ in range(2):
        assert statuses(await stand.store.apply(entity, [patch])) == {Status.OK}
        assert_same([patch], stand.shown(entity))
        assert len(stand.shown(entity)) == 1


async def test_a_new_value_replaces_the_old_one(stand: Stand) -> None:
    stand.make(1)
    for version, amount in enumerate(["7.10", "6.55", 8], 1):
        patch = stand.price(0, amount, version)
        assert statuses(await stand.store.apply("price", [patch])) == {Status.OK}
        assert_same([patch], stand.shown("price"))


async def test_nothing_to_write_is_no_write(stand: Stand) -> None:
    assert list(await stand.store.apply("stock", [])) == []
    assert stand.server.calls == []


async def test_one_document_that_the_store_refuses_does_not_hold_the_others(stand: Stand) -> None:
    patches = stocks(stand, 8)
    bad = patches[3]
    stand.refuse(bad)
    outcomes = await settled(stand, patches)
    assert outcomes.pop(bad.id).status is Status.REJECTED
    assert {outcome.status for outcome in outcomes.values()} == {Status.OK}
    assert_same([patch for patch in patches if patch is not bad], stand.shown("stock"))
    assert bad.id not in stand.shown("stock")


async def test_an_article_that_the_store_does_not_have_is_refused_and_named(stand: Stand) -> None:
    patches = stocks(stand, 3)
    unknown = stand.unknown()
    if unknown is None:
        return  # this store takes any
    outcomes = await settled(stand, [*patches, unknown])
    refused = outcomes.pop(unknown.id)
    assert refused.status is Status.REJECTED
    assert str(unknown.identity["sku"]) in refused.error
    assert refused.code
    assert {outcome.status for outcome in outcomes.values()} == {Status.OK}
    assert set(stand.shown("stock")) == {patch.id for patch in patches}


async def test_a_removed_document_is_gone_and_stays_gone(stand: Stand) -> None:
    if stand.removes is None:
        return  # this store can remove nothing; its sheet says so
    stand.make(2)
    entity = stand.removes
    make = stand.stock if entity == "stock" else stand.price
    first, second = make(0), make(1)
    await stand.store.apply(entity, [first, second])
    gone = Patch(first.id, 2, 0, None, first.identity)
    for _ in range(2):  # removing twice is no failure
        assert statuses(await stand.store.apply(entity, [gone])) == {Status.OK}
        assert set(stand.shown(entity)) == {second.id}
        assert await stand.store.fetch(entity, [first.id]) == {}
        assert [name async for name, _ in stand.store.scan(entity)] == [second.id]


# Whole calls that fail


@pytest.mark.parametrize("write", [None, True], ids=["every-call", "writes"])
@pytest.mark.parametrize(
    ("fault", "retry", "code"),
    [
        (faults.Throttle(), LATER, answers.THROTTLED),
        (faults.Throttle(code=503), LATER, answers.THROTTLED),
        (faults.Status(500, {}, b'{"error": "x"}'), LATER, answers.FAILED),
        (faults.Empty500(), LATER, answers.FAILED),
        (faults.Html(502), LATER, answers.FAILED),
        (faults.Status(504), LATER, answers.FAILED),
        (faults.FailAfterWrite(), LATER, answers.FAILED),
        (faults.FailAfterWrite(drop=True), LATER, answers.UNREACHABLE),
        (faults.Reset(), LATER, answers.UNREACHABLE),
        (faults.Status(401), OPERATOR, answers.AUTH),
        (faults.Status(403, {}, b"<h1>Forbidden</h1>"), OPERATOR, answers.AUTH),
        (faults.Status(301, {"Location": "https://elsewhere.example/"}), OPERATOR, answers.URL_WRONG),
        (faults.Status(418), OPERATOR, answers.ANSWER),
        (faults.Html(), OPERATOR, answers.ANSWER),
        (faults.Status(200), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b"ok"), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b"null"), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b"[" * 100_000), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b"\xff\xfe"), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b" " * (answers.LARGE_ANSWER + 1)), OPERATOR, answers.ANSWER),
        (faults.Status(413), LATER, answers.TOO_LARGE),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'code', '')}" if isinstance(value, faults.Fault) else "",
)
async def test_a_failed_call_carries_its_decision(
    stand: Stand, fault: faults.Fault, retry: Retry, code: str, write: bool | None
) -> None:
    patches = stocks(stand, 2)
    stand.server.inject(fault, write=write)
    error = await failure(stand.store, patches)
    assert (error.retry, error.code) == (retry, code)
    assert error.message
    await works(stand)


@pytest.mark.parametrize("code", [400, 409, 422])
async def test_a_write_that_is_refused_acknowledges_nothing_and_is_not_repeated_as_it_is(
    stand: Stand, code: int
) -> None:
    patches = stocks(stand, 1)
    stand.server.inject(faults.Status(code, {}, b'{"message": "no"}'), write=True)
    outcomes = await settled(stand, patches)
    assert {outcome.status for outcome in outcomes.values()} == {Status.REJECTED}
    await works(stand)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "wait"),
    [(None, None), ("7", 7.0), ("0", 0.0), ("999999999", answers.MAX_RETRY_AFTER), ("soon", None), ("-5", None)],
)
async def test_a_throttle_says_how_long(stand: Stand, status: int, header: str | None, wait: float | None) -> None:
    patches = stocks(stand, 1)
    stand.server.inject(faults.Throttle(header, status))
    assert (await failure(stand.store, patches)).retry_after == wait


async def test_a_lost_answer_is_a_failure_although_it_was_written(stand: Stand) -> None:
    [patch] = stocks(stand, 1)
    stand.server.inject(faults.FailAfterWrite(drop=True), write=True)
    error = await failure(stand.store, [patch])
    assert error.retry is LATER
    assert "may have succeeded" in error.message
    stand.server.clear()
    assert statuses(await stand.store.apply("stock", [patch])) == {Status.OK}
    assert_same([patch], stand.shown("stock"))
    assert len(stand.shown("stock")) == 1


@pytest.mark.parametrize("after_write", [False, True])
async def test_a_slow_answer_ends_at_the_timeout(stand: Stand, after_write: bool) -> None:
    patches = stocks(stand, 2)
    await stand.store.apply("stock", patches)
    store = stand.another(timeout=1.5)
    await store.open()
    hold = faults.Hold(after_write=after_write)
    stand.server.inject(hold, write=True)
    error = await failure(store, patches)
    assert (error.retry, error.code) == (LATER, answers.TIMEOUT)
    stand.server.clear()
    await store.close()
    await works(stand)


async def test_a_cancelled_call_leaves_the_adapter_usable(stand: Stand) -> None:
    patches = stocks(stand, 2)
    for _ in range(3 * stand.store.limits.concurrency):  # more often than a pool could lose connections
        hold = faults.Hold()
        stand.server.inject(hold)
        call = asyncio.create_task(stand.store.apply("stock", patches))
        await hold.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        stand.server.clear()
    await works(stand)


async def test_a_connection_that_died_idle_is_no_failure(stand: Stand) -> None:
    await works(stand)
    stand.server.inject(faults.Reset(idle_only=True), calls=1)
    assert statuses(await stand.store.apply("stock", [stand.stock(0, 3, version=2000)])) == {Status.OK}


async def test_connections_cut_while_idle_are_no_failure(stand: Stand) -> None:
    patches = stocks(stand, 4)
    await asyncio.gather(*(stand.store.apply("stock", [patch]) for patch in patches))
    stand.server.cut_connections()
    await works(stand)


async def test_a_store_that_is_down_and_comes_back(stand: Stand) -> None:
    await works(stand)
    await stand.server.stop()
    error = await failure(stand.store, [stand.stock(0)])
    assert (error.retry, error.code) == (LATER, answers.UNREACHABLE)
    with pytest.raises(StoreError) as caught:
        await stand.store.check()
    assert caught.value.code == answers.UNREACHABLE
    await stand.server.start()
    await works(stand)


async def test_calls_at_the_same_time_do_not_mix(stand: Stand) -> None:
    patches = stocks(stand, 60)

    async def one(part: list[Patch]) -> None:
        outcomes = await stand.store.apply("stock", part)
        assert {outcome.id for outcome in outcomes} == {patch.id for patch in part}
        assert statuses(outcomes) == {Status.OK}

    await asyncio.gather(*(one(patches[start : start + 5]) for start in range(0, 60, 5)))
    assert_same(patches, stand.shown("stock"))
    assert not stand.server.overlaps


# Reading back


@pytest.mark.parametrize("entity", ["stock", "price"])
async def test_what_was_written_is_read_back(stand: Stand, entity: str) -> None:
    stand.make(7)
    make = stand.stock if entity == "stock" else stand.price
    patches = [make(number, number + 1) for number in range(5)]
    await stand.store.apply(entity, patches)
    fetched = await stand.store.fetch(entity, [patch.id for patch in patches] + [make(6).id, make(9998).id])
    assert_same(patches, fetched)
    assert set(fetched) == {patch.id for patch in patches}
    assert await stand.store.fetch(entity, []) == {}


@pytest.mark.parametrize("amount", ["12.50", "0.10", "1234567.89", 7, "19.99"])
async def test_amounts_are_written_and_read_back_exactly(stand: Stand, amount: str | int) -> None:
    stand.make(1)
    patch = stand.price(0, amount)
    await stand.store.apply("price", [patch])
    assert_same([patch], stand.shown("price"))
    assert_same([patch], await stand.store.fetch("price", [patch.id]))


async def test_a_long_list_of_ids_is_fetched_in_parts(stand: Stand) -> None:
    patches = stocks(stand, 450)
    size = stand.store.limits.batch_for("stock")
    for start in range(0, len(patches), size):
        await stand.store.apply("stock", patches[start : start + size])
    fetched = await stand.store.fetch("stock", [patch.id for patch in patches])
    assert_same(patches, fetched)


@pytest.mark.parametrize("entity", ["stock", "price"])
async def test_a_scan_gives_every_document_once_in_id_order(stand: Stand, entity: str) -> None:
    stand.make(130)
    patches = [stand.stock(n) if entity == "stock" else stand.price(n) for n in range(130)]
    size = stand.store.limits.batch_for(entity)
    for start in range(0, len(patches), size):
        await stand.store.apply(entity, patches[start : start + size])
    found = [item async for item in stand.store.scan(entity)]
    assert [name for name, _ in found] == sorted(patch.id for patch in patches)
    assert_same(patches, dict(found))


async def test_a_change_by_hand_is_seen_by_fetch_and_scan(stand: Stand) -> None:
    patches = stocks(stand, 3)
    await stand.store.apply("stock", patches)
    stand.tamper(patches[1])
    fetched = await stand.store.fetch("stock", [patch.id for patch in patches])
    scanned = {name: fields async for name, fields in stand.store.scan("stock")}
    for shown in (fetched, scanned):
        assert_same([patches[0], patches[2]], shown)
        assert patches[1].fields is not None
        assert set(differing(patches[1].fields, shown[patches[1].id])) == {"available"}


async def test_a_scan_of_nothing_ends(stand: Stand) -> None:
    assert [item async for item in stand.store.scan("stock")] == []


async def test_a_scan_that_is_left_early_leaves_the_adapter_usable(stand: Stand) -> None:
    await stand.store.apply("stock", stocks(stand, 5))
    async for _ in stand.store.scan("stock"):
        break
    await works(stand)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"{}", b"\xff\xfe", b"[" * 100_000])
async def test_a_wrong_read_answer_is_for_the_operator(stand: Stand, body: bytes) -> None:
    [patch] = stocks(stand, 1)
    await stand.store.apply("stock", [patch])
    stand.server.inject(faults.Status(200, {}, body))
    for read in (stand.store.fetch("stock", [patch.id]), stand.store.check()):
        with pytest.raises(StoreError) as caught:
            await read
        assert (caught.value.code, caught.value.retry) == (answers.ANSWER, OPERATOR)
    await works(stand)


async def test_check_proves_address_and_token(stand: Stand) -> None:
    await stand.store.check()
    assert not stand.server.writes()
    stranger = stand.another(token="another")
    await stranger.open()
    with pytest.raises(StoreError) as caught:
        await stranger.check()
    assert (caught.value.code, caught.value.retry) == (answers.AUTH, OPERATOR)
    await stranger.close()


# Life


async def test_what_one_article_writes_is_named_the_same_each_time(stand: Stand) -> None:
    """The remote thing: by it the daemon keeps two calls apart that the store would mix up."""
    for make, entity in ((stand.stock, "stock"), (stand.price, "price")):
        one, again, other = make(0), make(0, 9, 2), make(1)
        assert stand.store.remote(entity, one) == stand.store.remote(entity, again)
        name = stand.store.remote(entity, one)
        assert name is None or name
        assert name is None or name != stand.store.remote(entity, other)


async def test_open_needs_no_store(stand: Stand) -> None:
    await stand.server.stop()
    store = stand.another()
    await store.open()
    await store.close()


async def test_closing_twice_is_fine(stand: Stand) -> None:
    patches = stocks(stand, 1)
    await stand.store.close()
    await stand.store.close()
    assert (await failure(stand.store, patches)).code == answers.CLOSED


async def test_closing_before_open_and_after_a_failed_one_is_fine(stand: Stand) -> None:
    await stand.another().close()
    store = stand.another()
    await store.open()
    await store.close()


async def test_closing_during_a_call_ends_it_with_a_decision(stand: Stand) -> None:
    patches = stocks(stand, 1)
    hold = faults.Hold()
    stand.server.inject(hold)
    call = asyncio.create_task(stand.store.apply("stock", patches))
    await hold.reached.wait()
    await stand.store.close()
    with pytest.raises(StoreError):
        await call


async def test_no_error_text_holds_a_secret(stand: Stand) -> None:
    """Whatever the store echoes, in whatever spelling, at whatever place of its answer."""
    patches = stocks(stand, 1)
    echoes = [TOKEN, "t0ken%2Fwith%2Bodd%3Dsigns", "t0ken\\/with+odd=signs", " " * 150 + TOKEN, " " * 4085 + TOKEN]
    said: list[str] = []
    for code in (400, 401, 404, 413, 418, 429, 500, 200):
        for echo in echoes:
            for body in (echo, f'{{"message": "{echo}", "errors": [{{"message": "{echo}"}}]}}'):
                stand.server.inject(faults.Status(code, {}, body))
                try:
                    said += [outcome.error for outcome in await stand.store.apply("stock", patches)]
                except StoreError as error:
                    said += [str(error), repr(error)]
                stand.server.clear()
    for location in ("https://user:t0ken@x.example/y?t0ken#t0ken", "/y?t0ken", "http://[bad", f"/{'p' * 5000}"):
        stand.server.inject(faults.Status(302, {"Location": location}))
        error = await failure(stand.store, patches)
        said += [str(error), repr(error)]
        assert len(str(error)) < 600
        stand.server.clear()
    for text in said:
        assert "t0ken" not in text
        assert "odd" not in text


async def test_a_quotation_is_short_and_printable(stand: Stand) -> None:
    patches = stocks(stand, 1)
    stand.server.inject(faults.Status(500, {}, b"\x1b[2J\x00\r\n" + "é\u202e".encode() * 10_000))
    error = await failure(stand.store, patches)
    assert str(error).isprintable()
    assert len(error.message) < answers.QUOTED + 100

"""What the `http` adapter makes of its own protocol: every word of an answer, versions, addresses, numbers.

Invariant: a document counts as acknowledged when the answer says so in the words of docs/http-protocol.md, and only then. The
laws that every adapter shares are in test_store_contract.py.
"""

from __future__ import annotations

import asyncio
import random
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

import adapters.store
from adapters.store import answers, http
from adapters.store.base import Store, StoreSettings
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Limits, Outcome, Patch, Status
from tests.doubles import faults
from tests.doubles.shop import Shop

TOKEN = "t0ken/with+odd=signs"
LONG = "L" * 3000
HOSTILE_IDS = [
    "SKU|main", "a&b=c", "a b", "a+b", "100%25", "#?/\\", "..", "ключ|склад", "品番", "é", "e\u0301", "🧦|default",
    "\U0010ffff", "tab\tand\nline", '"quoted"', "<b>", "0", "-1", LONG, "\ufffd", "|", " lead", "trail ",
]  # fmt: skip


@dataclass
class Rig:
    """One adapter before one misbehaving shop."""

    shop: Shop
    create: Callable[[StoreSettings], Store]
    store: Store

    def another(self, **change: Any) -> Store:
        """A further store of the same adapter, with other settings; not open."""
        known: dict[str, Any] = {
            "name": "main",
            "url": self.shop.url,
            "token": TOKEN,
            "timeout": 5.0,
            "limits": Limits(),
            "options": {"entities": ["stock", "price"]},
        }
        return self.create(StoreSettings(**(known | change)))


RIGS: dict[str, Callable[[], Shop]] = {
    "http": lambda: Shop(token=TOKEN),
}


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param]() as shop:
        made = Rig(shop, adapters.store.factory(request.param), None)  # type: ignore[arg-type]
        made.store = made.another()
        await made.store.open()
        yield made
        await made.store.close()


def stock(name: str, available: int = 5, version: int = 1) -> Patch:
    sku, _, location = name.partition("|")
    identity = {"sku": sku, "location": location}
    return Patch(name, version, 1_700_000_000_123_456, {**identity, "available": available}, identity)


def batch(count: int) -> list[Patch]:
    return [stock(f"SKU-{index:04}|default", index) for index in range(count)]


def by_id(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    found = {outcome.id: outcome for outcome in outcomes}
    assert len(found) == len(outcomes), "two outcomes for one patch"
    return found


async def failure(store: Store, patches: Sequence[Patch] | None = None) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await store.apply("stock", patches or batch(2))
    assert caught.value.where == "store.main"
    return caught.value


async def works(rig: Rig) -> None:
    """The law after every misfortune: the next call goes through."""
    rig.shop.clear()
    patches = [stock("after|default", 1, version=1 + (rig.shop.version("stock", "after|default") or 0))]
    assert [o.status for o in await rig.store.apply("stock", patches)] == [Status.OK]


def test_the_http_sheet_says_what_the_code_does() -> None:
    limits = tomllib.loads((Path(http.__file__).parent / "http.sheet.toml").read_text())["limits"]
    large = answers.LARGE_ANSWER
    assert limits["answer_bytes"] == {"apply": answers.SMALL_ANSWER, "fetch": large, "scan": large}
    assert (limits["ids_per_fetch"], limits["page"]) == (http.IDS_PER_CALL, http.PAGE)


# Writing


async def test_the_same_patch_twice_changes_nothing(rig: Rig) -> None:
    for _ in range(2):
        assert [o.status for o in await rig.store.apply("stock", [stock("A|default", 7)])] == [Status.OK]
    assert rig.shop.documents("stock")["A|default"]["available"] == 7
    assert not rig.shop.conflicts
    assert not rig.shop.regressions
    first, second = rig.shop.writes()
    assert first.idempotency_key == second.idempotency_key != ""


async def test_other_content_has_another_idempotency_key(rig: Rig) -> None:
    await rig.store.apply("stock", [stock("A|default", 7)])
    await rig.store.apply("stock", [stock("A|default", 8)])
    await rig.store.apply("price", [stock("A|default", 8)])
    assert len({call.idempotency_key for call in rig.shop.writes()}) == 3


async def test_a_write_carries_its_version_and_the_time_of_the_change(rig: Rig) -> None:
    await rig.store.apply("stock", [stock("A|default", 7, version=4)])
    [write] = rig.shop.history["stock"]["A|default"]
    assert (write.version, datetime.fromisoformat(write.changed_at)) == (
        4,
        datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
    )


async def test_an_older_version_that_comes_late_changes_nothing(rig: Rig) -> None:
    for version in (2, 1):
        assert [o.status for o in await rig.store.apply("stock", [stock("A|default", version, version)])] == [Status.OK]
    assert rig.shop.documents("stock")["A|default"]["available"] == 2


@pytest.mark.parametrize("name", ["deleted", "version", "changed_at", "id"])
async def test_a_field_cannot_pass_for_the_protocols_own(rig: Rig, name: str) -> None:
    await rig.store.apply("stock", [stock("A|default", 7)])
    bad = Patch("A|default", 2, 0, {"sku": "A", "location": "default", name: True})
    outcomes = await rig.store.apply("stock", [bad, stock("B|default")])
    assert {o.id: o.status for o in outcomes} == {"A|default": Status.REJECTED, "B|default": Status.OK}
    assert rig.shop.documents("stock")["A|default"]["available"] == 7


async def test_one_bad_document_does_not_hold_the_others(rig: Rig) -> None:
    rig.shop.inject(faults.Reject({"SKU-0001|default"}, error=f"no such article\r\n\x1b[31m {TOKEN}"))
    outcomes = by_id(await rig.store.apply("stock", batch(3)))
    bad = outcomes.pop("SKU-0001|default")
    assert (bad.status, bad.error) == (Status.REJECTED, "no such article [31m ***")
    assert bad.code
    assert {o.status for o in outcomes.values()} == {Status.OK}
    assert set(rig.shop.documents("stock")) == set(outcomes)


async def test_a_document_left_out_of_the_answer_is_not_acknowledged(rig: Rig) -> None:
    rig.shop.inject(faults.LeaveOut({"SKU-0000|default"}, written=True))
    outcomes = by_id(await rig.store.apply("stock", batch(2)))
    assert outcomes["SKU-0000|default"].status is Status.RETRY
    assert outcomes["SKU-0001|default"].status is Status.OK


async def test_an_answer_for_others_acknowledges_nothing(rig: Rig) -> None:
    rig.shop.inject(faults.Status(200, {}, b'{"results": [{"id": "other|default", "status": "ok"}]}'))
    assert [o.status for o in await rig.store.apply("stock", batch(1))] == [Status.RETRY]


@pytest.mark.parametrize("word", [b'"OK"', b'"done"', b"null", b"200", b"true", b"[]", b'""'])
async def test_an_unknown_status_word_is_no_acknowledgement(rig: Rig, word: bytes) -> None:
    body = b'{"results": [{"id": "SKU-0000|default", "status": %s, "error": {"a": 1}}]}' % word
    rig.shop.inject(faults.Status(200, {}, body))
    [outcome] = await rig.store.apply("stock", batch(1))
    assert outcome.status is Status.RETRY
    assert outcome.error


@pytest.mark.parametrize("words", [("ok", "rejected"), ("rejected", "ok"), ("ok", "retry"), ("retry", "ok")])
async def test_a_contradiction_counts_as_the_worse_word(rig: Rig, words: tuple[str, str]) -> None:
    results = [{"id": "SKU-0000|default", "status": word} for word in words]
    rig.shop.inject(faults.Status(200, {}, orjson.dumps({"results": results})))
    [outcome] = await rig.store.apply("stock", batch(1))
    assert outcome.status == next(word for word in words if word != "ok")


@pytest.mark.parametrize("seed", range(12))
async def test_every_patch_has_one_outcome(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 repeatable on purpose
    patches = [stock(f"{name}~{seed}") for name in HOSTILE_IDS] + batch(rng.randrange(40))
    fate = {patch.id: rng.choice(["ok", "rejected", "retry", "lost", "left"]) for patch in patches}

    def of(what: str) -> set[str]:
        return {name for name, word in fate.items() if word == what}

    rig.shop.inject(faults.Reject(of("rejected")))
    rig.shop.inject(faults.Retry(of("retry")))
    rig.shop.inject(faults.LeaveOut(of("lost"), written=False))
    rig.shop.inject(faults.LeaveOut(of("left"), written=True))
    outcomes = by_id(await rig.store.apply("stock", patches))
    assert {name: o.status.value for name, o in outcomes.items()} == {
        name: {"lost": "retry", "left": "retry"}.get(word, word) for name, word in fate.items()
    }
    assert set(rig.shop.documents("stock")) == of("ok") | of("left")


async def test_a_document_that_cannot_be_written_as_json_stands_alone(rig: Rig) -> None:
    bad = Patch("bad|default", 1, 0, {"sku": "bad", "location": "default", "available": object()})
    outcomes = by_id(await rig.store.apply("stock", [*batch(2), bad]))
    assert outcomes.pop("bad|default").status is Status.REJECTED
    assert [o.status for o in outcomes.values()] == [Status.OK, Status.OK]
    assert [o.status for o in await rig.store.apply("stock", [bad])] == [Status.REJECTED]
    assert len(rig.shop.calls) == 1


# Whole calls that fail

LATER, OPERATOR, NEVER = Retry.LATER, Retry.OPERATOR, Retry.NEVER


@pytest.mark.parametrize(
    ("fault", "retry", "code"),
    [
        (faults.Status(404), OPERATOR, answers.URL_WRONG),
        (faults.Status(405), OPERATOR, answers.URL_WRONG),
        (faults.Status(307, {"Location": "/api/stock"}), OPERATOR, answers.URL_WRONG),
        (faults.Status(304), OPERATOR, answers.URL_WRONG),
        (faults.Status(204), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b"[]"), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b'{"results": {}}'), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b'{"results": [1]}'), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b'{"results": [{"id": 1}]}'), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b'{"results": [' + b"[" * 100_000), OPERATOR, answers.ANSWER),
        (faults.Status(200, {}, b" " * (answers.SMALL_ANSWER + 1)), OPERATOR, answers.ANSWER),
        (faults.Status(400), NEVER, answers.REFUSED),
        (faults.Status(409), NEVER, answers.REFUSED),
        (faults.Status(422), NEVER, answers.REFUSED),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'code', '')}" if isinstance(value, faults.Fault) else "",
)
async def test_a_failed_call_carries_its_decision(rig: Rig, fault: faults.Fault, retry: Retry, code: str) -> None:
    rig.shop.inject(fault)
    error = await failure(rig.store)
    assert (error.retry, error.code) == (retry, code)
    assert error.message
    await works(rig)


async def test_a_connection_that_died_idle_is_no_failure(rig: Rig) -> None:
    await works(rig)
    rig.shop.inject(faults.Reset(idle_only=True))
    [outcome] = await rig.store.apply("stock", [stock("A|default")])
    assert outcome.status is Status.OK
    last = rig.shop.writes()[-2:]
    assert last[0].idempotency_key == last[1].idempotency_key
    assert [call.ids for call in last] == [("A|default",)] * 2


async def test_a_body_over_the_shops_limit_is_recognisable(rig: Rig) -> None:
    rig.shop.max_documents = 5
    error = await failure(rig.store, batch(6))
    assert (error.code, error.retry) == (answers.TOO_LARGE, Retry.LATER)
    assert {o.status for o in await rig.store.apply("stock", batch(5))} == {Status.OK}


# Reading back


async def test_what_was_written_is_read_back(rig: Rig) -> None:
    patches = [stock(name, index) for index, name in enumerate(HOSTILE_IDS)]
    assert {o.status for o in await rig.store.apply("stock", patches)} == {Status.OK}
    expected = {patch.id: patch.fields for patch in patches}
    assert await rig.store.fetch("stock", [*HOSTILE_IDS, "unknown|default"]) == expected
    assert await rig.store.fetch("stock", []) == {}


async def test_a_long_list_of_ids_is_fetched_in_parts(rig: Rig) -> None:
    patches = batch(1000)
    await rig.store.apply("stock", patches)
    assert await rig.store.fetch("stock", [p.id for p in patches]) == {p.id: p.fields for p in patches}


async def test_long_ids_are_fetched_in_addresses_that_servers_take(rig: Rig) -> None:
    patches = [stock(f"{n}{'x' * 300}|default", n) for n in range(100)]
    await rig.store.apply("stock", patches)
    assert await rig.store.fetch("stock", [p.id for p in patches]) == {p.id: p.fields for p in patches}


async def test_what_was_not_asked_for_and_what_is_gone_is_not_read(rig: Rig) -> None:
    for name in ("A", "B"):
        rig.shop.put("stock", name, {"available": 1})
    rig.shop.put("stock", "gone", {"deleted": True})
    rig.shop.put("stock", "kept", {"deleted": False})
    assert set(await rig.store.fetch("stock", ["A", "gone", "kept"])) == {"A", "kept"}
    assert [name async for name, _ in rig.store.scan("stock")] == ["A", "B", "kept"]
    body = orjson.dumps({"documents": [{"id": "A"}, {"id": "B"}]})
    rig.shop.inject(faults.Status(200, {}, body))
    assert await rig.store.fetch("stock", ["A"]) == {"A": {}}


@pytest.mark.parametrize("page", [1, 3, 500])
async def test_a_scan_gives_every_document_once_in_id_order(rig: Rig, page: int) -> None:
    rig.shop.max_page = page
    for name in HOSTILE_IDS:
        rig.shop.put("stock", name, {"available": 1})
    found: list[tuple[str, Fields]] = [item async for item in rig.store.scan("stock")]
    assert found == [(name, {"available": 1}) for name in sorted(HOSTILE_IDS)]


@pytest.mark.parametrize("names", [["a"], ["b", "a"], ["a", "a"]], ids=["loops", "falls", "repeats"])
async def test_a_scan_does_not_follow_a_shop_in_circles(rig: Rig, names: list[str]) -> None:
    rig.shop.inject(faults.Status(200, {}, orjson.dumps({"documents": [{"id": name} for name in names]})))
    with pytest.raises(StoreError) as caught:
        async with asyncio.timeout(5):
            [item async for item in rig.store.scan("stock")]
    assert (caught.value.code, caught.value.retry) == (answers.ANSWER, Retry.OPERATOR)


@pytest.mark.parametrize(
    ("spelt", "read"),
    [
        (b"12.50", "12.50"),
        (b"0.1", "0.1"),
        (b"1234567890123456789012.000000001", "1234567890123456789012.000000001"),
        (b"-0.30", "-0.30"),
        (b"1.5e3", "1500"),
        (b"25E-2", "0.25"),
        (b"1e999999999", "1e999999999"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"12.50"', "12.50"),
        (b"[0.1, {\"a\": 0.20}]", ["0.1", {"a": "0.20"}]),
    ],
)  # fmt: skip
async def test_numbers_are_read_back_exactly(rig: Rig, spelt: bytes, read: object) -> None:
    rig.shop.put("price", "A|eur", {"amount": orjson.Fragment(spelt)})
    assert await rig.store.fetch("price", ["A|eur"]) == {"A|eur": {"amount": read}}
    assert [item async for item in rig.store.scan("price")] == [("A|eur", {"amount": read})]


@pytest.mark.parametrize("amount", ["12.50", "0.10", "1234567890123456789012.000000001", 7, -3, 0])
async def test_numbers_are_written_exactly(rig: Rig, amount: str | int) -> None:
    await rig.store.apply("price", [Patch("A|eur", 1, 0, {"sku": "A", "amount": amount})])
    held = rig.shop.documents("price")["A|eur"]["amount"]
    assert (held, type(held)) == (amount, type(amount))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"{}", b'{"documents": {}}', b'{"documents": [1]}', b'{"documents": [{"id": 5}]}',
        b'{"documents": [{"sku": "A"}]}', b'{"documents": [{"id": "A", "x": NaN}]}',
        b'{"documents": [{"id": "\\ud800"}]}', b"[" * 100_000, b"\xff\xfe",
    ],
)  # fmt: skip
async def test_a_wrong_read_answer_is_for_the_operator(rig: Rig, body: bytes) -> None:
    rig.shop.inject(faults.Status(200, {}, body))
    for read in (rig.store.fetch("stock", ["A"]), rig.store.check()):
        with pytest.raises(StoreError) as caught:
            await read
        assert (caught.value.code, caught.value.retry) == (answers.ANSWER, Retry.OPERATOR)
    await works(rig)


async def test_check_proves_address_and_token(rig: Rig) -> None:
    await rig.store.check()
    assert [(call.method, call.entity) for call in rig.shop.calls] == [("GET", "stock")]
    stranger = rig.another(token="another")
    await stranger.open()
    with pytest.raises(StoreError) as caught:
        await stranger.check()
    assert (caught.value.code, caught.value.retry) == (answers.AUTH, Retry.OPERATOR)
    await stranger.close()


# Life


async def test_closing_before_open_and_after_a_failed_one_is_fine(rig: Rig) -> None:
    await rig.another().close()
    store = rig.another(token="line\nbreak")
    with pytest.raises(StoreError) as caught:
        await store.open()
    assert (caught.value.code, caught.value.retry) == (answers.AUTH, Retry.OPERATOR)
    assert "break" not in str(caught.value)
    await store.close()

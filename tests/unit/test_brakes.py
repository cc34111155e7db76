"""Laws of the brakes: a burst that would empty, hide or reprice a store stops at its share; daily business never does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.brakes import Brake, harm_of
from daemon.mapping import Change
from daemon.model import Patch


def body(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def change(id_: str, before: bytes | None, after: bytes | None) -> Change:
    return Change(Patch(id_, 1, 1, {}), before, after)


def zeroed(id_: object) -> Change:
    return change(str(id_), body(available=5), body(available=0))


def brake(share: float = 0.1, min_keys: int = 2, window_s: float = 60.0, documents: int = 100) -> Brake:
    return Brake("stock", share=share, min_keys=min_keys, window_s=window_s, documents=documents)


# -- harm


@pytest.mark.parametrize(
    ("kind", "before", "after", "harm"),
    [
        ("stock", body(available=5), body(available=0), "zeroed"),
        ("stock", body(available=5), body(available=-1), "zeroed"),
        ("stock", body(available="9007199254740993"), body(available=0), "zeroed"),
        ("stock", body(available=5), body(available=1), ""),
        ("stock", body(available=0), body(available=-2), ""),
        ("stock", body(available=0), body(available=5), ""),
        ("stock", body(available=5), None, "removed"),
        ("stock", body(available=0), None, "removed"),
        ("stock", None, body(available=0), ""),
        ("stock", None, None, ""),
        ("price", body(amount=10), body(amount=16), "repriced"),
        ("price", body(amount=10), body(amount=15), ""),
        ("price", body(amount="10.00"), body(amount="15.01"), "repriced"),
        ("price", body(amount=10), body(amount=5), ""),
        ("price", body(amount=10), body(amount="4.99"), "repriced"),
        ("price", body(amount=0), body(amount="0.01"), "repriced"),
        ("price", body(amount=10), body(amount=0), "repriced"),
        ("price", body(amount=10), body(amount=10, tax_included=True), ""),
        ("price", None, body(amount=0), ""),
        ("price", body(amount=1), None, "removed"),
        ("credit", body(available="10.00", hold=False), body(available=0, hold=True), "zeroed"),
        ("credit", body(available="10.00"), body(available="10.00", hold=True), "zeroed"),
        ("credit", body(available="10.00"), body(available="-0.50"), "zeroed"),
        ("credit", body(available=0, hold=True), body(available=5, hold=False), ""),
        ("order_status", body(status="a"), body(status="b"), ""),
        ("custom", body(available=5), body(available=0), ""),
        ("custom", body(a=1), None, "removed"),
    ],
)
def test_harm_is_what_a_shopper_would_feel(kind: str, before: bytes | None, after: bytes | None, harm: str) -> None:
    assert harm_of(kind, before, after) == harm


@pytest.mark.parametrize("kind", ["stock", "price", "credit"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "x", None, True, []])
def test_a_number_that_cannot_be_read_breaks_nothing(kind: str, word: object) -> None:
    for before, after in ((word, 1), (1, word), (word, word)):
        harm_of(kind, body(available=before, amount=before), body(available=after, amount=after))


# -- the brake


def test_what_goes_beyond_the_share_is_held_with_its_reason() -> None:
    one = brake()
    assert [one.check(0.0, [zeroed(n)]) for n in range(10)] == [""] * 10
    reason = one.check(0.0, [zeroed(10)])
    assert "zeroed" in reason
    assert "10 of 100" in reason
    assert "60 s" in reason


def test_a_first_load_is_no_burst() -> None:
    one = brake(documents=0)
    assert all(one.check(0.0, [change(str(n), None, body(available=0))]) == "" for n in range(10_000))


def test_ordinary_changes_pass_while_the_brake_holds() -> None:
    one = brake(documents=0)
    assert [bool(one.check(0.0, [zeroed(n)])) for n in range(3)] == [False, False, True]
    assert one.check(0.0, [change("x", body(available=5), body(available=4))]) == ""
    assert one.check(0.0, []) == ""


def test_a_small_store_may_lose_its_least_number() -> None:
    assert brake(share=0.3, min_keys=50, documents=20).limit == 50
    assert brake(share=0.3, min_keys=50, documents=1000).limit == 300
    assert brake(share=0.29, min_keys=1, documents=100).limit == 29


def test_a_key_is_held_as_a_whole() -> None:
    one = brake(documents=0)
    assert one.check(0.0, [zeroed("a"), zeroed("b"), zeroed("c")])
    assert one.harmed == 0
    assert one.check(0.0, [zeroed("a"), zeroed("b")]) == ""


def test_a_retry_is_no_second_harm() -> None:
    one = brake(documents=0)
    assert not any(one.check(float(n), [zeroed("a"), zeroed("b")]) for n in range(500))
    assert one.check(499.0, [zeroed("c")])


def test_a_shrinking_store_does_not_hold_what_was_let_through() -> None:
    one = brake()
    ids = range(10)
    assert not any(one.check(0.0, [zeroed(n)]) for n in ids)
    one.documents = 50
    assert not any(one.check(1.0, [zeroed(n)]) for n in ids)
    assert one.check(1.0, [zeroed("new")])


def test_the_window_moves_on() -> None:
    one = brake(documents=0)
    assert [bool(one.check(0.0, [zeroed(n)])) for n in range(3)] == [False, False, True]
    assert one.check(60.0, [zeroed(3)])
    assert one.check(64.0, [zeroed(3)]) == ""


steps = st.lists(
    st.tuples(st.floats(min_value=0, max_value=30), st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True)),
    max_size=80,
)


@given(steps, st.integers(min_value=1, max_value=8))
def test_within_any_window_no_more_than_the_limit_is_harmed(
    moments: list[tuple[float, list[int]]], min_keys: int
) -> None:
    one = brake(min_keys=min_keys, documents=0)
    now = 0.0
    passed: list[tuple[float, int]] = []
    for later, ids in moments:
        now += later
        if one.check(now, [zeroed(n) for n in ids]) == "":
            passed += [(now, n) for n in ids]
        assert len({n for at, n in passed if at >= now - 60.0}) <= one.limit
        assert one.harmed <= one.limit


def test_memory_follows_the_harm_not_the_store() -> None:
    one = brake(share=0.001, min_keys=50, documents=1_000_000)
    for n in range(100_000):
        one.check(n * 0.01, [zeroed(n)])
    assert one.harmed <= 1000
    assert len(one._buckets) <= 22

"""Laws of the mapping: a value arrives exactly as the ERP has it or not at all, and a bad row harms its own key only."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.config.entity import Entity
from daemon.errors import ConfigError, MappingError, Retry
from daemon.mapping import Change, Mapper, Transform, exact
from daemon.model import Acked, Missing

LARGEST = 2**53 - 1
IDENTITY = {
    "stock": ("sku", "location"),
    "price": ("sku", "price_list", "currency", "min_quantity"),
    "credit": ("customer",),
    "order_status": ("order",),
    "content": ("sku", "locale"),
    "custom": ("key",),
}
DEFAULTS: dict[str, dict[str, str | int]] = {
    "stock": {"location": "default"},
    "price": {"price_list": "default", "min_quantity": 1},
    "content": {"locale": "default"},
}
ROWS: dict[str, dict[str, Any]] = {
    "stock": {"key": 1, "sku": "A", "available": 5},
    "price": {"key": 1, "sku": "A", "currency": "EUR", "amount": Decimal("9.90")},
    "credit": {"key": 1, "customer": "C1", "currency": "EUR", "available": Decimal("10.00"), "hold": False},
    "order_status": {"key": 1, "order": "SO1", "status": "sent"},
    "content": {"key": 1, "sku": "A", "title": "Ball"},
    "custom": {"key": 1, "name": "x"},
}


def mapper(
    kind: str = "stock",
    *,
    identity: tuple[str, ...] | None = None,
    missing: Missing = Missing.ZERO,
    transform: Transform | None = None,
    key_type: type[int] | type[str] | None = None,
) -> Mapper:
    named = identity or IDENTITY[kind]
    return Mapper(kind, named, DEFAULTS.get(kind, {}), missing, f"entity.{kind}", transform, key_type)


def row(kind: str = "stock", **more: Any) -> dict[str, Any]:
    return {**ROWS[kind], **more}


def made(kind: str = "stock", **more: Any) -> dict[str, Any]:
    """The fields of the only document of one row."""
    good, bad = mapper(kind).documents([row(kind, **more)])
    assert not bad
    ((document,),) = (documents.values() for documents in good.values())
    return document.fields


def refusal(kind: str = "stock", **more: Any) -> MappingError:
    """Why one row is refused, while its neighbour is not."""
    fine = row(kind, key=2)
    good, bad = mapper(kind).documents([fine, row(kind, **more), fine])
    assert list(good) == [2]
    (error,) = bad.values()
    assert error.retry is Retry.NEVER
    assert error.where == f"entity.{kind}.sql"
    assert error.hint
    return error


# -- identity


@pytest.mark.parametrize("kind", sorted(IDENTITY))
def test_the_configuration_and_these_tests_mean_the_same_identity(kind: str) -> None:
    entity = Entity.model_validate(
        {
            "name": kind,
            "sql": "select 1 as key where 1 = any($1)",
            "all_keys": "select 1 where 1 > $1 limit $2",
            "watch": [{"table": "t", "key": "id"}],
        }
    )
    assert entity.identity_fields() == IDENTITY[kind]
    assert entity.identity_defaults() == DEFAULTS.get(kind, {})


@pytest.mark.parametrize(
    ("kind", "more", "id_"),
    [
        ("stock", {}, "A|default"),
        ("stock", {"location": None}, "A|default"),
        ("stock", {"location": "W1"}, "A|W1"),
        ("price", {}, "A|default|EUR|1"),
        ("price", {"price_list": "retail", "min_quantity": Decimal("10.00")}, "A|retail|EUR|10"),
        ("price", {"min_quantity": Decimal("2.5")}, "A|default|EUR|2.5"),
        ("credit", {}, "C1"),
        ("order_status", {"order": 77}, "77"),
        ("content", {"locale": "cs"}, "A|cs"),
        ("custom", {"key": 9}, "9"),
        ("stock", {"sku": "A|B"}, "A|B|default"),
    ],
)
def test_an_id_is_its_identity_joined_by_bars(kind: str, more: dict[str, Any], id_: str) -> None:
    good, bad = mapper(kind).documents([row(kind, **more)])
    assert not bad
    assert [list(documents) for documents in good.values()] == [[id_]]


part = st.text(alphabet="AB|", min_size=0, max_size=3)


@given(st.tuples(part, part), st.tuples(part, part))
@example(("A|B", "A"), ("A", "B|A"))
def test_two_identities_never_share_an_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    ids = []
    for sku, location in (one, other):
        good, _ = mapper().documents([row(sku=sku, location=location)])
        ids += [id_ for documents in good.values() for id_ in documents]
    assert len(ids) < 2 or (one == other) == (ids[0] == ids[1])


@pytest.mark.parametrize("value", [None, "", True, ["A"], {"a": 1}])
def test_what_is_no_name_is_no_identity(value: object) -> None:
    assert "`sku`" in refusal(sku=value).message


def test_a_default_is_part_of_the_document() -> None:
    assert made("price")["min_quantity"] == 1
    assert made()["location"] == "default"


# -- keys


def test_rows_belong_to_the_key_they_name() -> None:
    good, bad = mapper().documents([row(location="W1"), row(key=2, sku="B"), row(location="W2")])
    assert not bad
    assert {key: list(documents) for key, documents in good.items()} == {1: ["A|W1", "A|W2"], 2: ["B|default"]}


def test_the_key_column_is_no_field_unless_it_is_identity() -> None:
    assert "key" not in made()
    assert made("custom") == {"key": 1, "name": "x"}


@pytest.mark.parametrize(
    ("raw", "key"),
    [(7, 7), (Decimal(7), 7), (Decimal("7.00"), 7), ("a", "a"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))],
)
def test_a_key_is_an_int_or_a_str(raw: object, key: object) -> None:
    good, _ = mapper().documents([row(key=raw)])
    (found,) = good
    assert found == key
    assert type(found) is type(key)


@pytest.mark.parametrize("raw", [None, 1.0, True, Decimal("1.5"), Decimal("NaN"), b"a", ["a"]])
def test_rows_without_a_usable_key_never_pass_for_missing_ones(raw: object) -> None:
    with pytest.raises(ConfigError, match="`key`") as caught:
        mapper().documents([row(key=raw)])
    assert caught.value.where == "entity.stock.sql"


@pytest.mark.parametrize(("key_type", "raw"), [(int, "7"), (str, 7), (str, Decimal(7))])
def test_a_key_of_another_type_than_the_marks_is_refused(key_type: type[int] | type[str], raw: object) -> None:
    with pytest.raises(ConfigError, match="match no key"):
        mapper(key_type=key_type).documents([row(key=raw)])


def test_no_rows_are_no_documents() -> None:
    assert mapper().documents([]) == ({}, {})


# -- values


@pytest.mark.parametrize("kind", sorted(ROWS))
@pytest.mark.parametrize("number", [1.5, 1.0, 0.1, float("nan"), float("inf")])
def test_a_float_never_reaches_a_document(kind: str, number: float) -> None:
    for value in (number, [number], {"a": {"b": [number]}}):
        assert "`some`" in refusal(kind, some=value).message


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("stock", "available"),
        ("price", "amount"),
        ("price", "compare_at"),
        ("price", "min_quantity"),
        ("credit", "limit"),
        ("credit", "balance"),
        ("credit", "available"),
    ],
)
@pytest.mark.parametrize("value", [1.5, True, "$1,000.00", "12", "1,5", Decimal("NaN"), Decimal("-Infinity")])
def test_an_amount_is_a_number_and_an_exact_one(kind: str, name: str, value: object) -> None:
    """Type `money` arrives as a text in the words of the server's locale."""
    assert f"`{name}`" in refusal(kind, **{name: value}).message


def test_a_float_is_refused_with_its_remedy() -> None:
    error = refusal("price", amount=9.9)
    assert "`amount`" in error.message
    assert "numeric" in error.hint


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_quarantines_its_key(number: str) -> None:
    refusal("price", amount=Decimal(number))
    refusal("custom", some=[Decimal(number)])


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("9.90", "9.90"),
        ("10.00", 10),
        ("-0", 0),
        ("0E+500", 0),
        ("0E-8", 0),
        ("1E+3", 1000),
        ("1E-7", "0.0000001"),
        ("-0.10", "-0.10"),
        (str(LARGEST), LARGEST),
        (str(LARGEST + 1), str(LARGEST + 1)),
        (f"{-LARGEST}.000", -LARGEST),
        (f"{-LARGEST - 1}.000", str(-LARGEST - 1)),
        ("1E+20", "100000000000000000000"),
    ],
)
def test_a_decimal_keeps_its_digits(value: str, written: object) -> None:
    found = exact(Decimal(value))
    assert found == written
    assert type(found) is type(written)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_exactly_what_it_was(value: Decimal) -> None:
    if value.adjusted() > 5000 or value.adjusted() < -5000:
        return
    found = exact(value)
    assert Decimal(found) == value
    if isinstance(found, str):
        assert re.fullmatch(r"-?\d+(\.\d+)?", found)
        assert value != value.to_integral_value() or abs(value) > LARGEST
    else:
        assert abs(found) <= LARGEST


def test_the_longest_number_that_postgres_has_is_written_out() -> None:
    assert made("price", amount=Decimal("1E+131071"))["amount"] == "1" + "0" * 131071
    assert made(available=Decimal("1E+131071"))["available"] == "1" + "0" * 131071


@given(st.integers())
def test_a_whole_number_is_never_rounded_by_a_browser(value: int) -> None:
    found = made("custom", some=value, inner={"a": [value]})
    assert found["some"] == (value if abs(value) <= LARGEST else str(value))
    assert found["inner"] == {"a": [found["some"]]}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC), "2024-02-29T12:30:00Z"),
        (dt.datetime(2024, 1, 1, 1, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2023-12-31T23:00:00.000005Z"),
        (dt.datetime(2024, 1, 1, 1), "2024-01-01T01:00:00"),  # noqa: DTZ001
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.time(12, 30), "12:30:00"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (True, True),
        (None, None),
        ("Zoë 日本 \U0001f600", "Zoë 日本 \U0001f600"),
        ("12.50", "12.50"),
        (("a", 1), ["a", 1]),
        ({"b": [Decimal("1.50"), Decimal(2)], "a": {"x": None}}, {"b": ["1.50", 2], "a": {"x": None}}),
    ],
)
def test_a_value_becomes_json(value: object, written: object) -> None:
    found = made("custom", some=value)["some"]
    assert found == written
    assert type(found) is type(written)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        bytearray(b"x"),
        memoryview(b"x"),
        object(),
        dt.timedelta(1),
        range(3),
        {1, 2},
        "a\0b",
        "\ud800",
        ["a\0b"],
        {"a\0b": 1},
        {"\udfff": 1},
        {1: "a"},
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))),
    ],
    ids=repr,
)
def test_what_json_cannot_show_quarantines_its_key(value: object) -> None:
    assert "`some`" in refusal("custom", some=value).message


@pytest.mark.parametrize("depth", [300, 5000])
def test_a_bottomless_value_quarantines_its_key(depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    refusal("custom", some=nested)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=True, allow_infinity=True).filter(lambda d: not d.is_finite() or abs(d.adjusted()) < 5000)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=[]), max_size=5)
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def holds_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds_float, value.values()))
    return isinstance(value, float) or (isinstance(value, list) and any(map(holds_float, value)))


@given(st.sampled_from(sorted(ROWS)), values)
def test_a_key_is_shown_exactly_or_set_aside_and_its_neighbours_never_notice(kind: str, value: Any) -> None:
    good, bad = mapper(kind).documents([row(kind, some=value), row(kind, key=2)])
    assert 2 in good
    assert (1 in good) != (1 in bad)
    if 1 in good:
        assert not holds_float(value)
        (document,) = good[1].values()
        assert orjson.loads(document.body) == document.fields
        assert not holds_float(document.fields)


# -- kinds


@pytest.mark.parametrize(
    ("available", "shown"),
    [("4.999", 4), ("0.5", 0), ("-0.5", -1), ("-2.01", -3), ("3.000", 3), ("1e15", 10**15), ("0.0", 0)],
)
def test_a_fraction_of_a_piece_is_not_available(available: str, shown: int) -> None:
    found = made(available=Decimal(available))["available"]
    assert found == shown
    assert type(found) is int


@given(st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, places=4))
def test_more_than_there_is_is_never_shown(available: Decimal) -> None:
    shown = made(available=available)["available"]
    assert shown <= available < shown + 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("stock", "available"),
        ("price", "amount"),
        ("price", "currency"),
        ("credit", "customer"),
        ("order_status", "order"),
        ("order_status", "status"),
        ("content", "sku"),
    ],
)
def test_a_required_value_is_never_guessed(kind: str, name: str) -> None:
    assert f"`{name}`" in refusal(kind, **{name: None}).message


def test_a_list_that_is_not_there_is_empty() -> None:
    assert made("order_status")["fulfilments"] == []
    assert made("content", images=None, categories=["a"]).items() >= {"images": [], "categories": ["a"]}.items()


# -- rows that contradict each other


def test_two_rows_that_differ_for_one_document_are_refused() -> None:
    good, bad = mapper().documents([row(), row(available=6), row(available=5), row(key=2, sku="B")])
    assert list(good) == [2]
    assert "two rows say different things for A|default" in bad[1].message


def test_a_row_that_is_there_twice_is_one_document() -> None:
    good, bad = mapper().documents([row(), row(available=Decimal("5.0"))])
    assert not bad
    assert list(good[1]) == ["A|default"]


@given(st.permutations([row(), row(location="W"), row(available=None), row(key=2), row(key=2, available=Decimal(5))]))
def test_the_order_of_rows_decides_nothing(rows: list[dict[str, Any]]) -> None:
    good, bad = mapper().documents(rows)
    assert list(good) == [2]
    assert list(bad) == [1]


@given(st.permutations(list(row("price", note="x").items())))
def test_the_order_of_columns_decides_nothing(columns: list[tuple[str, Any]]) -> None:
    good, _ = mapper("price").documents([dict(columns)])
    assert good[1]["A|default|EUR|1"].body == (
        b'{"amount":"9.90","currency":"EUR","min_quantity":1,"note":"x","price_list":"default","sku":"A"}'
    )


# -- columns


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_columns_that_make_a_document_are_enough(kind: str) -> None:
    mapper(kind).check_columns(ROWS[kind])


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        ("stock", ["key", "sku"], "`available`"),
        ("price", ["key", "sku", "amount"], "`currency`"),
        ("custom", ["name"], "`key`"),
        ("stock", ["key", "sku", "available", "available"], "`available` more than once"),
        ("stock", ["key", "sku", "available", "?column?"], "no name"),
        ("stock", ["key", "sku", "available", "version", "id"], "`id`, `version`"),
    ],
)
def test_a_query_that_cannot_give_documents_is_a_mistake_with_a_remedy(kind: str, names: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        mapper(kind).check_columns(names)
    assert caught.value.where == f"entity.{kind}.sql"
    assert caught.value.hint


def test_a_document_may_be_named_by_its_own_id() -> None:
    mapper("custom", identity=("id",)).check_columns(["key", "id"])


def test_a_function_needs_the_key_alone() -> None:
    mapper(transform=list).check_columns(["key", "anything"])
    with pytest.raises(ConfigError):
        mapper(transform=list).check_columns(["anything"])


# -- transform


def test_a_function_makes_the_rows() -> None:
    def halves(rows: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
        for given_row in rows:
            for location in ("W1", "W2"):
                yield {**given_row, "location": location, "available": Decimal(given_row["available"]) / 2}

    good, bad = mapper(transform=halves).documents([row()])
    assert not bad
    assert {id_: document.fields["available"] for id_, document in good[1].items()} == {"A|W1": 2, "A|W2": 2}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (MappingError("no price list"), "no price list"),
        ([{"sku": "A"}], "KeyError"),
        ([None], "TypeError"),
        (None, "TypeError"),
        ([row(key=3)], "key 3"),
        ([row(version=1)], "`version`"),
        ([row(key=None)], "`key` is NULL"),
    ],
)
def test_a_function_that_fails_sets_only_its_key_aside(result: Any, words: str) -> None:
    def fails_for_one(rows: Iterable[Mapping[str, Any]]) -> Any:
        if any(given_row["key"] == 1 for given_row in rows):
            if isinstance(result, Exception):
                raise result
            return result
        return rows

    good, bad = mapper(transform=fails_for_one).documents([row(key=2), row(), row(key=4)])
    assert list(good) == [2, 4]
    assert words in bad[1].message
    assert bad[1].where == "entity.stock.transform"


# -- differences

SINCE, NOW = 5_000, 9_000


def acked(fields: Mapping[str, Any] | None, version: int = 3, id_: str = "A|default") -> dict[str, Acked]:
    body = None if fields is None else orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return {id_: Acked(id_, version, body, 1)}


def differences(
    known: Mapping[str, Acked], kind: str = "stock", missing: Missing = Missing.ZERO, **more: Any
) -> Change:
    one = mapper(kind, missing=missing)
    good, _ = one.documents([row(kind, **more)])
    changes, unchanged = one.diff(good[1], known, SINCE, NOW)
    assert unchanged == 0
    (change,) = changes
    return change


def test_a_first_send_carries_everything() -> None:
    change = differences({})
    assert change.before is None
    assert change.patch.version == NOW
    assert change.patch.changed_at == SINCE
    assert change.patch.fields == {"sku": "A", "location": "default", "available": 5}
    assert change.patch.identity == {"sku": "A", "location": "default"}
    assert change.patch.changed == {"sku", "location", "available"}


def test_an_unchanged_value_sends_nothing() -> None:
    one = mapper()
    good, _ = one.documents([row()])
    assert one.diff(good[1], acked(made()), SINCE, NOW) == ([], 1)


def test_a_change_names_what_changed() -> None:
    change = differences(acked({**made(), "available": 7}))
    assert change.patch.changed == {"available"}
    assert change.patch.fields == made()
    assert orjson.loads(change.before or b"")["available"] == 7


@pytest.mark.parametrize(
    ("old", "new"), [({}, {"a": None}), ({"a": 1}, {"a": True}), ({"a": [0]}, {"a": [False]}), ({"a": 1}, {})]
)
def test_whatever_differs_is_named(old: dict[str, Any], new: dict[str, Any]) -> None:
    known = acked({"key": 1, "name": "x", **old}, id_="1")
    assert differences(known, "custom", **new).patch.changed == {"a"}


@given(st.integers(min_value=0, max_value=2 * NOW))
def test_a_version_always_grows(version: int) -> None:
    for fields in ({**made(), "available": 7}, None):
        assert differences(acked(fields, version)).patch.version == max(version + 1, NOW)


def test_a_removed_document_comes_back_whole() -> None:
    change = differences(acked(None))
    assert change.before is None
    assert change.patch.changed == {"sku", "location", "available"}


def retired(
    kind: str, missing: Missing, fields: Mapping[str, Any] | None, id_: str = "A|default"
) -> tuple[list[Change], int]:
    return mapper(kind, missing=missing).diff({}, acked(fields, id_=id_), SINCE, NOW)


def test_a_missing_row_is_unknown_until_the_mapping_says() -> None:
    assert retired("stock", Missing.KEEP, made()) == ([], 1)


def test_missing_stock_is_zero_once() -> None:
    ((change,), _) = retired("stock", Missing.ZERO, made())
    assert change.patch.fields == {**made(), "available": 0}
    assert change.patch.changed == {"available"}
    assert change.patch.version == NOW
    assert change.after is not None
    assert retired("stock", Missing.ZERO, orjson.loads(change.after)) == ([], 1)


def test_missing_credit_is_none_and_on_hold() -> None:
    ((change,), _) = retired("credit", Missing.ZERO, made("credit"), "C1")
    assert change.patch.fields == {"customer": "C1", "currency": "EUR", "available": 0, "hold": True}


@pytest.mark.parametrize("kind", ["stock", "price"])
def test_unpublishing_removes_by_identity(kind: str) -> None:
    ((change,), _) = retired(kind, Missing.UNPUBLISH, made(kind))
    assert change.patch.fields is None
    assert change.after is None
    assert change.patch.identity == {name: made(kind)[name] for name in IDENTITY[kind]}
    assert retired(kind, Missing.UNPUBLISH, None) == ([], 0)


def test_a_renamed_document_leaves_its_old_name() -> None:
    one = mapper(missing=Missing.UNPUBLISH)
    good, _ = one.documents([row(sku="B")])
    changes, _ = one.diff(good[1], acked(made()), SINCE, NOW)
    assert [(change.patch.id, change.after is None) for change in changes] == [
        ("B|default", False),
        ("A|default", True),
    ]


stock_rows = st.dictionaries(st.sampled_from("ABC"), st.integers(min_value=0, max_value=3), max_size=3)


@given(st.lists(stock_rows, max_size=6), st.sampled_from(list(Missing)))
def test_patches_bring_the_store_to_the_truth(states: list[dict[str, int]], missing: Missing) -> None:
    one = mapper(missing=missing)
    store: dict[str, Acked] = {}
    for now, state in enumerate(states, 1):
        good, _ = one.documents([row(sku=sku, available=available) for sku, available in state.items()])
        documents = good.get(1, {})
        changes, _ = one.diff(documents, store, now, now)
        for change in changes:
            assert change.patch.version > (store[change.patch.id].version if change.patch.id in store else 0)
            store[change.patch.id] = Acked(change.patch.id, change.patch.version, change.after, now)
        shown = {id_: orjson.loads(last.body)["available"] for id_, last in store.items() if last.body is not None}
        assert shown.items() >= {f"{sku}|default": available for sku, available in state.items()}.items()
        if missing is Missing.UNPUBLISH:
            assert shown.keys() == documents.keys()
        if missing is Missing.ZERO:
            assert all(shown[id_] == 0 for id_ in shown.keys() - documents.keys())
        assert one.diff(documents, store, now, now)[0] == []

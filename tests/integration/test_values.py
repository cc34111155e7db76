"""Values from the ERP to the document, with PostgreSQL as the oracle: exactly what it says, or that key alone set aside.

The server speaks Asia/Tokyo and SQL dates, as somebody's ERP does; our sessions must not care.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from daemon.config.entity import Entity
from daemon.demo.embedded import Cluster
from daemon.erp import Erp
from daemon.errors import MappingError, SourceError
from daemon.mapping import Documents, Mapper
from daemon.model import Claim, Key, Missing, Snapshot
from daemon.truth import read_claimed, read_documents

pytestmark = pytest.mark.newest

SCHEMA = """
create type mood as enum ('so so', 'ä''"');
create domain quantity as numeric(12, 3) check (value >= 0);
create type pair as (a int, b numeric);
create function complains(k bigint) returns text language plpgsql as $$ begin raise 'no price for %', k; end $$;
create table note (id bigint primary key, said text);
alter database values_test set timezone = 'Asia/Tokyo';
alter database values_test set datestyle = 'SQL, DMY';
alter database values_test set intervalstyle = 'iso_8601';
alter database values_test set bytea_output = 'escape';
"""


@pytest.fixture(scope="module")
def dsn(cluster: Cluster) -> Iterator[str]:
    """One database for all: nothing but `note` is written here."""
    cluster.psql("create database values_test")
    cluster.psql(SCHEMA, "values_test")
    yield cluster.dsn("values_test")
    cluster.psql("drop database values_test with (force)")


@pytest.fixture
async def erp(dsn: str) -> AsyncIterator[Erp]:
    erp = Erp(dsn, connections=1, statement_timeout_s=20)
    await erp.open()
    yield erp
    await erp.close()


class Eyes:
    """In place of the dirty set: the snapshots that it was told."""

    def __init__(self) -> None:
        self.seen: list[Snapshot] = []

    def saw(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)


async def read(erp: Erp, sql: str, keys: list[Key]) -> tuple[dict[Key, Documents], dict[Key, MappingError]]:
    """Rows by the entity's query, as a worker reads them: those of fresh changes together with their snapshot."""
    entity = Entity.model_construct(name="thing", sql=sql)
    mapper = Mapper("custom", ("key",), {}, Missing.UNPUBLISH, "entity.thing")
    good, bad = await read_documents(erp, entity, mapper, keys)
    claims = {key: Claim(key, 1, frozenset((1,))) for key in keys}
    hidden, same, also_bad = await read_claimed(erp, Eyes(), entity, mapper, claims)  # type: ignore[arg-type]
    assert (hidden, same) == (set(), good)
    assert {key: str(error) for key, error in also_bad.items()} == {key: str(error) for key, error in bad.items()}
    return good, bad


async def shown(erp: Erp, expression: str) -> Any:
    """What the store gets for an expression: a value after its way through JSON. Raises what sets its key aside.

    Two other keys are read with it and must arrive whatever becomes of it."""
    sql = f"""select k as key, case k when 2 then null else 'well' end as other, v as value
                from unnest($1::bigint[]) k left join lateral (select {expression} as v where k = 2) x on true"""
    good, bad = await read(erp, sql, [1, 2, 3])
    assert {1, 3} <= good.keys(), "another key suffers"
    if 2 in bad:
        raise bad[2]
    return json.loads(orjson.dumps(good[2]["2"].fields), parse_float=pytest.fail)["value"]


async def says(erp: Erp, expression: str) -> str:
    """PostgreSQL's own words."""
    ((text,),) = await erp.fetch("test", f"select ({expression})::text")
    return str(text)


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0.0",
        "7",
        "-7",
        "1.10",
        "0.1 + 0.2",
        "1.500::quantity",
        "9007199254740991",
        "9007199254740992",
        "-9223372036854775808",
        "123456789012345678901234567890.123456789012345678901234567890",
        "1e-16383",
        "repeat('9', 5000)::numeric",
        "1e131000::numeric",
        "99999999999999999.5",
        "0.000000000000000000000000000001",
        "12345678.90::numeric(12, 2)",
        "('{\"a\": 12345678901234567890.10}'::jsonb -> 'a')::numeric",
    ],
)
async def test_a_number_keeps_every_digit(erp: Erp, number: str) -> None:
    value = await shown(erp, number)
    assert isinstance(value, int) == (abs(Decimal(str(value))) < 2**53 and Decimal(str(value)) % 1 == 0)
    assert Decimal(str(value)) == Decimal(await says(erp, number))
    if isinstance(value, str):
        assert value == (await says(erp, f"trim_scale({number})") if "." not in value else await says(erp, number))


@pytest.mark.parametrize(
    "expression",
    [
        "'NaN'::numeric",
        "'Infinity'::numeric",
        "'-Infinity'::numeric",
        "1.5::float8",
        "'NaN'::float8",
        "1.5::real",
        "array[1, 'NaN'::numeric]",
        "'infinity'::timestamptz",
        "'-infinity'::timestamptz",
        "'infinity'::timestamp",
        "'-infinity'::timestamp",
        "'infinity'::date",
        "'-infinity'::date",
        "array['infinity'::date]",
        "'0044-03-15 BC'::date",
        "'0044-03-15 12:00 BC'::timestamptz",
        "'0044-03-15 12:00 BC'::timestamp",
        "'12000-01-01'::date",
        "'294276-12-31'::timestamptz",
        "'24:00'::time",
        "'\\x00ff'::bytea",
        "row(1, 2.50)::pair",
        "array[row(1, 2.50)::pair]",
        "int4range(1, 5)",
        "point(1, 2)",
        "'1 day'::interval",
        "B'101'",
        "'10.0.0.1'::inet",
        """'{"a": 1e999999999}'::json""",
        """'{"a": 1e-999999999}'::json""",
        "(repeat('[', 3000) || repeat(']', 3000))::json",
        "(repeat('[', 400) || repeat(']', 400))::jsonb",
        """'"\\ud800"'::json""",
        """'"\\u0000"'::json""",
        """'{"\\u0000": 1}'::json""",
    ],
)
async def test_what_cannot_be_shown_exactly_sets_its_own_key_aside(erp: Erp, expression: str) -> None:
    with pytest.raises(MappingError, match=r"entity\.thing\.sql"):
        await shown(erp, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "1 / (k - 2)",
        "('[' || k)::jsonb",
        "('2024-02-3' || k)::date",
        "('x' || k)::int",
        "(-1 * k)::quantity",
        "(select x from generate_series(1, k - 1 + (k = 2)::int) x)",
        "complains(k)",
    ],
)
async def test_a_query_that_fails_for_one_keys_rows_fails_for_it_alone(erp: Erp, expression: str) -> None:
    sql = f"""select k as key, case k when 2 then ({expression})::text else 'well' end as other
                from unnest($1::bigint[]) k"""
    good, bad = await read(erp, sql, [1, 2, 3, 4, 5])
    assert good.keys() == {1, 3, 4, 5}
    assert bad.keys() == {2}
    assert bad[2].code == "E-SQL-DATA"


async def test_a_key_that_its_parameter_cannot_hold_is_set_aside_and_is_no_lost_server(erp: Erp) -> None:
    good, bad = await read(erp, "select k as key from unnest($1::int[]) k", [1, 2**40])
    assert good.keys() == {1}
    assert bad.keys() == {2**40}


async def test_a_query_that_fails_for_every_key_is_a_persons_business(erp: Erp) -> None:
    with pytest.raises(SourceError, match="no_such_column"):
        await read(erp, "select no_such_column as key from unnest($1::bigint[]) k", [1, 2])


@pytest.mark.parametrize(
    "moment",
    [
        "'2024-03-31 01:59:59.999999+09'",  # the server's own zone
        "'2024-03-31 02:30 Europe/Prague'",  # an hour that clocks skip there
        "'2024-10-27 02:30+02'",
        "'2024-10-27 02:30+01'",  # the hour that comes twice
        "'1883-11-18 12:03:57 America/New_York'",
        "'1950-05-07 00:30 Asia/Tokyo'",
        "'0001-01-01 00:00+00'",
        "'9999-12-31 23:59:59.999999+00'",
        "'1999-12-31 23:59:59.999999+00'",
        "'1970-01-01 00:00+00'",
    ],
)
async def test_a_moment_is_the_same_moment_in_utc(erp: Erp, moment: str) -> None:
    value = await shown(erp, f"{moment}::timestamptz")
    ((expected,),) = await erp.fetch(
        "test", f"select to_char({moment}::timestamptz at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    )
    assert value.endswith("Z")
    assert datetime.fromisoformat(value) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "local", ["2024-03-31 02:30", "0001-01-01 00:00", "9999-12-31 23:59:59.999999", "1969-07-20 20:17:40.5"]
)
async def test_a_time_without_a_zone_is_passed_on_as_it_stands(erp: Erp, local: str) -> None:
    assert datetime.fromisoformat(await shown(erp, f"'{local}'::timestamp")) == datetime.fromisoformat(local)


@pytest.mark.parametrize("day", ["2024-02-29", "0001-01-01", "9999-12-31", "1582-10-10"])
async def test_a_day_is_that_day(erp: Erp, day: str) -> None:
    assert await shown(erp, f"'{day}'::date") == day
    assert await shown(erp, f"array['{day}'::date, null]") == [day, None]


@pytest.mark.parametrize("window", [("timestamptz", "now()"), ("date", "current_date")])
async def test_a_windows_ends_go_to_the_server_as_they_came(erp: Erp, window: tuple[str, str]) -> None:
    """What a poll rule got from the ERP's clock is the next window's beginning."""
    kind, expression = window
    ((moment,),) = await erp.fetch("test", f"select {expression}")
    assert await erp.fetch(
        "test", f"select 1 where $1::{kind} = {expression.replace('now()', '$1::timestamptz')}", moment
    )
    before = await erp.fetch("test", f"select $1::{kind}::text = ($1::{kind})::text, $1::{kind}", moment)
    assert before[0][1] == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  ",
        "tab\tline\nreturn\r",
        "quote ' double \" back \\ slash / percent % dollar $1",
        "naïve Zoë 日本語 \U0001f600 \u200b\u200d \ufeff \u2028",
        "e\u0301 is not \u00e9",
        "\x01\x1f\x7f",
        "</script><!-- -->",
        "null",
        "NaN",
        "x" * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
async def test_a_text_arrives_character_by_character(dsn: str, erp: Erp, text: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("truncate note")
        await connection.execute("insert into note values (1, $1)", text)
    finally:
        await connection.close()
    good, bad = await read(erp, "select id as key, said from note where id = any($1)", [1])
    assert bad == {}
    assert good[1]["1"].fields["said"] == text


async def test_an_empty_text_is_not_null(erp: Erp) -> None:
    assert await shown(erp, "''::text") == ""
    assert await shown(erp, "null::text") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '{"price": 1.10, "n": 1e2, "big": 12345678901234567890}',
            {"price": "1.10", "n": 100, "big": "12345678901234567890"},
        ),
        ('{"a": {"b": [1, 2.50, null, true, "x"]}}', {"a": {"b": [1, "2.50", None, True, "x"]}}),
        ("[0.1, -0.0, 9007199254740993]", ["0.1", 0, "9007199254740993"]),
        ('"text"', "text"),
        ("null", None),
        ('{"u": "\\u00e9\\ud83d\\ude00", "": 1}', {"u": "é\U0001f600", "": 1}),
    ],
)
@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_numbers_in_json_stay_exact(erp: Erp, kind: str, content: str, expected: Any) -> None:
    assert await shown(erp, f"'{content}'::{kind}") == expected


async def test_a_long_number_in_json_stays_exact(erp: Erp) -> None:
    assert await shown(erp, "('[' || repeat('9', 5000) || ']')::json") == ["9" * 5000]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'so so'::mood", "so so"),
        ("'ä''\"'::mood", "ä'\""),
        ("array['so so', null]::mood[]", ["so so", None]),
        ("array[1.10, 2]", ["1.10", 2]),
        ("array[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("'{}'::text[]", []),
        ("array[1.250, null]::quantity[]", ["1.250", None]),
        ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("true", True),
        ("'12:00:00.5'::time", "12:00:00.500000"),
        ("'ab'::char(4)", "ab  "),
        ("'x'::name", "x"),
        ("to_jsonb(row(1, 2.50)::pair)", {"a": 1, "b": "2.50"}),
        ("encode('\\x00ff'::bytea, 'hex')", "00ff"),
    ],
)
async def test_other_types_arrive_as_the_text_or_structure_that_they_are(
    erp: Erp, expression: str, expected: Any
) -> None:
    value = await shown(erp, expression)
    assert value == expected
    assert type(value) is type(expected)

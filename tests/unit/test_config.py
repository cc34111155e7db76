"""Laws of the configuration: every mistake is found, placed and explained; no secret is ever shown."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.config import (
    Config,
    Dsn,
    InvalidConfigError,
    Kind,
    Mode,
    Problem,
    Secret,
    Window,
    check,
    dump_redacted,
    find_config,
    json_schema,
    load,
    load_text,
    parse_duration,
)
from daemon.config.lines import line_numbers, locate
from daemon.config.loading import merge
from daemon.config.values import parse_window, sql_problem
from daemon.errors import EXIT_CONFIG, ConfigError
from daemon.model import Lane, Missing, QueueName

ROOT = Path(__file__).resolve().parents[2]
ENV = {"ERPSYNCD_ERP_DSN": "postgresql://reader:hunter2@db/erp", "ERPSYNCD_STORE_TOKEN": "tok-hunter2"}

ERP = '[erp]\ndsn = "postgresql://reader@db/erp"\n'
STOCK = """[entity.stock]
sql = "select id as key, sku, available from s where id = any($1)"
all_keys = "select id from s where id > $1 order by id limit $2"
"""
WATCH = '[[entity.stock.watch]]\ntable = "stock_level"\nkey = "item_id"\n'
STORE = '[store.main]\nadapter = "http"\nurl = "https://shop.example/api/"\nentities = ["stock"]\n'
GOOD = ERP + STOCK + WATCH + STORE


def problems(text: str, **env: str) -> dict[str, str]:
    """Path -> message."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text, env=env)
    return {problem.path: problem.message for problem in caught.value.problems}


def good(text: str, **env: str) -> Config:
    return load_text(text, env=env)


# Problems ------------------------------------------------------------------------------------------------------------


def test_unknown_key_is_refused_with_a_suggestion() -> None:
    found = problems(GOOD.replace("table =", "tabel ="))
    assert found["entity.stock.watch.0.tabel"] == 'unknown key "tabel"; did you mean "table"?'
    assert "is missing" in found["entity.stock.watch.0.table"]


def test_unknown_section_is_refused_with_a_suggestion() -> None:
    assert problems(GOOD + "[stores.x]\n")["stores"] == 'unknown key "stores"; did you mean "store"?'


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = GOOD.replace("[entity.stock]", '[entity.stock]\nlane = "fst"\ntarget = "soon"', 1).replace('"http"', '"htp"')
    path.write_text(text + '[batch.x]\nschedule = "61 * * * *"\n')
    found = {(problem.path, problem.line) for problem in check(path, env={})}
    assert found == {
        ("entity.stock.lane", 4),
        ("entity.stock.target", 5),
        ("store.main.adapter", 12),
        ("batch.x.entity", 15),
        ("batch.x.schedule", 16),
    }


def test_a_problem_reads_file_line_path_and_message() -> None:
    assert str(Problem("entity.stock.lane", 17, "is wrong")) == "config.toml:17: entity.stock.lane: is wrong"
    assert str(Problem("", 2, "is wrong", column=5)) == "config.toml:2:5: is wrong"
    assert json.loads(json.dumps(Problem("a", None, "b").as_dict()))["path"] == "a"


def test_the_error_lists_every_problem_on_its_own_line_and_exits_78() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("[log]\nlevel = 'loud'\n", env={})
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert lines[-1] == "4 problems in the configuration [E-CONFIG]"
    assert caught.value.exit_code == EXIT_CONFIG


def test_malformed_toml_names_line_column_and_reason() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load_text("[erp]\ndsn = = 1\n", env={})
    [problem] = caught.value.problems
    assert (problem.line, problem.column) == (2, 7)
    assert problem.message == "is not valid TOML: invalid value"
    with pytest.raises(InvalidConfigError, match=r"config.toml:2:8: .* a text stands in quotes"):
        load_text("[erp]\nmode = stream\n", env={})


def test_malformed_toml_at_the_end_names_the_last_line() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load_text('[erp]\ndsn = """x\n', env={})
    assert caught.value.problems[0].line is not None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[erp]\ndsn = '\xe4'\n"])
def test_a_file_that_is_not_utf8_is_a_problem_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    assert "UTF-8" in check(path)[0].message


@pytest.mark.parametrize(
    "text",
    [
        "erp = 1\n",
        "entity = [1]\n",
        "[entity]\nstock = 1\n",
        "[[store]]\n",
        "batch = 5\n",
        "[entity.stock]\nwatch = 3\n",
    ],
)
def test_a_section_of_a_wrong_shape_is_a_problem_and_no_traceback(text: str) -> None:
    assert any("must be" in message for message in problems(text).values())


_WORDS = sorted(
    {key for table in [json_schema(), *json_schema()["$defs"].values()] for key in table.get("properties", ())}
    | {"stock", "env", "default", "name"}
)
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("select $1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(_WORDS), _JUNK, max_size=6))
def test_whatever_the_shape_the_only_error_is_a_validation_error(data: Any) -> None:
    try:
        Config.model_validate(data)
    except ValidationError as error:
        assert error.error_count() > 0  # noqa: PT017 - any other exception is the failure


def test_a_missing_file_says_which_paths_were_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("daemon.config.loading.SEARCHED", (Path("config.toml"), tmp_path / "etc" / "config.toml"))
    with pytest.raises(ConfigError, match=r"config\.toml and .*etc/config\.toml: no such file"):
        find_config(None)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        find_config(Path("absent.toml"))
    assert "no such file" in check(tmp_path / "absent.toml")[0].message


def test_the_working_folder_comes_before_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(GOOD)
    assert find_config() == Path("config.toml")
    assert load(find_config(), env={}).erp.dsn.dbname == "erp"


# Rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watch", "path"),
    [
        ('table = "t"', "key"),
        ('table = "t"\nkey = "a"\nkeys = "select $1"', "key"),
        ('table = "t"\ncolumn = "a"', "keys"),
        ('table = "t"\nkeys = "select $1"', "column"),
        ('table = "t"\ncolumn = "a"\nkeys = "select 1"', "keys"),
        ('table = "a.b.c"\nkey = "a"', "table"),
        ('table = ""\nkey = "a"', "table"),
        ('table = "t"\nkey = 5', "key"),
    ],
)
def test_a_watch_leads_to_keys_in_exactly_one_way(watch: str, path: str) -> None:
    found = problems(ERP + STOCK + STORE + "[[entity.stock.watch]]\n" + watch)
    assert list(found) == [f"entity.stock.watch.0.{path}"]


def test_a_bare_table_is_in_schema_public() -> None:
    assert good(GOOD).watched_tables() == ["public.stock_level"]
    assert good(GOOD.replace('"stock_level"', '"wms.Level"')).watched_tables() == ["wms.Level"]


@pytest.mark.parametrize(
    ("sql", "params", "word"),
    [
        ("select 1", [1], "must use $1"),
        ("select '$1'", [1], "must use $1"),
        ("select 1 -- $1", [1], "must use $1"),
        ("select 1 /* $1 */", [1], "must use $1"),
        ("select $10", [1], "must use $1"),
        ("select $1", [1, 2], "must use $2"),
        ("select $1, $2, $3", [1, 2], "uses $3"),
        ("delete from x where id = any($1)", [1], "one query"),
        ("select $1; drop table x", [1], '";"'),
        (" ; ", [1], "empty"),
    ],
)
def test_a_query_that_cannot_work_is_refused(sql: str, params: list[int], word: str) -> None:
    assert word in (sql_problem(sql, params) or "")


@pytest.mark.parametrize(
    "sql", ["with x as (select 1) select $1", "(select $1)", "-- why\nSELECT ';', $1 ;", "values ($1)"]
)
def test_a_query_that_can_work_is_taken(sql: str) -> None:
    assert sql_problem(sql, [1]) is None


def test_an_entity_without_a_source_of_changes_is_refused() -> None:
    assert "no change would be seen" in problems(ERP + STOCK + STORE)["entity.stock.watch"]
    assert 'mode "poll"' in problems(GOOD.replace("[erp]", '[erp]\nmode = "poll"'))["entity.stock.poll"]


def test_poll_windows_overlap_by_a_minute_in_poll_mode_only() -> None:
    poll = '[[entity.stock.poll]]\nevery = "10s"\nkeys = "select id from s where at > $1 and at <= $2"\n'
    stream, polled = good(GOOD + poll), good(GOOD.replace("[erp]", '[erp]\nmode = "poll"') + poll)
    assert stream.entity["stock"].poll[0].overlap == 0
    assert polled.erp.mode is Mode.POLL
    assert polled.entity["stock"].poll[0].overlap == 60
    assert polled.entity["stock"].poll[0].name == stream.entity["stock"].poll[0].name
    own = good(GOOD.replace("[erp]", '[erp]\nmode = "poll"') + poll + 'overlap = "5m"\n')
    assert own.entity["stock"].poll[0].overlap == 300


def test_two_poll_rules_of_one_name_are_refused() -> None:
    poll = '[[entity.stock.poll]]\nname = "x"\nevery = 1\nkeys = "select $1, $2"\n'
    assert list(problems(GOOD + poll + poll)) == ["entity.stock.poll.1.name"]


@pytest.mark.parametrize(
    ("header", "kind", "lane", "missing", "identity", "defaults"),
    [
        ("stock", Kind.STOCK, Lane.FAST, Missing.ZERO, ("sku", "location"), {"location": "default"}),
        (
            "price",
            Kind.PRICE,
            Lane.FAST,
            Missing.UNPUBLISH,
            ("sku", "price_list", "currency", "min_quantity"),
            {"price_list": "default", "min_quantity": 1},
        ),
        ("credit", Kind.CREDIT, Lane.FAST, Missing.UNPUBLISH, ("customer",), {}),
        ("order_status", Kind.ORDER_STATUS, Lane.FAST, Missing.UNPUBLISH, ("order",), {}),
        ("content", Kind.CONTENT, Lane.BATCH, Missing.UNPUBLISH, ("sku", "locale"), {"locale": "default"}),
        ("warranty", Kind.CUSTOM, Lane.FAST, Missing.UNPUBLISH, ("key",), {}),
    ],
)
def test_kind_lane_missing_and_identity_follow_from_the_name(
    header: str, kind: Kind, lane: Lane, missing: Missing, identity: tuple[str, ...], defaults: dict[str, Any]
) -> None:
    entity = good(GOOD.replace("entity.stock", f"entity.{header}").replace('["stock"]', f'["{header}"]')).entity[header]
    assert (entity.name, entity.kind, entity.lane, entity.missing) == (header, kind, lane, missing)
    assert entity.identity_fields() == identity
    assert entity.identity_defaults() == defaults


def test_a_name_of_ones_own_may_be_of_a_known_kind() -> None:
    text = GOOD.replace("[entity.stock]", '[entity.stock_eu]\nkind = "stock"').replace(
        "entity.stock.", "entity.stock_eu."
    )
    assert good(text.replace('["stock"]', '["stock_eu"]')).entity["stock_eu"].missing is Missing.ZERO


def test_zero_is_for_stock_and_credit_only() -> None:
    text = GOOD.replace("entity.stock", "entity.price").replace('["stock"]', '["price"]')
    assert list(problems(text.replace("[entity.price]", '[entity.price]\nmissing = "zero"'))) == [
        "entity.price.missing"
    ]


def test_identity_is_for_custom_entities_only() -> None:
    assert list(problems(GOOD.replace("[entity.stock]", '[entity.stock]\nidentity = ["sku"]'))) == [
        "entity.stock.identity"
    ]


def test_the_name_of_a_table_is_no_key() -> None:
    assert list(problems(GOOD.replace("[entity.stock]", '[entity.stock]\nname = "x"'))) == ["entity.stock.name"]


def test_a_store_lists_known_entities_once() -> None:
    found = problems(GOOD.replace('["stock"]', '["stok", "stock", "stock"]'))
    assert found == {
        "store.main.entities.0": 'there is no [entity.stok]; did you mean "stock"?',
        "store.main.entities.2": '"stock" stands here twice',
    }


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "shop.example",
        "https://",
        "https://u:p@x/",
        "https://x/?token=1",
        "https://x/#a",
        "http://x:99999/",
        "http://[/",
    ],
)
def test_an_address_is_http_and_carries_no_secret(url: str) -> None:
    assert list(problems(GOOD.replace("https://shop.example/api/", url))) == ["store.main.url"]


def test_brake_may_be_a_table_or_false() -> None:
    assert good(GOOD).store["main"].brake is not None
    off = good(GOOD + "brake = false\n")
    assert off.store["main"].brake is None
    assert dump_redacted(off)["store"]["main"]["brake"] is False
    brake = good(GOOD + 'brake = { share = 0.1, window = "1m" }\n').store["main"].brake
    assert brake is not None
    assert (brake.share, brake.min_keys, brake.window) == (0.1, 50, 60.0)


def test_burst_is_twice_the_rate_unless_given() -> None:
    assert good(GOOD + "rate = { per_second = 7 }\n").store["main"].limits().burst == 14
    assert good(GOOD + "rate = { per_second = 0.2 }\n").store["main"].rate.burst == 1
    assert good(GOOD + "rate = { per_second = 7, burst = 9 }\n").store["main"].rate.burst == 9


CONTENT = GOOD.replace("entity.stock", "entity.content").replace('["stock"]', '["content"]')


@pytest.mark.parametrize(
    ("job", "path"),
    [
        ('every = "1h"', "entity"),
        ('entity = "content"', "schedule"),
        ('entity = "content"\nevery = 5\nschedule = "* * * * *"', "schedule"),
        ('entity = "content"\nextract = "select $1, $2"\nevery = 5', "entity"),
        ('extract = "select $1, $2"\nevery = 5', "to"),
        ('extract = "select $1, $2"\nevery = 5\nto = "x.xls"', "to"),
        ('extract = "select $1, $2"\nevery = 5\nto = "{day}.csv"', "to"),
        ('extract = "select $1, $2"\nevery = 5\nto = "x.csv"\nmax_per_second = 1', "max_per_second"),
        ('entity = "content"\nevery = 5\nto = "x.csv"', "to"),
        ('entity = "contents"\nevery = 5', "entity"),
        ('entity = "content"\nschedule = "61 * * * *"', "schedule"),
        ('entity = "content"\nschedule = "* * * * * *"', "schedule"),
        ('entity = "content"\nevery = 5\ntimezone = "Europe/Pragu"', "timezone"),
        ('entity = "content"\nevery = 5\ntimezone = "../etc/passwd"', "timezone"),
        ('entity = "content"\nevery = 5\nwindow = "22-6"', "window"),
        ('entity = "content"\nevery = 5\nwindow = "22:00-22:00"', "window"),
        ('entity = "content"\nevery = 5\nmax_per_second = 0', "max_per_second"),
    ],
)
def test_a_job_that_could_not_run_is_refused(job: str, path: str) -> None:
    assert list(problems(CONTENT + "[batch.x]\n" + job)) == [f"batch.x.{path}"]


def test_a_job_for_an_entity_of_the_fast_lane_is_refused() -> None:
    assert "fast lane" in problems(GOOD + '[batch.x]\nentity = "stock"\nevery = 5')["batch.x.entity"]


def test_a_schedule_is_in_its_time_zone_also_when_the_clocks_change() -> None:
    job = good(CONTENT + '[batch.x]\nentity = "content"\nschedule = "15 3 * * *"\ntimezone = "Europe/Prague"').batch[
        "x"
    ]
    eve = dt.datetime(2024, 3, 30, 12, tzinfo=dt.UTC)
    assert job.next_run(eve).astimezone(dt.UTC) == dt.datetime(2024, 3, 31, 1, 15, tzinfo=dt.UTC)
    every = good(CONTENT + '[batch.x]\nentity = "content"\nevery = "1h"').batch["x"]
    assert every.next_run(eve) == eve + dt.timedelta(hours=1)


def test_a_window_may_pass_midnight() -> None:
    night, day = parse_window("22:00-06:00"), parse_window("08:00-17:30")
    assert [night.contains(dt.time(hour)) for hour in (21, 22, 0, 5, 6)] == [False, True, True, True, False]
    assert [day.contains(dt.time(hour)) for hour in (7, 8, 17, 18)] == [False, True, True, False]
    assert str(night) == "22:00-06:00"
    job = good(
        CONTENT + '[batch.x]\nentity = "content"\nevery = 5\nwindow = "22:00-06:00"\ntimezone = "Asia/Tokyo"'
    ).batch["x"]
    assert job.window == Window(dt.time(22), dt.time(6))
    assert job.open_at(dt.datetime(2024, 1, 1, 14, tzinfo=dt.UTC))
    assert not job.open_at(dt.datetime(2024, 1, 1, 22, tzinfo=dt.UTC))


def test_an_address_that_others_reach_needs_a_token() -> None:
    assert list(problems(GOOD + '[status]\nlisten = "0.0.0.0:8484"')) == ["status.token"]
    assert good(GOOD + '[status]\nlisten = "0.0.0.0:8484"\ntoken = { env = "T" }', T="x").status.token is not None
    assert list(problems(GOOD + '[status]\nlisten = { env = "L" }', L="[::]:1")) == ["status.token"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:80", "[::1]:8484", "127.0.0.2:65535"])
def test_a_loopback_address_needs_none(listen: str) -> None:
    status = good(GOOD + f'[status]\nlisten = "{listen}"').status
    assert status.token is None
    assert listen.endswith(f":{status.port}")
    assert "[" not in status.host


@pytest.mark.parametrize("listen", ["8484", ":8484", "127.0.0.1", "::1:80", "127.0.0.1:x", "127.0.0.1:65536", "[]:1"])
def test_an_address_has_host_and_port(listen: str) -> None:
    assert list(problems(GOOD + f'[status]\nlisten = "{listen}"')) == ["status.listen"]


def test_an_unknown_pack_is_refused_and_hides_no_other_problem() -> None:
    found = problems(GOOD.replace("[erp]", '[erp]\npack = "sap"\ncanary = "x"'))
    assert set(found) == {"erp.pack", "erp.canary"}
    assert 'no ERP pack "sap"' in found["erp.pack"]


def test_merge_replaces_arrays_and_leaves_its_inputs_alone() -> None:
    under = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(under, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert under == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("250ms", 0.25), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("1.5d", 129600), (7, 7)],
)
def test_durations_become_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 s", "-5s", "s", "1y", True, None, [], "5S"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["0", '"0s"', "-1", "nan", "inf"])
def test_an_interval_is_more_than_nothing(value: str) -> None:
    assert list(problems(GOOD.replace("[erp]", f"[erp]\ncanary = {value}"))) == ["erp.canary"]


def test_a_text_may_come_from_the_environment() -> None:
    text = GOOD + '[state]\npath = { env = "S", default = "/d/state.db" }\n'
    assert good(text).state.path == Path("/d/state.db")
    assert good(text, S="/e/state.db").state.path == Path("/e/state.db")
    assert "is not set" in problems(text.replace(', default = "/d/state.db"', ""))["state.path"]


def test_relative_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    path = tmp_path / "config.toml"
    job = '[batch.x]\nextract = "select $1, $2"\nevery = 5\nto = "out/{date}.csv"\n'
    path.write_text(GOOD + 'token = { file = "token" }\n[state]\npath = "s.db"\n' + job)
    config = load(path, env={})
    token = config.store["main"].token
    assert token is not None
    assert token.reveal() == "abc"
    assert config.state.path == tmp_path / "s.db"
    assert config.batch["x"].to == str(tmp_path / "out" / "{date}.csv")


# Secrets -------------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_nowhere() -> None:
    secret = Secret("hunter2", "env X")
    config = good(
        GOOD.replace("reader@", "reader:hunter2@") + 'token = { env = "T" }\noptions = { a = 1 }\n', T="hunter2"
    )
    for shown in (
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r}",
        str(config),
        repr(config),
        config.model_dump_json(),
    ):
        assert "hunter2" not in shown
    assert "hunter2" not in json.dumps(dump_redacted(config))
    assert config.erp.dsn.reveal() == "postgresql://reader:hunter2@db/erp"
    assert dump_redacted(config)["store"]["main"]["token"] == "*** (env T)"
    assert copy.deepcopy(secret) is secret
    assert secret == Secret("hunter2")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://u:hunter2@h/db",
        "host=h password=hunter2",
        "postgresql://u:hunter2@h:99999/db",
        "postgresql://u:hunter2/x@h/db",
        "postgresql://u:hunter2@x@h/db",
        "postgresql://u:hunter2#@h/db",
        "postgresql://u:hunter2@[h/db",
        "postgresql:/u:hunter2@h",
        "postgresql://:hunter2@h/",
    ],
)
def test_a_bad_dsn_is_refused_without_being_quoted(dsn: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(GOOD.replace("postgresql://reader@db/erp", dsn), env={})
    assert [problem.path for problem in caught.value.problems] == ["erp.dsn"]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "env", "shown", "dbname"),
    [
        ("postgresql://u:p@h/erp", {}, "postgresql://u:***@h/erp", "erp"),
        ("postgres://u@h:5433/erp?sslmode=verify-full", {}, "postgres://u@h:5433/erp?sslmode=verify-full", "erp"),
        ("postgresql://u:p@h1:1,h2:2/erp", {}, "postgresql://u:***@h1:1,h2:2/erp", "erp"),
        ("postgresql://h/erp?user=u&password=p", {}, "postgresql://h/erp?user=u&password=***", "erp"),
        ("postgresql://[::1]:5432/erp", {}, "postgresql://[::1]:5432/erp", "erp"),
        ("postgresql:///erp?host=/run/postgresql", {}, "postgresql:///erp?host=/run/postgresql", "erp"),
        ("postgresql://u@h", {"PGDATABASE": "d"}, "postgresql://u@h", "d"),
        ("postgresql://u@h", {}, "postgresql://u@h", "u"),
        ("postgresql://h", {"PGUSER": "w"}, "postgresql://h", "w"),
        ("postgresql://u:p@h/my%20erp", {}, "postgresql://u:***@h/my%20erp", "my erp"),
    ],
)
def test_a_dsn_is_shown_without_its_password_and_names_its_database(
    dsn: str, env: dict[str, str], shown: str, dbname: str
) -> None:
    made = Dsn(dsn, env=env)
    assert (str(made), made.dbname) == (shown, dbname)


def test_the_slot_carries_the_databases_name_unless_given() -> None:
    assert good(GOOD).slot_name() == "erpsyncd_erp"
    assert good(GOOD.replace("db/erp", "db/My-ERP")).slot_name() == "erpsyncd_my_erp"
    assert good(GOOD.replace("[erp]", '[erp]\nslot = "mine"')).slot_name() == "mine"
    assert list(problems(GOOD.replace("[erp]", '[erp]\nslot = "My-Slot"'))) == ["erp.slot"]


@pytest.mark.parametrize("size", ["1MB", "512MB", "2GB", "server"])
def test_the_decoding_memory_is_a_size_or_left_to_the_server(size: str) -> None:
    assert good(GOOD.replace("[erp]", f'[erp]\ndecoding_memory = "{size}"')).erp.decoding_memory == size


@pytest.mark.parametrize("size", ['""', '"256"', '"0MB"', '"-1MB"', '"256 MB"', '"1TB"', '"256mb"', "256"])
def test_any_other_decoding_memory_is_refused_by_its_key(size: str) -> None:
    assert list(problems(GOOD.replace("[erp]", f"[erp]\ndecoding_memory = {size}"))) == ["erp.decoding_memory"]


def test_the_replication_dsn_defaults_to_the_dsn() -> None:
    assert good(GOOD).erp.replication_dsn == good(GOOD).erp.dsn
    assert good(GOOD).erp.stream_place == "erp.dsn"
    other = good(GOOD.replace("[erp]", '[erp]\nreplication_dsn = { env = "R" }'), R="postgresql://r@direct/erp")
    assert str(other.erp.replication_dsn) == "postgresql://r@direct/erp"
    assert other.erp.stream_place == "erp.replication_dsn"


def test_credentials_come_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("hunter2\n")
    text = GOOD + 'token = { credential = "tok" }\n'
    token = good(text, CREDENTIALS_DIRECTORY=str(tmp_path)).store["main"].token
    assert token is not None
    assert token.reveal() == "hunter2"
    assert "LoadCredential=tok" in problems(text)["store.main.token"]
    (tmp_path / "tok").unlink()
    assert "LoadCredential=tok" in problems(text, CREDENTIALS_DIRECTORY=str(tmp_path))["store.main.token"]


def test_who_only_speaks_to_the_daemon_needs_no_secret_and_is_told_when_its_own_is_lacking(tmp_path: Path) -> None:
    """An operator's shell has neither systemd's credentials nor the daemon's files."""
    file = tmp_path / "config.toml"
    dsn = '{ credential = "erp-dsn" }'
    file.write_text(
        GOOD.replace('"postgresql://reader@db/erp"', dsn)
        + 'token = { file = "/absent" }\n[status]\ntoken = { env = "NOPE" }\n'
    )
    assert dsn in file.read_text()
    config = load(file, env={}, lenient=True)
    assert list(config.store) == ["main"]
    for secret in (config.erp.dsn, config.store["main"].token, config.status.token):
        assert secret is not None
        with pytest.raises(ConfigError, match=r"is not set|cannot be read"):
            secret.reveal()
    with pytest.raises(InvalidConfigError) as strict:
        load(file, env={})
    assert {problem.path for problem in strict.value.problems} == {"erp.dsn", "store.main.token", "status.token"}
    file.write_text(file.read_text().replace('"NOPE"', "5"))
    with pytest.raises(InvalidConfigError):  # what is no secret at all stays a mistake
        load(file, env={}, lenient=True)


@pytest.mark.parametrize(
    "value",
    [
        '{ env = "NOPE" }',
        '{ file = "/absent" }',
        '{ credential = "../x" }',
        "{}",
        "5",
        '""',
        '{ env = "A", file = "b" }',
    ],
)
def test_a_secret_that_cannot_be_read_is_a_problem_with_a_place(value: str) -> None:
    assert list(problems(GOOD + f"token = {value}\n")) == ["store.main.token"]


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    assert "is empty" in problems(GOOD + 'token = { env = "T" }\n', T="")["store.main.token"]
    (tmp_path / "t").write_text("a\nb\n")
    assert "more than one line" in problems(GOOD + f'token = {{ file = "{tmp_path / "t"}" }}\n')["store.main.token"]


# The whole -----------------------------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_good() -> None:
    config = load(ROOT / "config.toml", env=ENV)
    entities = ["stock", "price", "credit", "order_status", "content"]
    assert list(config.entity) == entities
    assert config.queues() == [QueueName("main", entity) for entity in entities]
    assert all(entity.kind == name for name, entity in config.entity.items())
    assert config.store["main"].limits().per_second == 50


def test_a_configuration_cannot_be_changed() -> None:
    config = good(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.erp.publication = "x"


def test_the_digest_follows_the_configuration_and_not_its_secrets() -> None:
    text = GOOD + 'token = { env = "T" }\n'
    assert good(text, T="a").digest == good(text, T="b").digest
    assert good(text, T="a").digest != good(text + "concurrency = 5\n", T="a").digest
    assert len(good(GOOD).digest) == 12


def _keys(schema: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    properties = schema["properties"] if name == "Config" else schema["$defs"][name]["properties"]
    yield from properties.items()


TABLES = [
    "Config",
    "Erp",
    "State",
    "Status",
    "Log",
    "Entity",
    "Watch",
    "Poll",
    "Store",
    "Rate",
    "Brake",
    "Reconcile",
    "Batch",
    "Images",
]


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_described_and_documented(table: str) -> None:
    docs = (ROOT / "docs" / "configuration.md").read_text()
    schema = json_schema()
    for key, field in _keys(schema, table):
        target = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description") or target.get("description"), f"{table}.{key} has no description"
        assert f"`{key}`" in docs or f"[{key}" in docs, f"{table}.{key} is not in docs/configuration.md"


def test_the_schema_covers_every_table_and_hides_derived_names() -> None:
    schema = json_schema()
    assert {name for name, made in schema["$defs"].items() if "properties" in made} == set(TABLES) - {"Config"}
    assert "name" not in schema["$defs"]["Entity"]["properties"]
    assert schema["$defs"]["Entity"]["additionalProperties"] is False


# Lines ---------------------------------------------------------------------------------------------------------------


def test_lines_of_every_form_of_key() -> None:
    text = '''# comment
top = 1
"quoted key" = 'x # no comment = [1]'
a.b . "c.d" = 2
long = """
[not.a.table]
x = 1 \\"""
"""
list = [ # comment ]
  1,
  { k = "}", l = [2, 3] },
  "]",
]
[table]  # after
x = { y = { z = 1 } }
[[arr]]
k = 1
[arr.sub]
k = 2
[[arr.deep]]
k = 3
[[arr]]
k = 4
[[arr.deep]]
[[arr.deep]]
k = 5
literal = \'\'\'
" '' \'\'\'
end = 2024-01-01 10:00:00
'''
    lines = line_numbers(text)
    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 2,
        ("quoted key",): 3,
        ("a", "b", "c.d"): 4,
        ("long",): 5,
        ("list", 0): 10,
        ("list", 1, "k"): 11,
        ("list", 1, "l", 1): 11,
        ("list", 2): 12,
        ("table",): 14,
        ("table", "x", "y", "z"): 15,
        ("arr",): 16,
        ("arr", 0, "sub", "k"): 19,
        ("arr", 0, "deep", 0, "k"): 21,
        ("arr", 1): 22,
        ("arr", 1, "deep", 1, "k"): 26,
        ("arr", 1, "deep", 1, "end"): 29,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert set(_paths(tomllib.loads(text))) <= set(lines)
    assert locate(lines, ("arr", 1, "deep", 1, "absent", "k")) == 25
    assert locate(lines, ("absent",)) is None


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*at, index))


def test_every_path_of_the_shipped_configuration_has_its_line() -> None:
    text = (ROOT / "config.toml").read_text()
    lines = line_numbers(text)
    assert set(_paths(tomllib.loads(text))) == set(lines)
    source = text.splitlines()
    for path, line in lines.items():
        last = path[-1]
        assert isinstance(last, int) or last in source[line - 1], (path, line)


_KEY = st.sampled_from(["a", "b", '"c d"', "'e.f'", '"\\u0067"'])
_INLINE = st.recursive(
    st.sampled_from(["1", "true", '"x#]}"', "'y'", '"""m\n"q""', "'''n\n]'''", "1e3", "2024-01-01 01:02:03"]).map(
        lambda text: text + '"' if text.startswith('"""') else text
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[\n # c ]\n" + ",\n".join(parts) + "\n]")
        | st.lists(st.tuples(_KEY, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }"
        )
    ),
    max_leaves=6,
)
_HEADER = st.tuples(st.booleans(), st.lists(_KEY, min_size=1, max_size=3)).map(
    lambda drawn: ("[[ {} ]]" if drawn[0] else "[{}]").format(" . ".join(drawn[1]))
)
_PAIR = st.tuples(st.lists(_KEY, min_size=1, max_size=2), _INLINE).map(
    lambda drawn: f"{'.'.join(drawn[0])} = {drawn[1]}"
)


@given(st.lists(_HEADER | _PAIR | st.just("# [x]"), max_size=8))
def test_for_any_valid_text_exactly_the_parsed_paths_have_lines(parts: list[str]) -> None:
    text = "\n".join(parts)
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        line_numbers(text)
        return
    lines = line_numbers(text)
    assert set(_paths(parsed)) == set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(st.text(alphabet="[]{}=\"'#.\n\\ab1", max_size=40))
def test_the_scanner_ends_on_any_text(text: str) -> None:
    line_numbers(text)

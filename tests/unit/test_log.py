"""Laws of the log: one object a line, stable names, no secrets, and never a reason to stop."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from daemon import log
from daemon.redact import MASK, forget_secrets, redact, register_secret

ROOT = Path(__file__).parents[2]
Lines = Callable[[], list[dict[str, Any]]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    forget_secrets()
    logger.remove()
    root.setLevel(level)
    for handler in [one for one in root.handlers if type(one).__name__ == "_Intercept"]:
        root.removeHandler(handler)


@pytest.fixture
def lines(clock: Clock) -> Lines:
    stream = io.StringIO()
    log.setup("json", "debug", stream, clock=clock)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_that_begins_with_ts_level_event_msg(lines: Lines) -> None:
    log.info("ready", "streaming from 16/B374D848", slot="erpsyncd", lsn="16/B374D848", nothing=None)
    [line] = lines()
    assert list(line) == ["ts", "level", "event", "msg", "slot", "lsn"]
    assert line["ts"].endswith("Z")
    assert (line["level"], line["event"], line["msg"]) == ("info", "ready", "streaming from 16/B374D848")


def test_a_line_break_stays_inside_its_line(lines: Lines) -> None:
    log.warning("store_lost", "first\nsecond", error="a\nb")
    assert lines()[0]["msg"] == "first\nsecond"


def test_braces_and_markup_in_a_message_are_only_text(lines: Lines) -> None:
    log.info("status", "{0} {slot} </red> %s", name="n", msg_="x")
    assert lines()[0]["msg"] == "{0} {slot} </red> %s"
    assert lines()[0]["name"] == "n"


def test_a_field_cannot_displace_the_head(lines: Lines) -> None:
    log.info("status", "true", ts="forged", event="forged")
    assert lines()[0]["event"] == "status"
    assert lines()[0]["ts"] != "forged"


def test_a_traceback_is_one_field(lines: Lines) -> None:
    try:
        int("postgresql://erpsyncd:hunter22@erp/db")
    except ValueError as error:
        log.error("failed", "it broke", exc=error)
    trace = lines()[0]["exception"]
    assert trace.startswith("Traceback")
    assert "test_log.py" in trace
    assert "hunter22" not in trace


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers()),
    max_leaves=8,
))  # fmt: skip
def test_any_value_makes_a_valid_line(value: Any) -> None:
    stream = io.StringIO()
    log.setup("json", "debug", stream)
    log.info("status", "any", value=value)
    line, end = stream.getvalue().split("\n")
    assert end == ""
    assert json.loads(line)["event"] == "status"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://erpsyncd:hunter22@erp/db",
        "postgresql://:hunter22@erp/db",
        "postgresql://u:p@hunter22@erp/db",
        "host=erp password=hunter22 dbname=x",
        "host=erp password='hunter22 and more' dbname=x",
        '{"password": "hunter22"}',
        "https://shop/x?access_token=hunter22&a=1",
        "Authorization: Bearer hunter22hunter22",
        "passwd: hunter22",
        "Authorization: Basic aHVudGVyMjI6aHVudGVyMjI=",
        "a header Basic hunter22hunter22",
    ],
)
def test_what_looks_like_a_password_is_masked(text: str) -> None:
    assert "hunter22" not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    ["https://shop.example:8443/a@b", "token revoked by the store", "Basic products", "erp-db:5432 password needed"],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("secret", ["tok-12345", 'quo"te\\d', "sp ace+/=&", "ümlaut-x"])
def test_a_registered_secret_is_masked_wherever_it_stands(lines: Lines, secret: str) -> None:
    register_secret(secret)
    log.error("store_lost", f"the store said {secret}", error=f"x{secret}y", deep={"a": [secret]}, raw=secret.encode())
    [line] = lines()
    assert secret not in json.dumps(line, ensure_ascii=False)
    assert secret not in json.loads(json.dumps(line))["msg"]
    assert line["error"] == f"x{MASK}y"
    assert line["deep"] == {"a": [MASK]}


def test_a_field_named_like_a_secret_is_masked_whole(lines: Lines) -> None:
    log.info("starting", "x", token="abc", shop_password="d", dsn="e", keys=3)
    assert lines()[0] | {"token": MASK, "shop_password": MASK, "dsn": MASK, "keys": 3} == lines()[0]


def test_a_secret_too_short_to_mean_anything_does_not_mask_the_language() -> None:
    register_secret("a")
    assert redact("a gap") == "a gap"


def test_a_flood_is_cut_and_counted(lines: Lines, clock: Clock) -> None:
    for number in range(log.BURST + 341):
        log.warning("quarantined", "no such sku", store="main", entity="stock", key=number)
    log.info("status", "another event passes")
    assert len(lines()) == log.BURST + 1
    clock.now += log.PERIOD_S
    log.warning("quarantined", "no such sku", store="main", entity="stock", key=0)
    told = lines()[-2]
    assert told["msg"] == "quarantined repeated 341 times"
    assert (told["event"], told["of"], told["count"], told["store"]) == ("repeated", "quarantined", 341, "main")
    assert lines()[-1]["event"] == "quarantined"


def test_a_flood_of_one_store_does_not_silence_another(lines: Lines) -> None:
    for _ in range(log.BURST * 2):
        log.warning("store_throttled", "slow", store="one")
    log.warning("store_throttled", "slow", store="two")
    assert lines()[-1]["store"] == "two"


def test_what_was_cut_is_told_at_the_end(lines: Lines) -> None:
    for _ in range(log.BURST + 2):
        log.info("held", "x")
    log.flush()
    assert lines()[-1]["count"] == 2
    log.flush()
    assert len(lines()) == log.BURST + 1


def test_loss_and_recovery_are_one_line_each(lines: Lines, clock: Clock) -> None:
    edge = log.Edge("store_lost", "store_back", clock=clock, store="main")
    assert not edge.up("answers")
    assert edge.down("HTTP 503", error="unavailable")
    assert not edge.down("HTTP 503")
    assert edge.is_down
    clock.now += 42
    assert edge.up("answers again")
    assert not edge.up("answers again")
    lost, back = lines()
    assert (lost["event"], lost["level"], lost["error"]) == ("store_lost", "error", "unavailable")
    assert (back["event"], back["level"], back["away_s"]) == ("store_back", "info", 42.0)
    assert back["msg"] == "answers again after 42s"
    assert lost["store"] == back["store"] == "main"


def test_a_loss_that_a_person_must_end_is_told_once_more(lines: Lines, clock: Clock) -> None:
    edge = log.Edge("erp_lost", "erp_back", clock=clock)
    assert edge.down("restarts")
    clock.now += 1
    assert edge.down("the certificate has expired", grave=True)
    assert not edge.down("restarts")
    assert not edge.down("the certificate has expired", grave=True)
    clock.now += 1
    assert edge.up("back")
    assert edge.down("restarts")
    assert edge.down("the certificate has expired", grave=True)
    assert [line.get("away_s") for line in lines()] == [None, None, 2.0, None, None]


def test_libraries_speak_through_the_same_log(lines: Lines) -> None:
    logging.getLogger("asyncio").error("Task exception was never retrieved %s", "x")
    logging.getLogger("aiohttp.client").debug("noise")
    [line] = lines()
    assert (line["event"], line["logger"], line["level"]) == ("library", "asyncio", "error")


def test_the_level_is_a_floor() -> None:
    stream = io.StringIO()
    log.setup("json", "warning", stream)
    log.info("status", "x")
    log.warning("gap", "y")
    assert len(stream.getvalue().splitlines()) == 1


def test_setting_up_again_replaces(lines: Lines) -> None:
    stream = io.StringIO()
    log.setup("json", "info", stream)
    log.info("reloaded", "x")
    logging.getLogger("x").warning("once")
    assert lines() == []
    assert len(stream.getvalue().splitlines()) == 2


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    log.setup("text", "info", stream)
    log.warning("store_lost", "HTTP 503", store="main", error="not now")
    assert stream.getvalue().endswith("WARNING store_lost     HTTP 503  store=main  error='not now'\n")


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    log.setup("auto", "info", terminal)
    log.info("ready", "x")
    log.setup("auto", "info", file)
    log.info("ready", "x")
    assert not terminal.getvalue().startswith("{")
    assert json.loads(file.getvalue())["event"] == "ready"


def test_the_journal_gets_the_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        stat = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        log.setup("json", "info", stream)
        log.error("gap", "x")
    assert path.read_text().startswith('<3>{"ts":')


def test_a_closed_stream_is_silence() -> None:
    stream = io.StringIO()
    log.setup("json", "info", stream)
    stream.close()
    log.info("status", "x")
    log.info("status", "y")


def test_a_closed_pipe_neither_stops_the_daemon_nor_spoils_its_exit_code() -> None:
    code = """
import sys
from daemon import log
log.setup("json")
for number in range(5000):
    log.info("status", "x" * 100, code=number)
log.flush()
sys.stderr.write("went on")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "went on"
        assert process.wait(timeout=60) == 0


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    log.setup("json", "info", Full())
    log.error("gap", "x")


def test_the_manual_lists_every_event() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    missing = [name for name, meaning in log.EVENTS.items() if f"| `{name}` | {meaning} |" not in manual]
    assert missing == []


def test_the_promised_events_exist() -> None:
    promised = "ready backfill gap resync store_lost store_back quarantined held slot_at_risk stopped"
    assert set(promised.split()) <= log.EVENTS.keys()


def event_names(path: Path) -> Iterator[tuple[str, str]]:
    """Literal event names in calls like log.info("name", ...) and log.Edge("lost", "back")."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        function = node.func
        if isinstance(function.value, ast.Name) and function.value.id == "log":
            count = {"Edge": 2, "event": 1, "debug": 1, "info": 1, "warning": 1, "error": 1}.get(function.attr, 0)
            for argument in node.args[:count]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, f"{path.relative_to(ROOT)}:{node.lineno}"


CODE = [*ROOT.glob("daemon/**/*.py"), *ROOT.glob("adapters/**/*.py")]


def test_the_code_logs_only_events_of_the_table() -> None:
    strange = [(name, where) for path in CODE for name, where in event_names(path) if name not in log.EVENTS]
    assert strange == []


def test_the_table_holds_only_events_that_the_code_logs() -> None:
    told = {name for path in CODE for name, _ in event_names(path)}
    operations = (ROOT / "daemon" / "operations.py").read_text()  # whose own function takes the name
    told |= set(re.findall(r'self\._tell\("(\w+)"', operations))
    assert log.EVENTS.keys() - told == {"library", "repeated"}, "these two are the log's own"

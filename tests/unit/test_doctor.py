"""Laws of the doctor's judgements and of the DBA's scripts, without a server.

Invariant under test: what does not pass has a remedy; a judgement follows from facts alone; a script never holds a secret
and is safe for any name.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import config as configuration
from daemon import dba
from daemon.catalogue import Table, literal, quote_name
from daemon.config import Config
from daemon.dba.facts import message, wanted
from daemon.doctor import Result, Status, as_json, as_text, exit_code
from daemon.doctor.facts import FileFacts, LinkFacts, OtherSlot, RoleFacts, Scan, ServerFacts, SlotFacts, StateFacts
from daemon.doctor.judge_local import judge_clock, judge_secrets, judge_state
from daemon.doctor.judge_mapping import scans
from daemon.doctor.judge_server import (
    judge_failover,
    judge_limits,
    judge_others,
    judge_role,
    judge_room,
    judge_tls,
    judge_version,
)
from daemon.doctor.judge_source import judge_our_slot
from daemon.slot import Server, Slot

SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "max_slot_wal_keep_size": "20480",
    "idle_replication_slot_timeout": "0",
    "wal_sender_timeout": "60000",
    "sync_replication_slots": "off",
    "synchronized_standby_slots": "",
}
SERVER = ServerFacts(180001, "18.1", SETTINGS, tls=True, loopback=False)
TEXT = """
[erp]
dsn = "postgresql://me:geheim@erp.example/erp"
{erp}
[entity.stock]
sql = "select id as key, sku, n as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "Item's", key = "id" }}]
poll = [{{ every = "10s", keys = "select id from item where $1 < $2" }}]
[store.main]
adapter = "http"
url = "https://shop.example/x"
token = "t0ken"
entities = ["stock"]
"""


def config(erp: str = "") -> Config:
    return configuration.load_text(TEXT.format(erp=erp), env={})


def statuses(results: Any) -> list[str]:
    return [str(result.status) for result in results]


# -- results


def test_what_does_not_pass_needs_a_remedy() -> None:
    with pytest.raises(ValueError, match="no remedy"):
        Result("x", Status.WARN, "something")
    Result("x", Status.PASS, "nothing")


@given(st.lists(st.sampled_from(Status)))
def test_the_exit_code_is_that_of_the_worst_result(found: list[Status]) -> None:
    results = [Result(f"check{n}", status, "said", "do") for n, status in enumerate(found)]
    worst = max((list(Status).index(status) for status in found), default=0)
    assert exit_code(results) == worst
    assert [row["status"] for row in json.loads(as_json(results))] == found
    text = as_text(results)
    assert text.count("\n") == 2 * len(found)


# -- the server


@pytest.mark.parametrize(
    ("version", "status", "says"),
    [
        (180001, "PASS", ""),
        (170005, "WARN", "17.6"),
        (160009, "WARN", "invalid memory alloc request size"),
        (150013, "WARN", "15.14"),
        (140018, "WARN", "14.19"),
        (150012, "WARN", "added to a publication"),
        (150014, "PASS", ""),
        (190000, "WARN", "newer than what was tested"),
    ],
)
def test_minor_releases_with_known_faults_are_told(version: int, status: str, says: str) -> None:
    (result,) = judge_version(replace(SERVER, version=version))
    assert result.status == status
    assert says in result.message + result.remedy


@pytest.mark.parametrize(
    ("tls", "loopback", "sslmode", "status"),
    [
        (False, True, "", "PASS"),
        (False, False, "", "WARN"),
        (True, False, "", "WARN"),
        (True, False, "require", "WARN"),
        (True, False, "verify-full", "PASS"),
        (True, True, "", "PASS"),
    ],
)
def test_encryption_counts_where_others_could_listen(tls: bool, loopback: bool, sslmode: str, status: str) -> None:
    (result,) = judge_tls(LinkFacts(tls, loopback), sslmode, "erp.replication_dsn")
    assert result.status == status
    assert result.message.startswith("erp.replication_dsn: ")
    assert not result.remedy or "erp.replication_dsn" in result.remedy


def test_room_is_needed_for_us_and_for_one_more() -> None:
    def slots(count: int) -> ServerFacts:
        return replace(
            SERVER, slots=tuple(OtherSlot(f"s{n}", "logical", "d", True, 0) for n in range(count)), senders=count
        )

    assert statuses(judge_room(slots(5), own_slot=False, streaming=False)) == ["PASS", "PASS"]
    assert statuses(judge_room(slots(9), own_slot=False, streaming=False)) == ["WARN", "WARN"]
    assert statuses(judge_room(slots(10), own_slot=False, streaming=False)) == ["FAIL", "FAIL"]
    assert statuses(judge_room(slots(9), own_slot=True, streaming=True)) == ["WARN", "WARN"]  # ours is among them


def test_the_log_that_is_kept_is_judged_by_what_is_left() -> None:
    def limit(safe: int | None, **changes: str) -> list[str]:
        server = replace(SERVER, settings={**SETTINGS, **changes})
        return statuses(judge_limits(server, config("allow_unbounded_slot = true"), safe))[:1]

    assert limit(None) == limit(20 * 1024**3) == ["PASS"]
    assert limit(9 * 1024**3) == ["WARN"]
    assert limit(None, max_slot_wal_keep_size="512") == ["WARN"]
    assert limit(None, max_slot_wal_keep_size="-1") == ["WARN"]


@pytest.mark.parametrize(("seconds", "status"), [("0", "PASS"), ("3600", "WARN"), ("259200", "PASS")])
def test_an_idle_timeout_shorter_than_a_day_is_told(seconds: str, status: str) -> None:
    server = replace(SERVER, settings={**SETTINGS, "idle_replication_slot_timeout": seconds})
    assert statuses(judge_limits(server, config(), None))[1] == status


def test_failover_needs_every_part_of_it() -> None:
    standby = (OtherSlot("standby1", "physical", "", True, 0),)
    followed = config("failover_slot = true")
    assert statuses(judge_failover(SERVER, config())) == ["PASS"]
    assert statuses(judge_failover(replace(SERVER, slots=standby), config())) == ["WARN"]
    assert statuses(judge_failover(replace(SERVER, version=150018), followed)) == ["WARN"]
    complete = {**SETTINGS, "synchronized_standby_slots": "standby1", "sync_replication_slots": "on"}
    good = replace(SERVER, slots=standby, settings=complete, slot_failover=True)
    assert statuses(judge_failover(good, followed)) == ["PASS"]
    assert "WARN" in statuses(judge_failover(replace(good, slot_failover=False), followed))
    gone = replace(good, settings={**complete, "synchronized_standby_slots": "standby1, gone"})
    assert "FAIL" in statuses(judge_failover(gone, followed))


def test_only_slots_that_nobody_reads_and_that_are_ours_by_name_are_orphans() -> None:
    slots = [
        OtherSlot("erpsyncd_old", "logical", "erp", False, 5),
        OtherSlot("erpsyncd_busy", "logical", "erp", True, 5),
        OtherSlot("debezium", "logical", "erp", False, 5),
    ]
    (result,) = judge_others(slots)
    assert result.status is Status.WARN
    assert "erpsyncd_old" in result.message


def test_a_role_that_could_write_is_a_failure() -> None:
    role = RoleFacts("reader")
    assert statuses(judge_role(role, separate=True)) == ["PASS"]
    for broken in (replace(role, superuser=True), replace(role, owned=("a.b",)), replace(role, writable=("a.b",))):
        assert statuses(judge_role(broken, separate=True)) == ["FAIL"]
    assert statuses(judge_role(replace(role, replication=True), separate=False)) == ["PASS", "WARN"]
    assert statuses(judge_role(replace(role, creates_in=("public",)), separate=True)) == ["PASS", "WARN"]


@pytest.mark.parametrize(
    ("wal_status", "status"), [("reserved", ["WARN"]), ("unreserved", ["WARN", "FAIL"]), ("lost", ["FAIL"])]
)
def test_a_slot_that_is_about_to_be_lost_is_told(wal_status: str, status: list[str]) -> None:
    server = Server("1", 1, "erp", 18, 1000)
    slot = Slot("erpsyncd_erp", "pgoutput", "erp", None, 10, 20, wal_status, None, "")
    assert statuses(judge_our_slot(config(), SlotFacts(server, slot, None))) == status


# -- plans


def seq(table: str, condition: str = "", alias: str = "") -> dict[str, Any]:
    return {
        "Node Type": "Seq Scan",
        "Schema": "s",
        "Relation Name": table,
        "Alias": alias or table,
        "Filter": condition,
    }


@pytest.mark.parametrize(
    ("plan", "column"),
    [
        (seq("t", "(t.item_id = ANY ($1))"), "item_id"),
        (seq("t", "((r.state)::text = 'x'::text)", "r"), "state"),
        (seq("t", """("T x"."Item Id" = ANY ($1))""", "T x"), "Item Id"),
        (seq("t", "(($1)::bigint = t.item_id)"), "item_id"),
        (seq("t", "((t.valid_from > $1) AND (t.valid_from <= $2))"), "valid_from"),
        ({"Node Type": "Hash Join", "Hash Cond": "(i.id = t.item_id)", "Plans": [seq("t")]}, "item_id"),
        (seq("t"), ""),
        (seq("t", "(other.item_id = ANY ($1))"), ""),
    ],
)
def test_the_column_that_an_index_would_be_on_is_read_from_the_plan(plan: dict[str, Any], column: str) -> None:
    assert scans(plan, {"s.t": 50_000}) == [Scan("s.t", 50_000, column)]


def test_small_tables_may_be_read_whole() -> None:
    assert scans(seq("t", "(t.item_id = ANY ($1))"), {"s.t": 10_000}) == []


# -- this machine


def test_secrets_are_judged_by_who_can_read_them() -> None:
    own = FileFacts("config.toml", True, 0o600, True)
    (result,) = judge_secrets(config(), own, {})
    assert result.status is Status.WARN
    assert "erp.dsn, store.main.token" in result.message
    (result,) = judge_secrets(config(), replace(own, mode=0o644), {})
    assert result.status is Status.FAIL
    assert "geheim" not in as_text([result])
    assert "t0ken" not in as_text([result])
    open_line = configuration.load_text(TEXT.format(erp="").replace("https:", "http:"), env={})
    (_, result) = judge_secrets(open_line, own, {})
    assert result.status is Status.WARN
    assert "travels without encryption" in result.message


def test_the_state_folder_and_its_disk() -> None:
    folder = FileFacts("/var/lib/erpsyncd", True, 0o700, True)
    file = FileFacts("/var/lib/erpsyncd/state.db", False)
    good = StateFacts(folder, file, 10 * 1024**3)
    assert statuses(judge_state(good)) == ["PASS", "PASS"]
    assert statuses(judge_state(replace(good, folder=replace(folder, writable=False)))) == ["FAIL", "PASS"]
    assert statuses(judge_state(replace(good, folder=replace(folder, mode=0o750)))) == ["WARN", "PASS"]
    assert statuses(judge_state(replace(good, folder=replace(folder, exists=False, writable=False)))) == ["FAIL"]
    assert statuses(judge_state(replace(good, free_bytes=500 * 1024**2))) == ["PASS", "WARN"]
    assert statuses(judge_state(replace(good, free_bytes=1024**2))) == ["PASS", "FAIL"]


def test_a_clock_is_judged_beyond_what_the_round_trip_hides() -> None:
    assert statuses(judge_clock(0.5, 0.01)) == ["PASS"]
    assert statuses(judge_clock(-3.0, 0.01)) == ["WARN"]
    assert statuses(judge_clock(1.2, 1.0)) == ["PASS"]


# -- scripts


@given(st.text())
def test_any_text_is_one_literal_and_any_name_one_identifier(text: str) -> None:
    for made, mark in ((literal(text), "'"), (quote_name(text), '"')):
        assert made[0] == made[-1] == mark
        assert made[1:-1].replace(mark * 2, mark) == text
        assert not re.search(f"(?<!{mark}){mark}({mark}{mark})*(?!{mark})", made[1:-1])


def test_a_message_has_a_placeholder_only_where_one_is_meant() -> None:
    assert message("100% of {} isn't") == "'100%% of % isn''t'"


def scripts(erp: str = "", **changes: Any) -> list[str]:
    wants = replace(wanted(config(erp)), **changes)
    table = Table("public.Item's", "r", "d", True, frozenset({"id"}), frozenset())
    facts = dba.Facts(reached=True, version=18, tables=(table,), complete=True, host="erp.example")
    return [dba.setup(wants, facts), dba.setup(wants, dba.Facts()), dba.teardown(wants), dba.monitor(wants)]


def test_no_script_holds_a_secret_and_each_stops_at_its_first_error() -> None:
    for text in scripts():
        assert "geheim" not in text
        assert "t0ken" not in text
        assert "PASSWORD '" not in text
    for text in scripts()[:3]:
        statements = text[text.index("\\set ON_ERROR_STOP on") :]
        assert statements.splitlines()[1] == "SET lock_timeout = '1s';"


def test_the_slot_comes_last_and_only_where_the_daemon_shall_not_make_it() -> None:
    made = scripts()[0]
    assert "-- " in next(line for line in made.splitlines() if "pg_create_logical_replication_slot" in line)
    given_to_the_dba = scripts("create_slot = false\nfailover_slot = true")[0]
    statement = "SELECT pg_create_logical_replication_slot('erpsyncd_erp', 'pgoutput', false, false, true)"
    assert statement in given_to_the_dba.splitlines()
    assert given_to_the_dba.index(statement) > given_to_the_dba.rindex("CALL pg_temp.erpsyncd_publish")


def test_names_are_quoted_wherever_they_stand() -> None:
    setup = scripts(publication="o'p\"q%", read_role="Read Me")[0]
    assert """CREATE PUBLICATION "o'p""q%" WITH""" in setup
    assert """'publication "o''p""q%%" is FOR ALL TABLES""" in setup
    assert """GRANT SELECT ON TABLE "public"."Item's" TO "Read Me";""" in setup
    assert """CALL pg_temp.erpsyncd_publish('"public"."Item''s"');""" in setup
    assert "postgresql://Read%20Me@erp.example/erp" in setup


def test_poll_mode_asks_for_nothing_but_reading() -> None:
    for text in scripts('mode = "poll"'):
        code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
        assert "REPLICATION" not in code
        assert "CREATE PUBLICATION" not in code
        assert "create_logical" not in code


def test_what_the_identity_does_not_carry_is_told_or_mended() -> None:
    assert '"public"."Item\'s": id' in scripts()[0]
    assert "REPLICA IDENTITY FULL'" not in scripts()[0]
    assert "REPLICA IDENTITY FULL'" in scripts(full_identity=True)[0]


def test_the_page_for_the_dba_names_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dba.md").read_text(encoding="utf-8")
    for command in ("erpsyncd sql setup", "erpsyncd sql teardown", "erpsyncd sql monitor", "erpsyncd doctor"):
        assert command in page

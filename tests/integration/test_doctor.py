"""The doctor on real servers: a good set-up has no failure, each broken one gets its line and a remedy that mends it.

Invariant under test: every fault is told under its own check with what to do, the checks after it are still made, and
nothing but results ever comes out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.dba.facts import READ_ROLE, REPLICATION_ROLE
from daemon.doctor import Result, Status, asking, diagnose, exit_code
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import TOKEN, Daemon
from tests.integration.prepared import demo_erp, demo_text, erpsyncd, own_text, set_up, with_roles, written
from tests.waiting import until

CHECKS = [
    *("configuration", "secrets", "state", "disk", "connection", "tls", "server_version", "wal_level", "publication"),
    *("publication_tables", "replica_identity", "routing", "column_lists", "row_filters", "replication_login", "slot"),
    *("max_replication_slots", "max_wal_senders", "max_slot_wal_keep_size", "idle_replication_slot_timeout"),
    *("wal_sender_timeout", "failover", "other_slots", "write_privileges", "privileges", "mapping", "plans", "samples"),
    *("clock", "store"),
]


POLLED = """
[entity.stock]
sql = "select id as key, sku, 1 as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
poll = [{ every = "10s", keys = "select item_id from price where valid_from > $1 and valid_from <= $2" }]
"""


class Ground:
    """A good set-up that a test breaks."""

    def __init__(self, database: Database, folder: Path, text: str) -> None:
        self.database = database
        self.folder = folder
        self.text = text

    async def results(self, text: str | None = None) -> list[Result]:
        return await diagnose(written(self.folder, text if text is not None else self.text))

    async def told(self, check: str, status: Status, text: str | None = None) -> Result:
        """The one result of this check with this status; the rest must have been checked as well."""
        results = await self.results(text)
        found = [result for result in results if result.check == check and result.status is status]
        assert len(found) == 1, "\n".join(map(str, results))
        assert found[0].remedy
        assert [result for result in results if result.check == "store"], "the checks went on"
        return found[0]

    async def failures(self, text: str | None = None) -> list[str]:
        return [f"{r.check}: {r.message}" for r in await self.results(text) if r.status is Status.FAIL]


@pytest.fixture
async def ground(database: Database, tmp_path: Path) -> AsyncIterator[Ground]:
    await demo_erp(database)
    async with Shop(token=TOKEN) as shop:
        text = demo_text(database, shop.url, tmp_path)
        await set_up(database, text, tmp_path)
        yield Ground(database, tmp_path, with_roles(database, text))
    # roles belong to the cluster, which other tests use too
    await database.execute(f"drop owned by {READ_ROLE}, {REPLICATION_ROLE}")
    await database.execute(f"drop role if exists {READ_ROLE}, {REPLICATION_ROLE}")


async def test_a_good_set_up_has_no_failure_before_and_while_the_daemon_runs(ground: Ground) -> None:
    results = await ground.results()
    assert not await ground.failures()
    checks = list(dict.fromkeys(result.check for result in results))
    assert checks == [
        c for c in CHECKS if c != "idle_replication_slot_timeout" or ground.database.cluster.version >= 18
    ]
    warned = {result.check for result in results if result.status is Status.WARN}
    assert warned == {"secrets"}  # the test's token stands in the file
    async with Daemon(ground.folder, ground.text) as daemon:
        await daemon.until_event("ready")
        assert not await ground.failures()
        (slot,) = [result for result in await ground.results() if result.check == "slot"]
        assert slot.status is Status.PASS
        assert "is read by" in slot.message
        await daemon.terminate()


async def test_the_command_prints_lines_or_json_and_its_exit_code(ground: Ground) -> None:
    config = written(ground.folder, ground.text)
    plain = await erpsyncd("doctor", "-c", config)
    assert plain.code == 1, plain.out + plain.err
    assert "PASS  server_version" in plain.out
    assert plain.out.splitlines()[-1].endswith("1 warnings, 0 failed")
    await ground.database.execute("drop publication erpsyncd")
    machine = await erpsyncd("doctor", "--json", "-c", config)
    assert machine.code == 2
    rows: list[dict[str, Any]] = json.loads(machine.out)
    assert {tuple(row) for row in rows} == {("check", "status", "message", "remedy")}
    assert [row["check"] for row in rows if row["status"] == "FAIL"] == ["publication"]


BROKEN = {
    "no publication": ("drop publication erpsyncd", "publication", "does not exist", "sql setup"),
    "all tables": (
        "drop publication erpsyncd; create publication erpsyncd for all tables",
        "publication",
        "FOR ALL TABLES",
        "by name",
    ),
    "no deletes": (
        "alter publication erpsyncd set (publish = 'insert, update')",
        "publication",
        "leaves out",
        "SET (publish",
    ),
    "a table left": (
        "alter publication erpsyncd drop table item_image",
        "publication_tables",
        "public.item_image is not in publication",
        'ADD TABLE "public"."item_image"',
    ),
    "no identity": (
        "alter table item_image replica identity nothing",
        "replica_identity",
        "public.item_image has no usable replica identity",
        "REPLICA IDENTITY FULL",
    ),
    "may write": (
        f"grant update on item to {READ_ROLE}",
        "write_privileges",
        "may write in public.item",
        "REVOKE",
    ),
    "may write a column": (
        f"grant update (name) on item to {READ_ROLE}",
        "write_privileges",
        "may write in public.item",
        "REVOKE",
    ),
    "owner": (f"alter table category owner to {READ_ROLE}", "write_privileges", "owns public.category", "sql setup"),
    "superuser": (f"alter role {READ_ROLE} superuser", "write_privileges", "is a superuser", "sql setup"),
    "may not read": (
        f"revoke select on price_list, shipment_line from {READ_ROLE}",
        "privileges",
        "may not read public.price_list, public.shipment_line",
        f'GRANT SELECT ON "public"."price_list", "public"."shipment_line" TO "{READ_ROLE}"',
    ),
    "no replication": (
        f"alter role {REPLICATION_ROLE} noreplication",
        "replication_login",
        "replication",
        "sql setup",
    ),
    "no column": (
        "alter table item rename column sku to code",
        "mapping",
        "entity.stock.sql",
        "Correct the SQL there",
    ),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
async def test_a_broken_server_gets_its_failure_and_remedy(ground: Ground, case: str) -> None:
    statements, check, message, remedy = BROKEN[case]
    await ground.database.execute(statements)
    try:
        found = [r for r in await ground.results() if r.check == check and r.status is Status.FAIL]
        assert found
        assert any(message in r.message and remedy in r.remedy for r in found), found
        assert [r for r in await ground.results() if r.check == "store"]
    finally:
        await ground.database.execute(f"alter role {READ_ROLE} nosuperuser; alter table category owner to postgres")


async def test_without_usage_of_the_schema_the_missing_privilege_is_named(ground: Ground) -> None:
    # a schema of its own: everyone may use public
    await ground.database.execute(
        f"create schema apart; alter table price_list set schema apart; revoke usage on schema apart from {READ_ROLE}"
    )
    text = ground.text.replace("price_list l on", "apart.price_list l on")
    found = [r for r in await ground.results(text) if r.check == "privileges" and r.status is Status.FAIL]
    assert any("permission denied for schema apart" in r.message for r in found)
    watched = text.replace('table = "public.price_list"', 'table = "apart.price_list"')
    results = await ground.results(watched)
    assert any(r.check == "privileges" and "schema apart" in r.message for r in results if r.status is Status.FAIL)
    assert not [r for r in results if r.check == "routing"], "what could not be looked at is not said to be good"
    assert [r for r in results if r.check == "publication_tables"], "the checks beside it go on"


async def test_column_lists_and_row_filters_are_told(ground: Ground) -> None:
    if ground.database.cluster.version < 15:
        pytest.skip("column lists came with PostgreSQL 15")
    one = "alter publication erpsyncd drop table {0}; alter publication erpsyncd add table {0} {1}"
    await ground.database.execute(one.format("description", "(item_id, locale, title)"))
    assert "upgrades" in (await ground.told("column_lists", Status.WARN)).message
    await ground.database.execute("alter table shipment replica identity default")
    await ground.database.execute(one.format("shipment", "(id)"))
    left_out = await ground.told("column_lists", Status.FAIL)
    assert "public.shipment" in left_out.message
    assert 'ADD TABLE "public"."shipment"' in left_out.remedy
    await ground.database.execute(one.format("item", "where (id > 3)"))
    assert "public.item has a row filter" in (await ground.told("row_filters", Status.FAIL)).message


async def test_published_and_unwatched_tables_are_a_warning(ground: Ground) -> None:
    await ground.database.execute("alter publication erpsyncd add table warehouse")
    found = await ground.told("publication_tables", Status.WARN)
    assert "public.warehouse" in found.message
    assert 'DROP TABLE "public"."warehouse"' in found.remedy


async def test_partitions_that_are_published_under_their_own_names_are_a_warning(ground: Ground) -> None:
    await ground.database.execute(
        """alter publication erpsyncd drop table price; alter table price rename to price_1;
        alter table price_1 alter id drop identity;
        create table price (like price_1 including defaults) partition by list (item_id);
        alter table price attach partition price_1 default; alter publication erpsyncd add table price;
        alter publication erpsyncd set (publish_via_partition_root = false)"""
    )
    found = await ground.told("publication_tables", Status.WARN)
    assert "public.price_1" in found.message
    assert "publish_via_partition_root = true" in found.remedy


async def test_a_check_that_fails_itself_is_told_and_hides_no_other_one(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(asking, "role_facts", broken)
    found = await ground.told("write_privileges", Status.FAIL)
    assert "the check itself failed: RuntimeError: no such luck" in found.message
    assert {r.check for r in await ground.results()} >= {"mapping", "samples", "clock"}


async def test_what_the_identity_does_not_carry_is_left_to_the_row_index(ground: Ground) -> None:
    await ground.database.execute("alter table price replica identity default")
    (routing,) = [r for r in await ground.results() if r.check == "routing"]
    assert routing.status is Status.PASS
    assert "public.price.item_id" in routing.message


async def test_the_slot_of_somebody_else_a_missing_one_and_a_gap(ground: Ground) -> None:
    owner = await ground.database.connect()
    name = f"erpsyncd_{ground.database.name}"
    refused = ground.text.replace("create_slot = true", "create_slot = false")
    missing = await ground.told("slot", Status.FAIL, refused)
    assert "does not exist" in missing.message
    await owner.execute("select pg_create_logical_replication_slot($1, 'test_decoding')".replace("$1", f"'{name}'"))
    foreign = await ground.told("slot", Status.FAIL)
    assert "test_decoding" in foreign.message
    await owner.execute(f"select pg_drop_replication_slot('{name}')")

    async with Daemon(ground.folder, ground.text) as daemon:
        await daemon.until_event("ready")
        await daemon.terminate()
    idle = await ground.told("slot", Status.WARN)
    assert "nobody reads" in idle.message
    await owner.execute(f"select pg_drop_replication_slot('{name}')")
    gap = await ground.told("slot", Status.FAIL)
    assert "is gone" in gap.message
    assert "resync" in gap.remedy


async def test_slots_that_were_left_behind_are_told(ground: Ground) -> None:
    owner = await ground.database.connect()
    await owner.execute("select pg_create_logical_replication_slot('erpsyncd_former', 'pgoutput')")
    found = await ground.told("other_slots", Status.WARN)
    assert "erpsyncd_former" in found.message
    assert "pg_drop_replication_slot('erpsyncd_former')" in found.remedy


async def test_a_large_table_without_an_index_is_told_with_the_index(ground: Ground) -> None:
    await ground.database.execute(
        """drop index reservation_item;
        insert into reservation (order_id, item_id, warehouse_id, quantity)
        select 1, 1 + n % 40, 1, 1 from generate_series(1, 20000) n;
        analyze reservation"""
    )
    results = [r for r in await ground.results() if r.check == "plans"]
    assert [r.status for r in results] == [Status.WARN]
    assert "entity.stock.sql reads all of public.reservation" in results[0].message
    assert 'CREATE INDEX CONCURRENTLY ON "public"."reservation" ("item_id")' in results[0].remedy
    await ground.database.execute("create index on reservation (item_id); analyze reservation")
    assert [r.status for r in await ground.results() if r.check == "plans"] == [Status.PASS]


async def test_row_level_security_is_told(ground: Ground) -> None:
    await ground.database.execute("alter table customer enable row level security")
    assert "public.customer" in (await ground.told("privileges", Status.WARN)).message


async def test_rows_that_make_no_document_are_told_before_they_are_quarantined(ground: Ground) -> None:
    await ground.database.execute("alter table invoice alter amount type numeric")
    await ground.database.execute("update invoice set amount = 'NaN' where id = (select min(id) from invoice)")
    text = ground.text.replace("0)::numeric(14, 2)", "0)")
    assert "make no valid document" in (await ground.told("samples", Status.WARN, text)).message


async def test_a_store_that_is_away_or_refuses_is_told(ground: Ground) -> None:
    refused = await ground.told("store", Status.FAIL, ground.text.replace(f'"{TOKEN}"', '"another"'))
    assert "another" not in refused.message + refused.remedy
    url = next(line for line in ground.text.splitlines() if line.startswith("url = "))
    away = await ground.told("store", Status.FAIL, ground.text.replace(url, 'url = "http://127.0.0.1:1/x"'))
    assert "store.main" in away.message


async def test_an_erp_that_is_away_does_not_hide_the_rest(ground: Ground) -> None:
    away = ground.text.replace(f":{ground.database.cluster.port}/", ":1/")
    results = await ground.results(away)
    assert [r.check for r in results if r.status is Status.FAIL] == ["connection"]
    assert [r.status for r in results if r.check == "store"] == [Status.PASS]
    wrong = ground.text.replace(f"/{ground.database.name}", "/nowhere")
    (failed,) = [r for r in await ground.results(wrong) if r.check == "connection"]
    assert "nowhere" in failed.message


async def test_mistakes_of_the_configuration_are_results_too(ground: Ground) -> None:
    results = await ground.results(ground.text.replace("[erp]", "[erp]\nslott = 1\n", 1))
    assert [(r.check, r.status) for r in results] == [("configuration", Status.FAIL)]
    assert "slott" in results[0].message
    assert exit_code(results) == 2
    (absent,) = await diagnose(ground.folder / "nothing.toml")
    assert absent.status is Status.FAIL


async def test_secrets_that_others_can_read_are_told_without_being_shown(ground: Ground) -> None:
    secret = ground.folder / "shop-token"
    secret.write_text(TOKEN)
    text = ground.text.replace(f'"{TOKEN}"', '{ file = "shop-token" }')
    for mode, status in ((0o644, Status.FAIL), (0o640, Status.WARN), (0o600, Status.PASS)):
        secret.chmod(mode)
        (told,) = [r for r in await ground.results(text) if r.check == "secrets"]
        assert told.status is status
        assert TOKEN not in told.message
    config = written(ground.folder, ground.text)
    config.chmod(0o644)
    (told,) = [r for r in await diagnose(config) if r.check == "secrets"]
    assert told.status is Status.FAIL
    assert TOKEN not in told.message + told.remedy


async def test_a_state_file_that_is_none_is_told(ground: Ground) -> None:
    folder = ground.folder / "state"
    folder.mkdir(mode=0o755)
    assert "chmod 700" in (await ground.told("state", Status.WARN)).remedy
    folder.chmod(0o700)
    (folder / "state.db").write_bytes(b"no database" * 100)
    assert "cannot be read" in (await ground.told("state", Status.FAIL)).message
    (folder / "state.db").unlink()
    sqlite3.connect(folder / "state.db").close()
    assert [r.status for r in await ground.results() if r.check == "state"] == [Status.FAIL]


async def test_without_the_stream_nothing_of_it_is_checked(ground: Ground) -> None:
    await ground.database.execute("drop publication erpsyncd")
    url = next(line for line in ground.text.splitlines() if line.startswith("url = ")).split('"')[1]
    text = with_roles(
        ground.database, own_text(ground.database, url, ground.folder, POLLED, 'mode = "poll"\npublication = "none"')
    )
    results = await ground.results(text)
    assert [r for r in results if r.status is Status.FAIL] == []
    assert not {"publication", "slot", "replication_login"} & {r.check for r in results}


@pytest.mark.newest
async def test_settings_of_the_server(new_cluster: Any, tmp_path: Path) -> None:
    cluster = new_cluster(
        settings={
            "wal_level": "replica",
            "max_slot_wal_keep_size": "-1",
            "max_replication_slots": 1,
            "max_wal_senders": 1,
            "idle_replication_slot_timeout": "1h",
            "synchronized_standby_slots": "",
        }
    )
    cluster.psql("create database erp")
    database = Database(cluster, "erp")
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    await set_up(database, text, tmp_path)
    ground = Ground(database, tmp_path, with_roles(database, text))
    failures = await ground.failures()
    assert any("wal_level is replica" in line for line in failures)
    assert any("max_slot_wal_keep_size is unlimited" in line for line in failures)
    assert "1 h" in (await ground.told("idle_replication_slot_timeout", Status.WARN)).message
    allowed = ground.text.replace("create_slot = true", "create_slot = true\nallow_unbounded_slot = true")
    assert "as was allowed" in (await ground.told("max_slot_wal_keep_size", Status.WARN, allowed)).message
    followed = ground.text.replace("create_slot = true", "create_slot = true\nfailover_slot = true")
    told = [r for r in await ground.results(followed) if r.check == "failover"]
    assert len(told) == 2
    assert all(r.status is Status.WARN for r in told)

    cluster.psql("alter system set wal_level = logical")
    cluster.psql("alter system set max_slot_wal_keep_size = '2GB'")
    cluster.restart()
    cluster.psql("select pg_create_physical_replication_slot('standby')")
    await until(lambda: cluster.running, what="the server is back")
    failures = await ground.failures()
    assert any(line.startswith("max_replication_slots: all 1 slots are taken") for line in failures)
    cluster.psql("alter system set synchronized_standby_slots = 'gone'")
    cluster.psql("select pg_reload_conf()")

    async def seen() -> bool:
        return any("decoding stands still" in line for line in await ground.failures(followed))

    await until(seen, within=20, what="the setting is in force")

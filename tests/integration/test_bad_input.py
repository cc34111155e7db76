"""What a person got wrong: each mistake ends in one clear line with its place and the remedy.

Invariant under test: a fault of source or configuration ends the start with 78 within seconds and without a traceback, and
nothing of it was half done: no slot was made, no state was written for a database that is not the right one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import TOKEN, Daemon, erpsyncd
from tests.integration.stage import SMALL_ERP, STOCK, mapped
from tests.integration.test_reload import PRICE
from tests.waiting import until

SOON = 25.0
"""A refused start takes a second or two; this is for a machine that is busy."""


async def refused(folder: Path, config: str, *words: str, code: int = 78) -> str:
    """A start with this configuration ends at once, and one line says why, with these words."""
    file = folder / "config.toml"
    file.write_text(config)
    ended = await erpsyncd("run", "-c", file, within=SOON)
    assert ended.code == code, ended.output
    assert "Traceback" not in ended.output
    assert "Warning" not in ended.output, ended.output
    lines = [json.loads(line) for line in ended.output.splitlines()]
    (told,) = [line["msg"] for line in lines if line["level"] == "error" and line["event"] != "store_lost"]
    for word in words:
        assert word in told
    return ended.output


def for_stock(dsn: str, folder: Path, entities: str = STOCK, **options: str) -> str:
    return mapped(dsn, "http://127.0.0.1:9/api", folder / "state.db", entities, **options)


@pytest.mark.newest
async def test_a_wrong_password_is_named_and_not_shown(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = new_cluster(password="right-one")
    dsn = cluster.dsn(password="wrong-one-8271")
    output = await refused(tmp_path, for_stock(dsn, tmp_path), "erp.", "E-SOURCE-LOGIN", "password")
    assert "wrong-one-8271" not in output


async def test_an_unknown_database_is_named(cluster: Cluster, tmp_path: Path) -> None:
    await refused(tmp_path, for_stock(cluster.dsn("nowhere"), tmp_path), '"nowhere"', "E-SOURCE-DATABASE", "erp.")


async def test_an_unknown_role_is_named(cluster: Cluster, tmp_path: Path) -> None:
    await refused(
        tmp_path, for_stock(cluster.dsn("postgres", "nobody_here"), tmp_path), "nobody_here", "E-SOURCE-LOGIN"
    )


async def test_a_missing_publication_is_named_and_no_slot_is_made(database: Database, tmp_path: Path) -> None:
    await database.execute(SMALL_ERP.replace("create publication", "create publication other for table item; --"))
    await refused(tmp_path, for_stock(database.dsn, tmp_path), "erp.publication", '"erpsyncd"', "sql setup")
    connection = await database.connect()
    assert not await connection.fetchval(
        "select count(*) from pg_replication_slots where database = current_database()"
    )


@pytest.mark.newest
async def test_a_log_without_logical_changes_is_named(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = new_cluster(settings={"wal_level": "replica"})
    cluster.psql(SMALL_ERP)
    await refused(tmp_path, for_stock(cluster.dsn(), tmp_path), "wal_level", "replica", "E-WAL-LEVEL")


@pytest.mark.newest
async def test_a_slot_that_could_fill_the_erps_disk_is_refused(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = new_cluster(settings={"max_slot_wal_keep_size": "-1"})
    cluster.psql(SMALL_ERP)
    config = for_stock(cluster.dsn(), tmp_path)
    await refused(tmp_path, config, "max_slot_wal_keep_size", "E-SLOT-UNBOUNDED", "allow_unbounded_slot")
    allowed = config.replace("[erp]", "[erp]\nallow_unbounded_slot = true")
    async with Daemon(tmp_path, allowed) as daemon:
        await daemon.until_event("ready")


async def test_a_role_that_may_not_replicate_is_named(database: Database, tmp_path: Path) -> None:
    await database.execute(SMALL_ERP)
    role = f"reader_{database.name}"
    await database.execute(f"create role {role} login; grant select on all tables in schema public to {role}")
    try:
        dsn = database.cluster.dsn(database.name, role)
        await refused(tmp_path, for_stock(dsn, tmp_path), role, "REPLICATION", "E-SOURCE-PRIVILEGE")
    finally:
        await database.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("place", ["erp.dsn", "erp.replication_dsn"])
async def test_a_login_of_the_stream_that_is_refused_is_told_at_the_key_that_was_written(
    database: Database, tmp_path: Path, place: str
) -> None:
    await database.execute(SMALL_ERP)
    role = f"streamer_{database.name}"
    await database.execute(f"create role {role} login replication; grant select on item to {role}")
    try:
        async with Shop(token=TOKEN) as shop:
            dsn = database.cluster.dsn(database.name, role)
            text = mapped(dsn if place == "erp.dsn" else database.dsn, shop.url, tmp_path / "state.db", STOCK)
            if place == "erp.replication_dsn":
                text = text.replace("[state]", f'replication_dsn = "{dsn}"\n[state]', 1)
            async with Daemon(tmp_path, text) as daemon:
                await daemon.until_loaded()
                await database.execute(
                    f"alter role {role} nologin; select pg_terminate_backend(pid) from pg_stat_activity"
                    f" where usename = '{role}'"
                )

                async def told() -> bool:
                    return f"{place}: the ERP refused the login" in str(await daemon.status())

                await until(told, within=SOON, what="the status names the key")
            file = tmp_path / "config.toml"
            file.write_text(text)
            ended = await erpsyncd("doctor", "-c", file)
            assert ended.code == 2
            assert ("erp.replication_dsn" in ended.output) is (place == "erp.replication_dsn")
            assert f"{place}: the ERP refused the login" in ended.output
    finally:
        await database.execute(f"drop owned by {role}; drop role {role}")


async def test_a_role_that_may_not_read_a_table_is_told_which_and_goes_on_when_it_may(
    database: Database, tmp_path: Path
) -> None:
    await database.execute(SMALL_ERP)
    role = f"reader_{database.name}"
    await database.execute(f"create role {role} login replication")
    try:
        async with Shop(token=TOKEN) as shop:
            text = mapped(database.cluster.dsn(database.name, role), shop.url, tmp_path / "state.db", STOCK)
            async with Daemon(tmp_path, text) as daemon:
                line = await daemon.until_event("entity_stopped")
                assert (line["entity"], line["code"], "item" in line["msg"]) == ("stock", "E-SOURCE-PRIVILEGE", True)
                assert (await daemon.status())["verdict"] == "UNKNOWN"
                await database.execute(f"grant select on item to {role}")
                await daemon.until_event("entity_resumed")
                await daemon.until_loaded()
    finally:
        await database.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("drop publication erpsyncd; create publication erpsyncd for all tables", ("ALL TABLES", "E-PUBLICATION-ALL")),
        (
            "drop publication erpsyncd; create table other (id int primary key); create publication erpsyncd for table other",
            ("entity.stock.watch.0.table", "public.item", "ADD TABLE", "E-PUBLICATION-TABLE"),
        ),
        (
            "create table loose (a int); alter publication erpsyncd add table loose",
            ("public.loose", "replica identity", "E-IDENTITY"),
        ),
        ("alter table item replica identity nothing", ("public.item", "replica identity", "E-IDENTITY")),
        ("alter publication erpsyncd set (publish = 'insert')", ("updates or deletes", "ALTER PUBLICATION")),
    ],
    ids=["all-tables", "not-in-it", "no-key", "identity-nothing", "inserts-only"],
)
async def test_a_publication_that_would_lose_changes_or_break_the_erp_is_refused(
    database: Database, tmp_path: Path, schema: str, words: tuple[str, ...]
) -> None:
    await database.execute(SMALL_ERP)
    await database.execute(schema)
    await refused(tmp_path, for_stock(database.dsn, tmp_path), *words)


@pytest.mark.newest
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from item where id = any", "form item where id = any", ("entity.stock.sql", "syntax", "line 1")),
        ("on_hand as available from", "\\n on_hnd as available from", ("entity.stock.sql", "on_hnd", "line 2")),
        ("id as key,", "id,", ("entity.stock.sql", "`key`", "E-MAPPING-COLUMN")),
        ("on_hand as available", "on_hand", ("entity.stock.sql", "`available`", "E-MAPPING-COLUMN")),
        ('table = "item"', 'table = "itme"', ("entity.stock.watch.0.table", "public.itme")),
        ('key = "id"', 'key = "idd"', ("entity.stock.watch.0.key", "idd")),
        ("select id from item where id > $1", "select id from item where nr > $1", ("entity.stock.all_keys", "nr")),
        (
            "[entity.stock]",
            '[entity.stock]\nkey_type = "uuid"',
            (
                "entity.stock.watch.0.key: public.item.id",
                "entity.stock.sql: ",
                "entity.stock.all_keys: ",
                "key_type is uuid",
            ),
        ),
        ("id as key,", "sku as key,", ("entity.stock.sql: the query gives keys of type text", "E-KEY-TYPE")),
        (
            "where id = any($1)",
            "where sku = any($1)",
            ("entity.stock.sql: the query compares its $1 with type text", "E-KEY-TYPE"),
        ),
        (
            "select id from item where id > $1",
            "select sku from item where id > $1",
            ("entity.stock.all_keys: ", "E-KEY-TYPE"),
        ),
        (
            'watch = [{ table = "item", key = "id" }]',
            'watch = [{ table = "item", column = "id", keys = "select sku from item where id = any($1)" }]',
            ("entity.stock.watch.0.keys: the query gives keys of type text", "E-KEY-TYPE"),
        ),
        (
            'watch = [{ table = "item", key = "id" }]',
            'poll = [{ every = "1h", keys = "select now() where now() > $1 and now() <= $2" }]',
            ("entity.stock.poll.0.keys: the query gives keys of type timestamptz", "E-KEY-TYPE"),
        ),
    ],
    ids=[
        *("syntax", "column", "no-key", "no-field", "table", "watch-column", "all-keys", "key-type"),
        *("keys-given", "keys-taken", "pages", "looked-up", "polled"),
    ],
)
async def test_a_mapping_that_does_not_fit_the_erp_is_refused(
    database: Database, tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    await database.execute(SMALL_ERP)
    config = for_stock(database.dsn, tmp_path)
    assert old in config
    await refused(tmp_path, config.replace(old, new), *words)


@pytest.mark.newest
async def test_all_that_the_erp_lacks_is_told_at_once(database: Database, tmp_path: Path) -> None:
    await database.execute(SMALL_ERP.replace("create publication", "--"))
    bad = STOCK.replace("on_hand", "on_hnd") + PRICE.replace("sku,", "skuu,")
    config = for_stock(database.dsn, tmp_path, bad)
    await refused(tmp_path, config, "erp.publication", "entity.stock.sql", "entity.price.sql", "3 problems")


async def test_malformed_toml_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[erp]\ndsn = "postgresql://x@y/z\n')
    for command in (("run", "-c", file), ("config", "check", file)):
        ended = await erpsyncd(*command)
        assert (ended.code, "Traceback" in ended.output) == (78, False)
        assert "config.toml:2" in ended.output
        assert "TOML" in ended.output


async def test_config_check_lists_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = for_stock("postgresql://u@h/d", tmp_path).replace('adapter = "http"', 'adapter = "htpt"')
    file.write_text(text.replace("canary", "canery").replace("[entity.stock]", '[entity.stock]\nlane = "slow"'))
    ended = await erpsyncd("config", "check", file)
    assert ended.code == 78
    assert all(word in ended.output for word in ("erp.canery", "store.main.adapter", "entity.stock.lane", "3 problems"))
    file.write_text(for_stock("postgresql://u@h/d", tmp_path))
    assert (await erpsyncd("config", "check", file)).code == 0


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = await erpsyncd("run", "-c", tmp_path / "none.toml")
    assert (ended.code, "none.toml" in ended.output, "Traceback" in ended.output) == (78, True, False)


@pytest.mark.parametrize("arguments", [("run", "--bogus"), ("bogus",), ("status", "-c"), ("config", "check")])
async def test_a_command_that_does_not_exist_exits_64(arguments: tuple[str, ...]) -> None:
    ended = await erpsyncd(*arguments)
    assert (ended.code, "Traceback" in ended.output) == (64, False)


@pytest.mark.newest
async def test_a_state_folder_that_cannot_be_used_is_named(database: Database, tmp_path: Path) -> None:
    await database.execute(SMALL_ERP)
    (tmp_path / "file").write_text("")
    config = mapped(database.dsn, "http://127.0.0.1:9/api", tmp_path / "file" / "state.db", STOCK)
    await refused(tmp_path, config, "state.path", "E-STATE")
    (tmp_path / "other.db").write_bytes(b"this is no database at all" * 100)
    config = mapped(database.dsn, "http://127.0.0.1:9/api", tmp_path / "other.db", STOCK)
    await refused(tmp_path, config, "E-STATE-CORRUPT")


@pytest.mark.newest
async def test_a_port_that_is_taken_is_named(database: Database, tmp_path: Path) -> None:
    await database.execute(SMALL_ERP)
    async with Daemon(tmp_path, for_stock(database.dsn, tmp_path)) as first:
        await first.until_event("ready")
        port = first.url().rpartition(":")[2]
        config = for_stock(database.dsn, tmp_path / "second").replace("127.0.0.1:0", f"127.0.0.1:{port}")
        await refused(tmp_path, config, "status.listen", port, code=2)  # it may be free again soon

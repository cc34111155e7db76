"""The DBA's scripts, run by psql on real servers: set up, run again, work with it, take it away.

Invariant under test: the script gives exactly what the daemon needs, a second run changes nothing, nothing that it does can
break the ERP's own statements, and after the teardown the server is as it was.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from daemon import config as configuration
from daemon import dba
from daemon.dba.facts import READ_ROLE, REPLICATION_ROLE, wanted
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import TOKEN, Daemon, exact
from tests.integration.prepared import (
    demo_erp,
    demo_text,
    erpsyncd,
    own_text,
    psql,
    script,
    set_up,
    with_roles,
    written,
)
from tests.waiting import until

STATE_SQL = """
select 'role ' || rolname, row(rolsuper, rolreplication, rolcanlogin, rolconnlimit)::text from pg_roles
 where rolname = any($1)
union all select 'setting ' || r.rolname, s.setconfig::text from pg_db_role_setting s
 join pg_roles r on r.oid = s.setrole join pg_database d on d.oid = s.setdatabase
 where rolname = any($1) and d.datname = current_database()
union all select 'table ' || c.oid::regclass, row(a.privilege_type, c.relreplident)::text
 from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee where r.rolname = any($1)
union all select 'schema ' || n.nspname, a.privilege_type
 from pg_namespace n, aclexplode(n.nspacl) a join pg_roles r on r.oid = a.grantee where r.rolname = any($1)
union all select 'database', a.privilege_type || r.rolname
 from pg_database d, aclexplode(d.datacl) a join pg_roles r on r.oid = a.grantee
 where r.rolname = any($1) and d.datname = current_database()
union all select 'publication ' || pubname, row(puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot)::text
 from pg_publication
union all select 'member ' || pubname, schemaname || '.' || tablename from pg_publication_tables
union all select 'slot', slot_name from pg_replication_slots where database = current_database()
order by 1, 2"""

NAMES = """
create schema "ERP";
create table "ERP"."Artikel" ("Nr" bigint primary key, sku text not null, "Menge % frei" int not null);
create table "ERP"."a ""quoted"" name" ("Nr" bigint primary key references "ERP"."Artikel", extra int not null);
create view "ERP"."Bestand" as
    select i."Nr", i.sku, i."Menge % frei" + coalesce(e.extra, 0) as frei
      from "ERP"."Artikel" i left join "ERP"."a ""quoted"" name" e using ("Nr");
create table "ERP".secret (password text);
insert into "ERP"."Artikel" select n, 'A' || n, n from generate_series(1, 9) n;
"""
NAMES_ENTITY = """
[entity.stock]
sql = '''select "Nr" as key, sku, frei as available from "ERP"."Bestand" where "Nr" = any($1)'''
all_keys = '''select "Nr" from "ERP"."Bestand" where "Nr" > $1 order by "Nr" limit $2'''
watch = [{ table = "ERP.Artikel", key = "Nr" }]
"""

PARTS = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint, item_id bigint not null, quantity int not null, year int not null, primary key (id, year))
    partition by range (year);
create table move_2025 partition of move for values from (2025) to (2026);
create table move_2026 partition of move for values from (2026) to (2027);
insert into item select n, 'A' || n from generate_series(1, 5) n;
insert into move select n, n, 10, 2025 from generate_series(1, 5) n;
"""
PARTS_ENTITY = """
[entity.stock]
sql = '''select i.id as key, i.sku, coalesce((select sum(quantity) from move m where m.item_id = i.id), 0)::bigint as available
           from item i where i.id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]
"""


async def state(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in await connection.fetch(STATE_SQL, [READ_ROLE, REPLICATION_ROLE])]


async def torn_down(database: Database, text: str, folder: Path) -> None:
    """Run the teardown twice; each must succeed."""
    removal = dba.teardown(wanted(configuration.load_text(text, base=folder)))

    async def gone() -> bool:  # the server may not have noticed yet that a killed daemon's sessions ended
        return (await psql(database, removal)).code == 0

    await until(gone, within=20, every=0.2, what="the teardown succeeds")
    assert (await psql(database, removal)).code == 0


async def test_the_daemon_works_with_what_was_set_up_and_nothing_stays(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    owner = await database.connect()
    before = await state(owner)
    async with Shop(token=TOKEN) as shop:
        text = demo_text(database, shop.url, tmp_path)
        printed = await erpsyncd("sql", "setup", "-c", written(tmp_path, text))
        assert printed.code == 0, printed.err
        for _ in range(2):
            ran = await psql(database, printed.out)
            assert ran.code == 0, ran.err
            after = await state(owner)
        assert ran.err == ""
        assert await state(owner) == after != before

        text = with_roles(database, text)
        async with Daemon(tmp_path, text) as daemon:
            await daemon.until_event("ready")
            await owner.execute("update price set amount = 4711 where id = (select min(id) from price)")
            await until(
                lambda: any(exact(d["amount"]) == 4711 for d in shop.documents("price").values()),
                within=40,
                what="the changed price is in the store",
            )
            connected = {
                row[0] for row in await owner.fetch("select usename from pg_stat_activity where usename is not null")
            }
            assert {READ_ROLE, REPLICATION_ROLE} <= connected

            removal = await erpsyncd("sql", "teardown", "-c", written(tmp_path, text))
            refused = await psql(database, removal.out)
            assert refused.code != 0
            assert "stop erpsyncd first" in refused.err
            assert await owner.fetchval("select active from pg_replication_slots where database = $1", database.name)
            await daemon.terminate()
    await torn_down(database, text, tmp_path)
    assert await state(owner) == [row for row in before if not row[0].startswith("slot")]


async def test_the_reading_role_can_write_nothing_whatever_it_sets(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    await set_up(database, demo_text(database, "http://127.0.0.1:1/x", tmp_path), tmp_path)
    reader = await asyncpg.connect(database.cluster.dsn(database.name, READ_ROLE))
    try:
        assert await reader.fetchval("select count(*) from item") > 0
        assert await reader.fetchval("select current_setting('statement_timeout')") == "30s"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("update item set name = 'x'")
        await reader.execute("set default_transaction_read_only = off")
        for statement in (
            "update item set name = 'x'",
            "insert into warehouse (code) values ('x')",
            "delete from reservation",
            "truncate price",
            "select * from warehouse",  # no query of the mapping names it
            "alter table item add column x int",
            "drop publication erpsyncd",
            "select pg_create_logical_replication_slot('x', 'pgoutput')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(statement)
    finally:
        await reader.close()
    await torn_down(database, demo_text(database, "http://127.0.0.1:1/x", tmp_path), tmp_path)


async def test_any_name_and_views_can_be_used(database: Database, tmp_path: Path) -> None:
    await database.execute(NAMES)
    owner = await database.connect()
    async with Shop(token=TOKEN) as shop:
        text = own_text(database, shop.url, tmp_path, NAMES_ENTITY, 'publication = "Größe 1.a\'b%"')
        for _ in range(2):
            await set_up(database, text, tmp_path)
        reads = await owner.fetch(
            "select c.relname from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee"
            " where r.rolname = $1",
            READ_ROLE,
        )
        assert {row[0] for row in reads} == {"Bestand", "Artikel"}  # the view answers for what is beneath it
        async with Daemon(tmp_path, with_roles(database, text)) as daemon:
            await daemon.until_event("ready")
            await owner.execute("""update "ERP"."Artikel" set "Menge % frei" = 77 where "Nr" = 3""")
            await until(lambda: shop.documents("stock").get("A3|default", {}).get("available") == 77, within=40)
            await daemon.terminate()
    await torn_down(database, text, tmp_path)


async def test_partitions_arrive_under_the_name_of_their_table(database: Database, tmp_path: Path) -> None:
    await database.execute(PARTS)
    owner = await database.connect()
    async with Shop(token=TOKEN) as shop:
        text = own_text(database, shop.url, tmp_path, PARTS_ENTITY)
        for _ in range(2):
            await set_up(database, text, tmp_path)
        published = await owner.fetch("select tablename from pg_publication_tables order by 1")
        assert [row[0] for row in published] == ["item", "move"]

        async def shows(sku: str, available: int) -> None:
            await until(
                lambda: shop.documents("stock").get(f"{sku}|default", {}).get("available") == available,
                within=40,
                what=f"{sku} shows {available}",
            )

        async with Daemon(tmp_path, with_roles(database, text)) as daemon:
            await daemon.until_event("ready")
            await shows("A5", 10)
            await owner.execute("insert into move values (10, 1, 5, 2026)")
            await shows("A1", 15)
            await owner.execute("update move set year = 2026, quantity = 3 where id = 2")  # moves to another partition
            await shows("A2", 3)
            await owner.execute("create table move_2027 partition of move for values from (2027) to (2028)")
            await owner.execute("insert into move values (11, 3, 1, 2027)")
            await shows("A3", 11)
            await owner.execute("delete from move where id = 4")
            await shows("A4", 0)
            await owner.execute("update move set item_id = 4 where id = 5")
            await shows("A5", 0)
            await shows("A4", 10)
            await daemon.terminate()
    await torn_down(database, text, tmp_path)


async def test_a_table_without_a_key_is_refused_before_it_can_break_the_erp(database: Database, tmp_path: Path) -> None:
    await database.execute(
        "create table item (id bigint not null, sku text, on_hand int); insert into item values (1, 'A1', 1)"
    )
    entity = """
[entity.stock]
sql = "select id as key, sku, on_hand as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""
    text = own_text(database, "http://127.0.0.1:1/x", tmp_path, entity)
    printed = await script(text, tmp_path, database.dsn)
    assert '--     "public"."item"\n' in printed
    ran = await psql(database, printed)
    assert ran.code != 0
    assert "neither a key nor a replica identity" in ran.err
    assert "--full-identity" in ran.err
    await database.execute("update item set on_hand = 2")
    for _ in range(2):
        await set_up(database, text, tmp_path, full_identity=True)
    await database.execute("update item set on_hand = 3")
    owner = await database.connect()
    assert await owner.fetchval("select relreplident from pg_class where relname = 'item'") == b"f"
    await torn_down(database, text, tmp_path)


async def test_full_identity_reaches_every_partition(database: Database, tmp_path: Path) -> None:
    await database.execute(PARTS)
    text = own_text(database, "http://127.0.0.1:1/x", tmp_path, PARTS_ENTITY)
    await set_up(database, text, tmp_path, full_identity=True)
    owner = await database.connect()
    rows = await owner.fetch(
        "select relname, relreplident from pg_class where relkind in ('r', 'p') and relname ~ '^(item|move)'"
    )
    assert {row[0]: row[1] for row in rows} == {"item": b"d", "move": b"f", "move_2025": b"f", "move_2026": b"f"}
    await torn_down(database, text, tmp_path)


async def test_a_lock_of_the_erp_stops_the_script_and_not_the_erp(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    erp = await database.connect()
    transaction = erp.transaction()
    await transaction.start()
    await erp.execute("lock table reservation in share row exclusive mode")
    printed = await script(text, tmp_path, database.dsn)
    ran = await psql(database, printed)
    assert ran.code != 0
    assert "lock timeout" in ran.err
    await erp.execute("update reservation set quantity = quantity")
    await transaction.commit()
    assert (await psql(database, printed)).code == 0
    assert await erp.fetchval("select count(*) from pg_publication_tables where pubname = 'erpsyncd'") == 15
    await torn_down(database, text, tmp_path)


async def test_what_an_earlier_mapping_needed_is_taken_back(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    await set_up(database, text, tmp_path)
    await database.execute(f"grant select on warehouse to {READ_ROLE}; grant update on item to {READ_ROLE}")
    await set_up(database, text, tmp_path)
    owner = await database.connect()
    given = "select has_table_privilege($1, 'warehouse', 'select'), has_table_privilege($1, 'item', 'update')"
    assert tuple(await owner.fetchrow(given, READ_ROLE)) == (False, False)
    assert await owner.fetchval("select has_table_privilege($1, 'item', 'select')", READ_ROLE)
    await torn_down(database, text, tmp_path)


async def test_the_slot_is_made_where_the_daemon_shall_not_make_it(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    text = text.replace("create_slot = true", "create_slot = false\nfailover_slot = true")
    for _ in range(2):
        await set_up(database, text, tmp_path)
    owner = await database.connect()
    slots = await owner.fetch(
        "select slot_name, plugin, to_jsonb(s) ->> 'failover' from pg_replication_slots s where database = $1",
        database.name,
    )
    failover = None if database.cluster.version < 17 else "true"
    assert [tuple(row) for row in slots] == [(f"erpsyncd_{database.name}", "pgoutput", failover)]
    await torn_down(database, text, tmp_path)
    assert not await owner.fetchval("select count(*) from pg_replication_slots where database = $1", database.name)


async def test_without_the_erp_only_watched_tables_are_named_and_that_is_said(
    database: Database, tmp_path: Path
) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    unreachable = text.replace(f":{database.cluster.port}/", ":1/")
    printed = await erpsyncd("sql", "setup", "-c", written(tmp_path, unreachable))
    assert printed.code == 0
    assert "not checked" in printed.err
    assert "NOT CHECKED" in printed.out
    asked = await erpsyncd("sql", "setup", "-c", written(tmp_path, unreachable), "--dsn", database.dsn)
    assert "NOT CHECKED" not in asked.out
    assert (await psql(database, printed.out)).code == 0
    owner = await database.connect()
    assert await owner.fetchval("select count(*) from pg_publication_tables where pubname = 'erpsyncd'") == 15
    await torn_down(database, text, tmp_path)


async def test_another_database_is_refused(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    printed = await script(text.replace(f"/{database.name}", "/postgres", 1), tmp_path, database.dsn)
    ran = await psql(database, printed)
    assert ran.code != 0
    assert 'for database "postgres"' in ran.err


async def test_teardown_keeps_a_role_that_owns_something(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = demo_text(database, "http://127.0.0.1:1/x", tmp_path)
    await set_up(database, text, tmp_path)
    await database.execute(f"create table theirs (); alter table theirs owner to {READ_ROLE}")
    removal = dba.teardown(wanted(configuration.load_text(text, base=tmp_path)))
    ran = await psql(database, removal)
    assert ran.code == 0
    assert "owns objects: kept" in ran.err
    owner = await database.connect()
    assert await owner.fetchval("select to_regclass('theirs') is not null")
    await database.execute("drop table theirs")
    await torn_down(database, text, tmp_path)


async def test_the_monitoring_queries_tell_what_is_wrong(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    async with Shop(token=TOKEN) as shop:
        text = demo_text(database, shop.url, tmp_path)
        await set_up(database, text, tmp_path)
        config = written(tmp_path, with_roles(database, text))
        printed = await erpsyncd("sql", "monitor", "-c", config)

        async def levels() -> list[str]:
            ran = await psql(
                database, f"\\set ON_ERROR_STOP on\n\\pset tuples_only\n\\pset format unaligned\n{printed.out}"
            )
            assert ran.code == 0, ran.err
            return [line.partition("|")[0] for line in ran.out.splitlines() if "|" in line]

        assert (await levels()).count("critical") == 2  # no slot, no reader
        async with Daemon(tmp_path, with_roles(database, text)) as daemon:
            await daemon.until_event("ready")
            assert set(await levels()) == {"ok"}
            await database.execute("alter publication erpsyncd drop table item")
            assert (await levels()).count("critical") == 1
            await daemon.terminate()
    await torn_down(database, text, tmp_path)

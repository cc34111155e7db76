"""`erpsyncd init` as a user runs it: from an ERP's catalogue to a daemon that keeps a store equal.

Invariant under test: the database is only looked at, nothing is overwritten, and what was written works after the DBA's
script as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import tomllib
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import REPO, TOKEN, Daemon
from tests.integration.odoo import restore
from tests.integration.prepared import demo_erp, erpsyncd, psql, with_roles, written
from tests.integration.stage import Stage, sql_connection

pytestmark = pytest.mark.newest

FOREIGN = """
create schema wawi;
create table wawi."Artikel" ("ArtikelNr" uuid primary key, "ItemCode" text not null, "Active" boolean not null default true);
create table wawi."Depot" (id int primary key, "Code" text not null);
create table wawi."Bestand" (
    id bigint generated always as identity primary key,
    "Artikel" uuid not null references wawi."Artikel", "Depot" int references wawi."Depot", "Qty" double precision not null);
create index on wawi."Bestand" ("Artikel");
create index on wawi."Bestand" ("Depot");
insert into wawi."Artikel" select md5(n::text)::uuid, 'A' || n from generate_series(1, 50) n;
insert into wawi."Depot" values (1, 'NORTH'), (2, 'SOUTH');
insert into wawi."Bestand" ("Artikel", "Depot", "Qty") select md5(n::text)::uuid, 1 + n % 2, n from generate_series(1, 50) n;
"""
ODD = """
create schema "Lager";
create domain "Lager"."no" as smallint;
create table "Lager"."user" (id uuid primary key, "sku" varchar(40) not null unique, "desc" text, "case" boolean default true);
create table "Lager"."where" ("end" text primary key, code text not null);
create table "Lager"."check" (
    "user" uuid not null references "Lager"."user", "where" text not null references "Lager"."where",
    on_hand numeric(12, 3) not null, reserved numeric(12, 3), primary key ("user", "where"));
create table "Lager"."to" (
    "user" uuid not null references "Lager"."user", "from" text not null, valid_from date not null, valid_to date,
    amount numeric(12, 4) not null, currency char(3) not null, primary key ("user", "from", valid_from)
) partition by range (valid_from);
create table "Lager".to_old partition of "Lager"."to" for values from (minvalue) to ('2020-01-01');
create table "Lager".to_new partition of "Lager"."to" for values from ('2020-01-01') to (maxvalue);
create table public."order" ("select" "Lager"."no" primary key, "number" text not null, status text not null);
create table public."table" (id smallint primary key, customer_no text not null, credit_limit numeric, balance numeric);
insert into "Lager"."user" (id, sku) select md5(n::text)::uuid, 'S''' || n from generate_series(1, 40) n;
insert into "Lager"."where" values ('a', 'A''1'), ('b', 'B "2"');
insert into "Lager"."check" select u.id, w."end", 5, 1 from "Lager"."user" u, "Lager"."where" w;
insert into "Lager"."to" select id, 'L', '2019-03-01', current_date + 9, 10, 'EUR' from "Lager"."user";
insert into "Lager"."to" select id, 'L', '2021-03-02', current_date - 1, 11, 'EUR' from "Lager"."user";
insert into public."order" select n, 'N' || n, 'open' from generate_series(1, 9) n;
insert into public."table" select n, 'C' || n, 10, 1 from generate_series(1, 9) n;
"""
DEMO = (
    *("--entity", "stock=stock_level,reservation", "--entity", "price=price", "--entity", "credit=customer"),
    *("--entity", "order_status=sales_order", "--entity", "content=description"),
)


async def proposed(database: Database, folder: Path, *flags: str) -> str:
    """What `init` writes."""
    out = folder / "proposed.toml"
    ran = await erpsyncd("init", "--dsn", database.dsn, "-o", out, *flags)
    assert ran.code == 0, ran.err
    assert ran.out == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    return out.read_text()


def placed(text: str, url: str, folder: Path) -> str:
    """The proposal with this test's store, folder and port."""
    for old, new in (
        ('"https://shop.example/erpsyncd"', f'"{url}"'),
        ('{ env = "ERPSYNCD_SHOP_TOKEN" }', f'"{TOKEN}"'),
        ('"/var/lib/erpsyncd/state.db"', f'"{folder / "state" / "state.db"}"'),
        ('"127.0.0.1:8484"', '"127.0.0.1:0"'),
        ('every = "30m"', 'every = "1s"'),
        ("rate = {", "brake = false  # a renamed warehouse takes half of the documents down\nrate = {"),
    ):
        text = text.replace(old, new)
    return text


async def worked(database: Database, folder: Path, text: str, change: str) -> None:
    """The DBA's script, a doctor that fails nothing, and a daemon that brings the store to what SQL says, twice."""
    async with Shop(token=TOKEN) as shop:
        text = placed(text, shop.url, folder)
        printed = await erpsyncd("sql", "setup", "-c", written(folder, text))
        assert printed.code == 0, printed.err
        ran = await psql(database, printed.out)
        assert ran.code == 0, ran.err
        text = with_roles(database, text)
        doctor = await erpsyncd("doctor", "--json", "-c", written(folder, text))
        failed = [result for result in json.loads(doctor.out) if result["status"] == "FAIL"]
        assert failed == []
        owner = await sql_connection(database.dsn)
        try:
            async with Daemon(folder, text) as daemon:
                stage = Stage(owner, shop, daemon, text, database.dsn)
                await daemon.until_event("ready")
                await stage.equal()
                await owner.execute(change)
                await stage.equal()
                assert shop.documents("stock")
                await daemon.terminate()
        finally:
            await owner.close()


async def test_the_demo_erp_is_kept_equal_by_what_is_proposed_for_it(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    text = await proposed(database, tmp_path, *DEMO)
    change = """
    update stock_level set on_hand = on_hand + 7 where item_id = (select min(id) from item);
    update warehouse set code = code || '-X' where id = (select min(id) from warehouse);
    update price set amount = 4711 where id = (select min(id) from price);
    update price_list set code = code || '-X' where id = (select min(id) from price_list);
    update customer set credit_limit = 12 where id = (select min(id) from customer);
    delete from reservation;
    """
    await worked(database, tmp_path, text, change)


async def test_a_foreign_schema_with_odd_names_is_kept_equal(database: Database, tmp_path: Path) -> None:
    await database.execute(FOREIGN)
    text = await proposed(database, tmp_path, "--entity", "stock=wawi.Bestand")
    change = """
    update wawi."Bestand" set "Qty" = 99 where id = 3;
    delete from wawi."Bestand" where id = 4;
    update wawi."Depot" set "Code" = 'EAST' where id = 2;
    """
    await worked(database, tmp_path, text, change)


async def test_composite_keys_reserved_words_partitions_and_small_keys_are_kept_equal(
    database: Database, tmp_path: Path
) -> None:
    await database.execute(ODD)
    tables = ("stock=Lager.check", "price=Lager.to", "order_status=order", "credit=table")
    text = await proposed(database, tmp_path, *(flag for table in tables for flag in ("--entity", table)))
    merged = "is in the primary key and in no field: rows that differ in it become one document."
    said = " ".join(line.removeprefix("#").strip() for line in text.splitlines()).replace("Check: ", "")
    assert f"check.where {merged}" in said  # no word in its name says that it is a place
    assert f"to.from {merged}" in said
    assert f"to.valid_from {merged}" not in said
    change = """
    update "Lager"."check" set on_hand = 99 where "user" = md5('3')::uuid and "where" = 'a';
    delete from "Lager"."check" where "user" = md5('4')::uuid;
    update "Lager"."check" set "user" = md5('4')::uuid where "user" = md5('5')::uuid and "where" = 'b';
    delete from "Lager"."to" where "user" = md5('6')::uuid and amount = 10;
    update "Lager"."to" set valid_from = '2022-01-01', valid_to = null where "user" = md5('7')::uuid and amount = 10;
    update public."order" set status = 'sent' where "select" = 9;
    update public."table" set credit_limit = 11 where id = 9;
    """
    await worked(database, tmp_path, text, change)


async def test_nothing_is_overwritten_and_nothing_is_guessed(database: Database, tmp_path: Path) -> None:
    await database.execute(
        "create table item (id bigint primary key, sku text); create table note (text text);"
        "create view seen as select i.id, n.text from item i, note n"
    )
    kept = written(tmp_path, "mine")
    again = await erpsyncd("init", "--dsn", database.dsn, "-o", kept, "--entity", "stock=item")
    assert again.code == 78
    assert "is there already" in again.err
    assert kept.read_text() == "mine"

    out = tmp_path / "new.toml"
    for flags, words in (
        (("--entity", "stock=itm"), 'did you mean "item"?'),
        (("--entity", "stok=item"), 'did you mean "stock"?'),
        (("--entity", "stock=seen"), '"seen" is a view, and no log tells of its rows'),
        (("--entity", "stock=public.seen"), "Name the tables that it reads: public.item, public.note."),
        (("--entity", "stock=item"), "--field stock.available=SQL"),
        (("--entity", "stock=note"), "no primary key"),
        (("--entity", "stock=item", "--field", "available=1"), "KIND.FIELD=SQL"),
        ((), "--entity"),
    ):
        ran = await erpsyncd("init", "--dsn", database.dsn, "-o", out, *flags)
        assert ran.code == 78, ran.err
        assert words in ran.err
        assert "Traceback" not in ran.err
        assert not out.exists()


async def test_at_a_terminal_it_asks_and_asks_again_where_no_table_has_that_name(
    database: Database, tmp_path: Path
) -> None:
    await demo_erp(database)
    await database.execute("alter table price rename column amount to what_it_costs")
    out = tmp_path / "asked.toml"
    answers = (
        *("stock_level,reservation", "pric", "price", "-", "-", "-"),  # of each kind; the second is misspelt
        *("t.what_it_costs", "https://shop.example/api"),
    )
    terminal, inside = os.openpty()
    try:
        os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daemon", "init", "--dsn", database.dsn, "-o", str(out)),
            stdin=inside,
            stderr=asyncio.subprocess.PIPE,
            cwd=REPO,
        )
        async with asyncio.timeout(60):
            _, said = await process.communicate()
    finally:
        os.close(terminal)
        os.close(inside)
    told = said.decode()
    assert process.returncode == 0, told
    assert "Tables for stock, separated by commas (- for none) [public.stock_level]" in told
    assert 'there is no table "pric"; did you mean "price"?' in told
    assert "SQL for price.amount" in told
    made = tomllib.loads(out.read_text())
    assert sorted(made["entity"]) == ["price", "stock"]
    assert "t.what_it_costs as amount" in made["entity"]["price"]["sql"]
    assert made["store"]["main"]["url"] == "https://shop.example/api"


async def test_the_tables_of_an_erp_that_has_a_pack_are_known(database: Database, tmp_path: Path) -> None:
    asked = ("init", "--dsn", database.dsn, "-o", "-", "--entity")
    await database.execute("create table item (id bigint primary key, sku text, on_hand int)")
    ran = await erpsyncd(*asked, "stock=item")
    assert (ran.code, ran.err) == (0, "")
    await restore(database)
    ran = await erpsyncd(*asked, "stock=item")
    assert ran.code == 0
    assert 'These are tables of Odoo 18: pack = "odoo" under [erp] maps it whole.' in ran.err


async def test_the_database_is_only_looked_at(database: Database, tmp_path: Path) -> None:
    await demo_erp(database)
    owner = await asyncpg.connect(database.dsn)
    try:
        asked = "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables"
        await owner.execute("select pg_stat_force_next_flush()")
        before = await owner.fetchval(asked)
        await proposed(database, tmp_path, *DEMO)
        assert await owner.fetchval(asked) == before
        assert await owner.fetchval("select count(*) from pg_replication_slots where database = $1", database.name) == 0
    finally:
        await owner.close()

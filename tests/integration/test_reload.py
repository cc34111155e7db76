"""SIGHUP and SIGTERM: another configuration in a running daemon, and a stop.

Invariant under test: a good change is in force without a new process, a bad one changes nothing and says why; a stop loses
no call that is under way and ends with 0.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.conftest import Database
from tests.doubles.shop import Hold
from tests.integration.harness import LATEST
from tests.integration.stage import STOCK, Stage, mapped, own_stage
from tests.waiting import until

PRICE = """
[entity.price]
sql = "select id as key, sku, 'EUR' as currency, on_hand * 1.5 as amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""


async def reloaded(stage: Stage, entities: str) -> None:
    stage.text = mapped(stage.dsn, stage.shop.url, stage.daemon.folder / "state.db", entities)
    count = len(stage.daemon.events("reloaded"))
    stage.daemon.reload(stage.text)
    await stage.daemon.until_event("reloaded", count=count + 1)


async def refused(stage: Stage, text: str, *words: str) -> None:
    """The change is refused with these words, and the daemon goes on as before."""
    count = len(stage.daemon.events("reload_refused"))
    stage.daemon.reload(text)
    line = await stage.daemon.until_event("reload_refused", count=count + 1)
    for word in words:
        assert word in line["msg"]
    await stage.erp.execute("update item set on_hand = on_hand + 1 where id = 2")
    await stage.equal()
    assert stage.daemon.events("reloaded") == []
    assert (await stage.daemon.get("/readyz"))[0] == 200


async def test_a_new_entity_is_loaded_without_a_new_process(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        pid, before = stage.daemon.pid, len(stage.shop.writes("stock"))
        await reloaded(stage, STOCK + PRICE)
        await stage.equal()
        assert len(stage.shop.documents("price")) == 20
        assert len(stage.shop.writes("stock")) == before  # what did not change is not sent again
        await stage.erp.execute("update item set on_hand = 50 where id = 5")
        await stage.equal()
        assert (stage.daemon.pid, stage.daemon.process and stage.daemon.process.returncode) == (pid, None)


async def test_changed_sql_is_in_force_for_every_key(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await reloaded(stage, STOCK.replace("on_hand as available", "on_hand + 1000 as available"))
        await stage.equal()
        await reloaded(stage, STOCK.replace("where id = any($1)", "where id = any($1) and id <> 3"))
        await stage.equal()
        assert stage.shop.documents("stock")["A3|default"]["available"] == 0


async def test_changed_sql_is_in_force_for_every_key_after_a_restart_too(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        assert await stage.daemon.terminate() == 0
        changed = STOCK.replace("on_hand as available", "on_hand + 1000 as available")
        stage.text = mapped(stage.dsn, stage.shop.url, stage.daemon.folder / "state.db", changed)
        stage.daemon.config.write_text(stage.text)
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        await stage.equal()


async def test_an_entity_that_left_the_configuration_is_left_alone(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, entities=STOCK + PRICE) as stage:
        await reloaded(stage, STOCK)
        await stage.erp.execute("update item set on_hand = 50 where id = 5")
        await stage.equal()
        assert len(stage.shop.documents("price")) == 20
        assert len(stage.shop.writes("price")) == 1
        await reloaded(stage, STOCK + PRICE)  # what it missed is found when it comes back
        await stage.equal()


async def test_a_change_made_during_a_reload_arrives(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        for n in range(4):
            stage.text = mapped(stage.dsn, stage.shop.url, tmp_path / "state.db", STOCK + PRICE * (n % 2))
            stage.daemon.reload(stage.text)
            for _ in range(10):
                await stage.erp.execute("update item set on_hand = on_hand + 1")
                await asyncio.sleep(0.01)
            await stage.daemon.until_event("reloaded", count=n + 1)
        await stage.equal()


async def test_the_same_configuration_is_no_change(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        before = len(stage.shop.calls)
        stage.daemon.reload(stage.text + "\n# a comment\n")
        await stage.daemon.until_event("reloaded")
        assert len(stage.daemon.events("starting")) == 1
        assert len(stage.shop.calls) == before


async def test_a_bad_file_is_refused_and_says_why(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await refused(stage, stage.text + "\n[[", "TOML")
        await refused(
            stage, stage.text.replace("on_hand as available", "on_hand as there"), "entity.stock.sql", "available"
        )
        await refused(stage, stage.text.replace('lane = "fast"', "") + "[entity.stok]\nnonsense = 1\n", "stok")


async def test_sql_that_postgres_refuses_is_refused(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await refused(
            stage,
            stage.text.replace("from item where id = any", "from itme where id = any"),
            "entity.stock.sql",
            "itme",
        )
        await refused(stage, stage.text.replace('table = "item"', 'table = "itme"'), "entity.stock.watch.0", "itme")


async def test_a_file_that_is_gone_is_refused(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        text = stage.daemon.config.read_text()
        stage.daemon.config.unlink()
        stage.daemon.signal_reload()
        await stage.daemon.until_event("reload_refused")
        stage.daemon.config.write_text(text)
        await stage.erp.execute("update item set on_hand = on_hand + 1")
        await stage.equal()


async def test_a_stop_waits_for_the_call_that_is_under_way(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        hold = Hold()
        stage.shop.inject(hold, calls=1, method="POST")
        await stage.erp.execute("update item set on_hand = 70 where id = 7")
        await asyncio.wait_for(hold.reached.wait(), LATEST)
        ending = asyncio.create_task(stage.daemon.terminate())
        await stage.daemon.until_event("stopping")
        hold.release()
        assert await ending == 0
        assert stage.daemon.events("stopped")[-1]["level"] == "info"
        assert stage.shop.documents("stock")["A7|default"]["available"] == 70
        before = len(stage.shop.writes())
        await stage.daemon.start()  # it was acknowledged, so nothing is sent again
        await stage.daemon.until_loaded()
        assert len(stage.shop.writes()) == before


async def test_a_stop_under_load_and_with_the_store_away_ends_in_time(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.shop.stop()
        await stage.erp.execute("update item set on_hand = on_hand + 1")
        await stage.daemon.until_event("store_lost")
        assert await stage.daemon.terminate(within=25) == 0
        await stage.shop.start()
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        await stage.equal()


async def test_a_stop_leaves_the_slot_where_the_work_is(database: Database, tmp_path: Path) -> None:
    """The last position is told, so that the next start reads nothing twice."""
    async with own_stage(database, tmp_path) as stage:
        await stage.erp.execute("update item set on_hand = on_hand + 1")
        await stage.equal()
        done = await stage.erp.fetchval("select pg_current_wal_lsn()")
        assert await stage.daemon.terminate() == 0

        async def free() -> bool:
            sql = "select not active and confirmed_flush_lsn >= $1 from pg_replication_slots where database = $2"
            return bool(await stage.erp.fetchval(sql, done, database.name))

        await until(free, within=10, what="the slot is free and stands behind the last change")

"""Two daemons: a second one on the same slot stands by and takes over; one state file has one daemon.

Invariant under test: at any moment at most one daemon writes to the store, and a takeover loses nothing.
"""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Database
from tests.integration.harness import Daemon
from tests.integration.stage import SMALL_ERP, STOCK, Stage, mapped, own_stage
from tests.waiting import until


async def test_a_second_daemon_on_the_slot_stands_by_and_takes_over(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        first, text = stage.daemon, mapped(database.dsn, stage.shop.url, tmp_path / "second.db", STOCK)
        async with Daemon(tmp_path, text, name="second") as second:
            line = await second.until_event("standby")
            assert "another erpsyncd" in line["msg"]
            before = len(stage.shop.calls)
            await stage.erp.execute("update item set on_hand = 100 where id = 1")
            await stage.equal()
            # a standby is up and healthy, but not ready, and its verdict claims nothing
            code, reason = await second.get("/readyz")
            assert (code, reason.startswith("source standby")) == (503, True)
            assert (await second.get("/livez"))[0] == 200
            assert (await second.status())["verdict"] == "UNKNOWN"
            assert (await first.get("/readyz"))[0] == 200
            assert len([call for call in stage.shop.calls[before:] if call.method == "POST"]) == 1

            await first.kill()
            await stage.erp.execute("update item set on_hand = 200 where id = 2")
            await second.until_event("ready")
            await Stage(stage.erp, stage.shop, second, text).equal()
            assert (await second.get("/readyz"))[0] == 200
            assert len(second.events("standby")) == 1


async def test_the_former_first_stands_by_when_it_returns(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        first, text = stage.daemon, mapped(database.dsn, stage.shop.url, tmp_path / "second.db", STOCK)
        async with Daemon(tmp_path, text, name="second") as second:
            await second.until_event("standby")
            await first.kill()
            await second.until_loaded()
            await first.start()
            await first.until_event("standby")
            await stage.erp.execute("update item set on_hand = 300 where id = 3")
            await Stage(stage.erp, stage.shop, second, text).equal()
            # the slot has moved on without the first one, which must notice when its turn comes
            assert await second.terminate() == 0
            await first.until_event("gap")
            await first.until_event("resync")
            await stage.erp.execute("update item set on_hand = 400 where id = 4")
            await stage.equal()


async def test_a_second_daemon_on_one_state_file_is_refused(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        async with Daemon(tmp_path, stage.text, name="second") as second:
            assert await second.wait() == 78
            assert [line["code"] for line in second.log()] == ["E-STATE-IN-USE"]
            assert "Traceback" not in second.output()
        await stage.erp.execute("update item set on_hand = 9 where id = 9")
        await stage.equal()


async def test_the_state_file_is_free_again_after_a_kill(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.daemon.kill()
        async with Daemon(tmp_path, stage.text, name="second") as second:
            await second.until_event("ready")
            await stage.erp.execute("update item set on_hand = 9 where id = 9")
            await Stage(stage.erp, stage.shop, second, stage.text).equal()


async def test_a_standby_ends_at_once_when_it_is_told_to(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        text = mapped(database.dsn, stage.shop.url, tmp_path / "second.db", STOCK)
        async with Daemon(tmp_path, text, name="second") as second:
            await second.until_event("standby")
            assert await second.terminate(within=15) == 0
            assert second.events("stopped")


async def test_a_standby_waits_for_a_store_that_it_has_not_seen(database: Database, tmp_path: Path) -> None:
    """A standby says whether it could take over: its store is asked, but nothing is written."""
    connection = await database.connect()
    await connection.execute(SMALL_ERP)
    async with own_stage(database, tmp_path, schema="select 1") as stage:
        text = mapped(database.dsn, "http://127.0.0.1:9/api", tmp_path / "second.db", STOCK)
        async with Daemon(tmp_path, text, name="second") as second:
            await second.until_event("standby")

            async def noticed() -> bool:
                return bool((await second.status())["stores"]["main"]["breaker"] == "open")

            await until(noticed, within=20, what="the standby notices that its store is away")
            await stage.erp.execute("update item set on_hand = 7 where id = 7")
            await stage.equal()

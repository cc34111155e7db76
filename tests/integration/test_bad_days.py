"""A store or an ERP that is away, refuses, or answers nonsense; and what never leaves the process.

Invariant under test: a store's fault never ends the daemon nor holds the slot back, the verdict tells of it, and all
arrives when it is mended; an ERP that is away is waited for with one line; a secret shows nowhere.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.doubles.shop import Empty500, Fault, Html, Shop, Status
from tests.integration.harness import LATEST, TOKEN, Daemon, erpsyncd
from tests.integration.stage import SMALL_ERP, STOCK, Stage, mapped, own_stage, sql_connection
from tests.waiting import until

QUICK = STOCK.replace("[entity.stock]", '[entity.stock]\ntarget = "1s"')


async def verdict(daemon: Daemon, wanted: str) -> None:
    async def said() -> bool:
        return bool((await daemon.status())["verdict"] == wanted)

    await until(said, within=LATEST, every=0.05, what=f"the verdict is {wanted}")


async def readyz(daemon: Daemon, wanted: int) -> None:
    async def said() -> bool:
        return (await daemon.get("/readyz"))[0] == wanted

    await until(said, within=LATEST, every=0.05, what=f"/readyz says {wanted}")


@pytest.mark.parametrize(
    "fault",
    [Html(), Status(401), Status(403), Empty500(), Status(503), None],
    ids=["html", "401", "403", "500", "503", "down"],
)
async def test_a_store_that_does_not_take_calls_is_told_of_and_waited_for(
    database: Database, tmp_path: Path, fault: Fault | None
) -> None:
    async with own_stage(database, tmp_path, entities=QUICK) as stage:
        if fault is None:
            await stage.shop.stop()
        else:
            stage.shop.inject(fault)
        await stage.erp.execute("update item set on_hand = on_hand + 100")
        changed = await stage.erp.fetchval("select pg_current_wal_lsn()")
        await stage.daemon.until_event("store_lost")
        await verdict(stage.daemon, "STALE")
        await readyz(stage.daemon, 503)

        async def advanced() -> bool:
            sql = "select confirmed_flush_lsn >= $1 from pg_replication_slots where database = current_database()"
            return bool(await stage.erp.fetchval(sql, changed))

        await until(advanced, within=LATEST, what="the slot advances although the store takes nothing")
        assert (await stage.daemon.get("/livez"))[0] == 200
        if fault is None:
            await stage.shop.start()
        else:
            stage.shop.clear()
        await stage.equal()
        await verdict(stage.daemon, "FRESH")
        await readyz(stage.daemon, 200)
        assert len(stage.daemon.events("store_lost")) == len(stage.daemon.events("store_back")) == 1
        assert not stage.daemon.events("failed")


@pytest.mark.newest
async def test_an_erp_that_is_down_at_the_start_is_waited_for(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = new_cluster()
    cluster.psql(SMALL_ERP)
    dsn = cluster.dsn()
    await asyncio.to_thread(cluster.stop)
    async with Shop(token=TOKEN) as shop:
        text = mapped(dsn, shop.url, tmp_path / "state.db", STOCK)
        async with Daemon(tmp_path, text) as daemon:
            await daemon.until_event("erp_lost")
            await verdict(daemon, "UNKNOWN")
            await readyz(daemon, 503)
            assert (await daemon.get("/livez"))[0] == 200
            await asyncio.to_thread(cluster.start)
            await daemon.until_event("erp_back")
            await daemon.until_loaded()
            connection: asyncpg.Connection = await sql_connection(dsn)
            try:
                await Stage(connection, shop, daemon, text).equal()
            finally:
                connection.terminate()
            assert len(daemon.events("erp_lost")) == len(daemon.events("erp_back")) == 1
            assert "Traceback" not in daemon.output()


async def test_a_stop_is_heard_while_the_erp_is_away(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = mapped(f"postgresql://u@127.0.0.1:{port}/d", "http://127.0.0.1:9/api", tmp_path / "state.db", STOCK)
        async with Daemon(tmp_path, text) as daemon:
            await daemon.until_event("erp_lost")
            assert await daemon.terminate(within=15) == 0


def with_fixed_port(text: str) -> str:
    """`status` finds the daemon by the configuration, so the port must be known beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return text.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{probe.getsockname()[1]}"')


async def test_status_exits_by_the_verdict(database: Database, tmp_path: Path) -> None:
    async with Shop(token=TOKEN) as shop:
        await database.execute(SMALL_ERP)
        text = with_fixed_port(mapped(database.dsn, shop.url, tmp_path / "state.db", QUICK))
        daemon = Daemon(tmp_path, text)
        ended = await erpsyncd("status", "-c", daemon.config)
        assert (ended.code, ended.output.split()[0]) == (2, "UNKNOWN")
        async with daemon:
            await daemon.until_loaded()
            await verdict(daemon, "FRESH")
            ended = await erpsyncd("status", "-c", daemon.config)
            assert ended.code == 0
            assert ended.output.startswith("FRESH worst ")
            assert " quarantined" in ended.output.splitlines()[0]
            shop.inject(Status(500))
            await database.execute("update item set on_hand = on_hand + 1")
            await verdict(daemon, "STALE")
            ended = await erpsyncd("status", "--json", "-c", daemon.config)
            assert (ended.code, json.loads(ended.output)["verdict"]) == (1, "STALE")


@pytest.mark.newest
async def test_a_secret_shows_nowhere(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    """Password and token, in good days and bad: not in logs, figures, commands, or the process's own arguments."""
    password, token = "pw-5c1e7d3a9b", "tok-e41b22c07d"
    cluster = new_cluster(password=password)
    cluster.psql(SMALL_ERP)
    env = {"ERP_DSN": cluster.dsn(), "STORE_TOKEN": token}
    async with Shop(token=token) as shop:
        text = mapped("DSN", shop.url, tmp_path / "state.db", QUICK, token="TOKEN")
        text = text.replace('"DSN"', '{ env = "ERP_DSN" }').replace('"TOKEN"', '{ env = "STORE_TOKEN" }')
        text = with_fixed_port(text) + '\n[log]\nlevel = "debug"\n'
        async with Daemon(tmp_path, text, env) as daemon:
            await daemon.until_loaded()
            shop.inject(Status(401, body=f"not good: Bearer {token}"))
            cluster.psql("update item set on_hand = on_hand + 1")
            await daemon.until_event("store_lost")
            await asyncio.to_thread(cluster.restart, "immediate")
            await daemon.until_event("erp_back")
            seen = [(await daemon.get(path))[1] for path in ("/metrics", "/api/status", "/readyz", "/")]
            seen.append(daemon.command_line())
            commands = (("config", "show"), ("status",), ("status", "--json"), ("doctor",))
            seen += [(await erpsyncd(*command, "-c", daemon.config, env=env)).output for command in commands]
            assert await daemon.terminate() == 0
            seen.append(daemon.output())
        wrong = env | {"ERP_DSN": cluster.dsn(password=password[::-1])}
        seen.append((await erpsyncd("run", "-c", daemon.config, env=wrong)).output)
        for text in seen:
            assert text
            assert not [secret for secret in (password, password[::-1], token) if secret in text]

"""The visibility gate: a commit reaches the log before other sessions can see it.

By microseconds or, while a synchronous standby is waited for, by as long as that takes.

Invariant under test: a key is never sent by what was there before its change and then forgotten; keys whose changes can be
seen go on meanwhile; no document ever goes back.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.integration.harness import LATEST
from tests.integration.stage import Stage, own_stage
from tests.waiting import until

pytestmark = pytest.mark.newest

KEYS = 5000
SCHEMA = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null);
insert into item select n, 'A' || n, n from generate_series(1, {KEYS}) n;
create publication erpsyncd for table item;
"""


@asynccontextmanager
async def standby_missing(new_cluster: Callable[..., Cluster], folder: Path) -> AsyncIterator[Stage]:
    """A stage whose ERP waits for a standby that never answers; the stage's own session does not wait."""
    cluster = await asyncio.to_thread(new_cluster)
    async with own_stage(Database(cluster, "postgres"), folder, SCHEMA) as stage:
        await stage.erp.execute("set synchronous_commit = local")
        await stage.erp.execute("alter system set synchronous_standby_names = 'nobody'")
        await stage.erp.execute("select pg_reload_conf()")
        await in_force(stage)
        try:
            yield stage
        finally:
            await answer(stage)


async def in_force(stage: Stage) -> None:
    """Wait until commits hang: the server reads its settings anew when it comes to it, not when it is told to."""
    probe = await asyncpg.connect(stage.dsn)
    task: asyncio.Task[str] | None = None

    async def hangs() -> bool:
        nonlocal task
        if task is None or task.done():
            task = asyncio.create_task(probe.execute("select pg_logical_emit_message(true, 'probe', '')"))
        return bool(await stage.erp.fetchval("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"))

    try:
        await until(hangs, within=LATEST, what="commits wait for the standby")
    finally:
        probe.terminate()
        if task is not None:
            await asyncio.wait([task])
            task.exception()

    async def gone() -> bool:
        return not await stage.erp.fetchval("select count(*) from pg_stat_activity where wait_event = 'SyncRep'")

    await stage.erp.execute("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
    await until(gone, within=LATEST, what="the probe is gone")


async def answer(stage: Stage) -> None:
    """Let the commits go that wait."""
    await stage.erp.execute("alter system reset synchronous_standby_names")
    await stage.erp.execute("select pg_reload_conf()")


@asynccontextmanager
async def hanging(stage: Stage, sql: str) -> AsyncIterator[asyncio.Task[str]]:
    """A commit that is in the log, and that nobody sees."""
    connection = await asyncpg.connect(stage.dsn)
    task = asyncio.create_task(connection.execute(sql))
    try:

        async def waits() -> bool:
            return bool(await stage.erp.fetchval("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"))

        await until(waits, within=LATEST, what="the commit waits for the standby")
        yield task
        await asyncio.wait_for(task, LATEST)
    finally:
        task.cancel()
        connection.terminate()


def values(stage: Stage, id_: str) -> list[int]:
    """What the store was told of a document, in order."""
    return [write.fields["available"] for write in stage.shop.history["stock"][id_] if write.fields]


async def others_go_on(stage: Stage, value: int) -> None:
    for key in (1, 2):
        await stage.erp.execute("update item set on_hand = $1 where id = $2", value, key)
        await stage.until_shown("stock", f"A{key}|default", available=value)


async def test_a_commit_that_hangs_is_sent_when_it_is_seen_and_not_before(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    async with standby_missing(new_cluster, tmp_path) as stage:
        async with hanging(stage, "update item set on_hand = 777 where id = 3"):
            for value in range(1000, 1005):
                await others_go_on(stage, value)
            assert values(stage, "A3|default") == [3]
            assert (await stage.daemon.queue("stock"))["pending"] >= 1
            await answer(stage)
        await stage.until_shown("stock", "A3|default", available=777)
        await stage.equal()
        assert values(stage, "A3|default") == [3, 777]


async def test_a_change_that_is_seen_does_not_take_one_along_that_hangs(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    """The same key by two tables: the visible change must not end the mark of the hidden one."""
    async with standby_missing(new_cluster, tmp_path) as stage:
        async with hanging(stage, "update item set on_hand = 777 where id = 3"):
            # a row that changes nothing of key 3, but marks it: inserted, then gone
            await others_go_on(stage, 1000)
            await stage.erp.execute("delete from item where id = 5")
            await stage.until_shown("stock", "A5|default", available=0)
            await stage.erp.execute("update item set sku = 'A5' where id = 6")
            await stage.until_shown("stock", "A5|default", available=6)
            assert values(stage, "A3|default") == [3]
            await answer(stage)
        await stage.equal()


async def test_many_keys_that_hang_leave_room_for_the_others(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    async with standby_missing(new_cluster, tmp_path) as stage:
        async with hanging(stage, "update item set on_hand = on_hand + 10000 where id > 100"):
            for value in range(1000, 1005):
                await others_go_on(stage, value)
            assert values(stage, f"A{KEYS}|default") == [KEYS]
            await answer(stage)
        await stage.equal()
        assert values(stage, f"A{KEYS}|default") == [KEYS, KEYS + 10000]


async def test_a_kill_during_the_hang_forgets_nothing(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    async with standby_missing(new_cluster, tmp_path) as stage:
        async with hanging(stage, "update item set on_hand = 777 where id in (3, 4)"):
            await others_go_on(stage, 1000)

            async def confirmed() -> bool:
                """The log before now is confirmed: only the state file knows of the hanging commit."""
                return bool(
                    await stage.erp.fetchval(
                        "select confirmed_flush_lsn >= $1::text::pg_lsn from pg_replication_slots", written
                    )
                )

            written = await stage.erp.fetchval("select pg_current_wal_lsn()::text")
            await stage.erp.execute("update item set on_hand = on_hand where id = 9")
            await until(confirmed, within=LATEST, what="the position is told")
            for _ in range(2):
                await stage.daemon.kill()
                await stage.daemon.start()
                await stage.daemon.until_event("ready")
                await others_go_on(stage, random.randint(2000, 9000))  # noqa: S311 - any value
            assert values(stage, "A3|default") == [3]
            await answer(stage)
        await stage.until_shown("stock", "A3|default", available=777)
        await stage.until_shown("stock", "A4|default", available=777)
        await stage.equal()


async def test_the_proof_that_the_stream_flows_waits_for_no_standby(
    new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    """Our own messages in the log are nothing that a standby must have: they neither hang nor hold up a slot's making."""
    async with standby_missing(new_cluster, tmp_path) as stage:
        for _ in range(3):
            before = (await stage.daemon.status())["canary_age_seconds"]

            async def came(before: float = before) -> bool:
                return (await stage.daemon.status())["canary_age_seconds"] < before

            await until(came, within=LATEST, what="a canary comes back")
        assert not await stage.erp.fetchval("select count(*) from pg_stat_activity where wait_event = 'SyncRep'")


@pytest.mark.timeout(900)
async def test_commits_at_speed_never_show_a_step_back(database: Database, tmp_path: Path) -> None:
    """Two thousand, or as many as ERPSYNCD_COMMITS says."""
    keys, writers = 10, 4
    each = int(os.environ.get("ERPSYNCD_COMMITS", "2000")) // writers
    async with own_stage(database, tmp_path, SCHEMA.replace(f"1, {KEYS}", f"1, {keys}")) as stage:

        async def write(number: int) -> None:
            rng = random.Random(number)  # noqa: S311 - a repeatable load
            connection = await asyncpg.connect(stage.dsn)
            try:
                for _ in range(each):
                    await connection.execute(
                        "update item set on_hand = on_hand + 1 where id = $1", rng.randint(1, keys)
                    )
            finally:
                await connection.close()

        await asyncio.gather(*(write(number) for number in range(writers)))
        await stage.equal()
        assert await stage.erp.fetchval("select sum(on_hand) from item") == writers * each + keys * (keys + 1) // 2
        for number in range(1, keys + 1):
            told = values(stage, f"A{number}|default")
            assert told == sorted(told)
            assert len(told) == len(set(told)), "a value was sent twice"

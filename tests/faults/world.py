"""A world for faults: an ERP under load, one or two stores, a daemon between them, a line that can break, and the oracle.

Invariant: the oracle asks what outsiders can see: the stores, SQL, the slot, the daemon's own verdict, its state file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from daemon.demo.embedded import Cluster
from tests.doubles.shop import Shop
from tests.doubles.tcp import TcpProxy
from tests.faults.writer import ENTITIES, LOST, SCHEMA, ghostly
from tests.integration.harness import LATEST, TOKEN, Daemon
from tests.integration.stage import differences, sql_connection
from tests.waiting import until

_BASE = """
[erp]
dsn = "{read}"
replication_dsn = "{stream}"
canary = "500ms"
[state]
path = "{state}"
[status]
listen = "127.0.0.1:0"
"""
_STORE = """
[store.{name}]
adapter = "http"
url = "{url}"
token = "{token}"
entities = ["stock", "price"]
brake = false
rate = {{ per_second = 500 }}
"""


class World:
    """One ERP database with its stores and its daemon. What is broken, is broken until the opposite is asked for."""

    def __init__(
        self, cluster: Cluster, dbname: str, folder: Path, shops: dict[str, Shop], read: TcpProxy, stream: TcpProxy
    ) -> None:
        self.cluster = cluster
        self.dsn = cluster.dsn(dbname)
        self.shops = shops
        self.read_line = read
        self.stream_line = stream
        self.state = folder / "state.db"
        self._folder = folder
        text = _BASE.format(read=self._by(read), stream=self._by(stream), state=self.state)
        for name, shop in shops.items():
            text += _STORE.format(name=name, url=shop.url, token=TOKEN)
        self.text = text + ENTITIES
        self.slot = f"erpsyncd_{dbname}"
        self.daemon = Daemon(folder, self.text)
        self.killed = False
        """Whether the daemon was killed since the last oracle: calls of its may then still be under way in the store."""
        self._url = ""

    def _by(self, line: TcpProxy) -> str:
        return self.dsn.replace(f":{self.cluster.port}/", f":{line.port}/")

    # -- the daemon

    async def start(self, failpoints: str = "", **env: str) -> None:
        """Start the daemon, with failpoints where given."""
        if failpoints:
            env["ERPSYNCD_FAILPOINTS"] = failpoints
        self.daemon = Daemon(self._folder, self.text, env)
        self._url = ""
        await self.daemon.start()

    async def kill(self) -> None:
        self.killed = True
        await self.daemon.kill()

    @property
    def running(self) -> bool:
        return self.daemon.process is not None and self.daemon.process.returncode is None

    async def ready(self) -> None:
        """Wait until it streams and the first load is complete."""
        await self.daemon.until_loaded()

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.daemon.output().splitlines()[-lines:])

    # -- the ERP

    async def sql(self, text: str, *args: Any) -> Any:
        """The first value of a statement, on a session of its own past the lines."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(text, *args)
        finally:
            await connection.close()

    async def sessions(self) -> str:
        """What the server is busy with, for the report of a failure."""
        sql = """select string_agg(concat_ws(' ', pid, application_name, state, wait_event, pg_blocking_pids(pid)::text,
            now() - state_change, left(query, 60)), e'\n') from pg_stat_activity where datname = current_database()"""
        try:
            async with asyncio.timeout(5):
                return str(await self.sql(sql))
        except LOST as exc:
            return f"the server cannot be asked: {exc}"

    async def drop_slot(self) -> None:
        """Drop the slot as soon as nobody reads it."""

        async def dropped() -> bool:
            if not await self.sql("select count(*) from pg_replication_slots where slot_name = $1", self.slot):
                return True
            with contextlib.suppress(asyncpg.ObjectInUseError):
                await self.sql("select pg_drop_replication_slot($1)", self.slot)
            return False

        await until(dropped, within=LATEST, what="the slot is dropped")

    async def confirmed(self) -> int | None:
        """Where the slot stands, in bytes; None where it is not there."""
        sql = (
            "select pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint from pg_replication_slots where slot_name = $1"
        )
        lsn = await self.sql(sql, self.slot)
        return None if lsn is None else int(lsn)

    def durable(self) -> int | None:
        """The position in the state file; None when it cannot be asked."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True, timeout=5)) as connection:
                ((lsn,),) = connection.execute("select lsn from source").fetchall()
                return int(lsn)
        except sqlite3.Error:
            return None

    async def never_ahead(self) -> None:
        """The slot has not been told more than is durable here. It is asked first: the file only goes forward."""
        try:
            confirmed = await self.confirmed()
        except LOST:
            return
        durable = self.durable()
        if confirmed is not None and durable:
            assert confirmed <= durable, f"the slot was told {confirmed:X}, durable is {durable:X}"

    # -- the oracle

    async def at_rest(self, within: float = LATEST) -> None:
        """No load, no fault: everything must be as if nothing had ever gone wrong."""
        await self._equal(within)
        for name, shop in self.shops.items():
            assert shop.regressions == [], f"{name} was sent older versions: {shop.regressions[:3]}"
            assert shop.conflicts == [], f"{name} was sent other content under one version: {shop.conflicts[:3]}"
            assert self.killed or shop.overlaps == [], f"{name} had two writes at once: {shop.overlaps[:3]}"
            shown = [(id_, w) for kind in shop.history.values() for id_, ws in kind.items() for w in ws if w.fields]
            ghosts = [(id_, write.fields) for id_, write in shown if ghostly(write.fields or {})]
            assert ghosts == [], f"{name} was told of what was rolled back: {ghosts[:3]}"
        await self._fresh(within)
        await self._confirmed_everything(within)
        assert self.running, self.tail()
        for shop in self.shops.values():
            shop.history.clear()
            shop.calls.clear()
            shop.overlaps.clear()
        self.killed = False

    async def _equal(self, within: float) -> None:
        connection = await sql_connection(self.dsn)
        last: list[str] = []

        async def same() -> bool:
            assert self.running, f"the daemon ended by itself:\n{self.tail()}"
            found: list[str] = []
            for name, shop in self.shops.items():
                found.extend(f"{name}: {line}" for line in await differences(connection, self.text, shop))
            last[:] = found
            return not found

        try:
            await until(same, within=within, every=0.1, what="the stores equal SQL")
        except AssertionError as exc:
            raise AssertionError("\n".join([str(exc)[:200], *last[:10]])) from None
        finally:
            connection.terminate()

    async def _fresh(self, within: float) -> None:
        said: dict[str, Any] = {}

        async def fresh() -> bool:
            said.update(await self.status())
            return bool(said["verdict"] == "FRESH")

        try:
            await until(fresh, within=within, every=0.1, what="the verdict is FRESH")
        except AssertionError:
            raise AssertionError(f"the verdict is {said.get('verdict')}: {said.get('reasons')}") from None

    async def _confirmed_everything(self, within: float) -> None:
        """The slot goes past everything that was written: nothing pins the ERP's log."""
        written = int(await self.sql("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))

        async def past() -> bool:
            await self.never_ahead()
            return (await self.confirmed() or 0) >= written

        await until(past, within=within, every=0.1, what="the slot is past all that was written")

    async def status(self) -> dict[str, Any]:
        return await self.ask("GET", "/api/status")

    async def release(self) -> None:
        """Let an operator bring back what was quarantined."""
        await self.ask("POST", "/api/set-aside/release", {"kind": "quarantined"})

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self._url:
            await self.daemon.until_event("starting")
            self._url = self.daemon.url()
        async with (
            aiohttp.ClientSession(headers={"X-Erpsyncd": "1"}) as session,
            session.request(method, self._url + path, json=body) as response,
        ):
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer


_numbers = iter(range(1, 1_000_000))


@asynccontextmanager
async def world(cluster: Cluster, folder: Path, stores: int = 1, *, start: bool = True) -> AsyncIterator[World]:
    """A world in a fresh database of this cluster, with the first load complete unless `start` is false."""
    dbname = f"world_{next(_numbers)}"
    admin = await asyncpg.connect(cluster.dsn())
    await admin.execute(f"create database {dbname}")
    await admin.close()
    async with contextlib.AsyncExitStack() as stack:
        shops = {}
        for name in ("main", "second")[:stores]:
            shops[name] = await stack.enter_async_context(Shop(token=TOKEN))
        read, stream = [await stack.enter_async_context(TcpProxy("127.0.0.1", cluster.port)) for _ in range(2)]
        made = World(cluster, dbname, folder, shops, read, stream)
        connection = await asyncpg.connect(made.dsn)
        await connection.execute(SCHEMA)
        await connection.close()
        try:
            if start:
                await made.start()
                await made.ready()
            yield made
        finally:
            await made.daemon.kill()
            if cluster.running:
                await made.drop_slot()


@asynccontextmanager
async def watched(place: World) -> AsyncIterator[None]:
    """Within the block the slot is never told more than is durable."""
    ended = asyncio.Event()

    async def watch() -> None:
        while not ended.is_set():
            await place.never_ahead()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.15)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        ended.set()
        await task

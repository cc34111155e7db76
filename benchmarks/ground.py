"""What the benchmarks stand on: a server with data, a store in a process of its own, the daemon, CPU and memory figures.

Invariant: figures are read from the operating system and from the daemon's own status, never estimated; each result names
what it was compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from adapters.store import http
from adapters.store.base import Store, StoreSettings
from daemon.model import Limits

REPO = Path(__file__).parent.parent
TICK = os.sysconf("SC_CLK_TCK")

_STORE = """
import asyncio, gc, uvloop
from tests.doubles.shop import Shop
gc.set_threshold(100_000, 50, 1000)  # its long searches for cycles would be told as ours
async def main():
    async with Shop(token="bench", keep_history=False) as shop:
        print(shop.url, flush=True)
        await asyncio.Event().wait()
uvloop.run(main())
"""


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_rss_mb(pid: int) -> float:
    """Highest resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process of one thread and of all below it that live, to the nanosecond."""
    total = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else []:
        with contextlib.suppress(FileNotFoundError):
            total += tree_cpu_s(int(child))
    return total


@contextlib.contextmanager
def store() -> Iterator[str]:
    """A storefront double in a process of its own; gives its address."""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, "-c", _STORE], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.asynccontextmanager
async def adapter(url: str) -> AsyncIterator[Store]:
    """The daemon's own adapter for the storefront double."""
    shop = http.create(StoreSettings("main", url, "bench", 60.0, Limits()))
    await shop.open()
    try:
        yield shop
    finally:
        await shop.close()


class Daemon:
    """`erpsyncd run` in a process of its own."""

    def __init__(self, config: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="erpsyncd-bench-")
        self.folder = Path(self._folder.name)
        (self.folder / "config.toml").write_text(config.replace("{folder}", str(self.folder)))
        self.log = self.folder / "log"
        self.start()
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(REPO), "BENCH_TOKEN": "bench"}
        command = [sys.executable, "-m", "daemon", "run", "-c", str(self.folder / "config.toml")]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        self.pid = self.process.pid

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self.process.poll() is None:
            self.stop()
        self._folder.cleanup()

    def _url(self) -> str | None:
        found = None
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "starting":
                    found = entry["url"]
        return found

    async def status(self) -> dict[str, Any] | None:
        """The report; None while nobody answers."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended:\n{self.log.read_text()}")
        url = self._url()
        if url is None:
            return None
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.get(f"{url}/api/status") as response:
                body: dict[str, Any] = await response.json()
                return body
        except aiohttp.ClientError:
            return None

    async def call(self, method: str, path: str) -> Any:
        """A command to the daemon; its answer."""
        async with (
            aiohttp.ClientSession(headers={"X-Erpsyncd": "1"}) as session,
            session.request(method, f"{self._url()}{path}") as response,
        ):
            answer = await response.json()
            assert response.status < 400, answer
            return answer

    async def until(self, condition: Any, within: float = 600.0) -> dict[str, Any]:
        """Wait until the report fulfils a condition."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            report = await self.status()
            if report is not None and condition(report):
                return report
            await asyncio.sleep(0.1)
        raise TimeoutError(f"not reached within {within} s:\n{self.log.read_text()[-2000:]}")


def entities(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["stores"]["main"]["entities"]
    return found


def loaded(report: dict[str, Any]) -> bool:
    return all(e["loaded"] and not e["pending"] and not e["claimed"] for e in entities(report).values())


@contextlib.asynccontextmanager
async def daemon(config: str) -> AsyncIterator[Daemon]:
    running = Daemon(config)
    try:
        yield running
    finally:
        await running.close()


HEAD = """
[erp]
dsn = "{dsn}"
slot = "bench"
canary = "5s"
[state]
path = "{folder}/state.db"
[status]
listen = "127.0.0.1:0"
[log]
format = "json"
"""
STORE = """
[store.main]
adapter = "http"
url = "{url}"
token = { env = "BENCH_TOKEN" }
rate = { per_second = 5000, burst = 5000 }
brake = false
"""
ENTITY = """
[entity.{name}]
kind = "{kind}"
target = "5s"
key_type = "bigint"
sql = "{sql}"
all_keys = "select id from item where id > $1 order by id limit $2"
[[entity.{name}.watch]]
table = "public.{table}"
key = "item_id"
"""
STOCK_SQL = (
    "select i.id as key, i.sku, s.on_hand as available "
    "from stock_level s join item i on i.id = s.item_id where i.id = any($1)"
)
PRICE_SQL = (
    "select i.id as key, i.sku, 'EUR' as currency, p.amount "
    "from price p join item i on i.id = p.item_id where i.id = any($1)"
)


def entity(name: str, kind: str, sql: str, table: str) -> str:
    return ENTITY.format(name=name, kind=kind, sql=sql, table=table)


def configuration(dsn: str, url: str, *parts: str, names: list[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    head = HEAD.replace("{dsn}", dsn)
    return head + "".join(parts) + STORE.replace("{url}", url) + f"entities = [{listed}]\n"


async def schema(connection: Any, items: int) -> None:
    """Items with one stock row and one price each, published."""
    await connection.execute("""
        create table item (id bigint primary key, sku text not null);
        create table stock_level (item_id bigint primary key, on_hand numeric not null, note text);
        create table price (item_id bigint primary key, amount numeric(12, 2) not null);
        create publication erpsyncd for table item, stock_level, price""")
    await connection.execute(
        f"insert into item select g, 'SKU-' || g from generate_series(1, {items}) g;"
        f"insert into stock_level select g, g % 100, 'a note' from generate_series(1, {items}) g;"
        f"insert into price select g, g % 500 + 0.99 from generate_series(1, {items}) g;"
    )
    await connection.execute("vacuum analyze")

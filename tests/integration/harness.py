"""A daemon, or any command of it, in a process of its own; and values that can be compared.

Invariant: waiting is for a condition with a deadline, never for time; a process ends with the block that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from tests.waiting import until

REPO = Path(__file__).parent.parent.parent
TOKEN = "test-token"
LATEST = 40.0
"""What a wait may take on a machine that is busy with something else; it ends as soon as its condition holds."""


class Daemon:
    """`erpsyncd run` with a configuration in `folder`. Use as an async context manager."""

    def __init__(self, folder: Path, config: str, env: Mapping[str, str] | None = None, name: str = "daemon") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / f"{name}.toml"
        self.config.write_text(config)
        self.log_file = folder / f"{name}.log"
        self._env = dict(env or {})
        self._begin = 0
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.kill()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._begin = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                *_COMMAND, "run", "-c", str(self.config), stdout=log, stderr=log, env=environment(self._env)
            )

    async def wait(self, within: float = LATEST) -> int:
        assert self.process is not None
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def terminate(self, within: float = LATEST) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.wait(within)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def reload(self, config: str) -> None:
        """Write another configuration and send SIGHUP."""
        self.config.write_text(config)
        self.signal_reload()

    def signal_reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def command(self, *words: str, within: float = LATEST) -> Ended:
        """A command to this daemon, whose port may be one that the system chose."""
        file = self.folder / "command.toml"
        file.write_text(self.config.read_text().replace("127.0.0.1:0", self.url().removeprefix("http://")))
        return await erpsyncd(*words, "-c", file, within=within)

    def command_line(self) -> str:
        """What anybody on the machine sees of it."""
        return Path(f"/proc/{self.pid}/cmdline").read_text()

    def output(self) -> str:
        """Everything that it wrote, in all its runs."""
        return self.log_file.read_text()

    def log(self) -> list[dict[str, Any]]:
        """Structured lines since the last start; anything else is kept as {"raw": line}."""
        lines = []
        for line in self.log_file.read_bytes()[self._begin :].decode().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"raw": line})
        return lines

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("event") == name]

    async def until_event(self, name: str, count: int = 1, within: float = LATEST) -> dict[str, Any]:
        def seen() -> bool:
            if self.process is not None and self.process.returncode is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.output()}")
            return len(self.events(name)) >= count

        await until(seen, within=within, every=0.02, what=f"event {name} in the log of {self.config.stem}")
        return self.events(name)[-1]

    async def until_loaded(self, within: float = LATEST) -> None:
        """Wait until the first load of every entity is complete and nothing is outstanding."""

        async def loaded() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.output()
            status = await self.status()
            queues = [queue for store in status["stores"].values() for queue in store["entities"].values()]
            return all(queue["loaded"] and not queue["pending"] + queue["claimed"] for queue in queues)

        await self.until_event("ready", within=within)
        await until(loaded, within=within, every=0.05, what="all entities are loaded")

    def url(self) -> str:
        return str(self.events("starting")[-1]["url"])

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url() + path) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads((await self.get("/api/status"))[1])
        return body

    async def queue(self, entity: str, store: str = "main") -> dict[str, Any]:
        """What /api/status says of one entity."""
        found: dict[str, Any] = (await self.status())["stores"][store]["entities"][entity]
        return found


_COMMAND = (sys.executable, "-m", "daemon")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), **(more or {})}


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code and everything that it wrote."""

    code: int
    output: str


async def erpsyncd(*arguments: str | Path, env: Mapping[str, str] | None = None, within: float = LATEST) -> Ended:
    """Run a command to its end; killed, and an AssertionError, after `within` seconds."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(env),
    )
    try:
        async with asyncio.timeout(within):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"{arguments} did not end within {within:g} s:\n{output.decode()}") from None
    assert process.returncode is not None
    return Ended(process.returncode, output.decode())


def exact(value: Any) -> Any:
    """Numbers as Decimal, so that 5, "5" and 5.00 are one."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal):
        return Decimal(value)
    if isinstance(value, str):
        try:
            return Decimal(value)
        except ArithmeticError:
            return value
    if isinstance(value, list):
        return [exact(v) for v in value]
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    return value


def shown(documents: Mapping[str, Mapping[str, Any]], *fields: str) -> dict[str, tuple[Any, ...]]:
    """What a store shows of some fields, by id."""
    return {id_: tuple(exact(document.get(name)) for name in fields) for id_, document in documents.items()}


async def told(connection: asyncpg.Connection, sql: str) -> dict[str, tuple[Any, ...]]:
    """What SQL says: the first column is the document's id."""
    return {row[0]: tuple(exact(value) for value in row[1:]) for row in await connection.fetch(sql)}

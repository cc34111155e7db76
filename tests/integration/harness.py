"""A daemon in a process of its own between a real ERP database and a storefront double.

Invariant: what is asserted is what the store holds against what SQL says; waiting is for a condition with a deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from tests.waiting import until

REPO = Path(__file__).parent.parent.parent
TOKEN = "test-token"


class Daemon:
    """`erpsyncd run` with a configuration in `folder`. Use as an async context manager."""

    def __init__(self, folder: Path, config: str, env: Mapping[str, str] | None = None, name: str = "daemon") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / f"{name}.toml"
        self.config.write_text(config)
        self.log_file = folder / f"{name}.log"
        self._env = dict(env or {})
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.kill()

    async def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(REPO), **self._env}
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "daemon", "run", "-c", str(self.config), stdout=log, stderr=log, env=env
            )

    async def wait(self, within: float = 20.0) -> int:
        assert self.process is not None
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def terminate(self, within: float = 20.0) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.wait(within)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def log(self) -> list[dict[str, Any]]:
        """Structured lines; anything else is kept as {"raw": line}."""
        lines = []
        for line in self.log_file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"raw": line})
        return lines

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("event") == name]

    async def until_event(self, name: str, count: int = 1, within: float = 20.0) -> dict[str, Any]:
        def seen() -> bool:
            if self.process is not None and self.process.returncode is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log_file.read_text()}")
            return len(self.events(name)) >= count

        await until(seen, within=within, what=f"event {name} in the log")
        return self.events(name)[-1]

    def url(self) -> str:
        return str(self.events("starting")[-1]["url"])

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url() + path) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads((await self.get("/api/status"))[1])
        return body


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

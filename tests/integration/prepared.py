"""A demo ERP that was set up by the script that `erpsyncd sql setup` prints, run by psql.

Invariant: the script reaches the server unchanged, by the psql of the server's own version, as a DBA would run it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg

from daemon import config as configuration
from daemon import dba
from daemon.cli_dba import look
from daemon.config import Dsn
from daemon.dba.facts import READ_ROLE, REPLICATION_ROLE, wanted
from daemon.demo import seed
from daemon.demo.setting import demo_config, shipped_config
from tests.conftest import Database
from tests.integration.harness import REPO, TOKEN

DEMO_PUBLICATION = "drop publication erpsyncd"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def program(*command: str | Path, text: str = "") -> Ran:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPO,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(text.encode())
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def erpsyncd(*arguments: str | Path) -> Ran:
    return await program(sys.executable, "-m", "daemon", *arguments)


async def psql(database: Database, script: str) -> Ran:
    """Run a script as the superuser, as a file of its own would run."""
    return await program(database.cluster.bin_dir / "psql", "-X", "-q", "-d", database.dsn, "-f", "-", text=script)


def with_roles(database: Database, text: str) -> str:
    """The configuration with the roles that the script makes."""
    read = database.cluster.dsn(database.name, READ_ROLE)
    replication = database.cluster.dsn(database.name, REPLICATION_ROLE)
    return text.replace(f'"{database.dsn}"', f'"{read}"\nreplication_dsn = "{replication}"', 1)


def demo_text(database: Database, url: str, folder: Path) -> str:
    """The shipped configuration, as the superuser."""
    values = {
        "ERPSYNCD_ERP_DSN": database.dsn,
        "ERPSYNCD_STATE": str(folder / "state" / "state.db"),
        "ERPSYNCD_LISTEN": "127.0.0.1:0",
        "ERPSYNCD_STORE_URL": url,
        "ERPSYNCD_STORE_TOKEN": TOKEN,
    }
    return demo_config(shipped_config(), values)


def own_text(database: Database, url: str, folder: Path, entity: str, more: str = "") -> str:
    """A configuration with one entity of the test's own, as the superuser."""
    return f"""
[erp]
dsn = "{database.dsn}"
canary = "1s"
{more}
[state]
path = "{folder / "state" / "state.db"}"
[status]
listen = "127.0.0.1:0"
[store.main]
adapter = "http"
url = "{url}"
token = "{TOKEN}"
entities = ["stock"]
brake = false
{entity}"""


async def demo_erp(database: Database) -> None:
    """The demo ERP before a DBA did anything for erpsyncd."""
    connection = await asyncpg.connect(database.dsn)
    try:
        await seed.create(connection)
        await connection.execute(DEMO_PUBLICATION)
        await seed.fill(connection)
    finally:
        await connection.close()


def written(folder: Path, text: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


async def script(text: str, folder: Path, dsn: str, **changes: Any) -> str:
    """What `sql setup` prints for this configuration, asked with this login."""
    config = configuration.load_text(text, base=folder)
    return dba.setup(replace(wanted(config), **changes), await look(config, Dsn(dsn)))


async def set_up(database: Database, text: str, folder: Path, **changes: Any) -> None:
    """Run the script; it must succeed."""
    ran = await psql(database, await script(text, folder, database.dsn, **changes))
    assert ran.code == 0, ran.err

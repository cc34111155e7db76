"""Fixtures of the Tryton tests: its environment, one database that it made, and a copy of that for each test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database, drop_database
from tests.e2e.tryton.installation import Worker, environment, restore
from tests.e2e.tryton.stage import Stage, stage

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of Tryton's environment."""
    return environment()


@pytest.fixture(scope="session")
def master(cluster: Cluster, python: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database that the others are copies of."""
    restore(python, cluster, "tryton_master", tmp_path_factory.mktemp("master"))
    return "tryton_master"


@pytest.fixture
async def erp(cluster: Cluster, master: str) -> AsyncIterator[Database]:
    """A copy of the master database."""
    name = f"tryton_{next(_numbers)}"
    admin = await asyncpg.connect(cluster.dsn())
    try:
        await admin.execute(f'create database "{name}" template "{master}"')
    finally:
        await admin.close()
    made = Database(cluster, name)
    try:
        yield made
    finally:
        await made.close()
        await drop_database(cluster, name)


@pytest.fixture
def worker(erp: Database, python: Path, tmp_path: Path) -> Iterator[Worker]:
    """Tryton at work in that database."""
    made = Worker(python, erp.cluster, erp.name, tmp_path / "tryton")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def on_stage(
    erp: Database, worker: Worker, tmp_path: Path
) -> Callable[..., contextlib.AbstractAsyncContextManager[Stage]]:
    """Tryton, daemon and storefront; takes lines of [erp.options]."""
    return lambda options="": stage(erp, worker, tmp_path, options)

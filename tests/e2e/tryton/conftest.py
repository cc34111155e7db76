"""Fixtures of the Tryton tests: its environment, one database that it made, and a copy of that for each test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database, fresh_database
from tests.e2e.tryton.installation import Worker, environment, restore
from tests.e2e.tryton.stage import TALLY, Stage, stage

_numbers = itertools.count(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line of what was counted."""
    terminalreporter.write_line(str(TALLY))


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
    async with fresh_database(cluster, f"tryton_{next(_numbers)}", master) as made:
        yield made


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

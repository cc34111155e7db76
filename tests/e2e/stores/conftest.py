"""Fixtures of the storefront tests: a PostgreSQL for the storefronts, and an ERP's database for a whole module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from daemon.demo.embedded import Cluster
from tests.conftest import Database, drop_database


@pytest.fixture(scope="session")
def shops() -> Iterator[Cluster]:
    """The server that the storefronts keep their data in."""
    with Cluster(settings={"synchronous_commit": "off"}) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def erp(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A fresh database for the ERP, which the tests of a module share."""
    name = request.module.__name__.rpartition(".")[2]
    cluster.psql(f'create database "{name}"')
    made = Database(cluster, name)
    try:
        yield made
    finally:
        await made.close()
        await drop_database(cluster, name)

"""A replication line that goes dead without a word, and one on which there is nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from daemon import walstream
from daemon.errors import SourceLost
from daemon.walstream import WalStream
from tests.conftest import Database
from tests.doubles.tcp import TcpProxy

pytestmark = pytest.mark.newest


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walstream, "_FEEDBACK_S", 0.05)
    monkeypatch.setattr(walstream, "_ASK_S", 0.2)
    monkeypatch.setattr(walstream, "_SILENCE_S", 1.0)


@pytest.fixture
async def line(database: Database) -> AsyncIterator[tuple[TcpProxy, WalStream]]:
    await database.execute("create table item (id int primary key); create publication p for table item")
    connection = await database.connect()
    start = await connection.fetchval(
        "select pg_wal_lsn_diff(lsn, '0/0')::bigint from pg_create_logical_replication_slot($1, 'pgoutput')",
        f"silent_{database.name}",
    )
    async with TcpProxy("127.0.0.1", database.cluster.port) as proxy:
        stream = WalStream()
        dsn = database.dsn.replace(f":{database.cluster.port}/", f":{proxy.port}/")
        await stream.open(dsn, f"silent_{database.name}", "p", start)
        yield proxy, stream
        await stream.close()


async def until_lost(stream: WalStream) -> str:
    try:
        while True:
            await stream.read()
    except SourceLost as lost:
        return str(lost)


async def test_a_line_that_is_dead_without_a_word_is_given_up(line: tuple[TcpProxy, WalStream]) -> None:
    proxy, stream = line
    proxy.stall()
    assert "has said nothing" in await asyncio.wait_for(until_lost(stream), 10)


async def test_a_line_on_which_nothing_happens_is_kept(line: tuple[TcpProxy, WalStream]) -> None:
    """The server is asked, and answers."""
    _, stream = line
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(until_lost(stream), 3)

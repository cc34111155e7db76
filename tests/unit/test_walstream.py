"""Laws of the replication socket that need no server: what a busy stream does to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from daemon import walstream
from daemon.walstream import WalStream
from tests.waiting import until

needs_quickack = pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no TCP_QUICKACK")


@pytest.fixture
async def stream() -> AsyncIterator[WalStream]:
    """A stream that is logged in, to a server that says nothing."""
    quiet = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made = WalStream()
    try:
        loop = asyncio.get_running_loop()
        made._transport, _ = await loop.create_connection(lambda: made, *server.sockets[0].getsockname())
        made._socket = made._transport.get_extra_info("socket")
        yield made
        made._transport.abort()
    finally:
        quiet.set()
        server.close()
        await server.wait_closed()


def rush(stream: WalStream) -> None:
    """More small packets at once than a quiet stream brings."""
    for _ in range(walstream._BUSY_READS + 1):
        stream.data_received(b"x")


@needs_quickack
async def test_what_a_busy_stream_leaves_unread_is_acknowledged_at_once(stream: WalStream) -> None:
    assert stream._socket is not None
    option = (socket.IPPROTO_TCP, socket.TCP_QUICKACK)
    stream._socket.setsockopt(*option, 0)  # acknowledgements wait for something to travel with
    stream.data_received(b"x")
    assert stream._socket.getsockopt(*option) == 0, "a quiet stream is left as it is"
    rush(stream)
    assert stream._socket.getsockopt(*option) == 1


async def test_a_busy_stream_is_paused_and_read_again_where_the_system_has_no_such_option(
    stream: WalStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_QUICKACK", raising=False)
    assert isinstance(stream._transport, asyncio.ReadTransport)
    rush(stream)
    assert not stream._transport.is_reading()
    await until(stream._transport.is_reading, what="it is read again")

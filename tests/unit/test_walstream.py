"""Laws of the replication socket that need no server: what a busy stream does to it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import cast

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


class Line:
    """A socket whose round trip takes so long, by the system's measure."""

    family = socket.AF_INET

    def __init__(self, round_trip_us: int) -> None:
        self._info = walstream._RTT.pack(round_trip_us)
        self.told: list[tuple[int, int, int]] = []

    def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
        return self._info[:size]

    def setsockopt(self, *option: int) -> None:
        self.told.append((option[0], option[1], option[2]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells its round trips so")
@pytest.mark.parametrize(("round_trip_us", "small"), [(80, True), (999, True), (1000, False), (20_000, False)])
def test_only_a_server_nearby_gets_a_small_window(round_trip_us: int, small: bool) -> None:
    line = Line(round_trip_us)
    walstream._keep_small(cast("socket.socket", line))
    assert line.told == ([(socket.SOL_SOCKET, socket.SO_RCVBUF, walstream._BUFFER_BYTES)] if small else [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells its round trips so")
async def test_the_system_tells_the_round_trip_of_a_real_line(stream: WalStream) -> None:
    assert stream._socket is not None
    size = walstream._RTT.size
    (round_trip_us,) = walstream._RTT.unpack(stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size))
    assert 0 < round_trip_us < 1_000_000


async def test_a_busy_stream_is_paused_and_read_again_where_the_system_has_no_such_option(
    stream: WalStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_QUICKACK", raising=False)
    assert isinstance(stream._transport, asyncio.ReadTransport)
    rush(stream)
    assert not stream._transport.is_reading()
    await until(stream._transport.is_reading, what="it is read again")

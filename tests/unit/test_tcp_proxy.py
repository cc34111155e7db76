"""The TCP proxy breaks connections the way its name for the break says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.doubles.tcp import TcpProxy
from tests.waiting import until


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    """In front of a server that answers every line with itself."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
            writer.write(b"bye\n")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, TcpProxy("127.0.0.1", port) as made:
        yield made


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, proxy: TcpProxy) -> Client:
        return cls(*await asyncio.open_connection(proxy.host, proxy.port))

    async def ask(self, line: bytes) -> bytes:
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), 5)


@pytest.fixture
async def client(proxy: TcpProxy) -> AsyncIterator[Client]:
    made = await Client.to(proxy)
    yield made
    made.writer.close()


async def test_bytes_pass_both_ways_and_are_counted(proxy: TcpProxy, client: Client) -> None:
    assert await client.ask(b"one\n") == b"one\n"
    assert (proxy.bytes_up, proxy.bytes_down, proxy.accepted, proxy.open) == (4, 4, 1, 1)


async def test_the_end_of_one_direction_is_passed_on_and_the_other_goes_on(proxy: TcpProxy, client: Client) -> None:
    client.writer.write_eof()
    assert await client.reader.read() == b"bye\n"
    await until(lambda: proxy.open == 0)


async def test_cut_ends_connections_and_takes_new_ones(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    proxy.cut()
    assert await asyncio.wait_for(client.reader.read(), 5) == b""
    again = await Client.to(proxy)
    assert await again.ask(b"two\n") == b"two\n"
    again.writer.close()


async def test_reset_is_seen_as_a_reset(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 5)


async def test_stall_holds_what_comes_and_resume_delivers_it(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    proxy.stall()
    answer = asyncio.create_task(client.ask(b"two\n"))
    done, _ = await asyncio.wait({answer}, timeout=0.1)
    assert not done
    assert not client.reader.at_eof()
    assert proxy.open == 1
    proxy.resume()
    assert await answer == b"two\n"


async def test_a_stalled_connection_can_be_cut(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    proxy.stall()
    client.writer.write(b"two\n")
    await client.writer.drain()
    proxy.cut()
    with contextlib.suppress(ConnectionResetError):  # the second line may lie unread in the proxy's socket
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
    await until(lambda: proxy.open == 0)


async def test_refuse_closes_the_port_but_not_the_connections(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(proxy)
    assert await client.ask(b"two\n") == b"two\n"
    await proxy.accept()
    assert proxy.port == port
    again = await Client.to(proxy)
    assert await again.ask(b"three\n") == b"three\n"
    again.writer.close()


async def test_delay_holds_each_chunk(proxy: TcpProxy, client: Client) -> None:
    await client.ask(b"one\n")
    proxy.delay = 0.1
    loop = asyncio.get_running_loop()
    before = loop.time()
    await client.ask(b"two\n")
    assert loop.time() - before >= 0.19


async def test_a_target_that_is_down_drops_the_client() -> None:
    async with TcpProxy("127.0.0.1", 1) as proxy:
        client = await Client.to(proxy)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(), 5)
        client.writer.close()
        assert proxy.failed == 1

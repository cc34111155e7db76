"""A TCP proxy on loopback that breaks connections on demand.

Invariant: bytes pass unchanged and in order, or not at all; what is broken, is broken until the opposite is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class TcpProxy:
    """Forwards from a port of its own to `host:port`. Everything but entering, leaving and `accept` is immediate."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.delay = 0.0
        """Seconds that each chunk waits before it is passed on, in either direction."""
        self.accepted = 0
        """Connections taken so far."""
        self.failed = 0
        """Connections taken and dropped because the target could not be reached."""
        self.bytes_up = 0
        """Bytes passed to the target."""
        self.bytes_down = 0
        """Bytes passed to the clients."""
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def host(self) -> str:
        return HOST

    @property
    def open(self) -> int:
        """Connections that are passed through at the moment."""
        return len(self._links)

    async def accept(self) -> None:
        """Take new connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._take, HOST, self.port)
            self.port = int(self._server.sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """Close the port: new connections are refused; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Close all connections on both sides; where bytes lie unread the kernel makes a reset of it."""
        for link in tuple(self._links):
            link.end(reset=False)

    def reset(self) -> None:
        """End all connections on both sides with RST."""
        for link in tuple(self._links):
            link.end(reset=True)

    def stall(self) -> None:
        """Pass nothing on, not even the end of a connection; the sockets stay open and new ones are taken."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on again, beginning with what came meanwhile."""
        self._flowing.set()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer), name=f"tcp-proxy-{self.accepted}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            try:
                far_reader, far_writer = await asyncio.open_connection(*self.target)
            except OSError:
                self.failed += 1
                link.end(reset=True)
                return
            link.writers.append(far_writer)
            if link.ended:
                return
            async with asyncio.TaskGroup() as group:
                link.pumps = [
                    group.create_task(self._pump(reader, far_writer, up=True)),
                    group.create_task(self._pump(far_reader, writer, up=False)),
                ]
        except* OSError:
            link.end(reset=True)
        finally:
            self._links.discard(link)
            await link.gone()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while chunk := await reader.read(_CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            writer.write(chunk)
            if up:
                self.bytes_up += len(chunk)
            else:
                self.bytes_down += len(chunk)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof():
            writer.write_eof()


class _Link:
    """The two sockets of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.pumps: list[asyncio.Task[None]] = []
        self.ended = False

    def end(self, *, reset: bool) -> None:
        self.ended = True
        for writer in self.writers:
            if reset and not writer.is_closing():
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            writer.transport.abort()
        for pump in self.pumps:
            pump.cancel()

    async def gone(self) -> None:
        for writer in self.writers:
            writer.close()
        for writer in self.writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

"""The ground of every storefront double: a real HTTP server on loopback that can be told to misbehave.

Invariant: a fault happens to as many calls as was asked for and to no other; a call that a fault answers was not handled,
unless the fault says that it happens after the write. Two writes of one thing in flight are noted in `overlaps`.

A subclass says what a request is (`call_of`) and how it is answered (`respond`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from tests.doubles.faults import FailAfterWrite, Fault, Hold, Reset, Slow, Status


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as the server saw it."""

    method: str
    entity: str
    """What it is about, in the double's own words; faults may be for one of them."""
    ids: tuple[str, ...] = ()
    write: bool = False
    authorized: bool = True
    touches: frozenset[str] = frozenset()
    """What is being written and must not be written by another call at the same time."""
    at: float = field(default_factory=time.time)
    """time.time() of its arrival."""


@dataclass
class _Active:
    fault: Fault
    calls: int | None
    entity: str | None
    method: str | None
    write: bool | None


class Cut(Exception):
    """End the connection now."""


class Server:
    """The server. Its state outlives `stop` and `start`, as a shop's database does."""

    def __init__(self, *, token: str, port: int = 0, max_body: int = 16 << 20) -> None:
        self.token = token
        self.port = port
        self.calls: list[Call] = []
        self.overlaps: list[tuple[str, str]] = []
        """(entity, thing) written by two calls at once"""
        self._max_body = max_body
        self._in_flight: dict[str, int] = {}
        self._faults: list[_Active] = []
        self._runner: web.AppRunner | None = None
        self._transports: dict[asyncio.Transport, int] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    # -- what a subclass says

    def call_of(self, request: web.Request, body: bytes) -> Call:
        """What this request is. May raise web.HTTPException or return a call that `respond` refuses."""
        raise NotImplementedError

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        """Do what is asked for and answer it."""
        raise NotImplementedError

    # -- its life

    async def start(self) -> None:
        """Listen on loopback; after a stop, on the same port again."""
        self._stopping.clear()
        app = web.Application(client_max_size=self._max_body)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections from now on; calls under way are cut off. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._stopping.set()
            self.cut_connections()
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- what a test asks for

    def inject(
        self,
        fault: Fault,
        *,
        calls: int | None = None,
        entity: str | None = None,
        method: str | None = None,
        write: bool | None = None,
    ) -> Fault:
        """Let this happen to the next `calls` calls (None: until cleared), of one entity, method or kind where given."""
        self._faults.append(_Active(fault, calls, entity, method, write))
        return fault

    def clear(self, fault: Fault | None = None) -> None:
        """End one fault or all; what waits in a Hold goes on."""
        for active in self._faults:
            if (fault is None or active.fault is fault) and isinstance(active.fault, Hold):
                active.fault.release()
        self._faults = [active for active in self._faults if fault is not None and active.fault is not fault]

    def writes(self, entity: str | None = None) -> list[Call]:
        """The calls so far that were to write something."""
        return [call for call in self.calls if call.write and entity in (None, call.entity)]

    def cut_connections(self) -> None:
        """Reset every open connection, idle or not."""
        for transport in list(self._transports):
            _reset(transport)

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until the condition holds; it is looked at after every call. TimeoutError after the deadline."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # -- one request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise web.HTTPServiceUnavailable
        seen = self._transports.get(transport, 0)
        if not seen:
            self._transports = {t: n for t, n in self._transports.items() if not t.is_closing()}
        self._transports[transport] = seen + 1
        try:
            return await self._answer(request, seen)
        except Cut:
            _reset(transport)
            return web.Response(status=500)
        finally:
            self._changed.set()

    async def _answer(self, request: web.Request, seen: int) -> web.Response:
        body = await request.read() if request.can_read_body else b""
        call = self.call_of(request, body)
        self.calls.append(call)
        self._changed.set()
        faults = list(self._take(call))
        with self._flight(call):
            await self._before(faults, seen)
            for fault in faults:
                if isinstance(fault, Status):
                    content = fault.body.encode() if isinstance(fault.body, str) else fault.body
                    return web.Response(status=fault.code, headers=fault.headers, body=content)
            answer = await self.respond(request, call, body, faults)
            if call.write and answer.status < 300:
                await self._after(faults)
            return answer

    def _take(self, call: Call) -> Iterator[Fault]:
        for active in list(self._faults):
            if (
                active.entity in (None, call.entity)
                and active.method in (None, call.method)
                and active.write in (None, call.write)
            ):
                if active.calls is not None:
                    active.calls -= 1
                    if active.calls <= 0:
                        self._faults.remove(active)
                yield active.fault

    @contextlib.contextmanager
    def _flight(self, call: Call) -> Iterator[None]:
        for name in call.touches:
            count = self._in_flight.get(name, 0)
            if count:
                self.overlaps.append((call.entity, name))
            self._in_flight[name] = count + 1
        try:
            yield
        finally:
            for name in call.touches:
                self._in_flight[name] -= 1
                if not self._in_flight[name]:
                    del self._in_flight[name]

    async def _wait(self, event: asyncio.Event | None, seconds: float | None = None) -> None:
        """Wait for the event or the time, but no longer than the shop is open."""
        waits = [asyncio.ensure_future(e.wait()) for e in (event, self._stopping) if e is not None]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._stopping.is_set():
            raise Cut

    async def _before(self, faults: list[Fault], seen: int) -> None:
        for fault in faults:
            match fault:
                case Hold(after_write=False):
                    fault.reached.set()
                    await self._wait(fault.released)
                case Slow():
                    await self._wait(None, fault.seconds)
                case Reset() if seen or not fault.idle_only:
                    raise Cut

    async def _after(self, faults: list[Fault]) -> None:
        for fault in faults:
            match fault:
                case Hold(after_write=True):
                    fault.reached.set()
                    await self._wait(fault.released)
                case FailAfterWrite(drop=True):
                    raise Cut
                case FailAfterWrite():
                    raise web.HTTPInternalServerError


def json_answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        # linger 0: the peer gets a reset, not an orderly end
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

"""A storefront for tests: a real HTTP server of the `http` protocol that can be told to misbehave.

Invariant: what it answered `ok` it holds, in that version or a newer one, and what it holds it took from a call that it
recorded (or from `put`). An older version never overwrites a newer one; it is answered `ok` and noted in `regressions`.
It notes what a caller must never do: two writes of one document in flight (`overlaps`), other content under the same
version (`conflicts`).

    async with Shop() as shop:
        shop.inject(Throttle(2.0), calls=3, entity="stock")
        ...  # a store with url=shop.url, token=shop.token
        await shop.until(lambda: len(shop.documents("stock")) == 10)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.faults import (
    Empty500,
    FailAfterWrite,
    Fault,
    Hold,
    Html,
    LeaveOut,
    Reject,
    Reset,
    Retry,
    Slow,
    Status,
    Throttle,
)

__all__ = [
    "Call",
    "Empty500",
    "FailAfterWrite",
    "Fault",
    "Hold",
    "Html",
    "LeaveOut",
    "Reject",
    "Reset",
    "Retry",
    "Shop",
    "Slow",
    "Status",
    "Throttle",
    "Write",
]

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request as the shop saw it."""

    method: str
    entity: str
    ids: tuple[str, ...]
    query: str
    idempotency_key: str
    authorized: bool
    at: float
    """time.time() of its arrival."""


@dataclass(frozen=True)
class Write:
    """One version of a document that the shop stored. `fields` is None for a removal."""

    version: int
    changed_at: str
    fields: Json | None
    at: float


@dataclass
class _Active:
    fault: Fault
    calls: int | None
    entity: str | None
    method: str | None


class _Cut(Exception):
    """End the connection now."""


class Shop:
    """The server. Its state outlives `stop` and `start`, as a shop's database does."""

    def __init__(
        self,
        *,
        token: str = "shop-token-7f3a",  # noqa: S107 a test's
        port: int = 0,
        max_body: int = 16 << 20,
        max_documents: int | None = None,
        max_page: int = 500,
        keep_history: bool = True,
    ) -> None:
        self.token = token
        self.port = port
        self.max_documents = max_documents
        self.max_page = max_page
        self.keep_history = keep_history
        self.calls: list[Call] = []
        self.history: dict[str, dict[str, list[Write]]] = defaultdict(lambda: defaultdict(list))
        self.regressions: list[tuple[str, str, int, int]] = []
        """(entity, id, newest version, older version that came)"""
        self.conflicts: list[tuple[str, str, int]] = []
        """(entity, id, version) that came twice with different content"""
        self.overlaps: list[tuple[str, str]] = []
        """(entity, id) written by two calls at once"""
        self._max_body = max_body
        self._held: dict[str, dict[str, Json]] = defaultdict(dict)
        self._versions: dict[str, dict[str, int]] = defaultdict(dict)
        self._sorted: dict[str, list[str]] = {}
        self._in_flight: dict[tuple[str, str], int] = {}
        self._faults: list[_Active] = []
        self._runner: web.AppRunner | None = None
        self._transports: dict[asyncio.Transport, int] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Listen on loopback; after a stop, on the same port again."""
        self._stopping.clear()
        app = web.Application(client_max_size=self._max_body)
        app.router.add_route("*", "/api/{entity}", self._handle)
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

    async def __aenter__(self) -> Shop:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def inject(
        self, fault: Fault, *, calls: int | None = None, entity: str | None = None, method: str | None = None
    ) -> Fault:
        """Let this happen to the next `calls` calls (None: until cleared), of one entity or method where given."""
        self._faults.append(_Active(fault, calls, entity, method))
        return fault

    def clear(self, fault: Fault | None = None) -> None:
        """End one fault or all; what waits in a Hold goes on."""
        for active in self._faults:
            if (fault is None or active.fault is fault) and isinstance(active.fault, Hold):
                active.fault.release()
        self._faults = [active for active in self._faults if fault is not None and active.fault is not fault]

    def documents(self, entity: str) -> dict[str, Json]:
        """What the shop shows: fields by id, without the protocol's own."""
        return {name: self._bare(document) for name, document in self._held[entity].items()}

    def version(self, entity: str, name: str) -> int | None:
        """The highest version that came for a document, removals included."""
        return self._versions[entity].get(name)

    def put(self, entity: str, name: str, fields: Mapping[str, Any], version: int = 0) -> None:
        """Change a document behind everyone's back. Values may be orjson.Fragment, for JSON of a special spelling."""
        self._held[entity][name] = {"id": name, "version": version, **fields}
        self._sorted.pop(entity, None)

    def remove(self, entity: str, name: str) -> None:
        """Lose a document behind everyone's back."""
        del self._held[entity][name]
        self._sorted.pop(entity, None)

    def writes(self, entity: str | None = None) -> list[Call]:
        """The POST calls so far."""
        return [call for call in self.calls if call.method == "POST" and entity in (None, call.entity)]

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
        except _Cut:
            _reset(transport)
            return web.Response(status=500)
        finally:
            self._changed.set()

    async def _answer(self, request: web.Request, seen: int) -> web.Response:
        entity = request.match_info["entity"]
        authorized = request.headers.get("Authorization", "") == (f"Bearer {self.token}" if self.token else "")
        body = await request.read() if request.method == "POST" else b""
        documents: list[Json] = []
        if body and authorized:
            try:
                documents = orjson.loads(body)["documents"]
            except (ValueError, KeyError, TypeError):
                return _json({"error": "no documents"}, 400)
        ids = tuple(document["id"] for document in documents) or tuple(request.query.getall("id", ()))
        key = request.headers.get("Idempotency-Key", "")
        call = Call(request.method, entity, ids, request.query_string, key, authorized, time.time())
        self.calls.append(call)
        self._changed.set()
        faults = list(self._take(call))
        writing = [(entity, name) for name in ids] if documents else []
        with self._flight(writing):
            await self._before(faults, seen)
            for fault in faults:
                if isinstance(fault, Status):
                    content = fault.body.encode() if isinstance(fault.body, str) else fault.body
                    return web.Response(status=fault.code, headers=fault.headers, body=content)
            if not authorized:
                return _json({"error": "unknown token"}, 401)
            if call.method == "GET":
                return _json({"documents": self._read(request, entity)})
            if call.method != "POST":
                return _json({"error": "GET or POST"}, 405)
            if self.max_documents is not None and len(documents) > self.max_documents:
                return _json({"error": f"at most {self.max_documents} documents"}, 413)
            results = self._write(entity, documents, faults, call.at)
            await self._after(faults)
            return _json({"results": results})

    def _take(self, call: Call) -> Iterator[Fault]:
        for active in list(self._faults):
            if active.entity in (None, call.entity) and active.method in (None, call.method):
                if active.calls is not None:
                    active.calls -= 1
                    if active.calls <= 0:
                        self._faults.remove(active)
                yield active.fault

    @contextlib.contextmanager
    def _flight(self, writing: list[tuple[str, str]]) -> Iterator[None]:
        for name in writing:
            count = self._in_flight.get(name, 0)
            if count:
                self.overlaps.append(name)
            self._in_flight[name] = count + 1
        try:
            yield
        finally:
            for name in writing:
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
            raise _Cut

    async def _before(self, faults: list[Fault], seen: int) -> None:
        for fault in faults:
            match fault:
                case Hold(after_write=False):
                    fault.reached.set()
                    await self._wait(fault.released)
                case Slow():
                    await self._wait(None, fault.seconds)
                case Reset() if seen or not fault.idle_only:
                    raise _Cut

    async def _after(self, faults: list[Fault]) -> None:
        for fault in faults:
            match fault:
                case Hold(after_write=True):
                    fault.reached.set()
                    await self._wait(fault.released)
                case FailAfterWrite(drop=True):
                    raise _Cut
                case FailAfterWrite():
                    raise web.HTTPInternalServerError

    def _write(self, entity: str, documents: list[Json], faults: list[Fault], at: float) -> list[Json]:
        special = [fault for fault in faults if isinstance(fault, Reject | Retry | LeaveOut)]
        results: list[Json] = []
        for document in documents:
            name = document["id"]
            fault = next((f for f in special if f.ids is None or name in f.ids), None) if special else None
            match fault:
                case Reject():
                    results.append({"id": name, "status": "rejected", "error": fault.error})
                    continue
                case Retry():
                    results.append({"id": name, "status": "retry", "error": fault.error})
                    continue
            if not isinstance(fault, LeaveOut):
                results.append({"id": name, "status": "ok"})
            elif not fault.written:
                continue
            self._store(entity, document, at)
        return results

    def _store(self, entity: str, document: Json, at: float) -> None:
        name: str = document["id"]
        version: int = document["version"]
        held = self._held[entity]
        versions = self._versions[entity]
        newest = versions.get(name, version)
        if version < newest:
            self.regressions.append((entity, name, newest, version))
            return
        gone = document.get("deleted") is True
        if version == newest and name in versions and (None if gone else document) != held.get(name):
            self.conflicts.append((entity, name, version))
        versions[name] = version
        if gone:
            if held.pop(name, None) is not None:
                self._sorted.pop(entity, None)
        else:
            if name not in held:
                self._sorted.pop(entity, None)
            held[name] = document
        if self.keep_history:
            fields = None if gone else self._bare(document)
            self.history[entity][name].append(Write(version, document["changed_at"], fields, at))

    def _read(self, request: web.Request, entity: str) -> list[Json]:
        held = self._held[entity]
        if "id" in request.query:
            return [held[name] for name in request.query.getall("id") if name in held]
        names = self._sorted.get(entity)
        if names is None:
            names = self._sorted[entity] = sorted(held)
        start = bisect_right(names, request.query.get("after", ""))
        limit = min(int(request.query.get("limit", "500")), self.max_page)
        return [held[name] for name in names[start : start + limit]]

    @staticmethod
    def _bare(document: Json) -> Json:
        return {key: value for key, value in document.items() if key not in ("id", "version", "changed_at")}


def _json(value: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        # linger 0: the peer gets a reset, not an orderly end
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

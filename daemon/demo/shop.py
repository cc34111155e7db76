"""The demo storefront: erpsyncd's http protocol on one side, a shop that shows what arrived on the other.

Invariant: what a page shows is what the protocol would read back; a value reaches a page only after it was written to
the shop's own file. Pages execute nothing that came in a document.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from daemon.demo.shop_html import safe_html
from daemon.demo.shop_images import picture
from daemon.demo.shop_store import ENTITY, SCAN_LIMIT, Change, ShopStore
from daemon.model import Micros

T = TypeVar("T")
PREFIX: Final = "/api/erpsyncd"
MAX_BODY: Final = 32 * 1024 * 1024
MAX_DOCUMENTS: Final = 10_000
PAGE: Final = 48
_BEAT: Final = 15.0
_SHUT = None
_RELOAD: Final = b"event: reload\ndata: {}\n\n"


def now_micros() -> Micros:
    return time.time_ns() // 1000


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


def _policy(page: str) -> str:
    """A content security policy that allows this page's own script and style and nothing else."""

    def allowed(tag: str) -> str:
        blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        sums = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
        return " ".join(f"'sha256-{value}'" for value in sums) or "'none'"

    return (
        f"default-src 'none'; script-src {allowed('script')}; style-src {allowed('style')}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class _Watchers:
    """Open pages. A page that does not keep up is told to load again instead of being waited for."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[asyncio.Queue[bytes | None]]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def tell(self, changes: list[Change]) -> None:
        if not self._queues or not changes:
            return
        message = b"data: " + orjson.dumps([public(change.shown()) for change in changes]) + b"\n\n"
        for queue in self._queues:
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._empty(queue)
                queue.put_nowait(_RELOAD)

    def shut(self) -> None:
        for queue in self._queues:
            self._empty(queue)
            queue.put_nowait(_SHUT)

    @staticmethod
    def _empty(queue: asyncio.Queue[bytes | None]) -> None:
        with suppress(asyncio.QueueEmpty):
            while True:
                queue.get_nowait()


def public(shown: dict[str, Any]) -> dict[str, Any]:
    """A document the way a page may have it: descriptions made safe."""
    fields = shown["fields"]
    if isinstance(fields.get("description_html"), str):
        return {**shown, "fields": {**fields, "description_html": safe_html(fields["description_html"])}}
    return shown


class DemoShop:
    """A storefront on one address. `start`, use `url` and `api_url`, `close`."""

    def __init__(self, path: Path, token: str) -> None:
        self._path = path
        self._token = token
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="demo-shop")
        self._store: ShopStore | None = None
        self._runner: web.AppRunner | None = None
        self._watchers = _Watchers()
        self._page = ""
        self._headers: dict[str, str] = {}
        self.url = ""
        """Where shoppers go."""
        self.outage = False
        """While true the protocol answers 503: a shop that is down, for tests and drills."""
        self.calls = 0
        self.documents = 0
        """Documents taken so far, repetitions included."""
        self.changed = 0
        """Of these, the ones whose value became another."""
        self.arrivals: deque[tuple[str, Micros, Micros]] = deque(maxlen=500_000)
        """Entity, time of the change in the ERP, time of receipt; one for each document whose value became another."""

    @property
    def api_url(self) -> str:
        """What `[store.*] url` is set to."""
        return self.url + PREFIX

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; 0 takes a free port. Raises OSError when the address is taken. Returns the shop's URL."""
        self._page = files("daemon.demo").joinpath("shop.html").read_text(encoding="utf-8")
        self._headers = {
            "Content-Security-Policy": _policy(self._page),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        self._store = await self._in_thread(lambda: ShopStore(self._path))
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self.close()
            raise
        bound = self._runner.addresses[0]
        self.url = f"http://{host}:{bound[1]}"
        return self.url

    async def close(self) -> None:
        """Stop listening, end open pages, close the file. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        store, self._store = self._store, None
        if store is not None:
            await self._in_thread(store.close)
        self._thread.shutdown(wait=True)

    async def documents_of(self, entity: str) -> dict[str, dict[str, Any]]:
        """Everything that is shown of one entity, by id."""
        store = self._open_store()
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while page := await self._in_thread(partial(store.scan, entity, after, SCAN_LIMIT)):
            found.update((document["id"], document) for document in page)
            after = page[-1]["id"]
        return found

    def _open_store(self) -> ShopStore:
        if self._store is None:
            raise RuntimeError("the shop is not started")
        return self._store

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/", self._show_page),
                web.get("/p/{sku}", self._show_page),
                web.get("/img/{name}.svg", self._show_picture),
                web.get("/events", self._show_events),
                web.get("/shop/products", self._list_products),
                web.get("/shop/product/{sku}", self._one_product),
                web.get("/shop/counter", self._counter),
                web.post(PREFIX + "/{entity}", self._guarded(self._take)),
                web.get(PREFIX + "/{entity}", self._guarded(self._give)),
            ]
        )

        async def end_pages(_: web.Application) -> None:
            self._watchers.shut()

        app.on_shutdown.append(end_pages)
        return app

    # The protocol -----------------------------------------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[web.Request, str], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        expected = f"Bearer {self._token}".encode()

        async def guarded(request: web.Request) -> web.Response:
            self.calls += 1
            if self.outage:
                return _json({"error": "closed for the moment"}, 503, {"Retry-After": "1"})
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                return _json({"error": "the token is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})
            entity = request.match_info["entity"]
            if not ENTITY.fullmatch(entity):
                return _json({"error": "an entity's name is lower case letters, digits and _"}, 404)
            return await handler(request, entity)

        return guarded

    async def _take(self, request: web.Request, entity: str) -> web.Response:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            return _json({"error": f"the body is not JSON: {error}"}, 400)
        documents = body.get("documents") if isinstance(body, dict) else None
        if not isinstance(documents, list):
            return _json({"error": 'the body needs a list "documents"'}, 400)
        if len(documents) > MAX_DOCUMENTS:
            return _json({"error": f"at most {MAX_DOCUMENTS} documents in a call"}, 413)
        store, now = self._open_store(), now_micros()
        results, changes = await self._in_thread(lambda: store.write(entity, documents, now))
        self.documents += sum(result["status"] == "ok" for result in results)
        self.arrivals.extend((entity, change.changed_at, now) for change in changes)
        self.changed += len(changes)
        self._watchers.tell(changes)
        return _json({"results": results})

    async def _give(self, request: web.Request, entity: str) -> web.Response:
        store = self._open_store()
        if "id" in request.query:
            ids = request.query.getall("id")
            return _json({"documents": await self._in_thread(lambda: store.get(entity, ids))})
        try:
            limit = int(request.query.get("limit", "500"))
        except ValueError:
            limit = 0
        if limit < 1:
            return _json({"error": "limit must be a whole number from 1"}, 400)
        after, limit = request.query.get("after", ""), min(limit, SCAN_LIMIT)
        return _json({"documents": await self._in_thread(lambda: store.scan(entity, after, limit))})

    # Pages ------------------------------------------------------------------------------------------------------------

    async def _show_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=self._headers)

    async def _show_picture(self, request: web.Request) -> web.Response:
        svg = picture(request.match_info["name"])
        headers = {"Cache-Control": "max-age=86400", "Content-Security-Policy": "default-src 'none'"}
        return web.Response(text=svg, content_type="image/svg+xml", headers=headers)

    async def _list_products(self, request: web.Request) -> web.Response:
        store = self._open_store()
        words, category = request.query.get("q", "").strip()[:100], request.query.get("category", "")
        page = request.query.get("page", "1")
        offset = (max(1, int(page)) - 1) * PAGE if page.isascii() and page.isdigit() and len(page) < 7 else 0

        def read() -> dict[str, Any]:
            found = store.skus(words, category, PAGE + 1, offset)
            products = [{"sku": sku, "documents": [public(d) for d in store.of_sku(sku)]} for sku in found[:PAGE]]
            return {"products": products, "more": len(found) > PAGE, "categories": store.categories()}

        return _json(await self._in_thread(read))

    async def _one_product(self, request: web.Request) -> web.Response:
        store, sku = self._open_store(), request.match_info["sku"]
        documents = await self._in_thread(lambda: [public(document) for document in store.of_sku(sku)])
        return _json({"sku": sku, "documents": documents}, 200 if documents else 404)

    async def _counter(self, _: web.Request) -> web.Response:
        store = self._open_store()

        def read() -> dict[str, Any]:
            return {"orders": store.recent("order_status", 12), "customers": store.recent("credit", 10)}

        return _json(await self._in_thread(read))

    async def _show_events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        async with self._watchers.watch() as queue:
            message: bytes | None = b"retry: 1000\n: welcome\n\n"
            with suppress(ConnectionResetError):
                while message is not _SHUT:
                    await response.write(message)
                    try:
                        async with asyncio.timeout(_BEAT):
                            message = await queue.get()
                    except TimeoutError:
                        message = b": still here\n\n"
        return response

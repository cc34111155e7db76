"""The status server: liveness, readiness, metrics, the report as JSON and as a page.

Invariant: nobody reads or commands the daemon without being on this host or knowing the token. Without a token it
listens on loopback alone and answers only to a loopback Host (a rebound DNS name is not one); whatever is not a read
needs the header `X-Erpsyncd: 1`, which no foreign page can send. Every number comes from one `Report`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web

from daemon import __version__, log
from daemon.errors import ConfigError, ErpsyncError, Retry
from daemon.metrics import CONTENT_TYPE, Metrics
from daemon.staleness import Report

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GUARD_HEADER: Final = "X-Erpsyncd"
BEAT_S: Final = 0.5
"""How often the loop shows that it turns."""
STUCK_S: Final = 10.0
"""A loop that did not turn for so long is not alive."""
_READS: Final = (hdrs.METH_GET, hdrs.METH_HEAD)
_OPEN: Final = ("/livez", "/readyz")
"""Probes carry no token; without one they get a bare yes or no."""


class ListenError(ErpsyncError):
    """The status server cannot listen."""

    code = "E-STATUS-LISTEN"


class StatusServer:
    """Serves until closed. `report` and `ready` are asked at every request; `routes` add commands and further pages."""

    def __init__(
        self,
        listen: tuple[str, int],
        token: str | None,
        report: Callable[[], Report],
        metrics: Metrics,
        ready: Callable[[], tuple[bool, str]],
        *,
        routes: Iterable[web.AbstractRouteDef] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port = listen
        if not token and not is_loopback(self._host):
            raise ConfigError(
                f"listening on {self._host} lets the network in and no token is set",
                where="status.listen",
                hint="Set status.token or listen on 127.0.0.1.",
                code="E-STATUS-TOKEN",
            )
        self._token = token.encode() if token else b""
        self._report, self._metrics, self._ready, self._clock = report, metrics, ready, clock
        self._page, policy = load_page("status.html")
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._get_metrics),
                web.get("/api/status", self._get_status),
                web.get("/", self._get_page),
                *routes,
            ]
        )
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=2.0)
        self._beat_at = clock()
        self._beating: asyncio.TimerHandle | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """`http://127.0.0.1:8484`, with the real port; empty before `start`."""
        return self._url

    async def start(self) -> None:
        """Listen. An address that is taken or not ours is a ListenError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            # asyncio's words hold the address once more; the number of a failed look-up is below zero
            why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
            raise ListenError(
                f"cannot listen on {self._host}:{self._port}: {why}",
                where="status.listen",
                hint="Another process has the port, or the address is not on this host.",
            ) from error
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._beat_at = self._clock()
        self._arm()

    async def close(self) -> None:
        """Stop listening; requests under way get two seconds. May be called at any time, also twice."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        await self._runner.cleanup()

    # the loop shows that it turns

    def _arm(self) -> None:
        self._beating = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        now = self._clock()
        self._metrics.loop_lag.set(max(0.0, now - self._beat_at - BEAT_S))
        self._beat_at = now
        self._arm()

    # who may ask

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refuse(request)
        response: web.StreamResponse
        if refusal is not None:
            response = refusal
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                response = _problem(error.status, error.reason)
            except ErpsyncError as error:
                text = f"{error.where}: {error.message}" if error.where else error.message
                response = _problem(503 if error.retry is Retry.LATER else 400, text, error.code, error.hint)
            except Exception as error:  # noqa: BLE001 - a fault in one answer must not end the server
                log.error("failed", "a status request failed", exc=error, path=request.path)
                response = _problem(500, "internal error, see the log", "E-INTERNAL")
        if not response.prepared:
            for name, value in self._headers.items():
                response.headers.setdefault(name, value)
        return response

    def _refuse(self, request: web.Request) -> web.Response | None:
        if request.path not in _OPEN:
            if self._token:
                if not self._authorized(request):
                    refusal = _problem(401, "this needs the token from status.token", "E-STATUS-AUTH")
                    refusal.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="erpsyncd"'
                    refusal.headers.add(hdrs.WWW_AUTHENTICATE, 'Basic realm="erpsyncd"')
                    return refusal
            elif not is_loopback(_host_name(request.headers.get(hdrs.HOST, ""))):
                return _problem(403, "without a token only loopback names are answered", "E-STATUS-HOST")
        if request.method not in _READS and request.headers.get(GUARD_HEADER) != "1":
            return _problem(403, f"a command needs the header {GUARD_HEADER}: 1", "E-STATUS-GUARD")
        return None

    def _authorized(self, request: web.Request) -> bool:
        """Bearer for programs; Basic with the token as password, so that a browser can show the page."""
        scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer":
            given = value.strip().encode("utf-8", "surrogateescape")
        elif scheme.lower() == "basic":
            try:
                given = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        else:
            return False
        return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(self._token).digest())

    # what they get

    async def _livez(self, _request: web.Request) -> web.Response:
        late = self._clock() - self._beat_at
        if late > STUCK_S:
            return web.Response(status=503, text=f"the event loop did not turn for {late:.0f}s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        ready, reason = self._ready()
        if self._token and not self._authorized(request):
            reason = "ready" if ready else "not ready"
        return web.Response(status=200 if ready else 503, text=f"{reason or ('ready' if ready else 'not ready')}\n")

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        self._metrics.update(self._report())
        return web.Response(body=self._metrics.exposition(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _get_status(self, _request: web.Request) -> web.Response:
        return answer(self._report().as_json())

    async def _get_page(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON response; what JSON does not know (Decimal, dates) becomes text."""
    return web.Response(
        body=orjson.dumps(value, default=str) + b"\n", status=status, content_type="application/json", charset="utf-8"
    )


def _problem(status: int, text: str, code: str = "", hint: str = "") -> web.Response:
    """Every refusal has the same shape: `{"error", "code", "hint"}`."""
    return answer({"error": text, "code": code or f"E-HTTP-{status}", "hint": hint}, status)


def load_page(name: str) -> tuple[str, str]:
    """A page from the package and the policy under which only its own style and script run."""
    text = resources.files("daemon").joinpath(name).read_text("utf-8").replace("@VERSION@", __version__)

    def sources(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in found]
        return " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"

    policy = (
        f"default-src 'none'; style-src {sources('style')}; script-src {sources('script')}; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def is_loopback(host: str) -> bool:
    """Whether this name or address can only mean this host."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_name(header: str) -> str:
    """`[::1]:8484` -> `::1`; empty for what is no host."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""

"""Laws of the status server: it answers what the report says, and only to those who may ask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from daemon import cli
from daemon.errors import ConfigError, Retry, StoreError
from daemon.metrics import Metrics
from daemon.model import Lane, QueueName
from daemon.staleness import QueueView, Report, SourceView, StoreView, judge
from daemon.status import STUCK_S, ListenError, StatusServer, is_loopback, load_page

NOW = 1_700_000_000_000_000
GUARD = {"X-Erpsyncd": "1"}


def report() -> Report:
    view = QueueView(QueueName("main", "stock"), Lane.FAST, 5.0, pending=7, oldest_unapplied=NOW - 3_100_000)
    source = SourceView(state="streaming", canary_received_at=NOW, clock_offset_s=0.0)
    return judge(source, [StoreView("main", queues=(view,))], NOW)


class World:
    """A server, what it is told, and a client."""

    def __init__(self) -> None:
        self.ready = (True, "")
        self.report: Callable[[], Report] = report
        self.late = 0.0
        self.client: aiohttp.ClientSession
        self.server: StatusServer

    async def get(self, path: str, **more: Any) -> tuple[int, str]:
        return await self.ask("GET", path, **more)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        async with self.client.request(method, self.server.url + path, **more) as response:
            return response.status, await response.text()


Start = Callable[..., Awaitable[World]]


async def command(request: web.Request) -> web.Response:
    kind = request.query.get("fail")
    if kind == "later":
        raise StoreError("the store is away", hint="Wait.", retry=Retry.LATER)
    if kind == "never":
        raise StoreError("no such key", retry=Retry.NEVER)
    if kind == "bug":
        raise RuntimeError("with a secret inside")
    return web.json_response({"done": True})


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def make(token: str | None = None, host: str = "127.0.0.1") -> World:
            world = World()
            world.server = StatusServer(
                (host, 0),
                token,
                lambda: world.report(),
                Metrics([(QueueName("main", "stock"), Lane.FAST)]),
                lambda: world.ready,
                routes=[web.post("/api/backfill", command)],
                clock=lambda: time.monotonic() + world.late,
            )
            await world.server.start()
            stack.push_async_callback(world.server.close)
            world.client = await stack.enter_async_context(aiohttp.ClientSession())
            return world

        yield make


async def test_the_status_is_the_report(start: Start) -> None:
    world = await start()
    async with world.client.get(world.server.url + "/api/status") as response:
        assert response.content_type == "application/json"
        assert await response.json() == report().as_json()


async def test_metrics_are_of_the_moment_of_the_scrape(start: Start) -> None:
    world = await start()
    status, text = await world.get("/metrics")
    assert status == 200
    assert 'erpsyncd_pending_keys{entity="stock",lane="fast",store="main"} 7.0' in text
    assert "erpsyncd_worst_staleness_seconds 3.1" in text


async def test_ready_is_200_and_otherwise_503_with_the_reason(start: Start) -> None:
    world = await start()
    assert await world.get("/readyz") == (200, "ready\n")
    world.ready = (False, "no store is reachable")
    assert await world.get("/readyz") == (503, "no store is reachable\n")


async def test_alive_means_that_the_loop_turned(start: Start) -> None:
    world = await start()
    assert (await world.get("/livez"))[0] == 200
    world.late = STUCK_S + 5
    status, text = await world.get("/livez")
    assert status == 503
    assert "event loop" in text


async def test_the_page_runs_its_own_script_alone(start: Start) -> None:
    world = await start()
    async with world.client.get(world.server.url + "/") as response:
        text = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert response.content_type == "text/html"
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "innerHTML" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_the_page_names_the_version() -> None:
    assert "@VERSION@" not in load_page("status.html")[0]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"])
async def test_a_rebound_name_is_refused(start: Start, host: str) -> None:
    world = await start()
    status, text = await world.get("/api/status", headers={"Host": host})
    assert status in (400, 403)
    assert "worst_staleness_seconds" not in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8484", "127.1.2.3"])
async def test_loopback_names_are_answered(start: Start, host: str) -> None:
    world = await start()
    assert (await world.get("/api/status", headers={"Host": host}))[0] == 200


async def test_a_command_needs_the_guard_header(start: Start) -> None:
    world = await start()
    status, text = await world.ask("POST", "/api/backfill")
    assert status == 403
    assert "E-STATUS-GUARD" in text
    assert await world.ask("POST", "/api/backfill", headers=GUARD) == (200, '{"done": true}')


async def test_a_command_from_a_rebound_name_is_refused_with_the_header_too(start: Start) -> None:
    world = await start()
    assert (await world.ask("POST", "/api/backfill", headers={**GUARD, "Host": "evil.example"}))[0] == 403


async def test_with_a_token_nothing_is_told_without_it(start: Start) -> None:
    world = await start("s3cret-token")
    world.ready = (False, "store main: token revoked")
    for path in ("/", "/metrics", "/api/status", "/nothing"):
        assert (await world.get(path))[0] == 401
    assert (await world.ask("POST", "/api/backfill", headers=GUARD))[0] == 401
    assert (await world.get("/livez"))[0] == 200
    assert await world.get("/readyz") == (503, "not ready\n")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer s3cret-token-",
        "s3cret-token",
        "Basic %%%",
        "Basic czNjcmV0LXRva2Vu",
        "Digest x",
    ],
)
async def test_a_wrong_token_is_no_token(start: Start, value: str) -> None:
    world = await start("s3cret-token")
    assert (await world.get("/api/status", headers={"Authorization": value}))[0] == 401


async def test_the_token_opens_from_any_name(start: Start) -> None:
    world = await start("s3cret-token")
    bearer = {"Authorization": "Bearer s3cret-token", "Host": "erpsyncd.example"}
    assert (await world.get("/api/status", headers=bearer))[0] == 200
    assert (await world.ask("POST", "/api/backfill", headers={**bearer, **GUARD}))[0] == 200
    assert (await world.ask("POST", "/api/backfill", headers=bearer))[0] == 403
    basic = base64.b64encode(b"anyone:s3cret-token").decode()
    assert (await world.get("/", headers={"Authorization": f"Basic {basic}"}))[0] == 200


async def test_listening_to_the_network_needs_a_token() -> None:
    for token in (None, ""):
        with pytest.raises(ConfigError, match="E-STATUS-TOKEN"):
            StatusServer(("0.0.0.0", 0), token, report, Metrics(), lambda: (True, ""))  # noqa: S104


def configured(folder: Path, listen: str) -> Path:
    """A file whose secrets are not there."""
    file = folder / "config.toml"
    file.write_text(f"""
[erp]
dsn = {{ credential = "erp-dsn" }}
[status]
listen = "{listen}"
token = {{ file = "{folder / "status-token"}" }}
[entity.stock]
sql = "select id as key, sku, available from s where id = any($1)"
all_keys = "select id from s where id > $1 order by id limit $2"
watch = [{{ table = "s", key = "id" }}]
[store.main]
adapter = "http"
url = "https://shop.example/api"
token = {{ env = "ERPSYNCD_NOT_SET" }}
entities = ["stock"]
""")
    return file


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """A command's exit code, and what it wrote."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(words))
    return exit_.value.code, *capsys.readouterr()


async def test_the_verdict_can_be_asked_for_by_who_may_not_read_the_secrets(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await start("s3cret-token")
    file = configured(tmp_path, world.server.url.removeprefix("http://"))
    code, _, told = await asyncio.to_thread(ended, capsys, "status", "-c", str(file))
    assert code == 78
    assert "status.token: file " in told
    (tmp_path / "status-token").write_text("s3cret-token\n")
    code, said, _ = await asyncio.to_thread(ended, capsys, "status", "-c", str(file))
    assert code == 0
    assert said.startswith("FRESH worst 3.1s (stock, main)")


def test_a_port_that_the_system_chooses_is_unknown_to_commands_and_they_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status-token").write_text("s3cret-token\n")
    file = configured(tmp_path, "127.0.0.1:0")
    code, said, _ = ended(capsys, "status", "-c", str(file))
    assert code == 2
    assert said.startswith("UNKNOWN status.listen: with port 0 the system chooses the port")
    assert "Give it a port" in said
    code, _, told = ended(capsys, "batch", "list", "-c", str(file))
    assert code == 2
    assert told.startswith("erpsyncd: status.listen: with port 0 the system chooses the port")


def test_where_nobody_listens_the_verdict_is_unknown_and_its_line_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status-token").write_text("s3cret-token\n")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, so that nobody else listens there
        listen = f"127.0.0.1:{held.getsockname()[1]}"
        code, said, told = ended(capsys, "status", "-c", str(configured(tmp_path, listen)))
    assert (code, told) == (2, "")
    assert said.startswith(f"UNKNOWN status.listen: no erpsyncd answers at {listen}. Is the daemon running? Start it")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "<p>hello"), (200, '{"hello": "you"}'), (200, "[]"), (404, '{"detail": "Not Found"}'), (404, "no")],
)
async def test_another_program_that_has_the_port_is_not_taken_for_the_daemon(
    status: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status-token").write_text("s3cret-token\n")

    async def say(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text)

    async with RawTestServer(say) as other:
        listen = f"127.0.0.1:{other.port}"
        code, said, told = await asyncio.to_thread(ended, capsys, "status", "-c", str(configured(tmp_path, listen)))
    assert (code, told) == (2, "")
    assert said.startswith(f"UNKNOWN status.listen: what answers at {listen} is not erpsyncd. ")


async def test_a_taken_port_is_explained(start: Start) -> None:
    world = await start()
    port = int(world.server.url.rpartition(":")[2])
    other = StatusServer(("127.0.0.1", port), None, report, Metrics(), lambda: (True, ""))
    with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
        await other.start()
    await other.close()


@pytest.mark.parametrize(("kind", "status"), [("later", 503), ("never", 400)])
async def test_an_explained_error_carries_its_code(start: Start, kind: str, status: int) -> None:
    world = await start()
    got, text = await world.ask("POST", f"/api/backfill?fail={kind}", headers=GUARD)
    assert got == status
    assert '"code":"E-STORE"' in text


async def test_a_fault_in_one_answer_tells_nothing_and_ends_nothing(start: Start) -> None:
    world = await start()
    status, text = await world.ask("POST", "/api/backfill?fail=bug", headers=GUARD)
    assert status == 500
    assert "secret" not in text
    assert (await world.get("/livez"))[0] == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/api/status", 405)])
async def test_every_refusal_has_the_same_shape(start: Start, method: str, path: str, status: int) -> None:
    world = await start()
    async with world.client.request(method, world.server.url + path, headers=GUARD) as response:
        assert response.status == status
        assert (await response.json()).keys() == {"error", "code", "hint"}
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_closing_twice_and_before_start_is_harmless() -> None:
    server = StatusServer(("127.0.0.1", 0), None, report, Metrics(), lambda: (True, ""))
    await server.close()
    await server.close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("shop", False)],  # noqa: S104
)
def test_what_loopback_is(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback

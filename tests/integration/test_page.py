"""The status page in a real browser, where one is installed.

Invariant under test: what waits for a person and what the jobs do stands on the page, and no sentence of it claims more than
the figure behind it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from daemon.jobview import JobView
from daemon.metrics import Metrics
from daemon.model import Lane, QueueName
from daemon.staleness import QueueView, Report, SourceView, StoreView, judge
from daemon.status import StatusServer
from tests.integration.harness import LATEST

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NOW = 1_700_000_000_000_000
ASIDE = {
    "quarantined": {"key": 4711, "reason": "A-1|default: no such <b>article</b>"},
    "held": {"key": 12, "reason": "zeroed: more than 60 of 200"},
}

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def view(entity: str, lane: Lane, target_s: float, age_s: float, *, quarantined: int = 0, held: int = 0) -> QueueView:
    at = NOW - round(age_s * 1e6)
    return QueueView(
        QueueName("main", entity), lane, target_s, oldest_unapplied=at, quarantined=quarantined, held=held, pending=3
    )


def report(*queues: QueueView) -> Report:
    source = SourceView(state="streaming", canary_received_at=NOW, clock_offset_s=0.0)
    jobs = (
        JobView("texts", True, "the window 22:00-06:00", 30, 200, 30, "", "", None, NOW / 1e6),
        JobView("sales", False, "", 0, None, 0, "failed", "disk full", None, NOW / 1e6),
    )
    return replace(judge(source, [StoreView("main", queues=queues)], NOW), jobs=jobs)


async def page(told: Report, folder: Path) -> str:
    """What a reader sees, as text."""

    async def aside(request: web.Request) -> web.Response:
        kind = request.query["kind"]
        one = {"store": "main", "entity": "order_status", "age_seconds": 600.0, **ASIDE[kind]}
        return web.json_response({"kind": kind, "total": 121, "keys": [one]})

    server = StatusServer(
        ("127.0.0.1", 0), None, lambda: told, Metrics(), lambda: (True, ""), routes=[web.get("/api/set-aside", aside)]
    )
    await server.start()
    try:
        assert BROWSER is not None
        browser = await asyncio.create_subprocess_exec(
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *(f"--user-data-dir={folder}", "--virtual-time-budget=1500", "--dump-dom", server.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(LATEST):
                dom, _ = await browser.communicate()
        finally:
            if browser.returncode is None:
                browser.kill()
                await browser.wait()
    finally:
        await server.close()
    text = re.sub(r"(?s)<(style|script)>.*?</\1>", "", dom.decode())
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


async def test_the_page_shows_what_waits_for_a_person_and_every_job(tmp_path: Path) -> None:
    text = await page(report(view("order_status", Lane.FAST, 5.0, 600.0, quarantined=121, held=121)), tmp_path)
    assert "The furthest of order status is 10 min behind." in text
    for words in ("order status 4711 A-1|default: no such &lt;b&gt;article&lt;/b&gt; main 10 min", "And 120 more."):
        assert words in text
    assert "order status 12 zeroed: more than 60 of 200 main 10 min" in text
    for command in ("erpsyncd quarantine retry", "erpsyncd held release"):
        assert command in text
    assert "texts running, 30 of 200, waits for the window 22:00-06:00 30" in text
    assert "sales failed: disk full" in text


async def test_the_pages_figure_is_said_of_the_fast_lane_alone(tmp_path: Path) -> None:
    fast, slow = view("stock", Lane.FAST, 5.0, 2.0), view("content", Lane.BATCH, 86400.0, 3600.0)
    text = await page(report(fast, slow), tmp_path)
    assert "Every store is within its targets. None of stock is more than 2.0 s behind." in text
    assert "content 3 changes waiting 1 h" in text
    assert "Put aside:" not in text

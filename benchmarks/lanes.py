"""Two lanes: stock changes while a job of the batch lane sends, by the same daemon or, as a control, by another.

Invariant: stock latency is that of the daemon's own status, from a process that saw this part alone; memory is the process's
highest resident set. The control gives machine, ERP and store the same work, so that what is left between the two is what the
lanes of one daemon do to each other.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks import ground

CHANGES = 50
"""Stock changes a second."""


@dataclass(frozen=True, slots=True)
class Part:
    """Stock's percentiles in seconds, memory in MB, the time it took."""

    p50: float
    p99: float
    rss: float
    took: float


@dataclass(frozen=True, slots=True)
class Lanes:
    """Stock of the first `items` items, and the job that is to send meanwhile. `ready` is asked of a daemon's report before a
    part begins."""

    connection: asyncpg.Connection
    items: int
    job: str
    ready: Callable[[dict[str, Any]], bool]

    async def part(self, daemon: ground.Daemon, sender: ground.Daemon | None, seconds: float | None) -> Part:
        """Stock changes by `daemon` for so long while `sender` runs the job, or until it has ended; each in a process of its
        own."""
        running = [daemon] if sender in (None, daemon) else [daemon, sender]
        for one in running:
            one.start()
            await one.until(lambda r: r["source"]["state"] == "streaming" and self.ready(r))
        ended = asyncio.Event()
        writer = asyncio.create_task(self._stock(ended))
        start = time.perf_counter()
        if sender is not None:
            await sender.call("POST", f"/api/batches/{self.job}")
        if seconds is not None:
            await asyncio.sleep(seconds)
        elif sender is not None:
            await sender.until(lambda r: not self._runs(r), within=1200)
        took = time.perf_counter() - start
        ended.set()
        await writer
        report = await daemon.until(lambda r: not ground.entities(r)["stock"]["pending"])
        latency, rss = ground.entities(report)["stock"]["latency_seconds"], ground.peak_rss_mb(daemon.pid)
        if sender is not None and seconds is not None:
            assert self._runs(await sender.until(bool)), "there was too little to send"
            await sender.call("DELETE", f"/api/batches/{self.job}")
            await sender.until(lambda r: not self._runs(r))
        for one in running:
            one.stop()
        return Part(latency["p50"], latency["p99"], rss, took)

    def _runs(self, report: dict[str, Any]) -> bool:
        return bool(report["batches"][self.job]["running"])

    async def _stock(self, ended: asyncio.Event) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            sql = "update stock_level set on_hand = on_hand + 1 where item_id = $1"
            await self.connection.execute(sql, number % self.items + 1)
            await asyncio.sleep(1 / CHANGES)


def figures(found: Mapping[str, Sequence[Part]], beside: str) -> dict[str, float]:
    """Medians of each kind of part, "alone" and "control" among them, and how those `beside` the job compare."""
    p50, p99 = (
        {when: statistics.median(getattr(part, name) for part in parts) for when, parts in found.items()}
        for name in ("p50", "p99")
    )
    return {
        **{f"stock p50 ms, {when}": round(value * 1000, 1) for when, value in p50.items()},
        **{f"stock p99 ms, {when}": round(value * 1000, 1) for when, value in p99.items()},
        "stock p99 ratio": round(p99[beside] / p99["alone"], 2),
        "stock p99 ratio to the control": round(p99[beside] / p99["control"], 2),
    }

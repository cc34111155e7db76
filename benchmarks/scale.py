"""Scale: a first load and a comparison that finds nothing changed, from 10,000 to a million items of two entities, as a plot.

Invariant: each size has a server, a store and a daemon of its own; memory is the highest resident set of the process that
did it, and the state file counts with all that lies beside it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
NAMES = ("stock", "price")
SETTINGS = {"max_slot_wal_keep_size": "16GB", "max_wal_size": "8GB"}


def configuration(dsn: str, url: str) -> str:
    """Two entities, one store."""
    stock = ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level")
    price = ground.entity("price", "price", ground.PRICE_SQL, "price")
    return ground.configuration(dsn, url, stock, price, names=list(NAMES))


async def load_and_compare(daemon: ground.Daemon, connection: asyncpg.Connection, items: int) -> dict[str, Any]:
    """The first load; then stop, make the slot a gap, start: everything is compared and nothing differs."""
    start = time.perf_counter()
    await daemon.until(ground.loaded, within=1800)
    load_s = time.perf_counter() - start
    load_rss = ground.peak_rss_mb(daemon.pid)
    state_mb = sum(f.stat().st_size for f in daemon.folder.glob("state.db*")) / 1e6
    daemon.stop()
    while await connection.fetchval("select active from pg_replication_slots where slot_name = 'bench'"):
        await asyncio.sleep(0.05)
    await connection.execute("select pg_drop_replication_slot('bench')")
    daemon.start()
    start = time.perf_counter()
    await daemon.until(lambda report: _unchanged(report) >= len(NAMES) * items, within=1800)
    return {
        "first load documents/s": round(len(NAMES) * items / load_s),
        "first load peak RSS MB": round(load_rss),
        "state file MB": round(state_mb, 1),
        "unchanged keys/s": round(len(NAMES) * items / (time.perf_counter() - start)),
        "compare peak RSS MB": round(ground.peak_rss_mb(daemon.pid)),
    }


def _unchanged(report: dict[str, Any]) -> int:
    if report["source"]["state"] != "streaming":
        return 0
    return sum(entity["unchanged_total"] for entity in ground.entities(report).values())


async def run(items: int) -> dict[str, Any]:
    """One size."""
    with ground.store() as url, Cluster(settings=SETTINGS) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, items)
        async with ground.daemon(configuration(cluster.dsn(), url)) as daemon:
            figures = await load_and_compare(daemon, connection, items)
        await connection.close()
    return {"items": items, **figures}


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Speed, memory and file over the number of items, as an SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "erpsyncd", "svg.fonttype": "none"})
    from matplotlib import pyplot

    panels = {
        "thousand a second": {
            "compared, nothing changed (keys)": lambda f: f["unchanged keys/s"] / 1000,
            "first load (documents)": lambda f: f["first load documents/s"] / 1000,
        },
        "memory at its highest, MB": {
            "first load": lambda f: f["first load peak RSS MB"],
            "compared": lambda f: f["compare peak RSS MB"],
        },
        "state file, MB": {"two entities": lambda f: f["state file MB"]},
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 3.6), layout="constrained")
    items = [f["items"] for f in found]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for label, value in lines.items():
            axis.plot(items, [value(f) for f in found], marker="o", label=label)
        axis.set(xscale="log", title=title, xlabel="items")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, metadata={"Date": None})

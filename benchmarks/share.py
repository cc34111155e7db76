"""One store's budget, shared by both lanes: what each of them gets while the fast lane's demand rises and falls.

Invariant: calls are counted by the store itself, by the second of their arrival; the age of a stock change is the time from
its commit, as its document says, to the store's receipt.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import ground
from daemon.demo.embedded import Cluster
from tests.doubles.shop import Shop

PRODUCTS = 20_000
BUDGET, BURST, SHARE = 10, 10, 0.5
"""Calls a second, saved up at most, and the fast lane's part of both."""
PHASES = ((20, 0), (20, 2), (20, 5), (20, 8), (20, 30), (20, 0))
"""Seconds, and stock changes a second, each of another item."""
CONTENT_SQL = "select i.id as key, i.sku, repeat(i.sku, 500) as description_html from item i where i.id = any($1)"
JOB = """
[batch.texts]
entity = "content"
schedule = "0 0 1 1 *"
"""


async def run(plot: Path | None = None) -> dict[str, Any]:
    """A rebuild that wants every call, and stock in phases; with `plot` the course is drawn into that file."""
    with Cluster(settings={"max_slot_wal_keep_size": "8GB"}) as cluster:
        connection = await asyncpg.connect(cluster.dsn())
        await ground.schema(connection, PRODUCTS)
        async with Shop(token="bench") as shop:
            parts = (
                ground.entity("stock", "stock", ground.STOCK_SQL, "stock_level"),
                ground.entity("content", "content", CONTENT_SQL, "price").replace('"5s"', '"1d"'),
                JOB,
            )
            text = ground.configuration(cluster.dsn(), shop.url, *parts, names=["stock", "content"])
            async with ground.daemon(text) as daemon:  # the first load with a wide budget
                await daemon.until(lambda r: ground.loaded(r) and not r["batches"]["texts"]["running"])
                daemon.stop()
                narrow = f"rate = {{ per_second = {BUDGET}, burst = {BURST} }}\nfast_share = {SHARE}\nbatch_size = 20"
                place = daemon.folder / "config.toml"
                place.write_text(place.read_text().replace("rate = { per_second = 5000, burst = 5000 }", narrow))
                daemon.start()
                await daemon.until(lambda r: r["source"]["state"] == "streaming" and ground.loaded(r))
                shop.calls.clear()
                shop.history.clear()
                await daemon.call("POST", "/api/batches/catalogue")
                await daemon.until(lambda _: len(shop.calls) > BURST)
                began = time.time()
                for seconds, rate in PHASES:
                    await _stock(connection, seconds, rate)
                await asyncio.sleep(1)
                assert (await daemon.until(bool))["batches"]["catalogue"]["running"], "the rebuild was too short"
            calls = [(call.at - began, call.entity) for call in shop.calls if call.write]
            ages = [
                (write.at - began, write.at - dt.datetime.fromisoformat(write.changed_at).timestamp())
                for writes in shop.history["stock"].values()
                for write in writes
            ]
        await connection.close()
    if plot is not None:
        draw(plot, calls, ages)
    return _figures(calls, ages)


async def _stock(connection: asyncpg.Connection, seconds: float, rate: float) -> None:
    begin = time.perf_counter()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(begin + number / rate - time.perf_counter(), 0))
        await connection.execute("update stock_level set on_hand = on_hand + 1 where item_id = $1", number + 1)
    await asyncio.sleep(max(begin + seconds - time.perf_counter(), 0))


def _figures(calls: list[tuple[float, str]], ages: list[tuple[float, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {"budget calls/s": BUDGET, "share of the fast lane": SHARE}
    begin = 0.0
    for number, (seconds, rate) in enumerate(PHASES, 1):
        end = begin + seconds
        counts = Counter(entity for at, entity in calls if begin <= at < end)
        old = sorted(age for at, age in ages if begin <= at < end)
        name = f"{number}: {rate} changes/s"
        found[f"{name}, stock calls/s"] = round(counts["stock"] / seconds, 1)
        found[f"{name}, content calls/s"] = round(counts["content"] / seconds, 1)
        if old:
            found[f"{name}, stock p50 ms"] = round(statistics.median(old) * 1000)
            found[f"{name}, stock p99 ms"] = round(old[min(int(len(old) * 0.99), len(old) - 1)] * 1000)
        begin = end
    return found


def draw(place: Path, calls: list[tuple[float, str]], ages: list[tuple[float, float]]) -> None:
    """Calls by the second, stacked, over the ages of stock changes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "erpsyncd"
    from matplotlib import pyplot as plt

    total = sum(seconds for seconds, _ in PHASES)
    counts = {name: [0] * total for name in ("stock", "content")}
    for at, entity in calls:
        if 0 <= at < total:
            counts[entity][int(at)] += 1
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(9, 5), height_ratios=(2, 1), layout="constrained")
    seconds = [second + 0.5 for second in range(total)]
    above.bar(seconds, counts["stock"], 1.0, label="fast lane: stock", color="#1f77b4")
    above.bar(seconds, counts["content"], 1.0, counts["stock"], label="batch lane: content", color="#ffbb78")
    above.axhline(BUDGET, color="black", linewidth=1, linestyle="--", label=f"budget, {BUDGET} calls/s")
    above.axhline(BUDGET * (1 - SHARE), color="grey", linewidth=1, linestyle=":", label="most of the batch lane")
    above.set_ylabel("calls a second")
    above.legend(loc="upper left", fontsize="small", ncols=2)
    above.set_ylim(0, BUDGET * 1.8)
    below.plot(*zip(*sorted(ages), strict=True), ".", markersize=3, color="#1f77b4")
    below.set_ylabel("stock: commit\nto store, s")
    below.set_ylim(bottom=0)
    below.set_xlabel("seconds")
    begin = 0
    for length, rate in PHASES:
        above.text(begin + length / 2, BUDGET * 1.12, f"{rate} changes/s", ha="center", fontsize="small")
        for axis in (above, below):
            axis.axvline(begin, color="lightgrey", linewidth=0.5)
        begin += length
    figure.savefig(place, metadata={"Date": None})
    plt.close(figure)

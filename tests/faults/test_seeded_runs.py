"""Seeded random runs: load on the ERP, a fault on either side, and then everything must be as if nothing had happened.

Invariant under test: whatever was killed, cut, refused or lost, at rest every store shows for every key what SQL says, no
document ever went back a version, nothing of a rolled-back transaction was shown, the slot was never told more than was
durable, and the verdict is FRESH again.

A few worlds run side by side, each with a server and stores of its own; seed n runs in world n modulo their number, after
the seeds before it, in the same database. ERPSYNCD_SEEDS says how many (200), ERPSYNCD_SEED names one or several.
"""

from __future__ import annotations

import asyncio
import collections
import os
import time
from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from daemon.demo.installation import server_version
from tests.conftest import servers
from tests.faults.plans import LOAD_S, Plan, bring_back
from tests.faults.world import World, watched, world
from tests.faults.writer import writing

WORLDS = 4
SEEDS = int(os.environ.get("ERPSYNCD_SEEDS", "200"))
CHOSEN = [int(word) for word in os.environ.get("ERPSYNCD_SEED", "").replace(",", " ").split()]
_SETTINGS = {"deadlock_timeout": "50ms", "checkpoint_timeout": "30s"}


class Failed(Exception):
    """A run that broke a law."""


async def one_run(plan: Plan, place: World) -> None:
    """Load, faults, rest, oracle."""
    begun = time.monotonic()
    gap = plan.source == "slot dropped"  # a slot made anew is ahead of us until the gap has been answered
    async with writing(place.dsn, plan.seed) as writers:
        faults = [plan.source_fault(place)]
        for number, (shop, kind) in enumerate(zip(place.shops.values(), plan.stores, strict=True)):
            faults.append(plan.store_fault(shop, kind, number))
        if gap:
            await asyncio.gather(*faults)
        else:
            async with watched(place):
                await asyncio.gather(*faults)
        await asyncio.sleep(max(0.0, begun + LOAD_S - time.monotonic()))
    assert sum(writer.committed for writer in writers) > 0
    await bring_back(plan, place)
    await place.at_rest()


async def lane(number: int, seeds: list[int], folder: Path, told: collections.Counter[str]) -> None:
    """The runs of one world, one after the other."""
    binaries = servers()
    bin_dir = binaries[number % len(binaries)]
    stores = 1 + number // 2 % 2
    cluster = Cluster(bin_dir, settings=_SETTINGS)
    await asyncio.to_thread(cluster.start)
    try:
        async with world(cluster, folder, stores) as place:
            await place.at_rest()
            for position, seed in enumerate(seeds):
                plan = Plan.draw(seed, stores)
                try:
                    await one_run(plan, place)
                except Exception as exc:
                    before = ",".join(map(str, seeds[max(0, position - 5) : position + 1]))
                    raise Failed(
                        f"{plan} (PostgreSQL {server_version(bin_dir)})\n"
                        f"once more:          ERPSYNCD_SEED={seed} make soak\n"
                        f"with those before:  ERPSYNCD_SEED={before} make soak\n"
                        f"{type(exc).__name__}: {exc}\n{place.tail()}\n{await place.sessions()}"
                    ) from exc
                told[plan.source] += 1
                told.update(f"store: {kind}" for kind in plan.stores)
    finally:
        await asyncio.to_thread(cluster.close)


@pytest.mark.timeout(120 + 8 * max(SEEDS, len(CHOSEN)))
async def test_whatever_goes_wrong_at_rest_every_store_shows_what_sql_says(tmp_path: Path) -> None:
    seeds = CHOSEN or list(range(1, SEEDS + 1))
    told: collections.Counter[str] = collections.Counter()
    begun = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(WORLDS):
                mine = [seed for seed in seeds if seed % WORLDS == number]
                if mine:
                    group.create_task(lane(number, mine, tmp_path / str(number), told))
    except* Failed as failures:
        pytest.fail("\n\n".join(str(failure) for failure in failures.exceptions), pytrace=False)
    runs = sum(count for kind, count in told.items() if not kind.startswith("store: "))
    print(f"\n{runs} runs in {time.monotonic() - begun:.0f} s")  # noqa: T201 - what a soak is for
    print("\n".join(f"{count:5d}  {kind}" for kind, count in sorted(told.items())))  # noqa: T201
    assert runs == len(seeds)

"""Run what is named, print a table, keep it in benchmarks/results:
`python -m benchmarks [ingest latency idle erpcost storm behind scale catalogue pictures share extracts]`."""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import batches, behind, erpcost, idle, ingest, latency, pictures, scale, share, storm

RESULTS = Path(__file__).parent / "results"
GOALS = {
    "keys dirty before: wall ratio": "<= 0.6",
    "keys clean before: wall ratio": "<= 0.6",
    "keys dirty before: cpu ratio": "<= 0.5",
    "keys clean before: cpu ratio": "<= 0.5",
    "p50_ms": "<= 8 at 1000/s, <= 3 at 50/s",
    "p99_ms": "<= 20",
    "max_ms": "<= 100",
    "cpu_us_per_change": "<= 250 at 1000/s",
    "stock p99 s during it": "< 1",
    "storm peak RSS MB": "<= 256",
    "storm drained documents/s": ">= 5000",
    "unchanged keys/s": ">= 20000",
    "idle daemon % of a core": "< 1",
    "compare peak RSS MB": "<= 300",
    "stock p99 ratio": "<= 1.5",
    "events beside updated_at": "<= 0.1",
    "events beside full compare": "<= 0.1",
    "state file MB": "<= 1000",
    "csv peak RSS MB": "< 200",
    "csv.zst peak RSS MB": "< 200",
    "parquet peak RSS MB": "< 200",
}


def main(names: list[str]) -> None:
    names = names or ["ingest", "latency", "idle", "erpcost", "storm"]
    RESULTS.mkdir(exist_ok=True)
    results: dict[str, Any] = {"machine": platform.platform(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if "ingest" in names:
        results["ingest"] = ingest.run()
    if "latency" in names:
        results["latency 1000/s"] = uvloop.run(latency.run(1000, 60))
        results["latency 1000/s over 4 entities"] = uvloop.run(latency.run(1000, 60, spread=4))
        results["latency 50/s"] = uvloop.run(latency.run(50, 30))
    if "idle" in names:
        results["idle"] = uvloop.run(idle.run())
    if "erpcost" in names:
        results["erpcost"] = uvloop.run(erpcost.run())
    for size in (10_000, 100_000, 1_000_000):
        if "storm" in names or f"storm{size}" in names:
            results[f"storm {size}"] = uvloop.run(storm.run(size))
    if "behind" in names:
        results["behind"] = uvloop.run(behind.run())
    grown = [uvloop.run(scale.run(size)) for size in scale.SIZES] if "scale" in names else []
    results.update({f"scale {found['items']}": found for found in grown})
    lanes = {
        "catalogue": batches.catalogue,
        "pictures": pictures.run,
        "share": lambda: share.run(RESULTS / "share.svg"),
        "extracts": batches.extracts,
    }
    results.update({name: uvloop.run(part()) for name, part in lanes.items() if name in names})
    table = Table("measurement", "figure", "value", "goal")
    for name, figures in results.items():
        if isinstance(figures, dict):
            for figure, value in figures.items():
                table.add_row(name, figure, str(value), GOALS.get(figure, ""))
    Console().print(table)
    name = results["at"].replace(":", "")
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2))
    if grown:
        scale.plot(grown, RESULTS / f"{name}-scale.svg")


if __name__ == "__main__":
    main(sys.argv[1:])

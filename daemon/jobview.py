"""A job as status, metrics and log show it.

Invariant: pure; every display takes its figures from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JobView:
    """How a job of `[batch.*]` stands. Times in seconds since the epoch."""

    name: str
    running: bool
    waits_for: str
    """Why an open run does not work at the moment."""
    done: int
    total: int | None
    rows: int
    """Of the newest run."""
    result: str
    """Of the newest run that ended; empty before the first."""
    reason: str
    last_success: float | None
    next_run: float | None

    @property
    def progress(self) -> float | None:
        """0 to 1 while a run is open and its size is known."""
        return min(self.done / self.total, 1.0) if self.running and self.total else None

    @property
    def text(self) -> str:
        """What an operator should see; empty when the job rests and its last run went well."""
        if self.running:
            of = f" of {self.total}" if self.total else ""
            return f"running, {self.done}{of}{f', waits for {self.waits_for}' if self.waits_for else ''}"
        return f"failed: {self.reason}" if self.result == "failed" else ""

    def as_json(self) -> dict[str, Any]:
        return {
            "running": self.running,
            "waits_for": self.waits_for,
            "done": self.done,
            "total": self.total,
            "rows": self.rows,
            "result": self.result,
            "reason": self.reason,
            "last_success": self.last_success,
            "next_run": self.next_run,
            "text": self.text,
        }

    def gauges(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        progress = self.progress
        yield "batch_running", (self.name,), float(self.running)
        yield "batch_progress_ratio", (self.name,), math.nan if progress is None else progress
        yield "batch_rows", (self.name,), self.rows
        yield "batch_failed", (self.name,), float(self.result == "failed")

"""An extract: the rows of a window, written by a process of its own, so that neither its work nor its memory is the daemon's.

Invariant: the window of a run begins where the last complete one ended, and a run that was cut off writes the same window
again under the same name; a file under its final name is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from daemon.config.outlet import Batch
from daemon.errors import ErpsyncError, Retry
from daemon.jobs import timetable
from daemon.jobs.job import Job
from daemon.jobs.records import Records, Run, iso, micros, moment
from daemon.model import Micros

_ROOT = Path(__file__).parent.parent.parent


class ExtractError(ErpsyncError):
    """An extract could not be written."""

    code = "E-EXTRACT"


class ExtractJob(Job):
    """The run of a `[batch.*]` with `extract`. `dsn` is that of the read role; a run has a connection of its own."""

    kind = "extract"

    def __init__(
        self,
        batch: Batch,
        records: Records,
        clock: Callable[[], Micros],
        told: Callable[[str, float], None],
        dsn: str,
    ) -> None:
        super().__init__(batch, records, clock, told)
        self._dsn = dsn
        self._rows = 0

    def start(self) -> None:
        if self._high is not None and self._clock() <= self._high:
            raise ExtractError(
                f"the last window ended at {iso(self._high)}, which is not over",
                code="E-EXTRACT-CLOCK",
                hint="Was the clock of this machine set back?",
            )
        super().start()

    def progress(self) -> tuple[int, int | None]:
        return self._rows, None

    def _begin(self, *, asked: bool, planned: Micros) -> Run | None:
        low = self._high
        if low is None:
            low = micros(timetable.before(self.batch, moment(planned)))
        if planned <= low:
            return None  # the clock went back; this span was written
        self._cancelled.clear()
        self._rows = 0
        return self._records.begin(self.name, asked=asked, planned=planned, at=self._clock(), window=(low, planned))

    async def _work(self, run: Run) -> bool:
        while not self._may_work(run):
            self.waits_for = f"its window {self.batch.window}"
            await self._sleep(1.0)
            if self._cancelled.is_set():
                return False
        self.waits_for = ""
        await self._records.secured()  # the window is on disk before a file has its name
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "daemon.jobs.writer",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            ending = asyncio.ensure_future(self._cancelled.wait())
            talking = asyncio.ensure_future(self._talk(process, run))
            try:
                await asyncio.wait((ending, talking), return_when=asyncio.FIRST_COMPLETED)
                return talking.result() if talking.done() else False
            finally:
                ending.cancel()
                talking.cancel()
                await asyncio.wait((talking,))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _talk(self, process: asyncio.subprocess.Process, run: Run) -> bool:
        """Hand the work over and listen until it is done. Raises what the process says of a failure."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps(self._order(run)) + b"\n")
        await process.stdin.drain()
        async for line in process.stdout:
            said: dict[str, Any] = orjson.loads(line)
            if "error" in said:
                retry = Retry(said["retry"])
                raise ExtractError(
                    said["error"], where=said["where"], hint=said["hint"], code=said["code"], retry=retry
                )
            self._rows = run.rows = said["rows"]
            if said.get("done"):
                return True
        code = await process.wait()
        raise ExtractError(
            f"the process that writes it ended with {code}",
            where=f"batch.{self.name}",
            code="E-EXTRACT-ENDED",
            hint="Was it killed for its memory? The next run writes the same window.",
        )

    def _order(self, run: Run) -> dict[str, Any]:
        batch = self.batch
        assert run.low is not None
        assert run.high is not None
        return {
            "job": self.name,
            "dsn": self._dsn,
            "sql": batch.extract,
            "low": run.low,
            "high": run.high,
            "to": batch.to,
            "timezone": batch.timezone,
            "timeout": batch.timeout,
            "keep": batch.keep,
        }

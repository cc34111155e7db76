"""One job: waits until it is due, has one run at a time, and takes up a run that was cut off.

Invariant: a run is recorded before its work begins and ends with its result, whatever ended it; a process that dies leaves
it open, and the next process goes on with the same run.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from daemon import log
from daemon.config.outlet import Batch
from daemon.errors import ErpsyncError, Retry
from daemon.jobs import timetable
from daemon.jobs.records import Records, Result, Run, micros, moment
from daemon.jobview import JobView
from daemon.model import Micros
from daemon.runs import BusyError
from daemon.words import format_seconds

_TICK_S = 1.0
_RETRY_S = (5.0, 60.0)


class Job(ABC):
    """`clock` gives our time in microseconds. `told` is called with the time of each success."""

    kind = ""
    entities: tuple[str, ...] = ()
    """What it sends, by name."""

    def __init__(
        self, batch: Batch, records: Records, clock: Callable[[], Micros], told: Callable[[str, float], None]
    ) -> None:
        self.batch = batch
        self.name = batch.name
        self._records = records
        self._clock = clock
        self._told = told
        self._wake = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._asked: Run | None = None
        """A run that was asked for, and that the job did not look at yet."""
        now = clock()
        mark = records.mark(self.name)
        self._last, self._high = mark or (now, None)
        if mark is None:
            records.see(self.name, now)
        self.history = records.newest(self.name, 10)
        self.fresh = not self.history
        """It never ran. That it was seen says little: the process that saw it may have ended before anything could run."""
        newest = self.history[0] if self.history else None
        self.open: Run | None = newest if newest is not None and newest.result is Result.RUNNING else None
        self._coming: dt.datetime | None = None
        self.waits_for = ""
        """Why an open run does not work at the moment."""
        if (at := records.last_success(self.name)) is not None:
            told(self.name, at / 1e6)

    @property
    def running(self) -> bool:
        """Whether a run is open, or was asked for."""
        return self.open is not None or self._asked is not None

    # -- the operator

    def start(self) -> None:
        """Begin a run now, whatever the schedule says; see `secured`. Raises BusyError."""
        if self.running:
            raise BusyError(
                f"job {self.name} is running already", hint=f"Wait for its end, or: erpsyncd batch cancel {self.name}"
            )
        self._asked = self._begin(asked=True, planned=self._clock())
        self._wake.set()

    async def secured(self) -> None:
        """Wait until a run that was begun is taken up even after a crash."""
        await self._records.secured()

    def cancel(self) -> bool:
        """End the run that is open; False when there is none. What it has done stays done."""
        if not self.running:
            return False
        self._cancelled.set()
        return True

    def as_json(self) -> dict[str, Any]:
        """What `batch list` shows. Times in seconds since the epoch."""
        now = moment(self._clock())
        coming = timetable.coming(self.batch, moment(self._last), now)
        newest = self.history[0] if self.history else None
        done, total = self.progress() if self.open is not None else (0, None)
        return {
            "job": self.name,
            "kind": self.kind,
            "entity": self.batch.entity,
            "entities": self.entities,
            "schedule": self.batch.schedule or (format_seconds(self.batch.every) if self.batch.every else ""),
            "timezone": self.batch.timezone,
            "window": str(self.batch.window) if self.batch.window is not None else "",
            "running": self.running,
            "waits_for": self.waits_for,
            "next_run": None if coming is None else coming.timestamp(),
            "last": newest.as_json() if newest is not None else None,
            "last_success": self.last_success,
            "done": done,
            "total": total,
            "runs": [run.as_json() for run in self.history],
        }

    def view(self) -> JobView:
        """The same, in brief."""
        newest = self.history[0] if self.history else None
        ended = next((run for run in self.history if run.result is not Result.RUNNING), None)
        done, total = self.progress() if self.open is not None else (0, None)
        now = moment(self._clock())
        coming = (
            timetable.coming(self.batch, moment(self._last), now) if self.batch.every is not None else self._next(now)
        )
        return JobView(
            self.name,
            self.running,
            self.waits_for,
            done,
            total,
            newest.rows if newest is not None else 0,
            ended.result.value if ended is not None else "",
            ended.reason if ended is not None else "",
            self.last_success,
            None if coming is None else coming.timestamp(),
        )

    def _next(self, now: dt.datetime) -> dt.datetime | None:
        """The next planned moment, looked up when the one before has passed."""
        if self._coming is None or self._coming <= now:
            self._coming = timetable.coming(self.batch, moment(self._last), now)
        return self._coming

    @property
    def last_success(self) -> float | None:
        """End of the newest run that ended well, in seconds since the epoch."""
        return next((run.ended / 1e6 for run in self.history if run.result is Result.DONE and run.ended), None)

    @abstractmethod
    def progress(self) -> tuple[int, int | None]:
        """How much of the open run is done, and of how much, where that is known."""

    # -- running

    async def run(self) -> None:
        """For the life of the daemon."""
        while True:
            if self.open is None:
                self.open = self._due()
                if self.open is None:
                    await self._sleep(_TICK_S)
                    continue
                self.history = [self.open, *self.history[:9]]
                self._tell(f"job {self.name} begins", asked=self.open.asked)
            else:
                log.info("batch", f"job {self.name} goes on", job=self.name)
            await self._finish(self.open)

    def _due(self) -> Run | None:
        now = self._clock()
        self._wake.clear()
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return asked
        self._cancelled.clear()
        at = moment(now)
        last = timetable.trusted(moment(self._last), at)
        planned = timetable.due(self.batch, last, at)
        if planned is None and self.fresh and self.at_first and self.batch.scheduled:
            planned = at
        if planned is None or not self.batch.open_at(at):
            return None
        self.fresh = False
        self._last = micros(planned)
        return self._begin(asked=False, planned=self._last)

    at_first = False
    """A job that never ran is due at once."""

    def _begin(self, *, asked: bool, planned: Micros) -> Run | None:
        self._cancelled.clear()
        return self._records.begin(self.name, asked=asked, planned=planned, at=self._clock())

    async def _finish(self, run: Run) -> None:
        """Work on a run to its end. An error that passes is waited out, another one ends the run."""
        attempt = 0
        while True:
            try:
                done = await self._work(run)
                break
            except ErpsyncError as exc:
                if exc.retry is Retry.LATER:
                    self.waits_for = str(exc)
                    await self._sleep(min(_RETRY_S[0] * 2**attempt, _RETRY_S[1]))
                    attempt += 1
                    if not self._cancelled.is_set():
                        continue
                    done = False
                    break
                self._ended(run, Result.FAILED, str(exc), exc.code)
                return
            except Exception as exc:  # noqa: BLE001 -- a fault in one job must not end the daemon
                log.error("failed", f"job {self.name} failed", exc=exc, job=self.name)
                self._ended(run, Result.FAILED, "internal error, see the log", "E-INTERNAL")
                return
        self._ended(run, Result.DONE if done else Result.CANCELLED)

    def _ended(self, run: Run, result: Result, reason: str = "", code: str | None = None) -> None:
        self._records.end(run, result, self._clock(), reason)
        self.open, self.waits_for = None, ""
        self._cancelled.clear()
        assert run.ended is not None
        took = format_seconds(max(run.ended - run.started, 0) / 1e6)
        if result is Result.FAILED:
            log.error("batch_failed", f"job {self.name}: {reason}", code=code, job=self.name)
            return
        if result is Result.DONE:
            self._told(self.name, run.ended / 1e6)
            if run.high is not None:
                self._high = run.high
        text = f"job {self.name}: {result.value}, {run.rows} {self.unit} in {took}"
        self._tell(text, asked=run.asked or run.rows > 0 or result is not Result.DONE, rows=run.rows)

    unit = "rows"
    often = False
    """Its runs by the clock come often and mostly find nothing: those are not worth a line."""

    def _tell(self, text: str, *, asked: bool, **fields: Any) -> None:
        (log.debug if self.often and not asked else log.info)("batch", text, job=self.name, **fields)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond a request or a cancellation."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._wake, self._cancelled)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @abstractmethod
    async def _work(self, run: Run) -> bool:
        """Do what the run is for; True when it is complete, False when it was cancelled. Raises ErpsyncError."""

    def _may_work(self, run: Run) -> bool:
        """Whether the window of the day is open, or an operator asked."""
        return run.asked or self.batch.open_at(moment(self._clock()))

"""What is kept of jobs: their runs, what they have handled, where a rebuild was given up.

Invariant: the end of an extract's window moves in the same transaction as the end of its run, so that a crash at any
moment repeats a whole window or none.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any, Final

from daemon.model import Key
from daemon.state import StateFile

KEPT: Final = 100
_RUN = "id, job, asked, planned, started, ended, result, rows, reason, low, high"


class Result(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def moment(micros: int) -> dt.datetime:
    """Microseconds since the epoch as an aware time."""
    return dt.datetime.fromtimestamp(micros // 1_000_000, dt.UTC) + dt.timedelta(microseconds=micros % 1_000_000)


def micros(at: dt.datetime) -> int:
    return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


@dataclass(slots=True)
class Run:
    """One run of a job. Times in microseconds on our clock; `low` and `high` are an extract's window."""

    id: int
    job: str
    asked: bool
    """An operator asked for it; it does not look at the job's window of the day."""
    planned: int
    started: int
    ended: int | None = None
    result: Result = Result.RUNNING
    rows: int = 0
    reason: str = ""
    low: int | None = None
    high: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Times in seconds; `rows` are documents sent or rows written."""
        end = self.ended
        return {
            "number": self.id,
            "asked": self.asked,
            "planned": self.planned / 1e6,
            "started": self.started / 1e6,
            "ended": None if end is None else end / 1e6,
            "duration_seconds": None if end is None else round(max(end - self.started, 0) / 1e6, 3),
            "result": self.result.value,
            "rows": self.rows,
            "reason": self.reason,
            "window": None if self.low is None or self.high is None else [iso(self.low), iso(self.high)],
        }


def iso(at: int) -> str:
    return moment(at).isoformat().replace("+00:00", "Z")


class Records:
    """Of all jobs, over one state file."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._last_id = 0

    def open(self) -> None:
        """Blocking; before the loop's work begins."""
        ((self._last_id,),) = self._state.query("select coalesce(max(id), 0) from batch_run")

    def newest(self, job: str, count: int = 1) -> list[Run]:
        """The newest runs, the newest first. Blocking; before the loop's work begins."""
        sql = f"select {_RUN} from batch_run where job = ? order by id desc limit ?"  # noqa: S608 -- constants only
        return [_run(row) for row in self._state.query(sql, (job, count))]

    def last_success(self, job: str) -> int | None:
        """When it last ended well. Blocking."""
        rows = self._state.query("select max(ended) from batch_run where job = ? and result = 'done'", (job,))
        return rows[0][0] if rows else None

    def mark(self, job: str) -> tuple[int, int | None] | None:
        """The planned moment that was handled last and the end of the last complete window. Blocking."""
        rows = self._state.query("select planned, high from batch_mark where job = ?", (job,))
        return rows[0] if rows else None

    def see(self, job: str, at: int) -> None:
        """A job is there for the first time: what was planned before does not count as missed."""
        self._state.append("insert or ignore into batch_mark (job, planned) values (?, ?)", job, at)

    def begin(self, job: str, *, asked: bool, planned: int, at: int, window: tuple[int, int] | None = None) -> Run:
        """A run begins; durable with the next transaction, as all of this."""
        self._last_id += 1
        low, high = window or (None, None)
        run = Run(self._last_id, job, asked, planned, at, low=low, high=high)
        row = (run.id, job, int(asked), planned, at, low, high)
        self._state.append(
            "insert into batch_run (id, job, asked, planned, started, low, high) values (?, ?, ?, ?, ?, ?, ?)", *row
        )
        if not asked:
            self._state.append(
                "insert into batch_mark (job, planned) values (?, ?) on conflict do update set planned = excluded.planned",
                job,
                planned,
            )
        self._state.append(
            "delete from batch_run where job = ?1 and id <= "
            "(select id from batch_run where job = ?1 order by id desc limit 1 offset ?2)",
            job,
            KEPT,
        )
        return run

    def progress(self, run: Run) -> None:
        self._state.append("update batch_run set rows = ? where id = ?", run.rows, run.id)

    def end(self, run: Run, result: Result, at: int, reason: str = "") -> None:
        """It ended. Where an extract is done its window is complete, in the same transaction."""
        run.ended, run.result, run.reason = at, result, reason
        self._state.append(
            "update batch_run set ended = ?, result = ?, rows = ?, reason = ? where id = ?",
            at,
            result.value,
            run.rows,
            reason,
            run.id,
        )
        if result is Result.DONE and run.high is not None:
            self._state.append(
                "insert into batch_mark (job, planned, high) values (?, ?, ?) on conflict do update set high = excluded.high",
                run.job,
                run.planned,
                run.high,
            )

    def place(self, job: str, queue: int) -> tuple[Key | None, int] | None:
        """Where a rebuild of a queue was given up. Blocking."""
        rows = self._state.query("select cursor, done from batch_cursor where job = ? and queue = ?", (job, queue))
        return rows[0] if rows else None

    def leave(self, job: str, queue: int, cursor: Key | None, done: int) -> None:
        sql = "insert or replace into batch_cursor (job, queue, cursor, done) values (?, ?, ?, ?)"
        self._state.append(sql, job, queue, cursor, done)

    def take_up(self, job: str, queue: int) -> None:
        self._state.append("delete from batch_cursor where job = ? and queue = ?", job, queue)

    async def secured(self) -> None:
        """Wait until what was recorded is on disk, but not for a disk that takes nothing."""
        await self._state.secured()


def _run(row: tuple[Any, ...]) -> Run:
    id_, job, asked, planned, started, ended, result, rows, reason, low, high = row
    return Run(id_, job, bool(asked), planned, started, ended, Result(result), rows, reason, low, high)

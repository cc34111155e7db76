"""Work that an operator started and may watch, wait for and cancel: a comparison, a plan.

Invariant: a run ends as done, failed or cancelled, and says which; its failure ends nothing else. The last few are remembered.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from daemon import log
from daemon.errors import ErpsyncError

KEPT = 20


class State(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BusyError(ErpsyncError):
    """The same work is being done already."""

    code = "E-RUN-BUSY"


class UnknownRunError(ErpsyncError):
    """There is no such run."""

    code = "E-RUN-UNKNOWN"


@dataclass(slots=True)
class Run:
    """One piece of work. `show` tells how far it is, or what it found; True asks for all of it."""

    id: int
    kind: str
    about: frozenset[str]
    show: Callable[[bool], Any]
    state: State = State.RUNNING
    error: str = ""
    code: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self, *, full: bool) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "error": self.error,
            "code": self.code,
            "queues": self.show(full),
        }


class Runs:
    """Starts runs in a task group of their own, which lives in `run`."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._runs: OrderedDict[int, Run] = OrderedDict()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._number = 0

    async def run(self) -> None:
        """Keep the group; for the life of the daemon."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def start(
        self, kind: str, about: frozenset[str], work: Callable[[], Awaitable[object]], show: Callable[[bool], Any]
    ) -> Run:
        """Begin. `about` names what it works on; two runs of a kind never share a name. Raises BusyError."""
        if self._group is None:
            raise BusyError("the daemon is starting or stopping", hint="Try again in a moment.")
        for other in self._runs.values():
            if other.state is State.RUNNING and other.kind == kind and other.about & about:
                raise BusyError(
                    f"{', '.join(sorted(other.about & about))}: a {kind} is running already (number {other.id})",
                    hint="Wait for its end, or cancel it.",
                )
        self._number += 1
        run = self._runs[self._number] = Run(self._number, kind, about, show)
        for old in [r.id for r in self._runs.values() if r.state is not State.RUNNING][
            : max(len(self._runs) - KEPT, 0)
        ]:
            del self._runs[old]
        self._tasks[run.id] = self._group.create_task(self._do(run, work), name=f"{kind} {run.id}")
        return run

    async def _do(self, run: Run, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
            run.state = State.DONE
        except asyncio.CancelledError:
            run.state = State.CANCELLED
            raise
        except ErpsyncError as exc:
            run.state, run.error, run.code = State.FAILED, str(exc), exc.code
            log.warning("failed", f"{run.kind} {run.id}: {exc}", code=exc.code)
        except Exception as exc:  # noqa: BLE001 -- a fault in a comparison must not end the daemon
            run.state, run.error, run.code = State.FAILED, "internal error, see the log", "E-INTERNAL"
            log.error("failed", f"{run.kind} {run.id} failed", exc=exc)
        finally:
            run.ended.set()
            self._tasks.pop(run.id, None)

    def get(self, number: int) -> Run:
        run = self._runs.get(number)
        if run is None:
            raise UnknownRunError(
                f"there is no run {number}",
                hint="The daemon remembers the last few since it started or reloaded; start the command again.",
            )
        return run

    def cancel(self, number: int) -> Run:
        """End a run; one that has ended stays as it is."""
        run = self.get(number)
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()
        return run

    def all(self) -> list[Run]:
        return list(self._runs.values())

"""What happens while the demo stands: first load, business day, comparison; and what is said of it at the end.

Invariant: it ends at once when the daemon ends or somebody says stop, and says which. "store == ERP" is printed only
after every document was compared.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import asyncpg
import orjson

from daemon.demo.child import DaemonProcess
from daemon.demo.compare import Comparison, compare
from daemon.demo.day import run_day
from daemon.demo.screen import Scene, Screen, seconds, verdict
from daemon.demo.shop import DemoShop, now_micros
from daemon.errors import EXIT_DONE, EXIT_FAILED, EXIT_FOUND
from daemon.model import Lane, Micros

FIRST_LOAD_WITHIN: Final = 60.0
QUIET_WITHIN: Final = 40.0
_STEP: Final = 0.5
_SHOWN_DIFFERENCES: Final = 10
_LOST: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Stage:
    """The pieces while they stand."""

    shop: DemoShop
    daemon: DaemonProcess
    status_url: str
    dsn: str
    """The ERP, for its owner."""
    entities: Mapping[str, Mapping[str, Any]]
    """The `[entity.*]` tables of the configuration."""


class Show:
    """One demo, from the first load to the last word."""

    def __init__(self, stage: Stage, scene: Scene, screen: Screen, stop: asyncio.Event) -> None:
        self._stage, self._scene, self._screen, self._stop = stage, scene, screen, stop
        self._began: Micros = now_micros()
        self._changed_before = 0
        self._ended = asyncio.Event()
        """The daemon has ended, or somebody said stop."""
        self._daemon_code: int | None = None

    async def play(self, for_s: float | None) -> int:
        """Show it all. Returns the exit code."""
        watchers = [asyncio.create_task(self._await_daemon()), asyncio.create_task(self._await_stop())]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session:
                with self._screen:
                    last_word = await self._acts(session, for_s)
            return last_word()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.wait(watchers)

    async def _await_daemon(self) -> None:
        self._daemon_code = await self._stage.daemon.ended()
        self._ended.set()

    async def _await_stop(self) -> None:
        await self._stop.wait()
        self._ended.set()

    async def _acts(self, session: aiohttp.ClientSession, for_s: float | None) -> Callable[[], int]:
        scene = self._scene
        scene.phase = "first load"
        loaded = await self._watch(session, self._is_loaded, FIRST_LOAD_WITHIN)
        if self._ended.is_set():
            return self._say_ended
        if not loaded:
            self._screen.say("The first load has not ended yet; the business day begins all the same.", "yellow")
        try:
            await self._business_day(session, for_s)
            if self._ended.is_set():
                return self._say_ended
            found, agree, took = await self._comparison(session)
        except _LOST as error:
            reason = f"{type(error).__name__}: {error}"
            return lambda: self._say_failed(f"The ERP's database was lost ({reason}).")
        if self._ended.is_set():
            return self._say_ended
        return lambda: self._say_compared(found, agree, took)

    async def _business_day(self, session: aiohttp.ClientSession, for_s: float | None) -> None:
        scene, over = self._scene, asyncio.Event()
        self._began, self._changed_before = now_micros(), self._stage.shop.changed
        scene.phase = "business day"
        scene.ends_at = None if for_s is None else time.monotonic() + for_s
        day = asyncio.create_task(
            run_day(self._stage.dsn, stop=over, on_event=scene.events.append, tally=scene.tally), name="demo.day"
        )

        async def is_over() -> bool:
            return day.done()

        try:
            await self._watch(session, is_over, for_s)
        finally:
            over.set()
            _, late = await asyncio.wait({day}, timeout=10)
            for task in late:
                task.cancel()
            scene.ends_at = None
        if late:
            raise TimeoutError("the last transaction did not end")
        await day

    async def _comparison(self, session: aiohttp.ClientSession) -> tuple[Comparison, bool, float]:
        """Wait until nothing moves, then hold the store against the ERP until they agree or time is up."""
        self._scene.phase = "comparing the store with the ERP"
        stage, began = self._stage, time.monotonic()
        last: list[Comparison] = []

        async def agree() -> bool:
            if any(not _is_idle(queue) for queue in _queues(self._scene.status)) or self._scene.status is None:
                return False
            last[:] = [await compare(stage.dsn, stage.shop, stage.entities)]
            return not last[0].differences

        agreed = await self._watch(session, agree, QUIET_WITHIN)
        if not agreed and not self._ended.is_set():
            last[:] = [await compare(stage.dsn, stage.shop, stage.entities)]
        return (last[0] if last else Comparison({}, ())), agreed, time.monotonic() - began

    # The picture ------------------------------------------------------------------------------------------------------

    async def _watch(
        self, session: aiohttp.ClientSession, condition: Callable[[], Awaitable[bool]], within: float | None
    ) -> bool:
        """Keep the picture true until the condition holds; False when time was up or the show has ended."""
        deadline = None if within is None else time.monotonic() + within
        while not self._ended.is_set():
            await self._look(session)
            if await condition():
                return True
            left = _STEP if deadline is None else min(_STEP, deadline - time.monotonic())
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._ended.wait()
            except TimeoutError:
                continue
        return False

    async def _look(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._stage.status_url + "/api/status") as answer:
                status = orjson.loads(await answer.read()) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            status = None
        self._scene.status = status
        self._scene.arrived = self._stage.shop.changed - self._changed_before
        self._screen.refresh()

    async def _is_loaded(self) -> bool:
        """The fast entities are in the store. Content follows in its own time."""
        status = self._scene.status
        if status is None or status["verdict"] == "UNKNOWN":
            return False
        fast = [queue for queue in _queues(status) if queue.get("lane", Lane.FAST) == Lane.FAST]
        return bool(fast) and all(queue.get("loaded", True) and _is_idle(queue) for queue in fast)

    # The last word ----------------------------------------------------------------------------------------------------

    def _say_ended(self) -> int:
        if self._daemon_code is None or self._stop.is_set():
            self._say_counts()
            return EXIT_DONE
        words = self._stage.daemon.last_words()
        how = f"signal {-self._daemon_code}" if self._daemon_code < 0 else f"exit code {self._daemon_code}"
        self._screen.say(f"The daemon ended by itself with {how}. Its last words:", "bold red")
        for line in words or ["(it said nothing)"]:
            self._screen.say(f"  {line}")
        return EXIT_FAILED

    def _say_failed(self, reason: str) -> int:
        self._screen.say(reason, "bold red")
        self._say_counts()
        return EXIT_FAILED

    def _say_compared(self, found: Comparison, agreed: bool, took: float) -> int:
        say = self._screen.say
        say(verdict(self._scene.status).plain)
        self._say_counts()
        parts = ", ".join(f"{count} {entity}" for entity, count in found.counts.items())
        if agreed:
            say(
                f"store == ERP for {found.documents} documents ({parts}), seen after {took:.1f} s",
                "bold green",
            )
            return EXIT_DONE
        if not found.differences:
            say(f"store == ERP for {found.documents} documents ({parts}), but the daemon still had work", "bold yellow")
            return EXIT_FOUND
        say(f"store != ERP: {len(found.differences)} differences in {found.documents} documents ({parts})", "bold red")
        for difference in found.differences[:_SHOWN_DIFFERENCES]:
            say(f"  {difference}")
        return EXIT_FOUND

    def _say_counts(self) -> None:
        tally, shop = self._scene.tally, self._stage.shop
        self._screen.say(
            f"ERP: {tally.committed} business events committed, {tally.rolled_back} rolled back. "
            f"Store: {shop.documents} documents taken in {shop.calls} calls, "
            f"{shop.changed - self._changed_before} of them changed during the day."
        )
        lags = self._lags()
        if lags:
            p50, p99, worst = (seconds(percentile(lags, share)) for share in (0.50, 0.99, 1.0))
            self._screen.say(
                f"From the ERP's commit to the store: p50 {p50}, p99 {p99}, worst {worst} "
                f"over {len(lags)} documents of the fast lane."
            )

    def _lags(self) -> list[float]:
        """Seconds, sorted, for what changed since the day began."""
        slow = {name for name, table in self._stage.entities.items() if table.get("lane") == Lane.BATCH}
        return sorted(
            max(0, received_at - changed_at) / 1e6
            for entity, changed_at, received_at in self._stage.shop.arrivals
            if changed_at >= self._began and entity not in slow
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def _queues(status: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    for store in (status or {}).get("stores", {}).values():
        yield from store["entities"].values()


def _is_idle(queue: Mapping[str, Any]) -> bool:
    return not queue["pending"] and not queue.get("claimed")

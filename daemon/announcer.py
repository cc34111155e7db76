"""Tell systemd, metrics and the log how things stand, once a second; every number comes from the one report.

Invariant: READY=1 goes out once, when changes stream or this daemon waits on purpose as a standby; WATCHDOG=1 goes out
only from a loop that turns and judged itself just now. A store's outage changes words, never liveness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from daemon import log
from daemon.metrics import Metrics
from daemon.sdnotify import Notifier, watchdog_interval
from daemon.staleness import Report

_EVERY_S = 1.0
_LOG_S = 60.0
_QUIET_START_S = 5.0
_EXTEND_S = 30


class Announcer:
    """What the outside is told of one run."""

    def __init__(self, notifier: Notifier, metrics: Metrics) -> None:
        self._notifier = notifier
        self._metrics = metrics
        self._told = False
        self._working = False

    def ready(self, how: str) -> None:
        """Work has begun; said once, by a standby when it takes over."""
        if not self._working:
            self._working = True
            log.info("ready", f"{how} from the ERP")
            self._tell(how)

    def _tell(self, how: str) -> None:
        if not self._told:
            self._told = True
            self._notifier.ready(how)

    def stopping(self) -> None:
        self._notifier.stopping("draining")
        log.info("stopping", "finishing the calls in flight")

    async def run(self, report: Callable[[], Report]) -> None:
        """For the life of the daemon."""
        loop = asyncio.get_running_loop()
        every = min(watchdog_interval() or _EVERY_S, _EVERY_S)
        verdict, logged, started = "", 0.0, loop.time()
        while True:
            now = report()
            self._metrics.update(now)
            line = now.line()
            self._notifier.status(line)
            self._notifier.watchdog()
            self._waiting(now.source.state)
            changed = str(now.verdict) != verdict and loop.time() - started > _QUIET_START_S
            if changed or loop.time() - logged > _LOG_S:
                verdict, logged = str(now.verdict), loop.time()
                log.info("status", line)
            due = loop.time() + every
            await asyncio.sleep(every)
            self._metrics.loop_lag.set(max(loop.time() - due, 0.0))

    def _waiting(self, state: str) -> None:
        if self._told:
            return
        if state == "standby":
            self._tell("standby")
        elif state == "lost":
            self._notifier.extend_timeout(_EXTEND_S)

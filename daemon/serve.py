"""Run the daemon in the foreground: event loop, signals, reload, exit codes.

Invariant: SIGTERM and SIGINT drain and exit 0; SIGHUP validates the whole new configuration, ERP queries included, and
applies it or keeps the old one and says why. An error that a person must mend becomes one line and its exit code, never a
traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from pathlib import Path

import uvloop

from daemon import log
from daemon.app import App
from daemon.config import Config, load
from daemon.erp import Erp
from daemon.errors import EXIT_DONE, EXIT_FAILED, ErpsyncError, SourceLost
from daemon.preflight import examine
from daemon.sdnotify import Notifier

_COLLECT = (10_000, 10, 10)  # new objects before a search for cycles: there are few, and everything waits for a search


def run(path: Path, config: Config) -> int:
    """Serve until a signal ends it; returns the exit code."""
    gc.set_threshold(*_COLLECT)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(path, config))


async def _main(path: Path, config: Config) -> int:
    notifier = Notifier()
    loop = asyncio.get_running_loop()
    ended, hup = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, hup.set)
    reloaded_at = 0.0
    while True:
        stop = asyncio.Event()
        app = App(config, notifier)
        app.metrics.reloaded.set(reloaded_at)
        try:
            app.open()
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(app.serve(stop), name="serve")
                watching = group.create_task(_watch(path, app, ended, hup, stop, notifier), name="signals")
                await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    watching.cancel()
        except BaseExceptionGroup as group_error:
            return _ended(group_error)
        except ErpsyncError as exc:
            return _ended(BaseExceptionGroup("start", [exc]))
        finally:
            app.state.close()
        following = None if ended.is_set() else watching.result()
        if following is None:
            break
        config = following
        reloaded_at = time.time()
        log.info("reloaded", f"configuration {config.digest} is in force", config=config.digest)
    log.info("stopped", "drained and stopped")
    log.flush()
    return EXIT_DONE


async def _watch(
    path: Path, app: App, ended: asyncio.Event, hup: asyncio.Event, stop: asyncio.Event, notifier: Notifier
) -> Config | None:
    """Set `stop` when a signal asks for it; returns the new configuration after a reload."""
    loop = asyncio.get_running_loop()
    while True:
        waits = {loop.create_task(ended.wait(), name="end"), loop.create_task(hup.wait(), name="hup")}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if ended.is_set():
            stop.set()
            return None
        hup.clear()
        notifier.reloading()
        following = await _reload(path, app)
        if following is not None:
            stop.set()
            return following
        notifier.ready()


async def _reload(path: Path, app: App) -> Config | None:
    """The new configuration if all of it is good, else None with the reasons in the log."""
    try:
        config = load(path)
        erp = Erp(config.erp.dsn.reveal(), connections=1, statement_timeout_s=config.erp.statement_timeout)
        try:
            await erp.open()
            findings = await examine(erp, config)
            findings.raise_first()
        except SourceLost as exc:
            log.warning("reload_refused", f"the ERP cannot be asked about it now: {exc}", code=exc.code)
            return None
        finally:
            await erp.close()
    except ErpsyncError as exc:
        log.error("reload_refused", f"the configuration in force stays: {exc}", code=exc.code)
        return None
    if config == app.config:
        log.info("reloaded", "the configuration is the same")
        return None
    return config


def _ended(group: BaseExceptionGroup[BaseException]) -> int:
    """Log what ended the daemon; the exit code of the gravest."""
    code = EXIT_FAILED
    for exc in _leaves(group):
        if isinstance(exc, ErpsyncError):
            log.error("stopped", str(exc), code=exc.code)
            code = max(code, exc.exit_code)
        elif not isinstance(exc, asyncio.CancelledError):
            log.error("failed", f"{type(exc).__name__}: {exc}", exc=exc)
    with contextlib.suppress(OSError):
        log.flush()
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found

"""Progress on a terminal, for the commands that wait for the daemon.

Invariant: it goes to stderr and shows what the daemon said; without a terminal a line now and then takes the bar's place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_POLL_S = 0.3
_LINE_S = 5.0  # between lines of progress where there is no terminal

Look = Callable[[], tuple[bool, int, int | None, str]]
"""Asks how far it is: whether it ended, how much is done, of how much, and what to say about it."""


def wait(title: str, look: Look) -> None:
    """Show progress until it ended: a bar with rate and time left on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        said = time.monotonic()
        while True:
            ended, done, total, text = look()
            if ended:
                return
            if time.monotonic() - said > _LINE_S:
                said = time.monotonic()
                of = f" of {total}" if total else ""
                sys.stderr.write(f"{title}: {done}{of}{f', {text}' if text else ''}\n")
            time.sleep(_POLL_S)
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.completed:.0f} of {task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        bar = progress.add_task(title, total=None, note="", rate="")
        while True:
            ended, done, total, text = look()
            speed = progress.tasks[0].speed
            rate = f"{speed:.1f}/s" if speed is not None else ""
            progress.update(bar, completed=done, total=total or None, note=text, rate=rate)
            if ended:
                return
            time.sleep(_POLL_S)

"""What the demo says on the terminal: a picture that is kept up to date, or plain lines where there is no terminal.

Invariant: every number comes from /api/status or from the counters handed in; nothing is computed twice. Output that
goes nowhere (a closed pipe) ends no demo.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daemon.demo.day import Tally

LINES_EVERY: Final = 5.0
EVENTS: Final = 10
_COLOURS: Final = {"FRESH": "bold green", "STALE": "bold yellow", "UNKNOWN": "bold red"}


@dataclass
class Scene:
    """What there is to show; the demo writes it, the screen reads it."""

    places: list[tuple[str, str]] = field(default_factory=list)
    """Name and address."""
    phase: str = "starting"
    status: dict[str, Any] | None = None
    """The last answer of /api/status; None while there is none."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS))
    tally: Tally = field(default_factory=Tally)
    arrived: int = 0
    ends_at: float | None = None
    """On the monotonic clock, for a demo that ends by itself."""


def seconds(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def verdict(status: Mapping[str, Any] | None) -> Text:
    """The first line: FRESH, STALE or UNKNOWN, and why."""
    if status is None:
        return Text("the daemon does not answer yet", style="dim")
    line = status.get("line") or f"{status['verdict']} worst {seconds(status.get('worst_staleness_seconds'))}"
    text = Text(str(line))
    text.highlight_words([str(status["verdict"])], style=_COLOURS.get(str(status["verdict"]), ""))
    return text


def queues(status: Mapping[str, Any] | None) -> Table:
    """One line for each store and entity."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("entity", "pending", "applied", "unchanged", "p50", "p99", "max", ""):
        table.add_column(name, justify="left" if name in {"entity", ""} else "right", no_wrap=True)
    for store in (status or {}).get("stores", {}).values():
        for entity, queue in store["entities"].items():
            latency = queue.get("latency_seconds") or {}
            marks = [f"{queue[word]} {word}" for word in ("quarantined", "held") if queue.get(word)]
            table.add_row(
                entity,
                str(queue["pending"] + queue.get("claimed", 0)),
                str(queue["applied_total"]),
                str(queue["unchanged_total"]),
                *(seconds(latency.get(part)) for part in ("p50", "p99", "max")),
                Text(", ".join(marks), style="bold red"),
            )
    return table


class Screen:
    """Use as a context manager; call `refresh` now and then."""

    def __init__(self, scene: Scene, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._scene = scene
        self._live: Live | None = None
        self._next_line = 0.0
        self._said_phase = ""

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="ellipsis", transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def say(self, text: str = "", style: str | None = None) -> None:
        """A line that stays."""
        self.console.print(text, style=style, soft_wrap=True)

    def introduce(self) -> None:
        """Where everything is; on a terminal the picture says it all the time."""
        if not self.console.is_terminal:
            for name, address in self._scene.places:
                self.say(f"{name:8}{address}")

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            return
        scene, now = self._scene, time.monotonic()
        if scene.phase != self._said_phase:
            self._said_phase = scene.phase
            self.say(f"{scene.phase} …")
        if scene.status is None or now < self._next_line:
            return
        self._next_line = now + LINES_EVERY
        last = f" | {scene.events[-1]}" if scene.events else ""
        self.say(f"{verdict(scene.status).plain} | {self._counters()}{last}")

    def _counters(self) -> str:
        scene = self._scene
        left = f", {max(0, scene.ends_at - time.monotonic()):.0f} s left" if scene.ends_at is not None else ""
        return f"{scene.tally.committed} changes in the ERP, {scene.arrived} documents changed in the store{left}"

    def _picture(self) -> RenderableType:
        scene = self._scene
        parts: list[RenderableType] = [address_table(scene.places), Text()]
        parts += [verdict(scene.status), Text(f"{scene.phase}: {self._counters()}", style="dim"), Text()]
        if scene.status is not None:
            parts += [queues(scene.status), Text()]
        room = max(2, self.console.height - len(scene.places) - 14)
        parts += [Text(event, style="dim", no_wrap=True, overflow="ellipsis") for event in list(scene.events)[-room:]]
        return Group(*parts, Text("Ctrl-C ends the demo and leaves nothing behind.", style="dim"))


def address_table(places: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, address in places:
        table.add_row(Text(name, style="dim"), Text(address, overflow="fold"))
    return table

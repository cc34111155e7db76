"""Laws of progress on a terminal: how far, how fast, how long still; and nothing that moves where nobody looks."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Iterator

import pytest

from daemon import cli_wait

SHOWN = (
    "catalogue",
    r"\b75%",
    r"\b1500 of 2000\b",
    r"\b\d+\.\d/s",
    r"left 0:00:\d\d",
    "waits for its window 22:00-06:00",
)


def looks(total: int | None, step: int = 100, count: int = 20) -> Iterator[tuple[bool, int, int | None, str]]:
    for number in range(count):
        yield False, number * step, total, "waits for its window 22:00-06:00" if number > count // 2 else ""
    yield True, count * step, total, ""


def test_a_terminal_sees_a_bar_with_rate_time_left_and_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(cli_wait, "_POLL_S", 0.05)
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(master, 65536):
                parts.append(part)
        except OSError:
            return  # the other end was closed

    reader = threading.Thread(target=read)
    reader.start()
    course = looks(2000)
    last = next(course)
    end = time.monotonic() + 20

    def missing() -> list[str]:
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(parts).decode(errors="ignore"))
        return [pattern for pattern in SHOWN if not re.search(pattern, text)]

    def look() -> tuple[bool, int, int | None, str]:
        """It stands at 1500 until the terminal, which is drawn now and then, has shown that."""
        nonlocal last
        if last[1] != 1500 or not missing() or time.monotonic() > end:
            last = next(course)
        return last

    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        cli_wait.wait("catalogue", look)
        terminal.flush()
    reader.join(10)
    os.close(master)
    assert missing() == []


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_wait, "_POLL_S", 0.001)
    monkeypatch.setattr(cli_wait, "_LINE_S", 0.0)
    course = looks(None, count=3)
    cli_wait.wait("sales", lambda: next(course))
    assert capsys.readouterr().err.splitlines() == [
        "sales: 0",
        "sales: 100",
        "sales: 200, waits for its window 22:00-06:00",
    ]

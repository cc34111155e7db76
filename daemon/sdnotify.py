"""What systemd is told: datagrams to $NOTIFY_SOCKET.

Invariant: telling never harms. Without a socket nothing is sent, a socket that is full or gone loses the message and
nothing else, and no call blocks the loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends to the socket named in the environment; a no-op where there is none."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        name = (os.environ if env is None else env).get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    @property
    def enabled(self) -> bool:
        return self._address[:1] in ("/", "\0")

    def send(self, *assignments: str) -> bool:
        """One datagram, one `KEY=value` a line. True when the socket took it."""
        if not self.enabled:
            return False
        payload = "\n".join(assignments).encode()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self._address)
            sock.send(payload)
            return True
        return False

    def ready(self, status: str = "") -> bool:
        """Started, or a reload is complete."""
        return self.send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """The line that `systemctl status` shows."""
        return self.send(*_status(text or " "))

    def watchdog(self) -> bool:
        return self.send("WATCHDOG=1")

    def reloading(self) -> bool:
        """A reload begins; `ready` ends it. systemd asks for the monotonic time to tell reloads apart."""
        return self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> bool:
        return self.send("STOPPING=1", *_status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """Starting or stopping needs up to this much longer, counted from now."""
        return self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def watchdog_interval(env: Mapping[str, str] | None = None, pid: int | None = None) -> float | None:
    """Seconds between two WATCHDOG=1: half of what systemd allows; None where it does not watch this process."""
    env = os.environ if env is None else env
    try:
        allowed = int(env.get("WATCHDOG_USEC", ""))
        watched = int(env.get("WATCHDOG_PID") or (pid or os.getpid()))
    except ValueError:
        return None
    if allowed <= 0 or watched != (pid or os.getpid()):
        return None
    return allowed / 2e6


def _status(text: str) -> tuple[str, ...]:
    """A newline in the text would start another assignment."""
    return (f"STATUS={' '.join(text.splitlines())}",) if text else ()

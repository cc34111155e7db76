"""A storefront's own program, run by Node on a loopback port.

Invariant: nothing of it outlives the process that started it: a normal end kills its process group, and a parent that is
killed closes the pipe that `leash.js` watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.waiting import until_sync

HOST = "127.0.0.1"
LEASH = Path(__file__).parent / "leash.js"
BOOTS_WITHIN = 180.0
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """What a storefront's programs get to know of ours, and `more`."""
    return {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **more}


class Server:
    """`node ARGUMENTS` in `folder`, with the port in $PORT; a context manager that starts it.

    It is up when `health` answers 200. The port stays the same over all starts."""

    def __init__(self, folder: Path, arguments: Sequence[str], more: Mapping[str, str], health: str) -> None:
        self.log_file = folder / "server.log"
        self._folder = folder
        self._arguments = arguments
        self._more = more
        self._health = health
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Root of the server, without a slash at its end."""
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Start it and return when it is up."""
        chosen = self._port or _free_port()
        while True:
            self._launch(chosen)
            if (
                until_sync(self._up_or_ended, within=BOOTS_WITHIN, every=0.05, what=f"{self._folder.name} is up")
                == "up"
            ):
                return
            said = self.log_file.read_text(errors="replace")
            self.kill()
            if "EADDRINUSE" not in said or chosen == (chosen := _free_port()):
                raise AssertionError(f"{self._folder.name} did not start:\n{said[-4000:]}")

    def kill(self) -> None:
        """SIGKILL to the program and all that it started; does nothing when it is down."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _launch(self, port: int) -> None:
        self._port = port
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", "--require", str(LEASH), *self._arguments],
                cwd=self._folder,
                env=environment({**self._more, "PORT": str(port)}),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _up_or_ended(self) -> str:
        assert self._process is not None
        if self._process.poll() is not None:
            return "ended"
        try:
            with urllib.request.urlopen(self.url + self._health, timeout=5):  # noqa: S310 -- loopback
                return "up"
        except (urllib.error.URLError, OSError):
            return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

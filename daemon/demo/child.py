"""The daemon as a child process of the demo: started like any user would start it, watched, and never left behind.

Invariant: the child ends with the demo, also when the demo is killed: a helper waits for our end of a pipe to close.
What the child writes goes to a file, so that its last words can be shown.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_SCRUBBED: Final = ("ERPSYNCD_", "PG", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "LISTEN_FDS")

# End of input means that we are gone without a word; "done" means that the child has ended already.
_WARDEN: Final = """
read -r word || {
    kill -TERM "$0"
    tries=0
    while kill -0 "$0" 2>/dev/null && [ "$tries" -lt 20 ]; do sleep 0.5; tries=$((tries + 1)); done
    kill -KILL "$0" 2>/dev/null
    [ -z "$1" ] || rm -rf "$1"
}
"""


def daemon_command(config: Path) -> list[str]:
    return [sys.executable, "-m", "daemon", "run", "-c", str(config)]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The demo's environment without what would steer another daemon or another database."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SCRUBBED)}
    return {**inherited, **given}


class DaemonProcess:
    """One child. `start` once, `stop` at any time."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str], throw_away: Path | None) -> None:
        self._command = list(command)
        self._log = log
        self._env = dict(env)
        self._throw_away = throw_away
        """Folder to remove if we are killed."""
        self._process: asyncio.subprocess.Process | None = None
        self._warden: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the daemon in its turn
            )
        self._warden = subprocess.Popen(  # noqa: S603, ASYNC220 - our own text; a shell starts at once
            ["/bin/sh", "-c", _WARDEN, str(self._process.pid), str(self._throw_away or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def ended(self) -> int:
        """Wait for the child's end; its exit code, negative for a signal."""
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return await self._process.wait()

    async def stop(self, within: float = 15.0) -> None:
        """SIGTERM, and SIGKILL for one that does not heed it. Idempotent."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(within):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        warden, self._warden = self._warden, None
        if warden is not None:
            await asyncio.to_thread(warden.communicate, b"done\n")

    def last_words(self, lines: int = 20) -> list[str]:
        """The end of the log."""
        try:
            with self._log.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 64 * 1024))
                return log.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

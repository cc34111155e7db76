"""What the demo lays out before it starts: its folder, its ports, and its copy of the shipped configuration.

Invariant: the demo runs the configuration that the project ships. Only addresses, secrets and the few intervals named
here differ, and each of them must be found in it, so that the copy cannot drift away unnoticed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from daemon.errors import EXIT_FAILED, ErpsyncError

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8484
_OWN_FILES: Final = (
    "config.toml",
    "daemon.log",
    "state.db",
    "state.db-wal",
    "state.db-shm",
    "shop.db",
    "shop.db-wal",
    "shop.db-shm",
)

SHORTER: Final[tuple[tuple[str, str, str], ...]] = (
    ("[[entity.price.poll]]", "every", '"2s"'),
    ("[batch.content]", "every", '"5s"'),
    ("[batch.content]", "max_per_second", "100"),
)
"""Section, key and value: nobody watches a demo for half an hour."""


class DemoError(ErpsyncError):
    """The demo cannot start."""

    code = "E-DEMO"
    exit_code = EXIT_FAILED


@contextlib.contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """The demo's folder: a temporary one that goes away, or the given one, which stays."""
    if kept is None:
        place = Path(tempfile.mkdtemp(prefix="erpsyncd-demo-"))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _OWN_FILES:
            (kept / name).unlink(missing_ok=True)
    except OSError as error:
        raise DemoError(
            f"the folder cannot be used: {error.strerror}", where=f"--dir {kept}", hint="Name another one."
        ) from error
    yield kept.resolve()


def free_port(wanted: int, *, strict: bool) -> int:
    """`wanted` if it is free; else any other one, or DemoError when it must be this one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError) as error:
                if strict:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise DemoError(
                        f"port {wanted} on {HOST} cannot be used: {reason}",
                        where="--port",
                        hint="Name a free one, or 0 for any.",
                    ) from error
                continue
            return int(probe.getsockname()[1])
    raise DemoError(f"no port is free on {HOST}")


def shipped_config() -> str:
    """The text of the example configuration that comes with the project."""
    place = files("daemon.demo").joinpath("config.toml")
    try:
        return place.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DemoError(
            "the example configuration is not part of this installation",
            where="daemon/demo/config.toml",
            hint="Install erpsyncd again, from a wheel or a complete checkout.",
        ) from None


def demo_config(shipped: str, values: Mapping[str, str]) -> str:
    """The shipped text with `{ env = "NAME" }` replaced by `values`, and the intervals of SHORTER."""

    def literal(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise DemoError(
                f"the example configuration asks for {name}, which the demo does not know", where="config.toml"
            )
        return json.dumps(values[name])

    text = re.sub(r'\{ *env *= *"(\w+)"[^}\n]*\}', literal, _without_comments(shipped))
    for section, key, value in SHORTER:
        text = _replace(text, section, key, value)
    return "# The configuration of this demo, with its secrets. Commands take it by: -c FILE\n" + text


def _without_comments(text: str) -> str:
    """Lines that are comments only would offer examples to the replacement."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def _replace(text: str, section: str, key: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    inside = False
    for number, line in enumerate(lines):
        if line.startswith("["):
            inside = line.split("#", 1)[0].strip() == section
        elif inside and (match := re.match(rf'({key}\s*=\s*)("[^"]*"|[\d.]+)', line)):
            lines[number] = match[1] + value + line[match.end() :]
            return "".join(lines)
    raise DemoError(f"the example configuration has no {key} in {section}", where="config.toml")


def write_config(place: Path, text: str) -> dict[str, Any]:
    """Write it for our eyes only, and say what is in it."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as target:
        target.write(text)
    return tomllib.loads(text)

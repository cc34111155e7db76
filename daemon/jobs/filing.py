"""The files of an extract: temporary name, final name, manifest, retention.

Invariant: what stands under a final name is complete and on disk, its manifest beside it; a file of another window is never
overwritten where the name tells windows apart; only files that a manifest gives to this job are removed.
"""

from __future__ import annotations

import datetime as dt
import glob
import hashlib
import os
import re
import zoneinfo
from pathlib import Path
from typing import Any

import orjson

from daemon.config.outlet import EXTRACT_SUFFIXES

MANIFEST = ".manifest.json"


class Sink:
    """A file that is written once, front to back, hashed on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """On disk when this returns."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def split(path: Path) -> tuple[str, str]:
    """`sales.csv.zst` -> (`sales`, `.csv.zst`)."""
    suffix = max((s for s in EXTRACT_SUFFIXES if path.name.endswith(s)), key=len)
    return path.name.removesuffix(suffix), suffix


def temporary(to: str, job: str) -> Path:
    """One name for each job, so that nothing piles up after a kill."""
    folder = Path(to).parent
    while "{" in folder.name or "{" in str(folder):
        folder = folder.parent
    return folder / f".erpsyncd-{job}.part"


def named(to: str, planned: dt.datetime, zone: str) -> Path:
    """The name for a run planned at this moment."""
    local = planned.astimezone(zoneinfo.ZoneInfo(zone))
    return Path(to.replace("{date}", f"{local:%Y-%m-%d}").replace("{time}", f"{local:%H%M%S}"))


def final(to: str, planned: dt.datetime, zone: str, window: dict[str, str]) -> Path:
    """The name to publish under: with a number behind it where another window has the name already."""
    wanted = named(to, planned, zone)
    if str(wanted) == to:
        return wanted  # one name for all runs: the newest is what is wanted
    stem, suffix = split(wanted)
    number, path = 1, wanted
    while path.exists() and manifest_of(path).get("window") != window:
        number += 1
        path = wanted.with_name(f"{stem}-{number}{suffix}")
    return path


def manifest_of(path: Path) -> dict[str, Any]:
    """What stands beside a file; empty where there is nothing to be read."""
    try:
        value = orjson.loads(Path(f"{path}{MANIFEST}").read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def publish(sink: Sink, path: Path, manifest: dict[str, Any]) -> None:
    """Give a complete file its name, and its manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Sink(sink.path.with_name(f"{sink.path.name}{MANIFEST}"))
    beside.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    beside.close()
    os.replace(sink.path, path)
    os.replace(beside.path, f"{path}{MANIFEST}")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def retire(to: str, job: str, keep: int) -> list[Path]:
    """Remove all but the newest `keep` files of this job; returns which."""
    parts = re.split(r"\{date\}|\{time\}", to)
    _, suffix = split(Path(to))
    parts[-1] = parts[-1].removesuffix(suffix)
    pattern = "*".join(map(glob.escape, parts)) + "*" + suffix
    mine = [(m["window"]["to"], Path(p)) for p in glob.glob(pattern) if (m := manifest_of(Path(p))).get("job") == job]
    gone = [path for _, path in sorted(mine, reverse=True)[keep:]]
    for path in gone:
        path.unlink(missing_ok=True)
        Path(f"{path}{MANIFEST}").unlink(missing_ok=True)
    return gone

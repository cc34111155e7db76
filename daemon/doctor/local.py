"""Look at this machine: files that hold secrets, the state folder, the position that the state file remembers.

Invariant: looks only. The state file is opened read-only, so that a running daemon is not disturbed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from daemon.config import Config
from daemon.doctor.facts import FileFacts, StateFacts
from daemon.doctor.judge_local import secrets_of
from daemon.slot import Position


def look(path: Path) -> FileFacts:
    """A file or folder; for one that is not there, whether it could be made."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        nearest = next((parent for parent in path.parents if parent.exists()), Path("/"))
        return FileFacts(str(path), exists=False, writable=os.access(nearest, os.W_OK | os.X_OK))
    return FileFacts(str(path), exists=True, mode=mode, writable=os.access(path, os.W_OK))


def secret_files(config: Config, base: Path) -> dict[str, FileFacts]:
    """Files that secrets come from, by the name in the configuration; relative ones start at `base`."""
    names = [
        secret.source.removeprefix("file ") for _, secret in secrets_of(config) if secret.source.startswith("file ")
    ]
    return {name: look(base / name) for name in names}


def state_facts(path: Path) -> tuple[StateFacts, Position | None]:
    """The state folder, and the position in the state file."""
    folder, file = look(path.parent), look(path)
    nearest = next((place for place in (path.parent, *path.parents) if place.is_dir()), None)
    free = shutil.disk_usage(nearest).free if nearest is not None else None
    position, problem = _position(path) if file.exists else (None, "")
    return StateFacts(folder, file, free, problem), position


def _position(path: Path) -> tuple[Position | None, str]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute("select system_id, timeline, dbname, slot, lsn from source").fetchone()
    except sqlite3.DatabaseError as exc:
        return None, f"{path} cannot be read: {exc}"
    return (Position(*row), "") if row is not None and row[0] is not None else (None, "")

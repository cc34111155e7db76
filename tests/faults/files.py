"""Copies of a server's files.

Invariant: a copy belongs to whom the original belongs, so that the server can run on it, whoever runs the test.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def own_like(original: Path, copy: Path) -> None:
    """Give everything in `copy` the owner of `original`."""
    owner = original.stat()
    for path in (copy, *copy.rglob("*")):
        if path.stat().st_uid != owner.st_uid:
            shutil.chown(path, owner.st_uid, owner.st_gid)
    copy.chmod(0o700)

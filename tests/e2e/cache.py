"""Where what the end-to-end tests install is kept between runs.

Invariant: what is kept is named by all that it was made of, so that nothing stale is used.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from daemon.demo.embedded import Cluster


class LeftOutError(Exception):
    """A program cannot be installed here; the message says why in one line."""


def folder(name: str) -> Path:
    """A folder below $ERPSYNCD_E2E_CACHE, else below erpsyncd/e2e in the user's cache; made when it is not there."""
    named = os.environ.get("ERPSYNCD_E2E_CACHE")
    root = (
        Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "erpsyncd" / "e2e"
    )
    place = root / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def mark(*made_of: str | bytes) -> str:
    """A short name for what something is made of."""
    whole = hashlib.sha256()
    for part in made_of:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:12]


def database(cluster: Cluster, name: str, kept: Path, build: Callable[[], None]) -> None:
    """A new database of that name: from the dump `kept`, or where there is none made by `build`, and then dumped there."""
    cluster.psql(f'create database "{name}"')
    if kept.exists():
        cluster.psql(gzip.decompress(kept.read_bytes()).decode(), name)
        return
    build()
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_bytes(gzip.compress(dump(cluster, name), 6, mtime=0))
    part.rename(kept)


def dump(cluster: Cluster, name: str, *options: str) -> bytes:
    """What pg_dump says of a database, without the commands that only the newest psql knows."""
    program = [cluster.bin_dir / "pg_dump", "--no-owner", "--no-acl", *options, "-d", cluster.dsn(name)]
    ran = subprocess.run(program, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    return b"\n".join(line for line in ran.stdout.split(b"\n") if not line.startswith((b"\\restrict", b"\\unrestrict")))

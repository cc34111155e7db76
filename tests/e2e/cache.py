"""Where what the end-to-end tests install is kept between runs.

Invariant: what is kept is named by all that it was made of, so that nothing stale is used.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


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

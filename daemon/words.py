"""Durations and sizes the way people read them.

Invariant: one way to print each. Sizes use powers of 1024 under the names that Postgres gives them, so that a figure
here reads like the one a DBA gets from pg_size_pretty.
"""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """`3.1s`, `42s`, `119s`, `12m04s`, `5h20m`, `3d04h`."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 120:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def format_bytes(count: int) -> str:
    """`512B`, `16kB`, `2.4MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.1f}{unit}" if unit in ("MB", "GB") else f"{size:.0f}{unit}"
        size /= 1024
    return f"{size:.1f}TB"

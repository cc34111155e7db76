"""How soon the daemon says that something happened to the ERP.

Invariant: the time between two stamps is judged, that of the ERP when it had happened and that of the line in the log, so
that a test that is slow to look does not excuse a daemon that is slow to see.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import asyncpg

LIMIT_S = 10.0


async def happened(erp: asyncpg.Connection, sql: str = "") -> dt.datetime:
    """Run this, and say when it was committed, by the ERP's clock, which is ours."""
    if sql:
        await erp.execute(sql)
    at: dt.datetime = await erp.fetchval("select clock_timestamp()")
    return at


def recognised(line: Mapping[str, Any], at: dt.datetime) -> None:
    """The line was written within ten seconds of that moment."""
    after = (dt.datetime.fromisoformat(line["ts"]) - at).total_seconds()
    assert after <= LIMIT_S, f"told after {after:.1f} s: {line}"

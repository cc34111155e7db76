"""The ERP's clock beside ours, on a real server: every age that is shown is taken on it."""

from __future__ import annotations

import asyncio
import itertools
import time

import asyncpg
import pytest

from daemon import erp
from tests.conftest import Database


@pytest.mark.newest
async def test_a_look_that_waited_in_our_loop_does_not_shift_the_erps_clock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = erp._look, itertools.count()

    async def first_one_late(connection: asyncpg.Connection) -> erp.Clock:
        if next(looks) == 0:
            asyncio.get_running_loop().call_soon(time.sleep, 0.5)  # other work, while the answer is there
        return await look(connection)

    monkeypatch.setattr(erp, "_look", first_one_late)
    source = erp.Erp(database.dsn, connections=1, statement_timeout_s=10)
    await source.open()
    clock = await source.clock()
    await source.close()
    assert clock.round_trip_s < 0.25
    assert abs(clock.offset_s) < 0.125

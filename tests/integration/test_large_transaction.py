"""A transaction that is large for the server: how much memory it may take there to be decoded.

Invariant under test: what the configuration says of it reaches the server, which tells what went by way of its disk.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database
from tests.integration.harness import LATEST
from tests.integration.stage import own_stage
from tests.waiting import until

ROWS = 20_000
SCHEMA = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null);
insert into item select n, 'A' || n, n from generate_series(1, {ROWS}) n;
create publication erpsyncd for table item;
"""


@pytest.mark.parametrize(("memory", "by_disk"), [("1MB", True), ("256MB", False)])
async def test_only_what_exceeds_the_decoding_memory_goes_by_way_of_the_servers_disk(
    database: Database, tmp_path: Path, memory: str, by_disk: bool
) -> None:
    async with own_stage(database, tmp_path, SCHEMA, erp=f'decoding_memory = "{memory}"') as stage:
        await stage.erp.execute("update item set on_hand = on_hand + 1")
        await stage.equal()

        async def told() -> asyncpg.Record | None:
            return await stage.erp.fetchrow(
                "select spill_txns from pg_stat_replication_slots where slot_name = $1 and total_bytes > 1000000",
                f"erpsyncd_{database.name}",
            )

        row = await until(told, within=LATEST, what="the server tells what it decoded")
        assert (row["spill_txns"] > 0) is by_disk

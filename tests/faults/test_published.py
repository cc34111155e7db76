"""A watched table leaves the publication and comes back, or gets rows that never went through the log.

Invariant under test: what changed unseen is found, and so is what hangs on it later: a row's former key is not taken from
what was known before.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.demo.embedded import Cluster
from tests.conftest import Database
from tests.faults.world import World, world
from tests.integration.harness import LATEST
from tests.integration.recognition import happened, recognised
from tests.integration.stage import own_stage
from tests.waiting import until

FIRST = "(select min(id) from reservation where item_id = {})"


async def leave(place: World) -> None:
    await place.sql("alter publication erpsyncd drop table reservation")


async def come_back(place: World) -> None:
    await place.sql("alter publication erpsyncd add table reservation")


async def until_shown(place: World, id_: str, available: int) -> None:
    documents = place.shops["main"].documents

    def shown() -> bool:
        return bool(documents("stock")[id_]["available"] == available)

    await until(shown, within=LATEST, what=f"{id_} shows {available}")


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "between two looks"])
async def test_a_row_that_changed_hands_while_its_table_was_out_is_followed_to_its_end(
    cluster: Cluster, tmp_path: Path, noticed: bool
) -> None:
    async with world(cluster, tmp_path) as place:
        await place.at_rest()
        row = await place.sql("select min(id) from reservation where item_id = 1")
        await leave(place)
        if noticed:
            line = await place.daemon.until_event("entity_stopped")
            assert (line["entity"], line["code"]) == ("stock", "E-PUBLICATION-TABLE")
        await place.sql("update reservation set item_id = 2, qty = 5 where id = $1", row)
        await come_back(place)
        await until_shown(place, "A1|W1", 100)
        await until_shown(place, "A2|W1", 94)
        await place.at_rest()
        await place.sql("delete from reservation where id = $1", row)
        await place.at_rest()
        await until_shown(place, "A2|W1", 99)


PARTED = """
create table item (id bigint primary key, sku text not null);
create table move (id bigint not null, item_id bigint not null, qty int not null, primary key (id)) partition by range (id);
create table move_1 partition of move for values from (0) to (1000);
create table move_2 (like move including all);
insert into item select n, 'A' || n from generate_series(1, 20) n;
insert into move select n, n, 10 * n from generate_series(1, 20) n;
insert into move_2 select 1000 + n, n, 100 from generate_series(1, 20) n;
create publication erpsyncd for table item, move with (publish_via_partition_root = {root});
"""
BY_MOVES = """
[entity.stock]
sql = '''select i.id as key, i.sku, coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]
"""


@pytest.mark.parametrize("root", ["true", "false"])
async def test_rows_that_came_with_a_partition_are_followed(database: Database, tmp_path: Path, root: str) -> None:
    async with own_stage(database, tmp_path, PARTED.format(root=root), BY_MOVES) as stage:
        await stage.equal()
        attach = "alter table move attach partition move_2 for values from (1000) to (2000)"
        at = await happened(stage.erp, attach)
        recognised(await stage.daemon.until_event("schema_changed"), at)
        await stage.until_shown("stock", "A3|default", available=130)
        await stage.equal()
        await stage.erp.execute("update move set item_id = 4 where id = 1003")
        await stage.equal()
        await stage.erp.execute("delete from move where id = 1005")
        await stage.equal()
        at = await happened(stage.erp, "truncate move_2")
        recognised(await stage.daemon.until_event("schema_changed", count=2), at)
        await stage.equal()
        await stage.erp.execute("insert into move select 1000 + n, n, 7 from generate_series(1, 9) n")
        await stage.equal()
        at = await happened(stage.erp, "alter table move detach partition move_2")
        recognised(await stage.daemon.until_event("schema_changed", count=3), at)
        await stage.equal()

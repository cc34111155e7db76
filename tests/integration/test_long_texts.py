"""Long texts that PostgreSQL keeps apart from their rows: a change that leaves one alone does not carry it in the log.

Invariant under test: the text in the store is that of the ERP after each change around it, with any replica identity; no
placeholder of the log, no empty text in its place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.integration.stage import own_stage

SCHEMA = """
create table item (id bigint primary key, sku text not null, title text not null, html text);
alter table item alter html set storage external;
insert into item select n, 'A' || n, 'T', repeat('long ' || n, 4000) from generate_series(1, 9) n;
alter table item replica identity {identity};
create publication erpsyncd for table item;
"""
TEXTS = """
[entity.content]
lane = "fast"
sql = "select id as key, sku, 'de' as locale, title, html as description_html from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""
OTHER = "html = repeat('other ', 4000)"
CHANGES = (
    "update item set title = 'U' where id = 1",
    "update item set id = 101 where id = 2",
    f"begin; update item set {OTHER} where id = 3; update item set title = 'V' where id = 3; commit",
    f"begin; update item set title = 'W' where id = 4; update item set {OTHER} where id = 4; commit",
    f"update item set {OTHER} where id = 5; update item set title = 'X' where id = 5; update item set id = 105 where id = 5",
    "update item set html = null where id = 6; update item set title = 'Y' where id = 6",
    "update item set html = '' where id = 7; update item set title = 'Z' where id = 7",
    "update item set sku = sku || '-new' where id = 8",
)


@pytest.mark.parametrize("identity", ["default", "full"])
async def test_a_text_that_a_change_does_not_carry_is_neither_lost_nor_replaced(
    database: Database, tmp_path: Path, identity: str
) -> None:
    async with own_stage(database, tmp_path, SCHEMA.format(identity=identity), TEXTS) as stage:
        await stage.equal()
        apart = "select pg_relation_size(reltoastrelid) > 0 from pg_class where oid = 'item'::regclass"
        assert await stage.erp.fetchval(apart), "the texts are kept apart"
        for change in CHANGES:
            await stage.erp.execute(change)
            await stage.equal()

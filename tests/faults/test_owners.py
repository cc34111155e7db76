"""A document that goes from one ERP key to another and then ends.

Invariant under test: what is left in the store of a key that went (a zero) is nobody's document: whoever shows it next
takes it down when it goes in turn.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.doubles.shop import Reject
from tests.integration.stage import STOCK, own_stage

pytestmark = pytest.mark.newest


@pytest.mark.parametrize("missing", ["zero", "unpublish"])
@pytest.mark.parametrize("at_once", [False, True], ids=["after a while", "at once"])
async def test_a_document_that_came_back_under_another_key_ends_with_that_key(
    database: Database, tmp_path: Path, missing: str, at_once: bool
) -> None:
    entities = STOCK.replace("[entity.stock]", f'[entity.stock]\nmissing = "{missing}"')
    async with own_stage(database, tmp_path, entities=entities) as stage:
        await stage.equal()
        await stage.erp.execute("delete from item where id = 5")
        if not at_once:
            await stage.equal()
        await stage.erp.execute("insert into item values (99, 'A5', 9)")
        await stage.equal()
        await stage.until_shown("stock", "A5|default", available=9)
        await stage.erp.execute("delete from item where id = 99")
        await stage.equal()
        await stage.erp.execute("insert into item values (5, 'A5', 3)")
        await stage.equal()
        await stage.erp.execute("update item set id = 98 where id = 5")
        await stage.equal()
        await stage.erp.execute("delete from item where id = 98")
        await stage.equal()


@pytest.mark.parametrize("missing", ["zero", "unpublish"])
async def test_a_document_that_its_new_key_could_not_send_ends_with_that_key(
    database: Database, tmp_path: Path, missing: str
) -> None:
    entities = STOCK.replace("[entity.stock]", f'[entity.stock]\nmissing = "{missing}"')
    async with own_stage(database, tmp_path, entities=entities) as stage:
        await stage.equal()
        stage.shop.inject(Reject({"A5|default"}))
        await stage.erp.execute("update item set id = 99, on_hand = 6 where id = 5")
        await stage.daemon.until_event("quarantined")
        stage.shop.clear()
        await stage.erp.execute("delete from item where id = 99")
        await stage.equal()


async def test_a_document_that_went_away_and_back_as_it_was_is_sent(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.erp.execute("delete from item where id = 5")
        await stage.until_shown("stock", "A5|default", available=0)
        await stage.erp.execute("insert into item values (99, 'A5', 9)")
        await stage.until_shown("stock", "A5|default", available=9)
        await stage.erp.execute("update item set id = 5, on_hand = 0 where id = 99")
        await stage.until_shown("stock", "A5|default", available=0)
        await stage.erp.execute("update item set id = 98, on_hand = 4 where id = 5")
        await stage.until_shown("stock", "A5|default", available=4)
        await stage.erp.execute("insert into item values (5, 'A55', 0); update item set sku = 'A98' where id = 98")
        await stage.equal()
        await stage.erp.execute("update item set sku = 'A5' where id = 5")
        await stage.equal()

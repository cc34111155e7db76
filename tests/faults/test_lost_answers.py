"""A store that wrote and whose answer never came: what it shows is not known, whatever was acknowledged before.

Invariant under test: a value that goes back to the acknowledged one, or a document that goes again, is brought to the
store all the same, within one run of the daemon and over a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.doubles.shop import FailAfterWrite, Hold, LeaveOut
from tests.integration.harness import LATEST
from tests.integration.stage import STOCK, Stage, own_stage

pytestmark = pytest.mark.newest
UNPUBLISHED = STOCK.replace("[entity.stock]", '[entity.stock]\nmissing = "unpublish"')
Unanswered = Callable[[], Awaitable[None]]


@asynccontextmanager
async def unanswered(
    database: Database, folder: Path, how: str, change: str, entities: str = STOCK
) -> AsyncIterator[tuple[Stage, Unanswered]]:
    """A stage on which the store has written `change` and not said so; what is given loses the answer."""
    async with own_stage(database, folder, entities=entities) as stage:
        await stage.equal()
        hold = Hold(after_write=True)
        stage.shop.inject(hold, calls=1, method="POST")
        if how == "not named":
            stage.shop.inject(LeaveOut(written=True), calls=1, method="POST")
        elif how == "cut":
            stage.shop.inject(FailAfterWrite(drop=True), calls=1, method="POST")
        await stage.erp.execute(change)
        await asyncio.wait_for(hold.reached.wait(), LATEST)

        async def lose() -> None:
            if how == "killed":
                await stage.daemon.kill()
                stage.shop.overlaps.clear()
            hold.release()
            if how == "killed":
                await stage.daemon.start()

        yield stage, lose


@pytest.mark.parametrize("how", ["not named", "cut", "killed"])
async def test_a_value_that_returned_while_its_answer_was_lost_is_sent(
    database: Database, tmp_path: Path, how: str
) -> None:
    async with unanswered(database, tmp_path, how, "update item set on_hand = 500 where id = 5") as (stage, lose):
        await stage.erp.execute("update item set on_hand = 5 where id = 5")
        await lose()
        await stage.until_shown("stock", "A5|default", available=5)
        await stage.equal()


@pytest.mark.parametrize("missing", ["zero", "unpublish"])
@pytest.mark.parametrize("how", ["not named", "cut", "killed"])
async def test_a_document_that_went_while_its_first_answer_was_lost_does_not_stay(
    database: Database, tmp_path: Path, how: str, missing: str
) -> None:
    entities = STOCK if missing == "zero" else UNPUBLISHED
    new = "insert into item values (99, 'A99', 9)"
    async with unanswered(database, tmp_path, how, new, entities) as (stage, lose):
        await stage.erp.execute("delete from item where id = 99")
        await lose()
        if missing == "zero":
            await stage.until_shown("stock", "A99|default", available=0)
        else:
            await stage.until_gone("stock", "A99|default")
        await stage.equal()


async def test_an_answered_call_leaves_no_doubt_behind(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path) as stage:
        await stage.equal()
        await stage.daemon.terminate()
        before = len(stage.shop.writes())
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        await stage.erp.execute("update item set on_hand = on_hand; insert into item values (50, 'A50', 1)")
        await stage.equal()
        assert [call.ids for call in stage.shop.writes()[before:]] == [("A50|default",)]

"""Laws of the rooms behind the operator's commands: names, runs, plans in figures, answers in lines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.cli_show import plan_lines, reconcile_lines, set_aside_lines
from daemon.config import load_text
from daemon.config.outlet import Batch, Store
from daemon.errors import StoreError
from daemon.ledger import Ledger
from daemon.model import Acked, Lane, QueueName
from daemon.naming import KeyRefusedError, RequestError, chosen_queues, parse_key
from daemon.plan import duration
from daemon.runs import KEPT, BusyError, Runs, State, UnknownRunError
from daemon.state import StateFile
from daemon.stateview import StateView

CONFIG = """
[erp]
dsn = "postgresql://localhost/erp"
[entity.stock]
sql = "select 1 as key where 1 = any($1)"
all_keys = "select 1 where 1 > $1 limit $2"
watch = [{ table = "item", key = "id" }]
[entity.credit]
key_type = "uuid"
sql = "select 1 as key where 1 = any($1)"
all_keys = "select 1 where 1 > $1 limit $2"
watch = [{ table = "customer", key = "id" }]
[store.main]
adapter = "http"
url = "http://localhost/a"
entities = ["stock", "credit"]
[store.other]
adapter = "http"
url = "http://localhost/b"
entities = ["stock"]
"""


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_command_reaches_the_queues_that_its_names_leave() -> None:
    config = load_text(CONFIG)
    assert len(chosen_queues(config, None, None)) == 3
    assert chosen_queues(config, None, "stock") == [QueueName("main", "stock"), QueueName("other", "stock")]
    assert chosen_queues(config, "other", None) == [QueueName("other", "stock")]
    for store, entity in ((None, "stocks"), ("shop", None), ("other", "credit")):
        with pytest.raises(RequestError):
            chosen_queues(config, store, entity)


def test_a_key_is_of_the_entitys_type_or_refused() -> None:
    config = load_text(CONFIG)
    stock, credit = config.entity["stock"], config.entity["credit"]
    assert parse_key(stock, "42") == parse_key(stock, 42) == 42
    upper = "0A0B0C0D-0000-0000-0000-000000000001"
    assert parse_key(credit, upper) == upper.lower()
    for entity, text in ((stock, "SKU-1"), (stock, str(2**63)), (stock, "1.5"), (credit, "7")):
        with pytest.raises(KeyRefusedError):
            parse_key(entity, text)


# Runs ----------------------------------------------------------------------------------------------------------------


async def test_a_run_ends_in_one_way_and_says_which() -> None:
    runs = Runs()
    with pytest.raises(BusyError):
        runs.start("plan", frozenset(), asyncio.Event().wait, lambda full: full)
    keeper = asyncio.create_task(runs.run())
    await asyncio.sleep(0)

    async def refused() -> None:
        raise StoreError("the store is away", code="E-STORE-UNREACHABLE")

    async def broken() -> None:
        raise KeyError("a fault of ours")

    done = runs.start("plan", frozenset(), lambda: asyncio.sleep(0), lambda full: ["all"] if full else [])
    failed = runs.start("reconcile", frozenset({"a"}), refused, lambda full: [])
    broke = runs.start("reconcile", frozenset({"b"}), broken, lambda full: [])
    endless = runs.start("reconcile", frozenset({"c", "d"}), asyncio.Event().wait, lambda full: [])
    with pytest.raises(BusyError, match="d: a reconcile is running"):
        runs.start("reconcile", frozenset({"d", "e"}), asyncio.Event().wait, lambda full: [])
    for run in (done, failed, broke):
        await run.ended.wait()
    runs.cancel(endless.id)
    await endless.ended.wait()
    assert [run.state for run in runs.all()] == [State.DONE, State.FAILED, State.FAILED, State.CANCELLED]
    assert (done.as_json(full=True)["queues"], done.as_json(full=False)["queues"]) == (["all"], [])
    assert "the store is away" in failed.error
    assert broke.code == "E-INTERNAL"
    assert runs.cancel(done.id).state is State.DONE
    assert not keeper.done(), "no run ends the daemon"
    keeper.cancel()
    await asyncio.wait([keeper])


async def test_runs_are_forgotten_in_the_end_but_never_while_they_run() -> None:
    runs = Runs()
    keeper = asyncio.create_task(runs.run())
    await asyncio.sleep(0)
    endless = runs.start("plan", frozenset(), asyncio.Event().wait, lambda full: [])
    for _ in range(KEPT + 10):
        await runs.start("plan", frozenset(), lambda: asyncio.sleep(0), lambda full: []).ended.wait()
    assert len(runs.all()) <= KEPT + 1
    assert runs.get(endless.id) is endless
    with pytest.raises(UnknownRunError):
        runs.get(2)
    keeper.cancel()
    await asyncio.wait([keeper])


# Plans ---------------------------------------------------------------------------------------------------------------


def store(**more: Any) -> Store:
    rate = {"per_second": 10, "burst": 20}
    return Store.model_validate(
        {"adapter": "http", "url": "http://localhost/a", "entities": ["stock"], "rate": rate, **more}
    )


def test_a_plan_counts_the_time_that_the_rate_takes() -> None:
    job = Batch.model_validate({"name": "c", "entity": "content", "every": "1m", "max_per_second": 5})
    assert duration(20, 2000, Lane.FAST, store(), []) == 0.0
    assert duration(120, 12000, Lane.FAST, store(), []) == 10.0
    assert duration(60, 6000, Lane.BATCH, store(), []) == 10.0
    assert duration(1, 100, Lane.BATCH, store(), [job]) == 20.0
    assert duration(1, 1, Lane.BATCH, store(fast_share=1.0), []) is None
    assert duration(0, 0, Lane.BATCH, store(fast_share=1.0), []) == 0.0


# The ledger by id, and its read-only view ----------------------------------------------------------------------------


async def filled(path: Path) -> tuple[StateFile, Ledger]:
    state = StateFile(path)
    state.open()
    state.execute("insert into queue (id, store, entity) values (1, 'main', 'stock')")
    ledger = Ledger(state)
    known = await ledger.lookup(1, [1, 2, 3])
    ledger.record(1, known, {1: [("b", 1, b"{}"), ("é", 1, b"{}")], 2: [("a", 1, b"{}")], 3: [("c", 1, b"{}")]}, 5)
    ledger.record(1, known, {1: [("b", 2, None)], 3: [("b", 3, b"{}"), ("c", 2, None)]}, 6)
    await state.drain()
    return state, ledger


async def test_ids_come_in_order_with_the_key_that_shows_them(tmp_path: Path) -> None:
    state, ledger = await filled(tmp_path / "state.db")
    try:
        every = {"a": 2, "b": 3, "c": 3, "é": 1}
        assert await ledger.between(1, "", None, 100) == (every, None)
        assert await ledger.between(1, "a", "b", 100) == ({"b": 3}, None)
        for limit in (1, 2, 3, 4):
            found: dict[str, Any] = {}
            low: str | None = ""
            while low is not None:
                part, low = await ledger.between(1, low, None, limit)
                found.update(part)
            assert found == every or limit == 1  # a page of one row cannot hold both rows of one id
        assert await ledger.unknown(1, ["a", "x", "c"]) == ["x"]
    finally:
        state.close()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_view_of_the_state_leaves_no_trace(tmp_path: Path) -> None:
    state, _ = await filled(tmp_path / "state.db")
    async with StateView(tmp_path / "state.db") as view:
        assert await view.queue(QueueName("main", "stock")) == 1
        assert await view.keys(1, None, 10) == [1, 2, 3]
        assert await view.keys(1, 1, 1) == [2]
        assert await view.count(1) == 3
        assert (await view.documents(1, [2, 9])) == {2: {"a": Acked("a", 1, b"{}", 5)}, 9: {}}
    state.close()
    before = names_in(tmp_path)
    async with StateView(tmp_path / "state.db") as view:
        assert await view.count(1) == 3
        assert names_in(tmp_path) == before
    async with StateView(tmp_path / "none.db") as view:
        assert await view.queue(QueueName("main", "stock")) == -1
        assert await view.keys(-1, None, 10) == []
    assert not (tmp_path / "none.db").exists()


# Lines ---------------------------------------------------------------------------------------------------------------


def test_answers_read_as_lines() -> None:
    row = {"store": "main", "entity": "stock", "key": 4, "age_seconds": 125.0, "code": "E-BRAKE", "reason": "zeroed"}
    assert list(set_aside_lines([row])) == ["main/stock 4  since 2m05s  E-BRAKE  zeroed"]
    document = {"kind": "changed", "id": "A|default", "fields": {"available": [5, 4]}}
    compared = {
        "store": "main",
        "entity": "stock",
        "differ": 3,
        "counts": {"foreign": 0},
        "line": "9 compared",
        "documents": [document],
    }
    assert list(reconcile_lines([compared], fixed=False)) == [
        "main/stock  changed  A|default  available is 4, not 5",
        "main/stock  ... and 2 more",
        "main/stock: 9 compared",
        "send again what differs: erpsyncd reconcile --fix",
    ]
    planned = {"store": "main", "entity": "stock", "changes": 1, "refused": {"7": "NULL"}, "line": "in all"}
    assert list(plan_lines([{**planned, "documents": [{**document, "fields": {"available": [None, 4]}}]}])) == [
        "main/stock  changed A|default  available nothing -> 4",
        "main/stock  refused key 7: NULL",
        "in all",
    ]

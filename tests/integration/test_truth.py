"""The truth of claimed keys on a real server: which of them may be read is told by the snapshot that gave the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from daemon.config.entity import Entity
from daemon.erp import Erp, ReadConnection
from daemon.errors import SourceError
from daemon.mapping import Mapper
from daemon.model import Claim, Key, Missing, Snapshot, Xid
from daemon.truth import read_claimed
from tests.conftest import Database

SQL = "select id as key, said from note where id = any($1)"


@dataclass
class Ground:
    erp: Erp
    writer: asyncpg.Connection
    seen: list[Snapshot] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def saw(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)

    async def xid(self) -> Xid:
        """The transaction that the writer has open."""
        return int(await self.writer.fetchval("select pg_current_xact_id()::text"))

    async def read(self, marks: dict[Key, Xid | None], sql: str = SQL) -> tuple[set[Key], dict[Key, str]]:
        """Keys that are hidden, and what the others say. None for a mark whose transaction was seen before."""
        claims = {key: Claim(key, 1, frozenset(() if xid is None else (xid,))) for key, xid in marks.items()}
        entity = Entity.model_construct(name="note", sql=sql)
        mapper = Mapper("custom", ("key",), {}, Missing.UNPUBLISH, "entity.note")
        hidden, good, bad = await read_claimed(self.erp, self, entity, mapper, claims)  # type: ignore[arg-type]
        assert not bad
        return hidden, {key: made[str(key)].fields["said"] for key, made in good.items()}


@pytest.fixture
async def ground(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    await database.execute(
        "create table note (id bigint primary key, said text); insert into note select n, 'old' from generate_series(1, 300) n"
    )
    erp = Erp(database.dsn, connections=1, statement_timeout_s=20)
    await erp.open()
    made = Ground(erp, await database.connect())
    fetch = erp.fetch

    async def counted(where: str, sql: str, *args: object, **how: bool) -> list[asyncpg.Record]:
        made.asked.append(sql)
        return await fetch(where, sql, *args, **how)

    monkeypatch.setattr(erp, "fetch", counted)
    yield made
    await erp.close()


async def test_fresh_changes_are_read_in_one_question(ground: Ground) -> None:
    assert await ground.read({1: 3, 2: 3}) == (set(), {1: "old", 2: "old"})
    assert len(ground.asked) == 1
    assert ground.seen[0].sees(3)


async def test_a_key_whose_transaction_is_open_is_not_read_and_the_others_are(ground: Ground) -> None:
    async with ground.writer.transaction():
        await ground.writer.execute("update note set said = 'new' where id = 2")
        xid = await ground.xid()
        assert await ground.read({1: 3, 2: xid, 3: 3}) == ({2}, {1: "old", 3: "old"})
    assert await ground.read({2: xid}) == (set(), {2: "new"})


async def test_a_key_without_rows_is_told_apart_from_one_that_cannot_be_seen_yet(ground: Ground) -> None:
    async with ground.writer.transaction():
        await ground.writer.execute("insert into note values (1000, 'new')")
        xid = await ground.xid()
        assert await ground.read({1000: xid}) == ({1000}, {})
        assert await ground.read({1000: xid, 2000: 3}) == ({1000}, {})
    assert await ground.read({1000: xid, 2000: 3}) == (set(), {1000: "new"})


async def test_many_keys_do_not_each_bring_the_snapshot(ground: Ground) -> None:
    """It names every running transaction."""
    hidden, found = await ground.read(dict.fromkeys(range(1, 201), 3))
    assert not hidden
    assert len(found) == 200
    assert len(ground.asked) == 2


async def test_a_read_of_few_keys_keeps_its_plan_and_one_of_many_is_planned_for_them(ground: Ground) -> None:
    for _ in range(3):
        await ground.read({1: 3, 2: 3})
        await ground.read(dict.fromkeys(range(1, 201), 3))
    statements = await ground.erp.fetch(
        "erp.dsn",
        "select statement, generic_plans, custom_plans from pg_prepared_statements where statement like 'select%id as key%'",
    )
    plans = {row["statement"]: (row["generic_plans"], row["custom_plans"]) for row in statements}
    assert plans.pop(SQL) == (0, 3)
    assert [counts for statement, counts in plans.items() if "pg_current_snapshot()" in statement] == [(3, 0)]


async def test_reads_of_few_keys_do_not_switch_the_planning_back_and_forth(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched = 0
    execute = ReadConnection.execute

    async def counted(connection: ReadConnection, query: str) -> object:
        nonlocal switched
        switched += 1
        return await execute(connection, query)

    monkeypatch.setattr(ReadConnection, "execute", counted)
    for _ in range(3):
        assert await ground.read({1: 3}) == (set(), {1: "old"})
        assert await ground.read({2: None}) == (set(), {2: "old"})
        assert await ground.erp.keys("entity.note.watch.0", "select id from note where id = any($1)", [1, 2]) == {1, 2}
        await ground.erp.snapshot()
        await ground.erp.clock()
    assert switched == 1


@pytest.mark.parametrize("xid", [3, None])
async def test_where_one_plan_fails_the_query_is_asked_with_its_own(ground: Ground, xid: Xid | None) -> None:
    plan = "current_setting('plan_cache_mode')"
    fails = f"1 / length(replace({plan}, 'force_generic_plan', '')) > -1"
    sql = f"select id as key, {plan} as said from note where id = any($1) and {fails}"
    assert await ground.read({1: xid}, sql) == (set(), {1: "auto"})


@pytest.mark.parametrize(
    "sql",
    [
        SQL + "  -- as the shop shows them",
        SQL + ";",
        SQL + "; -- as the shop shows them",
        SQL + " order by said limit 100",
        "with mine as (select * from note where id = any($1)) select id as key, said from mine",
        "select id as key, said from note where id = any($1) union all select 0, ';' where false",
    ],
)
async def test_a_query_is_read_however_it_ends(ground: Ground, sql: str) -> None:
    assert await ground.read({1: 3, 2: 3}, sql) == (set(), {1: "old", 2: "old"})


async def test_what_is_wrong_with_a_query_is_said_in_its_own_lines(ground: Ground) -> None:
    with pytest.raises(SourceError, match="line 2 of the query"):
        await ground.read({1: 3}, "select id as key, said\nfrom notes where id = any($1)")

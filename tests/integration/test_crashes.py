"""Crashes, cuts and absences of every party: the daemon, the store, PostgreSQL, the line between them.

Invariant under test: whatever ends at whatever moment, once all are back the store shows for every key what SQL says; no
change is lost, no document goes back a version, and what was acknowledged is not sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from daemon.demo.embedded import Cluster, StopMode
from tests.conftest import Database
from tests.doubles.shop import FailAfterWrite, Hold
from tests.doubles.tcp import TcpProxy
from tests.integration.harness import LATEST
from tests.integration.stage import Stage, lawful, own_stage, sql_connection
from tests.waiting import until

KEYS = 300
SCHEMA = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null, amount numeric(12, 2) not null);
insert into item select n, 'A' || n, n, n / 100.0 from generate_series(1, {KEYS}) n;
create table move (id bigint generated always as identity primary key, item_id bigint not null, qty int not null);
create publication erpsyncd for table item, move;
"""
ENTITIES = """
[entity.stock]
sql = '''select i.id as key, i.sku, i.on_hand + coalesce(sum(m.qty), 0)::bigint as available
           from item i left join move m on m.item_id = i.id where i.id = any($1) group by i.id'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "move", key = "item_id" }]

[entity.price]
sql = "select id as key, sku, 'EUR' as currency, amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""


@dataclass
class Load:
    """What a busy ERP does meanwhile: some two hundred rows a second, with rollbacks and several rows to a commit."""

    dsn: str
    rng: random.Random
    committed: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, count: int) -> None:
        """Wait until so many more transactions are committed."""
        goal = self.committed + count
        await until(lambda: self.committed >= goal, within=LATEST, what="enough load")

    async def run(self) -> None:
        connection: asyncpg.Connection | None = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = await asyncpg.connect(self.dsn)
                await self._transaction(connection)
                self.committed += 1
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                if connection is not None:
                    connection.terminate()
                connection = None
            await asyncio.sleep(0.025)
        if connection is not None:
            connection.terminate()

    async def _transaction(self, connection: asyncpg.Connection) -> None:
        keys = [self.rng.randint(1, KEYS) for _ in range(5)]
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("update item set on_hand = on_hand + 1 where id = $1", keys[0])
        await connection.execute("update item set amount = amount + 0.01 where id = $1", keys[1])
        await connection.execute("insert into move (item_id, qty) values ($1, 1), ($2, 2)", keys[2], keys[3])
        # more comes in than goes out: each version of a document has a number of its own
        await connection.execute("delete from move where id = (select min(id) from move where item_id = $1)", keys[4])
        await connection.execute("update item set on_hand = on_hand + 3 where id = $1", keys[4])
        if self.rng.random() < 0.1:
            await transaction.rollback()
        else:
            await transaction.commit()


@asynccontextmanager
async def busy(dsn: str, seed: int = 1) -> AsyncIterator[Load]:
    load = Load(dsn, random.Random(seed))  # noqa: S311 - a repeatable load, no secret
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.ended.set()
        await task


async def confirmed(connection: asyncpg.Connection) -> int:
    """Where the slot stands, in bytes."""
    return int(
        await connection.fetchval(
            "select pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint from pg_replication_slots"
            " where database = current_database()"
        )
    )


async def written(stage: Stage, documents: int) -> None:
    """Wait until the store was sent so many more documents."""
    before = len(stage.shop.writes())

    def sent() -> bool:
        assert stage.daemon.process is not None
        assert stage.daemon.process.returncode is None, stage.tail()
        return sum(len(call.ids) for call in stage.shop.writes()[before:]) >= documents

    try:
        await until(sent, within=LATEST, what=f"{documents} more documents are sent")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stage.tail()}") from None


async def quiet(stage: Stage) -> None:
    """Wait until all is delivered, and check the laws; the status must agree that nothing is outstanding."""
    await stage.equal(within=60)

    async def at_rest() -> bool:
        return not any([(await stage.daemon.queue(e))["pending"] for e in ("stock", "price")])

    await until(at_rest, within=LATEST, what="nothing is pending")
    assert not stage.daemon.events("failed"), stage.tail()
    assert not stage.daemon.events("gap"), stage.tail()


@pytest.mark.timeout(240)
async def test_a_daemon_that_is_killed_twenty_times_under_load_loses_nothing(
    database: Database, tmp_path: Path
) -> None:
    rng = random.Random(3)  # noqa: S311
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage:
        async with busy(database.dsn) as load:
            for round_ in range(20):
                if round_ % 2:  # half of the time in the middle of work, half of the time at any moment
                    await written(stage, 1)
                await asyncio.sleep(rng.random() * 0.3)
                await stage.daemon.kill()
                await stage.daemon.start()
            await load.more(20)
            await stage.daemon.until_event("ready")
        await quiet(stage)


async def test_a_store_that_is_away_holds_the_slot_back_by_nothing(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage:
        await stage.shop.stop()
        async with busy(database.dsn) as load:
            before = await confirmed(stage.erp)
            await load.more(40)
            written = int(await stage.erp.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))

            async def advanced() -> bool:
                return await confirmed(stage.erp) >= written

            assert written > before
            await until(advanced, within=LATEST, what="the slot advances although the store is away")
            await stage.daemon.until_event("store_lost")
            outstanding = await stage.daemon.queue("stock")
            assert outstanding["pending"] + outstanding["claimed"] > 0
            await stage.daemon.kill()  # what is outstanding outlives the process
            await stage.daemon.start()
            await stage.daemon.until_event("ready")
            await stage.shop.start()
        await quiet(stage)
        assert (await stage.daemon.status())["stores"]["main"]["breaker"] == "closed"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_postgres_under_load_loses_nothing(
    new_cluster: Callable[..., Cluster], tmp_path: Path, mode: StopMode
) -> None:
    cluster = await asyncio.to_thread(new_cluster)
    database = Database(cluster, "postgres")
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage, busy(database.dsn) as load:
        for round_ in (1, 2):
            await load.more(20)
            await asyncio.to_thread(cluster.restart, mode)
            await stage.daemon.until_event("erp_back", count=round_)
        await load.more(20)
        load.ended.set()
        stage.erp.terminate()
        stage.erp = await sql_connection(database.dsn)
        await quiet(stage)
        assert len(stage.daemon.events("erp_lost")) == len(stage.daemon.events("erp_back")) == 2
        assert len(stage.daemon.events("starting")) == 1


async def test_a_line_that_is_cut_again_and_again_loses_nothing(database: Database, tmp_path: Path) -> None:
    async with (
        TcpProxy("127.0.0.1", database.cluster.port) as proxy,
        own_stage(database, tmp_path, SCHEMA, ENTITIES, via=proxy.port) as stage,
    ):
        async with busy(database.dsn) as load:
            for round_ in range(1, 7):
                await load.more(8)
                if round_ % 3 == 0:
                    proxy.refuse()
                (proxy.cut if round_ % 2 else proxy.reset)()
                await stage.daemon.until_event("erp_lost", count=round_)
                await proxy.accept()
                await stage.daemon.until_event("erp_back", count=round_)
        await quiet(stage)


async def test_a_restart_sends_nothing_again_that_was_acknowledged(database: Database, tmp_path: Path) -> None:
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage:
        await stage.equal()
        assert await stage.daemon.terminate() == 0
        before = len(stage.shop.writes())
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        await stage.erp.execute("update item set on_hand = on_hand, amount = amount")  # rows change, values do not
        await stage.erp.execute("update item set amount = 77 where id = 7")
        await stage.equal()
        assert [call.ids for call in stage.shop.writes()[before:]] == [("A7|default|EUR|1",)]


async def test_a_kill_between_the_stores_write_and_its_answer_sends_the_same_truth_again(
    database: Database, tmp_path: Path
) -> None:
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage:
        hold = Hold(after_write=True)
        stage.shop.inject(hold, calls=1, method="POST")
        await stage.erp.execute("update item set on_hand = 500 where id = 5")
        await asyncio.wait_for(hold.reached.wait(), LATEST)
        await stage.daemon.kill()
        hold.release()
        await stage.daemon.start()
        await stage.daemon.until_event("ready")
        writes = stage.shop.history["stock"]["A5|default"]
        await until(lambda: len(writes) >= 3, within=LATEST, what="what had no answer is sent again")
        await stage.equal()
        assert [write.fields["available"] for write in writes if write.fields] == [5, 500, 500]
        assert sorted({write.version for write in writes}) == [write.version for write in writes]


async def held_write(stage: Stage, statement: str) -> Hold:
    """Let the store write what follows from `statement`, keep the answer back, and make it a 500."""
    hold = Hold(after_write=True)
    stage.shop.inject(hold, calls=1, entity="stock", method="POST")
    stage.shop.inject(FailAfterWrite(), calls=1, entity="stock", method="POST")
    await stage.erp.execute(statement)
    await asyncio.wait_for(hold.reached.wait(), LATEST)
    return hold


@pytest.mark.parametrize("how", ["kill", "error"])
@pytest.mark.parametrize(
    ("statement", "undo"),
    [
        ("update item set on_hand = 500 where id = 5", "update item set on_hand = 5 where id = 5"),
        ("insert into item values (999, 'GHOST', 5, 5)", "delete from item where id = 999"),
        ("update item set sku = 'GHOST' where id = 5", "update item set sku = 'A5' where id = 5"),
    ],
    ids=["value", "insert", "name"],
)
async def test_a_write_without_an_answer_is_undone_when_the_erp_takes_it_back(
    database: Database, tmp_path: Path, how: str, statement: str, undo: str
) -> None:
    """The store has it, the acknowledged documents do not: what is read next must not be taken for unchanged."""
    async with own_stage(database, tmp_path, SCHEMA, ENTITIES) as stage:
        hold = await held_write(stage, statement)
        if how == "kill":
            await stage.daemon.kill()
        await stage.erp.execute(undo)
        hold.release()
        if how == "kill":
            await stage.daemon.start()
            await stage.daemon.until_event("ready")
        await stage.equal(within=20)


@pytest.mark.timeout(180)
async def test_a_first_load_that_is_killed_goes_on_where_it_was(database: Database, tmp_path: Path) -> None:
    keys = 9000
    schema = SCHEMA + f"insert into item select n, 'A' || n, n, 1 from generate_series({KEYS + 1}, {keys}) n;"
    stock_alone = ENTITIES.partition("[entity.price]")[0]
    async with own_stage(database, tmp_path, schema, stock_alone, wait=False) as stage:
        for _ in range(3):
            await written(stage, 2200)
            await stage.daemon.kill()
            assert len(stage.shop.documents("stock")) < keys
            await stage.daemon.start()
        await stage.daemon.until_loaded()
        await stage.equal()
        lawful(stage.shop)
        sent = sum(len(call.ids) for call in stage.shop.writes("stock"))
        assert sent < keys + 3 * 2500  # each kill repeats a page of two thousand at most, never the whole

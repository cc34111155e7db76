"""A small ERP and what its people do to it: random transactions from a seed, committed, rolled back or cut off.

Invariant: a transaction that is rolled back, or a savepoint of one, leaves marks of its own that no committed row ever
has (`ghostly`), so that a store that shows one was told of something that never happened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg

ITEMS = 40
IDS = 60
"""Items live under ids from 1 to this; some are free, so that items may come, go and move."""
_GHOST_QTY = 50_000_000
_GHOST_AMOUNT = Decimal("77777.77")
_GHOST_SKU = "ghost"

SCHEMA = f"""
create table item (id bigint primary key, sku text not null unique);
create table stock (item_id bigint not null, warehouse int not null, qty int not null, primary key (item_id, warehouse));
create table price (id bigint generated always as identity primary key, item_id bigint not null,
    amount numeric(12, 2) not null, valid_from date not null, valid_to date);
create table reservation (id bigint generated always as identity primary key, item_id bigint not null,
    warehouse int not null, qty int not null);
create index on price (item_id);
create index on reservation (item_id);
insert into item select n, 'A' || n from generate_series(1, {ITEMS}) n;
insert into stock select n, w, 100 * w from generate_series(1, {ITEMS}) n, generate_series(1, 2) w;
insert into price (item_id, amount, valid_from) select n, n, '2026-01-01' from generate_series(1, {ITEMS}) n;
insert into reservation (item_id, warehouse, qty) select n, 1, 1 from generate_series(1, {ITEMS}) n;
create publication erpsyncd for table item, stock, price, reservation;
"""
# The day is fixed: what the clock alone changes has tests of its own.
ENTITIES = """
[entity.stock]
sql = '''select i.id as key, i.sku, 'W' || s.warehouse as location, greatest(s.qty - coalesce((select sum(r.qty)
           from reservation r where r.item_id = i.id and r.warehouse = s.warehouse), 0), 0)::bigint as available
           from item i join stock s on s.item_id = i.id where i.id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "stock", key = "item_id" }, { table = "reservation", key = "item_id" }]

[entity.price]
sql = '''select i.id as key, i.sku, 'EUR' as currency, p.amount from item i join lateral (select amount from price
           where item_id = i.id and valid_from <= '2026-06-01' and coalesce(valid_to, '2027-01-01') > '2026-06-01'
           order by valid_from desc, id desc limit 1) p on true where i.id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }, { table = "price", key = "item_id" }]
"""
_DATES = ("'2026-02-01'", "'2026-03-01'", "'2026-06-01'", "'2026-06-02'")

LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a session may meet when its server goes away; the last is the driver's word for one that went mid-statement."""


def ghostly(fields: Mapping[str, Any]) -> bool:
    """Whether a document shows something that was never committed."""
    amount = fields.get("amount")
    return (
        (amount is not None and Decimal(str(amount)) == _GHOST_AMOUNT)
        or int(fields.get("available", 0)) > _GHOST_QTY // 2
        or str(fields.get("sku", "")).startswith(_GHOST_SKU)
    )


@dataclass
class Writer:
    """One session of the ERP's; comes back whenever the server does."""

    dsn: str
    rng: random.Random
    pause: float = 0.02
    committed: int = 0
    rolled_back: int = 0
    refused: int = 0
    """Transactions that the server ended: deadlocks, keys that were taken, a server that went away."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        connection: asyncpg.Connection | None = None
        while not self.ended.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(self.dsn, timeout=5, command_timeout=10)
                await self._transaction(connection)
            except LOST as exc:
                self.refused += 1
                if connection is not None and not isinstance(exc, asyncpg.PostgresError):
                    connection.terminate()
                    connection = None
            await asyncio.sleep(self.pause * self.rng.random() * 2)
        if connection is not None:
            connection.terminate()

    async def _transaction(self, connection: asyncpg.Connection) -> None:
        dice = self.rng.random()
        transaction = connection.transaction()
        await transaction.start()
        try:
            for _ in range(self.rng.choice((1, 1, 2, 4))):
                await self._change(connection)
            if dice < 0.15:
                await self._ghost(connection)
            elif dice < 0.3:
                savepoint = connection.transaction()
                await savepoint.start()
                await self._ghost(connection)
                await self._change(connection)
                await savepoint.rollback()
                await self._change(connection)
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        if dice < 0.15:
            await transaction.rollback()
            self.rolled_back += 1
        else:
            await transaction.commit()
            self.committed += 1

    async def _ghost(self, connection: asyncpg.Connection) -> None:
        item = self._item()
        await connection.execute(f"update stock set qty = qty + {_GHOST_QTY} where item_id = {item}")
        await connection.execute(
            f"insert into price (item_id, amount, valid_from) values ({item}, {_GHOST_AMOUNT}, '2026-06-01')"
        )
        await connection.execute(f"update item set sku = '{_GHOST_SKU}-{item}' where id = {item}")

    async def _change(self, connection: asyncpg.Connection) -> None:
        kinds = (self._stock, self._price, self._reservation, self._many, self._move, self._rename, self._come_or_go)
        (kind,) = self.rng.choices((*kinds, self._copy, self._truncate), (30, 20, 25, 6, 5, 4, 8, 2, 0.3))
        await kind(connection)

    def _item(self) -> int:
        return self.rng.randint(1, IDS)

    async def _stock(self, connection: asyncpg.Connection) -> None:
        warehouse, qty = self.rng.randint(1, 2), self.rng.randint(-5, 5)
        await connection.execute(
            f"update stock set qty = qty + {qty} where item_id = {self._item()} and warehouse = {warehouse}"
        )

    async def _price(self, connection: asyncpg.Connection) -> None:
        item, amount, day = self._item(), self.rng.randint(1, 99999) / 100, self.rng.choice(_DATES)
        choices = (
            f"insert into price (item_id, amount, valid_from) values ({item}, {amount}, {day})",
            f"update price set amount = {amount} where item_id = {item}",
            f"update price set valid_to = {day} where item_id = {item} and valid_from < {day}",
            f"update price set item_id = {self._item()} where id = (select max(id) from price where item_id = {item})",
            f"delete from price where id in (select id from price where item_id = {item} order by id desc limit 2)",
        )
        await connection.execute(self.rng.choice(choices))

    async def _reservation(self, connection: asyncpg.Connection) -> None:
        item, warehouse = self._item(), self.rng.randint(1, 2)
        some = f"(select id from reservation where item_id = {item} order by id limit 3)"
        choices = (
            f"insert into reservation (item_id, warehouse, qty) values ({item}, {warehouse}, {self.rng.randint(1, 3)})",
            f"delete from reservation where id in {some}",
            f"update reservation set item_id = {self._item()} where id in {some}",
            f"update reservation set warehouse = 3 - warehouse where id in {some}",
        )
        await connection.execute(self.rng.choice(choices))

    async def _many(self, connection: asyncpg.Connection) -> None:
        first = self._item()
        await connection.execute(f"update stock set qty = qty + 1 where item_id between {first} and {first + 20}")

    async def _move(self, connection: asyncpg.Connection) -> None:
        """An item gets another key, with everything that hangs on it."""
        old, new = self._item(), self._item()
        free = f"not exists (select from item where id = {new})"
        if await connection.fetchval(f"update item set id = {new} where id = {old} and {free} returning 1"):
            for table in ("stock", "price", "reservation"):
                await connection.execute(f"update {table} set item_id = {new} where item_id = {old}")

    async def _rename(self, connection: asyncpg.Connection) -> None:
        item = self._item()
        await connection.execute(f"update item set sku = 'A{item}-{self.rng.randint(1, 3)}' where id = {item}")

    async def _come_or_go(self, connection: asyncpg.Connection) -> None:
        item = self._item()
        if self.rng.random() < 0.5:
            for table, column in (
                ("stock", "item_id"),
                ("price", "item_id"),
                ("reservation", "item_id"),
                ("item", "id"),
            ):
                await connection.execute(f"delete from {table} where {column} = {item}")
        else:
            await connection.execute(f"insert into item values ({item}, 'A{item}') on conflict do nothing")
            await connection.execute(f"insert into stock values ({item}, 1, 9), ({item}, 2, 9) on conflict do nothing")

    async def _copy(self, connection: asyncpg.Connection) -> None:
        rows = [(self._item(), self.rng.randint(1, 2), 1) for _ in range(60)]
        await connection.copy_records_to_table("reservation", records=rows, columns=["item_id", "warehouse", "qty"])

    async def _truncate(self, connection: asyncpg.Connection) -> None:
        await connection.execute("truncate reservation")


@asynccontextmanager
async def writing(dsn: str, seed: int, writers: int = 2) -> AsyncIterator[list[Writer]]:
    """Writers at work, until the block ends."""
    hands = [Writer(dsn, random.Random(f"{seed}/{n}")) for n in range(writers)]  # noqa: S311 - repeatable, no secret
    tasks = [asyncio.create_task(hand.run()) for hand in hands]
    try:
        yield hands
    finally:
        for hand in hands:
            hand.ended.set()
        await asyncio.gather(*tasks)

"""The Odoo database of tests/data/odoo18, restored, and what the pack reads from it.

Invariant: restored as it was dumped; what a test changes, it changes by SQL as Odoo writes it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from daemon import config as configuration
from daemon.config import Config
from daemon.erp import Erp
from daemon.mapping import Mapper
from daemon.model import Key
from daemon.preflight import mapper_of
from daemon.truth import read_documents
from tests.conftest import Database
from tests.integration.prepared import program
from tests.integration.stage import packed

DATA = Path(__file__).parent.parent / "data" / "odoo18"
ENTITIES = ("stock", "price", "credit", "order_status", "content")

# the script of `sql setup` waits a second for a lock; the server's own housekeeping shall not come between
_QUIET = """
do $$ declare t text; begin
  for t in select tablename from pg_tables where schemaname = 'public' loop
    execute format('alter table public.%I set (autovacuum_enabled = false)', t);
  end loop;
end $$"""


def oracle() -> dict[str, Any]:
    """What Odoo says; numbers as Decimal."""
    text = gzip.decompress((DATA / "oracle.json.gz").read_bytes())
    said: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return said


async def restore(database: Database) -> None:
    """Odoo's tables into an empty database."""
    script = await asyncio.to_thread(lambda: gzip.decompress((DATA / "odoo18.sql.gz").read_bytes()).decode())
    psql = database.cluster.bin_dir / "psql"
    ran = await program(psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.dsn, "-f", "-", text=script)
    assert ran.code == 0, ran.err
    await database.execute(_QUIET)


def text_of(
    dsn: str,
    options: str = "",
    entities: Iterable[str] = ENTITIES,
    url: str = "http://127.0.0.1:1/shop",
    folder: Path = Path("/nowhere"),
) -> str:
    """A configuration with the pack; `options` are lines of [erp.options]."""
    return packed("odoo", dsn, url, folder / "state.db", entities, options, rate="")


class Reader:
    """Reads documents as the worker does, with the pack's own queries."""

    def __init__(self, database: Database, options: str = "") -> None:
        self.config: Config = configuration.load_text(text_of(database.dsn, options), env={})
        self._erp = Erp(database.dsn, connections=2, statement_timeout_s=30)
        self._mappers: dict[str, Mapper] = {}

    async def __aenter__(self) -> Reader:
        await self._erp.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._erp.close()

    @property
    def erp(self) -> Erp:
        return self._erp

    async def documents(self, name: str, keys: list[Key] | None = None) -> dict[str, dict[str, Any]]:
        """Documents by id, of all keys unless given. No key may be refused."""
        entity = self.config.entity[name]
        mapper = mapper_of(entity)
        if keys is None:
            keys = await self._erp.page(f"entity.{name}.all_keys", entity.all_keys, -(2**31), 1_000_000)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), 500):
            good, bad = await read_documents(self._erp, entity, mapper, keys[start : start + 500])
            assert not bad, {key: str(error) for key, error in bad.items()}
            for documents in good.values():
                found |= {id_: made.fields for id_, made in documents.items()}
        return found

    async def refused(self, name: str, keys: list[Key]) -> dict[Key, str]:
        """Why these keys make no document."""
        entity = self.config.entity[name]
        _, bad = await read_documents(self._erp, entity, mapper_of(entity), keys)
        return {key: error.message for key, error in bad.items()}


async def shown(database: Database, entity: str, options: str, *keys: int) -> dict[str, dict[str, Any]]:
    """Documents of these keys by id, read with these lines of [erp.options]."""
    async with Reader(database, options) as reader:
        return await reader.documents(entity, list(keys))


def number(value: Any) -> Decimal:
    """A field of a document, exactly."""
    return Decimal(str(value))


KITS = """
create table mrp_bom (id int primary key, type varchar, product_tmpl_id int, product_id int, product_qty numeric,
                      product_uom_id int, company_id int, active bool, sequence int);
create table mrp_bom_line (id int primary key, bom_id int, product_id int, product_qty numeric, product_uom_id int);
create table mrp_bom_line_product_template_attribute_value_rel (
    mrp_bom_line_id int, product_template_attribute_value_id int,
    primary key (mrp_bom_line_id, product_template_attribute_value_id));
insert into mrp_bom values (1, 'phantom', 5, null, 2, 1, null, true, 0), (2, 'phantom', 6, null, 1, 1, 1, true, 0);
insert into mrp_bom_line values (1, 1, 3, 3, 1), (2, 1, 4, 500, 13), (3, 1, 7, 1, 1), (4, 2, 1, 1, 2);
delete from stock_quant where product_id in (1, 3, 4);
insert into stock_quant (id, product_id, location_id, company_id, quantity, reserved_quantity, in_date)
values (9001, 1, 8, 1, 100, 0, now()), (9003, 3, 8, 1, 100, 0, now()), (9004, 4, 8, 1, 12.5, 0, now());
"""
"""Tables of the module mrp: 2 BULK0001 of 3 GAD2, 500 g of CAB and a BULK0002, which is a dozen of WID-RED; and their stock."""

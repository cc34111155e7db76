"""A stage: a real ERP database, a storefront double, and a daemon between them.

Invariant: what is asserted is what the store holds against what SQL says, for every key, with the mapping's own SQL run
by the test; on the way there the store never saw a step back, two truths of one version, or two writes at once.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from daemon.demo import seed
from daemon.demo.compare import IDENTITY
from daemon.demo.setting import demo_config, shipped_config
from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.integration.harness import LATEST, TOKEN, Daemon, exact
from tests.waiting import until

LISTS: Mapping[str, tuple[str, ...]] = {"order_status": ("fulfilments",), "content": ("images", "categories")}
"""Lists that are empty where the query gives none."""
SMALLEST: Mapping[str, Any] = {
    "int8": -(2**63),
    "numeric": -(2**63),
    "int4": -(2**31),
    "int2": -(2**15),
    "uuid": "00000000-0000-0000-0000-000000000000",
}


async def differences(connection: asyncpg.Connection, config: str, shop: Shop) -> list[str]:
    """Every document in which the store differs from the mapping's own SQL, run by the test over all keys."""
    found: list[str] = []
    tables = tomllib.loads(config)["entity"]
    for name, said in (await truth(connection, config)).items():
        table = tables[name]
        documents = {id_: exact(fields) for id_, fields in shop.documents(name).items()}
        for id_, fields in said.items():
            if documents.get(id_) != fields:
                found.append(f"{name} {id_}: the store shows {documents.get(id_)}, SQL says {fields}")
        missing = table.get("missing", "zero" if name == "stock" else "unpublish")
        found += [
            f"{name} {id_}: the store shows {documents[id_]}, SQL says nothing"
            for id_ in documents.keys() - said.keys()
            if missing == "unpublish" or (missing == "zero" and documents[id_]["available"] != 0)
        ]
    return found


async def truth(connection: asyncpg.Connection, config: str) -> dict[str, dict[str, Any]]:
    """What the mapping's own SQL says over all keys: entity -> id -> fields, numbers as Decimal."""
    tables = tomllib.loads(config)["entity"]
    return {name: await _said(connection, table.get("kind", name), table) for name, table in tables.items()}


async def _said(connection: asyncpg.Connection, kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    pages = await connection.prepare(table["all_keys"])
    keys = [row[0] for row in await pages.fetch(SMALLEST.get(pages.get_parameters()[0].name, ""), 2**31 - 1)]
    said: dict[str, Any] = {}
    for row in await connection.fetch(table["sql"], keys):
        fields = {name: value for name, value in row.items() if name != "key"}
        identity = {name: fields.get(name, default) for name, default in IDENTITY[kind].items()}
        lists: dict[str, Any] = {name: [] for name in LISTS.get(kind, ())}
        said["|".join(map(str, identity.values()))] = exact({**lists, **identity, **fields})
    return said


async def sql_connection(dsn: str) -> asyncpg.Connection:
    """A connection on which JSON is Python and its numbers are exact; the caller closes it."""
    connection = await asyncpg.connect(dsn)
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=json.dumps,
            decoder=lambda text: json.loads(text, parse_float=Decimal),
            format="text",
        )
    return connection


def lawful(shop: Shop) -> None:
    """What must never happen to a store, whatever went wrong around it."""
    assert shop.regressions == []
    assert shop.conflicts == []
    assert shop.overlaps == []


@dataclass
class Stage:
    """An ERP with rows in it, a store, and a daemon that is to run between them."""

    erp: asyncpg.Connection
    shop: Shop
    daemon: Daemon
    text: str
    """The configuration in force."""
    dsn: str = ""
    """How the daemon reaches the ERP."""

    async def equal(self, within: float = LATEST) -> None:
        """Wait until the store shows for every key what SQL says."""

        async def same() -> bool:
            last[:] = await differences(self.erp, self.text, self.shop)
            return not last

        last: list[str] = []
        try:
            await until(same, within=within, every=0.05, what="the store equals SQL")
        except AssertionError:
            raise AssertionError("\n".join([f"{len(last)} documents differ:", *last[:10], self.tail()])) from None
        lawful(self.shop)

    async def until_shown(self, entity: str, id_: str, within: float = LATEST, **fields: Any) -> None:
        """Wait until a document shows these fields."""

        def seen() -> bool:
            document = exact(self.shop.documents(entity).get(id_, {}))
            return all(name in document and document[name] == exact(value) for name, value in fields.items())

        await until(seen, within=within, what=f"{entity} {id_} shows {fields}")

    async def until_gone(self, entity: str, id_: str, within: float = LATEST) -> None:
        await until(lambda: id_ not in self.shop.documents(entity), within=within, what=f"{entity} {id_} is gone")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.daemon.output().splitlines()[-lines:])


def configured(dsn: str, url: str, state: Path, *, token: str = TOKEN) -> str:
    """The shipped configuration between this ERP and this store, with a status server on a port of its own."""
    return demo_config(
        shipped_config(),
        {
            "ERPSYNCD_ERP_DSN": dsn,
            "ERPSYNCD_STATE": str(state),
            "ERPSYNCD_LISTEN": "127.0.0.1:0",
            "ERPSYNCD_STORE_URL": url,
            "ERPSYNCD_STORE_TOKEN": token,
        },
    ).replace("brake = {", "brake = false #")


GROUND = """
[erp]
dsn = "{dsn}"
canary = "1s"
{erp}
[state]
path = "{state}"
[status]
listen = "127.0.0.1:0"
"""
SHOP = """[store.main]
adapter = "http"
url = "{url}"
token = "{token}"
entities = {entities}
brake = false
"""
FAST = "rate = { per_second = 500 }\n"


def grounded(dsn: str, state: Path, *, erp: str = "") -> str:
    """A configuration without entities and stores, its status server on a port of its own: `erp` are lines of [erp]."""
    return GROUND.format(dsn=dsn, state=state, erp=erp)


def based(
    dsn: str, url: str, state: Path, entities: Iterable[str], *, erp: str = "", token: str = TOKEN, rate: str = FAST
) -> str:
    """A configuration without a mapping: `erp` are lines of [erp], and the last table is [store.main]."""
    shop = SHOP.format(url=url, token=token, entities=json.dumps(list(entities)))
    return grounded(dsn, state, erp=erp) + shop + rate


def packed(
    pack: str, dsn: str, url: str, state: Path, entities: Iterable[str], options: str = "", *, rate: str = FAST
) -> str:
    """A configuration with an ERP pack; `options` are lines of [erp.options]."""
    return based(dsn, url, state, entities, erp=f'pack = "{pack}"\n[erp.options]\n{options}', rate=rate)


def mapped(
    dsn: str,
    url: str,
    state: Path,
    entities: str,
    *,
    token: str = TOKEN,
    mode: str = "stream",
    publication: str = "erpsyncd",
    erp: str = "",
) -> str:
    """A configuration with entities of the test's own, given as TOML; `erp` are more lines of [erp]."""
    names = re.findall(r"^\[entity\.(\w+)\]", entities, re.MULTILINE)
    erp = f'publication = "{publication}"\nmode = "{mode}"\n{erp}'
    return f"{based(dsn, url, state, names, erp=erp, token=token)}\n{entities}"


STOCK = """
[entity.stock]
sql = "select id as key, sku, on_hand as available from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{ table = "item", key = "id" }]
"""
"""The smallest mapping, over `item` of SMALL_ERP."""

SMALL_ERP = """
create table item (id bigint primary key, sku text not null, on_hand int not null, updated_at timestamptz);
insert into item select n, 'A' || n, n from generate_series(1, 20) n;
create publication erpsyncd for table item;
"""


@asynccontextmanager
async def demo_stage(database: Database, folder: Path) -> AsyncIterator[Stage]:
    """The demo ERP with its rows, and the daemon with the shipped mapping, first load complete."""
    async with Shop(token=TOKEN) as shop:
        text = configured(database.cluster.dsn(database.name, "erpsyncd"), shop.url, folder / "state.db")
        stage = Stage(await sql_connection(database.dsn), shop, Daemon(folder, text), text)
        try:
            await seed.create(stage.erp)
            await seed.fill(stage.erp)
            async with stage.daemon:
                await stage.daemon.until_loaded()
                yield stage
        finally:
            stage.erp.terminate()


@asynccontextmanager
async def own_stage(
    database: Database,
    folder: Path,
    schema: str = SMALL_ERP,
    entities: str = STOCK,
    *,
    via: int | None = None,
    wait: bool = True,
    erp: str = "",
) -> AsyncIterator[Stage]:
    """An ERP and a mapping of the test's own, first load complete unless `wait` is false.

    `via`: a port that the daemon connects through; `erp`: lines of [erp]."""
    dsn = database.dsn if via is None else database.dsn.replace(f":{database.cluster.port}/", f":{via}/")
    async with Shop(token=TOKEN) as shop:
        text = mapped(dsn, shop.url, folder / "state.db", entities, erp=erp)
        stage = Stage(await sql_connection(database.dsn), shop, Daemon(folder, text), text, dsn)
        try:
            await stage.erp.execute(schema)
            async with stage.daemon:
                if wait:
                    await stage.daemon.until_loaded()
                yield stage
        finally:
            stage.erp.terminate()

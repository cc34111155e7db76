"""Ask the ERP's server for the facts that the doctor judges.

Invariant: catalogue, settings, plans and a sample of keys, over the daemon's own read-only connections; nothing is changed.
What one question cannot answer does not keep the others from being asked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import asyncpg

from daemon.catalogue import LISTS_SQL, TABLES_SQL, explain, quote, relations
from daemon.config import Config
from daemon.config.entity import Entity
from daemon.config.pack import Pack
from daemon.doctor.facts import (
    IndexFacts,
    LinkFacts,
    MappingFacts,
    OtherSlot,
    PublicationFacts,
    QueryFacts,
    RoleFacts,
    SampleFacts,
    ServerFacts,
    SlotFacts,
)
from daemon.doctor.judge_mapping import SAMPLE, scans
from daemon.erp import Erp, translate
from daemon.errors import ErpsyncError, SourceLost
from daemon.model import Key
from daemon.preflight import mapper_of
from daemon.slot import Position, SlotKeeper

SETTINGS = (
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
    "wal_sender_timeout",
    "sync_replication_slots",
    "synchronized_standby_slots",
)
# seconds, where a version counts in minutes
_SETTINGS_SQL = """
select name, case when unit = 'min' then (setting::bigint * 60)::text else setting end as setting
from pg_settings where name = any($1)"""
_LINK_SQL = """
select coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls,
       coalesce(inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1', true) as loopback"""
_SERVER_SQL = f"""{_LINK_SQL},
       current_setting('server_version_num')::int as version, current_setting('server_version') as version_text,
       coalesce(host(inet_client_addr()), '') as client, (select count(*)::int from pg_stat_replication) as senders,
       (select count(*)::int from pg_replication_slots where slot_type = 'physical' and active) as standbys,
       (select (to_jsonb(s) ->> 'failover')::boolean from pg_replication_slots s where slot_name = $1) as failover"""  # noqa: S608 -- constants
_SLOTS_SQL = """
select slot_name::text as name, slot_type as kind, coalesce(database::text, '') as database, active,
       pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
                       restart_lsn)::bigint as kept
from pg_replication_slots where slot_name <> $1 order by 1"""
_ROLE_SQL = """
with mine as (
    select c.oid, n.nspname || '.' || c.relname as name, c.relowner, c.relkind
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'f') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_')
select r.rolname::text as name, r.rolsuper as superuser, r.rolreplication as replication,
       array(select m.name from mine m where pg_has_role(m.relowner, 'usage') order by 1) as owned,
       array(select m.name from mine m where has_table_privilege(m.oid, 'insert, update, delete, truncate')
             or has_any_column_privilege(m.oid, 'insert, update') order by 1) as writable,
       array(select nspname::text from pg_namespace
             where nspname <> 'information_schema' and nspname !~ '^pg_' and has_schema_privilege(oid, 'create')
             order by 1) as creates_in
from pg_roles r where r.rolname = current_user"""
_PUBLICATION_SQL = "select puballtables, pubviaroot from pg_publication where pubname = $1"
_ROWS_SQL = """
select n.nspname || '.' || c.relname as name,
       case when c.reltuples >= 0 then c.reltuples else pg_relation_size(c.oid) / 100 end::bigint as rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm') and n.nspname !~ '^pg_'"""


# a partial index counts: its condition is the pack's
_INDEX_SQL = """
select case when c.reltuples >= 0 then c.reltuples else pg_relation_size(c.oid) / 100 end::bigint as rows,
       exists (select from pg_index i
               where i.indrelid = c.oid and i.indisvalid
                 and (select array_agg(a.attname::text order by k.place)
                        from unnest(i.indkey::int2[]) with ordinality k(attribute, place)
                        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attribute
                       where k.place <= cardinality($2::text[])) = $2::text[]) as present
from pg_class c where c.oid = to_regclass($1)"""


async def server_facts(erp: Erp, slot: str) -> ServerFacts:
    row = (await erp.fetch("erp.dsn", _SERVER_SQL, slot))[0]
    settings = {row["name"]: row["setting"] for row in await erp.fetch("erp.dsn", _SETTINGS_SQL, list(SETTINGS))}
    slots = await erp.fetch("erp.dsn", _SLOTS_SQL, slot)
    return ServerFacts(
        version=row["version"],
        version_text=row["version_text"],
        settings=settings,
        tls=row["tls"],
        loopback=row["loopback"],
        slots=tuple(OtherSlot(s["name"], s["kind"], s["database"], s["active"], s["kept"]) for s in slots),
        senders=row["senders"],
        standbys=row["standbys"],
        slot_failover=row["failover"],
        client="" if row["loopback"] else row["client"],
    )


async def role_facts(erp: Erp) -> RoleFacts:
    row = (await erp.fetch("erp.dsn", _ROLE_SQL))[0]
    return RoleFacts(
        row["name"],
        row["superuser"],
        row["replication"],
        tuple(row["owned"]),
        tuple(row["writable"]),
        tuple(row["creates_in"]),
    )


async def publication_facts(erp: Erp, name: str, major: int) -> PublicationFacts:
    rows = await erp.fetch("erp.publication", _PUBLICATION_SQL, name)
    if not rows:
        return PublicationFacts()
    tables = await erp.fetch("erp.publication", TABLES_SQL, name)
    # column lists and row filters came with 15
    lists = await erp.fetch("erp.publication", LISTS_SQL, name) if major >= 15 else []
    return PublicationFacts(
        tables=frozenset(row["table"] for row in tables),
        lists={row["table"]: frozenset(row["listed"]) for row in lists if row["columns"]},
        filtered=frozenset(row["table"] for row in lists if row["rows"]),
        via_root=rows[0]["pubviaroot"],
        all_tables=rows[0]["puballtables"],
    )


async def slot_facts(keeper: SlotKeeper, position: Position | None) -> SlotFacts:
    """Raises SourceLost or SourceError."""
    server = await keeper.server()
    return SlotFacts(server, await keeper.slot(), position)


async def replication_login(dsn: str, place: str) -> LinkFacts:
    """Log in the way the stream does, to the address at `place`. Raises SourceLost or SourceError."""
    try:
        # a session of its own: a walsender answers no questions
        connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "erpsyncd doctor"})
        try:
            tls, loopback = await connection.fetchrow(_LINK_SQL)
        finally:
            connection.terminate()
        connection = await asyncpg.connect(
            dsn, timeout=10, server_settings={"replication": "database", "application_name": "erpsyncd doctor"}
        )
        try:
            await connection.execute("IDENTIFY_SYSTEM")
        finally:
            connection.terminate()
    except Exception as exc:
        raise translate(exc, place) from exc
    return LinkFacts(tls, loopback)


def queries_of(config: Config) -> Iterator[tuple[str, str]]:
    """Every query of the mapping: its place and its text."""
    for entity in config.entity.values():
        place = f"entity.{entity.name}"
        yield f"{place}.sql", entity.sql
        yield f"{place}.all_keys", entity.all_keys
        for number, watch in enumerate(entity.watch):
            if watch.keys is not None:
                yield f"{place}.watch.{number}.keys", watch.keys
        for number, poll in enumerate(entity.poll):
            yield f"{place}.poll.{number}.keys", poll.keys
    for known in config.pack.known if config.pack is not None else ():
        yield f"erp.options.{known.option}", known.sql
    for batch in config.batch.values():
        if batch.extract is not None:
            yield f"batch.{batch.name}.extract", batch.extract


async def mapping_facts(erp: Erp, config: Config, smallest: Mapping[str, Key] | None) -> MappingFacts:
    """Plans of all queries, and samples where it is known which keys come first."""
    queries = list(queries_of(config))
    named, _ = await relations(erp, [sql for _, sql in queries])
    rows = {row["name"]: row["rows"] for row in await erp.fetch("erp.dsn", _ROWS_SQL)}
    planned = []
    for where, sql in queries:
        # an extract reads what it reads, by night
        told = await _planned(erp, where, sql, {} if where.startswith("batch.") else rows)
        planned.append(told)
    refused = {query.where for query in planned if query.denied or query.problem}
    samples = [
        await _sample(erp, entity, (smallest or {}).get(entity.name))
        for entity in (config.entity.values() if smallest is not None else ())
        if not refused & {f"entity.{entity.name}.sql", f"entity.{entity.name}.all_keys"}
    ]
    return MappingFacts(tuple(planned), tuple(samples), tuple(named))


async def index_facts(erp: Erp, pack: Pack) -> list[IndexFacts]:
    """The indexes that the pack advises, on tables that are there."""
    found = []
    for index in pack.index:
        name = index.table if "." in index.table else f"public.{index.table}"
        for row in await erp.fetch("erp.pack", _INDEX_SQL, quote(name), list(index.columns)):
            condition = index.where or ""
            found.append(IndexFacts(name, index.columns, index.why, condition, row["rows"], row["present"]))
    return found


async def _planned(erp: Erp, where: str, sql: str, rows: Mapping[str, int]) -> QueryFacts:
    try:
        async with erp.connection(where) as connection, connection.transaction(readonly=True):
            plan = await explain(connection, sql)
    except SourceLost:
        raise
    except ErpsyncError as exc:
        if exc.code == "E-SOURCE-PRIVILEGE":
            return QueryFacts(where, denied=exc.message)
        return QueryFacts(where, problem=f"{exc.message} [{exc.code}]", hint=exc.hint)
    return QueryFacts(where, scans=tuple(scans(plan, rows)))


async def _sample(erp: Erp, entity: Entity, smallest: Key | None) -> SampleFacts:
    """Read some keys as the worker would."""
    if smallest is None:
        return SampleFacts(entity.name, 0, problem="its all_keys could not be looked at")
    keys: list[Key] = []
    started = time.perf_counter()
    try:
        keys = await erp.page(f"entity.{entity.name}.all_keys", entity.all_keys, smallest, SAMPLE)
        started = time.perf_counter()
        rows = await erp.read(f"entity.{entity.name}.sql", entity.sql, keys)
    except ErpsyncError as exc:
        return SampleFacts(entity.name, len(keys), problem=f"{exc.message} [{exc.code}]", hint=exc.hint)
    seconds = time.perf_counter() - started
    bad: Mapping[Key, ErpsyncError] = {}
    with contextlib.suppress(ErpsyncError):  # preflight has told of a transform that cannot be imported
        _, bad = mapper_of(entity).documents(rows)
    example = next((f"{key}: {exc.message}" for key, exc in bad.items()), "")
    return SampleFacts(entity.name, len(keys), len(rows), seconds, len(bad), example)

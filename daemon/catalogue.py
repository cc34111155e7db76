"""What the ERP's catalogue says of tables, their replica identity and what a query reads; asked by several rooms.

Invariant: catalogue and planner only. No statement here reads a row of the ERP, waits for a lock that a writer holds, or
changes anything; names leave quoted or as pairs, so that any name Postgres accepts can be used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from daemon.erp import Erp
from daemon.errors import ErpsyncError, SourceError

# one row a published table as the stream names it
TABLES_SQL = """
select p.schemaname || '.' || p.tablename as table, c.oid::bigint as oid, c.relreplident::text as identity,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) as has_key,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as has_index
from pg_publication_tables p
join pg_namespace n on n.nspname = p.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
where p.pubname = $1"""
# column lists and row filters, from PostgreSQL 15 on
LISTS_SQL = """
select n.nspname || '.' || c.relname as table, r.prattrs is not null as columns, r.prqual is not null as rows,
       c.relreplident = 'f' as full,
       array(select a.attname::text from pg_attribute a where a.attrelid = r.prrelid and a.attnum = any(r.prattrs)) as listed
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
where p.pubname = $1"""
# an index's INCLUDE columns are no part of the identity; a domain is what it rests on
COLUMNS_SQL = """
select a.attname::text as name, coalesce(b.typname, t.typname)::text as type,
       case when c.relreplident = 'f' then true
         else exists (
             select from pg_index i
             where i.indrelid = c.oid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])
               and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
         end as in_identity
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype and t.typtype = 'd'
where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped"""
PARENTS_SQL = """
with recursive tree(leaf, top) as (
    select inhrelid, inhparent from pg_inherits union all
    select t.leaf, i.inhparent from tree t join pg_inherits i on i.inhrelid = t.top)
select ln.nspname || '.' || l.relname as leaf, tn.nspname || '.' || r.relname as top
from tree join pg_class l on l.oid = leaf join pg_namespace ln on ln.oid = l.relnamespace
join pg_class r on r.oid = top join pg_namespace tn on tn.oid = r.relnamespace
where r.relkind = 'p' and not r.relispartition"""
# partitions whose updates fail because of the publication, or whose identity lacks a column that their parent's carries
LEAVES_SQL = """
select n.nspname || '.' || c.relname as table, a.attname::text as column,
       c.relreplident = 'f' or exists (
           select from pg_index i where i.indrelid = c.oid
             and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident and i.indisvalid
                 else false end) as usable,
       c.relreplident = 'f' or exists (
           select from pg_index i
           where i.indrelid = c.oid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])
             and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end) as carried
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where c.relkind <> 'p' and a.attnum > 0 and not a.attisdropped and n.nspname || '.' || c.relname = any($1::text[])
order by 1, a.attnum"""
_TABLE_SQL = """
select c.relkind::text as kind, c.relreplident::text as identity,
       c.relreplident = 'f' or exists (
           select from pg_index i where i.indrelid = c.oid
             and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident and i.indisvalid
                 else false end) as usable
from pg_class c where c.oid = to_regclass($1)"""
# what the current transaction has locked by parsing and planning: everything that the queries name, views and what is
# beneath them; a partition whose parent is there too needs no privilege of its own
_LOCKED_SQL = """
with locked as (
    select distinct c.oid, c.relkind, c.relnamespace, c.relname, c.relispartition, c.relrowsecurity, c.reloptions
    from pg_locks l join pg_class c on c.oid = l.relation
    where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and l.database = (select oid from pg_database where datname = current_database())
), beneath as (
    select d.refobjid as oid from locked v
    join pg_rewrite r on r.ev_class = v.oid
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
    where v.relkind = 'v' and d.refobjid <> v.oid
      and not coalesce(v.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
)
select n.nspname::text as schema, k.relname::text as name, k.relkind::text as kind, k.relrowsecurity as rows_hidden,
       has_table_privilege(k.oid, 'select') as may_read, has_schema_privilege(n.oid, 'usage') as may_enter,
       k.oid in (select oid from beneath) as beneath_view
from locked k join pg_namespace n on n.oid = k.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and not (k.relispartition and exists (
      select from pg_partition_ancestors(k.oid) a(relid) join locked p on p.oid = a.relid where p.oid <> k.oid))
order by 1, 2"""


def quote_name(name: str) -> str:
    """`Item` -> `"Item"`."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`it's` -> `'it''s'`, for a server with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"


def quote(table: str) -> str:
    """`public.item` -> `"public"."item"`."""
    return ".".join(quote_name(part) for part in table.split(".", 1))


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view that a query names."""

    schema: str
    name: str
    kind: str = "r"
    may_read: bool = True
    may_enter: bool = True
    rows_hidden: bool = False
    """Row-level security is on."""

    @property
    def quoted(self) -> str:
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Table:
    """A watched table as the catalogue has it."""

    name: str
    """`schema.table`."""
    kind: str
    """pg_class.relkind: r, p (partitioned), v, m, f."""
    identity: str
    """pg_class.relreplident: d, n, f, i."""
    usable: bool
    """Its identity names each row, so that publishing it breaks no UPDATE."""
    columns: frozenset[str]
    carried: frozenset[str]
    """Columns that the replica identity carries."""

    @property
    def quoted(self) -> str:
        return quote(self.name)


async def table(erp: Erp, name: str) -> Table | None:
    """A table by its `schema.table` name; None when there is none."""
    found = await erp.fetch(name, _TABLE_SQL, quote(name))
    if not found:
        return None
    columns = await erp.fetch(name, COLUMNS_SQL, quote(name))
    return Table(
        name=name,
        kind=found[0]["kind"],
        identity=found[0]["identity"],
        usable=found[0]["usable"],
        columns=frozenset(row["name"] for row in columns),
        carried=frozenset(row["name"] for row in columns if row["in_identity"]),
    )


async def relations(erp: Erp, queries: Iterable[str]) -> tuple[list[Relation], list[ErpsyncError]]:
    """Tables and views that these queries name, and why some could not be parsed.

    What lies beneath a view is left out where the view's owner answers for it, unless a query names it too.
    """
    problems: list[ErpsyncError] = []
    texts = list(queries)
    async with erp.connection("erp.dsn") as connection, connection.transaction(readonly=True):
        for sql in texts:
            try:
                async with connection.transaction():
                    await connection.prepare(sql)
            except asyncpg.PostgresError as exc:
                problems.append(SourceError(str(exc).splitlines()[0], code="E-SQL"))
                continue
            with contextlib.suppress(asyncpg.PostgresError):  # planned, what an inlined function reads is seen as well
                async with connection.transaction():
                    await explain(connection, sql)
        rows = await connection.fetch(_LOCKED_SQL)
    lowered = " ".join(texts).lower()
    return [
        Relation(row["schema"], row["name"], row["kind"], row["may_read"], row["may_enter"], row["rows_hidden"])
        for row in rows
        if not row["beneath_view"] or row["name"].lower() in lowered
    ], problems


async def explain(connection: asyncpg.Connection, sql: str) -> dict[str, Any]:
    """The plan of a query for values that are not known yet. Call it inside a transaction."""
    statement = await connection.prepare(sql)
    nulls = ", ".join("null" for _ in statement.get_parameters())
    await connection.execute("set local plan_cache_mode = force_generic_plan")
    await connection.execute(f"prepare erpsyncd_plan as {sql}")
    try:
        async with connection.transaction():  # so that a refusal leaves the caller's transaction usable
            rows = await connection.fetch(
                f"explain (verbose, format json) execute erpsyncd_plan{f'({nulls})' if nulls else ''}"
            )
    finally:
        await connection.execute("deallocate erpsyncd_plan")
    plan: dict[str, Any] = rows[0][0][0]["Plan"]
    return plan

"""Reads an ERP's catalogue for the proposer.

Invariant: catalogue only, in a read-only session; no row of the ERP is read and nothing is changed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from daemon.erp import Erp
from daemon.proposal.schema import Column, Reference, Schema, Table

_WHERE = """n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
  and has_schema_privilege(n.oid, 'usage')"""
_TABLES = f"""
select c.oid::bigint as oid, n.nspname || '.' || c.relname as name, quote_ident(n.nspname) as schema,
       quote_ident(c.relname) as quoted, greatest(c.reltuples, 0)::float8 as rows, c.relreplident::text as identity,
       n.nspname = any(current_schemas(false)) as visible
from pg_class c join pg_namespace n on n.oid = c.relnamespace where {_WHERE} order by 2"""
_COLUMNS = f"""
select c.oid::bigint as oid, a.attname::text as name, quote_ident(a.attname) as quoted, b.typname::text as type,
       b.typtype = 'e' as label
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
where {_WHERE} order by c.oid, a.attnum"""
_KEYS = f"""
select c.oid::bigint as oid, k.contype::text as kind, f.relname is not null as known,
       fn.nspname || '.' || f.relname as target,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(num, at)
             join pg_attribute a on a.attrelid = c.oid and a.attnum = u.num order by u.at) as columns,
       array(select a.attname::text from unnest(k.confkey) with ordinality u(num, at)
             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num order by u.at) as targets
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
left join pg_class f on f.oid = k.confrelid left join pg_namespace fn on fn.oid = f.relnamespace
where {_WHERE} and k.contype in ('p', 'f') order by c.oid, k.contype desc, k.conname"""
_LEADING = f"""
select distinct c.oid::bigint as oid, a.attname::text as name
from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
where {_WHERE} and i.indisvalid and i.indpred is null"""

_VIEWS = """
select distinct n.nspname || '.' || c.relname as name, bn.nspname || '.' || b.relname as base
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_rewrite w on w.ev_class = c.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
join pg_class b on b.oid = d.refobjid and b.oid <> c.oid join pg_namespace bn on bn.oid = b.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and c.relkind in ('v', 'm')
  and has_schema_privilege(n.oid, 'usage') order by 1, 2"""


async def survey(erp: Erp) -> Schema:
    """All tables that this login may enter. Raises SourceLost or SourceError."""
    place = "erp.dsn"
    columns: dict[int, dict[str, Column]] = defaultdict(dict)
    for row in await erp.fetch(place, _COLUMNS):
        columns[row["oid"]][row["name"]] = Column(row["name"], row["quoted"], row["type"], row["label"])
    primary: dict[int, tuple[str, ...]] = {}
    references: dict[int, list[Reference]] = defaultdict(list)
    for row in await erp.fetch(place, _KEYS):
        if row["kind"] == "p":
            primary[row["oid"]] = tuple(row["columns"])
        elif len(row["columns"]) == 1 and row["known"]:
            references[row["oid"]].append(Reference(row["columns"][0], row["target"], row["targets"][0]))
    leading: dict[int, set[str]] = defaultdict(set)
    for row in await erp.fetch(place, _LEADING):
        leading[row["oid"]].add(row["name"])
    tables: dict[str, Table] = {}
    for row in await erp.fetch(place, _TABLES):
        oid: int = row["oid"]
        tables[row["name"]] = Table(
            name=row["name"],
            quoted=_written(row),
            columns=columns[oid],
            primary=primary.get(oid, ()),
            references=tuple(references[oid]),
            leading=frozenset(leading[oid]),
            rows=row["rows"],
            identity=row["identity"],
        )
    views: dict[str, list[str]] = defaultdict(list)
    for row in await erp.fetch(place, _VIEWS):
        views[row["name"]].append(row["base"])
    return Schema(tables, views)


def _written(row: Any) -> str:
    quoted: str = row["quoted"]
    return quoted if row["visible"] else f"{row['schema']}.{quoted}"

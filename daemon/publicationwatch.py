"""Watch the publication and the watched tables from beside the stream, which says nothing when a table leaves it.

Invariant: an entity whose changes cannot all be seen is stopped with the reason, the others go on; when they can be seen
again, or a table is not what it was at the last look (over restarts too), everything of its entities is compared, since
changes passed unseen meanwhile. Statements on the catalogue alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon import log
from daemon.catalogue import PARENTS_SQL, quote, quote_name
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.ingest import Ingest
from daemon.keytypes import WATCHED
from daemon.model import Micros
from daemon.routing import Router, Rule
from daemon.state import StateFile
from daemon.stops import column_cause

_EVERY_S = 4.0
_WHERE = "erp.publication"
_KINDS = ("insert", "update", "delete", "truncate")
_PUBLICATION_SQL = "select to_jsonb(p) as row from pg_publication p where pubname = $1"
# what the publication holds by name, with the filter and the list of columns where the server knows such
_MEMBERS_SQL = """
select n.nspname || '.' || c.relname as table, r.oid::text || '.' || c.oid::text as member,
       to_jsonb(r) ->> 'prqual' as filtered,
       array(select jsonb_array_elements_text(nullif(to_jsonb(r) -> 'prattrs', 'null'))::int) as listed
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
where p.pubname = $1"""
_PUBLISHED_SQL = "select schemaname || '.' || tablename as table from pg_publication_tables where pubname = $1"
_SHAPE_SQL = """
select n.nspname || '.' || c.relname as table, c.oid::text as oid, c.relreplident::text as identity, a.attnum,
       a.attname::text as column, a.atttypid::text || '.' || a.atttypmod as kind, t.typname::text as type,
       pg_relation_filenode(c.oid) as file,
       c.relreplident = 'f' or exists (
           select from pg_index i
           where i.indrelid = c.oid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])
             and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end) as carried
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
where a.attnum > 0 and not a.attisdropped and n.nspname || '.' || c.relname = any($1::text[])
order by 1, a.attnum"""


@dataclass(slots=True)
class Shape:
    """A watched table at one look."""

    columns: dict[str, Any] = field(default_factory=dict)
    """Name -> row of the catalogue."""
    members: set[str] = field(default_factory=set)
    """Its places in the publication: its own or those of its partitions. New ones when it was put in again."""
    published: bool = False
    filtered: bool = False
    listed: frozenset[int] | None = None
    """Numbers of the columns that are published; None: all."""
    leaves: set[str] = field(default_factory=set)
    uncarried: set[str] = field(default_factory=set)
    """Columns that the replica identity of one of its partitions does not carry."""

    def signature(self, publication: str) -> str:
        """Another one when rows of the table may have changed, come or gone without a word in the stream."""
        parts = [publication, *sorted(self.members), *sorted(self.leaves)]
        for name, row in self.columns.items():
            parts.append(f"{row['oid']} {row['identity']} {row['attnum']} {name} {row['kind']} {row['carried']}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why changes of a table cannot all be seen."""

    reason: str
    code: str


def faults_of(table: str, shape: Shape, publication: str, kinds: Iterable[str]) -> Fault | None:
    """What is wrong with a table as a whole. `kinds`: what the publication tells of."""
    missing = sorted(set(_KINDS) - set(kinds))
    if not shape.columns:
        return Fault(f"there is no table {table} any more. Correct the watch, then reload.", "E-SCHEMA")
    if not shape.published:
        remedy = f"ALTER PUBLICATION {quote_name(publication)} ADD TABLE {quote(table)};"
        return Fault(f"not in the publication: {table}. {remedy}", "E-PUBLICATION-TABLE")
    if missing:
        remedy = f"ALTER PUBLICATION {quote_name(publication)} SET (publish = 'insert, update, delete, truncate');"
        return Fault(f"publication {publication} does not tell of {', '.join(missing)}. {remedy}", "E-PUBLICATION")
    if shape.filtered:
        return Fault(
            f"{table} has a row filter: rows that leave it are missed. Publish it without WHERE.", "E-ROW-FILTER"
        )
    if any(row["carried"] and name in shape.uncarried for name, row in shape.columns.items()):
        reason = f"the replica identity of a partition of {table} tells less than that of the table"
        return Fault(f"{reason}. Give both the same (ALTER TABLE ... REPLICA IDENTITY ...).", "E-IDENTITY")
    if shape.listed is not None and any(row["identity"] == "f" for row in shape.columns.values()):
        reason = f"{table} has a column list and REPLICA IDENTITY FULL: the ERP's own updates of it fail"
        return Fault(f"{reason}. Publish the whole table.", "E-COLUMN-LIST")
    return None


def fault_of_column(rule: Rule, shape: Shape) -> Fault | None:
    """What is wrong with a watched column of a table that is there."""
    row = shape.columns.get(rule.column)
    if row is None:
        return Fault(f"{rule.table} has no column {rule.column} any more ({rule.where})", "E-SCHEMA")
    if shape.listed is not None and row["attnum"] not in shape.listed:
        return Fault(f"{rule.table}.{rule.column} is not published. Publish the whole table.", "E-COLUMN-LIST")
    if rule.key_type and row["type"] not in WATCHED[rule.key_type]:
        reason = f"{rule.table}.{rule.column} is {row['type']} now, the key_type is {rule.key_type} ({rule.where})"
        return Fault(reason, "E-KEY-TYPE")
    return None


class PublicationWatch:
    """Compares what is published with the watches again and again."""

    def __init__(
        self,
        publication: str,
        rules: Iterable[Rule],
        router: Router,
        ingest: Ingest,
        erp: Erp,
        state: StateFile,
        unseen: Callable[[str, Iterable[str], str, Micros | None], None],
        index: Callable[[Iterable[tuple[str, str]]], None],
    ) -> None:
        self._publication = publication
        self._router = router
        self._ingest = ingest
        self._erp = erp
        self._unseen = unseen
        self._index = index
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.table, []).append(rule)
        self._state = state
        self._known: dict[str, str] = dict(state.query("select relation, member from published"))
        self._indexed: set[tuple[str, str]] | None = None
        self._heard: Micros | None = None
        """Time of the newest commit that was durable when this look began."""
        self._note_heard()
        self._sound = dict.fromkeys(self._rules, self._heard)
        """The same of the last look at which all changes of a table could be seen."""

    def _note_heard(self) -> None:
        ((at,),) = self._state.query("select commit_at from source")
        self._heard = at or self._heard

    async def run(self) -> None:
        """Look for the life of the daemon; a lost ERP is the source's to tell."""
        while True:
            try:
                await self._look()
            except ErpsyncError as exc:
                log.debug("schema_changed", str(exc))
            await asyncio.sleep(_EVERY_S)

    async def _look(self) -> None:
        self._note_heard()
        parents = {row["leaf"]: row["top"] for row in await self._erp.fetch(_WHERE, PARENTS_SQL)}
        rows = await self._erp.fetch(_WHERE, _PUBLICATION_SQL, self._publication)
        publication: dict[str, Any] = rows[0]["row"] if rows else {}
        kinds = [kind for kind in _KINDS if publication.get(f"pub{kind}")]
        about = f"{sorted(publication.items())}"
        shapes = await self._shapes(parents)
        self._take_partitions(parents)
        self._take_indexed(shapes)
        for table, shape in shapes.items():
            self._judge(table, shape, faults_of(table, shape, self._publication, kinds), shape.signature(about))

    async def _shapes(self, parents: Mapping[str, str]) -> dict[str, Shape]:
        shapes = {table: Shape() for table in sorted(self._rules)}
        for row in await self._erp.fetch(_WHERE, _SHAPE_SQL, [*shapes, *parents]):
            if row["table"] in shapes:
                shapes[row["table"]].columns[row["column"]] = row
            top = shapes.get(parents.get(row["table"], ""))
            if top is not None:
                # a partition that is truncated gets another file, and nothing in a stream that names its parent
                top.leaves.add(f"{row['table']} {row['oid']} {row['identity']} {row['file']}")
                if not row["carried"]:
                    top.uncarried.add(row["column"])
        for row in await self._erp.fetch(_WHERE, _PUBLISHED_SQL, self._publication):
            shape = shapes.get(parents.get(row["table"], row["table"]))
            if shape is not None:
                shape.published = True
        for row in await self._erp.fetch(_WHERE, _MEMBERS_SQL, self._publication):
            shape = shapes.get(parents.get(row["table"], row["table"]))
            if shape is not None:
                shape.members.add(row["member"])
                shape.filtered |= row["filtered"] is not None
                if row["listed"] and row["table"] in shapes:  # a partition numbers its columns for itself
                    shape.listed = frozenset(row["listed"])
        return shapes

    def _take_partitions(self, parents: dict[str, str]) -> None:
        """Route the rows of partitions that came since the last look."""
        if parents != self._router.parents:
            self._router.parents = parents
            self._ingest.replan()

    def _take_indexed(self, shapes: Mapping[str, Shape]) -> None:
        """The replica identity decides which columns need the row index."""
        indexed = {
            (table, rule.column)
            for table, shape in shapes.items()
            for rule in self._rules[table]
            if rule.column in shape.columns and not shape.columns[rule.column]["carried"]
        }
        if self._indexed is not None and indexed != self._indexed:
            self._index(indexed)
            self._ingest.replan()
        self._indexed = indexed

    def _judge(self, table: str, shape: Shape, fault: Fault | None, signature: str) -> None:
        rules = self._rules[table]
        stops = self._ingest.progress.stopped
        back: set[str] = set()
        broken = fault is not None
        for entity in sorted({rule.entity for rule in rules}):
            if fault is not None:
                stops.stop(entity, f"table {table}", fault.reason, fault.code)
            elif stops.resume(entity, f"table {table}", f"{table} is published again"):
                back.add(entity)
        for rule in rules if shape.columns else ():
            cause = column_cause(table, rule.column)
            wrong = fault_of_column(rule, shape)
            if wrong is not None:
                broken = True
                stops.stop(rule.entity, cause, wrong.reason, wrong.code)
            elif stops.resume(rule.entity, cause, f"{table}.{rule.column} can be read again"):
                back.add(rule.entity)
        known = self._known.get(table)
        if broken:
            signature = ""
        elif known is not None and known != signature:
            back.update(rule.entity for rule in rules)
        if back and not broken:
            reason = f"{table} is not what it was: its columns, its partitions or its place in the publication changed"
            log.warning("schema_changed", reason)
            self._unseen(table, sorted(back), reason, self._sound[table])
        if not broken:
            self._sound[table] = self._heard
        if known != signature:
            self._known[table] = signature
            self._state.append("insert or replace into published (relation, member) values (?, ?)", table, signature)

"""Watch the publication from beside the stream: Postgres says nothing when a watched table leaves it.

Invariant: an entity with a watched table outside the publication is stopped with its reason, the others go on; when the
table is back (or new partitions came) everything of that entity is compared, since its changes passed unseen meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from daemon import log
from daemon.catalogue import PARENTS_SQL, TABLES_SQL, quote, quote_name
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.ingest import Ingest
from daemon.routing import Router, Rule
from daemon.state import StateFile

_EVERY_S = 5.0
_MEMBERS_SQL = """
select n.nspname || '.' || c.relname as table, r.oid::text || '.' || c.oid::text as member
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
where p.pubname = $1"""
_FIRST_WORDS = "not in the publication: "


class PublicationWatch:
    """Compares the publication with the watches again and again."""

    def __init__(
        self,
        publication: str,
        rules: Iterable[Rule],
        router: Router,
        ingest: Ingest,
        erp: Erp,
        state: StateFile,
        compare: Callable[[str, Iterable[str], str], None],
    ) -> None:
        self._publication = publication
        self._router = router
        self._ingest = ingest
        self._erp = erp
        self._compare = compare
        self._entities: dict[str, set[str]] = {}
        for rule in rules:
            self._entities.setdefault(rule.table, set()).add(rule.entity)
        self._state = state
        self._known = dict(state.query("select relation, member from published"))

    async def run(self) -> None:
        """Look for the life of the daemon; a lost ERP is the source's to tell."""
        while True:
            try:
                await self._look()
            except ErpsyncError as exc:
                log.debug("schema_changed", str(exc))
            await asyncio.sleep(_EVERY_S)

    async def _look(self) -> None:
        where = "erp.publication"
        parents = {row["leaf"]: row["top"] for row in await self._erp.fetch(where, PARENTS_SQL)}
        members: dict[str, set[str]] = {}
        for row in await self._erp.fetch(where, TABLES_SQL, self._publication):
            members.setdefault(parents.get(row["table"], row["table"]), set()).add(f"t{row['oid']}")
        for row in await self._erp.fetch(where, _MEMBERS_SQL, self._publication):
            members.setdefault(parents.get(row["table"], row["table"]), set()).add(f"m{row['member']}")
        for table in sorted(self._entities):
            # a member's number is new when a table was taken out and put in again, or made anew
            own = {name for name in members.get(table, set()) if name[0] == "m"}
            whole = any(name[0] == "t" for name in members.get(table, set()))
            self._compare_membership(table, " ".join(sorted(own)) or "whole schema" if whole else "")
        self._attached(parents)

    def _compare_membership(self, table: str, member: str) -> None:
        known = self._known.get(table)
        if not member:
            if not self._stopped(table):
                self._left(table)
        elif self._stopped(table):
            self._came_back(table)
        elif known is not None and known != member:
            log.warning("schema_changed", f"{table} left the publication for a while, or was made anew")
            self._compare(table, sorted(self._entities[table]), f"{table} was out of the publication")
        if known != member:
            self._known[table] = member
            self._state.append("insert or replace into published (relation, member) values (?, ?)", table, member)

    def _stopped(self, table: str) -> bool:
        words = f"{_FIRST_WORDS}{table}."
        return any(self._ingest.progress.stopped.get(e, "").startswith(words) for e in self._entities[table])

    def _attached(self, parents: dict[str, str]) -> None:
        """Take partitions that came or went since the last look; rows of a new one passed unrouted until now."""
        before = self._router.parents
        if parents == before:
            return
        self._router.parents = parents
        self._ingest.replan()
        changed = {table for leaf, table in parents.items() if before.get(leaf) != table}
        changed |= {table for leaf, table in before.items() if leaf not in parents}
        for table in sorted(changed & self._entities.keys()):
            reason = f"partitions of {table} were attached or detached"
            log.warning("schema_changed", reason)
            self._compare(table, sorted(self._entities[table]), reason)

    def _left(self, table: str) -> None:
        remedy = f"ALTER PUBLICATION {quote_name(self._publication)} ADD TABLE {quote(table)};"
        reason = f"{_FIRST_WORDS}{table}. {remedy}"
        log.error("schema_changed", f'{table} is not in publication "{self._publication}" any more. {remedy}')
        for entity in sorted(self._entities[table]):
            self._ingest.progress.stopped[entity] = reason
            log.error("entity_stopped", reason, entity=entity, code="E-PUBLICATION-TABLE")

    def _came_back(self, table: str) -> None:
        for entity in sorted(self._entities[table]):
            if self._ingest.progress.stopped.get(entity, "").startswith(f"{_FIRST_WORDS}{table}."):
                del self._ingest.progress.stopped[entity]
            log.info("entity_resumed", f"{table} is published again", entity=entity)
        self._compare(table, sorted(self._entities[table]), f"{table} was out of the publication")

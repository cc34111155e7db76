"""The indexer: fills the row index from the tables themselves, once, before the first load begins.

Invariant: until a table's index is complete, rows whose former value it could not tell are owed a comparison of their
entities, and get it as soon as the index is complete; so does everything after an interrupted filling or a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon import log
from daemon.catalogue import quote, quote_name
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.rowindex import SEPARATOR, RowIndex

_PAGE = 10_000
_RETRY_S = 2.0
_IDENTITY_SQL = """
select a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid
join pg_index i on i.indrelid = c.oid and (case c.relreplident when 'i' then i.indisreplident else i.indisprimary end)
where c.oid = to_regclass($1) and a.attnum = any(i.indkey) order by a.attnum"""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A watched column that the replica identity does not carry, and the entities that hang on it."""

    table: str
    column: str
    entities: frozenset[str]

    @property
    def relation(self) -> str:
        return f"{self.table}.{self.column}"


class Indexer:
    """Fills what is not complete."""

    def __init__(self, index: RowIndex, erp: Erp, compare: Callable[[str, str], None]) -> None:
        self._index = index
        self._erp = erp
        self._compare = compare
        self._wanted: list[Indexed] = []
        self._start = asyncio.Event()
        self._filled = asyncio.Event()

    def want(self, columns: Iterable[Indexed]) -> None:
        """What preflight found to need an index."""
        self._wanted = list(columns)
        self._index.wanted = frozenset(column.relation for column in self._wanted)
        self._start.set()

    def again(self, table: str | None = None) -> None:
        """What the index says of a table (of all, after a gap) may be outdated."""
        self._index.forget(column.relation for column in self._wanted if table in (None, column.table))
        self._start.set()

    async def run(self) -> None:
        """Fill whenever asked; for the life of the daemon."""
        while True:
            await self._start.wait()
            self._start.clear()
            failed = False
            for column in self._wanted:
                if self._index.is_complete(column.relation):
                    continue
                try:
                    await self._fill(column)
                except ErpsyncError as exc:
                    failed = True
                    log.debug("backfill", f"row index of {column.relation}: {exc}")
            self._filled.set()
            self._filled = asyncio.Event()
            if failed:
                await asyncio.sleep(_RETRY_S)
                self._start.set()

    async def of(self, entity: str) -> None:
        """Wait until the columns that an entity hangs on are filled; those of others may be broken."""
        while any(entity in c.entities and not self._index.is_complete(c.relation) for c in self._wanted):
            await self._filled.wait()

    async def _fill(self, column: Indexed) -> None:
        relation = column.relation
        owed = self._index.begin(relation)
        where = f"row index of {relation}"
        identity = [row[0] for row in await self._erp.fetch(where, _IDENTITY_SQL, quote(column.table))]
        names = ", ".join(f"{quote_name(name)}::text" for name in identity)
        sql = (
            f"select concat_ws(chr({ord(SEPARATOR)}), {names}), {quote_name(column.column)}::text "  # noqa: S608 -- quoted
            f"from {quote(column.table)}"
        )
        count = 0
        async with self._erp.connection(where) as connection, connection.transaction():
            page = []
            async for row in connection.cursor(sql, prefetch=_PAGE):
                page.append((row[0], row[1]))
                if len(page) == _PAGE:
                    count += len(page)
                    self._index.fill(relation, page)
                    page = []
                    await self._index.room()
            count += len(page)
            self._index.fill(relation, page)
        owed = self._index.complete(relation) or owed
        log.info("backfill", f"row index of {relation}: {count} rows")
        if owed:
            for entity in sorted(column.entities):
                self._compare(entity, f"{relation} changed while its row index was being filled")

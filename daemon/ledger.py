"""The ledger: what each store acknowledged last, document by document.

Invariant: a lookup always answers with the newest acknowledgement recorded in this process or on disk; an acknowledgement
that is not on disk yet is answered from memory. Removed documents stay as tombstones, so versions of an id keep growing.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping

from daemon.model import Acked, Key, Micros
from daemon.state import StateFile, json_list

CACHE = 20_000
CACHE_BYTES = 64 << 20
"""Most bytes of documents in memory, beside those that the disk does not have yet."""

_ACK = """insert into acked (queue, key, id, version, body, at)
select ?1, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), ?2 from json_each(?3) where true
on conflict do update set version = excluded.version, body = excluded.body, at = excluded.at"""
_ACK_ONE = """insert into acked (queue, key, id, version, body, at) values (?, ?, ?, ?, ?, ?)
on conflict do update set version = excluded.version, body = excluded.body, at = excluded.at"""
_AGAIN = "update acked set version = ?, at = ? where queue = ? and key = ? and id = ?"
_LOOKUP = """select key, id, version, body, at from acked
where queue = ? and key in (select value from json_each(?))"""
_OWNERS = """select id, key from acked
where queue = ? and id in (select value from json_each(?)) and body is not null"""
_KEYS = "select distinct key from acked where queue = ? and key > ? and body is not null order by key limit ?"

_BETWEEN = """select id, key, body is not null from acked
where queue = ?1 and id > ?2 and (?3 is null or id <= ?3) order by id limit ?4"""
_KNOWN = "select id from acked where queue = ? and id in (select value from json_each(?))"

HEAVY = 8_192
"""A document of so many bytes is written by itself, and leaves memory when it is on disk."""

KeyDocuments = dict[str, Acked]


class Ledger:
    """Acknowledged documents of all queues over one state file; queues are named by their number."""

    def __init__(self, state: StateFile, *, cache: int = CACHE) -> None:
        self._state = state
        self._size = cache
        self._cache: OrderedDict[tuple[int, Key], KeyDocuments] = OrderedDict()
        self._weights: dict[tuple[int, Key], int] = {}
        self._weight = 0
        self._unflushed: deque[tuple[int, tuple[int, Key]]] = deque()
        self._pinned: dict[tuple[int, Key], int] = {}
        self._heavy: set[tuple[int, Key]] = set()
        self._asking = 0
        state.on_flush(self._unpin)

    async def lookup(self, queue: int, keys: Collection[Key], *, keep: bool = True) -> dict[Key, KeyDocuments]:
        """Acknowledged documents by key and id, tombstones included; a key without any is an empty dict. `keep` is False
        for a reader that goes through all keys and must not push the hot ones out of memory."""
        found: dict[Key, KeyDocuments] = {}
        missing: list[Key] = []
        cache = self._cache
        for key in keys:
            documents = cache.get((queue, key))
            if documents is None:
                missing.append(key)
            else:
                cache.move_to_end((queue, key))
                found[key] = documents
        if missing:
            wanted = json_list(missing)

            def ask(connection: sqlite3.Connection) -> list[tuple[Key, str, int, bytes | None, Micros]]:
                return connection.execute(_LOOKUP, (queue, wanted)).fetchall()

            self._asking += 1
            try:
                rows = await self._state.read(ask)
            finally:
                self._asking -= 1
            for key in missing:
                found[key] = {}
            for key, id_, version, body, at in rows:
                found[key][id_] = Acked(id_, version, body.encode() if isinstance(body, str) else body, at)
            for key in missing:  # what was recorded while the disk was being asked is newer than its answer
                found[key] = cache.get((queue, key), found[key])
            if keep and len(missing) < self._size // 4:  # a backfill page must not push the hot keys out
                for key in missing:
                    self._keep((queue, key), found[key])
        self._shrink()
        return found

    def record(
        self,
        queue: int,
        known: Mapping[Key, KeyDocuments],
        acks: Mapping[Key, Iterable[tuple[str, int, bytes | None]]],
        at: Micros,
    ) -> int:
        """Remember acknowledged documents: (id, version, body) by key, `body` None for a removed one. `known` is what
        `lookup` gave for these keys; it is brought up to date and kept until the disk has it. Returns the number of the
        state file's operation with which it does, 0 where there is nothing to remember."""
        rows: list[tuple[Key, str, int, str | None]] = []
        touched: list[Key] = []
        append = self._state.append
        for key, documents in acks.items():
            mine, said = known[key], list(documents)
            for id_, version, body in said:
                last, mine[id_] = mine.get(id_), Acked(id_, version, body, at)
                if body is None or len(body) < HEAVY:
                    rows.append((key, id_, version, body.decode() if body is not None else None))
                elif last is not None and last.body == body:  # the disk has its bytes, or gets them before this
                    append(_AGAIN, version, at, queue, key, id_)
                else:
                    append(_ACK_ONE, queue, key, id_, version, body.decode(), at)
            if said:
                self._keep((queue, key), mine)
                touched.append(key)
        if not touched:
            return 0
        if rows:
            append(_ACK, queue, at, json_list(rows))
        for key in touched:
            name = queue, key
            self._unflushed.append((self._state.appended, name))
            self._pinned[name] = self._pinned.get(name, 0) + 1
        return self._state.appended

    async def owners(self, queue: int, ids: Collection[str]) -> dict[str, set[Key]]:
        """Which keys have these documents in the store at present."""
        wanted = json_list(ids)

        def ask(connection: sqlite3.Connection) -> list[tuple[str, Key]]:
            return connection.execute(_OWNERS, (queue, wanted)).fetchall()

        newer = self._not_on_disk(queue)  # may be there by the time of the answer, and yet not be in it
        found: dict[str, set[Key]] = {}
        for id_, key in await self._state.read(ask):
            found.setdefault(id_, set()).add(key)
        for key, documents in {**newer, **self._not_on_disk(queue)}.items():
            for id_ in documents.keys() & set(ids):
                shown = documents[id_].body is not None
                (found.setdefault(id_, set()).add if shown else found.setdefault(id_, set()).discard)(key)
        return found

    def _not_on_disk(self, queue: int) -> dict[Key, KeyDocuments]:
        return {key: self._cache[number, key] for number, key in self._pinned if number == queue}

    async def keys(self, queue: int, after: Key, limit: int) -> list[Key]:
        """A page of the keys with documents in the store, in key order."""

        def ask(connection: sqlite3.Connection) -> list[Key]:
            return [key for (key,) in connection.execute(_KEYS, (queue, after, limit))]

        await self._state.settle()
        return await self._state.read(ask)

    async def between(self, queue: int, low: str, high: str | None, limit: int) -> tuple[dict[str, Key], str | None]:
        """Ids above `low` up to and with `high` (None: to the end) by code point, tombstones included, each with the key
        that shows it or showed it last; and the id up to which they are told, None when these are all."""

        def ask(connection: sqlite3.Connection) -> list[tuple[str, Key, int]]:
            return connection.execute(_BETWEEN, (queue, low, high, limit)).fetchall()

        await self._state.settle()
        rows = await self._state.read(ask)
        upto = None
        if len(rows) >= limit:  # more of the last id's rows may follow
            whole = [row for row in rows if row[0] != rows[-1][0]]
            rows = whole or rows
            upto = rows[-1][0]
        found: dict[str, Key] = {}
        for id_, key, shown in rows:
            if shown or id_ not in found:
                found[id_] = key
        return found, upto

    async def unknown(self, queue: int, ids: Collection[str]) -> list[str]:
        """Those of these ids that were never acknowledged."""
        wanted = json_list(ids)

        def ask(connection: sqlite3.Connection) -> set[str]:
            return {id_ for (id_,) in connection.execute(_KNOWN, (queue, wanted))}

        await self._state.settle()
        known = await self._state.read(ask)
        return [id_ for id_ in ids if id_ not in known]

    async def count(self, queue: int) -> int:
        """Documents acknowledged and not removed."""

        def ask(connection: sqlite3.Connection) -> int:
            sql = "select count(*) from acked where queue = ? and body is not null"
            (number,) = connection.execute(sql, (queue,)).fetchone()
            return int(number)

        return await self._state.read(ask)

    async def settled(self) -> None:
        """Wait until everything recorded so far is on disk."""
        await self._state.settle()

    def _unpin(self) -> None:
        flushed = self._state.flushed
        while self._unflushed and self._unflushed[0][0] <= flushed:
            _, name = self._unflushed.popleft()
            left = self._pinned[name] - 1
            if left:
                self._pinned[name] = left
            else:
                del self._pinned[name]
        if self._heavy:
            self._shrink()

    def _shrink(self) -> None:
        """Let memory go; not while the disk is asked, since what it answers then may be older than what memory has."""
        cache = self._cache
        if self._asking:
            return
        for name in [name for name in self._heavy if name not in self._pinned]:
            self._heavy.discard(name)
            if cache.pop(name, None) is not None:
                self._weight -= self._weights.pop(name, 0)
        for _ in range(len(cache)):
            if len(cache) <= self._size and self._weight <= CACHE_BYTES:
                return
            name, documents = cache.popitem(last=False)
            if name in self._pinned:
                cache[name] = documents
            else:
                self._weight -= self._weights.pop(name, 0)

    def _keep(self, name: tuple[int, Key], documents: KeyDocuments) -> None:
        self._cache[name] = documents
        weight = sum(len(acked.body) for acked in documents.values() if acked.body is not None)
        self._weight += weight - self._weights.get(name, 0)
        self._weights[name] = weight
        if weight >= HEAVY:
            self._heavy.add(name)

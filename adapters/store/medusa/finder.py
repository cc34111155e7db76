"""Customers and orders by the name that the ERP has for them: an id, a field that can be asked for, or a metadata key.

Invariant: what is remembered of a name is proved by reading the record; a name that two records have is nobody's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from adapters.store.loan import Memory
from adapters.store.medusa.api import PAGE, Api, Record
from adapters.store.medusa.values import Refused

ORDERS: Final = 200
"""Orders of a page: Medusa adds all their items."""
_METADATA: Final = "metadata:"
_NUMBER: Final = "display_id"
"""Medusa can sort by it, but neither ask for one nor find it among other numbers."""
_ASKED_FOR: Final = ("id", "email", "company_name")
"""Fields by which Medusa gives a list of records; all others are learnt by reading."""


class Finder:
    """The records of one list, such as customers."""

    def __init__(self, api: Api, memory: Memory, *, path: str, fields: str, by: str, prefix: str = "") -> None:
        self._api, self._memory = api, memory
        self._path, self._fields, self._by, self._prefix = path, f"id,metadata,{fields}", by, prefix
        self._kind = f"{path} {by}"
        self._size = ORDERS if path == "orders" else PAGE

    async def find(self, names: Iterable[str]) -> dict[str, list[Record]]:
        """The records of each name, as they are now."""
        names = set(names)
        bare = {name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)}
        found: dict[str, list[Record]] = {}
        for record in await (self._asked(bare) if self._by in _ASKED_FOR else self._learnt(bare)):
            found.setdefault(self.name(record), []).append(record)
        wanted = {name.lower() if self._by == "email" else name for name in names}
        return {name: records for name, records in found.items() if name in wanted}

    async def _asked(self, names: set[str]) -> list[Record]:
        # an address of an account is in lower case or as its owner wrote it
        spelt = names | {name.lower() for name in names} if self._by == "email" else names
        return await self._api.named(self._path, self._path, self._fields, self._by, spelt)

    async def _learnt(self, names: set[str]) -> list[Record]:
        known = await self._memory.get(self._kind, names)
        records = await self._api.named(self._path, self._path, self._fields, "id", known.values())
        missing = names - {self._value(record) for record in records}
        self._memory.forget(self._kind, missing)
        have = {record["id"] for record in records}
        more = [record async for record in self._missing(missing)] if missing else []
        values = Counter(map(self._value, more))  # what two records share is never remembered as one's
        self._memory.forget(self._kind, [name for name, count in values.items() if count > 1])
        self._memory.put(
            self._kind, {name: each["id"] for each in more if values[name := self._value(each)] == 1 and name}
        )
        return records + [record for record in more if record["id"] not in have]

    async def _missing(self, names: set[str]) -> AsyncIterator[Record]:
        """All records; by number the newest ones, back to the oldest that is asked for."""
        oldest = min(map(int, filter(str.isdecimal, names)), default=0)
        order = f"-{self._by}" if self._by == _NUMBER else "id"
        if self._by == _NUMBER and not oldest:
            return
        async for page in self._api.pages(self._path, self._path, self._fields, order, self._size):
            for record in page:
                yield record
            if self._by == _NUMBER and _number(page[-1]) <= oldest:
                return

    async def everything(self) -> AsyncIterator[Record]:
        """All records."""
        async for page in self._api.pages(self._path, self._path, self._fields, size=self._size):
            for record in page:
                yield record

    def _value(self, record: Record) -> str:
        if self._by.startswith(_METADATA):
            value = metadata(record).get(self._by.removeprefix(_METADATA))
        else:
            value = record.get(self._by)
        return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""

    def name(self, record: Record) -> str:
        """The ERP's name of a record, an address in lower case; empty for none."""
        value = self._value(record)
        return f"{self._prefix}{value.lower() if self._by == 'email' else value}" if value else ""

    def only(self, name: str, found: Mapping[str, list[Record]]) -> Record:
        """The one record of a name. Raises Refused."""
        thing = self._path.removesuffix("s")
        records = found.get(name.lower() if self._by == "email" else name, [])
        accounts = [record for record in records if record.get("has_account") is True]
        if self._by == "email" and len(accounts) == 1:
            return accounts[0]  # beside it Medusa keeps a record of orders made with the same address without a login
        if not records:
            raise Refused(f"the shop has no {thing} with {self._by} {name}")
        if len(records) > 1:
            ids = ", ".join(sorted(str(record["id"]) for record in records)[:5])
            raise Refused(
                f"{len(records)} {self._path} of the shop have {self._by} {name} (ids {ids}); which one is meant?"
            )
        return records[0]


def _number(record: Record) -> int:
    value = record.get(_NUMBER)
    return value if isinstance(value, int) else 0


def metadata(record: Record) -> Mapping[str, Any]:
    """The metadata of a record."""
    value = record.get("metadata")
    return value if isinstance(value, Mapping) else {}

"""Calls of Magento's REST API: searches page by page, writes, and errors whose words decide.

Invariant: a search counts as one only with `items` and `total_count`; a write that MySQL ended for another's sake (a deadlock,
a lock wait) is E-STORE-BUSY and never the document's fault, whatever status it came with.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.store import answers
from adapters.store.lookups import in_parts
from adapters.store.transport import Transport
from daemon.errors import Retry, StoreError

PAGE: Final = 300
QUERY_BYTES: Final = 5000
GONE: Final = re.compile(
    r"no such entity|doesn't exist|does not exist|no image with|bulk uuid \S+ not exist", re.IGNORECASE
)
"""How Magento says that what was named is not there, whatever the status."""
BUSY: Final = re.compile(r"deadlock|lock wait timeout|sqlstate\[40001\]|\b(1213|1205)\b", re.IGNORECASE)

Record = Mapping[str, Any]


class Refusal(Exception):
    """The document cannot be shown in this shop; the text says why."""


class Api:
    """The REST API behind one transport."""

    def __init__(self, transport: Transport, scope: str) -> None:
        self.transport = transport
        self._root = f"rest/{quote(scope, safe='')}/V1/"
        self._later = f"rest/{quote(scope, safe='')}/async/bulk/V1/"

    async def write(self, path: str, body: Mapping[str, Any], method: str = "POST", *, adds: bool = False) -> Any:
        """The answered JSON. `adds`: made twice it would add twice, so it is never repeated unasked. Raises StoreError."""
        return await self._sent(method, self._root + path, orjson.dumps(body), repeat=not adds)

    async def schedule(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> Any:
        """What the shop says of calls that it takes now and makes later. It is never repeated unasked. Raises StoreError."""
        return await self._sent("POST", self._later + path, orjson.dumps(bodies), repeat=False)

    async def get(self, path: str) -> Any:
        """The answered JSON of something that has an address of its own. Raises StoreError."""
        return await self._sent("GET", self._root + path)

    async def delete(self, path: str) -> None:
        """Delete what has an address of its own; what is not there any more is no failure. Raises StoreError."""
        try:
            await self._sent("DELETE", self._root + path)
        except StoreError as error:
            if not GONE.search(error.message):
                raise

    async def _sent(self, method: str, path: str, body: bytes | None = None, *, repeat: bool = True) -> Any:
        url = self.transport.url(path)
        try:
            answer = await self.transport.call(method, url, body=body, limit=answers.LARGE_ANSWER, repeat=repeat)
        except StoreError as error:
            raise self._told(error) from None
        return self.transport.json(answer, exact=True)

    def _told(self, error: StoreError) -> StoreError:
        """What a failure means by its words, whatever its status was."""
        if error.code in (answers.REFUSED, answers.FAILED) and BUSY.search(error.message):
            return self.transport.error(answers.BUSY, Retry.LATER, f"calls got into each other's way: {error.message}")
        if error.code == answers.URL_WRONG and GONE.search(error.message):
            # it went since it was read; the next look tells
            return self.transport.error(answers.FAILED, Retry.LATER, error.message)
        return error

    async def failures(self, path: str, body: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """A write of which only the failures are answered: message with its values in place, and the values."""
        value = await self.write(path, body)
        if not isinstance(value, list) or not all(isinstance(each, dict) and "message" in each for each in value):
            raise self.transport.wrong_shape("a list of failures")
        return [told(each) for each in value]

    async def listed(self, path: str, body: Mapping[str, Any]) -> list[Record]:
        """A question that is asked by POST, such as the prices of some SKUs."""
        value = await self.write(path, body)
        if not isinstance(value, list) or not all(isinstance(each, dict) and "sku" in each for each in value):
            raise self.transport.wrong_shape('a list of records with "sku"')
        return value

    async def search(self, path: str, filters: Sequence[tuple[str, str, str]]) -> AsyncIterator[Record]:
        """Records that fit all filters (field, condition, value), page by page."""
        words = []
        for group, (field, condition, value) in enumerate(filters):
            place = f"searchCriteria[filterGroups][{group}][filters][0]"
            words += [(f"{place}[field]", field), (f"{place}[conditionType]", condition), (f"{place}[value]", value)]
        page, seen = 1, 0
        while True:
            paged = [*words, ("searchCriteria[pageSize]", str(PAGE)), ("searchCriteria[currentPage]", str(page))]
            query = "&".join(f"{quote(key, safe='')}={quote(each, safe=',', errors='replace')}" for key, each in paged)
            answer = await self.transport.call(
                "GET", self.transport.url(self._root + path, query), limit=answers.LARGE_ANSWER
            )
            value = self.transport.json(answer, exact=True)
            items = value.get("items") if isinstance(value, dict) else None
            total = value.get("total_count") if isinstance(value, dict) else None
            items = [] if items is None and total == 0 else items
            if not isinstance(items, list) or not isinstance(total, int) or not all(isinstance(i, dict) for i in items):
                raise self.transport.wrong_shape('a list "items" and a number "total_count"')
            for item in items:
                yield item
            seen += len(items)
            if not items or seen >= total:  # past the end Magento answers the last page once more
                return
            page += 1

    async def found(self, path: str, field: str, names: Iterable[str]) -> list[Record]:
        """The records of which a field is one of these names."""
        records: list[Record] = []
        for condition, value, _ in in_searches(names):
            records += [record async for record in self.search(path, [(field, condition, value)])]
        return records


def in_searches(names: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """(condition, value, names) for one search each; commas part the list, so a name with one is asked for alone."""
    for part in in_parts(names, PAGE, size=QUERY_BYTES, commas=True):
        yield "eq" if "," in part[0] else "in", ",".join(part), part


def told(failure: Record) -> tuple[str, list[str]]:
    """Message and values of a failure: `parameters` is a list for %1 or for names in order, or a table for %name."""
    text, given = str(failure["message"]), failure.get("parameters")
    if isinstance(given, dict):
        values = [(f"%{key}", str(value)) for key, value in given.items()]
    else:
        names = re.findall(r"%[A-Za-z]\w*", text)
        listed = [str(value) for value in given or []]
        values = list(zip(names or [f"%{n}" for n in range(1, len(listed) + 1)], listed, strict=False))
        values += [("", value) for value in listed[len(values) :]]
    for name, value in values:
        if name:
            text = text.replace(name, value)
    return text, [value for _, value in values]

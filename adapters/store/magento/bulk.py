"""The asynchronous bulk interface: rows that a consumer of the shop writes one by one, each told by its own operation.

Invariant: one bulk at a time, and none is begun and no row of it is written otherwise while an earlier one, of this process or
of one that was killed, may still write. That a bulk begins is on disk before it is sent, its identifier before anything else
is done. What became of a bulk whose identifier was lost is not guessed: nothing is written until the shop has had time to take
it up and no operation is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.store import answers
from adapters.store.http import REJECTED
from adapters.store.loan import Memory, Pace
from adapters.store.magento.api import BUSY, GONE, Api, Record, told
from daemon.drift import same
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Outcome, Patch, Status

OPEN: Final = "E-STORE-BULK-OPEN"
"""LATER: the shop has not ended an asynchronous bulk, and nothing newer may be overtaken by it."""
RUN_WITHIN: Final = 600.0
"""Seconds for one bulk; then its documents are for another attempt."""
STALLED: Final = 120.0
"""Seconds in which not one operation ended; then no consumer runs."""
SETTLES: Final = 120.0
"""Seconds from the begin of a call whose answer was lost, after which its operations can be seen."""
QUIET_WITHIN: Final = 2.0
"""Seconds to wait at a time for a bulk that an earlier call left open."""
TOLD_EVERY: Final = 600.0
"""Seconds between two complaints about the same open bulk; in between its documents alone wait, and the store is not lost."""
_FIRST, _LONGEST = 0.2, 10.0
_KIND: Final = "bulk"
_NAME: Final = "price"
_COMPLETE, _RETRIABLE, _PENDING = 1, 2, 4
_NOT_TAKEN: Final = frozenset({answers.REFUSED, answers.AUTH, answers.URL_WRONG, answers.TOO_LARGE})
_HINT: Final = (
    "Does a consumer run (bin/magento queue:consumers:start async.operations.all)? Prices wait until the bulk has ended, or "
    "its row is gone from the table magento_bulk."
)


@dataclass(frozen=True, slots=True)
class _Line:
    """What became of one row. `sure`: the operation said itself what its service answered."""

    status: Status
    text: str = ""
    code: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class _Begun:
    """A bulk that may still write, as it is remembered: when it was sent, with how many operations, under which identifier."""

    at: float
    count: int
    uuid: str = ""

    def text(self) -> str:
        return orjson.dumps([self.at, self.count, self.uuid]).decode()


class Bulk:
    """The bulks of prices of one shop."""

    def __init__(self, api: Api, memory: Memory, pace: Pace, *, on: bool) -> None:
        """`on`: bulks may be begun. Without, one that was begun before is still waited for."""
        self.on = on
        self._api, self._memory, self._pace = api, memory, pace
        self._looking = asyncio.Lock()
        self._clear = False
        """No bulk is open that this process does not wait for."""
        self._running: frozenset[str] = frozenset()
        """The SKUs of the bulk that this process waits for."""
        self._other = "its answer was lost"
        """The identifier of an open operation that no memory knows."""
        self._since = time.time()
        self._tell_at = 0.0

    async def waits(self, skus: Collection[str]) -> str:
        """Why prices of these SKUs may not be written yet; "" if they may. Raises StoreError."""
        if self._clear or self._running:
            return self._crossed(skus)
        async with self._looking:
            if self._clear or self._running:  # somebody else has looked
                return self._crossed(skus)
            begun = await self._begun()
            if begun is None and not self.on:
                self._clear = True
                return ""
            if await self._until(lambda: self._ended(begun), QUIET_WITHIN):
                self._forget()
                return ""
        return self._told(begun)

    def _crossed(self, skus: Collection[str]) -> str:
        return "" if self._running.isdisjoint(skus) else "a bulk of the same products is under way"

    async def run(
        self,
        path: str,
        rows: Sequence[tuple[Patch, Record]],
        shown: Callable[[set[str]], Awaitable[Iterable[tuple[str, Fields]]]],
    ) -> list[Outcome]:
        """Let the shop write these price rows, each by an operation of its own; one outcome a row. `shown` reads the prices
        of SKUs, for rows of which an operation does not say what its service answered. Raises StoreError."""
        if not self._clear or self._running:
            return [Outcome(patch.id, Status.RETRY, "another bulk is open", OPEN) for patch, _ in rows]
        self._clear, self._running = False, frozenset(str(row["sku"]) for _, row in rows)
        try:
            lines = await self._run(path, [row for _, row in rows])
        finally:
            self._running = frozenset()
        unsure = {str(row["sku"]) for (_, row), line in zip(rows, lines, strict=True) if not line.sure}
        there = dict(await shown(unsure)) if unsure else {}
        return [_outcome(patch, line, there.get(patch.id)) for (patch, _), line in zip(rows, lines, strict=True)]

    async def _run(self, path: str, rows: Sequence[Record]) -> list[_Line]:
        begun = _Begun(time.time(), len(rows))
        self._memory.put(_KIND, {_NAME: begun.text()})
        await self._memory.secured()
        try:
            answer = await self._api.schedule(path, [{"prices": [row]} for row in rows])
        except StoreError as error:
            if error.code in _NOT_TAKEN:
                self._forget()
            raise
        uuid, items = self._taken(answer, len(rows))
        accepted = [number for number, item in enumerate(items) if item.get("status") != "rejected"]
        begun = _Begun(begun.at, len(accepted), uuid)
        self._memory.put(_KIND, {_NAME: begun.text()})
        await self._memory.secured()
        if accepted and not await self._end_of(begun):
            text = f"the shop did not end the bulk {uuid} within {RUN_WITHIN:g} s"
            return [_Line(Status.RETRY, text, OPEN)] * len(rows)
        operations = (await self._operations(uuid, "detailed-status") if accepted else []) or []
        self._forget()
        return self._lines(items, accepted, operations)

    def _taken(self, answer: Any, count: int) -> tuple[str, list[Record]]:
        value = answer if isinstance(answer, dict) else {}
        uuid, items = value.get("bulk_uuid"), value.get("request_items")
        if not isinstance(uuid, str) or not uuid or not isinstance(items, list) or len(items) != count:
            raise self._api.transport.wrong_shape('"bulk_uuid" and one of "request_items" for each row')
        if not all(isinstance(item, dict) and isinstance(item.get("id"), int) for item in items):
            raise self._api.transport.wrong_shape('an "id" in each of "request_items"')
        return uuid, sorted(items, key=lambda item: int(item["id"]))

    async def _end_of(self, begun: _Begun) -> bool:
        """Wait until each operation is final; False after RUN_WITHIN. Raises StoreError where none of them moves."""
        loop = asyncio.get_running_loop()
        moved, left = loop.time(), -1

        async def look() -> bool:
            nonlocal moved, left
            operations = await self._operations(begun.uuid, "status")
            if operations is None:
                raise self._error(f"does not know the bulk {begun.uuid} any more, which it had taken", "")
            pending = _pending(operations, begun.count)
            if pending != left:
                moved, left = loop.time(), pending
            if pending and loop.time() - moved > STALLED:
                self._tell_at = loop.time() + TOLD_EVERY
                text = f"took the bulk {begun.uuid} and ended no operation of it in {STALLED:g} s, {pending} are open"
                raise self._error(text, _HINT)
            return not pending

        return await self._until(look, RUN_WITHIN)

    def _lines(self, items: Sequence[Record], accepted: Sequence[int], operations: Sequence[Record]) -> list[_Line]:
        """Operations are numbered as the rows were sent, from 0 or from anywhere; a row that was rejected has none."""
        if len(operations) != len(accepted):
            operations = []
        found = dict(zip(accepted, sorted(operations, key=lambda each: int(each["id"])), strict=False))
        return [
            _Line(Status.REJECTED, self._said(item.get("error_message"), "the shop rejected the row"), REJECTED)
            if number not in accepted
            else self._line(found.get(number))
            for number, item in enumerate(items)
        ]

    def _line(self, operation: Record | None) -> _Line:
        if operation is None:
            return _Line(Status.RETRY, "the bulk's results do not speak of this row", OPEN)
        status, words = operation.get("status"), self._said(operation.get("result_message"), "the shop gave no reason")
        # a deadlock that a service wraps in an error of its own counts as final there
        if status == _RETRIABLE or (status != _COMPLETE and BUSY.search(words)):
            return _Line(Status.RETRY, words, answers.BUSY)
        if status != _COMPLETE:
            return _Line(Status.REJECTED, words, REJECTED)
        try:
            failures = orjson.loads(operation.get("result_serialized_data") or "null")
        except (ValueError, TypeError):
            failures = None
        if not isinstance(failures, list) or not all(isinstance(one, dict) and "message" in one for one in failures):
            return _Line(Status.OK, sure=False)
        if failures:
            return _Line(Status.REJECTED, self._api.transport.quote(told(failures[0])[0]), REJECTED)
        return _Line(Status.OK)

    def _said(self, words: Any, otherwise: str) -> str:
        return self._api.transport.quote(str(words)) if words else otherwise

    # -- what may still write

    async def _begun(self) -> _Begun | None:
        value = (await self._memory.get(_KIND, [_NAME])).get(_NAME)
        return None if value is None else _Begun(*orjson.loads(value))

    def _forget(self) -> None:
        self._memory.forget(_KIND, [_NAME])
        self._clear = True

    async def _ended(self, begun: _Begun | None) -> bool:
        """Nothing of a bulk can come any more."""
        if begun is not None and begun.uuid:
            operations = await self._operations(begun.uuid, "status")
            if operations is not None:
                return not _pending(operations, begun.count)
        if begun is not None and abs(time.time() - begun.at) < SETTLES:
            return False
        asked = [("status", "eq", str(_PENDING)), ("topic_name", "like", "%price%")]
        async for operation in self._api.search("bulk", asked):
            self._other = str(operation.get("bulk_uuid"))
            return False
        return True

    async def _operations(self, uuid: str, how: str) -> list[Record] | None:
        """The operations of a bulk; None when the shop has deleted it. Raises StoreError."""
        try:
            value = await self._api.get(f"bulk/{quote(uuid, safe='')}/{how}")
        except StoreError as error:
            if GONE.search(error.message):
                return None
            raise
        operations = value.get("operations_list") if isinstance(value, dict) else None
        if not isinstance(operations, list) or not all(
            isinstance(one, dict) and isinstance(one.get("id"), int) and isinstance(one.get("status"), int)
            for one in operations
        ):
            raise self._api.transport.wrong_shape('"operations_list" with an "id" and a "status" each')
        return operations

    async def _until(self, look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Look again and again; False when the time is up."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + seconds, _FIRST
        while not await look():
            left = until - loop.time()
            if left <= 0.0:
                return False
            with self._pace.aside():
                await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.6, _LONGEST)
        return True

    def _told(self, begun: _Begun | None) -> str:
        """Why prices wait. Raises StoreError where it has been long and nobody was told lately."""
        which = begun.uuid if begun is not None and begun.uuid else self._other
        passed = time.time() - (begun.at if begun is not None else self._since)
        now = asyncio.get_running_loop().time()
        if passed > STALLED and now >= self._tell_at:
            self._tell_at = now + TOLD_EVERY
            raise self._error(f"has had a bulk ({which}) open for {passed:.0f} s", _HINT)
        return f"the shop has not ended a bulk yet ({which})"

    def _error(self, text: str, hint: str) -> StoreError:
        return self._api.transport.error(OPEN, Retry.LATER, text, hint)


def _outcome(patch: Patch, line: _Line, there: Fields | None) -> Outcome:
    if not line.sure and not same((there or {}).get("amount"), (patch.fields or {}).get("amount")):
        text = "the bulk's operation is complete and the shop shows another price"
        return Outcome(patch.id, Status.RETRY, text, OPEN)
    return Outcome(patch.id, line.status, line.text, line.code)


def _pending(operations: Sequence[Mapping[str, Any]], count: int) -> int:
    """Operations that are open, those included that the shop does not list yet."""
    listed = len([one for one in operations if one["status"] == _PENDING])
    return listed + max(count - len(operations), 0)

"""Bulk operations: one mutation for each line of a file, run by the shop itself, its results read line by line.

Invariant: one operation at a time, and none is begun while an earlier one, of this process or of one that was killed, may
still write. What an operation did before its answer was lost is seen by reading the shop afterwards, never by running it
again; a line that no result speaks of is not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from adapters.store import answers as say
from adapters.store.loan import Pace
from adapters.store.shopify import documents
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.results import faults_of
from adapters.store.shopify.staged import Outside, chunks_of
from adapters.store.shopify.work import NotYet, Refused, ended
from daemon.errors import Retry

NAME: Final = "erpsyncdBulk"
"""How the mutations begin by which our operations are known among the app's others."""
LARGEST: Final = 19_000_000
"""Bytes of one file; the API takes 20 MB, and 100 MB since 2026."""
RUN_WITHIN: Final = 1800.0
"""Seconds for one operation; then it is cancelled."""
QUIET_WITHIN: Final = 60.0
"""Seconds to wait at a time for an operation that an earlier process began."""
_LOOK: Final = 10.0
_OPEN: Final = ("CREATED", "RUNNING", "CANCELING")
_LATER: Final = ("OPERATION_IN_PROGRESS", "LIMIT_REACHED", "INTERNAL_FILE_SERVER_ERROR", "NO_SUCH_FILE")


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one line: the mutation's payload, or why there is none."""

    payload: Json | None
    why: str = ""


class Bulk:
    """The bulk operations of one shop."""

    def __init__(self, client: Client, outside: Outside, pace: Pace) -> None:
        self._client = client
        self._outside = outside
        self._pace = pace
        self._lock = asyncio.Lock()
        self._sure = False
        """No operation of ours is under way that this process does not wait for."""

    async def quiet(self) -> None:
        """Wait until nothing of a lost operation can come any more. Raises NotYet where it goes on, StoreError."""
        if self._sure:
            return

        async def look() -> bool | None:
            data = await self._client.run(documents.BULK_FIND)
            connection = self._client.shape(data.get("bulkOperations"), dict, "bulk operations")
            return None if any(_is_ours(one) and one["status"] in _OPEN for one in connection["nodes"]) else True

        async with self._lock:
            try:
                await ended(look, QUIET_WITHIN, self._pace, longest=_LOOK)
            except TimeoutError:
                raise NotYet("the shop is still at work on a bulk operation that was begun before") from None
            self._sure = True

    async def run(self, mutation: str, field: str, lines: Sequence[Mapping[str, Any]]) -> list[Line]:
        """Run a mutation, whose name begins with NAME, once for each line of variables; `field` is its root field. One
        answer a line. Raises StoreError."""
        said: list[Line] = []
        for body, count in _files(lines):
            async with self._lock:
                try:
                    said += await self._one(mutation, field, body, count)
                except (NotYet, Refused) as waits:
                    said += [Line(None, str(waits))] * count
        return said

    async def _one(self, mutation: str, field: str, body: bytes, count: int) -> list[Line]:
        if not self._sure:
            raise NotYet("another bulk operation was lost in this moment")
        staged = await self._outside.upload(
            "BULK_MUTATION_VARIABLES", "erpsyncd.jsonl", "text/jsonl", len(body), chunks_of(body)
        )
        try:
            id_ = await self._begin(mutation, staged.key)
            operation = await self._end_of(id_)
        except BaseException:
            self._sure = False  # it may go on without us
            raise
        return await self._read(operation, field, count)

    async def _begin(self, mutation: str, path: str) -> str:
        data = await self._client.run(documents.BULK_RUN, {"mutation": mutation, "path": path}, adds=True)
        payload = self._client.shape(data.get("bulkOperationRunMutation"), dict, "what became of the bulk operation")
        if faults := faults_of(payload):
            if faults[0].code in _LATER:
                raise NotYet(f"the shop does not begin a bulk operation now: {faults[0].message}")
            text = f"refused a bulk operation ({faults[0].message})"
            raise self._client.transport.error(say.ANSWER, Retry.OPERATOR, text, "Please report this.")
        id_: str = payload["bulkOperation"]["id"]
        return id_

    async def _end_of(self, id_: str) -> Json:
        async def look() -> Json | None:
            data = await self._client.run(documents.BULK_READ, {"id": id_})
            operation: Json = self._client.shape(data.get("bulkOperation"), dict, "the bulk operation")
            return None if operation["status"] in _OPEN else operation

        try:
            return await ended(look, RUN_WITHIN, self._pace, longest=_LOOK)
        except TimeoutError:
            await self._client.run(documents.BULK_CANCEL, {"id": id_})
            raise NotYet(f"the shop did not end a bulk operation within {RUN_WITHIN:g} s; it was cancelled") from None

    async def _read(self, operation: Json, field: str, count: int) -> list[Line]:
        """One answer a line; after an operation that did not come to its end, those that it came to."""
        status, code = operation["status"], operation["errorCode"]
        if status == "FAILED" and code == "ACCESS_DENIED":
            text = "does not give the token the right for a bulk operation"
            raise self._client.transport.error(
                say.AUTH, Retry.OPERATOR, text, "Give the app the scopes of its entities."
            )
        why = "not in the results" if status == "COMPLETED" else f"the bulk operation ended as {status.lower()}"
        found: dict[int, Line] = {}
        url = operation["url"] or operation["partialDataUrl"]
        try:
            if url and status != "EXPIRED":
                async for text_ in self._outside.lines(url):
                    if text_.strip():
                        number, line = self._line(text_, field)
                        found[number] = line
        except NotYet as lost:
            why = str(lost)
        return [found.get(number, Line(None, why)) for number in range(count)]

    def _line(self, text: bytes, field: str) -> tuple[int, Line]:
        try:
            value = orjson.loads(text)
            number, payload = value["__lineNumber"], (value.get("data") or {}).get(field)
            errors = [str(error.get("message")) for error in value.get("errors") or ()]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._client.transport.wrong_shape("a result in every line") from None
        if isinstance(payload, dict) and not errors:
            return number, Line(payload)
        return number, Line(None, errors[0] if errors else "no result")


def _is_ours(operation: Mapping[str, Any]) -> bool:
    return f"mutation {NAME}" in str(operation["query"])


def _files(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[bytes, int]]:
    """Files of no more than LARGEST bytes, with the number of their lines."""
    body, count = bytearray(), 0
    for line in lines:
        text = orjson.dumps(line) + b"\n"
        if count and len(body) + len(text) > LARGEST:
            yield bytes(body), count
            body, count = bytearray(), 0
        body += text
        count += 1
    if count:
        yield bytes(body), count

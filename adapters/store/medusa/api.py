"""Calls of Medusa's admin API: lists page by page and by names, writes, and what an error in an answer means.

Invariant: a list counts as one only when the answer has it under its name, with a text `id` in every record. What another
call changed meanwhile (an id that is gone, a level that is there by now, a conflict) is E-STORE-BUSY: the next look tells.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.store import answers
from adapters.store.base import StoreSettings
from adapters.store.lookups import in_parts
from adapters.store.transport import Answer, Transport
from daemon.errors import Retry, StoreError

PAGE: Final = 1000
NAMES: Final = 200
_MEANWHILE: Final = re.compile(r"^Inventory level .* already exists|has already been|there are reserved or incoming")

Record = Mapping[str, Any]


class Api:
    """The admin API of one shop. A secret key is the user name of HTTP Basic; the password is empty."""

    def __init__(self, settings: StoreSettings) -> None:
        pair = f"{settings.token}:"
        encoded = b64encode(pair.encode()).decode()
        self.transport = Transport.of(settings, {"Authorization": f"Basic {encoded}"}, pair, encoded)

    async def pages(
        self, path: str, name: str, fields: str, order: str = "id", size: int = PAGE
    ) -> AsyncIterator[list[Record]]:
        """All records of a list, page by page; ids are in the order of their making."""
        offset = 0
        while True:
            words = {"fields": fields, "order": order, "limit": str(size), "offset": str(offset)}
            records = self.records(await self._get(path, words.items()), name)
            if records:
                yield records
            offset += len(records)
            if len(records) < size:
                return

    async def all(self, path: str, name: str, fields: str) -> list[Record]:
        """All records of a list."""
        return [record async for page in self.pages(path, name, fields) for record in page]

    async def named(self, path: str, name: str, fields: str, field: str, values: Iterable[str]) -> list[Record]:
        """The records whose field is one of the values."""
        found: list[Record] = []
        for part in in_parts(values, NAMES, overhead=len(field) + 4):
            words = [(f"{field}[]", value) for value in part]
            words += [("fields", fields), ("limit", str(PAGE))]
            found += self.records(await self._get(path, words), name)
        return found

    async def _get(self, path: str, words: Iterable[tuple[str, str]]) -> Any:
        query = "&".join(f"{quote(key, safe='[]')}={quote(value, safe=',*', errors='replace')}" for key, value in words)
        return await self._call("GET", path, query, None, repeat=True)

    async def post(
        self, path: str, body: Mapping[str, Any], fields: str = "", *, adds: bool = False
    ) -> Mapping[str, Any]:
        """The answer to a write. `adds`: made twice it would add twice, so it is never repeated unasked."""
        query = f"fields={quote(fields, safe=',*')}" if fields else ""
        value = await self._call("POST", path, query, orjson.dumps(body), repeat=not adds)
        if not isinstance(value, dict):
            raise self.transport.wrong_shape("an object")
        return value

    async def _call(self, method: str, path: str, query: str, body: bytes | None, *, repeat: bool) -> Any:
        transport = self.transport
        answer = await transport.call(
            method,
            transport.url(f"admin/{path}", query),
            body=body,
            limit=answers.LARGE_ANSWER,
            also=(400, 404, 409, 500),
            repeat=repeat,
        )
        if answer.status >= 300:
            raise self._refusal(answer)
        return transport.json(answer, exact=True)

    def _refusal(self, answer: Answer) -> StoreError:
        try:
            said = orjson.loads(answer.body)
        except ValueError:
            said = None
        said = said if isinstance(said, dict) else {}
        kind, message, code = (str(said.get(key) or "") for key in ("type", "message", "code"))
        changed = (
            (answer.status == 404 and kind == "not_found")
            or (answer.status == 400 and _MEANWHILE.search(message))
            or (answer.status == 409 and (kind == "conflict" or code == "invalid_state_error"))
            or "deadlock" in message.lower()
        )
        words = self.transport.quote(message)
        if answer.status == 400 and message and not changed:
            return self.transport.error(answers.REFUSED, Retry.NEVER, f"refused the call: {words}")
        if changed:
            return self.transport.error(
                answers.BUSY, Retry.LATER, f"changed what the call was about meanwhile: {words}"
            )
        return self.transport.refusal(answer)

    def records(self, value: Any, name: str) -> list[Record]:
        """The list of that name in an answer."""
        records = value.get(name) if isinstance(value, dict) else None
        if not isinstance(records, list):
            raise self.transport.wrong_shape(f'a list "{name}"')
        if not all(isinstance(record, dict) and isinstance(record.get("id"), str) for record in records):
            raise self.transport.wrong_shape(f'a text "id" in every record of "{name}"')
        return records

"""Calls of the WooCommerce REST API v3: lists page by page, and batches whose answer speaks of each item by its position.

Invariant: an item of a batch counts as written only when the answer has as many items as the call, shows its id at its
position and no error there. A list counts as one only with WordPress's header X-WP-TotalPages, so an empty page of something
else never passes for "there is no such article".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.store import answers
from adapters.store.http import LEFT_OUT, REJECTED
from adapters.store.transport import Transport
from daemon.errors import Retry, StoreError
from daemon.model import Status

BATCH: Final = 100
"""Most items of one batch call (check_batch_limit of WooCommerce's WC_REST_Controller)."""
PAGE: Final = 100
"""Most records of one page (WordPress)."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What the shop said of one item of a batch. `record` is the item as it is now, where it was written."""

    status: Status
    error: str = ""
    code: str = ""
    record: Record | None = None


class Api:
    """The REST API behind one transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[Record]]:
        """All records of a list, page by page."""
        page, last = 1, 1
        while page <= last:
            words = {**query, "per_page": str(PAGE), "page": str(page)}
            url = self.transport.url(path, "&".join(f"{k}={quote(v, safe=',')}" for k, v in words.items()))
            answer = await self.transport.call("GET", url, limit=answers.LARGE_ANSWER)
            value = self.transport.json(answer, exact=True)
            pages = answer.headers.get("X-WP-TotalPages", "")
            if not isinstance(value, list) or not pages.isdecimal():
                raise self.transport.wrong_shape("a list and the header X-WP-TotalPages")
            if not all(isinstance(record, dict) and isinstance(record.get("id"), int) for record in value):
                raise self.transport.wrong_shape('a number "id" in every record')
            yield value
            last = int(pages)
            page += 1

    async def all(self, path: str, query: Mapping[str, str]) -> list[Record]:
        """All records of a list."""
        return [record async for page in self.pages(path, query) for record in page]

    async def check(self, path: str) -> None:
        """Prove address and key by one record."""
        async for _ in self.pages(path, {"_fields": "id", "include": "1"}):
            return

    async def by_ids(self, path: str, ids: Iterable[int], query: Mapping[str, str]) -> list[Record]:
        """The records with these ids; those that do not exist are left out."""
        found: list[Record] = []
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), PAGE):
            include = ",".join(map(str, wanted[start : start + PAGE]))
            found += await self.all(path, {**query, "include": include})
        return found

    async def batch(self, path: str, items: Sequence[Record]) -> list[Said]:
        """Update at most BATCH items; what the shop said of each, in their order. Raises StoreError."""
        body = orjson.dumps({"update": items})
        url = self.transport.url(f"{path}/batch")
        answer = await self.transport.call("POST", url, body=body, limit=answers.LARGE_ANSWER)
        value = self.transport.json(answer, exact=True)
        updated = value.get("update") if isinstance(value, dict) else None
        if not isinstance(updated, list) or not all(isinstance(each, dict) for each in updated):
            raise self.transport.wrong_shape('a list "update"')
        if len(updated) != len(items):
            lost = Said(Status.RETRY, f"the shop answered {len(updated)} of {len(items)} items", LEFT_OUT)
            return [lost] * len(items)
        return [self._said(item, each) for item, each in zip(items, updated, strict=True)]

    def _said(self, item: Record, each: Record) -> Said:
        if each.get("id") != item["id"]:
            return Said(Status.RETRY, "the shop answered another item at this place", LEFT_OUT)
        error = each.get("error")
        if error is None:
            return Said(Status.OK, record=each)
        error = error if isinstance(error, dict) else {"message": str(error)}
        data = error.get("data")
        number = data.get("status") if isinstance(data, dict) else None
        text = self.transport.quote(f"{error.get('message') or 'no reason given'} ({error.get('code') or 'no code'})")
        if isinstance(number, int) and answers.verdict(number).retry is Retry.LATER:
            return Said(Status.RETRY, text, answers.verdict(number).code)
        return Said(Status.REJECTED, text, REJECTED)


def lost(error: StoreError) -> Said:
    """What is said of items whose call failed after others had been acknowledged: the next call tells."""
    return Said(Status.RETRY, error.message, error.code)

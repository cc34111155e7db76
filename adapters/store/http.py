"""The `http` adapter: the open protocol of docs/http-protocol.md, which any storefront can implement.

Invariant: a document counts as acknowledged only when the answer names it with status `ok`; every patch gets one
outcome. What is read back never passes through a float: numbers with a fraction arrive as decimal strings.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import orjson
from yarl import URL

from adapters.store.answers import ANSWER, LARGE_ANSWER
from adapters.store.base import Store, StoreSettings
from adapters.store.transport import Transport
from daemon.errors import Retry
from daemon.model import Fields, Outcome, Patch, Status

REJECTED: Final = "E-STORE-REJECTED"
"""The store said that it does not take this document."""
ASKED_RETRY: Final = "E-STORE-RETRY"
"""The store said that it will take this document later, or used a status word that the protocol does not have."""
LEFT_OUT: Final = "E-STORE-LEFT-OUT"
"""The answer does not name this document."""
UNSENDABLE: Final = "E-STORE-UNSENDABLE"
"""The document cannot be written in the protocol; it was not sent."""

PAGE: Final = 500
QUERY_BYTES: Final = 6000
"""Most bytes of ids in one address; servers and proxies take about 8000."""
IDS_PER_CALL: Final = 200

_RESERVED: Final = frozenset({"id", "version", "changed_at", "deleted"})
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 only ever printed, with the Z of UTC
_WORDS: Final = {"ok": Status.OK, "retry": Status.RETRY, "rejected": Status.REJECTED}
_WEIGHT: Final = {Status.OK: 0, Status.RETRY: 1, Status.REJECTED: 2}


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError for a url that cannot be used."""
    return HttpStore(settings)


class HttpStore:
    """A storefront behind the open protocol."""

    def __init__(self, settings: StoreSettings) -> None:
        self.limits = settings.limits
        self._transport = Transport.of(settings, {"Authorization": f"Bearer {settings.token}"})
        self._first = next(iter(settings.options.get("entities") or ("stock",)))
        self._urls: dict[str, URL] = {}

    async def open(self) -> None:
        await self._transport.open()

    async def close(self) -> None:
        await self._transport.close()

    async def check(self) -> None:
        await self._documents(self._first, "after=&limit=1")

    def remote(self, entity: str, patch: Patch) -> str | None:
        """Each document is one resource of the protocol."""
        del entity, patch
        return None

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        if not patches:
            return []
        body, unsendable = _encode(patches)
        if body is None:
            return unsendable
        headers = {"Idempotency-Key": _idempotency_key(entity, body)}
        answer = await self._transport.call("POST", self._url(entity), body=body, headers=headers)
        said = self._results(self._transport.json(answer))
        refused = {outcome.id for outcome in unsendable}
        outcomes = [self._outcome(patch.id, said.get(patch.id)) for patch in patches if patch.id not in refused]
        return outcomes + unsendable

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        wanted = set(ids)
        found: dict[str, Fields] = {}
        for query in _queries(ids):
            page = await self._documents(entity, query)
            found.update((name, fields) for name, fields in page if fields is not None and name in wanted)
        return found

    async def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        after = ""
        while page := await self._documents(entity, f"after={quote(after, safe='')}&limit={PAGE}"):
            for name, fields in page:
                if name <= after:
                    raise self._transport.error(
                        ANSWER,
                        Retry.OPERATOR,
                        f"the pages of {entity} do not grow by id ({self._transport.quote(name)!r} comes after "
                        f"{self._transport.quote(after)!r})",
                        "The store must honour `after` and sort ids by their bytes, not by a language's rules.",
                    )
                after = name
                if fields is not None:
                    yield name, fields

    def _url(self, entity: str) -> URL:
        url = self._urls.get(entity)
        if url is None:
            url = self._urls[entity] = self._transport.url(quote(entity, safe=""))
        return url

    async def _documents(self, entity: str, query: str) -> list[tuple[str, Fields | None]]:
        """The documents of one page with their own fields; None for one that the store shows as deleted."""
        url = self._transport.url(quote(entity, safe=""), query)
        value = self._transport.json(await self._transport.call("GET", url, limit=LARGE_ANSWER), exact=True)
        documents = value.get("documents") if isinstance(value, dict) else None
        if not isinstance(documents, list):
            raise self._transport.wrong_shape('a list "documents"')
        page: list[tuple[str, Fields | None]] = []
        for document in documents:
            name = document.get("id") if isinstance(document, dict) else None
            if not isinstance(name, str) or not name:
                raise self._transport.wrong_shape('a text "id" in every document')
            gone = document.get("deleted") is True
            page.append((name, None if gone else {k: v for k, v in document.items() if k not in _RESERVED}))
        return page

    def _results(self, value: Any) -> dict[str, tuple[Status, str]]:
        """The store's word on each document; where it contradicts itself, the worse word."""
        results = value.get("results") if isinstance(value, dict) else None
        if not isinstance(results, list):
            raise self._transport.wrong_shape('a list "results"')
        said: dict[str, tuple[Status, str]] = {}
        for result in results:
            name = result.get("id") if isinstance(result, dict) else None
            if not isinstance(name, str):
                raise self._transport.wrong_shape('a text "id" in every result')
            word, error = result.get("status"), result.get("error")
            status = _WORDS.get(word) if isinstance(word, str) else None
            if status is None:
                status, error = Status.RETRY, f"status {word!r} is not in the protocol"
            earlier = said.get(name)
            if earlier is None or _WEIGHT[status] > _WEIGHT[earlier[0]]:
                said[name] = status, error if isinstance(error, str) else ""
        return said

    def _outcome(self, name: str, said: tuple[Status, str] | None) -> Outcome:
        if said is None:
            return Outcome(name, Status.RETRY, "not in the answer", LEFT_OUT)
        status, error = said
        if status is Status.OK:
            return Outcome(name, Status.OK)
        code = REJECTED if status is Status.REJECTED else ASKED_RETRY
        return Outcome(name, status, self._transport.quote(error) or "the store gave no reason", code)


def _document(patch: Patch) -> dict[str, Any]:
    gone = patch.fields is None
    fields = patch.identity if patch.fields is None else patch.fields
    if "deleted" in fields or "version" in fields or "changed_at" in fields or fields.get("id", patch.id) != patch.id:
        raise ValueError("a field has one of the protocol's own names: id, version, changed_at, deleted")
    changed_at = (_EPOCH + timedelta(microseconds=patch.changed_at)).isoformat(timespec="microseconds")
    document = {"id": patch.id, "version": patch.version, "changed_at": f"{changed_at}Z", **fields}
    if gone:
        document["deleted"] = True
    return document


def _plain(value: object) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    raise TypeError(f"a {type(value).__name__} has no exact form in JSON")


def _dump(documents: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"documents": documents}, _plain)


def _encode(patches: Sequence[Patch]) -> tuple[bytes | None, list[Outcome]]:
    """The body of one call (None: nothing can be sent) and the patches that cannot be written in it."""
    try:
        return _dump([_document(patch) for patch in patches]), []
    except (TypeError, ValueError, OverflowError):
        pass  # one of them is at fault: find it, send the others
    documents: list[dict[str, Any]] = []
    unsendable: list[Outcome] = []
    for patch in patches:
        try:
            document = _document(patch)
            _dump([document])
        except (TypeError, ValueError, OverflowError) as error:
            unsendable.append(Outcome(patch.id, Status.REJECTED, f"cannot be sent: {error}", UNSENDABLE))
        else:
            documents.append(document)
    return _dump(documents) if documents else None, unsendable


def _idempotency_key(entity: str, body: bytes) -> str:
    """The same call carries the same key, another content never does (the body holds ids, versions and values)."""
    return hashlib.blake2b(body, digest_size=16, key=entity.encode()[:64]).hexdigest()


def _queries(ids: Sequence[str]) -> Iterator[str]:
    """`id=a&id=b`, cut so that an address stays within what servers take."""
    parts: list[str] = []
    size = 0
    for name in dict.fromkeys(ids):
        part = f"id={quote(name, safe='', errors='replace')}"
        if parts and (size + len(part) > QUERY_BYTES or len(parts) >= IDS_PER_CALL):
            yield "&".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield "&".join(parts)

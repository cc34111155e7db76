"""A storefront for tests: a real HTTP server of the `http` protocol that can be told to misbehave.

Invariant: what it answered `ok` it holds, in that version or a newer one, and what it holds it took from a call that it
recorded (or from `put`). An older version never overwrites a newer one; it is answered `ok` and noted in `regressions`.
It notes what a caller must never do: two writes of one document in flight (`overlaps`), other content under the same
version (`conflicts`).

    async with Shop() as shop:
        shop.inject(Throttle(2.0), calls=3, entity="stock")
        ...  # a store with url=shop.url, token=shop.token
        await shop.until(lambda: len(shop.documents("stock")) == 10)
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.doubles import server
from tests.doubles.faults import (
    Empty500,
    FailAfterWrite,
    Fault,
    Hold,
    Html,
    LeaveOut,
    Reject,
    Reset,
    Retry,
    Slow,
    Status,
    Throttle,
)
from tests.doubles.server import json_answer

__all__ = [
    "Call",
    "Empty500",
    "FailAfterWrite",
    "Fault",
    "Hold",
    "Html",
    "LeaveOut",
    "Reject",
    "Reset",
    "Retry",
    "Shop",
    "Slow",
    "Status",
    "Throttle",
    "Write",
]

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Call(server.Call):
    """One request as the shop saw it."""

    query: str
    idempotency_key: str


@dataclass(frozen=True)
class Write:
    """One version of a document that the shop stored. `fields` is None for a removal."""

    version: int
    changed_at: str
    fields: Json | None
    at: float


class Shop(server.Server):
    """The server. Its state outlives `stop` and `start`, as a shop's database does."""

    calls: list[Call]  # type: ignore[assignment]  # this one's calls say more

    def __init__(
        self,
        *,
        token: str = "shop-token-7f3a",  # noqa: S107 a test's
        port: int = 0,
        max_body: int = 16 << 20,
        max_documents: int | None = None,
        max_page: int = 500,
        keep_history: bool = True,
    ) -> None:
        super().__init__(token=token, port=port, max_body=max_body)
        self.max_documents = max_documents
        self.max_page = max_page
        self.keep_history = keep_history
        self.history: dict[str, dict[str, list[Write]]] = defaultdict(lambda: defaultdict(list))
        self.regressions: list[tuple[str, str, int, int]] = []
        """(entity, id, newest version, older version that came)"""
        self.conflicts: list[tuple[str, str, int]] = []
        """(entity, id, version) that came twice with different content"""
        self._held: dict[str, dict[str, Json]] = defaultdict(dict)
        self._versions: dict[str, dict[str, int]] = defaultdict(dict)
        self._sorted: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"{self.root}/api"

    def documents(self, entity: str) -> dict[str, Json]:
        """What the shop shows: fields by id, without the protocol's own."""
        return {name: self._bare(document) for name, document in self._held[entity].items()}

    def version(self, entity: str, name: str) -> int | None:
        """The highest version that came for a document, removals included."""
        return self._versions[entity].get(name)

    def put(self, entity: str, name: str, fields: Mapping[str, Any], version: int = 0) -> None:
        """Change a document behind everyone's back. Values may be orjson.Fragment, for JSON of a special spelling."""
        self._held[entity][name] = {"id": name, "version": version, **fields}
        self._sorted.pop(entity, None)

    def remove(self, entity: str, name: str) -> None:
        """Lose a document behind everyone's back."""
        del self._held[entity][name]
        self._sorted.pop(entity, None)

    def call_of(self, request: web.Request, body: bytes) -> Call:
        prefix, _, entity = request.path.removeprefix("/").partition("/")
        if prefix != "api" or not entity or "/" in entity:
            raise web.HTTPNotFound
        authorized = request.headers.get("Authorization", "") == (f"Bearer {self.token}" if self.token else "")
        ids: tuple[str, ...] = tuple(request.query.getall("id", ()))
        if request.method == "POST" and body and authorized:
            try:
                ids = tuple(document["id"] for document in orjson.loads(body)["documents"]) or ids
            except (ValueError, KeyError, TypeError):
                raise web.HTTPBadRequest(text='{"error": "no documents"}', content_type="application/json") from None
        write = request.method == "POST"
        return Call(
            method=request.method,
            entity=entity,
            ids=ids,
            write=write,
            touches=frozenset(f"{entity}/{name}" for name in ids) if write else frozenset(),
            query=request.query_string,
            idempotency_key=request.headers.get("Idempotency-Key", ""),
            authorized=authorized,
        )

    async def respond(self, request: web.Request, call: server.Call, body: bytes, faults: list[Fault]) -> web.Response:
        if not call.authorized:
            return json_answer({"error": "unknown token"}, 401)
        if call.method == "GET":
            return json_answer({"documents": self._read(request, call.entity)})
        if call.method != "POST":
            return json_answer({"error": "GET or POST"}, 405)
        documents = orjson.loads(body)["documents"] if body else []
        if self.max_documents is not None and len(documents) > self.max_documents:
            return json_answer({"error": f"at most {self.max_documents} documents"}, 413)
        return json_answer({"results": self._write(call.entity, documents, faults, call.at)})

    def _write(self, entity: str, documents: list[Json], faults: list[Fault], at: float) -> list[Json]:
        special = [fault for fault in faults if isinstance(fault, Reject | Retry | LeaveOut)]
        results: list[Json] = []
        for document in documents:
            name = document["id"]
            fault = next((f for f in special if f.ids is None or name in f.ids), None) if special else None
            match fault:
                case Reject():
                    results.append({"id": name, "status": "rejected", "error": fault.error})
                    continue
                case Retry():
                    results.append({"id": name, "status": "retry", "error": fault.error})
                    continue
            if not isinstance(fault, LeaveOut):
                results.append({"id": name, "status": "ok"})
            elif not fault.written:
                continue
            self._store(entity, document, at)
        return results

    def _store(self, entity: str, document: Json, at: float) -> None:
        name: str = document["id"]
        version: int = document["version"]
        held = self._held[entity]
        versions = self._versions[entity]
        newest = versions.get(name, version)
        if version < newest:
            self.regressions.append((entity, name, newest, version))
            return
        gone = document.get("deleted") is True
        if version == newest and name in versions and (None if gone else document) != held.get(name):
            self.conflicts.append((entity, name, version))
        versions[name] = version
        if gone:
            if held.pop(name, None) is not None:
                self._sorted.pop(entity, None)
        else:
            if name not in held:
                self._sorted.pop(entity, None)
            held[name] = document
        if self.keep_history:
            fields = None if gone else self._bare(document)
            self.history[entity][name].append(Write(version, document["changed_at"], fields, at))

    def _read(self, request: web.Request, entity: str) -> list[Json]:
        held = self._held[entity]
        if "id" in request.query:
            return [held[name] for name in request.query.getall("id") if name in held]
        names = self._sorted.get(entity)
        if names is None:
            names = self._sorted[entity] = sorted(held)
        start = bisect_right(names, request.query.get("after", ""))
        limit = min(int(request.query.get("limit", "500")), self.max_page)
        return [held[name] for name in names[start : start + limit]]

    @staticmethod
    def _bare(document: Json) -> Json:
        return {key: value for key, value in document.items() if key not in ("id", "version", "changed_at")}

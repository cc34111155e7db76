"""The operator's door: commands as JSON routes of the status server.

Invariant: what is asked is checked against the configuration before anything happens, and a command that names nothing that
exists does nothing and says so. The server's guard (loopback or token, and its header) stands before every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from daemon.config import Config
from daemon.model import Key, QueueName
from daemon.naming import RequestError, chosen_queues, parse_key
from daemon.operations import SET_ASIDE, Operations
from daemon.plan import LISTED
from daemon.status import answer

_MOST_KEYS = 100_000
_LIST = 1_000
_REASON = "an operator's decision"


class Control:
    """Routes for StatusServer over the daemon's operations."""

    def __init__(self, config: Config, operations: Operations) -> None:
        self._config = config
        self._operations = operations

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/set-aside", self._list),
            web.post("/api/set-aside/release", self._release),
            web.post("/api/set-aside/drop", self._drop),
            web.get("/api/backfill", self._backfill_state),
            web.post("/api/backfill", self._backfill),
            web.post("/api/keys", self._keys_state),
            web.post("/api/reconcile", self._reconcile),
            web.post("/api/plan", self._plan),
            web.get("/api/batches", self._batches),
            web.post("/api/batches/{job}", self._batch_run),
            web.delete("/api/batches/{job}", self._batch_cancel),
            web.get("/api/runs", self._runs),
            web.get("/api/runs/{number:[0-9]+}", self._run),
            web.delete("/api/runs/{number:[0-9]+}", self._cancel),
        ]

    # -- what is set aside

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        kind, names = _kind(query.get("kind")), self._names(query)
        limit = _whole(query.get("limit", _LIST), "limit", 1, _MOST_KEYS)
        rows = await self._operations.set_aside(kind, query.get("store"), query.get("entity"), limit)
        return answer({"kind": kind, "total": self._operations.count_aside(kind, names), "keys": rows})

    async def _release(self, request: web.Request) -> web.Response:
        kind, names, keys, reason = await self._chosen(request)
        return answer({"kind": kind, "keys": self._operations.release(kind, names, keys, reason)})

    async def _drop(self, request: web.Request) -> web.Response:
        kind, names, keys, reason = await self._chosen(request)
        return answer({"kind": kind, "keys": self._operations.drop(kind, names, keys, reason)})

    async def _chosen(self, request: web.Request) -> tuple[str, list[QueueName], set[Key] | None, str]:
        body = await _body(request)
        reason = body.get("reason") or _REASON
        if not isinstance(reason, str):
            raise RequestError("`reason` must be a text")
        return _kind(body.get("kind")), self._names(body), self._keys(body), reason

    # -- backfill

    async def _backfill(self, request: web.Request) -> web.Response:
        body = await _body(request)
        names, keys = self._names(body), self._keys(body)
        self._operations.backfill(names, keys)
        return answer({"queues": [{"store": name.store, "entity": name.entity} for name in names]})

    async def _backfill_state(self, request: web.Request) -> web.Response:
        return answer({"queues": [self._operations.backfilled(name) for name in self._names(request.query)]})

    async def _keys_state(self, request: web.Request) -> web.Response:
        body = await _body(request)
        names, keys = self._names(body), self._keys(body)
        if keys is None:
            raise RequestError("`keys` is missing")
        moving, aside = 0, []
        for name in names:
            still, rows = await self._operations.waiting(name, keys)
            moving += still
            aside += rows
        states = [self._operations.backfilled(name) for name in names]
        why = "; ".join(dict.fromkeys(text for s in states if (text := s["problem"] or s["waits_for"])))
        return answer({"moving": moving, "set_aside": aside, "why": why})

    # -- runs

    async def _reconcile(self, request: web.Request) -> web.Response:
        body = await _body(request)
        fix, foreign = body.get("fix", False), body.get("foreign", False)
        if not isinstance(fix, bool) or not isinstance(foreign, bool):
            raise RequestError("`fix` and `foreign` must be true or false")
        if foreign and not fix:
            raise RequestError("`foreign` goes with `fix` only")
        return answer(self._operations.reconcile(self._names(body), fix=fix, foreign=foreign).as_json(full=False))

    async def _plan(self, request: web.Request) -> web.Response:
        body = await _body(request)
        limit = _whole(body.get("limit", 20), "limit", 0, LISTED)
        return answer(self._operations.plan(self._names(body), limit).as_json(full=False))

    async def _runs(self, _request: web.Request) -> web.Response:
        return answer({"runs": [run.as_json(full=False) for run in self._operations.runs.all()]})

    async def _run(self, request: web.Request) -> web.Response:
        run = self._operations.runs.get(int(request.match_info["number"]))
        return answer(run.as_json(full=request.query.get("brief") != "1"))

    async def _cancel(self, request: web.Request) -> web.Response:
        run = self._operations.runs.cancel(int(request.match_info["number"]))
        return answer(run.as_json(full=False))

    # -- jobs by the clock

    async def _batches(self, _request: web.Request) -> web.Response:
        return answer({"batches": [job.as_json() for job in self._operations.board.jobs.values()]})

    async def _batch_run(self, request: web.Request) -> web.Response:
        job = self._operations.board.job(request.match_info["job"])
        job.start()
        await job.secured()
        return answer(job.as_json())

    async def _batch_cancel(self, request: web.Request) -> web.Response:
        job = self._operations.board.job(request.match_info["job"])
        return answer({"cancelled": job.cancel(), **job.as_json()})

    # -- what is named

    def _names(self, given: Mapping[str, Any]) -> list[QueueName]:
        """The queues of an entity, of a store, of both, or all."""
        return chosen_queues(self._config, given.get("store"), given.get("entity"))

    def _keys(self, body: Mapping[str, Any]) -> set[Key] | None:
        given = body.get("keys")
        if given is None:
            return None
        if not isinstance(given, list) or not all(type(key) in (int, str) for key in given):
            raise RequestError("`keys` must be a list of keys")
        if len(given) > _MOST_KEYS:
            raise RequestError(f"more than {_MOST_KEYS} keys at once", hint="Name the entity alone to take all of it.")
        entity = body.get("entity")
        if not isinstance(entity, str):
            raise RequestError("keys belong to an entity", hint="Name the entity too.")
        return {parse_key(self._config.entity[entity], key) for key in given}


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as exc:
        raise RequestError(f"the body is no JSON: {exc}") from None
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    return body


def _kind(value: object) -> str:
    if value not in SET_ASIDE:
        raise RequestError(f"`kind` must be one of {', '.join(SET_ASIDE)}")
    return str(value)


def _whole(value: object, name: str, least: int, most: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise RequestError(f"`{name}` must be a whole number from {least} to {most}")
    return number

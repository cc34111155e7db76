"""GraphQL over the store's transport: the shop's budget is kept, and every way in which an answer fails is told apart.

Invariant: an answer counts as data only when it is JSON of the right shape and names no error; what failed in one part of
a call that has several is told by the name of that part. No secret and no more than 200 characters of the shop's words
are quoted.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from adapters.store import answers as say
from adapters.store.base import StoreSettings
from adapters.store.shopify.cost import CostBucket
from adapters.store.transport import Transport
from daemon.errors import Retry, StoreError

API: Final = "2026-10"
"""Version of the Admin API that every document here is written for."""
Json = dict[str, Any]

_NAME: Final = re.compile(r"\s*(?:query|mutation)\s+(\w+)")
_KINDS: Final[Mapping[str, tuple[str, Retry, str]]] = {
    "THROTTLED": (say.THROTTLED, Retry.LATER, "asks for fewer calls"),
    "MAX_COST_EXCEEDED": (say.TOO_LARGE, Retry.LATER, "finds the call too large"),
    "INTERNAL_SERVER_ERROR": (say.FAILED, Retry.LATER, "failed"),
    "TIMEOUT": (say.FAILED, Retry.LATER, "did not finish in time"),
    "ACCESS_DENIED": (say.AUTH, Retry.OPERATOR, "does not give the token this right"),
    "SHOP_INACTIVE": (say.AUTH, Retry.OPERATOR, "is closed"),
    "INVALID_VARIABLE": (say.REFUSED, Retry.NEVER, "refused the call"),
    "BAD_USER_INPUT": (say.REFUSED, Retry.NEVER, "refused the call"),
    "BAD_REQUEST": (say.REFUSED, Retry.NEVER, "refused the call"),
}


class Client:
    """One shop. `background` calls leave half of the shop's budget to the others."""

    def __init__(self, settings: StoreSettings) -> None:
        self.transport = Transport.of(settings, {"X-Shopify-Access-Token": settings.token})
        self.bucket = CostBucket()
        self._background = False
        self._url = self.transport.url(f"admin/api/{API}/graphql.json")

    def in_background(self) -> Client:
        """The same shop, on the same points, of which each call leaves half to the others."""
        made = copy.copy(self)
        made._background = True
        return made

    async def run(
        self, document: str, variables: Mapping[str, Any] | None = None, *, background: bool = False, adds: bool = False
    ) -> Json:
        """The data of one operation, all of it; `adds`: one that adds up when it is made twice. Raises StoreError."""
        data, errors = await self.parts(document, variables, background=background, adds=adds)
        for error in errors.values():
            raise error
        return data

    async def parts(
        self, document: str, variables: Mapping[str, Any] | None = None, *, background: bool = False, adds: bool = False
    ) -> tuple[Json, dict[str, StoreError]]:
        """The data of one operation, and by the name of a part what failed in it. Raises StoreError for the whole."""
        match = _NAME.match(document)
        name = match[1] if match else ""
        loop = asyncio.get_running_loop()
        while (wait := self.bucket.wait(name, loop.time(), background=background or self._background)) > 0.0:
            await asyncio.sleep(wait)
        body = orjson.dumps({"query": document, "variables": variables or {}, "operationName": name})
        try:
            answer = await self.transport.call("POST", self._url, body=body, limit=say.LARGE_ANSWER, repeat=not adds)
        except StoreError as error:
            if error.code == say.THROTTLED and error.retry_after is None:
                error.retry_after = self.bucket.throttled(name)
            raise
        value = self.transport.json(answer, exact=True)
        if not isinstance(value, dict):
            raise self.transport.wrong_shape('an object "data"')
        extensions = value.get("extensions")
        self.bucket.learn(name, extensions.get("cost") if isinstance(extensions, dict) else None, loop.time())
        data = value.get("data")
        errors = self._errors(value.get("errors"), name)
        if not isinstance(data, dict):
            if errors:
                raise errors[0][1]
            raise self.transport.wrong_shape('an object "data"')
        failed: dict[str, StoreError] = {}
        for part, problem in errors:
            if not part:
                raise problem
            failed.setdefault(part, problem)
        return data, failed

    def _errors(self, said: object, name: str) -> list[tuple[str, StoreError]]:
        """Each error with the name of the part that it is about; "" for the whole."""
        if said is None or said == []:
            return []
        if isinstance(said, str):  # how a wrong token is answered in a 200
            said = [{"message": said}]
        if not isinstance(said, list):
            raise self.transport.wrong_shape('a list "errors"')
        found = []
        for one in said:
            error = one if isinstance(one, dict) else {}
            path = error.get("path")
            part = path[0] if isinstance(path, list) and path and isinstance(path[0], str) else ""
            found.append((part, self._error(error, name)))
        return found

    def _error(self, error: Mapping[str, Any], name: str) -> StoreError:
        extensions = error.get("extensions")
        kind = extensions.get("code") if isinstance(extensions, dict) else None
        message = error.get("message")
        words = self.transport.quote(message) if isinstance(message, str) else ""
        if kind is None and words == "Throttled":
            kind = "THROTTLED"
        quoted = f" ({words})" if words else ""
        known = _KINDS.get(kind) if isinstance(kind, str) else None
        if known is None:
            text = f"answered an error that erpsyncd does not know{quoted}"
            hint = f"Does the shop serve version {API} of the Admin API?"
            return self.transport.error(say.ANSWER, Retry.OPERATOR, text, hint)
        code, retry, text = known
        hint = "Give the app the access scope that the words name." if kind == "ACCESS_DENIED" else ""
        wait = self.bucket.throttled(name) if code == say.THROTTLED else None
        return self.transport.error(code, retry, f"{text}{quoted}", hint, wait)

    def shape(self, value: Any, kind: type, wanted: str) -> Any:
        """The value, when it is of that type; else the error for an answer of another shape."""
        if not isinstance(value, kind):
            raise self.transport.wrong_shape(wanted)
        return value

"""GraphQL to one Vendure: login, one request, and what an error in its answer means.

Invariant: what leaves here is data of an answer without errors, or StoreError. A session's token is as secret as the
password that it was got with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from adapters.store import answers as say
from adapters.store.base import StoreSettings
from adapters.store.loan import Picture
from adapters.store.transport import Answer, Transport
from adapters.store.vendure.setting import Setting
from daemon.errors import Retry, StoreError
from daemon.model import Outcome, Status

REJECTED: Final = "E-STORE-REJECTED"
LEFT_OUT: Final = "E-STORE-LEFT-OUT"
UNSENDABLE: Final = "E-STORE-UNSENDABLE"
UNMAPPED: Final = "E-STORE-UNMAPPED"
"""The shop has no such variant, customer, location or channel; the document was not sent."""
MISFIT: Final = "E-STORE-MISFIT"
"""The shop lacks what the options of its adapter name."""

_LOGIN: Final = """mutation Login($user: String!, $password: String!) {
  login(username: $user, password: $password) { __typename ... on ErrorResult { errorCode message } } }"""

# The database's words reach the answer as they are (seen with PostgreSQL; MySQL's and SQLite's from their manuals).
_BUSY: Final = ("deadlock", "could not serialize", "lock wait timeout", "lock timeout", "database is locked")
_BAD_VALUE: Final = (
    "out of range",
    "invalid input syntax",
    "violates",
    "value too long",
    "data too long",
    "byte size limit",
)
_OF_THE_DATA: Final = ("ENTITY_NOT_FOUND", "USER_INPUT_ERROR", "BAD_USER_INPUT", "ILLEGAL_OPERATION_ERROR")
_OF_THE_QUERY: Final = ("GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED")


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of `errors`."""

    code: str
    message: str
    path: str
    """The field of the operation that failed; "" where none is named."""


@dataclass(frozen=True, slots=True)
class Reply:
    data: Mapping[str, Any] | None
    problems: Sequence[Problem]


class Wire:
    """The connection to one shop's admin API."""

    def __init__(self, settings: StoreSettings, setting: Setting) -> None:
        self._setting = setting
        self._password = settings.token
        self._session = ""
        self._logging_in = asyncio.Lock()
        key = bool(settings.token) and not setting.login
        self.transport = Transport.of(settings, {"vendure-api-key": settings.token} if key else {})

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, channel: str = "", *, adds: bool = False
    ) -> Mapping[str, Any]:
        """The data of one request. `adds`: made twice it would add twice, so it is never repeated unasked. Raises StoreError
        for an answer with errors."""
        reply = await self.reply(query, variables, channel, adds=adds)
        if reply.problems or reply.data is None:
            raise self.failure(reply.problems)
        return reply.data

    async def reply(
        self, query: str, variables: Mapping[str, Any] | None = None, channel: str = "", *, adds: bool = False
    ) -> Reply:
        """The answer with its errors, where each may be about one field only. Raises StoreError when there is none."""
        body = orjson.dumps({"query": query, "variables": variables or {}})
        if len(body) > self._setting.body_limit:
            raise self.transport.error(
                say.TOO_LARGE,
                Retry.LATER,
                f"a call of {len(body)} bytes is more than the {self._setting.body_limit} that the shop takes",
                f"Lower {self.transport.where}.batch_size, or raise the shop's limit and options.body_limit.",
            )
        return await self._authorized(body, channel, adds=adds)

    async def upload(
        self, query: str, variables: Mapping[str, Any], place: str, picture: Picture, name: str, channel: str
    ) -> Mapping[str, Any]:
        """The data of one request that carries a file, sent piece by piece, to the variable at `place`. Never repeated.
        Raises StoreError."""
        edge = f"erpsyncd-{picture.sha256}"
        parts = {"operations": {"query": query, "variables": variables}, "map": {"0": [f"variables.{place}"]}}
        head = b"".join(
            f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'.encode() + orjson.dumps(value) + b"\r\n"
            for key, value in parts.items()
        )
        file = f'Content-Disposition: form-data; name="0"; filename="{name}"\r\nContent-Type: {picture.media_type}'
        head += f"--{edge}\r\n{file}\r\n\r\n".encode()
        tail = f"\r\n--{edge}--\r\n".encode()

        async def whole() -> AsyncIterator[bytes]:
            yield head
            async for piece in picture.chunks:
                yield piece
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={edge}",
            "Content-Length": str(len(head) + picture.size + len(tail)),
            "Apollo-Require-Preflight": "true",
        }
        if self._setting.login:
            headers["Authorization"] = f"Bearer {self._session or await self._log_in('')}"
        reply = self._read(await self._post(whole(), headers, channel, adds=True))
        if reply.problems or reply.data is None:
            raise self.failure(reply.problems)
        return reply.data

    async def _authorized(self, body: bytes, channel: str, *, adds: bool) -> Reply:
        """With a session where one is needed; one that the shop has forgotten is made anew, once."""
        if not self._setting.login:
            return await self._send(body, {}, channel, adds=adds)
        known = self._session or await self._log_in("")
        reply = await self._send(body, {"Authorization": f"Bearer {known}"}, channel, adds=adds)
        if not any(problem.code == "FORBIDDEN" for problem in reply.problems):
            return reply
        known = await self._log_in(known)
        return await self._send(body, {"Authorization": f"Bearer {known}"}, channel, adds=adds)

    async def _log_in(self, stale: str) -> str:
        async with self._logging_in:
            if self._session and self._session != stale:
                return self._session  # another call was first
            self._session = ""
            variables = {"user": self._setting.login, "password": self._password}
            body = orjson.dumps({"query": _LOGIN, "variables": variables})
            answer = await self._post(body, {}, "", adds=False)
            reply = self._read(answer)
            if reply.problems or reply.data is None:
                raise self.failure(reply.problems)
            said = self.part(reply.data, "login", dict)
            if "errorCode" in said:
                where = self.transport.where
                text = f"does not let {self._setting.login} in: {self.transport.quote(str(said.get('message')))}"
                hint = f"Correct {where}.options.user or {where}.token (the password)."
                raise self.transport.error(say.AUTH, Retry.OPERATOR, text, hint)
            token = answer.headers.get("vendure-auth-token", "")
            if not token:
                hint = 'Let authOptions.tokenMethod of the shop include "bearer", or use an API key.'
                raise self.transport.error(say.AUTH, Retry.OPERATOR, "gives no session token at login", hint)
            self.transport.hide(token)
            self._session = token
            return token

    async def _send(self, body: bytes, headers: Mapping[str, str], channel: str, *, adds: bool) -> Reply:
        return self._read(await self._post(body, headers, channel, adds=adds))

    async def _post(
        self, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str], channel: str, *, adds: bool
    ) -> Answer:
        if channel:
            headers = {**headers, "vendure-token": channel}
        transport = self.transport
        return await transport.call(
            "POST", transport.base, body=body, headers=headers, limit=say.LARGE_ANSWER, also=(400,), repeat=not adds
        )

    def _read(self, answer: Answer) -> Reply:
        if answer.status == 400:
            try:
                value = orjson.loads(answer.body)
            except ValueError:
                value = None
        else:
            value = self.transport.json(answer, exact=True)
        problems = _problems(value)
        if answer.status == 400 and not any(problem.code in _OF_THE_QUERY for problem in problems):
            raise self.transport.refusal(answer)
        data = value.get("data") if isinstance(value, dict) else None
        if not problems and not isinstance(data, dict):
            raise self.transport.wrong_shape('"data" or "errors"')
        return Reply(data if isinstance(data, dict) else None, problems)

    def failure(self, problems: Sequence[Problem]) -> StoreError:
        """The error for an answer with errors; the gravest one decides."""
        verdicts = [self._verdict(problem) for problem in problems]
        order = {Retry.OPERATOR: 0, Retry.LATER: 1, Retry.NEVER: 2}
        if not verdicts:
            return self.transport.wrong_shape("the data that was asked for")
        return min(verdicts, key=lambda error: order[error.retry])

    def _verdict(self, problem: Problem) -> StoreError:
        transport = self.transport
        words = transport.quote(problem.message) or "no reason"
        text = problem.message.lower()
        if problem.code in ("FORBIDDEN", "UNAUTHORIZED"):
            what = f" ({transport.quote(problem.path)})" if problem.path else ""
            hint = f"Renew {transport.where}.token, or give its role the permissions that docs/store-vendure.md lists."
            return transport.error(say.AUTH, Retry.OPERATOR, f"does not let us do this{what}: {words}", hint)
        if problem.code == "CHANNEL_NOT_FOUND":
            hint = f"Correct {transport.where}.options.channel or price_lists."
            return transport.error(MISFIT, Retry.OPERATOR, f"does not know a channel: {words}", hint)
        if problem.code in _OF_THE_QUERY:
            hint = "Is a custom field of the options declared in the shop, with this name? Is it Vendure 3?"
            return transport.error(MISFIT, Retry.OPERATOR, f"does not understand the request: {words}", hint)
        if any(word in text for word in _BUSY):
            return transport.error(say.BUSY, Retry.LATER, f"had calls in each other's way: {words}")
        if problem.code in _OF_THE_DATA or any(word in text for word in _BAD_VALUE):
            return transport.error(say.REFUSED, Retry.NEVER, f"refused the call: {words}")
        return transport.error(say.FAILED, Retry.LATER, f"failed: {words}")

    def part(self, value: Any, name: str, kind: type) -> Any:
        """A part of an answer that has to be there."""
        found = value.get(name) if isinstance(value, Mapping) else None
        if not isinstance(found, kind):
            raise self.transport.wrong_shape(f'"{name}"')
        return found

    async def each(
        self, field: str, kind: str, selection: str, inputs: Mapping[str, Mapping[str, Any]], channel: str = ""
    ) -> tuple[dict[str, Mapping[str, Any]], list[Outcome]]:
        """One mutation a name, in one request: what each answered, and the outcomes of those that failed.

        Vendure runs them one after the other, each in its own transaction, and stops at the first that fails; so that one
        is set aside and the request goes out again. Raises StoreError for what is no one's own fault.
        """
        left = dict(inputs)
        failed: list[Outcome] = []
        while left:
            names = list(left)
            heads = ", ".join(f"$i{n}: {kind}" for n in range(len(names)))
            calls = "\n".join(f"  a{n}: {field}(input: $i{n}) {{ {selection} }}" for n in range(len(names)))
            reply = await self.reply(
                f"mutation Each({heads}) {{\n{calls}\n}}",
                {f"i{n}": left[name] for n, name in enumerate(names)},
                channel,
            )
            if not reply.problems and reply.data is not None:
                good, refused = self._said(names, reply.data)
                return good, failed + refused
            error = self.failure(reply.problems)
            place = reply.problems[0].path[1:] if reply.problems else ""
            if error.retry is not Retry.NEVER or not place.isdigit() or int(place) >= len(names):
                raise error
            name = names[int(place)]
            failed.append(Outcome(name, Status.REJECTED, error.message, error.code))
            del left[name]
        return {}, failed

    def _said(
        self, names: Sequence[str], data: Mapping[str, Any]
    ) -> tuple[dict[str, Mapping[str, Any]], list[Outcome]]:
        good: dict[str, Mapping[str, Any]] = {}
        refused: list[Outcome] = []
        for n, name in enumerate(names):
            said = data.get(f"a{n}")
            if isinstance(said, list) and said:
                said = said[0]
            if not isinstance(said, Mapping):
                refused.append(Outcome(name, Status.RETRY, "not in the answer", LEFT_OUT))
            elif "errorCode" in said:
                refused.append(Outcome(name, Status.REJECTED, self.words(said), REJECTED))
            else:
                good[name] = said
        return good, refused

    def words(self, said: Mapping[str, Any]) -> str:
        """The reason in an error result: its own detail where it has one, else its message or code."""
        text = said.get("transitionError") or said.get("fulfillmentHandlerError") or said.get("message")
        if not text or str(text).startswith("errorResult."):  # a message that the shop did not translate
            text = said.get("errorCode")
        return self.transport.quote(str(text)) or "the shop gave no reason"


def _problems(value: Any) -> list[Problem]:
    errors = value.get("errors") if isinstance(value, dict) else None
    found: list[Problem] = []
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            extensions = error.get("extensions")
            code = extensions.get("code") if isinstance(extensions, dict) else None
            path = error.get("path")
            first = path[0] if isinstance(path, list) and path else ""
            found.append(Problem(str(code or ""), str(error.get("message") or ""), str(first)))
    return found

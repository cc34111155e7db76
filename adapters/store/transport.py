"""HTTP to one storefront: one kept-alive session, bounded answers, every failure translated once.

Invariant: nothing but StoreError (and cancellation) leaves `call` and `json`. Its `retry` is the decision; its text
quotes at most 200 characters of the answer and never a header value, a user or password, or a query. One failed call
does not harm the next one: the session stays usable after timeouts, resets and cancellation until `close`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from adapters.store import answers as say
from adapters.store.base import StoreSettings
from daemon import __version__
from daemon.errors import ConfigError, Retry, StoreError


class Answer(NamedTuple):
    """A 2xx answer, its body whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Transport:
    """The session of one store."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        headers: Mapping[str, str],
        secrets: Iterable[str],
        timeout: float,
        connections: int,
        pace: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`secrets` are blotted out wherever the store's own words are quoted; `pace` is awaited before each call. Raises
        ConfigError for a wrong url."""
        self.where = f"store.{name}"
        self._base = _base(url, self.where)
        self.place = f"{self._base.host}:{self._base.port}"
        self._root = str(self._base).rstrip("/")
        self._headers = {
            "User-Agent": f"erpsyncd/{__version__}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            **headers,
        }
        self._secrets = say.spellings(secrets)
        self._timeout = timeout
        self._connections = connections
        self._pace = pace
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: StoreSettings, headers: Mapping[str, str], *secrets: str) -> Transport:
        """The session that the settings ask for. `secrets`: what else the headers give away besides the token."""
        return cls(
            settings.name,
            settings.url,
            headers=headers if settings.token else {},
            secrets=[settings.token, *secrets] if settings.token else [],
            timeout=settings.timeout,
            connections=settings.limits.concurrency + 2,
            pace=settings.pace,
        )

    async def open(self) -> None:
        """Make the session; nothing is sent. Raises StoreError for a token that no header can carry."""
        if self._session is not None:
            return
        for value in self._headers.values():
            if not value.isascii() or not value.isprintable():
                raise self.error(
                    say.AUTH, Retry.OPERATOR, "the token has characters that no header can carry", "Write it again."
                )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_connection_reused)
        trace.on_connection_create_end.append(_connection_made)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # one limit rules the whole call, see `call`
            headers=self._headers,
            trace_configs=[trace],
        )

    async def close(self) -> None:
        """End the session. Idempotent; safe before and after a failed `open`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def base(self) -> URL:
        """The store's own address, for one that has a single one."""
        return URL(self._root, encoded=True)

    def url(self, path: str, query: str = "") -> URL:
        """An address below the store's; `path` and `query` are percent-encoded already."""
        return URL(f"{self._root}/{path}?{query}" if query else f"{self._root}/{path}", encoded=True)

    async def call(
        self,
        method: str,
        url: URL,
        *,
        body: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = say.SMALL_ANSWER,
        also: Collection[int] = (),
        repeat: bool = True,
    ) -> Answer:
        """One call and its whole 2xx answer, or one with a status in `also`. A kept-alive connection that proves dead is
        replaced once and the call repeated, unless `repeat` is false: for a call that adds up when it is made twice, or
        whose body is a stream."""
        session = self._session
        if session is None:
            raise self.error(say.CLOSED, Retry.OPERATOR, "the session is not open")
        if self._pace is not None:
            await self._pace()
        try:
            async with asyncio.timeout(self._timeout):
                seen = SimpleNamespace(reused=False)
                try:
                    return await self._once(session, method, url, body, headers, limit, also, seen)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    if not repeat or not seen.reused or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                return await self._once(session, method, url, body, headers, limit, also, seen)
        except TimeoutError:
            text = f"no answer from {self.place} within {self._timeout:g} s; the call may have succeeded"
            raise self.error(say.TIMEOUT, Retry.LATER, text) from None
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            raise self._translated(error) from None

    async def _once(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        body: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str] | None,
        limit: int,
        also: Collection[int],
        seen: SimpleNamespace,
    ) -> Answer:
        async with session.request(
            method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=seen
        ) as response:
            if not 200 <= response.status < 300 and response.status not in also:
                raise await self._refusal(response)
            content = await self._read(response.content, limit)
            return Answer(response.status, response.headers, content)

    async def _read(self, stream: aiohttp.StreamReader, limit: int) -> bytes:
        first = await stream.readany()
        if stream.at_eof() and len(first) <= limit:
            return first
        parts, size = [first], len(first)
        while size <= limit:
            part = await stream.readany()
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
        raise self.error(say.ANSWER, Retry.OPERATOR, f"answered more than {limit / say.MIB:g} MiB", self._ask_url())

    async def _refusal(self, response: aiohttp.ClientResponse) -> StoreError:
        known = say.verdict(response.status)
        words = ""
        wait = None
        if known is say.REDIRECT:
            words = say.shown(response.headers.get("Location"), response.url)
        else:
            body = b""
            try:
                async with asyncio.timeout(say.ERROR_BODY_SECONDS):
                    while len(body) < say.ERROR_BODY and (part := await response.content.readany()):
                        body += part
            except (TimeoutError, aiohttp.ClientError, OSError):
                pass  # the status has decided; the words are a courtesy
            words = "HTML" if say.is_html(response.headers, body) else self.quote(body)
        if known.retry is Retry.LATER:
            now = say.http_date(response.headers.get("Date")) or datetime.now(UTC)
            wait = say.retry_after(response.headers.get("Retry-After"), now)
        return self._refused(known, response.status, words, wait)

    def refusal(self, answer: Answer) -> StoreError:
        """The error for an answer that `also` let through, as it would have been without."""
        words = "HTML" if say.is_html(answer.headers, answer.body) else self.quote(answer.body)
        return self._refused(say.verdict(answer.status), answer.status, words, None)

    def _refused(self, known: say.Verdict, status: int, words: str, wait: float | None) -> StoreError:
        text = f"{known.text} (HTTP {status}{': ' + words if words else ''})"
        return self.error(known.code, known.retry, text, known.hint.format(where=self.where), wait)

    def hide(self, secret: str) -> None:
        """Blot this out too wherever the store's own words are quoted."""
        self._secrets = sorted({*self._secrets, *say.spellings([secret])}, key=len, reverse=True)

    def json(self, answer: Answer, *, exact: bool = False) -> Any:
        """The JSON value of an answer. With `exact`, a number with a fraction becomes a decimal string."""
        try:
            if not exact:
                return orjson.loads(answer.body)
            value = json.loads(answer.body.decode(), parse_float=say.exact, parse_constant=say.no_number)
            if b"\\u" in answer.body:
                orjson.dumps(value, default=str)  # refuses a lone surrogate, which nothing later could encode
            return value
        except (ValueError, TypeError, RecursionError):
            raise self.not_json(answer) from None

    def not_json(self, answer: Answer) -> StoreError:
        """The error for an answer that is no JSON."""
        if not answer.body.strip():
            text = f"answered nothing (HTTP {answer.status}) instead of JSON"
        elif say.is_html(answer.headers, answer.body):
            text = "answered HTML instead of JSON"
        else:
            text = f"answered something else instead of JSON: {self.quote(answer.body)}"
        return self.error(say.ANSWER, Retry.OPERATOR, text, self._ask_url())

    def wrong_shape(self, wanted: str) -> StoreError:
        """The error for JSON that is not what the protocol says."""
        return self.error(say.ANSWER, Retry.OPERATOR, f"answered JSON without {wanted}", self._ask_url())

    def quote(self, said: bytes | str) -> str:
        """The store's words, fit for a log line: short, printable, no secret."""
        head = said[: say.ERROR_BODY]
        text = head.decode(errors="replace") if isinstance(head, bytes) else head
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if len(said) >= say.ERROR_BODY and self._secrets:
            text = text[: -max(map(len, self._secrets))]  # a secret that was cut at the end is not recognised
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= say.QUOTED else text[: say.QUOTED - 1] + "…"

    def error(self, code: str, retry: Retry, text: str, hint: str = "", wait: float | None = None) -> StoreError:
        """A StoreError of this store."""
        text = f"{text}." if hint else text
        return StoreError(text, where=self.where, hint=hint, code=code, retry=retry, retry_after=wait)

    def _ask_url(self) -> str:
        return f"Is {self.where}.url right?"

    def _translated(self, error: Exception) -> StoreError:
        place = self.place
        match error:
            case aiohttp.ClientConnectorCertificateError():
                text, hint = f"the certificate of {place} is not valid for us", "Renew it, or trust its issuer."
                return self.error(say.TLS, Retry.OPERATOR, text, hint)
            case aiohttp.ClientConnectorSSLError() if not isinstance(_cause(error), ssl.SSLEOFError):
                return self.error(say.TLS, Retry.OPERATOR, f"{place} speaks no TLS that we can use", self._ask_url())
            case aiohttp.ClientConnectorDNSError():
                return self.error(say.UNREACHABLE, Retry.LATER, f"no address is known for the host {self._base.host}")
            case aiohttp.ClientConnectorError():
                return self.error(say.UNREACHABLE, Retry.LATER, f"cannot connect to {place}{_reason(_cause(error))}")
            case aiohttp.ClientPayloadError():
                text = f"the answer of {place} broke off; the call may have succeeded"
                return self.error(say.UNREACHABLE, Retry.LATER, text)
            case aiohttp.ClientConnectionError() | OSError():
                text = f"{place} closed the connection{_reason(error)}; the call may have succeeded"
                return self.error(say.UNREACHABLE, Retry.LATER, text)
            case aiohttp.ClientResponseError():
                return self.error(
                    say.ANSWER, Retry.OPERATOR, f"{place} answered something that is no HTTP", self._ask_url()
                )
            case RuntimeError() if self._session is None:
                return self.error(say.CLOSED, Retry.OPERATOR, "the session was closed during the call")
        return self.error(say.ANSWER, Retry.OPERATOR, f"the call failed with {type(error).__name__}", self._ask_url())


async def _connection_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.reused = True


async def _connection_made(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.reused = False


def _base(url: str, where: str) -> URL:
    try:
        base = URL(url)
    except ValueError:
        base = URL()
    place = f"{where}.url"
    if base.scheme not in {"http", "https"} or not base.host:
        raise ConfigError("must be an address such as https://shop.example/erpsyncd", where=place)
    if base.raw_user or base.raw_password or base.raw_query_string or base.raw_fragment:
        raise ConfigError("must not hold a user, a password, a query or a fragment", where=place)
    return base


def _cause(error: Exception) -> BaseException | None:
    return getattr(error, "os_error", None) or error.__cause__


def _reason(error: BaseException | None) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return f" ({os.strerror(number).lower()})" if number in errno.errorcode and number is not None else ""

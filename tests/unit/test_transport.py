"""Laws of the transport: what statuses, headers, broken answers and dead connections become, and what texts never hold.

Invariant: every case ends in an Answer or a StoreError; no other exception leaves the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.store import answers
from adapters.store.http import IDS_PER_CALL, QUERY_BYTES, _queries
from adapters.store.transport import Transport
from daemon.errors import ConfigError, Retry, StoreError

TOKEN = "s3cret-token"
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def transport(url: str, *, token: str = TOKEN, timeout: float = 5.0, connections: int = 4) -> Transport:
    headers = {"Authorization": f"Bearer {token}"}
    return Transport("main", url, headers=headers, secrets=[token], timeout=timeout, connections=connections)


class Server:
    """A TCP server that says what a test tells it; `requests` counts whole requests over all connections."""

    def __init__(self, talk: Talk) -> None:
        self.requests = 0
        self.connections = 0
        self.port = 0
        self._talk = talk
        self._tasks: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
                )
                await reader.readexactly(int(length.split(b":")[1]))
                self.requests += 1
                await self._talk(reader, writer, self.requests)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{self.port}/api"
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


def saying(*said: bytes, then_close: bool = False) -> Talk:
    """The n-th request gets the n-th of these words, the last one for all that follow."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(said[min(number, len(said)) - 1])
        if then_close:
            writer.close()

    return talk


def answer(body: bytes, head: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


async def failure(made: Transport, method: str = "POST") -> StoreError:
    await made.open()
    try:
        with pytest.raises(StoreError) as caught:
            await made.call(method, made.url("stock"), body=b"{}")
        return caught.value
    finally:
        await made.close()


# Statuses and headers


@given(st.integers(100, 999).filter(lambda status: not 200 <= status < 300))
def test_every_status_has_a_decision(status: int) -> None:
    known = answers.verdict(status)
    assert known.code.startswith("E-STORE-")
    if 500 <= status < 600 or status == 429:
        assert known.retry is Retry.LATER
    if known.retry is Retry.NEVER:
        assert status in {400, 409, 422}, "only a refusal of the content may cost documents"


@given(st.text(max_size=40))
def test_any_retry_after_is_bounded_or_ignored(text: str) -> None:
    wait = answers.retry_after(text, NOW)
    assert wait is None or 0 <= wait <= answers.MAX_RETRY_AFTER


@given(st.integers(-(10**6), 10**6))
def test_a_date_in_retry_after_counts_from_the_answers_own_clock(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert answers.retry_after(date, NOW) == min(max(seconds, 0), answers.MAX_RETRY_AFTER)


@pytest.mark.parametrize("text", [None, "", " ", "soon", "-1", "1e9", "nan", "inf", "٣", "1,5", "0x10", "9" * 5000])
def test_junk_in_retry_after_is_no_wait(text: str | None) -> None:
    assert answers.retry_after(text, NOW) is None


async def test_a_skewed_clock_of_the_store_does_not_lengthen_the_wait() -> None:
    then = datetime(2001, 1, 1, tzinfo=UTC)
    head = b"429 Slow\r\nDate: %s\r\nRetry-After: %s" % tuple(
        format_datetime(moment, usegmt=True).encode() for moment in (then, then + timedelta(seconds=9))
    )
    async with Server(saying(answer(b"", head))).listen() as url:
        assert (await failure(transport(url))).retry_after == 9


# Exact numbers


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_fraction_keeps_its_value(value: Decimal) -> None:
    assert Decimal(answers.exact(format(value, "f"))) == value
    assert Decimal(answers.exact(f"{value:e}")) == value


# Texts


@given(st.text(), st.text(min_size=8, alphabet=st.characters(min_codepoint=33, max_codepoint=126)), st.text())
def test_a_quotation_is_short_printable_and_without_the_token(before: str, token: str, after: str) -> None:
    made = transport("https://shop.example/api", token=token)
    for said in (f"{before}{token}{after}", f"{before}{token}{after}".encode()):
        quoted = made.quote(said)
        assert len(quoted) <= answers.QUOTED
        assert quoted.isprintable()
        assert token not in quoted or token in f"{before}***{after}"


@pytest.mark.parametrize(
    "url",
    ["", "shop.example", "ftp://shop.example/", "https://", "https://user:pass@shop.example/", "https://shop.example/?key=pass",
     "https://shop.example/#pass", "https://[pass", "https://shop.example:99999/", "https://token-pass@shop.example"],
)  # fmt: skip
def test_an_unusable_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transport(url)
    assert caught.value.where == "store.main.url"
    assert "pass" not in str(caught.value).replace("a password", "")


def test_an_address_keeps_the_path_of_the_store() -> None:
    for url in ("https://shop.example/shop/api", "https://shop.example/shop/api/"):
        assert str(transport(url).url("stock", "id=a%7Cb")) == "https://shop.example/shop/api/stock?id=a%7Cb"


@given(st.lists(st.text(max_size=400), max_size=60))
@example([f"{n:03}" + "x" * 150 for n in range(100)])
@example([f"{n:03}" for n in range(1000)])
def test_ids_are_asked_for_once_each_in_addresses_of_bounded_length(ids: list[str]) -> None:
    queries = list(_queries(ids))
    assert sum(query.count("id=") for query in queries) == len(set(ids))
    assert all(len(query) <= QUERY_BYTES or query.count("id=") == 1 for query in queries)
    assert all(query.count("id=") <= IDS_PER_CALL for query in queries)


# Connections


async def test_a_refused_connection_is_for_later() -> None:
    async with Server(saying(b"")).listen() as url:
        pass
    error = await failure(transport(url))
    assert (error.code, error.retry) == (answers.UNREACHABLE, Retry.LATER)


async def test_an_unknown_host_is_for_later() -> None:
    error = await failure(transport("http://nowhere.invalid/api"))
    assert (error.code, error.retry) == (answers.UNREACHABLE, Retry.LATER)


async def test_tls_to_a_port_that_speaks_none_is_for_the_operator() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        error = await failure(transport(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert (error.code, error.retry) == (answers.TLS, Retry.OPERATOR)


async def test_a_reused_connection_that_is_closed_unanswered_is_replaced_once() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number == 2:
            writer.close()
        else:
            writer.write(answer(b"{}"))

    server = Server(talk)
    async with server.listen() as url:
        made = transport(url)
        await made.open()
        for _ in range(2):
            assert (await made.call("POST", made.url("stock"), body=b"{}")).body == b"{}"
        await made.close()
    assert (server.requests, server.connections) == (3, 2)


async def test_a_fresh_connection_that_is_closed_unanswered_is_a_failure_at_once() -> None:
    server = Server(saying(b"", then_close=True))
    async with server.listen() as url:
        error = await failure(transport(url))
    assert (error.code, error.retry, server.requests) == (answers.UNREACHABLE, Retry.LATER, 1)


async def test_a_store_that_always_closes_is_not_asked_forever() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number > 1:
            writer.close()
        else:
            writer.write(answer(b"{}"))

    server = Server(talk)
    async with server.listen() as url:
        made = transport(url)
        await made.open()
        await made.call("POST", made.url("stock"), body=b"{}")
        with pytest.raises(StoreError):
            await made.call("POST", made.url("stock"), body=b"{}")
        await made.close()
    assert server.requests == 3


@pytest.mark.parametrize(
    ("said", "code", "retry"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", answers.UNREACHABLE, Retry.LATER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", answers.UNREACHABLE, Retry.LATER),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", None, None),
        (b"HTTP/1.1 200", answers.UNREACHABLE, Retry.LATER),
        (b"220 mail.example ESMTP\r\n", answers.ANSWER, Retry.OPERATOR),
        (b"\x00\x01\x02\x03\r\n\r\n", answers.ANSWER, Retry.OPERATOR),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf", answers.FAILED, Retry.LATER),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 4\r\nContent-Length: 100\r\n\r\n", answers.THROTTLED, Retry.LATER),
    ],
)
async def test_a_broken_answer_has_a_decision(said: bytes, code: str | None, retry: Retry | None) -> None:
    async with Server(saying(said, then_close=True)).listen() as url:
        error = await failure(transport(url))
    if code is not None:
        assert (error.code, error.retry) == (code, retry)


async def test_words_that_never_end_do_not_hide_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ERROR_BODY_SECONDS", 0.05)
    async with Server(saying(b"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\nRetry-After: 4\r\n\r\nwait")).listen() as url:
        error = await failure(transport(url, timeout=30))
    assert (error.code, error.retry_after) == (answers.THROTTLED, 4.0)


async def test_an_endless_answer_is_cut() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            await writer.drain()

    async with Server(talk).listen() as url:
        error = await failure(transport(url, timeout=60))
    assert (error.code, error.retry) == (answers.ANSWER, Retry.OPERATOR)


async def test_waiting_for_a_free_connection_counts_as_time_of_the_call() -> None:
    never = asyncio.Event()

    async def talk(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _number: int) -> None:
        await never.wait()

    async with Server(talk).listen() as url:
        made = transport(url, timeout=0.2, connections=1)
        await made.open()
        calls = [made.call("POST", made.url("stock"), body=b"{}") for _ in range(3)]
        async with asyncio.timeout(5):
            errors = await asyncio.gather(*calls, return_exceptions=True)
        await made.close()
    assert [getattr(error, "code", None) for error in errors] == [answers.TIMEOUT] * 3


async def test_a_call_before_open_is_a_store_error() -> None:
    made = transport("http://127.0.0.1:9/")
    with pytest.raises(StoreError) as caught:
        await made.call("GET", made.url("stock"))
    assert caught.value.code == answers.CLOSED


async def test_the_session_can_be_opened_again() -> None:
    async with Server(saying(answer(b"{}"))).listen() as url:
        made = transport(url)
        for _ in range(2):
            await made.open()
            await made.open()
            assert made.json(await made.call("POST", made.url("stock"), body=b"{}")) == {}
            await made.close()
            await made.close()


async def test_no_cookie_is_kept() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer(b"{}", b"200 OK\r\nSet-Cookie: session=1; Path=/"))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        made = transport(f"http://localhost:{server.sockets[0].getsockname()[1]}")  # a name: numbers get no cookies
        await made.open()
        for _ in range(2):
            await made.call("GET", made.url("stock"))
        await made.close()
    assert len(seen) == 2
    assert not any(b"cookie" in head.lower() for head in seen)


async def test_a_certificate_that_nobody_vouches_for_is_for_the_operator(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    made = await asyncio.create_subprocess_exec(
        openssl, *words.split(), cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"{}"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        error = await failure(transport(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert (error.code, error.retry) == (answers.TLS, Retry.OPERATOR)

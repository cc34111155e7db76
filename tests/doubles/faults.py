"""What can go wrong with a call to the shop: the vocabulary of `Shop.inject`.

Invariant: a fault says what the caller sees and whether the shop wrote; it holds no state but Hold's events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


class Fault:
    """Something that goes wrong with a call."""


@dataclass(frozen=True)
class Reject(Fault):
    """These documents are rejected, the others written. `ids=None`: all of the call."""

    ids: Collection[str] | None = None
    error: str = "rejected by the shop"


@dataclass(frozen=True)
class Retry(Fault):
    """These documents are not written; the answer says `retry`."""

    ids: Collection[str] | None = None
    error: str = "locked by another process"


@dataclass(frozen=True)
class LeaveOut(Fault):
    """These documents are missing in the answer; `written` says whether they were stored."""

    ids: Collection[str] | None = None
    written: bool = False


@dataclass(frozen=True)
class FailAfterWrite(Fault):
    """Everything is written, then the answer is a 500, or with `drop` no answer: the connection is closed."""

    drop: bool = False


@dataclass(frozen=True)
class Hold(Fault):
    """The call waits until `release()`, with `after_write` when all is written; `reached` is set when one waits."""

    after_write: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.released.set()


@dataclass(frozen=True)
class Slow(Fault):
    """The call takes this long before it is handled."""

    seconds: float


@dataclass(frozen=True)
class Status(Fault):
    """This answer, and nothing is written."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""


def Throttle(retry_after: float | str | None = None, code: int = 429) -> Status:  # noqa: N802 one of the vocabulary
    """429 (or 503), with a Retry-After where given."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Status(code, headers, b'{"error": "too many calls"}')


def Html(code: int = 200) -> Status:  # noqa: N802
    """A web page where JSON should be."""
    return Status(code, {"Content-Type": "text/html; charset=utf-8"}, "<!doctype html><title>Shop</title><p>Hello")


def Empty500() -> Status:  # noqa: N802
    """A 500 without a word."""
    return Status(500)


@dataclass(frozen=True)
class Reset(Fault):
    """The TCP connection is reset without an answer and nothing is written.

    `idle_only`: only where the connection has carried a call before, as a server does that gave up a kept-alive
    connection in the same instant.
    """

    idle_only: bool = False

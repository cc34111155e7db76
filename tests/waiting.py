"""Wait for a condition instead of for time.

Invariant: a wait ends as soon as the condition holds, and never later than its deadline; then it says what it last saw.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Awaitable[T]], within: float = ..., every: float = ..., what: str = ...
) -> T: ...
@overload
async def until(condition: Callable[[], T], within: float = ..., every: float = ..., what: str = ...) -> T: ...
async def until(condition: Callable[[], Any], within: float = 10.0, every: float = 0.01, what: str = "") -> Any:
    """The first truthy value of `condition` (sync or async), asked every `every` seconds; else AssertionError."""
    last: object = None
    limit = asyncio.timeout(within)
    try:
        async with limit:
            while True:
                last = condition()
                if inspect.isawaitable(last):
                    last = await last
                if last:
                    return last
                await asyncio.sleep(every)
    except TimeoutError:
        if not limit.expired():
            raise  # the condition's own
    raise AssertionError(_complaint(condition, within, what, last))


def until_sync(condition: Callable[[], T], within: float = 10.0, every: float = 0.01, what: str = "") -> T:
    """The first truthy value of `condition`, asked every `every` seconds; else AssertionError."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(condition, within, what, value))
        time.sleep(every)


def _complaint(condition: Callable[..., object], within: float, what: str, last: object) -> str:
    return f"{what or getattr(condition, '__qualname__', condition)}: not within {within:g} s; last seen: {last!r}"

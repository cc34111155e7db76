"""Work that the shop goes on with by itself after its answer: looked at again and again until it ends or the time is up.

Invariant: a look is a read. The time between looks is not counted as slowness of the shop, and what does not end in time
is for another attempt, never for done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from adapters.store.loan import Pace

T = TypeVar("T")
FIRST: Final = 0.2
LONGEST: Final = 5.0


class Refused(Exception):
    """This document cannot be shown; the text says why. `code`: a more exact one than the ordinary."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class NotYet(Exception):
    """This document is to be sent again later; the text says what it waits for."""


async def ended(look: Callable[[], Awaitable[T | None]], seconds: float, pace: Pace, *, longest: float = LONGEST) -> T:
    """The first answer of `look` that is not None. Raises TimeoutError after so many seconds."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + seconds, FIRST
    while (answer := await look()) is None:
        left = until - loop.time()
        if left <= 0.0:
            raise TimeoutError
        with pace.aside():
            await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.6, longest)
    return answer


async def few(jobs: Iterable[Callable[[], Awaitable[None]]], most: int) -> None:
    """Do these jobs, `most` at a time. The first that fails ends the others, and its exception is raised."""
    queue = iter(jobs)

    async def worker() -> None:
        for job in queue:
            await job()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(worker())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None

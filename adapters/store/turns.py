"""Stock and orders take turns: a fulfilment or a cancel changes levels and reservations, which a stock call read just before.

Invariant: neither happens between the look of a stock call and its write, else pieces that are gone would be for sale again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """Many stock calls at a time, or one change of an order."""

    def __init__(self) -> None:
        self._gate = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._count = 0

    @contextlib.asynccontextmanager
    async def stock(self) -> AsyncIterator[None]:
        """Beside other stock calls, beside no order."""
        async with self._gate:
            self._count += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def order(self) -> AsyncIterator[None]:
        """Beside nothing; stock calls that come meanwhile wait."""
        async with self._gate:
            await self._idle.wait()
            yield

"""The images that the daemon lends an adapter, without a daemon.

Invariant: an image is known by the hash of its bytes, and one that was not added is missing as from the real sources.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.store.loan import Picture
from daemon.errors import Retry, StoreError


class Album:
    """Images by hash or address, and which of them were opened; their bytes come in pieces of so many."""

    def __init__(self, piece: int) -> None:
        self._piece = piece
        self._by: dict[str, tuple[str, bytes]] = {}
        self.opened: list[str] = []

    def add(self, data: bytes, url: str = "", kind: str = "image/png") -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._by[digest] = self._by[url] = kind, data
        return digest

    @contextlib.asynccontextmanager
    async def open(self, image: Mapping[str, Any]) -> AsyncIterator[Picture]:
        name = str(image.get("sha256") or image.get("url"))
        self.opened.append(name)
        if name not in self._by:
            raise StoreError(f"image {name} is in none of the sources", code="E-PICTURE-MISSING", retry=Retry.NEVER)
        kind, data = self._by[name]

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), self._piece):
                yield data[start : start + self._piece]

        yield Picture(kind, len(data), hashlib.sha256(data).hexdigest(), pieces())

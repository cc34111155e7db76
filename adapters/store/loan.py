"""What the daemon lends an adapter: a memory for the store's ids, the bytes of images, a place in the store's budget.

Invariant: an adapter works with the poorest of each: losing the memory costs calls and never truth, and without pictures
an image that has only a hash is refused, its document alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.errors import Retry, StoreError

NO_PICTURE = "E-STORE-NO-PICTURE"
"""The bytes of an image cannot be had."""


class Memory(Protocol):
    """A map of names to values by kind, kept over restarts, such as SKU to the store's id of a variant."""

    async def get(self, kind: str, names: Iterable[str]) -> Mapping[str, str]:
        """The values of the names that are known. What was `put` before is seen."""

    def put(self, kind: str, values: Mapping[str, str]) -> None:
        """Remember; a known name gets the new value."""

    def forget(self, kind: str, names: Iterable[str]) -> None:
        """Drop these names; unknown ones do not matter."""

    async def secured(self) -> None:
        """Wait until what was put or forgotten outlives a kill: for what must be known whatever becomes of the next call."""


class ShortMemory:
    """A memory that ends with the process."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, str]] = {}

    async def get(self, kind: str, names: Iterable[str]) -> Mapping[str, str]:
        known = self._kinds.get(kind, {})
        return {name: known[name] for name in names if name in known}

    def put(self, kind: str, values: Mapping[str, str]) -> None:
        self._kinds.setdefault(kind, {}).update(values)

    def forget(self, kind: str, names: Iterable[str]) -> None:
        known = self._kinds.get(kind, {})
        for name in names:
            known.pop(name, None)

    async def secured(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, open for reading once."""

    media_type: str
    """Such as `image/jpeg`."""
    size: int
    """Bytes in all."""
    sha256: str
    """Hex digits; an image with the same ones needs no second upload."""
    chunks: AsyncIterator[bytes]


class Pictures(Protocol):
    """The images of content documents."""

    def open(self, image: Mapping[str, Any]) -> AbstractAsyncContextManager[Picture]:
        """The bytes of one entry of `images` (`url` or `sha256`). Raises StoreError: NEVER when this image is broken or
        not there, LATER when its place cannot be reached."""


class NoPictures:
    """Where no source of images is at hand."""

    def open(self, image: Mapping[str, Any]) -> AbstractAsyncContextManager[Picture]:
        name = image.get("sha256") or image.get("url")
        raise StoreError(f"there is no source for the image {name}", code=NO_PICTURE, retry=Retry.NEVER)


class Pace(Protocol):
    """A place in the store's budget."""

    async def __call__(self) -> None:
        """Wait until a request may go."""

    def aside(self) -> AbstractContextManager[None]:
        """What happens in this block takes its time by nature (an upload, work that the store ends later): it does not
        mean that the store is slow."""


class FreePace:
    """A budget without end."""

    async def __call__(self) -> None:
        return None

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

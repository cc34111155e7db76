"""The bytes of images for the stores' adapters: from the ERP's database, a folder, or an address.

Invariant: an image is handed over only when its size, its type and its hash are what they must be; memory holds one piece of
it at a time. What is wrong with an image is told of that image alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import aiohttp

from adapters.store.loan import Picture
from daemon.config import Config
from daemon.config.entity import Images
from daemon.erp import Erp
from daemon.errors import ErpsyncError, Retry, StoreError

PIECE: Final = 256 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=10)
_REDIRECTS = 3
_PASSES = (408, 425, 429)


class Gallery:
    """All sources of images of a configuration; see `adapters.store.loan.Pictures`."""

    def __init__(self, sources: Sequence[tuple[str, Images]], erp: Erp) -> None:
        self._sources = sources
        self._erp = erp
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @contextlib.asynccontextmanager
    async def open(self, image: Mapping[str, Any]) -> AsyncIterator[Picture]:
        """One image, checked. Raises StoreError: NEVER for this image, LATER when its place cannot be reached."""
        limits = self._sources[0][1] if self._sources else Images()
        with tempfile.SpooledTemporaryFile(max_size=PIECE) as file:
            size, digest = 0, hashlib.sha256()
            async with contextlib.aclosing(self._bytes(image)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > limits.max_bytes:
                        raise _broken(image, f"is larger than {limits.max_bytes} bytes", "E-PICTURE-SIZE")
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.seek, 0)
            kind = media_type(await asyncio.to_thread(file.read, 32))
            if kind not in limits.types:
                raise _broken(image, f"is {kind or 'no image that is known'}", "E-PICTURE-TYPE")
            if (wanted := image.get("sha256")) and wanted != digest.hexdigest():
                raise _broken(image, f"has the hash {digest.hexdigest()}", "E-PICTURE-HASH")
            await asyncio.to_thread(file.seek, 0)
            yield Picture(kind, size, digest.hexdigest(), _pieces(file))

    async def _bytes(self, image: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """From the first source that has it; an address comes last."""
        if digest := image.get("sha256"):
            for where, source in self._sources:
                if source.folder is not None and (path := await asyncio.to_thread(_found, source.folder, digest)):
                    with await asyncio.to_thread(path.open, "rb") as file:
                        async for piece in _pieces(file):
                            yield piece
                    return
                if source.sql is not None and (size := await self._stored(where, source.sql, digest)):
                    for start in range(1, size + 1, PIECE):
                        yield await self._piece(where, source.sql, digest, start)
                    return
        if not image.get("url"):
            raise _broken(image, "is in none of the sources", "E-PICTURE-MISSING")
        async for piece in self._fetched(image):
            yield piece

    async def _stored(self, where: str, sql: str, digest: str) -> int:
        sized = f"select octet_length(i.data) from ({sql}) as i limit 1"  # noqa: S608 -- the mapping's own query
        rows = await self._ask(where, sized, [digest])
        return int(rows[0][0] or 0) if rows else 0

    async def _piece(self, where: str, sql: str, digest: str, start: int) -> bytes:
        part = f"select substring(i.data from $2 for $3) from ({sql}) as i limit 1"  # noqa: S608 -- the mapping's own query
        rows = await self._ask(where, part, [digest], start, PIECE)
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else b""

    async def _ask(self, where: str, sql: str, *given: Any) -> list[Any]:
        try:
            return await self._erp.fetch(where, sql, *given)
        except ErpsyncError as exc:
            raise StoreError(exc.message, code="E-PICTURE-LOST", where=where, retry=exc.retry) from exc

    async def _fetched(self, image: Mapping[str, Any]) -> AsyncIterator[bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.get(image["url"], max_redirects=_REDIRECTS) as response:
                if response.status >= 500 or response.status in _PASSES:
                    raise _lost(image, f"answer {response.status}")
                if response.status != 200:
                    raise _broken(image, f"gives the answer {response.status}", "E-PICTURE-MISSING")
                async for piece in response.content.iter_chunked(PIECE):
                    yield piece
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects, ValueError) as exc:
            raise _broken(image, f"has no usable address: {type(exc).__name__}", "E-PICTURE-MISSING") from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _lost(image, type(exc).__name__) from exc


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece


def _found(folder: str, digest: str) -> Path | None:
    """A file that is named by its hash, with or without a suffix, flat or below its first two digits."""
    if len(digest) != 64 or not digest.isalnum():
        return None
    for place in (Path(folder), Path(folder) / digest[:2]):
        if (plain := place / digest).is_file():
            return plain
        if (named := next(iter(place.glob(f"{digest}.*")), None)) is not None:
            return named
    return None


def media_type(begin: bytes) -> str:
    """What the first bytes say; empty for what is not known."""
    if begin.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if begin.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if begin.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return "image/webp"
    if begin[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return ""


def _broken(image: Mapping[str, Any], what: str, code: str) -> StoreError:
    name = image.get("sha256") or image.get("url")
    return StoreError(f"image {name} {what}", code=code, retry=Retry.NEVER)


def _lost(image: Mapping[str, Any], why: str) -> StoreError:
    return StoreError(f"image {image.get('url')} cannot be had: {why}", code="E-PICTURE-LOST", retry=Retry.LATER)


def gallery_of(config: Config, erp: Erp) -> Gallery:
    """Every `[entity.*.images]`."""
    return Gallery(
        [(f"entity.{e.name}.images.sql", e.images) for e in config.entity.values() if e.images is not None], erp
    )

"""Bytes into and out of the shop that do not go through its API: a staged upload, and the file of a finished operation.

Invariant: they lie on other hosts. No token goes there, no redirect is followed, and since the addresses are signed none
of them is ever quoted. What fails there says nothing about the shop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import payload

from adapters.store.loan import Pace
from adapters.store.shopify import documents_content as documents
from adapters.store.shopify.client import Client
from adapters.store.shopify.results import faults_of
from adapters.store.shopify.work import NotYet, Refused

LIMIT: Final = 600.0
"""Seconds for one file."""
LARGEST_LINE: Final = 8 << 20
_PIECE: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Staged:
    """Where a file was put: `address` for files and media, `key` for a bulk operation."""

    address: str
    key: str


class Outside:
    """The hosts that keep the shop's files."""

    def __init__(self, client: Client, pace: Pace) -> None:
        self._client = client
        self._pace = pace
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=LIMIT, connect=30.0)
            )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def upload(
        self, resource: str, name: str, media_type: str, size: int, chunks: AsyncIterator[bytes]
    ) -> Staged:
        """Put a file of `size` bytes in the shop's waiting room. Raises StoreError, Refused and NotYet."""
        asked = {
            "resource": resource, "filename": name, "mimeType": media_type, "fileSize": str(size), "httpMethod": "POST",
        }  # fmt: skip
        data = await self._client.run(documents.STAGE, {"input": [asked]})
        made = self._client.shape(data.get("stagedUploadsCreate"), dict, "a place for a file")
        if faults := faults_of(made):
            raise Refused(f"the shop takes no file {name}: {faults[0].message}")
        target = made["stagedTargets"][0]
        form = aiohttp.MultipartWriter("form-data")
        for parameter in target["parameters"]:
            form.append(parameter["value"]).set_content_disposition("form-data", name=parameter["name"])
        file = form.append_payload(_Sized(chunks, size, media_type))
        file.set_content_disposition("form-data", name="file", filename=name)
        with self._pace.aside():
            await self._send(target["url"], form)
        keys = [parameter["value"] for parameter in target["parameters"] if parameter["name"] == "key"]
        return Staged(target["resourceUrl"] or "", keys[0] if keys else "")

    async def _send(self, url: str, form: aiohttp.MultipartWriter) -> None:
        try:
            async with self._session_now().post(url, data=form, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    raise NotYet(f"the shop's place for uploads answers {response.status}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NotYet(f"the shop's place for uploads does not take the file ({type(error).__name__})") from None

    async def lines(self, url: str) -> AsyncIterator[bytes]:
        """The lines of a file of results. Raises NotYet when it cannot be had whole."""
        rest = b""
        try:
            async with self._session_now().get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise NotYet(f"the shop's file of results answers {response.status}")
                async for piece in response.content.iter_chunked(_PIECE):
                    *whole, rest = (rest + piece).split(b"\n")
                    for line in whole:
                        yield line
                    if len(rest) > LARGEST_LINE:
                        raise NotYet("the shop's file of results has no lines")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NotYet(f"the shop's file of results cannot be read ({type(error).__name__})") from None
        if rest:
            yield rest

    def _session_now(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotYet("the session is not open")
        return self._session


class _Sized(payload.AsyncIterablePayload):
    """Chunks whose length is known: places for uploads take no body without one."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int, media_type: str) -> None:
        super().__init__(chunks, content_type=media_type)
        self._size = size


async def chunks_of(body: bytes) -> AsyncIterator[bytes]:
    """Bytes at hand, in pieces."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
        await asyncio.sleep(0)


def name_in(url: Any) -> str:
    """The file's name at the end of an address, without its query."""
    return str(url or "").partition("?")[0].rpartition("/")[2]

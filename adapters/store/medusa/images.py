"""Addresses of images for Medusa, which keeps addresses only: the document's own, or that of an upload to the shop's files.

Invariant: an image is uploaded once for its bytes, as long as the memory lasts; one that cannot be had is told of its document
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.store import album, answers
from adapters.store.loan import Memory, Pictures
from adapters.store.medusa.api import Api

_KIND: Final = "upload"


class Images:
    """The shop's files."""

    def __init__(self, api: Api, memory: Memory, pictures: Pictures) -> None:
        self._api, self._memory, self._pictures = api, memory, pictures

    async def url(self, image: Mapping[str, Any]) -> str:
        """Where the shop shows one entry of `images` from. Raises StoreError; its place is the store where that is at fault."""
        if image.get("url"):
            return str(image["url"])
        digest = str(image.get("sha256"))
        known = await self._memory.get(_KIND, [digest])
        if digest not in known:
            async with self._pictures.open(image) as picture:
                content = b"".join([chunk async for chunk in picture.chunks])
                known = {digest: await self._upload(digest, picture.media_type, content)}
            self._memory.put(_KIND, known)
        return known[digest]

    async def _upload(self, digest: str, media_type: str, content: bytes) -> str:
        transport = self._api.transport
        name = f"{digest}.{album.suffix(media_type)}"
        head = f'--{digest}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: {media_type}'
        body = b"%b\r\n\r\n%b\r\n--%b--\r\n" % (head.encode(), content, digest.encode())
        answer = await transport.call(
            "POST",
            transport.url("admin/uploads"),
            body=body,
            headers={"Content-Type": f"multipart/form-data; boundary={digest}"},
            limit=answers.SMALL_ANSWER,
        )
        files = self._api.records(transport.json(answer), "files")
        if len(files) != 1 or not isinstance(files[0].get("url"), str):
            raise transport.wrong_shape("the address of the file that was uploaded")
        return str(files[0]["url"])


def in_order(images: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Images by position; without one they stay as they are."""
    return sorted(images, key=lambda image: int(str(image.get("position") or 0)))

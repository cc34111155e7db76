"""Images of content as assets of the shop's: found by what their bytes are, uploaded once.

Invariant: an asset is an image's only when its tag names the image's hash; nothing else is looked at, and nothing is
remembered here. Of an upload whose answer was lost the asset is found by its tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store import album
from adapters.store.album import Image
from adapters.store.loan import Picture, Pictures
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.shop import PAGE, Refused, Shop
from adapters.store.vendure.wire import REJECTED
from daemon.errors import Retry, StoreError

_FIND: Final = """query Assets($tags: [String!]!, $take: Int!) {
  assets(options: { tags: $tags, tagsOperator: OR, take: $take }) { items { id tags { value } } } }"""
_UPLOAD: Final = """mutation Upload($input: [CreateAssetInput!]!) { createAssets(input: $input) {
  __typename ... on Asset { id tags { value } } ... on ErrorResult { errorCode message } } }"""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A document's images as assets."""

    hashes: Sequence[str]
    """One for each image, as they are listed."""
    ids: Sequence[str]
    """Each asset once, by position."""
    uploaded: bool
    """Whether one of them was not in the shop before."""


class Assets:
    """The shop's library of images."""

    def __init__(self, shop: Shop, setting: Setting, pictures: Pictures) -> None:
        self._shop = shop
        self._channel = setting.channel
        self._prefix = f"{setting.mark}:"
        self._pictures = pictures
        self._one = asyncio.Lock()
        """An image that two products share is looked for and uploaded by one of them."""

    def hashes(self, asset: Mapping[str, Any]) -> set[str]:
        """Which images of the ERP's an asset is, by its tags."""
        values = (str(tag.get("value")) for tag in asset.get("tags") or ())
        return {value.removeprefix(self._prefix) for value in values if value.startswith(self._prefix)}

    async def send(self, images: Sequence[Image]) -> None:
        """Upload what the shop lacks, of the images whose hashes are known. One that is broken is left out: whoever shows it is
        told. Raises StoreError."""
        there = await self.known(images)
        for image in images:
            if not image.get("sha256") or image["sha256"] in there:
                continue
            try:
                await self._here(image, there)
            except Refused:
                continue
            except StoreError as error:
                if error.retry is not Retry.NEVER:
                    raise

    async def known(self, images: Iterable[Image]) -> dict[str, str]:
        """Hash -> asset, of those that the shop has."""
        return await self._find(str(image["sha256"]) for image in images if image.get("sha256"))

    async def gallery(self, images: Sequence[Image], known: Mapping[str, str], there: dict[str, str]) -> Gallery:
        """Assets for all images, uploaded where the shop has none. `known`: address -> hash of images that were fetched
        before; `there`: hash -> asset, what was found, which grows. Raises StoreError, with NEVER for an image that is broken,
        and Refused."""
        wanted = [str(image.get("sha256") or known.get(str(image.get("url"))) or "") for image in images]
        if unsure := [each for each in wanted if each and each not in there]:
            there |= await self._find(unsure)
        uploaded = False
        for place, image in enumerate(images):
            if wanted[place] not in there:
                before = len(there)
                wanted[place] = await self._here(image, there)
                uploaded |= len(there) > before
        ids = [there[digest] for _, digest in album.by_position(zip(images, wanted, strict=True))]
        return Gallery(wanted, list(dict.fromkeys(ids)), uploaded)

    async def _here(self, image: Image, there: dict[str, str]) -> str:
        """The hash of an image, which is `there` afterwards."""
        async with self._one, self._pictures.open(image) as picture:
            digest = picture.sha256
            there |= {} if digest in there else await self._find([digest])
            if digest not in there:
                there[digest] = await self._upload(picture)
            return digest

    async def _find(self, hashes: Iterable[str]) -> dict[str, str]:
        """Hash -> asset; the oldest where an upload was repeated."""
        tags = [f"{self._prefix}{each}" for each in dict.fromkeys(hashes)]
        found: dict[str, str] = {}
        if not tags:
            return found
        variables = {"tags": tags, "take": PAGE}
        for asset in await self._shop.items(_FIND, variables, "assets", self._channel):
            id_ = str(asset["id"])
            for digest in self.hashes(asset):
                if digest not in found or (len(id_), id_) < (len(found[digest]), found[digest]):
                    found[digest] = id_
        return found

    async def _upload(self, picture: Picture) -> str:
        wire = self._shop.wire
        tag = f"{self._prefix}{picture.sha256}"
        name = f"{picture.sha256[:16]}.{album.suffix(picture.media_type)}"
        given = {"input": [{"file": None, "tags": [tag]}]}
        data = await wire.upload(_UPLOAD, given, "input.0.file", picture, name, self._channel)
        rows = wire.part(data, "createAssets", list)
        said: Mapping[str, Any] = rows[0] if rows and isinstance(rows[0], Mapping) else {}
        if "errorCode" in said:
            raise Refused(f"the shop refused the image {picture.sha256}: {wire.words(said)}", REJECTED)
        if picture.sha256 not in self.hashes(said):
            raise wire.transport.wrong_shape(f"an asset with the tag {tag}")
        return str(said["id"])

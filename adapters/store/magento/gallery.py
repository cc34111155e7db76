"""The gallery of a product in Magento: images by its media interface, known by the hash in their file's name.

Invariant: an entry is an image of the ERP's only when its file is named by 64 hex digits, as it was uploaded; others are never
changed but for the roles that the first image takes over, and never deleted. An image is looked for before it is uploaded, and
an upload whose answer was lost is found by its name. Positions, labels and roles are those of all store views.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from adapters.store import album
from adapters.store.loan import Picture, Pictures
from adapters.store.magento.api import Api, Record, Refusal

ROLES: Final = ("image", "small_image", "thumbnail")
"""What the first image is: of the product's page, of lists, of the cart."""
_FILE: Final = re.compile(r"/([0-9a-f]{64})(?:_\d+)?\.\w+")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one image belongs."""

    hash: str
    label: str | None
    """None leaves it as it is."""
    position: int

    @property
    def leads(self) -> bool:
        return self.position == 1


class Gallery:
    """The galleries of one shop; `api` is that of all store views."""

    def __init__(self, api: Api, pictures: Pictures) -> None:
        self._api = api
        self._pictures = pictures

    async def entries(self, sku: str) -> list[Record]:
        """What the gallery has. Raises Refusal for a SKU that an address cannot carry, and StoreError."""
        value = await self._api.get(self._path(sku))
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) and "id" in each for each in value):
            raise self._api.transport.wrong_shape('a list of entries with "id"')
        return value

    def _path(self, sku: str, entry: Any = "") -> str:
        if "/" in sku:
            raise Refusal("images of a SKU with a slash cannot be written: its address does not reach Magento")
        return f"products/{quote(sku, safe='')}/media" + (f"/{quote(str(entry), safe='')}" if entry else "")

    async def show(
        self, sku: str, images: Sequence[album.Image], known: Mapping[str, str], texts: bool
    ) -> tuple[list[str], list[Record]]:
        """Bring images into the gallery and in order: their hashes as they are listed, and the gallery as it was before.
        `known`: address -> hash of those that were fetched once; `texts`: whether labels are written. Raises Refusal and
        StoreError, with NEVER for an image that is broken."""
        entries = await self.entries(sku)
        ours = _by_hash(entries)
        hashes = [str(image.get("sha256") or known.get(str(image.get("url"))) or "") for image in images]
        placed: list[str] = []
        robbed = False
        for number in sorted(range(len(images)), key=lambda each: album.position(images[each]) or 0):
            image, label = images[number], str(images[number].get("alt") or "") if texts else None
            if hashes[number] not in ours:
                async with self._pictures.open(image) as picture:
                    hashes[number] = picture.sha256
                    if picture.sha256 not in ours:
                        place = _Place(picture.sha256, label, len(placed) + 1)
                        await self._add(sku, place, picture)
                        placed.append(place.hash)
                        robbed = robbed or place.leads
                        continue
            if hashes[number] not in placed:
                placed.append(hashes[number])
                place = _Place(hashes[number], label, len(placed))
                robbed = await self._mend(sku, ours[place.hash][0], place, entries, robbed=robbed)
        return hashes, entries

    async def drop(self, sku: str, entries: Sequence[Record], gone: set[str]) -> None:
        """Delete images that are gone, and what an upload that was made twice left over."""
        for digest, several in sorted(_by_hash(entries).items()):
            for entry in several if digest in gone else several[1:]:
                await self._api.delete(self._path(sku, entry["id"]))

    async def _add(self, sku: str, place: _Place, picture: Picture) -> None:
        content = b"".join([piece async for piece in picture.chunks])
        file = {
            "base64_encoded_data": base64.b64encode(content).decode(),
            "type": picture.media_type,
            "name": f"{place.hash}.{album.suffix(picture.media_type)}",
        }
        await self._api.write(self._path(sku), {"entry": {**_entry(place, []), "content": file}}, adds=True)

    async def _mend(self, sku: str, entry: Record, place: _Place, entries: Sequence[Record], *, robbed: bool) -> bool:
        """Put an entry that is there where it belongs. `robbed`: another one has taken the roles meanwhile; whether that is
        so after this."""
        types = [each for each in entry.get("types") or () if not robbed or each not in ROLES]
        now = {"label": entry.get("label"), "position": entry.get("position"), "disabled": bool(entry.get("disabled"))}
        given = _entry(place, types, entry.get("label"))
        if {name: given[name] for name in now} == now and set(given["types"]) == set(types):
            return robbed
        if place.leads:
            # a role is the last entry's that claims it (magento2#8004): who has one gives it up first
            for other in entries:
                left = [each for each in other.get("types") or () if each not in ROLES]
                if other["id"] != entry["id"] and len(left) != len(other.get("types") or ()):
                    kept = {name: other.get(name) for name in ("id", "media_type", "label", "position", "disabled")}
                    await self._api.write(self._path(sku, other["id"]), {"entry": {**kept, "types": left}}, "PUT")
        await self._api.write(self._path(sku, entry["id"]), {"entry": {"id": entry["id"], **given}}, "PUT")
        return robbed or place.leads


def _entry(place: _Place, types: Sequence[str], label: Any = "") -> dict[str, Any]:
    """An entry as Magento takes it, without its id; roles that are not ours stay."""
    kept = [each for each in types if each not in ROLES]
    return {
        "media_type": "image",
        "label": label if place.label is None else place.label,
        "position": place.position,
        "disabled": False,
        "types": [*ROLES, *kept] if place.leads else kept,
    }


def digest_of(entry: Record) -> str:
    """The hash that an entry's file is named by; "" for an image of other people's."""
    found = _FILE.search(str(entry.get("file") or ""))
    return found[1] if found else ""


def _by_hash(entries: Sequence[Record]) -> dict[str, list[Record]]:
    """Our entries; of several with one hash the oldest comes first."""
    found: dict[str, list[Record]] = {}
    for entry in sorted(entries, key=lambda each: int(each["id"])):
        if digest := digest_of(entry):
            found.setdefault(digest, []).append(entry)
    return found


def shown(entries: Sequence[Record]) -> list[str]:
    """The hashes of our images that shoppers see, in their order."""
    visible = [entry for entry in entries if not entry.get("disabled") and digest_of(entry)]
    return [digest_of(entry) for entry in sorted(visible, key=lambda each: int(each.get("position") or 0))]


def lead(entries: Sequence[Record]) -> Record:
    """The entry that is the product's image; empty for none."""
    return next((entry for entry in entries if ROLES[0] in (entry.get("types") or ())), {})

"""Images of content in a shop that knows them by the hash of their bytes: order, names, what is shown of them. Pure.

Invariant: an image of a document and what the shop has of it are paired by their hash alone. A note, which the shop keeps,
says what the document said; it counts as far as it has a note's form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

Image = Mapping[str, Any]
"""An entry of a document's `images`."""
_SUFFIXES: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
}


def suffix(media_type: str) -> str:
    """The end of a file's name."""
    return _SUFFIXES.get(media_type, "bin")


def position(image: Image) -> Decimal | None:
    """0 where it has none; None for what is no number."""
    try:
        value = Decimal(str(image.get("position") or 0))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def by_position(images: Iterable[tuple[Image, str]]) -> list[tuple[Image, str]]:
    """Images, each with its hash, by position; those without one stay where they are, before the others."""
    return sorted(images, key=lambda each: position(each[0]) or Decimal(0))


def noted(note: Mapping[str, Any]) -> list[tuple[Image, str]]:
    """The `images` of a note, each with its hash of `hashes`, as they were listed."""
    images, hashes = note.get("images"), note.get("hashes")
    if not isinstance(images, list) or not isinstance(hashes, list):
        return []
    pairs = zip(images, hashes, strict=False)
    return [(image, digest) for image, digest in pairs if isinstance(image, dict) and isinstance(digest, str)]


def addresses(note: Mapping[str, Any]) -> dict[str, str]:
    """Address -> hash of the noted images that have one."""
    return {str(image["url"]): digest for image, digest in noted(note) if image.get("url")}


def shown(note: Mapping[str, Any], there: Sequence[str]) -> list[tuple[Image, str]]:
    """The noted images that the shop shows, with their hashes; `there` is what it has, in its order. As they were listed
    where all is in place."""
    said = noted(note)
    places = {digest: place for place, digest in reversed(list(enumerate(there)))}
    found = [each for each in by_position(said) if each[1] in places]
    found.sort(key=lambda each: places[each[1]])  # stable: two images of one hash stay as they were
    return said if found == by_position(said) else found

"""What the images of a document are among a product's media: names that carry the content, order, captions. Pure.

Invariant: a medium is ours only when the name of its file says so, with the product and the hash of what was uploaded;
everything else in the product belongs to the shop's people and is neither named, moved nor counted here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store.shopify.articles import number_of
from adapters.store.shopify.staged import name_in
from adapters.store.shopify.work import Refused
from daemon.drift import same

SUFFIXES: Final[Mapping[str, str]] = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
}
_NAME: Final = re.compile(r"erpsyncd-([0-9]+)-(u?[0-9a-f]{64})(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Image:
    """One image that a document wants. `mark`: the hash of its bytes, or `u` and the hash of its address."""

    mark: str
    alt: str
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Medium:
    """One image of a product that came from here. `id`: the shop's, `gid://shopify/MediaImage/...`."""

    mark: str
    alt: str
    id: str


def wanted(images: Sequence[Mapping[str, Any]]) -> list[Image]:
    """A document's images by position. Raises Refused where one is named twice, since a product shows it once."""
    found: dict[str, Image] = {}
    for image in sorted(images, key=_position):
        made = Image(mark_of(image), str(image.get("alt") or ""), image)
        if made.mark in found:
            raise Refused(f"the image {image.get('sha256') or image.get('url')} is named twice")
        found[made.mark] = made
    return list(found.values())


def mark_of(image: Mapping[str, Any]) -> str:
    """By what an image is told from others: the hash of its bytes where the document says it, else its address."""
    return str(image.get("sha256") or "u" + hashlib.sha256(str(image.get("url")).encode()).hexdigest())


def file_name(product: str, mark: str) -> str:
    """Name of a file, without suffix. It holds the product, since Shopify keeps the caption with the file."""
    return f"erpsyncd-{product}-{mark}"


def mark_in(product: str, file: Mapping[str, Any]) -> str | None:
    """The mark in the name of a file that came from here for this product."""
    found = _NAME.match(name_in((file.get("image") or {}).get("url")))
    return found[2] if found is not None and found[1] == product else None


def ours(product: str, media: Sequence[Mapping[str, Any]]) -> list[Medium]:
    """The media of a product that came from here, in the product's order."""
    marked = [(mark_in(product, node), node) for node in media]
    return [Medium(mark, node.get("alt") or "", node["id"]) for mark, node in marked if mark is not None]


def moves(shown: Sequence[str], order: Sequence[str]) -> list[dict[str, str]]:
    """What brings the ids of `order` into their order, each into a place that one of them has; the others stay in theirs."""
    wish = iter(order)
    members = set(order)
    target = [next(wish) if id_ in members else id_ for id_ in shown]
    now, made = list(shown), []
    for place, id_ in enumerate(target):
        if now[place] != id_:
            now.remove(id_)
            now.insert(place, id_)
            made.append({"id": id_, "newPosition": str(place)})
    return made


def shown(product: Mapping[str, Any], recorded: Any) -> list[Mapping[str, Any]]:
    """The images of a product as the document says them: as they were `recorded` while the shop shows just these."""
    have = ours(number_of(product["id"]), product["media"]["nodes"])
    sent = recorded if isinstance(recorded, list) else []
    meant: list[tuple[str, str]] | None
    try:
        meant = [(image.mark, image.alt) for image in wanted(sent)]
    except (Refused, AttributeError):
        meant = None
    if meant == [(medium.mark, medium.alt) for medium in have]:
        return sent
    return [
        {("url" if medium.mark.startswith("u") else "sha256"): medium.mark, "alt": medium.alt, "position": place}
        for place, medium in enumerate(have)
    ]


def alike(one: Any, other: Any) -> bool:
    """Whether two documents want the same images."""
    return same(one or [], other or [])


def _position(image: Mapping[str, Any]) -> int:
    try:
        return int(str(image.get("position") or 0))
    except ValueError:
        raise Refused(f"an image has the position {image.get('position')!r}, which is no whole number") from None

"""Names of documents and of things in a store: parted from an id, packed for look-ups. Pure.

Invariant: every name is in one part, once, and no part is longer than an address may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

QUERY_BYTES: Final = 6000
"""Most bytes of names in one address; servers and proxies take about 8000."""


def split(id_: str, parts: int) -> list[str]:
    """The identity values of an id; only the first may hold a bar. [] for what is no such id."""
    found = id_.rsplit("|", parts - 1)
    return found if len(found) == parts else []


def in_parts(
    names: Iterable[str], most: int, *, overhead: int = 1, size: int = QUERY_BYTES, commas: bool = False
) -> Iterator[list[str]]:
    """Names for one look-up each, `most` at a time and no more than an address takes; each costs `overhead` bytes besides.
    With `commas` they part the list, so that a name which has one goes alone."""
    part: list[str] = []
    taken = 0
    for name in sorted(set(names)):
        length = len(quote(name, errors="replace")) + overhead
        alone = commas and part and ("," in name or "," in part[0])
        if part and (alone or taken + length > size or len(part) >= most):
            yield part
            part, taken = [], 0
        part.append(name)
        taken += length
    if part:
        yield part

"""What is special about content: who owns a field, which shape a field has, HTML that is cleaned.

Invariant: pure; what the store owns never leaves, and what it owns from the first send on leaves with that send alone and
is not compared afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

HTML: Final = "description_html"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Contents:
    """The rules of one entity. `owner`: field -> erp, store or once; `clean` makes HTML harmless."""

    def __init__(
        self, kind: str = "", owner: Mapping[str, str] | None = None, clean: Callable[[str], str] | None = None
    ) -> None:
        owner = owner or {}
        self._is_content = kind == "content"
        self._theirs = frozenset(name for name, who in owner.items() if who == "store")
        self._once = frozenset(name for name, who in owner.items() if who == "once")
        self._clean = clean

    def shape(self, fields: dict[str, Any]) -> str:
        """Bring a document into its form; what is wrong with it, or an empty text."""
        for name in self._theirs:
            fields.pop(name, None)
        if not self._is_content:
            return ""
        if self._clean is not None and isinstance(html := fields.get(HTML), str):
            fields[HTML] = self._clean(html)
        attributes = fields.get("attributes", {})
        if attributes is not None and not isinstance(attributes, dict):
            return "`attributes` is no object of names and values"
        return _images(fields.get("images"))

    def compared(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What decides whether a document differs."""
        return _without(fields, self._once)

    def sent(self, fields: dict[str, Any], *, new: bool) -> dict[str, Any]:
        """What is sent of a document, which the store has already unless it is `new` there."""
        return fields if new else _without(fields, self._once)


def _without(fields: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    if names.isdisjoint(fields):
        return fields
    return {name: value for name, value in fields.items() if name not in names}


def _images(images: Any) -> str:
    if images is None:
        return ""
    if not isinstance(images, list):
        return "`images` is no list"
    for image in images:
        if not isinstance(image, dict) or not (image.get("url") or image.get("sha256")):
            return "an entry of `images` has neither `url` nor `sha256`"
        if (digest := image.get("sha256")) and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            return "a `sha256` in `images` is not 64 lower-case hex digits"
    return ""

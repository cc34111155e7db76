"""The last line of defence against secrets in text that leaves the process.

Invariant: what was registered as a secret, and what looks like a password in a DSN, a header or a `password=` pair, is
masked wherever it stands: in a message, a field, a traceback. Masking is not a licence to print secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
_SHORTEST: Final = 4
"""A shorter secret would mask half of every sentence."""
_SECRET_FIELD: Final = re.compile(r"(?i)passw(or)?d|passphrase|secret|token|authorization|api_?key|dsn$")
_PATTERNS: Final = (
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/]+(?=@)"), rf"\g<1>{MASK}"),
    (
        re.compile(
            r"""(?ix)
            ( \b (?: password | passwd | pwd | passphrase | secret | client_secret | access_token | token | api_?key )
            ["']? \s* [=:] \s* )
            ( '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | [^\s&;,"']+ )"""
        ),
        rf"\g<1>{MASK}",
    ),
    (re.compile(r"\b([Bb]earer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\g<1> {MASK}"),
    (re.compile(r"\b(Basic)\s+(?=[A-Za-z0-9+/]*[0-9=])[A-Za-z0-9+/]{12,}=*"), rf"\g<1> {MASK}"),
)
_secrets: set[str] = set()
_registered: re.Pattern[str] | None = None


def register_secret(text: str) -> None:
    """Mask this text from now on, also as URLs and JSON spell it. Shorter than four characters: ignored."""
    global _registered
    text = text.strip()
    if len(text) < _SHORTEST:
        return
    _secrets.update({text, quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1], repr(text)[1:-1]})
    _registered = re.compile("|".join(re.escape(secret) for secret in sorted(_secrets, key=len, reverse=True)))


def forget_secrets() -> None:
    """For tests: nothing is registered any more."""
    global _registered
    _secrets.clear()
    _registered = None


def redact(text: str) -> str:
    """The text without secrets."""
    if _registered is not None:
        text = _registered.sub(MASK, text)
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text


def redact_value(value: Any, name: str = "") -> Any:
    """A log field without secrets, whatever its shape; a field whose name says secret is masked whole."""
    if name and isinstance(value, str | bytes) and value and _SECRET_FIELD.search(name):
        return MASK
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_value(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))

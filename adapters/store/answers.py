"""What a store's answer means, as pure functions: statuses, Retry-After, exact numbers, words fit to be quoted.

Invariant: a status maps to one decision and an unknown one to the operator; what a store says never becomes a float, an
unbounded wait, or a text with a secret in it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus

from yarl import URL

from daemon.errors import Retry

UNREACHABLE: Final = "E-STORE-UNREACHABLE"
TIMEOUT: Final = "E-STORE-TIMEOUT"
THROTTLED: Final = "E-STORE-THROTTLED"
FAILED: Final = "E-STORE-FAILED"
TOO_LARGE: Final = "E-STORE-TOO-LARGE"
"""LATER, and never as it was: the caller sends less in one call."""
BUSY: Final = "E-STORE-BUSY"
"""LATER: calls got into each other's way (a deadlock, an optimistic lock); fewer go at a time for a while."""
REFUSED: Final = "E-STORE-REFUSED"
"""NEVER, for the call as it was: the caller splits it to find the document that the store does not take."""
UNMAPPED: Final = "E-STORE-UNMAPPED"
"""The store has no place for this document (no such article, location, list, status); it was not sent."""
AUTH: Final = "E-STORE-AUTH"
URL_WRONG: Final = "E-STORE-URL"
TLS: Final = "E-STORE-TLS"
ANSWER: Final = "E-STORE-ANSWER"
CLOSED: Final = "E-STORE-CLOSED"

MIB: Final = 1 << 20
SMALL_ANSWER: Final = 8 * MIB
LARGE_ANSWER: Final = 64 * MIB
QUOTED: Final = 200
MAX_RETRY_AFTER: Final = 3600.0
ERROR_BODY = 4096
ERROR_BODY_SECONDS = 2.0
_LARGEST_EXPONENT = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    code: str
    retry: Retry
    text: str
    hint: str = ""


_LOGIN = Verdict(AUTH, Retry.OPERATOR, "does not accept the token", "Renew {where}.token.")
_ADDRESS = Verdict(URL_WRONG, Retry.OPERATOR, "knows no such address", "Is {where}.url right?")
_REFUSED = Verdict(REFUSED, Retry.NEVER, "refused the call")
_TOO_LARGE = Verdict(TOO_LARGE, Retry.LATER, "finds the call too large", "Lower {where}.batch_size.")
_BUSY = Verdict(THROTTLED, Retry.LATER, "asks for fewer calls")
_FAILED = Verdict(FAILED, Retry.LATER, "failed")
REDIRECT = Verdict(URL_WRONG, Retry.OPERATOR, "redirects elsewhere", "Set {where}.url to the final address.")
_STRANGE = Verdict(ANSWER, Retry.OPERATOR, "gave an answer that erpsyncd does not know", "Is {where}.url right?")
_VERDICTS: Final = {
    400: _REFUSED,
    401: _LOGIN,
    403: _LOGIN,
    404: _ADDRESS,
    405: _ADDRESS,
    407: Verdict(AUTH, Retry.OPERATOR, "is behind a proxy that wants a login"),
    408: Verdict(TIMEOUT, Retry.LATER, "did not get the whole call in time"),
    409: _REFUSED,
    410: _ADDRESS,
    413: _TOO_LARGE,
    414: _TOO_LARGE,
    422: _REFUSED,
    425: _FAILED,
    429: _BUSY,
    503: _BUSY,
}


def verdict(status: int) -> Verdict:
    """What an HTTP status other than 2xx means for the call. Unknown is for the operator."""
    known = _VERDICTS.get(status)
    if known is not None:
        return known
    if 300 <= status < 400:
        return REDIRECT
    return _FAILED if 500 <= status < 600 else _STRANGE


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, at most an hour; None for no header or an unreadable one."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", text):
        return min(float(text), MAX_RETRY_AFTER)
    until = http_date(text)
    return None if until is None else min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def http_date(text: str | None) -> datetime | None:
    """An HTTP date as an aware time; None for anything else."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def exact(number: str) -> str:
    """A JSON number with a fraction or exponent as the decimal string that documents use."""
    if "e" not in number and "E" not in number:
        return number
    value = Decimal(number)
    return format(value, "f") if abs(value.adjusted()) <= _LARGEST_EXPONENT else number


def no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def spellings(secrets: Iterable[str]) -> list[str]:
    """The ways in which a secret may come back in an answer, longest first."""
    found: set[str] = set()
    for secret in filter(None, secrets):
        spelt = json.dumps(secret)[1:-1]
        found |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret), spelt}
        found.add(spelt.replace("/", "\\/"))
    return sorted(found, key=len, reverse=True)


def is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body.lstrip()[:1] == b"<"


def shown(location: str | None, asked: URL) -> str:
    """Where a redirect leads, without user, password, query and fragment."""
    try:
        target = asked.join(URL(location or ""))
        return f"to {target.origin()}{target.path}"[:QUOTED] if target.path.isprintable() else ""
    except ValueError:
        return ""

"""The brakes: a burst that would empty, hide or reprice a large part of a store is held for a person.

Invariant: within any window no more than the configured share of a queue's acknowledged documents (and at least `min_keys`)
is zeroed, removed or repriced by more than half; what goes beyond is held with its reason. A first load is no burst.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from daemon.mapping import Change

_BUCKETS = 20


class Brake:
    """The brake of one queue. `now` is seconds on any steady clock."""

    def __init__(self, kind: str, *, share: float, min_keys: int, window_s: float, documents: int = 0) -> None:
        self._kind = kind
        self._share = share
        self._min = min_keys
        self._window = window_s
        self._slot = window_s / _BUCKETS
        self._counts: deque[list[float]] = deque()
        self._total = 0
        self.documents = documents
        """Acknowledged documents that are in the store; the caller keeps it."""

    @property
    def limit(self) -> int:
        """How many documents may be harmed within the window."""
        return max(self._min, int(self._share * self.documents))

    def check(self, now: float, changes: Iterable[Change]) -> str:
        """Empty when these changes may go (and are counted), else the reason to hold them."""
        harms = [harm for change in changes if (harm := harm_of(self._kind, change.before, change.after))]
        if not harms:
            return ""
        self._forget(now)
        if self._total + len(harms) > self.limit:
            return (
                f"{harms[0]}: more than {self.limit} of {self.documents} documents would be zeroed, removed or repriced "
                f"within {self._window:g} s"
            )
        if not self._counts or now - self._counts[-1][0] >= self._slot:
            self._counts.append([now, 0])
        self._counts[-1][1] += len(harms)
        self._total += len(harms)
        return ""

    def _forget(self, now: float) -> None:
        while self._counts and now - self._counts[0][0] > self._window:
            self._total -= int(self._counts.popleft()[1])


def harm_of(kind: str, before: bytes | None, after: bytes | None) -> str:
    """What a change does to a shopper: zeroed, removed, repriced, or nothing of the kind."""
    if before is None:
        return ""
    if after is None:
        return "removed"
    if kind == "stock":
        was, is_ = _number(before, "available"), _number(after, "available")
        return "zeroed" if was is not None and was > 0 and (is_ is None or is_ <= 0) else ""
    if kind == "price":
        was, is_ = _number(before, "amount"), _number(after, "amount")
        if was is None or is_ is None or was == is_:
            return ""
        return "repriced" if abs(is_ - was) * 2 > abs(was) else ""
    return ""


def _number(body: bytes, name: str) -> Decimal | None:
    value: Any = orjson.loads(body).get(name)
    try:
        return Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None

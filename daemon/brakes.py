"""The brakes: a burst that would empty, hide or reprice a large part of a store is held for a person.

Invariant: within any window no more than the configured share of a queue's acknowledged documents (and at least `min_keys`)
is zeroed, removed or repriced by more than half; what goes beyond is held with its reason. A first load is no burst.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from daemon.mapping import Change

_JUDGED = ("stock", "price", "credit")  # kinds with a number that a shopper feels; elsewhere only a removal harms
_BUCKETS = 20
_ROUNDING = 1e-9


class Brake:
    """The brake of one queue. `now` is seconds on any steady clock. Memory grows with the documents harmed within one
    window, of which there are no more than `limit`, never with the documents there are.
    """

    def __init__(self, kind: str, *, share: float, min_keys: int, window_s: float, documents: int = 0) -> None:
        self._kind = kind
        self._share = share
        self._min = min_keys
        self._window = window_s
        self._slot = window_s / _BUCKETS
        self._buckets: deque[tuple[float, set[str]]] = deque()
        self.documents = documents
        """Acknowledged documents that are in the store; the caller keeps it."""

    @property
    def limit(self) -> int:
        """How many documents may be harmed within the window."""
        return max(self._min, math.floor(self._share * self.documents + _ROUNDING))

    @property
    def harmed(self) -> int:
        """Documents let through as harmed that still count."""
        return sum(len(ids) for _, ids in self._buckets)

    def check(self, now: float, changes: Iterable[Change]) -> str:
        """Empty when these changes may go (and are counted), else the reason to hold all of them. A document counts once
        in a window, however often it is tried again."""
        harms = {c.patch.id: harm for c in changes if (harm := harm_of(self._kind, c.before, c.after))}
        if not harms:
            return ""
        self._forget(now)
        more = [id_ for id_ in harms if not any(id_ in ids for _, ids in self._buckets)]
        if more and self.harmed + len(more) > self.limit:
            return (
                f"{harms[more[0]]}: more than {self.limit} of {self.documents} documents would be zeroed, removed or "
                f"repriced within {self._window:g} s"
            )
        self._count(now, harms)
        return ""

    def _count(self, now: float, ids: Iterable[str]) -> None:
        for _, earlier in self._buckets:
            earlier.difference_update(ids)
        if not self._buckets or now - self._buckets[-1][0] >= self._slot:
            self._buckets.append((now, set()))
        self._buckets[-1][1].update(ids)

    def _forget(self, now: float) -> None:
        # a bucket's last document is up to one slot younger than its first
        while self._buckets and now - self._buckets[0][0] > self._window + self._slot:
            self._buckets.popleft()


def harm_of(kind: str, before: bytes | None, after: bytes | None) -> str:
    """What a change does to a shopper: zeroed, removed, repriced, or nothing of the kind (also: not there before)."""
    if before is None:
        return ""
    if after is None:
        return "removed"
    if kind not in _JUDGED:
        return ""
    was, is_ = orjson.loads(before), orjson.loads(after)
    if kind == "price":
        old, new = _number(was, "amount"), _number(is_, "amount")
        return "repriced" if old is not None and new is not None and abs(new - old) * 2 > abs(old) else ""
    if kind == "credit" and is_.get("hold") is True and was.get("hold") is not True:
        return "zeroed"
    old, new = _number(was, "available"), _number(is_, "available")
    return "zeroed" if old is not None and old > 0 and (new is None or new <= 0) else ""


def _number(fields: dict[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    try:
        number = Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None

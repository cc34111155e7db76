"""What became of each patch of one call, and how a batch that Shopify takes whole or not at all is settled.

Invariant: every patch gets exactly one outcome; one that nobody spoke of was not acknowledged. In an atomic batch the
rows at fault leave it, stale ones once with what was read anew, and the rest is sent again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from daemon.errors import Retry, StoreError
from daemon.model import Outcome, Patch, Status

REJECTED: Final = "E-STORE-REJECTED"
STALE: Final = "E-STORE-RETRY"
LEFT_OUT: Final = "E-STORE-LEFT-OUT"


class Results:
    """The outcomes of one call."""

    def __init__(self, patches: Sequence[Patch], quote: Callable[[str], str]) -> None:
        self._patches = patches
        self._quote = quote
        self._said: dict[str, Outcome] = {}

    def ok(self, patch: Patch) -> None:
        """The shop has it."""
        self._said.setdefault(patch.id, Outcome(patch.id, Status.OK))

    def refuse(self, patch: Patch, text: str, code: str = "") -> None:
        """The shop does not take it, or has no place for it. The worse word stays."""
        self._said[patch.id] = Outcome(patch.id, Status.REJECTED, self._quote(text), code or REJECTED)

    def later(self, patch: Patch, text: str, code: str = STALE) -> None:
        """To be read from the ERP and sent again."""
        known = self._said.get(patch.id)
        if known is None or known.status is Status.OK:
            self._said[patch.id] = Outcome(patch.id, Status.RETRY, self._quote(text), code)

    def settled(self, patch: Patch) -> bool:
        """Whether there is a word on it."""
        return patch.id in self._said

    def failed(self, patch: Patch, error: StoreError) -> None:
        """One part of a call failed. Raises the error where it is for the operator: it is about the shop as a whole."""
        match error.retry:
            case Retry.LATER:
                self.later(patch, error.message, error.code)
            case Retry.NEVER:
                self.refuse(patch, error.message)
            case _:
                raise error

    def aside(self, patches: Sequence[Patch]) -> Results:
        """Room for a first step of these patches, whose success is not yet theirs."""
        return Results(patches, self._quote)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Let these be the outcomes."""
        self._said.update((outcome.id, outcome) for outcome in outcomes)

    @property
    def some_ok(self) -> bool:
        return any(outcome.status is Status.OK for outcome in self._said.values())

    def open(self) -> list[Patch]:
        """The patches without a word yet."""
        return [patch for patch in self._patches if patch.id not in self._said]

    def all(self, because: StoreError | None = None) -> list[Outcome]:
        """One outcome a patch; `because` is why the rest has none of its own."""
        text, code = (because.message, because.code) if because else ("not in the answer", LEFT_OUT)
        return [self._said.get(p.id) or Outcome(p.id, Status.RETRY, text, code) for p in self._patches]


def unwritten(patch: Patch, known: Iterable[str]) -> str:
    """Why a document that says more than the shop has a place for is refused; empty when there is nothing of the kind."""
    more = sorted(name for name, value in (patch.fields or {}).items() if name not in known and value is not None)
    return f"Shopify has no place for the field {more[0]}; leave it out of the SQL" if more else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of `userErrors`. `index`: the row of the input it is about; None where the shop does not say."""

    index: int | None
    code: str
    message: str


class Row(Protocol):
    """One patch on its way, with whatever its mutation needs."""

    @property
    def patch(self) -> Patch: ...


R = TypeVar("R", bound=Row)


def faults_of(payload: Mapping[str, Any], *lists: str) -> list[Fault]:
    """The `userErrors` of a payload. `lists`: names of the inputs whose rows the index counts."""
    found = []
    for one in payload.get("userErrors") or ():
        index = one.get("elementIndex")
        path = [str(part) for part in one.get("field") or ()]
        if index is None:
            for name, part in itertools.pairwise(path):
                if name in lists and re.fullmatch(r"[0-9]{1,9}", part):
                    index = int(part)
        found.append(Fault(index, str(one.get("code") or ""), str(one.get("message") or "no reason given")))
    return found


async def settle(
    rows: Sequence[R],
    send: Callable[[Sequence[R]], Awaitable[list[Fault]]],
    reread: Callable[[Sequence[R]], Awaitable[Sequence[R]]],
    results: Results,
    *,
    stale: Iterable[str],
    later: Iterable[str] = (),
    again: frozenset[str] = frozenset(),
) -> None:
    """Bring rows to a mutation that applies all of them or none.

    `stale`: codes that say a row changed meanwhile; it is read anew and sent once more. `later`: codes after which the
    call is made again some other time. `again`: ids that were read anew already.
    """
    while rows:
        faults = await send(rows)
        if not faults:
            for row in rows:
                results.ok(row.patch)
            return
        at = {fault.index: fault for fault in faults if fault.index is not None and fault.index < len(rows)}
        if not at:
            await _unplaced(rows, faults[0], send, reread, results, stale=stale, later=later, again=again)
            return
        fresh: list[R] = []
        for index, fault in at.items():
            row = rows[index]
            if fault.code in later or (fault.code in stale and row.patch.id in again):
                results.later(row.patch, fault.message)
            elif fault.code in stale:
                fresh.append(row)
            else:
                results.refuse(row.patch, fault.message)
        again |= {row.patch.id for row in fresh}
        good = [row for index, row in enumerate(rows) if index not in at]
        rows = [*good, *(await reread(fresh) if fresh else ())]


async def _unplaced(
    rows: Sequence[R],
    fault: Fault,
    send: Callable[[Sequence[R]], Awaitable[list[Fault]]],
    reread: Callable[[Sequence[R]], Awaitable[Sequence[R]]],
    results: Results,
    *,
    stale: Iterable[str],
    later: Iterable[str],
    again: frozenset[str],
) -> None:
    """The shop does not say which row is at fault: halve until it stands alone."""
    if fault.code in later:
        for row in rows:
            results.later(row.patch, fault.message)
    elif len(rows) > 1:
        middle = len(rows) // 2
        for part in (rows[:middle], rows[middle:]):
            await settle(part, send, reread, results, stale=stale, later=later, again=again)
    elif fault.code in stale and rows[0].patch.id not in again:
        fresh = await reread(rows)
        await settle(fresh, send, reread, results, stale=stale, later=later, again=again | {rows[0].patch.id})
    elif fault.code in stale:
        results.later(rows[0].patch, fault.message)
    else:
        results.refuse(rows[0].patch, fault.message)

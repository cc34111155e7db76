"""Failpoints: named places at which the fault suite ends the daemon or makes it stumble.

Invariant: without ERPSYNCD_FAILPOINTS in the environment at import `reach` does nothing and nothing can be switched on
later; with it, an unknown point or a malformed word ends the process at once, so that a test never tests nothing.

    ERPSYNCD_FAILPOINTS="after_claim=kill:3"    # SIGKILL at the third passing
    ERPSYNCD_FAILPOINTS="after_ack=error"       # InjectedError at the first passing
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping
from typing import Final

VARIABLE: Final = "ERPSYNCD_FAILPOINTS"
POINTS: Final = (
    "after_read",
    "after_mark",
    "before_state_commit",
    "after_state_commit",
    "after_claim",
    "after_erp_read",
    "before_store_call",
    "after_store_call",
    "after_ack",
    "backfill_page_offered",
    "backfill_page_done",
    "slot_created",
    "slot_remembered",
    "gap_slot_made",
    "gap_marked",
)
"""In the order of a change's way; the last six in those of a first load, a first start and a gap."""

_WORD = re.compile(r"(\w+)=(kill|error)(?::(\d+))?")


class InjectedError(RuntimeError):
    """What `error` raises: as unforeseen as any error of ours."""


def parse(text: str) -> dict[str, tuple[str, int]]:
    """`"after_claim=kill:3"` -> point: (action, passing). Raises ValueError."""
    wanted: dict[str, tuple[str, int]] = {}
    for word in filter(None, re.split(r"[,\s]+", text)):
        match = _WORD.fullmatch(word)
        if match is None or match[1] not in POINTS:
            raise ValueError(f"{VARIABLE}: {word!r} is not point=kill or point=error, with :n for the n-th passing")
        wanted[match[1]] = (match[2], int(match[3] or 1))
    return wanted


def armed(wanted: Mapping[str, tuple[str, int]]) -> Callable[[str], None]:
    """A `reach` that does what is wanted. Each point acts once: at its n-th passing."""
    passed = dict.fromkeys(POINTS, 0)

    def reach(point: str) -> None:
        passed[point] += 1
        action, nth = wanted.get(point, ("", 0))
        if passed[point] != nth:
            return
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise InjectedError(f"failpoint {point}")

    return reach


def _nothing(_point: str) -> None:
    """The daemon passes here."""


_wanted = parse(os.environ.get(VARIABLE, ""))
reach: Callable[[str], None] = armed(_wanted) if _wanted else _nothing

"""What a check says: PASS, WARN or FAIL, one line and the remedy.

Invariant: whatever does not pass has a remedy; the exit code follows from the worst result alone.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from daemon.errors import EXIT_DONE, EXIT_FAILED, EXIT_FOUND, ErpsyncError


class Status(enum.StrEnum):
    PASS = "PASS"  # noqa: S105 -- a word, no password
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report. `check` is a stable name; a check may say several things."""

    check: str
    status: Status
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.status is not Status.PASS and not self.remedy:
            raise ValueError(f"{self.check}: no remedy for: {self.message}")


def good(check: str, message: str) -> Result:
    return Result(check, Status.PASS, message)


def warn(check: str, message: str, remedy: str) -> Result:
    return Result(check, Status.WARN, message, remedy)


def fail(check: str, message: str, remedy: str) -> Result:
    return Result(check, Status.FAIL, message, remedy)


def failed(check: str, exc: ErpsyncError, remedy: str) -> Result:
    """An error as a result; its own hint wins over `remedy`."""
    place = f"{exc.where}: " if exc.where else ""
    return fail(check, f"{place}{exc.message} [{exc.code}]", exc.hint or remedy)


def exit_code(results: Sequence[Result]) -> int:
    """0 when all passed, 1 with warnings, 2 with a failure."""
    found = {result.status for result in results}
    if Status.FAIL in found:
        return EXIT_FAILED
    return EXIT_FOUND if Status.WARN in found else EXIT_DONE


def as_json(results: Sequence[Result]) -> str:
    """A list of {check, status, message, remedy}."""
    return json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False)


def as_text(results: Sequence[Result]) -> str:
    """A line for each result, the remedy below it, and the sum."""
    width = max((len(result.check) for result in results), default=0)
    lines = []
    for result in results:
        lines.append(f"{result.status}  {result.check:<{width}}  {result.message}")
        if result.remedy:
            lines.append(f"      {'':<{width}}  -> {result.remedy}")
    count = {status: sum(result.status is status for result in results) for status in Status}
    lines.append(f"{count[Status.PASS]} passed, {count[Status.WARN]} warnings, {count[Status.FAIL]} failed")
    return "\n".join(lines)

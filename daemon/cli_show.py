"""The operator's answers as lines of text.

Invariant: pure; what is printed was said by the daemon, and a list that was cut says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from daemon.words import format_seconds


def set_aside_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`main/stock 42  since 12m04s  E-BRAKE  zeroed: more than ...`."""
    width = max((len(f"{row['store']}/{row['entity']} {row['key']}") for row in rows), default=0)
    for row in rows:
        name = f"{row['store']}/{row['entity']} {row['key']}"
        yield f"{name:<{width}}  since {format_seconds(row['age_seconds'])}  {row['code']}  {row['reason']}"


def reconcile_lines(queues: Iterable[Mapping[str, Any]], *, fixed: bool, removed: bool = False) -> Iterator[str]:
    """What differs, one document a line, then a line for each queue and the next step."""
    differ = foreign = 0
    for queue in queues:
        name = f"{queue['store']}/{queue['entity']}"
        for document in queue["documents"]:
            yield f"{name}  {document['kind']:<8} {document['id']}{_changes(document['fields'], 'is', 'not')}"
        more = queue["differ"] - len(queue["documents"])
        if more > 0:
            yield f"{name}  ... and {more} more"
        yield f"{name}: {queue['line']}"
        differ += queue["differ"]
        foreign += queue["counts"]["foreign"]
    if differ > foreign and not fixed:
        yield "send again what differs: erpsyncd reconcile --fix"
    if foreign and not removed:
        yield f"{foreign} foreign: not from here, left as they are (take them down: erpsyncd reconcile --fix --foreign)"


def plan_lines(queues: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What would be sent, one document a line, then a line for each queue."""
    for queue in queues:
        name = f"{queue['store']}/{queue['entity']}"
        for document in queue["documents"]:
            yield f"{name}  {document['kind']:<7} {document['id']}{_changes(document['fields'], '', '->')}"
        more = queue["changes"] - len(queue["documents"])
        if more > 0:
            yield f"{name}  ... and {more} more"
        for key, reason in queue["refused"].items():
            yield f"{name}  refused key {key}: {reason}"
        yield queue["line"]


def _changes(fields: Mapping[str, Sequence[Any]], before: str, between: str) -> str:
    """`  available 5 -> 3`, or `  available is 4, not 5`."""
    parts = []
    for name, (first, second) in fields.items():
        if not name:
            continue
        one, other = _value(first), _value(second)
        parts.append(f"{name} {before} {other}, {between} {one}" if before else f"{name} {one} {between} {other}")
    return f"  {'; '.join(parts)}" if parts else ""


def _value(value: Any) -> str:
    return "nothing" if value is None else str(value)

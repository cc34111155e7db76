"""How fast a content job may send while the fast lane has work.

Invariant: pure; the less time the fast lane has left to its promise, the less the batch lane gets, and nothing at all when
the promise is broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_EASY = 0.4
"""Up to this part of its target the age of a change says nothing."""
_LEAST = 0.05


@dataclass(frozen=True, slots=True)
class Fast:
    """A queue of the fast lane in the store that a job sends to."""

    moving: int
    """Keys that wait or are in flight."""
    age_s: float
    """Age of the oldest of them; what is set aside for a person does not count."""
    target_s: float
    capacity: float
    """Documents a second that the store's budget allows."""


def part(queues: Iterable[Fast]) -> float:
    """The part of its speed that a job may use now, 0 to 1; 0 means that it waits."""
    least = 1.0
    for queue in queues:
        if not queue.moving:
            continue
        strain = queue.age_s / max(queue.target_s, 0.001)
        if strain > 1.0:
            return 0.0
        by_age = 1.0 if strain <= _EASY else (1.0 - strain) / (1.0 - _EASY)
        by_backlog = 1.0 / (1.0 + queue.moving / max(queue.capacity, 1.0))
        least = min(least, by_age, by_backlog)
    return max(least, _LEAST)

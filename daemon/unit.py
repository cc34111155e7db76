"""A unit of sending: keys whose changes travel to a store together.

Invariant: a key's changes are in one unit, so that one place sees all the answers that end its claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.ledger import KeyDocuments
from daemon.mapping import Change
from daemon.model import Claim, Key


@dataclass(slots=True)
class Unit:
    """Keys whose changes travel together."""

    claims: dict[Key, Claim] = field(default_factory=dict)
    changes: dict[Key, list[Change]] = field(default_factory=dict)
    known: dict[Key, KeyDocuments] = field(default_factory=dict)
    doubted: set[Key] = field(default_factory=set)  # a call before this one was not answered for
    size: int = 0
    """Documents."""
    weight: int = 0
    """Their bytes."""

    def add(self, key: Key, claim: Claim, changes: list[Change], known: KeyDocuments) -> None:
        """One more key travels along."""
        self.claims[key], self.changes[key], self.known[key] = claim, changes, known
        self.size += len(changes)
        self.weight += sum(len(change.after) for change in changes if change.after is not None)

"""A proposed entity, and what could not be guessed of it.

Invariant: values only; a draft is whole, and a question names the flag that answers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Watch:
    """One `[[entity.X.watch]]`."""

    table: str
    key: str = ""
    column: str = ""
    keys: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """One `[[entity.X.poll]]`."""

    name: str
    keys: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """One `[entity.X]`."""

    kind: str
    key_type: str
    sql: str
    all_keys: str
    watches: tuple[Watch, ...]
    polls: tuple[Poll, ...] = ()
    notes: tuple[str, ...] = ()
    """For a person: what was guessed and what the DBA should see to."""


@dataclass(frozen=True, slots=True)
class Question:
    """A field of a document for which no column was found."""

    kind: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.field}: {self.text}"


@dataclass(slots=True)
class Findings:
    """What a proposal gathers on its way."""

    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

"""What is wrong with a configuration, said so that a person can mend it.

Invariant: every problem has a dotted path and a remedy and, where the text allows it, a file and line. A problem
never quotes a value that could be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daemon.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `path` is dotted ("entity.stock.watch.0.key"), empty for the file as a whole."""

    path: str
    line: int | None
    message: str
    file: str = "config.toml"
    column: int | None = None

    def __str__(self) -> str:
        """`config.toml:17: entity.stock.lane: must be ...`."""
        place = self.file
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        return ": ".join(part for part in (place, self.path, self.message) if part)

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return asdict(self)


class InvalidConfigError(ConfigError):
    """The configuration has mistakes; all of them are in `problems`, and in the text, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        return f"{self.message}\n{count} problem{'' if count == 1 else 's'} in the configuration [{self.code}]"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or the known names when none is near, or nothing."""
    names = sorted(known)
    if near := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6):
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""


def expected(error: Mapping[str, Any]) -> str:
    """A pydantic error in our words."""
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in {"enum", "literal_error"}:
        allowed = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        given = error.get("input")
        words = " or ".join(f'"{word}"' for word in allowed)
        return f"must be {words}" + (
            suggestion(given, allowed) if isinstance(given, str) and _near(given, allowed) else ""
        )
    simple = _WORDS.get(kind)
    if simple is not None:
        return simple.format(**context)
    return str(error["msg"]).removeprefix("Value error, ")


def _near(name: str, known: Sequence[str]) -> bool:
    return bool(difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6))


_WORDS = {
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than {max_length} characters",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "tuple_type": "must be an array",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "too_short": "is empty; at least {min_length} is needed",
    "path_type": "must be the path of a file",
}

"""Scalar values of the configuration: durations, SQL text, strings from the environment, time-of-day windows.

Invariant: a value is read once, at load; what the rest of the daemon sees is plain (float seconds, absolute paths,
tidy SQL) and every refusal names the accepted forms.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SQL_QUIET = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_SQL_PARAM = re.compile(r"\$(\d+)")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a configuration may look at besides its own text; handed to pydantic as the validation context."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    base: Path = field(default_factory=Path.cwd)
    """Relative paths start here: the folder of config.toml."""
    adapters: Sequence[str] | None = None
    """Names that `store.<name>.adapter` accepts; None: not checked."""
    lenient: bool = False
    """A secret that cannot be read here is no mistake; whoever asks for its text is told then."""


def surroundings(info: ValidationInfo) -> Surroundings:
    """The context of this validation; the process itself when none was handed in."""
    return info.context if isinstance(info.context, Surroundings) else Surroundings()


def parse_duration(value: object) -> float:
    """`"5s"`, `"250ms"`, `"1h30m"` or a number of seconds -> seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))
    raise ValueError('must be a duration such as "250ms", "5s", "30m", "1h30m", or a number of seconds')


_DURATION_SCHEMA = {"type": ["string", "number"], "pattern": f"^{_DURATION.pattern}$", "examples": ["5s", "30m", 10]}

Duration = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    WithJsonSchema(_DURATION_SCHEMA, mode="validation"),
]
"""Seconds, more than zero."""
Delay = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    WithJsonSchema(_DURATION_SCHEMA, mode="validation"),
]
"""Seconds, zero allowed."""


def resolve_text(value: object, info: ValidationInfo) -> object:
    """A string as it is; `{env = "X", default = "..."}` read from the environment. Other values pass through."""
    if not isinstance(value, Mapping):
        return value
    name, default = value.get("env"), value.get("default")
    if set(value) - {"env", "default"} or not isinstance(name, str) or not isinstance(default, str | None):
        raise ValueError('must be a string, or { env = "NAME", default = "..." }')
    found = surroundings(info).env.get(name) or default
    if found is None:
        raise ValueError(f'environment variable {name} is not set; set it or add default = "..."')
    return found


Text = Annotated[
    str,
    Field(strict=True, min_length=1),
    BeforeValidator(resolve_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {"env": {"type": "string"}, "default": {"type": "string"}},
                    "required": ["env"],
                    "additionalProperties": False,
                },
            ]
        },
        mode="validation",
    ),
]
"""A string that may come from the environment."""


def resolve_path(value: object, info: ValidationInfo) -> object:
    """Like `resolve_text`; a relative path starts at the folder of config.toml."""
    text = resolve_text(value, info)
    if not isinstance(text, str) or not text:
        raise ValueError("must be the path of a file")
    return str(surroundings(info).base / text)


def sql_problem(text: str, params: Sequence[int]) -> str | None:
    """What is wrong with this query at first sight, or None. `params` are the numbers it must use, and no others."""
    code = SQL_QUIET.sub(" ", text)
    if not code.strip(" \t\r\n;"):
        return "is empty"
    if not re.match(r"[\s(]*(select|with|values|table)\b", code, re.IGNORECASE):
        return "must be one query that starts with select or with"
    if ";" in code.rstrip().removesuffix(";"):
        return 'must be one query; it holds a ";" in the middle'
    used = {int(number) for number in _SQL_PARAM.findall(code)}
    if missing := [f"${number}" for number in params if number not in used]:
        return f"must use {' and '.join(missing)}"
    if extra := [f"${number}" for number in sorted(used - set(params))]:
        return f"uses {' and '.join(extra)}, but only {' and '.join(f'${n}' for n in params)} can be given"
    return None


def _sql(*params: int) -> BeforeValidator:
    def tidy(value: object) -> object:
        if not isinstance(value, str):
            return value
        if problem := sql_problem(value, params):
            raise ValueError(problem)
        return textwrap.dedent(value.strip("\n")).strip().removesuffix(";").rstrip()

    return BeforeValidator(tidy)


KeysSql = Annotated[str, Field(strict=True), _sql(1)]
"""A query of $1."""
WindowSql = Annotated[str, Field(strict=True), _sql(1, 2)]
"""A query of $1 and $2."""


@dataclass(frozen=True, slots=True)
class Window:
    """A daily span of local time, start included and end excluded; it may pass midnight."""

    start: dt.time
    end: dt.time

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def contains(self, local: dt.time) -> bool:
        """Whether this local time of day lies in the window."""
        local = local.replace(tzinfo=None)
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


def parse_window(value: object) -> Window:
    """`"22:00-06:00"` -> Window. Raises ValueError."""
    if isinstance(value, Window):
        return value
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a span of the day such as "22:00-06:00"')
    start, end = dt.time(int(match[1]), int(match[2])), dt.time(int(match[3]), int(match[4]))
    if start == end:
        raise ValueError("starts when it ends; leave it out for the whole day")
    return Window(start, end)


DayWindow = Annotated[
    Window,
    BeforeValidator(parse_window),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_WINDOW.pattern}$"}, mode="validation"),
]


def plain(value: Any) -> Any:
    """A copy with tuples as lists, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value

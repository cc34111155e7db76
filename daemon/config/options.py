"""Options of an ERP pack: their types, the values that a configuration gives, and how they reach SQL.

Invariant: a value enters a query as one literal or array literal of its own type, whatever characters it holds; it is
never part of the query's words. What is not an option's value is refused with its place and the accepted form.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo

from daemon.config.problems import suggestion
from daemon.config.section import Finding, Flag, Raw, Section, Whole, Word
from daemon.config.values import SQL_QUIET

Value: TypeAlias = str | int | bool | tuple[str, ...] | tuple[int, ...] | None

_TAG = re.compile(r"\{\{\s*([#^/>]?)\s*([A-Za-z0-9_.-]*)\s*\}\}")


class OptionType(enum.StrEnum):
    """What an option holds. `texts` and `integers` are arrays."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXTS = "texts"
    INTEGERS = "integers"


_SQL_TYPE = {
    OptionType.TEXT: "text",
    OptionType.INTEGER: "bigint",
    OptionType.BOOLEAN: "boolean",
    OptionType.TEXTS: "text[]",
    OptionType.INTEGERS: "bigint[]",
}
_WORDS = {
    OptionType.TEXT: "a string",
    OptionType.INTEGER: "a whole number",
    OptionType.BOOLEAN: "true or false",
    OptionType.TEXTS: "an array of strings",
    OptionType.INTEGERS: "an array of whole numbers",
}


def _known(value: str) -> str:
    if not re.match(r"[\s(]*(select|with)\b", value, re.IGNORECASE):
        raise ValueError("must be one query that starts with select or with")
    return value.strip().removesuffix(";")


class Option(Section):
    """A setting of a pack, table [option.<name>] of pack.toml."""

    type: OptionType = Field(description="text, integer, boolean, texts or integers.")
    description: Word = Field(description="What it decides, for the one who sets it.")
    default: Any = Field(default=None, description="Value where config.toml gives none.")
    required: Flag = Field(default=False, description="config.toml must give a value.")
    choices: tuple[Word, ...] = Field(default=(), description="The only values of a text or of texts.")
    known: Annotated[Word, AfterValidator(_known)] | None = Field(
        default=None, description="Query whose first column gives every value that the ERP knows, as text."
    )
    least: Whole | None = Field(default=None, description="Smallest value of an integer or of integers.")

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        if raw.get("required") is True and "default" in raw:
            yield ("default",), "stands beside required; give one of them"
        kind = raw.get("type")
        if raw.get("choices") and kind not in (OptionType.TEXT, OptionType.TEXTS):
            yield ("choices",), "are for text and texts"

    @property
    def many(self) -> bool:
        """Whether it is an array."""
        return self.type in (OptionType.TEXTS, OptionType.INTEGERS)

    @property
    def empty(self) -> Value:
        """What stands for no value."""
        return () if self.many else None

    def accept(self, value: object) -> Value:
        """The value in its own type. Raises ValueError naming the accepted form."""
        if not self.many:
            return self._part(value)
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be {_WORDS[self.type]}")  # noqa: TRY004 -- the caller tells it as a problem of the file
        parts = tuple(self._part(part) for part in value)
        if len(set(parts)) < len(parts):
            raise ValueError("holds a value twice")
        return parts  # type: ignore[return-value]  # all of one type: _part has looked

    def _part(self, value: object) -> str | int | bool:
        match value:
            case bool() if self.type is OptionType.BOOLEAN:
                return value
            case bool():
                pass
            case int() if self.type in (OptionType.INTEGER, OptionType.INTEGERS) and -(2**63) <= value < 2**63:
                if self.least is not None and value < self.least:
                    raise ValueError(f"must be at least {self.least}")
                return value
            case str() if self.type in (OptionType.TEXT, OptionType.TEXTS):
                if not value or "\0" in value:
                    raise ValueError("must not be empty or hold a NUL character")
                if self.choices and value not in self.choices:
                    allowed = " or ".join(f'"{choice}"' for choice in self.choices)
                    raise ValueError(f"must be {allowed}{_near(value, self.choices)}")
                return value
        raise ValueError(f"must be {_WORDS[self.type]}")

    def value(self, given: Mapping[str, object], name: str) -> Value:
        """The value in force: the one given, else the default. Raises ValueError."""
        if name in given:
            return self.accept(given[name])
        if self.required:
            raise ValueError(f"is missing: {self.description[:1].lower()}{self.description[1:].rstrip('.')}")
        return self.empty if self.default is None else self.accept(self.default)


def _near(value: str, known: Sequence[str]) -> str:
    near = suggestion(value, known)
    return near if "did you mean" in near else ""


def literal(value: Value, kind: OptionType) -> str:
    """A value as SQL: `'WH'::text`, `array['a', 'b']::text[]`, `null::text`."""
    if value is None:
        written = "null"
    elif isinstance(value, tuple):
        written = f"array[{', '.join(_one(part) for part in value)}]"
    else:
        written = _one(value)
    return f"({written}::{_SQL_TYPE[kind]})"


def _one(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"'{value}'"  # in quotes also the smallest bigint can be written
    quoted = value.replace("'", "''")
    # right whatever standard_conforming_strings says
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in value else f"'{quoted}'"


class TemplateError(ValueError):
    """A pack's query names something that is not there."""


def render(text: str, values: Mapping[str, Value], options: Mapping[str, Option], fragments: Mapping[str, str]) -> str:
    """A pack's query with its options filled in.

    `{{name}}` becomes a literal; `{{#name}}...{{/name}}` stays where the option is true, set or not empty, and
    `{{^name}}...{{/name}}` where it is not; `{{>name.sql}}` is replaced by that file of the pack first.
    Raises TemplateError.
    """
    text = _with_fragments(text, fragments, ())
    for quiet in SQL_QUIET.finditer(text):
        if "{{" in quiet[0]:
            raise TemplateError(f"an option stands inside quotes or a comment: {quiet[0].splitlines()[0][:60]}")
    return _filled(text, values, options)


def _with_fragments(text: str, fragments: Mapping[str, str], above: tuple[str, ...]) -> str:
    def put(match: re.Match[str]) -> str:
        if match[1] != ">":
            return match[0]
        if match[2] not in fragments:
            raise TemplateError(f"there is no file {match[2]} in the pack")
        if match[2] in above:
            raise TemplateError(f"{match[2]} includes itself")
        return _with_fragments(fragments[match[2]], fragments, (*above, match[2]))

    return _TAG.sub(put, text)


def _filled(text: str, values: Mapping[str, Value], options: Mapping[str, Option]) -> str:
    parts: list[str] = []
    open_: list[tuple[str, bool]] = []
    at = 0
    for match in _TAG.finditer(text):
        shown = all(shows for _, shows in open_)
        if shown:
            parts.append(text[at : match.start()])
        at = match.end()
        sign, name = match[1], match[2]
        if name not in options:
            raise TemplateError(f'there is no option "{name}"{suggestion(name, options)}')
        if sign == "/":
            if not open_ or open_[-1][0] != name:
                raise TemplateError(f"{match[0]} closes what is not open")
            open_.pop()
        elif sign:
            open_.append((name, bool(values[name]) == (sign == "#")))
        elif shown:
            parts.append(literal(values[name], options[name].type))
    if open_:
        raise TemplateError(f"{{{{#{open_[-1][0]}}}}} is never closed")
    parts.append(text[at:])
    return "".join(parts)

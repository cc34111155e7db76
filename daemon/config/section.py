"""The base of every configuration table: all of its problems are found in one pass.

Invariant: a wrong field never hides another problem. Unknown keys, missing keys, wrong values and rules between keys
of one table are reported together; a section that was built is complete, valid and frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from daemon.config.lines import Path
from daemon.config.problems import expected, suggestion

T = TypeVar("T")
Raw: TypeAlias = Mapping[str, Any]
"""A table as TOML gave it, unchecked."""
Finding: TypeAlias = tuple[Path, str]
"""Path below the table, message."""

Flag: TypeAlias = Annotated[bool, Field(strict=True)]
Whole: TypeAlias = Annotated[int, Field(strict=True)]
Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Word: TypeAlias = Annotated[str, Field(strict=True, min_length=1)]
TableName: TypeAlias = Annotated[SkipJsonSchema[str], Field(exclude=True)]
"""The name that stands in a table's header, filled in by the table above."""


def derived(rule: Callable[[dict[str, Any]], T]) -> Callable[[dict[str, Any]], T]:
    """A default that follows from the fields before it.

    Where one of them is missing or wrong the table is refused for that reason; the default must not add a second one.
    """

    def factory(data: dict[str, Any]) -> T:
        try:
            return rule(data)
        except KeyError:
            return cast(T, None)

    return factory


class Section(BaseModel):
    """A frozen table that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    named: ClassVar[bool] = False
    """Whether the table's own name is handed in as `name`."""

    @classmethod
    def rules(cls, raw: Raw, info: ValidationInfo, /) -> Iterator[Finding]:
        """Problems between keys, read from the unchecked table; values of a wrong type are left to the fields."""
        del raw, info
        yield from ()

    @classmethod
    def prepared(cls, raw: Raw) -> Raw:
        """The table with what only the table above knows, for the fields."""
        return raw

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        found = list(cls.rules(data, info))
        made: Self | None = None
        try:
            made = handler(cls.prepared(data))
        except ValidationError as error:
            found += [(details["loc"], cls._worded(details)) for details in error.errors() if _is_cause(details)]
        if made is not None and not found:
            return made
        raise ValidationError.from_exception_data(cls.__name__, [_detail(*finding) for finding in found])

    @classmethod
    def _worded(cls, details: Any) -> str:
        loc = details["loc"]
        if details["type"] == "extra_forbidden" and len(loc) == 1:
            return f'unknown key "{loc[0]}"{suggestion(str(loc[0]), cls.key_names())}'
        if details["type"] == "missing" and len(loc) == 1:
            description = (cls.model_fields[str(loc[0])].description or "").split(". ")[0].rstrip(".")
            return f"is missing: {description[:1].lower()}{description[1:]}"
        return str(details["msg"]) if details["type"] == "config" else expected(details)

    @classmethod
    def key_names(cls) -> list[str]:
        """The keys that this table accepts."""
        return [name for name in cls.model_fields if not (cls.named and name == "name")]


def _is_cause(details: Any) -> bool:
    """A default that could not be derived only repeats the problem of the field that it is derived from."""
    return bool(details["type"] != "default_factory_not_called")


def _detail(loc: Path, message: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("config", "{text}", {"text": message}), loc=loc, input=None)

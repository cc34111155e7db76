"""ERP packs: entities that are shipped in adapters/erp/<name>/, with options instead of an integrator's SQL.

Invariant: what a pack gives is an ordinary configuration: its queries are whole before anyone else sees them, and each
mistake is told at its place, an option's in config.toml, a query's in the pack's own file.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo

from daemon.config.lines import Path
from daemon.config.options import Option, TemplateError, Value, render
from daemon.config.problems import InvalidConfigError, Problem, suggestion
from daemon.config.reading import Text, parse
from daemon.config.section import Finding, Raw, Section, Word

PACK_FILE = "pack.toml"


class Index(Section):
    """An index that a large installation needs, table [[index]] of pack.toml."""

    table: Word = Field(description='Table, "schema.table"; a bare name means schema public.')
    columns: tuple[Word, ...] = Field(min_length=1, description="Its leading columns, in order.")
    why: Word = Field(description="What it is for.")
    where: Word | None = Field(default=None, description="Condition of a partial index.")


class PackFile(Section):
    """pack.toml without its entities, which are checked with the whole configuration."""

    title: Word = Field(description="The ERP, for people.")
    tested: tuple[Word, ...] = Field(min_length=1, description="Versions of the ERP that it was tested on.")
    signs: tuple[Word, ...] = Field(
        default=(),
        description='Tables that this ERP alone has together, "schema.table": `erpsyncd init` names the pack.',
    )
    option: dict[str, Option] = Field(default_factory=dict, description="What config.toml may set in [erp.options].")
    index: tuple[Index, ...] = Field(default=(), description="Indexes that `erpsyncd doctor` looks for.")
    entity: dict[str, Any] = Field(min_length=1, description="Tables as in config.toml.")

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        options = raw.get("option")
        for name, option in (options if isinstance(options, Mapping) else {}).items():
            if not str(name).isidentifier():
                yield ("option", name), "a name here has letters, digits and '_'"
            if not isinstance(option, Mapping) or "default" not in option:
                continue
            try:
                made = Option.model_validate(option)
                made.accept(made.default)
            except ValidationError:
                continue  # told as a problem of the option itself
            except ValueError as error:
                yield ("option", name, "default"), str(error)


@dataclass(frozen=True, slots=True)
class Known:
    """A query for the values of an option that the ERP knows, and the values that are in force."""

    option: str
    sql: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack with the options in force."""

    name: str
    title: str
    tested: tuple[str, ...]
    options: dict[str, Value]
    known: tuple[Known, ...] = ()
    index: tuple[Index, ...] = ()
    text: Text = field(default_factory=lambda: Text("", {}, {}))
    """Its entities as a configuration, queries whole, with the lines of the pack's own file."""


def pack_names() -> list[str]:
    """ERP packs that are installed: folders of adapters/erp with a pack file."""
    root = importlib.resources.files("adapters").joinpath("erp")
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.joinpath(PACK_FILE).is_file())


def packs_for(tables: Collection[str]) -> list[tuple[str, str]]:
    """Name and title of each pack whose signs are all among these tables, `schema.table`."""
    found = []
    for name in pack_names():
        text = importlib.resources.files("adapters").joinpath("erp", name, PACK_FILE).read_text(encoding="utf-8")
        file = PackFile.model_validate(parse(text, f"{name}/{PACK_FILE}").data)
        if file.signs and set(file.signs) <= set(tables):
            found.append((name, file.title))
    return found


def pack_of(own: Text) -> tuple[Pack | None, list[Problem]]:
    """The pack that a configuration names, with its options; and what is wrong with either."""
    erp = own.data.get("erp")
    if not isinstance(erp, dict):
        return None, []
    name, given = erp.get("pack"), erp.get("options", {})
    if not isinstance(name, str) or not name:
        return None, []
    known = pack_names()
    if name not in known:
        more = suggestion(name, known) or "; none is installed: leave it out and write [entity.*]"
        return None, [own.problem(("erp", "pack"), f'there is no ERP pack "{name}"{more}')]
    folder = importlib.resources.files("adapters").joinpath("erp", name)
    try:
        text = parse(folder.joinpath(PACK_FILE).read_text(encoding="utf-8"), f"{name}/{PACK_FILE}")
    except InvalidConfigError as error:
        return None, list(error.problems)
    try:
        file = PackFile.model_validate(text.data)
    except ValidationError as error:
        return None, [text.problem(tuple(found["loc"]), found["msg"]) for found in error.errors()]
    values, problems = _values(file, given if isinstance(given, dict) else {}, own)
    if not isinstance(given, dict):
        problems.append(own.problem(("erp", "options"), "must be a table"))
    pack, unfit = _filled(name, file, values, text, folder)
    return pack, problems + unfit


def _values(file: PackFile, given: Mapping[str, Any], own: Text) -> tuple[dict[str, Value], list[Problem]]:
    problems = [
        own.problem(("erp", "options", name), f'the pack has no option "{name}"{suggestion(name, file.option)}')
        for name in given
        if name not in file.option
    ]
    values: dict[str, Value] = {}
    for name, option in file.option.items():
        try:
            values[name] = option.value(given, name)
        except ValueError as error:
            problems.append(own.problem(("erp", "options", name), str(error)))
            values[name] = option.empty
    return values, problems


class _Filler:
    """Makes a pack's tables a configuration: queries from their files, options filled in."""

    def __init__(self, file: PackFile, values: dict[str, Value], text: Text, folder: Traversable) -> None:
        self._options, self._values, self._text = file.option, values, text
        self._entities = file.entity
        self._files = {
            entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")
        }
        self.problems: list[Problem] = []

    def entities(self) -> dict[str, Any]:
        made = {}
        for name, table in self._entities.items():
            made[name] = self._entity(name, table) if isinstance(table, Mapping) else table
        return made

    def query(self, value: Any, place: Path) -> Any:
        """A query's text: from its file where `{ file = "x.sql" }` names one."""
        if isinstance(value, Mapping):
            if set(value) != {"file"} or value["file"] not in self._files:
                return self._wrong(place, 'must be a query, or { file = "name.sql" } of this pack', "")
            value = self._files[value["file"]]
        if not isinstance(value, str):
            return value
        try:
            return render(value, self._values, self._options, self._files)
        except TemplateError as error:
            return self._wrong(place, str(error), value)

    def _entity(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(table)
        for key in ("sql", "all_keys"):
            if key in made:
                made[key] = self.query(made[key], ("entity", name, key))
        for key in ("watch", "poll"):
            if isinstance(made.get(key), list):
                made[key] = list(self._rows(made[key], ("entity", name, key)))
        return made

    def _rows(self, rows: list[Any], place: Path) -> Iterator[Any]:
        """Watches or poll rules; one with `when` is left out where that option is false, not set or empty."""
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                yield row
                continue
            when = row.get("when")
            if when is not None and when not in self._options:
                self._wrong((*place, number, "when"), f'there is no option "{when}"', None)
            if when is None or self._values.get(when):
                kept = {key: value for key, value in row.items() if key != "when"}
                if "keys" in kept:
                    kept["keys"] = self.query(kept["keys"], (*place, number, "keys"))
                yield kept

    def _wrong(self, place: Path, message: str, instead: Any) -> Any:
        self.problems.append(self._text.problem(place, message))
        return instead


def _filled(
    name: str, file: PackFile, values: dict[str, Value], text: Text, folder: Traversable
) -> tuple[Pack | None, list[Problem]]:
    filler = _Filler(file, values, text, folder)
    entities = filler.entities()
    known = tuple(
        Known(option, filler.query(o.known, ("option", option, "known")), _asked(values[option]))
        for option, o in file.option.items()
        if o.known is not None and values[option]
    )
    if filler.problems:
        return None, filler.problems
    filled = Text(text.file, {"entity": entities}, text.lines)
    return Pack(name, file.title, file.tested, values, known, file.index, filled), []


def _asked(value: Value) -> tuple[str, ...]:
    return tuple(str(part) for part in (value if isinstance(value, tuple) else (value,)))

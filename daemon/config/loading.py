"""From a file to a Config, or to the list of all that is wrong with it.

Invariant: loading reads files and the environment and changes nothing. It ends in a complete Config or in one
InvalidConfigError that holds every problem, never in a traceback and never in half a configuration.
"""

from __future__ import annotations

import importlib
import importlib.resources
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.lines import Path as KeyPath
from daemon.config.lines import depth, line_numbers, locate
from daemon.config.problems import InvalidConfigError, Problem, suggestion
from daemon.config.root import Config
from daemon.config.values import Surroundings

SEARCHED = (Path("config.toml"), Path("/etc/erpsyncd/config.toml"))
PACK_FILE = "mapping.toml"


@dataclass(frozen=True, slots=True)
class _Text:
    """A parsed TOML file and where its keys stand."""

    file: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]


def find_config(explicit: Path | None = None) -> Path:
    """The configuration to use: the one given, else the first of SEARCHED that exists. Raises ConfigError."""
    tried = (explicit,) if explicit is not None else SEARCHED
    for path in tried:
        if path.is_file():
            return path
    names = " and ".join(str(path) for path in tried)
    remedy = "check the path after -c" if explicit is not None else "create one of them or name another with -c FILE"
    raise InvalidConfigError([Problem("", None, f"no such file; {remedy}", names)])


def load(path: Path, *, env: Mapping[str, str] | None = None, adapters: Sequence[str] | None = None) -> Config:
    """Read and check a configuration. `env` is the process's environment and `adapters` all adapters unless given.

    Raises InvalidConfigError (a ConfigError) that lists every problem.
    """
    own = _read(path, str(path))
    around = Surroundings(
        env=os.environ if env is None else env,
        base=path.absolute().parent,
        adapters=adapter_names() if adapters is None else adapters,
    )
    return _validated(own, around)


def load_text(text: str, *, base: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Like `load`, from text; relative paths start at `base` (the working folder unless given)."""
    around = Surroundings(
        env=os.environ if env is None else env, base=base if base is not None else Path.cwd(), adapters=adapter_names()
    )
    return _validated(_parse(text, "config.toml"), around)


def check(path: Path, *, env: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of a configuration; an empty list means that it is good."""
    try:
        load(path, env=env)
    except InvalidConfigError as error:
        return list(error.problems)
    return []


def adapter_names() -> list[str]:
    """Names that `adapter` accepts. Looked up by name at run time: adapters stand above the configuration."""
    names: list[str] = importlib.import_module("adapters.store").names()
    return names


def pack_names() -> list[str]:
    """ERP packs that are installed: folders of adapters/erp with a mapping."""
    root = importlib.resources.files("adapters").joinpath("erp")
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.joinpath(PACK_FILE).is_file())


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: tables are merged key by key, everything else (arrays too) is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read(path: Path, shown: str) -> _Text:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfigError([Problem("", None, f"is not UTF-8 text (byte {error.start})", shown)]) from None
    except FileNotFoundError:
        raise InvalidConfigError([Problem("", None, "no such file; check the path after -c", shown)]) from None
    except OSError as error:
        raise InvalidConfigError([Problem("", None, f"cannot be read: {error.strerror}", shown)]) from None
    return _parse(text, shown)


def _parse(text: str, shown: str) -> _Text:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigError([_malformed(str(error), text, shown)]) from None
    return _Text(shown, data, line_numbers(text.replace("\r\n", "\n")))


def _malformed(reason: str, text: str, shown: str) -> Problem:
    """tomllib says `Invalid value (at line 2, column 5)` or `... (at end of document)`."""
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", reason)
    line = column = None
    if match is not None:
        reason = reason[: match.start()]
        line, column = (int(match[1]), int(match[2])) if match[1] else (text.count("\n") + 1, None)
    return Problem("", line, f"is not valid TOML: {reason[:1].lower()}{reason[1:]}", shown, column)


def _validated(own: _Text, around: Surroundings) -> Config:
    pack, problems = _pack(own)
    data = merge(pack.data, own.data) if pack is not None else own.data
    try:
        config = Config.model_validate(data, context=around)
    except ValidationError as error:
        problems += [_problem(tuple(found["loc"]), found["msg"], own, pack) for found in error.errors()]
    if problems:
        raise InvalidConfigError(sorted(problems, key=lambda problem: (problem.file != own.file, problem.line or 0)))
    return config


def _pack(own: _Text) -> tuple[_Text | None, list[Problem]]:
    """The pack that the configuration names, if any."""
    erp = own.data.get("erp")
    name = erp.get("pack") if isinstance(erp, dict) else None
    if not isinstance(name, str) or not name:
        return None, []
    known = pack_names()
    if name not in known:
        more = suggestion(name, known) or "; none is installed: leave it out and write [entity.*]"
        return None, [_problem(("erp", "pack"), f'there is no ERP pack "{name}"{more}', own, None)]
    source = importlib.resources.files("adapters").joinpath("erp", name, PACK_FILE)
    try:
        pack = _parse(source.read_text(encoding="utf-8"), f"{name}/{PACK_FILE}")
    except InvalidConfigError as error:
        return None, list(error.problems)
    stray = [key for key in pack.data if key != "entity"]
    return pack, [_problem((key,), "a pack holds [entity.*] only", pack, None) for key in stray]


def _problem(path: KeyPath, message: str, own: _Text, pack: _Text | None) -> Problem:
    text = pack if pack is not None and _from_pack(path, own, pack) else own
    return Problem(".".join(str(part) for part in path), locate(text.lines, path), message, text.file)


def _from_pack(path: KeyPath, own: _Text, pack: _Text) -> bool:
    """Whether the value at this path came from the pack: only there is it known, and no array of ours replaced it."""
    replaced = any(isinstance(part, int) and path[:length] in own.lines for length, part in enumerate(path))
    return not replaced and depth(pack.lines, path) > depth(own.lines, path)

"""From a file to a Config, or to the list of all that is wrong with it.

Invariant: loading reads files and the environment and changes nothing. It ends in a complete Config or in one
InvalidConfigError that holds every problem, never in a traceback and never in half a configuration.
"""

from __future__ import annotations

import importlib
import importlib.resources
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.lines import Path as KeyPath
from daemon.config.lines import depth
from daemon.config.pack import Pack, pack_of
from daemon.config.problems import InvalidConfigError, Problem
from daemon.config.reading import Text, parse, read
from daemon.config.root import Config
from daemon.config.values import Surroundings
from daemon.errors import ConfigError

SEARCHED = (Path("config.toml"), Path("/etc/erpsyncd/config.toml"))


def find_config(explicit: Path | None = None) -> Path:
    """The configuration to use: the one given, else the first of SEARCHED that exists. Raises ConfigError."""
    tried = (explicit,) if explicit is not None else SEARCHED
    for path in tried:
        if path.is_file():
            return path
    names = " and ".join(str(path) for path in tried)
    remedy = "check the path after -c" if explicit is not None else "create one of them or name another with -c FILE"
    raise InvalidConfigError([Problem("", None, f"no such file; {remedy}", names)])


def load(
    path: Path,
    *,
    env: Mapping[str, str] | None = None,
    adapters: Sequence[str] | None = None,
    lenient: bool = False,
) -> Config:
    """Read and check a configuration. `env` is the process's environment and `adapters` all adapters unless given.
    `lenient`: a secret that cannot be read here is an error only for whoever asks for its text.

    Raises InvalidConfigError (a ConfigError) that lists every problem.
    """
    own = read(path, str(path))
    around = Surroundings(
        env=os.environ if env is None else env,
        base=path.absolute().parent,
        adapters=adapter_names() if adapters is None else adapters,
        lenient=lenient,
    )
    return _validated(own, around)


def load_text(text: str, *, base: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Like `load`, from text; relative paths start at `base` (the working folder unless given)."""
    around = Surroundings(
        env=os.environ if env is None else env, base=base if base is not None else Path.cwd(), adapters=adapter_names()
    )
    return _validated(parse(text, "config.toml"), around)


def check(
    path: Path,
    *,
    env: Mapping[str, str] | None = None,
    refused: Callable[[Config], Iterable[ConfigError]] = lambda _config: (),
) -> list[Problem]:
    """Every problem of a configuration; an empty list means that it is good. `refused` is asked about one that is good by
    itself: what a part that stands above the configuration cannot use, with `where` as its dotted path."""
    try:
        errors = list(refused(load(path, env=env)))
    except InvalidConfigError as error:
        return list(error.problems)
    if not errors:
        return []
    own = read(path, str(path))
    return [_problem(tuple(error.where.split(".")), error.advice, own, None) for error in errors]


def adapter_names() -> list[str]:
    """Names that `adapter` accepts. Looked up by name at run time: adapters stand above the configuration."""
    names: list[str] = importlib.import_module("adapters.store").names()
    return names


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: tables are merged key by key, everything else (arrays too) is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _validated(own: Text, around: Surroundings) -> Config:
    pack, problems = pack_of(own)
    data = _laid(pack, own) if pack is not None else own.data
    try:
        config = Config.model_validate(data, context=around)
    except ValidationError as error:
        lacking = pack is None and bool(problems)  # what a broken pack would have given is not missed a second time
        problems += [
            _problem(tuple(found["loc"]), found["msg"], own, pack)
            for found in error.errors()
            if not (lacking and _of_the_pack(tuple(found["loc"]), found["msg"]))
        ]
        config = None
    if config is not None:
        config.remember(pack)
        problems += [_problem(path, text, own, pack) for path, text in _unimportable(config)]
    if config is None or problems:
        raise InvalidConfigError(sorted(problems, key=lambda problem: (problem.file != own.file, problem.line or 0)))
    return config


def _of_the_pack(path: KeyPath, message: str) -> bool:
    return (path[:1] == ("entity",) and "is missing" in message) or "there is no [entity." in message


def _laid(pack: Pack, own: Text) -> dict[str, Any]:
    """The configuration laid on its pack. An entity of the pack that no store shows, no job sends and no table of ours
    mentions is left out: its tables need not be published."""
    entities = own.data.get("entity")
    wanted = set(entities) if isinstance(entities, Mapping) else set()
    for tables, key in ((own.data.get("store"), "entities"), (own.data.get("batch"), "entity")):
        for table in tables.values() if isinstance(tables, Mapping) else ():
            found = table.get(key) if isinstance(table, Mapping) else None
            wanted.update(found if isinstance(found, list) else [found])
    shown = {name: table for name, table in pack.text.data["entity"].items() if name in wanted}
    data = merge({"entity": shown}, own.data)
    return {**data, "erp": {**data["erp"], "options": dict(pack.options)}}


def _unimportable(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Entities whose function is not there."""
    for name, entity in config.entity.items():
        if entity.transform is not None:
            module, _, function = entity.transform.partition(":")
            try:
                found = getattr(importlib.import_module(module), function)
            except Exception as error:  # noqa: BLE001 -- anything can come out of an integrator's module
                yield ("entity", name, "transform"), f"cannot be imported: {type(error).__name__}: {error}"
                continue
            if not callable(found):
                yield ("entity", name, "transform"), f"{function} of {module} is no function"


def _problem(path: KeyPath, message: str, own: Text, pack: Pack | None) -> Problem:
    from_pack = pack is not None and _from_pack(path, own, pack.text)
    return (pack.text if pack is not None and from_pack else own).problem(path, message)


def _from_pack(path: KeyPath, own: Text, pack: Text) -> bool:
    """Whether the value at this path came from the pack: only there is it known, and no array of ours replaced it."""
    replaced = any(isinstance(part, int) and path[:length] in own.lines for length, part in enumerate(path))
    return not replaced and depth(pack.lines, path) > depth(own.lines, path)

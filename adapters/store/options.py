"""`[store.<name>.options]` of an adapter: each key read once, with its type, and none left over.

Invariant: what an adapter does not know or cannot use is a ConfigError that names the key; no option is silently ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.store.base import StoreSettings
from daemon.errors import ConfigError


class Options:
    """Reads the options of one store; `end` refuses what nobody asked for."""

    def __init__(self, settings: StoreSettings) -> None:
        self._store = f"store.{settings.name}"
        self._given = {key: value for key, value in settings.options.items() if key != "entities"}
        self._known: list[str] = []

    def error(self, key: str, text: str, hint: str = "") -> ConfigError:
        """The error for one option."""
        return ConfigError(text, where=f"{self._store}.options.{key}", hint=hint)

    def text(self, key: str, default: str | None = None, choices: Iterable[str] = ()) -> str:
        """A text that is not empty; without a default it must be given."""
        value = self._take(key, default)
        allowed = list(choices)
        if value is None:
            near = difflib.get_close_matches(key, self._given, 1)
            raise self.error(key, "is missing", f"Is {near[0]} meant for it?" if near else "Give it a text.")
        if not isinstance(value, str) or (not value and default != ""):
            raise self.error(key, "must be a text")
        if allowed and value not in allowed:
            raise self.error(key, f"must be one of {', '.join(allowed)}")
        return value

    def lookup(self, key: str, default: str, words: Sequence[str]) -> str:
        """By what records are found: one of these words, or `metadata:KEY`."""
        value = self.text(key, default)
        if value not in words and not (value.startswith("metadata:") and len(value) > len("metadata:")):
            raise self.error(key, f"must be {', '.join(words)} or metadata:KEY")
        return value

    def maybe(self, key: str) -> str | None:
        """A text, or None where it is left out."""
        return self.text(key) if self._given.get(key) is not None else self._take(key, None)

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        """true or false."""
        value = self._take(key, default)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number(self, key: str, default: int, least: int = 1) -> int:
        """A whole number, not below `least`."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.error(key, f"must be a whole number of at least {least}")
        return value

    def table(self, key: str) -> dict[str, str]:
        """A table of texts; empty where it is left out."""
        value = self._take(key, {})
        if not isinstance(value, Mapping) or not all(isinstance(each, str) and each for each in value.values()):
            raise self.error(key, 'must be a table of texts, such as { main = "default" }')
        return dict(value)

    def end(self) -> None:
        """Raises ConfigError for an option that was not read."""
        for key in self._given:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1)
                hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(self._known))}."
                raise self.error(key, "is no option of this adapter", hint)

    def _take(self, key: str, default: Any) -> Any:
        self._known.append(key)
        return self._given.get(key, default)


def kinds_of(settings: StoreSettings, able: Iterable[str]) -> dict[str, str]:
    """What each entity of the store is. Raises ConfigError for one that the adapter cannot show."""
    can = list(able)
    for entity, kind in settings.kinds.items():
        if kind not in can:
            what = f'"{entity}" is {kind}' if kind else f'"{entity}" has a kind of its own'
            raise ConfigError(
                f"{what}, which this store cannot show",
                where=f"store.{settings.name}.entities",
                hint=f"It shows {', '.join(can)}.",
            )
    return dict(settings.kinds)

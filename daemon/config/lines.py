"""Where each key of a TOML text stands.

Invariant: for a text that tomllib accepts, every path of the parsed value is known with the line of its key (or, for
an element of an array, of its first character). The scanner reads positions only and never judges; tomllib does that.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and array indices from the root, such as ("entity", "stock", "watch", 0, "key")."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_ATOM = re.compile(r"[^,\]}#\r\n]+")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def line_numbers(text: str) -> dict[Path, int]:
    """Path -> line, counted from 1. `text` must be valid TOML; on any other text the result is incomplete."""
    return _Scanner(text).run()


def locate(lines: dict[Path, int], path: Path) -> int | None:
    """The line of this path, or of the nearest table around it that has one."""
    return lines.get(path[: depth(lines, path)])


def depth(lines: dict[Path, int], path: Path) -> int:
    """How much of this path, counted from its start, has a line."""
    return next((length for length in range(len(path), 0, -1) if path[:length] in lines), 0)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.counted = 0
        self.found: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            start = self.at
            if start >= len(self.text):
                return self.found
            if self.text.startswith("[", start):
                table = self._header()
            else:
                self._pair(table)
            if self.at == start:
                return self.found

    def _here(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def _note(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match.group()

    def _take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _header(self) -> Path:
        line = self._here()
        many = self._take("[[") or not self._take("[")
        keys = self._keys()
        path = self._inside(keys[:-1]) + keys[-1:]
        if many:
            index = self.arrays.get(path, -1) + 1
            self.arrays[path] = index
            self.found.setdefault(path, line)
            path = (*path, index)
        self._note(path, line)
        self.found[path] = line
        self._take("]]" if many else "]")
        return path

    def _inside(self, keys: Path) -> Path:
        """The path that a header's keys mean: an array of tables stands for its latest element."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def _keys(self) -> Path:
        keys: list[str | int] = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if not self._take("."):
                return tuple(keys)

    def _key(self) -> str:
        quote = self.text[self.at : self.at + 1]
        if quote == '"':
            return _ESCAPE.sub(_unescape, self._skip(_STRINGS[2])[1:-1])
        if quote == "'":
            return self._skip(_STRINGS[3])[1:-1]
        return self._skip(_BARE)

    def _pair(self, table: Path) -> None:
        line = self._here()
        path = table + self._keys()
        self._note(path, line)
        self._take("=")
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline(path)
        elif self.text[self.at : self.at + 1] in {'"', "'"}:
            any(self._skip(pattern) for pattern in _STRINGS)
        else:
            self._skip(_ATOM)

    def _array(self, path: Path) -> None:
        index = 0
        while True:
            self._skip(_BLANK)
            start = self.at
            if self._take("]"):
                return
            self._note((*path, index), self._here())
            self._value((*path, index))
            self._skip(_BLANK)
            self._take(",")
            index += 1
            if self.at == start:
                return

    def _inline(self, path: Path) -> None:
        while True:
            self._skip(_BLANK)
            start = self.at
            if self._take("}"):
                return
            self._pair(path)
            self._skip(_BLANK)
            self._take(",")
            if self.at == start:
                return


def _unescape(match: re.Match[str]) -> str:
    body = match[1]
    return chr(int(body[1:], 16)) if body[0] in "uU" and len(body) > 1 else _ESCAPED.get(body, body)

"""TOML files as text with places: what was parsed, and the line of each of its keys.

Invariant: a file that cannot be read or is no TOML becomes a problem with file, line and remedy, never a traceback.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.config.lines import Path as KeyPath
from daemon.config.lines import line_numbers, locate
from daemon.config.problems import InvalidConfigError, Problem


@dataclass(frozen=True, slots=True)
class Text:
    """A parsed TOML file and where its keys stand."""

    file: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A mistake at this place of the file."""
        return Problem(".".join(str(part) for part in path), locate(self.lines, path), message, self.file)


def read(path: Path, shown: str) -> Text:
    """Raises InvalidConfigError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfigError([Problem("", None, f"is not UTF-8 text (byte {error.start})", shown)]) from None
    except FileNotFoundError:
        raise InvalidConfigError([Problem("", None, "no such file; check the path after -c", shown)]) from None
    except OSError as error:
        raise InvalidConfigError([Problem("", None, f"cannot be read: {error.strerror}", shown)]) from None
    return parse(text, shown)


def parse(text: str, shown: str) -> Text:
    """Raises InvalidConfigError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigError([_malformed(str(error), text, shown)]) from None
    return Text(shown, data, line_numbers(text.replace("\r\n", "\n")))


def _malformed(reason: str, text: str, shown: str) -> Problem:
    """tomllib says `Invalid value (at line 2, column 5)` or `... (at end of document)`."""
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", reason)
    line = column = None
    if match is not None:
        reason = reason[: match.start()]
        line, column = (int(match[1]), int(match[2])) if match[1] else (text.count("\n") + 1, None)
    bare = line is not None and column is not None and text.splitlines()[line - 1][column - 1 : column].isalpha()
    remedy = "; a text stands in quotes" if bare and reason == "Invalid value" else ""
    return Problem("", line, f"is not valid TOML: {reason[:1].lower()}{reason[1:]}{remedy}", shown, column)

"""Secrets and connection strings of the configuration.

Invariant: a secret leaves its object through `reveal()` alone. No repr, str, dump, schema, comparison or error shows
it; what is shown instead says where it came from, so that a person can mend it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from daemon.config.values import Surroundings, surroundings
from daemon.errors import ConfigError

MASK = "***"
_FILES = {"sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcrl": "PGSSLCRL"}
"""What the driver reads from files: its name in a URL, and the variable that stands in for it."""
_FORMS = '{ credential = "name" }, { env = "NAME" } or { file = "path" }'
_SCHEMA: JsonSchemaValue = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        *(
            {
                "type": "object",
                "properties": {key: {"type": "string"}},
                "required": [key],
                "additionalProperties": False,
            }
            for key in ("credential", "env", "file")
        ),
    ]
}


class UnreadableError(ValueError):
    """What stands outside of the configuration, a secret or a certificate, cannot be read by this user, in this place."""


class Secret:
    """A text that must not be shown. `source` says where it was read: "credential x", "env X", "file p" or "config"."""

    __slots__ = ("_lacking", "_text", "source")

    def __init__(self, text: str, source: str = "config") -> None:
        self._text = text
        self._lacking = ""
        self.source = source

    def reveal(self, where: str = "") -> str:
        """The text itself: for a header or a connection, nothing else. Raises ConfigError where it could not be read;
        `where` is then its dotted path."""
        if self._lacking:
            raise ConfigError(self._lacking, where=where)
        return self._text

    def redacted(self) -> str:
        """What may be shown."""
        return MASK if self.source == "config" else f"{MASK} ({self.source})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.redacted()!r})"

    def __str__(self) -> str:
        return self.redacted()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    _stand_in = "unread"

    @classmethod
    def _make(cls, text: str, source: str, around: Surroundings) -> Self:
        del around
        return cls(text, source)

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> Self:
        if isinstance(value, cls):
            return value
        around = surroundings(info)
        try:
            text, source = read_secret(value, around)
            return cls._make(text, source, around)
        except UnreadableError as error:
            if not around.lenient:
                raise
            unread = cls._make(cls._stand_in, "not read", Surroundings(env={}))
            unread._lacking = str(error)
            return unread

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: secret.redacted()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(_SCHEMA)


def read_secret(value: object, around: Surroundings) -> tuple[str, str]:
    """The text that a string or a reference stands for, and its source. Raises ValueError with the remedy."""
    if isinstance(value, str):
        text, source = value, "config"
    elif isinstance(value, Mapping) and len(value) == 1:
        [(form, name)] = value.items()
        if form not in _READERS or not isinstance(name, str) or not name:
            raise ValueError(f"must be a string, {_FORMS}")
        text, source = _READERS[form](name, around), f"{form} {name}"
    else:
        raise ValueError(f"must be a string, {_FORMS}")
    if not text:
        raise ValueError("is empty" if source == "config" else f"{source} is empty; write the secret there")
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"holds more than one line ({source})")
    return text, source


def _from_env(name: str, around: Surroundings) -> str:
    if name not in around.env:
        raise UnreadableError(f"environment variable {name} is not set; set it, or use {_FORMS}")
    return around.env[name]


def _from_credential(name: str, around: Surroundings) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name in {".", ".."}:
        raise ValueError("a credential's name has letters, digits, '.', '_' and '-' only")
    folder = around.env.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise UnreadableError(
            f"credential {name}: CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential={name}:PATH, "
            "elsewhere set it to the folder of the secrets, or use { env = ... } or { file = ... }"
        )
    remedy = f"put LoadCredential={name}:PATH into the unit"
    return _from_path(f"{folder}/{name}", around, f"credential {name}", remedy)


def _from_file(name: str, around: Surroundings) -> str:
    return _from_path(name, around, f"file {name}", "create it, readable for the daemon's user")


def _from_path(name: str, around: Surroundings, what: str, remedy: str) -> str:
    try:
        text = (around.base / name).read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableError(f"{what} cannot be read ({error.strerror}); {remedy}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


_READERS = {"credential": _from_credential, "env": _from_env, "file": _from_file}


class Dsn(Secret):
    """A Postgres connection URL. `str` shows it without its password; `dbname` and `user` as libpq derives them."""

    __slots__ = ("_shown", "dbname", "user")
    _stand_in = "postgresql://unread@unread/unread"

    def __init__(self, text: str, source: str = "config", env: Mapping[str, str] | None = None) -> None:
        """Raises ValueError for anything but a postgresql:// URL that says which database it means."""
        super().__init__(text, source)
        self._shown, self.dbname, self.user = _parse_dsn(text, env or {})

    def redacted(self) -> str:
        return self._shown

    @classmethod
    def _make(cls, text: str, source: str, around: Surroundings) -> Self:
        return cls(text, source, around.env)


def _parse_dsn(text: str, env: Mapping[str, str]) -> tuple[str, str, str]:
    """(redacted form, database, user). Messages never quote the text: a password may stand anywhere in it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL; write postgresql://user@host:5432/database") from None
    if parts.scheme not in {"postgres", "postgresql"} or "://" not in text:
        raise ValueError("must start with postgresql://, such as postgresql://user@host:5432/database")
    if parts.fragment or "#" in text:
        raise ValueError('holds a "#"; write it as %23 inside a password or name')
    login, at, hosts = parts.netloc.rpartition("@")
    if "@" in login or "/" in login:
        raise ValueError('holds "@" twice; write it as %40 inside a password')
    for host in hosts.split(","):
        port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        if port and not (port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("the port is not a number below 65536; percent-encode special characters of a password")
    name, colon, password = login.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(query)
    user = unquote(name) or options.get("user") or env.get("PGUSER", "")
    database = options.get("dbname") or options.get("database") or unquote(parts.path.removeprefix("/"))
    database = database or env.get("PGDATABASE") or user
    if not database:
        raise ValueError("names no database; write postgresql://user@host:5432/database or set PGDATABASE")
    _look_at_files(options, env)
    hidden = [(key, MASK if "password" in key.lower() else value) for key, value in query]
    shown = f"{parts.scheme}://{name}{f'{colon}{MASK}' if password else ''}{at}{hosts}{parts.path}"
    if hidden:
        shown += "?" + urlencode(hidden, safe="/:*,", quote_via=quote)
    return shown, database, user


def _look_at_files(options: Mapping[str, str], env: Mapping[str, str]) -> None:
    """A file that is not there looks to the driver like a server that is not. Raises UnreadableError."""
    if (options.get("sslmode") or env.get("PGSSLMODE")) == "disable":
        return
    for option, variable in _FILES.items():
        name = options.get(option) or env.get(variable)
        if name == "system" and option == "sslrootcert":
            raise ValueError(f"{option}=system is not known here; name the system's file of authorities")
        try:
            if name:
                Path(name).open("rb").close()
        except OSError as error:
            raise UnreadableError(f"{option} names a file that cannot be read ({error.strerror}): {name}") from None

"""The tables that say where the daemon stands: [erp], [state], [status], [log].

Invariant: nothing here opens a connection; what can be judged without one is judged here. An address that others can
reach has a token.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from daemon.config.secret import Dsn, Secret
from daemon.config.section import Finding, Flag, Raw, Section, Whole, Word, derived
from daemon.config.values import Duration, Text, resolve_path, resolve_text


class Mode(enum.StrEnum):
    STREAM = "stream"
    POLL = "poll"


class OnGap(enum.StrEnum):
    RESYNC = "resync"
    HALT = "halt"


class LogFormat(enum.StrEnum):
    JSON = "json"
    TEXT = "text"


class LogLevel(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def default_slot(dbname: str) -> str:
    """`erpsyncd_<dbname>`: slot names are cluster-wide, so the database's name belongs in it."""
    return f"erpsyncd_{re.sub(r'[^a-z0-9_]', '_', dbname.lower())}"[:63]


def _slot(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,63}", value):
        raise ValueError("a slot's name has at most 63 lower-case letters, digits and underscores")
    return value


def _identifier(value: str) -> str:
    if len(value.encode()) > 63 or "\0" in value:
        raise ValueError("a Postgres name has at most 63 bytes")
    return value


def _memory(value: str) -> str:
    if value != "server" and not re.fullmatch(r"[1-9]\d{0,5}MB|[1-9]\d{0,2}GB", value):
        raise ValueError('must be a size such as "256MB" or "1GB", or "server" for what the server says')
    return value


class Erp(Section):
    """The ERP's database and how its changes are read."""

    dsn: Dsn = Field(
        description="Connection URL of the ERP's database, for reading values. A string, or { credential = }, "
        "{ env = }, { file = }."
    )
    replication_dsn: Dsn = Field(
        default_factory=derived(lambda data: data["dsn"]),
        description="Connection URL for the replication stream, where it differs (a pooler cannot carry it). "
        "Default: dsn.",
    )
    mode: Mode = Field(
        default=Mode.STREAM,
        description="stream reads the change log; poll does without logical replication and relies on poll rules "
        "alone.",
    )
    slot: Annotated[Text, AfterValidator(_slot)] = Field(
        default_factory=derived(lambda data: default_slot(data["dsn"].dbname)),
        description="Replication slot. Default: erpsyncd_<database>, since slot names are shared by the whole cluster.",
    )
    publication: Annotated[Text, AfterValidator(_identifier)] = Field(
        default="erpsyncd", description="Publication that names the watched tables."
    )
    create_slot: Flag = Field(
        default=True,
        description="Create the slot on the first start. Afterwards a missing slot is a gap, never created in silence.",
    )
    on_gap: OnGap = Field(
        default=OnGap.RESYNC,
        description="When changes were lost: resync compares everything again, halt stops and waits for a person.",
    )
    canary: Duration = Field(
        default=5.0, description="How often a canary message is written to the log to prove that the stream flows."
    )
    statement_timeout: Duration = Field(
        default=30.0, description="Longest time that one of our queries may take in the ERP's database."
    )
    pack: Word | None = Field(
        default=None, description="ERP pack whose entities are used; tables [entity.*] of this file go over them."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="What the pack is told: the keys of its options, table [erp.options]."
    )
    failover_slot: Flag = Field(
        default=False,
        description="Create the slot with failover, so that it follows to a standby (PostgreSQL 17 or newer).",
    )
    allow_unbounded_slot: Flag = Field(
        default=False,
        description="Start although max_slot_wal_keep_size is -1, so that a stopped daemon may fill the disk.",
    )
    connections: Annotated[Whole, Field(ge=1, le=100)] = Field(
        default=4, description="Most connections for queries, besides the stream."
    )
    decoding_memory: Annotated[Text, AfterValidator(_memory)] = Field(
        default="256MB",
        description="Memory of the server for decoding large transactions on our stream (its logical_decoding_work_mem); "
        "what exceeds it goes by way of the server's disk. server: what the server says.",
    )

    @property
    def stream_place(self) -> str:
        """The key that gives the stream's address: the one that was written."""
        return "erp.replication_dsn" if "replication_dsn" in self.model_fields_set else "erp.dsn"

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        if raw.get("options") and not raw.get("pack"):
            yield ("options",), "are for a pack; add pack = ..., or leave them out"


class State(Section):
    """Where marks, acknowledged documents and the position are kept."""

    path: Annotated[
        Path,
        BeforeValidator(resolve_path),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": ["string", "object"]}, mode="validation"),
    ] = Field(
        default=Path("/var/lib/erpsyncd/state.db"),
        description="SQLite file, on a local disk. Relative to the folder of config.toml.",
    )


def split_address(listen: str) -> tuple[str, int]:
    """`"127.0.0.1:8484"` or `"[::1]:8484"` -> (host, port). Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not port.isascii() or not port.isdigit():
        raise ValueError('must be host:port, such as "127.0.0.1:8484" or "[::1]:8484"')
    if int(port) > 65535:
        raise ValueError("the port is above 65535")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host. A name other than localhost is not taken for one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(value: str) -> str:
    split_address(value)
    return value


class Status(Section):
    """The status server: page, API, metrics."""

    listen: Annotated[Text, AfterValidator(_listen)] = Field(
        default="127.0.0.1:8484",
        description="host:port to listen on; no command finds port 0, which the system chooses.",
    )
    token: Secret | None = Field(
        default=None, description="Bearer token that callers must show. Needed when listen is not a loopback address."
    )

    @property
    def host(self) -> str:
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        return split_address(self.listen)[1]

    @classmethod
    def rules(cls, raw: Raw, info: ValidationInfo, /) -> Iterator[Finding]:
        listen: Any = raw.get("listen", cls.model_fields["listen"].default)
        try:
            host, _ = split_address(str(resolve_text(listen, info)))
        except ValueError:
            return
        if not is_loopback(host) and "token" not in raw:
            yield (
                ("token",),
                f"is missing: {host} can be reached by others; add token = {{ ... }} or listen on 127.0.0.1",
            )


class Log(Section):
    """What is written to standard output."""

    format: LogFormat | None = Field(
        default=None, description="json or text. Default: text on a terminal, json otherwise."
    )
    level: LogLevel = Field(
        default=LogLevel.INFO, description="Least level that is written: debug, info, warning, error."
    )

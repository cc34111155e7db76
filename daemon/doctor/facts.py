"""What the doctor asked about and what it was told.

Invariant: frozen values as the other side gave them; what could not be known is None or absent, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.catalogue import Relation
from daemon.slot import Position, Server, Slot


@dataclass(frozen=True, slots=True)
class OtherSlot:
    """A slot of the server that is not ours."""

    name: str
    kind: str
    """physical or logical."""
    database: str
    active: bool
    kept_bytes: int | None


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One of our connections, as the server sees it."""

    tls: bool
    loopback: bool


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server as the reading role sees it."""

    version: int
    """server_version_num."""
    version_text: str
    settings: Mapping[str, str]
    """pg_settings by name, in the setting's own unit; absent where this version does not have it."""
    tls: bool
    loopback: bool
    client: str = ""
    """Our address as the server sees it; empty on loopback."""
    slots: tuple[OtherSlot, ...] = ()
    """All but ours."""
    senders: int = 0
    """Rows of pg_stat_replication."""
    standbys: int = 0
    """Physical slots that are read."""
    slot_failover: bool | None = None
    """Whether our slot follows to a standby; None before PostgreSQL 17 or without a slot."""

    @property
    def link(self) -> LinkFacts:
        """The connection of erp.dsn."""
        return LinkFacts(self.tls, self.loopback)

    @property
    def major(self) -> int:
        return self.version // 10000

    def number(self, name: str) -> int | None:
        value = self.settings.get(name)
        return int(value) if value is not None else None


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What the reading role may do beyond reading."""

    name: str
    superuser: bool = False
    replication: bool = False
    owned: tuple[str, ...] = ()
    """Tables that it owns, itself or by membership."""
    writable: tuple[str, ...] = ()
    """Tables and views in which it may insert, update, delete or truncate."""
    creates_in: tuple[str, ...] = ()
    """Schemas in which it may create objects."""


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """What `preflight` does not judge."""

    tables: frozenset[str] = frozenset()
    """As the stream names them."""
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Table -> its column list, for tables that have one."""
    filtered: frozenset[str] = frozenset()
    via_root: bool = False
    all_tables: bool = False


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """Our slot, from the replicating role."""

    server: Server
    slot: Slot | None
    position: Position | None
    """What the state file remembers; None where it is new or cannot be read."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A table that a query reads from end to end."""

    table: str
    rows: int
    column: str
    """What an index would be on; empty where the plan does not say."""


@dataclass(frozen=True, slots=True)
class QueryFacts:
    """One query of the mapping."""

    where: str
    scans: tuple[Scan, ...] = ()
    denied: str = ""
    """Why the role may not run it."""
    problem: str = ""
    """Why it could not be planned."""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What reading some keys of an entity was like."""

    entity: str
    keys: int
    rows: int = 0
    seconds: float = 0.0
    bad: int = 0
    """Keys whose rows make no valid document."""
    example: str = ""
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An index that the ERP pack advises."""

    table: str
    """`schema.table`."""
    columns: tuple[str, ...]
    why: str
    where: str
    """Condition of a partial index; empty for none."""
    rows: int
    present: bool
    """A valid index begins with these columns."""


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """All queries of the mapping."""

    queries: tuple[QueryFacts, ...] = ()
    samples: tuple[SampleFacts, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file or folder that matters."""

    path: str
    exists: bool
    mode: int = 0
    """Permission bits."""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class StateFacts:
    """Where the state is kept."""

    folder: FileFacts
    file: FileFacts
    free_bytes: int | None = None
    problem: str = ""

"""What the scripts are rendered from: what the configuration wants and what the ERP's server said.

Invariant: frozen values, no I/O. Where the ERP could not be asked the facts say so, and the scripts do too.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.catalogue import Relation, Table
from daemon.config import Config

READ_ROLE = "erpsyncd_read"
REPLICATION_ROLE = "erpsyncd_repl"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks of the ERP's server."""

    database: str
    publication: str
    slot: str
    stream: bool
    create_slot: bool
    failover: bool
    watched: tuple[tuple[str, str], ...]
    """(schema.table, column), each once."""
    connections: int
    statement_timeout_s: float
    unbounded: bool = False
    """max_slot_wal_keep_size = -1 is accepted."""
    read_role: str = READ_ROLE
    replication_role: str = REPLICATION_ROLE
    full_identity: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(sorted({table for table, _ in self.watched}))

    @property
    def roles(self) -> tuple[str, ...]:
        return (self.replication_role, self.read_role) if self.stream else (self.read_role,)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ERP said; `reached` False: nothing, and why in `problems`."""

    reached: bool = False
    problems: tuple[str, ...] = ()
    version: int | None = None
    """Major version."""
    tables: tuple[Table, ...] = ()
    """Watched tables that exist."""
    reads: tuple[Relation, ...] = ()
    """Everything that the mapping's queries name."""
    complete: bool = False
    """Every query could be looked at, so that other grants may be taken back."""
    settings: tuple[tuple[str, str], ...] = ()
    client: str = ""
    """Our address as the server sees it; empty on loopback."""
    host: str = ""
    """host:port of the DSN."""

    def setting(self, name: str) -> str | None:
        return dict(self.settings).get(name)


def wanted(
    config: Config,
    *,
    read_role: str = READ_ROLE,
    replication_role: str = REPLICATION_ROLE,
    full_identity: bool = False,
) -> Wanted:
    """What a configuration asks for."""
    erp = config.erp
    watched = {
        (watch.table, watch.key or watch.column or "") for entity in config.entity.values() for watch in entity.watch
    }
    return Wanted(
        database=erp.dsn.dbname,
        publication=erp.publication,
        slot=config.slot_name(),
        stream=erp.mode == "stream",
        create_slot=erp.create_slot,
        failover=erp.failover_slot,
        watched=tuple(sorted(watched)),
        connections=erp.connections + sum(batch.extract is not None for batch in config.batch.values()),
        statement_timeout_s=erp.statement_timeout,
        unbounded=erp.allow_unbounded_slot,
        read_role=read_role,
        replication_role=replication_role,
        full_identity=full_identity,
    )


def remark(*lines: str) -> str:
    """SQL comment lines."""
    return "\n".join(f"-- {line}".rstrip() for line in lines)


def heading(title: str) -> str:
    """`Roles ------`, for the first line of a remark."""
    return f"{title} {'-' * (96 - len(title))}"


def message(text: str) -> str:
    """A text for RAISE, as a literal; its own % are doubled, {} becomes the placeholder for an argument."""
    return "'" + text.replace("%", "%%").replace("{}", "%").replace("'", "''") + "'"

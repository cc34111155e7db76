"""Care for the slot: what the server says of it, whether our position still fits it, and its few statements.

Invariant: whether streaming may start is decided by `judge_slot`, a pure function of facts, before START_REPLICATION:
Postgres silently forwards a client that is behind, so a position older than the slot is a gap and never passed quietly.
A slot is created on the first start and as the answer to a gap, nowhere else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from daemon.erp import translate
from daemon.errors import SourceError
from daemon.model import Fingerprint, Lsn, format_lsn, parse_lsn
from daemon.staleness import SlotView

CANARY = "erpsyncd.canary"
_CREATE_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Server:
    """The primary that answers."""

    system_id: str
    timeline: int
    dbname: str
    version: int
    """Major version."""
    wal_lsn: Lsn


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of pg_replication_slots."""

    name: str
    plugin: str
    database: str
    active_pid: int | None
    restart_lsn: Lsn | None
    confirmed: Lsn | None
    wal_status: str
    safe_bytes: int | None
    invalidation: str


@dataclass(frozen=True, slots=True)
class GapNote:
    """A gap that is being answered, as it was recognised: what comes after the first step no longer looks like one."""

    reason: str
    renumbered: bool = False
    """The server may give numbers of transactions that we met a second time."""
    spoilt: bool = False
    """The slot cannot be read on from where it stands."""


@dataclass(frozen=True, slots=True)
class Position:
    """What the state file remembers of the source. `lsn` 0: it never streamed."""

    system_id: str
    timeline: int
    dbname: str
    slot: str
    lsn: Lsn
    commit: Fingerprint | None = None
    """The newest commit at or before `lsn`."""
    gap: GapNote | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Stream from here; `owed` is a commit that must come again, or the server's history is another one."""

    lsn: Lsn
    owed: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """First start: there is no slot yet."""


@dataclass(frozen=True, slots=True)
class Standby:
    """Another reader holds the slot."""

    pid: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes may have passed us. `reusable`: the slot itself is sound and may be read on from where it stands."""

    reason: str
    reusable: bool


Verdict = Start | Create | Standby | Gap


def judge_slot(position: Position | None, server: Server, slot: Slot | None) -> Verdict:
    """Whether our position and the slot are one story. `position` None: the state file is new."""
    if position is None or not position.lsn:
        if slot is None:
            return Create()
        if _unusable(slot, server):
            return Gap(_unusable(slot, server), reusable=False)
        if slot.active_pid is not None:
            return Standby(slot.active_pid)
        # someone made it for us, or our state file is new: everything is compared in either case
        return Start(slot.confirmed or 0)
    if position.system_id != server.system_id:
        return Gap(f"this is another database system ({server.system_id}, was {position.system_id})", slot is not None)
    if position.dbname != server.dbname:
        return Gap(f"this is another database ({server.dbname}, was {position.dbname})", slot is not None)
    if slot is None:
        return Gap(f'the replication slot "{position.slot}" is gone', reusable=False)
    if _unusable(slot, server):
        return Gap(_unusable(slot, server), reusable=False)
    if slot.active_pid is not None:
        return Standby(slot.active_pid)
    return _judge_position(position, server, slot.confirmed or 0)


def _judge_position(position: Position, server: Server, confirmed: Lsn) -> Start | Gap:
    """Of a sound slot that nobody reads."""
    if position.gap is not None:
        return Gap(position.gap.reason, reusable=not position.gap.spoilt)
    if position.lsn < confirmed:
        return Gap(
            f"the slot stands at {format_lsn(confirmed)}, our position is {format_lsn(position.lsn)}: "
            "it was advanced or made anew by someone else",
            reusable=True,
        )
    if position.lsn > server.wal_lsn:
        return Gap(
            f"the server's log ends at {format_lsn(server.wal_lsn)}, before our position "
            f"{format_lsn(position.lsn)}: the database was restored from an older copy",
            reusable=True,
        )
    if position.timeline != server.timeline:
        # the old primary may have told us what the new one never had, and both then counted on from there
        return Gap(
            f"another server took over or was restored (timeline {server.timeline}, was {position.timeline})",
            reusable=True,
        )
    if position.commit is not None and confirmed < position.commit.end_lsn:
        # the slot was told less than we know: the server crashed, we did, or an older copy took the server's place
        return Start(confirmed, position.commit)
    return Start(position.lsn)


def renumbered(position: Position, server: Server) -> bool:
    """Whether the server may give numbers of transactions that we met a second time, or never show those that we met."""
    same = (position.system_id, position.timeline) == (server.system_id, server.timeline)
    known = position.gap is not None and position.gap.renumbered
    return known or not same or position.lsn > server.wal_lsn


def _unusable(slot: Slot, server: Server) -> str:
    if slot.wal_status == "lost" or slot.invalidation:
        why = slot.invalidation or "it exceeded max_slot_wal_keep_size"
        return f'the replication slot "{slot.name}" was invalidated by the server ({why})'
    if slot.database != server.dbname or slot.plugin != "pgoutput":
        return ""  # refused by `check_slot`, since dropping somebody else's slot is no remedy
    return ""


def check_slot(slot: Slot | None, server: Server) -> None:
    """Refuse a slot that belongs to somebody else. Raises SourceError."""
    if slot is None:
        return
    if slot.plugin != "pgoutput" or slot.database != server.dbname:
        raise SourceError(
            f'slot "{slot.name}" belongs to database "{slot.database}" and plugin "{slot.plugin}"',
            where="erp.slot",
            code="E-SLOT-FOREIGN",
            hint="Slot names are shared by the whole cluster: choose another name.",
        )


_SERVER_SQL = """
select (select system_identifier::text from pg_control_system()) as system_id,
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline,
       current_database()::text as dbname, current_setting('server_version_num')::int / 10000 as version,
       pg_current_wal_lsn()::text as wal_lsn, pg_is_in_recovery() as standby
"""


class SlotKeeper:
    """One connection of the replicating role for slot statements and the canary. Not for queries of the mapping.

    `place` is the key of the configuration that gives `dsn`, for errors.
    """

    def __init__(self, dsn: str, name: str, *, place: str = "erp.replication_dsn", failover: bool = False) -> None:
        self._dsn, self._place = dsn, place
        self.name = name
        self._failover = failover
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect. Raises SourceLost or SourceError."""
        await self.close()
        try:
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=10,
                command_timeout=20,
                server_settings={
                    "application_name": "erpsyncd slot",
                    "statement_timeout": "0",
                    # the canary is nothing that a standby must have: it neither waits for one nor holds up a slot's making
                    "synchronous_commit": "local",
                },
            )
        except Exception as exc:
            raise translate(exc, self._place) from exc

    async def close(self) -> None:
        """Hang up; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _fetch(self, sql: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:  # noqa: ASYNC109 -- handed to the driver
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                await self.open()
            assert self._connection is not None
            try:
                rows: list[asyncpg.Record] = await self._connection.fetch(sql, *args, timeout=timeout)
                return rows
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception as exc:
                raise translate(exc, self._place) from exc

    async def server(self) -> Server:
        """Who answers. Raises SourceError for a standby, which cannot be read from."""
        (in_recovery,) = (await self._fetch("select pg_is_in_recovery()"))[0]
        if in_recovery:
            raise SourceError(
                "the ERP database is a standby",
                where=self._place,
                code="E-SOURCE-STANDBY",
                hint="Point the DSN at the primary, or name all hosts with target_session_attrs=read-write.",
            )
        row = (await self._fetch(_SERVER_SQL))[0]
        return Server(row["system_id"], row["timeline"], row["dbname"], row["version"], parse_lsn(row["wal_lsn"]))

    async def slot(self) -> Slot | None:
        """The slot as the server has it; None when there is none."""
        rows = await self._fetch(
            "select to_jsonb(s)::text as row from pg_replication_slots s where slot_name = $1", self.name
        )
        if not rows:
            return None
        return _slot(rows[0]["row"])

    async def publication_exists(self, name: str) -> bool:
        return bool(await self._fetch("select from pg_publication where pubname = $1", name))

    async def view(self) -> SlotView | None:
        """The slot for displays: retained, safe and unconfirmed bytes."""
        rows = await self._fetch(
            """select slot_name, wal_status, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint as kept,
                      safe_wal_size, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint as behind
               from pg_replication_slots where slot_name = $1""",
            self.name,
        )
        if not rows:
            return None
        row = rows[0]
        return SlotView(
            name=row["slot_name"],
            wal_status=row["wal_status"] or "",
            active=row["active"],
            retained_bytes=row["kept"] or 0,
            safe_bytes=row["safe_wal_size"],
            confirmed_lag_bytes=row["behind"] or 0,
        )

    async def create(self, version: int) -> Lsn:
        """Make the slot; returns where it starts. Waits for transactions that are writing now, as Postgres demands."""
        failover = ", false, true" if self._failover and version >= 17 else ""
        rows = await self._fetch(
            f"select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput', false{failover})",  # noqa: S608 -- constants
            self.name,
            timeout=_CREATE_TIMEOUT_S,
        )
        return parse_lsn(rows[0]["lsn"])

    async def drop(self) -> None:
        """Remove the slot, if it is there."""
        await self._fetch(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1", self.name
        )

    async def emit_canary(self, content: str) -> None:
        """Write a message into the log that comes back through the slot; no table is touched."""
        await self._fetch("select pg_logical_emit_message(true, $1, $2::text)", CANARY, content)


def _slot(text: str) -> Slot:
    row = orjson.loads(text)

    def lsn(name: str) -> Lsn | None:
        return parse_lsn(row[name]) if row.get(name) else None

    return Slot(
        name=row["slot_name"],
        plugin=row["plugin"] or "",
        database=row["database"] or "",
        active_pid=row["active_pid"],
        restart_lsn=lsn("restart_lsn"),
        confirmed=lsn("confirmed_flush_lsn"),
        wal_status=row.get("wal_status") or "",
        safe_bytes=row.get("safe_wal_size"),
        invalidation=row.get("invalidation_reason") or "",
    )

"""Judge the ERP's server: version, settings, slots, failover and what the roles may do.

Invariant: pure. Whatever keeps the daemon from starting is a FAIL here too, since those findings come from preflight; what
only endangers the ERP, the proof of freshness or a later start is a WARN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.config import Config
from daemon.doctor.facts import LinkFacts, OtherSlot, RoleFacts, ServerFacts
from daemon.doctor.result import Result, fail, good, warn
from daemon.preflight import OLDEST
from daemon.words import format_bytes as size

NEWEST = 18
# Minor releases of May 2025 decode a busy catalogue with ever growing memory; mended in the next ones.
_GROWING = {14: 18, 15: 13, 16: 9, 17: 5}
_GB = 1024**3


def judge_version(server: ServerFacts) -> Iterator[Result]:
    major, minor = server.major, server.version % 10000
    if major < OLDEST:
        return  # preflight has said it
    if _GROWING.get(major) == minor:
        yield warn(
            "server_version",
            f'PostgreSQL {major}.{minor} can fail to decode its log: "invalid memory alloc request size", after many DDL '
            "statements (temporary tables too) beside long transactions; the slot is then stuck",
            f"Update the server to {major}.{minor + 1} or newer.",
        )
    elif minor < _GROWING.get(major, 0):
        yield warn(
            "server_version",
            f"PostgreSQL {major}.{minor} can lose changes of transactions that run while a table is added to a publication",
            f"Update the server to {major}.{_GROWING[major] + 1} or newer; add tables in a quiet moment until then.",
        )
    elif major > NEWEST:
        yield warn(
            "server_version",
            f"PostgreSQL {server.version_text} is newer than what was tested ({OLDEST} to {NEWEST})",
            "Try it on a copy first.",
        )
    else:
        yield good("server_version", f"PostgreSQL {server.version_text}")


def judge_tls(link: LinkFacts, sslmode: str, place: str = "erp.dsn") -> Iterator[Result]:
    """The connection that the DSN at `place` makes, and what that DSN asks for."""
    if not link.tls:
        if link.loopback:
            yield good("tls", f"{place}: none, on this machine")
        else:
            yield warn(
                "tls",
                f"{place}: the connection to the ERP is not encrypted",
                f"Add sslmode=verify-full to {place}, and a hostssl line to pg_hba.conf.",
            )
    elif sslmode == "verify-full" or link.loopback:
        yield good("tls", f"{place}: encrypted" + (", server verified" if sslmode == "verify-full" else ""))
    else:
        yield warn(
            "tls",
            f"{place}: the connection is encrypted, but anyone could pose as the ERP (sslmode={sslmode or 'prefer'})",
            f"Add sslmode=verify-full to {place}.",
        )


def judge_room(server: ServerFacts, own_slot: bool, streaming: bool) -> Iterator[Result]:
    """Whether there is a slot and a sender left for us."""
    for check, used, own, what in (
        ("max_replication_slots", len(server.slots) + own_slot, own_slot, "slots"),
        ("max_wal_senders", server.senders, streaming, "senders"),
    ):
        most = server.number(check) or 0
        left = most - used
        if left < 1 and not own:
            yield fail(
                check,
                f"all {most} {what} are taken",
                f"ALTER SYSTEM SET {check} = {most + 4}; and restart PostgreSQL, or drop what is unused.",
            )
        elif left < 2:
            yield warn(
                check,
                f"{left} of {most} {what} left",
                f"ALTER SYSTEM SET {check} = {most + 4}; and restart PostgreSQL at the next occasion.",
            )
        else:
            yield good(check, f"{left} of {most} {what} left")


def judge_limits(server: ServerFacts, config: Config, safe_bytes: int | None) -> Iterator[Result]:
    """How much log is kept for us, and for how long."""
    keep = server.number("max_slot_wal_keep_size") or 0  # MB
    remedy = (
        "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); less than half of the free disk."
    )
    if keep == -1 and config.erp.allow_unbounded_slot:
        yield warn(
            "max_slot_wal_keep_size", "unlimited: a stopped daemon can fill the ERP's disk, as was allowed here", remedy
        )
    elif keep != -1:
        cap = keep * 1024**2
        left = "" if safe_bytes is None else f"; {size(max(safe_bytes, 0))} left before the slot is lost"
        said = f"{size(cap)} at most are kept for a slot{left} (the ERP's disk cannot be seen from here)"
        if safe_bytes is not None and safe_bytes < cap / 2:
            yield warn("max_slot_wal_keep_size", said, "Start the daemon soon, or raise max_slot_wal_keep_size.")
        elif cap < _GB:
            yield warn("max_slot_wal_keep_size", f"{said}: little for an outage of the daemon", remedy)
        else:
            yield good("max_slot_wal_keep_size", said)
    idle = server.number("idle_replication_slot_timeout")  # s
    if idle is not None:
        hours = idle / 3600
        if 0 < hours < 24:
            yield warn(
                "idle_replication_slot_timeout",
                f"a slot whose reader is away for {hours:g} h is lost",
                "Set it to 0, or above the longest planned stop of the daemon.",
            )
        else:
            yield good("idle_replication_slot_timeout", f"{hours:g} h" if idle else "off")
    timeout = server.number("wal_sender_timeout")  # ms
    if timeout is not None:
        # erpsyncd sets its own for its stream; a role's setting cannot take that away
        yield good("wal_sender_timeout", f"{timeout / 1000:g} s on the server; the stream sets its own")


def judge_failover(server: ServerFacts, config: Config) -> Iterator[Result]:
    """Whether the slot follows to a standby."""
    if config.erp.failover_slot and server.major < 17:
        yield warn(
            "failover",
            f"erp.failover_slot has no effect on PostgreSQL {server.major}",
            "Remove it; a promotion is answered as a gap: everything is compared anew.",
        )
        return
    physical = [slot.name for slot in server.slots if slot.kind == "physical"]
    has_standby = bool(physical or server.standbys)
    if not config.erp.failover_slot:
        if has_standby and server.major >= 17:
            yield warn(
                "failover",
                "there is a standby, and the slot does not follow to it: a promotion is a gap, everything is compared anew",
                "Set erp.failover_slot = true before the slot is made, and sync_replication_slots = on on the standby.",
            )
        else:
            yield good("failover", "a promotion is answered as a gap: everything is compared anew")
        return
    if server.slot_failover is False:
        yield warn(
            "failover",
            "the slot was made without failover",
            "On a replication connection: ALTER_REPLICATION_SLOT ... (FAILOVER true); or drop it and start anew.",
        )
    yield from _synchronized(server, physical)


def _synchronized(server: ServerFacts, physical: Sequence[str]) -> Iterator[Result]:
    named = [name.strip() for name in server.settings.get("synchronized_standby_slots", "").split(",") if name.strip()]
    if missing := [name for name in named if name.strip('"') not in physical]:
        yield fail(
            "failover",
            f"synchronized_standby_slots names {', '.join(missing)}, which is no physical slot here: decoding stands still",
            "Name the standby's primary_slot_name, or empty the setting.",
        )
    elif not named:
        yield warn(
            "failover",
            "synchronized_standby_slots is empty: after a promotion the store may show what the new primary never had",
            "Name the physical slot of the standby that will be promoted.",
        )
    else:
        on = server.settings.get("sync_replication_slots") == "on"
        yield good("failover", f"waits for {', '.join(named)}; sync_replication_slots is {'on' if on else 'off'} here")
    if server.settings.get("sync_replication_slots") != "on":
        yield warn(
            "failover",
            "sync_replication_slots is off on this server; on the standby it must be on, which cannot be seen from here",
            "Set it on all servers that may become standbys, with a dbname in primary_conninfo.",
        )


def judge_others(slots: Sequence[OtherSlot]) -> Iterator[Result]:
    """Slots of former installations keep the server's log for nobody."""
    orphans = [
        slot for slot in slots if slot.name.startswith("erpsyncd") and not slot.active and slot.kind == "logical"
    ]
    for slot in orphans:
        kept = f"keeps {size(slot.kept_bytes)}" if slot.kept_bytes is not None else "keeps the log"
        yield warn(
            "other_slots",
            f'slot "{slot.name}" of database "{slot.database}" {kept} and nobody reads it',
            f"If its erpsyncd is given up: SELECT pg_drop_replication_slot('{slot.name}');",
        )
    if not orphans:
        yield good("other_slots", "no slot of another erpsyncd is left behind")


def judge_role(role: RoleFacts, separate: bool) -> Iterator[Result]:
    """The reading role must not be able to write. `separate`: streaming has a role of its own."""
    setup = "Use the role that `erpsyncd sql setup` makes."
    if role.superuser:
        yield fail("write_privileges", f'reading role "{role.name}" is a superuser', setup)
        return
    if role.owned:
        yield fail("write_privileges", f'reading role "{role.name}" owns {some(role.owned)}', setup)
    elif role.writable:
        yield fail(
            "write_privileges",
            f'reading role "{role.name}" may write in {some(role.writable)}',
            f'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {role.writable[0]} FROM "{role.name}"; and so on, or see '
            "`erpsyncd sql setup`.",
        )
    else:
        yield good("write_privileges", f'"{role.name}" can write in no table')
    if role.creates_in:
        yield warn(
            "write_privileges",
            f'reading role "{role.name}" may create objects in schema {some(role.creates_in)}',
            f"REVOKE CREATE ON SCHEMA {role.creates_in[0]} FROM PUBLIC; where the ERP does not need it.",
        )
    if role.replication:
        yield warn(
            "write_privileges",
            f'reading role "{role.name}" may also replicate: it can read every table of the database from the log',
            "Use two roles, erp.dsn and erp.replication_dsn."
            if not separate
            else f'ALTER ROLE "{role.name}" NOREPLICATION;',
        )


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")

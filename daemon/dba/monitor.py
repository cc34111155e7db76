"""`erpsyncd sql monitor`: queries for the DBA's own monitoring, each row with a level.

Invariant: read-only, for any role that may connect (pg_monitor sees all of them in full), on every server from PostgreSQL 14
on. Each query answers with `level` (ok, warning, critical) first, so that a monitoring system needs no threshold of its own.
"""

from __future__ import annotations

from daemon import __version__
from daemon.catalogue import literal, quote_name
from daemon.dba.facts import Wanted, heading, remark

# to_jsonb: columns that an older server does not have are null then
_SLOT = """SELECT CASE
         WHEN s.slot_name IS NULL THEN 'critical'
         WHEN s.wal_status IN ('unreserved', 'lost') OR s.kept > 0.8 * s.cap THEN 'critical'
         WHEN NOT s.active AND (s.since IS NULL OR s.since < now() - interval '5 minutes') THEN 'critical'
         WHEN s.wal_status = 'extended' OR s.kept > 0.25 * s.cap THEN 'warning'
         ELSE 'ok' END AS level,
       w.name AS slot_name, s.active, s.wal_status, s.invalidation_reason, s.since AS inactive_since,
       pg_size_pretty(s.kept) AS kept, pg_size_pretty(s.lag) AS unconfirmed, pg_size_pretty(s.safe_wal_size) AS safe,
       round(100 * s.kept / s.cap, 1) AS percent_of_cap
  FROM (VALUES ({slot})) w(name)
  LEFT JOIN (
    SELECT r.slot_name, r.active, r.wal_status, r.safe_wal_size,
           to_jsonb(r) ->> 'invalidation_reason' AS invalidation_reason,
           (to_jsonb(r) ->> 'inactive_since')::timestamptz AS since,
           pg_wal_lsn_diff(pg_current_wal_lsn(), r.restart_lsn) AS kept,
           pg_wal_lsn_diff(pg_current_wal_lsn(), r.confirmed_flush_lsn) AS lag,
           (SELECT nullif(setting::numeric, -1) * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS cap
      FROM pg_replication_slots r
  ) s ON s.slot_name = w.name;"""

_CATALOGUE = """SELECT CASE WHEN age(catalog_xmin) > 500000000 THEN 'critical'
            WHEN age(catalog_xmin) > 100000000 THEN 'warning' ELSE 'ok' END AS level,
       slot_name, age(catalog_xmin) AS transactions
  FROM pg_replication_slots WHERE slot_name = {slot};"""

_SPILL = """SELECT CASE WHEN spill_bytes > 0.5 * total_bytes AND spill_bytes > 1073741824 THEN 'warning' ELSE 'ok' END AS level,
       slot_name, spill_txns, pg_size_pretty(spill_bytes) AS spilled, pg_size_pretty(total_bytes) AS decoded, stats_reset
  FROM pg_stat_replication_slots WHERE slot_name = {slot};"""

_SENDER = """SELECT CASE WHEN count(a.pid) = 1 THEN 'ok' ELSE 'critical' END AS level,
       count(a.pid) AS readers, min(a.backend_start) AS since, min(r.replay_lag) AS lag
  FROM pg_replication_slots s
  LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
  LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
 WHERE s.slot_name = {slot};"""

_MEMBERS = """SELECT CASE WHEN w.name IS NULL THEN 'warning' WHEN p.name IS NULL THEN 'critical' ELSE 'ok' END AS level,
       coalesce(w.name, p.name) AS "table",
       CASE WHEN w.name IS NULL THEN 'published, not watched' WHEN p.name IS NULL THEN 'watched, not published' END AS problem
  FROM (VALUES {tables}) w(name)
  FULL JOIN (
    SELECT DISTINCT n.nspname || '.' || c.relname AS name
      FROM pg_publication_rel r
      JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = {publication}
      JOIN pg_class c ON c.oid = r.prrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
  ) p ON p.name = w.name
 ORDER BY w.name IS NOT NULL AND p.name IS NOT NULL, 2;"""

_ORPHANS = """SELECT 'warning' AS level, slot_name, database, wal_status,
       pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) AS kept
  FROM pg_replication_slots
 WHERE NOT active AND slot_name LIKE 'erpsyncd%' AND slot_name <> {slot};"""

_READER = """SELECT CASE WHEN state <> 'idle' AND now() - xact_start > interval '1 minute' THEN 'warning'
            ELSE 'ok' END AS level,
       usename, application_name, state, now() - xact_start AS transaction_for, wait_event
  FROM pg_stat_activity WHERE usename IN ({roles}) AND datname = {database};"""


def monitor(wanted: Wanted) -> str:
    """The queries."""
    slot, database = literal(wanted.slot), literal(wanted.database)
    roles = ", ".join(literal(role) for role in wanted.roles)
    lines = [
        f"erpsyncd {__version__}: what to watch on the server of database {quote_name(wanted.database)}.",
        "Read-only; by any role, with pg_monitor in full. No row means nothing to tell.",
    ]
    parts = [remark(*lines)]
    if wanted.stream:
        watched = ", ".join(f"({literal(table)})" for table in wanted.tables) or "(NULL)"
        parts += [
            _query(
                "Slot: what the server keeps for erpsyncd",
                _SLOT.format(slot=slot),
                "critical: gone, lost or about to be; nobody reads it (for five minutes, where the server says since when);",
                "over 80 % of max_slot_wal_keep_size. warning: over 25 %.",
                "postgres_exporter: pg_replication_slot_slot_is_active, pg_replication_slot_safe_wal_size_bytes,",
                "pg_replication_slot_wal_status. erpsyncd: erpsyncd_slot_retained_bytes, erpsyncd_slot_safe_bytes.",
            ),
            _query(
                "Reader: exactly one",
                _SENDER.format(slot=slot),
                "critical: the slot has no reader; erpsyncd is down or cannot connect.",
            ),
            _query(
                "Vacuum: how far the slot holds back the catalogues",
                _CATALOGUE.format(slot=slot),
                "Only system catalogues are held back, never the ERP's tables.",
            ),
            _query(
                "Decoding: transactions that were too large for memory",
                _SPILL.format(slot=slot),
                "warning: most of it goes by way of the disk; raise erp.decoding_memory.",
            ),
            _query(
                "Publication: its tables against the mapping's",
                _MEMBERS.format(tables=watched, publication=literal(wanted.publication)),
                "critical: a watched table is not published; its changes are not seen.",
            ),
            _query(
                "Slots that nobody reads",
                _ORPHANS.format(slot=slot),
                "Each keeps the server's log. Where its erpsyncd is given up: SELECT pg_drop_replication_slot(slot_name);",
            ),
        ]
    parts.append(
        _query(
            "Sessions",
            _READER.format(roles=roles, database=database),
            "warning: a query of erpsyncd takes longer than a minute.",
        )
    )
    return "\n\n".join(parts) + "\n"


def _query(title: str, sql: str, *notes: str) -> str:
    return f"{remark(heading(title), *notes)}\n{sql}"

"""`erpsyncd sql teardown`: remove what setup made.

Invariant: the script ends nobody's session and refuses while one is open; it drops no role that owns something or is a
superuser, and touches no table and no row.
"""

from __future__ import annotations

from daemon import __version__
from daemon.catalogue import literal, quote_name
from daemon.dba.facts import Wanted, heading, message, remark
from daemon.dba.setup import LOCK_TIMEOUT, guard

_UNUSED = """DO $erpsyncd$
DECLARE
  reader integer;
  who text;
BEGIN
  SELECT active_pid INTO reader FROM pg_replication_slots
   WHERE slot_name = {slot} AND database = current_database();
  IF reader IS NOT NULL THEN
    RAISE EXCEPTION {read}, reader;
  END IF;
  SELECT usename INTO who FROM pg_stat_activity
   WHERE usename IN ({roles}) AND datname = current_database() LIMIT 1;
  IF who IS NOT NULL THEN
    RAISE EXCEPTION 'role % is connected: stop erpsyncd first', quote_ident(who);
  END IF;
END $erpsyncd$;"""

_DROP_SLOT = """SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
 WHERE slot_name = {slot} AND database = {database} AND plugin = 'pgoutput';"""

_DROP_ROLE = """DO $erpsyncd$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {name} AND rolsuper) OR EXISTS (
    SELECT FROM pg_shdepend
     WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
       AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = {name})
  ) THEN
    RAISE WARNING {kept};
    RETURN;
  END IF;
  DROP OWNED BY {role};  -- it owns nothing: this takes back its grants in this database
  ALTER ROLE {role} IN DATABASE {database} RESET ALL;
  BEGIN
    DROP ROLE {role};
  EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE {elsewhere};
  END;
END $erpsyncd$;"""


def teardown(wanted: Wanted) -> str:
    """The script for psql."""
    slot = quote_name(wanted.slot)
    lines = [
        f"erpsyncd {__version__}: remove it from database {quote_name(wanted.database)}. Running it again changes nothing.",
        "",
        "Stop erpsyncd first: this script ends nobody's session, and refuses while one is open. Tables and rows of the",
        "ERP stay as they are. A replica identity that was set for erpsyncd stays too; these tables have one:",
        "    SELECT oid::regclass FROM pg_class WHERE relreplident = 'f' AND relkind IN ('r', 'p');",
        "    ALTER TABLE ... REPLICA IDENTITY DEFAULT;",
    ]
    parts = [
        f"{remark(*lines)}\n\n\\set ON_ERROR_STOP on\nSET lock_timeout = '{LOCK_TIMEOUT}';",
        guard(wanted),
        _UNUSED.format(
            slot=literal(wanted.slot),
            read=message(f"slot {slot} is read by process {{}}: stop erpsyncd first"),
            roles=", ".join(literal(role) for role in wanted.roles),
        ),
    ]
    if wanted.stream:
        dropped = _DROP_SLOT.format(slot=literal(wanted.slot), database=literal(wanted.database))
        parts.append(f"{remark(heading('Slot'))}\n{dropped}")
        parts.append(f"{remark(heading('Publication'))}\nDROP PUBLICATION IF EXISTS {quote_name(wanted.publication)};")
    parts.append(remark(heading("Roles")))
    parts += [_dropped(wanted, role) for role in wanted.roles]
    parts.append("RESET lock_timeout;")
    return "\n\n".join(parts) + "\n"


def _dropped(wanted: Wanted, role: str) -> str:
    shown = quote_name(role)
    return _DROP_ROLE.format(
        name=literal(role),
        role=shown,
        database=quote_name(wanted.database),
        kept=message(f"role {shown} is a superuser or owns objects: kept"),
        elsewhere=message(f"role {shown} is used in another database too: kept"),
    )

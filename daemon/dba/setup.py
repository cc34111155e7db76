"""`erpsyncd sql setup`: roles, grants, identities, publication and slot as one script for psql.

Invariant: the script holds no password, waits for no lock longer than a second and never while it holds another table's
(but for identities of partitions), and stops at the first error. A table whose updates would fail in the ERP once it is
published is refused before it is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote as percent

from daemon import __version__
from daemon.catalogue import literal, quote, quote_name
from daemon.dba.facts import Facts, Wanted, heading, message, remark

LOCK_TIMEOUT = "1s"

GUARD = """DO $erpsyncd$
BEGIN
  IF current_database() <> {database} THEN
    RAISE EXCEPTION {wrong_database}, current_database();
  END IF;
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this is a standby: run the script on the primary';
  END IF;
END $erpsyncd$;"""

_ROLE = """DO $erpsyncd$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {name} AND rolsuper) THEN
    RAISE EXCEPTION {superuser};
  ELSIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
    CREATE ROLE {role} {attributes} CONNECTION LIMIT {limit};
  ELSIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name} AND {has} AND rolconnlimit = {limit}) THEN
    ALTER ROLE {role} {attributes} CONNECTION LIMIT {limit};
  END IF;
END $erpsyncd$;"""

_ROLE_SETTINGS = """BEGIN;
ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = on;
ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '{timeout}';
ALTER ROLE {role} IN DATABASE {database} SET idle_in_transaction_session_timeout = '60s';
COMMIT;"""

_TAKE_BACK = """-- what an earlier mapping needed and this one does not
DO $erpsyncd$
DECLARE
  given record;
BEGIN
  FOR given IN
    SELECT c.oid::regclass AS name, a.privilege_type AS privilege
      FROM pg_class c, aclexplode(c.relacl) a
     WHERE a.grantee = (SELECT oid FROM pg_roles WHERE rolname = {name})
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND NOT (a.privilege_type = 'SELECT' AND c.oid = ANY (ARRAY[
         {listed}
       ]::regclass[]))
  LOOP
    EXECUTE format('REVOKE %s ON TABLE %s FROM %I', given.privilege, given.name, {name});
    RAISE NOTICE 'revoked % on %', given.privilege, given.name;
  END LOOP;
END $erpsyncd$;"""

# partitions have identities of their own
_FULL = """DO $erpsyncd$
DECLARE
  part regclass;
BEGIN
  FOR part IN
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relreplident <> 'f'
       AND (c.oid = {table}::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree({table}::regclass)))
  LOOP
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', part);
  END LOOP;
END $erpsyncd$;"""

_PUBLICATION = """DO $erpsyncd$
BEGIN
  IF EXISTS (SELECT FROM pg_publication WHERE pubname = {name} AND puballtables) THEN
    RAISE EXCEPTION {all_tables};
  ELSIF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = {name}) THEN
    CREATE PUBLICATION {publication} WITH ({options});
  ELSIF NOT EXISTS (
    SELECT FROM pg_publication
     WHERE pubname = {name} AND pubinsert AND pubupdate AND pubdelete AND pubtruncate{via_root}
  ) THEN
    ALTER PUBLICATION {publication} SET ({options});
  END IF;
END $erpsyncd$;"""

# a procedure of the session, so that each table is one line and one transaction
_PUBLISH = """CREATE OR REPLACE PROCEDURE pg_temp.erpsyncd_publish(wanted regclass) LANGUAGE plpgsql AS $erpsyncd$
BEGIN
  IF EXISTS (
    SELECT FROM pg_class c
     WHERE (c.oid = wanted OR c.oid IN (SELECT relid FROM pg_partition_tree(wanted)))
       AND NOT (c.relreplident = 'f' OR EXISTS (
         SELECT FROM pg_index i WHERE i.indrelid = c.oid AND CASE c.relreplident
           WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident AND i.indisvalid ELSE false END))
  ) THEN
    RAISE EXCEPTION '% has neither a key nor a replica identity: published, the ERP could not update it', wanted
      USING HINT = 'Give it a primary key, or run what erpsyncd sql setup --full-identity prints.';
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
     WHERE p.pubname = {name} AND r.prrelid = wanted
  ) THEN
    EXECUTE format('ALTER PUBLICATION %I ADD TABLE %s', {name}, wanted);
  END IF;
END $erpsyncd$;"""

_SLOT = """SET lock_timeout = 0;
SELECT pg_create_logical_replication_slot({name}, 'pgoutput'{more})
 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {name});"""


def setup(wanted: Wanted, facts: Facts) -> str:
    """The script for psql."""
    parts = [_header(wanted, facts), guard(wanted), *_roles(wanted), _grants(wanted, facts)]
    if wanted.stream:
        parts += [*_identities(wanted, facts), *_publication(wanted, facts), _slot(wanted, facts)]
        parts.append(_server(wanted, facts))
    parts.append(_afterwards(wanted, facts))
    return "\n\n".join(parts) + "\n"


def guard(wanted: Wanted) -> str:
    """Refuse another database, and a standby."""
    wrong = message(f"this script is for database {quote_name(wanted.database)}, this is {{}}")
    return GUARD.format(database=literal(wanted.database), wrong_database=wrong)


def _header(wanted: Wanted, facts: Facts) -> str:
    roles = " and ".join(quote_name(role) for role in wanted.roles)
    made = f"the role{'s' if wanted.stream else ''} {roles}"
    if wanted.stream:
        made += f" and the publication {quote_name(wanted.publication)}"
    lines = [
        f"erpsyncd {__version__}: what it needs in database {quote_name(wanted.database)}.",
        "Running it again changes nothing.",
        "",
        "Review it, then run it by psql as a superuser, or as the tables' owner who may also create such roles:",
        "    erpsyncd sql setup > setup.sql && psql -X -f setup.sql DATABASE",
        "",
        f"It makes {made},",
        "and grants what the queries of the mapping need. It sets no password and no setting of the server.",
        f"It waits at most {LOCK_TIMEOUT} for a lock; where that runs out it stops with an error: run it again.",
    ]
    if not facts.reached:
        lines += [
            "",
            "NOT CHECKED: the ERP could not be read. Only watched tables are named here, and nothing is known of",
        ]
        lines += ["keys and server settings. `erpsyncd sql setup --dsn URL` asks with another login."]
    elif not facts.complete:
        lines += ["", "INCOMPLETE: some queries could not be looked at, so that their tables may be missing here."]
    lines += [f"    {problem}" for problem in facts.problems]
    return "\n".join([remark(*lines), "", "\\set ON_ERROR_STOP on", f"SET lock_timeout = '{LOCK_TIMEOUT}';"])


def _roles(wanted: Wanted) -> list[str]:
    lines = [heading("Roles"), "No password is set here. psql sends a hash only:"]
    lines += [f"    \\password {quote_name(role)}" for role in wanted.roles]
    parts = [remark(*lines)]
    if wanted.stream:
        # four connections of a daemon, as many of a spare one, and `erpsyncd doctor`
        parts.append(_role(wanted.replication_role, "LOGIN REPLICATION", 10, "rolcanlogin AND rolreplication"))
    # a daemon's pool, a spare daemon's first connections, doctor and plan
    parts.append(_role(wanted.read_role, "LOGIN", wanted.connections + 6, "rolcanlogin"))
    parts.append(
        _ROLE_SETTINGS.format(
            role=quote_name(wanted.read_role),
            database=quote_name(wanted.database),
            timeout=f"{int(wanted.statement_timeout_s * 1000)}ms",
        )
    )
    return parts


def _role(role: str, attributes: str, limit: int, has: str) -> str:
    superuser = message(f"role {quote_name(role)} is a superuser: name another one")
    return _ROLE.format(
        name=literal(role), role=quote_name(role), attributes=attributes, limit=limit, has=has, superuser=superuser
    )


def _grants(wanted: Wanted, facts: Facts) -> str:
    known = {table.name for table in facts.tables}
    named = {relation.quoted: quote_name(relation.schema) for relation in facts.reads}
    for table in wanted.tables:
        if table in known or not facts.reached:
            named.setdefault(quote(table), quote_name(table.partition(".")[0]))
    role = quote_name(wanted.read_role)
    roles = ", ".join(quote_name(name) for name in wanted.roles)
    lines = [
        remark(heading("Reading"), "What the queries of the mapping name, and the watched tables; no more."),
        "BEGIN;",
        f"GRANT CONNECT ON DATABASE {quote_name(wanted.database)} TO {roles};",
    ]
    if named:
        lines.append(f"GRANT USAGE ON SCHEMA {', '.join(sorted(set(named.values())))} TO {role};")
    lines += [f"GRANT SELECT ON TABLE {name} TO {role};" for name in sorted(named)]
    if facts.complete and named:
        listed = ",\n         ".join(literal(name) for name in sorted(named))
        lines.append(_TAKE_BACK.format(name=literal(wanted.read_role), listed=listed))
    lines.append("COMMIT;")
    return "\n".join(lines)


def _identities(wanted: Wanted, facts: Facts) -> list[str]:
    """What is done about watched columns that a table's replica identity does not carry."""
    title = heading("Replica identities")
    if not facts.reached:
        return [remark(title, "Not known: the ERP could not be read.")]
    lacking = {
        table.name: [
            column for name, column in wanted.watched if name == table.name and column in table.columns - table.carried
        ]
        for table in facts.tables
    }
    lacking = {name: columns for name, columns in lacking.items() if columns}
    keyless = [table.name for table in facts.tables if not table.usable]
    if not lacking and not keyless:
        return [remark(title, "Every watched table carries what is needed; nothing is to be changed.")]
    if wanted.full_identity:
        lines = [
            title,
            "The log then carries the old row of each UPDATE and DELETE of these tables. A partition that is",
        ]
        lines += ["made later starts with the default identity: run this again then."]
        return [remark(*lines), *(_FULL.format(table=literal(quote(name))) for name in sorted({*lacking, *keyless}))]
    return [remark(title, *_explained({name: lacking[name] for name in lacking if name not in keyless}, keyless))]


def _explained(lacking: dict[str, list[str]], keyless: Sequence[str]) -> list[str]:
    lines = []
    if lacking:
        lines += ["A DELETE in these tables says only the row's key. erpsyncd remembers which value each row had, and"]
        lines += ["compares an entity anew where it does not know. `erpsyncd sql setup --full-identity` prints REPLICA"]
        lines += ["IDENTITY FULL instead, so that the log carries the old row of each UPDATE and DELETE:"]
        lines += [f"    {quote(name)}: {', '.join(columns)}" for name, columns in lacking.items()]
    if keyless:
        lines += ["These tables have neither a key nor an identity, so that this script will stop before it publishes"]
        lines += ["them. Give them a primary key, or use `erpsyncd sql setup --full-identity`:"]
        lines += [f"    {quote(name)}" for name in keyless]
    return lines


def _publication(wanted: Wanted, facts: Facts) -> list[str]:
    partitioned = any(table.kind == "p" for table in facts.tables) or not facts.reached
    options = "publish = 'insert, update, delete, truncate'"
    lines = [
        heading("Publication"),
        "Whole tables by name: a column list or row filter would stand in the way of the ERP's upgrades.",
    ]
    lines += ["It must exist before the slot."]
    if partitioned:
        options += ", publish_via_partition_root = true"
        lines += ["Changes of a partition come under the name of the table that it belongs to."]
    name, publication = literal(wanted.publication), quote_name(wanted.publication)
    parts = [
        remark(*lines),
        _PUBLICATION.format(
            name=name,
            publication=publication,
            options=options,
            via_root=" AND pubviaroot" if partitioned else "",
            all_tables=message(f"publication {publication} is FOR ALL TABLES: drop it, or name another one"),
        ),
    ]
    known = {table.name for table in facts.tables}
    calls = [
        f"CALL pg_temp.erpsyncd_publish({literal(quote(table))});"
        if table in known or not facts.reached
        else remark(f"There is no table {quote(table)}: correct the mapping.")
        for table in wanted.tables
    ]
    return [*parts, _PUBLISH.format(name=name), "\n".join(calls)]


def _slot(wanted: Wanted, facts: Facts) -> str:
    failover = wanted.failover and (facts.version or 17) >= 17
    statement = _SLOT.format(name=literal(wanted.slot), more=", false, false, true" if failover else "")
    lines = [
        heading("Slot"),
        "Making it waits for all transactions that write at that moment. From then on the server keeps its log",
    ]
    lines += ["for erpsyncd: start it soon, and drop the slot where it is given up."]
    if wanted.create_slot:
        lines += ["erpsyncd makes it on its first start (erp.create_slot = true). To make it now instead:"]
        return remark(*lines, *(f"    {line}" for line in statement.splitlines()))
    return "\n".join([remark(*lines), statement])


def _server(wanted: Wanted, facts: Facts) -> str:
    lines = [heading("Server")]
    if facts.setting("wal_level") != "logical":
        lines += ["Logical replication needs this, and a restart of the server:"]
        lines += ["    ALTER SYSTEM SET wal_level = 'logical';"]
    keep = facts.setting("max_slot_wal_keep_size")
    if keep is None or (keep == "-1" and not wanted.unbounded):
        lines += ["The most log that the server keeps for a slot whose reader is away; beyond it the slot is lost and"]
        lines += ["erpsyncd compares everything anew. Twice the log of the longest outage to be survived, and less"]
        lines += ["than half of the free disk:", "    ALTER SYSTEM SET max_slot_wal_keep_size = '20GB';"]
        lines += ["    SELECT pg_reload_conf();"]
    else:
        lines.append(f"max_slot_wal_keep_size is {'unlimited' if keep == '-1' else f'{keep}MB'}.")
    address = facts.client or "ADDRESS-OF-ERPSYNCD"
    lines += ["pg_hba.conf, above broader lines (the word replication there means physical replication only):"]
    lines += [
        f"    hostssl  {quote_name(wanted.database)}  {quote_name(role)}  {address}{'/128' if ':' in address else '/32'}"
        "  scram-sha-256"
        for role in wanted.roles
    ]
    lines += [f"    host     replication  {quote_name(wanted.replication_role)}  all  reject"]
    return remark(*lines)


def _afterwards(wanted: Wanted, facts: Facts) -> str:
    place = f"{facts.host or 'HOST'}/{percent(wanted.database)}?sslmode=verify-full&sslrootcert=FILE"
    lines = [heading("config.toml"), "[erp]", f'dsn = "postgresql://{percent(wanted.read_role)}@{place}"']
    if wanted.stream:
        lines.append(f'replication_dsn = "postgresql://{percent(wanted.replication_role)}@{place}"')
    lines += ["with their passwords, better as { credential = ... } or { file = ... }. Then: erpsyncd doctor"]
    return "\n".join([remark(*lines), "", "RESET lock_timeout;"])

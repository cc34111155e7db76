"""The tables of the state file, and how a file of an older version becomes one of this.

Invariant: an entry once released is never changed, only followed by another; each is one transaction with its version. A file
that is not ours, newer than we are, or damaged is refused before anything in it is touched.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from daemon.errors import StateError

_SURROUNDINGS = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
)

APPLICATION_ID = 0x65727073  # "erps"

# One entry a schema version; a file of version n gets the entries from n on.
MIGRATIONS = (
    """
    create table queue (id integer primary key, store text not null, entity text not null, unique (store, entity));
    create table dirty (
        queue integer not null, key not null, since integer not null, xids text,
        primary key (queue, key)) without rowid;
    create table parked (
        queue integer not null, key not null, since integer not null, kind text not null, code text not null,
        reason text not null, at integer not null, primary key (queue, key)) without rowid;
    create table acked (
        queue integer not null, key not null, id text not null, version integer not null, body blob,
        at integer not null, primary key (queue, key, id)) without rowid;
    create index acked_id on acked (queue, id);
    create table source (
        one integer primary key check (one = 1), system_id text, timeline integer, dbname text, slot text,
        lsn integer not null default 0);
    insert into source (one) values (1);
    create table job (
        queue integer primary key, phase text not null, cursor, since integer not null, done integer not null,
        xid integer, mapping text not null, again integer, again_xid integer);
    create table poll (name text primary key, last text not null);
    create table published (relation text primary key, member text not null) without rowid;
    create table indexed (relation text primary key, complete integer not null) without rowid;
    create table rowkey (
        relation text not null, row blob not null, key blob, primary key (relation, row)) without rowid;
    """,
    "create table flight (queue integer not null, key not null, primary key (queue, key)) without rowid",
    """
    alter table source add column commit_lsn integer;
    alter table source add column commit_xid integer;
    alter table source add column commit_at integer;
    alter table source add column gap text;
    create table hindsight (entity text primary key, relations text not null, xids text) without rowid;
    """,
    "create table remembered (store text, kind text, name text, value text not null, primary key (store, kind, name)) "
    "without rowid",
    """
    alter table job add column resend integer not null default 0;
    create table batch_run (
        id integer primary key, job text not null, asked integer not null, planned integer not null,
        started integer not null, ended integer, result text not null default 'running',
        rows integer not null default 0, reason text not null default '', low integer, high integer);
    create index batch_run_job on batch_run (job, id);
    create table batch_mark (job text primary key, planned integer not null, high integer) without rowid;
    create table batch_cursor (
        job text not null, queue integer not null, cursor, done integer not null, primary key (job, queue)) without rowid;
    """,
    "create table stamp (queue integer primary key, newest integer not null)",
    "alter table source add column reserve text; update source set reserve = lower(hex(randomblob(16)))",
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this version, from nothing too. Raises sqlite3.DatabaseError for one that cannot be used."""
    (app_id,) = connection.execute("pragma application_id").fetchone()
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if tables and app_id != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is not an erpsyncd state file")
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"it was written by a newer erpsyncd (schema {version})")
    if tables:
        (verdict,) = connection.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"begin immediate;{script};pragma application_id={APPLICATION_ID};pragma user_version={number};commit;"
        )


def unusable(path: Path, exc: sqlite3.Error) -> StateError:
    """What to do about a file that cannot be opened; only a broken one is to be moved away."""
    kind = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if kind in _SURROUNDINGS:
        return StateError(
            f"{path} cannot be written: {exc}",
            where="state.path",
            code="E-STATE-WRITE",
            hint="Free disk space and see that the folder can be written; the file itself is sound, keep it.",
        )
    return StateError(
        f"{path} cannot be used: {exc}",
        where="state.path",
        code="E-STATE-CORRUPT",
        hint="Move the file away and start again: every entity is then compared and loaded anew.",
    )

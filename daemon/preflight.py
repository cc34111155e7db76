"""Look at the ERP before work begins: everything that a person must mend is found here, all at once, with the remedy.

Invariant: the daemon starts only where the ERP's own statements cannot be broken by our publication and where routing gets
the columns it needs. Read-only queries on the catalogue; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec

import asyncpg

from daemon.catalogue import COLUMNS_SQL, LEAVES_SQL, LISTS_SQL, PARENTS_SQL, TABLES_SQL, quote, quote_name
from daemon.config import Config
from daemon.config.entity import Entity, KeyType
from daemon.config.outlet import Batch
from daemon.config.problems import suggestion
from daemon.contents import Contents
from daemon.erp import SMALLEST, Erp
from daemon.errors import ConfigError, ErpsyncError, SourceError, SourceLost
from daemon.keytypes import WATCHED, misfit
from daemon.mapping import Mapper
from daemon.model import Key

OLDEST = 14
OPTION_UNKNOWN = "E-OPTION-UNKNOWN"

_SMALLEST: dict[str, Key] = {"int2": -(2**15), "int4": -(2**31), "int8": -(2**63)}

_SETTINGS_SQL = """
select current_setting('server_version_num')::int as version, current_setting('wal_level') as wal_level,
       (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as keep,
       (select rolreplication or rolsuper from pg_roles where rolname = current_user) as may_replicate,
       current_user::text as role
"""
_PUBLICATION_SQL = "select * from pg_publication where pubname = $1"


@dataclass(slots=True)
class Findings:
    """What preflight learnt; `problems` is empty when work may begin."""

    problems: list[ErpsyncError] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)
    """Partition -> partitioned table."""
    published: dict[str, str] = field(default_factory=dict)
    """Published table -> replica identity."""
    closed: set[str] = field(default_factory=set)
    """Watched tables whose columns the reading role may not look at."""
    uncarried: dict[str, set[str]] = field(default_factory=dict)
    """Partition -> columns that its replica identity does not carry."""
    indexed: set[tuple[str, str]] = field(default_factory=set)
    """Watched (table, column) that the replica identity does not carry."""
    lowest: dict[str, Key] = field(default_factory=dict)
    """Entity -> the smallest key that its SQL can be asked for."""
    smallest: dict[str, Key] = field(default_factory=dict)
    """Entity -> what the first page of its keys starts below."""

    def add(self, where: str, message: str, hint: str, *, code: str = "E-SOURCE", config: bool = False) -> None:
        kind = ConfigError if config else SourceError
        self.problems.append(kind(message, where=where, hint=hint, code=code))

    def unknown_options(self) -> list[ErpsyncError]:
        """Options of the pack that name what the ERP does not have."""
        return [problem for problem in self.problems if problem.code == OPTION_UNKNOWN]

    def raise_first(self) -> None:
        """Raise one error that names every problem, a line each."""
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise self.problems[0]
        lines = "\n".join(str(problem) for problem in self.problems)
        raise SourceError(f"{len(self.problems)} problems to be mended before a start:\n{lines}\n", code="E-PREFLIGHT")


async def examine(erp: Erp, config: Config) -> Findings:
    """All that must hold before streaming or polling. Raises SourceLost; everything else is collected."""
    found = Findings()
    if config.erp.mode == "stream":
        await _server(erp, config, found)
        await _publication(erp, config, found)
    await _options(erp, config, found)
    for entity in config.entity.values():
        await _queries(erp, entity, found)
    for batch in config.batch.values():
        await _extract(erp, batch, found)
    return found


async def _options(erp: Erp, config: Config, found: Findings) -> None:
    """Whether the ERP knows what the pack's options name."""
    for known in config.pack.known if config.pack is not None else ():
        where = f"erp.options.{known.option}"
        try:
            rows = await erp.fetch(where, known.sql)
        except SourceLost:
            raise
        except ErpsyncError as exc:
            found.problems.append(exc)
            continue
        names = {str(row[0]) for row in rows if row[0] is not None}
        for value in known.values:
            if value not in names:
                found.add(
                    where,
                    f'"{value}" is not known to the ERP{suggestion(value, names)}',
                    "Correct the option, or the name in the ERP.",
                    code=OPTION_UNKNOWN,
                    config=True,
                )


async def _server(erp: Erp, config: Config, found: Findings) -> None:
    row = (await erp.fetch("erp.dsn", _SETTINGS_SQL))[0]
    if row["version"] < OLDEST * 10000:
        found.add(
            "erp.dsn", f"PostgreSQL {row['version'] // 10000} is too old", f"PostgreSQL {OLDEST} or newer is needed."
        )
    if row["wal_level"] != "logical":
        found.add(
            "erp.dsn",
            f"wal_level is {row['wal_level']}, logical replication needs logical",
            'Set wal_level = logical and restart PostgreSQL, or use mode = "poll".',
            code="E-WAL-LEVEL",
        )
    if row["keep"] == -1 and not config.erp.allow_unbounded_slot:
        found.add(
            "erp.slot",
            "max_slot_wal_keep_size is unlimited: a stopped daemon could fill the ERP's disk",
            "Set max_slot_wal_keep_size (for example 20GB), or erp.allow_unbounded_slot = true.",
            code="E-SLOT-UNBOUNDED",
        )
    if not row["may_replicate"] and config.erp.replication_dsn.reveal() == config.erp.dsn.reveal():
        found.add(
            "erp.dsn",
            f'role "{row["role"]}" may not replicate',
            f'ALTER ROLE "{row["role"]}" REPLICATION; or give erp.replication_dsn.',
            code="E-SOURCE-PRIVILEGE",
        )


async def _publication(erp: Erp, config: Config, found: Findings) -> None:
    name = config.erp.publication
    rows = await erp.fetch("erp.publication", _PUBLICATION_SQL, name)
    if not rows:
        found.add(
            "erp.publication",
            f'publication "{name}" does not exist',
            "Run what `erpsyncd sql setup` prints.",
            code="E-PUBLICATION",
        )
        return
    publication = rows[0]
    if publication["puballtables"]:
        found.add(
            "erp.publication",
            f'publication "{name}" is FOR ALL TABLES: updates of tables without a key would fail in the ERP',
            "Publish the watched tables by name.",
            code="E-PUBLICATION-ALL",
        )
    if not (publication["pubinsert"] and publication["pubupdate"] and publication["pubdelete"]):
        found.add(
            "erp.publication",
            f'publication "{name}" leaves out inserts, updates or deletes',
            f"ALTER PUBLICATION {quote_name(name)} SET (publish = 'insert, update, delete, truncate');",
            code="E-PUBLICATION",
        )
    found.parents = {row["leaf"]: row["top"] for row in await erp.fetch("erp.publication", PARENTS_SQL)}
    await _published(erp, name, found)
    if publication["pubinsert"]:
        await _watches(erp, config, found)


async def _published(erp: Erp, name: str, found: Findings) -> None:
    for row in await erp.fetch("erp.publication", TABLES_SQL, name):
        table, identity = row["table"], row["identity"]
        found.published[table] = identity
        usable = identity == "f" or (identity == "d" and row["has_key"]) or (identity == "i" and row["has_index"])
        if not usable:
            found.add(
                "erp.publication",
                f"{table} has no usable replica identity: the ERP's own updates of it fail",
                f"ALTER TABLE {quote(table)} REPLICA IDENTITY FULL; or give it a primary key.",
                code="E-IDENTITY",
            )
    await _partitions(erp, found)
    server = (await erp.fetch("erp.dsn", "select current_setting('server_version_num')::int / 10000"))[0][0]
    if server < 15:
        return  # column lists and row filters came with 15
    for row in await erp.fetch("erp.publication", LISTS_SQL, name):
        if row["columns"] and row["full"]:
            found.add(
                "erp.publication",
                f"{row['table']} has a column list and REPLICA IDENTITY FULL: the ERP's own updates of it fail",
                "Publish the whole table.",
                code="E-COLUMN-LIST",
            )
        if row["rows"]:
            found.add(
                "erp.publication",
                f"{row['table']} has a row filter: rows that leave the filter would be missed",
                "Publish the table without WHERE.",
                code="E-ROW-FILTER",
            )


async def _partitions(erp: Erp, found: Findings) -> None:
    """The ERP's statements meet the identity of each partition, whichever name it is published under."""
    leaves = [leaf for leaf, top in found.parents.items() if {leaf, top} & found.published.keys()]
    unusable: set[str] = set()
    for row in await erp.fetch("erp.publication", LEAVES_SQL, leaves) if leaves else ():
        table = row["table"]
        if not row["carried"]:
            found.uncarried.setdefault(table, set()).add(row["column"])
        if not row["usable"] and table not in found.published and table not in unusable:
            unusable.add(table)
            found.add(
                "erp.publication",
                f"partition {table} has no usable replica identity: the ERP's own updates of it fail",
                f"ALTER TABLE {quote(table)} REPLICA IDENTITY FULL; or give it a primary key.",
                code="E-IDENTITY",
            )


async def _watches(erp: Erp, config: Config, found: Findings) -> None:
    leaves: dict[str, list[str]] = {}
    for leaf, top in found.parents.items():
        leaves.setdefault(top, []).append(leaf)
    columns: dict[str, Mapping[str, asyncpg.Record]] = {}
    for entity in config.entity.values():
        for number, watch in enumerate(entity.watch):
            where = f"entity.{entity.name}.watch.{number}"
            if watch.table not in columns:
                try:
                    rows = await erp.fetch(where, COLUMNS_SQL, quote(watch.table))
                except SourceLost:
                    raise
                except ErpsyncError as exc:  # the role may not enter the schema
                    found.problems.append(exc)
                    found.closed.add(watch.table)
                    rows = []
                columns[watch.table] = {row["name"]: row for row in rows}
            known = columns[watch.table]
            if not known and watch.table not in found.closed:
                found.add(f"{where}.table", f"there is no table {watch.table}", "Correct the name.", config=True)
                continue
            if not {watch.table, *leaves.get(watch.table, [])} & found.published.keys():
                found.add(
                    f"{where}.table",
                    f'{watch.table} is not in publication "{config.erp.publication}"',
                    f"ALTER PUBLICATION {quote_name(config.erp.publication)} ADD TABLE {quote(watch.table)};",
                    code="E-PUBLICATION-TABLE",
                )
            if watch.table in found.closed:
                continue
            _identities(watch.table, leaves.get(watch.table, []), known, found)
            name = watch.key or watch.column or ""
            column = known.get(name)
            place = f"{where}.{'key' if watch.key else 'column'}"
            if column is None:
                found.add(place, f"{watch.table} has no column {name}", "Correct the name.", config=True)
            elif watch.key and column["type"] not in WATCHED[entity.key_type]:
                found.add(
                    place,
                    f"{watch.table}.{name} is {column['type']}, the entity's key_type is {entity.key_type}",
                    f"Set entity.{entity.name}.key_type to the column's type.",
                    code="E-KEY-TYPE",
                    config=True,
                )
            elif not column["in_identity"]:
                found.indexed.add((watch.table, name))


async def _extract(erp: Erp, batch: Batch, found: Findings) -> None:
    """Let Postgres parse an extract, and see that its file can be written."""
    if batch.extract is None:
        return
    for suffix, module, extra in ((".zst", "zstandard", "zstd"), (".parquet", "pyarrow", "parquet")):
        if str(batch.to).endswith(suffix) and find_spec(module) is None:
            found.add(
                f"batch.{batch.name}.to",
                f"{module} is not installed",
                f"pip install 'erpsyncd[{extra}]'",
                code="E-EXTRACT-PACKAGE",
                config=True,
            )
    try:
        async with erp.connection(f"batch.{batch.name}.extract") as connection:
            await connection.prepare(batch.extract)
    except SourceLost:
        raise
    except ErpsyncError as exc:
        found.problems.append(exc)


def _identities(table: str, leaves: Iterable[str], columns: Mapping[str, asyncpg.Record], found: Findings) -> None:
    """A partition must carry what its parent's identity carries: rows are known by that."""
    carried = {row["name"] for row in columns.values() if row["in_identity"]}
    for leaf in leaves:
        if carried & found.uncarried.get(leaf, set()):
            found.add(
                "erp.publication",
                f"the replica identity of partition {leaf} tells less than that of {table}",
                "Give both the same (ALTER TABLE ... REPLICA IDENTITY ...).",
                code="E-IDENTITY",
            )


async def _queries(erp: Erp, entity: Entity, found: Findings) -> None:
    """Let Postgres parse every query of an entity, and see which columns its SQL gives."""
    place = f"entity.{entity.name}"
    texts = [(f"{place}.sql", entity.sql), (f"{place}.all_keys", entity.all_keys)]
    texts += [(f"{place}.watch.{n}.keys", watch.keys) for n, watch in enumerate(entity.watch) if watch.keys]
    texts += [(f"{place}.poll.{n}.keys", poll.keys) for n, poll in enumerate(entity.poll)]
    for where, sql in texts:
        try:
            async with erp.connection(where) as connection:
                statement = await connection.prepare(sql)
                columns = [(attribute.name, attribute.type.name) for attribute in statement.get_attributes()]
                types = [parameter.name.strip("_").removesuffix("[]") for parameter in statement.get_parameters()]
        except SourceLost:
            raise
        except ErpsyncError as exc:
            found.problems.append(exc)
            continue
        if where.endswith(".all_keys"):
            found.smallest[entity.name] = _SMALLEST.get(types[0], SMALLEST[entity.key_type])
        if where.endswith(".sql") and types:
            found.lowest[entity.name] = _SMALLEST.get(types[0], SMALLEST[entity.key_type])
        taken = types[0] if types and where.endswith((".sql", ".all_keys")) else None  # others take values or times
        given = dict(columns).get("key") if where.endswith(".sql") else columns[0][1] if columns else None
        if why := misfit(entity.key_type, taken, given):
            hint = f"Set {place}.key_type to the type of the ERP's key, or cast in the query."
            found.add(where, why, hint, code="E-KEY-TYPE", config=True)
        if where.endswith(".sql"):
            try:
                mapper_of(entity).check_columns(name for name, _ in columns)
            except ErpsyncError as exc:
                found.problems.append(exc)


def mapper_of(entity: Entity) -> Mapper:
    """The entity's mapping, its transform imported. Raises ConfigError when that cannot be had."""
    where = f"entity.{entity.name}"
    transform = None
    if entity.transform:
        module, _, function = entity.transform.partition(":")
        try:
            transform = getattr(import_module(module), function)
        except (ImportError, AttributeError) as exc:
            raise ConfigError(f"cannot be imported: {exc}", where=f"{where}.transform", code="E-TRANSFORM") from exc
    key_type = int if entity.key_type in (KeyType.BIGINT, KeyType.INTEGER) else str
    return Mapper(
        entity.kind,
        entity.identity_fields(),
        entity.identity_defaults(),
        entity.missing,
        where,
        transform,
        key_type=key_type,
        contents=Contents(entity.kind, {k: str(v) for k, v in entity.owner.items()}, _cleaner(entity)),
    )


def _cleaner(entity: Entity) -> Callable[[str], str] | None:
    """What makes HTML harmless. Raises ConfigError when the package for it is not there."""
    if not entity.sanitize:
        return None
    try:
        clean: Callable[[str], str] = import_module("nh3").clean
    except ImportError as exc:
        raise ConfigError(
            "nh3 is not installed",
            where=f"entity.{entity.name}.sanitize",
            code="E-SANITIZE-PACKAGE",
            hint="pip install 'erpsyncd[html]'",
        ) from exc
    return clean

"""The commands for the DBA and for setting up: `erpsyncd doctor`, `erpsyncd sql setup | teardown | monitor`.

Invariant: nothing here changes the ERP, a store or the state. SQL goes to standard output alone, so that it can be piped;
what a person should know besides goes to standard error.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon import config as configuration
from daemon.config import Config, Dsn
from daemon.errors import ConfigError, ErpsyncError

if TYPE_CHECKING:
    from daemon.dba import Facts, Wanted

sql_app = typer.Typer(
    help="Print the SQL that the DBA reviews and runs; erpsyncd runs none of it.", no_args_is_help=True
)

_Config = Annotated[
    Path | None, typer.Option("-c", "--config", help="config.toml (default: ./, then /etc/erpsyncd/).", metavar="FILE")
]
_ReadRole = Annotated[
    str | None, typer.Option("--read-role", help="Role for reading values (default: erpsyncd_read).", metavar="NAME")
]
_ReplicationRole = Annotated[
    str | None,
    typer.Option("--replication-role", help="Role for the stream (default: erpsyncd_repl).", metavar="NAME"),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(doctor)
    app.add_typer(sql_app, name="sql")


def doctor(
    config: _Config = None, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
) -> None:
    """Check configuration, ERP, stores and this machine; exit 0, 1 (warnings) or 2 (failures)."""
    from daemon import doctor as rooms  # loaded where it is needed: other commands shall start fast

    results = asyncio.run(rooms.diagnose(config))
    sys.stdout.write((rooms.as_json(results) if as_json else rooms.as_text(results)) + "\n")
    raise typer.Exit(rooms.exit_code(results))


@sql_app.command()
def setup(
    config: _Config = None,
    dsn: Annotated[
        str | None,
        typer.Option(
            "--dsn",
            envvar="ERPSYNCD_DBA_DSN",
            help="Look at the ERP with this login instead of erp.dsn, whose role may not exist yet.",
            metavar="URL",
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not look at the ERP.")] = False,
    full_identity: Annotated[
        bool,
        typer.Option("--full-identity", help="REPLICA IDENTITY FULL where the log does not carry a watched column."),
    ] = False,
    read_role: _ReadRole = None,
    replication_role: _ReplicationRole = None,
) -> None:
    """Roles, grants, publication and slot, as a script for psql that may be run again."""
    from daemon import dba

    loaded, wants = _wanted(config, read_role, replication_role, full_identity)
    facts = dba.Facts(problems=("not asked",))
    if not offline:
        facts = asyncio.run(look(loaded, _dsn(dsn) if dsn is not None else loaded.erp.dsn))
        if not facts.reached:
            sys.stderr.write(f"erpsyncd: not checked against the ERP: {'; '.join(facts.problems)}\n")
    sys.stdout.write(dba.setup(wants, facts))


@sql_app.command()
def teardown(config: _Config = None, read_role: _ReadRole = None, replication_role: _ReplicationRole = None) -> None:
    """Remove slot, publication, grants and roles."""
    from daemon import dba

    _, wants = _wanted(config, read_role, replication_role)
    sys.stdout.write(dba.teardown(wants))


@sql_app.command()
def monitor(config: _Config = None, read_role: _ReadRole = None, replication_role: _ReplicationRole = None) -> None:
    """Queries for the DBA's monitoring, with thresholds."""
    from daemon import dba

    _, wants = _wanted(config, read_role, replication_role)
    sys.stdout.write(dba.monitor(wants))


def _wanted(
    path: Path | None, read_role: str | None, replication_role: str | None, full_identity: bool = False
) -> tuple[Config, Wanted]:
    from daemon.dba.facts import READ_ROLE, REPLICATION_ROLE, wanted

    loaded = configuration.load(configuration.find_config(path), lenient=True)  # a DBA's shell has no store's token
    loaded.erp.dsn.reveal("erp.dsn")  # but the script is for this database
    loaded.erp.replication_dsn.reveal("erp.replication_dsn")
    wants = wanted(
        loaded,
        read_role=read_role or READ_ROLE,
        replication_role=replication_role or REPLICATION_ROLE,
        full_identity=full_identity,
    )
    if wants.stream and wants.read_role == wants.replication_role:
        raise ConfigError(
            "the roles for reading and for the stream must differ", where="--read-role", hint="Name two roles."
        )
    return loaded, wants


def _dsn(text: str) -> Dsn:
    try:
        return Dsn(text)
    except ValueError as exc:
        raise ConfigError(str(exc), where="--dsn") from None


async def look(config: Config, dsn: Dsn) -> Facts:
    """Ask the ERP what the script needs to know; why not, where it cannot be asked."""
    from daemon.catalogue import relations, table
    from daemon.dba import Facts
    from daemon.doctor.asking import queries_of, server_facts
    from daemon.erp import Erp

    erp = Erp(dsn.reveal(), connections=1, statement_timeout_s=config.erp.statement_timeout)
    try:
        await erp.open()
        server = await server_facts(erp, config.slot_name())
        tables = [await table(erp, name) for name in config.watched_tables()]
        reads, problems = await relations(erp, [sql for _, sql in queries_of(config)])
        return Facts(
            reached=True,
            problems=tuple(dict.fromkeys(problem.message for problem in problems)),
            version=server.major,
            tables=tuple(found for found in tables if found is not None),
            reads=tuple(reads),
            complete=not problems,
            settings=tuple(server.settings.items()),
            client=server.client,
            host=dsn.redacted().partition("://")[2].rpartition("@")[2].partition("/")[0],
        )
    except ErpsyncError as exc:
        return Facts(problems=(str(exc),))
    finally:
        await erp.close()

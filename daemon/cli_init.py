"""The command `erpsyncd init`: a first configuration from the ERP's catalogue.

Invariant: the ERP is only looked at, no file is overwritten, no password is written, and what is written is a configuration
that `config check` takes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from daemon import config as configuration
from daemon.config import Dsn
from daemon.config.pack import packs_for
from daemon.config.problems import InvalidConfigError, suggestion
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.proposal.draft import Draft
    from daemon.proposal.schema import Schema, Table

KINDS: Final = ("stock", "price", "credit", "order_status", "content")
_DSN_ENV: Final = "ERPSYNCD_ERP_DSN"
_SHOP_ENV: Final = "ERPSYNCD_SHOP_TOKEN"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(init)


def init(
    dsn: Annotated[
        str | None,
        typer.Option(
            "--dsn",
            envvar=_DSN_ENV,
            help="The ERP's database, postgresql://user@host/database. A password in it is used and not written.",
            metavar="URL",
        ),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--entity",
            help="Tables of an entity, such as stock=stock_level,reservation; the first counts most. May be repeated.",
            metavar="KIND=TABLE[,TABLE]",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="SQL of a field that no column gives, such as price.currency=\"'EUR'\". May be repeated.",
            metavar="KIND.FIELD=SQL",
        ),
    ] = None,
    url: Annotated[str, typer.Option("--store-url", help="Address of the store's API.", metavar="URL")] = "",
    adapter: Annotated[str, typer.Option("--adapter", help="Adapter of the store.", metavar="NAME")] = "http",
    token_env: Annotated[
        str, typer.Option("--token-env", help="Environment variable that holds the store's token.", metavar="NAME")
    ] = _SHOP_ENV,
    state: Annotated[
        str, typer.Option("--state", help="The daemon's own file.", metavar="FILE")
    ] = "/var/lib/erpsyncd/state.db",
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; - for standard output.")] = Path(
        "config.toml"
    ),
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: take the tables whose names say what they are.")
    ] = False,
) -> None:
    """Look at the ERP's database, read-only, and propose a configuration for the tables that you name."""
    from daemon.proposal.write import Setting, write

    asking = sys.stdin.isatty() and not yes
    if str(out) != "-" and out.exists():
        raise ConfigError(f"{out} is there already", where="--out", hint="Name another file with -o.")
    dsn = dsn or (_ask("The ERP's database (postgresql://user@host/database)") if asking else None)
    if not dsn:
        raise ConfigError(
            "is missing: the ERP's database", where="--dsn", hint="Give --dsn postgresql://user@host/database."
        )
    source = _dsn(dsn)
    schema = asyncio.run(_look(source))
    for name, title in packs_for(schema.tables):
        _say(
            f'These are tables of {title}: pack = "{name}" under [erp] maps it whole. What follows is for what it lacks.'
        )
    named = _named(tables or [], schema)
    if not tables:
        named = _chosen(schema, asking)
    if not named:
        raise ConfigError(
            "no table is named",
            where="--entity",
            hint="Name at least one, such as --entity stock=stock_level; or --yes, to take those whose names say it.",
        )
    drafts = _drafts(named, schema, _fields(fields or []), asking)
    url = url or (
        _ask("Address of the store's API", "https://shop.example/erpsyncd")
        if asking
        else "https://shop.example/erpsyncd"
    )
    text = write(drafts, Setting(_written(dsn, source), adapter, url, token_env, state))
    _checked(text, token_env)
    if str(out) == "-":
        sys.stdout.write(text)
        return
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as exc:
        raise ConfigError(f"cannot write {out}: {exc.strerror}", where="--out") from None
    _say(
        f"{out}: {', '.join(draft.kind for draft in drafts)}. Read it; what was guessed stands beside each query. Then:"
    )
    _say(f"  erpsyncd sql setup -c {out} --dsn ADMIN-URL | psql ADMIN-URL    roles, publication, identities")
    _say(f"  erpsyncd doctor -c {out}                                       what is still missing")
    _say(f"  erpsyncd plan -c {out}                                         what would be sent")


async def _look(dsn: Dsn) -> Schema:
    from daemon.erp import Erp
    from daemon.proposal.survey import survey

    erp = Erp(dsn.reveal(), connections=1, statement_timeout_s=30.0)
    try:
        await erp.open()
        return await survey(erp)
    finally:
        await erp.close()


def _named(given: Sequence[str], schema: Schema) -> dict[str, list[Table]]:
    """The tables of `--entity`, by kind."""
    named: dict[str, list[Table]] = {}
    for text in given:
        kind, equals, rest = text.partition("=")
        if kind not in KINDS or not equals:
            raise ConfigError(
                f'"{text}" names no kind of document{suggestion(kind, KINDS)}',
                where="--entity",
                hint="Write KIND=TABLE, such as stock=stock_level.",
            )
        named.setdefault(kind, []).extend(_table(name.strip(), schema) for name in rest.split(",") if name.strip())
    return {kind: named[kind] for kind in KINDS if named.get(kind)}


def _table(name: str, schema: Schema) -> Table:
    found = schema.find(name)
    if not found and (read := schema.behind(name)):
        raise ConfigError(
            f'"{name}" is a view, and no log tells of its rows',
            where="--entity",
            hint=f"Name the tables that it reads: {', '.join(read)}.",
        )
    if not found:
        near = suggestion(name, [n for table in schema.tables.values() for n in (table.short, table.name)])
        more = near if "did you mean" in near else f"; {len(schema.tables)} tables can be seen by this login"
        raise ConfigError(f'there is no table "{name}"{more}', where="--entity")
    if len(found) > 1:
        raise ConfigError(
            f'"{name}" is in {len(found)} schemas: {", ".join(table.name for table in found)}',
            where="--entity",
            hint="Write schema.table.",
        )
    return found[0]


def _chosen(schema: Schema, asking: bool) -> dict[str, list[Table]]:
    """Tables by their names; a person at a terminal has the last word."""
    from daemon.proposal.vocabulary import likely

    chosen: dict[str, list[Table]] = {}
    for kind in KINDS:
        guess = likely(schema.tables.values(), kind)
        if not asking:
            if guess is not None:
                chosen[kind] = [guess]
            continue
        while True:
            answer = _ask(
                f"Tables for {kind}, separated by commas (- for none)", guess.name if guess is not None else "-"
            )
            if answer == "-":
                break
            try:
                chosen[kind] = [_table(name.strip(), schema) for name in answer.split(",") if name.strip()]
                break
            except ConfigError as exc:
                _say(exc.advice)
    return chosen


def _fields(given: Sequence[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for text in given:
        name, equals, sql = text.partition("=")
        kind, dot, _ = name.partition(".")
        if not equals or not dot or kind not in KINDS or not sql.strip():
            raise ConfigError(
                f'"{text}" gives no field',
                where="--field",
                hint="Write KIND.FIELD=SQL, such as price.currency=\"'EUR'\".",
            )
        fields[name] = sql.strip()
    return fields


def _drafts(
    named: Mapping[str, Sequence[Table]], schema: Schema, fields: Mapping[str, str], asking: bool
) -> list[Draft]:
    """A draft for each kind; what cannot be guessed is asked for, or told all at once."""
    from daemon.proposal.propose import propose

    known, drafts, open_questions = dict(fields), [], []
    for kind, tables in named.items():
        draft, questions = propose(kind, tables, schema, known)
        while asking and draft is None and all(question.field != "key" for question in questions):
            for question in questions:
                _say(f"{question}.")
                known[f"{kind}.{question.field}"] = _ask(f"SQL for {kind}.{question.field}")
            draft, questions = propose(kind, tables, schema, known)
        if draft is not None:
            drafts.append(draft)
        open_questions += questions
    if open_questions:
        told = "; ".join(map(str, open_questions))
        flags = " ".join(f"--field {q.kind}.{q.field}=SQL" for q in open_questions if q.field != "key")
        raise ConfigError(
            told,
            where="--entity",
            hint=f"Say it with {flags} (r is the table of the keys, t the first one that you named), or leave the entity out."
            if flags
            else "Leave the entity out.",
        )
    return drafts


def _written(text: str, dsn: Dsn) -> str:
    """The address as the file may have it: with a password, the name of a variable instead."""
    from daemon.proposal.write import toml_text

    if dsn.redacted() != text:
        return f'{{ env = "{_DSN_ENV}" }}'
    return toml_text(text)


def _checked(text: str, token_env: str) -> None:
    """What was written must be good by itself; the variables that it names need not be there yet."""
    named = {_DSN_ENV: "postgresql://erpsyncd@localhost/erp", token_env: "x"}
    try:
        configuration.load_text(text, env={**named, **os.environ})
    except InvalidConfigError as exc:
        raise ConfigError(
            "; ".join(f"{problem.path}: {problem.message}" for problem in exc.problems),
            where="erpsyncd init",
            hint="Correct the flag that it comes from.",
        ) from None


def _dsn(text: str) -> Dsn:
    try:
        return Dsn(text)
    except ValueError as exc:
        raise ConfigError(str(exc), where="--dsn") from None


def _ask(question: str, default: str | None = None) -> str:
    answer: str = typer.prompt(question, default=default, err=True)
    return answer.strip()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")

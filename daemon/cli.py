"""The command `erpsyncd`.

Invariant: a user's mistake ends in lines that say what, where and the next step, and in the documented exit code; a
traceback means a bug of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from daemon import __version__, cli_batch, cli_dba, cli_init, cli_ops, client, log
from daemon import config as configuration
from daemon.errors import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, ConfigError, ErpsyncError
from daemon.gate import refusals

app = typer.Typer(
    name="erpsyncd",
    help="Keeps a storefront true to the ERP, within seconds, and says how stale it is at worst.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(cli_ops.app)
app.add_typer(cli_batch.app, name="batch")
cli_dba.register(app)
cli_init.register(app)

ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="config.toml (default: ./, then /etc/erpsyncd/).", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def _load(path: Path | None) -> tuple[Path, configuration.Config]:
    found = configuration.find_config(path)
    return found, configuration.load(found)


def _print(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")


def _version(asked: bool) -> None:
    if asked:
        _print(f"erpsyncd {__version__}")
        raise typer.Exit(EXIT_DONE)


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Keeps a storefront true to the ERP, within seconds, and says how stale it is at worst."""


@app.command()
def run(config: ConfigOption = None) -> None:
    """Run the daemon in the foreground."""
    from daemon import serve  # the daemon's parts are not needed by the other commands

    path, loaded = _load(config)
    log.setup(str(loaded.log.format) if loaded.log.format else "auto", str(loaded.log.level))
    raise typer.Exit(serve.run(path, loaded))


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The verdict of the running daemon: FRESH (exit 0), STALE (1), UNKNOWN or unreachable (2)."""
    answer = client.status(client.configured(config))
    if as_json:
        _print(json.dumps(answer.body, indent=2))
    else:
        _print(answer.text())
    raise typer.Exit(answer.code)


@app.command()
def demo(
    for_: Annotated[str | None, typer.Option("--for", help="End by itself after this long, e.g. 60s.")] = None,
    port: Annotated[int, typer.Option("--port", help="Port of the status page.")] = 8484,
    dir_: Annotated[Path | None, typer.Option("--dir", help="Keep everything in this folder.")] = None,
) -> None:
    """A small ERP, a storefront and the daemon between them, with a simulated business day."""
    try:
        from daemon.demo.run import run_demo
    except ImportError as exc:
        raise ErpsyncError(
            f"the demo needs a package that is not installed ({exc.name})", hint="pip install 'erpsyncd[demo]'"
        ) from exc
    try:
        seconds = configuration.parse_duration(for_) if for_ is not None else None
    except ValueError as exc:
        raise typer.BadParameter(f"--for {exc}") from exc
    raise typer.Exit(asyncio.run(run_demo(seconds, port, dir_)))


@config_app.command("check")
def config_check(
    file: Annotated[Path | None, typer.Argument(help="The file to check (or -c FILE).", metavar="FILE")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """All mistakes of a configuration at once, with place and remedy. Connects to nothing."""
    named = [path for path in (file, config) if path is not None]
    if len(named) != 1:
        raise typer.BadParameter("name one file, as FILE or by -c FILE")
    [file] = named
    problems = configuration.check(file, refused=refusals)
    if as_json:
        _print(json.dumps([problem.as_dict() for problem in problems], indent=2))
    elif problems:
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        sys.stderr.write(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {file}\n")
    else:
        _print(f"{file}: good")
    raise typer.Exit(EXIT_CONFIG if problems else EXIT_DONE)


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """The effective configuration as JSON, defaults filled in, secrets masked."""
    _, loaded = _load(config)
    _print(json.dumps(configuration.dump_redacted(loaded), indent=2))


@config_app.command("schema")
def config_schema() -> None:
    """The JSON Schema of config.toml."""
    _print(json.dumps(configuration.json_schema(), indent=2))


def main(argv: list[str] | None = None) -> NoReturn:
    """Entry point. Exit codes: 0 done, 1 something found, 2 failed, 64 usage, 78 configuration or source."""
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="erpsyncd", standalone_mode=False)
    except ErpsyncError as exc:
        sys.stderr.write(f"erpsyncd: {exc}\n")
        code = exc.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        code = EXIT_FAILED
    except Exception as exc:
        show = getattr(exc, "show", None)  # a usage error, whoever ships click
        if show is None:
            raise
        show()
        if next(iter(sys.argv[1:] if argv is None else argv), "") in ("-c", "--config"):
            sys.stderr.write("-c FILE goes after the command: erpsyncd status -c FILE\n")
        code = EXIT_USAGE
    sys.exit(code if isinstance(code, int) else EXIT_DONE)


__all__ = ["ConfigError", "app", "main"]

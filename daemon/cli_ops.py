"""The operator's commands: backfill, reconcile, plan, quarantine, held.

Invariant: a command shows what the daemon said and computes nothing of its own; what it waits for goes on in the daemon when
it is interrupted (a comparison or plan is cancelled). Exit codes: 0 done, 1 something found, 2 failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
import typer

from daemon import client
from daemon import config as configuration
from daemon.cli_show import plan_lines, reconcile_lines, set_aside_lines
from daemon.cli_wait import wait
from daemon.config import Config
from daemon.errors import EXIT_DONE, EXIT_FAILED, EXIT_FOUND, EXIT_USAGE, ErpsyncError
from daemon.model import Key
from daemon.naming import chosen_queues, parse_key

app = typer.Typer()
quarantine_app = typer.Typer(
    help="Keys that cannot be sent: the store or the mapping refused them.", no_args_is_help=True
)
held_app = typer.Typer(help="Keys that a brake holds for an operator's decision.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(held_app, name="held")

EntityArgument = Annotated[str | None, typer.Argument(help="Entity (default: all).", metavar="ENTITY")]
StoreOption = Annotated[str | None, typer.Option("--store", help="This store only.", metavar="STORE")]
KeysOption = Annotated[
    list[str] | None, typer.Option("--key", help="A key as the ERP has it; may be repeated.", metavar="KEY")
]
ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="config.toml (default: ./, then /etc/erpsyncd/).", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Ask the daemon and return at once.")]
YesOption = Annotated[bool, typer.Option("--yes", help="I know that these changes will not be sent.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for the log.", metavar="TEXT")]


class UsageError(ErpsyncError):
    """The command's arguments do not fit together."""

    code = "E-USAGE"
    exit_code = EXIT_USAGE


def _print(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")


def _print_json(value: Any) -> None:
    _print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


class Chosen:
    """What a command is about, checked against the configuration."""

    def __init__(self, config: Config, entity: str | None, store: str | None, keys: list[Key] | None) -> None:
        self.config, self.entity, self.store, self.keys = config, entity, store, keys

    def body(self, **more: Any) -> dict[str, Any]:
        given = {"entity": self.entity, "store": self.store, "keys": self.keys, **more}
        return {name: value for name, value in given.items() if value is not None}

    def query(self, **more: Any) -> str:
        given = {"entity": self.entity, "store": self.store, **more}
        return urlencode({name: value for name, value in given.items() if value is not None})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return client.call(self.config, method, path, body)


def _chosen(config: Path | None, entity: str | None, store: str | None, keys: list[str] | None) -> Chosen:
    loaded = client.configured(config)
    chosen_queues(loaded, store, entity)
    if keys and entity is None:
        raise UsageError("--key needs the entity that it is a key of", hint="For example: stock --key 42.")
    parsed = [parse_key(loaded.entity[entity], key) for key in keys] if keys and entity is not None else None
    return Chosen(loaded, entity, store, parsed)


# -- waiting


@contextmanager
def _interruptible(chosen: Chosen, number: int) -> Iterator[None]:
    """A run that nobody waits for any more is ended."""
    try:
        yield
    except KeyboardInterrupt:
        chosen.call("DELETE", f"/api/runs/{number}")
        sys.stderr.write("cancelled\n")
        raise


def _run_to_end(chosen: Chosen, title: str, run: dict[str, Any], done: str, total: str) -> dict[str, Any]:
    """Wait for a run; its full result. Raises ErpsyncError when it failed."""
    number = run["id"]

    def look() -> tuple[bool, int, int | None, str]:
        now = chosen.call("GET", f"/api/runs/{number}?brief=1")
        queues = now["queues"]
        counted = sum(queue[done] for queue in queues)
        return now["state"] != "running", counted, sum(queue.get(total, 0) for queue in queues), ""

    with _interruptible(chosen, number):
        wait(title, look)
    result: dict[str, Any] = chosen.call("GET", f"/api/runs/{number}")
    if result["state"] != "done":
        raise ErpsyncError(result["error"] or f"it was {result['state']}", code=result["code"] or "E-RUN-CANCELLED")
    return result


# -- backfill


@app.command()
def backfill(
    entity: EntityArgument = None,
    key: KeysOption = None,
    store: StoreOption = None,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare with the ERP what was sent, all keys or some, and send what differs."""
    chosen = _chosen(config, entity, store, key)
    chosen.call("POST", "/api/backfill", chosen.body())
    if no_wait:
        _print("the daemon compares; `erpsyncd status` shows how far it is")
        raise typer.Exit(EXIT_DONE)
    raise typer.Exit(_wait_for_keys(chosen) if chosen.keys is not None else _wait_for_queues(chosen))


def _wait_for_queues(chosen: Chosen) -> int:
    path = f"/api/backfill?{chosen.query()}"

    def look() -> tuple[bool, int, int | None, str]:
        queues = chosen.call("GET", path)["queues"]
        for queue in queues:
            if queue["problem"]:
                raise ErpsyncError(
                    f"{queue['store']}/{queue['entity']} is stopped: {queue['problem']}",
                    code="E-STOPPED",
                    hint="The daemon goes on by itself when that is mended.",
                )
        totals = [queue["total"] for queue in queues]
        total = sum(totals) if all(t is not None for t in totals) else None
        waits = "; ".join(dict.fromkeys(f"waits: {q['waits_for']}" for q in queues if q["waits_for"]))
        return all(q["done"] for q in queues), sum(q["compared"] for q in queues), total, waits

    wait("compared", look)
    aside = 0
    for queue in chosen.call("GET", path)["queues"]:
        counts = ", ".join(f"{queue[kind]} {kind}" for kind in ("quarantined", "held") if queue[kind])
        aside += queue["quarantined"] + queue["held"]
        _print(
            f"{queue['store']}/{queue['entity']}: {queue['compared']} keys compared{f', {counts}' if counts else ''}"
        )
    return EXIT_FOUND if aside else EXIT_DONE


def _wait_for_keys(chosen: Chosen) -> int:
    assert chosen.keys is not None
    count = len(chosen.keys)

    def look() -> tuple[bool, int, int | None, str]:
        answer = chosen.call("POST", "/api/keys", chosen.body())
        return answer["moving"] == 0, count - min(answer["moving"], count), count, answer["why"]

    wait("compared", look)
    aside = chosen.call("POST", "/api/keys", chosen.body())["set_aside"]
    _print(f"{chosen.entity}: {count} key{'s' if count != 1 else ''} compared")
    for line in set_aside_lines(aside):
        _print(line)
    return EXIT_FOUND if aside else EXIT_DONE


# -- reconcile and plan


@app.command()
def reconcile(
    entity: EntityArgument = None,
    fix: Annotated[bool, typer.Option("--fix", help="Send again what differs.")] = False,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="With --fix: also take down what never came from here.")
    ] = False,
    store: StoreOption = None,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the store back and compare it with what it acknowledged and with the ERP. Exit 1 when something differs."""
    if foreign and not fix:
        raise typer.BadParameter("it goes with --fix only", param_hint="--foreign")
    chosen = _chosen(config, entity, store, None)
    run = chosen.call("POST", "/api/reconcile", chosen.body(fix=fix, foreign=foreign))
    if no_wait:
        _print(f"the daemon compares (run {run['id']}); the log's event `reconcile` tells the result")
        raise typer.Exit(EXIT_DONE)
    result = _run_to_end(chosen, "compared", run, "compared", "total")
    if as_json:
        _print_json(result)
    else:
        for line in reconcile_lines(result["queues"], fixed=fix, removed=foreign):
            _print(line)
    raise typer.Exit(EXIT_FOUND if any(queue["differ"] for queue in result["queues"]) else EXIT_DONE)


@app.command()
def plan(
    entity: EntityArgument = None,
    store: StoreOption = None,
    limit: Annotated[int, typer.Option("--limit", help="Changes shown one by one.", min=0, max=1000)] = 20,
    local: Annotated[bool, typer.Option("--local", help="By this file, whatever a running daemon goes by.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What would be sent if everything were compared now. Writes nothing, with a running daemon or without one."""
    chosen = _chosen(config, entity, store, None)
    try:
        run = None if local else chosen.call("POST", "/api/plan", chosen.body(limit=limit))
    except client.Unreachable:
        run = None
    if run is not None:
        queues = _run_to_end(chosen, "keys read", run, "keys", "")["queues"]
    else:
        from daemon.plan_offline import plan_offline

        whole = configuration.load(configuration.find_config(config))
        queues = plan_offline(whole, chosen_queues(chosen.config, store, entity), limit)
    if as_json:
        _print_json({"queues": queues})
    else:
        for line in plan_lines(queues):
            _print(line)
    raise typer.Exit(EXIT_DONE)


# -- what is set aside


def _list(kind: str, entity: str | None, store: str | None, config: Path | None, limit: int, as_json: bool) -> None:
    chosen = _chosen(config, entity, store, None)
    answer = chosen.call("GET", f"/api/set-aside?{chosen.query(kind=kind, limit=limit)}")
    if as_json:
        _print_json(answer)
    else:
        for line in set_aside_lines(answer["keys"]):
            _print(line)
        more = answer["total"] - len(answer["keys"])
        _print(f"{answer['total']} {kind}{f', {more} not shown (--limit)' if more > 0 else ''}")
    raise typer.Exit(EXIT_FOUND if answer["total"] else EXIT_DONE)


def _decide(verb: str, done: str, kind: str, chosen: Chosen, reason: str | None) -> None:
    count = chosen.call("POST", f"/api/set-aside/{verb}", chosen.body(kind=kind, reason=reason))["keys"]
    if chosen.keys is not None and not count:
        sys.stderr.write(f"erpsyncd: none of these keys is {kind}\n")
        raise typer.Exit(EXIT_FAILED)
    _print(f"{count} {kind} key{'s' if count != 1 else ''}: {done}" if count else f"no key is {kind}")
    raise typer.Exit(EXIT_DONE)


def _drop(
    kind: str,
    entity: str | None,
    keys: list[str] | None,
    store: str | None,
    yes: bool,
    reason: str | None,
    config: Path | None,
) -> None:
    if not yes:
        raise UsageError(
            "dropping gives the changes of these keys up: the store keeps what it shows until their next change",
            hint="Say --yes if that is meant.",
        )
    _decide("drop", "given up", kind, _chosen(config, entity, store, keys), reason)


LimitOption = Annotated[int, typer.Option("--limit", help="Most keys to show.", min=1, max=100_000)]


@quarantine_app.command("list")
def quarantine_list(
    entity: EntityArgument = None,
    store: StoreOption = None,
    limit: LimitOption = 1000,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quarantined keys, the oldest first, with the words of who refused them. Exit 1 when there are any."""
    _list("quarantined", entity, store, config, limit, as_json)


@quarantine_app.command("retry")
def quarantine_retry(
    entity: EntityArgument = None,
    key: KeysOption = None,
    store: StoreOption = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Read these keys anew and send them."""
    _decide("release", "tried again", "quarantined", _chosen(config, entity, store, key), reason)


@quarantine_app.command("drop")
def quarantine_drop(
    entity: EntityArgument = None,
    key: KeysOption = None,
    store: StoreOption = None,
    yes: YesOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Give these keys up until their next change."""
    _drop("quarantined", entity, key, store, yes, reason, config)


@held_app.command("list")
def held_list(
    entity: EntityArgument = None,
    store: StoreOption = None,
    limit: LimitOption = 1000,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Held keys, the oldest first, with the brake's reason. Exit 1 when there are any."""
    _list("held", entity, store, config, limit, as_json)


@held_app.command("release")
def held_release(
    entity: EntityArgument = None,
    key: KeysOption = None,
    store: StoreOption = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Send these keys, past the brake this once."""
    _decide("release", "sent", "held", _chosen(config, entity, store, key), reason)


@held_app.command("drop")
def held_drop(
    entity: EntityArgument = None,
    key: KeysOption = None,
    store: StoreOption = None,
    yes: YesOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Give these keys up until their next change."""
    _drop("held", entity, key, store, yes, reason, config)

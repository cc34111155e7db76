"""The commands for jobs: batch list, batch run, batch cancel.

Invariant: a command shows what the daemon said; a run goes on in the daemon when the command is interrupted. Exit codes: 0
done, 1 cancelled, or something failed before, 2 failed.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import orjson
import typer

from daemon import client
from daemon.cli_ops import ConfigOption, JsonOption, NoWaitOption, UsageError
from daemon.cli_wait import wait
from daemon.config import Config
from daemon.errors import EXIT_DONE, EXIT_FAILED, EXIT_FOUND, ErpsyncError
from daemon.words import format_seconds

app = typer.Typer(help="Jobs by the clock: content, rebuilds, extracts.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="Name of the job, as in [batch.JOB]; also: catalogue.", metavar="JOB")]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every job with its schedule, last and next run, result, rows and duration. Exit 1 when a newest run failed."""
    jobs = client.call(client.configured(config), "GET", "/api/batches")["batches"]
    if as_json:
        _print(orjson.dumps(jobs, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in job_lines(jobs):
            _print(line)
    failed = any(job["last"] is not None and job["last"]["result"] == "failed" for job in jobs)
    raise typer.Exit(EXIT_FOUND if failed else EXIT_DONE)


@app.command()
def run(
    job: JobArgument,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what a rebuild would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a rebuild.")] = False,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
) -> None:
    """Run a job now, whatever its schedule and window, and wait for its end. A rebuild says first what differs."""
    loaded = client.configured(config)
    before = _job(loaded, job)
    if before["kind"] == "rebuild":
        for entity in before["entities"]:
            for line in _preview(loaded, entity):
                _print(line)
    if preview:
        raise typer.Exit(EXIT_DONE)
    if before["kind"] == "rebuild" and sys.stdin.isatty() and not yes:
        typer.confirm("Send every document again?", abort=True)
    client.call(loaded, "POST", f"/api/batches/{job}")
    if no_wait:
        _print(f"job {job} runs in the daemon; `erpsyncd batch list` shows how far it is")
        raise typer.Exit(EXIT_DONE)
    try:
        ended = _wait(loaded, job, before["last"]["number"] if before["last"] is not None else 0)
    except KeyboardInterrupt:
        sys.stderr.write(f"the run goes on in the daemon; to end it: erpsyncd batch cancel {job}\n")
        raise
    last = ended["last"]
    if last["result"] == "failed":
        raise ErpsyncError(f"job {job} failed: {last['reason']}", code="E-BATCH-FAILED")
    _print(f"{job}: {_result(last)}")
    raise typer.Exit(EXIT_DONE if last["result"] == "done" else EXIT_FOUND)


@app.command()
def cancel(job: JobArgument, config: ConfigOption = None) -> None:
    """End the open run of a job. What it did stays; a rebuild that is run again goes on where it was."""
    loaded = client.configured(config)
    _job(loaded, job)
    if not client.call(loaded, "DELETE", f"/api/batches/{job}")["cancelled"]:
        sys.stderr.write(f"erpsyncd: job {job} is not running\n")
        raise typer.Exit(EXIT_FAILED)
    _print(f"{job}: cancelled")


def _job(config: Config, name: str) -> dict[str, Any]:
    jobs = client.call(config, "GET", "/api/batches")["batches"]
    for job in jobs:
        if job["job"] == name:
            return dict(job)
    known = ", ".join(sorted(job["job"] for job in jobs)) or "none"
    raise UsageError(f"there is no job {name!r}", code="E-BATCH-UNKNOWN", hint=f"Known: {known}.")


def _wait(config: Config, name: str, before: int) -> dict[str, Any]:
    """Wait for the end of the run that follows number `before`."""
    latest: dict[str, Any] = {}

    def look() -> tuple[bool, int, int | None, str]:
        latest.update(_job(config, name))
        last = latest["last"]
        ended = not latest["running"] and last is not None and last["number"] > before
        note = f"waits for {latest['waits_for']}" if latest["waits_for"] else ""
        return ended, latest["done"], latest["total"], note

    wait(name, look)
    return latest


def _preview(config: Config, entity: str) -> Iterator[str]:
    """What differs at present, counted."""
    asked = client.call(config, "POST", "/api/plan", {"entity": entity, "limit": 0})
    found: dict[str, Any] = {}

    def look() -> tuple[bool, int, int | None, str]:
        found.update(client.call(config, "GET", f"/api/runs/{asked['id']}?brief=1"))
        return found["state"] != "running", sum(queue["keys"] for queue in found["queues"]), None, ""

    wait("preview", look)
    if found["state"] != "done":
        raise ErpsyncError(
            found["error"] or f"the preview was {found['state']}", code=found["code"] or "E-RUN-CANCELLED"
        )
    for queue in found["queues"]:
        counts = ", ".join(f"{count} {kind}" for kind, count in queue["counts"].items() if count) or "nothing differs"
        every = queue["unchanged"] + queue["changes"]
        yield f"{queue['store']}/{queue['entity']}: {every} documents, {counts}; all of them are sent"


def job_lines(jobs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line a job."""
    width = max((len(job["job"]) for job in jobs), default=0)
    for job in jobs:
        when = job["schedule"] or "when asked"
        if job["schedule"]:
            when = f"{when} {job['timezone']}" if " " in when else f"every {when}"
        if job["window"]:
            when += f", {job['window']}"
        if job["running"]:
            of = f" of {job['total']}" if job["total"] else ""
            state = f"running, {job['done']}{of}"
            state += f", waits for {job['waits_for']}" if job["waits_for"] else ""
        else:
            state = f"last {_when(job['last']['started'])}: {_result(job['last'])}" if job["last"] else "never ran"
        following = f"; next {_when(job['next_run'])}" if job["next_run"] is not None else ""
        yield f"{job['job']:<{width}}  {job['kind']}, {when}; {state}{following}"


def _result(run: Mapping[str, Any]) -> str:
    text = f"{run['result']}, {run['rows']} rows"
    if run["duration_seconds"] is not None:
        text += f" in {format_seconds(run['duration_seconds'])}"
    return f"{text}: {run['reason']}" if run["reason"] else text


def _when(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")

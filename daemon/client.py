"""Speak to the running daemon through its status server, for the commands.

Invariant: commands print what the daemon said and compute no figures of their own; a daemon that cannot be reached is
UNKNOWN, never fresh.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from daemon import config as configuration
from daemon.config import Config
from daemon.errors import EXIT_FAILED, ErpsyncError
from daemon.staleness import VERDICT_CODE, Verdict

_TIMEOUT_S = 10.0


class Unreachable(ErpsyncError):
    """The daemon does not answer."""

    code = "E-DAEMON-UNREACHABLE"
    exit_code = EXIT_FAILED


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """What `erpsyncd status` shows, and its exit code."""

    code: int
    body: dict[str, Any]

    def text(self) -> str:
        """The verdict line, then a line for each entity of each store."""
        lines = [self.body["line"]]
        for store, view in self.body.get("stores", {}).items():
            if view.get("breaker") == "open":
                lines.append(f"  {store}: not reachable: {view.get('reason', '')}")
            for entity, figures in view.get("entities", {}).items():
                latency = figures["latency_seconds"]["p99"]
                lines.append(
                    f"  {store}/{entity}: {figures['pending'] + figures['claimed']} waiting, "
                    f"{figures['applied_total']} applied, {figures['unchanged_total']} unchanged, "
                    f"{figures['quarantined']} quarantined, {figures['held']} held"
                    + (f", p99 {latency:.3g}s" if latency is not None else "")
                )
        for job, view in self.body.get("batches", {}).items():
            if view["text"]:
                lines.append(f"  job {job}: {view['text']}")
        return "\n".join(lines)


def configured(path: Path | None) -> Config:
    """The configuration of the daemon to speak to. Its secrets may be closed to this user: only `status.token` is needed."""
    return configuration.load(configuration.find_config(path), lenient=True)


def call(config: Config, method: str, path: str, body: Any = None) -> Any:
    """One JSON call. Raises Unreachable, or ErpsyncError with the daemon's own words."""
    status = config.status
    headers = {"X-Erpsyncd": "1", "Content-Type": "application/json"}
    if status.token is not None:
        headers["Authorization"] = f"Bearer {status.token.reveal('status.token')}"
    host = "127.0.0.1" if status.host in ("0.0.0.0", "::", "") else status.host  # noqa: S104 -- compared, not bound
    if status.port == 0:
        raise Unreachable(
            "with port 0 the system chooses the port, and no command can know it",
            where="status.listen",
            hint="Give it a port, such as 8484; the one in use now is in the line `starting` of the daemon's log.",
        )
    connection = http.client.HTTPConnection(host, status.port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, orjson.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise Unreachable(
            f"no erpsyncd answers at {host}:{status.port}",
            where="status.listen",
            hint="Is the daemon running? Start it, or name by -c FILE the configuration that it runs with.",
        ) from exc
    finally:
        connection.close()
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise _stranger(config) from exc
    if not isinstance(answer, dict) or (response.status >= 400 and "error" not in answer):
        raise _stranger(config)
    if response.status >= 400:
        raise ErpsyncError(str(answer["error"]), code=answer.get("code"), hint=answer.get("hint", ""))
    return answer


def _stranger(config: Config) -> Unreachable:
    return Unreachable(
        f"what answers at {config.status.listen} is not erpsyncd",
        where="status.listen",
        hint="Another program has the port: give erpsyncd one of its own, or name by -c FILE the configuration it runs with.",
    )


def status(config: Config) -> StatusAnswer:
    """The running daemon's report."""
    try:
        body = call(config, "GET", "/api/status")
        if body.get("verdict") not in VERDICT_CODE:
            raise _stranger(config)
    except Unreachable as exc:
        line = f"UNKNOWN {exc}"
        return StatusAnswer(EXIT_FAILED, {"verdict": "UNKNOWN", "line": line, "reasons": [str(exc)]})
    return StatusAnswer(VERDICT_CODE[Verdict(body["verdict"])], body)

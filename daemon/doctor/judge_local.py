"""Judge this machine: secrets, state folder, disk, clock, addresses of stores.

Invariant: pure, and no result quotes a secret; it names the place in the configuration and the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from daemon.config import Config, Secret
from daemon.config.source import is_loopback
from daemon.doctor.facts import FileFacts, StateFacts
from daemon.doctor.result import Result, fail, good, warn
from daemon.words import format_bytes

_LITTLE = 100 * 1024**2
_SPARE = 1024**3
_CLOCK_S = 1.0
_FORMS = "{ credential = }, { env = } or { file = }"


def secrets_of(config: Config) -> list[tuple[str, Secret]]:
    """Every secret that stands in the configuration, with its place. A DSN without a password is none."""
    found: list[tuple[str, Secret]] = [
        (f"erp.{name}", dsn)
        for name, dsn in (("dsn", config.erp.dsn), ("replication_dsn", config.erp.replication_dsn))
        if has_password(dsn.reveal())
    ]
    if len(found) == 2 and found[0][1] is found[1][1]:
        found.pop()
    if config.status.token is not None:
        found.append(("status.token", config.status.token))
    found += [(f"store.{store.name}.token", store.token) for store in config.store.values() if store.token is not None]
    return found


def has_password(dsn: str) -> bool:
    parts = urlsplit(dsn)
    return bool(parts.password) or any("password" in key for key, _ in parse_qsl(parts.query))


def sslmode(dsn: str) -> str:
    """The sslmode that a DSN asks for; empty where it says nothing."""
    return dict(parse_qsl(urlsplit(dsn).query)).get("sslmode", "")


def judge_secrets(config: Config, own: FileFacts, files: Mapping[str, FileFacts]) -> Iterator[Result]:
    """`own` is config.toml; `files` the files that secrets come from, by the name in the configuration."""
    found: list[Result] = []
    literal = [where for where, secret in secrets_of(config) if secret.source == "config"]
    if literal:
        others = bool(own.mode & 0o007)
        result = fail if others else warn
        reach = f", which everyone on this machine can read ({own.mode:04o})" if others else ""
        remedy = f"Use {_FORMS}" + (f"; and: chmod 600 {own.path}" if others else ".")
        found.append(result("secrets", f"{', '.join(literal)}: written in {own.path}{reach}", remedy))
    for where, secret in secrets_of(config):
        kind, _, name = secret.source.partition(" ")
        look = files.get(name)
        if kind != "file" or look is None or not look.mode & 0o077:
            continue
        who = "everyone on this machine" if look.mode & 0o007 else "its group"
        result = fail if look.mode & 0o007 else warn
        found.append(
            result("secrets", f"{where}: {who} can read {look.path} ({look.mode:04o})", f"chmod 600 {look.path}")
        )
    for store in config.store.values():
        parts = urlsplit(store.url)
        if store.token is not None and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            found.append(
                warn("secrets", f"store.{store.name}.url: the token travels without encryption", "Use https://.")
            )
    yield from found or [good("secrets", "none is written in the configuration or readable by others")]


def judge_state(state: StateFacts) -> Iterator[Result]:
    folder = state.folder
    if not folder.exists:
        if folder.writable:
            yield good("state", f"{folder.path} will be made on the first start")
        else:
            yield fail("state", f"{folder.path} does not exist and cannot be made", f"install -d -m 700 {folder.path}")
            return
    elif not folder.writable:
        yield fail("state", f"{folder.path} cannot be written to", "Give it to the user that runs erpsyncd.")
    elif state.problem:
        yield fail("state", state.problem, "Move the file away and start again: every entity is then loaded anew.")
    elif folder.mode & 0o077:
        yield warn(
            "state",
            f"others can look into {folder.path} ({folder.mode:04o}), where names and prices of documents are kept",
            f"chmod 700 {folder.path}",
        )
    else:
        yield good("state", f"{folder.path} is writable, for this user alone")
    if state.free_bytes is not None:
        said = f"{format_bytes(state.free_bytes)} free at {folder.path}"
        if state.free_bytes < _LITTLE:
            yield fail("disk", said, "Make room: without it no mark can be kept, and the ERP keeps its log instead.")
        elif state.free_bytes < _SPARE:
            yield warn("disk", said, "Make room before it is needed; 1 GB is enough for millions of keys.")
        else:
            yield good("disk", said)


def judge_clock(offset_s: float, round_trip_s: float) -> Iterator[Result]:
    said = f"the ERP's clock is {abs(offset_s):.3f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
    if abs(offset_s) - round_trip_s / 2 > _CLOCK_S:
        yield warn("clock", f"{said}; staleness is reckoned on the ERP's clock", "Run NTP on both machines.")
    else:
        yield good("clock", said)

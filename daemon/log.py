"""Structured logging: one event a line, with a stable name and fields, through loguru.

Invariant: a line is one JSON object (or text on a terminal), carries no registered secret, and writing it cannot stop
the daemon: a closed pipe silences the log, a flood of one event is cut and counted. `Edge` gives one line on loss and
one on recovery.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
from loguru import logger

from daemon.redact import redact, redact_value
from daemon.redact import register_secret as register_secret
from daemon.words import format_seconds

if TYPE_CHECKING:
    from loguru import Message, Record

EVENTS: Final[dict[str, str]] = {
    "starting": "The daemon begins: version, configuration and targets.",
    "ready": "Changes stream in; the daemon does its work.",
    "status": "The verdict line, from time to time and whenever the verdict changes.",
    "stopping": "A stop was asked for; workers drain.",
    "stopped": "The daemon ended: reason, last confirmed position, keys left.",
    "reloaded": "A changed configuration is in force.",
    "reload_refused": "A changed configuration has mistakes; the old one stays in force.",
    "option_unknown": "An option of the ERP pack names what the ERP does not have; the start ends.",
    "erp_lost": "The ERP cannot be reached; retries go on.",
    "erp_back": "The ERP is reached again, with how long it was away.",
    "standby": "Another daemon holds the slot; this one waits to take over.",
    "gap": "Changes between our position and the slot are gone.",
    "resync": "A full comparison after a gap begins or ends.",
    "slot_at_risk": "The ERP is about to drop the log that the slot needs.",
    "slot_safe": "The slot is out of danger again.",
    "slot_created": "The replication slot was made on the first start.",
    "schema_changed": "A watched table changed its columns or left the publication.",
    "truncated": "A watched table was truncated; its entities are scanned again.",
    "poll_failed": "A poll rule failed; its window is asked for again.",
    "poll_back": "A poll rule works again, with how long it did not.",
    "backfill": "A scan of all keys of an entity begins, goes on or ends.",
    "reconcile": "A comparison with the store begins or ends, with what differed.",
    "batch": "A batch job begins or ends. A run by the clock that found no document to send is told at level debug alone.",
    "batch_failed": "A batch job failed; its next run is as scheduled.",
    "store_lost": "A store does not answer or refuses all calls.",
    "store_back": "A store takes calls again, with how long it did not.",
    "store_throttled": "A store asked to slow down.",
    "quarantined": "A key cannot be sent until someone corrects it; it keeps ageing.",
    "released": "Quarantined or held keys are tried again.",
    "dropped": "Quarantined or held keys were given up by an operator, until their next change.",
    "held": "A brake holds changes for an operator's decision; they keep ageing.",
    "state_failing": "The state file cannot be written; the log position stays where it is.",
    "state_back": "The state file can be written again.",
    "entity_stopped": "An entity is stopped; the others go on.",
    "entity_resumed": "A stopped entity works again.",
    "failed": "Something unforeseen went wrong; the traceback is in `exception`.",
    "library": "A library has something to say; field `logger` names it.",
    "repeated": "How many lines of one event were cut.",
}
"""Every event name and what it means; docs/operations.md lists the same."""

LEVELS: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""Names of levels and their syslog priority."""
BURST: Final = 20
PERIOD_S: Final = 10.0
"""Of one event (same store, entity, code) so many lines pass in so many seconds; the rest is counted."""


class Limiter:
    """Lets a burst of equal events through and counts the rest. Time is a parameter."""

    def __init__(self, burst: int = BURST, period_s: float = PERIOD_S) -> None:
        self._burst, self._period = burst, period_s
        self._seen: dict[tuple[str, ...], list[float]] = {}

    def admit(self, key: tuple[str, ...], now: float) -> bool:
        """Whether this line passes. Call `due` first, so that a closed period is told before a new one begins."""
        window = self._seen.setdefault(key, [now, 0])
        window[1] += 1
        return window[1] <= self._burst

    def due(self, now: float, *, everything: bool = False) -> list[tuple[tuple[str, ...], int]]:
        """The periods that ended, with how many lines were cut; forgets them."""
        ended = [key for key, (start, _) in self._seen.items() if everything or now - start >= self._period]
        cut = [(key, int(self._seen.pop(key)[1]) - self._burst) for key in ended]
        return [(key, count) for key, count in cut if count > 0]


class _Sink:
    """Turns records into lines and writes them; the only place that touches the stream."""

    def __init__(self, stream: IO[str], *, text: bool, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._text = text
        self._clock = clock
        self._limiter = Limiter()
        self._prefix = not text and _is_journal(stream)
        self._colour = text and _is_terminal(stream) and "NO_COLOR" not in os.environ
        self.closed = False

    def __call__(self, message: Message) -> None:
        record = message.record
        extra: dict[str, Any] = record["extra"]
        fields = {name: redact_value(value, name) for name, value in extra.get("fields", {}).items()}
        event = str(extra.get("event", "library"))
        now = self._clock()
        self.tell_cut(now)
        level = record["level"].name.lower()
        key = (level, event, *(str(fields.get(name, "")) for name in ("store", "entity", "code", "logger")))
        if not self._limiter.admit(key, now):
            return
        if record["exception"] is not None:
            fields["exception"] = _traceback(record)
        self._write(record["time"].astimezone(UTC), level, event, redact(record["message"]), fields)

    def tell_cut(self, now: float, *, everything: bool = False) -> None:
        for (level, event, store, entity, code, origin), count in self._limiter.due(now, everything=everything):
            about = {"of": event, "count": count, "store": store, "entity": entity, "code": code, "logger": origin}
            fields = {name: value for name, value in about.items() if value}
            self._write(datetime.now(UTC), level, "repeated", f"{event} repeated {count} times", fields)

    def _write(self, at: datetime, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> None:
        if self.closed:
            return
        line = self._as_text(at, level, event, msg, fields) if self._text else _as_json(at, level, event, msg, fields)
        if self._prefix:
            line = f"<{LEVELS.get(level, 6)}>{line}"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, ConnectionError, ValueError):
            self.closed = True
            _abandon(self._stream)
        except OSError:
            pass  # a full disk: this line is lost, the next may pass

    def _as_text(self, at: datetime, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
        rest = dict(fields)
        trace = rest.pop("exception", None)
        named = "".join(f"  {name}={_brief(value)}" for name, value in rest.items())
        head = f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d} {level.upper():<7} {event:<14} "
        if self._colour and level in _COLOURS:
            head = f"\x1b[{_COLOURS[level]}m{head}\x1b[0m"
        body = " ".join(msg.splitlines()) + named
        return head + body if trace is None else f"{head}{body}\n{trace}"


_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31"}
_sink: _Sink | None = None


def setup(
    format: str = "auto",
    level: str = "info",
    stream: IO[str] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send every event to `stream` (stdout). `format`: json, text, or auto: text on a terminal, else JSON.

    Calling it again replaces what was set up before. stdlib logging goes the same way.
    """
    global _sink
    stream = sys.stdout if stream is None else stream
    text = format == "text" or (format == "auto" and _is_terminal(stream))
    flush()
    logger.remove()
    _sink = _Sink(stream, text=text, clock=clock)
    logger.add(_sink, level=level.upper(), format="{message}", backtrace=False, diagnose=False, catch=True)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Intercept)]:
        root.removeHandler(handler)
    root.addHandler(_Intercept())
    root.setLevel(max(_STDLIB[level], logging.INFO))


def event(name: str, msg: str, /, level: str = "info", *, exc: BaseException | None = None, **fields: Any) -> None:
    """Log one event. Fields that are None are left out; `exc` puts its traceback into the field `exception`."""
    kept = {key: value for key, value in fields.items() if value is not None}
    logger.opt(exception=exc).bind(event=name, fields=kept).log(level.upper(), "{}", msg)


def debug(name: str, msg: str, /, *, exc: BaseException | None = None, **fields: Any) -> None:
    event(name, msg, "debug", exc=exc, **fields)


def info(name: str, msg: str, /, *, exc: BaseException | None = None, **fields: Any) -> None:
    event(name, msg, "info", exc=exc, **fields)


def warning(name: str, msg: str, /, *, exc: BaseException | None = None, **fields: Any) -> None:
    event(name, msg, "warning", exc=exc, **fields)


def error(name: str, msg: str, /, *, exc: BaseException | None = None, **fields: Any) -> None:
    event(name, msg, "error", exc=exc, **fields)


def flush() -> None:
    """Tell what was cut so far; call it before the process ends."""
    if _sink is not None:
        _sink.tell_cut(0.0, everything=True)


class Edge:
    """Something that is there or lost: one line when it is lost, one when it is back.

    In between only one more, where it turns out that a person must act.
    """

    def __init__(
        self,
        lost: str,
        back: str,
        *,
        level: str = "error",
        clock: Callable[[], float] = time.monotonic,
        **fields: Any,
    ) -> None:
        self._lost, self._back, self._level, self._clock, self._fields = lost, back, level, clock, fields
        self._since: float | None = None
        self._grave = False

    @property
    def is_down(self) -> bool:
        return self._since is not None

    def down(self, msg: str, *, grave: bool = False, **fields: Any) -> bool:
        """It is lost. True (and a line) only the first time, and the first time that it is `grave`."""
        if self._since is not None and (self._grave or not grave):
            return False
        self._since = self._clock() if self._since is None else self._since
        self._grave = grave
        event(self._lost, msg, self._level, **{**self._fields, **fields})
        return True

    def up(self, msg: str, **fields: Any) -> bool:
        """It is there. True (and a line that says for how long it was not) only after a loss."""
        if self._since is None:
            return False
        away = self._clock() - self._since
        self._since, self._grave = None, False
        known = {**self._fields, **fields, "away_s": round(away, 3)}
        event(self._back, f"{msg} after {format_seconds(away)}", "info", **known)
        return True


_STDLIB: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Intercept(logging.Handler):
    """What libraries log becomes the event `library`."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
        with contextlib.suppress(Exception):  # a bad format string in a library must not reach us
            exc = record.exc_info[1] if record.exc_info else None
            event("library", record.getMessage(), level, exc=exc, logger=record.name)


def _as_json(at: datetime, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
    head = {"ts": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", "level": level, "event": event, "msg": msg}
    line = head | {name: value for name, value in fields.items() if name not in head}
    try:
        return orjson.dumps(line).decode()
    except (TypeError, ValueError):  # an integer beyond 64 bits, a lone surrogate
        plain = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in line.items()}
        return orjson.dumps(plain).decode()


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text) if not text or any(char.isspace() for char in text) else text


def _traceback(record: Record) -> str:
    info = record["exception"]
    if info is None or info.value is None:
        return ""
    return redact("".join(traceback.format_exception(info.type, info.value, info.traceback)).rstrip())


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except (ValueError, OSError, AttributeError):
        return False


def _is_journal(stream: IO[str]) -> bool:
    """Whether the journal reads this stream: it takes the priority from a `<N>` in front and removes that."""
    try:
        stat = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM", "") == f"{stat.st_dev}:{stat.st_ino}"
    except (ValueError, OSError, AttributeError):
        return False


def _abandon(stream: IO[str]) -> None:
    """Nobody reads any more. Point the descriptor at /dev/null, so that the flush at exit does not fail either."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        target = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, target)
        os.close(null)

"""Typed configuration: config.toml in, a frozen Config or the list of all its problems out.

Invariant: whoever holds a Config needs no further checks of it, and nothing that is printed from here shows a secret.
"""

from __future__ import annotations

from daemon.config.entity import Entity, KeyType, Kind, Poll, Watch
from daemon.config.loading import SEARCHED, check, find_config, load, load_text
from daemon.config.outlet import Batch, Brake, Rate, Store
from daemon.config.problems import InvalidConfigError, Problem
from daemon.config.root import Config, dump_redacted, json_schema
from daemon.config.secret import Dsn, Secret
from daemon.config.source import Erp, Log, LogFormat, LogLevel, Mode, OnGap, State, Status
from daemon.config.values import Window, parse_duration

__all__ = [
    "SEARCHED",
    "Batch",
    "Brake",
    "Config",
    "Dsn",
    "Entity",
    "Erp",
    "InvalidConfigError",
    "KeyType",
    "Kind",
    "Log",
    "LogFormat",
    "LogLevel",
    "Mode",
    "OnGap",
    "Poll",
    "Problem",
    "Rate",
    "Secret",
    "State",
    "Status",
    "Store",
    "Watch",
    "Window",
    "check",
    "dump_redacted",
    "find_config",
    "json_schema",
    "load",
    "load_text",
    "parse_duration",
]

"""The error tree; every error carries what to do about it.

Invariant: whoever catches an ErpsyncError decides by `retry` alone, never by reading text. An error that nobody classified
is OPERATOR: a person must look. Messages name the place and the remedy and never contain a secret.
"""

from __future__ import annotations

import enum

EXIT_DONE = 0
EXIT_FOUND = 1
EXIT_FAILED = 2
EXIT_USAGE = 64
EXIT_CONFIG = 78


class Retry(enum.Enum):
    """What the one who meets the error shall do."""

    LATER = "later"
    """Try again by itself, after `retry_after` seconds where the other side said so."""
    OPERATOR = "operator"
    """A person must act; stop trying this target, keep taking marks."""
    NEVER = "never"
    """This key or document only; quarantine it."""


class ErpsyncError(Exception):
    """Something erpsyncd can explain: what happened, where, and the next step."""

    code = "E-ERPSYNCD"
    """Stable, documented in docs/errors.md."""
    retry = Retry.OPERATOR
    exit_code = EXIT_FAILED

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        where: str = "",
        code: str | None = None,
        retry: Retry | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])
        self.hint = hint
        self.where = where
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if retry is not None:
            self.retry = retry

    @property
    def message(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        """One line: `where: what. next step [code]`."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.advice} [{self.code}]"

    @property
    def advice(self) -> str:
        """What happened and the next step, as sentences."""
        if not self.hint:
            return self.message
        return f"{self.message}{'' if self.message.endswith(tuple('.?!:')) else '.'} {self.hint}"


class ConfigError(ErpsyncError):
    """The configuration has a mistake that a person must mend."""

    code = "E-CONFIG"
    exit_code = EXIT_CONFIG


class SourceError(ErpsyncError):
    """The ERP database is not set up for us; a person must mend it."""

    code = "E-SOURCE"
    exit_code = EXIT_CONFIG


class SourceLost(ErpsyncError):
    """The ERP database cannot be reached at the moment."""

    code = "E-SOURCE-LOST"
    retry = Retry.LATER


class GapError(ErpsyncError):
    """Changes between our position and the slot are gone; only a full comparison mends that."""

    code = "E-GAP"
    exit_code = EXIT_CONFIG


class OtherHistory(GapError):
    """The server's log does not hold what it told us before."""


class DecodeError(ErpsyncError):
    """The replication stream holds bytes that this version does not understand."""

    code = "E-DECODE"
    exit_code = EXIT_CONFIG


class StateError(ErpsyncError):
    """The state file cannot be used."""

    code = "E-STATE"
    exit_code = EXIT_CONFIG


class MappingError(ErpsyncError):
    """The ERP's rows do not make a valid document for this key."""

    code = "E-MAPPING"
    retry = Retry.NEVER


class StoreError(ErpsyncError):
    """The storefront did not take the call. `retry` says what follows."""

    code = "E-STORE"

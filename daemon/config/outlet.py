"""The tables [store.*] and [batch.*]: where documents go, how fast, and which jobs run by the clock.

Invariant: an address never carries a password, and a schedule that was accepted can always be computed.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_serializer

from daemon.config.problems import suggestion
from daemon.config.secret import Secret
from daemon.config.section import Finding, Flag, Number, Raw, Section, TableName, Whole, Word, derived
from daemon.config.values import DayWindow, Duration, Text, WindowSql, resolve_path, surroundings
from daemon.model import Limits

EXTRACT_SUFFIXES = (".csv", ".csv.zst", ".parquet")
EXTRACT_PLACEHOLDERS = ("date", "time")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be an address such as https://shop.example/erpsyncd")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password; use token")
    if parts.fragment or parts.query:
        raise ValueError('must not hold "?" or "#"')
    return value.rstrip("/")


def _adapter(value: str, info: ValidationInfo) -> str:
    known = surroundings(info).adapters
    if known is not None and value not in known:
        raise ValueError(f'no adapter is called "{value}"{suggestion(value, known)}')
    return value


class Rate(Section):
    """Budget of a store, in calls."""

    per_second: Annotated[Number, Field(gt=0)] = Field(default=50.0, description="Calls a second, lasting.")
    burst: Annotated[Number, Field(ge=1)] = Field(
        default_factory=derived(lambda data: max(1.0, 2 * data["per_second"])),
        description="Calls that may be made at once after a quiet time. Default: twice per_second.",
    )


class Brake(Section):
    """When a burst of removals, zeros or large price changes is held for an operator."""

    share: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.3, description="Share of the acknowledged documents beyond which the rest is held."
    )
    min_keys: Annotated[Whole, Field(ge=1)] = Field(
        default=50, description="Number of documents below which nothing is held, whatever the share."
    )
    window: Duration = Field(default=300.0, description="Span in which documents are counted.")


class Reconcile(Section):
    """When the store is read back and compared by itself."""

    every: Duration = Field(description="Time from the end of one comparison to the begin of the next.")
    fix: Flag = Field(default=False, description="Send again what differs; false only reports it.")


def _brake(value: object) -> object:
    if isinstance(value, bool):
        return Brake() if value else None
    if value is None:
        raise ValueError("must be a table or false")
    return value


class Store(Section):
    """A storefront and what may be asked of it."""

    named = True

    name: TableName = ""
    adapter: Annotated[Word, AfterValidator(_adapter)] = Field(description="Adapter that speaks the store's API.")
    url: Annotated[Text, AfterValidator(_url)] = Field(description="Address of the store's API, http or https.")
    token: Secret | None = Field(
        default=None, description="Token for the store's API: { credential = }, { env = } or { file = }."
    )
    entities: tuple[Word, ...] = Field(min_length=1, description="Entities that this store shows.")
    rate: Rate = Field(default_factory=Rate, description="Budget of calls, shared by all entities of the store.")
    concurrency: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=4, description="Calls in flight at a time.")
    batch_size: Annotated[Whole, Field(ge=1, le=10000)] = Field(default=100, description="Most documents in one call.")
    timeout: Duration = Field(default=10.0, description="Longest time for one call, connecting included.")
    brake: Annotated[Brake | None, BeforeValidator(_brake)] = Field(
        default_factory=Brake, description="Limit for destructive bursts; false switches it off."
    )
    fast_share: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.5, description="Share of the budget that only the fast lane may use."
    )
    reconcile: Reconcile | None = Field(
        default=None, description="Compare what the store shows by the clock; left out: only when asked to."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Settings that only this adapter knows.")

    @field_serializer("brake")
    def _show_brake(self, brake: Brake | None) -> Any:
        return False if brake is None else brake.model_dump(mode="json")

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        given = raw.get("entities")
        entities = list(given) if isinstance(given, list | tuple) else []
        for index, name in enumerate(entities):
            if name in entities[:index]:
                yield ("entities", index), f'"{name}" stands here twice'

    def limits(self) -> Limits:
        """What the configuration lets an adapter ask of the store."""
        return Limits(self.batch_size, self.concurrency, self.rate.per_second, self.rate.burst)


def _cron(value: str) -> str:
    try:
        if len(value.split()) != 5:
            raise CronSimError("needs five fields: minute hour day month weekday")  # noqa: TRY301
        if next(CronSim(value, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)), None) is None:
            raise CronSimError("never comes")  # noqa: TRY301
    except CronSimError as error:
        reason = str(error)
        raise ValueError(
            f'is no cron schedule ({reason[:1].lower()}{reason[1:]}); an example is "*/30 * * * *"'
        ) from None
    return value


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = suggestion(value, zoneinfo.available_timezones())
        raise ValueError(
            f"is no IANA time zone{near if 'did you' in near else '; an example is Europe/Prague'}"
        ) from None
    return value


def _target_file(value: str) -> str:
    if not value.endswith(EXTRACT_SUFFIXES):
        raise ValueError(f"must end in {', '.join(EXTRACT_SUFFIXES)}")
    unknown = [name for name in re.findall(r"\{([^}]*)\}", value) if name not in EXTRACT_PLACEHOLDERS]
    if unknown:
        raise ValueError(f"knows no {{{unknown[0]}}}; use {{date}} and {{time}}")
    return value


class Batch(Section):
    """A job by the clock: send the backlog of an entity, or write an extract."""

    named = True

    name: TableName = ""
    entity: Word | None = Field(default=None, description="Entity whose backlog is sent; it is in the batch lane.")
    extract: WindowSql | None = Field(
        default=None, description="Query whose rows are written to a file; $1 is the last run and $2 this one."
    )
    schedule: Annotated[Word, AfterValidator(_cron)] | None = Field(
        default=None, description="Cron schedule with five fields, in timezone."
    )
    every: Duration | None = Field(default=None, description="Interval between runs, instead of schedule.")
    max_per_second: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="Most documents a second, for a job with entity. Default: what the store's budget leaves.",
    )
    to: Annotated[Text, AfterValidator(_target_file), BeforeValidator(resolve_path)] | None = Field(
        default=None,
        description="File of an extract, .csv, .csv.zst or .parquet; {date} and {time} are those of the run.",
    )
    timezone: Annotated[Word, AfterValidator(_timezone)] = Field(
        default="UTC", description="IANA time zone of schedule, window and {date}."
    )
    rebuild: Flag = Field(
        default=False, description="Send every document again, whatever the store acknowledged; for a job with entity."
    )
    keep: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="How many files of an extract are kept, the newest. Default: all."
    )
    timeout: Duration = Field(default=3600.0, description="Longest time for the query of an extract.")
    window: DayWindow | None = Field(
        default=None, description='Span of the day in which the job may work, such as "22:00-06:00". Default: always.'
    )

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        if ("entity" in raw) == ("extract" in raw):
            yield ("entity",), "give exactly one of entity and extract"
        elif "extract" in raw:
            if "to" not in raw:
                yield ("to",), "is missing: the file that the extract is written to"
            for key in ("max_per_second", "rebuild"):
                if key in raw:
                    yield (key,), "is for jobs with entity; leave it out"
        else:
            for key in ("to", "keep", "timeout"):
                if key in raw:
                    yield (key,), "is for jobs with extract; leave it out"
        if len({"schedule", "every"} & set(raw)) != 1 and not (raw.get("rebuild") and "every" not in raw):
            yield ("schedule",), "give exactly one of schedule and every"

    @property
    def scheduled(self) -> bool:
        """Whether it runs by itself; a rebuild may be there to be asked for only."""
        return self.schedule is not None or self.every is not None

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    def next_run(self, after: dt.datetime) -> dt.datetime:
        """The first run later than `after` (an aware time), in the job's time zone. `window` is not looked at."""
        if self.every is not None:
            return after.astimezone(self.zone) + dt.timedelta(seconds=self.every)
        return next(CronSim(self.schedule or "", after.astimezone(self.zone)))

    def open_at(self, moment: dt.datetime) -> bool:
        """Whether the job may work at this moment (an aware time)."""
        return self.window is None or self.window.contains(moment.astimezone(self.zone).time())

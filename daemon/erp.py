"""Read the ERP: gated re-reads, key pages, poll windows and the ERP's clock, over read-only connections.

Invariant: nothing here can write. Every session is read-only with a statement timeout, and foreign exceptions leave as
SourceLost (try again) or SourceError (a person must act) naming the query's place in the configuration.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from daemon.errors import ErpsyncError, MappingError, SourceError, SourceLost
from daemon.keytypes import BIGINT
from daemon.model import Key, Micros, Snapshot

SMALLEST: dict[str, Key] = {
    "bigint": -(2**63),
    "integer": -(2**31),
    "uuid": "00000000-0000-0000-0000-000000000000",
    "text": "",
}

_LOCAL_EPOCH = dt.datetime(2000, 1, 1)  # noqa: DTZ001 -- a timestamp without time zone has none
_EPOCH = _LOCAL_EPOCH.replace(tzinfo=dt.UTC)
_SEEN = "erpsyncd.seen"  # a column that no query of a mapping gives
FEW = 100  # keys of one read that keeps its plan, and whose rows may bring their snapshot along
_LOOKS = 5  # at the ERP's clock
_LONG = 400  # digits of a whole number from which on Python refuses, or takes its time, to make an int of it

_NO_TLS = "rejected SSL upgrade"  # all that the driver says of a server that speaks no TLS
_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)  # the line went, whatever it carried
_AUTH = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver met a connection that died at an unlucky moment
    asyncpg.QueryCanceledError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    OSError,
    TimeoutError,
    EOFError,
)


# what a query says of the rows that it met: a value, a second row where one was meant, a domain's check, a raised word
_OF_THE_ROWS = (
    asyncpg.DataError,
    asyncpg.CardinalityViolationError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.RaiseError,
    asyncpg.ProgramLimitExceededError,
)


class ReadConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no type information
    """A connection that is given back as it is, for a reset costs a round trip. Of session state it has the planning alone."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._planned_once: bool | None = False

    def get_reset_query(self) -> str:
        return ""

    async def plan(self, *, once: bool) -> None:
        """Whether a statement keeps one plan for all arguments, or is planned anew for each where the server prefers that."""
        if once is not self._planned_once:
            self._planned_once = None  # a question that is given up may have been answered or not
            await self.execute(f"set plan_cache_mode = {'force_generic_plan' if once else 'auto'}")
            self._planned_once = once


def translate(exc: Exception, where: str) -> ErpsyncError:
    """The one place where asyncpg's exceptions become ours."""
    if isinstance(exc, ErpsyncError):
        return exc
    if (tls := _tls(exc)) is not None:
        message, hint = tls
        return SourceError(message, where=where, code="E-SOURCE-TLS", hint=hint)
    if isinstance(exc, _AUTH):
        return SourceError(
            f"the ERP refused the login: {_words(exc)}",
            where=where,
            code="E-SOURCE-LOGIN",
            hint="Check the role, its password and pg_hba.conf.",
        )
    if isinstance(exc, asyncpg.InvalidCatalogNameError):
        return SourceError(
            _words(exc), where=where, code="E-SOURCE-DATABASE", hint="Check the database name in the DSN."
        )
    if isinstance(exc, asyncpg.InsufficientPrivilegeError):
        return SourceError(
            _words(exc),
            where=where,
            code="E-SOURCE-PRIVILEGE",
            hint="Grant it to the role; `erpsyncd sql setup` prints the statements.",
        )
    if isinstance(exc, asyncpg.exceptions.ClientConfigurationError):
        return SourceError(
            f"the DSN cannot be used: {_words(exc)}",
            where=where,
            code="E-SOURCE-DSN",
            hint="Correct it; sslrootcert=FILE in it names the authorities to be trusted.",
        )
    if isinstance(exc, _GONE):
        return SourceLost(_words(exc) or type(exc).__name__, where=where)
    if isinstance(exc, (ValueError, OverflowError, RecursionError)) and not isinstance(exc, asyncpg.PostgresError):
        return MappingError(
            f"a value cannot be shown exactly: {_words(exc)}",
            where=where,
            code="E-SQL-VALUE",
            hint="Cast it in the SQL, or correct the ERP's data.",
        )
    if isinstance(exc, _OF_THE_ROWS):
        return MappingError(_words(exc), where=where, code="E-SQL-DATA", hint="The query fails for this key's rows.")
    if isinstance(exc, asyncpg.PostgresError):
        return SourceError(
            f"PostgreSQL refuses the query: {_words(exc)}{_position(exc)}",
            where=where,
            code="E-SQL",
            hint="Correct the SQL there.",
        )
    return SourceError(f"{type(exc).__name__}: {exc}", where=where)


def _tls(exc: Exception) -> tuple[str, str] | None:
    """What is wrong with the encryption and the remedy; None where it is something else."""
    if isinstance(exc.__cause__, ssl.SSLError):  # the server looked at our certificate when the driver was past that
        exc = exc.__cause__
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the ERP's server is not trusted: {exc.verify_message or _words(exc)}",
            "Check host and sslrootcert in the DSN, and the names and dates of the server's certificate.",
        )
    if isinstance(exc, ssl.SSLError) and not isinstance(exc, _CUT):
        return (
            f"TLS with the ERP's server failed: {exc.reason or _words(exc)}",
            "Check sslcert, sslkey and sslrootcert in the DSN, and ssl_ca_file of the server.",
        )
    if isinstance(exc, ConnectionError) and _NO_TLS in str(exc):
        return (
            "the DSN asks for TLS, and the ERP's server speaks none",
            "Turn ssl on in PostgreSQL. Without TLS the password and every value can be read on the way.",
        )
    return None


def _words(exc: Exception) -> str:
    text = str(exc).strip()
    return text.splitlines()[0] if text else ""


def _position(exc: asyncpg.PostgresError) -> str:
    position = getattr(exc, "position", None)
    query = getattr(exc, "query", None)
    if not position or not query:
        return ""
    before = query[: int(position) - 1]
    return f" (line {before.count(chr(10)) + 1} of the query)"


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) < _LONG else Decimal(text)


def _exact_json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=_whole)


def _finite(value: int, forever: int) -> int:
    """The driver shows infinity as the last day that Python knows, which is also a day."""
    if value in (forever, -forever - 1):
        raise ValueError("a date or time is infinite")
    return value


def _day(value: tuple[int]) -> dt.date:
    return dt.date.fromordinal(_finite(value[0], 2**31 - 1) + _EPOCH.toordinal())


def _moment(value: tuple[int]) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=_finite(value[0], 2**63 - 1))


def _local(value: tuple[int]) -> dt.datetime:
    return _LOCAL_EPOCH + dt.timedelta(microseconds=_finite(value[0], 2**63 - 1))


def _micros(passed: dt.timedelta) -> tuple[int]:
    return (passed // dt.timedelta(microseconds=1),)


async def _init(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=json.dumps, decoder=_exact_json, format="text"
        )
    for name, encoder, decoder in (
        ("date", lambda day: (day.toordinal() - _EPOCH.toordinal(),), _day),
        ("timestamptz", lambda moment: _micros(moment - _EPOCH), _moment),
        ("timestamp", lambda moment: _micros(moment - _LOCAL_EPOCH), _local),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="tuple")


@dataclass(frozen=True, slots=True)
class Clock:
    """The ERP's clock beside ours."""

    erp: Micros
    ours: Micros
    round_trip_s: float

    @property
    def offset_s(self) -> float:
        """ERP clock minus ours, in seconds; right to half the round trip."""
        return (self.erp - self.ours) / 1e6


def _target(dsn: str) -> dict[str, str]:
    """Our own sessions are read-only, and the driver would take the server for one that cannot be written to."""
    wanted = any(f"target_session_attrs={word}" in dsn for word in ("read-write", "read%2Dwrite"))
    return {"target_session_attrs": "primary"} if wanted else {}


class Erp:
    """A small pool of read-only connections."""

    def __init__(self, dsn: str, *, connections: int, statement_timeout_s: float) -> None:
        self._dsn = dsn
        self._size = connections
        self._settings = {
            "application_name": "erpsyncd",
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": "60000",
            "jit": "off",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
        }
        self._timeout = statement_timeout_s + 5
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Connect once. Raises SourceLost or SourceError."""
        if self._pool is not None:
            return
        try:
            pool = asyncpg.create_pool(
                self._dsn,
                min_size=0,  # with a floor the pool logs a traceback for each try of its own while the ERP is away
                max_size=self._size,
                connection_class=ReadConnection,
                server_settings=self._settings,
                command_timeout=self._timeout,
                timeout=10,
                init=_init,
                max_inactive_connection_lifetime=300,
                **_target(self._dsn),
            )
            await pool
            async with pool.acquire():
                self._pool = pool
        except Exception as exc:
            raise translate(exc, "erp.dsn") from exc

    async def close(self) -> None:
        """Give the connections back; idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(2):
                    await pool.close()
            except (TimeoutError, asyncpg.InterfaceError, OSError):
                pool.terminate()

    @asynccontextmanager
    async def connection(self, where: str, *, plan_once: bool | None = False) -> AsyncIterator[asyncpg.Connection]:
        """A read connection; what the driver raises inside leaves translated. `plan_once` as for `ReadConnection.plan`, None
        where it does not matter: to change it costs a round trip."""
        if self._pool is None:
            raise SourceLost("not connected", where=where)
        try:
            async with self._pool.acquire(timeout=self._timeout) as connection:
                if plan_once is not None:
                    await connection.plan(once=plan_once)
                yield connection
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            raise translate(exc, where) from exc

    async def fetch(self, where: str, sql: str, *args: Any, plan_once: bool | None = False) -> list[asyncpg.Record]:
        """Rows of one statement. `where` is the query's place in the configuration."""
        async with self.connection(where, plan_once=plan_once) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *args)
            return rows

    async def snapshot(self) -> Snapshot:
        """What a statement that starts from now on sees at least."""
        rows = await self.fetch("erp.dsn", "select pg_current_snapshot()::text", plan_once=None)
        return Snapshot.parse(rows[0][0])

    async def read(self, where: str, sql: str, keys: Sequence[Key], *, anew: bool = False) -> list[asyncpg.Record]:
        """The rows that a query gives for these keys, planned `anew` for them where there are many. To plan for few of them
        costs the server more than to read them, so one plan has to do; where that fails, the query is asked with its own."""
        if len(keys) <= FEW and not anew:
            with suppress(MappingError, SourceError):
                return await self.fetch(where, sql, keys, plan_once=True)
        return await self.fetch(where, sql, keys)

    async def read_seeing(
        self, where: str, sql: str, keys: Sequence[Key]
    ) -> tuple[list[dict[str, Any]], Snapshot | None]:
        """An entity's rows for few keys together with the snapshot that gave them, which each row brings and which may be
        long; None where no row is there to bring it. One plan has to do."""
        # the query begins in the first line, so that errors name its own lines; a comment at its end stays there
        seeing = f'select q.*, (select pg_current_snapshot()::text) "{_SEEN}" from ({sql}\n) q'  # noqa: S608 -- the mapping's
        rows = await self.fetch(where, seeing, keys, plan_once=True)
        found = [dict(row) for row in rows]
        seen = [row.pop(_SEEN) for row in found]
        return found, Snapshot.parse(seen[0]) if seen else None

    async def keys(self, where: str, sql: str, values: Sequence[Key]) -> set[Key]:
        """The keys that a watch's query gives for column values; NULLs are left out."""
        return plain_keys(await self.read(where, sql, values), where)

    async def page(self, where: str, sql: str, after: Key, limit: int) -> list[Key]:
        """The next page of all keys."""
        rows = await self.fetch(where, sql, after, limit)
        return [plain_key(row[0], where) for row in rows]

    async def clock(self) -> Clock:
        """Both clocks at one moment: the closest of a few looks, for the first prepares its statement and any may wait here."""
        async with self.connection("erp.dsn", plan_once=None) as connection:
            looks = [await _look(connection) for _ in range(_LOOKS)]
        return min(looks, key=lambda clock: clock.round_trip_s)


async def _look(connection: asyncpg.Connection) -> Clock:
    before = time.time_ns()
    erp = await connection.fetchval("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
    after = time.time_ns()
    return Clock(erp, (before + after) // 2000, (after - before) / 1e9)


def plain_key(value: Any, where: str) -> Key:
    """A key as the dirty set holds it, from the query at `where`. Raises SourceError for a numeric that cannot be one."""
    if type(value) is int or type(value) is str:
        return value
    if not isinstance(value, Decimal):
        return str(value)
    if not value.is_finite() or value != value.to_integral_value() or int(value) not in BIGINT:
        raise SourceError(
            f"the query gives the key {value:.30}, which is no whole number within bigint",
            where=where,
            code="E-KEY-TYPE",
            hint='Leave it out; or make the keys text by key_type = "text" and casts.',
        )
    return int(value)


def plain_keys(rows: Sequence[asyncpg.Record], where: str) -> set[Key]:
    return {plain_key(row[0], where) for row in rows if row[0] is not None}

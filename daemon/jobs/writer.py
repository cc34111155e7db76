"""The process that writes an extract: one order on standard input, lines about its progress on standard output.

Invariant: rows are streamed in constant memory over a read-only connection; the process ends when the daemon does, whose
end of the pipe closes. Nothing but a final answer `done` means that the file is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import sys
import threading
import time
import zoneinfo
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import orjson

from daemon import __version__
from daemon.erp import translate
from daemon.errors import ErpsyncError, MappingError
from daemon.jobs import filing
from daemon.jobs.extract import ExtractError
from daemon.jobs.records import iso, moment

_SAY_S = 0.5
_FETCH = 5_000
_GROUP = 50_000
"""Rows in a row group of a Parquet file."""
_AHEAD_S = 60.0


class Stream(Protocol):
    """Where a format puts its bytes."""

    def write(self, data: bytes) -> int: ...

    def close(self) -> None: ...


class _Zstd:
    def __init__(self, sink: filing.Sink) -> None:
        import zstandard

        self._sink = sink
        self._flow = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()

    def write(self, data: bytes) -> int:
        if packed := self._flow.compress(data):
            self._sink.write(packed)
        return len(data)

    def close(self) -> None:
        self._sink.write(self._flow.flush())
        self._sink.close()


class _Progress:
    def __init__(self) -> None:
        self._at = 0.0

    def say(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._at >= _SAY_S:
            self._at = now
            tell({"rows": rows})


def tell(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()


async def write(order: dict[str, Any]) -> int:
    """Write what is ordered; the number of rows. Raises ErpsyncError."""
    where = f"batch.{order['job']}.extract"
    sink = filing.Sink(filing.temporary(order["to"], order["job"]))
    try:
        async with _connected(order, where) as connection:
            await _wait_for(connection, order["high"])
            try:
                statement = await connection.prepare(order["sql"])
                given = [
                    _argument(parameter.name, order[name], order["timezone"], where)
                    for parameter, name in zip(statement.get_parameters(), ("low", "high"), strict=True)
                ]
                names = [attribute.name for attribute in statement.get_attributes()]
                if order["to"].endswith(".parquet"):
                    rows = await _parquet(connection, statement, given, sink, where)
                else:
                    stream: Stream = _Zstd(sink) if order["to"].endswith(".zst") else sink
                    rows = await _csv(connection, order, given, stream)
            except Exception as exc:
                raise translate(exc, where) from exc
    finally:
        sink.close()
    window = {"from": iso(order["low"]), "to": iso(order["high"])}
    path = filing.final(order["to"], moment(order["high"]), order["timezone"], window)
    manifest = {
        "job": order["job"],
        "file": path.name,
        "rows": rows,
        "bytes": sink.size,
        "sha256": sink.sha256,
        "window": window,
        "columns": names,
        "query_sha256": hashlib.sha256(order["sql"].encode()).hexdigest(),
        "written_at": iso(time.time_ns() // 1000),
        "version": __version__,
    }
    filing.publish(sink, path, manifest)
    if order["keep"] is not None:
        filing.retire(order["to"], order["job"], order["keep"])
    return rows


@contextlib.asynccontextmanager
async def _connected(order: dict[str, Any], where: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(
            order["dsn"],
            timeout=10,
            server_settings={
                "application_name": f"erpsyncd {order['job']}",
                "default_transaction_read_only": "on",
                "statement_timeout": str(int(order["timeout"] * 1000)),
                "idle_in_transaction_session_timeout": str(int(order["timeout"] * 1000)),
                "TimeZone": "UTC",
                "DateStyle": "ISO",
            },
        )
    except Exception as exc:
        raise translate(exc, where) from exc
    try:
        yield connection
    finally:
        connection.terminate()


async def _wait_for(connection: asyncpg.Connection, high: int) -> None:
    """The window is over on the ERP's clock too, so that its newest rows are there."""
    for _ in range(2):
        ahead = (moment(high) - await connection.fetchval("select clock_timestamp()")).total_seconds()
        if ahead <= 0:
            return
        if ahead > _AHEAD_S:
            raise ExtractError(
                f"the ERP's clock is {ahead:.0f} s behind: the window is not over there",
                code="E-EXTRACT-CLOCK",
                hint="Set both clocks by NTP.",
            )
        await asyncio.sleep(ahead)


def _argument(kind: str, at: int, zone: str, where: str) -> Any:
    """The end of a window as the query's own parameter type has it."""
    when = moment(at)
    match kind:
        case "timestamptz":
            return when
        case "timestamp":
            return when.replace(tzinfo=None)
        case "date":
            return when.astimezone(zoneinfo.ZoneInfo(zone)).date()
        case "text" | "varchar":
            return iso(at)
    raise ExtractError(
        f"the window is compared with a value of type {kind}",
        where=where,
        code="E-EXTRACT-TYPE",
        hint="Compare with a time: cast it, as in $1::timestamptz.",
    )


async def _csv(connection: asyncpg.Connection, order: dict[str, Any], given: list[Any], stream: Stream) -> int:
    progress, lines = _Progress(), 0

    async def take(data: bytes) -> None:
        nonlocal lines
        stream.write(data)
        lines += data.count(b"\n")
        progress.say(lines)

    said = await connection.copy_from_query(
        order["sql"], *given, output=take, format="csv", header=True, timeout=order["timeout"] + 60
    )
    stream.close()
    return int(said.rpartition(" ")[2])


async def _parquet(
    connection: asyncpg.Connection, statement: Any, given: list[Any], sink: filing.Sink, where: str
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    attributes = statement.get_attributes()
    schema = pa.schema([pa.field(a.name, _arrow(pa, a, where)) for a in attributes])
    progress, rows, batches, waiting = _Progress(), 0, [], 0
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        async with connection.transaction(readonly=True):
            cursor = await statement.cursor(*given)
            while records := await cursor.fetch(_FETCH):
                columns = zip(*records, strict=True)
                arrays = [_array(pa, f, values, where) for f, values in zip(schema, columns, strict=True)]
                batches.append(pa.record_batch(arrays, schema=schema))
                rows, waiting = rows + len(records), waiting + len(records)
                if waiting >= _GROUP or sum(batch.nbytes for batch in batches) > 32 << 20:
                    writer.write_table(pa.Table.from_batches(batches))
                    batches, waiting = [], 0
                progress.say(rows)
            if batches or not rows:
                writer.write_table(pa.Table.from_batches(batches, schema=schema))
    sink.close()
    return rows


_SIMPLE = {
    "bool": "bool_",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "date": "date32",
    "bytea": "binary",
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid", "json", "jsonb"), "string"),
}


def _arrow(pa: Any, attribute: Any, where: str) -> Any:
    """The column's type. numeric becomes decimal128(38, 12): exact, or the extract fails."""
    kind = attribute.type.name
    if kind in _SIMPLE:
        return getattr(pa, _SIMPLE[kind])()
    match kind:
        case "numeric":
            return pa.decimal128(38, 12)
        case "timestamptz":
            return pa.timestamp("us", tz="UTC")
        case "timestamp":
            return pa.timestamp("us")
        case "time":
            return pa.time64("us")
    raise ExtractError(
        f"column {attribute.name} has type {kind}, for which Parquet has no exact form here",
        where=where,
        code="E-EXTRACT-TYPE",
        hint="Cast it to text in the SQL.",
    )


def _array(pa: Any, field: Any, values: tuple[Any, ...], where: str) -> Any:
    if pa.types.is_string(field.type):
        values = tuple(None if value is None else str(value) for value in values)
    try:
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            _finite(values)
        return pa.array(values, type=field.type)
    except (ValueError, TypeError, OverflowError) as exc:
        raise MappingError(
            f"column {field.name} holds a value that {field.type} cannot show exactly: {exc}",
            where=where,
            code="E-EXTRACT-VALUE",
            hint="Round it, or cast it to text, in the SQL.",
        ) from exc


def _finite(values: tuple[Any, ...]) -> None:
    """The driver shows infinity as the first or last day that Python knows."""
    for value in values:
        if value is not None and (value.year == dt.MAXYEAR or value.year == dt.MINYEAR):
            raise ValueError("a date or time is infinite")


def _end_with_the_daemon() -> None:
    """Its end of the pipe closes when it ends, however it ends."""
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(3)


def main() -> int:
    """Exit code 0 after an answer, of whatever kind."""
    order = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_daemon, daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(10)
    try:
        rows = asyncio.run(write(order))
    except ErpsyncError as exc:
        tell({"error": exc.message, "where": exc.where, "hint": exc.hint, "code": exc.code, "retry": exc.retry.value})
    except ModuleNotFoundError as exc:
        hint = f"pip install 'erpsyncd[{'zstd' if exc.name == 'zstandard' else 'parquet'}]'"
        tell({"error": f"{exc.name} is not installed", "where": f"batch.{order['job']}.to", "hint": hint,
              "code": "E-EXTRACT-PACKAGE", "retry": "operator"})  # fmt: skip
    except OSError as exc:
        place = f"{exc.filename or Path(order['to']).parent}"
        tell({"error": f"cannot write {place}: {exc.strerror}", "where": f"batch.{order['job']}.to",
              "hint": "Give the daemon a folder that it can write to, with room.", "code": "E-EXTRACT-FILE",
              "retry": "operator"})  # fmt: skip
    else:
        tell({"rows": rows, "done": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())

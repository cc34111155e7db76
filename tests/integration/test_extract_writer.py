"""The process that writes an extract, by itself: how it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.integration.harness import LATEST, REPO, environment
from tests.waiting import until

pytestmark = pytest.mark.newest


def order(database: Database, folder: Path, sql: str, suffix: str = ".csv") -> bytes:
    value: dict[str, Any] = {
        "job": "x",
        "dsn": database.dsn,
        "sql": sql,
        "low": 1_700_000_000_000_000,
        "high": 1_700_000_100_000_000,
        "to": str(folder / f"file{suffix}"),
        "timezone": "UTC",
        "timeout": 60.0,
        "keep": None,
    }
    return json.dumps(value).encode() + b"\n"


async def started(line: bytes) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.jobs.writer", stdin=pipe, stdout=pipe, stderr=pipe, cwd=REPO, env=environment()
    )
    assert process.stdin is not None
    process.stdin.write(line)
    await process.stdin.drain()
    return process


async def said(process: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """What it says until it ends by itself, its standard input open all the time."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(LATEST):
        lines = [json.loads(line) async for line in process.stdout]
        assert await process.wait() == 0
    assert await process.stderr.read() == b""
    return lines


ROWS = "select n from generate_series(1, 3) n where now() >= $1 and now() >= $2"


async def test_it_ends_by_itself_and_without_a_word_on_stderr(database: Database, tmp_path: Path) -> None:
    lines = await said(await started(order(database, tmp_path, ROWS)))
    assert lines[-1] == {"rows": 3, "done": True}
    assert (tmp_path / "file.csv").read_text() == "n\n1\n2\n3\n"


@pytest.mark.parametrize(
    ("column", "code"),
    [
        ("'NaN'::numeric", "E-EXTRACT-VALUE"),
        ("1.0000000000001", "E-EXTRACT-VALUE"),
        ("'infinity'::timestamptz", "E-EXTRACT-VALUE"),
        ("array[1]", "E-EXTRACT-TYPE"),
        ("1 / (n - n)", "E-SQL-DATA"),
    ],
)
async def test_a_value_that_parquet_cannot_show_exactly_is_an_error_and_no_file(
    database: Database, tmp_path: Path, column: str, code: str
) -> None:
    sql = ROWS.replace("select n", f"select {column} as odd")
    lines = await said(await started(order(database, tmp_path, sql, ".parquet")))
    assert lines[-1]["code"] == code
    assert lines[-1]["hint"]
    assert not (tmp_path / "file.parquet").exists()


async def test_a_folder_that_cannot_be_written_is_named(database: Database, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    lines = await said(await started(order(database, tmp_path / "taken", ROWS)))
    assert lines[-1]["code"] == "E-EXTRACT-FILE"
    assert "taken" in lines[-1]["error"]


async def test_it_ends_when_the_daemon_does(database: Database, tmp_path: Path) -> None:
    connection = await database.connect()
    process = await started(order(database, tmp_path, f"{ROWS} and pg_sleep(30) is not null"))

    async def reading() -> bool:
        count = "select count(*) from pg_stat_activity where application_name = 'erpsyncd x' and state = 'active'"
        return bool(await connection.fetchval(count))

    await until(reading, within=LATEST, what="the query runs")
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(LATEST):
        assert await process.wait() == 3
    assert not (tmp_path / "file.csv").exists()

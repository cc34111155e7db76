"""A throw-away PostgreSQL cluster on loopback, for the demo, the tests and the benchmarks.

Invariant: all that a cluster writes lies in one temporary folder of its own, and neither the folder nor the server
outlives the process that made it, however that process ends. Nothing outside the folder is changed.

The calls block (the first start takes a second); from a coroutine use `asyncio.to_thread(cluster.start)`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

from daemon.demo.installation import (
    ClusterError,
    child,
    copy_server,
    default_bin_dir,
    own_folder,
    run,
    runs,
    server_account,
    server_version,
)

HOST: Final = "127.0.0.1"
_STOP: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
StopMode = Literal["smart", "fast", "immediate"]

_SETTINGS: Final[Mapping[str, object]] = {
    "wal_level": "logical",
    "max_wal_senders": 30,
    "max_replication_slots": 30,
    "max_slot_wal_keep_size": "1GB",
    # a stop waits for clients that connected and said nothing
    "authentication_timeout": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # in the data folder, so that a killed server leaves nothing in /dev/shm and a container's small one suffices
    "dynamic_shared_memory_type": "mmap",
}
_CARELESS: Final[Mapping[str, object]] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}

_PASSING: Final = ("Address already in use", "pre-existing shared memory block", '"postmaster.pid" already exists')
"""What the log says when a start failed for a reason that passes by itself, or with another port."""

# Reads process ids, "0" for no server; at the end of input, which also comes when we are killed, ends the last one and
# removes the folder. A parent-death signal would not do: it fires when the starting *thread* ends.
_WARDEN: Final = """
pid=0
while read -r line; do pid=$line; done
if [ "$pid" -gt 0 ]; then
    kill -QUIT "$pid"
    tries=0
    while [ -e "$0/data/postmaster.pid" ] && [ "$tries" -lt 10 ]; do sleep 1; tries=$((tries + 1)); done
fi
rm -rf "$0"
"""


class Cluster:
    """One server with its own data; a context manager that starts it and leaves nothing behind.

    `password` is the superuser's: with it every connection needs SCRAM, without it everyone on this machine is trusted.
    `durable` keeps fsync on. `settings` go to postgresql.conf, so that ALTER SYSTEM still overrides them.
    """

    def __init__(
        self,
        bin_dir: Path | None = None,
        *,
        password: str | None = None,
        tls: bool = False,
        durable: bool = False,
        settings: Mapping[str, object] | None = None,
        start_within: float = 60.0,
    ) -> None:
        self.bin_dir = bin_dir or default_bin_dir()
        self.version = server_version(self.bin_dir)
        self.password = password
        self._tls = tls
        self._settings = {**_SETTINGS, **({} if durable else _CARELESS), **(settings or {})}
        self._start_within = start_within
        self._account = server_account()
        self._server_bin = self.bin_dir
        self._folder: Path | None = None
        self._warden: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The cluster's own folder: the data, the log and the unix socket (usable as `host`)."""
        if self._folder is None:
            raise ClusterError("was never started, or is closed.", where="embedded")
        return self._folder

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def certificate(self) -> Path | None:
        """The self-signed certificate, to be trusted by `sslrootcert`; None without TLS."""
        return self.data_dir / "server.crt" if self._tls else None

    @property
    def port(self) -> int:
        """The loopback port; the same over all restarts."""
        if not self._port:
            raise ClusterError("was never started.", where="embedded")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster; None while it is down."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def dsn(self, dbname: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A connection URI by TCP. The superuser's password is filled in; other roles bring their own."""
        if password is None and user == "postgres":
            password = self.password
        secret = f":{quote(password, safe='')}" if password is not None else ""
        return f"postgresql://{quote(user, safe='')}{secret}@{HOST}:{self.port}/{quote(dbname, safe='')}"

    def start(self) -> None:
        """Start the server and return when it takes connections; does nothing when it runs."""
        if self.running:
            return
        if self._folder is None:
            self._prepare()
        deadline = time.monotonic() + self._start_within
        while True:
            port = self._port or _free_port()
            said = self._launch(port, deadline)
            if said is None:
                self._port = port
                return
            if time.monotonic() > deadline or not any(sign in said for sign in _PASSING):
                raise ClusterError(f"the server did not start:\n{said[-4000:]}", where=str(self.bin_dir))
            time.sleep(0.05)

    def stop(self, mode: StopMode = "fast", within: float = 30.0) -> None:
        """Stop the server; after `within` seconds without regard for the clients. Does nothing when it is down."""
        process = self._process
        if process is None:
            return
        for number, patience in ((_STOP[mode], within), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
            process.send_signal(number)
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        self._forget()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster, as in a crash; the backends notice by themselves and `start` waits for them."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def close(self) -> None:
        """Stop the server and remove the folder; does nothing the second time."""
        self.stop("immediate")
        if self._warden is not None:
            with contextlib.suppress(BrokenPipeError):
                self._warden.communicate()
            self._warden = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # for the case that someone killed the warden
            self._folder = None
        self._port = 0

    def psql(self, sql: str, dbname: str = "postgres") -> str:
        """What psql prints for this SQL as the superuser: a line a row, fields parted by `|`."""
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(dbname), "-f", "-"]
        return run([self.bin_dir / command[0], *command[1:]], None, sql)

    def _prepare(self) -> None:
        account = self._account
        self._folder = folder = own_folder(account)
        self._warden = subprocess.Popen(  # noqa: S603 - our own script, over our own folder
            ["/bin/sh", "-c", _WARDEN, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        if account is not None and not runs(self.bin_dir, account):
            self._server_bin = copy_server(self.bin_dir, folder / "server")
            if not runs(self._server_bin, account):
                raise ClusterError(
                    f"root cannot run the server, and {account.pw_name} cannot reach it.",
                    hint=f"Run as an ordinary user, or set TMPDIR: {folder.parent} may forbid execution.",
                    where=str(self.bin_dir),
                )
        command: list[str | Path] = [self._server_bin / "initdb", "-D", self.data_dir, "-U", "postgres", "-E", "UTF8"]
        command += ["--locale=C", "--no-sync", "--no-instructions"]
        if self.password is None:
            run([*command, "--auth=trust"], account)
        else:
            secret = folder / "password"
            secret.touch(mode=0o600)
            if account is not None:
                os.chown(secret, account.pw_uid, account.pw_gid)
            secret.write_text(self.password + "\n", encoding="utf-8")
            run([*command, "--auth=scram-sha-256", f"--pwfile={secret}"], account)
            secret.unlink()
        if self._tls:
            _make_certificate(self.data_dir, account)
        with (self.data_dir / "postgresql.conf").open("a", encoding="utf-8") as conf:
            for name, value in {**self._settings, "ssl": "on" if self._tls else "off"}.items():
                text = str(value).replace("'", "''")
                conf.write(f"{name} = '{text}'\n")

    def _launch(self, port: int, deadline: float) -> str | None:
        """None when the server takes connections; what it logged when it ended instead or takes too long."""
        command: list[str | Path] = [
            self._server_bin / "postgres",
            "-D",
            self.data_dir,
            "-p",
            str(port),
            "-k",
            self.folder,
        ]
        command += ["-c", f"listen_addresses={HOST}"]
        with self.log_file.open("ab") as log:
            written = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(  # noqa: S603 - the server of this cluster
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is for the parent, who stops the server last
                **child(self._account),
            )
        self._tell_warden(self._process.pid)
        pause = 0.005
        while self._process.poll() is None and time.monotonic() < deadline:
            if _answers(self.folder / f".s.PGSQL.{port}"):
                return None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        if self._process.poll() is None:
            self.stop("immediate")
        self._forget()
        return self.log_file.read_bytes()[written:].decode(errors="replace") or "(it logged nothing)"

    def _forget(self) -> None:
        self._process = None
        self._tell_warden(0)

    def _tell_warden(self, pid: int) -> None:
        if self._warden is not None and self._warden.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._warden.stdin.write(b"%d\n" % pid)
                self._warden.stdin.flush()


def _make_certificate(folder: Path, account: pwd.struct_passwd | None) -> None:
    command: list[str | Path] = [shutil.which("openssl") or "openssl", "req", "-x509", "-nodes", "-days", "2"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"]
    run([*command, "-keyout", folder / "server.key", "-out", folder / "server.crt"], account)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _answers(path: Path) -> bool:
    """Whether the server behind this socket takes sessions: it asks for, or waives, a login instead of refusing.

    The unix socket is opened after the TCP port and lies in our folder, so that it speaks for both and for nobody else.
    """
    body = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(5.0)
            server.connect(str(path))
            server.sendall(struct.pack("!i", len(body) + 4) + body)
            return server.recv(1) == b"R"
    except OSError:
        return False

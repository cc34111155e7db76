"""Laws of the datagrams to systemd: exact, and harmless when nobody listens."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.sdnotify import Notifier, watchdog_interval


@pytest.fixture
def manager() -> Iterator[tuple[socket.socket, str]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(Path(folder, "notify"))
        sock.bind(path)
        sock.settimeout(5)
        yield sock, path


def test_each_message_is_one_datagram_in_systemds_words(manager: tuple[socket.socket, str]) -> None:
    sock, path = manager
    notifier = Notifier({"NOTIFY_SOCKET": path})

    def got(sent: bool) -> str:
        assert sent
        return sock.recv(4096).decode()

    assert got(notifier.ready("FRESH worst 1.0s")) == "READY=1\nSTATUS=FRESH worst 1.0s"
    assert got(notifier.ready()) == "READY=1"
    assert got(notifier.status("two\nlines")) == "STATUS=two lines"
    assert got(notifier.watchdog()) == "WATCHDOG=1"
    assert got(notifier.stopping("draining")) == "STOPPING=1\nSTATUS=draining"
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", got(notifier.reloading()))
    assert got(notifier.extend_timeout(2.5)) == "EXTEND_TIMEOUT_USEC=2500000"


def test_an_abstract_socket_is_reached() -> None:
    name = f"erpsyncd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).watchdog()
        assert sock.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_socket_nothing_is_sent(env: dict[str, str]) -> None:
    notifier = Notifier(env)
    assert not notifier.enabled
    assert not notifier.ready("x")


def test_a_socket_that_is_gone_loses_the_message_only(tmp_path: Path) -> None:
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_full_socket_does_not_block(manager: tuple[socket.socket, str]) -> None:
    _, path = manager
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert any(not notifier.status("x" * 1000) for _ in range(5000))


def test_the_watchdog_is_fed_twice_in_its_time() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, pid=7) == 30.0
    assert watchdog_interval({"WATCHDOG_USEC": "60000000"}) == 30.0


@pytest.mark.parametrize(
    "env",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}],
)
def test_where_systemd_does_not_watch_us_there_is_no_interval(env: dict[str, str]) -> None:
    assert watchdog_interval(env, pid=7) is None

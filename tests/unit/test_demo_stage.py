"""The demo's surroundings: its copy of the shipped configuration, its folder and ports, and the daemon it starts.

Invariant under test: the copy differs from what is shipped only where it says so; the child never outlives the demo.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from daemon.config import load_text
from daemon.demo import setting
from daemon.demo.child import DaemonProcess, environment
from daemon.demo.screen import Scene, Screen, seconds
from daemon.demo.show import percentile
from tests.waiting import until

VALUES = {
    "ERPSYNCD_ERP_DSN": 'postgresql://erpsyncd:p"w@127.0.0.1:5433/erp',
    "ERPSYNCD_STORE_URL": "http://127.0.0.1:9/api/erpsyncd",
    "ERPSYNCD_STORE_TOKEN": "token",
    "ERPSYNCD_STATE": "/nowhere/state.db",
    "ERPSYNCD_LISTEN": "127.0.0.1:8499",
}


def test_the_copy_is_valid_and_needs_no_environment() -> None:
    loaded = load_text(setting.demo_config(setting.shipped_config(), VALUES), env={})
    assert set(loaded.entity) == {"stock", "price", "credit", "order_status", "content"}


def test_the_copy_differs_from_what_is_shipped_only_where_it_says_so() -> None:
    shipped: dict[str, Any] = tomllib.loads(setting.shipped_config())
    copy: dict[str, Any] = tomllib.loads(setting.demo_config(setting.shipped_config(), VALUES))
    assert copy["erp"].pop("dsn") == VALUES["ERPSYNCD_ERP_DSN"]
    assert copy["state"].pop("path") == VALUES["ERPSYNCD_STATE"]
    assert copy["status"].pop("listen") == VALUES["ERPSYNCD_LISTEN"]
    assert copy["store"]["main"].pop("url") == VALUES["ERPSYNCD_STORE_URL"]
    assert copy["store"]["main"].pop("token") == VALUES["ERPSYNCD_STORE_TOKEN"]
    for table, key in ((shipped["erp"], "dsn"), (shipped["state"], "path"), (shipped["status"], "listen")):
        del table[key]
    del shipped["store"]["main"]["url"], shipped["store"]["main"]["token"]
    assert copy["entity"]["price"]["poll"][0].pop("every") != shipped["entity"]["price"]["poll"][0].pop("every")
    for key in ("every", "max_per_second"):
        assert copy["batch"]["content"].pop(key) != shipped["batch"]["content"].pop(key)
    assert copy == shipped


def test_a_shipped_text_that_lacks_what_the_demo_changes_is_an_error() -> None:
    text = setting.shipped_config().replace("[batch.content]", "[batch.texts]")
    with pytest.raises(setting.DemoError, match=r"batch\.content"):
        setting.demo_config(text, VALUES)
    with pytest.raises(setting.DemoError, match="ERPSYNCD_STATE"):
        setting.demo_config(setting.shipped_config(), {k: v for k, v in VALUES.items() if k != "ERPSYNCD_STATE"})


def test_the_copy_is_for_its_owner_only(tmp_path: Path) -> None:
    setting.write_config(tmp_path / "config.toml", "a = 1\n")
    assert stat.S_IMODE((tmp_path / "config.toml").stat().st_mode) == 0o600


def test_a_temporary_folder_goes_and_a_given_one_stays(tmp_path: Path) -> None:
    with setting.folder(None) as place:
        (place / "state.db").touch()
    assert not place.exists()
    (tmp_path / "theirs.txt").touch()
    (tmp_path / "state.db").touch()
    with setting.folder(tmp_path) as place:
        assert sorted(path.name for path in place.iterdir()) == ["theirs.txt"]
    assert (tmp_path / "theirs.txt").exists()
    with pytest.raises(setting.DemoError, match="--dir"), setting.folder(tmp_path / "theirs.txt" / "x"):
        pass


def test_a_taken_port_is_said_or_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((setting.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(setting.DemoError, match=f"port {port}"):
            setting.free_port(port, strict=True)
        assert setting.free_port(port, strict=False) not in {0, port}
    with pytest.raises(setting.DemoError):
        setting.free_port(70000, strict=True)


def test_the_childs_environment_names_no_other_database_or_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "ERPSYNCD_STATE", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    given = environment({"A": "b"})
    assert given["A"] == "b"
    assert given["LANG"] == "C.UTF-8"
    assert not given.keys() & {"PGHOST", "ERPSYNCD_STATE", "NOTIFY_SOCKET"}


def child(tmp_path: Path, code: str) -> DaemonProcess:
    return DaemonProcess([sys.executable, "-c", code], tmp_path / "log", environment({}), None)


async def test_a_child_that_ends_by_itself_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    one = child(tmp_path, "print('first'); print('last'); raise SystemExit(78)")
    await one.start()
    assert await one.ended() == 78
    await one.stop()
    assert one.last_words(1) == ["last"]


async def test_a_child_that_does_not_heed_the_first_signal_gets_the_second(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    one = child(tmp_path, code)
    await one.start()
    await until(lambda: one.last_words() == ["up"])
    await one.stop(within=0.2)
    assert await one.ended() == -signal.SIGKILL
    await one.stop()


async def test_a_child_does_not_outlive_a_demo_that_was_killed(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    code = f"""
import asyncio, os, pathlib, signal, sys
from daemon.demo.child import DaemonProcess, environment
async def main():
    one = DaemonProcess([sys.executable, "-c", "import time; time.sleep(60)"], pathlib.Path({str(tmp_path / "log")!r}),
                        environment({{}}), pathlib.Path({str(doomed)!r}))
    await one.start()
    print(one.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    await until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())
    await until(lambda: not doomed.exists())
    assert os.getpid() != pid


def test_without_a_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    scene = Scene(places=[("shop", "http://127.0.0.1:1")])
    screen = Screen(scene, Console(file=out, highlight=False, markup=False, width=40))
    queue = {"pending": 1, "claimed": 0, "applied_total": 2, "unchanged_total": 3, "latency_seconds": None}
    with screen:
        screen.introduce()
        screen.refresh()
        scene.status = {
            "verdict": "STALE",
            "line": "STALE worst 9.0s [stock]",
            "stores": {"main": {"entities": {"stock": queue}}},
        }
        scene.events.append("web order [bold]")
        screen.refresh()
    said = out.getvalue().splitlines()
    assert said[0].split() == ["shop", "http://127.0.0.1:1"]
    assert "STALE worst 9.0s [stock]" in said[-1]
    assert said[-1].endswith("web order [bold]")
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_there_is_a_picture() -> None:
    out = io.StringIO()
    queue = {"pending": 1, "claimed": 0, "quarantined": 2, "applied_total": 2, "unchanged_total": 3}
    status = {"verdict": "UNKNOWN", "worst_staleness_seconds": None, "stores": {"main": {"entities": {"stock": queue}}}}
    with Screen(Scene(status=status), Console(file=out, force_terminal=True, width=100, height=30)) as screen:
        screen.refresh()
    assert "2 quarantined" in out.getvalue()
    assert "UNKNOWN" in out.getvalue()


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles_are_values_that_were_seen(share: float, value: int) -> None:
    assert percentile(list(range(1, 101)), share) == value
    assert percentile([7], share) == 7


@pytest.mark.parametrize(
    ("value", "text"), [(0.0041, "4 ms"), (0.123, "0.12 s"), (12.3, "12 s"), (None, "–"), (True, "–")]
)
def test_times_are_short(value: object, text: str) -> None:
    assert seconds(value) == text

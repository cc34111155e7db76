"""Laws of the shipped units: they say what the daemon relies on and give it little else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = ["erpsyncd.service", "erpsyncd@.service"]
Unit = dict[str, dict[str, list[str]]]


def parse(text: str) -> Unit:
    made: Unit = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            made.setdefault(section, {}).setdefault(name, []).append(value)
    return made


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> Unit:
    return parse((SYSTEMD / request.param).read_text())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("WatchdogSec", "60"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", "45"),
        ("UMask", "0077"),
        ("StateDirectoryMode", "0700"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
    ],
)
def test_the_service_keeps_its_contract(unit: Unit, name: str, value: str) -> None:
    assert unit["Service"][name] == [value]


def test_secrets_come_as_credentials_and_never_in_the_environment(unit: Unit) -> None:
    assert all(re.fullmatch(r"[\w-]+:/etc/erpsyncd/.+", one) for one in unit["Service"]["LoadCredential"])
    assert not any(re.search("(?i)dsn|token|password", one) for one in unit["Service"].get("Environment", []))
    assert "EnvironmentFile" not in unit["Service"]


def test_the_erp_may_be_anywhere_and_may_be_down(unit: Unit) -> None:
    assert "Requires" not in unit["Unit"]
    assert not any("postgres" in value for values in unit["Unit"].values() for value in values)
    assert "network-online.target" in unit["Unit"]["After"][0]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_nothing_is_used_that_systemd_252_does_not_know(unit: Unit) -> None:
    assert not {"RestartSteps", "RestartMaxDelaySec", "RestartMode"} & unit["Service"].keys()


def test_instances_keep_apart_and_are_the_same_otherwise() -> None:
    text = (SYSTEMD / UNITS[1]).read_text()
    one, many = parse((SYSTEMD / UNITS[0]).read_text()), parse(text)
    assert many["Service"]["ExecStart"] == ["/usr/bin/erpsyncd run -c /etc/erpsyncd/%i.toml"]
    assert many["Service"]["StateDirectory"] == ["erpsyncd/%i"]
    assert one["Service"]["StateDirectory"] == ["erpsyncd"]
    own = {"ExecStart", "StateDirectory", "LoadCredential", "SyslogIdentifier"}
    assert one["Service"].keys() == many["Service"].keys()
    assert all(many["Service"][name] == value for name, value in one["Service"].items() if name not in own)


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    text = (SYSTEMD / name).read_text().replace("/usr/bin/erpsyncd", "/bin/true")
    copy = tmp_path / name
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert name.removesuffix(".service") not in done.stderr, done.stderr


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_the_exposure_is_low(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(SYSTEMD / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge files")
    assert done.returncode == 0, done.stdout + done.stderr

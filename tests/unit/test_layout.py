"""The tree keeps its shape: small modules that say what they are for, and nothing of the machine it was written on."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import adapters
import daemon

ROOT = Path(__file__).resolve().parents[2]
CEILING = 400
VAGUE = re.compile(r"^_?(utils?|helpers?|common|managers?|misc|shared)$")
MODULES = sorted(path.relative_to(ROOT) for room in ("daemon", "adapters") for path in (ROOT / room).rglob("*.py"))
TEST_MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))

# Written so that this file does not hold what it forbids.
MACHINE = re.compile("|".join(["/wo" + r"rk/", "/ro" + r"ot\b", r"/ho" + r"me/\w", r"\.pye" + r"nv\b"]))
REGISTRY = re.compile("|".join([r"files\.pythonh" + r"osted\.org", r"\bpypi\.o" + r"rg", r"(extra-)?index-" + "url"]))


def tracked() -> list[Path]:
    """The files that belong to the project; from the index, or all but hidden and made ones where there is no git."""
    try:
        said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        return [ROOT / name for name in said.split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [ROOT / path for path in (*MODULES, *TEST_MODULES)]


def test_the_packages_are_ours() -> None:
    """Another distribution also installs a package named `daemon`."""
    for package in (daemon, adapters):
        assert package.__file__ is not None
        assert Path(package.__file__).resolve().parent.parent == ROOT


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_small(module: Path) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines <= CEILING, f"{module} has {lines} lines; split it"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_name_says_what_is_inside(module: Path) -> None:
    assert not [part for part in module.with_suffix("").parts if VAGUE.match(part)]


@pytest.mark.parametrize("module", [*MODULES, *TEST_MODULES], ids=str)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    text = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8")))
    if text is None:
        assert module.name == "__init__.py", f"{module} has no docstring"
        assert not (ROOT / module).read_text(encoding="utf-8").strip(), f"{module} has code but no docstring"
        return
    assert text.split("\n")[0].rstrip().endswith((".", ";")), f"the first line of {module} is no sentence"


def test_nothing_tells_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found

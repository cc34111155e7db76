"""Laws of the documents: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from daemon import cli, log
from daemon import config as configuration
from daemon.gate import refusals
from daemon.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "docs" / "operations.md"
ERRORS = ROOT / "docs" / "errors.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted([*(ROOT / "daemon").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")])
IMAGES = sorted((ROOT / "docs" / "images").glob("*"))
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
ALL_TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Error codes ---------------------------------------------------------------------------------------------------------


def codes_in(path: Path) -> Iterator[str]:
    """Every error code that a module holds as a string; a computed end is written as a star."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    begun = {
        id(node.values[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and len(node.values) > 1 and isinstance(node.values[0], ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in begun:
                if re.fullmatch(r"E-[A-Z-]+-", node.value):
                    yield f"{node.value}*"
            elif re.fullmatch(r"E-[A-Z0-9-]*[A-Z0-9]", node.value):
                yield node.value


CODES = {code: name_of(path) for path in SOURCES for code in codes_in(path)}
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in ERRORS.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `E-")
]


def test_every_error_code_is_explained_once() -> None:
    explained = [row[0].strip("`") for row in ROWS]
    assert sorted(explained) == sorted(set(explained))
    assert {code: where for code, where in CODES.items() if code not in explained} == {}


def test_every_explained_error_code_exists() -> None:
    assert [row[0] for row in ROWS if row[0].strip("`") not in CODES] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_an_explanation_says_what_who_next_and_how_it_ends(row: list[str]) -> None:
    assert len(row) == 5, "code, what happened, who acts, next step, exit code"
    assert all(row)
    assert re.fullmatch(r"–|\d+(, \d+)*", row[4]), "an exit code, several, or none"


def test_documents_name_no_other_error_codes() -> None:
    named = set(re.findall(r"\bE-[A-Z][A-Z0-9-]*[A-Z0-9](?:-\*)?", ALL_TEXT))
    families = tuple(code.removesuffix("*") for code in CODES if code.endswith("*"))
    assert {code for code in named - CODES.keys() if not code.startswith(families)} == set()


# Commands ------------------------------------------------------------------------------------------------------------


def command_paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """`("sql", "setup")` for each command that does something."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path
        return
    for name, one in below.items():
        if not one.hidden:
            yield from command_paths(one, (*path, name))


COMMANDS = sorted(command_paths(typer.main.get_command(cli.app)))
COMING = {"pause", "resume"}
"""Named by docs/dba.md, and README.md says that they are not there yet. Take them out when they are."""


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    words = " ".join(path)
    assert re.search(rf"(erpsyncd |`){re.escape(words)}\b", ALL_TEXT), f"erpsyncd {words} is in no document"


def code_of(text: str) -> Iterator[str]:
    """What stands as code: fenced and indented lines, and spans."""
    for fence in FENCE.finditer(text):
        yield from fence[0].splitlines()[1:-1]
    rest = FENCE.sub("", text)
    yield from (line for line in rest.splitlines() if line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", rest)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "config.toml"], ids=name_of)
def test_a_document_promises_no_command_that_is_not_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    lines = code_of(text) if document.suffix == ".md" else re.findall(r"#.*", text)
    first = {path[0] for path in COMMANDS}
    called = {match for line in lines for match in re.findall(r"(?:^|[\s/`$])erpsyncd +([a-z]+)\b", line)}
    if document.suffix != ".md":
        called = {word for line in lines for word in re.findall(r"(?:^#\s+|`)erpsyncd ([a-z]+)\b", line)}
    assert called - first - COMING == set()


# Configurations ------------------------------------------------------------------------------------------------------

COLUMNS = {
    "stock": "sku, available",
    "price": "sku, currency, amount",
    "credit": 'customer, currency, "limit", balance, available, hold',
    "order_status": 'number as "order", status',
    "content": "sku, title",
}
SHOWN = [
    (path, block)
    for path in DOCUMENTS
    if path.name.startswith(("store-", "erp-"))
    for block in re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if tomllib.loads(block).keys() & {"store", "erp"}
]


def completed(text: str) -> str:
    """What a page shows of a configuration, with the least beside it that makes it whole."""
    given = tomllib.loads(text)
    if "store" not in given:
        text += '\n[store.main]\nadapter = "http"\nurl = "https://shop.example/api"\nentities = ["stock"]\n'
    if "erp" in given:  # its pack brings the entities
        return text
    text += '\n[erp]\ndsn = "postgresql://reader@db/erp"\n'
    for entity in sorted({entity for store in given["store"].values() for entity in store["entities"]}):
        text += f"""
[entity.{entity}]
sql = '''select id as key, {COLUMNS[entity]} from t where id = any($1)'''
all_keys = "select id from t where id > $1 order by id limit $2"
watch = [{{ table = "t", key = "id" }}]
"""
    return text


@pytest.mark.parametrize(("document", "block"), SHOWN, ids=lambda one: one.name if isinstance(one, Path) else "")
def test_a_configuration_that_a_page_shows_is_good(
    document: Path, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in re.findall(r'credential = "([^"]+)"', block):
        (tmp_path / name).write_text("postgresql://reader@db/erp" if "dsn" in name else "a-token")
    file = tmp_path / "config.toml"
    file.write_text(completed(block))
    assert [str(problem) for problem in configuration.check(file, refused=refusals)] == []


def test_every_page_of_a_store_and_of_a_pack_shows_one() -> None:
    pages = {path for path in DOCUMENTS if path.name.startswith(("store-", "erp-"))}
    assert pages == {path for path, _ in SHOWN}


# Metrics and events --------------------------------------------------------------------------------------------------


def metric_names() -> set[str]:
    families = Metrics().registry.collect()
    named = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    return {name for name in named if not name.startswith("process_")}


def names_in_the_manual() -> set[str]:
    """Full names in the tables; `_drift_total` behind a full name continues it from its last common word."""
    found: set[str] = set()
    for line in MANUAL.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `erpsyncd_"):
            continue
        first, *more = re.findall(r"`([a-z_]+)`", line.split(" | ")[0])
        found.add(first)
        stem = first.removesuffix("_total").rpartition("_")[0]
        found |= {f"{stem}{name}" if name.startswith("_") else name for name in more}
    return found


def test_the_manual_lists_every_metric_and_no_other() -> None:
    assert names_in_the_manual() == metric_names()


def test_the_manual_lists_no_event_that_does_not_exist() -> None:
    table = MANUAL.read_text(encoding="utf-8").partition("| event | means |")[2]
    named = set(re.findall(r"^\| `(\w+)` \|", table.split("\n\n")[0], re.MULTILINE))
    assert named == log.EVENTS.keys()


# Links and pictures --------------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """The anchor of a heading, as the common renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {anchor(heading) for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, part = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (part and target.suffix == ".md" and part not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("image", IMAGES, ids=name_of)
def test_a_picture_is_small_and_shown(image: Path) -> None:
    assert image.stat().st_size < 300_000
    assert f"images/{image.name}" in ALL_TEXT


# Architecture --------------------------------------------------------------------------------------------------------


def test_the_architecture_names_no_room_that_is_not_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([\w./]+)`", cell)}
    rooms = {name if "/" in name else f"daemon/{name}" for name in named}
    assert rooms
    assert [room for room in rooms if not ((ROOT / room).is_dir() or (ROOT / f"{room}.py").exists())] == []


# Tests that a page names --------------------------------------------------------------------------------------------

NAMED = re.findall(r"`((?:\w+/)+test_[a-z0-9_]+\.py)(?:::(\w+))?`", ALL_TEXT)


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_a_test_that_a_page_names_exists(file: str, test: str) -> None:
    source = (ROOT / "tests" / file.removeprefix("tests/")).read_text(encoding="utf-8")
    assert not test or f"def {test}(" in source

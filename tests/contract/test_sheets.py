"""The sheets of the adapters have one form, and say of entities what the code does.

Invariant: a sheet that lacks something, or promises an entity that its adapter refuses, does not pass.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import adapters.store
from daemon.errors import ConfigError
from tests.contract import stands
from tests.contract.test_writing_an_adapter import blocks

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(adapters.store.__file__).parent
KINDS = ("stock", "price", "credit", "order_status", "content")
FLAGS = {
    "": ("vendor_server", "other_entities"),
    "write": ("absolute", "batch", "partial_success", "remove", "idempotency_key", "fields_one_by_one"),
    "read": ("fetch", "scan", "exact_numbers"),
}
TEXTS = {
    "": ("adapter", "title", "protocol"),
    "write": ("acknowledgement", "version_guard"),
    "read": ("order",),
    "limits": ("calls",),
    "auth": ("kind",),
}
RULES = {
    "article_unknown",
    "article_ambiguous",
    "location_unmapped",
    "stock_meaning",
    "price_lists",
    "credit",
    "order_to_delivered",
    "content",
}
"""What each sheet must take a stand on; it may say more."""
EXAMPLE = "the page's example"


def sheet(name: str) -> dict[str, Any]:
    text = blocks("toml")[1] if name == EXAMPLE else (FOLDER / f"{name}.sheet.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def faults_of(known: dict[str, Any]) -> list[str]:
    """What is not as it should be, one line each."""
    found: list[str] = []
    for table, keys in FLAGS.items():
        part = known.get(table, {}) if table else known
        found += [f"{table}.{key}: not true or false" for key in keys if not isinstance(part.get(key), bool)]
    for table, keys in TEXTS.items():
        part = known.get(table, {}) if table else known
        found += [f"{table}.{key}: no text" for key in keys if not isinstance(part.get(key), str) or not part[key]]
    for key in ("tested_on", "entities", "scopes"):
        if not isinstance(known.get(key), list) or not all(isinstance(each, str) and each for each in known[key]):
            found.append(f"{key}: no list of texts")
    if not known.get("tested_on"):
        found.append("tested_on: empty")
    entities = known.get("entities") or []
    if entities != [kind for kind in KINDS if kind in entities] or not entities:
        found.append(f"entities: some of {', '.join(KINDS)}, in this order")
    if "documents_per_call" not in known.get("limits", {}):
        found.append("limits.documents_per_call: missing")
    rules = known.get("rules", {})
    found += [f"rules.{key}: missing" for key in sorted(RULES - rules.keys())]
    found += [
        f"rules.{key}: neither done nor exempt, with a word on how or why"
        for key, text in rules.items()
        if not isinstance(text, str) or not re.fullmatch(r"(done|exempt): \S.*", text)
    ]
    sources = known.get("sources") or []
    if not sources:
        found.append("sources: none")
    for number, source in enumerate(sources, 1):
        if sorted(source) != ["date", "url", "what"] or not source["what"]:
            found.append(f"sources {number}: what, url and date, no more")
        elif not source["url"].startswith("https://") or not re.fullmatch(r"\d{4}-\d\d(-\d\d)?", source["date"]):
            found.append(f"sources {number}: an https address, and a date such as 2026-11-28")
    return found


@pytest.mark.parametrize("name", [*adapters.store.names(), EXAMPLE])
def test_every_sheet_has_the_same_form(name: str) -> None:
    assert faults_of(sheet(name)) == []


@pytest.mark.parametrize("name", adapters.store.names())
def test_a_sheet_names_documents_and_doubles_that_exist(name: str) -> None:
    known = sheet(name)
    assert (ROOT / known["protocol"]).is_file()
    doubles = [match for text in known["tested_on"] for match in re.findall(r"tests/doubles/\w+\.py", text)]
    assert doubles
    assert [double for double in doubles if not (ROOT / double).is_file()] == []


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("", "vendor_server", "no"),
        ("", "vendor_server", None),
        ("", "entities", ["price", "stock"]),
        ("", "entities", ["stock", "shoes"]),
        ("", "sources", []),
        ("", "sources", [{"what": "x", "url": "https://x.example", "date": "yesterday"}]),
        ("", "tested_on", []),
        ("rules", "credit", None),
        ("rules", "credit", "not yet"),
        ("rules", "credit", "exempt: "),
        ("write", "absolute", None),
        ("limits", "documents_per_call", None),
    ],
)
def test_a_sheet_of_another_form_is_found(table: str, key: str, value: object) -> None:
    known = sheet("http")
    part = known[table] if table else known
    if value is None:
        del part[key]
    else:
        part[key] = value
    assert len(faults_of(known)) == 1
    assert key in faults_of(known)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", adapters.store.names())
def test_an_adapter_refuses_the_entities_that_its_sheet_does_not_name_and_no_others(name: str, kind: str) -> None:
    promised = kind in sheet(name)["entities"]
    stand = stands.stand(name)
    where = ""
    try:
        stand.another(kinds={kind: kind}, options={**stand.options, "entities": [kind]})
    except ConfigError as error:
        where = error.where
    assert (where != "store.main.entities") == promised


def test_the_table_of_stores_promises_nothing_beyond_the_sheets() -> None:
    lines = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *rest = rows
    assert head == ["adapter", *KINDS, "vendor's server"]
    assert rest
    for first, *words, server in rest:
        [name] = re.findall(r"`(\w+)`", first)
        known = sheet(name)
        assert set(words) <= {"done", "refused"}
        assert {kind for kind, word in zip(KINDS, words, strict=True) if word == "done"} <= set(known["entities"])
        assert server != "yes" or known["vendor_server"]

"""The example of docs/writing-an-adapter.md, taken from the page and held to the laws of the contract suite.

Invariant: what runs here is what the page shows, letter by letter; the double keeps its own count of what it shows.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from aiohttp import web

from adapters.store import answers
from adapters.store.base import Store, StoreSettings
from daemon.errors import ConfigError, Retry
from daemon.model import Fields, Limits, Patch, Status
from tests.contract import test_store_contract as suite
from tests.contract.stand import AT, TOKEN, Stand
from tests.doubles import faults
from tests.doubles.faults import Fault
from tests.doubles.server import Call, Server, json_answer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "writing-an-adapter.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def example() -> ModuleType:
    [source] = blocks("python")
    module = ModuleType("corner")
    exec(compile(source, "docs/writing-an-adapter.md", "exec"), module.__dict__)  # noqa: S102 our own page
    return module


CORNER = example()


class Corner(Server):
    """The imaginary shop: rows of stock by the ref that others gave them, written and read at /stock."""

    def __init__(self, *, token: str) -> None:
        super().__init__(token=token)
        self.articles: set[str] = set()
        self.stock: dict[str, dict[str, Any]] = {}
        self.most = 100
        self.refused: set[str] = set()
        self.silent: set[str] = set()
        """Refs that are left out of the answer."""
        self.clamps: dict[str, int] = {}
        """Refs that show this, whatever is written."""

    def call_of(self, request: web.Request, body: bytes) -> Call:
        good = request.headers.get("Authorization") == f"Bearer {self.token}"
        items = orjson.loads(body)["items"] if request.method == "PUT" else []
        return Call(
            method=request.method, entity="stock", ids=tuple(item["ref"] for item in items), write=request.method == "PUT",
            authorized=good, touches=frozenset(item["sku"] for item in items),
        )  # fmt: skip

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        if not call.authorized:
            return json_answer({"message": "who are you?"}, 401)
        if request.path != "/stock" or call.method not in ("GET", "PUT"):
            return json_answer({"message": "no such thing"}, 404)
        if call.method == "GET":
            return json_answer({"items": self._listed(request)})
        items = orjson.loads(body)["items"]
        if len(items) > self.most:
            return json_answer({"message": "too many items"}, 413)
        return json_answer({"items": [self._put(**item) for item in items if item["ref"] not in self.silent]})

    def _put(self, ref: str, sku: str, location: str, available: Any, **unknown: Any) -> dict[str, Any]:
        del unknown  # it says yes to a field that it does not have
        if sku not in self.articles or sku in self.refused:
            return {"ref": ref, "error": f"{sku} is not on our shelves"}
        if location != "default":
            return {"ref": ref, "error": f"we have no room {location}"}
        self.stock[ref] = {"sku": sku, "location": location, "available": self.clamps.get(ref, available)}
        return {"ref": ref, **self.stock[ref]}

    def _listed(self, request: web.Request) -> list[dict[str, Any]]:
        refs = request.query.getall("ref", [])
        if refs:
            wanted = [ref for ref in sorted(self.stock) if ref in refs]
        else:
            after = request.query.get("after", "")
            wanted = [ref for ref in sorted(self.stock) if ref > after][: int(request.query["limit"])]
        return [{"ref": ref, **self.stock[ref]} for ref in wanted]


class CornerStand(Stand):
    """The page's adapter before the imaginary shop."""

    adapter = "corner"
    removes = "stock"
    server: Corner

    def __init__(self) -> None:
        super().__init__(Corner(token=TOKEN))

    def another(self, **change: Any) -> Store:
        known: dict[str, Any] = {
            "name": "main", "url": self.server.root, "token": TOKEN, "timeout": 20.0, "limits": Limits(),
            "options": {"entities": ["stock"], **self.options}, "kinds": {"stock": "stock"}, "memory": self.memory,
        }  # fmt: skip
        made: Store = CORNER.create(StoreSettings(**(known | change)))
        return made

    def make(self, count: int) -> None:
        self.server.articles.update(self.sku(number) for number in range(count))

    def shown(self, entity: str) -> Mapping[str, Fields]:
        assert entity == "stock"
        return {ref: dict(row) for ref, row in self.server.stock.items() if row["available"] is not None}

    def tamper(self, patch: Patch) -> None:
        self.server.stock[patch.id]["available"] = 999

    def refuse(self, patch: Patch) -> None:
        self.server.refused.add(patch.identity["sku"])


@pytest.fixture
async def stand() -> AsyncIterator[CornerStand]:
    made = CornerStand()
    async with made.server:
        made.store = made.another()
        await made.store.open()
        yield made
        await made.store.close()


@pytest.mark.parametrize(
    "law",
    [
        suite.test_nothing_to_write_is_no_write,
        suite.test_one_document_that_the_store_refuses_does_not_hold_the_others,
        suite.test_an_article_that_the_store_does_not_have_is_refused_and_named,
        suite.test_a_removed_document_is_gone_and_stays_gone,
        suite.test_a_lost_answer_is_a_failure_although_it_was_written,
        suite.test_a_cancelled_call_leaves_the_adapter_usable,
        suite.test_a_connection_that_died_idle_is_no_failure,
        suite.test_connections_cut_while_idle_are_no_failure,
        suite.test_a_store_that_is_down_and_comes_back,
        suite.test_calls_at_the_same_time_do_not_mix,
        suite.test_a_long_list_of_ids_is_fetched_in_parts,
        suite.test_a_scan_that_is_left_early_leaves_the_adapter_usable,
        suite.test_check_proves_address_and_token,
        suite.test_what_one_article_writes_is_named_the_same_each_time,
        suite.test_open_needs_no_store,
        suite.test_closing_twice_is_fine,
        suite.test_closing_before_open_and_after_a_failed_one_is_fine,
        suite.test_closing_during_a_call_ends_it_with_a_decision,
        suite.test_no_error_text_holds_a_secret,
        suite.test_a_quotation_is_short_and_printable,
    ],
    ids=lambda law: law.__name__.removeprefix("test_"),
)
async def test_the_example_keeps_the_contract(stand: CornerStand, law: Any) -> None:
    await law(stand)


@pytest.mark.parametrize(
    "law",
    [
        suite.test_a_batch_is_written_and_acknowledged,
        suite.test_the_same_patch_twice_changes_nothing,
        suite.test_what_was_written_is_read_back,
        suite.test_a_scan_gives_every_document_once_in_id_order,
    ],
    ids=lambda law: law.__name__.removeprefix("test_"),
)
async def test_the_example_keeps_the_contract_for_stock(stand: CornerStand, law: Any) -> None:
    await law(stand, "stock")


@pytest.mark.parametrize(
    ("fault", "retry", "code"),
    [
        (faults.Throttle("3"), Retry.LATER, answers.THROTTLED),
        (faults.Empty500(), Retry.LATER, answers.FAILED),
        (faults.Status(401), Retry.OPERATOR, answers.AUTH),
        (faults.Html(), Retry.OPERATOR, answers.ANSWER),
        (faults.Status(413), Retry.LATER, answers.TOO_LARGE),
    ],
)
async def test_the_example_passes_on_the_decision_of_a_failed_call(
    stand: CornerStand, fault: Fault, retry: Retry, code: str
) -> None:
    await suite.test_a_failed_call_carries_its_decision(stand, fault, retry, code, write=True)


async def test_a_shop_that_shows_something_else_than_was_sent_acknowledges_nothing(stand: CornerStand) -> None:
    stand.make(3)
    patches = [stand.stock(number, 250) for number in range(3)]
    stand.server.clamps[patches[0].id] = 100
    stand.server.silent.add(patches[1].id)
    outcomes = suite.by_id(await stand.store.apply("stock", patches))
    assert [outcomes[patch.id].status for patch in patches] == [Status.REJECTED, Status.RETRY, Status.OK]
    assert "250" in outcomes[patches[0].id].error
    assert "100" in outcomes[patches[0].id].error


async def test_what_the_shop_has_no_place_for_is_refused_in_its_own_words(stand: CornerStand) -> None:
    stand.make(1)
    identity = {"sku": stand.sku(0), "location": "elsewhere"}
    elsewhere = Patch("SKU-0000|elsewhere", 1, AT, {**identity, "available": 5}, identity)
    known = stand.stock(0)
    more = Patch(known.id, 1, AT, {**(known.fields or {}), "backorder": True}, known.identity)
    outcomes = suite.by_id(await stand.store.apply("stock", [elsewhere, more]))
    assert {outcome.status for outcome in outcomes.values()} == {Status.REJECTED}
    assert "we have no room elsewhere" in outcomes[elsewhere.id].error
    assert "backorder" in outcomes[more.id].error


async def test_a_fraction_is_read_back_as_it_was_sent(stand: CornerStand) -> None:
    stand.make(1)
    known = stand.stock(0)
    half = Patch(known.id, 1, AT, {**known.identity, "available": "2.5"}, known.identity)
    assert [outcome.status for outcome in await stand.store.apply("stock", [half])] == [Status.OK]
    assert await stand.store.fetch("stock", [half.id]) == {half.id: half.fields}


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"location": "main"}},
        {"kinds": {"price": "price"}},
        {"url": "ftp://corner.example"},
    ],
)
async def test_settings_that_the_example_cannot_use_are_named(stand: CornerStand, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        stand.another(**change)
    assert caught.value.where.startswith("store.main.")


async def test_the_sections_for_the_configuration_and_the_sheet_are_toml() -> None:
    config, sheet = (tomllib.loads(block) for block in blocks("toml"))
    assert config["store"]["corner"]["adapter"] == sheet["adapter"] == "corner"
    CORNER.create(
        StoreSettings("corner", config["store"]["corner"]["url"], "secret", 5.0, Limits(), {}, {"stock": "stock"})
    )


def test_the_example_has_at_most_sixty_lines() -> None:
    [source] = blocks("python")
    assert len([line for line in source.splitlines() if line]) <= 60
    assert max(map(len, source.splitlines())) <= 120

"""Laws of the demo storefront: the protocol to the letter, pages that tick, and nothing of a document that acts.

Invariant under test: an older version never replaces a newer one, one bad document never holds the others, and what a
page shows is what the protocol reads back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import aiohttp
import orjson
import pytest

from adapters.store import http
from adapters.store.base import StoreSettings
from daemon.demo.catalogue import ARTICLES, CATEGORIES
from daemon.demo.shop import PREFIX, DemoShop
from daemon.demo.shop_html import safe_html
from daemon.demo.shop_images import picture
from daemon.demo.shop_store import Change
from daemon.model import Limits, Patch, Status

TOKEN = "shop-token"
AT = "2026-07-25T10:00:00.500000Z"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[DemoShop]:
    shop = DemoShop(tmp_path / "shop.db", TOKEN)
    await shop.start()
    yield shop
    await shop.close()


@pytest.fixture
async def client(shop: DemoShop) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(shop.url, headers=headers) as session:
        yield session


def stock(sku: str, version: int, available: int, /, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{sku}|default", "version": version, "changed_at": AT, "sku": sku, "location": "default",
        "available": available, **more,
    }  # fmt: skip


def price(sku: str, version: int, amount: object, /, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{sku}|RETAIL|EUR|1", "version": version, "changed_at": AT, "sku": sku, "price_list": "RETAIL",
        "currency": "EUR", "min_quantity": 1, "amount": amount, **more,
    }  # fmt: skip


def content(sku: str, version: int, /, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{sku}|en", "version": version, "changed_at": AT, "sku": sku, "locale": "en", "title": sku.title(),
        "description_html": "<p>text</p>", "attributes": {}, "images": [], "categories": [], **more,
    }  # fmt: skip


async def send(client: aiohttp.ClientSession, entity: str, *documents: object) -> list[dict[str, Any]]:
    async with client.post(f"{PREFIX}/{entity}", json={"documents": documents}) as answer:
        assert answer.status == 200
        results: list[dict[str, Any]] = orjson.loads(await answer.read())["results"]
        return results


async def get(client: aiohttp.ClientSession, path: str, **query: Any) -> Any:
    async with client.get(path, params=query) as answer:
        return orjson.loads(await answer.read())


async def test_a_document_is_kept_and_read_back_as_it_came(client: aiohttp.ClientSession) -> None:
    document = price("A", 3, "12.50", compare_at="15.00", note="é|品")
    assert await send(client, "price", document) == [{"id": document["id"], "status": "ok"}]
    found = await get(client, f"{PREFIX}/price", id=document["id"])
    assert found == {"documents": [document]}


async def test_ids_that_are_unknown_or_removed_are_left_out(client: aiohttp.ClientSession) -> None:
    await send(client, "stock", stock("A", 1, 5), stock("B", 1, 6))
    gone = {"id": "B|default", "version": 2, "changed_at": AT, "sku": "B", "location": "default", "deleted": True}
    assert (await send(client, "stock", gone))[0]["status"] == "ok"
    query = [("id", name) for name in ("B|default", "never", "A|default")]
    async with client.get(f"{PREFIX}/stock", params=query) as answer:
        assert [d["id"] for d in orjson.loads(await answer.read())["documents"]] == ["A|default"]


async def test_an_older_version_never_replaces_a_newer_one_whatever_the_order(client: aiohttp.ClientSession) -> None:
    documents = [stock("A", version, version * 10) for version in range(1, 30)]
    documents[11] = {"id": "A|default", "version": 12, "changed_at": AT, "sku": "A", "deleted": True}
    random.Random(7).shuffle(documents)  # noqa: S311
    for document in documents:
        assert (await send(client, "stock", document))[0]["status"] == "ok"
    assert (await get(client, f"{PREFIX}/stock", id="A|default"))["documents"][0]["available"] == 290


async def test_a_late_call_does_not_bring_a_removed_document_back(client: aiohttp.ClientSession) -> None:
    await send(client, "stock", {"id": "A|default", "version": 5, "changed_at": AT, "sku": "A", "deleted": True})
    assert (await send(client, "stock", stock("A", 4, 9)))[0]["status"] == "ok"
    assert (await get(client, f"{PREFIX}/stock", id="A|default"))["documents"] == []


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        {},
        stock("", 1, 1, id=""),
        stock("B", 1, 1, id="x" * 5000),
        stock("B", -1, 1),
        stock("B", 1, 1, version="1"),
        stock("B", 1, 1, version=True),
        stock("B", 2**63, 1),
        stock("B", 1, 1, changed_at="yesterday"),
        stock("B", 1, 1, changed_at="2026-07-25T10:00:00"),
        stock("B", 1, 1, changed_at=None),
        stock("B", 1, 1, deleted="yes"),
        stock("B", 1, 1, available="5"),
        stock("B", 1, 1, available=5.0),
        stock("B", 1, 1, available=True),
        stock("B", 1, 1, sku=None),
    ],
)
async def test_one_bad_document_is_named_and_does_not_hold_the_others(
    client: aiohttp.ClientSession, bad: object
) -> None:
    results = await send(client, "stock", stock("A", 1, 5), bad, stock("C", 1, 6))
    assert [result["status"] for result in results] == ["ok", "rejected", "ok"]
    assert results[1]["error"]
    scan = await get(client, f"{PREFIX}/stock", after="", limit=10)
    assert [document["id"] for document in scan["documents"]] == ["A|default", "C|default"]


@pytest.mark.parametrize("amount", [1.5, "NaN", "Infinity", "12,50", "", None, True])
async def test_an_amount_that_is_no_exact_decimal_is_rejected(client: aiohttp.ClientSession, amount: object) -> None:
    assert (await send(client, "price", price("A", 1, amount)))[0]["status"] == "rejected"


async def test_a_scan_gives_every_document_once_in_the_order_of_bytes(client: aiohttp.ClientSession) -> None:
    names = [f"{chr(code)}{n}" for code in (48, 65, 97, 233, 0x54C1, 0x1F9E6) for n in range(40)]
    mixed = random.Random(3).sample(names, len(names))  # noqa: S311
    await send(client, "stock", *(stock(name, 1, 1) for name in mixed))
    seen: list[str] = []
    while page := (await get(client, f"{PREFIX}/stock", after=seen[-1] if seen else "", limit=7))["documents"]:
        assert len(page) <= 7
        seen += [document["id"] for document in page]
    assert seen == sorted((f"{name}|default" for name in names), key=str.encode)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"bearer {TOKEN}", TOKEN])
async def test_without_the_token_nothing_is_taken_or_given(shop: DemoShop, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    async with aiohttp.ClientSession(shop.url, headers=headers) as stranger:
        async with stranger.post(f"{PREFIX}/stock", json={"documents": [stock("A", 1, 1)]}) as answer:
            assert answer.status == 401
        async with stranger.get(f"{PREFIX}/stock") as answer:
            assert answer.status == 401
    assert await shop.documents_of("stock") == {}


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"documents": {}}', 400), (b"\xff", 400)]
)
async def test_a_call_that_is_not_the_protocol_is_refused_as_a_whole(
    client: aiohttp.ClientSession, body: bytes, status: int
) -> None:
    async with client.post(f"{PREFIX}/stock", data=body) as answer:
        assert answer.status == status


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "-1"}, {"limit": "many"}])
async def test_a_limit_that_is_none_is_refused(client: aiohttp.ClientSession, query: dict[str, str]) -> None:
    async with client.get(f"{PREFIX}/stock", params=query) as answer:
        assert answer.status == 400


async def test_an_outage_says_when_to_come_back(shop: DemoShop, client: aiohttp.ClientSession) -> None:
    shop.outage = True
    async with client.post(f"{PREFIX}/stock", json={"documents": []}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    shop.outage = False
    assert (await send(client, "stock", stock("A", 1, 1)))[0]["status"] == "ok"


async def test_the_adapter_of_the_protocol_works_against_this_shop(shop: DemoShop) -> None:
    settings = StoreSettings(name="main", url=shop.api_url, token=TOKEN, timeout=5.0, limits=Limits())
    store = http.create(settings)
    await store.open()
    try:
        await store.check()
        identity = {"sku": "A", "location": "default"}
        patch = Patch("A|default", 1, 1_800_000_000_000_000, {**identity, "available": 4}, identity)
        assert [outcome.status for outcome in await store.apply("stock", [patch])] == [Status.OK]
        assert await store.fetch("stock", ["A|default"]) == {"A|default": {**identity, "available": 4}}
        removal = Patch("A|default", 2, 1_800_000_000_000_001, None, identity)
        assert [outcome.status for outcome in await store.apply("stock", [removal])] == [Status.OK]
        assert [item async for item in store.scan("stock")] == []
    finally:
        await store.close()


async def test_what_is_stored_survives_a_restart(tmp_path: Path) -> None:
    for available in (None, 8):
        shop = DemoShop(tmp_path / "shop.db", TOKEN)
        await shop.start()
        if available is None:
            async with aiohttp.ClientSession(shop.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
                await send(client, "stock", stock("A", 1, 8))
        else:
            assert (await shop.documents_of("stock"))["A|default"]["available"] == available
        await shop.close()
        await shop.close()


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(shop: DemoShop, tmp_path: Path) -> None:
    second = DemoShop(tmp_path / "second.db", TOKEN)
    with pytest.raises(OSError, match="address already in use"):
        await second.start(port=int(shop.url.rsplit(":", 1)[1]))


async def next_event(answer: aiohttp.ClientResponse) -> Any:
    """The data of the next message of a stream; comments are skipped."""
    while True:
        line = await answer.content.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            return orjson.loads(line[6:])


async def test_an_open_page_hears_of_new_values_and_of_nothing_else(client: aiohttp.ClientSession) -> None:
    async with client.get("/events") as answer:
        assert await answer.content.readline() == b"retry: 1000\n"
        await send(client, "stock", stock("A", 1, 5))
        first = await next_event(answer)
        assert [(d["id"], d["fields"]["available"], d["deleted"]) for d in first] == [("A|default", 5, False)]
        assert first[0]["lag"] >= 0
        await send(client, "stock", stock("A", 1, 5))  # the same call again
        await send(client, "stock", stock("A", 2, 5))  # a newer version of the same value
        await send(client, "stock", stock("A", 1, 99))  # late
        await send(client, "stock", stock("A", 3, 6))
        assert [d["fields"]["available"] for d in await next_event(answer)] == [6]


async def test_closing_ends_open_pages_at_once(shop: DemoShop, client: aiohttp.ClientSession) -> None:
    async with client.get("/events") as answer:
        await answer.content.readline()
        async with asyncio.timeout(2):
            await shop.close()
            while await answer.content.readline():
                pass


async def test_a_page_that_does_not_keep_up_is_told_to_load_again(shop: DemoShop) -> None:
    async with shop._watchers.watch() as queue:
        for number in range(200):
            shop._watchers.tell([_change(number)])
        assert queue.qsize() <= 64
        assert b"event: reload" in (queue.get_nowait() or b"")


def _change(number: int) -> Change:
    return Change("stock", f"{number}", {"sku": f"{number}"}, deleted=False, changed_at=0, received_at=1)


async def test_the_catalogue_lists_what_has_a_price_and_finds_it(client: aiohttp.ClientSession) -> None:
    await send(client, "stock", stock("BOLT", 1, 3), stock("SECRET", 1, 3))
    await send(client, "price", price("BOLT", 1, "2.00"), price("NUT_1", 1, 3))
    await send(client, "content", content("BOLT", 1, title="Big bolt", categories=["Fixings"]))

    async def listed(**query: str) -> list[str]:
        return [product["sku"] for product in (await get(client, "/shop/products", **query))["products"]]

    assert await listed() == ["BOLT", "NUT_1"]
    assert await listed(q="big") == ["BOLT"]
    assert await listed(q="nut_") == ["NUT_1"]
    assert await listed(q="%") == []
    assert await listed(category="Fixings") == ["BOLT"]
    assert await listed(page="2") == []
    assert await listed(page="-1") == ["BOLT", "NUT_1"]


async def test_pages_allow_their_own_script_only(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/p/BOLT"):
        async with client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            text = await answer.text()
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy
        assert "script-src 'sha256-" in policy
        assert "style=" not in text, "a style attribute would be blocked by the page's own policy"
        for foreign in ("http://", "https://"):
            assert text.replace("http://www.w3.org/2000/svg", "").count(foreign) == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<p>a <b>b</b></p>", "<p>a <b>b</b></p>"),
        ("<p>a<script>alert(1)</script>b", "<p>ab</p>"),
        ("<img src=x onerror=alert(1)>x", "x"),
        ("<p onclick='x()' style='position:fixed'>a</p>", "<p>a</p>"),
        ("<a href='javascript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href=' JaVaScRiPt:alert(1)'>a</a>", "<a>a</a>"),
        (
            '<a href="https://x.example/?a=1&amp;b=&quot;">a</a>',
            '<a href="https://x.example/?a=1&amp;b=&quot;" rel="noopener noreferrer nofollow">a</a>',
        ),
        ("</div></main><p>a", "<p>a</p>"),
        ("<ul><li>a<li>b</ul>c", "<ul><li>a<li>b</li></li></ul>c"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("<svg><p>a</p></svg>b<style>p{}</style>", "b"),
        ("<!-- c --><p>1 < 2 & 3</p>", "<p>1 &lt; 2 &amp; 3</p>"),
        ("<br/><hr>", "<br><hr>"),
        ("", ""),
    ],
)
def test_descriptions_are_shown_without_anything_that_acts(given: str, shown: str) -> None:
    assert safe_html(given) == shown
    assert safe_html(shown) == shown


async def test_a_page_gets_descriptions_made_safe_and_the_protocol_gives_them_back_as_they_came(
    client: aiohttp.ClientSession,
) -> None:
    text = "<p>a</p><script>alert(1)</script>"
    await send(client, "content", content("BOLT", 1, description_html=text))
    shown = await get(client, "/shop/product/BOLT")
    assert [d["fields"]["description_html"] for d in shown["documents"]] == ["<p>a</p>"]
    assert (await get(client, f"{PREFIX}/content", id="BOLT|en"))["documents"][0]["description_html"] == text


@pytest.mark.parametrize("sku", [*(article.sku for article in ARTICLES[::7]), "", "<svg onload=x>", "ключ"])
def test_every_sku_has_a_picture_that_is_well_formed(sku: str) -> None:
    root = ElementTree.fromstring(picture(sku))  # noqa: S314 - our own drawing
    assert root.tag.endswith("svg")
    assert "onload" not in picture(sku)


def test_the_catalogue_is_sound() -> None:
    assert len({article.sku for article in ARTICLES}) == len(ARTICLES)
    assert {article.category for article in ARTICLES} <= {name for name, _ in CATEGORIES}

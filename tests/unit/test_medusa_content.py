"""Laws of content in the `medusa` adapter: which product is meant, images and categories, what is taken down and read back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import answers, medusa
from adapters.store.base import Store, StoreSettings, TakesFiles
from adapters.store.loan import NoPictures, Picture, Pictures, ShortMemory
from daemon.drift import differing
from daemon.errors import Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles.faults import Empty500
from tests.doubles.medusa import Medusa

TOKEN = "sk_0123456789"
KINDS = {"content": "content"}
BYTES = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
HASH = hashlib.sha256(BYTES).hexdigest()


class Gallery:
    """One image; `error` is raised instead where it is set."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.opened = 0

    @contextlib.asynccontextmanager
    async def open(self, image: Mapping[str, Any]) -> AsyncIterator[Picture]:
        self.opened += 1
        if self.error is not None:
            raise self.error
        assert image["sha256"] == HASH

        async def chunks() -> AsyncIterator[bytes]:
            yield BYTES[:100]
            yield BYTES[100:]

        yield Picture("image/png", len(BYTES), HASH, chunks())


@pytest.fixture
async def shop() -> AsyncIterator[Medusa]:
    async with Medusa(token=TOKEN) as shop:
        yield shop


async def opened(shop: Medusa, pictures: Pictures | None = None, **options: Any) -> Store:
    given = {"entities": list(KINDS), **options}
    lent: dict[str, Any] = {"memory": ShortMemory(), "pictures": pictures or NoPictures()}
    store = medusa.create(StoreSettings("main", shop.root, TOKEN, 20.0, Limits(), given, KINDS, **lent))
    await store.open()
    return store


@pytest.fixture
async def store(shop: Medusa) -> AsyncIterator[Store]:
    one = await opened(shop)
    yield one
    await one.close()


def content(sku: str, locale: str = "default", **fields: Any) -> Patch:
    identity = {"sku": sku, "locale": locale}
    whole = {**identity, **fields}
    return Patch(f"{sku}|{locale}", 1, 0, whole, identity, frozenset(whole))


async def outcome(store: Store, one: Patch) -> Outcome:
    [said] = await store.apply("content", [one])
    return said


async def taken(store: Store, one: Patch) -> None:
    """It is taken, twice if need be, and read back as it was said."""
    for _ in range(2):
        said = await outcome(store, one)
        assert (said.status, said.error) == (Status.OK, "")
        assert one.fields is not None
        shown = await store.fetch("content", [one.id])
        assert differing(one.fields, shown[one.id]) == {}
        assert {name: fields async for name, fields in store.scan("content")}[one.id] == shown[one.id]


async def refused(store: Store, one: Patch, *words: str) -> None:
    said = await outcome(store, one)
    assert (said.status, said.code) == (Status.REJECTED, answers.UNMAPPED)
    for word in words:
        assert word in said.error


async def test_texts_are_the_products_and_all_else_is_in_one_metadata(shop: Medusa, store: Store) -> None:
    product = shop.product("A", metadata={"din": "933"})
    attributes = {"weight": "1.50", "colour": ["red", "blue"], "new": True}
    await taken(
        store,
        content("A", title="Bolt", description_html="<p>é</p>", handle="bolt", attributes=attributes, series="M8"),
    )
    product = shop.products[product["id"]]
    assert (product["title"], product["description"], product["handle"]) == ("Bolt", "<p>é</p>", "bolt")
    assert product["metadata"] == {"din": "933", "erpsyncd_content": {"attributes": attributes, "series": "M8"}}


async def test_a_field_that_is_not_said_stays_and_a_null_empties_what_may_be_empty(shop: Medusa, store: Store) -> None:
    product = shop.product("A", title="Theirs", description="theirs", subtitle="theirs")
    await taken(store, content("A", description_html=None))
    product = shop.products[product["id"]]
    assert (product["title"], product["description"], product["subtitle"]) == ("Theirs", None, "theirs")


async def test_what_is_sent_once_stays_and_what_a_document_lost_goes(shop: Medusa, store: Store) -> None:
    tools = shop.category("Tools")
    product = shop.product("A")
    images = [{"url": "https://i.example/a.jpg"}]
    await taken(
        store, content("A", title="x", attributes={"din": "933"}, series="M8", images=images, categories=["Tools"])
    )
    later = content("A", title="y")
    later = dataclasses.replace(later, changed=frozenset({"title", "series"}))
    assert (await outcome(store, later)).status is Status.OK
    product = shop.products[product["id"]]
    assert (len(product["images"]), product["categories"]) == (1, [tools])
    held = product["metadata"]["erpsyncd_content"]
    assert (held["attributes"], held["categories"], "series" in held) == ({"din": "933"}, ["Tools"], False)


@pytest.mark.parametrize("nothing", [None, []])
async def test_nothing_of_images_and_categories_takes_away_what_came_from_here_only(
    shop: Medusa, store: Store, nothing: Any
) -> None:
    sale, tools = shop.category("Sale"), shop.category("Tools")
    theirs = {"id": "img", "url": "https://i.example/theirs.jpg", "rank": 0}
    product = shop.product("A", images=[theirs], categories=[sale])
    await taken(store, content("A", title="x", images=nothing, categories=nothing))
    assert shop.products[product["id"]]["images"] == [theirs]
    await taken(store, content("A", title="x", images=[{"url": "https://i.example/a.jpg"}], categories=["Tools"]))
    assert shop.products[product["id"]]["categories"] == [tools, sale]
    await taken(store, content("A", title="x", images=nothing, categories=nothing))
    product = shop.products[product["id"]]
    assert (product["images"], product["categories"]) == ([], [sale])


async def test_a_product_that_did_not_come_from_here_shows_no_document(shop: Medusa, store: Store) -> None:
    shop.product("A", title="Theirs")
    assert await store.fetch("content", ["A|default"]) == {}
    assert [name async for name, _ in store.scan("content")] == []


async def test_a_variant_among_others_is_refused_and_its_product_found_by_its_own_name(
    shop: Medusa, store: Store
) -> None:
    shop.product("A-S", "A-L", external_id="ERP-A", handle="a")
    shop.product("B", external_id="ERP-B")
    shop.product("C", external_id="ERP-B")
    await refused(store, content("A-S", title="x"), "A-S", "variants")
    await refused(store, content("X", title="x"), "X")
    for by, name in (("external_id", "ERP-A"), ("handle", "a")):
        other = await opened(shop, product=by)
        await taken(other, content(name, title=by))
        await refused(other, content("A-S", title="x"), "A-S")
        await other.close()
    other = await opened(shop, product="external_id")
    await refused(other, content("ERP-B", title="x"), "several", "prod_")
    await other.close()


async def test_another_locale_is_refused(shop: Medusa, store: Store) -> None:
    shop.product("A")
    await refused(store, content("A", "fr", title="x"), "fr")
    french = await opened(shop, locale="fr")
    await taken(french, content("A", "fr", title="Boulon"))
    await french.close()


# Images


async def test_images_go_by_position_and_keep_their_ids(shop: Medusa, store: Store) -> None:
    product = shop.product("A", images=[{"id": "img_b", "url": "https://i.example/b.jpg", "rank": 0}])
    images = [
        {"url": "https://i.example/b.jpg", "position": 2, "alt": "behind"},
        {"url": "https://i.example/a.jpg", "position": 1},
    ]
    await taken(store, content("A", title="x", images=images))
    product = shop.products[product["id"]]
    assert [image["url"][-5:] for image in product["images"]] == ["a.jpg", "b.jpg"]
    assert product["images"][1]["id"] == "img_b"
    assert product["thumbnail"] == "https://i.example/a.jpg"
    await taken(store, content("A", title="x", images=[]))
    product = shop.products[product["id"]]
    assert (product["images"], product["thumbnail"]) == ([], None)


async def test_the_same_image_twice_is_shown_twice(shop: Medusa, store: Store) -> None:
    product = shop.product("A")
    await taken(store, content("A", images=[{"url": "https://i.example/a.jpg"}, {"url": "https://i.example/a.jpg"}]))
    assert len({image["id"] for image in shop.products[product["id"]]["images"]}) == 2


async def test_an_image_that_is_bytes_is_uploaded_once(shop: Medusa) -> None:
    for sku in ("A", "B"):
        shop.product(sku)
    gallery = Gallery()
    store = await opened(shop, gallery)
    for sku in ("A", "B", "A"):
        await taken(store, content(sku, title="x", images=[{"sha256": HASH}]))
    assert list(shop.files.values()) == [BYTES]
    [url] = shop.files
    assert url.endswith(f"{HASH}.png")
    assert {product["thumbnail"] for product in shop.products.values()} == {url}
    assert gallery.opened == 1
    await store.close()


async def test_an_image_that_is_sent_before_is_found_by_its_document(shop: Medusa) -> None:
    gallery = Gallery()
    store = await opened(shop, gallery)
    shop.product("A")
    assert isinstance(store, TakesFiles)
    one = content("A", title="x", images=[{"sha256": HASH}, {"url": "https://i.example/a.jpg"}])
    for _ in range(2):
        await store.send_files("content", [one])
        await store.send_files("content", [content("A", title="x")])
    assert (list(shop.files.values()), len(shop.writes())) == ([BYTES], 1)
    await taken(store, one)
    assert (len(shop.files), gallery.opened) == (1, 1)
    gallery.error = StoreError("no such image", code="E-PICTURE-MISSING", retry=Retry.NEVER)
    await store.send_files("content", [content("A", images=[{"sha256": "0" * 64}])])  # its document is told
    await store.close()


async def test_a_shop_that_takes_no_image_is_told_when_images_are_sent(shop: Medusa) -> None:
    store = await opened(shop, Gallery())
    assert isinstance(store, TakesFiles)
    shop.inject(Empty500(), entity="uploads")
    with pytest.raises(StoreError):
        await store.send_files("content", [content("A", images=[{"sha256": HASH}])])
    await store.close()


@pytest.mark.parametrize(("retry", "status"), [(Retry.NEVER, Status.REJECTED), (Retry.LATER, Status.RETRY)])
@pytest.mark.parametrize("where", ["", "entity.content.images.sql"])
async def test_an_image_that_cannot_be_had_holds_its_document_alone(
    shop: Medusa, retry: Retry, status: Status, where: str
) -> None:
    for sku in ("A", "B"):
        shop.product(sku)
    gallery = Gallery()
    gallery.error = StoreError("no such image", code="E-PICTURE-MISSING", retry=retry, where=where)
    store = await opened(shop, gallery)
    said = await store.apply("content", [content("A", title="x", images=[{"sha256": HASH}]), content("B", title="x")])
    assert {each.id: (each.status, each.code) for each in said} == {
        "A|default": (status, "E-PICTURE-MISSING"), "B|default": (Status.OK, ""),
    }  # fmt: skip
    await store.close()


async def test_a_shop_that_takes_no_upload_is_no_fault_of_the_image(shop: Medusa) -> None:
    shop.product("A")
    store = await opened(shop, Gallery())
    shop.inject(Empty500(), entity="uploads")
    with pytest.raises(StoreError) as caught:
        await store.apply("content", [content("A", images=[{"sha256": HASH}])])
    assert (caught.value.code, caught.value.where) == (answers.FAILED, "store.main")
    await store.close()


# Categories


async def test_categories_by_name_or_path_beside_those_that_others_set(shop: Medusa, store: Store) -> None:
    tools, sale = shop.category("Tools"), shop.category("Sale")
    hammers, other = shop.category("Hammers", tools), shop.category("Hammers", sale)
    product = shop.product("A", categories=[sale])
    await taken(store, content("A", categories=["Tools > Hammers"]))
    assert shop.products[product["id"]]["categories"] == [hammers, sale]
    await taken(store, content("A", categories=["Sale > Hammers", "Tools"]))
    assert shop.products[product["id"]]["categories"] == [other, tools, sale]
    await taken(store, content("A", categories=[]))
    assert shop.products[product["id"]]["categories"] == [sale]
    await refused(store, content("A", categories=["Hammers"]), "several", "Hammers")
    await refused(store, content("A", categories=["Nails"]), "no category", "Nails")


# Taken down, changed by hand


async def test_content_that_is_removed_makes_a_draft_and_comes_back_published(shop: Medusa, store: Store) -> None:
    product = shop.product("A")
    await taken(store, content("A", title="x"))
    gone = Patch("A|default", 2, 0, None, {"sku": "A", "locale": "default"})
    for _ in range(2):
        assert (await outcome(store, gone)).status is Status.OK
        assert shop.products[product["id"]]["status"] == "draft"
        assert await store.fetch("content", ["A|default"]) == {}
    await taken(store, content("A", title="x"))
    assert shop.products[product["id"]]["status"] == "published"


async def test_a_draft_of_the_shops_own_stays_one(shop: Medusa, store: Store) -> None:
    product = shop.product("A", status="draft")
    await taken(store, content("A", title="x"))
    assert shop.products[product["id"]]["status"] == "draft"


async def test_what_was_changed_by_hand_is_seen(shop: Medusa, store: Store) -> None:
    tools = shop.category("Tools")
    product = shop.product("A")
    one = content("A", title="x", images=[{"url": "https://i.example/a.jpg"}], categories=["Tools"])
    await taken(store, one)
    by_hand = {"title": "y", "images": [{"id": "img", "url": "https://i.example/z.jpg", "rank": 0}], "categories": []}
    shop.products[product["id"]].update(by_hand)
    assert one.fields is not None
    seen = differing(one.fields, (await store.fetch("content", [one.id]))[one.id])
    assert set(seen) == {"title", "images", "categories"}
    await taken(store, one)
    assert shop.products[product["id"]]["categories"] == [tools]


async def test_a_handle_that_another_product_has_is_for_halving(shop: Medusa, store: Store) -> None:
    shop.product("A", handle="bolt")
    shop.product("B")
    with pytest.raises(StoreError) as caught:
        await store.apply("content", [content("B", handle="bolt")])
    assert (caught.value.code, caught.value.retry) == (answers.REFUSED, Retry.NEVER)
    assert "bolt" in caught.value.message


async def test_many_products_are_one_call(shop: Medusa, store: Store) -> None:
    for n in range(50):
        shop.product(f"A{n}")
    said = await store.apply("content", [content(f"A{n}", title="x") for n in range(50)])
    assert {each.status for each in said} == {Status.OK}
    assert len(shop.writes()) == 1
    assert len(shop.calls) == 3

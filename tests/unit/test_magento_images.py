"""Laws of images in the `magento` adapter: by the media interface, known by their hash, what people added left alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store.base import Store, StoreSettings
from adapters.store.magento import create
from daemon.drift import differing
from daemon.errors import Retry, StoreError
from daemon.model import Limits, Outcome, Patch, Status
from tests.doubles.faults import FailAfterWrite
from tests.doubles.magento import MagentoShop
from tests.doubles.pictures import Album

TOKEN = "integration-token"
OPTIONS = {"content_note": "erp_note", "locales": {"en": "all", "de": "german"}}
ROLES = ["image", "small_image", "thumbnail"]


@pytest.fixture
async def shop() -> AsyncIterator[MagentoShop]:
    async with MagentoShop(token=TOKEN) as server:
        server.products |= {"A", "B", "a b&%", "s/1"}
        yield server


@pytest.fixture
def album() -> Album:
    return Album(piece=2)


@pytest.fixture
async def store(shop: MagentoShop, album: Album) -> AsyncIterator[Store]:
    async with opened(shop, album) as one:
        yield one


@contextlib.asynccontextmanager
async def opened(shop: MagentoShop, album: Album, **options: Any) -> AsyncIterator[Store]:
    given = {**OPTIONS, **options, "entities": ["content"]}
    kinds = {"content": "content"}
    store = create(StoreSettings("main", shop.root, TOKEN, 20.0, Limits(), given, kinds, pictures=album))
    await store.open()
    yield store
    await store.close()


def page(sku: str, *images: Mapping[str, Any], locale: str = "en", title: str = "Bolt") -> Patch:
    identity = {"sku": sku, "locale": locale}
    fields = {**identity, "title": title, "images": list(images)}
    return Patch(f"{sku}|{locale}", 1, 0, fields, identity, frozenset(fields))


async def outcome(store: Store, patch: Patch) -> Outcome:
    [one] = await store.apply("content", [patch])
    return one


async def done(store: Store, *patches: Patch) -> None:
    """They are taken, and fetch and scan say them back."""
    outcomes = await store.apply("content", patches)
    assert {(one.status, one.error) for one in outcomes} == {(Status.OK, "")}
    await shown(store, *patches)


async def shown(store: Store, *patches: Patch) -> None:
    fetched = await store.fetch("content", [patch.id for patch in patches])
    scanned = {id_: fields async for id_, fields in store.scan("content")}
    for patch in patches:
        for found in (fetched, scanned):
            assert differing(patch.fields or {}, found[patch.id]) == {}


def gallery(shop: MagentoShop, sku: str = "A") -> list[tuple[bytes, int, list[str]]]:
    """(bytes, position, roles) of a product's images, by position."""
    entries = shop.gallery.get(sku, [])
    return sorted(((shop.files.get(e["file"], b""), e["position"], e["types"]) for e in entries), key=lambda e: e[1])


def theirs(shop: MagentoShop, *types: str) -> dict[str, Any]:
    """An image that somebody in the shop adds."""
    shop.entries += 1
    entry: dict[str, Any] = {"id": shop.entries, "media_type": "image", "label": "spring", "position": 9}
    entry |= {"disabled": False, "types": list(types), "file": "/s/p/spring.jpg"}
    for each in shop.gallery.setdefault("A", []):
        each["types"] = [role for role in each["types"] if role not in types]
    shop.gallery["A"].append(entry)
    return entry


@pytest.mark.parametrize("lists", [True, False])
async def test_images_are_in_order_and_the_first_has_the_roles(
    shop: MagentoShop, store: Store, album: Album, lists: bool
) -> None:
    shop.lists_galleries = lists  # some versions of Magento leave it out of a search
    one, two = album.add(b"one"), album.add(b"second", "https://erp.example/2.png")
    first = {"sha256": one, "position": 10, "alt": "front"}
    second = {"url": "https://erp.example/2.png", "position": 20}
    await done(store, page("A", second, first), page("a b&%", first))
    assert gallery(shop) == [(b"one", 1, ROLES), (b"second", 2, [])]
    assert [entry["label"] for entry in shop.gallery["A"]] == ["front", ""]
    assert all(entry["file"].count(digest) for entry, digest in zip(shop.gallery["A"], (one, two), strict=True))


async def test_what_is_there_is_neither_opened_nor_written_again(shop: MagentoShop, store: Store, album: Album) -> None:
    images = [{"sha256": album.add(b"one")}, {"url": "https://erp.example/2.png"}]
    album.add(b"second", "https://erp.example/2.png")
    await done(store, page("A", *images))
    opened_before, entries = len(album.opened), [dict(entry) for entry in shop.gallery["A"]]
    async with opened(shop, album) as another:
        await done(another, page("A", *images, title="Nut"))
    assert len(album.opened) == opened_before
    assert shop.gallery["A"] == entries
    assert {call.entity for call in shop.writes() if call.method != "POST"} == set()


@pytest.mark.parametrize("fault", [FailAfterWrite(drop=True), FailAfterWrite()])
async def test_whichever_answer_is_lost_an_image_is_one_entry(
    shop: MagentoShop, store: Store, album: Album, fault: FailAfterWrite
) -> None:
    patch = page("A", {"sha256": album.add(b"one")}, {"sha256": album.add(b"second")})
    shop.inject(fault, write=True)
    for _ in range(3):  # two images and the product: each is taken, and its answer lost
        with pytest.raises(StoreError) as caught:
            await store.apply("content", [patch])
        assert caught.value.retry is Retry.LATER
    shop.clear()
    await done(store, patch)
    assert gallery(shop) == [(b"one", 1, ROLES), (b"second", 2, [])]


async def test_another_order_moves_the_roles(shop: MagentoShop, store: Store, album: Album) -> None:
    one, two, three = ({"sha256": album.add(data)} for data in (b"one", b"second", b"third"))
    await done(store, page("A", one, two))
    await done(store, page("A", two, one))
    assert gallery(shop) == [(b"second", 1, ROLES), (b"one", 2, [])]
    await done(store, page("A", three, one))
    assert gallery(shop) == [(b"third", 1, ROLES), (b"one", 2, [])]
    await done(store, page("A"))
    assert gallery(shop) == []


async def test_what_people_added_stays_but_for_the_roles(shop: MagentoShop, store: Store, album: Album) -> None:
    entry = theirs(shop, *ROLES, "swatch_image")
    patch = page("A", {"sha256": album.add(b"one")})
    await done(store, patch)
    assert gallery(shop)[0] == (b"one", 1, ROLES)
    assert (entry["label"], entry["position"], entry["disabled"]) == ("spring", 9, False)
    await done(store, page("A"))
    assert shop.gallery["A"] == [entry]
    await done(store, page("A", title="Nut"))
    assert shop.gallery["A"] == [entry]


async def test_what_was_changed_by_hand_is_shown_as_it_is_and_mended(
    shop: MagentoShop, store: Store, album: Album
) -> None:
    images = [{"sha256": album.add(data), "position": n} for n, data in enumerate((b"one", b"second"), 1)]
    patch = page("A", *images)
    await done(store, patch)

    async def drift() -> Any:
        return (await store.fetch("content", ["A|en"]))["A|en"]["images"]

    shop.gallery["A"][0]["position"] = 5
    assert await drift() == [{"url": shop.gallery["A"][0]["file"]}, *images[::-1]]
    await done(store, patch)
    shop.gallery["A"][1]["disabled"] = True
    assert await drift() == images[:1]
    await done(store, patch)
    shop.gallery["A"][0]["label"] = "by hand"
    assert await drift() == [{**images[0], "alt": "by hand"}, images[1]]
    await done(store, patch)
    entry = theirs(shop, *ROLES)
    assert await drift() == [{"url": entry["file"]}, *images]
    await done(store, patch)
    assert entry["types"] == []
    shop.gallery["A"].pop(0)
    assert await drift() == [{"url": None}, images[1]]
    await done(store, patch)


async def test_images_of_one_locale_do_not_take_away_those_of_another(
    shop: MagentoShop, store: Store, album: Album
) -> None:
    one, two, three = ({"sha256": album.add(data), "alt": data.decode()} for data in (b"one", b"second", b"third"))
    english, german = page("A", one), page("A", one, two, locale="de")
    await done(store, english, german)
    await shown(store, english, german)
    assert [data for data, _, _ in gallery(shop)] == [b"one", b"second"]
    assert [entry["label"] for entry in shop.gallery["A"]] == ["one", ""]  # the first locale's texts are for all views
    await done(store, page("A", three), page("A", three, locale="de"))
    assert [data for data, _, _ in gallery(shop)] == [b"third"]


async def test_an_upload_that_was_made_twice_is_one_image_again(shop: MagentoShop, store: Store, album: Album) -> None:
    patch = page("A", {"sha256": album.add(b"one")})
    await done(store, patch)
    late = {
        **shop.gallery["A"][0],
        "id": 77,
        "types": [],
        "file": shop.gallery["A"][0]["file"].replace(".png", "_1.png"),
    }
    shop.gallery["A"].append(late)
    await done(store, patch)
    assert len(shop.gallery["A"]) == 1


async def test_an_image_that_cannot_be_had_or_shown_is_told_of_its_document_alone(
    shop: MagentoShop, store: Store, album: Album
) -> None:
    odd = {"sha256": album.add(b"webp", kind="image/webp")}
    bad = [
        (page("A", odd), "MIME type"),
        (page("A", {"sha256": "0" * 64}), "none of the sources"),
        (page("A", {"url": "https://erp.example/x", "position": "first"}), "position"),
        (page("s/1", odd), "slash"),
    ]
    for patch, word in bad:
        told = {one.id: one for one in await store.apply("content", [patch, page("B", title="Nut")])}
        assert told[patch.id].status is Status.REJECTED
        assert word in told[patch.id].error
        assert told["B|en"].status is Status.OK
        assert ("all", patch.identity["sku"]) not in shop.views


async def test_a_note_that_the_product_has_no_attribute_for_is_told(
    shop: MagentoShop, store: Store, album: Album
) -> None:
    shop.lacks.add("erp_note")
    told = await outcome(store, page("A", {"sha256": album.add(b"one")}))
    assert told.status is Status.REJECTED
    assert "erp_note" in told.error


async def test_without_a_note_images_are_refused_with_the_remedy(shop: MagentoShop, album: Album) -> None:
    async with opened(shop, album, content_note="") as store:
        told = await outcome(store, page("A", {"sha256": album.add(b"one")}))
    assert told.status is Status.REJECTED
    assert "options.content_note" in told.error
    assert not shop.writes()

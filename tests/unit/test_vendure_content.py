"""Laws of content in the `vendure` adapter: texts by language, images uploaded once, and nothing of the shop's own lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import vendure
from adapters.store.base import Store, StoreSettings, TakesFiles
from adapters.store.loan import NO_PICTURE, NoPictures, Pictures
from daemon.errors import ConfigError, Retry, StoreError
from daemon.model import Fields, Limits, Outcome, Patch, Status
from tests.doubles.faults import Empty500, FailAfterWrite
from tests.doubles.pictures import Album
from tests.doubles.vendure import Vendure
from tests.doubles.vendure_products import LARGEST_FILE

TOKEN = "k3y-of-the-shop"
KINDS = {"content": "content"}
OPTIONS: dict[str, Any] = {"entities": ["content"], "product_note": "erpContent"}
LOCALES = {"default": "en", "de_DE": "de"}
MANY = {"locales": LOCALES, "attributes": {"Material": "material"}}


@pytest.fixture
async def shop() -> AsyncIterator[Vendure]:
    async with Vendure(token=TOKEN) as shop:
        shop.variant("A")
        yield shop


@pytest.fixture
def album() -> Album:
    return Album(piece=1000)


@pytest.fixture
async def store(shop: Vendure, album: Album) -> AsyncIterator[Store]:
    async with opened(shop, album, **MANY) as store:
        yield store


def settings(
    url: str = "http://127.0.0.1:1/admin-api", pictures: Pictures | None = None, **options: Any
) -> StoreSettings:
    given = {**OPTIONS, **options}
    return StoreSettings("main", url, TOKEN, 20.0, Limits(), given, KINDS, pictures=pictures or NoPictures())


@contextlib.asynccontextmanager
async def opened(shop: Vendure, album: Album | None = None, **options: Any) -> AsyncIterator[Store]:
    store = vendure.create(settings(f"{shop.root}/admin-api", album, **options))
    await store.open()
    yield store
    await store.close()


def page(sku: str, locale: str = "default", **fields: Any) -> Patch:
    identity = {"sku": sku, "locale": locale}
    return Patch(f"{sku}|{locale}", 1, 0, {**identity, **fields} if fields else None, identity, frozenset(fields))


async def outcome(store: Store, patch: Patch) -> Outcome:
    [one] = await store.apply("content", [patch])
    return one


async def done(store: Store, *patches: Patch) -> None:
    outcomes = await store.apply("content", patches)
    assert {one.status for one in outcomes} == {Status.OK}, outcomes


async def assert_shown(store: Store, *patches: Patch) -> None:
    """What `fetch` and `scan` give is what the documents say, in every field that they have."""
    ids = sorted(patch.id for patch in patches)
    fetched = await store.fetch("content", ids)
    scanned = [item async for item in store.scan("content")]
    assert [id_ for id_, _ in scanned] == ids
    assert dict(scanned) == fetched
    for patch in patches:
        assert patch.fields is not None
        assert {name: fetched[patch.id][name] for name in patch.fields} == patch.fields


def product(shop: Vendure, sku: str = "A") -> dict[str, Any]:
    return shop.products.known[shop.of(sku)["product"]]


def data_of(shop: Vendure, sku: str = "A") -> list[bytes]:
    """The images of a product, in their order."""
    return [shop.products.files[each] for each in product(shop, sku)["assets"]]


async def test_texts_attributes_and_images_are_shown_in_each_language(
    shop: Vendure, store: Store, album: Album
) -> None:
    first, second = b"\r\n--one\x00\x0b\x1c\xff" * 300, b"two"
    one, two = album.add(first), album.add(second)
    images = [{"sha256": two, "position": 20}, {"sha256": one, "position": 10, "alt": "front"}]
    english = page("A", title="Bolt", description_html="<p>x</p>", attributes={"Material": "steel"}, images=images)
    german = page("A", "de_DE", title="Bolzen", description_html=None, attributes=None, images=images)
    await done(store, german, english)
    assert data_of(shop) == [first, second]
    assert product(shop)["featured"] == product(shop)["assets"][0]
    assert product(shop)["translations"] == {
        "en": {"name": "Bolt", "slug": "a", "description": "<p>x</p>"},
        "de": {"name": "Bolzen", "slug": "bolzen", "description": ""},
    }
    assert product(shop)["localised"] == {"en": {"material": "steel"}, "de": {}}
    await assert_shown(store, english, german)


async def test_the_same_patch_twice_writes_uploads_and_opens_nothing_the_second_time(
    shop: Vendure, store: Store, album: Album
) -> None:
    patch = page("A", title="Bolt", images=[{"sha256": album.add(b"one")}])
    await done(store, patch)
    writes = len(shop.writes())
    async with opened(shop, album, **MANY) as another:  # a process that was started anew knows nothing
        for one in (store, another):
            await done(one, patch)
    assert len(shop.writes()) == writes
    assert len(album.opened) == 1


async def test_an_image_of_many_products_is_uploaded_once(shop: Vendure, store: Store, album: Album) -> None:
    one = album.add(b"one", "http://erp.example/one.png")
    shop.variant("B")
    await done(
        store,
        page("A", title="A", images=[{"sha256": one}]),
        page("B", title="B", images=[{"url": "http://erp.example/one.png"}]),
    )
    assert list(shop.products.files.values()) == [b"one"]
    assert data_of(shop, "A") == data_of(shop, "B") == [b"one"]


async def test_images_that_are_sent_before_are_found_by_their_documents(
    shop: Vendure, store: Store, album: Album
) -> None:
    assert isinstance(store, TakesFiles)
    one, two = album.add(b"one"), album.add(b"two")
    shop.variant("B")
    pages = [
        page("A", title="a", images=[{"sha256": one}, {"sha256": "0" * 64}]),
        page("B", title="b", images=[{"sha256": two}, {"sha256": one}, {"url": "https://i.example/later.png"}]),
    ]
    for _ in range(2):
        await store.send_files("content", pages)
        assert sorted(shop.products.files.values()) == [b"one", b"two"], "and one that is nowhere stops none"
    await store.send_files("content", [page("A", title="a")])
    assert [call.entity for call in shop.writes()] == ["upload", "upload"]
    await done(store, page("A", title="a", images=[{"sha256": one}]), page("B", title="b", images=[{"sha256": two}]))
    assert [call.entity for call in shop.writes()] == ["upload", "upload", "content", "content"]


async def test_a_shop_that_takes_no_image_is_told_when_images_are_sent(
    shop: Vendure, store: Store, album: Album
) -> None:
    assert isinstance(store, TakesFiles)
    digest = album.add(b"one")
    await shop.stop()
    with pytest.raises(StoreError):
        await store.send_files("content", [page("A", title="a", images=[{"sha256": digest}])])


async def test_an_address_is_fetched_once_and_again_when_the_shop_lost_its_image(
    shop: Vendure, store: Store, album: Album
) -> None:
    url = "http://erp.example/one.png"
    album.add(b"one", url)
    await done(store, page("A", title="A", images=[{"url": url}]))
    patch = page("A", title="B", images=[{"url": url}])
    await done(store, patch)
    assert album.opened == [url]
    shop.products.assets.clear()
    product(shop).update(assets=[], featured=None)
    assert (await store.fetch("content", ["A|default"]))["A|default"]["images"] == []
    await done(store, patch)
    assert album.opened == [url, url]
    await assert_shown(store, patch)


@pytest.mark.parametrize("fault", [FailAfterWrite(drop=True), FailAfterWrite()])
async def test_whichever_answer_is_lost_an_image_is_one_asset(
    shop: Vendure, store: Store, album: Album, fault: FailAfterWrite
) -> None:
    images = [{"sha256": album.add(data)} for data in (b"one", b"two")]
    patch = page("A", title="Bolt", images=images)
    shop.inject(fault, write=True)
    for _ in range(3):  # two uploads and the product: each is taken, and its answer lost
        with pytest.raises(StoreError) as caught:
            await store.apply("content", [patch])
        assert caught.value.retry is Retry.LATER
    shop.clear()
    await done(store, patch)
    assert list(shop.products.files.values()) == [b"one", b"two"]
    await assert_shown(store, patch)


async def test_an_image_that_is_gone_leaves_the_product_and_what_people_added_stays(
    shop: Vendure, store: Store, album: Album
) -> None:
    one, two = album.add(b"one"), album.add(b"two")
    await done(store, page("A", title="A", images=[{"sha256": one}, {"sha256": two}]))
    theirs = shop.products.asset("theirs.png", ["spring"], b"theirs")
    product(shop)["assets"].insert(0, theirs)
    await done(store, page("A", title="A", images=[{"sha256": two}]))
    assert data_of(shop) == [b"two", b"theirs"]
    patch = page("A", title="A", images=[])
    await done(store, patch)
    assert data_of(shop) == [b"theirs"]
    await assert_shown(store, patch)
    await done(store, page("A", title="B"))
    assert data_of(shop) == [b"theirs"]
    assert set(shop.products.files.values()) == {b"one", b"two", b"theirs"}  # the library is the shop's


async def test_what_was_changed_by_hand_is_shown_as_it_is_and_mended(shop: Vendure, store: Store, album: Album) -> None:
    one, two = album.add(b"one"), album.add(b"two")
    images = [{"sha256": one, "position": 1}, {"sha256": two, "position": 2}]
    patch = page("A", title="A", description_html="x", attributes={"Material": "steel"}, images=images)
    await done(store, patch)
    held = product(shop)
    theirs = shop.products.asset("theirs.png", [])
    other, mine = ({"url": f"http://shop.example/{name}"} for name in ("theirs.png", f"{two[:16]}.png"))
    by_hand: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"assets": held["assets"][::-1]}, {"images": images[::-1]}),
        ({"assets": held["assets"][:1]}, {"images": images[:1]}),
        ({"assets": [*held["assets"], theirs], "featured": theirs}, {"images": [other, *images]}),
        ({"featured": held["assets"][1]}, {"images": [mine, *images]}),
        ({"featured": None}, {"images": [{"url": None}, *images]}),
        ({"translations": {"en": {**held["translations"]["en"], "name": "Z"}}}, {"title": "Z"}),
        ({"translations": {"en": {**held["translations"]["en"], "description": ""}}}, {"description_html": ""}),
        ({"localised": {"en": {"material": "tin"}}}, {"attributes": {"Material": "tin"}}),
    ]  # fmt: skip
    for change, drift in by_hand:
        held.update(change)
        shown = (await store.fetch("content", [patch.id]))[patch.id]
        assert {name: value for name, value in shown.items() if name != "slug"} == {**(patch.fields or {}), **drift}
        await done(store, patch)
        await assert_shown(store, patch)


async def test_images_of_one_language_do_not_take_away_those_of_another(
    shop: Vendure, store: Store, album: Album
) -> None:
    one, two, three = (album.add(data) for data in (b"one", b"two", b"three"))
    english, german = (
        page("A", title="A", images=[{"sha256": one}]),
        page("A", "de_DE", title="A", images=[{"sha256": two}]),
    )
    await done(store, english, german)
    assert sorted(data_of(shop)) == [b"one", b"two"]
    await assert_shown(store, english, german)
    both = [page("A", locale, title="A", images=[{"sha256": three}]) for locale in LOCALES]
    await done(store, *both)
    assert data_of(shop) == [b"three"]
    await assert_shown(store, *both)


async def test_an_attribute_that_is_gone_is_emptied_and_one_of_the_shops_own_is_left(shop: Vendure) -> None:
    places = {"Material": "material", "Power": "wattage", "Fragile": "fragile"}
    held = product(shop)["customFields"]
    async with opened(shop, attributes=places) as store:
        await done(store, page("A", title="A", attributes={"Material": "tin", "Power": 5}))
        held["fragile"] = True
        assert (held["wattage"], product(shop)["localised"]["en"]["material"]) == (5, "tin")
        patch = page("A", title="A", attributes={"Material": "tin"})
        await done(store, patch)
        assert (held["wattage"], held["fragile"]) == (None, True)
        await assert_shown(store, patch)


async def test_a_text_that_the_shop_alters_is_not_acknowledged(shop: Vendure, store: Store) -> None:
    shop.products.alters = lambda text: text.replace("<script>", "")
    told = await outcome(store, page("A", title="A", description_html="<script>x"))
    assert (told.status, told.code) == (Status.REJECTED, "E-STORE-REJECTED")
    assert "description 'x'" in told.error


async def test_a_slug_that_is_taken_is_told(shop: Vendure, store: Store) -> None:
    shop.variant("B")
    told = await outcome(store, page("A", title="A", slug="b"))
    assert "slug 'b-2'" in told.error
    patch = page("A", title="A", slug="bolt")
    await done(store, patch)
    await assert_shown(store, patch)


async def test_a_language_that_is_new_needs_a_title(shop: Vendure, store: Store) -> None:
    told = await outcome(store, page("A", "de_DE", description_html="x"))
    assert told.status is Status.REJECTED
    assert "`title` is missing" in told.error
    assert not shop.writes()
    patch = page("A", title=None, description_html="x")  # the title of a language that is there is the shop's
    await done(store, patch)
    assert product(shop)["translations"]["en"]["name"] == "A"
    await assert_shown(store, patch)


async def test_content_that_goes_hides_the_product_with_its_last_language(shop: Vendure, store: Store) -> None:
    english, german = page("A", title="A"), page("A", "de_DE", title="B")
    await done(store, english, german)
    await done(store, page("A", "de_DE"))
    assert product(shop)["enabled"] is True
    await assert_shown(store, english)
    for _ in range(2):
        await done(store, page("A"))
    assert product(shop)["enabled"] is False
    assert [item async for item in store.scan("content")] == []
    await done(store, english)
    assert product(shop)["enabled"] is True


async def test_a_product_that_people_hid_stays_hidden(shop: Vendure, store: Store) -> None:
    await done(store, page("A", title="A"))
    product(shop)["enabled"] = False
    await done(store, page("A", title="B"))
    assert product(shop)["enabled"] is False


async def test_a_note_that_people_spoilt_is_no_stumbling_block(shop: Vendure, store: Store, album: Album) -> None:
    patch = page("A", title="A", images=[{"sha256": album.add(b"one")}])
    for spoilt in (
        "x",
        "[]",
        '{"en": 1}',
        '{"en": {"images": 3, "hashes": [1]}}',
        '{"en": {"images": ["x"], "hashes": ["y"]}}',
    ):
        product(shop)["customFields"]["erpContent"] = spoilt
        await store.fetch("content", [patch.id])
        await done(store, patch)
        await assert_shown(store, patch)


# Which product


async def test_a_product_of_several_variants_is_found_by_its_custom_field_alone(shop: Vendure) -> None:
    whole = shop.products.add("Bolt", article="P-1")
    for sku in ("B-1", "B-2"):
        shop.variant(sku, product=whole)
    async with opened(shop) as store:
        told = await outcome(store, page("B-1", title="A"))
        assert (told.status, told.code) == (Status.REJECTED, "E-STORE-UNMAPPED")
        assert "several variants" in told.error
    async with opened(shop, product="erpArticle") as store:
        patch = page("P-1", title="Bolts")
        await done(store, patch)
        assert shop.products.known[whole]["translations"]["en"]["name"] == "Bolts"
        await assert_shown(store, patch)
        shop.products.add("Bolt", article="P-1")
        told = await outcome(store, page("P-1", title="Bolts"))
        assert "more than one product" in told.error
        assert await store.fetch("content", ["P-1|default"]) == {}
        assert store.remote("content", patch) == "product:P-1"


async def test_content_and_stock_of_an_article_never_go_at_once(shop: Vendure) -> None:
    given = settings(f"{shop.root}/admin-api")
    kinds = {"content": "content", "stock": "stock"}
    store = vendure.create(
        StoreSettings("main", given.url, TOKEN, 20.0, Limits(), {**OPTIONS, "entities": list(kinds)}, kinds)
    )
    assert store.remote("content", page("A", title="A")) == store.remote("stock", page("A", title="A")) == "sku:A"


@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (page("NOSUCH", title="x"), "NOSUCH"),
        (page("A", "fr_FR", title="x"), "fr_FR"),
        (page("A", title="x", categories=["Tools"]), "categories"),
        (page("A", title="x", attributes={"Colour": "red"}), "attribute Colour"),
        (page("A", title="x", attributes={"Material": "red"}, keywords="k"), "keywords"),
        (page("A", title=5), "`title`"),
        (page("A", title="x", images=[{"url": "http://x", "position": "first"}]), "position"),
        (page("A", title="x", images=[{"sha256": "0" * 64}]), "none of the sources"),
    ],
)
async def test_what_has_no_place_is_refused_alone_and_before_any_write(
    shop: Vendure, store: Store, patch: Patch, word: str
) -> None:
    shop.variant("B")
    told = {one.id: one for one in await store.apply("content", [patch, page("B", title="B")])}
    assert (told[patch.id].status, told["B|default"].status) == (Status.REJECTED, Status.OK)
    assert word in told[patch.id].error
    assert product(shop)["translations"]["en"]["name"] == "A"


async def test_an_empty_list_needs_no_place(shop: Vendure, store: Store) -> None:
    await done(store, page("A", title="A", categories=[], keywords=None))


async def test_an_image_that_the_shop_does_not_take_is_told(shop: Vendure, store: Store, album: Album) -> None:
    large, odd = album.add(b"x" * (LARGEST_FILE + 1)), album.add(b"pdf", kind="application/pdf")
    for digest, code in ((large, "E-STORE-REFUSED"), (odd, "E-STORE-REJECTED")):
        told = await outcome(store, page("A", title="B", images=[{"sha256": digest}]))
        assert (told.status, told.code) == (Status.REJECTED, code)
    assert product(shop)["translations"]["en"]["name"] == "A"


async def test_without_a_source_of_images_their_document_alone_is_refused(shop: Vendure) -> None:
    shop.variant("B")
    async with opened(shop) as store:
        patches = [page("A", title="A", images=[{"sha256": "0" * 64}]), page("B", title="B")]
        told = {one.id: one for one in await store.apply("content", patches)}
    assert told["A|default"].code == NO_PICTURE
    assert told["B|default"].status is Status.OK


async def test_a_language_that_fails_does_not_make_the_next_one_forget_it(
    shop: Vendure, store: Store, album: Album
) -> None:
    one = album.add(b"one")
    shop.products.alters = lambda text: text.strip()
    german = page("A", "de_DE", title="B", description_html=" x", images=[{"sha256": one}])  # written, and not ok
    english = page("A", title="A")
    told = {each.id: each.status for each in await store.apply("content", [german, english])}
    assert told == {german.id: Status.REJECTED, english.id: Status.OK}
    shown: Mapping[str, Fields] = await store.fetch("content", [german.id, english.id])
    assert shown[german.id]["images"] == [{"sha256": one}]


async def test_a_failure_amid_several_products_tells_what_was_done(shop: Vendure, store: Store) -> None:
    shop.variant("B")
    await done(store, page("A", title="A"))
    shop.inject(Empty500(), entity="content")
    told = {one.id: one.status for one in await store.apply("content", [page("A", title="A"), page("B", title="C")])}
    assert told == {"A|default": Status.OK, "B|default": Status.RETRY}


async def test_a_session_carries_an_upload_too(shop: Vendure, album: Album) -> None:
    one = album.add(b"one")
    async with opened(shop, album, auth="login", user="erp") as store:
        await done(store, page("A", title="A", images=[{"sha256": one}]))
    assert data_of(shop) == [b"one"]
    assert shop.logins == 1


# Set-up


@pytest.mark.parametrize(
    "wrong",
    [
        {"product_note": "nosuch"},
        {"product_note": "erpArticle"},
        {"product": "nosuch"},
        {"attributes": {"Colour": "nosuch"}},
        {"attributes": {"Power": "wattage"}, "locales": LOCALES},
    ],
)
async def test_check_says_what_the_shop_lacks_for_content(shop: Vendure, wrong: dict[str, Any]) -> None:
    async with opened(shop, **MANY) as store:
        await store.check()
    async with opened(shop, **wrong) as store:
        with pytest.raises(StoreError) as caught:
            await store.check()
        assert (caught.value.code, caught.value.retry) == ("E-STORE-MISFIT", Retry.OPERATOR)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"product_note": ""}, "product_note"),
        ({"product_note": "a.b"}, "product_note"),
        ({"product": "a b"}, "product"),
        ({"attributes": {"Colour": "1st"}}, "attributes"),
        ({"attributes": {"Colour": "a", "Color": "a"}}, "attributes"),
        ({"locales": {"default": "en", "en_US": "en"}}, "locales"),
    ],
)
def test_an_option_of_content_that_cannot_be_honoured_is_named(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vendure.create(settings(**options))
    assert caught.value.where == f"store.main.options.{where}"

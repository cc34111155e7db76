"""Laws of content in the `shopify` adapter: texts, metafields, images that are uploaded once, translations."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from adapters.store import shopify
from adapters.store.base import Store
from adapters.store.loan import Picture, ShortMemory
from adapters.store.shopify import media
from adapters.store.shopify.images import moves
from daemon.drift import differing
from daemon.errors import Retry, StoreError
from daemon.model import Outcome, Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import ShopifyShop
from tests.doubles.shopify_content import Product
from tests.unit.test_shopify import OPTIONS, TOKEN, price, settings

LOCALES = {"locales": {"german": "de", "french": "fr"}}
UPLOAD = "upload"


class Shelf:
    """Images by hash and by address; what it does not hold is broken, `away` cannot be reached."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self.opened: list[str] = []

    def add(self, content: bytes, **more: Any) -> dict[str, Any]:
        """An entry of `images` that names its content."""
        name = hashlib.sha256(content).hexdigest()
        self.bytes[name] = content
        return {"sha256": name, **more}

    @contextlib.asynccontextmanager
    async def open(self, image: Mapping[str, Any]) -> AsyncIterator[Picture]:
        name = str(image.get("sha256") or image.get("url"))
        self.opened.append(name)
        if name == "https://away.example/a.png":
            raise StoreError("cannot be had", code="E-PICTURE-LOST", retry=Retry.LATER)
        if name not in self.bytes:
            raise StoreError(f"image {name} is in none of the sources", code="E-PICTURE-MISSING", retry=Retry.NEVER)
        content = self.bytes[name]

        async def chunks() -> AsyncIterator[bytes]:
            yield content[:3]
            yield content[3:]

        yield Picture("image/png", len(content), hashlib.sha256(content).hexdigest(), chunks())


@pytest.fixture
async def shop() -> AsyncIterator[ShopifyShop]:
    async with ShopifyShop(token=TOKEN) as made:
        yield made


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def opened(shop: ShopifyShop, shelf: Shelf, **change: Any) -> Store:
    made = shopify.create(
        settings(
            shop.root,
            **{
                "kinds": {"content": "content", "price": "price"},
                "options": {**OPTIONS, **LOCALES},
                "pictures": shelf,
                **change,
            },
        )
    )
    await made.open()
    return made


@pytest.fixture
async def store(shop: ShopifyShop, shelf: Shelf) -> AsyncIterator[Store]:
    made = await opened(shop, shelf)
    yield made
    await made.close()


def content(sku: str, locale: str = "default", **fields: Any) -> Patch:
    identity = {"sku": sku, "locale": locale}
    return Patch(f"{sku}|{locale}", 1, 0, {**identity, **fields}, identity, frozenset(fields))


def gone(sku: str, locale: str = "default") -> Patch:
    return Patch(f"{sku}|{locale}", 2, 0, None, {"sku": sku, "locale": locale})


async def one(store: Store, patch: Patch) -> Outcome:
    [outcome] = await store.apply("content", [patch])
    return outcome


async def no_drift(store: Store, *patches: Patch) -> None:
    """What was written is what is read, one by one and all together."""
    fetched = await store.fetch("content", [patch.id for patch in patches])
    scanned = {name: fields async for name, fields in store.scan("content")}
    assert set(scanned) == {patch.id for patch in patches}
    for patch in patches:
        assert patch.fields is not None
        assert differing(patch.fields, fetched[patch.id]) == {}
        assert differing(patch.fields, scanned[patch.id]) == {}


def product_of(shop: ShopifyShop, sku: str) -> Product:
    return shop.products[shop.by_sku(sku).product]


def names(shop: ShopifyShop, sku: str) -> list[str]:
    return [shop.files[number].name for number in product_of(shop, sku).media]


def writes(shop: ShopifyShop) -> int:
    return len(shop.writes())


# Texts


async def test_texts_attributes_and_categories_are_the_products(shop: ShopifyShop, store: Store) -> None:
    for number in range(25):
        shop.add(f"S{number:02}")
    patches = [
        content(
            f"S{number:02}",
            title=f"Hammer {number}",
            description_html="<p>Strong &amp; light</p>",
            handle=f"hammer-{number}",
            seo_title="Buy it",
            seo_description=None,
            attributes={"Weight kg": "1.50", "Steel": True, "Sizes": ["S", "M"], "Pieces": 3},
            categories=["Tools", "Hand tools"],
        )
        for number in range(25)
    ]
    for start in range(0, 25, 10):
        assert {o.error for o in await store.apply("content", patches[start : start + 10])} == {""}
    product = product_of(shop, "S07")
    assert product.texts == {
        "title": "Hammer 7", "descriptionHtml": "<p>Strong &amp; light</p>", "handle": "hammer-7",
    }  # fmt: skip
    assert shop.metafields[product.id, "erpsyncd", "categories"] == '["Tools","Hand tools"]'
    assert store.limits.batch_for("content") == 10
    await no_drift(store, *patches)


async def test_the_same_content_twice_is_read_and_not_written(shop: ShopifyShop, store: Store, shelf: Shelf) -> None:
    shop.add("A")
    patch = content("A", title="Hammer", description_html="", attributes={}, images=[shelf.add(b"one", alt="x")])
    assert (await one(store, patch)).status is Status.OK
    before = writes(shop)
    assert (await one(store, patch)).status is Status.OK
    assert writes(shop) == before
    await no_drift(store, patch)


async def test_what_the_document_does_not_say_is_left_alone(shop: ShopifyShop, store: Store) -> None:
    shop.add("A")
    product = product_of(shop, "A")
    product.texts["descriptionHtml"] = "<p>By the shop's people</p>"
    picture = shop.by_hand(product)
    assert (await one(store, content("A", title="Hammer"))).status is Status.OK
    assert product.texts["descriptionHtml"] == "<p>By the shop's people</p>"
    assert product.media == [picture.number]
    assert (await one(store, content("A", title="Hammer", description_html=None))).status is Status.OK
    assert product.texts["descriptionHtml"] == "", "a field that is null is empty"


async def test_what_is_sent_once_stays_and_a_later_translation_fits_to_it(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    pictures = [shelf.add(b"one", alt="x")]
    await one(store, content("A", title="Hammer", description_html="", images=pictures))
    assert (await one(store, content("A", title="Axe"))).status is Status.OK
    there = content("A", "german", title="Beil", images=pictures)
    assert (await one(store, there)).error == ""
    await no_drift(store, content("A", title="Axe", description_html="", images=pictures), there)


async def test_metafields_that_the_shop_does_not_keep_are_refused(shop: ShopifyShop, store: Store) -> None:
    shop.add("A")
    shop.forgets = "attributes"
    outcome = await one(store, content("A", title="Hammer", attributes={"a": 1}))
    assert (outcome.status, "metafield attributes" in outcome.error) == (Status.REJECTED, True)
    assert (await one(store, content("A", title="Hammer", attributes=None, categories=None))).status is Status.OK
    shop.forgets = "categories_de"
    outcome = await one(store, content("A", "german", title="H", attributes={"a": 1}, categories=["T"]))
    assert (outcome.status, "metafield categories_de" in outcome.error) == (Status.REJECTED, True)


async def test_a_change_by_hand_is_drift_and_is_mended(shop: ShopifyShop, store: Store, shelf: Shelf) -> None:
    shop.add("A")
    pictures = [shelf.add(b"one", alt="x"), shelf.add(b"two", alt="y")]
    patch = content("A", title="Hammer", attributes={"a": 1}, categories=["T"], images=pictures)
    await one(store, patch)
    product = product_of(shop, "A")
    product.texts["title"] = "Axe"
    shop.metafields[product.id, "erpsyncd", "attributes"] = "no json"
    shop.metafields[product.id, "erpsyncd", "categories"] = '["X"]'
    product.media.reverse()
    fetched = await store.fetch("content", [patch.id])
    assert patch.fields is not None
    assert set(differing(patch.fields, fetched[patch.id])) == {"title", "attributes", "categories", "images"}
    assert (await one(store, patch)).status is Status.OK
    await no_drift(store, patch)


async def test_one_sku_speaks_for_a_product(shop: ShopifyShop, store: Store) -> None:
    small = shop.add("A-S", product=7)
    shop.add("A-M", product=7)
    outcomes = {o.id: o for o in await store.apply("content", [content("A-S", title="A"), content("A-M", title="B")])}
    assert outcomes["A-M|default"].status is Status.OK, "the first by SKU"
    assert outcomes["A-S|default"].status is Status.REJECTED
    assert "A-M" in outcomes["A-S|default"].error
    assert (await one(store, content("A-S", title="C"))).status is Status.REJECTED
    assert await store.fetch("content", ["A-S|default"]) == {}
    assert (await one(store, gone("A-S"))).status is Status.OK, "it shows nothing"
    assert shop.products[7].status == "ACTIVE"
    shop.rename(shop.by_sku("A-M"), "A-L")
    assert (await one(store, content("A-S", title="D"))).status is Status.OK, "the speaker is there no more"
    assert (shop.products[7].texts["title"], small.sku) == ("D", "A-S")


@pytest.mark.parametrize("by", ["handle", "erp.article"])
async def test_a_product_of_several_variants_is_named_by_its_handle_or_a_metafield(
    shop: ShopifyShop, shelf: Shelf, by: str
) -> None:
    for number in range(1, 24):
        product = shop.product(number)
        shop.add(f"S-{number}", product=number)
        shop.add(f"M-{number}", product=number)
        product.texts["handle"] = product.keys["erp", "article"] = f"art-{number}"
    store = await opened(shop, shelf, options={**OPTIONS, **LOCALES, "product": by})
    here = [content(f"art-{number}", title=f"Shirt {number}", images=[shelf.add(b"a")]) for number in range(1, 24)]
    there = [content(f"art-{number}", "german", title=f"Hemd {number}") for number in range(1, 24)]
    for some in (here[:10], here[10:20], here[20:], there[:10], there[10:20], there[20:]):
        assert {(o.status, o.error) for o in await store.apply("content", some)} == {(Status.OK, "")}
    assert shop.products[7].texts["title"] == "Shirt 7"
    await no_drift(store, *here, *there)
    outcome = await one(store, content("S-1", title="A"))
    assert (outcome.status, "no product with the" in outcome.error) == (Status.REJECTED, True)
    assert (await one(store, gone("art-7"))).status is Status.OK
    assert shop.products[7].status == "DRAFT"
    await store.close()


async def test_content_that_goes_makes_a_draft_and_comes_back(shop: ShopifyShop, store: Store) -> None:
    shop.add("A")
    shop.add("B")
    product = product_of(shop, "A")
    await one(store, content("A", title="Hammer"))
    for _ in range(2):
        assert (await one(store, gone("A"))).status is Status.OK
        assert product.status == "DRAFT"
        assert await store.fetch("content", ["A|default"]) == {}
    assert (await one(store, gone("B"))).status is Status.OK
    assert product_of(shop, "B").status == "ACTIVE", "its content never came from here"
    product.status = "ACTIVE"
    assert "A|default" in await store.fetch("content", ["A|default"]), "somebody brought it back"
    assert (await one(store, gone("A"))).status is Status.OK
    assert product.status == "DRAFT"
    patch = content("A", title="Hammer")
    assert (await one(store, patch)).status is Status.OK
    assert product.status == "ACTIVE"
    await no_drift(store, patch)
    for theirs, hidden in (("UNLISTED", "DRAFT"), ("DRAFT", "DRAFT"), ("ARCHIVED", "ARCHIVED")):
        product.status = theirs
        assert (await one(store, gone("A"))).status is Status.OK
        assert product.status == hidden
        assert (await one(store, patch)).status is Status.OK
        assert product.status == theirs, "the shop's people decided that"


@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (content("A", title="x" * 300), "too long"),
        (content("A", title=" "), "title"),
        (content("A", title="A", description_html="<script>alert()"), "description_html"),
        (content("A", title="A", colour="red"), "colour"),
        (content("A", "czech", title="A"), "czech"),
        (content("Z", title="A"), "no variant"),
        (content("A", title="A", images=[{"url": "https://x.example/1.png"}] * 2), "twice"),
        (content("A", title="A", images=[{"url": "/1.png", "position": "first"}]), "whole number"),
        (content("A", title="A", images=[{"sha256": "0" * 64}]), "none of the sources"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_content_that_has_no_place_is_refused_alone(
    shop: ShopifyShop, store: Store, patch: Patch, word: str
) -> None:
    shop.add("A")
    shop.add("B")
    outcomes = {o.id: o for o in await store.apply("content", [patch, content("B", title="Axe")])}
    assert outcomes["B|default"].status is Status.OK
    assert outcomes[patch.id].status is Status.REJECTED
    assert word in outcomes[patch.id].error


async def test_a_price_does_not_wait_while_the_shop_processes_images(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    hold = faults.Hold()
    shop.inject(hold, entity="erpsyncdFilesRead", calls=1)
    call = asyncio.create_task(store.apply("content", [content("A", title="Hammer", images=[shelf.add(b"one")])]))
    await hold.reached.wait()
    [outcome] = await store.apply("price", [price("A", "3.50")])
    assert outcome.status is Status.OK
    assert not call.done()
    hold.release()
    assert [o.status for o in await call] == [Status.OK]


async def test_content_leaves_half_of_the_shops_points_to_the_others(shop: ShopifyShop, store: Store) -> None:
    shop.add("A")
    shop.points, shop.restore = 9_900.0, 0.1
    await store.check()
    call = asyncio.create_task(store.apply("content", [content("A", title="Hammer")]))
    [outcome] = await store.apply("price", [price("A", "3.50")])
    assert outcome.status is Status.OK
    assert not call.done()
    assert [name for name in shop.documents if "Content" in name or "Bulk" in name] == []
    call.cancel()
    shop.points = 20_000.0
    await store.check()
    assert (await one(store, content("A", title="Hammer"))).status is Status.OK


# Images


async def test_images_are_uploaded_once_and_shown_in_order_with_their_captions(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    first, second, third = (shelf.add(name, alt=name.decode(), position=n) for n, name in enumerate([b"a", b"b", b"c"]))
    patch = content("A", title="Hammer", images=[third, first, second])
    assert (await one(store, patch)).status is Status.OK
    assert [shop.files[number].alt for number in product_of(shop, "A").media] == ["a", "b", "c"]
    assert [shop.files[number].content for number in product_of(shop, "A").media] == [b"a", b"b", b"c"]
    await no_drift(store, patch)
    turned = content("A", title="Hammer", images=[{**first, "position": 9}, second, {**third, "alt": "new"}])
    assert (await one(store, turned)).status is Status.OK
    assert [shop.files[number].alt for number in product_of(shop, "A").media] == ["b", "new", "a"]
    await no_drift(store, turned)
    assert (len(shop.uploads), len(shelf.opened)) == (3, 3), "neither order nor caption is an upload"
    fewer = content("A", title="Hammer", images=[second])
    assert (await one(store, fewer)).status is Status.OK
    assert [file.alt for file in shop.files.values()] == ["b"], "what is gone is gone from the shop"
    await no_drift(store, fewer)
    assert (await one(store, content("A", title="Hammer", images=None))).status is Status.OK
    assert shop.files == {}


async def test_media_of_the_shops_people_stay_where_they_are(shop: ShopifyShop, store: Store, shelf: Shelf) -> None:
    shop.add("A")
    product = product_of(shop, "A")
    front, film = shop.by_hand(product), shop.by_hand(product, "film.mp4", "Video")
    pictures = [shelf.add(name) for name in (b"a", b"b")]
    await one(store, content("A", title="Hammer", images=pictures))
    back = shop.by_hand(product, f"erpsyncd-999-{pictures[0]['sha256']}.png")  # another product's, put here by hand
    assert (await one(store, content("A", title="Hammer", images=pictures[::-1]))).status is Status.OK
    assert [number for number in product.media if number in (front.number, film.number, back.number)] == [
        front.number, film.number, back.number,
    ]  # fmt: skip
    assert [product.media[place] for place in (0, 1, 4)] == [front.number, film.number, back.number]
    assert (await one(store, content("A", title="Hammer", images=[]))).status is Status.OK
    assert product.media == [front.number, film.number, back.number]


async def test_many_media_are_read_page_by_page(shop: ShopifyShop, store: Store, shelf: Shelf) -> None:
    shop.add("A")
    product = product_of(shop, "A")
    for number in range(15):
        shop.by_hand(product, f"{number}.jpg")
    pictures = [shelf.add(b"%d" % number) for number in range(12)]
    patch = content("A", title="Hammer", images=pictures)
    assert (await one(store, patch)).status is Status.OK
    assert (len(product.media), len(shop.uploads)) == (27, 12)
    await no_drift(store, patch)


async def test_an_image_with_an_address_alone_is_told_by_its_address(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    shelf.bytes["https://img.example/1.png"] = b"one"
    patch = content("A", title="Hammer", images=[{"url": "https://img.example/1.png", "alt": "x"}])
    assert (await one(store, patch)).status is Status.OK
    assert (await one(store, patch)).status is Status.OK
    assert shelf.opened == ["https://img.example/1.png"]
    await no_drift(store, patch)


@pytest.mark.parametrize("lost", ["erpsyncdFileCreate", "erpsyncdFileUpdate", "erpsyncdMediaOrder"])
@pytest.mark.parametrize("remembers", [True, False], ids=["memory", "no-memory"])
async def test_after_a_lost_answer_no_image_is_there_twice(
    shop: ShopifyShop, shelf: Shelf, lost: str, remembers: bool
) -> None:
    shop.add("A")
    memory = ShortMemory()
    store = await opened(shop, shelf, memory=memory)
    pictures = [shelf.add(name, position=n) for n, name in enumerate((b"a", b"b"))]
    patch = content("A", title="Hammer", images=pictures)
    if lost == "erpsyncdMediaOrder":
        await one(store, content("A", title="Hammer", images=[{**pictures[0], "position": 5}, pictures[1]]))
    shop.inject(faults.FailAfterWrite(drop=False), entity=lost, calls=1)
    with pytest.raises(StoreError) as caught:
        await store.apply("content", [patch])
    assert caught.value.retry is Retry.LATER
    await store.close()
    again = await opened(shop, shelf, memory=memory if remembers else ShortMemory())
    assert (await one(again, patch)).status is Status.OK
    assert sorted(file.content for file in shop.files.values()) == [b"a", b"b"]
    assert [shop.files[number].content for number in product_of(shop, "A").media] == [b"a", b"b"]
    if remembers:
        assert len(shop.uploads) == 2
    await no_drift(again, patch)
    await again.close()


async def test_a_file_that_the_search_does_not_find_yet_is_waited_for(shop: ShopifyShop, shelf: Shelf) -> None:
    shop.add("A")
    patch = content("A", title="Hammer", images=[shelf.add(b"a")])
    first = await opened(shop, shelf)
    shop.inject(faults.FailAfterWrite(), entity="erpsyncdFileCreate", calls=1)
    with pytest.raises(StoreError):
        await first.apply("content", [patch])
    await first.close()
    store = await opened(shop, shelf)
    shop.search_lags = True
    outcome = await one(store, patch)
    assert (outcome.status, "does not find it yet" in outcome.error) == (Status.RETRY, True)
    shop.search_lags = False
    assert (await one(store, patch)).status is Status.OK
    assert len(shop.files) == 1
    await store.close()


async def test_an_image_that_the_shop_cannot_process_is_refused_in_its_words_and_leaves_nothing(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    shop.add("B")
    shop.broken[b"bad"] = "The image is corrupt."
    bad = content("A", title="Hammer", images=[shelf.add(b"good"), shelf.add(b"bad")])
    outcomes = {o.id: o for o in await store.apply("content", [bad, content("B", title="Axe")])}
    assert (outcomes["A|default"].status, outcomes["B|default"].status) == (Status.REJECTED, Status.OK)
    assert "The image is corrupt." in outcomes["A|default"].error
    assert [file.content for file in shop.files.values()] == [b"good"]
    shop.broken.clear()
    assert (await one(store, bad)).status is Status.OK
    assert names(shop, "A")[0] != names(shop, "A")[1]
    await no_drift(store, bad, content("B", title="Axe"))


async def test_an_image_that_takes_too_long_is_looked_at_again_and_not_uploaded_again(
    shop: ShopifyShop, store: Store, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("A")
    shop.looks = 4
    monkeypatch.setattr(media, "READY_WITHIN", 0.1)
    patch = content("A", title="Hammer", images=[shelf.add(b"a")])
    outcomes = [await one(store, patch)]
    while outcomes[-1].status is not Status.OK and len(outcomes) < 9:
        outcomes.append(await one(store, patch))
    assert outcomes[0].status is Status.RETRY
    assert outcomes[-1].status is Status.OK
    assert len(shop.uploads) == 1


async def test_an_image_whose_place_cannot_be_reached_holds_its_document_alone(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    shop.add("B")
    away = content("A", title="Hammer", images=[{"url": "https://away.example/a.png"}])
    outcomes = {o.id: o for o in await store.apply("content", [away, content("B", title="Axe")])}
    assert (outcomes["A|default"].status, outcomes["B|default"].status) == (Status.RETRY, Status.OK)
    assert product_of(shop, "A").texts["title"] != "Hammer", "a document is shown whole"


@pytest.mark.parametrize("fault", [faults.Status(403), faults.Status(503), faults.Reset(), faults.Html(302)])
async def test_trouble_with_the_place_for_uploads_is_no_trouble_of_the_shop(
    shop: ShopifyShop, store: Store, shelf: Shelf, fault: faults.Fault
) -> None:
    shop.add("A")
    patch = content("A", title="Hammer", images=[shelf.add(b"a")])
    shop.inject(fault, entity=UPLOAD)
    outcome = await one(store, patch)
    assert outcome.status is Status.RETRY
    assert "/staged/" not in outcome.error
    shop.clear()
    assert (await one(store, patch)).status is Status.OK


async def test_a_file_that_somebody_deleted_is_made_again(shop: ShopifyShop, store: Store, shelf: Shelf) -> None:
    shop.add("A")
    patch = content("A", title="Hammer", images=[shelf.add(b"a")])
    await one(store, patch)
    product = product_of(shop, "A")
    shop.files.clear()
    product.media.clear()
    assert patch.fields is not None
    assert set(differing(patch.fields, (await store.fetch("content", [patch.id]))[patch.id])) == {"images"}
    assert (await one(store, patch)).status is Status.RETRY
    assert (await one(store, patch)).status is Status.OK
    await no_drift(store, patch)


@pytest.mark.parametrize(
    ("shown", "order", "steps"),
    [
        ("abc", "abc", []),
        ("abc", "cba", ["c0", "b1"]),
        ("xayb", "ba", ["b1", "y2"]),
        ("axbyc", "cab", ["c0", "x1", "y3"]),
        ("x", "", []),
    ],
)
def test_moves_bring_ours_into_order_and_leave_the_others_in_their_places(
    shown: str, order: str, steps: list[str]
) -> None:
    made = moves(list(shown), list(order))
    assert [f"{step['id']}{step['newPosition']}" for step in made] == steps
    now = list(shown)
    for step in made:
        now.remove(step["id"])
        now.insert(int(step["newPosition"]), step["id"])
    assert [each for each in now if each in order] == list(order)
    assert [place for place, each in enumerate(now) if each not in order] == [
        place for place, each in enumerate(shown) if each not in order
    ]


# Other languages


async def test_a_translation_is_registered_over_the_text_that_it_translates(
    shop: ShopifyShop, store: Store, shelf: Shelf
) -> None:
    shop.add("A")
    pictures = [shelf.add(b"a")]
    here = content("A", title="Hammer", description_html="<p>Strong</p>", attributes={"a": "b"}, images=pictures)
    there = content(
        "A", "german", title="Hammer!", description_html="<p>Stark</p>", attributes={"a": "ä"}, images=pictures
    )
    outcomes = await store.apply("content", [there, here])
    assert {(o.status, o.error) for o in outcomes} == {(Status.OK, "")}
    product = product_of(shop, "A")
    assert product.translations["de", "body_html"][0] == "<p>Stark</p>"
    assert shop.metafields[product.id, "erpsyncd", "attributes_de"] == '{"a":"ä"}'
    await no_drift(store, here, there)
    before = writes(shop)
    assert {o.status for o in await store.apply("content", [here, there])} == {Status.OK}
    assert writes(shop) == before
    changed = content("A", title="Mallet", description_html="<p>Strong</p>", attributes={"a": "b"}, images=pictures)
    assert {o.status for o in await store.apply("content", [changed, there])} == {Status.OK}
    assert product.translations["de", "title"][1] == hashlib.sha256(b"Mallet").hexdigest(), "it is not outdated"
    short = content("A", "german", title="Hammer!", description_html=None)
    assert (await one(store, short)).status is Status.OK
    assert ("de", "body_html") not in product.translations
    for _ in range(2):
        assert (await one(store, gone("A", "german"))).status is Status.OK
        assert product.translations == {}
    assert set(await store.fetch("content", ["A|german", "A|default"])) == {"A|default"}


@pytest.mark.parametrize(
    ("patch", "status", "word"),
    [
        (content("A", "german", title="H", images=[{"url": "https://x.example/1.png"}]), Status.REJECTED, "images"),
        (content("A", "german", title="H", seo_title="x"), Status.REJECTED, "nothing to translate"),
        (content("A", "french", title="H"), Status.REJECTED, "locale"),
        (content("B", "german", title="H"), Status.RETRY, "own language"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_translation_that_has_no_place_is_told_with_its_reason(
    shop: ShopifyShop, store: Store, patch: Patch, status: Status, word: str
) -> None:
    shop.add("A")
    shop.add("B")
    await one(store, content("A", title="Hammer"))
    outcome = await one(store, patch)
    assert outcome.status is status
    assert word in outcome.error


async def test_a_text_that_changes_below_its_translation_is_translated_later(shop: ShopifyShop, store: Store) -> None:
    shop.add("A")
    await one(store, content("A", title="Hammer"))
    shop.before_write = lambda: product_of(shop, "A").texts.update(title="Axe")
    assert (await one(store, content("A", "german", title="Beil"))).status is Status.RETRY
    assert product_of(shop, "A").translations == {}
    assert (await one(store, content("A", "german", title="Beil"))).status is Status.OK

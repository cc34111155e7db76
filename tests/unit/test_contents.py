"""Laws of content: what the store owns stays its own, a document has its shape, an image is what it says."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from daemon.config.entity import Entity, Images
from daemon.erp import Erp
from daemon.errors import Retry, StoreError
from daemon.mapping import Mapper
from daemon.model import Acked
from daemon.pictures import PIECE, Gallery
from daemon.preflight import mapper_of


def mapper(**more: Any) -> Mapper:
    table = {
        "name": "content",
        "sql": "select 1 as key, 'A' as sku where 1 = any($1)",
        "all_keys": "select 1 where 1 > $1 limit $2",
        **more,
    }
    return mapper_of(Entity.model_validate(table))


ROW = {"key": 1, "sku": "A", "title": "T", "description_html": "<p>x</p><script>y</script>", "images": []}
OWNED = {"owner": {"title": "store", "description_html": "once"}}


def test_what_the_store_owns_is_never_sent_and_once_is_sent_to_a_new_document_alone() -> None:
    rules = mapper(**OWNED)
    documents = rules.documents([ROW])[0][1]
    [first], _ = rules.diff(documents, {}, 1, 10)
    assert first.patch.fields is not None
    assert "title" not in first.patch.fields
    assert first.patch.fields["description_html"] == ROW["description_html"]
    acked = {"A|default": Acked("A|default", first.patch.version, first.after, 10)}
    assert rules.diff(documents, acked, 1, 11) == ([], 1)
    changed = rules.documents([{**ROW, "title": "U", "description_html": "other"}])[0][1]
    assert rules.diff(changed, acked, 1, 11) == ([], 1)
    [again], _ = rules.diff(changed, acked, 1, 12, sure=False)  # as in a rebuild
    assert again.patch.fields == {"sku": "A", "locale": "default", "images": [], "categories": []}


def test_a_document_that_was_removed_is_new_again() -> None:
    rules = mapper(**OWNED)
    documents = rules.documents([ROW])[0][1]
    [back], _ = rules.diff(documents, {"A|default": Acked("A|default", 5, None, 10)}, 1, 11)
    assert back.patch.fields is not None
    assert "description_html" in back.patch.fields


def test_html_stays_as_it_is_unless_it_is_to_be_cleaned() -> None:
    assert mapper().documents([ROW])[0][1]["A|default"].fields["description_html"] == ROW["description_html"]
    assert mapper(sanitize=True).documents([ROW])[0][1]["A|default"].fields["description_html"] == "<p>x</p>"


def test_each_locale_is_a_document_and_attributes_keep_their_types() -> None:
    rows = [
        {**ROW, "locale": locale, "attributes": {"weight": 5, "eco": True, "tags": ["a"], "name": "n"}}
        for locale in ("en", "de")
    ]
    documents = mapper().documents(rows)[0][1]
    assert sorted(documents) == ["A|de", "A|en"]
    assert documents["A|de"].fields["attributes"] == {"weight": 5, "eco": True, "tags": ["a"], "name": "n"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"attributes": ["a"]},
        {"images": "x"},
        {"images": [{"alt": "neither"}]},
        {"images": [{"sha256": "ABC"}]},
    ],
)
def test_a_document_of_another_shape_is_set_aside_alone(wrong: dict[str, Any]) -> None:
    good, bad = mapper().documents([{**ROW, **wrong}, {**ROW, "key": 2, "sku": "B"}])
    assert set(good) == {2}
    assert set(bad) == {1}


def test_the_identity_is_the_erps() -> None:
    with pytest.raises(ValueError, match="identity"):
        mapper(owner={"sku": "store"})
    with pytest.raises(ValueError, match="kind content"):
        mapper(kind="custom", owner={"title": "store"})


# images

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * (2 * PIECE + 17)
SHA = hashlib.sha256(PNG).hexdigest()


def gallery(**limits: Any) -> Gallery:
    erp = Erp("postgresql://127.0.0.1:1/none", connections=1, statement_timeout_s=1)
    return Gallery([("entity.content.images.sql", Images.model_validate(limits))], erp)


async def taken(source: Gallery, image: dict[str, Any]) -> tuple[str, int, str, bytes]:
    try:
        async with source.open(image) as picture:
            content = b"".join([piece async for piece in picture.chunks])
            return picture.media_type, picture.size, picture.sha256, content
    finally:
        await source.close()


@pytest.mark.parametrize("name", [SHA, f"{SHA}.png", f"{SHA[:2]}/{SHA}", f"{SHA[:2]}/{SHA}.png"])
async def test_a_file_is_found_by_its_hash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PNG)
    assert await taken(gallery(folder=str(tmp_path)), {"sha256": SHA}) == ("image/png", len(PNG), SHA, PNG)


@pytest.fixture
async def site() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name.isdigit():
            return web.Response(status=int(name))
        return web.Response(body=PNG if name == "good" else b"<html>no image</html>")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def test_an_address_gives_an_image_and_its_hash(site: str) -> None:
    assert await taken(gallery(), {"url": f"{site}/good"}) == ("image/png", len(PNG), SHA, PNG)


@pytest.mark.parametrize(
    ("name", "more", "limits", "code", "retry"),
    [
        ("text", {}, {}, "E-PICTURE-TYPE", Retry.NEVER),
        ("good", {}, {"types": ["image/jpeg"]}, "E-PICTURE-TYPE", Retry.NEVER),
        ("good", {}, {"max_bytes": 1000}, "E-PICTURE-SIZE", Retry.NEVER),
        ("good", {"sha256": "0" * 64}, {}, "E-PICTURE-HASH", Retry.NEVER),
        ("404", {}, {}, "E-PICTURE-MISSING", Retry.NEVER),
        ("503", {}, {}, "E-PICTURE-LOST", Retry.LATER),
    ],
)
async def test_a_broken_image_says_what_is_wrong(
    site: str, name: str, more: dict[str, Any], limits: dict[str, Any], code: str, retry: Retry
) -> None:
    with pytest.raises(StoreError) as told:
        await taken(gallery(**limits), {"url": f"{site}/{name}", **more})
    assert (told.value.code, told.value.retry) == (code, retry)


@pytest.mark.parametrize("image", [{"url": "file:///etc/passwd"}, {"url": "no address"}, {"sha256": SHA}])
async def test_an_image_without_a_place_is_missing(image: dict[str, Any]) -> None:
    with pytest.raises(StoreError) as told:
        await taken(gallery(), image)
    assert told.value.code == "E-PICTURE-MISSING"

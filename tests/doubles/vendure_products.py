"""Products and assets of the Vendure double: translations, custom fields, images that are uploaded as multipart.

Invariant: what it does was seen from Vendure 3.7.3: a new translation without name, slug or description is an error of the
database; slugs are normalised and made unique; an asset that is not there is dropped without a word; the same file
uploaded twice is two assets; a file that is too large is an error without a code.
"""

from __future__ import annotations

import email
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from graphql import GraphQLError, GraphQLResolveInfo

from tests.doubles.index import Index

PRODUCT_FIELDS: Final = {
    "erpContent": "Text",
    "material": "LocaleString",
    "care": "LocaleText",
    "wattage": "Int",
    "fragile": "Boolean",
    "erpArticle": "String",
}
_LOCALISED: Final = {name for name, kind in PRODUCT_FIELDS.items() if kind.startswith("Locale")}
LARGEST_FILE: Final = 100_000


class Products:
    """The products and the library of images of one shop."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.assets: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        """Asset -> its bytes."""
        self.alters: Callable[[str], str] = str
        """What the shop makes of a description."""
        self._numbers = iter(range(1, 1_000_000))
        self._tags = Index(lambda asset: [tag["value"] for tag in asset["tags"]], fixed=True)
        self._slugs = Index(lambda product: [text["slug"] for text in product["translations"].values()], fixed=True)

    def add(self, name: str, article: str | None = None) -> str:
        """A product with a text in English."""
        id_ = str(next(self._numbers))
        self.known[id_] = {
            "id": id_, "enabled": True, "assets": [], "featured": None,
            "translations": {"en": {"name": name, "slug": self._slug(name, id_), "description": ""}},
            "customFields": {**dict.fromkeys(PRODUCT_FIELDS), "erpArticle": article},
            "localised": {},
        }  # fmt: skip
        self._slugs.put(id_, self.known[id_])
        return id_

    def asset(self, name: str, tags: list[str], data: bytes = b"") -> str:
        """An image in the library."""
        id_ = str(next(self._numbers))
        self.assets[id_] = {
            "__typename": "Asset", "id": id_, "name": name, "preview": f"http://shop.example/{name}",
            "tags": [{"value": tag} for tag in tags],
        }  # fmt: skip
        self.files[id_] = data
        self._tags.put(id_, self.assets[id_])
        return id_

    def tagged(self, tags: Iterable[str]) -> list[dict[str, Any]]:
        """The images that have one of the tags."""
        ids = dict.fromkeys(id_ for tag in tags for id_ in self._tags.of(tag, self.assets))
        return [self.assets[id_] for id_ in sorted(ids, key=int)]

    def _slug(self, text: str, id_: str) -> str:
        slug = re.sub(r"[^a-z0-9-]", "", text.lower().replace(" ", "-"))
        count = 2
        unique = slug
        while set(self._slugs.of(unique, self.known)) - {id_}:
            unique, count = f"{slug}-{count}", count + 1
        return unique

    def update(self, row: Mapping[str, Any]) -> None:
        """As ProductService.update does."""
        product = self.known.get(row["id"])
        if product is None:
            text = f'No Product with the id "{row["id"]}" could be found'
            raise GraphQLError(text, extensions={"code": "ENTITY_NOT_FOUND"})
        for given in row.get("translations") or ():
            language = given["languageCode"]
            before = product["translations"].get(language, {})
            after = {**before, **{name: given[name] for name in ("name", "slug", "description") if name in given}}
            for name in ("name", "slug", "description"):
                if after.get(name) is None:
                    text = (
                        f'null value in column "{name}" of relation "product_translation" violates not-null constraint'
                    )
                    raise GraphQLError(text, extensions={"code": "INTERNAL_SERVER_ERROR"})
            after["slug"] = self._slug(after["slug"], row["id"])
            after["description"] = self.alters(after["description"])
            product["translations"][language] = after
            self._slugs.put(row["id"], product)
            product["localised"].setdefault(language, {}).update(given.get("customFields") or {})
        if row.get("assetIds") is not None:
            product["assets"] = [each for each in row["assetIds"] if each in self.assets]
            if product["featured"] not in product["assets"]:
                product["featured"] = None
        if row.get("featuredAssetId") in self.assets:
            product["featured"] = row["featuredAssetId"]
        if row.get("enabled") is not None:
            product["enabled"] = row["enabled"]
        product["customFields"].update(row.get("customFields") or {})

    def shown(self, id_: str, skus: list[str]) -> dict[str, Any]:
        """A product as the API gives it."""
        product = self.known[id_]
        translations = [
            {
                "languageCode": language,
                **texts,
                "customFields": {**dict.fromkeys(_LOCALISED), **product["localised"].get(language, {})},
            }
            for language, texts in product["translations"].items()
        ]
        return {
            "id": id_, "enabled": product["enabled"], "translations": translations,
            "featuredAsset": self.assets.get(product["featured"] or ""),
            "assets": [self.assets[each] for each in product["assets"]],
            "variantList": {"totalItems": len(skus), "items": [{"id": sku, "sku": sku} for sku in skus]},
            "customFields": dict(product["customFields"]),
        }  # fmt: skip


def multipart(content_type: str, body: bytes) -> dict[str, Any]:
    """The operation of a GraphQL multipart request, its files (name, type, data) in the places that the map names."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    held = email.message_from_bytes(head + body).get_payload()
    if not isinstance(held, list):
        raise TypeError("a body without parts")
    parts: dict[str, Any] = {str(part.get_param("name", header="content-disposition")): part for part in held}
    asked = orjson.loads(_payload(parts["operations"]))
    for key, places in orjson.loads(_payload(parts["map"])).items():
        file = {"name": parts[key].get_filename(), "type": parts[key].get_content_type(), "data": _payload(parts[key])}
        for place in places:
            *way, last = place.split(".")
            value: Any = asked
            for step in way:
                value = value[int(step) if isinstance(value, list) else step]
            if value[int(last) if isinstance(value, list) else last] is not None:
                raise ValueError(f"{place} is not null")
            value[last] = file
    return dict(asked)


def _payload(part: Any) -> bytes:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise TypeError("a part without content")
    return content


class ProductRoot:
    """The resolvers of products and assets."""

    def _enter(self) -> dict[str, Any]:
        raise NotImplementedError

    def _products(self) -> Products:
        raise NotImplementedError

    def _skus(self, product: str) -> list[str]:
        raise NotImplementedError

    def _deadlock(self) -> None:
        raise NotImplementedError

    def _page(self, items: list[dict[str, Any]], options: Mapping[str, Any] | None) -> dict[str, Any]:
        raise NotImplementedError

    def _product(self, id_: str) -> dict[str, Any]:
        return self._products().shown(id_, self._skus(id_))

    def products(self, info: GraphQLResolveInfo, options: Any = None) -> Mapping[str, Any]:
        self._enter()
        items = [self._product(each) for each in self._products().known]
        for name, operator in (options or {}).get("filter", {}).items():
            if "isNull" in operator:
                items = [one for one in items if (one["customFields"][name] is None) is operator["isNull"]]
            else:
                items = [one for one in items if one["customFields"][name] in operator["in"]]
        return self._page(items, options)

    def updateProduct(self, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._enter()
        self._deadlock()
        self._products().update(input)
        return self._product(input["id"])

    def assets(self, info: GraphQLResolveInfo, options: Any = None) -> Mapping[str, Any]:
        self._enter()
        tags = (options or {}).get("tags")
        return self._page(self._products().tagged(tags) if tags else list(self._products().assets.values()), options)

    def createAssets(self, info: GraphQLResolveInfo, input: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802
        self._enter()
        made: list[dict[str, Any]] = []
        for row in input:
            file = row["file"]
            if len(file["data"]) > LARGEST_FILE:
                raise GraphQLError(f"File truncated as it exceeds the {LARGEST_FILE} byte size limit.")
            if not file["type"].startswith("image/"):
                text = f'The MIME type "{file["type"]}" is not permitted.'
                made.append({"__typename": "MimeTypeError", "errorCode": "MIME_TYPE_ERROR", "message": text})
                continue
            id_ = self._products().asset(file["name"], row.get("tags") or [], file["data"])
            made.append(self._products().assets[id_])
        return made

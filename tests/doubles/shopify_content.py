"""The Shopify double's products: texts, media, files, staged uploads and translations.

Invariant: a file is shown as ready only after it was looked at often enough, and attached only when it is; a name that is
taken is refused where that was asked for; an upload that carries the API's token, or another size than announced, is not
taken; a translation is taken only over the digest of the present text.
"""

# ruff: noqa: N802, N803 -- resolvers have the names of the API's fields and arguments

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any, Final

from aiohttp import web
from graphql import GraphQLError

from tests.doubles.server import Call, json_answer

Json = dict[str, Any]
ARRAY: Final = 250
_TEXTS: Final = {"title": "title", "body_html": "descriptionHtml", "handle": "handle"}


@dataclass
class Product:
    number: int
    texts: Json
    seo: Json = field(default_factory=lambda: {"title": None, "description": None})
    status: str = "ACTIVE"
    media: list[int] = field(default_factory=list)
    """Numbers of files, in the order of the product."""
    translations: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(locale, key) -> value and the digest that it was made over."""

    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    """Unique metafields: (namespace, key) -> value."""

    @property
    def id(self) -> str:
        return f"gid://shopify/Product/{self.number}"


@dataclass
class File:
    number: int
    name: str
    content: bytes
    alt: str = ""
    looks: int = 0
    """How often it is still to be looked at before it is ready."""
    failure: str = ""
    """Why it cannot be processed."""
    code: str = "IMAGE_PROCESSING_FAILURE"
    kind: str = "MediaImage"

    @property
    def id(self) -> str:
        return f"gid://shopify/{self.kind}/{self.number}"

    @property
    def status(self) -> str:
        return "PROCESSING" if self.looks > 0 else "FAILED" if self.failure else "READY"


class Catalogue:
    """The state of products and files; a part of `ShopifyShop`."""

    root: str

    def __init__(self) -> None:
        self.products: dict[int, Product] = {}
        self.files: dict[int, File] = {}
        self.staged: dict[str, Json] = {}
        """Place -> what it was announced as, and its `content` when it came."""
        self.uploads: list[str] = []
        """Names of the files that were uploaded."""
        self.looks = 1
        """How often a new file is looked at before it is ready."""
        self.broken: dict[bytes, str] = {}
        """Content that cannot be processed -> the shop's words."""
        self.looked: set[str] = set()
        """Jobs that somebody looked at."""
        self.search_lags = False
        """The search for files finds nothing yet."""
        self.locales = {"de", "pt-BR"}
        self.forgets = ""
        """Key of a metafield that is taken and not kept."""
        self._serial = 5000

    def product(self, number: int) -> Product:
        """The product of this number; it is made when it is not there."""
        made = Product(number, {"title": f"Product {number}", "descriptionHtml": "", "handle": f"product-{number}"})
        return self.products.setdefault(number, made)

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def by_hand(self, product: Product, name: str = "beach.jpg", kind: str = "MediaImage") -> File:
        """Somebody at the shop adds a medium to a product."""
        file = File(self.serial(), name, name.encode(), kind=kind)
        self.files[file.number] = file
        product.media.append(file.number)
        return file

    # -- the other host

    def outside_call(self, request: web.Request) -> Call | None:
        """What a request is that does not go to the API."""
        if request.path.startswith("/staged/"):
            return Call(method=request.method, entity="upload", write=True)
        if request.path.startswith("/results/"):
            return Call(method=request.method, entity="results")
        return None

    def outside_answer(self, request: web.Request, call: Call, body: bytes) -> web.Response:
        if "X-Shopify-Access-Token" in request.headers:
            return json_answer({"error": "the token of the API does not belong here"}, 400)
        if call.entity == "results":
            return web.Response(body=self.staged[request.path.rpartition("/")[2]]["content"])
        if "Content-Length" not in request.headers:
            return json_answer({"error": "MissingContentLength"}, 411)
        place = self.staged.get(request.path.rpartition("/")[2])
        form = message_from_bytes(f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode() + body)
        parts = form.get_payload()
        if place is None or not isinstance(parts, list):
            return json_answer({"error": "AccessDenied"}, 403)
        named = {part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True) for part in parts}
        if named.get("key") != place["key"].encode() or len(named["file"]) != int(place["fileSize"]):
            return json_answer({"error": "EntityTooSmall"}, 400)
        place["content"] = named["file"]
        self.uploads.append(place["filename"])
        return web.Response(status=201)

    # -- what a resolver shows

    def show_product(self, product: Product) -> Json:
        def metafield(_info: Any, key: str, namespace: str) -> Json | None:
            value = self.metafields.get((product.id, namespace, key))  # type: ignore[attr-defined]
            return None if value is None else {"id": "gid://shopify/Metafield/2", "value": value}

        def media(_info: Any, first: int, after: str | None = None, **_others: Any) -> Json:
            return page([self.show_file(self.files[number]) for number in product.media], first, after)

        return {
            "__typename": "Product",
            "id": product.id,
            **product.texts,
            "status": product.status,
            "seo": product.seo,
            "metafield": metafield,
            "media": media,
        }

    def show_file(self, file: File) -> Json:
        url = f"https://cdn.example/s/files/1/{file.name}?v=17"
        errors = [{"code": file.code, "message": file.failure}] if file.status == "FAILED" else []
        return {
            "__typename": file.kind,
            "id": file.id,
            "alt": file.alt or None,
            "fileStatus": file.status,
            "fileErrors": errors,
            "image": {"url": url} if file.status == "READY" else None,
        }


def page(nodes: list[Any], first: int | None, after: str | None) -> Json:
    start = int(after or 0)
    end = start + min(first or 0, ARRAY)
    return {"nodes": nodes[start:end], "pageInfo": {"hasNextPage": end < len(nodes), "endCursor": str(end)}}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def number_of(id_: str) -> int:
    return int(id_.rpartition("/")[2])


class CatalogueRoot:
    """The fields of QueryRoot and Mutation that are about products."""

    def __init__(self, shop: Any) -> None:
        self._shop = shop
        self._looked: set[str] = shop.looked

    def node_of(self, id_: str) -> Json | None:
        shop: Catalogue = self._shop
        file = shop.files.get(number_of(id_))
        if file is None or file.id != id_:
            return None
        shown = shop.show_file(file)
        file.looks -= 1
        return shown

    def product(self, _info: Any, id: str) -> Json | None:
        product = self._shop.products.get(number_of(id))
        return None if product is None else self._shop.show_product(product)

    def productByIdentifier(self, _info: Any, identifier: Json) -> Json | None:
        custom = identifier.get("customId")
        for product in self._shop.products.values():
            if custom is None and product.texts["handle"] == identifier["handle"]:
                return self._shop.show_product(product)  # type: ignore[no-any-return]
            if custom is not None and product.keys.get((custom["namespace"], custom["key"])) == custom["value"]:
                return self._shop.show_product(product)  # type: ignore[no-any-return]
        return None

    def products(self, _info: Any, first: int, after: Any = None, query: str = "", **_others: Any) -> Json:
        above = re.search(r"id:>(\d+)", query or "")
        numbers = [number for number in sorted(self._shop.products) if above is None or number > int(above[1])]
        return page([self._shop.show_product(self._shop.products[number]) for number in numbers], first, after)

    def job(self, _info: Any, id: str) -> Json:
        """Each job is done when it is looked at for the second time."""
        if id not in self._looked:
            self._looked.add(id)
            return {"id": id, "done": False}
        self._shop.jobs.pop(id, lambda: None)()
        return {"id": id, "done": True}

    def productUpdate(self, _info: Any, product: Json) -> Json:
        held = self._shop.products.get(number_of(product["id"]))
        if held is None:
            return {"product": None, "userErrors": [{"field": ["id"], "message": "Product does not exist"}]}
        title = product.get("title")
        if title is not None and not 0 < len(title.strip()) <= 255:
            return {"product": None, "userErrors": [{"field": ["title"], "message": "Title is too long"}]}
        for name in ("title", "descriptionHtml", "handle"):
            if name in product:
                held.texts[name] = product[name].strip().replace("<script>", "")
        held.seo |= {name: value or None for name, value in (product.get("seo") or {}).items()}
        held.status = product.get("status", held.status)
        for row in product.get("metafields") or ():
            if row["key"] == self._shop.forgets:
                continue
            self._shop.metafields[held.id, row["namespace"], row["key"]] = row["value"]
        return {"product": self._shop.show_product(held), "userErrors": []}

    def productReorderMedia(self, _info: Any, id: str, moves: list[Json]) -> Json:
        held = self._shop.products[number_of(id)]
        for move in moves:
            number = number_of(move["id"])
            if number not in held.media:
                error = {"code": "MEDIA_DOES_NOT_EXIST_ON_PRODUCT", "field": ["moves"], "message": "no such media"}
                return {"job": None, "mediaUserErrors": [error]}
            held.media.remove(number)
            held.media.insert(int(move["newPosition"]), number)
        return {"job": {"id": f"gid://shopify/Job/{self._shop.serial()}", "done": False}, "mediaUserErrors": []}

    def stagedUploadsCreate(self, _info: Any, input: list[Json]) -> Json:
        targets = []
        for asked in input:
            place = str(self._shop.serial())
            key = f"tmp/77/{asked['resource'].lower()}/{place}/{asked['filename']}"
            self._shop.staged[place] = {**asked, "key": key}
            url = f"{self._shop.root}/staged/{place}"
            parameters = [{"name": "key", "value": key}, {"name": "policy", "value": "eyJ'\"=="}]
            targets.append({"url": url, "resourceUrl": f"{url}/{asked['filename']}", "parameters": parameters})
        return {"stagedTargets": targets, "userErrors": []}

    def fileCreate(self, _info: Any, files: list[Json]) -> Json:
        shop: Catalogue = self._shop
        taken = {file.name for file in shop.files.values()}
        made = []
        for n, asked in enumerate(files):
            place, _, source = asked["originalSource"].partition("/staged/")[2].partition("/")
            held = shop.staged.get(place)
            code = ""
            if held is None or "content" not in held:
                code = "INVALID"
            elif asked["filename"].rpartition(".")[2] != source.rpartition(".")[2]:
                code = "MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE"
            elif asked["filename"] in taken and asked["duplicateResolutionMode"] == "RAISE_ERROR":
                code = "FILENAME_ALREADY_EXISTS"
            if code or held is None:
                error = {"code": code, "field": ["files", str(n), "filename"], "message": code.lower()}
                return {"files": None, "userErrors": [error]}
            failure = shop.broken.get(held["content"], "")
            file = File(shop.serial(), asked["filename"], held["content"], asked.get("alt") or "", shop.looks, failure)
            shop.files[file.number] = file
            made.append(shop.show_file(file))
        return {"files": made, "userErrors": []}

    def fileUpdate(self, _info: Any, files: list[Json]) -> Json:
        shop: Catalogue = self._shop
        for n, asked in enumerate(files):
            file = shop.files.get(number_of(asked["id"]))
            code = "FILE_DOES_NOT_EXIST" if file is None else "NON_READY_STATE" if file.status != "READY" else ""
            if code:
                error = {"code": code, "field": ["files", str(n)], "message": code.lower()}
                return {"files": None, "userErrors": [error]}
        for asked in files:
            file = shop.files[number_of(asked["id"])]
            file.alt = asked.get("alt", file.alt)
            for id_ in asked.get("referencesToAdd") or ():
                media = shop.products[number_of(id_)].media
                if file.number not in media:
                    media.append(file.number)
        return {"files": [shop.show_file(shop.files[number_of(asked["id"])]) for asked in files], "userErrors": []}

    def fileDelete(self, _info: Any, fileIds: list[str]) -> Json:
        for id_ in fileIds:
            del self._shop.files[number_of(id_)]
            for product in self._shop.products.values():
                product.media = [number for number in product.media if number != number_of(id_)]
        return {"deletedFileIds": fileIds, "userErrors": []}

    def files(self, _info: Any, first: int, after: Any = None, query: str | None = None, **_others: Any) -> Json:
        wanted = re.findall(r'filename:"([^"]*)"', query or "")
        if query and not wanted:
            raise GraphQLError(f"Search query isn't supported: {query}")
        found = [
            self._shop.show_file(file)
            for file in self._shop.files.values()
            if not self._shop.search_lags and file.name in wanted
        ]
        return page(found, first, after)

    # -- translations

    def translatableResourcesByIds(self, _info: Any, resourceIds: list[str], first: int, **_others: Any) -> Json:
        nodes = [
            self._resource(self._shop.products[number_of(id_)])
            for id_ in resourceIds
            if number_of(id_) in self._shop.products
        ]
        return page(nodes, first, None)

    @staticmethod
    def _sources(product: Product) -> dict[str, str]:
        sources = {key: product.texts[name] for key, name in _TEXTS.items()}
        return sources | {f"meta_{name}": value or "" for name, value in product.seo.items()}

    def _resource(self, product: Product) -> Json:
        sources = self._sources(product)

        def translations(_info: Any, locale: str, **_others: Any) -> list[Json]:
            return [
                {"key": key, "locale": locale, "value": value, "outdated": made_over != digest(sources[key])}
                for (spoken, key), (value, made_over) in product.translations.items()
                if spoken == locale
            ]

        content = [
            {"key": key, "value": value or None, "digest": digest(value) if value else None}
            for key, value in sources.items()
        ]
        return {
            "resourceId": product.id,
            "translatableContent": lambda _info, **_others: content,
            "translations": translations,
        }

    def translationsRegister(self, _info: Any, resourceId: str, translations: list[Json]) -> Json:
        product = self._shop.products[number_of(resourceId)]
        sources = self._sources(product)
        for n, row in enumerate(translations):
            code = ""
            if row["locale"] not in self._shop.locales:
                code = "INVALID_LOCALE_FOR_SHOP"
            elif row["translatableContentDigest"] != digest(sources[row["key"]]):
                code = "INVALID_TRANSLATABLE_CONTENT"
            if code:
                error = {"code": code, "field": ["translations", str(n)], "message": code.lower()}
                return {"translations": None, "userErrors": [error]}
        for row in translations:
            product.translations[row["locale"], row["key"]] = (row["value"], row["translatableContentDigest"])
        shown = [{**row, "outdated": False} for row in translations]
        return {"translations": shown, "userErrors": []}

    def translationsRemove(
        self, _info: Any, resourceId: str, translationKeys: list[str], locales: list[str], **_others: Any
    ) -> Json:
        product = self._shop.products[number_of(resourceId)]
        for locale in locales:
            for key in translationKeys:
                product.translations.pop((locale, key), None)
        return {"translations": [], "userErrors": []}

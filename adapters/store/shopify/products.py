"""Which product a content document is about: by a variant's SKU, the product's handle, or a unique metafield.

Invariant: a product is read in the call that writes it, and named as the document names it; nothing here is remembered but
what `Articles` proves with each reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from adapters.store.shopify import documents_content as documents
from adapters.store.shopify import texts
from adapters.store.shopify.articles import Articles, number_of, parts
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.media import Media
from adapters.store.shopify.options import Options

READ: Final = 20
"""Products of one read; with ten media each they stay below what one query may cost."""


class Products:
    """The products of one shop."""

    def __init__(self, client: Client, articles: Articles, options: Options, media: Media) -> None:
        self._client = client
        self._articles = articles
        self._options = options
        self._media = media

    def variables(self, locale: str) -> dict[str, str]:
        """Which metafields a document of this locale is read from."""
        code = "" if locale == self._options.locale else self._options.locales[locale]
        return {"namespace": self._options.namespace, **texts.keys(code)}

    async def read(self, names: Iterable[str], locale: str) -> tuple[dict[str, Json], dict[str, str]]:
        """The products by the documents' names, and why there is none for the others."""
        if self._options.product == "sku":
            read, refused = await self._articles.read(names, documents.CONTENT_READ, self.variables(locale), size=READ)
            nodes = {sku: node["product"] for sku, (_, node) in read.items()}
        else:
            nodes = await self._identified(sorted(set(names)), locale)
            what = "handle" if self._options.product == "handle" else f"metafield {self._options.product}"
            refused = {n: f"the shop has no product with the {what} {n}" for n in names if n not in nodes}
        for node in nodes.values():
            await self._media.all_of(node)
        return nodes, refused

    async def _identified(self, names: list[str], locale: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for some in parts(names, READ):
            variables = {f"i{n}": self._identifier(name) for n, name in enumerate(some)}
            data = await self._client.run(documents.products_by(len(some)), {**variables, **self.variables(locale)})
            found |= {name: data[f"r{n}"] for n, name in enumerate(some) if data.get(f"r{n}")}
        return found

    def _identifier(self, name: str) -> Json:
        if self._options.product == "handle":
            return {"handle": name}
        namespace, _, key = self._options.product.partition(".")
        return {"customId": {"namespace": namespace, "key": key, "value": name}}

    async def spoken_for(self, nodes: Mapping[str, Json]) -> dict[str, str]:
        """Products by number for which another SKU's document speaks, and that SKU; it must still be a variant of them."""
        if self._options.product != "sku":
            return {}
        others = {str(other) for sku, node in nodes.items() if (other := texts.record_of(node).get("sku", sku)) != sku}
        there, _ = await self._articles.read(others, documents.CONTENT_SPEAKERS, {})
        by_product = {article.product: sku for sku, (article, _) in there.items()}
        found: dict[str, str] = {}
        for sku, node in nodes.items():
            number, other = number_of(node["id"]), texts.record_of(node).get("sku", sku)
            if other != sku and by_product.get(number) == other:
                found[number] = str(other)
        return found

    async def pages(self, locale: str) -> AsyncIterator[dict[str, Json]]:
        """All products that show a document, by the document's name. They are read by id: each page asks for those above the
        last one, since deep pages are not served."""
        last = "0"
        while True:
            variables = {"query": f"id:>{last}", "first": READ, "after": None, **self.variables(locale)}
            data = await self._client.run(documents.CONTENT_SCAN, variables, background=True)
            connection = self._client.shape(data.get("products"), dict, "products")
            nodes = connection["nodes"]
            spoken = ((texts.record_of(node).get("sku"), node) for node in nodes)
            page = {str(name): node for name, node in spoken if name}
            for node in page.values():
                await self._media.all_of(node)
            yield page
            if not nodes or not connection["pageInfo"]["hasNextPage"]:
                return
            last = self._articles.above(last, nodes)

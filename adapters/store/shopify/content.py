"""Content: a product's texts, attributes, categories and images, told by the document of one of its SKUs.

Invariant: a document counts as written only when the shop shows its texts, and its images in their order. One SKU speaks
for a product; another one's document is refused. What the document does not say, and media that did not come from here, are
left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from adapters.store.shopify import documents_content as documents
from adapters.store.shopify import images, texts
from adapters.store.shopify.articles import Articles, number_of, parts
from adapters.store.shopify.bulk import Bulk
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.media import Media
from adapters.store.shopify.options import Options
from adapters.store.shopify.products import Products
from adapters.store.shopify.results import Results, faults_of, unwritten
from adapters.store.shopify.translations import Translations
from adapters.store.shopify.work import NotYet, Refused, few
from daemon.drift import same
from daemon.model import Fields, Patch

ROWS: Final = 10
"""Documents of one call; each product is a mutation of its own in it."""
BULK: Final = 1000
"""Documents of one call of a job."""
BULK_FROM: Final = 50
"""Products from which on a bulk operation, which costs no points and has to be waited for, is the better way."""
AT_A_TIME: Final = 4
"""Products whose images are on their way."""


def place_of(id_: str) -> tuple[str, str]:
    """SKU and locale of a document's id; a bar can only be in the SKU."""
    sku, _, locale = id_.rpartition("|")
    return sku, locale


class Contents:
    """The content of one shop's products."""

    def __init__(self, client: Client, articles: Articles, options: Options, media: Media, bulk: Bulk) -> None:
        self._client = client
        self._articles = articles
        self._options = options
        self._media = media
        self._products = Products(client, articles, options, media)
        self._bulk = bulk
        self._translations = Translations(client, articles, options)

    async def apply(self, patches: Sequence[Patch], results: Results) -> None:
        """Write the documents, those in the shop's own language first. Raises StoreError when a whole call fails."""
        try:
            await self._bulk.quiet()  # what an operation still wrote would come over what is written now
        except NotYet as waits:
            for patch in patches:
                results.later(patch, str(waits))
            return
        spoken: dict[str, list[Patch]] = {}
        for patch in patches:
            locale = str(patch.identity.get("locale", "default"))
            if why := unwritten(patch, texts.KNOWN):
                results.refuse(patch, why)
            elif locale == self._options.locale or locale in self._options.locales:
                spoken.setdefault(locale, []).append(patch)
            else:
                results.refuse(patch, f"no language of the shop is mapped to the locale {locale}; see options.locales")
        for locale in sorted(spoken, key=lambda each: (each != self._options.locale, each)):
            nodes = await self._nodes(spoken[locale], locale, results)
            if locale == self._options.locale:
                await self._own(nodes, results)
            else:
                await self._translations.apply(locale, nodes, results)

    async def _nodes(self, patches: Sequence[Patch], locale: str, results: Results) -> list[tuple[Patch, Json]]:
        """The product of each document that speaks for it."""
        by_sku = {str(patch.identity["sku"]): patch for patch in patches}
        read, refused = await self._products.read(by_sku, locale)
        for sku, why in refused.items():
            if by_sku[sku].fields is None:
                results.ok(by_sku[sku])  # what is not there shows nothing
            else:
                results.refuse(by_sku[sku], why)
        taken = await self._products.spoken_for(read)
        found: list[tuple[Patch, Json]] = []
        for sku, node in sorted(read.items()):
            product = number_of(node["id"])
            if taken.setdefault(product, sku) == sku:
                found.append((by_sku[sku], node))
            elif by_sku[sku].fields is None:
                results.ok(by_sku[sku])
            else:
                why = f"its product shows the content of SKU {taken[product]}; give each product one document"
                results.refuse(by_sku[sku], why)
        return found

    # -- the shop's own language

    async def _own(self, nodes: Sequence[tuple[Patch, Json]], results: Results) -> None:
        pictured = [(patch, node) for patch, node in nodes if patch.fields is not None and "images" in patch.fields]
        await few((partial(self._images, patch, node, results) for patch, node in pictured), AT_A_TIME)
        rows: list[tuple[Patch, Json, Json, dict[str, str]]] = []
        for patch, node in nodes:
            if results.settled(patch):
                continue
            try:
                change, wish = self._change(patch, node)
            except Refused as refused:
                results.refuse(patch, str(refused))
                continue
            if len(change) > 1:
                rows.append((patch, node, change, wish))
            else:
                results.ok(patch)
        if len(rows) >= BULK_FROM:
            await self._update_in_bulk(rows, results)
            return
        for some in parts(rows, ROWS):
            await self._update(some, results)

    async def _images(self, patch: Patch, node: Json, results: Results) -> None:
        wish = (patch.fields or {}).get("images")
        try:
            images.wanted(wish or [])
            if not images.alike(wish, images.shown(node, wish)):
                await self._media.bring(node, wish or [])
        except Refused as refused:
            results.refuse(patch, str(refused), refused.code)
        except NotYet as waits:
            results.later(patch, str(waits))

    def _change(self, patch: Patch, node: Json) -> tuple[Json, dict[str, str]]:
        """What is to be written of a document, the product's id alone where the shop shows all of it; and its texts."""
        said, namespace = texts.record_of(node), self._options.namespace
        if patch.fields is None:
            if not said.get("sku") or texts.hidden(node):
                return {"id": node["id"]}, {}
            gone = {"sku": said["sku"], "unpublished": node["status"]}
            change = texts.product_input(node["id"], {}, {texts.CONTENT: gone}, namespace)
            return change | ({"status": "DRAFT"} if node["status"] in texts.ON_SALE else {}), {}
        wish = texts.wanted(patch.fields)
        shown = texts.shown_lists(node)
        metafields = {n: v for n, v in texts.listed(patch.fields).items() if not same(v or None, shown[n] or None)}
        if not same(record := texts.record(patch.fields, said), said):
            metafields[texts.CONTENT] = record
        change = texts.product_input(node["id"], texts.differs(wish, texts.own(node)), metafields, namespace)
        if said.get("unpublished") in texts.ON_SALE and node["status"] == "DRAFT":
            change["status"] = said["unpublished"]
        return change, wish

    async def _update(self, rows: Sequence[tuple[Patch, Json, Json, dict[str, str]]], results: Results) -> None:
        variables: dict[str, Any] = {f"p{n}": change for n, (_, _, change, _) in enumerate(rows)}
        variables |= self._products.variables(self._options.locale)
        async with self._articles.alone(number_of(node["id"]) for _, node, _, _ in rows):
            data, failed = await self._client.parts(documents.products_update(len(rows)), variables)
        for n, (patch, _, change, wish) in enumerate(rows):
            if error := failed.get(f"r{n}"):
                results.failed(patch, error)
            else:
                self._answered(patch, data.get(f"r{n}") or {}, change, wish, results)

    async def _update_in_bulk(self, rows: Sequence[tuple[Patch, Json, Json, dict[str, str]]], results: Results) -> None:
        """The products are not kept from others meanwhile: prices must not wait for an operation of minutes, and it writes
        nothing that they write."""
        variables = self._products.variables(self._options.locale)
        lines = [{"product": change, **variables} for _, _, change, _ in rows]
        said = await self._bulk.run(documents.PRODUCTS_BULK, "productUpdate", lines)
        for (patch, _, change, wish), line in zip(rows, said, strict=True):
            if line.payload is None:
                results.later(patch, line.why)
            else:
                self._answered(patch, line.payload, change, wish, results)

    def _answered(self, patch: Patch, payload: Json, change: Json, wish: dict[str, str], results: Results) -> None:
        if faults := faults_of(payload):
            results.refuse(patch, faults[0].message)
        elif payload.get("product"):
            self._judge(patch, payload["product"], change, wish, results)

    def _judge(self, patch: Patch, node: Json, change: Json, wish: dict[str, str], results: Results) -> None:
        shown = texts.own(node)
        if missed := texts.differs(wish, shown):
            name = sorted(missed)[0]
            results.refuse(patch, f"the shop keeps {name} as {str(shown[name])[:60]!r}; give it as the shop keeps it")
        elif change.get("status", node["status"]) != node["status"]:
            results.refuse(patch, f"the shop took the call and shows the status {node['status']}")
        elif key := texts.unshown(change.get("metafields", ()), node):
            results.refuse(patch, f"the shop took the call and does not show the metafield {key}")
        else:
            results.ok(patch)

    # -- reading back

    async def fetch(self, ids: Sequence[str]) -> Mapping[str, Fields]:
        spoken: dict[str, dict[str, str]] = {}
        for id_ in ids:
            sku, locale = place_of(id_)
            if locale == self._options.locale or locale in self._options.locales:
                spoken.setdefault(locale, {})[sku] = id_
        found: dict[str, Fields] = {}
        for locale, those in sorted(spoken.items()):
            nodes, _ = await self._products.read(those, locale)
            mine = {sku: node for sku, node in nodes.items() if texts.record_of(node).get("sku") == sku}
            for sku, fields in (await self._shown(locale, mine)).items():
                found[those[sku]] = fields
        return found

    async def _shown(self, locale: str, nodes: Mapping[str, Json]) -> dict[str, Fields]:
        if locale == self._options.locale:
            shown = {sku: texts.shown(node, locale) for sku, node in nodes.items()}
        else:
            shown = await self._translations.shown(locale, nodes)
        return {sku: fields for sku, fields in shown.items() if fields is not None}

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """Everything, in the order of the ids. All pages are read first, since Shopify knows no such order."""
        found: dict[str, Fields] = {}
        for locale in (self._options.locale, *self._options.locales):
            async for nodes in self._products.pages(locale):
                for sku, fields in (await self._shown(locale, nodes)).items():
                    found.setdefault(f"{sku}|{locale}", fields)
        for id_ in sorted(found):
            yield id_, found[id_]

"""Content in the shop's other languages: translations of a product's texts, attributes in a metafield of that language.

Invariant: a translation is registered over the digest of the text that it translates, read in the same call; it counts as
written only when the answer shows it. Images are the product's in every language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.store.shopify import documents_content as documents
from adapters.store.shopify import images, texts
from adapters.store.shopify.articles import Articles, number_of, parts
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.options import Options
from adapters.store.shopify.results import Results, faults_of
from adapters.store.shopify.work import NotYet, Refused
from daemon.drift import same
from daemon.model import Fields, Patch

READ: Final = 40
"""Products of one read."""


class Translations:
    """The translations of one shop's products."""

    def __init__(self, client: Client, articles: Articles, options: Options) -> None:
        self._client = client
        self._articles = articles
        self._options = options

    async def apply(self, locale: str, nodes: Sequence[tuple[Patch, Json]], results: Results) -> None:
        """Write the documents of one locale to their products. Raises StoreError when a whole call fails."""
        resources = await self._read(locale, [node["id"] for _, node in nodes])
        for patch, node in nodes:
            try:
                await self._bring(locale, patch, node, resources.get(node["id"]))
                results.ok(patch)
            except Refused as refused:
                results.refuse(patch, str(refused))
            except NotYet as waits:
                results.later(patch, str(waits))

    async def _read(self, locale: str, ids: Sequence[str]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for some in parts(ids, READ):
            variables = {"ids": list(some), "first": len(some), "locale": self._options.locales[locale]}
            data = await self._client.run(documents.TRANSLATIONS_READ, variables)
            connection = self._client.shape(data.get("translatableResourcesByIds"), dict, "translations")
            found |= {node["resourceId"]: node for node in connection["nodes"]}
        return found

    async def _bring(self, locale: str, patch: Patch, node: Json, resource: Json | None) -> None:
        if resource is None:
            raise NotYet("the shop does not have the product for translation yet")
        said = texts.record_of(node)
        if patch.fields is None:
            await self._end(locale, node, [one["key"] for one in resource["translations"]])
            return
        if not said.get("sku") or texts.hidden(node):
            raise NotYet("the product does not show the document in the shop's own language yet")
        if "images" in patch.fields and not images.alike(patch.fields["images"], said.get("images")):
            raise Refused("Shopify shows the same images in every language; give every locale the same ones")
        wish = texts.wanted(patch.fields)
        have = {one["key"]: one for one in resource["translations"]}
        await self._end(locale, node, [texts.KEYS[n] for n, text in wish.items() if not text and texts.KEYS[n] in have])
        sources = {one["key"]: one for one in resource["translatableContent"]}
        rows = [
            self._row(locale, name, text, sources)
            for name, text in wish.items()
            if text and (texts.KEYS[name] not in have or _stale(have[texts.KEYS[name]], text))
        ]
        if rows:
            await self._set(node, rows)
        shown = texts.shown_lists(node)
        listed = texts.listed(patch.fields)
        changed = {name: value for name, value in listed.items() if not same(value or None, shown[name] or None)}
        if changed:
            await self._metafields(locale, node, changed)

    def _row(self, locale: str, name: str, text: str, sources: Mapping[str, Json]) -> Json:
        key = texts.KEYS[name]
        source = sources.get(key)
        if source is None or not source.get("digest"):
            raise Refused(
                f"the product has no {name} in the shop's own language, so that there is nothing to translate"
            )
        digest = source["digest"]
        return {
            "key": key, "value": text, "locale": self._options.locales[locale], "translatableContentDigest": digest,
        }  # fmt: skip

    async def _set(self, node: Json, rows: Sequence[Json]) -> None:
        data = await self._client.run(documents.TRANSLATIONS_SET, {"id": node["id"], "translations": list(rows)})
        payload = self._client.shape(data.get("translationsRegister"), dict, "what became of the translations")
        for fault in faults_of(payload, "translations"):
            if fault.code == "INVALID_TRANSLATABLE_CONTENT":
                raise NotYet("the text in the shop's own language changed in this moment")
            raise Refused(fault.message)
        shown = {one["key"]: one["value"] for one in payload["translations"] or ()}
        for row in rows:
            if str(shown.get(row["key"]) or "").strip() != row["value"].strip():
                raise Refused(f"the shop took the call and shows the translation {row['key']} otherwise")

    async def _end(self, locale: str, node: Json, keys: Sequence[str]) -> None:
        ours = [key for key in keys if key in texts.KEYS.values()]
        if not ours:
            return
        variables = {"id": node["id"], "keys": ours, "locales": [self._options.locales[locale]]}
        data = await self._client.run(documents.TRANSLATIONS_END, variables)
        payload = self._client.shape(data.get("translationsRemove"), dict, "what became of the translations")
        if faults := faults_of(payload):
            raise Refused(faults[0].message)

    async def _metafields(self, locale: str, node: Json, values: Mapping[str, Any]) -> None:
        """Attributes and categories in the metafields of this language."""
        keys = texts.keys(self._options.locales[locale])
        named = {keys[name]: value for name, value in values.items()}
        change = texts.product_input(node["id"], {}, named, self._options.namespace)
        variables = {"p0": change, "namespace": self._options.namespace, **keys}
        async with self._articles.alone([number_of(node["id"])]):
            data = await self._client.run(documents.products_update(1), variables)
        payload = self._client.shape(data.get("r0"), dict, "what became of the product")
        if faults := faults_of(payload):
            raise Refused(faults[0].message)
        shown = texts.shown_lists(payload["product"])
        for name, value in values.items():
            if not same(value or None, shown[name] or None):
                raise Refused(f"the shop took the call and does not show the metafield {keys[name]}")

    async def shown(self, locale: str, nodes: Mapping[str, Json]) -> dict[str, Fields | None]:
        """The documents that products show in this locale, by the name that they came with."""
        resources = await self._read(locale, [node["id"] for node in nodes.values()])
        return {
            name: texts.translated(node, locale, resources[node["id"]])
            for name, node in nodes.items()
            if node["id"] in resources
        }


def _stale(have: Json, text: str) -> bool:
    return bool(have["outdated"]) or str(have["value"] or "").strip() != text.strip()

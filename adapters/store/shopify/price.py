"""Prices: the variant's own, and fixed prices with quantity breaks in price lists of the shop.

Invariant: a price counts as written only when the shop shows that amount in that currency; an amount that the shop rounds
is refused by name. A list, a currency or a quantity that Shopify has no place for is refused, never left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store import answers as say
from adapters.store.shopify import documents
from adapters.store.shopify.amounts import (
    Place,
    differs,
    id_of,
    list_fields,
    own_fields,
    place_of,
    unfit,
    unfit_for_list,
)
from adapters.store.shopify.articles import Article, Articles, article_of, gid, number_of, parts
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.options import Options
from adapters.store.shopify.results import Fault, Results, faults_of, settle, unwritten
from adapters.store.shopify.variants import VariantRow, update
from daemon.errors import StoreError
from daemon.model import Fields, Patch

ROWS: Final = 100
_KNOWN: Final = ("sku", "price_list", "currency", "min_quantity", "amount", "compare_at", "tax_included")
_NOT_FIXED: Final = ("PRICE_NOT_FIXED",)


LISTED: Final = 50
"""Prices of a list in one read, with their quantity breaks; fewer where the shop finds that too dear."""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One price of a price list on its way."""

    patch: Patch
    sku: str
    article: Article
    quantity: int
    breaks: Mapping[int, str]
    """Quantity breaks that the list has for the variant: quantity -> id."""
    fixed: bool
    """The list has a fixed price for the variant."""


class Prices:
    """The prices of one shop."""

    def __init__(self, client: Client, articles: Articles, options: Options) -> None:
        self._client = client
        self._articles = articles
        self._options = options
        self._page = LISTED
        self._shop: Json | None = None

    async def apply(self, patches: Sequence[Patch], results: Results) -> None:
        """Write prices. Raises StoreError when a call fails."""
        own: list[tuple[Place, Patch]] = []
        lists: dict[tuple[str, str], list[tuple[Place, Patch]]] = {}
        for patch in patches:
            identity = patch.identity
            try:
                place = Place(
                    str(identity["sku"]), str(identity.get("price_list", "default")), str(identity["currency"]),
                    int(identity.get("min_quantity", 1)),
                )  # fmt: skip
                target = self._options.price_list(place.name, place.currency)
            except ValueError:
                results.refuse(patch, f"min_quantity is {identity.get('min_quantity')!r}; it must be a whole number")
            except KeyError as missing:
                results.refuse(patch, f"no price list of the shop is mapped to {missing}; see options.price_lists")
            else:
                if why := unwritten(patch, _KNOWN):
                    results.refuse(patch, why)
                elif target is None:
                    own.append((place, patch))
                else:
                    lists.setdefault((target, place.currency), []).append((place, patch))
        if own:
            await self._own(own, results)
        for (target, currency), those in sorted(lists.items()):
            await self._list(target, currency, those, results)

    # -- the variant's own price

    async def _own(self, wanted: Sequence[tuple[Place, Patch]], results: Results) -> None:
        shop = await self._about_shop()
        good: dict[str, Patch] = {}
        for place, patch in wanted:
            if why := unfit(place, patch, shop):
                results.refuse(patch, why)
            else:
                good[place.sku] = patch
        read, refused = await self._articles.read(good, documents.PRICE_READ, {})
        for sku, why in refused.items():
            results.refuse(good[sku], why)
        rows = []
        for sku, (article, _) in read.items():
            fields = good[sku].fields or {}
            values: dict[str, Any] = {"price": str(fields["amount"])}
            if "compare_at" in fields:
                values["compareAtPrice"] = None if fields["compare_at"] is None else str(fields["compare_at"])
            rows.append(VariantRow(good[sku], article, values))
        await update(self._client, self._articles, rows, results, _same_price)

    async def _about_shop(self) -> Json:
        if self._shop is None:
            data = await self._client.run(documents.SHOP)
            self._shop = self._client.shape(data.get("shop"), dict, 'an object "shop"')
        return self._shop

    # -- price lists

    async def _list(self, target: str, currency: str, wanted: Sequence[tuple[Place, Patch]], results: Results) -> None:
        shop = await self._about_shop()
        skus = sorted({place.sku for place, _ in wanted})
        read, refused = await self._articles.read(skus, documents.PRICE_READ, {})
        shown: dict[str, Json] = {}
        for some in parts([article.variant for article, _ in read.values()], 40):
            query = " OR ".join(f"variant_id:{variant}" for variant in some)
            async for node in self._listed(target, query, currency, results, [patch for _, patch in wanted]):
                shown[number_of(node["variant"]["id"])] = node
        if not results.open():
            return
        rows: list[ListRow] = []
        for place, patch in sorted(wanted, key=lambda pair: pair[1].id):
            if place.sku in refused:
                if patch.fields is None:
                    results.ok(patch)
                else:
                    results.refuse(patch, refused[place.sku])
            elif why := unfit_for_list(place, patch, shop):
                results.refuse(patch, why)
            else:
                article, _ = read[place.sku]
                price = shown.get(article.variant)
                breaks = {b["minimumQuantity"]: b["id"] for b in price["quantityPriceBreaks"]["nodes"]} if price else {}
                rows.append(ListRow(patch, place.sku, article, place.quantity, breaks, price is not None))
        fixed = [row for row in rows if row.quantity <= 1]
        for some in parts(fixed, ROWS):
            await self._fixed(target, currency, some, results)
        started = {row.article.variant for row in fixed if row.patch.fields is not None}
        broken = []
        for row in rows:
            if row.quantity <= 1:
                continue
            if row.patch.fields is not None and not row.fixed and row.article.variant not in started:
                text = f"the price list has no price of {row.sku} for one piece yet; a quantity price needs it"
                results.later(row.patch, text)
            else:
                broken.append(row)
        for some in parts(broken, ROWS):
            await settle(some, lambda these: self._breaks(target, currency, these), _as_they_are, results, stale=())

    async def _fixed(self, target: str, currency: str, rows: Sequence[ListRow], results: Results) -> None:
        held = results.aside([row.patch for row in rows])
        added: dict[str, Json] = {}

        async def send(these: Sequence[ListRow]) -> list[Fault]:
            put = [row for row in these if row.patch.fields is not None]
            gone = [row for row in these if row.patch.fields is None and row.fixed]
            variables = {
                "list": target,
                "add": [_list_input(row, currency) for row in put],
                "delete": [gid("ProductVariant", row.article.variant) for row in gone],
            }
            if not put and not gone:
                return []
            data = await self._client.run(documents.LIST_SET, variables)
            payload = self._client.shape(data.get("priceListFixedPricesUpdate"), dict, "what became of the prices")
            added.update((number_of(p["variant"]["id"]), p) for p in payload.get("pricesAdded") or ())
            faults = [f for f in faults_of(payload, "pricesToAdd", "variantIdsToDelete") if f.code not in _NOT_FIXED]
            return [_placed(fault, payload, these, put, gone) for fault in faults]

        await settle(rows, send, _as_they_are, held, stale=())
        for outcome, row in zip(held.all(), rows, strict=True):
            if outcome.status != "ok" or row.patch.fields is None:
                results.take([outcome])
                continue
            answer = added.get(row.article.variant)
            if answer is None:
                results.later(row.patch, "not in the answer", "E-STORE-LEFT-OUT")
            elif why := differs(
                row.patch.fields, answer["price"]["amount"], (answer["compareAtPrice"] or {}).get("amount")
            ):
                results.refuse(row.patch, why)
            else:
                results.ok(row.patch)

    async def _breaks(self, target: str, currency: str, rows: Sequence[ListRow]) -> list[Fault]:
        put = [row for row in rows if row.patch.fields is not None]
        gone = [row.breaks[row.quantity] for row in rows if row.quantity in row.breaks]
        if not put and not gone:
            return []
        change = {
            "pricesToAdd": [],
            "pricesToDeleteByVariantId": [],
            "quantityPriceBreaksToAdd": [
                {
                    "variantId": gid("ProductVariant", row.article.variant),
                    "minimumQuantity": row.quantity,
                    "price": {"amount": str((row.patch.fields or {})["amount"]), "currencyCode": currency},
                }
                for row in put
            ],
            "quantityPriceBreaksToDelete": gone,
            "quantityRulesToAdd": [],
            "quantityRulesToDeleteByVariantId": [],
        }
        data = await self._client.run(documents.BREAKS_SET, {"list": target, "input": change})
        payload = self._client.shape(data.get("quantityPricingByVariantUpdate"), dict, "what became of the prices")
        return [
            Fault(rows.index(put[f.index]) if f.index is not None and f.index < len(put) else None, f.code, f.message)
            for f in faults_of(payload, "quantityPriceBreaksToAdd")
        ]

    async def _listed(
        self, target: str, query: str | None, currency: str, results: Results | None, patches: Iterable[Patch]
    ) -> AsyncIterator[Json]:
        """Fixed prices of a list. Where the list is not there or has another currency, the patches are refused."""
        after = None
        while True:
            variables = {"list": target, "query": query, "first": self._page, "after": after}
            try:
                data = await self._client.run(documents.LIST_READ, variables, background=results is None)
            except StoreError as error:
                if error.code != say.TOO_LARGE or self._page <= 5:
                    raise
                self._page //= 2  # quantity breaks make a page dear; the shop alone knows how dear
                continue
            found = data.get("priceList")
            if found is None or found["currency"] != currency:
                why = f"the shop has no price list {target}"
                if found is not None:
                    why = f"the price list {target} is in {found['currency']}, not in {currency}"
                for patch in patches:
                    if results is not None:
                        results.refuse(patch, why)
                return
            for node in found["prices"]["nodes"]:
                yield node
            if not found["prices"]["pageInfo"]["hasNextPage"]:
                return
            after = found["prices"]["pageInfo"]["endCursor"]

    # -- reading back

    async def fetch(self, ids: Sequence[str]) -> Mapping[str, Fields]:
        found: dict[str, Fields] = {}
        own: dict[str, Place] = {}
        lists: dict[tuple[str, str], list[tuple[str, Place]]] = {}
        for id_ in ids:
            place = place_of(id_)
            try:
                target = None if place is None else self._options.price_list(place.name, place.currency)
            except KeyError:
                continue
            if place is None:
                continue
            if target is not None:
                lists.setdefault((target, place.currency), []).append((id_, place))
            elif place.quantity <= 1:
                own[id_] = place
        if not own and not lists:
            return found
        shop = await self._about_shop()
        if own:
            read, _ = await self._articles.read((place.sku for place in own.values()), documents.PRICE_READ, {})
            for id_, place in own.items():
                if place.sku in read and place.currency == shop["currencyCode"]:
                    found[id_] = own_fields(place.sku, shop, read[place.sku][1])
        for (target, currency), those in sorted(lists.items()):
            known, _ = await self._articles.find({place.sku for _, place in those})
            wanted = {id_ for id_, _ in those}
            names = {place.name for _, place in those}
            for some in parts(sorted(article.variant for article in known.values()), 40):
                query = " OR ".join(f"variant_id:{variant}" for variant in some)
                async for node in self._listed(target, query, currency, None, ()):
                    for name in names:
                        found |= {k: v for k, v in list_fields(name, shop, node).items() if k in wanted}
        return found

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """Everything, in the order of the ids. All pages are read first, since Shopify knows no such order."""
        found: dict[str, Fields] = {}
        shop = await self._about_shop()
        if self._options.price_lists.get("default") is None:
            seen: dict[str, int] = {}
            last, more = "0", True
            while more:
                variables = {"query": f"id:>{last}", "first": 250, "after": None}
                data = await self._client.run(documents.PRICE_SCAN, variables, background=True)
                connection = self._client.shape(data.get("productVariants"), dict, "variants")
                for node in connection["nodes"]:
                    seen[node["sku"] or ""] = seen.get(node["sku"] or "", 0) + 1
                    fields = own_fields(node["sku"], shop, node)
                    found[id_of(fields)] = fields
                    self._articles.remember({node["sku"]: article_of(node)} if node["sku"] else {})
                more = bool(connection["nodes"]) and connection["pageInfo"]["hasNextPage"]
                last = self._articles.above(last, connection["nodes"]) if more else last
            twice = {sku for sku, count in seen.items() if count > 1 or not sku}
            self._articles.forget(twice)
            found = {name: fields for name, fields in found.items() if fields["sku"] not in twice}
        for key, target in sorted(self._options.price_lists.items()):
            name, _, currency = key.partition("|")
            async for node in self._listed(target, None, currency, None, ()) if currency else self._any(target):
                found |= list_fields(name, shop, node)
        for id_ in sorted(found):
            yield id_, found[id_]

    async def _any(self, target: str) -> AsyncIterator[Json]:
        """All prices of a list, in whatever currency it has."""
        data = await self._client.run(documents.LIST_READ, {"list": target, "query": None, "first": 1, "after": None})
        if data.get("priceList") is not None:
            async for node in self._listed(target, None, data["priceList"]["currency"], None, ()):
                yield node


async def _as_they_are(rows: Sequence[ListRow]) -> Sequence[ListRow]:
    return rows


def _same_price(row: VariantRow, variant: Mapping[str, Any]) -> str:
    return differs(row.patch.fields or {}, variant.get("price"), variant.get("compareAtPrice"))


def _list_input(row: ListRow, currency: str) -> dict[str, Any]:
    fields = row.patch.fields or {}
    made = {
        "variantId": gid("ProductVariant", row.article.variant),
        "price": {"amount": str(fields["amount"]), "currencyCode": currency},
    }
    if fields.get("compare_at") is not None:
        made["compareAtPrice"] = {"amount": str(fields["compare_at"]), "currencyCode": currency}
    return made


def _placed(
    fault: Fault, payload: Mapping[str, Any], rows: Sequence[ListRow], put: Sequence[ListRow], gone: Sequence[ListRow]
) -> Fault:
    """The fault with the index of its row among all rows: the input has two lists."""
    among = gone if any("variantIdsToDelete" in (e.get("field") or ()) for e in payload["userErrors"]) else put
    if fault.index is None or fault.index >= len(among):
        return Fault(None, fault.code, fault.message)
    return Fault(rows.index(among[fault.index]), fault.code, fault.message)

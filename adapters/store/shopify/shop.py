"""One Shopify shop behind the contract: each kind of document goes to the part that knows its place in the shop.

Invariant: what the shop acknowledged before a later call of the same batch failed stays acknowledged; the rest is sent
again, read anew from the ERP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.store import answers as say
from adapters.store.base import StoreSettings
from adapters.store.shopify import documents
from adapters.store.shopify.articles import Articles
from adapters.store.shopify.bulk import Bulk
from adapters.store.shopify.client import Client
from adapters.store.shopify.content import BULK, ROWS, Contents
from adapters.store.shopify.credit import Credit
from adapters.store.shopify.media import Media
from adapters.store.shopify.options import options_of
from adapters.store.shopify.orders import Orders
from adapters.store.shopify.price import Prices
from adapters.store.shopify.results import Results
from adapters.store.shopify.staged import Outside
from adapters.store.shopify.stock import Stock
from daemon.errors import Retry, StoreError
from daemon.model import Fields, Outcome, Patch

ARRAY: Final = 250
"""Rows of one input array; the API takes no more."""
SMALLER: Final = {"content": ROWS, "order_status": 25}
"""Documents of one call, where each may take several requests."""


class ShopifyStore:
    """The Admin API of one shop."""

    def __init__(self, settings: StoreSettings) -> None:
        options = options_of(settings)
        self._kinds = dict(settings.kinds)
        small = {entity: SMALLER[kind] for entity, kind in settings.kinds.items() if kind in SMALLER}
        self.limits = replace(
            settings.limits,
            batch_size=min(settings.limits.batch_size, ARRAY),
            batch_sizes=small,
            bulk_sizes={entity: BULK for entity, kind in settings.kinds.items() if kind == "content"},
        )
        self._client = Client(settings)
        articles = Articles(self._client, settings.memory)
        self._stock = Stock(self._client, articles, options, settings.memory, settings.name)
        self._prices = Prices(self._client, articles, options)
        self._credit = Credit(self._client, articles, options, settings.memory)
        slow, theirs = self._client.in_background(), articles.in_background()  # content never keeps prices waiting
        self._outside = Outside(slow, settings.pace)
        media = Media(slow, theirs, self._outside, settings.memory, settings.pictures, settings.pace)
        bulk = Bulk(slow, self._outside, settings.pace)
        self._content = Contents(slow, theirs, options, media, bulk)
        self._orders = Orders(self._client, articles, options, settings.memory, settings.pace)

    async def open(self) -> None:
        await self._client.transport.open()
        await self._outside.open()

    async def close(self) -> None:
        await self._outside.close()
        await self._client.transport.close()

    async def check(self) -> None:
        data = await self._client.run(documents.SHOP)
        self._client.shape(data.get("shop"), dict, 'an object "shop"')

    def remote(self, entity: str, patch: Patch) -> str | None:
        sku = patch.identity.get("sku")
        if self._kinds.get(entity) == "price":
            return f"price:{patch.identity.get('price_list', 'default')}:{sku}"
        if self._kinds.get(entity) == "content":
            return f"content:{sku}"
        if self._kinds.get(entity) == "order_status":
            return f"order:{patch.identity.get('order')}"
        return None  # a quantity of one item at one place; the variant itself is kept apart by `Articles.alone`

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        if not patches:
            return []
        results = Results(patches, self._client.transport.quote)
        try:
            await self._part(entity).apply(patches, results)
        except StoreError as error:
            if error.retry is not Retry.LATER or error.code == say.TOO_LARGE or not results.some_ok:
                raise
            return results.all(error)
        except (KeyError, TypeError, IndexError, AttributeError):
            raise self._client.transport.wrong_shape("what the Admin API says") from None
        return results.all()

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        try:
            return await self._part(entity).fetch(ids)
        except (KeyError, TypeError, IndexError, AttributeError):
            raise self._client.transport.wrong_shape("what the Admin API says") from None

    async def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        try:
            async for item in self._part(entity).scan():
                yield item
        except (KeyError, TypeError, IndexError, AttributeError):
            raise self._client.transport.wrong_shape("what the Admin API says") from None

    def _part(self, entity: str) -> Stock | Prices | Credit | Contents | Orders:
        match self._kinds.get(entity, entity):
            case "price":
                return self._prices
            case "credit":
                return self._credit
            case "content":
                return self._content
            case "order_status":
                return self._orders
        return self._stock

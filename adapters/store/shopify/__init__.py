"""The `shopify` adapter: the Admin GraphQL API of a Shopify shop, version 2026-10.

Invariant: as in adapters/store/base.py; docs/store-shopify.md says which field of the ERP is written where.
"""

from __future__ import annotations

from adapters.store.base import Store, StoreSettings
from adapters.store.shopify.shop import ShopifyStore


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError for options and entities that Shopify has no place for."""
    return ShopifyStore(settings)

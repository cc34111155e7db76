"""The `woocommerce` adapter: a WooCommerce shop through its REST API v3.

Invariant: importing it makes no connection; `create` is all that the daemon needs. docs/store-woocommerce.md says what goes
where.
"""

from __future__ import annotations

from adapters.store.base import Store, StoreSettings
from adapters.store.woocommerce.store import WooStore


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError for what it cannot use."""
    return WooStore(settings)

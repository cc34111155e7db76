"""The `magento` adapter: Magento Open Source and Adobe Commerce through their REST API.

Invariant: importing it makes no connection; `create` is all that the daemon needs. docs/store-magento.md says what goes where.
"""

from __future__ import annotations

from adapters.store.base import Store, StoreSettings
from adapters.store.magento.store import MagentoStore


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError for what it cannot use."""
    return MagentoStore(settings)

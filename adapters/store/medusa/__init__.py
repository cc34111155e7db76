"""The `medusa` adapter: a Medusa 2 shop through its admin API.

Invariant: importing it makes no connection; `create` is all that the daemon needs. docs/store-medusa.md says what goes where.
"""

from __future__ import annotations

from adapters.store.base import Store, StoreSettings
from adapters.store.medusa.store import MedusaStore


def create(settings: StoreSettings) -> Store:
    """The adapter for one `[store.<name>]`. Raises ConfigError for what it cannot use."""
    return MedusaStore(settings)

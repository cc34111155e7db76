"""Storefront adapters by their name in config.toml; adding one is one file, its sheet and one line here."""

from __future__ import annotations

from importlib import import_module

from adapters.store.base import StoreFactory

_MODULES = {
    "http": "adapters.store.http",
    "magento": "adapters.store.magento",
    "medusa": "adapters.store.medusa",
    "shopify": "adapters.store.shopify",
    "vendure": "adapters.store.vendure",
    "woocommerce": "adapters.store.woocommerce",
}


def names() -> list[str]:
    """Adapter names that `store.<name>.adapter` accepts."""
    return sorted(_MODULES)


def factory(name: str) -> StoreFactory:
    """The adapter's `create` function. KeyError for an unknown name (config has refused it before)."""
    create: StoreFactory = import_module(_MODULES[name]).create
    return create

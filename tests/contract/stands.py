"""The stands of the contract suite. Adding a storefront is one class in a file of its own, and one line here.

Invariant: there is one for each adapter; the suite checks it.
"""

from __future__ import annotations

from importlib import import_module

from tests.contract.stand import Stand

_STANDS = {
    "http": "tests.contract.stand_http:HttpStand",
    "magento": "tests.contract.stand_magento:MagentoStand",
    "medusa": "tests.contract.stand_medusa:MedusaStand",
    "shopify": "tests.contract.stand_shopify:ShopifyStand",
    "vendure": "tests.contract.stand_vendure:VendureStand",
    "woocommerce": "tests.contract.stand_woocommerce:WooStand",
}


def names() -> list[str]:
    return sorted(_STANDS)


def stand(name: str) -> Stand:
    """A new stand; its server is not started and its store not open."""
    module, _, kind = _STANDS[name].partition(":")
    made: Stand = getattr(import_module(module), kind)()
    return made

"""What `[store.<name>.options]` says to the `medusa` adapter, checked without the network.

Invariant: an option that cannot be honoured is a ConfigError naming its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.store.base import StoreSettings
from adapters.store.options import Options, kinds_of

KINDS: Final = ("stock", "price", "credit", "order_status", "content")
ACTIONS: Final = ("shipped", "delivered", "completed", "canceled", "archived")
"""What a status of the ERP can make of an order."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The options in force."""

    kinds: Mapping[str, str]
    """Entity -> kind."""
    locations: Mapping[str, str]
    """The ERP's location -> id or name of a stock location."""
    on_hand: bool
    price_lists: Mapping[str, str]
    """The ERP's price list -> id or title of a price list; one that is not here and called default is the variant's own."""
    customer: str
    order: str
    order_prefix: str
    statuses: Mapping[str, str]
    """Status of the ERP -> one of ACTIONS."""
    fulfilments: bool
    """Shipments become fulfilments; else they are in the metadata only."""
    tracking_urls: Mapping[str, str]
    """Carrier, or * for any -> address with {number}."""
    product: str
    """What a content document calls a product by: sku (of its only variant), external_id or handle."""
    locale: str
    prefix: str


def read(settings: StoreSettings) -> Setting:
    """The options of one store. Raises ConfigError."""
    kinds = kinds_of(settings, KINDS)
    options = Options(settings)
    setting = Setting(
        kinds=kinds,
        locations=options.table("locations"),
        on_hand=options.text("stock", "available", ("available", "on_hand")) == "on_hand",
        price_lists=options.table("price_lists"),
        customer=options.lookup("customer", "email", ("id", "email", "company_name")),
        order=options.lookup("order", "display_id", ("display_id", "id")),
        order_prefix=options.text("order_prefix", ""),
        statuses=options.table("statuses") or {"delivered": "delivered"},
        fulfilments=options.text("fulfilments", "create", ("create", "metadata")) == "create",
        tracking_urls=options.table("tracking_urls"),
        product=options.text("product", "sku", ("sku", "external_id", "handle")),
        locale=options.text("locale", "default"),
        prefix=options.text("metadata_prefix", "erpsyncd_"),
    )
    options.end()
    for key, names in (("locations", setting.locations), ("price_lists", setting.price_lists)):
        if len(set(names.values())) < len(names):
            raise options.error(key, "leads two names to one place", "Each needs a place of its own.")
    if setting.on_hand and setting.fulfilments and {"stock", "order_status"} <= set(kinds.values()):
        text = "would take shipped pieces off twice: a fulfilment lowers the level, and the ERP's number on hand is lower too"
        raise options.error("fulfilments", text, 'Use stock = "available", or fulfilments = "metadata".')
    for status, action in setting.statuses.items():
        if action not in ACTIONS:
            raise options.error(f"statuses.{status}", f"must be one of {', '.join(ACTIONS)}")
    for carrier, url in setting.tracking_urls.items():
        if not url.startswith(("https://", "http://")) or "{number}" not in url:
            hint = 'Such as "https://parcel.example/{number}".'
            raise options.error(f"tracking_urls.{carrier}", "must be an address with {number} in it", hint)
    return setting

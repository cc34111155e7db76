"""What `[store.<name>]` says to the WooCommerce adapter.

Invariant: everything here was checked without a network; the consumer secret is in no address.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from yarl import URL

from adapters.store.base import StoreSettings
from adapters.store.options import Options, kinds_of
from daemon.errors import ConfigError

KINDS: Final = ("stock", "price", "credit", "order_status", "content")
STATUSES: Final = frozenset({"pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed"})
_USUAL: Final = {
    "new": "processing",
    "open": "processing",
    "confirmed": "processing",
    "picking": "processing",
    "packed": "processing",
    "shipped": "processing",
    "on_hold": "on-hold",
    "delivered": "completed",
    "done": "completed",
    "canceled": "cancelled",
}
_API: Final = "wp-json/wc/v3"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Setting:
    """The options, checked."""

    kinds: Mapping[str, str]
    url: str
    authorization: str
    secrets: tuple[str, ...]
    location: str
    currency: str
    price_list: str
    other_lists: bool
    """Prices of other lists go to the product's metadata; else they are refused."""
    tax_included: bool | None
    locale: str
    customer: str
    order: str
    order_prefix: str
    statuses: Mapping[str, str]
    prefix: str

    def order_status(self, status: str) -> str | None:
        """The shop's word for a status of the ERP; None where it has none."""
        known = self.statuses.get(status)
        if known is not None or status in STATUSES:
            return known or status
        return _USUAL.get(status.lower().replace("-", "_").replace(" ", "_"))


def read(settings: StoreSettings) -> Setting:
    """Raises ConfigError naming the option that cannot be used."""
    options = Options(settings)
    kinds = kinds_of(settings, KINDS)
    key = options.maybe("consumer_key")
    pair = settings.token if key is None else f"{key}:{settings.token}"
    if settings.token and (not pair.partition(":")[0] or ":" not in pair):
        raise options.error("consumer_key", "is missing", "Give it the key ck_...; the token is the secret cs_... .")
    secret = pair.partition(":")[2]
    encoded = b64encode(pair.encode()).decode()
    priced = "price" in kinds.values()
    found = Setting(
        kinds=kinds,
        url=_url(settings, bool(options.flag("allow_http", False))),
        authorization=f"Basic {encoded}",
        secrets=(settings.token, secret, pair, encoded),
        location=options.text("location", "default"),
        currency=options.text("currency") if priced else options.text("currency", ""),
        price_list=options.text("price_list", "default"),
        other_lists=options.text("other_price_lists", "refuse", ("refuse", "metadata")) == "metadata",
        tax_included=options.flag("prices_include_tax"),
        locale=options.text("locale", "default"),
        customer=options.lookup("customer", "id", ("id", "email", "username")),
        order=options.lookup("order", "id", ("id", "number")),
        order_prefix=options.text("order_prefix", ""),
        statuses=options.table("statuses"),
        prefix=options.text("metadata_prefix", "erpsyncd_"),
    )
    options.end()
    return found


def _url(settings: StoreSettings, allow_http: bool) -> str:
    url = settings.url.rstrip("/")
    try:
        parts = URL(url)
    except ValueError:
        return url  # the transport refuses it, naming the place
    if parts.scheme == "http" and parts.host not in _LOOPBACK and not allow_http:
        raise ConfigError(
            "must begin with https: WooCommerce takes a key and its secret on HTTPS only",
            where=f"store.{settings.name}.url",
            hint=f"Behind a proxy that ends TLS, set store.{settings.name}.options.allow_http = true.",
        )
    return url if "/wc/v" in parts.path else f"{url}/{_API}"

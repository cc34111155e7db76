"""What `[store.<name>.options]` says to the `medusa` adapter, checked without the network.

Invariant: an option that cannot be honoured is a ConfigError naming its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.store.base import StoreSettings
from adapters.store.options import Options, kinds_of

KINDS: Final = ("stock", "price", "credit")


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
        customer=_lookup(options, "customer", "email", ("id", "email", "company_name")),
        prefix=options.text("metadata_prefix", "erpsyncd_"),
    )
    options.end()
    for key, names in (("locations", setting.locations), ("price_lists", setting.price_lists)):
        if len(set(names.values())) < len(names):
            raise options.error(key, "leads two names to one place", "Each needs a place of its own.")
    return setting


def _lookup(options: Options, key: str, default: str, words: tuple[str, ...]) -> str:
    value = options.text(key, default)
    if value not in words and not (value.startswith("metadata:") and len(value) > len("metadata:")):
        raise options.error(key, f"must be {', '.join(words)} or metadata:KEY")
    return value

"""Which names of tables and columns usually mean what: the guesses of the proposer, in one place.

Invariant: pure. Earlier words are surer; a word that fits nothing gives no guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from daemon.proposal.schema import Column, Table

SKU = (
    *("sku", "item_code", "article_number", "article_no", "item_number", "product_code", "default_code"),
    *("code", "number", "reference", "ref"),
)
SURE_SKUS = SKU[:7]
CUSTOMER = (
    *("customer_number", "customer_no", "customer_code", "account_number", "account_no"),
    *("number", "code", "reference", "ref"),
)
ORDER = ("order_number", "number", "order_no", "name", "code", "reference", "ref")
STATUS = ("status", "state", "order_status")
AVAILABLE = ("available", "available_quantity", "quantity_available", "qty_available", "free_quantity", "sellable")
ON_HAND = ("on_hand", "quantity_on_hand", "qty_on_hand", "quantity", "qty", "stock", "physical")
RESERVED = ("reserved", "reserved_quantity", "quantity_reserved", "qty_reserved", "allocated", "committed")
TAKEN = ("quantity", "qty", *RESERVED)
LOCATION = ("location_code", "warehouse_code", "location", "warehouse", "code", "name")
LOCATION_TABLES = ("warehouse", "location", "depot", "store", "site", "branch")
AMOUNT = ("amount", "price", "unit_price", "list_price", "sale_price", "sales_price", "net_price")
CURRENCY = ("currency", "currency_code", "currency_id", "iso_code")
CURRENCY_TABLES = ("currency",)
CURRENCY_NAMES = ("iso_code", "code", "name")
PRICE_LIST = ("price_list", "pricelist", "tariff", "code", "name")
PRICE_LIST_TABLES = ("price_list", "pricelist", "tariff")
MIN_QUANTITY = ("min_quantity", "min_qty", "minimum_quantity", "quantity_from", "from_quantity", "break_quantity")
LIMIT = ("credit_limit", "limit", "limit_amount")
BALANCE = ("balance", "open_amount", "outstanding", "receivable")
HOLD = ("on_hold", "hold", "blocked", "credit_hold", "is_blocked")
LOCALE = ("locale", "language", "lang", "language_code", "lang_code")
TITLE = ("title", "name", "label", "short_description")
HTML = ("html", "description_html", "description", "long_description", "body", "text")
ACTIVE = ("active", "is_active", "enabled", "published", "sellable")
FROM = ("valid_from", "start_date", "date_start", "starts_at", "from_date")
TO = ("valid_to", "end_date", "date_end", "ends_at", "to_date", "valid_until")

TABLES = {
    "stock": ("stock_level", "stock", "inventory", "stock_quant", "item_stock", "product_stock", "inventory_level"),
    "price": ("price", "item_price", "product_price", "sales_price", "price_list_item", "prices"),
    "credit": ("customer", "customers", "account", "debtor", "partner"),
    "order_status": ("sales_order", "sale_order", "orders", "customer_order", "order"),
    "content": (
        *("description", "item_description", "product_description", "translation", "product_translation"),
        *("item", "product", "article"),
    ),
}
"""Names of tables by the kind of document that is usually made of them."""


def pick(columns: Iterable[Column], words: Sequence[str]) -> Column | None:
    """The column whose name is the earliest of `words`, compared without case and separators."""
    ranked = [(rank, column) for column in columns if (rank := _rank(column.name, words)) is not None]
    return min(ranked, key=lambda found: found[0])[1] if ranked else None


def likely(tables: Iterable[Table], kind: str) -> Table | None:
    """The table that a kind of document is usually made of; None where no name fits or two fit as well."""
    ranked = [(rank, table.name, table) for table in tables if (rank := _rank(table.short, TABLES[kind])) is not None]
    ranked.sort(key=lambda found: found[:2])
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][2]


def names_one_of(table: Table, words: Sequence[str]) -> bool:
    """Whether a table's name holds one of the words, such as `stock_warehouse` for warehouse."""
    plain = _plain(table.short)
    return any(_plain(word) in plain for word in words)


def _rank(name: str, words: Sequence[str]) -> int | None:
    plain = _plain(name)
    return next((rank for rank, word in enumerate(words) if _plain(word) == plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

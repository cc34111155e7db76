"""`[store.<name>.options]` of a shop: what the ERP's names and words mean there.

Invariant: what the ERP calls by a name is looked up here or in the shop by an exact key, never guessed. An option that is
not known, or that an entity needs and lacks, is refused before any call, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.store.base import StoreSettings
from daemon.errors import ConfigError

KINDS: Final = ("stock", "price", "credit", "order_status", "content")
OWNERS: Final = ("company", "company_location", "customer")
QUANTITIES: Final = ("available", "on_hand")


@dataclass(frozen=True, slots=True)
class Options:
    """The options, checked. Ids are the shop's own, `gid://shopify/...`."""

    locations: Mapping[str, str]
    """ERP's location -> Location."""
    quantity: str
    """Which quantity of Shopify's the ERP's `available` is: available or on_hand."""
    price_lists: Mapping[str, str]
    """ERP's price list, or `list|CURRENCY` -> PriceList. Without one the default list is the variant's own price."""

    customers: str
    """What the ERP's customer is in the shop: company or company_location by its external id, customer by its address."""
    namespace: str
    """Namespace of the metafields."""
    locale: str
    """Locale of the documents that are in the shop's own language."""
    locales: Mapping[str, str]
    """Locale of the ERP -> a further language of the shop, such as `de`."""

    product: str
    """What the `sku` of a content document is: the SKU of a variant, the product's handle, or the value of the unique
    metafield `namespace.key`."""
    orders: str
    """What the ERP's order is in the shop: its name, its id, or the value of the unique metafield `namespace.key`."""
    order_prefix: str
    """What the ERP's order begins with before that."""
    cancelled: frozenset[str]
    """Words of the ERP's status that cancel an order."""
    notify: bool
    """Whether the customer is told of shipments and cancellations."""
    restock: bool
    """Whether the pieces of a cancelled order go back to stock: not where the ERP says what is available."""

    def price_list(self, name: str, currency: str) -> str | None:
        """The shop's price list; None where the variant's own price is meant. KeyError when it is not mapped."""
        found = self.price_lists.get(f"{name}|{currency}") or self.price_lists.get(name)
        if found is None and name != "default":
            raise KeyError(name)
        return found


def options_of(settings: StoreSettings) -> Options:
    """The options of a store. Raises ConfigError naming the one at fault."""
    return _Reader(settings).read()


class _Reader:
    def __init__(self, settings: StoreSettings) -> None:
        self._where = f"store.{settings.name}"
        self._given = {name: value for name, value in settings.options.items() if name != "entities"}
        self._kinds = settings.kinds

    def read(self) -> Options:
        for entity, kind in self._kinds.items():
            if kind not in KINDS:
                raise ConfigError(
                    f"the adapter shopify does not show the entity {entity!r}",
                    where=f"{self._where}.entities",
                    hint=f"Give [entity.{entity}] one of the kinds {', '.join(KINDS)}, or show it in another store.",
                )
        known = {"locations", "quantity", "price_lists", "customers", "namespace", "locale", "locales"}
        known |= {"product", "orders", "order_prefix", "cancelled", "notify"}
        if unknown := sorted(self._given.keys() - known):
            raise self._wrong(
                unknown[0], "is no option of the adapter shopify", f"It knows {', '.join(sorted(known))}."
            )
        made = Options(
            locations=self._ids("locations", "Location"),
            quantity=self._word("quantity", "available", QUANTITIES),
            price_lists=self._ids("price_lists", "PriceList"),
            customers=self._word("customers", "company", OWNERS),
            namespace=self._namespace(),
            locale=self._text("locale", "default"),
            locales=self._locales(),
            product=self._identifier("product", ("sku", "handle")),
            orders=self._identifier("orders", ("name", "id")),
            order_prefix=self._text("order_prefix", ""),
            cancelled=self._cancelled(),
            notify=self._notify(),
            restock="stock" not in self._kinds.values(),
        )
        if made.locale in made.locales:
            hint = "It is the shop's own language already; leave it out of the table."
            raise self._wrong(f"locales.{made.locale}", "is options.locale, too", hint)
        if made.quantity == "on_hand" and {"stock", "order_status"} <= set(self._kinds.values()):
            text = "would take shipped pieces off twice: a fulfilment lowers what is on hand, and the ERP's number is lower too"
            raise self._wrong("quantity", text, 'Use "available", or leave one of the two entities out.')
        if "stock" in self._kinds.values() and not made.locations:
            raise self._wrong(
                "locations",
                "is missing: which location of the shop holds the ERP's stock",
                'An example is { default = "gid://shopify/Location/123" }; docs/store-shopify.md shows where the number is.',
            )
        return made

    def _wrong(self, name: str, text: str, hint: str) -> ConfigError:
        return ConfigError(f"{name} {text}.", where=f"{self._where}.options.{name}", hint=hint)

    def _word(self, name: str, default: str, words: Iterable[str]) -> str:
        value = self._given.get(name, default)
        if value not in words:
            raise self._wrong(name, f"cannot be {value!r}", f"It is one of {', '.join(words)}.")
        return str(value)

    def _ids(self, name: str, kind: str) -> dict[str, str]:
        value = self._given.get(name, {})
        example = f'An example is {{ default = "gid://shopify/{kind}/123" }}.'
        if not isinstance(value, Mapping):
            raise self._wrong(name, "must be a table", example)
        found: dict[str, str] = {}
        for theirs, ours in value.items():
            number = str(ours).removeprefix(f"gid://shopify/{kind}/") if not isinstance(ours, bool) else ""
            if not re.fullmatch(r"[0-9]{1,20}", number):
                raise self._wrong(f"{name}.{theirs}", f"must be the id of a {kind}", example)
            found[theirs] = f"gid://shopify/{kind}/{number}"
        if len(set(found.values())) < len(found) and kind == "Location":
            raise self._wrong(
                name, "name one Location twice", "Two stocks cannot be shown in one place; add them in SQL."
            )
        return found

    def _text(self, name: str, default: str) -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "must be a text", f'Without it, it is "{default}".')
        return value

    def _identifier(self, name: str, words: tuple[str, str]) -> str:
        """One of the words, the first where nothing is said, or `namespace.key` of a metafield."""
        value = self._text(name, words[0])
        if value not in words and not re.fullmatch(r"[A-Za-z0-9_-]{3,255}\.[A-Za-z0-9_-]{2,64}", value):
            hint = f'It is "{words[0]}", "{words[1]}", or a metafield such as "erp.number".'
            raise self._wrong(name, f"cannot be {value!r}", hint)
        return value

    def _cancelled(self) -> frozenset[str]:
        value = self._given.get("cancelled", [])
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise self._wrong("cancelled", "must be a list of words of the ERP", 'An example is ["cancelled"].')
        return frozenset(value)

    def _notify(self) -> bool:
        value = self._given.get("notify", False)
        if not isinstance(value, bool):
            raise self._wrong("notify", "must be true or false", "Without it, customers are told nothing from here.")
        return value

    def _locales(self) -> dict[str, str]:
        value = self._given.get("locales", {})
        example = 'An example is { german = "de", brazil = "pt-BR" }.'
        if not isinstance(value, Mapping):
            raise self._wrong("locales", "must be a table", example)
        for theirs, ours in value.items():
            if not isinstance(ours, str) or not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", ours):
                raise self._wrong(f"locales.{theirs}", "must be a language of the shop", example)
        if len(set(value.values())) < len(value):
            raise self._wrong("locales", "names one language twice", "Each language has one locale of the ERP.")
        return dict(value)

    def _namespace(self) -> str:
        value = self._given.get("namespace", "erpsyncd")
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{3,255}", value):
            raise self._wrong("namespace", "is no namespace of metafields", 'An example is "erpsyncd".')
        return value

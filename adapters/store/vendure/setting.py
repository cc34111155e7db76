"""What `[store.<name>.options]` says to the `vendure` adapter, checked without the network.

Invariant: an option that cannot be honoured is a ConfigError naming its key; an entity is refused when the options give
its values no place in the shop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.store.base import StoreSettings
from adapters.store.options import Options, kinds_of

KINDS: Final = ("stock", "price", "credit", "order_status", "content")
CREDIT_FIELDS: Final = ("currency", "limit", "balance", "available", "hold")
PRICE_FIELDS: Final = ("compare_at",)
STATES: Final = (
    "PaymentAuthorized",
    "PaymentSettled",
    "PartiallyShipped",
    "Shipped",
    "PartiallyDelivered",
    "Delivered",
)
"""An order's way through the shop, by Vendure's own process."""
CANCELLED: Final = "Cancelled"
SENT: Final = ("Shipped", "Delivered")
"""A fulfilment's way, as far as the ERP speaks of it."""
_SENT_WORDS: Final = {"sent": "Shipped", "shipped": "Shipped", "in_transit": "Shipped", "done": "Shipped"}


@dataclass(frozen=True, slots=True)
class Setting:
    """The options in force."""

    kinds: Mapping[str, str]
    """Entity -> kind."""
    login: str
    """Administrator to log in as; "" where the token is an API key."""
    channels: Mapping[str, str]
    """Price list -> channel token ("" is the shop's default channel); "default" is always there."""
    locations: Mapping[str, str]
    """The ERP's location -> name of a stock location."""
    on_hand: bool
    body_limit: int
    price_fields: Mapping[str, str]
    customer: str
    credit: Mapping[str, str]
    order: str
    """How an order is found: "code" or a custom field of Order."""
    order_note: str
    """Custom field of Order that keeps what the ERP said."""
    statuses: Mapping[str, str]
    """Status of the ERP, folded -> state of an order."""
    shipments: Mapping[str, str]
    """Status of a fulfilment in the ERP, folded -> "Shipped" or "Delivered"; any other has not left."""
    handler: str
    replaces: bool
    """Whether a fulfilment of ours is cancelled and made anew where the ERP says otherwise."""
    mark: str
    product: str
    """How a product is found: "sku" (of its only variant) or a custom field of Product."""
    product_note: str
    """Custom field of Product that keeps what of the content has no place of its own."""
    locales: Mapping[str, str]
    """Locale of the ERP -> language code; "" is the channel's default language."""
    attributes: Mapping[str, str]
    """Attribute of the ERP -> custom field of Product."""

    def state(self, status: str) -> str | None:
        """The state of an order that a status of the ERP means."""
        return self.statuses.get(folded(status))

    @property
    def channel(self) -> str:
        """Token of the channel for all that is not a price list."""
        return self.channels["default"]


def read(settings: StoreSettings) -> Setting:
    """The options of one store. Raises ConfigError."""
    kinds = kinds_of(settings, KINDS)
    shown = set(kinds.values())
    options = Options(settings)
    login = options.text("auth", "api-key", ("api-key", "login")) == "login"
    user = options.text("user", "")
    if login and not user:
        raise options.error(
            "user", "is missing", 'With auth = "login" it names the administrator; token is the password.'
        )
    if user and not login:
        raise options.error("user", 'is for auth = "login"')
    channel, lists = options.text("channel", ""), options.table("price_lists")
    if "default" in lists:
        raise options.error("price_lists.default", "is the option `channel`", "Give the channel's token there.")
    channels = {"default": channel, **lists}
    _each_once(options, "price_lists", channels)
    locations = options.table("locations")
    _each_once(options, "locations", locations)
    credit = options.table("credit")
    _known(options, "credit", credit, CREDIT_FIELDS)
    if "credit" in shown and not credit:
        hint = 'Name the custom fields of Customer, such as { limit = "creditLimit" }, or leave the entity out.'
        raise options.error("credit", "is missing: Vendure itself has no credit", hint)
    price_fields = options.table("price_fields")
    _known(options, "price_fields", price_fields, PRICE_FIELDS)
    notes = {"order_status": "order_note", "content": "product_note"}
    noted = {key: options.text(key, "") for key in notes.values()}
    for kind, key in notes.items():
        if kind in shown and not noted[key]:
            hint = (
                'Name a custom field of type text, such as "erpNote", in which erpsyncd keeps what came from the ERP.'
            )
            raise options.error(key, "is missing", hint)
    statuses = {folded(state): state for state in (*STATES, CANCELLED)} | {"canceled": CANCELLED}
    statuses |= _states(options, "statuses", (*STATES, CANCELLED))
    shipments = {**{folded(word): state for word, state in _SENT_WORDS.items()}, "delivered": "Delivered"}
    shipments |= _states(options, "fulfilment_statuses", SENT)
    locales = options.table("locales") or {"default": ""}
    _each_once(options, "locales", locales)
    attributes = options.table("attributes")
    _each_once(options, "attributes", attributes)
    setting = Setting(
        kinds=kinds,
        login=user,
        channels=channels,
        locations=locations,
        on_hand=options.text("stock", "available", ("available", "on_hand")) == "on_hand",
        body_limit=options.number("body_limit", 100_000, 1_000),
        price_fields=price_fields,
        customer=options.text("customer", "emailAddress"),
        credit=credit,
        order=options.text("order", "code"),
        order_note=noted["order_note"],
        statuses=statuses,
        shipments=shipments,
        handler=options.text("fulfilment_handler", "manual-fulfillment"),
        replaces=options.text("fulfilment_changes", "refuse", ("refuse", "replace")) == "replace",
        mark=options.text("mark", "erpsyncd"),
        product=options.text("product", "sku"),
        product_note=noted["product_note"],
        locales=locales,
        attributes=attributes,
    )
    options.end()
    if setting.on_hand and {"stock", "order_status"} <= shown:
        text = "would take shipped pieces off twice: a fulfilment lowers the level, and the ERP's number on hand is lower too"
        raise options.error("stock", text, 'Use stock = "available", or leave one of the two entities out.')
    for key, names in (
        ("customer", [setting.customer]),
        ("order", [setting.order]),
        ("product", [setting.product]),
        ("attributes", attributes.values()),
        *((key, filter(None, [name])) for key, name in noted.items()),
        ("credit", credit.values()),
        ("price_fields", price_fields.values()),
    ):
        for name in names:  # they become part of a query's text
            if not (name.isascii() and name.replace("_", "a").isalnum() and not name[0].isdigit()):
                raise options.error(key, f"{name!r} cannot be the name of a custom field")
    return setting


def folded(word: str) -> str:
    """A status without regard to case and joints: `partially_shipped` is `PartiallyShipped`."""
    return "".join(filter(str.isalnum, word)).casefold()


def _states(options: Options, key: str, known: tuple[str, ...]) -> dict[str, str]:
    """The states that words of the ERP mean."""
    table = options.table(key)
    for word, state in table.items():
        if state not in known:
            raise options.error(
                f"{key}.{word}", f"{state!r} is no state that can be meant", f"There are: {', '.join(known)}."
            )
    return {folded(word): state for word, state in table.items()}


def _each_once(options: Options, key: str, table: Mapping[str, str]) -> None:
    if len(set(table.values())) < len(table):
        raise options.error(key, "leads two names to one place", "Each needs a place of its own.")


def _known(options: Options, key: str, table: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            raise options.error(f"{key}.{name}", "is no field of such a document", f"There are: {', '.join(names)}.")
    _each_once(options, key, table)

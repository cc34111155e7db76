"""What each kind of document is in WooCommerce: stock, price, credit, order status. Pure.

Invariant: `item` and `documents` are each other's mirror: what `documents` reads from a record that shows an item is what the
patch said. What WooCommerce has no field for goes to metadata, or the patch is refused with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Protocol

import orjson

from adapters.store.woocommerce.setting import Setting
from daemon.drift import same
from daemon.model import Fields, Patch

Record = Mapping[str, Any]
Item = dict[str, Any]


class Refused(Exception):
    """This document cannot be shown; the text says why."""


class Desk(Protocol):
    """One kind of document."""

    where: str
    """"products", "customers" or "orders"."""
    fields: str
    """What is read of a record."""

    def name(self, id_: str) -> str:
        """What a document's record is looked up by."""

    def item(self, patch: Patch, record: Record) -> Item:
        """What to write, without the id. Raises Refused."""

    def missed(self, item: Item, record: Record) -> str:
        """What the record does not show although it was written; empty when all is there."""

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        """The documents that a record shows."""


_PRODUCT: Final = "id,sku,type,parent_id,meta_data"


class StockDesk:
    """Stock: WooCommerce has one number an article."""

    where = "products"
    fields = f"{_PRODUCT},manage_stock,stock_quantity,backorders"

    def __init__(self, setting: Setting) -> None:
        self._location = setting.location
        self._prefix = f"{setting.prefix}stock_"

    def name(self, id_: str) -> str:
        return id_.rpartition("|")[0]

    def item(self, patch: Patch, record: Record) -> Item:
        location = patch.identity.get("location")
        if location != self._location:
            raise Refused(f"location {location} is not the one that this shop shows ({self._location})")
        if patch.fields is None:
            return {"manage_stock": False, "stock_status": "outofstock", "meta_data": cleared(record, self._prefix)}
        fields = dict(patch.fields)
        available, backorder = fields.pop("available", None), fields.pop("backorder", None)
        try:
            number = int(str(available))
        except ValueError:
            raise Refused(f"available is {available}, not a whole number") from None
        item: Item = {"manage_stock": True, "stock_quantity": number}
        if backorder is not None:
            item["backorders"] = "yes" if backorder else "no"
        return with_rest(item, patch, fields, ("sku", "location"), self._prefix)

    def missed(self, item: Item, record: Record) -> str:
        if not item["manage_stock"]:
            return "" if record.get("manage_stock") is not True else "the shop still manages its stock"
        if record.get("manage_stock") is not True:
            return "the shop does not manage stock (WooCommerce, Settings, Products, Inventory)"
        return shown(item, record, "stock_quantity")

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        if record.get("manage_stock") is not True or record.get("stock_quantity") is None:
            return
        fields = {"sku": record["sku"], "location": self._location, "available": record["stock_quantity"]}
        fields["backorder"] = record.get("backorders") in ("yes", "notify")
        yield f"{record['sku']}|{self._location}", {**fields, **rest(record, self._prefix)}


class PriceDesk:
    """Prices: one list is the regular and the sale price, others are metadata where that is wanted."""

    where = "products"
    fields = f"{_PRODUCT},regular_price,sale_price"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._prefix = f"{setting.prefix}price_"
        self._lists = f"{setting.prefix}price|"

    def name(self, id_: str) -> str:
        return id_.rsplit("|", 3)[0]

    def item(self, patch: Patch, record: Record) -> Item:
        if record.get("type") in ("variable", "grouped"):
            raise Refused("a variable or grouped product has no price of its own; its variations have")
        named = [str(patch.identity.get(key)) for key in ("price_list", "currency", "min_quantity")]
        if not self._ordinary(*named):
            return self._listed(patch, named)
        fields = dict(patch.fields or {})
        amount, before = fields.pop("amount", ""), fields.pop("compare_at", None)
        self._taxed(fields.pop("tax_included", None))
        item: Item = {"regular_price": str(amount), "sale_price": ""}
        if patch.fields is None:
            return {**item, "meta_data": cleared(record, self._prefix)}
        if before is not None:
            if Decimal(str(before)) <= Decimal(str(amount)):
                raise Refused(
                    f"compare_at ({before}) must be above amount ({amount}): it is shown as the regular price"
                )
            item = {"regular_price": str(before), "sale_price": str(amount)}
        return with_rest(item, patch, fields, ("sku", "price_list", "currency", "min_quantity"), self._prefix)

    def _ordinary(self, price_list: str, currency: str, quantity: str) -> bool:
        """Whether it is the shop's own price. Raises Refused for one that it cannot show at all."""
        own = price_list == self._setting.price_list
        if own and quantity == "1":
            if currency != self._setting.currency:
                raise Refused(f"the shop sells in {self._setting.currency}, this price is in {currency}")
            return True
        if not self._setting.other_lists:
            what = f"from quantity {quantity}" if own else f"of list {price_list}"
            raise Refused(f'WooCommerce has no prices {what}; other_price_lists = "metadata" keeps them for a plugin')
        return False

    def _listed(self, patch: Patch, named: list[str]) -> Item:
        key = self._lists + "|".join(named)
        if patch.fields is None:
            return {"meta_data": [{"key": key, "value": None}]}
        kept = {name: value for name, value in patch.fields.items() if name not in patch.identity}
        return {"meta_data": [{"key": key, "value": orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()}]}

    def _taxed(self, included: Any) -> None:
        if included is None or included == self._setting.tax_included:
            return
        if self._setting.tax_included is None:
            raise Refused("the price says whether tax is included; say what the shop does: options.prices_include_tax")
        raise Refused("the shop's prices are with tax or without, and this price is the other way")

    def missed(self, item: Item, record: Record) -> str:
        return shown(item, record, "regular_price") or shown(item, record, "sale_price")

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        sku, setting = record["sku"], self._setting
        regular, sale = record.get("regular_price"), record.get("sale_price")
        if regular:
            fields = {"sku": sku, "price_list": setting.price_list, "currency": setting.currency, "min_quantity": 1}
            fields |= {"amount": sale or regular, "compare_at": regular if sale else None}
            fields["tax_included"] = setting.tax_included
            name = f"{sku}|{setting.price_list}|{setting.currency}|1"
            yield name, {**fields, **rest(record, self._prefix)}
        for key, value in metadata(record).items():
            parts = key.removeprefix(self._lists).split("|")
            if not key.startswith(self._lists) or len(parts) != 3 or not parts[2].isdecimal():
                continue
            kept = decoded(value)
            if isinstance(kept, dict):
                named = {"price_list": parts[0], "currency": parts[1], "min_quantity": int(parts[2])}
                yield f"{sku}|{'|'.join(parts)}", {"sku": sku, **named, **kept}


class CreditDesk:
    """Credit: WooCommerce has none, so each field is a metadata of the customer."""

    where = "customers"
    fields = "id,email,username,meta_data"

    def __init__(self, setting: Setting) -> None:
        self._prefix = f"{setting.prefix}credit_"

    def name(self, id_: str) -> str:
        return id_

    def item(self, patch: Patch, record: Record) -> Item:
        if patch.fields is None:
            return {"meta_data": cleared(record, self._prefix)}
        return with_rest({}, patch, dict(patch.fields), ("customer",), self._prefix)

    def missed(self, item: Item, record: Record) -> str:
        return kept(item, record)

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        fields = rest(record, self._prefix)
        if fields:
            yield record["name"], {"customer": record["name"], **fields}


class OrderDesk:
    """Order status: the shop's own status by its word, what the ERP said and its shipments in metadata."""

    where = "orders"
    fields = "id,number,status,meta_data"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._prefix = f"{setting.prefix}order_"

    def name(self, id_: str) -> str:
        return id_

    def item(self, patch: Patch, record: Record) -> Item:
        if patch.fields is None:
            return {"meta_data": cleared(record, self._prefix)}
        status = str(patch.fields.get("status"))
        word = self._setting.order_status(status)
        if word is None:
            raise Refused(f'status "{status}" has no counterpart in the shop; name it in options.statuses')
        # a status that the shop set for itself meanwhile, such as refunded, stays until the ERP says another one
        item: Item = {"status": word} if "status" in patch.changed or not patch.changed else {}
        item = with_rest(item, patch, dict(patch.fields), ("order",), self._prefix)
        item["meta_data"].append({"key": f"{self._prefix}tracking_text", "value": _tracking(patch.fields)})
        return item

    def missed(self, item: Item, record: Record) -> str:
        return shown(item, record, "status") or kept(item, record)

    def documents(self, record: Record) -> Iterator[tuple[str, Fields]]:
        fields = rest(record, self._prefix)
        fields.pop("tracking_text", None)
        status = fields.get("status")
        if status is None:
            return
        if self._setting.order_status(str(status)) != record.get("status"):
            fields["status"] = record.get("status")
        yield record["name"], {"order": record["name"], **fields}


def _tracking(fields: Fields) -> str | None:
    """The shipments to the customer in one line that a theme or an e-mail can print."""
    entries = [each for each in fields.get("fulfilments") or [] if isinstance(each, Mapping)]
    shipments = [each for each in entries if each.get("kind") != "return"]
    lines = [f"{each.get('carrier') or ''} {each.get('tracking_number') or ''}".strip() for each in shipments]
    return ", ".join(filter(None, lines)) or None


# Metadata


def metadata(record: Record) -> dict[str, Any]:
    """A record's metadata by key; of several with one key the first, as WooCommerce itself takes it."""
    found: dict[str, Any] = {}
    for entry in record.get("meta_data") or []:
        if isinstance(entry, Mapping) and isinstance(entry.get("key"), str):
            found.setdefault(entry["key"], entry.get("value"))
    return found


def encoded(value: Any) -> str | None:
    """A value as the text of a metadata: texts and numbers as they are, yes and no, JSON for the rest; None removes it."""
    if value is None or isinstance(value, bool):
        return None if value is None else "yes" if value else "no"
    if isinstance(value, int | str):
        text = str(value)
        return text if decoded(text) == text else orjson.dumps(text).decode()
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def decoded(text: Any) -> Any:
    """The value that a metadata's text means; anything that is no text as it is."""
    if text in ("yes", "no"):
        return text == "yes"
    if isinstance(text, str) and text[:1] in ('"', "[", "{"):
        try:
            return orjson.loads(text)
        except ValueError:
            return text
    return text


def with_rest(item: Item, patch: Patch, fields: Fields, identity: Iterable[str], prefix: str) -> Item:
    """The item, with every field that WooCommerce has no place for as metadata; what the document lost is removed."""
    gone = {name: None for name in patch.changed if name not in (patch.fields or {})}
    kept = {name: value for name, value in {**gone, **fields}.items() if name not in identity}
    return {**item, "meta_data": [{"key": prefix + name, "value": encoded(value)} for name, value in kept.items()]}


def rest(record: Record, prefix: str) -> dict[str, Any]:
    """The fields that a record holds as metadata."""
    return {
        key.removeprefix(prefix): decoded(value) for key, value in metadata(record).items() if key.startswith(prefix)
    }


def cleared(record: Record, prefix: str) -> list[Item]:
    """What removes the metadata of a document."""
    return [{"key": key, "value": None} for key in metadata(record) if key.startswith(prefix)]


def shown(item: Item, record: Record, name: str) -> str:
    """What to say where a record shows another value than was written; empty where it shows it, or was not asked to."""
    if name not in item or same(item[name], record.get(name)) or (not item[name] and not record.get(name)):
        return ""
    return f"the shop took the call and shows {name} {record.get(name)!r} instead of {item[name]!r}"


def kept(item: Item, record: Record) -> str:
    """The same for metadata."""
    have = metadata(record)
    for entry in item.get("meta_data", ()):
        if have.get(entry["key"]) != entry["value"]:
            return f"the shop took the call and does not show the metadata {entry['key']}"
    return ""

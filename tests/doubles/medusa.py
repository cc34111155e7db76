"""A Medusa for tests, as its admin API answers.

Invariant: what it does was seen from Medusa 2.21.2: batches are atomic; a list of prices replaces a variant's; a price id of
one's own is taken, and lost for good once it was deleted, without a word; unknown currencies and locations are taken; an
unknown field is a 400, an unknown id a 404 in JSON, an unknown address a 404 in HTML. Only fields that are asked for come.
"""

from __future__ import annotations

import copy
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tests.doubles.faults import Fault
from tests.doubles.medusa_orders import Json, Orders, Problem, known, merged, only
from tests.doubles.server import Call, Server, json_answer

NO_SUCH_PAGE = '<!DOCTYPE html>\n<html lang="en"><body><pre>Cannot {} {}</pre></body></html>'
_PRICE = {"id", "currency_code", "amount", "min_quantity", "max_quantity", "rules"}
_VARIANT = {"id", "prices", "allow_backorder", "manage_inventory", "metadata"}
_PRODUCT = {
    "id",
    "title",
    "description",
    "handle",
    "subtitle",
    "status",
    "thumbnail",
    "images",
    "categories",
    "metadata",
}
_LEVEL = {"inventory_item_id", "location_id", "stocked_quantity", "incoming_quantity"}


class Medusa(Orders, Server):
    """The shop. `token` is a secret API key."""

    def __init__(self, *, token: str) -> None:
        super().__init__(token=token)
        self.currencies = {"eur": False}
        """code -> whether its prices include tax"""
        self.locations = {"sloc_1": "Warehouse"}
        self.variants: dict[str, Json] = {}
        """id -> sku, product_id, allow_backorder, manage_inventory, prices, items [(inventory item, quantity)]"""
        self.levels: dict[tuple[str, str], Json] = {}
        """(inventory item, location) -> id, stocked_quantity, reserved_quantity"""
        self.lists: dict[str, Json] = {}
        """id -> title, prices {id: price}, used: ids that were deleted"""
        self.customers: dict[str, Json] = {}
        self.products: dict[str, Json] = {}
        self.categories: dict[str, Json] = {}
        self.files: dict[str, bytes] = {}
        """Address -> what was uploaded."""
        self.poisoned: set[str] = set()
        """Inventory items, variants and customers of which a plugin refuses every write."""
        self.conflicts = 0
        """So many of the next writes end in a conflict of the database."""
        self.looks_at_products = False
        """A Medusa that takes the product in the address of a variants' batch seriously."""

    # -- what a test makes

    def variant(self, sku: str, product: str = "", **values: Any) -> Json:
        """A variant without a level or a price."""
        number = self._next()
        made: Json = {
            "id": f"variant_{number}", "sku": sku, "product_id": product or f"prod_{number}", "allow_backorder": False,
            "manage_inventory": True, "prices": [], "items": [(f"iitem_{number}", 1)], "metadata": None, **values,
        }  # fmt: skip
        self.variants[made["id"]] = made
        return made

    def product(self, *skus: str, **values: Any) -> Json:
        """A product with its variants."""
        number = self._next()
        made: Json = {
            "id": f"prod_{number}", "title": "?", "description": None, "handle": f"p-{number}", "subtitle": None,
            "external_id": None, "status": "published", "thumbnail": None, "metadata": None, "images": [], "categories": [],
            **values,
        }  # fmt: skip
        self.products[made["id"]] = made
        for sku in skus:
            self.variant(sku, made["id"])
        return made

    def category(self, name: str, parent: str | None = None) -> str:
        made = f"pcat_{self._next()}"
        self.categories[made] = {"id": made, "name": name, "parent_category_id": parent}
        return made

    def price_list(self, title: str) -> Json:
        made: Json = {"id": f"plist_{self._next()}", "title": title, "prices": {}, "used": set()}
        self.lists[made["id"]] = made
        return made

    def customer(self, email: str, **values: Any) -> Json:
        made: Json = {"id": f"cus_{self._next()}", "email": email, "company_name": None, "has_account": True,
                      "metadata": None, **values}  # fmt: skip
        self.customers[made["id"]] = made
        return made

    def of(self, sku: str) -> Json:
        return next(variant for variant in self.variants.values() if variant["sku"] == sku)

    def level(self, sku: str, stocked: int, reserved: int = 0, location: str = "sloc_1") -> Json:
        """Set the level of a variant's first item by hand."""
        made = {"id": f"ilev_{self._next()}", "stocked_quantity": stocked, "reserved_quantity": reserved}
        self.levels[self.of(sku)["items"][0][0], location] = made
        return made

    def add_price(self, place: Json, sku: str, currency: str, amount: float, **values: Any) -> Json:
        """A price of a list or variant that somebody made by hand."""
        row = {"id": f"price_{self._next()}", **_price({"currency_code": currency, "amount": amount, **values})}
        if "prices" in place and "title" in place:
            place["prices"][row["id"]] = {**row, "variant": self.of(sku)["id"]}
        else:
            place["prices"].append(row)
        return row

    def _next(self) -> str:
        self._last += 1
        return f"{self._last:06}"

    # -- one request

    def call_of(self, request: web.Request, body: bytes) -> Call:
        path = request.path.removeprefix("/admin/")
        good = "Basic " + b64encode(f"{self.token}:".encode()).decode()
        write = request.method == "POST"
        return Call(
            method=request.method, entity=re.sub(r"\b(order|ful)_\d+", "*", path), write=write, ids=(),
            authorized=request.headers.get("Authorization") == good,
            touches=frozenset(_touched(path, body)) if write else frozenset(),
        )  # fmt: skip

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        del faults
        if not call.authorized:
            return json_answer({"message": "Unauthorized"}, 401)
        query = parse_qsl(request.query_string, keep_blank_values=True)
        fields = dict(query).get("fields", "")
        parts = request.path.removeprefix("/admin/").split("/")
        try:
            if call.method == "GET" and request.path.startswith("/admin/"):
                found = self._listed(parts)
                if found is not None:
                    name, records, filters = found
                    return json_answer(_page(name, records, query, filters))
            elif call.write:
                if parts == ["uploads"]:
                    return json_answer({"files": [self._upload(request.content_type, body)]})
                return json_answer(self._write(parts, orjson.loads(body), fields))
        except Problem as problem:
            return problem.answer
        except orjson.JSONDecodeError:
            return json_answer({"type": "invalid_data", "message": "Unexpected token"}, 400)
        return web.Response(status=404, text=NO_SUCH_PAGE.format(call.method, request.path), content_type="text/html")

    def _listed(self, parts: list[str]) -> tuple[str, list[Json], set[str]] | None:
        """Name of a list, its records, and what it can be asked for by."""
        match parts:
            case ["stores"]:
                codes = [{"currency_code": code, "is_default": False} for code in self.currencies]
                return "stores", [{"id": "store_1", "supported_currencies": codes}], set()
            case ["price-preferences"]:
                rows = [
                    {"id": f"prpref_{code}", "attribute": "currency_code", "value": code, "is_tax_inclusive": taxed}
                    for code, taxed in self.currencies.items()
                ]
                return "price_preferences", rows, set()
            case ["stock-locations"]:
                return "stock_locations", [{"id": id_, "name": name} for id_, name in self.locations.items()], {"name"}
            case ["price-lists"]:
                return (
                    "price_lists",
                    [{"id": each["id"], "title": each["title"]} for each in self.lists.values()],
                    set(),
                )
            case ["price-lists", id_, "prices"]:
                held = known(self.lists, id_, "Price list")["prices"].values()
                return "prices", [self._listed_price(row) for row in held], set()
            case ["product-variants"]:
                return "variants", [self._variant(each) for each in self.variants.values()], {"sku"}
            case ["customers"]:
                return "customers", list(self.customers.values()), {"email", "company_name"}
            case ["products"]:
                rows = [self._product(each) for each in self.products.values()]
                return "products", rows, {"external_id", "handle"}
            case ["product-categories"]:
                return "product_categories", list(self.categories.values()), set()
            case ["orders"]:
                return "orders", list(self.orders.values()), set()
            case ["reservations"]:
                return "reservations", list(self.reservations.values()), {"line_item_id"}
        return None

    def _variant(self, variant: Json) -> Json:
        sharing: dict[str, list[Json]] = {}
        for each in self.variants.values():
            for item, _ in each["items"]:
                sharing.setdefault(item, []).append({"id": each["id"]})
        items = [
            {
                "inventory_item_id": item,
                "variant_id": variant["id"],
                "required_quantity": quantity,
                "inventory": {
                    "id": item,
                    "variants": sharing[item],
                    "location_levels": [
                        {**level, "location_id": location}
                        for (of, location), level in self.levels.items()
                        if of == item
                    ],
                },
            }
            for item, quantity in variant["items"]
        ]
        return {**variant, "inventory_items": items}

    def _product(self, product: Json) -> Json:
        held = [each for each in self.variants.values() if each["product_id"] == product["id"]]
        variants = [{"id": each["id"], "sku": each["sku"]} for each in held]
        return {**product, "variants": variants, "categories": [self.categories[id_] for id_ in product["categories"]]}

    def _listed_price(self, row: Json) -> Json:
        variant = self.variants[row["variant"]]
        shown = {name: value for name, value in row.items() if name not in ("rules", "variant")}
        shown["price_rules"] = [{"attribute": name, "value": value} for name, value in row["rules"].items()]
        return {**shown, "price_set": {"id": "pset", "variant": {"id": variant["id"], "sku": variant["sku"]}}}

    # -- writes

    def _write(self, parts: list[str], body: Json, fields: str) -> Json:
        if self.conflicts:
            self.conflicts -= 1
            raise Problem(409, "conflict", "The request conflicted with another request. You may retry the request.")
        match parts:
            case ["inventory-items", "location-levels", "batch"]:
                return self._write_levels(body)
            case ["products", "batch"]:
                return self._write_products(only(body, {"update"})["update"], fields)
            case ["products", product, "variants", "batch"]:
                return self._write_variants(product, body, fields)
            case ["price-lists", id_, "prices", "batch"]:
                return self._write_list(known(self.lists, id_, "Price list"), body)
            case ["customers", id_]:
                customer = known(self.customers, id_, "Customer")
                self._well(id_)
                customer["metadata"] = merged(customer["metadata"], only(body, {"metadata"})["metadata"])
                return {"customer": _chosen(customer, fields)}
            case ["orders", id_, *what]:
                order = known(self.orders, id_, "Order")
                self._well(id_)
                self._write_order(order, what, body)
                return {"order": _chosen(order, fields)}
            case ["fulfillments", id_, "cancel"]:
                return {"fulfillment": _chosen(self.cancel_bare(id_), fields)}
            case ["fulfillments", id_, "shipment"]:
                return {"fulfillment": _chosen(self.ship_bare(id_, body), fields)}
            case ["reservations", *which]:
                return {"reservation": _chosen(self.reserve(body, *which), fields)}
        raise Problem(404, "not_found", "no such thing")

    def _well(self, *names: str) -> None:
        if bad := self.poisoned.intersection(names):
            raise Problem(400, "invalid_data", f"A plugin refuses {sorted(bad)[0]}")

    def _write_levels(self, body: Json) -> Json:
        only(body, {"create", "update", "delete", "force"})
        draft = copy.deepcopy(self.levels)
        made: dict[str, list[Json]] = {"created": [], "updated": []}
        items = {item for variant in self.variants.values() for item, _ in variant["items"]}
        for verb, said in (("create", "created"), ("update", "updated")):
            for n, row in enumerate(body.get(verb, ())):
                only(row, _LEVEL)
                if row["stocked_quantity"] < 0:
                    text = f"Invalid request: Value for field '{verb}, {n}, stocked_quantity' too small, expected at least: '0'"
                    raise Problem(400, "invalid_data", text)
                item, location = row["inventory_item_id"], row["location_id"]
                self._well(item)
                if verb == "update" and (item, location) not in draft:
                    raise Problem(404, "not_found", f"Item {item} is not stocked at location {location}")
                if verb == "create":
                    if item not in items:
                        text = (
                            f"You tried to set relationship inventory_item_id: {item}, but such entity does not exist"
                        )
                        raise Problem(404, "not_found", text)
                    if (item, location) in draft:
                        text = (
                            f"Inventory level with inventory_item_id: {item}, location_id: {location}, already exists."
                        )
                        raise Problem(400, "invalid_data", text)
                    draft[item, location] = {"id": f"ilev_{self._next()}", "reserved_quantity": 0}
                draft[item, location]["stocked_quantity"] = row["stocked_quantity"]
                made[said].append({"inventory_item_id": item, "location_id": location, **draft[item, location]})
        for id_ in body.get("delete", ()):
            for place, level in list(draft.items()):
                if level["id"] == id_:
                    if level["reserved_quantity"] or level.get("incoming_quantity"):
                        text = "Cannot remove Inventory Levels because there are reserved or incoming items"
                        raise Problem(400, "not_allowed", text)
                    if level["stocked_quantity"] and not body.get("force"):
                        raise Problem(400, "not_allowed", "Cannot remove Inventory Levels. Use force flag")
                    del draft[place]
        self.levels = draft
        return {**made, "deleted": body.get("delete", [])}

    def _write_variants(self, product: str, body: Json, fields: str) -> Json:
        draft = copy.deepcopy(self.variants)
        rows = only(body, {"update"})["update"]
        if missing := [row["id"] for row in rows if row["id"] not in draft]:
            raise Problem(400, "invalid_data", f"Cannot update non-existing variants with ids: {', '.join(missing)}")
        for row in rows:
            only(row, _VARIANT)
            self._well(row["id"])
            variant = draft[row["id"]]
            if self.looks_at_products and variant["product_id"] != product:
                raise Problem(404, "not_found", f"Product with id: {product} was not found")
            if "allow_backorder" in row:
                variant["allow_backorder"] = row["allow_backorder"]
            if "prices" in row:
                held = {price["id"]: price for price in variant["prices"]}
                variant["prices"] = [
                    {**held.get(price.get("id"), {}), "id": price.get("id") or f"price_{self._next()}", **_price(price)}
                    for price in row["prices"]
                ]
        self.variants = draft
        shown = [_chosen(self._variant(draft[row["id"]]), fields) for row in rows]
        return {"created": [], "updated": shown, "deleted": {"ids": []}}

    def _write_products(self, rows: list[Json], fields: str) -> Json:
        draft = copy.deepcopy(self.products)
        if missing := [row["id"] for row in rows if row["id"] not in draft]:
            raise Problem(404, "not_found", f"Unable to update the products with ids: {', '.join(missing)}")
        for row in rows:
            only(row, _PRODUCT)
            self._well(row["id"])
            product = draft[row["id"]]
            if any(each["handle"] == row.get("handle") for each in draft.values() if each is not product):
                raise Problem(400, "invalid_data", f"Product with handle: {row['handle']}, already exists.")
            given = dict(row)
            given["metadata"] = merged(product["metadata"], given.get("metadata"))
            if "categories" in row:
                given["categories"] = [each["id"] for each in row["categories"]]
                for id_ in given["categories"]:
                    known(self.categories, id_, "Category")
            if "images" in row:
                held = {each["id"] for each in product["images"]}
                given["images"] = [
                    {
                        "id": each["id"] if each.get("id") in held else f"img_{self._next()}",
                        "url": each["url"],
                        "rank": n,
                    }
                    for n, each in enumerate(row["images"])
                ]
            product.update(given)
        self.products = draft
        return {"updated": [_chosen(self._product(draft[row["id"]]), fields) for row in rows]}

    def _upload(self, content_type: str, body: bytes) -> Json:
        boundary, _, rest = body.partition(b"\r\n")
        head, _, rest = rest.partition(b"\r\n\r\n")
        content, _, end = rest.rpartition(b"\r\n" + boundary)
        match = re.search(rb'name="files"; filename="([^"]+)"', head)
        if content_type != "multipart/form-data" or not match or not end.startswith(b"--"):
            raise Problem(400, "invalid_data", "No files were uploaded")
        url = f"{self.root}/static/{self._next()}-{match[1].decode()}"
        self.files[url] = content
        return {"id": url.rpartition("/")[2], "url": url}

    def _write_list(self, place: Json, body: Json) -> Json:
        rows = only(body, {"create", "update", "delete"}).get("update", [])
        if missing := [row["variant_id"] for row in rows if row["variant_id"] not in self.variants]:
            raise Problem(400, "invalid_data", f"No price set exist for variants: {', '.join(missing)}")
        self._well(*(row["variant_id"] for row in rows))
        shown = []
        for row in rows:
            only(row, _PRICE | {"variant_id"})
            if row["id"] in place["used"]:
                continue  # written where nobody sees it
            place["prices"][row["id"]] = {"id": row["id"], "variant": row["variant_id"], **_price(row)}
            shown.append(self._listed_price(place["prices"][row["id"]]))
        for id_ in body.get("delete", ()):
            if place["prices"].pop(id_, None):
                place["used"].add(id_)
        return {"created": [], "updated": shown, "deleted": {"ids": body.get("delete", []), "object": "price"}}


def _price(row: Json) -> Json:
    """A price as it is kept: the amount in JavaScript's numbers, whatever it and the currency are."""
    number = row["amount"]
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Problem(400, "invalid_data", "Invalid request: Expected type: 'number' for field 'amount'")
    return {
        "currency_code": row["currency_code"].lower(),
        "amount": 0 if abs(number) <= 0.0001 else int(number) if float(number).is_integer() else number,
        "min_quantity": row.get("min_quantity"),
        "max_quantity": row.get("max_quantity"),
        "rules": row.get("rules") or {},
    }


def _chosen(record: Json, fields: str) -> Json:
    """The fields that were asked for; of what is below a field, all."""
    names = {name.strip("*+").partition(".")[0] for name in fields.split(",")}
    return {name: value for name, value in record.items() if name in names or name == "id"}


def _page(name: str, records: list[Json], query: list[tuple[str, str]], filters: set[str]) -> Json:
    asked: dict[str, list[str]] = {}
    words = dict(query)
    for key, value in query:
        if key not in ("fields", "limit", "offset", "order", "q"):
            asked.setdefault(key.removesuffix("[]"), []).append(value)
    for field, values in asked.items():
        if field not in filters | {"id"}:
            raise Problem(400, "invalid_data", f"Invalid request: Unrecognized fields: '{field}'")
        records = [record for record in records if record.get(field) in values]
    if "q" in words:
        text = words["q"].lower()
        records = [record for record in records if any(text in str(value).lower() for value in record.values())]
    order = words.get("order", "id")
    offset, limit = int(words.get("offset", 0)), int(words.get("limit", 50))
    records = sorted(records, key=lambda record: record[order.lstrip("-")], reverse=order.startswith("-"))
    page = records[offset : offset + limit]
    shown = [_chosen(record, words.get("fields", "")) for record in page]
    return {name: shown, "count": len(records), "offset": offset, "limit": limit}


def _touched(path: str, body: bytes) -> Iterable[str]:
    """What a write is about, so that two at a time are noticed."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return  # an upload, or nothing
    if path.count("/") == 1:
        yield path
    for verb in ("create", "update"):
        for row in said.get(verb) or ():
            names = ("inventory_item_id", "location_id") if "location_id" in row else ("variant_id",)
            yield " ".join(str(row.get(name) or row.get("id")) for name in names)

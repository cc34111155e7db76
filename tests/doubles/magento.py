"""A Magento shop as its REST API behaves: source items of any SKU, failures without their row, parameters beside messages.

Invariant: it answers as the vendor's source and documentation say (Magento_Catalog's price services, magento/inventory,
developer.adobe.com/commerce/webapi, read in 2026): price calls are 200 with the failures only, a source-items call is whole or
not at all and does not look whether a SKU exists (magento2#38154), a page past the end is the last one again. It was written
from these and never compared with a running shop.
"""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.faults import Fault
from tests.doubles.magento_bulk import MagentoBulks
from tests.doubles.server import Call, Server, json_answer

Json = dict[str, Any]
UNKNOWN = "Invalid attribute %fieldName = %fieldValue."


class MagentoShop(MagentoBulks, Server):
    """The shop. Prices and stock are kept with the digits that came."""

    def __init__(self, *, token: str) -> None:
        super().__init__(token=token)
        self.products: set[str] = set()
        self.source_codes = {"default"}
        self.groups = {"ALL GROUPS", "NOT LOGGED IN", "Wholesale"}
        self.stock: dict[tuple[str, str], Json] = {}
        self.base: dict[tuple[str, int], str] = {}
        self.tiers: dict[tuple[str, str, int, str], str] = {}
        self.orders: dict[int, Json] = {}
        self.views: dict[tuple[str, str], Json] = {}
        """Content by store code and SKU; what a view does not say is said by `all`."""
        self.gallery: dict[str, list[Json]] = {}
        """Entries of the media gallery by SKU, as all store views show them."""
        self.files: dict[str, bytes] = {}
        self.lists_galleries = True
        """Whether a search shows the galleries, as Magento 2.4 does."""
        self.shipments: list[Json] = []
        self.many_sources = False
        """Whether a shipment must name its source (SourceDeductionProcessor of module-inventory-shipping)."""
        self.credits: dict[int, Json] = {}
        self.notes = 0
        self.entries = 0
        self.lacks: set[str] = set()
        """Attributes that no product has."""
        self.refused: set[str] = set()
        """SKUs whose stock some validator refuses."""
        self.deadlocks = 0
        """So many writes end in a deadlock."""

    def call_of(self, request: web.Request, body: bytes) -> Call:
        path = request.path.partition("/V1/")[2]
        write = request.method in ("POST", "PUT", "DELETE") and not path.endswith("-information")
        try:
            value = orjson.loads(body) if write and body else {}
            value = {} if isinstance(value, list) else value  # what is only scheduled
            product = value.get("product")
            if match := re.fullmatch(r"products/(.+)/media(/\d+)?", path):
                product = {"sku": match[1]}
            ids = (product["sku"],) if product else tuple(str(row["sku"]) for rows in value.values() for row in rows)
        except (ValueError, AttributeError, TypeError, KeyError):
            ids = ()
        good = request.headers.get("Authorization") == f"Bearer {self.token}"
        return Call(method=request.method, entity=path, ids=ids, write=write, authorized=good, touches=frozenset(ids))

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        if not re.match(r"/rest/\w+/(async/bulk/)?V1/", request.path):
            return json_answer({"message": "Request does not match any route."}, 404)
        if not call.authorized:
            text = "The consumer isn't authorized to access %resources."
            return json_answer({"message": text, "parameters": {"resources": "Magento_Catalog::products"}}, 401)
        if call.write and self.deadlocks:
            self.deadlocks -= 1
            text = "SQLSTATE[40001]: Serialization failure: 1213 Deadlock found when trying to get lock"
            return json_answer({"message": text, "trace": "#0 /var/www/html/vendor/magento/framework/DB"}, 400)
        value = orjson.loads(body) if body else {}
        if "/async/bulk/" in request.path:
            return self.scheduled(call.entity, value)
        if match := re.fullmatch(r"bulk/([^/]+)/(status|detailed-status)", call.entity):
            return self.bulk_status(match[1], match[2])
        if match := re.fullmatch(r"products/([^/]+)/media(?:/(\d+))?", call.entity):
            return self._media(request, match[1], match[2], value)
        return self._search(request, call.entity) if call.method == "GET" else self._written(request, call, value)

    def _written(self, request: web.Request, call: Call, value: Json) -> web.Response:
        if match := re.fullmatch(r"(orders|order|companyCredits)/(\d+)(/comments|/ship)?", call.entity):
            return self._single(match[1], int(match[2]), value)
        if match := re.fullmatch(r"shipment/track/(\d+)", call.entity):
            return self._untrack(int(match[1]))
        match call.entity:
            case "shipment/track":
                return self._track(value["entity"])
            case "products":
                return self._content(request.path.split("/")[2], value["product"])
            case "inventory/source-items":
                return self._stock(value["sourceItems"])
            case "inventory/source-items-delete":
                for row in value["sourceItems"]:
                    self.stock.pop((row["sku"], row["source_code"]), None)
                return json_answer([])
            case "products/base-prices" | "products/tier-prices" | "products/tier-prices-delete":
                return json_answer(self.priced(call.entity, value["prices"]))
            case "products/base-prices-information" | "products/tier-prices-information":
                return self._information(call.entity, value["skus"])
        return json_answer({"message": "Request does not match any route."}, 404)

    def _search(self, request: web.Request, path: str) -> web.Response:
        records: list[Json]
        match path:
            case "products":
                records = [self._shown(request.path.split("/")[2], sku) for sku in sorted(self.products)]
            case "inventory/source-items":
                records = [self.stock[key] for key in sorted(self.stock)]
            case "orders":
                records = [self.orders[key] for key in sorted(self.orders)]
            case "shipments":
                records = self.shipments
            case "bulk":
                return self.bulk_list(request)
            case "companyCredits":
                records = [self._credit(one) for _, one in sorted(self.credits.items())]
            case _:
                return json_answer({"message": "Request does not match any route."}, 404)
        place = "searchCriteria[filterGroups][0][filters][0]"
        value = request.query.get(f"{place}[value]")
        if value is not None:
            several = request.query[f"{place}[conditionType]"] == "in"
            wanted = {each.lower() for each in (value.split(",") if several else [value])}
            field = request.query[f"{place}[field]"]
            records = [record for record in records if str(record[field]).lower() in wanted]
        size = int(request.query["searchCriteria[pageSize]"])
        last = max((len(records) + size - 1) // size, 1)
        page = min(int(request.query["searchCriteria[currentPage]"]), last)
        part = records[(page - 1) * size : page * size]
        return json_answer({"items": part, "search_criteria": {}, "total_count": len(records)})

    # -- orders and companies

    def order(self, number: str, *items: tuple[str, int]) -> Json:
        """A paid order of these SKUs and quantities."""
        entity = len(self.orders) + 1
        rows = [
            {"item_id": entity * 100 + n, "sku": sku, "qty_ordered": count, "qty_shipped": 0}
            for n, (sku, count) in enumerate(items)
        ]
        made: Json = {"entity_id": entity, "increment_id": number, "status": "processing", "state": "processing"}
        self.orders[entity] = {**made, "items": rows, "status_histories": []}
        return self.orders[entity]

    def credit(self, company: int, balance: str = "0") -> Json:
        """A company's credit; what it owes is a negative balance."""
        made = {"id": company + 70, "company_id": company, "credit_limit": "0", "balance": balance}
        self.credits[company + 70] = {**made, "currency_code": "EUR", "exceed_limit": False}
        return self.credits[company + 70]

    @staticmethod
    def _credit(one: Json) -> Json:
        limit, balance = Decimal(one["credit_limit"]), Decimal(one["balance"])
        numbers = {"credit_limit": limit, "balance": balance, "available_limit": limit + balance}
        return {**one, **{name: orjson.Fragment(format(number, "f")) for name, number in numbers.items()}}

    def _single(self, kind: str, entity: int, value: Json) -> web.Response:
        held = self.credits.get(entity) if kind == "companyCredits" else self.orders.get(entity)
        if held is None:
            text = "No such entity with %fieldName = %fieldValue"
            return json_answer({"message": text, "parameters": {"fieldName": "id", "fieldValue": entity}}, 404)
        if kind == "companyCredits":
            held["credit_limit"] = str(value["creditLimit"]["credit_limit"])
            return json_answer(self._credit(held))
        if kind == "orders":
            entry = value["statusHistory"]
            if (
                entry["status"]
                not in {"processing": {"processing", "picking"}, "complete": {"complete"}}[held["state"]]
            ):
                text = 'Unable to add comment: The status "%1" is not part of the order status history.'
                return json_answer({"message": text, "parameters": [entry["status"]]}, 400)
            self.notes += 1
            held["status_histories"].append({"entity_id": self.notes, **entry})
            held["status"] = entry["status"]
            return json_answer(True)
        given = value.get("arguments", {}).get("extension_attributes", {}).get("source_code")
        if given is None and self.many_sources:
            return json_answer({"message": "Internal Error. Details are available in Magento log file."}, 500)
        rows = [(next(i for i in held["items"] if i["item_id"] == row["order_item_id"]), row) for row in value["items"]]
        levels = [(self.stock.get((item["sku"], given or "default")), row["qty"]) for item, row in rows]
        if any(level and level["quantity"] < count for level, count in levels):
            return json_answer({"message": "Not all of your products are available in the requested quantity."}, 400)
        for level, count in levels:
            if level:
                level["quantity"] -= count
        for item, row in rows:
            item["qty_shipped"] += row["qty"]
        note = [value["comment"]] if value.get("appendComment") else []
        made: Json = {"entity_id": len(self.shipments) + 1, "order_id": entity, "tracks": [], "comments": note}
        self.shipments.append({**made, "items": value["items"]})
        for track in value.get("tracks", []):
            self._track({**track, "parent_id": made["entity_id"]})
        if all(item["qty_shipped"] >= item["qty_ordered"] for item in held["items"]):
            held |= {"state": "complete", "status": "complete"}
        return json_answer(str(len(self.shipments)))

    def _track(self, entity: Json) -> web.Response:
        self.entries += 1
        track = {"entity_id": self.entries, **entity}
        self.shipments[int(entity["parent_id"]) - 1]["tracks"].append(track)
        return json_answer(track)

    def _untrack(self, entity: int) -> web.Response:
        for one in self.shipments:
            one["tracks"] = [track for track in one["tracks"] if track["entity_id"] != entity]
        return json_answer(True)

    def _shown(self, view: str, sku: str) -> Json:
        values = {**self.views.get(("all", sku), {}), **self.views.get((view, sku), {})}
        name = values.pop("name", sku)
        listed = [{"attribute_code": code, "value": value} for code, value in sorted(values.items())]
        shown = {"id": 1, "sku": sku, "name": name, "status": 1, "custom_attributes": listed}
        return {**shown, "media_gallery_entries": self.gallery.get(sku, [])} if self.lists_galleries else shown

    # -- images

    def _media(self, request: web.Request, sku: str, entry_id: str | None, value: Json) -> web.Response:
        """As GalleryManagement and MediaGalleryProcessor do, in the scope of all views."""
        method = request.method
        if request.path.split("/")[2] != "all":
            raise NotImplementedError("a gallery of one view")
        if sku not in self.products:
            return json_answer({"message": "The product that was requested doesn't exist."}, 404)
        entries = self.gallery.setdefault(sku, [])
        if method == "GET":
            return json_answer(entries)
        held = next((each for each in entries if str(each["id"]) == entry_id), None)
        if method != "POST" and held is None:
            return json_answer({"message": "There is no image with provided ID."}, 404)
        if method == "DELETE":
            entries.remove(held)
            return json_answer(True)
        entry = value["entry"]
        claims = {each["id"]: list(each["types"]) for each in entries}
        if held is None:
            content = entry.pop("content")
            if content["type"] not in ("image/jpeg", "image/png", "image/gif"):
                return json_answer({"message": "The image MIME type is not valid or not supported."}, 400)
            made = {**entry, "id": self.entries + 1, "file": self._named(content["name"])}
            self.entries += 1
            self.files[made["file"]] = base64.b64decode(content["base64_encoded_data"], validate=True)
            entries.append(made)
            claims[made["id"]] = entry["types"]
        else:
            held |= entry
            claims[held["id"]] = entry["types"]
        owners = {
            role: id_ for id_, types in claims.items() for role in types
        }  # the last one that claims a role has it
        for each in entries:
            each["types"] = [role for role in ("image", "small_image", "thumbnail") if owners.get(role) == each["id"]]
        return json_answer(str(entries[-1]["id"]) if held is None else True)

    def _named(self, name: str) -> str:
        stem, _, end = name.rpartition(".")
        path, count = f"/{name[0]}/{name[1]}/{name}", 0
        while path in self.files:
            count += 1
            path = f"/{name[0]}/{name[1]}/{stem}_{count}.{end}"
        return path

    def _content(self, view: str, product: Json) -> web.Response:
        sku = product["sku"]
        if sku not in self.products:
            return json_answer({"message": "The attribute set ID is required."}, 400)
        values = self.views.setdefault((view, sku), {})
        values |= {name: product[name] for name in ("name",) if name in product}
        listed = [one for one in product["custom_attributes"] if one["attribute_code"] not in self.lacks]
        values |= {one["attribute_code"]: one["value"] for one in listed}
        return json_answer(self._shown(view, sku))

    # -- stock and prices

    def _stock(self, rows: list[Json]) -> web.Response:
        for row in rows:
            if row["sku"] in self.refused or row["source_code"] not in self.source_codes:
                errors = [{"message": "Validation of %1 failed", "parameters": ["source item"]}]
                return json_answer({"message": "Validation Failed", "errors": errors, "trace": "#0 /var/www"}, 400)
        for row in rows:
            known = self.stock.setdefault((row["sku"], row["source_code"]), {"status": 1, "quantity": 0})
            known |= row
        return json_answer([])

    def priced(self, path: str, rows: list[Json]) -> list[Json]:
        """What a price service answers: the failures."""
        if path == "products/base-prices":
            return self._prices(rows)
        return self._tiers(rows, delete=path.endswith("delete"))

    def _prices(self, rows: list[Json]) -> list[Json]:
        failures: list[Json] = []
        for row in rows:
            if row["sku"] not in self.products:
                failures.append({"message": UNKNOWN, "parameters": ["SKU", row["sku"]]})
            elif float(row["price"]) < 0:
                failures.append({"message": UNKNOWN, "parameters": ["Price", str(row["price"])]})
            else:
                self.base[row["sku"], row["store_id"]] = str(row["price"])
        return failures

    def _tiers(self, rows: list[Json], *, delete: bool) -> list[Json]:
        failures: list[Json] = []
        for row in rows:
            key = (row["sku"], row["customer_group"], row["website_id"], str(row["quantity"]))
            if row["customer_group"] not in self.groups:
                text = "No such entity with %fieldName = %fieldValue. Row ID: SKU = %SKU, Website ID: %websiteId."
                values = ["Customer Group", row["customer_group"], row["sku"], str(row["website_id"])]
                failures.append({"message": text, "parameters": values})
            elif delete:
                self.tiers.pop(key, None)
            else:
                self.tiers[key] = str(row["price"])
        return failures

    def _information(self, path: str, skus: list[str]) -> web.Response:
        if missing := [sku for sku in skus if sku not in self.products]:
            text = "The product that was requested doesn't exist: %1"
            return json_answer({"message": text, "parameters": missing}, 404)
        if "base" in path:
            found = [
                {"sku": sku, "store_id": store, "price": orjson.Fragment(price)}
                for (sku, store), price in self.base.items()
                if sku in skus
            ]
            return json_answer(found)
        return json_answer(
            [
                {
                    "sku": sku, "customer_group": group, "website_id": site, "quantity": orjson.Fragment(quantity),
                    "price": orjson.Fragment(price), "price_type": "fixed",
                }
                for (sku, group, site, quantity), price in self.tiers.items()
                if sku in skus
            ]
        )  # fmt: skip

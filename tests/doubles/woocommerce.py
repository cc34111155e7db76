"""A WooCommerce shop as its REST API v3 behaves: batches by position, quiet corrections, lists with page headers.

Invariant: it answers as the PHP source does (woocommerce/woocommerce, plugins/woocommerce/includes/rest-api, read in 2026):
a batch is not atomic and is 200 although items failed; over 100 items are a 413; values that WooCommerce does not take it drops
without a word (stock where the shop does not manage it, prices of variable products, unknown order statuses become pending);
SKUs are compared as MySQL does, without case. It was written from the source and never compared with a running shop.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from math import ceil
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.faults import Fault
from tests.doubles.server import Call, Server, json_answer

Json = dict[str, Any]
STATUSES = {"pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed"}


def problem(code: str, message: str, status: int) -> Json:
    return {"code": code, "message": message, "data": {"status": status}}


class WooShop(Server):
    """The shop. `records` holds products and variations, customers and orders by id."""

    def __init__(self, *, token: str, key: str = "ck_shop") -> None:
        super().__init__(token=token)
        self.key = key
        self.products: dict[int, Json] = {}
        self.customers: dict[int, Json] = {}
        self.orders: dict[int, Json] = {}
        self.categories: dict[int, Json] = {}
        self.manages_stock = True
        self.lists_variations = True
        """WooCommerce 10.3 and newer."""
        self.refused: set[int] = set()
        """Records whose update fails in some plugin."""
        self.broken: dict[int, int] = {}
        """Records whose update fails with this status."""
        self.downloads: list[str] = []
        """Images that were fetched."""
        self._last = 100

    # -- what a test puts in

    def product(self, sku: str, *, kind: str = "simple", parent: int = 0, **values: Any) -> Json:
        made: Json = {
            "id": self._next(), "sku": sku, "type": kind, "parent_id": parent, "name": sku, "description": "",
            "status": "publish", "manage_stock": False, "stock_quantity": None, "stock_status": "instock",
            "backorders": "no", "regular_price": "", "sale_price": "", "attributes": [], "images": [], "categories": [],
            "meta_data": [], **values,
        }  # fmt: skip
        self.products[made["id"]] = made
        return made

    def customer(self, email: str, **values: Any) -> Json:
        made: Json = {
            "id": self._next(),
            "email": email,
            "username": email.partition("@")[0],
            "meta_data": [],
            **values,
        }
        self.customers[made["id"]] = made
        return made

    def order(self, **values: Any) -> Json:
        made: Json = {"id": self._next(), "status": "processing", "meta_data": [], **values}
        made.setdefault("number", str(made["id"]))
        self.orders[made["id"]] = made
        return made

    def category(self, name: str, parent: int = 0) -> Json:
        made = {"id": self._next(), "name": name.replace("&", "&amp;"), "parent": parent, "slug": name.lower()}
        self.categories[made["id"]] = made
        return made

    def by_sku(self, sku: str) -> Json:
        return next(product for product in self.products.values() if product["sku"] == sku)

    def _next(self) -> int:
        self._last += 1
        return self._last

    # -- the API

    def call_of(self, request: web.Request, body: bytes) -> Call:
        path = request.path.removeprefix("/wp-json/wc/v3/")
        good = "Basic " + b64encode(f"{self.key}:{self.token}".encode()).decode()
        write = request.method in ("POST", "PUT")
        ids: tuple[str, ...] = ()
        if write:
            try:
                ids = tuple(str(each["id"]) for each in orjson.loads(body).get("update", ()))
            except (ValueError, AttributeError, TypeError, KeyError):
                ids = ()
        return Call(
            method=request.method, entity=path.partition("/")[0], ids=ids, write=write,
            authorized=request.headers.get("Authorization") == good and not request.query_string.count("consumer_"),
            touches=frozenset(ids),
        )  # fmt: skip

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        path = request.path.removeprefix("/wp-json/wc/v3/")
        if not request.path.startswith("/wp-json/wc/v3/"):
            return json_answer(
                problem("rest_no_route", "No route was found matching the URL and request method.", 404), 404
            )
        if not call.authorized:
            return json_answer(problem("woocommerce_rest_cannot_view", "Sorry, you cannot list resources.", 401), 401)
        if match := re.fullmatch(r"(products|customers|orders|products/(\d+)/variations)/batch", path):
            return self._batch(match[1], int(match[2] or 0), orjson.loads(body))
        records = self._listed(path, request)
        if call.method != "GET" or records is None:
            return json_answer(
                problem("rest_no_route", "No route was found matching the URL and request method.", 404), 404
            )
        return self._page(records, request)

    def _listed(self, path: str, request: web.Request) -> list[Json] | None:
        everything = list(self.products.values())
        match path:
            case "products" if "sku" in request.query:
                text = request.query["sku"]
                wanted = {each.lower() for each in [*text.split(","), text]}
                return [each for each in everything if each["sku"] and each["sku"].lower() in wanted]
            case "products":
                return [each for each in everything if each["type"] != "variation"]
            case "variations" if self.lists_variations:
                return [each for each in everything if each["type"] == "variation"]
            case "customers":
                people = list(self.customers.values())
                email = request.query.get("email")
                return [each for each in people if email is None or each["email"].lower() == email.lower()]
            case "orders":
                return list(self.orders.values())
            case "products/categories":
                return list(self.categories.values())
        if match := re.fullmatch(r"products/(\d+)/variations", path):
            return [each for each in everything if each["parent_id"] == int(match[1])]
        return None

    def _page(self, records: list[Json], request: web.Request) -> web.Response:
        query = request.query
        if "include" in query:
            wanted = {int(each) for each in query["include"].split(",")}
            records = [each for each in records if each["id"] in wanted]
        size, page = int(query.get("per_page", "10")), int(query.get("page", "1"))
        if not 1 <= size <= 100:
            return json_answer(problem("rest_invalid_param", "Invalid parameter(s): per_page", 400), 400)
        ordered = sorted(records, key=lambda each: each["id"], reverse=query.get("order", "desc") == "desc")
        part = [self._view(each, query) for each in ordered[(page - 1) * size : page * size]]
        answer = json_answer(part)
        answer.headers["X-WP-Total"] = str(len(ordered))
        answer.headers["X-WP-TotalPages"] = str(ceil(len(ordered) / size))
        return answer

    @staticmethod
    def _view(record: Json, query: Any) -> Json:
        shown = dict(record)
        if shown.get("description") and query.get("context", "view") == "view":
            shown["description"] = f"<p>{shown['description']}</p>\n"  # wpautop
        names = query.get("_fields")
        return shown if not names else {name: shown[name] for name in names.split(",") if name in shown}

    def _batch(self, place: str, parent: int, body: Json) -> web.Response:
        items = body.get("update", [])
        if sum(len(body.get(name, ())) for name in ("create", "update", "delete")) > 100:
            text = "Unable to accept more than 100 items for this request."
            return json_answer(problem("woocommerce_rest_request_entity_too_large", text, 413), 413)
        return json_answer({"update": [self._update(place, parent, item) for item in items]})

    def _update(self, place: str, parent: int, item: Json) -> Json:
        kind = "variations" if parent else place
        held = {"customers": self.customers, "orders": self.orders}.get(place, self.products)
        record = held.get(item["id"])
        wrong = record is None or (kind == "products" and record["type"] == "variation")
        if record is None or wrong or (parent and record["parent_id"] != parent):
            return {"id": item["id"], "error": problem(f"woocommerce_rest_{kind}_invalid_id", "Invalid ID.", 400)}
        if item["id"] in self.refused:
            return {"id": item["id"], "error": problem("product_invalid_thing", f"A plugin says no {self.token}", 400)}
        if item["id"] in self.broken:
            status = self.broken[item["id"]]
            return {"id": item["id"], "error": problem("internal", "database is locked", status)}
        bad = next((one["src"] for one in item.get("images", ()) if "broken" in one.get("src", "")), None)
        if bad:
            text = f"Error getting remote image {bad}."
            return {"id": item["id"], "error": problem("woocommerce_product_image_upload_error", text, 400)}
        _metadata(record, item.get("meta_data", ()), self._next)
        if place == "orders" and "status" in item:
            before, record["status"] = record["status"], item["status"] if item["status"] in STATUSES else "pending"
            if before != record["status"]:
                self._move(record)
        elif place not in ("orders", "customers"):
            self._product(record, item)
        return dict(record)

    def _move(self, order: Json) -> None:
        """As wc_maybe_reduce_stock_levels and wc_maybe_increase_stock_levels do, once for each line."""
        taken = order["status"] in ("processing", "on-hold", "completed")
        if not taken and order["status"] not in ("pending", "cancelled"):
            return
        for line in order.get("line_items", ()):
            product = self.products[line["variation_id"] or line["product_id"]]
            if product["manage_stock"] == "parent":
                product = self.products[line["product_id"]]
            if product["manage_stock"] is True and line.get("reduced", False) != taken:
                product["stock_quantity"] += -line["quantity"] if taken else line["quantity"]
                line["reduced"] = taken

    def _product(self, record: Json, item: Json) -> None:
        if record["type"] == "variable":
            record |= {"regular_price": "", "sale_price": ""}
        else:
            record |= {name: item[name] for name in ("regular_price", "sale_price") if item.get(name) is not None}
        if "name" in item:
            record["name"] = item["name"].replace("&", "&amp;").replace("&amp;amp;", "&amp;")
        if "description" in item:
            record["description"] = re.sub(r"</?script[^>]*>", "", item["description"])
        record |= {name: item[name] for name in ("status", "attributes") if name in item}
        if "categories" in item:
            known = [self.categories[one["id"]] for one in item["categories"] if one["id"] in self.categories]
            record["categories"] = [{key: one[key] for key in ("id", "name", "slug")} for one in known]
        if "images" in item:
            record["images"] = [self._image(record, one) for one in item["images"]]
        if self.manages_stock or record["type"] == "variation":
            record |= {name: item[name] for name in ("manage_stock", "backorders", "stock_status") if name in item}
            if not record["manage_stock"]:
                record |= {"stock_quantity": None, "backorders": "no"}
            elif "stock_quantity" in item:
                record["stock_quantity"] = int(item["stock_quantity"])

    def _image(self, record: Json, image: Json) -> Json:
        for known in record["images"]:
            if known["id"] == image.get("id"):
                return {**known, **({"alt": image["alt"]} if image.get("alt") else {})}
        self.downloads.append(image["src"])
        name = image["src"].rsplit("/", 1)[-1]
        src = f"https://shop.example/wp-content/uploads/{name}"
        return {"id": self._next(), "src": src, "name": name, "alt": image.get("alt", "")}


def _metadata(record: Json, changes: Iterable[Json], next_id: Any) -> None:
    """A key that is there gets the new value, its namesakes go; null removes it."""
    for change in changes:
        record["meta_data"] = [one for one in record["meta_data"] if one["key"] != change["key"]]
        if change["value"] is not None:
            record["meta_data"].append({"id": next_id(), "key": change["key"], "value": change["value"]})

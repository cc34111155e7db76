"""A Vendure for tests: its admin API's own schema, executed by graphql-core over a shop in memory.

Invariant: what it answers was seen from Vendure 3.7.3: errors of the data with HTTP 200, of the query with 400, a body over
the limit with 500; a mutation is one transaction; a login that is missing or wrong is FORBIDDEN within HTTP 200.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from tests.doubles.faults import Fault
from tests.doubles.index import Index
from tests.doubles.server import Call, Server, json_answer
from tests.doubles.vendure_orders import ORDER_FIELDS, OrderRoot, Orders
from tests.doubles.vendure_products import PRODUCT_FIELDS, ProductRoot, Products, multipart

SCHEMA = build_schema((Path(__file__).parent.parent / "data" / "vendure" / "admin.graphql").read_text())
BODY_LIMIT = 102_400
FIELDS = {
    "Customer": {"creditLimit": "Int", "creditBalance": "Int", "creditHold": "Boolean", "erpId": "String"},
    "Order": ORDER_FIELDS,
    "Product": PRODUCT_FIELDS,
}


@dataclass(frozen=True, kw_only=True)
class Operation(Call):
    """A request that was understood."""

    asked: Any
    """Its query and variables, files in their places."""


class Vendure(Server):
    """The shop. `token` is an API key and the password of the administrator `erp`."""

    def __init__(self, *, token: str) -> None:
        super().__init__(token=token)
        self.locations = {"1": "Default Stock Location"}
        self.channels: dict[str, dict[str, Any]] = {}
        self.variants: dict[str, dict[str, Any]] = {}
        """id -> sku, levels {location: (on hand, allocated)}, prices {channel: {currency: minor units}}"""
        self._skus = Index(lambda variant: [variant["sku"]])
        self._of_product = Index(lambda variant: [variant["product"]])
        self.customers: dict[str, dict[str, Any]] = {}
        self.orders = Orders()
        self.products = Products()
        self.sessions: set[str] = set()
        self.logins = 0
        self.poisoned: set[str] = set()
        """SKUs of which the database refuses every write"""
        self.deadlocks = 0
        """So many of the next writes end in a deadlock."""
        self.channel("", "__default_channel__", "USD")

    # -- what a test makes

    def channel(self, token: str, code: str, currency: str) -> None:
        number = str(len(self.channels) + 1)
        self.channels[token] = {
            "id": number, "code": code, "token": token, "defaultLanguageCode": "en", "defaultCurrencyCode": currency,
            "pricesIncludeTax": False, "availableCurrencyCodes": ["USD", "EUR", "GBP"],
        }  # fmt: skip

    def variant(self, sku: str, *channels: str, product: str | None = None) -> str:
        """A variant without a level or a price, as one has when its prices were deleted; its only one where no product is
        named."""
        number = str(len(self.variants) + 1)
        prices: dict[str, dict[str, int]] = {token: {} for token in ("", *channels)}
        self.variants[number] = {"id": number, "sku": sku, "levels": {}, "prices": prices}
        self.variants[number]["product"] = product or self.products.add(sku)
        self._skus.put(number, self.variants[number])
        self._of_product.put(number, self.variants[number])
        return number

    def customer(self, email: str, erp_id: str | None = None) -> str:
        number = str(len(self.customers) + 1)
        fields = {**dict.fromkeys(FIELDS["Customer"]), "erpId": erp_id}
        self.customers[number] = {"__typename": "Customer", "id": number, "emailAddress": email, "customFields": fields}
        return number

    def of(self, sku: str) -> dict[str, Any]:
        return self.named([sku])[0]

    def named(self, skus: Iterable[str]) -> list[dict[str, Any]]:
        """The variants with these SKUs."""
        ids = [id_ for sku in dict.fromkeys(skus) for id_ in self._skus.of(sku, self.variants)]
        return [self.variants[id_] for id_ in sorted(ids, key=int)]

    def skus_of(self, product: str) -> list[str]:
        """The SKUs of a product's variants."""
        return [self.variants[id_]["sku"] for id_ in self._of_product.of(product, self.variants)]

    # -- one request

    def call_of(self, request: web.Request, body: bytes) -> Call:
        try:
            asked = self._asked(request, body)
            [operation] = [d for d in _parsed(asked["query"]).definitions if isinstance(d, OperationDefinitionNode)]
        except (ValueError, TypeError, KeyError, GraphQLError):
            return Call(method=request.method, entity="")
        name = operation.name.value if operation.name else ""
        write = operation.operation is OperationType.MUTATION and name != "Login"
        ids = self._touched(name, asked.get("variables") or {}) if write else ()
        return Operation(
            asked=asked,
            method=request.method,
            entity=name.lower(),
            ids=ids,
            write=write,
            authorized=self._authorized(request),
            touches=frozenset(ids) if write else frozenset(),
        )

    def _touched(self, name: str, variables: Mapping[str, Any]) -> tuple[str, ...]:
        """What a mutation writes to, by the names that the adapter gives its operations."""
        given = variables.get("input")
        order: Mapping[str, Any] | None = None
        match name:
            case "Make":
                order = self.orders.order_of_line(given["lines"][0]["orderLineId"])
                return (f"order:{order['id']}", *_levels(order)) if order is not None else ()
            case "Stock":
                rows = [row["id"] for row in given or ()]
                levels = [f"level:{self.variants[id_]['sku']}" for id_ in rows if id_ in self.variants]
                return (*(f"variant:{id_}" for id_ in rows), *levels)
            case "Move":
                order = self.orders.order_of(variables["id"])
            case "Upload":
                return ()
            case "Content":
                return (f"product:{given['id']}",)
            case "Note":
                return (f"order:{given['id']}",)
            case "Cancel":
                order = self.orders.known.get(given["orderId"])
                return (f"order:{given['orderId']}", *(_levels(order) if order is not None else ()))
            case "Each":
                return tuple(f"customer:{row['id']}" for row in variables.values())
            case _:
                return tuple(f"variant:{row['id']}" for row in given or ())
        return (f"order:{order['id']}",) if order is not None else ()

    @staticmethod
    def _asked(request: web.Request, body: bytes) -> Any:
        if _is_multipart(request):
            return multipart(request.headers["Content-Type"], body)
        return orjson.loads(body)

    def _authorized(self, request: web.Request) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return request.headers.get("vendure-api-key") == self.token or bearer in self.sessions

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        del faults
        if len(body) > BODY_LIMIT and not _is_multipart(request):
            return json_answer({"statusCode": 500, "message": "", "path": "/admin-api"}, 500)
        asked = call.asked if isinstance(call, Operation) else self._asked(request, body)
        try:
            document = _parsed(asked["query"])
        except GraphQLError as error:
            return json_answer({"errors": [_told(error, "GRAPHQL_PARSE_FAILED")]}, 400)
        if wrong := _wrong(asked["query"]):
            return json_answer({"errors": [_told(error, "GRAPHQL_VALIDATION_FAILED") for error in wrong]}, 400)
        root = Root(self, call.authorized, request.headers.get("vendure-token", ""))
        result = execute_sync(SCHEMA, document, root, variable_values=asked.get("variables"))
        answer: dict[str, Any] = {}
        if result.errors:
            answer["errors"] = [_told(error) for error in result.errors]
        if result.data is not None or all(error.path for error in result.errors or ()):
            answer["data"] = result.data
        response = json_answer(answer)
        if root.session:
            response.headers["vendure-auth-token"] = root.session
        return response


@lru_cache
def _parsed(query: str) -> DocumentNode:
    return parse(query)


@lru_cache
def _wrong(query: str) -> list[GraphQLError]:
    return validate(SCHEMA, _parsed(query))


def _levels(order: Mapping[str, Any]) -> tuple[str, ...]:
    """The stock levels that a fulfilment or a cancellation of this order changes."""
    return tuple(f"level:{line['productVariant']['sku']}" for line in order["lines"])


def _is_multipart(request: web.Request) -> bool:
    """As a browser may not send it by itself: Apollo wants the header too."""
    return request.content_type == "multipart/form-data" and "Apollo-Require-Preflight" in request.headers


def _told(error: GraphQLError, code: str = "") -> dict[str, Any]:
    if not code and error.message.startswith("Variable "):
        code = "BAD_USER_INPUT"
    extensions = {"code": code} if code else error.extensions
    told: dict[str, Any] = {"message": error.message}
    if error.path:
        told["path"] = error.path
    if extensions:
        told["extensions"] = dict(extensions)
    return told


class Root(OrderRoot, ProductRoot):
    """The resolvers of one request; graphql-core calls them by the names of the schema's fields."""

    def __init__(self, shop: Vendure, authorized: bool, channel: str) -> None:
        self._shop = shop
        self._authorized = authorized
        self._token = channel
        self.session = ""

    def _enter(self) -> dict[str, Any]:
        if not self._authorized:
            text = "You are not currently authorized to perform this action"
            raise GraphQLError(text, extensions={"code": "FORBIDDEN"})
        if self._token not in self._shop.channels:
            text = f'No Channel with the token "{self._token}" could be found'
            raise GraphQLError(text, extensions={"code": "CHANNEL_NOT_FOUND"})
        return self._shop.channels[self._token]

    def _orders(self) -> Orders:
        return self._shop.orders

    def _products(self) -> Products:
        return self._shop.products

    def _skus(self, product: str) -> list[str]:
        return self._shop.skus_of(product)

    def _page(self, items: list[dict[str, Any]], options: Mapping[str, Any] | None) -> dict[str, Any]:
        return _page(items, options)

    def login(self, info: GraphQLResolveInfo, username: str, password: str, **_: Any) -> Mapping[str, Any]:
        if (username, password) != ("erp", self._shop.token):
            code = "INVALID_CREDENTIALS_ERROR"
            text = "The provided credentials are invalid"
            return {"__typename": "InvalidCredentialsError", "errorCode": code, "message": text}
        self._shop.logins += 1
        self.session = f"session-{self._shop.logins}-secret"
        self._shop.sessions.add(self.session)
        return {"__typename": "CurrentUser", "id": "1", "identifier": username}

    def activeChannel(self, info: GraphQLResolveInfo) -> Mapping[str, Any]:  # noqa: N802 the schema's name
        return self._enter()

    def stockLocations(self, info: GraphQLResolveInfo, **_: Any) -> Mapping[str, Any]:  # noqa: N802
        self._enter()
        items = [{"id": id_, "name": name} for id_, name in self._shop.locations.items()]
        return {"items": items, "totalItems": len(items)}

    def globalSettings(self, info: GraphQLResolveInfo) -> Mapping[str, Any]:  # noqa: N802
        self._enter()
        kinds = [
            {
                "entityName": entity,
                "customFields": [
                    {
                        "__typename": f"{kind}CustomFieldConfig",
                        "name": name,
                        "type": kind[0].lower() + kind[1:],
                        "list": False,
                    }
                    for name, kind in fields.items()
                ],
            }
            for entity, fields in FIELDS.items()
        ]
        return {"serverConfig": {"moneyStrategyPrecision": 2, "entityCustomFields": kinds}}

    def productVariants(self, info: GraphQLResolveInfo, options: Any = None, **_: Any) -> Mapping[str, Any]:  # noqa: N802
        self._enter()
        asked = (options or {}).get("filter", {}).get("sku", {}).get("in")
        meant = self._shop.variants.values() if asked is None else self._shop.named(asked)
        return _page([self._variant(v) for v in meant if self._token in v["prices"]], options)

    def _variant(self, variant: Mapping[str, Any]) -> dict[str, Any]:
        levels = [
            {"stockLocationId": id_, "stockOnHand": on_hand, "stockAllocated": allocated}
            for id_, (on_hand, allocated) in variant["levels"].items()
        ]
        prices = [{"currencyCode": code, "price": price} for code, price in variant["prices"][self._token].items()]
        shown = {"id": variant["id"], "sku": variant["sku"], "stockLevels": levels, "prices": prices}
        return {**shown, "product": lambda _: self._product(variant["product"])}

    def updateProductVariants(  # noqa: N802
        self,
        info: GraphQLResolveInfo,
        input: list[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        channel = self._enter()
        self._deadlock()
        draft = {
            row["id"]: copy.deepcopy(self._shop.variants[row["id"]])
            for row in input
            if row["id"] in self._shop.variants
        }
        for row in input:
            variant = draft.get(row["id"])
            if variant is None or self._token not in variant["prices"]:
                text = f'No ProductVariant with the id "{row["id"]}" could be found'
                raise GraphQLError(text, extensions={"code": "ENTITY_NOT_FOUND"})
            if variant["sku"] in self._shop.poisoned:
                raise GraphQLError('value "3000000000" is out of range for type integer')
            for level in row.get("stockLevels") or ():
                if level["stockLocationId"] not in self._shop.locations:
                    raise GraphQLError(
                        'insert or update on table "stock_level" violates foreign key constraint "FK_984c"'
                    )
                _, allocated = variant["levels"].get(level["stockLocationId"], (0, 0))
                variant["levels"][level["stockLocationId"]] = (level["stockOnHand"], allocated)
            for price in row.get("prices") or ():
                code = price["currencyCode"]
                if price.get("delete"):
                    variant["prices"][self._token].pop(code, None)
                    continue
                if code not in channel["availableCurrencyCodes"]:
                    text = f'The currency "{code}" is not available in the current Channel'
                    raise GraphQLError(text, extensions={"code": "USER_INPUT_ERROR"})
                if abs(price["price"]) > 2**31 - 1:
                    raise GraphQLError(f'value "{price["price"]}" is out of range for type integer')
                variant["prices"][self._token][code] = price["price"]
        self._shop.variants |= draft
        return [self._variant(draft[row["id"]]) for row in input]

    def _deadlock(self) -> None:
        if self._shop.deadlocks:
            self._shop.deadlocks -= 1
            raise GraphQLError("deadlock detected")

    def customers(self, info: GraphQLResolveInfo, options: Any = None) -> Mapping[str, Any]:
        self._enter()
        items = list(self._shop.customers.values())
        for name, operator in (options or {}).get("filter", {}).items():
            items = [c for c in items if (c.get(name) or c["customFields"].get(name)) in operator["in"]]
        return _page(items, options)

    def updateCustomer(self, info: GraphQLResolveInfo, input: dict[str, Any]) -> Mapping[str, Any]:  # noqa: N802
        self._enter()
        self._deadlock()
        customer = self._shop.customers.get(input["id"])
        if customer is None or customer["emailAddress"] in self._shop.poisoned:
            text = f'No Customer with the id "{input["id"]}" could be found'
            raise GraphQLError(text, extensions={"code": "ENTITY_NOT_FOUND"})
        customer["customFields"].update(input.get("customFields") or {})
        return customer


def _page(items: list[dict[str, Any]], options: Mapping[str, Any] | None) -> dict[str, Any]:
    skip, take = (options or {}).get("skip") or 0, (options or {}).get("take") or 1000
    if take > 1000:
        raise GraphQLError("Cannot take more than 1000 results", extensions={"code": "USER_INPUT_ERROR"})
    return {"items": items[skip : skip + take], "totalItems": len(items)}

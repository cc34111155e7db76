"""A Shopify shop for tests: a real HTTP server whose GraphQL is executed against a schema, the excerpt or the vendor's own.

Invariant: nothing is answered that the schema does not allow, and no write is taken that the documented rules refuse: an
idempotency key is needed and answered again with what it did, a quantity is set only over the one that was expected, an
atomic mutation changes all of its rows or none, and a call goes only when its points are in the bucket.

Prices are kept with two decimals, as the shop's currency has them.
"""

# ruff: noqa: N802, N803 -- resolvers have the names of the API's fields and arguments

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from graphql.utilities import value_from_ast_untyped

from tests.doubles.faults import Fault
from tests.doubles.server import Call, Server, json_answer
from tests.doubles.shopify_bulk import Works, WorksRoot
from tests.doubles.shopify_content import Catalogue, CatalogueRoot, page
from tests.doubles.shopify_orders import Desk, DeskRoot

Json = dict[str, Any]
EXCERPT: Final = Path(__file__).with_name("shopify.graphql")
PATH: Final = "/admin/api/2026-10/graphql.json"
MUTATION_COST: Final = 10
DEAREST: Final = 1000
"""Points that one query may cost."""
ARRAY: Final = 250
METAFIELDS: Final = 25
_TERM = re.compile(r'(\w+):(?:"((?:\\.|[^"\\])*)"|(\S+))')
_IDEMPOTENT = {"inventorySetQuantities", "inventoryActivate"}


@dataclass
class Variant:
    number: int
    product: int
    sku: str
    price: str = "0.00"
    compare_at: str | None = None
    policy: str = "DENY"
    tracked: bool = True
    mutable: bool = True
    levels: dict[str, dict[str, int]] = field(default_factory=dict)
    """Location -> quantities by name."""

    @property
    def id(self) -> str:
        return f"gid://shopify/ProductVariant/{self.number}"


@dataclass
class ListPrice:
    amount: str
    compare_at: str | None = None
    breaks: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Quantity -> (number of the break, amount)."""


class ShopifyShop(Catalogue, Desk, Works, Server):
    """The server. `schema`: the vendor's own, else the excerpt."""

    def __init__(self, *, token: str, schema: GraphQLSchema | None = None) -> None:
        Server.__init__(self, token=token)
        Catalogue.__init__(self)
        Desk.__init__(self)
        Works.__init__(self)
        self.schema = schema or build_schema(EXCERPT.read_text(encoding="utf-8"))
        self.variants: dict[int, Variant] = {}
        self.indexed: dict[int, str] = {}
        """What the search knows: variant -> SKU. It may be older than the variants."""
        self.lists: dict[str, tuple[str, dict[int, ListPrice]]] = {}
        """Price list -> its currency and fixed prices."""
        self.owners: dict[str, str] = {}
        """gid of a company, company location or customer -> its external id or address."""
        self.metafields: dict[tuple[str, str, str], str] = {}
        """(owner, namespace, key) -> value."""
        self.documents: dict[str, tuple[str, list[Json]]] = {}
        """What was asked: name of the operation -> its text and the variables of each call."""
        self.currency, self.taxes_included = "EUR", False
        self.most, self.restore, self.points = 20_000.0, 1_000.0, 20_000.0
        self.throttle_status = 200
        self.replays = 0
        self.dear: set[str] = set()
        """Queries that were refused for what they cost."""
        self.before_write: Callable[[], None] | None = None
        """Called once before the next mutation: what somebody else does in that moment."""
        self._filled = time.monotonic()
        self._done: dict[str, tuple[str, Any]] = {}
        self._numbers = 1000

    # -- what a test sets up

    def add(self, sku: str, *, product: int | None = None) -> Variant:
        self._numbers += 1
        made = Variant(self._numbers, product or self._numbers * 10, sku)
        self.variants[made.number] = made
        self.indexed[made.number] = sku
        self.product(made.product)
        return made

    def rename(self, variant: Variant, sku: str) -> None:
        variant.sku = sku
        self.indexed[variant.number] = sku

    def add_list(self, id_: str, currency: str) -> dict[int, ListPrice]:
        prices: dict[int, ListPrice] = {}
        self.lists[id_] = (currency, prices)
        return prices

    def by_sku(self, sku: str) -> Variant:
        return next(variant for variant in self.variants.values() if variant.sku == sku)

    # -- one request

    def call_of(self, request: web.Request, body: bytes) -> Call:
        if outside := self.outside_call(request):
            return outside
        authorized = request.headers.get("X-Shopify-Access-Token", "") == self.token
        try:
            asked = json.loads(body)
            text, variables = str(asked["query"]), dict(asked.get("variables") or {})
        except (ValueError, KeyError, TypeError):
            return Call(method=request.method, entity="", authorized=authorized)
        write = text.startswith("mutation")
        named = [value for key, value in variables.items() if write and re.fullmatch(r"p[0-9]+", key)]
        touches = frozenset(value["id"] if isinstance(value, dict) else value for value in named)
        name = re.match(r"\w+ (\w+)", text)
        return Call(
            method=request.method, entity=name[1] if name else "", write=write, authorized=authorized, touches=touches
        )

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        if call.entity in ("upload", "results"):
            return self.outside_answer(request, call, body)
        if not call.authorized:
            return json_answer({"errors": "[API] Invalid API key or access token"}, 401)
        if request.path != PATH or call.method != "POST":
            return json_answer({"errors": "Not Found"}, 404)
        asked = json.loads(body)
        text, variables = asked["query"], asked.get("variables") or {}
        self.documents.setdefault(call.entity, (text, []))[1].append(variables)
        try:
            document = parse(text)
        except GraphQLError as error:
            return json_answer({"errors": [{"message": error.message, "extensions": {"code": "parseError"}}]})
        if problems := validate(self.schema, document):
            return json_answer({"errors": [_error(problem, "undefinedField") for problem in problems]})
        cost = self._cost(document, variables)
        if cost > DEAREST and not call.write:
            self.dear.add(call.entity)
            message = f"Query cost is {cost}, which exceeds the single query max cost limit ({DEAREST})."
            return json_answer({"errors": [{"message": message, "extensions": {"code": "MAX_COST_EXCEEDED"}}]})
        now = time.monotonic()
        self.points = min(self.points + (now - self._filled) * self.restore, self.most)
        self._filled = now
        if cost > self.points:
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return json_answer({"errors": [error], "extensions": self._told(cost, None)}, self.throttle_status)
        self.points -= cost
        if call.write and self.before_write is not None:
            happens, self.before_write = self.before_write, None
            happens()
        result = execute_sync(self.schema, document, root_value=_Root(self), variable_values=variables)
        answer: Json = {"data": result.data, "extensions": self._told(cost, cost)}
        if result.errors:
            answer["errors"] = [
                _error(error, "INVALID_VARIABLE" if not error.path else None) for error in result.errors
            ]
        return json_answer(answer)

    def executed(self, document: DocumentNode, variables: Json) -> Json:
        """What one operation gives; for the lines of a bulk operation."""
        result = execute_sync(self.schema, document, root_value=_Root(self), variable_values=variables)
        errors = [{"message": error.message} for error in result.errors or ()]
        return {"data": result.data, **({"errors": errors} if errors else {})}

    def _cost(self, document: DocumentNode, variables: Mapping[str, Any]) -> int:
        """Points as the documentation counts them: ten a mutation, one an object, a connection as often as it is asked for."""
        operation: Any = document.definitions[0]
        if operation.operation.value == "mutation":
            return MUTATION_COST * len(operation.selection_set.selections)
        return _points(operation.selection_set, variables)

    def _told(self, cost: int, actual: int | None) -> Json:
        status = {"maximumAvailable": self.most, "currentlyAvailable": int(self.points), "restoreRate": self.restore}
        return {"cost": {"requestedQueryCost": cost, "actualQueryCost": actual, "throttleStatus": status}}

    def once(self, info: GraphQLResolveInfo, arguments: Json, act: Callable[[], Any]) -> Any:
        """Do it once for each idempotency key; the key is needed."""
        directives = [d for d in info.field_nodes[0].directives if d.name.value == "idempotent"]
        if not directives:
            raise GraphQLError(f"The @idempotent directive is required for {info.field_name}")
        key = value_from_ast_untyped(directives[0].arguments[0].value, info.variable_values)
        content = json.dumps([info.field_name, arguments], sort_keys=True)
        if key in self._done:
            known, answer = self._done[key]
            if known != content:
                return _refused("IDEMPOTENCY_KEY_PARAMETER_MISMATCH", "the key was used with other parameters")
            self.replays += 1
            return answer
        answer = act()
        self._done[key] = (content, answer)
        return answer

    # -- what a resolver shows

    def show(self, variant: Variant) -> Json:
        number = variant.number

        def level(_info: Any, locationId: str, includeInactive: bool | None = None) -> Json | None:
            quantities = variant.levels.get(locationId)
            return None if quantities is None else self.show_level(variant, locationId)

        item = {
            "__typename": "InventoryItem",
            "id": f"gid://shopify/InventoryItem/{number}",
            "sku": variant.sku,
            "tracked": variant.tracked,
            "inventoryLevel": level,
        }
        return {
            "__typename": "ProductVariant",
            "id": variant.id,
            "sku": variant.sku,
            "price": variant.price,
            "compareAtPrice": variant.compare_at,
            "inventoryPolicy": variant.policy,
            "product": self.show_product(self.product(variant.product)),
            "inventoryItem": item,
        }

    def show_owner(self, id_: str) -> Json:
        def metafield(_info: Any, key: str, namespace: str) -> Json | None:
            value = self.metafields.get((id_, namespace, key))
            if value is None:
                return None
            return {"id": "gid://shopify/Metafield/1", "value": value, "compareDigest": digest(value)}

        kind, name = id_.split("/")[-2], self.owners[id_]
        key = {"defaultEmailAddress": {"emailAddress": name}} if kind == "Customer" else {"externalId": name}
        return {"__typename": kind, "id": id_, "metafield": metafield, **key}

    def show_level(self, variant: Variant, location: str) -> Json:
        def quantities(_info: Any, names: list[str]) -> list[Json]:
            held = variant.levels[location]
            return [{"id": f"gid://shopify/InventoryQuantity/{n}", "name": n, "quantity": held[n]} for n in names]

        id_ = f"gid://shopify/InventoryLevel/{variant.number}?at={location.rpartition('/')[2]}"
        return {"__typename": "InventoryLevel", "id": id_, "quantities": quantities}

    def found(self, query: str | None) -> list[Variant]:
        """The search: terms joined by OR."""
        terms = [
            (m[1], re.sub(r"\\(.)", r"\1", m[2]) if m[2] is not None else m[3]) for m in _TERM.finditer(query or "")
        ]
        numbers = []
        for number in sorted(self.variants):
            sku = self.indexed.get(number, "")
            if not terms or any(
                (name == "sku" and sku.lower() == value.lower())
                or (name == "id" and value.startswith(">") and number > int(value[1:]))
                for name, value in terms
            ):
                numbers.append(number)
        return [self.variants[number] for number in numbers]


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def kept(amount: object) -> str:
    """An amount as the shop keeps it."""
    return str(Decimal(str(amount)).quantize(Decimal("0.01"), ROUND_HALF_UP))


def _points(selection: Any, variables: Mapping[str, Any]) -> int:
    total = 0
    for one in selection.selections:
        inner = one.selection_set
        if inner is None:
            continue
        if one.kind == "inline_fragment":
            total += _points(inner, variables)
            continue
        said = {a.name.value: value_from_ast_untyped(a.value, dict(variables)) for a in one.arguments}
        many = int(said.get("first") or len(said.get("ids") or ()) or 1)
        if one.name.value in ("nodes", "pageInfo") and "ids" not in said:
            total += _points(inner, variables) + (one.name.value == "nodes")  # its connection counts it
        else:
            total += many * _points(inner, variables) + ("first" not in said) * many
    return total


def _refused(code: str, message: str, *path: str) -> Json:
    return {"userErrors": [{"code": code, "field": list(path) or None, "message": message}]}


def _error(error: GraphQLError, code: str | None) -> Json:
    said: Json = {"message": error.message}
    if error.path:
        said["path"] = error.path
    if code:
        said["extensions"] = {"code": code}
    return said


class _Root(CatalogueRoot, DeskRoot, WorksRoot):
    """The fields of QueryRoot and Mutation."""

    def __init__(self, shop: ShopifyShop) -> None:
        super().__init__(shop)
        self._shop = shop

    def shop(self, _info: Any) -> Json:
        shop = self._shop
        return {"id": "gid://shopify/Shop/1", "currencyCode": shop.currency, "taxesIncluded": shop.taxes_included}

    def nodes(self, _info: Any, ids: list[str]) -> list[Json | None]:
        if len(ids) > ARRAY:
            raise GraphQLError(f"The input array size of {len(ids)} is greater than the maximum allowed of {ARRAY}.")
        shop = self._shop
        known = {variant.id: variant for variant in shop.variants.values()}
        return [
            shop.show(known[id_])
            if id_ in known
            else shop.show_owner(id_)
            if id_ in shop.owners
            else shop.show_order(shop.orders[id_])
            if id_ in shop.orders
            else self.node_of(id_)
            for id_ in ids
        ]

    def _owners(self, kind: str, first: int | None, after: str | None, query: str | None) -> Json:
        wanted = [re.sub(r"\\(.)", r"\1", m[2] or m[3] or "").lower() for m in _TERM.finditer(query or "")]
        ids = [i for i, n in self._shop.owners.items() if f"/{kind}/" in i and (not wanted or n.lower() in wanted)]
        return page([self._shop.show_owner(id_) for id_ in ids], first, after)

    def companies(self, _info: Any, first: Any = None, after: Any = None, query: Any = None, **_others: Any) -> Json:
        return self._owners("Company", first, after, query)

    def companyLocations(
        self, _info: Any, first: Any = None, after: Any = None, query: Any = None, **_others: Any
    ) -> Json:
        return self._owners("CompanyLocation", first, after, query)

    def customers(self, _info: Any, first: Any = None, after: Any = None, query: Any = None, **_others: Any) -> Json:
        return self._owners("Customer", first, after, query)

    def metafieldsSet(self, _info: Any, metafields: list[Json]) -> Json:
        errors: list[Json] = []
        if len(metafields) > METAFIELDS:
            errors.append(
                {"code": "LESS_THAN_OR_EQUAL_TO", "message": "Exceeded the maximum of 25.", "field": ["metafields"]}
            )
        for n, row in enumerate(metafields):
            held = self._shop.metafields.get((row["ownerId"], row["namespace"], row["key"]))
            expected = None if held is None else digest(held)
            if "compareDigest" in row and row["compareDigest"] != expected:
                code, message = "STALE_OBJECT", "The resource has been updated since it was loaded."
            elif (
                row["ownerId"] not in self._shop.owners and row["ownerId"] not in self._shop.orders
            ) or "refuse" in row["value"]:
                code, message = "INVALID_VALUE", "Value is invalid."
            else:
                continue
            errors.append({"code": code, "message": message, "field": ["metafields", str(n)], "elementIndex": n})
        if errors:
            return {"metafields": None, "userErrors": errors}
        for row in metafields:
            self._shop.metafields[row["ownerId"], row["namespace"], row["key"]] = row["value"]
        shown = [{"id": "gid://shopify/Metafield/1", "compareDigest": digest(row["value"])} for row in metafields]
        return {"metafields": shown, "userErrors": []}

    def metafieldsDelete(self, _info: Any, metafields: list[Json]) -> Json:
        for row in metafields:
            self._shop.metafields.pop((row["ownerId"], row["namespace"], row["key"]), None)
        return {"deletedMetafields": [{"ownerId": row["ownerId"]} for row in metafields], "userErrors": []}

    def productVariants(
        self,
        _info: Any,
        first: int | None = None,
        after: str | None = None,
        query: str | None = None,
        sortKey: Any = None,
        **_others: Any,
    ) -> Json:
        return page([self._shop.show(variant) for variant in self._shop.found(query)], first, after)

    def priceList(self, _info: Any, id: str) -> Json | None:
        shop = self._shop
        if id not in shop.lists:
            return None
        currency, prices = shop.lists[id]

        def listed(
            _info: Any, first: int | None = None, after: str | None = None, query: str | None = None, **_o: Any
        ) -> Json:
            wanted = {int(n) for n in re.findall(r"variant_id:(\d+)", query or "")}
            numbers = [number for number in sorted(prices) if not wanted or number in wanted]
            return page([self._listed(currency, prices, number) for number in numbers], first, after)

        return {"__typename": "PriceList", "id": id, "currency": currency, "prices": listed}

    def _listed(self, currency: str, prices: dict[int, ListPrice], number: int) -> Json:
        price = prices[number]

        def money(amount: str) -> Json:
            return {"amount": amount, "currencyCode": currency}

        breaks = [
            {"id": f"gid://shopify/QuantityPriceBreak/{n}", "minimumQuantity": quantity, "price": money(amount)}
            for quantity, (n, amount) in sorted(price.breaks.items())
        ]
        return {
            "variant": self._shop.show(self._shop.variants[number]),
            "price": money(price.amount),
            "compareAtPrice": money(price.compare_at) if price.compare_at else None,
            "quantityPriceBreaks": lambda _info, **_others: {"nodes": breaks, "pageInfo": {"hasNextPage": False}},
        }

    # -- mutations

    def _item(self, id_: str) -> Variant | None:
        return self._shop.variants.get(int(id_.rpartition("/")[2]))

    def inventorySetQuantities(self, info: GraphQLResolveInfo, input: Json) -> Json:
        def act() -> Json:
            name, rows = input["name"], input["quantities"]
            errors = []
            for n, row in enumerate(rows):
                path = ["input", "quantities", str(n)]
                variant = self._item(row["inventoryItemId"])
                held = variant.levels.get(row["locationId"]) if variant else None
                if "changeFromQuantity" not in row:
                    raise GraphQLError("changeFromQuantity must be given")
                if variant is None:
                    code, message = "INVALID_INVENTORY_ITEM", "The specified inventory item could not be found."
                elif not variant.mutable:
                    code, message = "NON_MUTABLE_INVENTORY_ITEM", "The quantity of this item cannot be changed."
                elif held is None:
                    code, message = "INVALID_LOCATION", "The item is not stocked at the location."
                elif row["quantity"] < 0:
                    code, message = "INVALID_QUANTITY_NEGATIVE", "The quantity can't be negative."
                elif row["changeFromQuantity"] not in (None, held[name]):
                    code, message = "CHANGE_FROM_QUANTITY_STALE", "The quantity does not match persisted value."
                else:
                    continue
                errors.append({"code": code, "field": path, "message": message})
            if errors:
                return {"inventoryAdjustmentGroup": None, "userErrors": errors}
            for row in rows:
                variant = self._item(row["inventoryItemId"])
                assert variant is not None
                variant.levels[row["locationId"]][name] = row["quantity"]
            return {"inventoryAdjustmentGroup": {"id": "gid://shopify/InventoryAdjustmentGroup/1"}, "userErrors": []}

        return self._shop.once(info, input, act)  # type: ignore[no-any-return]

    def inventoryActivate(self, info: GraphQLResolveInfo, **given: Any) -> Json:
        def act() -> Json:
            variant, location = self._item(given["inventoryItemId"]), given["locationId"]
            if variant is None or not variant.mutable:
                return _refused("", "The product cannot be stocked at the location.") | {"inventoryLevel": None}
            if location in variant.levels:
                return _refused("", "The item is stocked there already.") | {"inventoryLevel": None}
            quantity = given.get("available") or given.get("onHand") or 0
            variant.levels[location] = {"available": quantity, "on_hand": quantity}
            return {"inventoryLevel": self._shop.show_level(variant, location), "userErrors": []}

        return self._shop.once(info, given, act)  # type: ignore[no-any-return]

    def inventoryDeactivate(self, _info: Any, inventoryLevelId: str) -> Json:
        number, _, location = inventoryLevelId.rpartition("/")[2].partition("?at=")
        del self._shop.variants[int(number)].levels[f"gid://shopify/Location/{location}"]
        return {"userErrors": []}

    def productVariantsBulkUpdate(
        self,
        _info: Any,
        productId: str,
        variants: list[Json],
        allowPartialUpdates: bool = False,
    ) -> Json:
        product = int(productId.rpartition("/")[2])
        errors, good = [], []
        for n, row in enumerate(variants):
            variant = self._shop.variants.get(int(row["id"].rpartition("/")[2]))
            if variant is None or variant.product != product:
                code, message = "PRODUCT_VARIANT_DOES_NOT_EXIST", "Product variant does not exist"
            elif Decimal(str(row.get("price", 0))) < 0:
                code, message = "NEGATIVE_PRICE_VALUE", "Price must be greater than or equal to 0"
            else:
                good.append((variant, row))
                continue
            errors.append({"code": code, "field": ["variants", str(n)], "message": message})
        if errors and not allowPartialUpdates:
            return {"productVariants": None, "userErrors": errors}
        for variant, row in good:
            if "price" in row:
                variant.price = kept(row["price"])
            if "compareAtPrice" in row:
                variant.compare_at = None if row["compareAtPrice"] is None else kept(row["compareAtPrice"])
            variant.policy = row.get("inventoryPolicy", variant.policy)
        return {"productVariants": [self._shop.show(variant) for variant, _ in good], "userErrors": errors}

    def priceListFixedPricesUpdate(
        self,
        _info: Any,
        priceListId: str,
        pricesToAdd: list[Json],
        variantIdsToDelete: list[str],
    ) -> Json:
        currency, prices = self._shop.lists[priceListId]
        errors = []
        for n, row in enumerate(pricesToAdd):
            if self._item(row["variantId"]) is None:
                errors.append(("VARIANT_NOT_FOUND", "Variant not found.", "pricesToAdd", str(n)))
            elif row["price"]["currencyCode"] != currency:
                errors.append(("PRICE_LIST_CURRENCY_MISMATCH", "Another currency.", "pricesToAdd", str(n)))
        if errors:
            said = [{"code": code, "message": message, "field": path} for code, message, *path in errors]
            return {"pricesAdded": None, "userErrors": said}
        for id_ in variantIdsToDelete:
            prices.pop(int(id_.rpartition("/")[2]), None)
        for row in pricesToAdd:
            held = prices.setdefault(int(row["variantId"].rpartition("/")[2]), ListPrice("0"))
            held.amount = kept(row["price"]["amount"])
            compare_at = row.get("compareAtPrice")
            held.compare_at = kept(compare_at["amount"]) if compare_at else None
        added = [self._listed(currency, prices, int(r["variantId"].rpartition("/")[2])) for r in pricesToAdd]
        return {"pricesAdded": added, "deletedFixedPriceVariantIds": variantIdsToDelete, "userErrors": []}

    def quantityPricingByVariantUpdate(self, _info: Any, priceListId: str, input: Json) -> Json:
        _, prices = self._shop.lists[priceListId]
        errors = [
            {
                "code": "QUANTITY_PRICE_BREAK_ADD_PRICE_LIST_PRICE_NOT_FOUND",
                "field": ["input", "quantityPriceBreaksToAdd", str(n)],
                "message": "The variant has no price in this list.",
            }
            for n, row in enumerate(input["quantityPriceBreaksToAdd"])
            if int(row["variantId"].rpartition("/")[2]) not in prices
        ]
        if errors:
            return {"productVariants": None, "userErrors": errors}
        gone = {int(id_.rpartition("/")[2]) for id_ in input["quantityPriceBreaksToDelete"]}
        for price in prices.values():
            price.breaks = {quantity: held for quantity, held in price.breaks.items() if held[0] not in gone}
        for row in input["quantityPriceBreaksToAdd"]:
            self._shop._numbers += 1
            held = prices[int(row["variantId"].rpartition("/")[2])]
            held.breaks[row["minimumQuantity"]] = (self._shop._numbers, kept(row["price"]["amount"]))
        return {"productVariants": [], "userErrors": []}

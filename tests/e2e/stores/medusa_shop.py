"""A real Medusa: its program, and what its administrator and its shoppers see.

Invariant: nothing of the adapter takes part: what is read here comes from the shop's own APIs by requests of its own.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import orjson

from daemon.demo.embedded import Cluster
from tests.e2e.cache import database, mark
from tests.e2e.stores.npm import HERE, packages
from tests.e2e.stores.server import Server, environment

USER, PASSWORD = "owner@shop.example", "owner-of-a-test"
COUNTRY, CURRENCY = "us", "usd"
_MEDUSA = "node_modules/.bin/medusa"
_PAGE = 1000

Answer = dict[str, Any]


class Medusa:
    """One shop with a database of its own. Use as an async context manager around its use; `server` is started apart."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in ("medusa-config.js", "package.json"):
            shutil.copy(HERE / "medusa" / name, folder)
        (folder / "node_modules").symlink_to(packages("medusa"))
        self._cluster = cluster
        self._settings = {
            "DATABASE_URL": cluster.dsn("medusa"),
            "SECRET": "secret-of-a-test",
            "NODE_ENV": "production",
            "MEDUSA_DISABLE_TELEMETRY": "1",
        }
        self._folder = folder
        self._kept = packages("medusa").parent / f"empty-{mark(USER, PASSWORD, str(cluster.version))}.sql.gz"
        self.server = Server(folder, [_MEDUSA, "start", "-H", "127.0.0.1"], self._settings, "/health")
        self.key = ""
        """Secret API key of an administrator."""
        self.web = ""
        """Publishable key of the storefront."""
        self.place: dict[str, str] = {}
        """Ids of what the shop's owner made: region, price lists by title, customer groups by title."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    def make_database(self) -> None:
        """The tables and the owner's account. Blocks; on the first call, before its result is kept, for half a minute."""
        database(self._cluster, "medusa", self._kept, self._migrate)

    def _migrate(self) -> None:
        for command in (["db:migrate"], ["user", "-e", USER, "-p", PASSWORD]):
            ran = subprocess.run(
                ["node", _MEDUSA, *command],
                cwd=self._folder,
                env=environment(self._settings),
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=300,
            )
            assert ran.returncode == 0, (ran.stdout + ran.stderr)[-3000:]

    # Requests -------------------------------------------------------------------------------------------------------------

    async def admin(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Answer:
        """What the administrator is answered: a POST where there is a body. AssertionError for a refusal."""
        basic = base64.b64encode(f"{self.key}:".encode()).decode()
        return await self._ask(f"/admin/{path}", body, query, {"Authorization": f"Basic {basic}"})

    async def shopper(self, path: str, body: Mapping[str, Any] | None = None, token: str = "", **query: Any) -> Answer:
        """What a guest is answered, or with `token` a customer who logged in."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return await self._ask(f"/store/{path}", body, query, {"x-publishable-api-key": self.web, **bearer})

    async def token(self, path: str, email: str, password: str) -> str:
        """The token that a login or a registration gives."""
        said = await self._ask(f"/auth/{path}", {"email": email, "password": password}, {}, {})
        return str(said["token"])

    async def log_in(self, number: str) -> str:
        """The token of the customer with this number."""
        return await self.token("customer/emailpass", address(number), password(number))

    async def _ask(
        self, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Answer:
        assert self._session is not None
        method = "GET" if body is None else "POST"
        async with self._session.request(
            method, self.server.url + path, json=body, params=query, headers=headers
        ) as response:
            text = await response.read()
            assert response.status < 300, (method, path, response.status, text[:500])
            return dict(orjson.loads(text))

    async def pages(self, path: str, name: str, fields: str) -> list[Answer]:
        """A list, whole."""
        found: list[Answer] = []
        while True:
            page = await self.admin(path, fields=fields, limit=_PAGE, offset=len(found))
            found += page[name]
            if len(found) >= page["count"]:
                return found

    # What is shown --------------------------------------------------------------------------------------------------------

    async def documents(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Entity -> id -> what the whole shop shows, in the words of the ERP."""
        names = {place["id"]: place["name"] for place in (await self.admin("stock-locations"))["stock_locations"]}
        stock: dict[str, dict[str, Any]] = {}
        for item in await self.pages("inventory-items", "inventory_items", "sku,*location_levels"):
            for level in item["location_levels"]:
                free = level["stocked_quantity"] - level["reserved_quantity"]
                stock[f"{item['sku']}|{names[level['location_id']]}"] = {"available": Decimal(free)}
        price: dict[str, dict[str, Any]] = {}
        skus: dict[str, str] = {}
        for variant in await self.pages("product-variants", "variants", "id,sku,*prices"):
            skus[variant["id"]] = variant["sku"]
            _put(price, variant["sku"], "default", variant["prices"])
        for title, list_ in self.place.items():
            if list_.startswith("plist_"):
                path, fields = f"price-lists/{list_}/prices", "amount,currency_code,min_quantity,price_set.variant.id"
                for row in await self.pages(path, "prices", fields):
                    _put(price, skus[row["price_set"]["variant"]["id"]], title, [row])
        credit: dict[str, dict[str, Any]] = {}
        for customer in (await self.admin("customers", fields="metadata", limit=_PAGE))["customers"]:
            held = customer["metadata"] or {}
            if "erp_number" in held:
                credit[held["erp_number"]] = held.get("erpsyncd_credit") or {}
        orders: dict[str, dict[str, Any]] = {}
        for order in (await self.admin("orders", fields="display_id,metadata", limit=_PAGE))["orders"]:
            if held := (order["metadata"] or {}).get("erpsyncd_order"):
                orders[web_number(order["display_id"])] = {name: held[name] for name in ("status", "fulfilments")}
        content: dict[str, dict[str, Any]] = {}
        for product in await self.pages("products", "products", "title,description,*variants,*categories"):
            shown = {
                "title": product["title"],
                "description_html": product["description"],
                "categories": sorted(category["name"] for category in product["categories"]),
            }
            content[f"{product['variants'][0]['sku']}|en_US"] = shown
        return {"stock": stock, "price": price, "credit": credit, "order_status": orders, "content": content}

    async def variant(self, sku: str) -> Answer:
        """The variant with this SKU, with `product_id` and its inventory item."""
        fields = "id,sku,product_id,inventory_items.inventory_item_id"
        return dict((await self.admin("product-variants", sku=sku, fields=fields))["variants"][0])

    async def page(self, sku: str, token: str = "") -> Answer:
        """What a shopper sees on an article's page: price, stock, texts and pictures."""
        product = (await self.variant(sku))["product_id"]
        fields = "title,description,thumbnail,images.url,*variants.calculated_price,+variants.inventory_quantity"
        said = await self.shopper(f"products/{product}", token=token, region_id=self.place["region"], fields=fields)
        shown = said["product"]
        variant = shown["variants"][0]
        return {
            "title": shown["title"],
            "description": shown["description"],
            "pictures": [image["url"] for image in shown["images"]],
            "stock": variant["inventory_quantity"],
            "price": variant["calculated_price"]["calculated_amount"],
        }

    # What a customer does -------------------------------------------------------------------------------------------------

    async def order(self, token: str, lines: Mapping[str, int]) -> Answer:
        """A customer with this session buys: SKU -> quantity. Gives the order's `id` and `display_id`."""
        items = [{"variant_id": (await self.variant(sku))["id"], "quantity": number} for sku, number in lines.items()]
        to = {"first_name": "A", "last_name": "B", "address_1": "Dock 1", "city": "Reno", "postal_code": "1"}
        made = await self.shopper("carts", {"region_id": self.place["region"], "items": items}, token)
        cart = made["cart"]["id"]
        await self.shopper(f"carts/{cart}", {"shipping_address": {**to, "country_code": COUNTRY}}, token)
        options = (await self.shopper("shipping-options", token=token, cart_id=cart))["shipping_options"]
        await self.shopper(f"carts/{cart}/shipping-methods", {"option_id": options[0]["id"]}, token)
        pay = (await self.shopper("payment-collections", {"cart_id": cart}, token))["payment_collection"]["id"]
        await self.shopper(f"payment-collections/{pay}/payment-sessions", {"provider_id": "pp_system_default"}, token)
        said = await self.shopper(f"carts/{cart}/complete", {}, token)
        assert said["type"] == "order", said
        return dict(said["order"])

    async def halve(self, order: str, shipment: str, *, shipped: bool) -> None:
        """Make the fulfilment of a shipment, and leave it as a kill of the shop may: its order's lines do not count it, or they
        count it as shipped already."""
        items = (await self.admin(f"orders/{order}", fields="items.id,items.detail.quantity"))["order"]["items"]
        rows = [{"id": item["id"], "quantity": item["detail"]["quantity"]} for item in items]
        made = await self.admin(
            f"orders/{order}/fulfillments",
            {"items": rows, "metadata": {"erpsyncd_id": shipment}},
            fields="fulfillments.id",
        )
        [fulfilment] = made["order"]["fulfillments"]
        forget, which = (
            """update order_item set fulfilled_quantity = 0, raw_fulfilled_quantity = '{"value": "0", "precision": 20}'
                where order_id = $1""",
            order,
        )
        if shipped:
            await self.admin(f"orders/{order}/fulfillments/{fulfilment['id']}/shipments", {"items": rows})
            forget, which = "update fulfillment set shipped_at = null where id = $1", fulfilment["id"]
        sql = await asyncpg.connect(self._settings["DATABASE_URL"])
        try:
            await sql.execute(forget, which)
        finally:
            await sql.close()

    async def bought(self, token: str, order: str) -> Answer:
        """What the customer with this session sees of an order: how far it is, and each parcel's number."""
        fields = "status,fulfillment_status,*fulfillments,*fulfillments.labels"
        return dict((await self.shopper(f"orders/{order}", token=token, fields=fields))["order"])


def _put(price: dict[str, dict[str, Any]], sku: str, name: str, rows: list[Answer]) -> None:
    for row in rows:
        id_ = f"{sku}|{name}|{row['currency_code'].upper()}|{row['min_quantity'] or 1}"
        assert id_ not in price, f"{id_} is there twice"
        price[id_] = {"amount": Decimal(str(row["amount"]))}


def web_number(number: int) -> str:
    """What the ERP calls a web order."""
    return f"WEB-{number}"


def address(number: str) -> str:
    """A customer's e-mail address."""
    return f"{number.lower()}@customers.example"


def password(number: str) -> str:
    """A customer's password."""
    return f"password of {number}"

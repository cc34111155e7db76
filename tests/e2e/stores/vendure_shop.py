"""A real Vendure: its program, and what its administrator and its shoppers see.

Invariant: nothing of the adapter takes part: what is read here comes from the shop's own APIs by queries of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import aiohttp

from daemon.demo.embedded import Cluster
from tests.e2e.stores.npm import HERE, packages
from tests.e2e.stores.server import Server

PASSWORD = "superadmin-of-a-test"
DEFAULT = "default"
"""The price list that is the shop's default channel."""
LISTS = {DEFAULT: "EUR", "TRADE": "EUR", "EXPORT": "USD"}
"""Price list, which is a channel, and its currency."""
_LOGIN = """mutation($name: String!, $password: String!) { login(username: $name, password: $password) {
  ... on CurrentUser { id } ... on ErrorResult { errorCode message } } }"""

Answer = Mapping[str, Any]


class Vendure:
    """One shop with a database of its own. Use as an async context manager around its use; `server` is started apart."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copy(HERE / "vendure" / "index.js", folder)
        (folder / "node_modules").symlink_to(packages("vendure"))
        cluster.psql("create database vendure")
        settings = {
            "DATABASE_URL": cluster.dsn("vendure"),
            "ADMIN_PASSWORD": PASSWORD,
            "ASSETS": str(folder / "assets"),
            "VENDURE_DISABLE_TELEMETRY": "true",
        }
        self.server = Server(folder, ["index.js"], settings, "/health")
        self.channels: dict[str, str] = {DEFAULT: ""}
        """Price list -> token of its channel."""
        self._session: aiohttp.ClientSession | None = None
        self._admin = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def admin_url(self) -> str:
        return f"{self.server.url}/admin-api"

    async def admin(self, query: str, /, at: str = DEFAULT, **variables: Any) -> Answer:
        """What the administrator is answered in the channel of a price list; AssertionError for any error in it."""
        if not self._admin:
            said = {"name": "superadmin", "password": PASSWORD}
            self._admin = (await self._ask("admin-api", _LOGIN, said, self.channels[at], ""))[1]
        return (await self._ask("admin-api", query, variables, self.channels[at], self._admin))[0]

    async def shopper(self, query: str, /, at: str = DEFAULT, token: str = "", **variables: Any) -> Answer:
        """What a guest is answered, or with `token` a customer who logged in."""
        return (await self._ask("shop-api", query, variables, self.channels[at], token))[0]

    async def log_in(self, number: str, at: str) -> str:
        """The token of a session of the customer with this number in the channel of a price list."""
        said = {"name": address(number), "password": password(number)}
        token = (await self._ask("shop-api", _LOGIN, said, self.channels[at], ""))[1]
        assert token
        return token

    async def _ask(
        self, api: str, query: str, variables: Mapping[str, Any], channel: str, token: str
    ) -> tuple[Answer, str]:
        headers = {"vendure-token": channel} if channel else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        assert self._session is not None
        body = {"query": query, "variables": variables}
        async with self._session.post(f"{self.server.url}/{api}", json=body, headers=headers) as response:
            answer = await response.json()
            assert "errors" not in answer, answer["errors"]
            for name, part in answer["data"].items():
                assert not (isinstance(part, dict) and "errorCode" in part), (name, part)
            return answer["data"], response.headers.get("vendure-auth-token", token)

    async def order(self, token: str, lines: Mapping[str, int]) -> str:
        """A customer with this session buys: SKU -> quantity. Gives the order's code."""
        for sku, quantity in lines.items():
            add = """mutation($id: ID!, $quantity: Int!) { addItemToOrder(productVariantId: $id, quantity: $quantity) {
              ... on ErrorResult { errorCode message } } }"""
            await self.shopper(add, token=token, id=await self.variant(sku), quantity=quantity)
        ship = """mutation($to: CreateAddressInput!) { setOrderShippingAddress(input: $to) {
          ... on ErrorResult { errorCode message } } }"""
        await self.shopper(ship, token=token, to={"streetLine1": "Dock 1", "countryCode": "DE"})
        ways = (await self.shopper("{ eligibleShippingMethods { id } }", token=token))["eligibleShippingMethods"]
        pay = """mutation($way: [ID!]!) {
          setOrderShippingMethod(shippingMethodId: $way) { ... on ErrorResult { errorCode message } }
          transitionOrderToState(state: "ArrangingPayment") { ... on ErrorResult { errorCode message } }
          addPaymentToOrder(input: { method: "invoice", metadata: {} }) {
            ... on Order { code state } ... on ErrorResult { errorCode message } } }"""
        made = (await self.shopper(pay, token=token, way=[ways[0]["id"]]))["addPaymentToOrder"]
        assert made["state"] == "PaymentSettled", made
        return str(made["code"])

    async def bought(self, token: str, code: str) -> Answer:
        """What the customer with this session sees of an order: its state, and each fulfilment's state and number."""
        query = """query($code: String!) { orderByCode(code: $code) {
          state fulfillments { state method trackingCode } } }"""
        return dict((await self.shopper(query, token=token, code=code))["orderByCode"])

    # What is shown --------------------------------------------------------------------------------------------------------

    async def documents(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Entity -> id -> what the whole shop shows, in the words of the ERP."""
        stock: dict[str, dict[str, Any]] = {}
        price: dict[str, dict[str, Any]] = {}
        query = """{ productVariants(options: { take: 1000 }) { items {
          sku prices { currencyCode price } stockLevels { stockOnHand stockAllocated } } } }"""
        for name in self.channels:
            for variant in (await self.admin(query, at=name))["productVariants"]["items"]:
                free = sum(level["stockOnHand"] - level["stockAllocated"] for level in variant["stockLevels"])
                stock[f"{variant['sku']}|default"] = {"available": Decimal(free)}
                for of in variant["prices"]:
                    amount = Decimal(of["price"]) / 100
                    price[f"{variant['sku']}|{name}|{of['currencyCode']}|1"] = {"amount": amount}
        credit: dict[str, dict[str, Any]] = {}
        query = """{ customers(options: { take: 1000 }) { items { customFields {
          erpNumber creditLimit creditBalance creditAvailable creditCurrency creditHold } } } }"""
        for customer in (await self.admin(query))["customers"]["items"]:
            held = customer["customFields"]
            credit[held["erpNumber"]] = {
                "currency": held["creditCurrency"],
                "limit": held["creditLimit"],
                "balance": None if held["creditBalance"] is None else Decimal(held["creditBalance"]) / 100,
                "available": held["creditAvailable"],
                "hold": held["creditHold"],
            }
        query = "{ orders(options: { take: 1000 }) { items { code customFields { erpOrder } } } }"
        orders = {
            order["code"]: {name: held[name] for name in ("status", "fulfilments")}
            for order in (await self.admin(query))["orders"]["items"]
            if (held := json.loads(order["customFields"]["erpOrder"] or "{}"))
        }
        content: dict[str, dict[str, Any]] = {}
        query = """{ products(options: { take: 1000 }) { items {
          variants { sku } translations { languageCode name description } } } }"""
        for product in (await self.admin(query))["products"]["items"]:
            for text in product["translations"]:
                shown = {"title": text["name"], "description_html": text["description"]}
                content[f"{product['variants'][0]['sku']}|{text['languageCode']}"] = shown
        return {"stock": stock, "price": price, "credit": credit, "order_status": orders, "content": content}

    async def variant(self, sku: str) -> str:
        """The id of the variant with this SKU."""
        query = "query($sku: String!) { productVariants(options: { filter: { sku: { eq: $sku } } }) { items { id } } }"
        return str((await self.admin(query, sku=sku))["productVariants"]["items"][0]["id"])

    async def customer(self, number: str) -> str:
        """The id of the customer with this number."""
        query = "query($is: String!) { customers(options: { filter: { erpNumber: { eq: $is } } }) { items { id } } }"
        return str((await self.admin(query, **{"is": number}))["customers"]["items"][0]["id"])

    async def pictures(self, sku: str) -> list[str]:
        """SHA-256 of each picture on an article's page, as a browser loads it, the first one first."""
        query = "query($slug: String!) { product(slug: $slug) { assets { source } } }"
        assets = (await self.shopper(query, slug=slug(sku)))["product"]["assets"]
        return [await self._digest(asset["source"]) for asset in assets]

    async def _digest(self, url: str) -> str:
        assert self._session is not None
        async with self._session.get(url) as response:
            assert response.status == 200, response.status
            return hashlib.sha256(await response.read()).hexdigest()

    async def page(self, sku: str, at: str = DEFAULT, token: str = "") -> Answer:
        """What a shopper sees on an article's page; the price is in minor units."""
        query = """query($slug: String!) { product(slug: $slug) {
          name description variants { sku price currencyCode stockLevel } } }"""
        found = (await self.shopper(query, at, token, slug=slug(sku)))["product"]
        return {**found, **found["variants"][0]}


def address(number: str) -> str:
    """A customer's e-mail address."""
    return f"{number.lower()}@customers.example"


def password(number: str) -> str:
    """A customer's password."""
    return f"password of {number}"


def slug(sku: str) -> str:
    """The address of an article's page."""
    return sku.lower()

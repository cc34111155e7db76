"""What the owner of a Vendure does before erpsyncd comes: channels, taxes, an account for it, articles and customers.

Invariant: the account that erpsyncd gets may do what docs/store-vendure.md asks for, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.e2e.stores.vendure_shop import DEFAULT, LISTS, Vendure, address, password, slug

USER, USER_PASSWORD = "erpsyncd@shop.example", "erpsyncd-of-a-test"
PERMISSIONS = (  # noqa: SIM905 -- a list of words
    "ReadCatalog UpdateCatalog ReadStockLocation ReadCustomer UpdateCustomer ReadOrder UpdateOrder CreateAsset"
).split()
LANGUAGES = ["en", "de"]
_AT_ONCE = 20


async def open_shop(shop: Vendure) -> None:
    """Languages, taxes, a way to ship and one to pay, a channel for each price list, and erpsyncd's account."""
    first = await shop.admin("{ activeChannel { id token } stockLocations { items { id } } }")
    made = await shop.admin(
        """mutation($country: CreateCountryInput!, $languages: [LanguageCode!]!) {
          createZone(input: { name: "EU" }) { id }
          createCountry(input: $country) { id }
          createTaxCategory(input: { name: "Standard", isDefault: true }) { id }
          updateGlobalSettings(input: { availableLanguages: $languages }) { ... on ErrorResult { errorCode message } } }""",
        country=_named({"code": "DE", "enabled": True}, "Germany"),
        languages=LANGUAGES,
    )
    zone = made["createZone"]["id"]
    tax = {"name": "VAT", "enabled": True, "value": 19, "categoryId": made["createTaxCategory"]["id"], "zoneId": zone}
    sold = {"availableLanguageCodes": LANGUAGES, "defaultTaxZoneId": zone, "defaultShippingZoneId": zone}
    await shop.admin(
        """mutation($zone: ID!, $country: ID!, $tax: CreateTaxRateInput!, $channel: UpdateChannelInput!) {
          addMembersToZone(zoneId: $zone, memberIds: [$country]) { id }
          createTaxRate(input: $tax) { id }
          updateChannel(input: $channel) { ... on ErrorResult { errorCode message } } }""",
        zone=zone,
        country=made["createCountry"]["id"],
        tax=tax,
        channel={
            **sold,
            "id": first["activeChannel"]["id"],
            "availableCurrencyCodes": [LISTS[DEFAULT]],
            "defaultCurrencyCode": LISTS[DEFAULT],
        },
    )
    await shop.admin(
        """mutation($shipping: CreateShippingMethodInput!, $payment: CreatePaymentMethodInput!) {
          createShippingMethod(input: $shipping) { id } createPaymentMethod(input: $payment) { id } }""",
        shipping=_named(
            {
                "code": "parcel",
                "fulfillmentHandler": "manual-fulfillment",
                "checker": _operation("default-shipping-eligibility-checker", orderMinimum="0"),
                "calculator": _operation("default-shipping-calculator", rate="0", includesTax="auto", taxRate="0"),
            },
            "Parcel",
            description="",
        ),
        payment=_named(
            {
                "code": "invoice",
                "enabled": True,
                "handler": _operation("dummy-payment-handler", automaticSettle="true"),
            },
            "Invoice",
            description="",
        ),
    )
    shop.channels[DEFAULT] = first["activeChannel"]["token"]
    ids = [first["activeChannel"]["id"]]
    for name in LISTS.keys() - {DEFAULT}:
        channel = {
            **sold,
            "code": name.lower(),
            "token": f"{name.lower()}-token",
            "defaultLanguageCode": "en",
            "defaultCurrencyCode": LISTS[name],
            "pricesIncludeTax": False,
        }
        said = await shop.admin(
            """mutation($channel: CreateChannelInput!) { createChannel(input: $channel) {
              ... on Channel { id } ... on ErrorResult { errorCode message } } }""",
            channel=channel,
        )
        ids.append(said["createChannel"]["id"])
        await shop.admin(
            "mutation($i: AssignStockLocationsToChannelInput!) { assignStockLocationsToChannel(input: $i) { id } }",
            i={"channelId": ids[-1], "stockLocationIds": [place["id"] for place in first["stockLocations"]["items"]]},
        )
        shop.channels[name] = channel["token"]
    role = await shop.admin(
        "mutation($role: CreateRoleInput!) { createRole(input: $role) { id } }",
        role={"code": "erpsyncd", "description": "erpsyncd", "permissions": PERMISSIONS, "channelIds": ids},
    )
    user = {"emailAddress": USER, "password": USER_PASSWORD, "firstName": "erp", "lastName": "syncd"}
    await shop.admin(
        "mutation($user: CreateAdministratorInput!) { createAdministrator(input: $user) { id } }",
        user={**user, "roleIds": [role["createRole"]["id"]]},
    )


async def add_articles(shop: Vendure, articles: Iterable[tuple[str, str]]) -> None:
    """Products of one variant each (SKU, name) in every channel: none in stock, and for a price that no ERP has."""
    start = await shop.admin("{ channels { items { id } } taxCategories { items { id } } activeChannel { id } }")
    tax = start["taxCategories"]["items"][0]["id"]
    left = list(articles)
    variants: list[str] = []
    for first in range(0, len(left), _AT_ONCE):
        some = left[first : first + _AT_ONCE]
        products = [_named({"enabled": True}, name, slug=slug(sku), description="") for sku, name in some]
        ids = await _each(shop, "createProduct", "CreateProductInput!", products)
        own = {"trackInventory": "TRUE", "taxCategoryId": tax, "optionIds": [], "price": 1, "stockOnHand": 0}
        made = await shop.admin(
            "mutation($i: [CreateProductVariantInput!]!) { createProductVariants(input: $i) { id } }",
            i=[_named({**own, "productId": id_, "sku": sku}, name) for (sku, name), id_ in zip(some, ids, strict=True)],
        )
        variants += [variant["id"] for variant in made["createProductVariants"]]
    for channel in start["channels"]["items"]:
        if channel["id"] != start["activeChannel"]["id"]:
            await shop.admin(
                "mutation($i: AssignProductVariantsToChannelInput!) { assignProductVariantsToChannel(input: $i) { id } }",
                i={"channelId": channel["id"], "productVariantIds": variants, "priceFactor": 1},
            )


async def add_customers(shop: Vendure, customers: Iterable[tuple[str, str]]) -> None:
    """Customers: the ERP's number, name."""
    for number, name in customers:
        await shop.admin(
            """mutation($customer: CreateCustomerInput!, $password: String!) {
              createCustomer(input: $customer, password: $password) { ... on ErrorResult { errorCode message } } }""",
            customer={
                "firstName": "Purchasing",
                "lastName": name,
                "emailAddress": address(number),
                "customFields": {"erpNumber": number},
            },
            password=password(number),
        )


def _operation(code: str, **arguments: str) -> dict[str, Any]:
    return {"code": code, "arguments": [{"name": name, "value": value} for name, value in arguments.items()]}


def _named(fields: Mapping[str, Any], name: str, **more: str) -> dict[str, Any]:
    return {**fields, "translations": [{"languageCode": "en", "name": name, **more}]}


async def _each(shop: Vendure, mutation: str, kind: str, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ", ".join(f"$i{n}: {kind}" for n in range(len(inputs)))
    calls = " ".join(f"a{n}: {mutation}(input: $i{n}) {{ id }}" for n in range(len(inputs)))
    data = await shop.admin(f"mutation({heads}) {{ {calls} }}", **{f"i{n}": i for n, i in enumerate(inputs)})
    return [data[f"a{n}"]["id"] for n in range(len(inputs))]

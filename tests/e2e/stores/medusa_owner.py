"""What the owner of a Medusa does before erpsyncd comes: region, location, shipping, price lists, articles and customers.

Invariant: what is made has no stock, no price and no text of the ERP's.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.e2e.stores.medusa_shop import COUNTRY, CURRENCY, PASSWORD, USER, Medusa, address, password

_AT_ONCE = 50


async def open_shop(shop: Medusa, location: str, lists: Iterable[str]) -> None:
    """The administrator's key, and all that is needed to sell; a customer group for each price list."""
    shop.key = await _key(shop)
    store = (await shop.admin("stores"))["stores"][0]["id"]
    await shop.admin(f"stores/{store}", {"supported_currencies": [{"currency_code": CURRENCY, "is_default": True}]})
    channel = (await shop.admin("sales-channels"))["sales_channels"][0]["id"]
    web = (await shop.admin("api-keys", {"title": "web", "type": "publishable"}))["api_key"]
    await shop.admin(f"api-keys/{web['id']}/sales-channels", {"add": [channel]})
    shop.web = web["token"]
    region = {
        "name": "Home",
        "currency_code": CURRENCY,
        "countries": [COUNTRY],
        "payment_providers": ["pp_system_default"],
    }
    shop.place["region"] = (await shop.admin("regions", region))["region"]["id"]
    place = (await shop.admin("stock-locations", {"name": location}))["stock_location"]["id"]
    await shop.admin(f"stock-locations/{place}/sales-channels", {"add": [channel]})
    await _shipping(shop, place)
    for title in lists:
        group = (await shop.admin("customer-groups", {"name": title}))["customer_group"]["id"]
        made = await shop.admin(
            "price-lists",
            {
                "title": title,
                "description": title,
                "type": "override",
                "status": "active",
                "rules": {"customer.groups.id": [group]},
            },
        )
        shop.place[title] = made["price_list"]["id"]
        shop.place[f"group {title}"] = group


async def _key(shop: Medusa) -> str:
    """A secret key, which an administrator makes after a login."""
    token = await shop.token("user/emailpass", USER, PASSWORD)
    made = await shop._ask(
        "/admin/api-keys", {"title": "erpsyncd", "type": "secret"}, {}, {"Authorization": f"Bearer {token}"}
    )
    return str(made["api_key"]["token"])


async def _shipping(shop: Medusa, place: str) -> None:
    provider = (await shop.admin("fulfillment-providers"))["fulfillment_providers"][0]["id"]
    await shop.admin(f"stock-locations/{place}/fulfillment-providers", {"add": [provider]})
    await shop.admin(f"stock-locations/{place}/fulfillment-sets", {"name": "parcels", "type": "shipping"})
    said = await shop.admin(f"stock-locations/{place}", fields="*fulfillment_sets")
    set_ = said["stock_location"]["fulfillment_sets"][0]["id"]
    zone = {"name": "home", "geo_zones": [{"type": "country", "country_code": COUNTRY}]}
    made = await shop.admin(f"fulfillment-sets/{set_}/service-zones", zone)
    profile = (await shop.admin("shipping-profiles"))["shipping_profiles"][0]["id"]
    shop.place["profile"] = profile
    await shop.admin(
        "shipping-options",
        {
            "name": "Parcel",
            "service_zone_id": made["fulfillment_set"]["service_zones"][0]["id"],
            "shipping_profile_id": profile,
            "provider_id": provider,
            "price_type": "flat",
            "type": {"label": "Parcel", "description": "Parcel", "code": "parcel"},
            "prices": [{"currency_code": CURRENCY, "amount": 5}],
            "rules": [],
        },
    )


async def add_categories(shop: Medusa, names: Iterable[str]) -> None:
    """Categories, none below another."""
    for name in names:
        await shop.admin("product-categories", {"name": name, "is_active": True})


async def add_articles(shop: Medusa, skus: Iterable[str]) -> None:
    """Products of one variant each."""
    channel = (await shop.admin("sales-channels"))["sales_channels"][0]["id"]
    left = list(skus)
    for first in range(0, len(left), _AT_ONCE):
        create = [
            {
                "title": "to be named",
                "handle": sku.lower(),
                "status": "published",
                "sales_channels": [{"id": channel}],
                "shipping_profile_id": shop.place["profile"],
                "options": [{"title": "Kind", "values": ["one"]}],
                "variants": [
                    {"title": "one", "sku": sku, "manage_inventory": True, "options": {"Kind": "one"}, "prices": []}
                ],
            }
            for sku in left[first : first + _AT_ONCE]
        ]
        await shop.admin("products/batch", {"create": create})


async def add_customers(shop: Medusa, customers: Iterable[tuple[str, str]]) -> None:
    """Customers: the ERP's number, and the price list whose group they are in."""
    for number, title in customers:
        token = await shop.token("customer/emailpass/register", address(number), password(number))
        made = await shop.shopper("customers", {"email": address(number)}, token)
        id_ = made["customer"]["id"]
        await shop.admin(f"customers/{id_}", {"metadata": {"erp_number": number}})
        await shop.admin(f"customer-groups/{shop.place[f'group {title}']}/customers", {"add": [id_]})

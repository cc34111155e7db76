"""Every GraphQL document of the `shopify` adapter, held to the vendor's own schema, and the excerpt that the double has.

Invariant: the vendor's introspection is fetched from npm when the tests run and is not kept here; without npm these tests
are left out, with the reason.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLSchema,
    NoDeprecatedCustomRule,
    build_client_schema,
    build_schema,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_object_type,
    is_required_input_field,
    parse,
    validate,
)

from adapters.store import shopify
from adapters.store.shopify import bulk, documents, documents_content, documents_orders
from daemon.errors import StoreError
from daemon.model import Patch, Status
from tests.doubles import faults
from tests.doubles.shopify import EXCERPT, ShopifyShop
from tests.unit.test_shopify import HERE, LIST, OPTIONS, TOKEN, credit, price, settings, stock, stocked
from tests.unit.test_shopify_content import Shelf, content, gone, opened
from tests.unit.test_shopify_orders import opened as desk
from tests.unit.test_shopify_orders import order, shipment

PACKAGE = "@shopify/dev-mcp@1.16.0"
ONCE = {**os.environ, "npm_config_fetch_retries": "0"}
INSIDE = "package/dist/data/admin_2026-10.json.gz"

DOCUMENTS = {
    **{
        name: text
        for module in (documents, documents_content, documents_orders)
        for name, text in vars(module).items()
        if isinstance(text, str) and name.isupper() and not name.startswith("_")
    },
    "activate available": documents.activate(2, "available"),
    "activate on hand": documents.activate(1, "on_hand"),
    "variants": documents.variants_update(3),
    "products": documents_content.products_update(2),
    "products by": documents_content.products_by(2),
    "orders": documents_orders.orders_by_key(2),
}


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> GraphQLSchema:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed; the vendor's schema cannot be fetched")
    folder = tmp_path_factory.mktemp("shopify")
    try:
        subprocess.run(
            [npm, "pack", PACKAGE, "--silent"], cwd=folder, env=ONCE, check=True, capture_output=True, timeout=90
        )
    except (subprocess.SubprocessError, OSError):
        pytest.skip("npm cannot fetch the vendor's schema")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        packed = archive.extractfile(INSIDE)
        assert packed is not None
        said: Any = json.loads(gzip.decompress(packed.read()))
    return build_client_schema(said.get("data", said))


@pytest.fixture(scope="module")
def excerpt() -> GraphQLSchema:
    return build_schema(Path(EXCERPT).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_in_the_excerpt(excerpt: GraphQLSchema, name: str) -> None:
    assert validate(excerpt, parse(DOCUMENTS[name])) == []


def test_every_document_is_valid_in_the_vendors_schema(vendor: GraphQLSchema) -> None:
    wrong = {name: [e.message for e in validate(vendor, parse(text))] for name, text in DOCUMENTS.items()}
    assert {name: errors for name, errors in wrong.items() if errors} == {}


def test_no_document_uses_what_the_vendor_withdraws(vendor: GraphQLSchema) -> None:
    wrong = {name: validate(vendor, parse(text), [NoDeprecatedCustomRule]) for name, text in DOCUMENTS.items()}
    assert {name: errors for name, errors in wrong.items() if errors} == {}


def test_the_excerpt_says_nothing_that_the_vendor_does_not_say(vendor: GraphQLSchema, excerpt: GraphQLSchema) -> None:
    wrong: list[str] = []
    for name, ours in excerpt.type_map.items():
        theirs = vendor.type_map.get(name)
        if theirs is None or type(theirs) is not type(ours):
            wrong.append(name)
        elif is_enum_type(ours):
            wrong += [f"{name}.{value}" for value in ours.values.keys() - theirs.values.keys()]
        elif is_object_type(ours) or is_interface_type(ours) or is_input_object_type(ours):
            for field, one in ours.fields.items():
                other = theirs.fields.get(field)
                if other is None or str(one.type) != str(other.type):
                    wrong.append(f"{name}.{field}")
                    continue
                for argument, mine in getattr(one, "args", {}).items():
                    known = other.args.get(argument)
                    if known is None or str(mine.type) != str(known.type):
                        wrong.append(f"{name}.{field}({argument})")
        if theirs is not None and is_input_object_type(ours):
            needed = {n for n, f in theirs.fields.items() if is_required_input_field(f)}
            wrong += [f"{name}.{field} is needed" for field in needed - ours.fields.keys()]
    assert wrong == []


async def content_goes_through(shop: ShopifyShop) -> None:
    shelf = Shelf()
    store = await opened(shop, shelf)
    pictures = [shelf.add(b"%d" % number, alt=str(number), position=number) for number in range(12)]
    everything = {"handle": "hammer", "seo_title": "Buy", "seo_description": None, "attributes": {"a": 1}}
    here = content("C", title="Hammer", description_html="<p>", categories=["T"], images=pictures, **everything)
    there = content("C", "german", title="Hammer", description_html="<p>Stark", images=pictures)
    shop.add("C")
    shop.inject(faults.FailAfterWrite(), entity="erpsyncdFileCreate", calls=1)
    with pytest.raises(StoreError):
        await store.apply("content", [here])
    assert {o.error for o in await store.apply("content", [here, there])} == {""}
    turned = content(
        "C", title="Hammer", description_html="<p>", images=[{**one, "position": 0} for one in pictures[::-1]]
    )
    assert {o.error for o in await store.apply("content", [turned])} == {""}
    assert {o.error for o in await store.apply("content", [content("C", title="Axe", images=[])])} == {""}
    shop.add("C-2", product=shop.by_sku("C").product)
    [refused] = await store.apply("content", [content("C-2", title="Axe")])
    assert refused.status is Status.REJECTED
    assert set(await store.fetch("content", [here.id, there.id])) == {here.id, there.id}
    assert {name async for name, _ in store.scan("content")} == {here.id, there.id}
    assert {o.error for o in await store.apply("content", [gone("C"), gone("C", "german")])} == {""}
    await store.close()
    shop.product(1).texts["handle"] = shop.product(2).keys["erp", "article"] = "art"
    for by in ("handle", "erp.article"):
        store = await opened(shop, shelf, options={**OPTIONS, "product": by})
        assert {o.error for o in await store.apply("content", [content("art", title=by)])} == {""}
        assert set(await store.fetch("content", ["art|default"])) == {"art|default"}
        await store.close()
    assert (shop.product(1).texts["title"], shop.product(2).texts["title"]) == ("handle", "erp.article")


async def orders_go_through(shop: ShopifyShop) -> None:
    lines = {f"S{number:03}": 1 for number in range(40)}
    made = shop.add_order("#1001", lines)
    made.key = "SO-1"
    alone = shop.add_order("#1002", {"A": 1})
    shop.fulfil(alone, {"A": 1})
    shop.add_order("#1003", {"A": 1})
    store = await desk(shop)
    ways = [shipment(f"S-{n}", {f"S{n:03}": 1}, "sent", f"T{n}") for n in range(7)]
    patches = [
        order("1001", "shipped", *ways),
        order("1002", "shipped", shipment("S-9", {"A": 1}, "delivered", "T9")),
        order("1003", "cancelled"),
    ]
    for _ in range(2):
        assert {o.error for o in await store.apply("order_status", patches)} == {""}
    assert set(await store.fetch("order_status", [patch.id for patch in patches])) == {"1001", "1002", "1003"}
    assert {name async for name, _ in store.scan("order_status")} == {"1001", "1002", "1003"}
    gone = Patch("1001", 2, 0, None, {"order": "1001"})
    assert {o.error for o in await store.apply("order_status", [gone])} == {""}
    await store.close()
    store = await desk(shop, orders="erp.number")
    assert {o.error for o in await store.apply("order_status", [order("SO-1", "shipped")])} == {""}
    await store.close()


async def operations_go_through(shop: ShopifyShop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        shop.add(f"BULK-{number:03}")
    patches = [content(f"BULK-{number:03}", title=f"New {number}", categories=["T"]) for number in range(50)]
    store = await opened(shop, Shelf())
    shop.bulk_looks = 100
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "RUN_WITHIN", 0.1)
        assert {o.status for o in await store.apply("content", patches)} == {Status.RETRY}
    shop.bulk_looks = shop.operations[0].looks = 1
    assert {o.error for o in await store.apply("content", patches)} == {""}
    assert [operation.status for operation in shop.operations] == ["CANCELED", "COMPLETED"]
    await store.close()


async def test_what_the_adapter_does_goes_through_the_vendors_schema(
    vendor: GraphQLSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents and variables executed: types, enums and needed fields of every input are the vendor's."""
    async with ShopifyShop(token=TOKEN, schema=vendor) as shop:
        prices = shop.add_list(LIST, "EUR")
        stocked(shop, "A")
        shop.add("B")
        store = shopify.create(settings(shop.root, options=OPTIONS))
        await store.open()
        stocks = [stock("A", 9, backorder=True), stock("B", 8)]
        amounts = [
            price("A", "9.90", compare_at="12.00"),
            price("B", "3.50"),
            price("A", "8.80", "dealers", compare_at="9.00"),
            price("A", "7.70", "dealers", 10),
        ]
        for entity, patches in (("stock", stocks), ("price", amounts)):
            said = await store.apply(entity, patches)
            assert {outcome.error for outcome in said} == {""}
            assert {outcome.status for outcome in said} == {Status.OK}
            fetched = await store.fetch(entity, [patch.id for patch in patches])
            assert set(fetched) == {patch.id for patch in patches}
            assert {name async for name, _ in store.scan(entity)} >= set(fetched)
        for entity, patch in (("stock", stocks[1]), ("price", amounts[3]), ("price", amounts[2])):
            [outcome] = await store.apply(entity, [Patch(patch.id, 2, 0, None, patch.identity)])
            assert (outcome.status, outcome.error) == (Status.OK, "")
        assert (HERE in shop.by_sku("B").levels, prices) == (False, {})
        await store.close()
        for customers, kind in (
            ("company", "Company"),
            ("company_location", "CompanyLocation"),
            ("customer", "Customer"),
        ):
            shop.owners[f"gid://shopify/{kind}/9"] = "c@x.example"
            store = shopify.create(settings(shop.root, options={**OPTIONS, "customers": customers}))
            await store.open()
            patch = credit("c@x.example")
            for one in (patch, patch, Patch(patch.id, 2, 0, None, patch.identity)):
                [outcome] = await store.apply("credit", [one])
                assert (outcome.status, outcome.error) == (Status.OK, "")
            await store.close()
        await content_goes_through(shop)
        await orders_go_through(shop)
        await operations_go_through(shop, monkeypatch)
        used = {*shop.documents, *(operation.query.split("(")[0].split()[1] for operation in shop.operations)}
        assert shop.dear == {"erpsyncdListRead"}, "no other query costs more than a query may"
    named = [re.match(r"\w+ (\w+)", text) for text in DOCUMENTS.values()]
    assert {re.sub(r"[0-9]+$", "", name) for name in used} == {
        re.sub(r"[0-9]+$", "", match[1]) for match in named if match is not None
    }, "a document was never executed"

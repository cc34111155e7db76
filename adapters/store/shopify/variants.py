"""Writes to variants: prices and the leave to sell below zero, product by product, several products in one call.

Invariant: a variant counts as written only when the answer names it and shows the value that was sent. No two calls write
one product at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store.shopify import documents
from adapters.store.shopify.articles import Article, Articles, gid, parts
from adapters.store.shopify.client import Client
from adapters.store.shopify.results import LEFT_OUT, Results, faults_of
from daemon.model import Patch

PRODUCTS: Final = 10
"""Products in one call; each is a mutation of its own in it."""
VARIANTS: Final = 250
"""Rows of one input array; the API takes no more."""


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant to be changed. `values` are fields of ProductVariantsBulkInput."""

    patch: Patch
    article: Article
    values: Mapping[str, Any]


Check = Callable[[VariantRow, Mapping[str, Any]], str]
"""Why what the shop shows of the variant is not what was sent; empty when it is."""


def by_product(rows: Sequence[VariantRow]) -> list[tuple[str, list[VariantRow]]]:
    """Rows by product, products and variants in the order of their numbers, no list longer than an input array."""
    groups: dict[str, list[VariantRow]] = {}
    for row in sorted(rows, key=lambda row: (int(row.article.product), int(row.article.variant))):
        groups.setdefault(row.article.product, []).append(row)
    return [(product, list(some)) for product, those in groups.items() for some in parts(those, VARIANTS)]


def inputs(rows: Sequence[VariantRow]) -> list[dict[str, Any]]:
    return [{"id": gid("ProductVariant", row.article.variant), **row.values} for row in rows]


def read_payload(payload: Any, rows: Sequence[VariantRow], results: Results, check: Check) -> None:
    """What one productVariantsBulkUpdate says of its rows. A row that it leaves out is not acknowledged."""
    if not isinstance(payload, dict):
        payload = {}
    faults = faults_of(payload, "variants")
    refused: set[int] = set()
    for fault in faults:
        at = range(len(rows)) if fault.index is None else [fault.index]
        for index in at:
            if index < len(rows):
                refused.add(index)
                results.refuse(rows[index].patch, fault.message)
    shown = {variant["id"]: variant for variant in payload.get("productVariants") or () if variant}
    for index, row in enumerate(rows):
        variant = shown.get(gid("ProductVariant", row.article.variant))
        if index in refused:
            continue
        if variant is None:
            results.later(row.patch, "not in the answer", LEFT_OUT)
        elif why := check(row, variant):
            results.refuse(row.patch, why)
        else:
            results.ok(row.patch)


async def update(
    client: Client, articles: Articles, rows: Sequence[VariantRow], results: Results, check: Check
) -> None:
    """Change variants; raises StoreError when a whole call fails."""
    for some in parts(by_product(rows), PRODUCTS):
        variables: dict[str, Any] = {}
        for n, (product, those) in enumerate(some):
            variables |= {f"p{n}": gid("Product", product), f"v{n}": inputs(those)}
        async with articles.alone(product for product, _ in some):
            data, failed = await client.parts(documents.variants_update(len(some)), variables)
        for n, (_, those) in enumerate(some):
            if error := failed.get(f"r{n}"):
                for row in those:
                    results.failed(row.patch, error)
            else:
                read_payload(data.get(f"r{n}"), those, results, check)

"""SKU to the shop's ids of variant, product and inventory item: learnt in bulk, kept in the memory, checked when used.

Invariant: a SKU stands for a variant only when exactly one shows that SKU now, character by character. An id that is gone
or shows another SKU is forgotten and learnt again, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from adapters.store.loan import Memory
from adapters.store.shopify import documents
from adapters.store.shopify.client import Client, Json

NODES: Final = 100
"""Nodes of one read; five points each stay below what one query may cost."""
SEARCHED: Final = 40
"""SKUs of one search."""
_KIND: Final = "variant"


def gid(kind: str, number: str) -> str:
    return f"gid://shopify/{kind}/{number}"


def number_of(id_: str) -> str:
    """The digits of `gid://shopify/Kind/digits`."""
    return id_.rpartition("/")[2]


def term(field: str, value: str) -> str:
    """One term of Shopify's search that means this value and no other."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{field}:"{quoted}"'


def parts(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@dataclass(frozen=True, slots=True)
class Article:
    """The numbers of what one SKU names in the shop."""

    variant: str
    product: str
    item: str


class Articles:
    """The SKUs of one shop."""

    def __init__(self, client: Client, memory: Memory) -> None:
        self._client = client
        self._memory = memory
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def in_background(self) -> Articles:
        """The same SKUs, memory and locks; calls leave half of the shop's points to the others."""
        made = copy.copy(self)
        made._client = self._client.in_background()
        return made

    async def find(self, skus: Iterable[str], *, background: bool = False) -> tuple[dict[str, Article], dict[str, str]]:
        """The articles of these SKUs, and why there is none for the others."""
        wanted = sorted(set(skus))
        known = await self._memory.get(_KIND, wanted)
        found = {sku: Article(*value.split(" ")) for sku, value in known.items() if value.count(" ") == 2}
        lacking = [sku for sku in wanted if sku not in found]
        refused: dict[str, str] = {}
        if lacking:
            shown = await self._search(lacking, background)
            for sku in lacking:
                those = shown.get(sku, [])
                if len(those) == 1:
                    found[sku] = those[0]
                elif those:
                    refused[sku] = f"{len(those)} variants of the shop have the SKU {sku}; it must be one"
                else:
                    refused[sku] = f"the shop has no variant with the SKU {sku}"
            self.remember({sku: found[sku] for sku in lacking if sku in found})
        return found, refused

    async def read(
        self,
        skus: Iterable[str],
        document: str,
        variables: Mapping[str, Any],
        *,
        background: bool = False,
        size: int = NODES,
    ) -> tuple[dict[str, tuple[Article, Json]], dict[str, str]]:
        """The articles with what the document reads of their variants (`nodes`, at least `id sku`), or why there is none.
        `size`: variants of one call."""
        found, refused = await self.find(skus, background=background)
        read: dict[str, tuple[Article, Json]] = {}
        for last in (False, True):
            lacking = sorted(found.keys() - read.keys())
            nodes = await self.nodes(
                [gid("ProductVariant", found[sku].variant) for sku in lacking], document, variables, size=size
            )
            read |= {
                sku: (found[sku], node)
                for sku, node in zip(lacking, nodes, strict=True)
                if node is not None and node.get("sku") == sku
            }
            moved = sorted(found.keys() - read.keys())
            if not moved:
                break
            self._memory.forget(_KIND, moved)
            for sku in moved:
                del found[sku]
            if last:
                refused |= dict.fromkeys(moved, "the shop's search still shows a variant that has another SKU by now")
            else:
                more, none = await self.find(moved, background=background)
                found |= more
                refused |= none
        return read, refused

    async def nodes(
        self,
        ids: Sequence[str],
        document: str,
        variables: Mapping[str, Any],
        *,
        background: bool = False,
        size: int = NODES,
    ) -> list[Json | None]:
        """What a document reads of `nodes(ids: $ids)`, in the order of the ids; None for one that is not there."""
        found: list[Json | None] = []
        for some in parts(ids, size):
            data = await self._client.run(document, {**variables, "ids": list(some)}, background=background)
            nodes = self._client.shape(data.get("nodes"), list, 'a list "nodes"')
            if len(nodes) != len(some):
                raise self._client.transport.wrong_shape("one node for each id")
            found += [node if isinstance(node, dict) and node else None for node in nodes]
        return found

    async def _search(self, skus: Sequence[str], background: bool) -> dict[str, list[Article]]:
        shown: dict[str, list[Article]] = {}
        for some in parts(skus, SEARCHED):
            query = " OR ".join(term("sku", sku) for sku in some)
            async for node in self.pages(documents.VARIANTS_FIND, "productVariants", query, background=background):
                shown.setdefault(node["sku"] or "", []).append(article_of(node))
        return shown

    async def pages(
        self,
        document: str,
        field: str,
        query: str | None,
        more: Mapping[str, Any] | None = None,
        *,
        background: bool = False,
        size: int = 100,
    ) -> AsyncIterator[Json]:
        """Every node of a connection that the document reads with `$query`, `$first` and `$after`."""
        after = None
        while True:
            variables = {**(more or {}), "query": query, "first": size, "after": after}
            data = await self._client.run(document, variables, background=background)
            connection = self._client.shape(data.get(field), dict, f'an object "{field}"')
            for node in connection["nodes"]:
                yield node
            if not connection["pageInfo"]["hasNextPage"]:
                return
            after = connection["pageInfo"]["endCursor"]

    def above(self, last: str, nodes: Sequence[Json]) -> str:
        """The number from which the next page of a reading by id goes on. Raises StoreError where it would not grow."""
        newest = number_of(str(nodes[-1]["id"]))
        if not newest.isdigit() or int(newest) <= int(last):
            raise self._client.transport.wrong_shape("ids that grow from page to page")
        return newest

    def remember(self, found: Mapping[str, Article]) -> None:
        """Keep these SKUs' ids over restarts."""
        if found:
            self._memory.put(_KIND, {sku: f"{a.variant} {a.product} {a.item}" for sku, a in found.items()})

    def forget(self, skus: Iterable[str]) -> None:
        """Learn these SKUs anew when they are needed next."""
        self._memory.forget(_KIND, skus)

    @contextlib.asynccontextmanager
    async def alone(self, products: Iterable[str]) -> AsyncIterator[None]:
        """Nobody else writes these products meanwhile, whatever the entity."""
        async with contextlib.AsyncExitStack() as held:
            for product in sorted(set(products)):
                lock = self._locks.get(product)
                if lock is None:
                    lock = self._locks[product] = asyncio.Lock()
                await held.enter_async_context(lock)
            yield


def article_of(node: Json) -> Article:
    """From a variant with `id product { id } inventoryItem { id }`."""
    return Article(number_of(node["id"]), number_of(node["product"]["id"]), number_of(node["inventoryItem"]["id"]))

"""Which order of the shop is the ERP's: by its name, its id or a unique metafield, with all of its fulfilments.

Invariant: a name stands for an order only when exactly one has it, character by character, behind the `#` that the shop puts
before it; an id that was remembered is proved by the order's name each time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from adapters.store.loan import Memory
from adapters.store.shopify import documents_orders as orders
from adapters.store.shopify.articles import Articles, gid, parts, term
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.options import Options

READ: Final = 30
"""Orders of one read, with their first fulfilments."""
SEARCHED: Final = 20
_MOST: Final = 200
"""Fulfilments of one order that can be read."""
_KIND: Final = "order"


class Finder:
    """The orders of one shop."""

    def __init__(self, client: Client, articles: Articles, options: Options, memory: Memory) -> None:
        self._client = client
        self._nodes = articles
        self._options = options
        self._memory = memory

    async def read(self, names: Iterable[str]) -> tuple[dict[str, Json], dict[str, str]]:
        """The orders with all of their fulfilments, and why there is none for the other names."""
        wanted = sorted(set(names))
        ids, refused = await self._ids(wanted)
        nodes = await self._whole(ids)
        moved = [name for name in ids if name not in nodes]
        if moved:  # an id that was remembered and is another order's now
            self._memory.forget(_KIND, moved)
            again, more = await self._ids(moved)
            nodes |= await self._whole(again)
            refused |= more | {name: self._unknown(name) for name in again if name not in nodes}
        return nodes, refused

    async def _whole(self, ids: Mapping[str, str]) -> dict[str, Json]:
        namespace = {"namespace": self._options.namespace}
        nodes = await self._nodes.nodes(list(ids.values()), orders.ORDERS_READ, namespace, size=READ)
        found = {name: node for name, node in zip(ids, nodes, strict=True) if node is not None}
        found = {name: node for name, node in found.items() if self._is(node, name)}
        for node in found.values():
            await self.all_of(node)
        return found

    async def all_of(self, node: Json) -> None:
        if (node["fulfillmentsCount"] or {"count": 0})["count"] > len(node["fulfillments"]):
            data = await self._client.run(orders.FULFILMENTS, {"order": node["id"], "first": _MOST})
            node["fulfillments"] = (data.get("order") or {"fulfillments": []})["fulfillments"]

    async def _ids(self, names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        prefix, bare = self._options.order_prefix, {}
        refused: dict[str, str] = {}
        for name in names:
            if name.startswith(prefix) and name != prefix:
                bare[name] = name.removeprefix(prefix)
            else:
                refused[name] = f"the order {name} does not begin with {prefix}; see options.order_prefix"
        match self._options.orders:
            case "name":
                found = await self._by_name(bare, refused)
            case "id":
                found = {name: gid("Order", each) for name, each in bare.items() if each.isdecimal()}
            case _:
                found = await self._by_key(bare)
        refused |= {name: self._unknown(name) for name in bare if name not in found and name not in refused}
        return found, refused

    def _unknown(self, name: str) -> str:
        return f"the shop has no order {name}, or does not show it: those older than 60 days need read_all_orders"

    async def _by_name(self, bare: Mapping[str, str], refused: dict[str, str]) -> dict[str, str]:
        found = dict(await self._memory.get(_KIND, bare))
        for some in parts([name for name in bare if name not in found], SEARCHED):
            shown: dict[str, list[str]] = {name: [] for name in some}
            query = " OR ".join(term("name", bare[name]) for name in some)
            async for node in self._nodes.pages(orders.ORDERS_FIND, "orders", query):
                for name in some:
                    if self._is(node, name):
                        shown[name].append(node["id"])
            for name, those in shown.items():
                if len(those) == 1:
                    found[name] = those[0]
                    self._memory.put(_KIND, {name: those[0]})
                elif those:
                    refused[name] = f"the shop has {len(those)} orders with the name {bare[name]}; it must be one"
        return found

    async def _by_key(self, bare: Mapping[str, str]) -> dict[str, str]:
        space, _, key = self._options.orders.partition(".")
        found: dict[str, str] = {}
        for some in parts(sorted(bare), SEARCHED):
            variables = {"space": space, "key": key, **{f"v{n}": bare[name] for n, name in enumerate(some)}}
            data = await self._client.run(orders.orders_by_key(len(some)), variables)
            found |= {name: data[f"r{n}"]["id"] for n, name in enumerate(some) if data.get(f"r{n}")}
        return found

    def _is(self, node: Mapping[str, Any], name: str) -> bool:
        bare = name.removeprefix(self._options.order_prefix)
        return self._options.orders != "name" or node["name"] in (bare, f"#{bare}")

    async def everything(self) -> AsyncIterator[Json]:
        """All orders that something of ours stands on, by id: each page asks for those above the last one."""
        last = "0"
        while True:
            variables = {"query": f"id:>{last}", "first": READ, "after": None, "namespace": self._options.namespace}
            data = await self._client.run(orders.ORDERS_SCAN, variables, background=True)
            connection = self._client.shape(data.get("orders"), dict, "orders")
            for node in connection["nodes"]:
                if node["said"] is not None:
                    await self.all_of(node)
                    yield node
            if not connection["nodes"] or not connection["pageInfo"]["hasNextPage"]:
                return
            last = self._nodes.above(last, connection["nodes"])

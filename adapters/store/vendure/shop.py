"""What an adapter has to know of a Vendure before it writes: channels, stock locations, custom fields, variants by SKU.

Invariant: a SKU is looked up before each write, so an id never outlives a rename; one that two variants share is nobody's.
What the shop's set-up says is at most a minute old.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store.singly import singly
from adapters.store.vendure.setting import Setting
from adapters.store.vendure.values import in_order
from adapters.store.vendure.wire import MISFIT, Wire
from daemon.errors import Retry, StoreError
from daemon.model import Outcome, Patch, Status

PAGE: Final = 1000
"""Most entries of a list that Vendure gives by default."""
NAMES: Final = 100
NAME_BYTES: Final = 60_000
_FRESH_S: Final = 60.0

_SETUP: Final = """query Setup {
  activeChannel { id code defaultLanguageCode defaultCurrencyCode pricesIncludeTax }
  stockLocations(options: { take: 1000 }) { items { id name } }
  globalSettings { serverConfig { moneyStrategyPrecision
    entityCustomFields { entityName customFields { __typename ... on CustomField { name type list } } } } } }"""
_SKUS: Final = """query Skus($skip: Int!, $take: Int!) {
  productVariants(options: { skip: $skip, take: $take, sort: { id: ASC } }) { items { id sku } totalItems } }"""


@dataclass(frozen=True, slots=True)
class Setup:
    """One channel's view of the shop."""

    language: str
    currency: str
    tax_included: bool
    digits: int
    """Decimals of the shop's money."""
    locations: Mapping[str, str]
    """Name of a stock location -> id."""
    fields: Mapping[str, Mapping[str, str]]
    """Entity of Vendure's -> custom field -> type."""


class Refused(Exception):
    """A document that is not written, alone; the text says why."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Shop:
    """The shop as the adapter's parts ask for it."""

    def __init__(self, wire: Wire, setting: Setting) -> None:
        self.wire = wire
        self.setting = setting
        self.levels = asyncio.Lock()
        """Held while a call changes stock levels: Vendure reads and then writes them, and of two at once one is lost (seen)."""
        self._setups: dict[str, tuple[float, Setup]] = {}

    async def setup(self, channel: str | None = None) -> Setup:
        """The set-up that a channel sees. Raises StoreError, with E-STORE-MISFIT for a channel that is not there."""
        token = self.setting.channel if channel is None else channel
        now = asyncio.get_running_loop().time()
        known = self._setups.get(token)
        if known is not None and now - known[0] < _FRESH_S:
            return known[1]
        setup = self._setup(await self.wire.ask(_SETUP, channel=token))
        self._setups[token] = now, setup
        return setup

    def forget(self) -> None:
        """Ask for the set-up anew next time."""
        self._setups.clear()

    def _setup(self, data: Mapping[str, Any]) -> Setup:
        part = self.wire.part
        channel = part(data, "activeChannel", dict)
        config = part(part(data, "globalSettings", dict), "serverConfig", dict)
        fields: dict[str, dict[str, str]] = {}
        for entity in part(config, "entityCustomFields", list):
            found = {field["name"]: "list" if field.get("list") else field["type"] for field in entity["customFields"]}
            fields[entity["entityName"]] = found
        locations: dict[str, str] = {}
        for location in part(part(data, "stockLocations", dict), "items", list):
            name = part(location, "name", str)
            locations[name] = "" if name in locations else part(location, "id", str)  # two of a name: neither
        return Setup(
            language=part(channel, "defaultLanguageCode", str),
            currency=part(channel, "defaultCurrencyCode", str),
            tax_included=part(channel, "pricesIncludeTax", bool),
            digits=part(config, "moneyStrategyPrecision", int),
            locations=locations,
            fields=fields,
        )

    def field_type(self, setup: Setup, entity: str, name: str) -> str:
        """The type of a custom field. Raises StoreError when the shop has no such field."""
        kind = setup.fields.get(entity, {}).get(name)
        if kind is None:
            hint = f"Declare it in the shop's customFields.{entity}, or correct the options."
            raise self.misfit(f"has no custom field {name} on {entity}", hint)
        return kind

    def note_field(self, setup: Setup, entity: str, name: str) -> None:
        """Raises StoreError when the shop has no such custom field, or one that does not hold a long text."""
        kind = self.field_type(setup, entity, name)
        if kind != "text":
            hint = 'Declare it with type "text"; erpsyncd keeps JSON in it.'
            raise self.misfit(f"has a custom field {name} on {entity} of type {kind}", hint)

    def misfit(self, text: str, hint: str) -> StoreError:
        """The error for options that name what the shop does not have."""
        return self.wire.transport.error(MISFIT, Retry.OPERATOR, text, hint)

    def refuse(self, name: str, text: str, code: str) -> Outcome:
        """The outcome of a document that is not written."""
        return Outcome(name, Status.REJECTED, self.wire.transport.quote(text), code)

    async def singly(
        self, patches: Sequence[Patch], write: Callable[[Patch], Awaitable[Outcome | None]]
    ) -> list[Outcome]:
        """One after the other, where each document takes calls of its own. `write` raises Refused for its document alone.
        Raises StoreError while nothing was written; after that what is left comes again."""

        def refused(patch: Patch, error: Refused) -> Outcome:
            return self.refuse(patch.id, str(error), error.code)

        def alone(patch: Patch, error: StoreError) -> Outcome | None:
            if error.retry is not Retry.NEVER:
                return None
            return Outcome(patch.id, Status.REJECTED, error.message, error.code)

        return await singly(sorted(patches, key=lambda patch: patch.id), write, Refused, refused, alone)

    async def variants(self, skus: Iterable[str], selection: str, channel: str) -> dict[str, list[Mapping[str, Any]]]:
        """The variants of each SKU that a channel has: none, one, or too many."""
        query = f"""query Variants($skus: [String!]!, $take: Int!) {{
          productVariants(options: {{ take: $take, filter: {{ sku: {{ in: $skus }} }} }}) {{
            totalItems items {{ id sku {selection} }} }} }}"""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for some in portions(skus):
            wanted = set(some)
            for item in await self.items(query, {"skus": some, "take": PAGE}, "productVariants", channel):
                sku = self.wire.part(item, "sku", str)
                if sku in wanted:  # a database may compare without regard to case
                    found.setdefault(sku, []).append(item)
        return found

    async def items(
        self, query: str, variables: Mapping[str, Any], name: str, channel: str
    ) -> Sequence[Mapping[str, Any]]:
        """The entries of one page."""
        part = self.wire.part
        page: Sequence[Mapping[str, Any]] = part(
            part(await self.wire.ask(query, variables, channel), name, dict), "items", list
        )
        return page

    def only(self, sku: str, found: Mapping[str, list[Mapping[str, Any]]], channel: str) -> Mapping[str, Any] | str:
        """The one variant of a SKU, or why there is none."""
        variants = found.get(sku, [])
        if len(variants) == 1:
            return variants[0]
        where = f" in the channel {channel}" if channel else ""
        if not variants:
            return f"the shop has no variant with the SKU {sku}{where}"
        ids = ", ".join(sorted(str(variant["id"]) for variant in variants))
        return f"the SKU {sku} is on {len(variants)} variants{where} (ids {ids}); which one is meant?"

    async def skus(self, channel: str, size: int) -> AsyncIterator[list[str]]:
        """All SKUs of a channel in portions, ordered so that the ids of their documents grow."""
        names: list[str] = []
        skip = 0
        while True:
            page = await self.items(_SKUS, {"skip": skip, "take": PAGE}, "productVariants", channel)
            names += [self.wire.part(item, "sku", str) for item in page]
            skip += len(page)
            if len(page) < PAGE:
                break
        for some in in_order(filter(None, names), size):
            yield some


def portions(names: Iterable[str]) -> list[list[str]]:
    """Names in parts that fit into one request."""
    parts: list[list[str]] = []
    size = 0
    for name in dict.fromkeys(names):
        length = len(name.encode()) + 4
        if not parts or len(parts[-1]) >= NAMES or size + length > NAME_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += length
    return parts

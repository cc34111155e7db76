"""Credit in Medusa: one metadata of the customer, which a checkout or a theme of the shop can honour.

Invariant: the metadata holds the whole document, with the ERP's digits; no other metadata is touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from adapters.store.loan import Memory
from adapters.store.medusa.api import Record
from adapters.store.medusa.finder import Finder, metadata
from adapters.store.medusa.setting import Setting
from adapters.store.medusa.shop import Shop
from adapters.store.medusa.single import each_alone
from adapters.store.medusa.values import Refused
from daemon.drift import same
from daemon.model import Fields, Outcome, Patch


class Credit:
    """Credit documents, `customer`."""

    def __init__(self, shop: Shop, setting: Setting, memory: Memory) -> None:
        self._api = shop.api
        self._key = f"{setting.prefix}credit"
        fields = "email,company_name,has_account"
        self._customers = Finder(shop.api, memory, path="customers", fields=fields, by=setting.customer)

    async def check(self) -> None:
        """Nothing that the options name has to be in the shop."""

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write the metadata of each customer."""
        found = await self._customers.find(str(patch.identity["customer"]) for patch in patches)

        async def write(patch: Patch) -> None:
            customer = self._customers.only(str(patch.identity["customer"]), found)
            # an empty text is how Medusa removes a key
            value: Any = dict(patch.fields) if patch.fields is not None else ""
            answer = await self._api.post(
                f"customers/{customer['id']}", {"metadata": {self._key: value}}, "id,metadata"
            )
            record = answer.get("customer")
            if not isinstance(record, dict) or record.get("id") != customer["id"]:
                raise self._api.transport.wrong_shape("the customer that was written")
            if not same(metadata(record).get(self._key), value or None):
                raise Refused(f"the shop took the call and does not show the metadata {self._key}")

        return await each_alone(patches, write)

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Metadata as documents."""
        found = await self._customers.find(ids)
        shown: dict[str, Fields] = {}
        for id_ in ids:
            try:
                shown |= self._document(id_, self._customers.only(id_, found))
            except Refused:
                continue
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All customers that have the metadata."""
        shown: dict[str, Fields] = {}
        async for customer in self._customers.everything():
            if name := self._customers.name(customer):
                held = metadata(customer).get(self._key)
                spelt = str(held.get("customer") or "") if isinstance(held, dict) else ""
                shown |= self._document(spelt if spelt.lower() == name.lower() else name, customer)
        for id_ in sorted(shown):
            yield id_, shown[id_]

    def _document(self, name: str, customer: Record) -> dict[str, Fields]:
        held = metadata(customer).get(self._key)
        return {name: {**held, "customer": name}} if isinstance(held, dict) else {}

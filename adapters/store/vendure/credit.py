"""Credit in Vendure: custom fields of the customer, which a checkout or a price strategy of the shop can honour.

Invariant: each value of a document lies in a field that the options name, exact, or the document is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from adapters.store.vendure.setting import Setting
from adapters.store.vendure.shop import PAGE, Setup, Shop, portions
from adapters.store.vendure.values import Unfit, from_field, homeless, to_field
from adapters.store.vendure.wire import UNMAPPED, UNSENDABLE
from daemon.model import Fields, Outcome, Patch, Status

_MONEY: Final = ("limit", "balance", "available")
_EMAIL: Final = "emailAddress"


class Credit:
    """Credit documents, `customer`."""

    def __init__(self, shop: Shop, setting: Setting) -> None:
        self._shop = shop
        self._setting = setting
        own = set(setting.credit.values()) | ({setting.customer} - {_EMAIL})
        self._selection = f"id emailAddress customFields {{ {' '.join(sorted(own))} }}"
        self._places = " ".join(sorted(setting.credit.values()))

    async def check(self) -> None:
        """Raises StoreError when the shop lacks a custom field of the options."""
        setup = await self._shop.setup()
        if self._setting.customer != _EMAIL:
            self._shop.field_type(setup, "Customer", self._setting.customer)
        for name in self._setting.credit.values():
            self._shop.field_type(setup, "Customer", name)

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Write the fields of each customer."""
        shop = self._shop
        setup = await shop.setup()
        found = await self._customers([str(patch.identity["customer"]) for patch in patches])
        outcomes: list[Outcome] = []
        inputs: dict[str, Mapping[str, Any]] = {}
        for patch in sorted(patches, key=lambda patch: patch.id):
            customer = self._only(str(patch.identity["customer"]), found)
            if isinstance(customer, str):
                outcomes.append(shop.refuse(patch.id, customer, UNMAPPED))
                continue
            try:
                inputs[patch.id] = {"id": customer["id"], "customFields": self._input(setup, patch)}
            except Unfit as unfit:
                outcomes.append(shop.refuse(patch.id, str(unfit), UNSENDABLE))
        if inputs:
            selection = "__typename ... on Customer { id } ... on ErrorResult { errorCode message }"
            good, failed = await shop.wire.each(
                "updateCustomer", "UpdateCustomerInput!", selection, inputs, self._setting.channel
            )
            outcomes += [*failed, *(Outcome(name, Status.OK) for name in good)]
        return outcomes

    def _input(self, setup: Setup, patch: Patch) -> dict[str, Any]:
        """Custom fields. Raises Unfit."""
        places = self._setting.credit
        if patch.fields is None:
            return dict.fromkeys(places.values())
        if complaint := homeless(patch, ("customer", *places), "name a custom field in options.credit or leave it out"):
            raise Unfit(complaint)
        return {
            place: to_field(
                patch.fields[name],
                name,
                self._shop.field_type(setup, "Customer", place),
                setup.digits if name in _MONEY else None,
            )
            for name, place in places.items()
            if name in patch.fields
        }

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Custom fields as documents."""
        setup = await self._shop.setup()
        found = await self._customers(ids)
        shown: dict[str, Fields] = {}
        for id_ in ids:
            customer = self._only(id_, found)
            if not isinstance(customer, str) and (fields := self._document(setup, id_, customer)):
                shown[id_] = fields
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All customers that have a value in one of the fields."""
        shop = self._shop
        query = f"""query Customers($skip: Int!, $take: Int!) {{
          customers(options: {{ skip: $skip, take: $take, sort: {{ id: ASC }} }}) {{ items {{ {self._selection} }} }} }}"""
        names: list[str] = []
        skip = 0
        while True:
            variables = {"skip": skip, "take": PAGE}
            page = await shop.items(query, variables, "customers", self._setting.channel)
            names += [name for customer in page if (name := self._name(customer))]
            skip += len(page)
            if len(page) < PAGE:
                break
        names = sorted(set(names))
        for start in range(0, len(names), 100):
            shown = await self.fetch(names[start : start + 100])
            for id_ in sorted(shown):
                yield id_, shown[id_]

    def _document(self, setup: Setup, name: str, customer: Mapping[str, Any]) -> Fields | None:
        held = customer.get("customFields") or {}
        if all(held.get(place) is None for place in self._setting.credit.values()):
            return None
        fields: dict[str, Any] = {"customer": name}
        for field, place in self._setting.credit.items():
            kind = self._shop.field_type(setup, "Customer", place)
            fields[field] = from_field(held.get(place), kind, setup.digits if field in _MONEY else None)
        return fields

    async def _customers(self, names: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
        field = self._setting.customer
        query = f"""query Customers($names: [String!]!, $take: Int!) {{
          customers(options: {{ take: $take, filter: {{ {field}: {{ in: $names }} }} }}) {{
            items {{ {self._selection} }} }} }}"""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for some in portions(map(self._spelt, names)):
            page = await self._shop.items(query, {"names": some, "take": PAGE}, "customers", self._setting.channel)
            for customer in page:
                found.setdefault(self._name(customer), []).append(customer)
        return found

    def _name(self, customer: Mapping[str, Any]) -> str:
        if self._setting.customer == _EMAIL:
            return str(customer.get(_EMAIL) or "")
        return str((customer.get("customFields") or {}).get(self._setting.customer) or "")

    def _spelt(self, name: str) -> str:
        """Vendure keeps addresses in lower case."""
        return name.lower() if self._setting.customer == _EMAIL else name

    def _only(self, name: str, found: Mapping[str, list[Mapping[str, Any]]]) -> Mapping[str, Any] | str:
        customers = found.get(self._spelt(name), [])
        if len(customers) == 1:
            return customers[0]
        if not customers:
            return f"the shop has no customer with {self._setting.customer} {name}"
        return f"{len(customers)} customers of the shop have {self._setting.customer} {name}; which one is meant?"

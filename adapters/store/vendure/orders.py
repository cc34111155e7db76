"""Order status in Vendure: fulfilments that take an order to Shipped and Delivered, its cancellation, and the ERP's own words.

Invariant: an order is read, brought on step by step, and read again; only when it then shows what the ERP says is that noted
in its custom field, and only the note's own answer makes it ok. A step that was taken and not answered is found by the next
reading. Nothing is remembered here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from adapters.store.vendure.setting import CANCELLED, Setting
from adapters.store.vendure.shipping import CHANGING, Order, Shipment, Shipping, Steps, way
from adapters.store.vendure.shop import Refused, Shop, portions
from adapters.store.vendure.values import Unfit, Unmapped, note
from adapters.store.vendure.wire import LEFT_OUT, REJECTED, UNMAPPED, UNSENDABLE
from daemon.model import Fields, Outcome, Patch, Status

_SCANNED: Final = 500
_FETCHED: Final = 50
_ERROR: Final = "... on ErrorResult { errorCode message }"
_MAKE: Final = f"""mutation Make($input: FulfillOrderInput!) {{ addFulfillmentToOrder(input: $input) {{
  __typename ... on Fulfillment {{ id state method }} {_ERROR}
  ... on CreateFulfillmentError {{ fulfillmentHandlerError }}
  ... on FulfillmentStateTransitionError {{ transitionError }} }} }}"""
_MOVE: Final = f"""mutation Move($id: ID!, $state: String!) {{ transitionFulfillmentToState(id: $id, state: $state) {{
  __typename ... on Fulfillment {{ id state }} {_ERROR} ... on FulfillmentStateTransitionError {{ transitionError }} }} }}"""
_CANCEL: Final = f"""mutation Cancel($input: CancelOrderInput!) {{ cancelOrder(input: $input) {{
  __typename ... on Order {{ id state }} {_ERROR} ... on OrderStateTransitionError {{ transitionError }} }} }}"""
_HANDLERS: Final = "query Handlers { fulfillmentHandlers { code args { name } } }"
_ARGUMENTS: Final = frozenset({"method", "trackingCode"})
_OVERTAKEN: Final = ("ITEMS_ALREADY_FULFILLED_ERROR", "ORDER_MODIFICATION_STATE_ERROR")


class Orders:
    """Order documents, `order`."""

    def __init__(self, shop: Shop, setting: Setting) -> None:
        self._shop = shop
        self._setting = setting
        self._shipping = Shipping(setting)
        own = {setting.order_note} | ({setting.order} - {"code"})
        self._fields = f"customFields {{ {' '.join(sorted(own))} }}"
        self._selection = f"""id code state {self._fields}
          lines {{ id quantity productVariant {{ sku }} }}
          fulfillments {{ id state method trackingCode lines {{ orderLineId quantity }} }}"""

    async def check(self) -> None:
        """Raises StoreError when the shop lacks a custom field or the fulfilment handler of the options."""
        shop, setting = self._shop, self._setting
        setup = await shop.setup()
        shop.note_field(setup, "Order", setting.order_note)
        if setting.order != "code":
            shop.field_type(setup, "Order", setting.order)
        handlers = shop.wire.part(await shop.wire.ask(_HANDLERS, channel=setting.channel), "fulfillmentHandlers", list)
        found = {one["code"]: {arg["name"] for arg in one["args"]} for one in handlers}
        if not found.get(setting.handler, set()) >= _ARGUMENTS:
            hint = f"It has: {', '.join(sorted(found))}. Correct options.fulfilment_handler."
            what = f"has no fulfilment handler {setting.handler} with the arguments method and trackingCode"
            raise shop.misfit(what, hint)

    async def apply(self, patches: Sequence[Patch]) -> list[Outcome]:
        """Bring each order to what its patch says, one after the other."""
        found = await self._orders([str(patch.identity["order"]) for patch in patches])

        async def write(patch: Patch) -> Outcome | None:
            name = str(patch.identity["order"])
            try:
                await self._write(name, self._only(name, found), patch.fields)
            except _Later as later:
                return Outcome(patch.id, Status.RETRY, str(later), LEFT_OUT)
            return None

        return await self._shop.singly(patches, write)

    async def _write(self, name: str, order: Order, fields: Fields | None) -> None:
        """Raises Refused, _Later and StoreError."""
        if fields is None:
            await self._note(order, None)
            return
        try:
            word = self._shipping.word(name, fields)
        except Unfit as unfit:
            raise Refused(str(unfit), UNMAPPED if isinstance(unfit, Unmapped) else UNSENDABLE) from None
        if order["state"] in CHANGING:
            raise _Later(f"the order is {order['state']} in the shop: somebody is at work on it")
        try:
            steps = self._shipping.steps(order, word)
        except Unfit as unfit:
            raise Refused(str(unfit), REJECTED) from None
        if steps != Steps():
            async with self._shop.levels:
                await self._take(order, steps)
            order = self._only(name, await self._orders([name]))
        if missed := self._shipping.missed(order, word):
            raise Refused(missed, REJECTED)
        await self._note(order, note({key: value for key, value in fields.items() if key != "order"}))

    async def _take(self, order: Order, steps: Steps) -> None:
        """Raises Refused or _Later at the first step that the shop does not take."""
        if steps.cancel:
            given = {"orderId": order["id"], "cancelShipping": True, "reason": "cancelled in the ERP"}
            await self._step(_CANCEL, {"input": given}, "cancelOrder")
        for fulfilment in steps.drop:
            await self._move(fulfilment, CANCELLED)
        for fulfilment, state in steps.move:
            await self._move(fulfilment, state)
        for shipment, lines in steps.make:
            made = await self._step(_MAKE, {"input": self._input(shipment, lines)}, "addFulfillmentToOrder")
            if made.get("method") != shipment.method:
                handler = self._setting.handler
                text = f"the handler {handler} made fulfilment {made['id']} without our mark in its method; cancel it"
                raise Refused(f"{text} in the shop and name another in options.fulfilment_handler", REJECTED)
            for state in way(str(made["state"]), shipment.state):
                await self._move(made["id"], state)

    async def _move(self, fulfilment: str, state: str) -> None:
        await self._step(_MOVE, {"id": fulfilment, "state": state}, "transitionFulfillmentToState")

    def _input(self, shipment: Shipment, lines: Mapping[str, int]) -> dict[str, Any]:
        arguments = {"method": shipment.method, "trackingCode": shipment.tracking}
        return {
            "lines": [{"orderLineId": line, "quantity": quantity} for line, quantity in sorted(lines.items())],
            "handler": {
                "code": self._setting.handler,
                "arguments": [{"name": name, "value": value} for name, value in arguments.items()],
            },
        }

    async def _step(self, query: str, variables: Mapping[str, Any], field: str) -> Mapping[str, Any]:
        """What one step made. It is not absolute, so it is never repeated before the order was read again."""
        wire = self._shop.wire
        said: Mapping[str, Any] = wire.part(
            await wire.ask(query, variables, self._setting.channel, adds=True), field, dict
        )
        if code := said.get("errorCode"):
            if code in _OVERTAKEN:
                raise _Later(f"the order changed meanwhile: {wire.words(said)}")
            raise Refused(f"the shop refused it ({field}): {wire.words(said)}", REJECTED)
        if "id" not in said:
            raise wire.transport.wrong_shape(f'"id" in "{field}"')
        return said

    async def _note(self, order: Order, text: str | None) -> None:
        place = self._setting.order_note
        if (order.get("customFields") or {}).get(place) == text:
            return
        wire = self._shop.wire
        query = f"""mutation Note($input: UpdateOrderInput!) {{ setOrderCustomFields(input: $input) {{
          id customFields {{ {place} }} }} }}"""
        given = {"input": {"id": order["id"], "customFields": {place: text}}}
        said = wire.part(await wire.ask(query, given, self._setting.channel), "setOrderCustomFields", dict)
        if (said.get("customFields") or {}).get(place) != text:
            raise Refused(f"the shop took the call and shows something else in the custom field {place}", REJECTED)

    async def fetch(self, ids: Sequence[str]) -> dict[str, Fields]:
        """Orders as documents, of those that the ERP has spoken of."""
        found = await self._orders(ids)
        shown: dict[str, Fields] = {}
        for id_ in ids:
            orders = found.get(id_, [])
            if len(orders) == 1 and (fields := self._shipping.document(id_, orders[0])) is not None:
                shown[id_] = fields
        return shown

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """All orders that the ERP has spoken of."""
        query = f"""query Orders($skip: Int!, $take: Int!) {{
          orders(options: {{ skip: $skip, take: $take, sort: {{ id: ASC }},
            filter: {{ {self._setting.order_note}: {{ isNull: false }} }} }}) {{ items {{ id code {self._fields} }} }} }}"""
        names: set[str] = set()
        skip = 0
        while True:
            variables = {"skip": skip, "take": _SCANNED}
            page = await self._shop.items(query, variables, "orders", self._setting.channel)
            names.update(filter(None, map(self._name, page)))
            skip += len(page)
            if len(page) < _SCANNED:
                break
        ordered = sorted(names)
        for start in range(0, len(ordered), _FETCHED):
            shown = await self.fetch(ordered[start : start + _FETCHED])
            for id_ in sorted(shown):
                yield id_, shown[id_]

    async def _orders(self, names: Sequence[str]) -> dict[str, list[Order]]:
        query = f"""query Orders($names: [String!]!, $take: Int!) {{
          orders(options: {{ take: $take, filter: {{ {self._setting.order}: {{ in: $names }} }} }}) {{
            items {{ {self._selection} }} }} }}"""
        found: dict[str, list[Order]] = {}
        for some in portions(names):
            for order in await self._shop.items(
                query, {"names": some, "take": _SCANNED}, "orders", self._setting.channel
            ):
                found.setdefault(self._name(order), []).append(order)
        return found

    def _name(self, order: Order) -> str:
        if self._setting.order == "code":
            return str(order.get("code") or "")
        return str((order.get("customFields") or {}).get(self._setting.order) or "")

    def _only(self, name: str, found: Mapping[str, list[Order]]) -> Order:
        """The one order of a name. Raises Refused."""
        orders = found.get(name, [])
        if len(orders) == 1:
            return orders[0]
        what = f"{self._setting.order} {name}"
        if not orders:
            raise Refused(f"the shop has no order with {what}", UNMAPPED)
        ids = ", ".join(str(order["id"]) for order in orders)
        raise Refused(f"{len(orders)} orders of the shop have {what} (ids {ids}); which one is meant?", UNMAPPED)


class _Later(Exception):
    """The order is being changed by others; the patch comes again."""

"""Order status: the document in a metafield of the order, its shipments as fulfilments, told how far they are.

Invariant: a fulfilment is made only when the order, read in the same call, shows none that is this shipment; one that was
made and whose answer was lost is recognised by its tracking number, or by having come after what was noted before. Nothing
is fulfilled twice, no fulfilment stands for two shipments, and a document counts as written only when the order shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from adapters.store.loan import Memory, Pace
from adapters.store.shopify import documents, shipments
from adapters.store.shopify import documents_orders as orders
from adapters.store.shopify.articles import Articles, gid, number_of, parts
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.credit import LATER, ROWS, STALE
from adapters.store.shopify.finder import Finder
from adapters.store.shopify.media import job_ended
from adapters.store.shopify.options import Options
from adapters.store.shopify.results import Fault, Results, faults_of, settle
from adapters.store.shopify.shipments import Begun, Book, Lacking, Shipment
from adapters.store.shopify.work import NotYet, Refused, few
from daemon.drift import differing
from daemon.model import Fields, Patch, Status

AT_A_TIME: Final = 4
"""Orders that are on their way; each may take several requests."""
CANCELLED_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One metafield on its way. `digest`: of the value that is there. `told`: the order itself was changed, too."""

    patch: Patch
    name: str
    id: str
    digest: str | None
    value: str | None
    told: bool = False


@dataclass(slots=True)
class _Order:
    """One order while its document is brought to it. `lines`: what was read of fulfilments, by number."""

    node: Json
    book: Book
    digest: str | None
    told: bool = False
    lines: dict[str, Counter[str]] = field(default_factory=dict)


class Orders:
    """The orders of one shop."""

    def __init__(self, client: Client, articles: Articles, options: Options, memory: Memory, pace: Pace) -> None:
        self._client = client
        self._options = options
        self._finder = Finder(client, articles, options, memory)
        self._pace = pace

    async def apply(self, patches: Sequence[Patch], results: Results) -> None:
        """Write the documents. Raises StoreError when a whole call fails."""
        by_name = {str(patch.identity["order"]): patch for patch in patches}
        read, refused = await self._finder.read(by_name)
        for name, why in refused.items():
            if by_name[name].fields is None:
                results.ok(by_name[name])  # what is not there shows nothing
            else:
                results.refuse(by_name[name], why)
        rows: list[Row] = []

        async def bring(name: str, node: Json) -> None:
            try:
                rows.append(await self._bring(by_name[name], name, node))
            except Refused as why:
                results.refuse(by_name[name], str(why))
            except NotYet as why:
                results.later(by_name[name], str(why))

        await few((partial(bring, name, node) for name, node in sorted(read.items())), AT_A_TIME)
        await self._save(sorted(rows, key=lambda row: row.name), results)

    # -- one order

    async def _bring(self, patch: Patch, name: str, node: Json) -> Row:
        """Let the order do what the document says; what is left is its metafield."""
        book = shipments.book_of(node)
        digest = (node["said"] or {}).get("compareDigest")
        if patch.fields is None:
            return Row(patch, name, node["id"], digest, None)
        wish = shipments.wanted(patch.fields)
        status, cancelled = str(patch.fields.get("status")), bool(node["cancelledAt"])
        if self._options.cancelled and cancelled and status not in self._options.cancelled:
            raise Refused(f"the shop has cancelled the order, which cannot be taken back; the ERP says {status}")
        order = _Order(node, book, digest)
        for shipment in wish:
            await self._ship(order, shipment)
        if status in self._options.cancelled and not cancelled:
            await self._cancel(order)
        value = book.value(patch.fields)
        return Row(patch, name, node["id"], order.digest, value, order.told)

    async def _ship(self, order: _Order, shipment: Shipment) -> None:
        live = shipments.alive(order.node)
        known = order.book.sent.get(shipment.id, [])
        mine = [number for number in known if number in live]
        whole = bool(mine) and mine == known and shipment.id not in order.book.begun
        if not whole or shipments.lines_of(order.book.document, shipment.id) != shipment.lines:
            mine = await self._complete(order, shipment, mine)
        order.book.sent[shipment.id] = mine
        order.book.begun.pop(shipment.id, None)
        for number in mine:
            await self._follow(order, shipment, number, live.get(number))

    async def _complete(self, order: _Order, shipment: Shipment, mine: list[str]) -> list[str]:
        """The fulfilments that are this shipment: those known, those recognised, those made for what is still lacking."""
        need = Counter(shipment.lines)
        for number in mine:
            need.subtract(await self._lines(order, number))
        if any(count < 0 for count in need.values()):
            raise Refused(f"shipment {shipment.id} is fulfilled with more than the ERP says; correct it in the shop")
        need, mine = +need, list(mine)
        free = {n: one for n, one in shipments.alive(order.node).items() if n not in order.book.claimed()}
        for number, one in sorted(free.items(), key=lambda item: int(item[0])):
            if need and shipments.recognised(shipment, number, one, order.book):
                lines = await self._lines(order, number)
                if shipments.fits(lines, need):
                    mine.append(number)
                    need = need - lines
        if not need:
            return mine
        try:
            made = shipments.pieces(need, await self._fulfilment_orders(order.node["id"]))
        except Lacking as lacking:
            return [*mine, await self._same(order, shipment, need, [n for n in free if n not in mine], str(lacking))]
        await self._note(order, shipment)
        return [*mine, *[await self._create(order, shipment, rows) for rows in made]]

    async def _same(
        self, order: _Order, shipment: Shipment, need: Counter[str], free: Sequence[str], lacking: str
    ) -> str:
        """The order is fulfilled with these very lines by somebody else: that is this shipment, for there are no more."""
        live = shipments.alive(order.node)
        open_ = [n for n in free if not (shipment.number and shipments.numbers_of(live[n]))]
        found = [number for number in open_ if await self._lines(order, number) == need]
        if len(found) != 1:
            raise Refused(f"shipment {shipment.id} has {lacking} more than the order lacks")
        return found[0]

    async def _note(self, order: _Order, shipment: Shipment) -> None:
        """Before a fulfilment is made: which ones are there, so that it is known by its answer or without."""
        order.book.begun[shipment.id] = Begun(shipment.number, sorted(shipments.alive(order.node)))
        metafield = self._metafield(order.node["id"], order.book.value(order.book.document), order.digest)
        data = await self._client.run(documents.METAFIELDS_SET, {"metafields": [metafield]})
        payload = self._client.shape(data.get("metafieldsSet"), dict, "what became of the metafields")
        if faults := faults_of(payload, "metafields"):
            raise NotYet(faults[0].message)
        order.digest = payload["metafields"][0]["compareDigest"]

    async def _create(self, order: _Order, shipment: Shipment, rows: Sequence[Json]) -> str:
        made: Json = {"lineItemsByFulfillmentOrder": list(rows), "notifyCustomer": self._options.notify}
        if shipment.tracking:
            made["trackingInfo"] = shipment.tracking
        payload = await self._do(orders.FULFILMENT_CREATE, "fulfillmentCreate", {"fulfillment": made})
        order.told = True
        return number_of(payload["fulfillment"]["id"])

    async def _follow(self, order: _Order, shipment: Shipment, number: str, shown: Mapping[str, Any] | None) -> None:
        """Tracking number and how far it is; `shown` is None for one that was just made."""
        id_ = gid("Fulfillment", number)
        if shown is not None and shipment.number and shipment.number not in shipments.numbers_of(shown):
            variables = {"id": id_, "tracking": shipment.tracking, "notify": self._options.notify}
            await self._do(orders.FULFILMENT_TRACK, "fulfillmentTrackingInfoUpdate", variables)
            order.told = True
        if shipment.event and (shown is None or shipments.behind(shown, shipment.event)):
            event = {"fulfillmentId": id_, "status": shipment.event}
            await self._do(orders.FULFILMENT_EVENT, "fulfillmentEventCreate", {"event": event})
            order.told = True

    async def _cancel(self, order: _Order) -> None:
        refund = {"originalPaymentMethodsRefund": False}
        variables = {
            "order": order.node["id"],
            "restock": self._options.restock,
            "notify": self._options.notify,
            "refund": refund,
        }
        data = await self._client.run(orders.ORDER_CANCEL, variables, adds=True)
        payload = self._client.shape(data.get("orderCancel"), dict, "what became of the order")
        if faults := faults_of({"userErrors": payload["orderCancelUserErrors"]}):
            raise NotYet(faults[0].message) if faults[0].code == "INTERNAL_ERROR" else Refused(faults[0].message)
        order.told = True
        await job_ended(self._client, payload["job"], CANCELLED_WITHIN, self._pace)

    async def _do(self, document: str, name: str, variables: Mapping[str, Any]) -> Json:
        """A mutation that adds up when it is made twice. Raises Refused in the shop's words."""
        data = await self._client.run(document, variables, adds=True)
        payload: Json = self._client.shape(data.get(name), dict, "what became of the fulfilment")
        if faults := faults_of(payload):
            raise Refused(faults[0].message)
        return payload

    # -- what an order holds

    async def _lines(self, order: _Order, number: str) -> Counter[str]:
        if number not in order.lines:
            found: Counter[str] = Counter()
            variables = {"id": gid("Fulfillment", number)}
            async for line in self._inner(
                orders.FULFILMENT_LINES, ("fulfillment", "fulfillmentLineItems"), variables, 250
            ):
                found[str(line["lineItem"]["sku"])] += line["quantity"] or 0
            order.lines[number] = found
        return order.lines[number]

    async def _fulfilment_orders(self, id_: str) -> list[Json]:
        found: list[Json] = []
        async for one in self._inner(orders.FULFILMENT_ORDERS, ("order", "fulfillmentOrders"), {"order": id_}, 5):
            lines = one["lineItems"]
            if lines["pageInfo"]["hasNextPage"]:
                more = self._inner(
                    orders.FULFILMENT_ORDER_LINES,
                    ("fulfillmentOrder", "lineItems"),
                    {"id": one["id"]},
                    250,
                    lines["pageInfo"]["endCursor"],
                )
                lines["nodes"] += [line async for line in more]
            found.append(one)
        return found

    async def _inner(
        self,
        document: str,
        path: tuple[str, str],
        variables: Mapping[str, Any],
        size: int,
        after: str | None = None,
    ) -> AsyncIterator[Json]:
        """Every node of a connection below one object."""
        while True:
            data = await self._client.run(document, {**variables, "first": size, "after": after})
            holder = data.get(path[0])
            if holder is None:
                raise NotYet("the order changed in this moment")
            connection = holder[path[1]]
            for node in connection["nodes"]:
                yield node
            if not connection["pageInfo"]["hasNextPage"]:
                return
            after = connection["pageInfo"]["endCursor"]

    # -- the metafield

    async def _save(self, rows: Sequence[Row], results: Results) -> None:
        gone = [row for row in rows if row.value is None]
        for some in parts(gone, ROWS):
            named = [{"ownerId": row.id, **self._where()} for row in some]
            data = await self._client.run(documents.METAFIELDS_DELETE, {"metafields": named})
            faults = faults_of(self._client.shape(data.get("metafieldsDelete"), dict, "what became of the metafields"))
            for row in some:
                if faults:
                    results.refuse(row.patch, faults[0].message)
                else:
                    results.ok(row.patch)
        kept = [row for row in rows if row.value is not None]
        said = results.aside([row.patch for row in kept])
        for some in parts(kept, ROWS):
            await settle(some, self._set, self._reread, said, stale=STALE, later=LATER)
        outcomes = {outcome.id: outcome for outcome in said.all()}
        told = {row.name: row for row in kept if row.told and outcomes[row.patch.id].status is Status.OK}
        results.take(outcome for id_, outcome in outcomes.items() if id_ not in {row.patch.id for row in told.values()})
        await self._prove(told, results)

    async def _prove(self, told: Mapping[str, Row], results: Results) -> None:
        """An order that was changed is read once more: what it does not show yet is not written."""
        read, _ = await self._finder.read(told)
        for name, row in told.items():
            fields = shipments.shown(read[name], self._options.cancelled) if name in read else None
            missed = differing(row.patch.fields or {}, fields or {})
            if missed:
                results.later(row.patch, f"the order does not show {sorted(missed)[0]} yet")
            else:
                results.ok(row.patch)

    async def _set(self, rows: Sequence[Row]) -> list[Fault]:
        metafields = [self._metafield(row.id, row.value, row.digest) for row in rows]
        data = await self._client.run(documents.METAFIELDS_SET, {"metafields": metafields})
        return faults_of(
            self._client.shape(data.get("metafieldsSet"), dict, "what became of the metafields"), "metafields"
        )

    async def _reread(self, rows: Sequence[Row]) -> list[Row]:
        read, _ = await self._finder.read(row.name for row in rows)
        return [
            replace(row, digest=(read[row.name]["said"] or {}).get("compareDigest")) for row in rows if row.name in read
        ]

    def _metafield(self, owner: str, value: str | None, digest: str | None) -> Json:
        return {"ownerId": owner, **self._where(), "type": "json", "value": value, "compareDigest": digest}

    def _where(self) -> dict[str, str]:
        return {"namespace": self._options.namespace, "key": shipments.ORDER}

    # -- reading back

    async def fetch(self, ids: Sequence[str]) -> Mapping[str, Fields]:
        read, _ = await self._finder.read(ids)
        shown = {name: shipments.shown(node, self._options.cancelled) for name, node in read.items()}
        return {name: fields for name, fields in shown.items() if fields is not None and fields["order"] == name}

    async def scan(self) -> AsyncIterator[tuple[str, Fields]]:
        """Everything, in the order of the ids. All pages are read first, since Shopify knows no such order."""
        found: dict[str, Fields] = {}
        async for node in self._finder.everything():
            fields = shipments.shown(node, self._options.cancelled)
            if fields is not None:
                found[str(fields["order"])] = fields
        for id_ in sorted(found):
            yield id_, found[id_]

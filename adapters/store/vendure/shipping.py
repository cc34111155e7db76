"""What an order of Vendure's lacks of what the ERP says, and what it shows of it. Pure.

Invariant: a fulfilment is ours only by the mark in its method, `DHL [erpsyncd OUT-7]`, which names the ERP's own number of it;
what others made is never counted as ours, moved or cancelled. All is judged by the order as the shop showed it last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.store.vendure.setting import CANCELLED, SENT, STATES, Setting, folded
from adapters.store.vendure.values import Unfit, Unmapped, noted, whole
from daemon.model import Fields

Order = Mapping[str, Any]
"""An order as the shop shows it."""
CHANGING: Final = ("Modifying", "ArrangingAdditionalPayment")
"""States in which people are at work on an order."""
_PAID: Final = STATES[STATES.index("PaymentSettled") :]


@dataclass(frozen=True, slots=True)
class Shipment:
    """A delivery of the ERP's that has left."""

    id: str
    state: str
    """"Shipped" or "Delivered"."""
    method: str
    tracking: str
    lines: Mapping[str, int] | None
    """SKU -> quantity; None is all that no other fulfilment has."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do in the shop, in this order."""

    cancel: bool = False
    drop: Sequence[str] = ()
    """Fulfilments of ours that are to be cancelled, since another one takes their place."""
    make: Sequence[tuple[Shipment, Mapping[str, int]]] = ()
    """Fulfilments, with order line -> quantity."""
    move: Sequence[tuple[str, str]] = ()
    """(fulfilment, state) of those that are there."""


@dataclass(frozen=True, slots=True)
class Word:
    """What the ERP says of an order, in the shop's terms."""

    state: str
    shipments: Sequence[Shipment] = field(default=())


class Shipping:
    """The rules of one shop."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._open = f"[{setting.mark} "

    def word(self, name: str, fields: Fields) -> Word:
        """What a document means. Raises Unfit, and Unmapped for a status without a counterpart."""
        status = fields.get("status")
        state = self._setting.state(str(status))
        if state is None:
            raise Unmapped(f'`status` "{status}" has no counterpart in the shop; name it in options.statuses')
        if state == CANCELLED:
            return Word(state)
        listed = fields.get("fulfilments")
        if listed is None:
            whole_order = Shipment(name, state, self._method("", name), "", None)
            return Word(state, [whole_order] if state in SENT else [])
        found: dict[str, Shipment] = {}
        for entry in listed if isinstance(listed, list) else [listed]:
            if (sent := self._sent(entry)) is None:
                continue
            shipment = self._shipment(entry, "Delivered" if state == "Delivered" else sent)
            if shipment.id in found:
                raise Unfit(f"two `fulfilments` have the id {shipment.id}")
            found[shipment.id] = shipment
        return Word(state, list(found.values()))

    def _sent(self, entry: Any) -> str | None:
        """The state of a delivery to the customer that has left; None for any other."""
        if not isinstance(entry, Mapping):
            raise Unfit("an entry of `fulfilments` is no object")
        if entry.get("kind") == "return":
            return None
        return self._setting.shipments.get(folded(str(entry.get("status"))))

    def _shipment(self, entry: Mapping[str, Any], state: str) -> Shipment:
        id_ = entry.get("id")
        if not isinstance(id_, str | int) or isinstance(id_, bool) or id_ == "":
            raise Unfit("an entry of `fulfilments` has no `id`; without it nobody can say whether the shop has it")
        lines = quantities(entry.get("lines"), f"fulfilment {id_}")
        if not lines:
            raise Unfit(f"fulfilment {id_} has no lines")
        method = self._method(str(entry.get("carrier") or ""), str(id_))
        return Shipment(str(id_), state, method, str(entry.get("tracking_number") or ""), lines)

    def _method(self, carrier: str, id_: str) -> str:
        return f"{carrier} {self._open}{id_}]".lstrip()

    def ours(self, order: Order) -> dict[str, list[Mapping[str, Any]]]:
        """The fulfilments that came from here and are not cancelled, by the ERP's number."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for one in _live(order):
            _, mark, rest = str(one.get("method")).rpartition(self._open)
            if mark and rest.endswith("]"):
                found.setdefault(rest[:-1], []).append(one)
        return found

    # -- writing

    def steps(self, order: Order, word: Word) -> Steps:
        """What brings the order to what the ERP says. Raises Unfit when it cannot be brought there."""
        state = str(order["state"])
        if word.state == CANCELLED:
            if state == CANCELLED:
                return Steps()
            if gone := [str(one["id"]) for one in _live(order) if one["state"] in SENT]:
                raise Unfit(f"the order has left already (fulfilment {', '.join(gone)}); cancel it in the shop")
            return Steps(cancel=True)
        if state == CANCELLED:
            raise Unfit("the order is cancelled in the shop, which is final there")
        ours = self.ours(order)
        if doubled := _doubled(ours):
            raise Unfit(doubled)
        drop = [
            str(ours[shipment.id][0]["id"])
            for shipment in word.shipments
            if self._setting.replaces and shipment.id in ours and _changed(order, ours[shipment.id][0], shipment)
        ]
        order = {**order, "fulfillments": [one for one in _live(order) if str(one["id"]) not in drop]}
        ours = self.ours(order)
        make: list[tuple[Shipment, Mapping[str, int]]] = []
        move: list[tuple[str, str]] = []
        left = _left(order)
        for shipment in word.shipments:
            if shipment.id in ours:
                [one] = ours[shipment.id]
                move += [(str(one["id"]), step) for step in way(str(one["state"]), shipment.state)]
                continue
            lines = self._lines(order, shipment, left)
            if lines:
                make.append((shipment, lines))
        if (make or move) and state not in _PAID:
            raise Unfit(f"the order is {state} in the shop, where nothing is shipped before it is PaymentSettled")
        return Steps(drop=drop, make=make, move=move)

    def _lines(self, order: Order, shipment: Shipment, left: dict[str, int]) -> dict[str, int]:
        """The order lines of a new fulfilment; `left` is what no fulfilment has yet."""
        if shipment.lines is None:
            return {line: quantity for line, quantity in left.items() if quantity > 0}
        taken: dict[str, int] = {}
        for sku, quantity in sorted(shipment.lines.items()):
            rest = quantity
            lines = [str(line["id"]) for line in order["lines"] if line["productVariant"]["sku"] == sku]
            for line in lines:
                part = min(rest, left[line])
                if part > 0:
                    taken[line] = part
                    left[line] -= part
                    rest -= part
            if rest:
                others = [str(one["id"]) for one in _live(order)]
                beside = f" beside what its fulfilments {', '.join(others)} hold" if others and lines else ""
                raise Unfit(f"fulfilment {shipment.id} has {rest} of {sku} more than the order has{beside}")
        return taken

    def missed(self, order: Order, word: Word) -> str:
        """What the order does not show of what the ERP says; "" when all is there."""
        ours = self.ours(order)
        if doubled := _doubled(ours):
            return doubled
        for shipment in word.shipments:
            if shipment.id not in ours:
                if shipment.lines is None:
                    continue  # others have shipped it all; the state tells
                return f"the shop shows no fulfilment {shipment.id}"
            one = ours[shipment.id][0]
            where = f"fulfilment {one['id']} ({shipment.id})"
            if way(str(one["state"]), shipment.state):
                return f"{where} is {one['state']} in the shop, not {shipment.state}"
            if changed := _changed(order, one, shipment):
                again = "Vendure cannot change it; cancel the fulfilment in the shop, and it is made anew"
                return f"{where} has {changed} in the shop. {again}"
        if word.state != CANCELLED and (taken := ours.keys() - {shipment.id for shipment in word.shipments}):
            ids = ", ".join(str(ours[id_][0]["id"]) for id_ in sorted(taken))
            return (
                f"the ERP no longer says that {', '.join(sorted(taken))} was sent; cancel fulfilment {ids} in the shop"
            )
        if not reached(order, word.state):
            return f"the order is {order['state']} in the shop, not {word.state}"
        return ""

    # -- reading

    def document(self, name: str, order: Order) -> Fields | None:
        """What the order shows; None for one that the ERP has not spoken of."""
        said = noted(order, self._setting.order_note)
        if not said:
            return None
        fields: dict[str, Any] = {**said, "order": name}
        state = self._setting.state(str(said.get("status")))
        if state is None or not reached(order, state):
            fields["status"] = order["state"]
        if isinstance(said.get("fulfilments"), list):
            fields["fulfilments"] = list(self._fulfilments(order, said["fulfilments"]))
        elif self.ours(order).keys() - {name if state in SENT else ""}:
            fields["fulfilments"] = list(self._fulfilments(order, []))
        return fields

    def _fulfilments(self, order: Order, said: Sequence[Any]) -> Iterator[Any]:
        ours = [(id_, one) for id_, several in self.ours(order).items() for one in several]
        for entry in said:
            name = str(entry.get("id")) if isinstance(entry, Mapping) else None
            one = next((one for id_, one in ours if id_ == name), None)
            try:
                sent = self._sent(entry)
            except Unfit:
                sent = None
            if one is not None:
                ours = [each for each in ours if each[1] is not one]
                yield self._as_shown(order, entry, sent, one)
            elif sent is None or order["state"] == CANCELLED:
                yield entry
        for id_, one in ours:
            lines = [{"sku": sku, "quantity": quantity} for sku, quantity in sorted(_held(order, one).items())]
            yield {"id": id_, "status": one["state"], "lines": lines}

    def _as_shown(
        self, order: Order, entry: Mapping[str, Any], sent: str | None, one: Mapping[str, Any]
    ) -> dict[str, Any]:
        shown = dict(entry)
        if sent is None or way(str(one["state"]), sent):
            shown["status"] = one["state"]
        if str(one.get("trackingCode") or "") != str(entry.get("tracking_number") or ""):
            shown["tracking_number"] = one.get("trackingCode")
        carrier = str(one["method"]).rpartition(self._open)[0].rstrip()
        if carrier != str(entry.get("carrier") or ""):
            shown["carrier"] = carrier
        held = _held(order, one)
        try:
            said = quantities(entry.get("lines"), "")
        except Unfit:
            said = {}
        if held != said:
            shown["lines"] = [{"sku": sku, "quantity": quantity} for sku, quantity in sorted(held.items())]
        return shown


def _changed(order: Order, one: Mapping[str, Any], shipment: Shipment) -> str:
    """What of a fulfilment of ours is otherwise than the ERP says, of that which Vendure cannot change; "" for nothing."""
    if str(one.get("trackingCode") or "") != shipment.tracking:
        return "another tracking number"
    if one.get("method") != shipment.method:
        return "another carrier"
    return "other lines" if shipment.lines is not None and _held(order, one) != shipment.lines else ""


def _doubled(ours: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What to say where a call that had been given up was taken after all; "" where each shipment is there once."""
    for id_, several in ours.items():
        if len(several) > 1:
            ids = ", ".join(str(one["id"]) for one in several)
            return f"{len(several)} fulfilments of the shop ({ids}) are marked {id_}; cancel all but one"
    return ""


def way(state: str, wanted: str) -> list[str]:
    """The states that a fulfilment still has to take; none when it is there or further."""
    at = SENT.index(state) if state in SENT else -1
    return list(SENT[at + 1 : SENT.index(wanted) + 1])


def reached(order: Order, wanted: str) -> bool:
    """Whether an order is as far as this state, or further: Vendure's process goes forward only."""
    state = str(order["state"])
    if state == CANCELLED or wanted == CANCELLED:
        return state == wanted
    if state == "PartiallyDelivered" and wanted == "Shipped":
        return all(left <= 0 for left in _left(order, SENT).values())  # the state hides whether all of it has left
    return state in STATES and STATES.index(state) >= STATES.index(wanted)


def quantities(lines: Any, whose: str) -> dict[str, int]:
    """SKU -> quantity. Raises Unfit."""
    found: dict[str, int] = {}
    for line in lines if isinstance(lines, list) else []:
        sku = line.get("sku") if isinstance(line, Mapping) else None
        if not isinstance(sku, str) or not sku:
            raise Unfit(f"{whose} has a line without a SKU")
        quantity = whole(line.get("quantity"), f"quantity of {sku}")
        if quantity < 0:
            raise Unfit(f"{whose} has {quantity} of {sku}")
        if quantity:
            found[sku] = found.get(sku, 0) + quantity
    return found


def _live(order: Order) -> Iterable[Mapping[str, Any]]:
    return [one for one in order.get("fulfillments") or () if one["state"] != CANCELLED]


def _left(order: Order, states: Sequence[str] = ()) -> dict[str, int]:
    """Order line -> what is in no fulfilment; with `states` only fulfilments in one of them count."""
    left = {str(line["id"]): int(line["quantity"]) for line in order["lines"]}
    for one in _live(order):
        for line in one.get("lines") or () if not states or one["state"] in states else ():
            left[str(line["orderLineId"])] = left.get(str(line["orderLineId"]), 0) - int(line["quantity"])
    return left


def _held(order: Order, one: Mapping[str, Any]) -> dict[str, int]:
    """SKU -> quantity of a fulfilment."""
    skus = {str(line["id"]): str(line["productVariant"]["sku"]) for line in order["lines"]}
    held: dict[str, int] = {}
    for line in one.get("lines") or ():
        sku = skus.get(str(line["orderLineId"]), "")
        held[sku] = held.get(sku, 0) + int(line["quantity"])
    return held

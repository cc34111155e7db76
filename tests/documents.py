"""Documents of every kind as patches for an adapter, and the law that what was taken is read back.

Invariant: a patch has the identity that its kind has in the daemon, and all of its fields count as changed unless a test says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from adapters.store.base import Store
from daemon.drift import differing
from daemon.model import Outcome, Patch, Status

IDENTITY: Final = {
    "stock": ("sku", "location"),
    "price": ("sku", "price_list", "currency", "min_quantity"),
    "credit": ("customer",),
    "order_status": ("order",),
    "content": ("sku", "locale"),
}
KINDS: Final = {kind: kind for kind in IDENTITY}
"""Entities that are called by their kind."""
LISTED: Final = {"price_list": "default", "currency": "EUR", "min_quantity": 1}


def patch(kind: str, fields: Mapping[str, Any], changed: Iterable[str] | None = None, *, gone: bool = False) -> Patch:
    """A document as a patch; with `gone`, its end."""
    identity = {name: fields[name] for name in IDENTITY[kind]}
    name = "|".join(map(str, identity.values()))
    return Patch(name, 1, 0, None if gone else fields, identity, frozenset(fields if changed is None else changed))


async def one(store: Store, kind: str, fields: Mapping[str, Any], **more: Any) -> Outcome:
    """What the adapter says of one document."""
    [outcome] = await store.apply(kind, [patch(kind, fields, **more)])
    return outcome


async def written(store: Store, kind: str, *documents: Mapping[str, Any]) -> None:
    """They are taken, and fetch and scan say them back."""
    patches = [patch(kind, fields) for fields in documents]
    outcomes = await store.apply(kind, patches)
    assert {(outcome.status, outcome.error) for outcome in outcomes} == {(Status.OK, "")}
    for shown in (
        await store.fetch(kind, [each.id for each in patches]),
        {key: value async for key, value in store.scan(kind)},
    ):
        for each, fields in zip(patches, documents, strict=True):
            assert differing(fields, shown[each.id]) == {}

"""The contract every storefront adapter keeps; it fits on one screen.

Invariant: writes are at-least-once and absolute, so `apply` may see the same patch twice and must not care. An adapter
reports what the store itself said about each document and nothing better; foreign exceptions never leave it: they
become StoreError once, at its edge, with the decision (LATER, OPERATOR, NEVER) and no secret in any text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from adapters.store.loan import FreePace, Memory, NoPictures, Pace, Pictures, ShortMemory
from daemon.model import Fields, Limits, Outcome, Patch


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What an adapter gets from `[store.<name>]`. Secrets are revealed here and go no further than a header."""

    name: str
    url: str
    token: str = field(repr=False)
    timeout: float
    """Seconds for one call, all included."""
    limits: Limits
    options: Mapping[str, Any] = field(default_factory=dict)
    """Adapter-specific keys; `entities` is the list of entities that this store shows."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What each entity is: stock, price, credit, order_status, content; "" for one with a name of its own."""
    memory: Memory = field(default_factory=ShortMemory)
    """The store's own ids, kept over restarts."""
    pictures: Pictures = field(default_factory=NoPictures)
    """The bytes of a document's images."""
    pace: Pace = field(default_factory=FreePace)
    """Waits for the store's budget; awaited before each request. `Transport` does it."""


class Store(Protocol):
    """A storefront."""

    limits: Limits

    async def open(self) -> None:
        """Prepare sessions. No network call must succeed here: a store that is down does not stop the daemon."""

    async def check(self) -> None:
        """Cheap call that proves address and credentials. Raises StoreError."""

    def remote(self, entity: str, patch: Patch) -> str | None:
        """The thing in the store that a patch writes, such as `product:SKU`, where several documents or entities share
        one: never two calls in flight for it. None: the document stands alone."""

    async def apply(self, entity: str, patches: Sequence[Patch]) -> Sequence[Outcome]:
        """Write one batch (at most `limits.batch_for(entity)`, or `bulk_for` in a job; each id once); one outcome a
        patch, any order.

        Raises StoreError when the whole call failed; it may have succeeded all the same. `retry` says what follows:
        LATER (after `retry_after`; with E-STORE-TOO-LARGE in smaller parts; E-STORE-BUSY when calls got into each other's
        way), OPERATOR, or NEVER: the store does not take this batch as it is (E-STORE-REFUSED), so splitting it finds
        the patch at fault. Cancelling leaves the adapter usable.
        """

    async def fetch(self, entity: str, ids: Sequence[str]) -> Mapping[str, Fields]:
        """What the store shows now for these ids, as `Patch.fields` would say it: no bookkeeping of the store or the
        protocol, numbers exact (int or decimal string). An unknown or removed id is left out."""

    def scan(self, entity: str) -> AsyncIterator[tuple[str, Fields]]:
        """All documents of an entity in the order of their ids by code point, page by page; fields as in `fetch`."""

    async def close(self) -> None:
        """Idempotent; safe after a failed open."""


@runtime_checkable
class TakesFiles(Protocol):
    """What a store may have beside that: files, such as images, that are sent before a document names them."""

    with_files: Collection[str]
    """The entities whose documents name some."""

    async def send_files(self, entity: str, patches: Sequence[Patch]) -> None:
        """Send those that the store lacks. It writes nothing that `remote` names, so other calls for the same things go on
        meanwhile; `apply` follows, finds them there, and is what tells of a file that could not be sent. Raises
        StoreError when the store cannot be reached."""


StoreFactory = Callable[[StoreSettings], Store]
"""Makes no connection. Raises ConfigError for settings that the adapter cannot use, entities and options included."""

"""Documents that take a call each.

Invariant: one that the shop refuses, or fails at, holds no other. A failure of the whole shop is raised while nothing was
taken; after that it is told of the documents that are left, which come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from adapters.store.answers import BUSY, FAILED, REFUSED
from adapters.store.http import REJECTED
from adapters.store.medusa.values import Refused
from adapters.store.singly import again, singly
from daemon.errors import StoreError
from daemon.model import Outcome, Patch, Status


async def each_alone(patches: Sequence[Patch], write: Callable[[Patch], Awaitable[None]]) -> list[Outcome]:
    """Write one after the other, after a look at the shop that succeeded. Raises StoreError."""
    return await singly(patches, write, Refused, lambda patch, refused: refused.outcome(patch), _alone)


def _alone(patch: Patch, error: StoreError) -> Outcome | None:
    if error.code == REFUSED:
        return Outcome(patch.id, Status.REJECTED, error.message, REJECTED)
    return again(patch, error) if error.code in (FAILED, BUSY) else None  # which may be about this record alone

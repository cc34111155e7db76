"""Documents that take a call each.

Invariant: one that the shop refuses, or fails at, holds no other. A failure of the whole shop is raised while nothing was
taken; after that it is told of the documents that are left, which come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from adapters.store.answers import BUSY, FAILED, REFUSED
from adapters.store.http import REJECTED
from adapters.store.medusa.values import Refused
from daemon.errors import StoreError
from daemon.model import Outcome, Patch, Status


async def each_alone(patches: Sequence[Patch], write: Callable[[Patch], Awaitable[None]]) -> list[Outcome]:
    """Write one after the other, after a look at the shop that succeeded. Raises StoreError."""
    outcomes: list[Outcome] = []
    failed: StoreError | None = None
    for patch in patches:
        if failed is not None:
            outcomes.append(Outcome(patch.id, Status.RETRY, failed.message, failed.code))
            continue
        try:
            await write(patch)
            outcomes.append(Outcome(patch.id, Status.OK))
        except Refused as refused:
            outcomes.append(refused.outcome(patch))
        except StoreError as error:
            if error.code == REFUSED:
                outcomes.append(Outcome(patch.id, Status.REJECTED, error.message, REJECTED))
                continue
            if error.code not in (FAILED, BUSY):  # which may be about this record alone
                if not any(outcome.status is Status.OK for outcome in outcomes):
                    raise
                failed = error
            outcomes.append(Outcome(patch.id, Status.RETRY, error.message, error.code))
    return outcomes

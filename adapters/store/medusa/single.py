"""Documents that take a call each.

Invariant: one that is refused holds no other. A failure of the shop itself is raised while nothing was taken; after that it is
told of the documents that are left, which come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from adapters.store.answers import REFUSED
from adapters.store.http import REJECTED
from adapters.store.medusa.values import Refused
from daemon.errors import StoreError
from daemon.model import Outcome, Patch, Status


async def each_alone(patches: Sequence[Patch], write: Callable[[Patch], Awaitable[None]]) -> list[Outcome]:
    """Write one after the other. Raises StoreError."""
    outcomes: list[Outcome] = []
    failed: StoreError | None = None
    taken = False
    for patch in patches:
        if failed is not None:
            outcomes.append(Outcome(patch.id, Status.RETRY, failed.message, failed.code))
            continue
        try:
            await write(patch)
            outcomes.append(Outcome(patch.id, Status.OK))
            taken = True
        except Refused as refused:
            outcomes.append(refused.outcome(patch))
        except StoreError as error:
            if error.code == REFUSED:
                outcomes.append(Outcome(patch.id, Status.REJECTED, error.message, REJECTED))
            elif not taken:
                raise
            else:
                failed = error
                outcomes.append(Outcome(patch.id, Status.RETRY, error.message, error.code))
    return outcomes

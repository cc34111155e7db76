"""Documents that take a call each, one after the other.

Invariant: one that the shop refuses holds no other. A failure of the whole shop is raised while nothing was taken; after that
it is told of the documents that are left, which come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from daemon.errors import StoreError
from daemon.model import Outcome, Patch, Status

R = TypeVar("R", bound=Exception)


async def singly(
    patches: Sequence[Patch],
    write: Callable[[Patch], Awaitable[Outcome | None]],
    refusal: type[R],
    refused: Callable[[Patch, R], Outcome],
    alone: Callable[[Patch, StoreError], Outcome | None],
) -> list[Outcome]:
    """Write one after the other, in the order given. Raises StoreError.

    `write` gives an outcome, or None when it is written; of the `refusal` that it raises for its document alone `refused`
    makes the outcome. `alone` makes one of an error that is about one document; None for what is the whole shop's."""
    outcomes: list[Outcome] = []
    failed: StoreError | None = None
    for patch in patches:
        if failed is not None:
            outcomes.append(again(patch, failed))
            continue
        try:
            outcome = await write(patch) or Outcome(patch.id, Status.OK)
        except refusal as error:
            outcome = refused(patch, error)
        except StoreError as error:
            about_it = alone(patch, error)
            if about_it is None:
                if not any(each.status is Status.OK for each in outcomes):
                    raise
                failed = error
            outcome = about_it or again(patch, error)
        outcomes.append(outcome)
    return outcomes


def again(patch: Patch, error: StoreError) -> Outcome:
    """A document that comes again, and why."""
    return Outcome(patch.id, Status.RETRY, error.message, error.code)

"""Lines in the log about what a brake holds.

Invariant: one line for a burst, and then one now and then while it lasts, however many keys are held.
"""

from __future__ import annotations

from daemon import log
from daemon.model import QueueName

_EVERY_S = 60.0


class HeldLines:
    """Those of one queue."""

    def __init__(self, name: QueueName) -> None:
        self._name = name
        self._count, self._reason = 0, ""
        self._told = -_EVERY_S

    def add(self, reason: str) -> None:
        """A key is held."""
        self._count, self._reason = self._count + 1, reason

    def tell(self, now: float) -> None:
        """Say what was held since the last line, if it is time. `now` is the loop's clock."""
        if not self._count or now - self._told < _EVERY_S:
            return
        count, reason = self._count, self._reason
        self._count, self._told = 0, now
        name = self._name
        keys = f"{count} keys wait" if count > 1 else "a key waits"
        log.warning(
            "held",
            f"{keys} for an operator: {reason}. Look: erpsyncd held list {name.entity}; "
            f"send: erpsyncd held release {name.entity} --store {name.store}",
            code="E-BRAKE",
            reason=reason,
            keys=count,
            entity=name.entity,
            store=name.store,
        )

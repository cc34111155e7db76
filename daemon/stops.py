"""Why entities are stopped: each reason by its own cause, so that one that goes away leaves the others.

Invariant: an entity is stopped as long as one of its causes lasts; its stop and its return are one line in the log each.
"""

from __future__ import annotations

from daemon import log


class Stops:
    """Causes by entity."""

    def __init__(self) -> None:
        self._causes: dict[str, dict[str, str]] = {}

    def stop(self, entity: str, cause: str, reason: str, code: str) -> None:
        """Say that `cause` stops an entity. The same reason once more says nothing."""
        causes = self._causes.setdefault(entity, {})
        if causes.get(cause) != reason:
            causes[cause] = reason
            log.error("entity_stopped", reason, entity=entity, code=code)

    def resume(self, entity: str, cause: str, words: str) -> bool:
        """Say that a cause is gone; returns whether it was there."""
        causes = self._causes.get(entity, {})
        if causes.pop(cause, None) is None:
            return False
        if not causes:
            log.info("entity_resumed", words, entity=entity)
        return True

    def reason(self, entity: str) -> str:
        """Why an entity is stopped; empty while it is not."""
        return next(iter(self._causes.get(entity, {}).values()), "")


def column_cause(table: str, column: str) -> str:
    """The cause that a watched column is not there, or not what it was."""
    return f"column {table}.{column}"

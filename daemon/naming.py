"""What a person names in a command: queues and keys.

Invariant: a name that does not exist is refused with those that do; nothing is guessed.
"""

from __future__ import annotations

import uuid

from daemon.config import Config
from daemon.config.entity import Entity, KeyType
from daemon.errors import EXIT_USAGE, ErpsyncError
from daemon.model import Key, QueueName


class RequestError(ErpsyncError):
    """The command cannot be understood."""

    code = "E-REQUEST"
    exit_code = EXIT_USAGE


class KeyRefusedError(ErpsyncError):
    """A text that cannot be a key of the entity."""

    code = "E-KEY"
    exit_code = EXIT_USAGE


def parse_key(entity: Entity, text: str | int) -> Key:
    """A key as a person writes it -> as the dirty set holds it. Raises KeyRefusedError when it cannot be one."""
    try:
        if entity.key_type in (KeyType.BIGINT, KeyType.INTEGER):
            number = int(text)
            if -(2**63) <= number < 2**63:
                return number
        else:
            return str(uuid.UUID(str(text))) if entity.key_type is KeyType.UUID else str(text)
    except ValueError:
        pass
    raise KeyRefusedError(
        f"{text!r} is no key of {entity.name}: these are of type {entity.key_type}",
        hint="A key is what the column `key` of the entity's query gives.",
    )


def chosen_queues(config: Config, store: object, entity: object) -> list[QueueName]:
    """The queues that a store's and an entity's name leave; each may be None. Raises RequestError for unknown names."""
    for what, given, known in (("store", store, config.store), ("entity", entity, config.entity)):
        if given is not None and given not in known:
            raise RequestError(f"there is no {what} {given!r}", hint=f"Known: {', '.join(sorted(known))}.")
    names = [n for n in config.queues() if store in (None, n.store) and entity in (None, n.entity)]
    if not names:
        raise RequestError(f"store {store} does not show {entity}", hint="See store.*.entities.")
    return names

"""The ERP's word on some keys: their rows read now and made into documents.

Invariant: a query that fails for one key's rows fails for that key alone; the others are found by halving.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from daemon.config.entity import Entity, KeyType
from daemon.erp import Erp
from daemon.errors import EXIT_USAGE, ErpsyncError, MappingError
from daemon.mapping import Documents, Mapper
from daemon.model import Key


async def read_documents(
    erp: Erp, entity: Entity, mapper: Mapper, keys: Sequence[Key]
) -> tuple[dict[Key, Documents], dict[Key, MappingError]]:
    """Documents by key, and the keys whose rows cannot be shown; a key without rows is in neither."""
    try:
        rows = await erp.read(f"entity.{entity.name}.sql", entity.sql, keys)
    except MappingError as exc:
        if len(keys) == 1:
            return {}, {keys[0]: exc}
        middle = len(keys) // 2
        good, bad = await read_documents(erp, entity, mapper, keys[:middle])
        more_good, more_bad = await read_documents(erp, entity, mapper, keys[middle:])
        return {**good, **more_good}, {**bad, **more_bad}
    return mapper.documents(rows)


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

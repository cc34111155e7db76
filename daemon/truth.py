"""The ERP's word on some keys: their rows read now and made into documents.

Invariant: a query that fails for one key's rows fails for that key alone; the others are found by halving.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.config.entity import Entity
from daemon.erp import Erp
from daemon.errors import MappingError
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

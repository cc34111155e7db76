"""The ERP's word on some keys: their rows read now and made into documents.

Invariant: nothing is read before every transaction that marked it is visible, and a query that fails for one key's rows
fails for that key alone; the others are found by halving.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.errors import MappingError
from daemon.mapping import Documents, Mapper
from daemon.model import Claim, Key


async def hidden_keys(erp: Erp, dirty: DirtySet, claims: Iterable[Claim]) -> set[Key]:
    """Claimed keys that may not be read yet: a transaction that marked them is not visible to other sessions."""
    waiting = [claim for claim in claims if claim.xids]
    if not waiting:
        return set()
    snapshot = await erp.snapshot()
    dirty.saw(snapshot)
    return {claim.key for claim in waiting if not all(snapshot.sees(xid) for xid in claim.xids)}


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

"""The ERP's word on some keys: their rows read now and made into documents.

Invariant: what is read of a key was read in a snapshot that sees every transaction which marked it, and a query that fails
for one key's rows fails for that key alone; the others are found by halving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from daemon.config.entity import Entity
from daemon.dirtyset import DirtySet
from daemon.erp import FEW, Erp
from daemon.errors import MappingError, SourceError
from daemon.mapping import Documents, Mapper
from daemon.model import Claim, Key, Snapshot


async def read_claimed(
    erp: Erp, dirty: DirtySet, entity: Entity, mapper: Mapper, claims: Mapping[Key, Claim]
) -> tuple[set[Key], dict[Key, Documents], dict[Key, MappingError]]:
    """The keys whose transactions are not visible yet, and of the others what `read_documents` gives. Mostly one question
    to the ERP, whose rows bring their snapshot along."""
    failed = False
    if len(claims) <= FEW and ";" not in entity.sql and any(claim.xids for claim in claims.values()):
        try:
            rows, snapshot = await erp.read_seeing(f"entity.{entity.name}.sql", entity.sql, list(claims))
            if snapshot is not None:
                dirty.saw(snapshot)
                good, bad = mapper.documents(rows)
                hidden = _hidden(claims.values(), snapshot)
                for key in hidden:
                    good.pop(key, None)
                    bad.pop(key, None)
                return hidden, good, bad
        except (MappingError, SourceError):
            failed = True  # the plain query says it in its own words, key by key
    hidden = await hidden_keys(erp, dirty, claims.values())
    keys = [key for key in claims if key not in hidden]
    if not keys:
        return hidden, {}, {}
    good, bad = await read_documents(erp, entity, mapper, keys, anew=failed)
    return hidden, good, bad


async def hidden_keys(erp: Erp, dirty: DirtySet, claims: Iterable[Claim]) -> set[Key]:
    """Claimed keys that may not be read yet: a transaction that marked them is not visible to other sessions."""
    waiting = [claim for claim in claims if claim.xids]
    if not waiting:
        return set()
    snapshot = await erp.snapshot()
    dirty.saw(snapshot)
    return _hidden(waiting, snapshot)


def _hidden(claims: Iterable[Claim], snapshot: Snapshot) -> set[Key]:
    return {claim.key for claim in claims if not all(map(snapshot.sees, claim.xids))}


async def read_documents(
    erp: Erp, entity: Entity, mapper: Mapper, keys: Sequence[Key], *, anew: bool = False
) -> tuple[dict[Key, Documents], dict[Key, MappingError]]:
    """Documents by key, and the keys whose rows cannot be shown; a key without rows is in neither. `anew` as for `Erp.read`."""
    try:
        rows = await erp.read(f"entity.{entity.name}.sql", entity.sql, keys, anew=anew)
    except MappingError as exc:
        if len(keys) == 1:
            return {}, {keys[0]: exc}
        middle = len(keys) // 2
        good, bad = await read_documents(erp, entity, mapper, keys[:middle], anew=True)
        more_good, more_bad = await read_documents(erp, entity, mapper, keys[middle:], anew=True)
        return {**good, **more_good}, {**bad, **more_bad}
    return mapper.documents(rows)

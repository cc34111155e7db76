"""The lookup: column values that a watch saw become keys by the watch's query, in the ERP's own words.

Invariant: the query runs only in a snapshot that sees the transaction which touched the value, and the value's mark goes
only after the keys it gave are marked. A value for which the query fails stops no other one: everything is compared then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from daemon import log
from daemon.dirtyset import DirtySet
from daemon.erp import Erp
from daemon.errors import ErpsyncError, MappingError, SourceLost
from daemon.model import Key, Micros, QueueName
from daemon.routing import Rule
from daemon.sources import Marker
from daemon.truth import hidden_keys

_READ = 500
_HIDDEN_S = 0.005
_RETRY_S = 1.0
_STOPPED_RETRY_S = 2.0


class Lookup:
    """Empties one lookup queue into the queues of its entity."""

    def __init__(
        self,
        name: QueueName,
        rule: Rule,
        erp: Erp,
        dirty: DirtySet,
        marker: Marker,
        rescan: Callable[[str, Micros, str], None],
    ) -> None:
        self.name = name
        self._rule = rule
        self._erp = erp
        self._dirty = dirty
        self._marker = marker
        self._rescan = rescan
        self._edge = log.Edge("entity_stopped", "entity_resumed", entity=rule.entity)
        self.stopped = ""

    @property
    def entity(self) -> str:
        return self._rule.entity

    async def run(self) -> None:
        """Work whenever a value is marked; for the life of the daemon."""
        queue = self._dirty.queue(self.name)
        loop = asyncio.get_running_loop()
        while True:
            if not queue.ready.is_set():
                alarm = self._dirty.next_alarm(self.name)
                wait = None if alarm is None else max(alarm - loop.time(), 0.0)
                try:
                    async with asyncio.timeout(wait):
                        await queue.ready.wait()
                except TimeoutError:
                    pass
            await self._step()

    async def _step(self) -> None:
        loop = asyncio.get_running_loop()
        claims = self._dirty.claim(self.name, _READ, loop.time())
        if not claims:
            return
        values = [claim.key for claim in claims]
        try:
            hidden = await hidden_keys(self._erp, self._dirty, claims)
            if hidden:
                self._dirty.fail(self.name, hidden, loop.time() + _HIDDEN_S, counts=False)
                claims = [c for c in claims if c.key not in hidden]
                values = [c.key for c in claims]
            keys, bad = await self._ask(values)
        except ErpsyncError as exc:
            lost = isinstance(exc, SourceLost)
            if not lost:
                self.stopped = str(exc)
                self._edge.down(str(exc), code=exc.code)
            self._dirty.fail(self.name, values, loop.time() + (_RETRY_S if lost else _STOPPED_RETRY_S), counts=False)
            return
        except BaseException:
            self._dirty.fail(self.name, values, loop.time(), counts=False)
            raise
        if self.stopped:
            self.stopped = ""
            self._edge.up(f"{self._rule.entity} is looked up again")
        if not values:
            return
        since = min(c.since for c in claims)
        self._marker.mark(self._rule.entity, keys, since)
        if bad is not None:
            reason = f"{self._rule.table}.{self._rule.column} has values that cannot be looked up ({bad})"
            self._rescan(self._rule.entity, since, reason)
        self._dirty.done(self.name, values)

    async def _ask(self, values: Sequence[Key]) -> tuple[set[Key], MappingError | None]:
        """The keys that these values give, and why some of them give none."""
        if not values:
            return set(), None
        try:
            return await self._erp.keys(self._rule.where, self._rule.keys_sql, values), None
        except MappingError as exc:
            if len(values) == 1:
                return set(), exc
        middle = len(values) // 2
        keys, bad = await self._ask(values[:middle])
        more, worse = await self._ask(values[middle:])
        return keys | more, bad or worse

"""The poller: keys that no row change announces, found by the mapping's window queries on the ERP's clock.

Invariant: the windows of a rule follow each other without a hole, over restarts too: a window's end is stored in the same
transaction as its marks and is where the next one begins (less the rule's overlap, for commits that come late). The first
one begins before the first load does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection
from dataclasses import dataclass

from daemon import log
from daemon.config.entity import Entity, Poll
from daemon.erp import Erp, plain_keys
from daemon.errors import ErpsyncError
from daemon.model import Micros
from daemon.sources import Marker
from daemon.state import StateFile

_RETRY_S = 2.0
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class RuleState:
    """For the displays."""

    last: Micros | None = None
    """ERP time up to which the rule has looked."""
    problem: str = ""


def looked_until(state: StateFile) -> Micros | None:
    """ERP time up to which every rule that was ever asked has looked; None where there was none. Blocking."""
    ends = [dt.datetime.fromisoformat(last) for (last,) in state.query("select last from poll")]
    return _micros(min(ends)) if ends else None


def forget_other_rules(state: StateFile, names: Collection[str]) -> None:
    """Rules that are not asked any more say nothing of what has been seen."""
    for (name,) in state.query("select name from poll"):
        if name not in names:
            state.append("delete from poll where name = ?", name)


class Poller:
    """One rule of one entity."""

    def __init__(
        self,
        entity: Entity,
        rule: Poll,
        number: int,
        erp: Erp,
        marker: Marker,
        state: StateFile,
        polled: Callable[[], None],
    ) -> None:
        self.name = f"{entity.name}/{rule.name}"
        self.where = f"entity.{entity.name}.poll.{number}.keys"
        self.entity = entity.name
        self._rule = rule
        self._erp = erp
        self._marker = marker
        self._state = state
        self._polled = polled
        self._last = self._stored()
        self.state = RuleState()
        self._edge = log.Edge("poll_failed", "poll_back", entity=entity.name)

    def begin(self, moment: Micros) -> bool:
        """The ERP's clock before anything was read; returns whether the rule is new. Before `run`."""
        if self._last is not None:
            return False
        self._last = _EPOCH + dt.timedelta(microseconds=moment)
        self._store(self._last)
        return True

    async def run(self) -> None:
        """Look again and again; a failure is logged once and tried again."""
        assert self._last is not None
        while True:
            try:
                self._last = await self._look(self._last)
                self._edge.up(f"poll rule {self.name} works again")
                self.state.problem = ""
                wait = self._rule.every
            except ErpsyncError as exc:
                self.state.problem = str(exc)
                self._edge.down(str(exc), code=exc.code)
                wait = min(_RETRY_S, self._rule.every)
            await asyncio.sleep(wait)

    def _stored(self) -> dt.datetime | None:
        rows = self._state.query("select last from poll where name = ?", (self.name,))
        return dt.datetime.fromisoformat(rows[0][0]) if rows else None

    def _store(self, last: dt.datetime) -> None:
        self._state.append("insert or replace into poll (name, last) values (?, ?)", self.name, last.isoformat())

    async def _look(self, last: dt.datetime) -> dt.datetime:
        async with self._erp.connection(self.where) as connection:
            now: dt.datetime = await connection.fetchval("select clock_timestamp()")
            start = last - dt.timedelta(seconds=self._rule.overlap)
            rows = await connection.fetch(self._rule.keys, start, now)
        keys = plain_keys(rows, self.where)
        if keys:
            # somewhere in the window: its beginning is the honest age
            self._marker.mark(self.entity, keys, _micros(last))
        self._store(now)
        self.state.last = _micros(now)
        self._polled()
        return now


def _micros(moment: dt.datetime) -> Micros:
    return int(moment.timestamp() * 1_000_000)

"""What of a queue waits on disk alone: the oldest of it is read when memory has room, all of it is counted now and then.

Invariant: both read what was appended before they began, and what changes while they read counts as newer than what they found.
"""

from __future__ import annotations

import asyncio
import sqlite3

from daemon import log
from daemon.dirtyqueue import Queue, Tag
from daemon.model import Key, Micros, Xid
from daemon.state import StateFile

_RETRY_S = 1.0

Row = tuple[Key, Micros, str | None]


def packed(xids: frozenset[Xid]) -> str | None:
    """Transactions of a mark, as they are on disk."""
    return " ".join(map(str, sorted(xids))) if xids else None


def unpacked(since: Micros, xids: str | None) -> Tag:
    """The mark that is on disk so."""
    return Tag(since, frozenset(map(int, xids.split())) if xids else frozenset())


async def refill(state: StateFile, queue: Queue, room: int) -> None:
    """Take in the oldest marks, for which `room` keys find place beside those held already. Ends a begun refill."""
    try:
        await state.settle()
        most = room + len(queue.claimed) + len(queue.waiting) + len(queue.fresh)

        def oldest(connection: sqlite3.Connection) -> list[Row]:
            sql = "select key, since, xids from dirty where queue = ? order by since limit ?"
            return connection.execute(sql, (queue.id, most)).fetchall()

        rows = await state.read(oldest)
        queue.refill(((key, unpacked(since, xids)) for key, since, xids in rows), complete=len(rows) < most)
    except sqlite3.Error as exc:
        log.error("state_failing", f"marks on disk cannot be read: {exc}", code="E-STATE-READ")
        await asyncio.sleep(_RETRY_S)
    finally:
        queue.refilling = False
    queue.ready.set()


async def count(state: StateFile, queue: Queue) -> None:
    """Set right how many keys wait on disk alone. Where marks come in meanwhile, the next count is better."""

    def marks(connection: sqlite3.Connection) -> int:
        ((number,),) = connection.execute("select count(*) from dirty where queue = ?", (queue.id,))
        return int(number)

    queue.begin_refill()
    queue.uncounted = False
    try:
        await state.settle()
        written = state.flushed
        queue.recount(await state.read(marks))
        queue.uncounted |= written != state.appended
    except sqlite3.Error:
        queue.uncounted = True  # the number stays what it is; what cannot be read is told by the next refill
    finally:
        queue.refilling = False
    queue.ready.set()

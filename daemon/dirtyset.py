"""The dirty set: which keys have changes that a store has not acknowledged; durable, coalescing, bounded.

Invariant: a key that was marked stays in the set until `done` for a claim that was made after its newest mark. All state
changes are synchronous and happen in the event loop; the disk follows in the same order (see state.py), so a crash at any
point reopens every claim and forgets no mark. Memory holds at most `window` keys a queue, the rest waits on disk.

The states of a key in a queue: fresh (may be claimed), claimed, claimed and marked again, waiting (until a time), parked
(quarantined or held, until its next change or an operator). Background keys, offered by a backfill page, live in memory
alone: the page's cursor is what is durable about them.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from daemon.dirtyqueue import InFlight, Parked, Queue, QueueStats, Tag, Waiting, joined
from daemon.model import NOTHING_SEEN, Claim, Key, Lsn, Micros, QueueName, Snapshot, Xid
from daemon.spill import count, packed, refill, unpacked
from daemon.state import StateFile, json_list

WINDOW = 200_000
_COUNT_EVERY_S = 1.0

# a conflict is a key that waits on disk alone: the older age and all transactions count
_OLDEST = """where true on conflict do update set since = min(since, excluded.since), xids = case
    when excluded.xids is null then xids when xids is null then excluded.xids else xids || ' ' || excluded.xids end"""
_MARK = f"insert into dirty (queue, key, since, xids) select ?, value, ?, ? from json_each(?) {_OLDEST}"  # noqa: S608 -- constants
_MARK_FEW = f"""insert into dirty (queue, key, since, xids) select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]'), json_extract(value, '$[3]') from json_each(?) {_OLDEST}"""  # noqa: S608 -- constants
_FEW = 10  # most keys of a mark that is written together with others
_REMARK = "insert or replace into dirty (queue, key, since, xids) select ?, value, ?, ? from json_each(?)"
_CLEAN = "delete from dirty where queue = ? and key in (select value from json_each(?))"
_PARK = """insert or replace into parked (queue, key, since, kind, code, reason, at) values (?, ?, ?, ?, ?, ?, ?)"""
_UNPARK = "delete from parked where queue = ? and key in (select value from json_each(?))"


class DirtySet:
    """All queues over one state file."""

    def __init__(self, state: StateFile, *, window: int = WINDOW) -> None:
        self._state = state
        self._window = window
        self._queues: dict[QueueName, Queue] = {}
        self._refills: set[asyncio.Task[None]] = set()
        self.seen: Snapshot = NOTHING_SEEN
        """The newest snapshot of the ERP that anyone took; transactions it sees need no waiting."""

    # -- opening

    def open(self, names: Collection[QueueName]) -> None:
        """Load the queues. Blocking; before the loop's work begins."""
        for name in names:
            row = (name.store, name.entity)
            self._state.execute("insert into queue (store, entity) values (?, ?) on conflict do nothing", row)
            ((queue_id,),) = self._state.query("select id from queue where store = ? and entity = ?", row)
            queue = Queue(queue_id, name)
            self._queues[name] = queue
            rows = self._state.query(
                "select key, since, xids from dirty where queue = ? order by since limit ?", (queue_id, self._window)
            )
            for key, since, xids in rows:
                queue.fresh[key] = unpacked(since, xids)
                queue.order.append(key)
                queue.newest = since
            if len(rows) == self._window:
                ((queue.spilled, oldest),) = self._state.query(
                    "select count(*) - ?, min(since) from dirty where queue = ?", (self._window, queue_id)
                )
                queue.spilled_since = oldest or 0
            for key, since, kind in self._state.query(
                "select key, since, kind from parked where queue = ?", (queue_id,)
            ):
                queue.parked[key] = Parked(since, kind)
            if queue.fresh:
                queue.ready.set()

    def queue(self, name: QueueName) -> Queue:
        return self._queues[name]

    def names(self) -> list[QueueName]:
        return list(self._queues)

    def saw(self, snapshot: Snapshot) -> None:
        """Remember the newest snapshot. Snapshots of one primary only ever see more."""
        if snapshot.xmax >= self.seen.xmax and snapshot.xmin >= self.seen.xmin:
            self.seen = snapshot

    def forget_seen(self) -> None:
        """After a reconnect to what may be another primary: what was visible there need not be here."""
        self.seen = NOTHING_SEEN

    def forget_transactions(self) -> None:
        """The ERP numbers its transactions anew: marks wait for none of those that were met before."""
        self.forget_seen()
        for queue in self._queues.values():
            queue.forget_transactions()
        self._state.append("update dirty set xids = null where xids is not null")

    # -- marking

    def mark(self, name: QueueName, keys: AbstractSet[Key], since: Micros, xid: Xid | None = None) -> None:
        """Say that `keys` changed in the ERP at `since` by transaction `xid`. Costs no write for a key that is fresh."""
        queue = self._queues[name]
        tag = Tag(since) if xid is None or self.seen.sees(xid) else Tag(since, frozenset((xid,)))
        new = (
            set(keys.difference(queue.fresh)) if isinstance(keys, (set, frozenset)) else set(keys) - queue.fresh.keys()
        )
        if len(new) < len(keys) and (tag.xids or since < queue.newest):
            self._merge(queue, keys - new, tag)
        queue.newest = max(queue.newest, since)
        if queue.claimed and not queue.claimed.keys().isdisjoint(new):
            flying = new & queue.claimed.keys()
            new -= flying
            self._mark_again(queue, flying, tag)
        if queue.waiting and not queue.waiting.keys().isdisjoint(new):
            delayed = new & queue.waiting.keys()
            new -= delayed
            self._mark_waiting(queue, delayed, tag)
        if queue.parked and not queue.parked.keys().isdisjoint(new):
            back = new & queue.parked.keys()
            new -= back
            self._unpark(queue, back, tag)
        if not new:
            return
        if queue.page:
            queue.leave_page(*new)
        xids = packed(tag.xids)
        if len(new) > _FEW:
            self._state.append(_MARK, queue.id, tag.since, xids, json_list(new))
        else:
            self._state.append_rows(_MARK_FEW, [(queue.id, key, tag.since, xids) for key in new])
        if queue.spilled or len(queue.fresh) + len(new) > self._window:
            queue.spill(new, since)
        else:
            queue.fresh.update(dict.fromkeys(new, tag))
            queue.order.extend(new)
        queue.ready.set()

    def _unseen(self, tag: Tag) -> Tag:
        """The mark without the transactions that are visible by now."""
        sees = self.seen.sees
        return Tag(tag.since, frozenset(xid for xid in tag.xids if not sees(xid))) if tag.xids else tag

    def _remark(self, queue: Queue, tag: Tag, keys: Iterable[Key]) -> None:
        self._state.append(_REMARK, queue.id, tag.since, packed(tag.xids), json_list(keys))

    def _clean(self, queue: Queue, keys: Collection[Key]) -> None:
        self._state.append(_CLEAN, queue.id, json_list(keys))
        if queue.refilling:
            queue.changed.update(keys)

    def _merge(self, queue: Queue, keys: Iterable[Key], tag: Tag) -> None:
        """Let keys that are fresh already be older, or wait for one more transaction."""
        merged: dict[Tag, tuple[Tag, list[Key]]] = {}
        for key in keys:
            old = queue.fresh[key]
            if tag.xids <= old.xids and tag.since >= old.since:
                continue
            if old not in merged:
                merged[old] = (joined(self._unseen(old), tag), [])
            new, changed = merged[old]
            queue.fresh[key] = new
            changed.append(key)
        for new, changed in merged.values():
            self._remark(queue, new, changed)

    def _mark_again(self, queue: Queue, keys: Iterable[Key], tag: Tag) -> None:
        """Keys in flight changed: what is claimed no longer ends their marks. The disk has both marks as one."""
        for key in keys:
            flight, old = queue.claimed[key], queue.again.get(key)
            new = tag if old is None else joined(self._unseen(old), tag)
            if new != old:
                queue.again[key] = new
                self._remark(queue, joined(flight.tag, new), (key,))
                flight.durable = True

    def _mark_waiting(self, queue: Queue, keys: Iterable[Key], tag: Tag) -> None:
        for key in keys:
            wait = queue.waiting[key]
            new = joined(self._unseen(wait.tag), tag)
            if new != wait.tag or not wait.durable:
                wait.tag, wait.durable = new, True
                self._remark(queue, new, (key,))
                queue.leave_page(key)

    def offer(self, name: QueueName, keys: Iterable[Key], since: Micros) -> None:
        """Put a backfill page in: keys to be compared when nothing fresher waits. Await `page_done` before the next.

        A key in flight is marked durably at `since`, since it may have been read before whatever the backfill is for."""
        queue = self._queues[name]
        queue.newest = max(queue.newest, since)
        taken = {k for k in keys if k not in queue.fresh and k not in queue.waiting and k not in queue.parked}
        flying = taken & queue.claimed.keys()
        if flying:
            self._mark_again(queue, flying, Tag(since))
            taken -= flying
        queue.page |= taken
        queue.background.extend(taken)
        queue.settled.clear()
        queue.leave_page()
        if taken:
            queue.ready.set()

    async def page_done(self, name: QueueName) -> None:
        """Wait until each key of the offered page is acknowledged, or durable in the set by itself."""
        await self._queues[name].settled.wait()

    # -- claiming

    def claim(self, name: QueueName, limit: int, now: float) -> list[Claim]:
        """Take up to `limit` keys, oldest first, background last. `now` is the loop's clock, for keys that waited."""
        queue = self._queues[name]
        queue.wake(now)
        claims: list[Claim] = []
        fresh, order, claimed = queue.fresh, queue.order, queue.claimed
        while order and len(claims) < limit:
            key = order.popleft()
            tag = fresh.pop(key, None)
            if tag is None:
                continue
            tag = self._unseen(tag)
            attempt = queue.attempts.get(key, 0) if queue.attempts else 0
            claimed[key] = InFlight(tag, True, attempt)
            claims.append(Claim(key, tag.since, tag.xids, attempt))
        if order:
            return claims
        if queue.spilled:  # what waits on disk is fresher than any comparison, and may be among its keys
            queue.ready.clear()
            if not queue.refilling:
                self._start_refill(queue)
            return claims
        while queue.background and len(claims) < limit:
            key = queue.background.popleft()
            if key in queue.page and key not in claimed and key not in queue.waiting:
                attempt = queue.attempts.get(key, 0)
                claimed[key] = InFlight(Tag(0), False, attempt)
                claims.append(Claim(key, 0, frozenset(), attempt, background=True))
        if not queue.background:
            queue.ready.clear()
        return claims

    def next_alarm(self, name: QueueName) -> float | None:
        """When the first waiting key may be claimed, on the loop's clock."""
        return self._queues[name].next_alarm()

    # -- ending a claim

    def done(self, name: QueueName, keys: Iterable[Key]) -> None:
        """The store has the claimed truth of these keys. Those marked meanwhile stay, with the newer mark's age."""
        queue = self._queues[name]
        clean: list[Key] = []
        for key in keys:
            flight = queue.claimed.pop(key)
            if queue.attempts:
                queue.attempts.pop(key, None)
            tag = queue.again.pop(key, None) if queue.again else None
            if tag is not None:
                self._remark(queue, tag, (key,))
                queue.freshen(key, tag)
            elif flight.durable:
                clean.append(key)
            if queue.page:
                queue.leave_page(key)
        if clean:
            self._clean(queue, clean)

    def fail(self, name: QueueName, keys: Iterable[Key], ready_at: float, *, counts: bool = True) -> None:
        """Give claimed keys back; they may be claimed again from `ready_at` on (the loop's clock)."""
        queue = self._queues[name]
        for key in keys:
            flight = queue.claimed.pop(key)
            again = queue.again.pop(key, None)
            tag = flight.tag if again is None else joined(flight.tag, again)
            queue.waiting[key] = Waiting(tag, flight.durable, flight.attempt + counts)
            heapq.heappush(queue.alarm, (ready_at, key))
            if flight.durable and queue.page:
                queue.leave_page(key)
        queue.ready.set()

    def park(self, name: QueueName, key: Key, kind: str, code: str, reason: str, now: Micros) -> None:
        """Set a claimed key aside: `kind` quarantined or held. It keeps ageing; its next change brings it back."""
        queue = self._queues[name]
        flight = queue.claimed.pop(key)
        since = flight.tag.since or now
        again = queue.again.pop(key, None)
        if again is not None:
            # it changed while it was being refused: the newer truth gets its own try at once
            tag = joined(flight.tag, again)
            self._remark(queue, tag, (key,))
            queue.freshen(key, tag)
        else:
            if flight.durable:
                self._clean(queue, (key,))
            self._state.append(_PARK, queue.id, key, since, kind, code, reason, now)
            queue.parked[key] = Parked(since, kind)
        queue.attempts.pop(key, None)
        queue.leave_page(key)

    def release(self, name: QueueName, kind: str, keys: Collection[Key] | None = None) -> list[Key]:
        """Bring parked keys of a kind back (all of them when `keys` is None); returns which."""
        queue = self._queues[name]
        chosen = {k for k, p in queue.parked.items() if p.kind == kind and (keys is None or k in keys)}
        self._unpark(queue, chosen)
        return list(chosen)

    def drop(self, name: QueueName, kind: str, keys: Collection[Key] | None = None) -> list[Key]:
        """Forget parked keys of a kind without sending them; their next change marks them again."""
        queue = self._queues[name]
        chosen = [k for k, p in queue.parked.items() if p.kind == kind and (keys is None or k in keys)]
        for key in chosen:
            del queue.parked[key]
        if chosen:
            self._state.append(_UNPARK, queue.id, json_list(chosen))
        return chosen

    def _unpark(self, queue: Queue, keys: Iterable[Key], mark: Tag | None = None) -> None:
        keys = list(keys)
        if not keys:
            return
        for key in keys:
            tag = Tag(queue.parked.pop(key).since)
            if mark is not None:
                tag = joined(tag, mark)
            self._remark(queue, tag, (key,))
            queue.freshen(key, tag)
        self._state.append(_UNPARK, queue.id, json_list(keys))

    async def close(self) -> None:
        """End what reads from the disk in the background; what was not read waits there."""
        for task in list(self._refills):
            task.cancel()
        if self._refills:
            await asyncio.wait(self._refills)

    # -- the window over a larger set on disk

    def _start_refill(self, queue: Queue) -> None:
        queue.begin_refill()
        work = refill(self._state, queue, max(self._window // 2, 1))
        task = asyncio.get_running_loop().create_task(work, name=f"refill {queue.name}")
        self._refills.add(task)
        task.add_done_callback(self._refills.discard)

    async def keep_count(self) -> None:
        """Count what waits on disk now and then, for keys that are marked there again are not told from others. Never ends."""
        while True:
            await asyncio.sleep(_COUNT_EVERY_S)
            await self.recount()

    async def recount(self) -> None:
        """Set right how many keys wait on disk alone. Where marks come in meanwhile, the next count is better."""
        for queue in self._queues.values():
            if queue.uncounted and queue.spilled and not queue.refilling:
                await count(self._state, queue)

    # -- figures

    def stats(self, name: QueueName) -> QueueStats:
        """Counts and the commit time of the oldest change that is not acknowledged."""
        return self._queues[name].stats()

    @property
    def durable(self) -> Lsn:
        """The position up to which every mark is on disk."""
        return self._state.durable

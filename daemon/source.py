"""The source: one stream at a time, from deciding where to start, through loss and return, to gaps.

Invariant: nothing streams before the position and the slot are known to be one story (slot.py), and a gap is answered as
configured: everything compared anew, or a halt. A lost ERP is waited for with growing pauses and never ends the daemon.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable

import orjson

from daemon import failpoints, log
from daemon.config import Config
from daemon.errors import DecodeError, ErpsyncError, GapError, OtherHistory, SourceError, SourceLost
from daemon.ingest import Ingest
from daemon.metrics import Metrics
from daemon.model import Fingerprint, Lsn, Micros, format_lsn
from daemon.pacing import Backoff
from daemon.poller import looked_until
from daemon.slot import (
    Create,
    Gap,
    GapNote,
    Position,
    Server,
    SlotKeeper,
    Standby,
    Start,
    check_slot,
    judge_slot,
    renumbered,
)
from daemon.staleness import State
from daemon.state import StateFile
from daemon.walstream import WalStream

_STANDBY_S = 1.0
_DEGRADED_S = 5.0
_POLLING_S = 30.0
_POSITION = "select system_id, timeline, dbname, slot, lsn, commit_lsn, commit_xid, commit_at, gap from source"


class Source:
    """Keeps the stream running. `state` is one of the words of staleness.SourceView."""

    def __init__(
        self,
        config: Config,
        state: StateFile,
        ingest: Ingest,
        metrics: Metrics,
        *,
        compare_all: Callable[[Micros, str, bool], None],
        compare_known: Callable[[str, Micros | None], None],
        connected: Callable[[], Awaitable[None]],
        streaming: Callable[[], None],
        now: Callable[[], Micros],
    ) -> None:
        self._config = config
        self._state = state
        self._ingest = ingest
        self._metrics = metrics
        self._compare_all = compare_all
        self._compare_known = compare_known
        self._connected = connected
        self._streaming = streaming
        self._now = now
        self._keeper = SlotKeeper(
            config.erp.replication_dsn.reveal(),
            config.slot_name(),
            place=config.erp.stream_place,
            failover=config.erp.failover_slot,
        )
        self._publication = config.erp.publication
        self._backoff = Backoff(base=0.25, cap=10.0)
        self._edge = log.Edge("erp_lost", "erp_back")
        self.state: State = "starting"
        self.reason = ""
        self.streamed = False

    async def run(self) -> None:
        """Stream for the life of the daemon. Raises only what a person must mend before a start can succeed."""
        attempt = 0
        try:
            while True:
                try:
                    start = await self._where_to_start()
                    if start is None:
                        attempt = 0
                        await asyncio.sleep(_STANDBY_S)
                        continue
                    await self._stream(start)
                except OtherHistory as exc:
                    self._note(GapNote(exc.message, renumbered=True))
                except SourceLost as exc:
                    attempt = 1 if self.state == "streaming" else attempt + 1
                    self._lost(str(exc), exc.code)
                    await asyncio.sleep(self._backoff.wait(attempt, random.random))
                except (GapError, DecodeError):
                    raise
                except ErpsyncError as exc:
                    if exc.code == "E-PUBLICATION" and await self._published_again():
                        continue
                    if not self.streamed:
                        raise
                    # it streamed before: stay, say why, and go on as soon as it is mended
                    self._lost(str(exc), exc.code, grave=True)
                    await asyncio.sleep(_DEGRADED_S)
        finally:
            await self._keeper.close()

    def _lost(self, reason: str, code: str, *, grave: bool = False) -> None:
        self.state, self.reason = "lost", reason
        self._metrics.error(code)
        self._edge.down(reason, grave=grave, code=code)

    async def poll(self) -> None:
        """mode = "poll": the same daemon on poll rules alone; for its life."""
        while True:
            try:
                await self._connected()
                if (stored := self._stored()) is not None:
                    seen = None if stored.commit is None else stored.commit.commit_at
                    self._compare_known("poll rules alone find changes from now on", seen)
                    await self._state.settle()
                    self._state.execute("update source set system_id = null")
                    self._state.set_position(0)
                self.state, self.reason = "polling", ""
                self._edge.up("the ERP is back")
                self._streaming()
                await asyncio.sleep(_POLLING_S)
            except SourceLost as exc:
                self._lost(str(exc), exc.code)
                await asyncio.sleep(_STANDBY_S)

    async def _published_again(self) -> bool:
        """Whether the stream failed at the publication although it is there: the slot's log is older than it is."""
        position = self._stored()
        try:
            if position is None or not position.lsn or not await self._keeper.publication_exists(self._publication):
                return False
        except ErpsyncError:
            return False
        reason = f'publication "{self._publication}" was dropped and made anew, the slot cannot be read past that'
        self._note(GapNote(reason, spoilt=True))
        return True

    def _note(self, gap: GapNote) -> None:
        self._state.execute("update source set gap = ?", (orjson.dumps(dataclasses.asdict(gap)).decode(),))

    async def _stream(self, start: Start) -> None:
        stream = WalStream(self._config.erp.stream_place)
        try:
            erp = self._config.erp
            settings = {} if erp.decoding_memory == "server" else {"logical_decoding_work_mem": erp.decoding_memory}
            dsn = erp.replication_dsn.reveal()
            await stream.open(dsn, self._keeper.name, self._publication, start.lsn, settings=settings)
            await self._ingest.run(stream, ready=self._ready, owed=start.owed)
        finally:
            await stream.close()
            if self.streamed:
                self._metrics.reconnects.inc()

    def _ready(self) -> None:
        self.state, self.reason, self.streamed = "streaming", "", True
        self._edge.up("the ERP is back")
        self._streaming()

    async def _where_to_start(self) -> Start | None:
        """Where to stream from; None while another reader holds the slot."""
        await self._keeper.open()
        server = await self._keeper.server()
        await self._connected()
        slot = await self._keeper.slot()
        check_slot(slot, server)
        position = self._stored()
        match judge_slot(position, server, slot):
            case Start(lsn) as start:
                if position is None or not position.lsn:
                    await self._begin(server, lsn)
                else:
                    self._remember(server)
                return start
            case Standby(pid):
                if self.state != "standby":
                    log.info(
                        "standby", f'slot "{self._keeper.name}" is read by another erpsyncd (server process {pid})'
                    )
                self.state, self.reason = "standby", f"another erpsyncd reads the slot (server process {pid})"
                return None
            case Create():
                return await self._create(server)
            case Gap(reason, reusable):
                return await self._gap(server, reason, reusable)

    async def _create(self, server: Server) -> Start:
        if not self._config.erp.create_slot:
            raise SourceError(
                f'replication slot "{self._keeper.name}" does not exist',
                where="erp.slot",
                code="E-SLOT-MISSING",
                hint="Let the DBA create it, or set erp.create_slot = true.",
            )
        log.info(
            "slot_created",
            f'creating replication slot "{self._keeper.name}"; this waits for transactions that write now',
        )
        lsn = await self._keeper.create(server.version)
        failpoints.reach("slot_created")
        await self._begin(server, lsn)
        return Start(lsn)

    async def _begin(self, server: Server, lsn: Lsn) -> None:
        """The stream begins here: what a poll rule or an earlier slot told of ended before it."""
        self._compare_known("the stream begins", looked_until(self._state))
        await self._state.settle()
        self._remember(server)
        failpoints.reach("slot_remembered")
        self._state.set_position(lsn)

    async def _gap(self, server: Server, reason: str, reusable: bool) -> Start:
        self._metrics.gaps.inc()
        self.state, self.reason = "gap", reason
        log.error("gap", f"changes may have been missed: {reason}", code="E-GAP")
        if self._config.erp.on_gap == "halt":
            raise GapError(
                reason,
                where="erp.slot",
                hint='Set erp.on_gap = "resync" to compare everything with the store, then start again.',
            )
        position = self._stored()
        anew = position is not None and renumbered(position, server)
        # after the next step a server that was restored may look like the one that we know
        self._note(GapNote(reason, anew, spoilt=not reusable))
        slot = await self._keeper.slot()
        if slot is None or not reusable:
            await self._keeper.drop()
            lsn = await self._keeper.create(server.version)
        else:
            lsn = slot.confirmed or 0
        failpoints.reach("gap_slot_made")
        # from here on the stream tells everything again; what was missed is found by comparing every key
        known = None if position is None else position.commit
        # what was missed may be as old as the newest commit that we know
        since = self._now() if known is None else min(self._now(), known.commit_at)
        self._compare_all(since, reason, anew)
        await self._state.settle()
        failpoints.reach("gap_marked")
        self._remember(server)
        self._state.set_position(lsn)
        log.warning("resync", f"streaming from {format_lsn(lsn)} while every key is compared")
        return Start(lsn)

    def _stored(self) -> Position | None:
        ((system_id, timeline, dbname, slot, lsn, *commit, gap),) = self._state.query(_POSITION)
        if system_id is None:
            return None
        newest = None if commit[0] is None else Fingerprint(*commit)
        note = None if gap is None else GapNote(**orjson.loads(gap))
        return Position(system_id, timeline, dbname, slot, lsn, newest, note)

    def _remember(self, server: Server) -> None:
        self._state.execute(
            "update source set system_id = ?, timeline = ?, dbname = ?, slot = ?",
            (server.system_id, server.timeline, server.dbname, self._keeper.name),
        )

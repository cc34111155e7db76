"""Watch the slot from beside the stream: canaries into the log, and how much log the ERP keeps for us.

Invariant: neither task ends or raises for a lost ERP; what they saw last stays as it is until they see more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon import log
from daemon.config import Config
from daemon.errors import ErpsyncError
from daemon.model import Micros
from daemon.slot import SlotKeeper
from daemon.staleness import SlotView

_SLOT_S = 5.0
_RETRY_S = 1.0


@dataclass(slots=True)
class Looks:
    """What the watching tasks saw last."""

    slot: SlotView | None = None
    offset_s: float | None = None
    polled_at: Micros | None = None


def _keeper(config: Config) -> SlotKeeper:
    return SlotKeeper(config.erp.replication_dsn.reveal(), config.slot_name(), place=config.erp.stream_place)


async def send_canaries(config: Config, active: asyncio.Event) -> None:
    """Write a numbered message into the ERP's log now and then; its return shows how far the stream is."""
    keeper = _keeper(config)
    await active.wait()
    number = 0
    try:
        while True:
            number += 1
            try:
                await keeper.emit_canary(str(number))
            except ErpsyncError:
                await asyncio.sleep(_RETRY_S)
                continue
            await asyncio.sleep(config.erp.canary)
    finally:
        await keeper.close()


async def watch_slot(config: Config, active: asyncio.Event, looks: Looks) -> None:
    """Look at the slot now and then; one line when it is at risk, one when it is safe again."""
    keeper = _keeper(config)
    edge = log.Edge("slot_at_risk", "slot_safe")
    await active.wait()
    try:
        while True:
            try:
                view = looks.slot = await keeper.view()
            except ErpsyncError:
                await asyncio.sleep(_RETRY_S)
                continue
            if view is not None and view.wal_status in ("unreserved", "lost"):
                edge.down(f"slot {view.name} is {view.wal_status}: the ERP is about to drop the log that it needs")
            elif view is not None:
                edge.up(f"slot {view.name} is safe again")
            await asyncio.sleep(_SLOT_S)
    finally:
        await keeper.close()

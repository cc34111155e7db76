"""The plan without a running daemon: straight from the ERP and the state file.

Invariant: connections to the ERP are read-only, and the state file is opened for reading alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from daemon.config import Config
from daemon.erp import Erp
from daemon.model import QueueName
from daemon.operations import ground_of
from daemon.plan import Planner
from daemon.preflight import examine
from daemon.stateview import StateView


def plan_offline(config: Config, names: Sequence[QueueName], limit: int) -> list[dict[str, Any]]:
    """What a start would send. Raises ErpsyncError where the ERP or the state cannot be read."""
    return asyncio.run(_plan(config, names, limit))


async def _plan(config: Config, names: Sequence[QueueName], limit: int) -> list[dict[str, Any]]:
    erp = Erp(config.erp.dsn.reveal(), connections=1, statement_timeout_s=config.erp.statement_timeout)
    # the queries matter here, the replication set-up does not
    queries_only = config.model_copy(update={"erp": config.erp.model_copy(update={"mode": "poll"})})
    try:
        await erp.open()
        findings = await examine(erp, queries_only)
        findings.raise_first()
        shown: list[dict[str, Any]] = []
        async with StateView(config.state.path) as view:
            for name in names:
                smallest = findings.smallest.get(name.entity)
                shown.append(
                    (await Planner(ground_of(config, name, erp, smallest, view, _flushed), limit=limit).run()).as_json()
                )
        return shown
    finally:
        await erp.close()


async def _flushed() -> None:
    """Nobody writes: the file is all there is."""

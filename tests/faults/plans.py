"""What goes wrong in one run of the fault suite: drawn from its seed, applied to a world, and taken back.

Invariant: a plan is a function of its seed alone, and what it breaks it mends before the oracle is asked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, cast

import asyncpg

from daemon.demo.embedded import StopMode
from daemon.failpoints import POINTS
from tests.doubles.shop import (
    Empty500,
    FailAfterWrite,
    Fault,
    Hold,
    Html,
    LeaveOut,
    Reject,
    Reset,
    Retry,
    Shop,
    Slow,
    Throttle,
)
from tests.doubles.tcp import TcpProxy
from tests.faults.world import World
from tests.waiting import until

LOAD_S = 1.2
SOURCES = (
    "nothing",
    "kill",
    "kill",
    "kill twice",
    "failpoint",
    "failpoint",
    "stop",
    "postgres fast",
    "postgres immediate",
    "walsender",
    "sessions",
    "cut",
    "reset",
    "stall",
    "refuse",
    "slot dropped",
)
KILLING = ("kill", "kill twice", "failpoint", "slot dropped")
STORES = (
    "nothing",
    "reject",
    "retry",
    "left out",
    "lost answers",
    "500 after write",
    "no answer after write",
    "hold",
    "hold after write",
    "slow",
    "500",
    "throttle",
    "html",
    "reset",
    "down",
)
DELAYING = ("hold", "slow")
"""A call that the daemon made before it was killed would be written after a younger one: not the daemon's doing."""
_STEADY = tuple(point for point in POINTS if not point.startswith(("slot_", "gap_", "backfill_")))


@dataclass(frozen=True)
class Plan:
    """One run's faults. `stores`: one for each store of the world."""

    seed: int
    source: str
    stores: tuple[str, ...]

    @classmethod
    def draw(cls, seed: int, stores: int) -> Plan:
        rng = _rng(seed, "plan")
        source = rng.choice(SOURCES)
        allowed = [kind for kind in STORES if source not in KILLING or kind not in DELAYING]
        return cls(seed, source, tuple(rng.choice(allowed) for _ in range(stores)))

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.source}; " + ", ".join(f"{s} in the store" for s in self.stores)

    async def source_fault(self, place: World) -> None:
        """What happens to the daemon, the ERP or the line between them, at a moment of the seed's choosing."""
        rng = _rng(self.seed, "source")
        await asyncio.sleep(rng.uniform(0.1, LOAD_S * 0.8))
        await _SOURCE_FAULTS[self.source](place, rng)

    async def store_fault(self, shop: Shop, kind: str, number: int) -> None:
        """What happens to a store for a part of the load; over when this returns."""
        rng = _rng(self.seed, f"store {number}")
        await asyncio.sleep(rng.uniform(0.0, LOAD_S * 0.3))
        if kind == "nothing":
            return
        if kind == "down":
            await shop.stop()
            await asyncio.sleep(rng.uniform(0.1, LOAD_S * 0.6))
            await shop.start()
            return
        fault = _store_fault(kind, rng)
        few = kind in ("throttle", "html", "500", "500 after write", "no answer after write", "reset")
        shop.inject(fault, method="POST", calls=rng.randint(1, 3) if few else None)
        await asyncio.sleep(rng.uniform(0.1, LOAD_S * 0.6))
        shop.clear()


def _rng(seed: int, what: str) -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311 - repeatable, no secret


def _store_fault(kind: str, rng: random.Random) -> Fault:
    some = {f"A{n}|{tail}" for n in rng.sample(range(1, 61), 20) for tail in ("W1", "W2", "default|EUR|1")}
    made: dict[str, Callable[[], Fault]] = {
        "reject": lambda: Reject(some),
        "retry": lambda: Retry(some),
        "left out": lambda: LeaveOut(some),
        "lost answers": lambda: LeaveOut(some, written=True),
        "500 after write": FailAfterWrite,
        "no answer after write": lambda: FailAfterWrite(drop=True),
        "hold": Hold,
        "hold after write": lambda: Hold(after_write=True),
        "slow": lambda: Slow(rng.uniform(0.05, 0.4)),
        "500": Empty500,
        "throttle": lambda: Throttle(rng.choice((None, 0.5, 1))),
        "html": Html,
        "reset": lambda: Reset(idle_only=rng.random() < 0.5),
    }
    return made[kind]()


# -- faults of the source: each ends with everything up again


async def _nothing(place: World, rng: random.Random) -> None:
    pass


async def _kill(place: World, rng: random.Random) -> None:
    await place.kill()
    await asyncio.sleep(rng.choice((0.0, 0.0, 0.5)))
    await place.start()


async def _kill_twice(place: World, rng: random.Random) -> None:
    await _kill(place, rng)
    await place.daemon.until_event("ready")
    await asyncio.sleep(rng.uniform(0.0, 0.3))
    await _kill(place, rng)


async def _stop(place: World, rng: random.Random) -> None:
    assert await place.daemon.terminate() == 0, place.tail()
    await place.start()


async def _failpoint(place: World, rng: random.Random) -> None:
    await place.kill()
    action = rng.choice(("kill", "kill", "error"))
    await place.start(f"{rng.choice(_STEADY)}={action}:{rng.randint(1, 12)}")
    try:
        await place.daemon.wait(within=4.0)
    except TimeoutError:  # the load ended before it passed there so often
        await place.kill()
    await place.start()


async def _postgres(place: World, rng: random.Random, mode: StopMode) -> None:
    await asyncio.to_thread(place.cluster.stop, mode)
    await asyncio.sleep(rng.choice((0.0, 0.3)))
    await asyncio.to_thread(place.cluster.start)


async def _postgres_fast(place: World, rng: random.Random) -> None:
    await _postgres(place, rng, "fast")


async def _postgres_immediate(place: World, rng: random.Random) -> None:
    await _postgres(place, rng, "immediate")


async def _walsender(place: World, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        await place.sql(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null"
        )
        await asyncio.sleep(rng.uniform(0.05, 0.4))


async def _sessions(place: World, rng: random.Random) -> None:
    await place.sql(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'erpsyncd%'"
    )


def _lines(place: World, rng: random.Random) -> list[TcpProxy]:
    return rng.choice(([place.read_line], [place.stream_line], [place.read_line, place.stream_line]))


async def _broken(place: World, rng: random.Random, how: Literal["cut", "reset"]) -> None:
    for _ in range(rng.randint(1, 3)):
        for line in _lines(place, rng):
            getattr(line, how)()
        await asyncio.sleep(rng.uniform(0.05, 0.3))


async def _cut(place: World, rng: random.Random) -> None:
    await _broken(place, rng, "cut")


async def _reset(place: World, rng: random.Random) -> None:
    await _broken(place, rng, "reset")


async def _stall(place: World, rng: random.Random) -> None:
    lines = _lines(place, rng)
    for line in lines:
        line.stall()
    await asyncio.sleep(rng.uniform(0.2, 1.0))
    for line in lines:
        if rng.random() < 0.3:
            line.cut()
        line.resume()


async def _refuse(place: World, rng: random.Random) -> None:
    lines = _lines(place, rng)
    for line in lines:
        line.refuse()
        line.cut()
    await asyncio.sleep(rng.uniform(0.1, 0.5))
    for line in lines:
        await line.accept()


async def _slot_dropped(place: World, rng: random.Random) -> None:
    await place.kill()
    await place.drop_slot()
    await asyncio.sleep(rng.uniform(0.0, 0.3))
    await place.start()
    await place.daemon.until_event("gap")
    await place.daemon.until_event("ready")


_SOURCE_FAULTS: dict[str, Callable[[World, random.Random], Awaitable[None]]] = {
    "nothing": _nothing,
    "kill": _kill,
    "kill twice": _kill_twice,
    "stop": _stop,
    "failpoint": _failpoint,
    "postgres fast": _postgres_fast,
    "postgres immediate": _postgres_immediate,
    "walsender": _walsender,
    "sessions": _sessions,
    "cut": _cut,
    "reset": _reset,
    "stall": _stall,
    "refuse": _refuse,
    "slot dropped": _slot_dropped,
}


async def bring_back(plan: Plan, place: World) -> None:
    """What a store refused for a while: an operator or the next change of the key brings it back."""
    rng = _rng(plan.seed, "back")

    async def set_aside() -> int:
        status = await place.status()
        queues = [queue for store in status["stores"].values() for queue in store["entities"].values()]
        return sum(cast("int", queue["quarantined"]) for queue in queues)

    if "reject" not in plan.stores:
        return
    await place.daemon.until_event("ready")
    if rng.random() < 0.5:
        connection = await asyncpg.connect(place.dsn)
        try:
            await connection.execute("update item set sku = sku")
        finally:
            await connection.close()

    async def all_back() -> bool:
        if not await set_aside():
            return True
        await place.release()
        return False

    await until(all_back, within=40.0, every=0.2, what="nothing is quarantined")

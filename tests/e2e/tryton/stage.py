"""Tryton, the daemon with the Tryton pack, and a storefront; and how the storefront is held against Tryton's own answers.

Invariant: the database was set up by the script that `erpsyncd sql setup` prints; what is compared is every document, with
what Tryton's own program says after the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.e2e.tryton.installation import Worker
from tests.integration.harness import TOKEN, Daemon, erpsyncd, exact
from tests.integration.prepared import set_up, with_roles, written
from tests.integration.stage import lawful, packed
from tests.waiting import until

ENTITIES = ("stock", "price", "credit", "customer_price_list", "order_status", "content")
WITHIN = 60.0


def text_of(dsn: str, url: str, state: Path, options: str = "") -> str:
    """A configuration with the pack and all its entities; content does not wait for a job."""
    return packed("tryton", dsn, url, state, ENTITIES, options) + '[entity.content]\nlane = "fast"\n'


def differences(answers: dict[str, Any], shop: Shop, prefix: str = "") -> list[str]:
    """Every document in which the storefront differs from what Tryton says."""
    found: list[str] = []
    for entity in ENTITIES:
        held = shop.documents(entity)
        if entity in ("stock", "price", "content"):
            held = {id_: fields for id_, fields in held.items() if id_.startswith(prefix)}
        compare = _prices if entity == "price" else _documents
        found += [
            f"{entity} {line}" for line in compare(answers[entity], held, gone_is_zero=entity in ("stock", "credit"))
        ]
    return found


def _documents(said: dict[str, Any], held: dict[str, Any], *, gone_is_zero: bool) -> Iterator[str]:
    for id_, fields in said.items():
        shown = exact(held.get(id_, {}))
        wrong = {name: (shown.get(name), value) for name, value in exact(fields).items() if shown.get(name) != value}
        if id_ not in held or wrong:
            yield f"{id_}: shown and said {wrong}"
    for id_ in held.keys() - said.keys():
        if not gone_is_zero or held[id_]["available"]:
            yield f"{id_}: shown {held[id_]}, and Tryton knows nothing of it"


def _prices(said: dict[str, Any], held: dict[str, Any], *, gone_is_zero: bool) -> Iterator[str]:
    """Tryton says amounts at some quantities; the storefront shows from which quantity on an amount holds."""
    del gone_is_zero
    shown: dict[str, dict[Decimal, Decimal]] = {}
    for fields in held.values():
        place = f"{fields['sku']}|{fields['price_list']}"
        shown.setdefault(place, {})[Decimal(fields["min_quantity"])] = Decimal(fields["amount"])
        if place in said and said[place]["tax_included"] != fields["tax_included"]:
            yield f"{place}: tax_included is {fields['tax_included']}"
    for place, asked in said.items():
        for quantity, amount in asked.items():
            if quantity == "tax_included":
                continue
            steps = [step for step in shown.get(place, {}) if step <= Decimal(quantity)]
            price = shown[place][max(steps)] if steps else None
            if price != (None if amount is None else Decimal(amount)):
                yield f"{place} at {quantity}: shown {price}, Tryton says {amount}"
    for place in shown.keys() - said.keys():
        yield f"{place}: shown {shown[place]}, and Tryton knows nothing of it"


@dataclass
class Tally:
    """What was counted, over all tests of a run."""

    events: int = 0
    compared: int = 0
    changed: int = 0
    """Documents that are other than before, or new, or gone, since Tryton says so."""
    missed: int = 0
    """Of those, what the storefront did not show in time: no mark of the stream led there."""

    def __str__(self) -> str:
        return (
            f"Tryton: {self.events} events changed {self.changed} documents, {self.compared} were compared; "
            f"missed by the stream: {self.missed}"
        )


TALLY = Tally()


@dataclass
class Stage:
    """Events go in by `do`; `agree` waits until the storefront shows what Tryton says."""

    worker: Worker
    shop: Shop
    daemon: Daemon
    database: Database
    changed: int = 0
    scans: int = 0
    """Scans that belong to the first load."""
    _said: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def do(self, event: str, /, **values: Any) -> Any:
        TALLY.events += event != "answers"
        return await asyncio.to_thread(self.worker.do, event, **values)

    def _changes(self, answers: dict[str, Any], prefix: str) -> int:
        """How many documents are not what Tryton said before."""
        count = 0
        for entity, said in answers.items():
            before = self._said.setdefault(entity, {})
            for id_, fields in said.items():
                known = before.get(id_)
                count += known is None or any(known.get(name, value) != value for name, value in fields.items())
            gone = [] if prefix else before.keys() - said.keys()
            count += len(gone)
            self._said[entity] = {id_: fields for id_, fields in before.items() if id_ not in gone} | said
        return count

    async def agree(self, what: str = "", prefix: str = "", within: float = WITHIN, **how: Any) -> None:
        """Wait until no document differs from Tryton's own answer."""
        answers = await self.do("answers", prefix=prefix, **how)
        TALLY.compared += sum(map(len, answers.values()))
        changed = self._changes(answers, prefix)
        self.changed += changed
        TALLY.changed += changed
        last: list[str] = []

        def same() -> bool:
            last[:] = differences(answers, self.shop, prefix)
            return not last

        try:
            await until(same, within=within, every=0.1, what="the storefront shows what Tryton says")
        except AssertionError:
            TALLY.missed += len(last)
            tail = "\n".join(self.daemon.output().splitlines()[-15:])
            raise AssertionError("\n".join([f"after {what}: {len(last)} differ", *last[:12], tail])) from None
        lawful(self.shop)

    async def event(self, name: str, /, **values: Any) -> Any:
        """An event, and then agreement."""
        said = await self.do(name, **values)
        await self.agree(f"{name} {values}")
        return said

    async def quiet(self) -> None:
        """Events changed something, and it was the stream that told: nothing was scanned, lost or set aside on the way."""
        assert self.changed
        assert len(self.daemon.events("backfill")) == self.scans
        for name in ("gap", "resync", "quarantined", "entity_stopped"):
            assert self.daemon.events(name) == [], name
        log = self.database.cluster.log_file.read_text(errors="replace")
        assert "replica identity" not in log
        assert "publication" not in "".join(line for line in log.splitlines() if "ERROR" in line)


@asynccontextmanager
async def stage(database: Database, worker: Worker, folder: Path, options: str = "") -> AsyncIterator[Stage]:
    """The daemon runs with the pack on this database, the first load is complete."""
    async with Shop(token=TOKEN) as shop:
        text = text_of(database.dsn, shop.url, folder / "state.db", options)
        await set_up(database, text, folder, full_identity=True)
        text = with_roles(database, text)
        ended = await erpsyncd("doctor", "-c", written(folder, text))
        assert ended.code in (0, 1), ended.output
        made = Stage(worker, shop, Daemon(folder, text), database)
        async with made.daemon:
            await made.daemon.until_loaded(WITHIN)
            await made.agree("the first load")
            TALLY.changed -= made.changed  # nothing has happened yet
            made.changed, made.scans = 0, len(made.daemon.events("backfill"))
            yield made
            await made.quiet()

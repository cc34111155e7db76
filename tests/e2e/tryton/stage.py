"""Tryton, the daemon with the Tryton pack, and a storefront; and how the storefront is held against Tryton's own answers.

Invariant: the database was set up by the script that `erpsyncd sql setup` prints; what is compared is every document, with
what Tryton's own program says after the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.conftest import Database
from tests.doubles.shop import Shop
from tests.e2e.tryton.installation import Worker
from tests.integration.harness import TOKEN, Daemon, erpsyncd, exact
from tests.integration.prepared import set_up, with_roles, written
from tests.integration.stage import lawful
from tests.waiting import until

ENTITIES = ("stock", "price", "credit", "customer_price_list", "order_status", "content")
WITHIN = 60.0

CONFIG = """
[erp]
dsn = "{dsn}"
pack = "tryton"
canary = "1s"
[erp.options]
{options}
[entity.content]
lane = "fast"
[state]
path = "{state}"
[status]
listen = "127.0.0.1:0"
[store.main]
adapter = "http"
url = "{url}"
token = "{token}"
entities = ["stock", "price", "credit", "customer_price_list", "order_status", "content"]
brake = false
rate = {{ per_second = 500 }}
"""


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
class Stage:
    """Events go in by `do`; `agree` waits until the storefront shows what Tryton says."""

    worker: Worker
    shop: Shop
    daemon: Daemon
    database: Database
    compared: int = 0

    async def do(self, event: str, /, **values: Any) -> Any:
        return await asyncio.to_thread(self.worker.do, event, **values)

    async def agree(self, what: str = "", prefix: str = "", within: float = WITHIN, **how: Any) -> None:
        """Wait until no document differs from Tryton's own answer."""
        answers = await self.do("answers", prefix=prefix, **how)
        self.compared += sum(map(len, answers.values()))
        last: list[str] = []

        def same() -> bool:
            last[:] = differences(answers, self.shop, prefix)
            return not last

        try:
            await until(same, within=within, every=0.1, what="the storefront shows what Tryton says")
        except AssertionError:
            tail = "\n".join(self.daemon.output().splitlines()[-15:])
            raise AssertionError("\n".join([f"after {what}: {len(last)} differ", *last[:12], tail])) from None
        lawful(self.shop)

    async def event(self, name: str, /, **values: Any) -> Any:
        """An event, and then agreement."""
        said = await self.do(name, **values)
        await self.agree(f"{name} {values}")
        return said

    async def quiet(self) -> None:
        """Nothing was refused, lost or set aside on the way."""
        for name in ("gap", "resync", "quarantined", "entity_stopped"):
            assert self.daemon.events(name) == [], name
        log = self.database.cluster.log_file.read_text(errors="replace")
        assert "replica identity" not in log
        assert "publication" not in "".join(line for line in log.splitlines() if "ERROR" in line)


@asynccontextmanager
async def stage(database: Database, worker: Worker, folder: Path, options: str = "") -> AsyncIterator[Stage]:
    """The daemon runs with the pack on this database, the first load is complete."""
    async with Shop(token=TOKEN) as shop:
        text = CONFIG.format(dsn=database.dsn, options=options, state=folder / "state.db", url=shop.url, token=TOKEN)
        await set_up(database, text, folder, full_identity=True)
        text = with_roles(database, text)
        ended = await erpsyncd("doctor", "-c", written(folder, text))
        assert ended.code in (0, 1), ended.output
        made = Stage(worker, shop, Daemon(folder, text), database)
        async with made.daemon:
            await made.daemon.until_loaded(WITHIN)
            await made.agree("the first load")
            yield made
            await made.quiet()

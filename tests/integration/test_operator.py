"""What an operator does through the running daemon: compare, mend, look at what is set aside, decide.

Invariant under test: no command writes to a store by itself, none loses a change, and each says what it found.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.doubles.shop import Hold, Reject, Shop, Throttle
from tests.integration.harness import REPO, Daemon
from tests.waiting import until

TOKEN = "operator-token"
ITEMS = 60

ERP = f"""
create table item (id bigint primary key, sku text not null, on_hand int not null, amount numeric(10, 2));
create table reserve (item_id bigint primary key, quantity int not null);
insert into item select n, 'A' || lpad(n::text, 3, '0'), 100 + n, n from generate_series(1, {ITEMS}) n;
insert into reserve select id, 0 from item;
create publication erpsyncd for table item;
"""

# `reserve` is not watched: what changes there is seen only when somebody compares
CONFIG = """
[erp]
dsn = "{dsn}"
canary = "250ms"
allow_unbounded_slot = true
[state]
path = "{state}"
[status]
listen = "127.0.0.1:{port}"
[entity.stock]
sql = "select id as key, sku, on_hand - quantity as available from item join reserve on item_id = id where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}]
[entity.price]
sql = "select id as key, sku, 'EUR' as currency, amount from item where id = any($1) and amount is not null"
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}]
[store.main]
adapter = "http"
url = "{url}"
token = "{token}"
entities = ["stock", "price"]
rate = {{ per_second = 500 }}
batch_size = 25
brake = {{ share = 0.05, min_keys = 10, window = "5m" }}
"""


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """An operator's desk: the ERP, the store, the daemon, and the command line."""

    erp: Any
    shop: Shop
    daemon: Daemon

    async def do(self, *words: str, within: float = 40.0) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daemon", *words, "-c", str(self.daemon.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        )
        async with asyncio.timeout(within):
            out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Said(process.returncode, out.decode(), err.decode())

    async def quiet(self) -> None:
        """Wait until everything that was committed before this has been dealt with."""
        lsn = await self.erp.fetchval("select pg_current_wal_lsn()::text")

        async def still() -> bool:
            status = await self.daemon.status()
            queues = status["stores"]["main"]["entities"].values()
            passed = await self.erp.fetchval(
                "select $1::text::pg_lsn >= $2::text::pg_lsn", status["position"]["durable"], lsn
            )
            return passed and all(q["loaded"] and not q["pending"] + q["claimed"] for q in queues)

        await until(still, within=40.0, every=0.05, what="nothing is on its way")

    def stock(self, id_: str) -> Any:
        return self.shop.documents("stock")[id_]["available"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def desk(database: Database, folder: Path, more: str = "") -> AsyncIterator[Desk]:
    connection = await database.connect()
    await connection.execute(ERP)
    async with Shop(token=TOKEN) as shop:
        text = CONFIG.format(dsn=database.dsn, state=folder / "state.db", port=free_port(), url=shop.url, token=TOKEN)
        async with Daemon(folder, text + more) as daemon:
            await daemon.until_event("ready")
            made = Desk(connection, shop, daemon)
            await made.quiet()
            assert len(shop.documents("stock")) == len(shop.documents("price")) == ITEMS
            yield made
            assert shop.overlaps == shop.regressions == shop.conflicts == []


# -- reconcile


def lose_state(folder: Path) -> None:
    for path in folder.rglob("state.db*"):
        path.unlink()


async def test_what_was_deleted_while_the_state_was_lost_is_taken_down_only_when_told_so(
    database: Database, tmp_path: Path
) -> None:
    async with desk(database, tmp_path) as at:
        await at.daemon.kill()
        lose_state(tmp_path)
        await at.erp.execute("delete from item where id = 7")
        at.shop.put("price", "SOMEBODY|default|EUR|1", {"amount": "1.00"})
        await at.daemon.start()
        await at.daemon.until_event("ready")
        await at.quiet()
        found = await at.do("reconcile", "price", "--json")
        assert found.json["queues"][0]["counts"]["foreign"] == 2
        assert (await at.do("reconcile", "price", "--fix")).code == 1
        await at.quiet()
        assert "A007|default|EUR|1" in at.shop.documents("price")
        assert (await at.do("reconcile", "price", "--foreign")).code == 64
        assert (await at.do("reconcile", "price", "--fix", "--foreign")).code == 1

        def gone() -> bool:
            return not {"A007|default|EUR|1", "SOMEBODY|default|EUR|1"} & at.shop.documents("price").keys()

        await until(gone, within=40, what="both are gone")
        await at.quiet()
        assert len(at.shop.documents("price")) == ITEMS - 1
        assert (await at.do("reconcile", "price")).code == 0
        # stock is zeroed, not removed
        assert (await at.do("reconcile", "stock", "--fix", "--foreign")).code == 1
        await until(lambda: at.shop.documents("stock")["A007|default"]["available"] == 0, within=40, what="zeroed")


async def test_more_foreign_documents_than_the_brake_lets_pass_are_held(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        for number in range(30):
            at.shop.put("price", f"OTHER{number}|default|EUR|1", {"amount": "1.00"})
        assert (await at.do("reconcile", "price", "--fix", "--foreign")).code == 1
        await at.daemon.until_event("held")
        assert len(at.shop.documents("price")) == ITEMS + 30
        assert (await at.do("held", "release", "price")).code == 0
        await until(lambda: len(at.shop.documents("price")) == ITEMS, within=40, what="they are gone")


async def test_a_change_made_by_hand_in_the_store_is_found_and_mended(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        assert (await at.do("reconcile")).code == 0
        at.shop.put("stock", "A003|default", {"sku": "A003", "location": "default", "available": 7})
        at.shop.remove("stock", "A005|default")

        found = await at.do("reconcile", "--json")
        assert found.code == 1
        stock = next(queue for queue in found.json["queues"] if queue["entity"] == "stock")
        assert [(d["kind"], d["id"]) for d in stock["documents"]] == [
            ("changed", "A003|default"),
            ("missing", "A005|default"),
        ]
        assert stock["documents"][0]["fields"] == {"available": [103, 7]}
        assert stock["compared"] == ITEMS
        await at.quiet()
        assert at.stock("A003|default") == 7, "without --fix nothing is sent"

        mended = await at.do("reconcile", "stock", "--fix")
        assert mended.code == 1
        assert "2 marked to be sent again" in mended.out
        await at.quiet()
        assert at.stock("A003|default") == 103
        assert at.stock("A005|default") == 105
        assert (await at.do("reconcile", "stock")).code == 0
        assert any(event.get("missing") == 1 and event["store"] == "main" for event in at.daemon.events("reconcile"))


async def test_a_store_that_lost_everything_is_filled_again(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        before = at.shop.documents("stock")
        for id_ in before:
            at.shop.remove("stock", id_)
        mended = await at.do("reconcile", "stock", "--fix")
        assert f"{ITEMS} missing" in mended.out
        await at.quiet()
        assert at.shop.documents("stock") == before


async def test_what_did_not_come_from_here_is_told_and_left_alone(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        at.shop.put("stock", "GIFT|default", {"sku": "GIFT", "location": "default", "available": 1})
        found = await at.do("reconcile", "stock", "--fix", "--json")
        (queue,) = found.json["queues"]
        assert queue["counts"]["foreign"] == queue["differ"] == 1
        assert queue["mended"] == 0
        await at.quiet()
        assert at.stock("GIFT|default") == 1


async def test_a_removed_document_that_came_back_is_removed_again(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        id_ = "A009|default|EUR|1"
        old = at.shop.documents("price")[id_]
        await at.erp.execute("update item set amount = null where id = 9")
        await at.quiet()
        assert id_ not in at.shop.documents("price")
        at.shop.put("price", id_, old)
        found = await at.do("reconcile", "price", "--fix", "--json")
        (queue,) = found.json["queues"]
        assert queue["counts"]["extra"] == queue["mended"] == 1
        await at.quiet()
        assert id_ not in at.shop.documents("price")


async def test_what_the_erp_changed_unseen_is_found_and_sent(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("update reserve set quantity = 50 where item_id = 4")
        found = await at.do("reconcile", "stock", "--json")
        (queue,) = found.json["queues"]
        assert [(d["kind"], d["fields"]) for d in queue["documents"]] == [("behind", {"available": [54, 104]})]
        assert (await at.do("reconcile", "stock", "--fix")).code == 1
        await at.quiet()
        assert at.stock("A004|default") == 54


async def test_a_change_on_its_way_is_no_drift(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        hold = Hold()
        at.shop.inject(hold, calls=1, entity="stock", method="POST")
        await at.erp.execute("update item set on_hand = 55 where id = 2")
        await hold.reached.wait()
        found = await at.do("reconcile", "stock", "--json")
        hold.release()
        (queue,) = found.json["queues"]
        assert (found.code, queue["differ"], queue["moving"]) == (0, 0, 1)
        await at.quiet()
        assert at.stock("A002|default") == 55


async def test_mending_under_traffic_loses_nothing(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:

        async def trade() -> None:
            for n in range(200):
                await at.erp.execute("update item set on_hand = $1 where id = $2", 1000 + n, n % ITEMS + 1)

        async def spoil() -> None:
            for n in range(10):
                at.shop.put("stock", f"A{n + 1:03}|default", {"sku": f"A{n + 1:03}", "available": 5000 + n})
                await at.do("reconcile", "stock", "--fix")

        await asyncio.gather(trade(), spoil())
        await at.do("reconcile", "stock", "--fix")
        await at.quiet()
        rows = await at.erp.fetch("select sku || '|default', on_hand from item")
        assert {id_: at.stock(id_) for id_, _ in rows} == dict(rows)


async def test_mending_goes_through_the_brake(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("update item set on_hand = 0 where id <= 30")
        await until(lambda: bool(at.daemon.events("held")), within=20.0)
        await at.do("held", "release", "stock")
        await at.quiet()
        for n in range(1, 31):
            at.shop.put("stock", f"A{n:03}|default", {"sku": f"A{n:03}", "location": "default", "available": 9})
        assert (await at.do("reconcile", "stock", "--fix")).code == 1
        await at.quiet()
        status = await at.daemon.status()
        assert status["held"] > 0, "zeroing by a comparison is as braked as any other"


async def test_a_store_that_stumbles_is_read_to_the_end(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        at.shop.max_page = 20
        at.shop.remove("stock", "A050|default")
        at.shop.inject(Throttle(0.1, code=503), calls=2, entity="stock", method="GET")
        found = await at.do("reconcile", "stock", "--json")
        (queue,) = found.json["queues"]
        assert (queue["compared"], queue["counts"]["missing"]) == (ITEMS, 1)


async def test_a_store_compares_itself_by_the_clock(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path, 'reconcile = { every = "300ms", fix = true }\n') as at:
        at.shop.put("stock", "A003|default", {"sku": "A003", "location": "default", "available": 7})
        await at.shop.until(lambda: bool(at.stock("A003|default") == 103), 20.0)


# -- held


async def burst(at: Desk) -> None:
    """More zeros than the brake lets through."""
    await at.erp.execute("update item set on_hand = 0")
    await until(lambda: bool(at.daemon.events("held")), within=20.0, what="event held")
    await at.quiet()


def zeros(at: Desk) -> int:
    return sum(document["available"] == 0 for document in at.shop.documents("stock").values())


async def test_a_burst_is_one_line_that_says_the_next_step(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await burst(at)
        (event,) = at.daemon.events("held")
        assert (event["entity"], event["store"], event["code"]) == ("stock", "main", "E-BRAKE")
        assert "zeroed" in event["reason"]
        assert "erpsyncd held release stock" in event["msg"]


async def test_released_keys_pass_the_brake_once(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await burst(at)
        assert zeros(at) == 10
        listed = await at.do("held", "list", "--json")
        assert listed.code == 1
        assert listed.json["total"] == len(listed.json["keys"]) == ITEMS - 10
        first = listed.json["keys"][0]
        assert (first["store"], first["entity"], first["code"]) == ("main", "stock", "E-BRAKE")
        assert first["age_seconds"] >= 0

        one = await at.do("held", "release", "stock", "--key", str(first["key"]), "--reason", "stocktaking")
        assert (one.code, one.out) == (0, "1 held key: sent\n")
        await at.shop.until(lambda: zeros(at) == 11)
        assert at.daemon.events("released")[-1]["reason"] == "stocktaking"
        assert (await at.do("held", "release")).code == 0
        await at.quiet()
        assert zeros(at) == ITEMS
        assert (await at.do("held", "list")).code == 0
        none = await at.do("held", "release")
        assert (none.code, none.out) == (0, "no key is held\n")

        await at.erp.execute("update item set on_hand = 8")
        await at.quiet()
        assert zeros(at) == 0
        await at.erp.execute("update item set on_hand = 0")
        await at.quiet()
        assert zeros(at) < ITEMS, "a release is for once"


async def test_dropping_gives_up_until_the_next_change_and_must_be_meant(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await burst(at)
        refused = await at.do("held", "drop")
        assert refused.code == 64
        assert "--yes" in refused.err
        assert (await at.do("held", "drop", "stock", "--yes")).code == 0
        assert (await at.do("held", "list")).code == 0
        await at.quiet()
        assert zeros(at) == 10
        assert at.daemon.events("dropped")[-1]["keys"] == ITEMS - 10
        await at.erp.execute("update item set on_hand = 3")
        await at.quiet()
        assert {document["available"] for document in at.shop.documents("stock").values()} == {3}


# -- quarantine


async def test_a_refused_key_is_listed_with_the_stores_words_and_tried_again(
    database: Database, tmp_path: Path
) -> None:
    async with desk(database, tmp_path) as at:
        fault = at.shop.inject(Reject({"A006|default"}, "sku is locked by the season sale"), entity="stock")
        await at.erp.execute("update item set on_hand = 1 where id in (6, 7)")
        await at.daemon.until_event("quarantined")
        listed = await at.do("quarantine", "list", "stock")
        assert listed.code == 1
        assert "main/stock 6" in listed.out
        assert "season sale" in listed.out
        assert at.stock("A007|default") == 1
        wrong = await at.do("quarantine", "retry", "stock", "--key", "7")
        assert wrong.code == 2

        at.shop.clear(fault)
        assert (await at.do("quarantine", "retry", "stock", "--key", "6")).code == 0
        await at.shop.until(lambda: bool(at.stock("A006|default") == 1))
        await at.quiet()
        assert (await at.do("quarantine", "list")).out == "0 quarantined\n"


# -- backfill


async def test_a_backfill_compares_one_key_or_all(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("update reserve set quantity = 1")
        one = await at.do("backfill", "stock", "--key", "3")
        assert (one.code, one.out) == (0, "stock: 1 key compared\n")
        assert (at.stock("A003|default"), at.stock("A004|default")) == (102, 104)
        every = await at.do("backfill", "stock")
        assert (every.code, every.out) == (0, f"main/stock: {ITEMS} keys compared\n")
        assert {id_: d["available"] for id_, d in at.shop.documents("stock").items()} == {
            f"A{n:03}|default": 99 + n for n in range(1, ITEMS + 1)
        }
        assert (await at.do("backfill", "--no-wait")).code == 0


async def test_a_backfill_that_finds_a_refused_key_says_so(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        at.shop.inject(Reject({"A006|default"}, "no such article"), entity="stock")
        await at.erp.execute("update reserve set quantity = 1")
        said = await at.do("backfill", "stock")
        assert said.code == 1
        assert "1 quarantined" in said.out
        one = await at.do("backfill", "stock", "--key", "6")
        assert one.code == 1
        assert "no such article" in one.out


# -- plan


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("state*")}


async def test_a_plan_says_what_would_be_sent_and_writes_nothing(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("update reserve set quantity = 1 where item_id <= 3")
        await at.quiet()
        calls = len(at.shop.calls)
        running = await at.do("plan", "stock", "--json")
        assert running.code == 0
        assert len(at.shop.calls) == calls
        await at.daemon.terminate()
        folder = contents(tmp_path)
        stopped = await at.do("plan", "stock", "--json")
        assert contents(tmp_path) == folder
        assert running.json["queues"] == stopped.json["queues"]
        (queue,) = stopped.json["queues"]
        assert (queue["changes"], queue["unchanged"], queue["calls"]) == (3, ITEMS - 3, 1)
        assert queue["documents"][0]["fields"] == {"available": [101, 100]}
        text = await at.do("plan", "stock", "--limit", "1")
        assert "A001|default  available 101 -> 100" in text.out
        assert "... and 2 more" in text.out


async def test_a_plan_shows_another_mapping_beside_the_daemon_and_not_by_the_one_in_force(
    database: Database, tmp_path: Path
) -> None:
    async with desk(database, tmp_path) as at:
        new = Daemon(
            tmp_path, at.daemon.config.read_text().replace("on_hand - quantity", "on_hand - quantity - 1"), name="new"
        )
        beside = Desk(at.erp, at.shop, new)
        await at.quiet()
        in_force = await beside.do("plan", "stock", "--json")
        assert in_force.json["queues"][0]["changes"] == 0
        local = await beside.do("plan", "stock", "--local", "--json")
        assert local.json["queues"][0]["changes"] == ITEMS
        assert at.stock("A001|default") == 101


async def test_a_plan_counts_what_the_brake_would_hold_from_an_empty_window_and_says_so(
    database: Database, tmp_path: Path
) -> None:
    async with desk(database, tmp_path) as at:
        await at.erp.execute("update reserve set quantity = 1000 where item_id <= 6")
        await at.do("backfill", "stock")  # within the window, and the brake counts them
        await at.erp.execute("update reserve set quantity = 1000 where item_id between 7 and 18")
        said = await at.do("plan", "stock")
        assert said.out.splitlines()[-1].endswith("2 keys would be held by the brake, its window taken as empty")
        await at.do("backfill", "stock")
        assert len((await at.do("held", "list", "stock", "--json")).json["keys"]) == 8


async def test_a_plan_without_a_state_is_the_first_load(database: Database, tmp_path: Path) -> None:
    await database.execute(ERP)
    text = CONFIG.format(
        dsn=database.dsn, state=tmp_path / "state.db", port=free_port(), url="http://127.0.0.1:9/api", token=TOKEN
    )
    file = tmp_path / "plan.toml"
    file.write_text(text)
    planner = Daemon(tmp_path, text, name="plan")
    said = await Desk(None, Shop(), planner).do("plan", "price", "--json")
    (queue,) = said.json["queues"]
    assert (queue["counts"]["new"], queue["calls"]) == (ITEMS, 3)
    assert not (tmp_path / "state.db").exists()


# -- mistakes


@pytest.mark.newest
async def test_a_mistake_is_told_in_a_line(database: Database, tmp_path: Path) -> None:
    async with desk(database, tmp_path) as at:
        for words, part in (
            (("backfill", "stocks"), "Known: price, stock"),
            (("backfill", "--key", "3"), "--key needs the entity"),
            (("backfill", "stock", "--key", "x"), "is no key of stock"),
            (("reconcile", "--store", "other"), "Known: main"),
        ):
            said = await at.do(*words)
            assert said.code == 64
            assert part in said.err
        at.shop.inject(Hold(), calls=1, method="GET")
        assert (await at.do("reconcile", "--no-wait")).code == 0
        twice = await at.do("reconcile", "stock")
        assert twice.code == 2
        assert twice.err.count("E-RUN-BUSY") == twice.err.count("Wait for its end") == 1
        await at.daemon.terminate()
        said = await at.do("held", "list")
        assert said.code == 2
        assert "no erpsyncd answers" in said.err

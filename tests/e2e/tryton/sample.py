"""`python -m tests.e2e.tryton.sample`: makes tests/data/tryton anew, a small real database with what Tryton says of it.

Invariant: nothing in it depends on the day: no move is planned ahead, and dated lines ended long ago or never end. It holds
the tables that the pack reads, without keys between them, and no account of a person.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from daemon.config import load_text
from daemon.demo.embedded import Cluster
from tests.e2e import cache
from tests.e2e.tryton.installation import Worker, environment, restore
from tests.e2e.tryton.stage import text_of

TARGET = Path(__file__).parent.parent.parent / "data" / "tryton"
QUANTITIES = (1, 2, 5, 6, 9, 10, 12, 24, 100)
FORMULAS = (
    "unit_price * 0.8",
    "list_price - 1",
    "cost_price * 1.3",
    "unit_price * (1 - 0.15)",
    'Decimal("19.99")',
    "19.995",
    "(list_price + cost_price) / 3",
    "list_price * 1.00005",
    "-cost_price",
    "list_price ** 2",
    "list_price // 7 + list_price % 7",
    "cost_price * 1.5 if cost_price > 5 else list_price",
    "1e2 + .5",
    "0.00005",
    "0.00015",
    "parent_unit_price - 0.5",
    "round(list_price)",
    "list_price if list_price else 1",
    "1 / 0",
    "unknown + 1",
    "'text'",
    "True",
)
PRICES: tuple[dict[str, str | None], ...] = (
    {"list_price": "25.0000", "cost_price": "10", "unit_price": "25.0000", "parent_unit_price": "20.1234"},
    {"list_price": None, "cost_price": "0", "unit_price": None, "parent_unit_price": None},
    {"list_price": "0.3333", "cost_price": "7.7777", "unit_price": "7.7777", "parent_unit_price": "0"},
)


def tables() -> list[str]:
    """What the pack's queries name and watch."""
    text = text_of("postgresql://e@h/e", "http://h", Path("s.db"), "promised = true")
    config = load_text(text, base=Path.cwd())
    words = " ".join(entity.model_dump_json() for entity in config.entity.values())
    return sorted({"carrier"} | set(re.findall(r"(?:from|join|public\.)\s*\\?\"?((?:[a-z]+_)[a-z_.-]+[a-z])", words)))


def events(worker: Worker) -> None:
    worker.do("count", WID_RED=100, WID_BLU=50, GAD=30, CAB=12.5, EGG=144)
    worker.do("shelf", code="A1", parent="STO")
    worker.do("move", sku="WID-RED", quantity=5, source="STO", target="A1")
    worker.do("variant_price", sku="WID-BLU", price="31.00")
    worker.do("categorize", sku="GAD", category="Tools")
    worker.do("customer_list", code="C0001", name="Wholesale")
    worker.do("default_list", name="Projects")
    worker.do("credit_limit", code="C0001", amount="1000")
    worker.do("default_limit", amount="200")
    worker.do("new_party", code="C0009")
    sale = worker.do("order", code="C0001", lines={"WID-RED": 12, "EGG": 2, "KIT": 1})
    for step in ("assign_try", "pick", "pack"):
        worker.do("ship", sale=sale, step=step)
    worker.do("track", sale=sale, reference="1Z-999")
    worker.do("ship", sale=sale, step="do")
    worker.do("post", sale=sale)
    worker.do("pay", sale=sale, part="100")
    worker.do("receive_return", sale=worker.do("order", code="C0001", lines={"WID-RED": -2}))
    assigned = worker.do("order", code="C0002", lines={"WID-BLU": 5, "GAD": 1}, method="fulfillment")
    worker.do("ship", sale=assigned, step="assign_try")
    worker.do("order", code="C0002", lines={"GAD": 4})
    worker.do(
        "cancel_shipment", sale=worker.do("order", code="C0002", lines={"GAD": 3}, method="fulfillment"), give_up=True
    )
    worker.do("name", sku="WID-RED", text="Bidule", language="fr")
    worker.do("rename_category", old="Tools", new="Outils", language="fr")
    worker.do("attributes", sku="WID-RED", color="red")
    worker.do("add_picture", sku="WID-RED", red=100, variant=True)
    worker.do("deactivate", sku="FIL01")


def main() -> None:
    cases = [(formula, prices) for formula in FORMULAS for prices in PRICES]
    with Cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        python = environment()
        restore(python, cluster, "sample", Path(folder))
        worker = Worker(python, cluster, "sample", Path(folder) / "worker")
        try:
            events(worker)
            said: Any = worker.do("answers", quantities=QUANTITIES)
            values = worker.do("formulas", cases=cases)
        finally:
            worker.close()
        cluster.psql("delete from ir_translation where name not like 'product.%' or type <> 'model'", "sample")
        wanted = [part for table in tables() for part in ("-t", f'public."{table}"')]
        dump = cache.dump(cluster, "sample", *wanted)
    text = re.sub(r"ALTER TABLE ONLY [^;]*FOREIGN KEY[^;]*;\n", "", dump.decode())
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "tryton82.sql.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    (TARGET / "answers.json").write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    rows = [[*case, value] for case, value in zip(cases, values, strict=True)]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (TARGET / "formulas.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()

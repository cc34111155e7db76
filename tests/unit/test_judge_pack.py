"""Laws of what the doctor says of an ERP pack."""

from __future__ import annotations

from daemon.config.pack import Pack
from daemon.doctor.facts import IndexFacts
from daemon.doctor.judge_pack import judge_pack
from daemon.errors import ConfigError

PACK = Pack("tiny", "Tiny ERP", ("1.0",), {})


def index(rows: int, present: bool, where: str = "") -> IndexFacts:
    return IndexFacts("public.Stock", ("item_id", "Place"), "the stock of an item", where, rows, present)


def test_a_large_table_without_the_index_is_told_with_the_statement() -> None:
    said = list(judge_pack(PACK, [index(50_000, False, "open"), index(50_000, True)], []))
    assert [(r.check, r.status) for r in said] == [("options", "PASS"), ("indexes", "WARN")]
    assert "the stock of an item" in said[1].message
    assert said[1].remedy.startswith('CREATE INDEX CONCURRENTLY ON "public"."Stock" ("item_id", "Place") WHERE open;')


def test_a_small_table_needs_none() -> None:
    said = list(judge_pack(PACK, [index(10, False), index(10, True)], []))
    assert [(r.check, r.status) for r in said] == [("options", "PASS"), ("indexes", "PASS")]
    assert said[1].message == "1 of 2 advised indexes are there, 1 not needed on tables this small"


def test_a_value_that_the_erp_does_not_know_fails() -> None:
    problem = ConfigError("no", where="erp.options.company", hint="Correct it.", code="E-OPTION-UNKNOWN")
    assert [(r.check, r.status) for r in judge_pack(PACK, [], [problem])] == [("options", "FAIL")]

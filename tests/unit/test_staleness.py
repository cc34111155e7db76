"""Laws of the staleness arithmetic: a claim is never better than the evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.latency import LatencyView, LatencyWindow
from daemon.model import Lane, QueueName
from daemon.staleness import QueueView, Report, SlotView, SourceView, StoreView, Verdict, judge
from daemon.words import format_bytes, format_seconds

NOW = 1_700_000_000_000_000
S = 1_000_000

LIVE = SourceView(
    state="streaming",
    received=0x16B374D848,
    durable=0x16B374D840,
    confirmed=0x16B374D800,
    slot=SlotView("erpsyncd", retained_bytes=9 * 2**20, safe_bytes=2**30, confirmed_lag_bytes=2_516_582),
    canary_received_at=NOW - 1 * S,
    canary_every_s=5.0,
    clock_offset_s=0.0,
)


def queue(
    entity: str = "stock", *, lane: Lane = Lane.FAST, target_s: float = 5.0, store: str = "main", **more: Any
) -> QueueView:
    return QueueView(QueueName(store, entity), lane, target_s, **more)


def report(*queues: QueueView, source: SourceView = LIVE, now: int = NOW, **store: Any) -> Report:
    return judge(source, [StoreView("main", queues=queues, **store)], now)


def test_the_line_reads_as_promised() -> None:
    made = report(queue(oldest_unapplied=NOW - 3_100_000, pending=1))
    assert made.line() == "FRESH worst 3.1s (stock, main) slot 2.4MB behind 0 quarantined"


def test_with_nothing_outstanding_the_newest_canary_bounds_the_figure() -> None:
    made = report(queue())
    assert made.verdict is Verdict.FRESH
    assert made.worst_s == 1.0
    assert made.worst_at is None
    assert made.line().startswith("FRESH worst 1.0s (canary) ")


def test_staleness_is_never_less_than_the_age_of_the_newest_canary() -> None:
    source = replace(LIVE, canary_received_at=NOW - 4 * S)
    assert report(queue(oldest_unapplied=NOW - 2 * S), source=source).worst_s == 4.0


def test_staleness_is_the_maximum_over_the_fast_lane_of_all_stores() -> None:
    here = StoreView("main", queues=(queue(oldest_unapplied=NOW - 2 * S), queue("price", oldest_unapplied=NOW - 3 * S)))
    there = StoreView("eu", queues=(queue(store="eu", oldest_unapplied=NOW - 4 * S),))
    made = judge(LIVE, [here, there], NOW)
    assert (made.worst_s, made.worst_at) == (4.0, QueueName("eu", "stock"))


def test_a_quarantined_key_keeps_ageing() -> None:
    view = queue(quarantined=1, oldest_unapplied=NOW - 3 * S)
    assert report(view).verdict is Verdict.FRESH
    later = report(view, source=replace(LIVE, canary_received_at=NOW + 59 * S), now=NOW + 60 * S)
    assert later.verdict is Verdict.STALE
    assert later.worst_s == 63.0
    assert "1 quarantined" in later.reasons[0]


def test_a_held_key_keeps_ageing_and_is_named() -> None:
    made = report(queue(held=7, oldest_unapplied=NOW - 600 * S))
    assert made.line() == (
        "STALE worst 10m00s (stock, main) slot 2.4MB behind 0 quarantined 7 held: "
        "stock in main is 10m00s behind, target 5.0s (7 held)"
    )


def test_a_queue_at_its_target_is_fresh_and_beyond_it_stale() -> None:
    assert report(queue(oldest_unapplied=NOW - 5 * S)).verdict is Verdict.FRESH
    assert report(queue(oldest_unapplied=NOW - 5 * S - 1)).verdict is Verdict.STALE


def test_the_batch_lane_is_judged_by_its_own_target_and_never_enters_the_figure() -> None:
    content = queue("content", lane=Lane.BATCH, target_s=1800.0, oldest_unapplied=NOW - 1000 * S)
    made = report(queue(), content)
    assert (made.verdict, made.worst_s) == (Verdict.FRESH, 1.0)
    late = report(queue(), replace(content, oldest_unapplied=NOW - 2000 * S))
    assert (late.verdict, late.worst_s) == (Verdict.STALE, 1.0)
    assert "content in main" in late.reasons[0]


def test_ages_are_taken_on_the_erps_clock() -> None:
    ahead = replace(LIVE, clock_offset_s=2.0, canary_received_at=NOW + 2 * S)
    assert report(queue(oldest_unapplied=NOW - 1 * S), source=ahead).worst_s == 3.0


def test_an_age_is_never_negative() -> None:
    assert report(queue(oldest_unapplied=NOW + 9 * S)).worst_s == 1.0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (replace(LIVE, state="starting"), "starting"),
        (replace(LIVE, state="standby"), "standing by"),
        (replace(LIVE, state="lost", reason="connection refused"), "the ERP cannot be read (connection refused)"),
        (replace(LIVE, state="gap"), "changes are missing"),
        (replace(LIVE, slot=SlotView("erpsyncd", wal_status="lost")), "slot erpsyncd is lost"),
        (replace(LIVE, canary_received_at=None), "no canary has come back yet"),
        (replace(LIVE, canary_received_at=NOW - 18 * S), "no canary for 18s"),
        (replace(LIVE, clock_offset_s=None), "clock is not known"),
        (
            replace(LIVE, mode="poll", state="polling", slot=None, canary_received_at=None),
            "no poll round has come back",
        ),
    ],
)
def test_what_cannot_be_known_is_unknown_and_says_why(source: SourceView, words: str) -> None:
    made = report(queue(), source=source)
    assert made.verdict is Verdict.UNKNOWN
    assert words in made.reasons[0]
    assert made.line().startswith("UNKNOWN worst ")
    assert words in made.line()


def test_an_unfinished_first_load_is_unknown() -> None:
    made = report(queue(loaded=False, load_progress=0.42))
    assert made.verdict is Verdict.UNKNOWN
    assert made.reasons == ("stock in main is in its first load (42% done)",)


def test_a_stopped_entity_is_unknown() -> None:
    made = report(queue(stopped="column sku is gone"), queue("price"))
    assert made.verdict is Verdict.UNKNOWN
    assert made.reasons == ("stock in main is stopped (column sku is gone)",)


def test_no_entity_at_all_is_unknown() -> None:
    assert judge(LIVE, [], NOW).verdict is Verdict.UNKNOWN


def test_an_unknown_figure_is_a_lower_bound() -> None:
    made = report(queue(), source=replace(LIVE, state="lost", canary_received_at=NOW - 84 * S))
    assert made.line().startswith("UNKNOWN worst at least 84s (canary) ")


def test_without_a_clock_there_is_no_figure() -> None:
    made = report(queue(oldest_unapplied=NOW - S), source=replace(LIVE, clock_offset_s=None))
    assert made.worst_s is None
    assert made.as_json()["stores"]["main"]["entities"]["stock"]["oldest_unapplied_seconds"] is None
    assert "worst unknown" in made.line()


def test_a_late_log_is_stale_before_it_is_unknown() -> None:
    made = report(queue(target_s=2.0), source=replace(LIVE, canary_received_at=NOW - 10 * S))
    assert made.verdict is Verdict.STALE
    assert made.reasons == ("the change log is at least 3.0s behind",)


def test_a_canary_of_ordinary_age_is_no_fault_even_under_a_tighter_target() -> None:
    made = report(queue(target_s=1.0), source=replace(LIVE, canary_received_at=NOW - 5 * S))
    assert made.verdict is Verdict.FRESH


def test_poll_mode_has_no_slot() -> None:
    source = replace(LIVE, mode="poll", state="polling", slot=None)
    assert report(queue(), source=source).line() == "FRESH worst 1.0s (poll round) no slot 0 quarantined"


def test_an_open_breaker_explains_lateness_and_is_noted_before() -> None:
    early = report(queue(), breaker="open", reason="token revoked")
    assert early.verdict is Verdict.FRESH
    assert early.notes == ("calls to main are stopped: token revoked",)
    late = report(queue(oldest_unapplied=NOW - 60 * S), breaker="open", reason="token revoked")
    assert "store calls stopped: token revoked" in late.reasons[0]


def test_the_furthest_beyond_its_target_is_named_first() -> None:
    made = report(queue("price", oldest_unapplied=NOW - 10 * S), queue(target_s=1.0, oldest_unapplied=NOW - 9 * S))
    assert made.reasons[0].startswith("stock in main")


def test_the_json_has_the_promised_shape() -> None:
    view = queue(
        pending=4,
        claimed=1,
        quarantined=2,
        held=3,
        oldest_unapplied=NOW - 3_100_000,
        applied_total=10,
        unchanged_total=5,
        latency=LatencyView(0.1, 0.2, 0.3, 0.4),
    )
    made = orjson.loads(orjson.dumps(report(view).as_json()))
    assert made["verdict"] == "FRESH"
    assert made["worst_staleness_seconds"] == 3.1
    assert made["worst"] == {"entity": "stock", "store": "main"}
    assert made["position"] == {"received": "16/B374D848", "durable": "16/B374D840", "confirmed": "16/B374D800"}
    assert made["slot"]["safe_bytes"] == 2**30
    assert made["canary_age_seconds"] == 1.0
    assert made["source"] == {"mode": "stream", "state": "streaming", "reason": ""}
    assert {"version", "reasons", "notes", "line"} <= made.keys()
    assert made["stores"]["main"]["breaker"] == "closed"
    stock = made["stores"]["main"]["entities"]["stock"]
    assert {name: stock[name] for name in ("pending", "claimed", "quarantined", "held")} == {
        "pending": 4,
        "claimed": 1,
        "quarantined": 2,
        "held": 3,
    }
    assert stock["oldest_unapplied_seconds"] == 3.1
    assert stock["latency_seconds"] == {"p50": 0.1, "p95": 0.2, "p99": 0.3, "max": 0.4}
    assert (stock["applied_total"], stock["unchanged_total"]) == (10, 5)


@given(
    ages=st.lists(st.integers(0, 10**9), max_size=6),
    canary=st.none() | st.integers(0, 10**9),
    offset=st.none() | st.floats(-5, 5),
    state=st.sampled_from(["starting", "streaming", "standby", "lost", "gap"]),
)
def test_fresh_needs_every_proof(ages: list[int], canary: int | None, offset: float | None, state: Any) -> None:
    source = replace(
        LIVE, state=state, canary_received_at=None if canary is None else NOW - canary, clock_offset_s=offset
    )
    made = report(*(queue(f"e{n}", oldest_unapplied=NOW - age) for n, age in enumerate(ages)), source=source)
    if made.verdict is Verdict.FRESH:
        assert state == "streaming"
        assert ages
        assert offset is not None
        assert made.worst_s is not None
        assert canary is not None
        assert all(age / S + offset <= 5.0 for age in ages)
        assert made.worst_s >= max(age / S + offset for age in [*ages, canary]) - 1e-6
    else:
        assert made.reasons


@given(st.lists(st.floats(0.001, 10_000), min_size=1, max_size=200))
def test_a_percentile_is_never_understated_and_close(samples: list[float]) -> None:
    window = LatencyWindow()
    for sample in samples:
        window.record(sample)
    view = window.view(NOW)
    ordered = sorted(samples)
    assert view.max == ordered[-1]
    for share, got in ((0.5, view.p50), (0.95, view.p95), (0.99, view.p99)):
        exact = ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]
        assert got is not None
        assert exact * 0.999 <= got <= exact * 1.05


def test_record_many_weighs_like_many_records() -> None:
    window = LatencyWindow()
    window.record_many(0.1, 99)
    window.record(7.0)
    view = window.view(NOW)
    assert view.p50 == pytest.approx(0.1, rel=0.05)
    assert view.p99 == pytest.approx(0.1, rel=0.05)
    assert view.max == 7.0


def test_the_window_forgets_what_is_older_than_itself() -> None:
    window = LatencyWindow(window_s=300.0)
    window.view(NOW)
    window.record(60.0)
    window.view(NOW + 60 * S)
    window.record(0.5)
    assert window.view(NOW + 120 * S).max == 60.0
    assert window.view(NOW + 301 * S).max == 0.5
    assert window.view(NOW + 700 * S) == LatencyView()


def test_odd_latencies_do_no_harm() -> None:
    window = LatencyWindow()
    for seconds in (-3.0, 0.0, 1e-9, 1e12):
        window.record(seconds)
    view = window.view(NOW)
    assert view.max == 1e12
    assert LatencyWindow().view(NOW) == LatencyView()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0s"), (3.14, "3.1s"), (9.97, "10s"), (84.2, "84s"), (119.6, "2m00s"), (724, "12m04s"), (3599.7, "1h00m"),
     (19_200, "5h20m"), (273_600, "3d04h")],
)  # fmt: skip
def test_durations_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (512, "512B"), (16 * 1024, "16kB"), (2_516_582, "2.4MB"), (5 * 2**40, "5.0TB")]
)
def test_sizes_in_words(count: int, text: str) -> None:
    assert format_bytes(count) == text

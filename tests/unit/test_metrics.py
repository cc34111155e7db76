"""Laws of the metrics: bounded labels, series from the start, the same numbers as the report."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.jobview import JobView
from daemon.metrics import OUTCOMES, REPORTED, Metrics
from daemon.model import Lane, QueueName
from daemon.staleness import QueueView, Report, SlotView, SourceView, StoreView, judge

STOCK = QueueName("main", "stock")
NOW = 1_700_000_000_000_000
LABELS = {"store", "entity", "lane", "outcome", "reason", "stage", "job"}
PROMISED = [
    "change_latency_seconds", "oldest_unapplied_commit_timestamp_seconds", "canary_received_timestamp_seconds",
    "pending_keys", "quarantined_keys", "held_keys", "changes", "slot_retained_bytes", "slot_safe_bytes", "slot_state",
    "store_requests", "store_request_duration_seconds", "store_throttled", "breaker_open",
    "batch_last_success_timestamp_seconds", "reconcile_drift", "build_info",
]  # fmt: skip


def scrape(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def report() -> Report:
    view = QueueView(STOCK, Lane.FAST, 5.0, pending=3, held=2, quarantined=1, oldest_unapplied=NOW - 2_000_000)
    source = SourceView(
        state="streaming",
        slot=SlotView("s", wal_status="unreserved", retained_bytes=10, confirmed_lag_bytes=4),
        canary_received_at=NOW - 1_000_000,
        clock_offset_s=0.5,
    )
    job = JobView("content", True, "", 3, 4, 3, "", "", None, None)
    return replace(judge(source, [StoreView("main", breaker="open", queues=(view,))], NOW), jobs=(job,))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([(STOCK, Lane.FAST)], jobs=["content"])


def test_every_promised_name_is_there_from_the_start(metrics: Metrics) -> None:
    families = {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {f"erpsyncd_{name}" for name in PROMISED} <= families


def test_series_of_known_queues_start_at_zero(metrics: Metrics) -> None:
    found = scrape(metrics)
    labels = (("entity", "stock"), ("lane", "fast"), ("store", "main"))
    assert found["erpsyncd_pending_keys"][labels] == 0
    assert found["erpsyncd_change_latency_seconds_count"][labels] == 0
    assert len(found["erpsyncd_changes_total"]) == len(OUTCOMES)
    assert set(found["erpsyncd_changes_total"].values()) == {0.0}
    assert found["erpsyncd_batch_last_success_timestamp_seconds"] == {(("job", "content"),): 0.0}


def test_before_the_first_report_nothing_is_called_fresh(metrics: Metrics) -> None:
    assert scrape(metrics)["erpsyncd_verdict"][()] == 2


def test_labels_are_bounded(metrics: Metrics) -> None:
    metrics.update(report())
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.startswith("erpsyncd_") and family.name != "erpsyncd_build_info":
            for sample in family.samples:
                assert set(sample.labels) - {"le"} <= LABELS, sample


def test_the_gauges_say_what_the_report_says(metrics: Metrics) -> None:
    made = report()
    metrics.update(made)
    found = scrape(metrics)
    labels = (("entity", "stock"), ("lane", "fast"), ("store", "main"))
    stock = made.as_json()["stores"]["main"]["entities"]["stock"]
    for name in ("pending", "quarantined", "held"):
        assert found[f"erpsyncd_{name}_keys"][labels] == stock[name]
    assert found["erpsyncd_worst_staleness_seconds"][()] == made.worst_s == 2.5
    age = NOW / 1e6 + 0.5 - found["erpsyncd_oldest_unapplied_commit_timestamp_seconds"][labels]
    assert age == pytest.approx(stock["oldest_unapplied_seconds"])
    assert found["erpsyncd_slot_state"][()] == 3
    assert found["erpsyncd_slot_retained_bytes"][()] == 10
    assert math.isnan(found["erpsyncd_slot_safe_bytes"][()])
    assert found["erpsyncd_breaker_open"][(("store", "main"),)] == 1


def test_every_gauge_of_a_report_has_a_home_and_every_home_is_filled() -> None:
    assert {name for name, _, _ in report().gauges()} == set(REPORTED)
    for name, labels, _ in report().gauges():
        assert len(labels) == len(REPORTED[name][1])


def test_applied_changes_count_once_in_every_place(metrics: Metrics) -> None:
    handle = metrics.queue(STOCK, Lane.FAST)
    handle.applied(0.3, 4)
    handle.applied(100_000.0)
    handle.count("unchanged", 2)
    found = scrape(metrics)
    labels = (("entity", "stock"), ("lane", "fast"), ("store", "main"))
    assert found["erpsyncd_change_latency_seconds_count"][labels] == 5
    assert found["erpsyncd_change_latency_seconds_sum"][labels] == pytest.approx(100_001.2)
    assert found["erpsyncd_change_latency_seconds_bucket"][tuple(sorted([*labels, ("le", "0.3")]))] == 4
    assert found["erpsyncd_changes_total"][tuple(sorted([*labels, ("outcome", "applied")]))] == 5
    assert (handle.total("applied"), handle.total("unchanged")) == (5, 2)


def test_a_queue_has_one_handle(metrics: Metrics) -> None:
    assert metrics.queue(STOCK, Lane.FAST) is metrics.queue(STOCK, Lane.FAST)


def test_two_daemons_in_one_process_do_not_share_series() -> None:
    one, two = Metrics([(STOCK, Lane.FAST)]), Metrics([(STOCK, Lane.FAST)])
    one.request("main", "ok", 0.1)
    one.throttled("main")
    one.error("E-STORE")
    one.compared(STOCK, 100, 2, 1)
    one.reconciled(STOCK, 5.0)
    one.batch_succeeded("content", 6.0)
    one.stage("send").observe(0.2)
    mine, other = scrape(one), scrape(two)
    assert mine["erpsyncd_store_requests_total"][(("outcome", "ok"), ("store", "main"))] == 1
    assert mine["erpsyncd_store_request_duration_seconds_count"][(("store", "main"),)] == 1
    assert mine["erpsyncd_reconcile_drift_total"][(("entity", "stock"), ("store", "main"))] == 2
    assert mine["erpsyncd_stage_latency_seconds_count"][(("stage", "send"),)] == 1
    assert other["erpsyncd_store_requests_total"][(("outcome", "ok"), ("store", "main"))] == 0
    assert "erpsyncd_errors_total" not in other

"""Metrics over trails."""

from __future__ import annotations

import pytest

from ext_proc.telemetry.metrics import LONGEST, MOST_TOKENS, NAMES, OTHER, REASONS, REVISIONS, Metrics, Vocabulary
from ext_proc.trail import Entry, Stage, Trail, Word


def trail(revision: str = "7", route: str = "tools", **entries: str) -> Trail:
    """A trail with one allowing entry per policy, with its reason."""
    made = Trail("t", revision=revision, route=route, protocol="mcp", cause="half_closed", duration=0.2)
    for policy, reason in entries.items():
        made.record(Entry(policy, Stage.REQUEST, Word.ALLOW, reason, 0.001, enforced=True))
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """The labels of every series of `name`."""
    return [s.labels for metric in metrics.registry.collect() for s in metric.samples if s.name == name]


def test_an_exchange_is_counted_by_how_it_ended() -> None:
    metrics = Metrics("eu")
    metrics.record(trail())
    metrics.record(trail())
    what = {"region": "eu", "revision": "7", "route": "tools", "protocol": "mcp"}
    assert value(metrics, "gatehouse_exchanges_total", **what, outcome="ok", cause="half_closed") == 2
    assert value(metrics, "gatehouse_exchange_duration_seconds_count", **what) == 2
    assert value(metrics, "gatehouse_exchange_duration_seconds_sum", **what) == pytest.approx(0.4)


def test_a_verdict_is_counted_by_policy_stage_word_and_reason() -> None:
    metrics = Metrics("eu")
    made = trail()
    for _ in range(3):
        made.record(Entry("who", Stage.REQUEST, Word.DENY, "tool-not-allowed", 0.5, enforced=False))
    made.record(Entry("who", Stage.REQUEST, Word.ALLOW, "", 0.5, enforced=True))
    metrics.record(made)
    at = {"region": "eu", "revision": "7", "policy": "who", "stage": "request"}
    denied = {"verdict": "deny", "reason": "tool-not-allowed", "enforced": "false"}
    assert value(metrics, "gatehouse_verdicts_total", **at, **denied) == 3
    assert value(metrics, "gatehouse_verdicts_total", **at, verdict="allow", reason="", enforced="true") == 1
    assert value(metrics, "gatehouse_policy_duration_seconds_count", **at) == 1
    assert value(metrics, "gatehouse_policy_duration_seconds_sum", **at) == pytest.approx(2.0)


def test_tokens_that_a_policy_measured_are_added_up_by_kind() -> None:
    metrics = Metrics("eu")
    for output in (30, 12):
        made = trail()
        made.facts = {"input_tokens": 5, "output_tokens": output, "reasoning_tokens": 0, "total_tokens": 99}
        metrics.record(made)
    what = {"region": "eu", "revision": "7", "route": "tools", "protocol": "mcp"}
    what |= {"model": "", "counted": "reported"}
    assert value(metrics, "gatehouse_tokens_total", **what, kind="input") == 10
    assert value(metrics, "gatehouse_tokens_total", **what, kind="output") == 42
    assert {labels["kind"] for labels in series(metrics, "gatehouse_tokens_total")} == {"input", "output"}


def test_tokens_are_told_apart_by_the_model_that_answered_and_by_who_counted() -> None:
    metrics = Metrics()
    for facts in (
        {"model": "alias", "model_served": "big-1", "usage_estimated": False, "input_tokens": 1},
        {"model": "small", "usage_estimated": True, "input_tokens": 2, "output_audio_tokens": 3},
    ):
        made = trail()
        made.facts = facts
        metrics.record(made)
    found = {
        (labels["model"], labels["counted"], labels["kind"]) for labels in series(metrics, "gatehouse_tokens_total")
    }
    assert found == {
        ("big-1", "reported", "input"),
        ("small", "estimated", "input"),
        ("small", "estimated", "output_audio"),
    }


def test_a_model_without_a_price_is_named_and_only_so_many_are() -> None:
    metrics = Metrics("eu")
    for number in range(NAMES + 2):
        made = trail()
        made.facts = {"price_unknown": f"m{number}", "model_served": f"m{number}"}
        metrics.record(made)
    priced = trail()
    priced.facts = {"price_unknown": "", "cost": "1", "model_served": "m0"}
    metrics.record(priced)
    at = {"region": "eu", "revision": "7", "route": "tools"}
    assert value(metrics, "gatehouse_prices_unknown_total", **at, model="m0") == 1
    assert value(metrics, "gatehouse_prices_unknown_total", **at, model=OTHER) == 2


@pytest.mark.parametrize("figure", ["12", -1, MOST_TOKENS + 1, 10**400, 1.5, None])
def test_a_figure_that_is_no_count_of_tokens_is_not_added(figure: object) -> None:
    metrics = Metrics()
    made = trail()
    made.facts = {"input_tokens": figure}
    metrics.record(made)
    assert series(metrics, "gatehouse_tokens_total") == []


def test_operations_on_the_store_are_counted_by_how_they_went() -> None:
    metrics = Metrics("eu")
    metrics.store_operation("redis", "count", "limited", 0.002)
    metrics.store_operation("redis", "count", "failed", 0.02)
    what = {"region": "eu", "store": "redis", "operation": "count"}
    assert value(metrics, "gatehouse_store_operations_total", **what, result="limited") == 1
    assert value(metrics, "gatehouse_store_operations_total", **what, result="failed") == 1
    assert value(metrics, "gatehouse_store_operation_duration_seconds_count", **what) == 2
    assert value(metrics, "gatehouse_store_operation_duration_seconds_sum", **what) == pytest.approx(0.022)


def test_a_store_is_up_or_down_or_not_there() -> None:
    metrics = Metrics("eu")
    assert series(metrics, "gatehouse_store_up") == []
    metrics.store_up("redis", True)
    assert value(metrics, "gatehouse_store_up", region="eu", store="redis") == 1
    metrics.store_up("redis", False)
    assert value(metrics, "gatehouse_store_up", region="eu", store="redis") == 0
    metrics.store_gone("redis")
    assert series(metrics, "gatehouse_store_up") == []


def test_an_exchange_counts_to_the_revision_it_ran_under() -> None:
    metrics = Metrics()
    metrics.in_force("b", "2")
    metrics.record(trail("1"))
    metrics.record(trail("2"))
    assert [labels["revision"] for labels in series(metrics, "gatehouse_exchanges_total")] == ["1", "2"]


def test_only_the_last_revisions_are_kept() -> None:
    metrics = Metrics()
    for number in range(REVISIONS + 3):
        made = trail(str(number), p="")
        made.facts = {"input_tokens": 1, "price_unknown": "m"}
        metrics.record(made)
    kept = {str(number) for number in range(3, REVISIONS + 3)}
    names = ("exchanges_total", "verdicts_total", "exchange_duration_seconds_count", "tokens_total")
    for name in (*names, "prices_unknown_total"):
        assert {labels["revision"] for labels in series(metrics, f"gatehouse_{name}")} == kept
    assert {labels["revision"] for labels in series(metrics, "gatehouse_policy_duration_seconds_sum")} == kept
    metrics.record(trail("0", p=""))
    (count,) = [
        sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "gatehouse_exchanges_total" and sample.labels["revision"] == "0"
    ]
    assert count == 1


def test_a_revision_in_use_is_not_dropped_for_its_age() -> None:
    metrics = Metrics()
    for number in range(REVISIONS + 3):
        metrics.record(trail(str(number)))
        metrics.record(trail("steady"))
    assert "steady" in {labels["revision"] for labels in series(metrics, "gatehouse_exchanges_total")}


def test_reasons_past_a_count_become_other_and_leave_other_policies_theirs() -> None:
    metrics = Metrics()
    for number in range(REASONS + 10):
        metrics.record(trail(noisy=f"reason-{number}"))
    metrics.record(trail(quiet="one-of-few"))
    found = series(metrics, "gatehouse_verdicts_total")
    noisy = {labels["reason"] for labels in found if labels["policy"] == "noisy"}
    assert len(noisy) == REASONS + 1
    assert OTHER in noisy
    assert {labels["reason"] for labels in found if labels["policy"] == "quiet"} == {"one-of-few"}


def test_routes_and_policies_past_a_count_become_other() -> None:
    metrics = Metrics()
    for number in range(NAMES + 10):
        metrics.record(trail(route=f"route-{number}", **{f"policy-{number}": ""}))
    assert len({labels["route"] for labels in series(metrics, "gatehouse_exchanges_total")}) == NAMES + 1
    assert len({labels["policy"] for labels in series(metrics, "gatehouse_verdicts_total")}) == NAMES + 1


@pytest.mark.parametrize("text", ["x" * (LONGEST + 1), "a\nb", "\udcff"])
def test_a_text_that_is_no_label_becomes_other(text: str) -> None:
    assert Vocabulary(10).fold(text) == OTHER
    metrics = Metrics()
    metrics.record(trail(p=text))
    assert metrics.exposition()[0]


def test_reloads_are_there_before_the_first_one() -> None:
    metrics = Metrics("eu")
    assert value(metrics, "gatehouse_bundle_reloads_total", region="eu", result="failed") == 0
    metrics.reloaded(ok=False)
    metrics.reloaded(ok=True)
    assert value(metrics, "gatehouse_bundle_reloads_total", region="eu", result="failed") == 1
    assert value(metrics, "gatehouse_bundle_reloads_total", region="eu", result="ok") == 1


def test_the_info_is_of_the_bundle_in_force_alone() -> None:
    metrics = Metrics("eu")
    metrics.in_force("b", "1")
    metrics.in_force("b", "2")
    assert series(metrics, "gatehouse_bundle_info") == [{"region": "eu", "name": "b", "revision": "2"}]


def test_active_exchanges_are_asked_for_at_each_scrape() -> None:
    metrics = Metrics("eu")
    active = [3]
    metrics.track_active(lambda: active[0])
    assert value(metrics, "gatehouse_exchanges_active", region="eu") == 3
    active[0] = 1
    assert value(metrics, "gatehouse_exchanges_active", region="eu") == 1


def test_every_metric_has_a_help_text_and_the_house_prefix() -> None:
    metrics = Metrics()
    metrics.record(trail(p=""))
    ours = [metric for metric in metrics.registry.collect() if not metric.name.startswith("process_")]
    assert len(ours) >= 7
    assert all(metric.name.startswith("gatehouse_") and metric.documentation.endswith(".") for metric in ours)

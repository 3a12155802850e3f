"""Spans over trails, with an exporter in memory."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from ext_proc.telemetry.spans import Spans
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word

SECOND = 1_000_000_000


def exported(trail: Trail) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    # The trail began at 100 s of its own clock; it is 110 s now, and 1,000 s since the epoch.
    spans = Spans(SimpleSpanProcessor(exporter), "eu", clock=lambda: 110.0, wall_clock=lambda: 1000 * SECOND)
    spans.record(trail)
    spans.close()
    return tuple(exporter.get_finished_spans())


def call(**facts: object) -> Trail:
    trail = Trail(
        "t1",
        revision="7",
        route="tools",
        protocol="mcp",
        method="tools/call",
        target="search",
        started=100.0,
        duration=4.0,
    )
    for name, value in facts.items():
        setattr(trail, name, value)
    return trail


def span_of(trail: Trail) -> ReadableSpan:
    (span,) = exported(trail)
    return span


def test_a_span_has_the_exchanges_own_times() -> None:
    span = span_of(call())
    assert (span.start_time, span.end_time) == (990 * SECOND, 994 * SECOND)


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("tools/call", "search", "tools/call search"),
        ("prompts/get", "greeting", "prompts/get greeting"),
        ("resources/read", "file:///secret/path", "resources/read"),
        ("tools/list", "", "tools/list"),
        ("", "", "tools"),
    ],
)
def test_a_span_is_named_by_method_and_what_is_few_enough(method: str, target: str, name: str) -> None:
    assert span_of(call(method=method, target=target)).name == name


def test_an_exchange_that_nothing_governs_has_a_name_too() -> None:
    assert span_of(Trail("t1")).name == "exchange"


def test_a_tool_call_carries_the_conventions_attributes() -> None:
    span = span_of(call(status=200, kind="delegated_agent", subject="ann", actor="bot"))
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "gatehouse.trail.id": "t1",
        "gatehouse.route": "tools",
        "gatehouse.protocol": "mcp",
        "gatehouse.revision": "7",
        "gatehouse.outcome": "ok",
        "gatehouse.cause": "",
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "enduser.id": "ann",
        "gatehouse.caller.kind": "delegated_agent",
        "gatehouse.caller.actor": "bot",
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.resource.attributes["cloud.region"] == "eu"
    assert span.resource.attributes["service.name"] == "gatehouse"


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_any_other_outcome_is_an_error_of_its_type(outcome: Outcome) -> None:
    span = span_of(call(outcome=outcome))
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == str(outcome)


def test_denials_are_events_also_those_that_were_not_enforced() -> None:
    trail = call()
    trail.record(Entry("quiet", Stage.REQUEST, Word.ALLOW, "", 0.001, enforced=True))
    trail.record(Entry("watcher", Stage.REQUEST, Word.DENY, "looks-odd", 0.001, enforced=False))
    trail.record(Entry("who", Stage.REQUEST, Word.DENY, "tool-not-allowed", 0.001, enforced=True))
    span = span_of(trail)
    found = [dict(event.attributes or {}) for event in span.events]
    assert [(event["gatehouse.policy"], event["gatehouse.enforced"]) for event in found] == [
        ("watcher", False),
        ("who", True),
    ]
    assert found[1]["gatehouse.reason"] == "tool-not-allowed"
    assert span.attributes is not None
    assert (span.attributes["gatehouse.policy"], span.attributes["gatehouse.reason"]) == ("who", "tool-not-allowed")


def test_a_span_stands_under_the_callers_trace() -> None:
    span = span_of(call(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"


def test_a_trace_that_is_not_sampled_gets_no_span() -> None:
    assert exported(call(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")) == ()


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-01", "\udcff"])
def test_without_a_readable_parent_a_trace_begins_here(traceparent: str) -> None:
    assert span_of(call(traceparent=traceparent)).parent is None


def test_names_that_are_no_text_do_not_lose_the_span() -> None:
    span = span_of(call(target="\udcff", subject="\udcff"))
    assert span.name == "tools/call ?"

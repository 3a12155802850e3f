"""OpenTelemetry spans: one per exchange, made when it is over, under the caller's trace.

Rules:
- A span is written from the finished trail with the exchange's own times; nothing waits for a collector: a full queue
  drops.
- Without an endpoint this module is not even imported.
- Names follow the MCP and GenAI conventions (1.41), which are in development: they stand in one place.
- No content attributes: arguments, results and texts never leave here.

Not here: metrics over the same trails (metrics.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ext_proc import __version__
from ext_proc.trail import Outcome, Trail, Word

MCP_METHOD = "mcp.method.name"
OPERATION = "gen_ai.operation.name"
HTTP_STATUS = "http.response.status_code"
ERROR_TYPE = "error.type"
# What a method's target is. Only the names of tools and prompts are few enough for a span's name.
_TARGETS = {
    "tools/call": "gen_ai.tool.name",
    "prompts/get": "gen_ai.prompt.name",
    "resources/read": "mcp.resource.uri",
    "resources/subscribe": "mcp.resource.uri",
    "resources/unsubscribe": "mcp.resource.uri",
}
_NAMED_BY_TARGET = ("tools/call", "prompts/get")

_NANOSECONDS = 1_000_000_000
_PARENT = TraceContextTextMapPropagator()
_NO_PARENT = Context()


def otlp_processor(endpoint: str) -> SpanProcessor:
    """Batches spans to an OTLP/gRPC endpoint, e.g. "http://127.0.0.1:4317"; its queue is bounded."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))


class Spans:
    """The view that turns trails into spans.

    Args:
        processor: takes finished spans.
        region: becomes the resource's `cloud.region`.
        clock: the clock that trails are measured by, in seconds.
        wall_clock: nanoseconds since the epoch.
    """

    def __init__(
        self,
        processor: SpanProcessor,
        region: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        facts = {"service.name": "gatehouse", "service.version": __version__}
        if region:
            facts["cloud.region"] = region
        # The process decides when to shut down; an exit handler of the library's would wait for a dead collector.
        self._provider = TracerProvider(resource=Resource.create(facts), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gatehouse", __version__)
        self._clock = clock
        self._wall_clock = wall_clock

    def record(self, trail: Trail) -> None:
        """Makes the span of a finished exchange. An unsampled parent makes it free."""
        began = self._wall_clock() - int((self._clock() - trail.started) * _NANOSECONDS)
        ended = began + int(trail.duration * _NANOSECONDS)
        parent = _PARENT.extract({"traceparent": trail.traceparent}, _NO_PARENT) if trail.traceparent else _NO_PARENT
        span = self._tracer.start_span(_name(trail), parent, SpanKind.INTERNAL, _attributes(trail), start_time=began)
        if span.is_recording():
            for entry in trail.entries:
                if entry.verdict in (Word.DENY, Word.RESPOND, Word.ERROR):
                    facts: dict[str, str | bool] = {
                        "gatehouse.policy": entry.policy,
                        "gatehouse.stage": str(entry.stage),
                        "gatehouse.verdict": str(entry.verdict),
                        "gatehouse.reason": _text(entry.reason),
                        "gatehouse.enforced": entry.enforced,
                    }
                    span.add_event("gatehouse.denial", facts, ended)
            if trail.outcome is not Outcome.OK:
                span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Hands on what is queued and ends. Blocks while the collector does not answer: not for the event loop."""
        self._provider.shutdown()


def _name(trail: Trail) -> str:
    if not trail.method:
        return trail.route or "exchange"
    method = _text(trail.method)
    return f"{method} {_text(trail.target)}" if trail.target and trail.method in _NAMED_BY_TARGET else method


def _attributes(trail: Trail) -> dict[str, str | int]:
    denied = trail.denied
    found: dict[str, str | int] = {
        "gatehouse.trail.id": trail.id,
        "gatehouse.route": trail.route,
        "gatehouse.protocol": trail.protocol,
        "gatehouse.revision": trail.revision,
        "gatehouse.outcome": str(trail.outcome),
        "gatehouse.cause": trail.cause,
    }
    if trail.protocol == "mcp" and trail.method:
        found[MCP_METHOD] = _text(trail.method)
        if trail.method == "tools/call":
            found[OPERATION] = "execute_tool"
    if trail.target and trail.method in _TARGETS:
        found[_TARGETS[trail.method]] = _text(trail.target)
    if trail.subject:
        found["enduser.id"] = _text(trail.subject)
        found["gatehouse.caller.kind"] = trail.kind
    if trail.actor:
        found["gatehouse.caller.actor"] = _text(trail.actor)
    if trail.status:
        found[HTTP_STATUS] = trail.status
    if trail.outcome is not Outcome.OK:
        found[ERROR_TYPE] = str(trail.outcome)
    if denied is not None:
        found["gatehouse.policy"], found["gatehouse.reason"] = denied.policy, _text(denied.reason)
    return found


def _text(value: str) -> str:
    """Text that protobuf can carry: a lone surrogate would lose the whole batch."""
    return value.encode("utf-8", "replace").decode()

"""What is told of real traffic: decisions, metrics, spans, logs; and what is never told.

Rules:
- A secret is sent in every place that an exchange has, and looked for in every place that tells of exchanges.
"""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ext_proc.telemetry.history import SIZE
from tests.envoy.exchanges import HEADERS, LIST, answer_to, call, event, posted
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, kill_gatehouse, log_lines, mark, metric, nothing_left, text_of_log
from tests.envoy.upstream import json_body, pieces

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: telling, revision: "7"}
routes:
  - {name: faulty, match: {path: /mcp/faulty}, protocol: mcp, policies: [raises]}
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [access, results, witness]}
policies:
  - {name: raises, type: "tests.envoy.faulty:Raises"}
  - {name: results, type: "tests.envoy.faulty:ReadsResults"}
  - {name: witness, type: "tests.envoy.faulty:Witness"}
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: ["delete"], allow: "args.path == '/tmp' && 'admin' in identity.groups"}
        - {tools: ["hidden"], allow: false}
        - {methods: ["*"], allow: true}
"""
SECRET = "canary-7f3a9c"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTLP = "opentelemetry.proto.collector.trace.v1.TraceService"
PARENT = "00f067aa0ba902b7"


class Collector:
    """An OTLP receiver on the loopback."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.raw = b""
        self._spans: queue.Queue[Span] = queue.Queue()

    def export(self, request: bytes, context: object) -> bytes:
        """Takes a batch of spans."""
        self.raw += request
        for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans.put(span)
        return b""

    def span_of(self, decision: dict[str, Any]) -> Span:
        """The span of this exchange, once it has come; those before it are passed over."""
        while True:
            span = self._spans.get(timeout=10)
            if attributes_of(span)["gatehouse.trail.id"] == decision["id"]:
                return span


def attributes_of(span: Span) -> dict[str, str | int]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    export = grpc.unary_unary_rpc_method_handler(found.export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(OTLP, {"Export": export}),))
    found.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield found
    server.stop(None).wait()


@pytest.fixture(scope="module")
def running(gatehouse_stack: Stacks, collector: Collector) -> Iterator[Running]:
    settings = ["--region", "eu-1", "--log-level", "debug", "--otlp-endpoint", collector.endpoint]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # milliseconds: a batch goes out soon
        stack = gatehouse_stack(BUNDLE, serve_arguments=settings)
    yield stack
    kill_gatehouse(stack)  # its collector goes now, and a drain would wait for it


def ask_gatehouse(running: Running, *command: str) -> str:
    """What the command line says about the running process."""
    address = urlsplit(running.stack.admin_url).netloc
    done = subprocess.run(
        [sys.executable, "-m", "ext_proc.cli", *command, "--admin", address], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_denied_client_can_have_its_denial_explained(running: Running) -> None:
    answer = posted(running, call("hidden")).json()
    trail = answer["error"]["data"]["trail"]
    shown = ask_gatehouse(running, "explain", trail)
    assert [
        word for word in (trail, "hidden", "access", "tool-not-allowed", "eu-1", "refused") if word not in shown
    ] == []


def test_metrics_count_exchanges_verdicts_and_times_by_region_and_revision(running: Running) -> None:
    place = {"region": "eu-1", "revision": "7"}

    def counted() -> dict[str, float]:
        return {
            "ok": metric(running, "gatehouse_exchanges_total", **place, route="mcp", outcome="ok", cause="complete"),
            "refused": metric(running, "gatehouse_exchanges_total", **place, route="mcp", outcome="refused"),
            "verdicts": metric(
                running, "gatehouse_verdicts_total", **place, policy="access", verdict="deny", reason="tool-not-allowed"
            ),
            "durations": metric(running, "gatehouse_exchange_duration_seconds_count", **place, route="mcp"),
            "policy durations": metric(
                running, "gatehouse_policy_duration_seconds_count", **place, policy="access", stage="request"
            ),
        }

    nothing_left(running)
    before, since = counted(), mark(running)
    running.upstream.answer_with(json_body(answer_to(call())))
    assert "result" in posted(running, call()).json()
    assert "error" in posted(running, call("hidden")).json()
    decisions(running, since, 2)
    grown = {name: value - before[name] for name, value in counted().items()}
    assert grown == {"ok": 1, "refused": 1, "verdicts": 1, "durations": 2, "policy durations": 2}


def test_a_span_continues_the_callers_trace(running: Running, collector: Collector) -> None:
    running.upstream.answer_with(json_body(answer_to(call())))
    since = mark(running)
    headers = {**HEADERS, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    httpx.post(running.stack.mcp_url, json=call(), headers=headers)
    (decision,) = decisions(running, since)
    span = collector.span_of(decision)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "tools/call search"
    said = attributes_of(span)
    assert (said["mcp.method.name"], said["gatehouse.outcome"], said["gatehouse.revision"]) == ("tools/call", "ok", "7")
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10**10


def test_a_denial_is_an_error_in_its_span(running: Running, collector: Collector) -> None:
    since = mark(running)
    posted(running, call("hidden"))
    (decision,) = decisions(running, since)
    span = collector.span_of(decision)
    assert span.status.code == Status.STATUS_CODE_ERROR
    (denial,) = span.events
    assert {item.key: item.value.string_value for item in denial.attributes}["gatehouse.reason"] == "tool-not-allowed"


async def test_the_last_thousand_decisions_are_kept(running: Running) -> None:
    since = mark(running)
    oldest = posted(running, call("hidden")).json()["error"]["data"]["trail"]

    async def ask(client: httpx.AsyncClient, count: int) -> None:
        for _ in range(count):
            await client.post(running.stack.mcp_url, json=call("hidden"), headers=HEADERS)

    def kept(**query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{running.stack.admin_url}/decisions", params=query).json()
        return list(answer["decisions"])

    decisions(running, since)  # it is on record when it is over, which is after its answer
    assert len(kept(id=oldest)) == 1
    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(ask(client, SIZE // 10))
    decided = decisions(running, since, SIZE + 1)
    assert [decision["id"] for decision in kept(limit=str(SIZE))] == [decision["id"] for decision in decided[:0:-1]]
    assert kept(id=oldest) == []


def secret_requests(running: Running) -> list[httpx.Response]:
    """Exchanges with the secret wherever something may be secret, each way that an exchange can go."""
    token = running.stack.token("alice", {"groups": ["analysts"], "note": SECRET})
    headers = {
        **HEADERS,
        "authorization": f"Bearer {token}",
        "cookie": f"session={SECRET}",
        "x-api-key": SECRET,
        "mcp-session-id": SECRET,
        "user-agent": SECRET,
        "content-type": "application/json",
    }
    spoken = {"jsonrpc": "2.0", "id": 1}
    results: list[object] = [
        {**spoken, "result": {"content": [{"type": "text", "text": SECRET}], "structuredContent": {SECRET: SECRET}}},
        {**spoken, "result": {"content": [{"type": "text", "text": SECRET}], "isError": True}},
        {**spoken, "error": {"code": -32603, "message": SECRET, "data": {"trace": SECRET}}},
        {"jsonrpc": "2.0", "id": SECRET, "result": {}},
        SECRET,
    ]
    asking = {"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {"text": SECRET}}
    told = [("x-upstream", SECRET), ("set-cookie", SECRET), ("mcp-session-id", SECRET)]
    answers = [json_body(result, 200, *told) for result in results]
    answers += [pieces([event(asking), event(result)]) for result in results]
    answers += [pieces([f"data: {SECRET}".encode()]), pieces([SECRET.encode()], "text/plain")]
    bodies: list[bytes] = [
        *(json.dumps(call(tool, path=SECRET)).encode() for tool in ("search", "hidden", "delete")),
        json.dumps([call("search", 1, path=SECRET), call("hidden", 2, path=SECRET)]).encode(),
        json.dumps({**spoken, "method": "initialize", "params": {"clientInfo": {"name": SECRET}}}).encode(),
        json.dumps({**call(), "id": SECRET}).encode(),
        f'{{"{SECRET}":'.encode(),
        SECRET.encode() + b"\xff",
    ]
    got: list[httpx.Response] = []
    with httpx.Client() as client:
        for answer in answers:
            running.upstream.answer_with(answer)
            url = f"{running.stack.mcp_url}?key={SECRET}"
            got.append(client.post(url, content=bodies[0], headers=headers))
            assert SECRET in str(running.upstream.requests[0])
        for body in bodies:
            got.append(client.post(running.stack.mcp_url, content=body, headers=headers))
        got.append(client.post(f"{running.stack.mcp_url}/faulty", content=bodies[0], headers=headers))
        got.append(client.post(running.stack.mcp_url, content=bodies[0], headers={**headers, "content-type": SECRET}))
        running.upstream.answer_with(json_body(answer_to(LIST, "search", "hidden", text=SECRET)))
        got.append(client.post(running.stack.mcp_url, json=LIST, headers=headers))
    return got


def test_nothing_secret_is_told_anywhere(running: Running, collector: Collector) -> None:
    since = mark(running)
    got = secret_requests(running)
    assert sum(SECRET in answer.text for answer in got) >= 8  # it did go through, to those whom it concerns
    nothing_left(running)
    decided = decisions(running, since, len(got))
    collector.span_of(decided[-1])
    admin = running.stack.admin_url
    told = {
        "log": text_of_log(running),
        "Envoy's log": (running.stack.logs / "envoy.log").read_text(encoding="utf-8"),
        "access log": (running.stack.logs / "access.jsonl").read_text(encoding="utf-8"),
        "spans": collector.raw.decode("utf-8", "replace"),
        "explained": ask_gatehouse(running, "explain", decided[0]["id"]),
        **{path: httpx.get(admin + path).text for path in ("/metrics", "/bundle", "/decisions?limit=1000", "/readyz")},
    }
    assert "alice" in told["log"]  # what is no secret is told: else this test shows nothing
    assert "execute_tool" in told["spans"]
    assert decided[0]["id"] in told["/decisions?limit=1000"]
    token = running.stack.token("alice").split(".")[1][:20]
    for needle in (SECRET, token, "Bearer", "canary-of-a-policy"):
        assert [place for place, text in told.items() if needle in text] == []


def test_each_line_of_the_log_is_one_json_object(running: Running) -> None:
    """Whatever a client calls a tool: names are told."""
    since = mark(running)
    for name in ("hidden\nforged", "hidden\u2028forged", "hidden\ud800"):
        httpx.post(running.stack.mcp_url, content=json.dumps(call(name)), headers={"content-type": "application/json"})
    assert [decision["target"][:6] for decision in decisions(running, since, 3)][:2] == ["hidden"] * 2
    for line in log_lines(running):
        assert {"event", "level", "timestamp"} <= line.keys()

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

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ext_proc.telemetry.history import SIZE
from tests.envoy.exchanges import HEADERS, LIST, answer_to, call, event, posted
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, log_lines, mark, metric, nothing_left, text_of_log
from tests.envoy.upstream import Connection, Request, json_body, pieces

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
PARENT = "00f067aa0ba902b7"


class Collector(TraceServiceServicer):  # type: ignore[misc]  # generated without types
    """An OTLP receiver on the loopback."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Span] = queue.Queue()
        self.raw = b""

    def Export(  # noqa: N802
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self.raw += request.SerializeToString()
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put(span)
        return ExportTraceServiceResponse()

    def next(self, **attributes: str) -> Span:
        """The next span that has these attributes; others are passed over."""
        while True:
            span = self.spans.get(timeout=10)
            found = attributes_of(span)
            if attributes.items() <= found.items():
                return span


def attributes_of(span: Span) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    found = Collector()
    add_TraceServiceServicer_to_server(found, server)
    found.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield found
    server.stop(None).wait()

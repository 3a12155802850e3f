"""OpenTelemetry logs: one log record for each closed record, with nothing that is not known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from ext_proc.ledger.otlp import EVENT, OtlpLogs, attributes, otlp_processor
from ext_proc.ledger.record import Counted
from tests.unit.ledger.keeping import OPENED, closed, record

COLLECTOR = "opentelemetry.proto.collector.logs.v1.LogsService"


def test_a_record_is_a_log_record_with_its_fields() -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    logs = OtlpLogs(SimpleLogRecordProcessor(exporter))
    logs.send(
        closed("a", model_asked="gpt-5.1", input_tokens=3, output_tokens=4, counted=Counted.REPORTED, cost="0.01")
    )
    (found,) = exporter.get_finished_logs()
    assert found.log_record.event_name == EVENT
    assert found.log_record.timestamp == int((OPENED + 1) * 1_000_000_000)
    told = dict(found.log_record.attributes or {})
    assert told["gatehouse.usage.id"] == "a"
    assert told["gatehouse.usage.cost"] == "0.01"
    assert told["gen_ai.request.model"] == "gpt-5.1"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (3, 4)
    assert found.resource.attributes["service.name"] == "gatehouse"
    logs.end()


def test_what_is_not_known_is_not_told() -> None:
    assert attributes(record()) == {
        "gatehouse.usage.version": 1,
        "gatehouse.usage.id": "a",
        "gatehouse.usage.opened": OPENED,
    }


def test_no_tokens_that_were_counted_are_told_as_none() -> None:
    assert attributes(record(counted=Counted.ESTIMATED))["gen_ai.usage.output_tokens"] == 0


def test_a_collector_gets_it_over_grpc() -> None:
    came: list[ExportLogsServiceRequest] = []

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        came.append(ExportLogsServiceRequest.FromString(request))
        return ExportLogsServiceResponse().SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(COLLECTOR, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        logs = OtlpLogs(otlp_processor(f"http://127.0.0.1:{port}"))
        logs.send(closed("a", subject="alice"))
        logs.end()  # hands on what is queued
    finally:
        server.stop(0).wait()
    ((record_,),) = [scope.log_records for logs in came for found in logs.resource_logs for scope in found.scope_logs]
    told = {pair.key: pair.value.string_value for pair in record_.attributes}
    assert (record_.event_name, told["gatehouse.usage.subject"]) == (EVENT, "alice")

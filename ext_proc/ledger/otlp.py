"""Records as OpenTelemetry logs over OTLP/gRPC: one log record each, named `gatehouse.usage`.

Rules:
- Nothing waits for a collector: a full queue drops, and what is queued when the process is killed is lost.
- Attributes are the record's fields under `gatehouse.usage.`, as far as they are known; those that the GenAI
  conventions (1.41, in development) have, stand under their names there too.
- Without a sink of this kind this module is not even imported.

Not here: spans (telemetry/spans.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from ext_proc import __version__
from ext_proc.ledger.record import Counted, UsageRecord

EVENT: Final = "gatehouse.usage"
_CONVENTIONS = {
    "model_asked": "gen_ai.request.model",
    "model_served": "gen_ai.response.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
}
_TOKENS = ("input_tokens", "output_tokens")
_NANOSECONDS = 1_000_000_000


def otlp_processor(endpoint: str) -> LogRecordProcessor:
    """Batches log records to an OTLP/gRPC endpoint, e.g. "http://127.0.0.1:4317"; its queue is bounded."""
    return BatchLogRecordProcessor(OTLPLogExporter(endpoint=endpoint))


class OtlpLogs:
    """The sink that sends records to a collector."""

    def __init__(self, processor: LogRecordProcessor) -> None:
        resource = Resource.create({"service.name": "gatehouse", "service.version": __version__})
        # The process decides when to shut down; an exit handler of the library's would wait for a dead collector.
        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(processor)
        self._logger = self._provider.get_logger("gatehouse", __version__)

    def send(self, record: UsageRecord) -> None:
        at = record.opened if record.closed is None else record.closed
        self._logger.emit(
            timestamp=int(at * _NANOSECONDS),
            observed_timestamp=int(at * _NANOSECONDS),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            event_name=EVENT,
            attributes=attributes(record),
        )

    def end(self) -> None:
        self._provider.shutdown()


def attributes(record: UsageRecord) -> dict[str, Any]:
    """The record as attributes."""
    fields: dict[str, Any] = msgspec.to_builtins(record)  # what has its default is left out
    found = {f"{EVENT}.{name}": value for name, value in fields.items()}
    for name, conventional in _CONVENTIONS.items():
        known = record.counted is not Counted.NOT if name in _TOKENS else name in fields
        if known:
            found[conventional] = getattr(record, name)
    return found

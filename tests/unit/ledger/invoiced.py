"""A ledger that agrees with tests/data/invoices/costs.csv, for tests of reports.

Not here: what is asserted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ext_proc.ledger.record import Counted, State, UsageRecord
from ext_proc.ledger.sinks import JsonlFile
from tests.unit.ledger.keeping import OPENED

COSTS: Final = Path(__file__).parents[2] / "data" / "invoices" / "costs.csv"
DAY: Final = 86400.0
CHAT: Final[dict[str, Any]] = {"model_asked": "gpt-5.1", "model_served": "gpt-5.1-2025-11-13", "currency": "USD"}


def ended(id: str, at: float = OPENED, **fields: Any) -> UsageRecord:
    """A closed record with reported figures, unless told otherwise."""
    return UsageRecord(id=id, opened=at, **{"counted": Counted.REPORTED, **fields}).ended(State.CLOSED, at + 1)


def records() -> list[UsageRecord]:
    return [
        ended("1", input_tokens=1200, cached_tokens=800, output_tokens=300, cost="0.0045", subject="alice", **CHAT),
        ended("2", input_tokens=1200, output_tokens=300, cost="0.0045", subject="bob", **CHAT),
        ended("3", input_tokens=1200, output_tokens=300, cost="0.0045", subject="bob", **CHAT),
        ended("4", model_asked="text-embedding-3-small", input_tokens=8000, cost="0.00016", currency="USD"),
        ended("5", OPENED + DAY, input_tokens=1000, output_tokens=200, cost="0.00325", subject="bob", **CHAT),
        ended("6", outcome="refused", counted=Counted.NOT, model_asked="gpt-5.1"),
    ]


def write(path: Path, found: list[UsageRecord]) -> Path:
    """The records as a ledger of lines."""
    sink = JsonlFile(path)
    for record in found:
        sink.send(record)
    sink.end()
    return path

"""Where a ledger keeps its records and where it sends them, as frozen data.

Not here: how it is written in a bundle (the `usage` policy's parameters), opening it (ledger.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

RETENTION: Final = 90 * 86400.0  # seconds
MAX_RECORDS: Final = 5_000_000  # of some 850 bytes each
TIMEOUT: Final = 0.020  # seconds


@dataclass(frozen=True, slots=True)
class FileSettings:
    """A SQLite file that all processes of a host share.

    Attributes:
        path: the file.
        retention: how long a closed record is kept from its opening on, in seconds.
        max_records: how many are kept; where there are more, the oldest closed ones go.
        timeout: seconds that an operation waits for the file while others have it locked.
    """

    path: Path
    retention: float = RETENTION
    max_records: int = MAX_RECORDS
    timeout: float = TIMEOUT


@dataclass(frozen=True, slots=True)
class JsonlSettings:
    """One line of JSON per closed record.

    Attributes:
        path: the file; None for standard output.
    """

    path: Path | None


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """One OpenTelemetry log record per closed record.

    Attributes:
        endpoint: of OTLP over gRPC, e.g. "http://127.0.0.1:4317".
    """

    endpoint: str


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """A ledger.

    Attributes:
        file: what makes records survive the process; None where only what is closed is sent.
        sinks: where closed records are sent.
    """

    file: FileSettings | None = None
    sinks: tuple[JsonlSettings | OtlpSettings, ...] = ()

"""What the command line sets for `serve`.

Not here: what a bundle sets (bundle/models.py); the meaning of an address (address.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one process.

    Attributes:
        bundle: the bundle's file.
        listen: where Envoy finds us: HOST:PORT or unix:PATH.
        admin: where the admin endpoint listens, HOST:PORT; "" for none.
        pages: where the pages of policies are served to Envoy, HOST:PORT or unix:PATH; "" for nowhere.
        region: a label for metrics, spans and the decision log.
        otlp_endpoint: an OTLP/gRPC collector, e.g. http://127.0.0.1:4317; "" for no spans.
        drain_seconds: what running exchanges get to finish after SIGTERM.
        log_level: debug, info, warning or error.
    """

    bundle: Path
    listen: str
    admin: str
    pages: str = ""
    region: str = ""
    otlp_endpoint: str = ""
    drain_seconds: float = 15.0
    log_level: str = "info"

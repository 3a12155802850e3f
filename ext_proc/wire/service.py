"""The names under which Envoy calls us.

Rules:
- The RPC is a bidirectional stream of ProcessingRequest and ProcessingResponse. A server registers a generic handler
  for `SERVICE` and `METHOD` with `decode` and `encode` at its edges; no generated stub is needed.

Not here: any server.
"""

from __future__ import annotations

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"
PROCESS = f"/{SERVICE}/{METHOD}"

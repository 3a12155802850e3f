"""An admin endpoint with a record of the test's choice, on the loopback: real metrics, real trails, no Gatehouse."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from ext_proc.telemetry.metrics import Metrics
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word


class AdminStub:
    """Serves /decisions and /metrics inside a `with` block."""

    def __init__(self) -> None:
        self._trails: list[Trail] = []
        self._metrics = Metrics()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = stub._answer(self.path)
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def ends(self, trail: Trail) -> None:
        """An exchange is over; as in a process, what no route governs is counted and not kept."""
        self._metrics.record(trail)
        if trail.route:
            self._trails.insert(0, trail)

    def _answer(self, path: str) -> bytes:
        split = urlsplit(path)
        if split.path == "/metrics":
            return self._metrics.exposition()[0]
        wanted = parse_qs(split.query).get("id", [""])[0]
        found = [trail.as_dict() for trail in self._trails if wanted in ("", trail.id)]
        return json.dumps({"decisions": found}).encode()

    def __enter__(self) -> AdminStub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def called(trail_id: str, tool: str = "search", *, reason: str = "rules[1]", denied: bool = False) -> Trail:
    """The trail of a tool call that was allowed, or denied."""
    trail = Trail(trail_id, revision="1", route="mcp", protocol="mcp", method="tools/call", target=tool)
    word = Word.DENY if denied else Word.ALLOW
    trail.record(Entry("who-may-call", Stage.REQUEST, word, reason, 0.0, enforced=True))
    trail.outcome = Outcome.REFUSED if denied else Outcome.OK
    return trail


def ungoverned(trail_id: str) -> Trail:
    """The trail of an exchange that no route governs."""
    return Trail(trail_id, revision="1")

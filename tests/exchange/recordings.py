"""Every recorded exchange of tests/data: what a client sent, and what the server answered, to the byte.

Rules:
- The bytes are those of the files; nothing is written anew here. Bodies are in the clear, as the files have them.

Not here: what each format means (tests/unit/codecs), how an exchange is played (test_recorded.py, tests/envoy).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ext_proc.testing import HttpRequest, HttpResponse

_DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange.

    Attributes:
        name: the file's, e.g. "050-anthropic".
        api: whose format it is: "chat_completions", "messages", "mcp" ...
        path: with the query.
        interrupted: whether its answer was made by cutting a whole one short.
    """

    name: str
    api: str
    method: str
    host: str
    path: str
    request_headers: Mapping[str, str]
    request: bytes
    status: int
    response_headers: Mapping[str, str]
    response: bytes
    interrupted: bool

    @property
    def streams(self) -> bool:
        """Whether the answer is an event stream."""
        return self.response_headers["content-type"].startswith("text/event-stream")

    def asked(self, *, sized: bool = True) -> HttpRequest:
        """The request as the client sent it; without a length unless `sized`."""
        return HttpRequest(
            self.request, self.method, self.path, dict(self.request_headers), authority=self.host, sized=sized
        )

    def answered(self, *, sized: bool, complete: bool = True) -> HttpResponse:
        """The answer as the server sent it; without a length unless `sized`."""
        return HttpResponse(self.response, self.status, dict(self.response_headers), sized=sized, complete=complete)


def _load(path: Path) -> Recording:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Recording(
        name=path.stem,
        api=stored["api"],
        method=stored["method"],
        host=stored["host"],
        path=stored["path"],
        request_headers=stored["request_headers"],
        request=stored["request_body"].encode(),
        status=stored["status"],
        response_headers=stored["response_headers"],
        response=base64.b64decode(stored["response_body_base64"]),
        interrupted="derived_from" in stored,
    )


RECORDINGS = {
    recording.name: recording
    for recording in (
        *(_load(path) for path in sorted((_DATA / "streams").glob("*.json"))),
        *(_load(path) for path in sorted((_DATA / "mcp").glob("stream-*.json"))),
        *(_load(path) for path in sorted((_DATA / "recorded").glob("*.json"))),
    )
}

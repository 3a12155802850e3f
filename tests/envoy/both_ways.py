"""An official client of a model's API, through Envoy and straight at the server: what it shows must be the same.

Rules:
- The server is the scripted upstream; both ways it answers with the same script.
- The header `x-way` chooses Gatehouse's route, whatever the path; without it nothing is governed. None of these APIs is
  read on these routes: they list it in `allow_opaque`, but for "closed".

Not here: what each client is asked (test_anthropic.py, test_openai_responses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from tests.envoy.harness import Running
from tests.envoy.upstream import Connection, Request, Script
from tests.exchange.recordings import Recording

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: both-ways, revision: "1"}
routes:
  - name: models
    match: {path: /v1, headers: {x-way: models}}
    protocol: openai
    policies: [routing, bounds, tokens]
    allow_opaque: [{method: POST, path: /v1/messages}, {method: POST, path: /v1/responses}]
  - name: everything
    match: {path: /v1, headers: {x-way: everything}}
    protocol: auto
    policies: [access, guard, tokens]
    allow_opaque: [{method: POST, path: /v1/messages}, {method: POST, path: /v1/responses}]
  - name: closed
    match: {path: /v1, headers: {x-way: closed}}
    protocol: openai
    policies: [tokens, bounds]
policies:
  - name: routing
    type: model-routing
    parameters: {models: {small: {upstreams: [{name: model-b, model: model-b}]}}}
  - name: bounds
    type: generation-policy
    parameters: {max_tokens: {max: 100}, temperature: {forbid: true}}
  - {name: access, type: tool-access, parameters: {rules: [{tools: [search], allow: true}]}}
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: tokens, type: usage}
"""
WAYS = ["ungoverned", "models", "everything"]
_KEPT = ("accept", "anthropic-version", "content-type", "user-agent")


class Shown(Protocol):
    """What the clients make of an answer, or of an event: a model of theirs."""

    def to_dict(self, *, mode: Any = ..., warnings: bool = ...) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client showed, and what of its request arrived.

    Attributes:
        error: its class, status and body; None where all went well.
        headers: those of `_KEPT` that reached the server.
        sent: the body that did.
    """

    values: list[dict[str, object]]
    error: tuple[type[Exception], int, object] | None
    headers: dict[str, str | None]
    sent: bytes


def same_both_ways(
    running: Running, script: Script, ask: Callable[[str], Iterable[Shown]], errors: type[Exception]
) -> Seen:
    """What a client shows, asserted to be the same with Gatehouse and without.

    Args:
        ask: asks at a base URL, and returns what comes one by one; closes its client.
        errors: the client's own class of errors that carry a status.
    """
    direct, through = (
        _seen(running, script, partial(ask, at), errors)
        for at in (f"http://{running.upstream.address}", running.stack.url)
    )
    assert through == direct
    return through


def _seen(running: Running, script: Script, ask: Callable[[], Iterable[Shown]], errors: type[Exception]) -> Seen:
    running.upstream.answer_with(script)
    values: list[dict[str, object]] = []
    error = None
    try:
        for value in ask():
            values.append(value.to_dict(mode="json", warnings=False))
    except errors as raised:
        known: Any = raised
        error = (type(raised), known.status_code, known.body)
    (request,) = running.upstream.requests
    assert running.upstream.failures == []
    return Seen(values, error, {name: request.header(name) for name in _KEPT}, request.body)


def replaying(recording: Recording, *lines: tuple[str, str], body: bytes | None = None) -> Script:
    """Answers as the recorded server did, a stream in chunks of 97 bytes; or with another body of the same kind."""
    data = recording.response if body is None else body

    async def script(request: Request, connection: Connection) -> None:
        length = ("transfer-encoding", "chunked") if recording.streams else ("content-length", str(len(data)))
        await connection.head(recording.status, *recording.response_headers.items(), *lines, length)
        if not recording.streams:
            return await connection.send(data)
        for start in range(0, len(data), 97):
            await connection.chunk(data[start : start + 97])
        await connection.end()

    return script

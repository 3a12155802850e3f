"""The same exchange through Envoy with Gatehouse and without, and what may differ.

Rules:
- Both ways go through the same Envoy and the same upstream (`bootstraps.transparent`): what differs is Gatehouse's.
- On an ungoverned route nothing at all may differ. On a governed one the upstream also has the routing headers, and
  not `accept-encoding` where answers may be edited; and where a body was, or might have been, streamed through
  Gatehouse, Envoy takes content-length away. Status, all other headers, every byte and the trailers are the same.

Not here: connections (raw.py, http2.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.envoy.bootstraps import DIRECT
from tests.envoy.harness import Running
from tests.envoy.raw import RawAnswer
from tests.envoy.upstream import Request, Script

Line = tuple[str, str]
# Asks on a path, with one more header or none.
Ask = Callable[[str, tuple[Line, ...]], RawAnswer]
FREE = "free"
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: ways, revision: "1"}
routes:
  - name: access
    match: {path: /mcp/access}
    protocol: mcp
    policies: [access]
    allow_opaque: [{method: HEAD}, {method: OPTIONS}, {path: /mcp/access/socket}]
  - {name: guard, match: {path: /mcp/guard}, protocol: mcp, policies: [guard]}
  - {name: watch, match: {path: /mcp/watch}, protocol: mcp, policies: [watcher]}
  - {name: unread, match: {path: /mcp/unread}, protocol: mcp, policies: [access], outcome: policies}
  - {name: changed, match: {path: /mcp/changed}, protocol: mcp, policies: [rewrites]}
  - {name: slow, match: {path: /mcp/slow}, protocol: mcp, policies: [never]}
limits: {decision: 8s, request_body: 25MiB}
policies:
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: watcher, type: "tests.envoy.policies:Watcher"}
  - {name: rewrites, type: "tests.envoy.policies:Rewrites", parameters: {text: "k", times: 1}}
  - {name: never, type: "tests.envoy.faulty:NeverAnswers", timeout: 8s}
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: ["secret*"], allow: false}
        - {methods: ["*"], allow: true}
"""
ENFORCING = ["access", "guard", "unread"]
GOVERNED = [*ENFORCING, "watch"]
ROUTES = [*GOVERNED, FREE]
_VARYING = {"date", "x-envoy-upstream-service-time", "x-request-id"}
_FRAMING = {"content-length", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What either end had of one exchange; `reached` is what the upstream saw, None if nothing."""

    answer: RawAnswer
    reached: Request | None


def once(running: Running, script: Script, ask: Ask, route: str, *lines: Line) -> Exchanged:
    """One exchange on a route's path."""
    running.upstream.answer_with(script)
    answer = ask(f"/mcp/{route}", lines)
    assert running.upstream.failures == []
    (reached,) = running.upstream.requests or (None,)
    return Exchanged(answer, reached)


def same_both_ways(running: Running, script: Script, ask: Ask, route: str) -> Exchanged:
    """One exchange with Gatehouse, after the same without it; asserts that neither end sees a difference."""
    without = once(running, script, ask, route, DIRECT)
    through = once(running, script, ask, route)
    governed = route != FREE
    assert without.reached is not None
    assert through.reached is not None
    streamed = governed and without.reached.method != "HEAD"
    assert _answer(through.answer, streamed) == _answer(without.answer, streamed)
    assert through.answer.header("content-length") in (None, _length_of(without.answer))
    assert _request(through.reached, governed) == _request(without.reached, governed)
    return through


def _answer(answer: RawAnswer, streamed: bool) -> tuple[object, ...]:
    may_differ = _VARYING | _FRAMING if streamed else _VARYING
    headers = [line for line in answer.headers if line[0] not in may_differ]
    return answer.status, headers, answer.body, answer.trailers


def _length_of(answer: RawAnswer) -> str:
    return answer.header("content-length") or str(len(answer.body))


def _request(request: Request, governed: bool) -> tuple[object, ...]:
    headers = [line for line in request.headers if line[0] not in _VARYING]
    if governed:
        ours = "x-gatehouse-"
        headers = [line for line in headers if line[0] != "accept-encoding" and not line[0].startswith(ours)]
    return request.method, request.path, headers, request.body, request.trailers

"""Faults through a real Envoy: policies that misbehave, a Gatehouse that dies, an Envoy that is set up wrongly.

Rules:
- Whatever fails, nothing passes unread where a policy enforces, and whoever asks is told something clear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.envoy.bootstraps import patient, replaced
from tests.envoy.exchanges import (
    CHUNKED,
    EVENT_STREAM,
    LIST,
    answer_to,
    broken_off,
    call,
    event,
    in_event,
    posted,
    step_by_step,
)
from tests.envoy.faulty import SECRET
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import (
    decisions,
    envoy_stat,
    kill_gatehouse,
    logged,
    mark,
    metric,
    nothing_left,
    restart_gatehouse,
    text_of_log,
)
from tests.envoy.upstream import Connection, Request, json_body, pieces

ON_REQUEST = {
    "Raises": "raised ValueError",
    "Exits": "raised SystemExit",
    "ExitsLater": "raised SystemExit",
    "RaisesInNewState": "raised ValueError",
    "AnswersNonsense": "returned str",
    "Blocks": "timeout",
    "NeverAnswers": "timeout",
}
ON_RESPONSE = {"RaisesOnResponse": "raised ValueError", "NeverAnswersOnResponse": "timeout"}
PARAMETERS = {"Blocks": "{seconds: 0.06}"}
CALL = call("search", q="argument-of-a-caller")


def faulty_bundle() -> str:
    """For each faulty policy a route /mcp/NAME-deny and a route /mcp/NAME-allow."""
    routes, policies = [], []
    for kind in (*ON_REQUEST, *ON_RESPONSE, "RaisesOnComplete"):
        for on_error in ("deny", "allow"):
            name = f"{kind}-{on_error}".lower()
            routes.append(f"  - {{name: {name}, match: {{exact: /mcp/{name}}}, protocol: mcp, policies: [{name}]}}")
            policies.append(
                f'  - {{name: {name}, type: "tests.envoy.faulty:{kind}", on_error: {on_error}, timeout: 30ms, '
                f"parameters: {PARAMETERS.get(kind, '{}')}}}"
            )
    head = 'apiVersion: gatehouse/v1\nkind: Bundle\nmetadata: {name: faulty, revision: "1"}\nlimits: {decision: 40ms}\n'
    return "\n".join([head + "routes:", *routes, "policies:", *policies]) + "\n"


FAULTY = faulty_bundle()
CAREFUL = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: careful, revision: "1"}
limits: {decision: 8s}
routes:
  - {name: slow, match: {path: /mcp/slow}, protocol: mcp, policies: [never]}
  - {name: blocked, match: {path: /mcp/blocked}, protocol: mcp, policies: [blocks]}
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [access]}
policies:
  - {name: never, type: "tests.envoy.faulty:NeverAnswers", timeout: 8s}
  - {name: blocks, type: "tests.envoy.faulty:Blocks", parameters: {seconds: 0.4}}
  - name: access
    type: tool-access
    parameters: {rules: [{tools: ["secret*"], allow: false}, {methods: ["*"], allow: true}]}
"""


@pytest.fixture
def faulty(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(FAULTY)


def denied_as_failed(answer: httpx.Response, decision: dict[str, Any]) -> None:
    """Asserts that a client can read what happened, and find out why."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (answer.json()["id"], error["data"]["reason"]) == (1, "policy-failed")
    assert error["data"]["trail"] == decision["id"]
    assert decision["outcome"] == "refused"


def process_is_as_before(running: Running) -> None:
    """Asserts that what failed was one exchange: the next ones pass, nothing is left, and nothing was said aloud."""
    assert running.stack.processes["gatehouse"].process.poll() is None
    running.upstream.answer_with(json_body(answer_to(CALL)))
    assert posted(running, CALL, "/raisesoncomplete-deny").json() == answer_to(CALL)
    nothing_left(running)
    assert SECRET not in text_of_log(running)
    assert "argument-of-a-caller" not in text_of_log(running)


@pytest.mark.parametrize("kind", ON_REQUEST)
def test_a_request_that_a_faulty_policy_could_not_decide_is_denied(faulty: Running, kind: str) -> None:
    faulty.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(faulty)
    answer = posted(faulty, CALL, f"/{kind.lower()}-deny")
    (decision,) = decisions(faulty, since)
    denied_as_failed(answer, decision)
    assert faulty.upstream.requests == []
    (entry,) = decision["entries"]
    assert (entry["verdict"], entry["reason"], entry["enforced"]) == ("error", ON_REQUEST[kind], True)
    process_is_as_before(faulty)


@pytest.mark.parametrize("kind", ON_REQUEST)
def test_with_on_error_allow_it_passes_and_is_recorded(faulty: Running, kind: str) -> None:
    faulty.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(faulty)
    assert posted(faulty, CALL, f"/{kind.lower()}-allow").json() == answer_to(CALL)
    (decision,) = decisions(faulty, since)
    (entry,) = decision["entries"]
    assert (entry["verdict"], entry["reason"], entry["enforced"]) == ("error", ON_REQUEST[kind], False)
    assert decision["outcome"] == "ok"
    process_is_as_before(faulty)


@pytest.mark.parametrize("kind", ON_RESPONSE)
def test_an_answer_that_a_faulty_policy_could_not_decide_is_denied(faulty: Running, kind: str) -> None:
    faulty.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(faulty)
    answer = posted(faulty, CALL, f"/{kind.lower()}-deny")
    (decision,) = decisions(faulty, since)
    denied_as_failed(answer, decision)
    assert decision["entries"][-1]["reason"] == ON_RESPONSE[kind]
    process_is_as_before(faulty)


@pytest.mark.parametrize("kind", ON_RESPONSE)
def test_in_a_stream_an_error_stands_in_the_place_of_such_an_answer(faulty: Running, kind: str) -> None:
    beat = b": beat\n\n"
    faulty.upstream.answer_with(pieces([beat, event(answer_to(CALL)), beat]))
    since = mark(faulty)
    answer = posted(faulty, CALL, f"/{kind.lower()}-deny")
    (decision,) = decisions(faulty, since)
    assert answer.content.startswith(beat)
    assert answer.content.endswith(beat)
    assert in_event(answer.content)["error"]["data"] == {"trail": decision["id"], "reason": "policy-failed"}
    assert decision["outcome"] == "refused"
    process_is_as_before(faulty)


@pytest.mark.parametrize("kind", ON_RESPONSE)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_with_on_error_allow_the_answer_passes_and_is_recorded(faulty: Running, kind: str, stream: bool) -> None:
    value = answer_to(CALL)
    faulty.upstream.answer_with(pieces([event(value)]) if stream else json_body(value))
    since = mark(faulty)
    answer = posted(faulty, CALL, f"/{kind.lower()}-allow")
    assert (in_event(answer.content) if stream else answer.json()) == value
    (decision,) = decisions(faulty, since)
    entry = decision["entries"][-1]
    assert (entry["verdict"], entry["reason"], entry["enforced"]) == ("error", ON_RESPONSE[kind], False)
    process_is_as_before(faulty)


@pytest.mark.parametrize("on_error", ["deny", "allow"])
def test_a_policy_that_fails_when_all_is_over_harms_nobody_and_is_recorded(faulty: Running, on_error: str) -> None:
    faulty.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(faulty)
    assert posted(faulty, CALL, f"/raisesoncomplete-{on_error}").json() == answer_to(CALL)
    (decision,) = decisions(faulty, since)
    entry = decision["entries"][-1]
    assert (entry["stage"], entry["verdict"], entry["enforced"]) == ("complete", "error", False)
    assert decision["outcome"] == "ok"
    process_is_as_before(faulty)


@pytest.fixture
def mortal(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(CAREFUL, edit_bootstrap=patient)


def works_again(running: Running) -> None:
    """Starts Gatehouse anew; Envoy stays as it is."""
    envoy = running.stack.processes["envoy"].process
    restart_gatehouse(running)
    running.upstream.answer_with(json_body(answer_to(CALL)))
    assert posted(running, CALL).json() == answer_to(CALL)
    assert posted(running, call("secret-plans")).json()["error"]["data"]["reason"] == "tool-not-allowed"
    assert envoy.poll() is None
    nothing_left(running)


def test_before_a_request_a_dead_gatehouse_lets_nothing_pass(mortal: Running) -> None:
    kill_gatehouse(mortal)
    mortal.upstream.answer_with(json_body(answer_to(CALL)))
    assert posted(mortal, CALL).status_code >= 500
    assert httpx.get(mortal.stack.url + "/v1/models").status_code >= 500  # what no route of the bundle governs, too
    assert mortal.upstream.requests == []
    works_again(mortal)


async def test_a_gatehouse_that_dies_while_it_decides_lets_nothing_pass(mortal: Running) -> None:
    mortal.upstream.answer_with(json_body(answer_to(CALL)))
    asking = asyncio.create_task(asyncio.to_thread(posted, mortal, CALL, "/slow", timeout=10.0))
    await asyncio.to_thread(
        wait_for, lambda: metric(mortal, "gatehouse_exchanges_active") == 1 or None, "an exchange under way"
    )
    kill_gatehouse(mortal)
    assert (await asking).status_code == 500
    assert mortal.upstream.requests == []
    works_again(mortal)


@pytest.mark.parametrize("message", [pytest.param(LIST, id="held"), pytest.param(CALL, id="read")])
def test_a_gatehouse_that_dies_in_mid_stream_cuts_it(mortal: Running, message: dict[str, Any]) -> None:
    first, rest = b": first\n\n", event(answer_to(message, "search", "secret-plans"))
    script, gates = step_by_step([first, rest])
    mortal.upstream.answer_with(script, gates)

    def die() -> None:
        mortal.upstream.open(gates[0])
        wait_for(lambda: envoy_stat(mortal, "cluster.mcp.upstream_cx_rx_bytes_total") or None, "the first part")
        kill_gatehouse(mortal)
        mortal.upstream.open(gates[1])

    assert first.startswith(broken_off(mortal, message, die))
    works_again(mortal)


def test_a_gatehouse_that_dies_before_an_answers_headers_lets_none_of_it_pass(mortal: Running) -> None:
    async def script(request: Request, connection: Connection) -> None:
        kill_gatehouse(mortal)
        await connection.head(200, EVENT_STREAM, CHUNKED)
        await connection.chunk(event(answer_to(LIST, "secret-plans")))
        await connection.end()

    mortal.upstream.answer_with(script)
    answer = posted(mortal, LIST)
    assert answer.status_code == 500
    assert b"secret" not in answer.content
    works_again(mortal)


def hasty(bootstrap: str) -> str:
    """Envoy waits less than Gatehouse gives its policies."""
    return replaced(bootstrap, "message_timeout: 1s", "message_timeout: 0.1s")


@pytest.mark.parametrize("path", ["/slow", "/blocked"])
def test_where_envoy_waits_less_than_a_policy_takes_the_request_fails(gatehouse_stack: Stacks, path: str) -> None:
    running = gatehouse_stack(CAREFUL, edit_bootstrap=hasty)
    running.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(running)
    assert posted(running, CALL, path).status_code == 504
    assert running.upstream.requests == []
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("truncated", "cancelled")
    assert posted(running, CALL).json() == answer_to(CALL)
    nothing_left(running)


def without_overrides(bootstrap: str) -> str:
    return replaced(bootstrap, "allow_mode_override: true", "allow_mode_override: false")


@pytest.mark.parametrize("message", [LIST, CALL, call("secret-plans")], ids=["list", "allowed call", "denied call"])
def test_without_mode_overrides_an_enforcing_route_is_refused_with_the_reason(
    gatehouse_stack: Stacks, message: dict[str, Any]
) -> None:
    running = gatehouse_stack(CAREFUL, edit_bootstrap=without_overrides)
    running.upstream.answer_with(json_body(answer_to(message, "secret-plans")))
    since = mark(running)
    answer = posted(running, message)
    (decision,) = decisions(running, since)
    assert answer.status_code == 500
    assert answer.json()["error"]["data"] == {"trail": decision["id"], "reason": "undecided-request"}
    assert decision["notes"] == ["the filter must set allow_mode_override: true"]
    assert b"secret" not in answer.content


@pytest.mark.parametrize("tool", ["search", "secret-plans"])
def test_without_mode_overrides_a_request_too_large_to_buffer_does_not_even_reach_the_upstream(
    gatehouse_stack: Stacks, tool: str
) -> None:
    running = gatehouse_stack(CAREFUL, edit_bootstrap=without_overrides)
    running.upstream.answer_with(json_body(answer_to(CALL)))
    assert posted(running, call(tool, q="x" * 2_000_000)).status_code == 500
    assert running.upstream.requests == []


def body_mode(side: str, mode: str, trailers: str = "SKIP") -> Callable[[str], str]:
    """Envoy with a fixed body mode on one side."""

    def edit(bootstrap: str) -> str:
        bootstrap = replaced(bootstrap, f"{side}_body_mode: NONE", f"{side}_body_mode: {mode}")
        return replaced(bootstrap, f"{side}_trailer_mode: SKIP", f"{side}_trailer_mode: {trailers}")

    return edit


def both(request: Callable[[str], str], response: Callable[[str], str]) -> Callable[[str], str]:
    """Envoy with fixed body modes on both sides."""
    return lambda bootstrap: response(request(bootstrap))


BUFFERED_REQUESTS = body_mode("request", "BUFFERED")
DUPLEX_REQUESTS = body_mode("request", "FULL_DUPLEX_STREAMED", "SEND")
BUFFERED_ANSWERS = body_mode("response", "BUFFERED")
DUPLEX_ANSWERS = body_mode("response", "FULL_DUPLEX_STREAMED", "SEND")


@pytest.mark.parametrize("size", [1, 200_000])
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(both(BUFFERED_REQUESTS, BUFFERED_ANSWERS), id="both BUFFERED"),
        pytest.param(both(BUFFERED_REQUESTS, DUPLEX_ANSWERS), id="requests BUFFERED, answers duplex"),
        pytest.param(both(DUPLEX_REQUESTS, DUPLEX_ANSWERS), id="both duplex"),
        pytest.param(both(DUPLEX_REQUESTS, BUFFERED_ANSWERS), id="requests duplex, answers BUFFERED"),
    ],
)
def test_fixed_body_modes_that_can_hold_are_governed(
    gatehouse_stack: Stacks, edit: Callable[[str], str], size: int
) -> None:
    running = gatehouse_stack(CAREFUL, edit_bootstrap=edit)
    answer = json_body(answer_to(CALL))
    running.upstream.answer_with(answer)
    reached = len(running.upstream.requests)
    passed = posted(running, call(q="x" * size))
    assert passed.status_code == 200
    assert passed.json() == answer_to(CALL)
    assert len(running.upstream.requests) == reached + 1
    denied = posted(running, call("secret-plans", q="x" * size))
    assert denied.json()["error"]["data"]["reason"]
    assert len(running.upstream.requests) == reached + 1


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(
            body_mode("request", "STREAMED"), "request_body_mode STREAMED cannot hold", id="requests STREAMED"
        ),
        pytest.param(BUFFERED_ANSWERS, "request_body_mode NONE cannot hold", id="answers only"),
    ],
)
def test_fixed_body_modes_that_cannot_hold_let_nothing_pass_and_the_log_says_why(
    gatehouse_stack: Stacks, edit: Callable[[str], str], said: str
) -> None:
    running = gatehouse_stack(CAREFUL, edit_bootstrap=edit)
    running.upstream.answer_with(json_body(answer_to(CALL)))
    since = mark(running)
    assert posted(running, CALL).status_code == 500
    assert running.upstream.requests == []
    line = logged(running, "an exchange was aborted", since)
    assert said in line["reason"]
    assert line["level"] == "warning"

"""Exchanges with an agent: what is denied is answered in its place, once, and other formats' guards still hold."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.messages import A2aResult
from ext_proc.policy import Context, Deny, Verdict
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through
from tests.exchange.policies import Base, Guard, HideTool, Watcher
from tests.exchange.text_policies import DenyWord, Replace

WORKING = {"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}}
SECRET = {"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": {"parts": [{"text": "the secret"}]}}}
DONE = {"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}}


class OwnTask(Base):
    """Lets nobody see any task but one."""

    def on_response(self, message: A2aResult, ctx: Context[Any]) -> Verdict:
        foreign = any(task not in ("", "t") for task, _ in message.handed_out)
        return Deny("task-not-owned", "no such task", code=-32001) if foreign else None


def book(*policies: Any, protocol: str = "a2a") -> Rulebook:
    pipeline = Pipeline([Binding(policy) for policy in policies], time.monotonic)
    route = Route("agent", RouteMatch(path="/agent"), protocol, PROTOCOLS[protocol].codecs(), pipeline)
    return Rulebook("test", "r1", (route,))


def sending(method: str = "SendStreamingMessage", text: str = "hello") -> HttpRequest:
    message = {"messageId": "m", "parts": [{"text": text}]}
    body = {"jsonrpc": "2.0", "id": 5, "method": method, "params": {"message": message}}
    return HttpRequest(json.dumps(body).encode(), path="/agent")


def answer(value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 5, "result": value}


def stream(*values: Any) -> HttpResponse:
    body = b"".join(b"data: " + json.dumps(answer(value)).encode() + b"\n\n" for value in values)
    return HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)


def received(played: Played) -> list[Any]:
    """What the client reads of a stream."""
    assert played.client is not None
    return [json.loads(line[5:]) for line in played.client.body.splitlines() if line.startswith(b"data:")]


@pytest.mark.parametrize("policy", [Guard(b"secret"), DenyWord("secret")])
@pytest.mark.parametrize("last", [WORKING, DONE])
def test_a_denied_event_ends_the_stream_with_one_error_and_nothing_follows(policy: Any, last: Any) -> None:
    played = pass_through(book(policy), sending(), stream(WORKING, SECRET, last, DONE))
    first, error = received(played)
    assert first == answer(WORKING)
    assert (error["id"], error["error"]["code"]) == (5, -31403)
    assert played.trail.outcome == "refused"


def test_a_denied_last_event_is_answered_all_the_same() -> None:
    hidden = {"statusUpdate": {**DONE["statusUpdate"], "metadata": {"x": "secret"}}}
    (first, error) = received(pass_through(book(Guard(b"secret")), sending(), stream(WORKING, hidden)))
    assert (first, error["error"]["data"][0]["metadata"]["reason"]) == (answer(WORKING), "guarded")


def test_what_cannot_be_read_ends_a_stream_too() -> None:
    both = {"task": {"id": "t"}, "message": {"parts": []}}
    first, error = received(pass_through(book(OwnTask()), sending(), stream(WORKING, both, DONE)))
    assert (first, error["error"]["data"][0]["metadata"]["reason"]) == (answer(WORKING), "unreadable-answer")


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
def test_a_denied_whole_answer_is_one_error(sized: bool, method: str) -> None:
    body = json.dumps(answer({"task": {"id": "u", "status": {"state": "TASK_STATE_WORKING"}}})).encode()
    played = pass_through(book(OwnTask()), sending(method), HttpResponse(body, sized=sized))
    assert played.client is not None
    error = played.client.json
    assert (error["id"], error["error"]["code"], error["error"]["data"][0]["reason"]) == (5, -32001, "TASK_NOT_FOUND")


def test_texts_are_edited_event_by_event() -> None:
    played = pass_through(book(Replace("the", "THE")), sending(), stream(WORKING, SECRET, DONE))
    assert received(played)[1]["result"]["artifactUpdate"]["artifact"]["parts"] == [{"text": "THE secret"}]


def test_what_is_only_observed_leaves_byte_for_byte_and_is_told_of() -> None:
    came = stream(WORKING, SECRET, DONE)
    played = pass_through(book(Watcher()), sending(), came)
    assert played.client is not None
    assert played.client.body == came.body
    assert (played.metadata["method"], played.metadata["protocol"], played.metadata["outcome"]) == (
        "SendStreamingMessage",
        "a2a",
        "ok",
    )


@pytest.mark.parametrize("policy", [HideTool("x"), OwnTask()])
def test_answers_come_in_the_clear_where_a_policy_for_any_of_the_formats_may_edit_them(policy: Any) -> None:
    asked = sending()
    asked.headers["accept-encoding"] = "gzip"
    played = pass_through(book(policy, protocol="auto"), asked, stream(DONE))
    assert played.upstream is not None
    assert "accept-encoding" not in played.upstream.headers


@pytest.mark.parametrize(("policy", "card"), [(Guard(b"secret"), True), (Watcher(), False)])
def test_a_denied_card_is_an_http_error_and_any_other_passes(policy: Any, card: bool) -> None:
    fetch = HttpRequest(method="GET", path="/agent/.well-known/agent-card.json", headers={"accept": "*/*"})
    raw = b'{"name": "secret",  "signatures": []}'
    played = pass_through(book(policy), fetch, HttpResponse(raw))
    assert played.client is not None
    assert (played.client.status, played.client.body == raw) == ((451, False) if card else (200, True))

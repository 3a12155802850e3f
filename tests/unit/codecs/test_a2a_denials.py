"""codecs/a2a: what a client is told when something of its exchange is denied, in its version's own shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.limits import Limits
from ext_proc.messages import A2aError, AgentCard, CardFetch, Message, Opaque
from ext_proc.policy import Deny
from tests.unit.codecs.a2a_building import (
    CODEC,
    STREAM,
    TASK_10,
    VERSIONS,
    answer_head,
    answered,
    call,
    encoded,
    event,
    head,
    read,
    request,
    result,
    send,
)

DENY = Deny("agent-not-allowed", "this agent may not be asked")
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
MALFORMED = Opaque("ambiguous-key", "no", malformed=True, id="x")


def body(message: Message, deny: Deny = DENY, **headers: str) -> Any:
    return json.loads(CODEC.denial([(message, deny)], head(**headers), "t1").body)


def test_a_request_of_0_3_is_answered_with_its_id_and_an_object_of_data() -> None:
    reply = CODEC.denial([(read(send("0.3")), DENY)], head(), "t1")
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, b"application/json")
    assert json.loads(reply.body) == {
        **{"jsonrpc": "2.0", "id": 1},
        "error": {
            "code": -31403,
            "message": "this agent may not be asked",
            "data": {"trail": "t1", "reason": "agent-not-allowed"},
        },
    }


def test_a_request_of_1_0_is_answered_with_typed_details() -> None:
    error = body(read(send("1.0")))["error"]
    assert error["data"] == [
        {
            **{"@type": ERROR_INFO, "reason": "AGENT_NOT_ALLOWED", "domain": "gatehouse"},
            "metadata": {"trail": "t1", "reason": "agent-not-allowed"},
        }
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_verdict_adds_stands_in_the_data(version: str) -> None:
    data = body(read(send(version)), Deny("limited", "later", data={"seconds": 5}))["error"]["data"]
    if version == "0.3":
        assert data == {"trail": "t1", "reason": "limited", "seconds": 5}
    else:
        assert data[1] == {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"seconds": 5}}


def test_a_code_of_a2as_own_has_its_own_reason() -> None:
    error = body(read(call("GetTask") | {"params": {"id": "t"}}), Deny("task-not-owned", "no such task", code=-32001))
    assert (error["error"]["code"], error["error"]["data"][0]["reason"]) == (-32001, "TASK_NOT_FOUND")
    assert error["error"]["data"][0]["domain"] == "a2a-protocol.org"
    assert error["error"]["data"][0]["metadata"]["reason"] == "task-not-owned"


@pytest.mark.parametrize(
    ("message", "code", "status"),
    [
        (Opaque("json-malformed", "no", malformed=True), -32700, 400),
        (Opaque("a2a-params-invalid", "no", malformed=True), -32602, 400),
        (Opaque("a2a-shape-invalid", "no", malformed=True), -32602, 400),
        (MALFORMED, -32600, 400),
        (Opaque("too-large", "no", too_large=True), -31413, 413),
        (Opaque("not-this-protocol", "no"), -31403, 403),
    ],
)
def test_what_cannot_be_read_is_answered_with_a_code_and_a_status(message: Opaque, code: int, status: int) -> None:
    reply = CODEC.denial([(message, DENY)], head(), "t1")
    assert (json.loads(reply.body)["error"]["code"], reply.status) == (code, status)


def test_what_cannot_be_read_is_answered_in_the_headers_version() -> None:
    for version, kind in (("1.0", list), ("1.1", list), ("0.3", dict), ("", dict)):
        found = body(MALFORMED, a2a_version=version)
        assert (found["id"], type(found["error"]["data"])) == ("x", kind)


def test_a_verdicts_status_code_and_headers_count() -> None:
    deny = Deny(
        "unknown", "who?", status=401, code=7, headers=(("WWW-Authenticate", "Bearer"), ("Content-Type", "x/y"))
    )
    reply = CODEC.denial([(read(send()), deny)], head(), "t1")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (401, 7)
    assert dict(reply.headers) == {"content-type": b"application/json", "www-authenticate": b"Bearer"}


@pytest.mark.parametrize("message", [CardFetch(b""), AgentCard({}, b"{}"), Opaque("opaque", "no")])
def test_a_card_that_is_denied_is_an_http_error(message: Message) -> None:
    reply = CODEC.denial([(message, DENY)], head("GET", "/.well-known/agent-card.json"), "t1")
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["status"]) == (403, 403, "PERMISSION_DENIED")
    assert error["details"][0]["metadata"] == {"trail": "t1", "reason": "agent-not-allowed"}


def test_a_card_stands_for_its_denial_where_its_headers_have_left() -> None:
    refusal = CODEC.refusal(AgentCard({"name": "A"}, b'{"name":"A"}'), DENY, "t1")
    assert refusal is not None
    assert json.loads(refusal.raw)["error"]["message"] == DENY.message


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_stands_in_the_place_of_a_denied_answer(version: str) -> None:
    asked = request(send(version))
    (message,), _ = answered(asked, result({"task": TASK_10}, id="other"))
    refusal = CODEC.refusal(message, DENY, "t1")
    assert isinstance(refusal, A2aError)
    assert (refusal.id, refusal.code, refusal.request) == (1, -31403, asked)


def test_nothing_stands_in_the_place_of_one_answer_of_many_or_of_what_answers_nobody() -> None:
    (message,), _ = answered(request(send(stream=True)), event(result({"task": TASK_10})), STREAM)
    assert CODEC.refusal(message, DENY, "t1") is None
    assert CODEC.refusal(MALFORMED, DENY, "t1") is None


@pytest.mark.parametrize("state", ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"])
def test_a_stream_ends_with_one_error_whether_or_not_what_was_dropped_was_its_last(state: str) -> None:
    asked = request(send(stream=True))
    decoder = CODEC.response_decoder([asked], head(), STREAM, Limits())
    update = {"statusUpdate": {"taskId": "t", "status": {"state": state}}}
    (frame,) = decoder.feed(event(result(update)))
    (line, _, _) = decoder.stream_end(DENY, "t1", [frame]).split(b"\n")
    error = json.loads(line.removeprefix(b"data:"))
    assert (error["id"], error["error"]["data"][0]["reason"]) == (1, "AGENT_NOT_ALLOWED")
    # Where all that came has left, only one who waits is told.
    assert bool(decoder.stream_end(DENY, "t1")) is (state == "TASK_STATE_WORKING")


def test_a_whole_answer_ends_with_an_error_in_its_place() -> None:
    for asked, value in ((request(send(stream=True)), {"task": TASK_10}), (request(send()), {"task": TASK_10})):
        decoder = CODEC.response_decoder([asked], head(), answer_head(), Limits())
        frames = [*decoder.feed(encoded(result(value))), *decoder.close()]
        assert json.loads(decoder.stream_end(DENY, "t1", frames))["error"]["code"] == -31403
    card = CODEC.response_decoder([CardFetch(b"")], head(), answer_head(), Limits())
    assert json.loads(card.stream_end(DENY, "t1"))["error"]["status"] == "PERMISSION_DENIED"


def test_no_header_repeats_what_a_body_asks() -> None:
    assert CODEC.mirrored_headers(read(send()), head()) == {}

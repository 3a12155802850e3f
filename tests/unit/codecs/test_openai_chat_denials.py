"""codecs/openai_chat: what a denied caller is told, and what OpenAI's own client makes of it."""

from __future__ import annotations

import json

import openai
import pytest

from ext_proc.messages import Channel, ChannelKind, LlmError, Message, ModelListing, Opaque
from ext_proc.policy import Deny
from tests.unit.codecs.openai_building import (
    ASKED,
    CODEC,
    answer_head,
    decoded,
    head,
    messages_of,
    says,
    stream,
    whole,
)
from tests.unit.codecs.openai_client import ask, client

DENY = Deny("model-not-allowed", "this model is not for you")
MALFORMED = Opaque("openai-invalid", "no", malformed=True)
LARGE = Opaque("too-large", "no", too_large=True)


def test_a_denial_is_openais_error_object_with_the_trails_id() -> None:
    reply = CODEC.denial([(ASKED, DENY)], head(), "t1")
    assert (reply.status, reply.details) == (403, "model-not-allowed")
    assert reply.headers == (("content-type", b"application/json"),)
    assert json.loads(reply.body) == {
        "error": {
            "message": "this model is not for you",
            "type": "permission_error",
            "param": None,
            "code": "model-not-allowed",
            "trail": "t1",
        }
    }


def test_a_verdict_adds_headers_and_data() -> None:
    deny = Deny("a", "b", headers=(("Retry-After", "3"), ("Content-Type", "text/plain")), data={"limit": 5})
    reply = CODEC.denial([(ASKED, deny)], head(), "t1")
    assert reply.headers == (("content-type", b"application/json"), ("retry-after", b"3"))
    assert json.loads(reply.body)["error"]["data"] == {"limit": 5}


@pytest.mark.parametrize(
    ("message", "deny", "status", "error", "kind"),
    [
        (ASKED, DENY, 403, openai.PermissionDeniedError, "permission_error"),
        (ModelListing(b""), DENY, 403, openai.PermissionDeniedError, "permission_error"),
        (Opaque("not-this-protocol", "no"), DENY, 403, openai.PermissionDeniedError, "permission_error"),
        (MALFORMED, DENY, 400, openai.BadRequestError, "invalid_request_error"),
        (LARGE, DENY, 413, openai.APIStatusError, "invalid_request_error"),
        (ASKED, Deny("a", "b", status=401), 401, openai.AuthenticationError, "authentication_error"),
        (ASKED, Deny("a", "b", status=404), 404, openai.NotFoundError, "invalid_request_error"),
        (ASKED, Deny("a", "b", status=429), 429, openai.RateLimitError, "rate_limit_error"),
        (ASKED, Deny("a", "b", status=502), 502, openai.InternalServerError, "server_error"),
    ],
)
def test_the_official_client_raises_what_the_denial_means(
    message: Message, deny: Deny, status: int, error: type[openai.APIStatusError], kind: str
) -> None:
    reply = CODEC.denial([(message, deny)], head(), "t1")
    for stream_asked in (False, True):
        raised = ask(reply.status, "application/json", reply.body, stream=stream_asked).error
        assert isinstance(raised, error)
        assert raised.status_code == status
        assert (raised.code, raised.type) == (deny.reason, kind)
        assert isinstance(raised.body, dict)
        assert raised.body["trail"] == "t1"


def test_the_official_client_takes_a_denied_list_of_models_for_an_error() -> None:
    reply = CODEC.denial([(ModelListing(b""), DENY)], head("GET", "/v1/models"), "t1")
    with client(reply.status, "application/json", reply.body) as asked, pytest.raises(openai.PermissionDeniedError):
        asked.models.list()


def test_a_denied_answer_is_an_error_in_its_place() -> None:
    (frame,), _ = decoded(whole({"content": "secret"}), answer_head())
    (message,) = frame.messages
    refused = CODEC.refusal(message, DENY, "t1")
    assert isinstance(refused, LlmError)
    out = frame.encode({0: refused})
    assert json.loads(out) == refused.value
    assert b"secret" not in out
    assert refused.value["error"]["trail"] == "t1"


def test_a_denied_event_leaves_nothing_in_its_place() -> None:
    for message in messages_of(decoded(stream(says("a")))[0]):
        assert CODEC.refusal(message, DENY, "t1") is None
    assert CODEC.refusal(MALFORMED, DENY, "t1") is None


def test_an_answer_that_cannot_be_delivered_becomes_an_error() -> None:
    _, decoder = decoded(b"{", answer_head())
    value = json.loads(decoder.stream_end(Deny("unreadable-answer", "no", status=502), "t1"))
    assert (value["error"]["code"], value["error"]["type"], value["error"]["trail"]) == (
        "unreadable-answer",
        "server_error",
        "t1",
    )
    assert decoder.text_event(Channel(ChannelKind.CONTENT), "x") == b""

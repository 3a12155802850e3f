"""usage: what the provider counted is on record, and nothing is held, changed or made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import Completion, RequestHead, Usage
from ext_proc.policy import Context, Exchanged, NoParameters
from ext_proc.testing import Played, call, pass_through, request, response
from ext_proc.trail import Trail
from gatehouse_policies.usage import UsageMeter
from tests.policies.chats import ANSWER, book, chat
from tests.unit.codecs.openai_building import RECORDED, asking, chunk, says, stream, whole
from tests.unit.codecs.openai_client import ask

COUNTED = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
FIGURES = {
    "usage_reported": True,
    "input_tokens": 12,
    "output_tokens": 30,
    "total_tokens": 42,
    "cached_tokens": 8,
    "cache_write_tokens": 3,
    "reasoning_tokens": 20,
}
UNTOLD = {"usage_reported": False}


def policy() -> UsageMeter:
    return UsageMeter("usage", NoParameters())


def figures(played: Played) -> dict[str, Any]:
    """What the trail has of usage, which must be what Envoy was told."""
    found = {name: value for name, value in played.trail.facts.items() if "usage" in name or "tokens" in name}
    assert {name: played.metadata[name] for name in found} == found
    return found


def said(**usage: Any) -> dict[str, Any]:
    """The event that tells usage and nothing else."""
    return {**chunk(), "choices": [], "usage": usage}


def test_what_the_provider_counted_is_in_the_trail_and_in_envoys_metadata() -> None:
    assert figures(chat(policy(), answer=whole({"content": "hi"}, usage=COUNTED))) == FIGURES


def test_a_streams_usage_is_read_and_no_byte_of_it_changed() -> None:
    body = stream(says("hello"), chunk(finish="stop"), said(**COUNTED))
    played = chat(policy(), sent=asking(stream=True), answer=body, cut=lambda sent: [sent[:40], sent[40:]])
    assert figures(played) == FIGURES
    assert played.client is not None
    assert played.client.body == body


@pytest.mark.parametrize("name", sorted(name for name, recorded in RECORDED.items() if recorded.streams))
def test_of_a_recorded_stream_the_official_clients_usage_is_on_record(name: str) -> None:
    recorded = RECORDED[name]
    seen = ask(recorded.response.status, "text/event-stream", recorded.body, stream=True)
    played = chat(policy(), sent=recorded.request, answer=recorded.body, status=recorded.response.status)
    expected = UNTOLD if seen.usage is None else {**told(seen.usage), "usage_reported": True}
    assert figures(played) == expected


def told(usage: Usage) -> dict[str, int]:
    names = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    return {name: getattr(usage, name) for name in names}


def test_of_running_totals_the_last_counts() -> None:
    totals = [says("a", usage={"prompt_tokens": 5, "completion_tokens": count}) for count in (1, 2, 3)]
    found = figures(chat(policy(), sent=asking(stream=True), answer=stream(*totals, chunk(finish="stop"))))
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, 3, 8)


def test_a_total_is_not_undone_by_an_event_that_says_less() -> None:
    body = stream(
        says("a", usage={"prompt_tokens": 5, "completion_tokens": 0}),
        says("b", usage={"prompt_tokens": 0, "completion_tokens": 7}),
        chunk(finish="stop", usage={}),
    )
    found = figures(chat(policy(), sent=asking(stream=True), answer=body))
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, 7, 12)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        whole({"content": "hi"}, usage=None),
        whole({"content": "hi"}, usage={"prompt_tokens": "12", "completion_tokens": 1}),
        whole({"content": "hi"}, usage={"prompt_tokens": -1, "completion_tokens": 1}),
        whole({"content": "hi"}, usage={"prompt_tokens": 10**12, "completion_tokens": 1}),
        stream(says("hello"), chunk(finish="stop")),
        {"error": {"message": "no"}},
    ],
    ids=["none", "null", "text", "negative", "implausible", "a stream that was not asked to tell", "an error"],
)
def test_where_the_provider_did_not_say_there_are_no_figures(answer: Any) -> None:
    assert figures(chat(policy(), answer=answer)) == UNTOLD


def test_what_somebody_estimated_is_not_what_the_provider_counted() -> None:
    class Estimated(Completion):
        __slots__ = ()

        @property
        def usage(self) -> Usage:
            return Usage(1, 2, estimated=True)

    head = RequestHead("POST", "/v1/chat/completions", "models.example", Headers())
    exchanged = Exchanged(UNKNOWN, "models", "openai", head, Trail("t"))
    meter = policy()
    meter.on_response(Estimated({}, b""), Context(exchanged, meter.new_state()))
    assert exchanged.measures == {}


def test_it_has_no_say_so_that_what_is_no_chat_passes_too() -> None:
    played = pass_through(book(policy()), request(b"x", path="/v1/embeddings"), response({"data": []}))
    assert played.upstream is not None
    assert "usage_reported" not in played.trail.facts


def test_it_says_nothing_about_mcp_on_the_same_route() -> None:
    result = {"content": [{"type": "text", "text": "found"}], "usage": COUNTED}
    answer = response({"jsonrpc": "2.0", "id": 1, "result": result})
    played = pass_through(book(policy()), request(call("search")), answer)
    assert (played.trail.method, played.trail.outcome) == ("tools/call", "ok")
    assert figures(played) == {}

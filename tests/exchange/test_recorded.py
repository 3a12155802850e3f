"""Every recorded exchange, at any cutting: who changes nothing leaves every byte, of the request and of the answer.

Rules:
- A way is a route of some protocol with policies that observe, hold or decide; what its codecs do not read is listed in
  `allow_opaque`. Every recording goes every way, but where the way may not let it through as it is (`passes`).
- Bodies have a length or none, answers end or are cut off: none of it may show in the bytes or in the trail.

Not here: policies that change something (test_texts.py), a real Envoy (tests/envoy/test_recorded.py).
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.events import BodyMode
from ext_proc.limits import MIB, Limits
from ext_proc.policy import Policy
from ext_proc.testing import Played, pass_through
from tests.exchange.policies import Guard, Watcher
from tests.exchange.recordings import RECORDINGS, Recording
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.text_policies import Counter, Forever, Nothing, Sentences

# Sentences in some recordings are longer than the default holds back. Hooks have as long as a busy machine needs.
LIMITS = Limits(hold_back=1 * MIB, decision=60.0)
ANYTHING = (OpaqueRule(method="POST"),)
NOTHING_GOVERNS = ["no route", "no policies", "observed", "shadow"]
DECIDES = ["guarded", "passed on", "by sentence", "at its end", "all of them"]
POLICIES: dict[str, Callable[[], Sequence[Policy[Any, Any]]]] = {
    "no policies": lambda: (),
    "observed": lambda: (Watcher(), Counter()),
    "shadow": lambda: (Guard(b"{"), Forever()),
    "guarded": lambda: (Guard(),),
    "passed on": lambda: (Nothing(),),
    "by sentence": lambda: (Sentences(),),
    "at its end": lambda: (Forever(),),
    "all of them": lambda: (Watcher(), Guard(), Sentences("second"), Forever("first"), Counter()),
}
# Where a policy decides, nothing that was recorded goes through a route for A2A: none of it is that.
WAYS = [("no route", "auto")] + [
    (name, protocol) for name in POLICIES for protocol in PROTOCOLS if protocol != "a2a" or name not in DECIDES
]
# By a model's codec.
READ = (
    *("chat_completions", "responses", "completions_legacy", "embeddings"),
    *("messages", "generateContent", "streamGenerateContent"),
)
# Whose format is whose.
OWN = {
    "a2a": (),
    "anthropic": ("messages", "count_tokens"),
    "gemini": ("generateContent", "streamGenerateContent", "google_batchEmbedContents"),
    "mcp": ("mcp",),
    "openai": ("chat_completions", "responses", "completions_legacy", "embeddings"),
}
NONE, BUFFERED = BodyMode.NONE, BodyMode.BUFFERED
STREAMED, DUPLEX = BodyMode.STREAMED, BodyMode.FULL_DUPLEX_STREAMED


def book(name: str, protocol: str) -> Rulebook:
    """The bundle of a way."""
    if name == "no route":
        return Rulebook("test", "r1")
    bindings = [Binding(policy, enforce=name != "shadow") for policy in POLICIES[name]()]
    pipeline = Pipeline(bindings, time.monotonic)
    route = Route("all", RouteMatch(path="/"), protocol, PROTOCOLS[protocol].codecs(), pipeline, ANYTHING)
    return Rulebook("test", "r1", (route,), limits=LIMITS)


def passes(recording: Recording, name: str, protocol: str) -> bool:
    """Whether a recording goes this way as it is.

    Where a policy decides, JSON on MCP's own route claims to be MCP; and what is read of a model's answer must be
    whole.
    """
    if name not in DECIDES:
        return True
    if protocol in ("mcp", "a2a"):
        return recording.api == protocol
    return not (recording.interrupted and recording.api in READ)


def untouched(played: Played, recording: Recording) -> bool:
    """Whether client and server got what the other sent."""
    upstream, client = played.upstream, played.client
    return (
        upstream is not None
        and client is not None
        and (upstream.body, upstream.path) == (recording.request, recording.path)
        and (client.body, client.status, client.complete) == (recording.response, recording.status, True)
        and client.headers["content-type"] == recording.response_headers["content-type"]
    )


def in_pieces(size: int) -> Callable[[bytes], Sequence[bytes]]:
    return lambda body: cut_at(body, range(0, len(body), size))


def test_there_are_recordings_of_every_api() -> None:
    kinds = Tally((recording.api, recording.streams) for recording in RECORDINGS.values())
    assert len(RECORDINGS) == 88
    assert {api for api, _ in kinds} == {
        *("chat_completions", "completions_legacy", "responses", "embeddings", "messages", "count_tokens", "mcp"),
        *("generateContent", "streamGenerateContent", "google_batchEmbedContents"),
    }
    assert {api for api, streams in kinds if streams and kinds[api, True] >= 3} == {
        *("chat_completions", "responses", "messages", "streamGenerateContent", "mcp")
    }
    assert {recording.status for recording in RECORDINGS.values()} == {200, 400, 404, 429}


@pytest.mark.parametrize(("name", "protocol"), WAYS, ids=[" ".join(way) for way in WAYS])
def test_every_recorded_exchange_goes_every_way_byte_for_byte(name: str, protocol: str) -> None:
    going = [recording for recording in RECORDINGS.values() if passes(recording, name, protocol)]
    if protocol != "auto":
        # What is nobody's here goes every such way alike; where nothing is decided, what is read does too.
        own = [recording for recording in going if recording.api in OWN[protocol]][:: 1 if name in DECIDES else 4]
        going = own + [recording for recording in going if recording.api not in OWN[protocol]][::7]
    assert len(going) >= 3
    changed = []
    for recording in going:
        whole = pass_through(book(name, protocol), recording.asked(), recording.answered(sized=not recording.streams))
        sent, answer = recording.asked(sized=False), recording.answered(sized=False)
        pieces = pass_through(book(name, protocol), sent, answer, cut=in_pieces(1 + len(recording.response) // 60))
        if not (untouched(whole, recording) and untouched(pieces, recording)):
            changed.append(recording.name)
    assert changed == []


cuts = st.lists(st.integers(0, 300_000), max_size=12)


@given(st.sampled_from(list(RECORDINGS)), st.sampled_from(WAYS), cuts, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_cutting_of_a_recorded_exchange_gives_the_same_bytes_and_the_same_trail(
    recorded: str, way: tuple[str, str], where: list[int], asked: bool, sized: bool, complete: bool
) -> None:
    recording = RECORDINGS[recorded]
    if not passes(recording, *way):
        way = ("observed", way[1])
    sent, answer = recording.asked(sized=asked), recording.answered(sized=sized and complete, complete=complete)
    whole = pass_through(book(*way), sent, answer)
    cut = pass_through(book(*way), sent, answer, cut=lambda body: cut_at(body, where))
    assert seen(cut) == seen(whole)
    assert cut.client is not None
    if complete:
        assert untouched(cut, recording)
    else:  # what was held when the connection broke is gone with it; the rest is the beginning of what came
        assert recording.response.startswith(cut.client.body)


@pytest.mark.parametrize("recorded", ["033-openai", "035-mistral"])
def test_what_only_the_body_tells_to_be_foreign_passes_unread_in_both_directions(recorded: str) -> None:
    # No model's path, and no JSON-RPC.
    recording, watcher = replace(RECORDINGS[recorded], path="/v1/moderations"), Watcher()
    pipeline = Pipeline([Binding(watcher), Binding(Guard(b"{"))], time.monotonic)
    route = Route("all", RouteMatch(path="/"), "auto", PROTOCOLS["auto"].codecs(), pipeline, ANYTHING)
    played = pass_through(
        Rulebook("test", "r1", (route,), limits=LIMITS),
        recording.asked(),
        recording.answered(sized=not recording.streams),
    )
    assert untouched(played, recording)
    assert played.trail.notes == ["passed unread: not-this-protocol"]
    assert watcher.seen == []


FIXED = [(BUFFERED, BUFFERED), (STREAMED, STREAMED), (DUPLEX, DUPLEX), (NONE, STREAMED), (BUFFERED, DUPLEX)]


@pytest.mark.parametrize("fixed", FIXED, ids=lambda fixed: " and ".join(mode.name for mode in fixed))
@pytest.mark.parametrize("name", NOTHING_GOVERNS)
def test_every_recorded_exchange_passes_byte_for_byte_in_fixed_modes_where_nothing_governs(
    name: str, fixed: tuple[BodyMode, BodyMode]
) -> None:
    changed = []
    for recording in RECORDINGS.values():
        size = 1 + len(recording.response) // 40
        sent, answer = recording.asked(), recording.answered(sized=not recording.streams)
        played = pass_through(book(name, "auto"), sent, answer, cut=in_pieces(size), fixed=fixed)
        if not untouched(played, recording):
            changed.append(recording.name)
    assert changed == []


@pytest.mark.parametrize("name", DECIDES)
@pytest.mark.parametrize("recorded", ["082-openai-interrupted", "086-openrouter-interrupted"])
@given(cuts)
@settings(max_examples=20, deadline=None)
def test_an_event_that_never_ended_does_not_leave_where_a_policy_decides(
    recorded: str, name: str, where: list[int]
) -> None:
    recording = RECORDINGS[recorded]
    came = recording.response.split(b"\n\n")
    played = pass_through(
        book(name, "openai"),
        recording.asked(),
        recording.answered(sized=False),
        cut=lambda body: cut_at(body, where),
    )
    assert played.client is not None
    *left, ours, done, nothing = played.client.body.split(b"\n\n")
    assert left == came[: len(left)]
    assert len(left) == len(came) - 1 or name not in ("guarded", "passed on")
    assert b'"reason":"unreadable-answer"' in ours
    assert (done, nothing) == (b"data: [DONE]", b"")
    assert played.trail.outcome == "refused"

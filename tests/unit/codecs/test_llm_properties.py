"""What is admitted as a message keeps its promises: nothing that policies read of it raises, whatever a server or a
client wrote into a member.

Rules:
- Recorded requests, answers and events of every format, with one member of theirs replaced by any JSON.

Not here: what is admitted, and what is malformed (each format's own tests).
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.codec import Codec, Match
from ext_proc.codecs.opaques import malformed
from ext_proc.framing.sse import EventSplitter
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Generation,
    Message,
    ModelRequest,
    Opaque,
    Proposals,
    RequestHead,
    ResponseHead,
    Setting,
)
from tests.exchange.recordings import RECORDINGS, Recording
from tests.unit.codecs.openai_building import drain, encoded, messages_of

FORMATS = sorted({recording.api for recording in RECORDINGS.values()} - {"mcp"})
READ = (
    *(
        "method",
        "target",
        "model",
        "stream",
        "usage",
        "finish_reasons",
        "pieces",
        "proposals",
        "handed_out",
        "deferred",
    ),
    *(
        "deferred",
        "rounds",
        "references",
        "keeps_answer",
        "hosted_tools",
        "offered_functions",
        "tokens",
        "outcome",
        "kind",
    ),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "tool_use", "function_call", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "content", "id", "text", "index", "args", "x"]), inner)
    ),
    max_leaves=4,
)


def everything(message: Message) -> None:
    """Reads all that policies may read."""
    for name in READ:
        found = getattr(message, name, None)
        if isinstance(found, Iterator):
            list(found)
    message.as_variables()
    if isinstance(message, ModelRequest):
        list(message.prompt())
    if isinstance(message, Generation):
        for setting in Setting:
            message.setting(setting)
        message.including_usage()
    if isinstance(message, Completion):
        message.without_calls(Proposals())
    if isinstance(message, CompletionChunk):
        message.without_usage()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where members and entries stand."""
    held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in held:
        yield (*at, key)
        yield from places(inner, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = new
    return changed


@functools.cache
def values_of(api: str) -> list[tuple[Recording, bool, Any]]:
    """Requests, whole answers and events of a format's recordings, with whether it is a request's."""
    found: list[tuple[Recording, bool, Any]] = []
    for recording in RECORDINGS.values():
        if recording.api != api or recording.status != 200:
            continue
        if recording.method == "POST":
            found.append((recording, True, json.loads(recording.request)))
        if recording.streams:
            events = [event.data for event in EventSplitter(1 << 24).feed(recording.response) if event.data]
            kept = [data for data in events if data.strip() != b"[DONE]" and data.endswith(b"}")]
            few = random.Random(recording.name).sample(kept, min(len(kept), 6))
            found += [(recording, False, json.loads(data)) for data in few]
        elif recording.response.startswith(b"{"):
            found.append((recording, False, json.loads(recording.response)))
    return found


def codec_of(recording: Recording) -> Codec:
    """The codec that a recorded request is read by."""
    path, _, query = recording.path.partition("?")
    head = RequestHead("POST", path, recording.host, Headers.of(content_type="application/json"), query=query)
    return next(codec for codec in PROTOCOLS["auto"].codecs() if codec.matches(head) is Match.YES)


def read(codec: Codec, recording: Recording, value: Any, *, asked: bool) -> list[Message]:
    path, _, query = recording.path.partition("?")
    head = RequestHead("POST", path, recording.host, Headers.of(content_type="application/json"), query=query)
    body = json.dumps(value).encode()
    requests = messages_of(drain(codec.request_decoder(head, DEFAULTS), body if asked else recording.request))
    if asked:
        return requests
    kind = "text/event-stream" if recording.streams else "application/json"
    decoder = codec.response_decoder(requests, head, ResponseHead(200, Headers.of(content_type=kind)), DEFAULTS)
    return messages_of(drain(decoder, b"data: " + encoded(body) + b"\n\n" if recording.streams else body))


@pytest.mark.parametrize("api", FORMATS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_nothing_that_policies_read_of_a_message_raises(api: str, data: st.DataObject) -> None:
    recording, asked, value = data.draw(st.sampled_from(values_of(api)))
    everywhere = list(places(value))
    changed = replaced(value, data.draw(st.sampled_from(everywhere)), data.draw(ANYTHING)) if everywhere else value
    for message in read(codec_of(recording), recording, changed, asked=asked):
        if not isinstance(message, Opaque):
            everything(message)


def test_opaque_bytes_have_nothing_of_this() -> None:
    everything(malformed("json-malformed", "no JSON", b"{"))

"""codecs/a2a: any cutting of any body gives the same frames; nothing is lost, nothing raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.codec import Decoder
from ext_proc.limits import Limits
from ext_proc.messages import A2aResult, CardFetch, Message
from tests.unit.codecs.a2a_building import (
    CODEC,
    STREAM,
    TASK_03,
    TASK_10,
    answer_head,
    call,
    encoded,
    head,
    request,
    result,
    send,
)
from tests.unit.codecs.building import error
from tests.unit.codecs.test_mcp_cutting import CUTS, LINES, as_events, check, mutilated

SAID: Any = {"messageId": "m", "parts": [{"text": "é\u2028"}, {"data": {"a": [1e3]}}]}
VALUES: list[Any] = [
    send("1.0"),
    send("0.3", taskId="t"),
    call("tasks/get") | {"params": {"id": "t"}},
    call("ListTasks"),
    result({"task": TASK_10}),
    result(TASK_03),
    result({"message": SAID}),
    result({"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_FAILED", "message": SAID}}}),
    result({"kind": "status-update", "taskId": "t", "status": {"state": "working"}, "final": True}),
    result({"tasks": [TASK_10]}),
    result(None),
    error(),
    {"name": "card", "signatures": [{"protected": "x"}]},
    [send()],
    {},
    1,
]
REQUESTS: list[Message] = [
    *(request(send(version, stream=True)) for version in ("0.3", "1.0")),
    request(send()),
    request(call("ListTasks")),
    request(call("DeleteTaskPushNotificationConfig", taskId="t")),
    CardFetch(b""),
]
DOCUMENTS = st.sampled_from(
    [encoded(value) for value in VALUES]
    + [json.dumps(value, indent=1, ensure_ascii=False).encode() for value in VALUES]
)
STREAMS = st.builds(
    as_events,
    st.lists(DOCUMENTS | st.sampled_from([*LINES, b"event: error"]), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
LIMITS = [Limits(), Limits(request_body=40, response_body=40, event=40, json_depth=3, name=2)]


def requested(limits: Limits) -> Decoder:
    return CODEC.request_decoder(head(), limits)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(LIMITS))
def test_any_cutting_of_a_request_gives_the_same_frames(raw: bytes, cuts: list[int], limits: Limits) -> None:
    assert check(lambda: requested(limits), raw, cuts)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(REQUESTS), st.sampled_from([200, 304, 404]), st.sampled_from(LIMITS))
def test_any_cutting_of_a_whole_answer_gives_the_same_frames(
    raw: bytes, cuts: list[int], asked: Message, status: int, limits: Limits
) -> None:
    messages = check(lambda: CODEC.response_decoder([asked], head(), answer_head(status), limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers([asked]))) for message in messages)


@given(mutilated(STREAMS), CUTS, st.sampled_from(REQUESTS), st.sampled_from(LIMITS))
def test_any_cutting_of_a_stream_gives_the_same_frames(
    raw: bytes, cuts: list[int], asked: Message, limits: Limits
) -> None:
    messages = check(lambda: CODEC.response_decoder([asked], head(), STREAM, limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers([asked]))) for message in messages)


MEMBERS = [
    *("jsonrpc", "id", "method", "params", "result", "error", "code", "message", "task", "statusUpdate", "kind"),
    *("taskId", "contextId", "status", "state", "artifacts", "artifact", "history", "parts", "text", "data", "tasks"),
    *("url", "configuration", "pushNotificationConfig", "referenceTaskIds", "signatures", "final", "task_id", "ID"),
]


@settings(max_examples=300)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["2.0", "SendMessage", "tasks/get", "task", "x", ""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
        max_leaves=14,
    ),
    st.sampled_from(REQUESTS),
)
def test_no_value_raises_and_every_message_keeps_what_its_class_promises(value: Any, asked: Message) -> None:
    if isinstance(value, dict):
        value = {"jsonrpc": "2.0", "id": 1, **value}
    raw = encoded(value)
    for message in (
        *check(lambda: requested(Limits()), raw, []),
        *check(lambda: CODEC.response_decoder([asked], head(), answer_head(), Limits()), raw, []),
    ):
        assert isinstance(message.as_variables(), dict)
        assert isinstance(message.outcome.value, str)
        assert all(isinstance(piece.text, str) for piece in CODEC.texts(message, Limits()))  # type: ignore[union-attr]
        if isinstance(message, A2aResult):
            assert all(isinstance(id, str) for ids in message.handed_out for id in ids)
            assert isinstance(message.is_last, bool)
        for name in ("operation", "version", "params", "task_id", "context_id", "push_config", "config_id", "metadata"):
            getattr(message, name, None)
        for name in ("reference_task_ids", "code", "state", "tasks", "signatures", "payload"):
            getattr(message, name, None)

"""codecs/openai_responses_stored: what a request refers to that OpenAI keeps, and what an answer hands out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings

from ext_proc.messages import Completion, Opaque, StoredKind, StoredObject
from tests.unit.codecs.openai_building import answer_head, messages_of
from tests.unit.codecs.openai_responses_building import RESPONSES, answer, asking, event, generation, says, stream, talk
from tests.unit.codecs.test_openai_chat_cutting import CUTS
from tests.unit.codecs.test_openai_responses_requests import ITEMS

RESPONSE, ITEM, CONVERSATION, CONTAINER = (
    *(StoredKind.RESPONSE, StoredKind.ITEM),
    *(StoredKind.CONVERSATION, StoredKind.CONTAINER),
)
SHELL = {"type": "shell", "environment": {"type": "container_reference", "container_id": "c1"}}
CODE = {"type": "code_interpreter", "container": "c1"}
CALL = {"type": "code_interpreter_call", "id": "ci", "container_id": "c1", "code": "1"}
Named = list[tuple[StoredKind, str]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"previous_response_id": None, "conversation": None, "input": None, "tools": None}, []),
        ({"previous_response_id": ""}, []),
        ({"previous_response_id": "r1"}, [(RESPONSE, "r1")]),
        ({"prompt_cache_options": {"comparison_response_id": "r1"}}, [(RESPONSE, "r1")]),
        ({"conversation": "c"}, [(CONVERSATION, "c")]),
        ({"conversation": {"id": "c"}}, [(CONVERSATION, "c")]),
        ({"previous_response_id": "r", "conversation": "c"}, [(RESPONSE, "r"), (CONVERSATION, "c")]),
        ({"input": [{"type": "item_reference", "id": "i"}, {"id": "j"}]}, [(ITEM, "i"), (ITEM, "j")]),
        ({"input": [{"type": None, "id": "i"}, {"id": "i"}]}, [(ITEM, "i")]),
        ({"input": [{"type": "item_reference", "id": "i", "content": "x"}]}, [(ITEM, "i")]),
        ({"input": [{"type": "reasoning", "id": "i", "summary": [], "content": [{"text": "x"}]}]}, [(ITEM, "i")]),
        ({"input": [{"type": "reasoning", "id": "i", "summary": [], "encrypted_content": ""}]}, [(ITEM, "i")]),
        ({"input": [{"type": "reasoning", "id": "i", "summary": [], "encrypted_content": "x"}]}, []),
        ({"input": [{"type": "image_generation_call", "id": "i"}]}, [(ITEM, "i")]),
        ({"input": [{"type": "image_generation_call", "id": "i", "result": "x"}]}, []),
        ({"input": [{"type": "image_generation_call", "id": "i", "output": "x"}]}, [(ITEM, "i")]),
        ({"input": [{"type": "file_search_call", "id": "i", "queries": ["x"], "results": []}]}, [(ITEM, "i")]),
        ({"input": [{"type": "of_tomorrow", "id": "i"}]}, [(ITEM, "i")]),
        ({"input": [says("x"), says("y", content=None)]}, [(ITEM, "msg_1")]),
        ({"input": [{"role": "user", "content": "x"}]}, []),
        ({"input": [CALL]}, [(CONTAINER, "c1")]),
        ({"input": [{"type": "shell_call", "action": {}, **SHELL}]}, [(CONTAINER, "c1")]),
        ({"tools": [CODE, SHELL]}, [(CONTAINER, "c1")]),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, []),
        ({"tools": [{"type": "computer_use_preview", "environment": "browser"}]}, []),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [CODE]}]}, [(CONTAINER, "c1")]),
        ({"input": [{"type": "additional_tools", "tools": [CODE]}]}, [(CONTAINER, "c1")]),
        ({"extra_body": {"previous_response_id": "r", "extra_body": {"conversation": "c"}}}, None),
        ({"extra_body": {"input": [{"id": "i"}], "tools": [CODE]}}, [(ITEM, "i"), (CONTAINER, "c1")]),
    ],
)
def test_a_request_tells_what_it_refers_to(fields: dict[str, Any], expected: Named | None) -> None:
    found = [(thing.kind, thing.id) for thing in generation(**fields).references]
    assert found == ([(RESPONSE, "r"), (CONVERSATION, "c")] if expected is None else expected)


@pytest.mark.parametrize(("kind", "item"), [(kind, item) for kind, (item, _) in ITEMS.items()])
def test_an_item_of_every_type_refers_to_itself_only_where_it_does_not_hold_what_it_was(kind: str, item: Any) -> None:
    bare = generation(input=[{"type": kind, "id": "i"}])
    assert bare.references == (StoredObject(ITEM, "i"),)
    full = generation(input=[{**item, "type": kind, "id": "i"}])
    assert (StoredObject(ITEM, "i") in full.references) is (kind in LOOKED_UP)


# The types whose items in the client's own words leave out what they were.
LOOKED_UP = {"item_reference", "reasoning", "compaction_trigger", "configuration_update"}


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": 1},
        {"previous_response_id": ["r"]},
        {"conversation": 1},
        {"conversation": ["c"]},
        {"conversation": {}},
        {"conversation": {"id": None}},
        {"conversation": {"id": 5}},
        {"prompt_cache_options": "r"},
        {"prompt_cache_options": {"comparison_response_id": 1}},
        {"store": "false"},
        {"input": [{"type": "item_reference"}]},
        {"input": [{"type": "item_reference", "id": 1}]},
        {"input": [{"type": ["item_reference"], "id": "i"}]},
        {"input": [{"id": 1, "role": "user", "content": "x"}]},
        {"input": [{**CALL, "container_id": 1}]},
        {"tools": [{**CODE, "container": 1}]},
        {"tools": [{**CODE, "container": ["c1"]}]},
        {"tools": [{"type": "shell", "environment": {"container_id": 1}}]},
        {"extra_body": {"previous_response_id": 1}},
        {"extra_body": {"store": 0}},
        {"extra_body": {"input": [1]}},
    ],
)
def test_what_refers_in_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    message = RESPONSES.read(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("openai-invalid", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"Previous_Response_Id": "r"},
        {"Conversation": "c"},
        {"Store": True},
        {"conversation": {"id": "c", "ID": "d"}},
        {"prompt_cache_options": {"Comparison_response_id": "r"}},
        {"input": [{"type": "item_reference", "id": "i", "Id": "j"}]},
        {"input": [{"Type": "item_reference", "id": "i", "role": "user", "content": "x"}]},
        {"input": [{**CALL, "Container_id": "c2"}]},
        {"tools": [{**CODE, "Container": "c2"}]},
        {"tools": [{"type": "shell", "environment": {"Container_id": "c2"}}]},
        {"extra_body": {"PREVIOUS_RESPONSE_ID": "r"}},
    ],
)
def test_a_key_that_refers_and_differs_in_case_alone_is_malformed(fields: dict[str, Any]) -> None:
    message = RESPONSES.read(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("ambiguous-key", True)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, True),
        ({"store": None}, True),
        ({"store": True}, True),
        ({"store": False}, False),
        ({"extra_body": {"store": False}}, False),
        ({"store": False, "extra_body": {"store": True}}, True),
    ],
)
def test_an_answer_is_kept_unless_every_word_of_the_request_says_no(fields: dict[str, Any], kept: bool) -> None:
    assert generation(**fields).keeps_answer is kept


def handed_out(value: Any) -> Named:
    frames, _ = RESPONSES.decoded(value, answer_head())
    (message,) = messages_of(frames)
    assert isinstance(message, Completion)
    return [(thing.kind, thing.id) for thing in message.handed_out]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (answer(says("x")), [(RESPONSE, "resp_1"), (ITEM, "msg_1")]),
        (answer(says("x"), says("y")), [(RESPONSE, "resp_1"), (ITEM, "msg_1")]),
        (answer(status="queued", id=None), []),
        (answer(conversation={"id": "c"}), [(RESPONSE, "resp_1"), (CONVERSATION, "c")]),
        (answer(conversation=None), [(RESPONSE, "resp_1")]),
        (answer(CALL), [(RESPONSE, "resp_1"), (ITEM, "ci"), (CONTAINER, "c1")]),
        (
            answer({"id": "s", "type": "shell_call", "action": {}, "environment": SHELL["environment"]}),
            [(RESPONSE, "resp_1"), (ITEM, "s"), (CONTAINER, "c1")],
        ),
    ],
)
def test_a_whole_answer_tells_what_it_hands_out(value: Any, expected: Named) -> None:
    assert handed_out(value) == expected


@pytest.mark.parametrize(
    "fields", [{"id": 1}, {"conversation": 1}, {"conversation": {"id": 1}}, {"conversation": {"Id": "c", "id": "d"}}]
)
def test_an_answer_that_names_itself_in_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    frames, _ = RESPONSES.decoded(answer(says("x"), **fields), answer_head())
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert message.malformed


@pytest.mark.parametrize("item", [says("x", id=5), says("x", ID="b"), {**CALL, "container_id": 5}])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_item_that_is_named_in_another_shape_is_malformed(item: Any, streamed: bool) -> None:
    value = stream(event("response.output_item.added", output_index=0, item=item)) if streamed else answer(item)
    frames, _ = RESPONSES.decoded(value, *(() if streamed else (answer_head(),)))
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert message.malformed


STREAM = [*talk("a", "b"), event("response.completed", response=answer(CALL, id="resp_2", conversation="c"))]


def named_in(body: bytes, cuts: list[int]) -> list[Named]:
    decoder, found = RESPONSES.decoder(), []
    ends = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    pieces = [body[a:b] for a, b in itertools.pairwise(ends)]
    for frame in [*(frame for piece in pieces for frame in decoder.feed(piece)), *decoder.close()]:
        found += [
            [(thing.kind, thing.id) for thing in message.handed_out]
            for message in frame.messages
            if isinstance(message, Completion)
        ]
    return found


def test_the_first_event_that_has_a_thing_tells_it_and_deltas_tell_nothing() -> None:
    told = named_in(stream(*talk("a", "b")), [])
    assert told[:2] == [[(RESPONSE, "resp_1")], [(ITEM, "msg_1")]]
    assert told[2:5] == [[], [], []], "a part and two deltas"
    assert told[-1] == [(RESPONSE, "resp_1"), (ITEM, "msg_1")]


@given(CUTS)
@settings(max_examples=50)
def test_any_cutting_of_a_stream_hands_out_the_same(cuts: list[int]) -> None:
    body = stream(*STREAM)
    assert named_in(body, cuts) == named_in(body, [])

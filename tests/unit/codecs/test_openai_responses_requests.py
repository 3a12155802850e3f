"""codecs/openai_responses: requests, and what they let policies read and change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import response_input_item, response_output_item

from ext_proc.codecs.codec import Match
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import ChannelKind, Form, Generation, Message, Opaque, Role, Setting
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import drain, messages_of
from tests.unit.codecs.openai_responses_building import CODEC, RESPONSES, asking, generation

CONTENT, REASONING, REFUSAL = ChannelKind.CONTENT, ChannelKind.REASONING, ChannelKind.REFUSAL
ARGUMENTS, INPUT = ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT
USER, SYSTEM, ASSISTANT, TOOL = Role.USER, Role.SYSTEM, Role.ASSISTANT, Role.TOOL


@pytest.mark.parametrize(
    ("method", "path", "match"),
    [
        ("POST", "/v1/responses", Match.YES),
        ("POST", "/openai/deployments/x/responses", Match.YES),
        ("GET", "/v1/responses", Match.NO),
        ("GET", "/v1/responses/resp_1", Match.NO),
        ("DELETE", "/v1/responses/resp_1", Match.NO),
        ("POST", "/v1/responses/resp_1/cancel", Match.NO),
        ("POST", "/v1/responses/compact", Match.NO),
        ("POST", "/v1/responses/input_tokens", Match.NO),
        ("POST", "/v1/chat/completions", Match.NO),
    ],
)
def test_only_what_asks_for_a_response_is_read(method: str, path: str, match: Match) -> None:
    assert CODEC.matches(RESPONSES.head(method, path)) is match


def test_only_plain_json_is_read() -> None:
    assert CODEC.matches(RESPONSES.head(content_type="text/plain")) is Match.NO


def test_a_request_tells_its_model_and_whether_it_streams() -> None:
    message = generation(model="gpt", stream=True)
    assert (message.method, message.target, message.model, message.stream) == ("responses", "gpt", "gpt", True)
    assert not generation(stream=None).stream
    assert "hello" not in repr(message)
    assert CODEC.mirrored_headers(message, RESPONSES.head()) == {}
    assert (CODEC.transport_message(RESPONSES.head()), CODEC.header_message(RESPONSES.head())) == (None, None)


def test_a_stored_prompt_may_name_the_model_and_the_conversation_may_hold_the_input() -> None:
    message = RESPONSES.read({"prompt": {"id": "pmpt_1"}, "conversation": "conv_1"})
    assert isinstance(message, Generation)
    assert (message.model, RESPONSES.texts(message)) == ("", [])


def refused(value: Any, limits: Limits = DEFAULTS) -> Opaque:
    message = RESPONSES.read(value, limits)
    assert isinstance(message, Opaque)
    assert message.malformed
    return message


@pytest.mark.parametrize(
    "fields",
    [
        {"model": 1},
        {"input": 5},
        {"input": {"role": "user"}},
        {"input": ["hello"]},
        {"stream": "true"},
        {"background": 1},
        {"previous_response_id": 1},
        {"reasoning": "high"},
        {"reasoning": {"effort": 3}},
        {"max_output_tokens": 0},
        {"max_output_tokens": "9"},
        {"max_output_tokens": True},
        {"temperature": "hot"},
        {"top_p": True},
        {"tools": {}},
        {"tools": [{}]},
        {"input": [{"type": "additional_tools", "tools": "all"}]},
    ],
)
def test_a_request_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    assert refused(asking(**fields)).reason == "openai-invalid"


@pytest.mark.parametrize("value", [[], 1, "x", None])
def test_what_is_no_request_at_all_is_malformed(value: Any) -> None:
    assert refused(value).reason == "openai-invalid"


@pytest.mark.parametrize("key", ["Model", "INPUT", "Stream", "Instructions", "max_Output_tokens", "Tools", "Reasoning"])
def test_a_key_that_differs_in_case_alone_is_malformed(key: str) -> None:
    assert refused(asking(**{key: None})).reason == "ambiguous-key"
    assert refused(asking(reasoning={"Effort": "low"})).reason == "ambiguous-key"


@pytest.mark.parametrize("item", [{"role": "user", "Content": "x"}, {"type": "function_call_output", "Output": "x"}])
def test_a_key_of_an_item_that_differs_in_case_alone_is_malformed(item: Any) -> None:
    assert refused(asking(input=[item])).reason == "ambiguous-key"


def test_another_key_of_an_item_that_differs_in_case_alone_is_malformed_where_texts_are_read() -> None:
    found = CODEC.texts(generation(input=[{"type": "reasoning", "Summary": []}]), DEFAULTS)
    assert isinstance(found, Opaque)
    assert (found.reason, found.malformed) == ("ambiguous-key", True)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"", "json-empty"), (b"{", "json-malformed"), (b'{"model":"a","model":"b"}', "json-duplicate-key")],
)
def test_a_request_is_read_strictly(raw: bytes, reason: str) -> None:
    decoder = CODEC.request_decoder(RESPONSES.head(), Limits())
    (message,) = messages_of(drain(decoder, raw))
    assert isinstance(message, Opaque)
    assert (message.reason, decoder.outcome) == (reason, Outcome.INVALID)


def test_a_models_name_has_a_limit() -> None:
    assert refused(asking(model="m" * 65), Limits(name=64)).reason == "name-too-long"


def test_settings_are_read_as_the_caller_gave_them() -> None:
    message = generation(max_output_tokens=9, temperature=0.5, top_p=1, reasoning={"effort": "low"}, seed=7)
    assert [message.setting(setting) for setting in Setting] == [9, 0.5, 1, None, None, "low"]
    assert generation(reasoning=None).setting(Setting.REASONING_EFFORT) is None


def test_settings_are_replaced_and_removed_and_nothing_else() -> None:
    message = generation(max_output_tokens=9, temperature=0.5, reasoning={"effort": "high", "summary": "auto"})
    wanted = {Setting.MAX_TOKENS: 5, Setting.TEMPERATURE: None, Setting.REASONING_EFFORT: "low", Setting.TOP_P: 1}
    changed = message.with_settings(wanted)
    expected = asking(max_output_tokens=5, reasoning={"summary": "auto", "effort": "low"}, top_p=1)
    assert json.loads(changed.raw) == changed.value == expected
    bare = generation().with_settings({Setting.REASONING_EFFORT: "low"})
    assert json.loads(bare.raw) == bare.value == asking(reasoning={"effort": "low"})


@pytest.mark.parametrize("setting", [Setting.SEED, Setting.N])
def test_a_setting_that_responses_do_not_have_cannot_be_set(setting: Setting) -> None:
    with pytest.raises(ValueError, match=setting):
        generation().with_settings({setting: 1})


def test_another_model_changes_no_other_byte() -> None:
    raw = b'{ "input":"\\u00e9 1.0",\n "mod\\u0065l" : "a", "temperature": 1.00}'
    message = RESPONSES.read(raw)
    assert isinstance(message, Generation)
    renamed = message.with_model('b"é')
    assert renamed.raw == raw.replace(b'"a"', '"b\\"é"'.encode())
    assert (renamed.model, renamed.with_model("a").raw) == ('b"é', raw)


def test_a_request_has_no_events_of_its_own() -> None:
    decoder = CODEC.request_decoder(RESPONSES.head(), Limits())
    assert decoder.stream_end(Deny("a", "b"), "t") == b""


def test_tools_that_the_provider_runs_are_told_wherever_they_stand() -> None:
    mcp = {"type": "mcp", "server_label": "s", "server_url": "https://a.example/mcp"}
    brought = [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]},
        {"type": "tool_search_output", "tools": [{"type": "function", "name": "f"}, mcp]},
        {"type": "mcp_list_tools", "tools": [{"name": "t", "input_schema": {}, "annotations": None}]},
    ]
    own = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]
    spaces = [{"type": "namespace", "name": "n", "tools": [*own, {"type": "shell"}]}]
    message = generation(tools=[*own, *spaces, {"type": "code_interpreter", "container": {}}], input=brought)
    found = [(tool.kind, tool.server_label) for tool in message.hosted_tools]
    assert found == [("shell", ""), ("code_interpreter", ""), ("web_search", ""), ("mcp", "s")]


# Every type of item that a history may hold, with the texts in it. An item of no such type is read alike.
Texts = list[tuple[ChannelKind, Role, str]]
ITEMS: dict[str, tuple[dict[str, Any], Texts]] = {
    "message": (
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        [(CONTENT, ASSISTANT, "a"), (REFUSAL, ASSISTANT, "b")],
    ),
    "function_call": ({"name": "f", "arguments": '{"a":"b"}'}, [(ARGUMENTS, ASSISTANT, '{"a":"b"}')]),
    "function_call_output": ({"output": [{"type": "input_text", "text": "a"}]}, [(CONTENT, TOOL, "a")]),
    "custom_tool_call": ({"input": "a"}, [(INPUT, ASSISTANT, "a")]),
    "custom_tool_call_output": ({"output": "a"}, [(CONTENT, TOOL, "a")]),
    "reasoning": (
        {"summary": [{"type": "summary_text", "text": "a"}], "content": [{"type": "reasoning_text", "text": "b"}]},
        [(REASONING, ASSISTANT, "b"), (REASONING, ASSISTANT, "a")],
    ),
    "file_search_call": (
        {"queries": ["a"], "results": [{"text": "b"}]},
        [(CONTENT, ASSISTANT, "b"), (INPUT, ASSISTANT, "a")],
    ),
    "web_search_call": (
        {"action": {"type": "search", "query": "a", "queries": ["b"]}},
        [(INPUT, ASSISTANT, "a"), (INPUT, ASSISTANT, "b")],
    ),
    "code_interpreter_call": (
        {"code": "a", "outputs": [{"type": "logs", "logs": "b"}]},
        [(INPUT, ASSISTANT, "a"), (CONTENT, ASSISTANT, "b")],
    ),
    "computer_call": (
        {"action": {"type": "type", "text": "a"}, "actions": [{"type": "type", "text": "b"}]},
        [(INPUT, ASSISTANT, "a"), (INPUT, ASSISTANT, "b")],
    ),
    "computer_call_output": ({"output": {"type": "computer_screenshot", "image_url": "data:"}}, []),
    "local_shell_call": ({"action": {"type": "exec", "command": ["a"]}}, [(INPUT, ASSISTANT, "a")]),
    "local_shell_call_output": ({"output": "a"}, [(CONTENT, TOOL, "a")]),
    "shell_call": ({"action": {"commands": ["a", "b"]}}, [(INPUT, ASSISTANT, "a"), (INPUT, ASSISTANT, "b")]),
    "shell_call_output": (
        {"output": [{"stdout": "a", "stderr": "b", "outcome": {"type": "exit", "exit_code": 0}}]},
        [(CONTENT, TOOL, "a"), (CONTENT, TOOL, "b")],
    ),
    "apply_patch_call": ({"operation": {"type": "create_file", "diff": "a"}}, [(INPUT, ASSISTANT, "a")]),
    "apply_patch_call_output": ({"output": "a"}, [(CONTENT, TOOL, "a")]),
    "mcp_call": (
        {"arguments": '{"a":1}', "output": "b", "error": {"type": "x", "code": 1, "message": "c"}},
        [(ARGUMENTS, ASSISTANT, '{"a":1}'), (CONTENT, TOOL, "b"), (CONTENT, TOOL, "c")],
    ),
    "mcp_list_tools": ({"tools": [{"name": "t", "description": "d"}], "error": "a"}, [(CONTENT, TOOL, "a")]),
    "mcp_approval_request": ({"arguments": "{}"}, [(ARGUMENTS, ASSISTANT, "{}")]),
    "mcp_approval_response": ({"approve": True, "reason": "a"}, [(CONTENT, USER, "a")]),
    "image_generation_call": ({"result": "AAAA", "revised_prompt": "a"}, [(CONTENT, ASSISTANT, "a")]),
    "tool_search_call": ({"arguments": {"q": "a"}}, [(ARGUMENTS, ASSISTANT, '{"q": "a"}')]),
    "tool_search_output": ({"tools": []}, []),
    "additional_tools": ({"tools": []}, []),
    "compaction": ({"encrypted_content": "AAAA"}, []),
    "compaction_trigger": ({}, []),
    "item_reference": ({"id": "i"}, []),
    "program": ({"code": "a"}, [(INPUT, ASSISTANT, "a")]),
    "program_output": ({"result": "a"}, [(CONTENT, TOOL, "a")]),
    "configuration_update": ({"text": {"format": {"type": "text"}}}, []),
    "of_tomorrow": (
        {"content": [{"type": "of_tomorrow", "text": "a"}], "output": "b"},
        [(CONTENT, ASSISTANT, "a"), (CONTENT, ASSISTANT, "b")],
    ),
}


def types_of(module: Any, union: str) -> set[str]:
    """The types of the official client's items."""
    schemas: Any = str(getattr(module, union))
    named = {getattr(module, name) for name in dir(module) if name in schemas or f".{name}" in schemas}
    fields = [model.model_fields["type"].annotation for model in named if hasattr(model, "model_fields")]
    return {literal for field in fields for literal in _literals(field)}


def _literals(field: Any) -> set[str]:
    found = getattr(field, "__args__", ())
    return {each for each in found if isinstance(each, str)}.union(*(_literals(each) for each in found))


def test_every_type_of_item_of_the_official_client_is_in_the_table() -> None:
    known = types_of(response_input_item, "ResponseInputItem") | types_of(response_output_item, "ResponseOutputItem")
    assert len(known) >= 25
    assert known - set(ITEMS) == set()


def texts(message: Message) -> Texts:
    return [(piece.channel.kind, piece.channel.role, piece.text) for piece in RESPONSES.texts(message)]


@pytest.mark.parametrize("kind", ITEMS)
def test_the_texts_of_an_item_are_read_and_can_be_replaced(kind: str) -> None:
    item, expected = ITEMS[kind]
    message = generation(input=[{"type": kind, **item}])
    assert texts(message) == expected
    pieces = RESPONSES.texts(message)
    assert CODEC.with_texts(message, {}).raw == message.raw
    plain = {number: "new" for number, piece in enumerate(pieces) if piece.form is Form.PLAIN}
    changed = CODEC.with_texts(message, plain)
    assert [text for *_, text in texts(changed)] == [plain.get(n, text) for n, (*_, text) in enumerate(expected)]


@pytest.mark.parametrize(
    ("role", "whose"), [("system", SYSTEM), ("developer", SYSTEM), ("user", USER), ("tool", TOOL), ("critic", USER)]
)
def test_whose_words_a_message_is_is_told_by_its_role(role: str, whose: Role) -> None:
    said = {"role": role, "content": [{"type": "input_text", "text": "a"}]}
    assert texts(generation(input=[said, {"role": role, "content": "b"}])) == [
        (CONTENT, whose, "a"),
        (CONTENT, whose, "b"),
    ]


def test_instructions_variables_of_a_prompt_and_a_bare_input_are_texts() -> None:
    message = generation(instructions="a", prompt={"id": "p", "variables": {"v": "b"}}, input="c")
    assert texts(message) == [(CONTENT, SYSTEM, "a"), (CONTENT, USER, '{"v": "b"}'), (CONTENT, USER, "c")]
    assert [piece.form for piece in RESPONSES.texts(message)] == [Form.PLAIN, Form.VALID_JSON, Form.PLAIN]
    changed = CODEC.with_texts(message, {0: "A", 1: '{"v":"B"}', 2: "C"})
    assert json.loads(changed.raw) == asking(instructions="A", prompt={"id": "p", "variables": {"v": "B"}}, input="C")


def test_what_repeats_a_changed_text_is_emptied_and_all_else_stays() -> None:
    part = '{"type": "output_text", "text": "a", "annotations": [{"x": 1.0}], "logprobs": [1]}'
    raw = '{"model":"m","input":[{"role":"assistant","content":[' + part + "]}]}"
    changed = CODEC.with_texts(RESPONSES.read(raw.encode()), {0: "ü"})
    expected = raw.replace('"a"', '"ü"').replace('[{"x": 1.0}]', "[]").replace('"logprobs": [1]', '"logprobs": []')
    assert changed.raw == expected.encode()


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": [{"type": "input_text", "text": 5}]},
        {"role": "user", "content": ["x"]},
        {"type": "function_call_output", "output": [{"text": {"value": "x"}}]},
    ],
)
def test_what_should_be_text_and_is_not_is_malformed(item: Any) -> None:
    found = CODEC.texts(generation(input=[item]), DEFAULTS)
    assert isinstance(found, Opaque)
    assert (found.reason, found.malformed) == ("openai-invalid", True)


def test_nesting_and_the_values_of_arguments_are_bounded() -> None:
    held: Any = {"text": "x"}
    for _ in range(10):
        held = {"output": held}
    assert isinstance(CODEC.texts(generation(input=[held]), DEFAULTS), Opaque)
    call = {"type": "function_call", "arguments": '{"a":"b"}'}
    found = CODEC.texts(generation(input=[call, call]), Limits(json_values=5))
    assert isinstance(found, Opaque)
    assert found.too_large

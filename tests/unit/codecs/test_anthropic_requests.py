"""codecs/anthropic: requests, and what they let policies read and change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Match
from ext_proc.events import Direction
from ext_proc.limits import Limits
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Form,
    Generation,
    HostedTool,
    Message,
    ModelListing,
    Opaque,
    Role,
    Setting,
    TokenCount,
)
from ext_proc.policy import Deny
from tests.unit.codecs.anthropic_building import ANTHROPIC, COUNT, USER, asking, text
from tests.unit.codecs.openai_building import drain, encoded, messages_of, opaque


def generation(**fields: Any) -> Generation:
    message = ANTHROPIC.read(asking(**fields))
    assert isinstance(message, Generation), message
    return message


@pytest.mark.parametrize(
    ("method", "path", "headers", "match"),
    [
        ("POST", "/v1/messages", {}, Match.YES),
        ("POST", "/anthropic/v1/messages", {}, Match.YES),
        ("POST", COUNT, {}, Match.YES),
        ("POST", "/v1/messages/batches", {}, Match.NO),
        ("POST", "/v1/threads/t1/messages", {}, Match.NO),
        ("POST", "/v1/messages/", {}, Match.NO),
        ("POST", "/v1/complete", {}, Match.NO),
        ("POST", "/v1/messages", {"content_type": "text/plain"}, Match.NO),
        ("POST", "/v1/messages", {"content_type": "application/json; charset=utf-16"}, Match.NO),
        ("GET", "/v1/models", {}, Match.YES),
        ("GET", "/v1/models/claude", {}, Match.NO),
        ("DELETE", "/v1/messages", {}, Match.NO),
    ],
)
def test_messages_their_count_and_the_list_of_models_are_read(
    method: str, path: str, headers: dict[str, str], match: Match
) -> None:
    assert ANTHROPIC.codec.matches(ANTHROPIC.head(method, path, **headers)) is match


def test_the_list_of_models_is_asked_for_by_headers_alone() -> None:
    assert isinstance(ANTHROPIC.codec.transport_message(ANTHROPIC.head("GET", "/v1/models")), ModelListing)
    assert ANTHROPIC.codec.transport_message(ANTHROPIC.head()) is None
    assert ANTHROPIC.codec.header_message(ANTHROPIC.head()) is None


def test_a_request_tells_its_model_and_whether_it_streams() -> None:
    message = generation(model="claude", stream=True)
    assert (message.method, message.target, message.model, message.stream) == ("chat", "claude", "claude", True)
    assert not generation(stream=None).stream
    assert ANTHROPIC.codec.mirrored_headers(message, ANTHROPIC.head()) == {}
    assert "hello" not in repr(message)


def test_a_question_for_tokens_is_no_generation() -> None:
    message = ANTHROPIC.read({"model": "m", "messages": [USER]}, path=COUNT)
    assert isinstance(message, TokenCount)
    assert (message.method, message.with_model("b").model) == ("count_tokens", "b")
    assert [piece.text for piece in ANTHROPIC.texts(message)] == ["hello"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None},
        {"model": 1},
        {"messages": None},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [USER, "hello"]},
        {"stream": "true"},
        {"stream": 1},
        {"max_tokens": -1},
        {"max_tokens": "9"},
        {"max_tokens": True},
        {"temperature": "hot"},
        {"top_p": True},
        {"output_config": []},
        {"output_config": {"effort": 3}},
        {"fallbacks": {}},
        {"fallbacks": [1]},
        {"fallbacks": [{"model": "b", "max_tokens": "many"}]},
    ],
)
def test_a_request_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    message = opaque([ANTHROPIC.read(asking(**fields))])
    assert (message.malformed, message.reason) == (True, "anthropic-invalid")


@pytest.mark.parametrize("value", [[], 1, "x", None, [asking()], {}])
def test_what_is_no_request_at_all_is_malformed(value: Any) -> None:
    assert opaque([ANTHROPIC.read(value)]).reason == "anthropic-invalid"


@pytest.mark.parametrize(
    "fields",
    [
        {"Model": 1},
        {"MESSAGES": []},
        {"System": "x"},
        {"max_Tokens": 1},
        {"toolS": []},
        {"messages": [{**USER, "Content": "other"}]},
        {"fallbacks": [{"model": "b", "Max_Tokens": 9}]},
        {"output_config": {"Effort": "low"}},
    ],
)
def test_a_key_that_differs_in_case_alone_is_malformed(fields: dict[str, Any]) -> None:
    assert opaque([ANTHROPIC.read(asking(**fields))]).reason == "ambiguous-key"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "json-empty"),
        (b"{", "json-malformed"),
        (b'{"model":"a","model":"b","messages":[{}]}', "json-duplicate-key"),
        (b'{"model":"\\ud83d","messages":[{}]}', "json-malformed"),
    ],
)
def test_a_request_is_read_strictly(raw: bytes, reason: str) -> None:
    decoder = ANTHROPIC.codec.request_decoder(ANTHROPIC.head(), Limits())
    message = opaque(messages_of(drain(decoder, raw)))
    assert (message.reason, message.malformed) == (reason, True)


def test_a_request_past_the_limit_is_opaque_in_every_span() -> None:
    decoder = ANTHROPIC.codec.request_decoder(ANTHROPIC.head(), Limits(request_body=10))
    found = messages_of(drain(decoder, b'{"model":"a"}'))
    assert len(found) == 2
    assert all(isinstance(message, Opaque) and message.too_large for message in found)
    assert decoder.text_event(Channel(ChannelKind.CONTENT), "x") == decoder.stream_end(Deny("a", "b"), "t") == b""


def test_settings_are_read_as_the_caller_gave_them() -> None:
    message = generation(temperature=0.5, top_p=1, output_config={"effort": "low"})
    assert [message.setting(setting) for setting in Setting] == [100, 0.5, 1, None, None, "low"]
    assert generation(max_tokens=0).setting(Setting.MAX_TOKENS) == 0  # to fill the prompt's cache
    assert generation(output_config=None).setting(Setting.REASONING_EFFORT) is None


def test_of_the_most_tokens_of_a_request_and_its_fallbacks_the_greatest_counts_and_all_are_written() -> None:
    asked = {"max_tokens": 50, "fallbacks": [{"model": "b", "max_tokens": 9000}, {"model": "c"}]}
    message = generation(**asked)
    assert message.setting(Setting.MAX_TOKENS) == 9000
    changed = message.with_settings({Setting.MAX_TOKENS: 60})
    assert json.loads(changed.raw) == changed.value
    assert changed.value["fallbacks"] == [{"model": "b", "max_tokens": 60}, {"model": "c"}]
    assert (changed.value["max_tokens"], changed.setting(Setting.MAX_TOKENS)) == (60, 60)
    assert generation(fallbacks="default").setting(Setting.MAX_TOKENS) == 100


def test_settings_are_written_and_removed_and_every_other_byte_stays() -> None:
    raw = b'{ "model":"m","messages":[{"role":"user","content":"\\u00e9 1.0"}],\n "max_tokens" : 5, "temperature": 1.00'
    raw += b',"output_config":{"effort":"high","format":{"n":1.0}} }'
    message = ANTHROPIC.read(raw)
    assert isinstance(message, Generation)
    changed = message.with_settings({Setting.MAX_TOKENS: 4, Setting.REASONING_EFFORT: "low"})
    assert changed.raw == raw.replace(b": 5", b": 4").replace(b'"high"', b'"low"')
    removed = message.with_settings({Setting.TEMPERATURE: None, Setting.REASONING_EFFORT: None, Setting.TOP_P: None})
    assert removed.raw == raw.replace(b', "temperature": 1.00', b"").replace(b'"effort":"high",', b"")
    added = generation().with_settings({Setting.REASONING_EFFORT: "low", Setting.TOP_P: 0.5})
    assert json.loads(added.raw) == added.value == asking(output_config={"effort": "low"}, top_p=0.5)
    assert generation().with_settings({Setting.REASONING_EFFORT: None}).value == asking()


@pytest.mark.parametrize("settings", [{Setting.SEED: 1}, {Setting.N: 2}, {Setting.MAX_TOKENS: None}])
def test_a_setting_that_the_format_has_not_or_needs_is_refused(settings: dict[Setting, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no|need"):
        generation().with_settings(settings)


def test_another_model_changes_no_other_byte() -> None:
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9"}],\n "mod\\u0065l" : "a", "max_tokens": 1 }'
    message = ANTHROPIC.read(raw)
    assert isinstance(message, Generation)
    renamed: Message = message.with_model('b"é')
    assert renamed.raw == raw.replace(b'"a"', '"b\\"é"'.encode())
    assert renamed.target == 'b"é'


def test_a_models_name_has_a_limit() -> None:
    refused = opaque([ANTHROPIC.read(asking(model="m" * 65), Limits(name=64))])
    assert (refused.reason, refused.malformed) == ("name-too-long", True)


# Tools that the provider runs.

SERVER = {"type": "url", "url": "https://a.example/mcp", "name": "a"}
OWN = {"name": "f", "input_schema": {"type": "object"}}


def toolset(**fields: Any) -> dict[str, Any]:
    return {"type": "mcp_toolset", "mcp_server_name": "a", **fields}


def added(tool: Any) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, []),
        ({"tools": None}, []),
        ({"tools": [OWN, {**OWN, "type": "custom"}, {**OWN, "type": None}]}, []),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}, OWN]}, ["web_search_20250305"]),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, ["bash_20250124"]),
        ({"tools": [{"type": "what nobody knows"}]}, ["what nobody knows"]),
        ({"tools": [{}]}, [""]),
        ({"mcp_servers": [SERVER]}, ["mcp"]),
        ({"mcp_servers": [SERVER], "tools": [toolset()]}, ["mcp"]),
        ({"tools": [toolset()]}, ["mcp_toolset"]),
        (
            {"messages": [USER, {"role": "user", "content": [added({"type": "code_execution_20260521"})]}]},
            ["code_execution_20260521"],
        ),
        ({"messages": [{"role": "user", "content": [added(OWN), added(toolset())]}]}, ["mcp_toolset"]),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {
                                "type": "compaction",
                                "content": "c",
                                "tool_changes": [added({"type": "web_fetch_20260318"})],
                            }
                        ],
                    }
                ]
            },
            ["web_fetch_20260318"],
        ),
    ],
)
def test_what_the_provider_runs_is_found_wherever_a_request_brings_it(fields: dict[str, Any], kinds: list[str]) -> None:
    assert [tool.kind for tool in generation(**fields).hosted_tools] == kinds


def test_a_server_is_told_with_all_that_is_said_of_it() -> None:
    entry = {**SERVER, "authorization_token": "s3cret", "tool_configuration": {"allowed_tools": ["t"]}}
    (tool,) = generation(mcp_servers=[entry]).hosted_tools
    assert tool == HostedTool(
        "mcp", server_url="https://a.example/mcp", server_label="a", allowed_tools=("t",), parameters=entry
    )
    assert "s3cret" not in repr(tool)


@pytest.mark.parametrize(
    ("tools", "allowed"),
    [
        ([], None),
        ([toolset()], None),
        ([toolset(default_config={"enabled": True})], None),
        ([toolset(default_config={"enabled": False})], ()),
        ([toolset(default_config={"enabled": False}, configs={"t": {"enabled": True}, "u": {}})], ("t",)),
        ([toolset(default_config={"enabled": False}), toolset()], None),
    ],
)
def test_a_toolset_says_which_tools_of_its_server_the_model_may_use(tools: list[Any], allowed: Any) -> None:
    (tool,) = generation(mcp_servers=[SERVER], tools=tools).hosted_tools
    assert tool.allowed_tools == allowed


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": {}},
        {"tools": ["web_search"]},
        {"tools": [{"type": 7}]},
        {"tools": [toolset(configs=[])], "mcp_servers": [SERVER]},
        {"tools": [toolset(default_config=1)], "mcp_servers": [SERVER]},
        {"mcp_servers": "https://a.example"},
        {"mcp_servers": [{**SERVER, "url": 7}]},
        {"mcp_servers": [{**SERVER, "tool_configuration": []}]},
        {"mcp_servers": [{**SERVER, "tool_configuration": {"allowed_tools": "all"}}]},
        {"mcp_servers": [{**SERVER, "tool_configuration": {"allowed_tools": [7]}}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_addition", "tool": "bash"}]}]},
        {"messages": [{"role": "user", "content": [added([])]}]},
    ],
)
def test_tools_of_another_shape_are_malformed(fields: dict[str, Any]) -> None:
    assert opaque([ANTHROPIC.read(asking(**fields))]).reason == "anthropic-invalid"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{**OWN, "Type": "mcp"}]},
        {"mcp_servers": [{**SERVER, "URL": "https://evil.example"}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_addition", "Tool": {}}]}]},
    ],
)
def test_a_key_of_a_tool_that_differs_by_case_alone_is_refused(fields: dict[str, Any]) -> None:
    assert opaque([ANTHROPIC.read(asking(**fields))]).reason == "ambiguous-key"


# Texts.


def told(*turns: Any, **fields: Any) -> list[tuple[ChannelKind, Role, int, int, str]]:
    message = ANTHROPIC.read(asking(messages=list(turns), **fields))
    found = ANTHROPIC.texts(message)
    assert all(piece.channel.direction is Direction.REQUEST for piece in found)
    return [(p.channel.kind, p.channel.role, p.channel.choice, p.channel.index, p.text) for p in found]


@pytest.mark.parametrize(
    ("role", "whose"),
    [
        ("user", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("system", Role.SYSTEM),
        ("critic", Role.USER),
        (7, Role.USER),
    ],
)
def test_whose_words_a_text_is_is_told_by_its_role(role: Any, whose: Role) -> None:
    assert told({"role": role, "content": "x"}) == [(ChannelKind.CONTENT, whose, 0, 0, "x")]


def test_every_text_of_a_request_is_read_and_told_whose_it_is() -> None:
    content, thought = ChannelKind.CONTENT, ChannelKind.REASONING
    document = {"type": "document", "title": "T", "context": "C", "source": {"type": "text", "data": "D"}}
    cited = {"type": "char_location", "cited_text": "Q", "document_title": "DT"}
    found = told(
        {
            "role": "user",
            "content": [text("a"), document, {"type": "image", "source": {"type": "base64", "data": "A="}}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                text("b", citations=[cited]),
                {"type": "tool_use", "id": "1", "name": "f", "input": {"p": "x"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "r"},
                {
                    "type": "tool_result",
                    "tool_use_id": "2",
                    "content": [
                        text("s"),
                        {
                            "type": "search_result",
                            "title": "st",
                            "source": "https://a.example",
                            "content": [text("sc")],
                        },
                    ],
                },
                {"type": "code_execution_tool_result", "tool_use_id": "3", "content": {"stdout": "o", "stderr": "e"}},
                {
                    "type": "text_editor_code_execution_tool_result",
                    "tool_use_id": "4",
                    "content": {"lines": ["l1", "l2"]},
                },
            ],
        },
        system=[text("sys"), text("")],
    )
    assert found == [
        (content, Role.SYSTEM, 0, 0, "sys"),
        *((content, Role.USER, 0, n, said) for n, said in enumerate(["a", "T", "C", "D"])),
        (thought, Role.ASSISTANT, 1, 0, "t"),
        (content, Role.ASSISTANT, 1, 0, "b"),
        (content, Role.TOOL, 1, 0, "Q"),
        (content, Role.TOOL, 1, 1, "DT"),
        (ChannelKind.TOOL_ARGUMENTS, Role.ASSISTANT, 1, 0, '{"p": "x"}'),
        *((content, Role.TOOL, 2, n, said) for n, said in enumerate(["r", "s", "st", "sc", "o", "e", "l1", "l2"])),
    ]


def test_new_texts_stand_where_the_old_ones_did_and_a_signature_goes() -> None:
    turn = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "thinking", "thinking": "kept", "signature": "s2"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"p": "x"}},
        ],
    }
    raw = encoded(asking(messages=[USER, turn], system="be kind"))
    message = ANTHROPIC.read(raw)
    found = ANTHROPIC.texts(message)
    assert [piece.form for piece in found] == [Form.PLAIN] * 4 + [Form.VALID_JSON]
    changed = ANTHROPIC.codec.with_texts(message, {0: "be\n", 2: "é", 4: '{"p":1.0}'})
    assert [piece.text for piece in ANTHROPIC.texts(changed)] == ["be\n", "hello", "é", "kept", '{"p":1.0}']
    expected = raw.replace(b'"be kind"', b'"be\\n"').replace(b'"t", "signature": "s"', '"é"'.encode())
    assert changed.raw == expected.replace(b'{"p": "x"}', b'{"p":1.0}')


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": 1},
        {"type": "tool_use", "input": "x"},
        {"type": "text", "text": "a", "citations": ["q"]},
        {"type": "text", "text": "a", "citations": [{"cited_text": 1}]},
        {"type": "document", "source": {"type": "text", "data": []}},
        {"type": "tool_result", "content": 7},
        {"type": "x", "lines": "a"},
        "just words",
    ],
)
def test_a_block_whose_text_is_none_is_malformed(block: Any) -> None:
    message = ANTHROPIC.read(asking(messages=[{"role": "user", "content": [block]}]))
    found = ANTHROPIC.codec.texts(message, Limits())
    assert isinstance(found, Opaque)
    assert (found.reason, found.malformed) == ("anthropic-invalid", True)


def test_blocks_nested_too_deep_and_keys_that_collide_are_malformed() -> None:
    deep: Any = text("x")
    for _ in range(9):
        deep = {"type": "tool_result", "tool_use_id": "1", "content": [deep]}
    for block, reason in ((deep, "anthropic-invalid"), ({"type": "text", "Text": "x"}, "ambiguous-key")):
        found = ANTHROPIC.codec.texts(ANTHROPIC.read(asking(messages=[{"role": "user", "content": [block]}])), Limits())
        assert isinstance(found, Opaque)
        assert found.reason == reason

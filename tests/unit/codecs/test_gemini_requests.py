"""codecs/gemini: requests, and what they let policies read and change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Match
from ext_proc.events import Direction
from ext_proc.limits import Limits
from ext_proc.messages import (
    ChannelKind,
    Embedding,
    Form,
    Generation,
    HostedTool,
    ModelRequest,
    Opaque,
    Role,
    Setting,
    StoredKind,
    StoredObject,
    TokenCount,
)
from tests.unit.codecs.gemini_building import BATCH, COUNT, EMBED, GEMINI, STREAMED, WHOLE, asking, content
from tests.unit.codecs.openai_building import encoded, opaque

VERTEX = "/v1/projects/p/locations/global/publishers/google/models/m@001:generateContent"


def generation(path: str = WHOLE, **fields: Any) -> Generation:
    message = GEMINI.read(asking(**fields), path=path)
    assert isinstance(message, Generation), message
    return message


@pytest.mark.parametrize(
    ("method", "path", "headers", "match"),
    [
        *(("POST", path, {}, Match.YES) for path in (WHOLE, STREAMED, COUNT, EMBED, BATCH, VERTEX)),
        ("POST", "/v1beta/tunedModels/mine:generateContent", {}, Match.YES),
        ("POST", "/v1/projects/p/locations/l/endpoints/7:streamGenerateContent", {}, Match.YES),
        ("POST", "/v1beta/models/m:predict", {}, Match.NO),
        ("POST", "/v1beta/models/m", {}, Match.NO),
        ("POST", "/v1beta/models/:generateContent", {}, Match.NO),
        ("POST", WHOLE + "/", {}, Match.NO),
        ("POST", WHOLE, {"content_type": "text/plain"}, Match.NO),
        ("GET", "/v1beta/models", {}, Match.NO),
    ],
)
def test_what_is_asked_is_told_by_the_path(method: str, path: str, headers: dict[str, str], match: Match) -> None:
    assert GEMINI.codec.matches(GEMINI.head(method, path, **headers)) is match
    assert GEMINI.codec.transport_message(GEMINI.head(method, path)) is None
    assert GEMINI.codec.header_message(GEMINI.head(method, path)) is None


def test_a_request_tells_its_model_and_whether_it_streams() -> None:
    message = generation(STREAMED)
    assert (message.method, message.target, message.model, message.stream) == ("chat", "m", "m", True)
    assert not generation().stream
    assert generation(VERTEX).model == "m@001"
    assert "hello" not in repr(message)


@pytest.mark.parametrize(
    ("path", "value", "kind", "method"),
    [
        (COUNT, asking(), TokenCount, "count_tokens"),
        (COUNT, {"generateContentRequest": {"model": "models/m", **asking()}}, TokenCount, "count_tokens"),
        (EMBED, {"content": content({"text": "hello"})}, Embedding, "embeddings"),
        (BATCH, {"requests": [{"model": "models/m", "content": content({"text": "hello"})}]}, Embedding, "embeddings"),
    ],
)
def test_counts_and_embeddings_are_no_generations_and_their_texts_are_read(
    path: str, value: Any, kind: type, method: str
) -> None:
    message = GEMINI.read(value, path=path)
    assert isinstance(message, kind)
    assert (message.method, message.target) == (method, "m")
    assert [piece.text for piece in GEMINI.texts(message)] == ["hello"]
    changed = GEMINI.codec.with_texts(message, {0: "new"})
    assert type(changed) is type(message)
    assert (changed.raw, changed.target) == (message.raw.replace(b'"hello"', b'"new"'), "m")
    renamed: Any = message.with_model("b")  # type: ignore[attr-defined]
    assert (renamed.raw, renamed.target) == (message.raw.replace(b"models/m", b"models/b"), "b")


@pytest.mark.parametrize(
    "value",
    [
        *([], 1, "x", None),
        asking(contents={}),
        asking(contents=["hello"]),
        asking(generationConfig=[]),
        asking(generationConfig={"maxOutputTokens": "9"}),
        asking(generationConfig={"maxOutputTokens": 0}),
        asking(generationConfig={"candidateCount": True}),
        asking(generation_config={"top_p": "x"}),
        asking(model=7),
        asking(model="models/other"),
        {"generateContentRequest": []},
        {"generateContentRequest": {"model": "models/other"}},
        {"requests": [{"model": "models/other"}]},
    ],
)
def test_a_request_of_another_shape_or_for_another_model_is_malformed(value: Any) -> None:
    message = opaque([GEMINI.read(value)])
    assert (message.malformed, message.reason) == (True, "gemini-invalid")


@pytest.mark.parametrize(
    "fields",
    [
        {"Contents": []},
        {"systeminstruction": {}},
        {"systemInstruction": {}, "system_instruction": {}},
        {"generationConfig": {}, "generation_config": {}},
        {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9}},
        {"generationConfig": {"Max_Output_Tokens": 9}},
        {"tools": [{"functionDeclarations": [], "function_declarations": []}]},
        {"cachedContent": "c", "cached_content": "d"},
        {"CachedContent": "c"},
    ],
)
def test_a_member_in_two_spellings_or_another_case_is_malformed(fields: dict[str, Any]) -> None:
    assert opaque([GEMINI.read(asking(**fields))]).reason == "ambiguous-key"


def test_settings_are_read_in_either_spelling() -> None:
    config = {"maxOutputTokens": 5, "temperature": 0.5, "topP": 1, "seed": 7, "candidateCount": 2}
    assert [generation(generationConfig=config).setting(s) for s in Setting] == [5, 0.5, 1, 7, 2, None]
    snake = {"max_output_tokens": 5, "temperature": 0.5, "top_p": 1, "seed": 7, "candidate_count": 2}
    assert [generation(generation_config=snake).setting(s) for s in Setting] == [5, 0.5, 1, 7, 2, None]
    assert generation().setting(Setting.MAX_TOKENS) is None


def test_settings_are_written_and_removed_in_the_callers_spelling_and_every_other_byte_stays() -> None:
    raw = (
        b'{"contents":[{"parts":[{"text":"\\u00e9"}]}], "generation_config" : {"max_output_tokens": 5, "top_k": 1.00} }'
    )
    message = GEMINI.read(raw)
    assert isinstance(message, Generation)
    assert message.with_settings({Setting.MAX_TOKENS: 4}).raw == raw.replace(b": 5", b": 4")
    removed = message.with_settings({Setting.MAX_TOKENS: None, Setting.SEED: None})
    assert removed.raw == raw.replace(b'"max_output_tokens": 5, ', b"")
    added = generation(generationConfig=None).with_settings({Setting.SEED: 3, Setting.TOP_P: None})
    assert json.loads(added.raw) == added.value == asking(generationConfig={"seed": 3})
    assert generation().with_settings({Setting.SEED: None}).raw == generation().raw
    with pytest.raises(ValueError, match="no reasoning_effort"):
        message.with_settings({Setting.REASONING_EFFORT: "low"})


@pytest.mark.parametrize(
    ("path", "model", "expected"),
    [
        (WHOLE, "m", WHOLE),
        (WHOLE, "b", "/v1beta/models/b:generateContent"),
        (STREAMED, "b/c d", "/v1beta/models/b%2Fc%20d:streamGenerateContent"),
        (VERTEX, "m@001", VERTEX),
        (VERTEX, "m@002", VERTEX.replace("001", "002")),
        ("/v1beta/models/m%40x:countTokens", "m@x", "/v1beta/models/m%40x:countTokens"),
    ],
)
def test_another_model_is_another_path_and_the_same_one_is_the_same_to_the_byte(
    path: str, model: str, expected: str
) -> None:
    head = GEMINI.head(path=path)
    message: Any = GEMINI.read(asking(), path=path)
    assert GEMINI.codec.mirrored_headers(message.with_model(model), head) == {":path": expected}
    assert message.with_model(model).raw == message.raw


def test_the_query_stays_in_the_path() -> None:
    head = GEMINI.head(path=STREAMED)
    asked = type(head)(head.method, head.path, head.authority, head.headers, query="alt=sse&key=k")
    renamed: Any = generation(STREAMED).with_model("b")
    mirrored = GEMINI.codec.mirrored_headers(renamed, asked)
    assert mirrored == {":path": "/v1beta/models/b:streamGenerateContent?alt=sse&key=k"}
    assert GEMINI.codec.mirrored_headers(Opaque("x", "y"), asked) == {}
    assert GEMINI.codec.mirrored_headers(renamed, GEMINI.head(path="/elsewhere")) == {}


def test_a_name_of_the_model_in_the_body_changes_with_the_path() -> None:
    raw = encoded(asking(model="models/m"))
    renamed: Any = GEMINI.read(raw).with_model("b")  # type: ignore[attr-defined]
    assert (renamed.raw, renamed.value["model"]) == (raw.replace(b"models/m", b"models/b"), "models/b")


def test_a_models_name_has_a_limit() -> None:
    path = f"/v1beta/models/{'m' * 65}:generateContent"
    refused = opaque([GEMINI.read(asking(), Limits(name=64), path=path)])
    assert (refused.reason, refused.malformed) == ("name-too-long", True)


# Tools that the provider runs.


@pytest.mark.parametrize(
    ("tools", "kinds"),
    [
        (None, []),
        ([{"functionDeclarations": [{"name": "f"}]}, {"function_declarations": []}, {}], []),
        ([{"googleSearch": {}}, {"codeExecution": {}}], ["googleSearch", "codeExecution"]),
        ([{"google_search": {}, "url_context": {}}], ["googleSearch", "urlContext"]),
        ([{"what_nobody_knows": 1}], ["whatNobodyKnows"]),
        ([{"mcpServers": [{"name": "a"}, {"name": "b"}]}], ["mcp", "mcp"]),
    ],
)
def test_what_the_provider_runs_is_told_in_one_spelling(tools: Any, kinds: list[str]) -> None:
    assert [tool.kind for tool in generation(tools=tools).hosted_tools] == kinds


def test_a_server_is_told_with_its_address() -> None:
    server = {"name": "a", "streamable_http_transport": {"url": "https://a.example/mcp", "headers": {"x": "s3cret"}}}
    (tool,) = generation(tools=[{"mcp_servers": [server]}]).hosted_tools
    assert tool == HostedTool("mcp", server_url="https://a.example/mcp", server_label="a", parameters=server)
    assert "s3cret" not in repr(tool)


@pytest.mark.parametrize(
    "tools",
    [
        {},
        ["googleSearch"],
        [{"mcpServers": {}}],
        [{"mcpServers": [{"streamableHttpTransport": "https://a.example"}]}],
        [{"mcpServers": [{"streamableHttpTransport": {"url": 7}}]}],
    ],
)
def test_tools_of_another_shape_are_malformed(tools: Any) -> None:
    assert opaque([GEMINI.read(asking(tools=tools))]).reason == "gemini-invalid"


# Texts.


def told(value: Any) -> list[tuple[ChannelKind, Role, int, int, str]]:
    found = GEMINI.texts(GEMINI.read(value))
    assert all(piece.channel.direction is Direction.REQUEST for piece in found)
    return [(p.channel.kind, p.channel.role, p.channel.choice, p.channel.index, p.text) for p in found]


@pytest.mark.parametrize("instruction", ["systemInstruction", "system_instruction"])
def test_every_text_of_a_request_is_read_and_told_whose_it_is(instruction: str) -> None:
    said, argued, written = ChannelKind.CONTENT, ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT
    model = content(
        {"text": "t", "thought": True},
        {"text": "b"},
        {"functionCall": {"name": "f", "args": {"p": "x"}}},
        {"function_call": {"name": "f", "partial_args": [{"json_path": "$.a", "string_value": "pa"}, {}]}},
        {"executableCode": {"code": "c"}},
        {"codeExecutionResult": {"output": "o"}},
        {"toolCall": {"args": {"q": 1}}},
        {"toolResponse": {"response": {"r": 2}}},
        role="model",
    )
    back = content({"function_response": {"name": "f", "response": {"r": "y"}}}, {"inlineData": {"data": "AA=="}})
    value = {
        instruction: {"parts": {"text": "sys"}},
        "contents": [content({"text": "a"}, {"text": ""}, {"text": "a2"}), model, back],
    }
    assert told(value) == [
        (said, Role.SYSTEM, 0, 0, "sys"),
        (said, Role.USER, 0, 0, "a"),
        (said, Role.USER, 0, 1, "a2"),
        (ChannelKind.REASONING, Role.ASSISTANT, 1, 0, "t"),
        (said, Role.ASSISTANT, 1, 0, "b"),
        (argued, Role.ASSISTANT, 1, 0, '{"p": "x"}'),
        (written, Role.ASSISTANT, 1, 0, "pa"),
        (written, Role.ASSISTANT, 1, 1, "c"),
        (said, Role.TOOL, 1, 0, "o"),
        (argued, Role.ASSISTANT, 1, 1, '{"q": 1}'),
        (said, Role.TOOL, 1, 1, '{"r": 2}'),
        (said, Role.TOOL, 2, 0, '{"r": "y"}'),
    ]
    assert told({"systemInstruction": "short"}) == [(said, Role.SYSTEM, 0, 0, "short")]


def test_new_texts_stand_where_the_old_ones_did_and_a_signature_goes() -> None:
    model = content(
        {"text": "t", "thought_signature": "s"},
        {"functionCall": {"args": {"p": "x"}}, "thoughtSignature": "s2"},
        role="model",
    )
    raw = encoded({"contents": [content({"text": "a"}), model]})
    message = GEMINI.read(raw)
    assert [piece.form for piece in GEMINI.texts(message)] == [Form.PLAIN, Form.PLAIN, Form.VALID_JSON]
    changed = GEMINI.codec.with_texts(message, {0: "é", 1: "new"})
    expected = raw.replace(b'"a"', '"é"'.encode()).replace(b'"t", "thought_signature": "s"', b'"new"')
    assert changed.raw == expected
    assert GEMINI.codec.with_texts(message, {}).raw == raw


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"text": 1}, "gemini-invalid"),
        ({"functionCall": "f"}, "gemini-invalid"),
        ({"functionCall": {"partialArgs": "x"}}, "gemini-invalid"),
        ({"executableCode": {"code": []}}, "gemini-invalid"),
        ("just words", "gemini-invalid"),
        ({"Text": "a"}, "ambiguous-key"),
        ({"functionCall": {}, "function_call": {}}, "ambiguous-key"),
        ({"functionCall": {"Args": {}}}, "ambiguous-key"),
    ],
)
def test_a_part_whose_text_is_none_is_malformed(part: Any, reason: str) -> None:
    found = GEMINI.codec.texts(GEMINI.read({"contents": [content(part)]}), Limits())
    assert isinstance(found, Opaque)
    assert (found.reason, found.malformed) == (reason, True)


@pytest.mark.parametrize("path", [WHOLE, STREAMED, COUNT])
@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_a_request_tells_the_cache_that_it_begins_with(name: str, path: str) -> None:
    cache = (StoredObject(StoredKind.CACHE, "cachedContents/c"),)
    message = GEMINI.read(asking(**{name: "cachedContents/c"}), path=path)
    assert isinstance(message, ModelRequest)
    assert message.references == cache
    assert message.with_model("n").references == cache  # type: ignore[attr-defined]
    plain = GEMINI.read(asking(**{name: None}), path=path)
    assert isinstance(plain, ModelRequest)
    assert plain.references == ()


def test_a_count_tells_the_cache_of_the_request_that_it_is_about() -> None:
    message = GEMINI.read({"generateContentRequest": asking(model="models/m", cachedContent="c")}, path=COUNT)
    assert isinstance(message, ModelRequest)
    assert message.references == (StoredObject(StoredKind.CACHE, "c"),)


def test_a_cache_whose_name_is_no_text_is_malformed() -> None:
    assert opaque([GEMINI.read(asking(cachedContent=1))]).reason == "gemini-invalid"

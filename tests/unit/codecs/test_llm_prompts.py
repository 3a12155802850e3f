"""What of a request is put before a model: the same for every format, by shapes; nothing in it makes counting fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs import llm_prompts
from ext_proc.codecs.llm_prompts import (
    BEFORE_ANSWER,
    FILE,
    IMAGE_ANTHROPIC,
    IMAGE_GEMINI,
    IMAGE_HIGH,
    IMAGE_LOW,
    PER_MESSAGE,
    TOOLS,
    TOOLS_ANTHROPIC,
    parts_of,
)
from ext_proc.messages import PromptPart, Role

SYSTEM, USER, ASSISTANT, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL
CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}


def said(request: dict[str, Any]) -> list[tuple[Role, str]]:
    """The texts, but for definitions."""
    return [(part.role, part.text) for part in parts_of(request) if part.text and not part.definition]


def around(request: dict[str, Any]) -> int:
    """The tokens that no text has."""
    return sum(part.tokens for part in parts_of(request))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            {
                "messages": [
                    {"role": "developer", "content": "be kind"},
                    {"role": "user", "content": [{"type": "text", "text": "hello"}]},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "1", "content": "found"},
                ]
            },
            [(SYSTEM, "be kind"), (USER, "hello"), (ASSISTANT, "find"), (ASSISTANT, '{"a":1}'), (TOOL, "found")],
        ),
        (
            {
                "instructions": "be kind",
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                    {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "1", "output": "found"},
                ],
            },
            [(SYSTEM, "be kind"), (USER, "hello"), (ASSISTANT, "find"), (ASSISTANT, "{}"), (TOOL, "found")],
        ),
        (
            {
                "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
                "messages": [
                    {"role": "user", "content": "hello"},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "1", "name": "find", "input": {"a": 1}}],
                    },
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "found"}]},
                ],
            },
            [(SYSTEM, "be kind"), (USER, "hello"), (ASSISTANT, "find"), (ASSISTANT, '{"a":1}'), (TOOL, "found")],
        ),
        (
            {
                "systemInstruction": {"parts": [{"text": "be kind"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "hello"}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "find", "args": {"a": 1}}}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": {"b": 2}}}]},
                ],
            },
            [
                *[(SYSTEM, "be kind"), (USER, "hello"), (ASSISTANT, "find"), (ASSISTANT, '{"a":1}')],
                *[(TOOL, "find"), (TOOL, '{"b":2}')],
            ],
        ),
        ({"input": "hello"}, [(USER, "hello")]),
        ({"prompt": ["hello", "there"]}, [(USER, "hello"), (USER, "there")]),
        ({"content": {"parts": [{"text": "hello"}]}, "taskType": "X"}, [(USER, "hello")]),
        ({"requests": [{"model": "models/e", "content": {"parts": [{"text": "hello"}]}}]}, [(USER, "hello")]),
    ],
    ids=["chat", "responses", "messages", "Gemini", "text", "legacy", "embedding", "embeddings"],
)
def test_each_text_is_found_and_whose_it_is(request_: dict[str, Any], expected: list[tuple[Role, str]]) -> None:
    assert said(request_) == expected


def test_messages_have_tokens_around_them_and_texts_for_vectors_have_none() -> None:
    turns = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert around({"messages": turns}) == 2 * PER_MESSAGE + BEFORE_ANSWER
    assert around({"model": "e", "input": ["a", "b"], "encoding_format": "float"}) == 0
    assert around({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}) == 0


def test_tokens_that_a_client_made_itself_are_counted_as_such() -> None:
    assert around({"prompt": [1, 2, 3]}) == 3


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}, IMAGE_LOW),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 999_999}}, IMAGE_HIGH),
        ({"type": "input_image", "image_url": "https://pictures.test/1", "detail": "high"}, IMAGE_HIGH),
        ({"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "wav"}}, 10),
        ({"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "mp3"}}, 30),
        ({"type": "image", "source": {"type": "base64", "data": "AAAA"}}, IMAGE_ANTHROPIC),
        ({"type": "document", "source": {"type": "base64", "data": "AAAA"}}, FILE),
        ({"type": "file", "file": {"file_data": "AAAA"}}, FILE),
        ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, IMAGE_GEMINI),
        ({"inline_data": {"mime_type": "audio/mp3", "data": "A" * 64_000}}, 96),
        ({"fileData": {"mimeType": "application/pdf", "fileUri": "x"}}, FILE),
    ],
)
def test_pictures_sound_and_files_count_by_rules_whatever_is_in_them(part: dict[str, Any], tokens: int) -> None:
    assert said({"contents": [{"role": "user", "content": [part]}]}) == []
    assert around({"contents": [{"role": "user", "content": [part]}]}) == tokens


BASE64 = "iVBORw0KGgo" * 30_000
URL = f"data:image/png;base64,{BASE64}"
INLINE = {"inlineData": {"mimeType": "image/png", "data": BASE64}}
SCREEN = {"type": "computer_screenshot", "image_url": URL}
SOURCE = {"type": "base64", "media_type": "application/pdf", "data": BASE64}
PLACES: dict[str, tuple[dict[str, Any], int]] = {
    "a screenshot": ({"type": "computer_call_output", "call_id": "1", "output": SCREEN}, IMAGE_HIGH),
    "a screenshot as a picture": (
        {"type": "computer_call_output", "call_id": "1", "output": {"type": "input_image", "image_url": URL}},
        IMAGE_HIGH,
    ),
    "a small screenshot": ({"type": "computer_call_output", "output": {**SCREEN, "detail": "low"}}, IMAGE_LOW),
    "a generated picture": ({"type": "image_generation_call", "id": "1", "result": BASE64}, IMAGE_HIGH),
    "pictures of an interpreter": (
        {"type": "code_interpreter_call", "id": "1", "outputs": [{"type": "image", "url": URL}]},
        IMAGE_HIGH,
    ),
    "a function's picture": (
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image", "image_url": URL}]},
        IMAGE_HIGH,
    ),
    "a function's file": (
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_file", "file_data": URL}]},
        FILE,
    ),
    "OpenAI's sound": ({"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "wav"}}, 10),
    "a model's sound": ({"role": "assistant", "audio": {"id": "1", "data": "A" * 64_000, "transcript": "x"}}, 30),
    "a model's sound as a part": ({"type": "output_audio", "data": "A" * 64_000, "transcript": "x"}, 30),
    "a skill": ({"type": "shell_call", "environment": {"skills": [{"source": SOURCE}]}}, FILE),
    "moving pictures": ({"type": "video_url", "video_url": {"url": URL}}, FILE),
    "a data URL where nobody knows one": ({"type": "new", "picture": {"address": URL}}, FILE),
    "OpenAI's hidden reasoning": ({"type": "reasoning", "summary": [], "encrypted_content": "A" * 1600}, 100),
    "a compaction": ({"type": "compaction", "encrypted_content": "A" * 1600}, 100),
    "Anthropic's hidden reasoning": ({"type": "redacted_thinking", "data": "A" * 1600}, 100),
    "a page of Anthropic's search": ({"type": "web_search_result", "encrypted_content": "A" * 1600}, 100),
    "hidden output": ({"type": "encrypted_code_execution_result", "encrypted_stdout": "A" * 1600, "content": []}, 100),
    "a page that was fetched": (
        {"type": "web_fetch_tool_result", "content": {"content": {"type": "document", "source": SOURCE}}},
        FILE,
    ),
    "a picture in a result": (
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": SOURCE}]},
        IMAGE_ANTHROPIC,
    ),
    "a file for a container": ({"type": "container_upload", "file_id": BASE64}, 0),
    "a picture in a function's answer": ({"functionResponse": {"response": {}, "parts": [INLINE]}}, IMAGE_GEMINI),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("turns", ["messages", "input", "contents"])
def test_no_base64_counts_as_text_wherever_a_format_has_it(place: str, turns: str) -> None:
    part, tokens = PLACES[place]
    held = part if "role" in part else {"role": "user", "content": [part]}
    whole, empty = {turns: [held]}, {turns: [{"role": held["role"]}]}
    assert sum(len(text) for _, text in said(whole)) < 5
    assert around(whole) - around(empty) == tokens


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "", "signature": BASE64},
        {"text": "", "thoughtSignature": BASE64},
        {"type": "text", "text": "", "citations": [{"encrypted_index": BASE64, "cited_text": "x"}]},
    ],
)
def test_what_only_the_provider_reads_again_counts_nothing(part: dict[str, Any]) -> None:
    assert list(parts_of({"contents": [{"role": "user", "parts": [part]}]})) == [PromptPart(USER)]


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": URL},
        {"role": "user", "content": [{"type": "text", "text": URL}]},
        {"role": "user", "name": URL},
        {"type": "function_call_output", "output": URL},
        {"role": "user", "parts": [{"text": URL, "inlineData": {}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {}, "text": URL}]},
        {"role": "user", "content": [{"type": "new", "address": URL + " and what is said behind it"}]},
    ],
)
def test_a_text_counts_as_text_though_it_looks_like_a_data_url(turn: dict[str, Any]) -> None:
    assert sum(len(text) for _, text in said({"input": [turn]})) >= len(URL)


def test_what_is_said_beside_a_picture_or_a_document_counts() -> None:
    call = {"type": "image_generation_call", "result": BASE64, "revised_prompt": "a fox"}
    page = {"type": "document", "source": SOURCE, "title": "Foxes", "context": "A book"}
    assert [text for _, text in said({"input": [call, {"role": "user", "content": [page]}]})] == [
        *("a fox", "Foxes", "A book")
    ]
    assert [text for _, text in said({"input": [{"type": "output_audio", "transcript": "hello"}]})] == ["hello"]


def test_a_document_that_is_text_counts_as_text() -> None:
    part = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}}
    assert (USER, "hello") in said({"messages": [{"role": "user", "content": [part]}]})


def test_definitions_say_names_descriptions_types_and_values_but_no_signs() -> None:
    schema = {
        "type": "object",
        "properties": {"unit": {"type": "string", "enum": ["C", "F"], "description": "Which"}},
        "required": ["unit"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": schema}}
    (part,) = [part for part in parts_of({"tools": [tool]}) if part.definition]
    assert {*part.text.split()} == {"function", "weather", "Tells", "it", "object", "unit", "string", "C", "F", "Which"}
    assert part.tokens == TOOLS + 7 + 3 + 3 - 3 + 2 * 3


def test_anthropics_tools_bring_a_prompt_of_its_own() -> None:
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    (part,) = [part for part in parts_of({"tools": [tool]}) if part.definition]
    assert part.tokens == TOOLS + TOOLS_ANTHROPIC + 7


def test_the_schema_of_an_answer_is_a_definition_too_with_all_its_words() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for request in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}},
        {"generationConfig": {"responseSchema": schema}},
    ):
        (part,) = parts_of(request)
        assert part.definition
        assert {"type", "object", "properties", "a", "string"} <= set(part.text.split())
    assert list(parts_of({"response_format": {"type": "text"}})) == []


names = st.sampled_from(
    [
        *(
            "role",
            "content",
            "type",
            "parts",
            "text",
            "tools",
            "functions",
            "parameters",
            "properties",
            "enum",
            "input",
        ),
        *("image_url", "input_audio", "inlineData", "data", "source", "messages", "functionResponse", "response"),
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from([*llm_prompts._SYSTEM, *llm_prompts._TURNS, "tools", "text", "response_format"]), json_values
    )
)
@settings(max_examples=150, deadline=None)
def test_no_request_makes_it_fail(request_: dict[str, Any]) -> None:
    assert all(part.tokens >= -3 * 4 for part in parts_of(request_))


def test_what_is_nested_very_deep_is_left_out() -> None:
    held: Any = "deep"
    for _ in range(100):
        held = [held]
    assert said({"messages": [{"role": "user", "content": held}]}) == []

"""codecs/anthropic and codecs/gemini: any cutting of a body gives the same frames; nothing is lost, nothing raises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.limits import Limits
from ext_proc.messages import Completion, Form, ModelRequest, Opaque, ResponseHead, Setting
from ext_proc.messages import Generation as Generates
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs.anthropic_building import ANTHROPIC
from tests.unit.codecs.gemini_building import GEMINI
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import STREAM, answer_head, encoded, messages_of
from tests.unit.codecs.test_openai_chat_cutting import CUTS, check, mutilated

CALL = {"functionCall": {"name": "f", "args": {"a": "é"}}, "thoughtSignature": "s"}
BLOCKS: list[Any] = [
    a.text("é\u2028", citations=[{"type": "char_location", "cited_text": "c"}]),
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": ["b"]}},
    {"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"type": "x", "title": "T"}]},
]
VALUES: dict[str, list[Any]] = {
    "anthropic": [
        *(a.asking(stream=True, system="s"), a.asking(messages=[{"role": "assistant", "content": BLOCKS}])),
        *(a.whole(*BLOCKS), a.whole(), a.whole(a.text("x"), stop="max_tokens"), {"input_tokens": 5}),
        *(a.start(), a.PING, a.STOP, a.OVERLOADED, a.closes(), a.closes("refusal"), *map(a.begin, BLOCKS)),
        *(a.says("a😀"), a.says("b", 1), a.delta(type="input_json_delta", partial_json='{"a'), a.ends(), a.ends(1)),
        *(a.delta(type="thinking_delta", thinking="t"), a.delta(type="signature_delta", signature="s")),
        *(a.delta(type="citations_delta", citation={"cited_text": "c"}), {"type": "new"}, {"error": {}}, {}, [], 1),
    ],
    "gemini": [
        *(g.asking(generationConfig={"maxOutputTokens": 5}), g.asking(system_instruction=g.content({"text": "s"}))),
        *(g.answer(g.candidate({"text": "é\u2028"}, CALL)), g.answer(), g.says("a😀"), g.says("b", "STOP", index=1)),
        *(g.says("c", "MAX_TOKENS"), g.answer(g.candidate({"text": "t", "thought": True}))),
        *(g.answer(promptFeedback={"blockReason": "SAFETY"}), g.answer(usageMetadata={"promptTokenCount": 1})),
        *({"error": {"code": 503}}, {"totalTokens": 3}, {"embedding": {"values": [1.0]}}, {}, [], 1),
    ],
}
HALVES = [
    b'{"type":"content_block_delta","index":0,"delta":{"text":"\\ud83d"}}',
    b'{"candidates":[{"content":{"parts":[{"text":"\\ude00"}]}}]}',
]
LINES = [b"", b": ping", b"id: 1", b"event: ping", b"event: error", b"retry: 5", b"data:", b"data: {", b"x", b"{}"]
LIMITS = [Limits(), Limits(request_body=40, response_body=40, event=60, json_depth=3)]
JSON = answer_head()
NEW = '{"a":"new"}'  # in the place of a JSON value


@dataclass(frozen=True)
class Way:
    """A format with a path, and what its answers come as."""

    form: Format
    path: str
    response: ResponseHead


WAYS = [
    *(Way(ANTHROPIC, path, response) for path in ("/v1/messages", a.COUNT) for response in (JSON, STREAM)),
    *(Way(GEMINI, path, JSON) for path in (g.WHOLE, g.STREAMED, g.COUNT, g.EMBED, g.BATCH)),
    Way(GEMINI, g.STREAMED, STREAM),
]


def documents(form: Format) -> st.SearchStrategy[bytes]:
    values = VALUES[form.codec.name]
    written = [json.dumps(value, indent=1, ensure_ascii=False).encode() for value in values] + HALVES
    return st.sampled_from([*written, *map(encoded, values)])


def as_events(values: list[bytes], ending: bytes) -> bytes:
    return b"".join(
        ending.join([*(b"data: " + line for line in value.split(b"\n")), b"", b""])
        if value.startswith(b"{") and len(value) > 2
        else value + ending
        for value in values
    )


def bodies(way: Way) -> st.SearchStrategy[bytes]:
    one = documents(way.form)
    if way.response is STREAM:
        endings = st.sampled_from([b"\n", b"\r\n", b"\r"])
        return st.builds(as_events, st.lists(one | st.sampled_from(LINES), max_size=8), endings)
    arrays = st.lists(one, max_size=4).map(lambda items: b"[" + b", ".join(items) + b"]")
    return one | arrays if way.path == g.STREAMED else one


@given(st.data(), st.sampled_from(WAYS), CUTS, st.sampled_from(LIMITS))
@settings(max_examples=150)
def test_any_cutting_of_a_request_gives_the_same_frames(
    data: st.DataObject, way: Way, cuts: list[int], limits: Limits
) -> None:
    raw = data.draw(mutilated(documents(way.form)))
    assert check(lambda: way.form.codec.request_decoder(way.form.head(path=way.path), limits), raw, cuts)


@given(st.data(), st.sampled_from(WAYS), CUTS, st.sampled_from([200, 404]), st.sampled_from(LIMITS))
@settings(max_examples=250)
def test_any_cutting_of_an_answer_gives_the_same_frames(
    data: st.DataObject, way: Way, cuts: list[int], status: int, limits: Limits
) -> None:
    raw = data.draw(mutilated(bodies(way)))
    response = ResponseHead(status, way.response.headers)
    frames = check(lambda: way.form.decoder(response, limits, way.path), raw, cuts)
    asked = [way.form.read(way.form.asked, path=way.path)]
    assert all(isinstance(message, tuple(way.form.codec.answers(asked))) for message in messages_of(frames))


@given(st.binary(max_size=80), st.sampled_from(WAYS), CUTS)
@settings(max_examples=60)
def test_no_bytes_raise(raw: bytes, way: Way, cuts: list[int]) -> None:
    check(lambda: way.form.codec.request_decoder(way.form.head(path=way.path), Limits()), raw, cuts)
    body = b"data: " + raw + b"\n\n" if way.response is STREAM else raw
    check(lambda: way.form.decoder(way.response, path=way.path), body, cuts)


FIELDS: dict[str, Sequence[str]] = {
    "anthropic": [
        *("model", "messages", "system", "role", "content", "type", "text", "thinking", "input", "source", "data"),
        *("citations", "cited_text", "title", "stdout", "lines", "tools", "tool", "definition", "mcp_servers", "name"),
        *("configs", "fallbacks", "max_tokens", "output_config", "effort", "index", "message", "content_block"),
        *("delta", "partial_json", "signature", "usage", "iterations", "input_tokens", "stop_reason", "error", "Text"),
    ],
    "gemini": [
        *("contents", "systemInstruction", "system_instruction", "parts", "text", "thought", "role", "functionCall"),
        *("function_call", "args", "response", "functionResponse", "partialArgs", "stringValue", "executableCode"),
        *("code", "tools", "functionDeclarations", "mcpServers", "generationConfig", "maxOutputTokens", "model"),
        *("candidates", "content", "finishReason", "finish_reason", "index", "groundingMetadata", "segment"),
        *("groundingSupports", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "error", "Parts"),
    ],
}
WORDS = ["", "a", "end_turn", "STOP", "SAFETY", "content_block_delta", "content_block_start", "message_start", "error"]


def anything(form: Format) -> st.SearchStrategy[Any]:
    names = st.sampled_from(FIELDS[form.codec.name])
    return st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(WORDS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
        max_leaves=14,
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.path} {way.response is STREAM}")
@given(st.data())
@settings(max_examples=60)
def test_no_value_raises_and_every_message_keeps_what_its_class_promises(way: Way, data: st.DataObject) -> None:
    form = way.form
    some = anything(form)
    value = {**data.draw(st.sampled_from([{}, form.asked, *VALUES[form.codec.name][:12]])), **data.draw(holder(form))}
    value |= {"contents" if form is GEMINI else "messages": data.draw(some)} if data.draw(st.booleans()) else {}
    raw = encoded(value)
    (asked,) = check(lambda: form.codec.request_decoder(form.head(path=way.path), Limits()), raw, [])
    body = b"data: " + raw + b"\n\n" if way.response is STREAM else raw
    for frame in [asked, *check(lambda: form.decoder(way.response, path=way.path), body, [])]:
        for message in frame.messages:
            assert isinstance(message.as_variables(), dict)
            assert isinstance(message.outcome.value, str)
            if isinstance(message, Generates):
                assert not {type(message.setting(setting)) for setting in Setting} & {dict, list, bool}
                assert all(tool.kind is not None for tool in message.hosted_tools)
            if isinstance(message, ModelRequest):
                assert message.with_model("b").model == "b"
                texts = form.codec.texts(message, Limits())
                if not isinstance(texts, Opaque):
                    new = [NEW if piece.form is Form.VALID_JSON else "new" for piece in texts]
                    changed = form.codec.with_texts(message, dict(enumerate(new)))
                    assert [piece.text for piece in form.texts(changed)] == new
            elif isinstance(message, Completion):
                assert message.pieces == tuple(frame.pieces)
                assert message.usage is None or message.usage.total_tokens >= 0
                assert all(isinstance(reason, str) for reason in message.finish_reasons)


def holder(form: Format) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(FIELDS[form.codec.name]), anything(form), max_size=4)

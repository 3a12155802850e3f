"""fuzz/: every target holds on its seeds and on changed ones, and a broken law is found."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.auto import McpByBody
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.jsonrpc_frames import JsonDecoder
from ext_proc.codecs.llm_frames import LlmFrame
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.half import Half
from ext_proc.engine.pipeline import Pipeline
from ext_proc.engine.response_side import ResponseSide
from ext_proc.engine.scope import Scope, Steps
from ext_proc.framing import json_splice, sse
from ext_proc.framing.body import WholeBody
from ext_proc.framing.content_encoding import Decompressor
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.scanning import hidden
from ext_proc.trail import Stage
from ext_proc.wire import decode as wire
from tests.exchange import text_policies as on_texts
from tests.fuzz.mutations import mutations
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

COUNT = 60  # changed inputs for each target: all of them together take some seconds

each_target = pytest.mark.parametrize("name", TARGETS)
Patch = pytest.MonkeyPatch


def inputs(name: str) -> Iterator[bytes]:
    yield from seeds(name)
    yield from mutations(seeds(name), COUNT, Random(name))


@each_target
def test_no_seed_and_no_changed_seed_breaks_a_law(name: str) -> None:
    for data in inputs(name):
        TARGETS[name](data)


@each_target
def test_no_bytes_at_all_break_no_law(name: str) -> None:
    TARGETS[name](b"")


@each_target
def test_the_changed_seeds_are_the_same_in_every_run(name: str) -> None:
    first, second = (list(mutations(seeds(name), COUNT, Random(1))) for _ in range(2))
    assert first == second
    assert len(set(first) - set(seeds(name))) > COUNT // 2


def broken(name: str) -> str:
    """The law that some input of a fast run breaks; "" if none does."""
    for data in inputs(name):
        try:
            TARGETS[name](data)
        except Exception as error:
            return str(error) or type(error).__name__
    return ""


def test_a_splitter_that_depends_on_the_cutting_is_found(monkeypatch: Patch) -> None:
    feed = sse.EventSplitter.feed

    def hasty(self: sse.EventSplitter, data: bytes) -> list[sse.ServerSentEvent]:
        """Takes a CR at the end of what came for a whole line end."""
        return feed(self, data) + (self.close() if data.endswith(b"\r") else [])

    monkeypatch.setattr(sse.EventSplitter, "feed", hasty)
    assert broken("sse") == "the events depend on the cutting"


def test_a_splitter_that_reads_a_line_otherwise_is_found(monkeypatch: Patch) -> None:
    # As str.splitlines has it, which knows eight line ends more.
    monkeypatch.setattr(sse, "_lines", lambda raw, *, marked: [(line.partition(b":")[0], line) for line in [raw]])
    assert broken("sse")


def test_a_splice_that_removes_nothing_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(json_splice, "_remove", lambda members, edits: None)
    assert broken("json") == "a splice changed something else"


def test_a_splice_that_writes_the_rest_anew_is_found(monkeypatch: Patch) -> None:
    splice = json_splice.splice
    monkeypatch.setattr(
        json_splice, "splice", lambda raw, changes: splice(raw, changes).replace(b": ", b":") if changes else raw
    )
    assert broken("json") in ("bytes changed that no change touches", "an added key left a trace")


def test_a_decoder_of_codings_that_depends_on_the_cutting_is_found(monkeypatch: Patch) -> None:
    pieces = Decompressor.pieces
    monkeypatch.setattr(Decompressor, "pieces", lambda self, data: pieces(self, data if len(data) > 1 else b""))
    assert broken("content_encoding") == "the verdict depends on the cutting"


def test_a_character_that_is_kept_for_what_is_stripped_is_found(monkeypatch: Patch) -> None:
    kept = hidden._kept
    monkeypatch.setattr(hidden, "_kept", lambda text, at, since: kept(text, at, 0))
    assert broken("texts") == "something hidden is left"


def test_an_error_of_another_kind_from_the_wire_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(wire, "DecodeError", KeyError)
    assert broken("wire").startswith("Error parsing message")


def test_a_header_that_gets_lost_on_the_wire_is_found(monkeypatch: Patch) -> None:
    lines = wire._lines
    monkeypatch.setattr(wire, "_lines", lambda found: Headers((name.upper(), value) for name, value in lines(found)))
    assert broken("wire") == "a name not in lower case"


@pytest.mark.parametrize("name", ["mcp_request", "mcp_answer", "a2a_request", "a2a_answer"])
def test_a_decoder_that_loses_a_byte_is_found(name: str, monkeypatch: Patch) -> None:
    feed = JsonDecoder.feed
    monkeypatch.setattr(JsonDecoder, "feed", lambda self, data: feed(self, data.rstrip()))
    assert broken(name) == "the frames do not partition the input"


@pytest.mark.parametrize("name", ["mcp_request", "openai_request"])
def test_a_decoder_without_a_limit_is_found(name: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(WholeBody, "feed", lambda self, data: self._chunks.append(data) or [])
    assert broken(name) == "more is held than the limit"


@pytest.mark.parametrize("name", ["mcp_answer", "a2a_answer", "openai_answer", "anthropic_answer", "gemini_answer"])
def test_a_codec_that_promises_too_little_is_found(name: str, monkeypatch: Patch) -> None:
    codecs = {"mcp": McpCodec, "a2a": A2aCodec, "openai": OpenAiChatCodec, "anthropic": AnthropicCodec}
    codec = {**codecs, "gemini": GeminiCodec}[name.removesuffix("_answer")]
    monkeypatch.setattr(codec, "answers", lambda self, requests: ())
    assert broken(name) == "a message that was not promised"


def test_a_frame_that_does_not_take_new_text_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(LlmFrame, "encode", lambda self, changes, joined=(), texts=None: self._own(changes, {}))
    assert broken("openai_answer") == "new text reads otherwise"


def test_a_choice_that_lets_broken_mcp_pass_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(McpByBody, "sniff", lambda self, head, values: values is not None and len(values) > 1)
    assert broken("auto") in (
        "what is broken was taken for something else than MCP",
        "an MCP message was taken for something else",
    )


@pytest.mark.parametrize("name", ["mcp_exchange", "openai_exchange"])
def test_an_exchange_that_depends_on_the_cutting_is_found(name: str, monkeypatch: Patch) -> None:
    feed = sse.EventSplitter.feed
    monkeypatch.setattr(sse.EventSplitter, "feed", lambda self, data: feed(self, data) + self.close())
    assert broken(name) == "the exchange depends on the cutting"


def test_text_that_leaves_past_a_denial_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(on_texts.DenyAt, "on_text", on_texts.Nothing.on_text)
    assert broken("openai_exchange") == "text past a denial has left"


@pytest.mark.parametrize(
    ("owner", "name", "instead", "law"),
    [
        (ResponseSide, "_is_replaced", lambda self: False, "what was answered in its place goes on"),
        (Scope, "opaque_denial", lambda self, message, *, allowed: None, "went on"),
        (Scope, "routing_headers", lambda self: HeaderMutation(set=(("x", b"a\r\nb"),)), "could become two"),
        (Exchange, "_close", lambda self, cause: None, "does not end"),
        (Half, "advance", lambda self, event: int("x"), "invalid literal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_engine_is_found(owner: type, name: str, instead: Any, law: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(owner, name, instead)
    found = broken("events")
    assert found
    assert law in found


def test_a_message_that_nobody_is_asked_about_is_found(monkeypatch: Patch) -> None:
    wants = Pipeline.wants
    monkeypatch.setattr(
        Pipeline, "wants", lambda self, stage, classes: stage is not Stage.RESPONSE and wants(self, stage, classes)
    )
    assert broken("events") in ("a client reads what nobody decided", "an answer left undecided")


def test_an_engine_that_keeps_what_came_is_found(monkeypatch: Patch) -> None:
    steps = ResponseSide.steps

    def keeping(self: ResponseSide, event: Any) -> Steps:
        self.kept = [*getattr(self, "kept", ()), event]  # type: ignore[attr-defined]
        yield from steps(self, event)

    monkeypatch.setattr(ResponseSide, "steps", keeping)
    assert broken("events") == "an exchange keeps more and more"

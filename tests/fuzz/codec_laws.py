"""The laws of codecs/: what holds for any body at all, of requests and of answers.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code.
- Whatever the bytes, a decoder raises nothing: what it cannot read is an `Opaque`.
- An input is choices (of limits, version, status ...) and a body (inputs.py).

Not here: what the engine does with messages (exchange_laws.py, event_laws.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.auto import by_body, candidates
from ext_proc.codecs.codec import Codec, Decoder, Frame
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_completions import OpenAiCompletionsCodec
from ext_proc.codecs.openai_embeddings import OpenAiEmbeddingsCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.engine.decoding import SniffingDecoder
from ext_proc.framing.body import SPAN
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Form, Message, Opaque, Piece, RequestHead, ResponseHead
from ext_proc.policy import Deny
from tests.fuzz.framing_laws import DEPTH, LOOKBACK, events_of
from tests.fuzz.inputs import cuttings, parts

SMALL = Limits(request_body=200, response_body=200, event=100, hold_back=60, json_depth=4, json_values=40, batch=2)
LIMITS = (Limits(), SMALL)
AUTO = PROTOCOLS["auto"].codecs()
DENY = Deny("fuzzed", "not this one")
JSON = Headers.of(content_type="application/json")
EVENTS = Headers.of(content_type="text/event-stream")
TEXT = "new ☃"
NEW = {Form.VALID_JSON: '{"new":["☃"]}'}  # TEXT in the place of all else
MCP_HEADS = tuple(
    RequestHead("POST", "/mcp", "example.test", Headers.of(content_type="application/json", **version))
    for version in ({}, {"mcp_protocol_version": "2025-03-26"}, {"mcp_protocol_version": "2026-07-28"})
)
OPENAI_HEADS = (RequestHead("POST", "/v1/chat/completions", "example.test", JSON),)
RESPONSES_HEADS = (RequestHead("POST", "/v1/responses", "example.test", JSON),)
COMPLETIONS_HEADS = tuple(
    RequestHead("POST", path, "example.test", JSON) for path in ("/v1/completions", "/v1/fim/completions")
)
EMBEDDINGS_HEADS = (RequestHead("POST", "/v1/embeddings", "example.test", JSON),)
ANTHROPIC_HEADS = tuple(
    RequestHead("POST", path, "example.test", JSON) for path in ("/v1/messages", "/v1/messages/count_tokens")
)
GEMINI_HEADS = tuple(
    RequestHead("POST", f"/v1beta/models/m:{action}", "example.test", JSON)
    for action in ("generateContent", "countTokens", "batchEmbedContents")
)
A2A_HEADS = tuple(
    RequestHead("POST", "/agent", "example.test", Headers.of(content_type="application/json", **version))
    for version in ({}, {"a2a_version": "1.0"})
)
# What is asked in either version, in a stream or not, and nothing that is known.
A2A_ASKED = (
    *(
        b'{"jsonrpc":"2.0","id":1,"method":"%b","params":{"message":{"parts":[]}}}' % method
        for method in (b"SendMessage", b"SendStreamingMessage", b"message/send", b"message/stream")
    ),
    b'{"jsonrpc":"2.0","id":1,"method":"ListTasks"}',
    b'{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tasks/pushNotificationConfig/list","params":{"id":"t"}}',
    b"",
)
# A call, a list, both at once, and nothing that is known.
MCP_ASKED = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}',
    b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
    b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}},'
    b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}]',
    b"",
)
ANTHROPIC_ASKED = (b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}],"stream":true}', b"")
GEMINI_ASKED = (b'{"contents":[{"parts":[{"text":"hello"}]}]}', b"")
RESPONSES_ASKED = (b'{"model":"m","input":"hello","stream":true}', b"")
COMPLETIONS_ASKED = (b'{"model":"m","prompt":"hello","stream":true}', b"")
EMBEDDINGS_ASKED = (b'{"model":"m","input":"hello"}', b"")
OPENAI_ASKED = (b'{"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true}', b"")


def _requests(codec: Codec, heads: Sequence[RequestHead], data: bytes) -> None:
    """A codec's laws for requests: its decoder's, and that whatever it found can be refused and mirrored."""
    choices, (body,) = parts(data, 1)
    limits, head = choices.of(LIMITS), choices.of(heads)
    frames = _decodes(lambda: codec.request_decoder(head, limits), body, limits.request_body)
    found = [message for frame in frames for message in frame.messages]
    assert found, "a request with nothing to decide on"
    for message in found:
        codec.mirrored_headers(message, head)
        codec.denial([(message, DENY)], head, "t")
        assert codec.answers([message]), "an answer of no class at all"


def _answers(codec: Codec, heads: Sequence[RequestHead], asked: Sequence[bytes], data: bytes) -> None:
    """A codec's laws for answers: its decoders', and that an answer holds only what `answers` promises."""
    choices, (body,) = parts(data, 1)
    limits, head, status = choices.of(LIMITS), choices.of(heads), choices.of((200, 404))
    requests = messages_of(codec.request_decoder(heads[0], Limits()), choices.of(asked))
    usual = (JSON, EVENTS) if body.lstrip().startswith((b"{", b"[")) else (EVENTS, JSON)
    response = ResponseHead(status, choices.of(usual))
    most = limits.event if codec.streams(response) else limits.response_body
    frames = _decodes(lambda: codec.response_decoder(requests, head, response, limits), body, most)
    _leave_nothing_out(frames, streamed=codec.streams(response))
    found = [message for frame in frames for message in frame.messages]
    promised = tuple(codec.answers(requests))
    assert all(isinstance(message, promised) for message in found), "a message that was not promised"
    for message in found:
        codec.refusal(message, DENY, "t")


def _leave_nothing_out(frames: Sequence[Frame], *, streamed: bool) -> None:
    """What a client reads is in a message, on which policies decide; a choice that ended has no more text."""
    ended: set[int] = set()
    for frame in frames:
        if not frame.messages:
            unread = [event.data for event in events_of(frame.raw)] if streamed else [frame.raw]
            assert all(not data or data.strip() == b"[DONE]" for data in unread), "bytes that nobody decides on"
        assert not any(piece.channel.choice in ended for piece in frame.pieces), "text after its choice's end"
        ended.update(frame.closes)


def messages_of(decoder: Decoder, body: bytes) -> list[Message]:
    """What a whole body holds; nothing where there is none."""
    frames = [*decoder.feed(body), *decoder.close()] if body else []
    return [message for frame in frames for message in frame.messages]


def _decodes(new: Callable[[], Decoder], data: bytes, most: int) -> list[Frame]:
    """A decoder's laws and its frames'; the frames."""
    frames = _partitions(new, data, most)
    assert all(frame.encode({}) == frame.raw for frame in frames), "an unchanged frame has other bytes"
    for frame in frames:
        _encodes(new, frame)
        assert all(isinstance(message.as_variables(), dict) for message in frame.messages)
    return frames


def _partitions(new: Callable[[], Decoder], data: bytes, most: int) -> list[Frame]:
    """A decoder's laws: raws partition the input, no cutting matters, little is held; the frames.

    Args:
        most: bytes that it may hold; past the limit, as many as there are in a span.
    """

    def story(chunks: list[bytes]) -> tuple[list[Frame], Any]:
        decoder = new()
        frames: list[Frame] = []
        waiting = 0
        for chunk in chunks:
            found = list(decoder.feed(chunk))
            frames += found
            waiting += len(chunk) - sum(len(frame.raw) for frame in found)
            assert waiting <= max(most, SPAN if frames else 0) + LOOKBACK, "more is held than the limit"
        frames += decoder.close()
        assert b"".join(frame.raw for frame in frames) == data, "the frames do not partition the input"
        ends = decoder.outcome, [message.raw for message in decoder.unanswered], decoder.stream_end(DENY, "t")
        return frames, ([_told(frame) for frame in frames], ends)

    frames, whole = story([data])
    for chunks in cuttings(data):
        assert story(chunks)[1] == whole, "the frames depend on the cutting"
    return frames


def _told(frame: Frame) -> tuple[Any, ...]:
    """All of a frame that must not depend on the cutting."""
    return (frame.raw, frame.batch, tuple(frame.pieces), tuple(frame.closes), [_seen(m) for m in frame.messages])


def _seen(message: Message) -> tuple[Any, ...]:
    refused = (message.reason, message.malformed, message.too_large) if isinstance(message, Opaque) else ()
    return (type(message), message.raw, message.method, message.target, *refused)


def _encodes(new: Callable[[], Decoder], frame: Frame) -> None:
    """A frame's laws: what is taken out is gone, what is not stays, new text is read."""
    messages, pieces = frame.messages, frame.pieces
    if messages:
        emptied = frame.encode(dict.fromkeys(range(len(messages))))
        assert not messages_of(new(), emptied), "a message that was taken out is still there"
    if len(messages) > 1:
        decoder, rest = new(), frame.encode({0: None})
        left = [*decoder.feed(rest), *decoder.close()]
        assert [m.raw for each in left for m in each.messages] == [m.raw for m in messages[1:]], "another one is gone"
        assert all(each.batch for each in left), "what is left of a batch is none"
    if pieces:
        wanted = [NEW.get(piece.form, TEXT) for piece in pieces]
        changed = frame.encode({}, texts=dict(enumerate(wanted)))
        decoder = new()
        found = [piece for again in (*decoder.feed(changed), *decoder.close()) for piece in again.pieces]
        expected = list(zip(_places(pieces), wanted, strict=True))
        assert list(zip(_places(found), (piece.text for piece in found), strict=True)) == expected, (
            "new text reads otherwise"
        )


def _places(pieces: Sequence[Piece]) -> list[Channel]:
    """Where texts stand, by the order of their choices: what only repeats a text is numbered over all of an answer."""
    numbers: dict[int, int] = {}
    return [replace(piece.channel, choice=numbers.setdefault(piece.channel.choice, len(numbers))) for piece in pieces]


def mcp_request(data: bytes) -> None:
    """MCP's requests, of all revisions."""
    _requests(McpCodec(), MCP_HEADS, data)


def mcp_answer(data: bytes) -> None:
    """MCP's answers, in JSON and in events."""
    _answers(McpCodec(), MCP_HEADS, MCP_ASKED, data)


def a2a_request(data: bytes) -> None:
    """A2A's requests, of both versions."""
    _requests(A2aCodec(), A2A_HEADS, data)


def a2a_answer(data: bytes) -> None:
    """A2A's answers, in JSON and in events."""
    _answers(A2aCodec(), A2A_HEADS, A2A_ASKED, data)


def openai_request(data: bytes) -> None:
    """Requests for chat completions."""
    _requests(OpenAiChatCodec(), OPENAI_HEADS, data)


def openai_answer(data: bytes) -> None:
    """Chat completions, whole and streamed."""
    _answers(OpenAiChatCodec(), OPENAI_HEADS, OPENAI_ASKED, data)


def responses_request(data: bytes) -> None:
    """Requests for responses."""
    _requests(OpenAiResponsesCodec(), RESPONSES_HEADS, data)


def responses_answer(data: bytes) -> None:
    """Responses, whole and streamed."""
    _answers(OpenAiResponsesCodec(), RESPONSES_HEADS, RESPONSES_ASKED, data)


def completions_request(data: bytes) -> None:
    """Requests for the older completions."""
    _requests(OpenAiCompletionsCodec(), COMPLETIONS_HEADS, data)


def completions_answer(data: bytes) -> None:
    """The older completions, whole and streamed; those that are answered as chats too."""
    _answers(OpenAiCompletionsCodec(), COMPLETIONS_HEADS, COMPLETIONS_ASKED, data)


def embeddings_request(data: bytes) -> None:
    """Requests for vectors."""
    _requests(OpenAiEmbeddingsCodec(), EMBEDDINGS_HEADS, data)


def embeddings_answer(data: bytes) -> None:
    """Vectors."""
    _answers(OpenAiEmbeddingsCodec(), EMBEDDINGS_HEADS, EMBEDDINGS_ASKED, data)


def anthropic_request(data: bytes) -> None:
    """Requests for messages, and for their tokens."""
    _requests(AnthropicCodec(), ANTHROPIC_HEADS, data)


def anthropic_answer(data: bytes) -> None:
    """Anthropic's messages, whole and streamed."""
    _answers(AnthropicCodec(), ANTHROPIC_HEADS[:1], ANTHROPIC_ASKED, data)


def gemini_request(data: bytes) -> None:
    """Requests to Gemini: to generate, to count, to embed."""
    _requests(GeminiCodec(), GEMINI_HEADS, data)


def gemini_answer(data: bytes) -> None:
    """Gemini's answers, whole and in events; an array's pieces are no bodies of their own."""
    _answers(GeminiCodec(), GEMINI_HEADS[:1], GEMINI_ASKED, data)


def auto(data: bytes) -> None:
    """The choice by the body: no cutting changes it, its codec reads the body, and no MCP passes for something else."""
    choices, (body,) = parts(data, 1)
    chosen: list[Codec] = []
    head = choices.of((*MCP_HEADS, *A2A_HEADS))
    asked = candidates(AUTO, head)
    found = _partitions(lambda: SniffingDecoder(asked, head, Limits(), chosen.append), body, Limits().request_body)
    codec = by_body(asked, head, body)
    if codec is not None:
        assert set(map(id, chosen)) == {id(codec)}, "another codec was told than the one that was chosen"
        decoder = codec.request_decoder(head, Limits())
        assert list(map(_told, found)) == [_told(frame) for frame in (*decoder.feed(body), *decoder.close())], (
            "another codec read it than the one that was chosen"
        )
        return
    assert not chosen, "a codec was told where none was chosen"
    try:
        parse(body, DEPTH)
    except JsonError:
        raise AssertionError("what is broken was taken for something else than MCP") from None
    for name, one in (("MCP", McpCodec()), ("A2A", A2aCodec())):
        read = messages_of(one.request_decoder(head, Limits()), body)
        assert all(isinstance(message, Opaque) for message in read), f"an {name} message was taken for something else"

"""The laws of whole exchanges, as a well-behaved Envoy plays them (ext_proc.testing): request, decisions, answer.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code. The
  simulated Envoy asserts too: one reply to each event, lengths that are true, streams that end.
- An input is choices (of limits, modes, codings, policies ...), a request's body, and an answer's (inputs.py).
- Time stands still, so that no policy is ever too slow: the same input gives the same trail.

Not here: what Envoy would never send (event_laws.py).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.codec import Codec
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.events import BodyMode
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Form, RequestHead, ResponseHead
from ext_proc.policy import Policy
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through, whole
from tests.exchange import text_policies as on_texts
from tests.exchange.policies import DenyResult, DenyTool, Guard, HideTool, RenameTool, Watcher
from tests.fuzz.codec_laws import AUTO, LIMITS
from tests.fuzz.framing_laws import CODINGS, coded
from tests.fuzz.inputs import Choices, cuttings, few_places, parts

Policies = Sequence[Callable[[], Policy[Any, Any]]]

LONGEST_TEXT = 20  # characters that DenyAt lets through
CLOSING = "..."
_FIXED = (
    (BodyMode.NONE, BodyMode.NONE),
    (BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED),
    (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED),
    (BodyMode.BUFFERED, BodyMode.BUFFERED),
    (BodyMode.STREAMED, BodyMode.STREAMED),
)
_PLAIN = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def _told(played: Played) -> Any:
    """All of an exchange that must not depend on the cutting: durations do."""
    trail = {name: value for name, value in played.trail.as_dict().items() if name != "duration_ms"}
    trail["entries"] = [{k: v for k, v in entry.items() if k != "duration_ms"} for entry in trail["entries"]]
    client = None if played.client is None else (played.client.status, played.client.body, played.client.headers)
    upstream = None if played.upstream is None else (played.upstream.body, played.upstream.headers)
    return client, upstream, played.aborted, trail, played.metadata


class _Scene:
    """What an input makes of an exchange: bodies, codings, lengths, trailers, limits, modes."""

    def __init__(self, codecs: tuple[Codec, ...], path: str, choices: Choices, asked: bytes, answered: bytes) -> None:
        self._codecs, self.asked, self.answered = codecs, asked, answered
        self.limits, self._fixed, sized = choices.of(LIMITS), choices.of(_FIXED), choices.of((True, False))
        kind = "application/json" if answered.lstrip().startswith((b"{", b"[")) else "text/event-stream"
        status = choices.of((200, 404))
        self.sent = HttpRequest(asked, path=path, sized=sized, headers=dict(_PLAIN))
        self.answer = HttpResponse(answered, headers={"content-type": kind}, sized=sized, status=status)
        for message in (self.sent, self.answer):
            coding = choices.of(("", *CODINGS))
            if coding and message.body:
                message.body = coded(message.body, coding)
                message.headers["content-encoding"] = coding
            message.trailers = choices.of((None, {"x-t": "1"}))

    def play(self, bindings: Sequence[Binding], cut: Callable[[bytes], Sequence[bytes]] = whole) -> Played:
        """Plays it through these policies."""
        route = Route("fuzzed", RouteMatch(path="/"), "fuzzed", self._codecs, Pipeline(bindings, lambda: 0.0))
        book = Rulebook("fuzz", "r1", (route,), limits=self.limits)
        return pass_through(book, copy.deepcopy(self.sent), copy.deepcopy(self.answer), cut, self._fixed)


def _laws(scene: _Scene, choices: Choices, policies: Policies) -> None:
    """It ends and owes Envoy no reply; cuts change nothing; what is only observed changes by no byte."""
    chosen = [choices.of(policies), choices.of(policies)][: choices.of((1, 2))]
    shadow = choices.of((False, True))  # the last of them

    def bound() -> list[Binding]:
        return [Binding(new(), enforce=not shadow or number + 1 < len(chosen)) for number, new in enumerate(chosen)]

    uncut = _told(scene.play(bound()))
    for cut in (few_places, _finely):
        assert _told(scene.play(bound(), cut)) == uncut, "the exchange depends on the cutting"
    watched = scene.play([Binding(Watcher())], few_places)
    assert watched.upstream is not None, "a request that was only observed did not go on"
    assert _is(watched.upstream, scene.sent, scene.asked), "a request that was only observed has changed"
    assert watched.client is not None, "an answer that was only observed did not go on"
    assert _is(watched.client, scene.answer, scene.answered), "an answer that was only observed has changed"


def _is(message: HttpRequest | HttpResponse, sent: HttpRequest | HttpResponse, clear: bytes) -> bool:
    """Whether it left as it was sent, or in the clear."""
    return message.body == (sent.body if "content-encoding" in message.headers else clear)


def _finely(body: bytes) -> Sequence[bytes]:
    return list(cuttings(body))[-1]


def _text_law(scene: _Scene, codec: Codec, path: str) -> None:
    """Where a policy ends the answer at an offset, no text past it reaches the client."""
    played = scene.play([Binding(on_texts.DenyAt(LONGEST_TEXT, CLOSING))], few_places)
    if played.client is None or played.client.status != 200:
        return
    head = RequestHead("POST", path, "", Headers())
    response = ResponseHead(200, Headers.of(content_type=played.client.headers.get("content-type", "")))
    decoder = codec.response_decoder((), head, response, Limits())
    texts: Counter[Channel] = Counter()
    for frame in (*decoder.feed(played.client.body), *decoder.close()):
        for piece in frame.pieces:
            if piece.form is not Form.VALID_JSON:  # the strings in it are texts
                texts[piece.channel] += len(piece.text)
    assert all(length <= LONGEST_TEXT + len(CLOSING) for length in texts.values()), "text past a denial has left"


_MCP_POLICIES: Policies = (
    lambda: DenyTool("search"),
    RenameTool,
    lambda: HideTool("delete_file"),
    lambda: DenyResult(b"secret"),
    lambda: Guard(b"secret"),
    Watcher,
)
_A2A_POLICIES: Policies = (
    lambda: Guard(b"secret"),
    lambda: on_texts.Replace("the", "THE"),
    lambda: on_texts.DenyWord("secret"),
    Watcher,
)
_LLM_POLICIES: Policies = (
    on_texts.Nothing,
    lambda: on_texts.Replace("the", "THE"),
    on_texts.Sentences,
    on_texts.Signature,
    lambda: on_texts.DenyAt(LONGEST_TEXT, CLOSING),
    on_texts.Forever,
    Watcher,
)


def mcp_exchange(data: bytes) -> None:
    """A whole exchange of MCP, by its own codec or by `auto`, through small policies."""
    choices, (asked, answered) = parts(data, 2)
    codecs = choices.of(((McpCodec(),), AUTO))
    _laws(_Scene(codecs, "/mcp", choices, asked, answered), choices, _MCP_POLICIES)


def a2a_exchange(data: bytes) -> None:
    """A whole exchange with an agent, by A2A's own codec or by `auto`, through small policies."""
    choices, (asked, answered) = parts(data, 2)
    codecs = choices.of(((A2aCodec(),), AUTO))
    _laws(_Scene(codecs, "/agent", choices, asked, answered), choices, _A2A_POLICIES)


def openai_exchange(data: bytes) -> None:
    """A whole chat completion through small policies."""
    _llm_exchange(OpenAiChatCodec(), "/v1/chat/completions", data)


def responses_exchange(data: bytes) -> None:
    """A whole exchange of OpenAI's responses through small policies."""
    _llm_exchange(OpenAiResponsesCodec(), "/v1/responses", data)


def anthropic_exchange(data: bytes) -> None:
    """A whole exchange of Anthropic's format through small policies."""
    _llm_exchange(AnthropicCodec(), "/v1/messages", data)


def gemini_exchange(data: bytes) -> None:
    """A whole exchange of Gemini's format, in events or in an array, through small policies."""
    _llm_exchange(GeminiCodec(), "/v1beta/models/m:streamGenerateContent", data)


def _llm_exchange(codec: Codec, path: str, data: bytes) -> None:
    choices, (asked, answered) = parts(data, 2)
    scene = _Scene((codec,), path, choices, asked, answered)
    _laws(scene, choices, _LLM_POLICIES)
    _text_law(scene, codec, path)

"""Anthropic messages: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A request is admitted only if what policies read of it has the type that they are promised; so is an answer. All else
  is `Opaque(malformed=True)`.
- A key that equals one of the format's but for case is refused: two readers would differ.
- `fallbacks` are further models, each with a `max_tokens` of its own: the greatest counts, and all are written.
- Input that came from a cache or went to one is not in `input_tokens`: the sum is what was read (Anthropic, prompt
  caching). Where a request took several passes (`iterations`), their sum is what it took.

Sources: Anthropic, Messages API, count tokens, compaction, refusals and fallback.

Not here: bytes (anthropic_answer.py), texts (anthropic_texts.py), tools (anthropic_hosted_tools.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from ext_proc.codecs.anthropic_hosted_tools import hosted_tools
from ext_proc.codecs.anthropic_texts import check_keys, objects, text_of
from ext_proc.codecs.llm_frames import malformed
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Ambiguous, Malformed, Spot, at_path, pieces_of
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Generation,
    HostedTool,
    LlmError,
    Message,
    Opaque,
    Piece,
    Setting,
    TokenCount,
    TokenCounted,
    Usage,
    encode_json,
)

_SETTINGS: Mapping[Setting, Path] = {
    Setting.MAX_TOKENS: ("max_tokens",),
    Setting.TEMPERATURE: ("temperature",),
    Setting.TOP_P: ("top_p",),
    Setting.REASONING_EFFORT: ("output_config", "effort"),
}
_NUMBERS = frozenset({Setting.TEMPERATURE, Setting.TOP_P})
_REQUEST = frozenset(
    {"model", "messages", "system", "stream", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences"}
    | {"tools", "tool_choice", "thinking", "mcp_servers", "metadata", "output_config", "container", "fallbacks"}
)
_TURN = frozenset({"role", "content"})
_FALLBACK = frozenset({"model", "max_tokens"})
_OUTPUT = frozenset({"effort"})
_ANSWER = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", "error"})
# What `usage` counts. `message_start` knows the input; `message_delta` says what changed, in running totals.
COUNTED = (
    *("input_tokens", "output_tokens", "output_tokens_details", "iterations"),
    *("cache_read_input_tokens", "cache_creation_input_tokens"),
)
EVENT = frozenset({"type", "index", "message", "content_block", "delta", "usage", "error"})


class _Request:
    """What a generation and a question for its tokens have in common."""

    __slots__ = ()
    value: Mapping[str, Any]
    raw: bytes

    def _renamed(self, name: str) -> tuple[Mapping[str, Any], bytes]:
        return {**self.value, "model": name}, splice(self.raw, {("model",): encode_tolerant(name)})


class MessagesRequest(Prompted, _Request, Generation):
    """A request for a message."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "chat"

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that are the provider's by name, and the servers that it connects to."""
        return hosted_tools(self.value)

    def setting(self, setting: Setting) -> Any:
        """A setting as the caller gave it; None where it did not, or the format has none."""
        found = [number for path in _paths(self.value, setting) if (number := at_path(self.value, path)) is not None]
        return max(found) if setting is Setting.MAX_TOKENS and found else next(iter(found), None)

    def with_model(self, name: str) -> MessagesRequest:
        """The same request for another model."""
        return MessagesRequest(*self._renamed(name))

    def with_settings(self, settings: Mapping[Setting, Any]) -> MessagesRequest:
        """The same request with settings replaced; None removes one.

        Raises:
            ValueError: the format has no such setting, or needs the one that is removed.
        """
        changes: dict[Path, bytes | None] = {}
        for setting, wanted in settings.items():
            paths = _paths(self.value, setting)
            if not paths or (wanted is None and setting is Setting.MAX_TOKENS):
                raise ValueError(f"Anthropic's messages have no such {setting}")
            for path in paths:
                if len(path) == 2 and not isinstance(self.value.get(str(path[0])), Mapping):
                    if wanted is not None:
                        changes[path[:1]] = encode_json({str(path[1]): wanted})
                else:
                    changes[path] = None if wanted is None else encode_json(wanted)
        raw = splice(self.raw, changes)
        return MessagesRequest(msgspec.json.decode(raw), raw)


class CountRequest(_Request, TokenCount):
    """A question how many tokens a request would be."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "count_tokens"

    def with_model(self, name: str) -> CountRequest:
        """The same question about another model."""
        return CountRequest(*self._renamed(name))


class Counted(TokenCounted):
    """`{"input_tokens": n}`."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "count_tokens"

    @property
    def tokens(self) -> int | None:
        """How many; None where it says no count."""
        tokens = self.value.get("input_tokens")
        return tokens if type(tokens) is int and tokens >= 0 else None


class _Answer:
    """What a whole message and an event of one have in common.

    Attributes:
        spots: the texts in it, and where they stand.
    """

    __slots__ = ()
    spots: Sequence[Spot]

    @property
    def method(self) -> str:
        return "chat"

    @property
    def pieces(self) -> Sequence[Piece]:
        """The texts in it."""
        return pieces_of(self.spots)


class MessageAnswer(_Answer, Completion):
    """A whole message."""

    __slots__ = ("spots",)

    def __init__(self, value: Mapping[str, Any], raw: bytes, spots: Sequence[Spot] = ()) -> None:
        super().__init__(value, raw)
        self.spots = spots

    @property
    def usage(self) -> Usage | None:
        """What the provider counted."""
        return read_usage(self.value.get("usage"))

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why it ended, in Anthropic's words."""
        reason = self.value.get("stop_reason")
        return (reason,) if isinstance(reason, str) else ()

    def with_model(self, name: str) -> MessageAnswer:
        """The same answer by another name of the model."""
        raw = splice(self.raw, {("model",): encode_tolerant(name)})
        return MessageAnswer({**self.value, "model": name}, raw, self.spots)


class MessageEvent(_Answer, CompletionChunk):
    """One event of a streamed message.

    Args:
        usage: what was counted so far, where this event tells any of it.
    """

    __slots__ = ("_usage", "spots")

    def __init__(
        self, value: Mapping[str, Any], raw: bytes, spots: Sequence[Spot] = (), usage: Usage | None = None
    ) -> None:
        super().__init__(value, raw)
        self.spots = spots
        self._usage = usage

    @property
    def model(self) -> str:
        """The model's name, which `message_start` says; "" in all others."""
        model = self._started.get("model")
        return model if isinstance(model, str) else ""

    @property
    def usage(self) -> Usage | None:
        """What was counted so far, by this event and by those before it."""
        return self._usage

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why it ended, in Anthropic's words."""
        delta = self.value.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, Mapping) else None
        return (reason,) if isinstance(reason, str) else ()

    def with_model(self, name: str) -> MessageEvent:
        """The same event by another name of the model."""
        raw = splice(self.raw, {("message", "model"): encode_tolerant(name)})
        value = {**self.value, "message": {**self._started, "model": name}}
        return MessageEvent(value, raw, self.spots, self._usage)

    @property
    def _started(self) -> Mapping[str, Any]:
        message = self.value.get("message")
        return message if isinstance(message, Mapping) else {}


class MessageError(LlmError):
    """`{"type": "error", "error": {"type", "message"}}`, also as an event."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "chat"


def from_client(value: Any, raw: bytes, kind: type[MessagesRequest] | type[CountRequest]) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable(fault, raw)
    return kind(value, raw)


def check_answer(value: Any) -> Mapping[str, Any]:
    """A whole answer in the shape that it is read in.

    Raises:
        Malformed: it has another.
    """
    if not isinstance(value, dict):
        _reject("this is not an object")
    check_keys(value, _ANSWER)
    if not isinstance(value.get("stop_reason"), str | None):
        _reject("stop_reason must be a string")
    return value


def unreadable(fault: Malformed, raw: bytes) -> Opaque:
    """The message in the place of what is none."""
    return malformed("ambiguous-key" if isinstance(fault, Ambiguous) else "anthropic-invalid", str(fault), raw)


def read_usage(usage: Any) -> Usage | None:
    """Usage in Anthropic's words; None where it says nothing, or what is counted is no number."""
    if not isinstance(usage, Mapping):
        return None
    passes = usage.get("iterations")
    taken = [entry for entry in passes if isinstance(entry, Mapping)] if isinstance(passes, list) else []
    parts = [found for entry in taken or [usage] if (found := _one_pass(entry)) is not None]
    if len(parts) < len(taken or [usage]):
        return None
    details = usage.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, Mapping) else None
    return Usage(
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        cache_write_tokens=sum(part.cache_write_tokens for part in parts),
        reasoning_tokens=thought if type(thought) is int and thought > 0 else 0,
    )


def _one_pass(usage: Mapping[str, Any]) -> Usage | None:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    counts = [usage.get(name) or 0 for name in names]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    plain, output, cached, written = counts
    return Usage(plain + cached + written, output, cached, written)


def _paths(request: Mapping[str, Any], setting: Setting) -> Sequence[Path]:
    """Where a setting stands, or would stand: first the request's own; () where the format has none."""
    own = _SETTINGS.get(setting)
    if own is None:
        return ()
    others = request.get("fallbacks") if setting is Setting.MAX_TOKENS else None
    listed = others if isinstance(others, list) else ()
    beside = [n for n, entry in enumerate(listed) if entry.get("max_tokens") is not None]
    return (own, *(("fallbacks", n, "max_tokens") for n in beside))


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        _reject("a request must be an object")
    check_keys(value, _REQUEST)
    if not isinstance(value.get("model"), str):
        _reject("model must be a string")
    if not value.get("messages"):
        _reject("messages must not be empty")
    for turn in objects(value["messages"], "messages"):
        check_keys(turn, _TURN)
    if not isinstance(value.get("stream"), bool | None):
        _reject("stream must be true or false")
    output = value.get("output_config")
    if not isinstance(output, dict | None):
        _reject("output_config must be an object")
    check_keys(output or {}, _OUTPUT)
    text_of(output or {}, "effort")
    others = value.get("fallbacks")
    listed = () if isinstance(others, str) else objects(others, "fallbacks")
    for other in listed:
        check_keys(other, _FALLBACK)
    for holder in (value, *listed):
        limit = holder.get("max_tokens")
        if limit is not None and (type(limit) is not int or limit < 0):  # 0 fills the prompt's cache
            _reject("max_tokens must be an integer from 0 on")
    for setting in _NUMBERS:
        number = value.get(setting)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            _reject(f"{setting} must be a number")
    hosted_tools(value)


def _reject(detail: str) -> NoReturn:
    raise Malformed(detail)

"""Anthropic messages: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A request is admitted only if what policies read of it has the type that they are promised; so is an answer. All else
  is `Opaque(malformed=True)`.
- A key that equals one of the format's but for case is refused: two readers would differ.
- `fallbacks` are further models, each with a `max_tokens` of its own: the greatest counts, and all are written.
- Input that came from a cache or went to one is not in `input_tokens`: the sum is what was read (Anthropic, prompt
  caching). Where a request took several passes (`iterations`), their sum is what it took.

Sources: Anthropic, Messages API, count tokens, compaction, refusals and fallback.

Not here: bytes (anthropic_answer.py), texts (anthropic_texts.py), tools (anthropic_hosted_tools.py), what is kept
(anthropic_stored.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs.anthropic_calls import AnthropicCalls
from ext_proc.codecs.anthropic_hosted_tools import added_tools, hosted_tools
from ext_proc.codecs.anthropic_stored import handed_out_by, references_of
from ext_proc.codecs.llm_changes import Named, Settable, Told
from ext_proc.codecs.llm_fields import as_object, check_flag, check_keys, check_number, objects, reject, text_of
from ext_proc.codecs.llm_offers import objects_in, offered_in
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Malformed, Spot, unreadable
from ext_proc.framing.json_splice import Path
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    HostedTool,
    LlmError,
    Message,
    OfferedFunction,
    Setting,
    StoredKind,
    StoredObject,
    TokenCount,
    TokenCounted,
    Usage,
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
    | {
        "tools",
        "tool_choice",
        "thinking",
        "mcp_servers",
        "metadata",
        "output_config",
        "container",
        "fallbacks",
        "thread",
    }
)
_TURN = frozenset({"role", "content"})
_FALLBACK = frozenset({"model", "max_tokens"})
_OUTPUT = frozenset({"effort"})
_ANSWER = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", "error"} | {"container"}
)
# What `usage` counts. `message_start` knows the input; `message_delta` says what changed, in running totals.
COUNTED = (
    *("input_tokens", "output_tokens", "output_tokens_details", "iterations"),
    *("cache_read_input_tokens", "cache_creation_input_tokens"),
)
EVENT = frozenset({"type", "index", "message", "content_block", "delta", "usage", "error"})


class MessagesRequest(Prompted, Settable):
    """A request for a message."""

    __slots__ = ()
    method = "chat"

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that are the provider's by name, and the servers that it connects to."""
        return hosted_tools(self.value)

    @property
    def offered_functions(self) -> Iterator[OfferedFunction]:
        """The client's own functions, and those that messages bring."""
        return offered_in([*objects_in(self.value.get("tools")), *added_tools(self.value)])

    @property
    def rounds(self) -> int | None:
        """See `Generation.rounds`; not known where a thread is gone on with."""
        return None if any(thing.kind is StoredKind.THREAD for thing in self.references) else super().rounds

    @property
    def references(self) -> Sequence[StoredObject]:
        """The thread and the container that it is to go on in."""
        return references_of(self.value)

    @property
    def keeps_answer(self) -> bool:
        """Whether the conversation is kept under the answer's id."""
        return self.value.get("thread") is not None

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """See `Settable`; that of every model."""
        return _paths(self.value, setting)

    def of_several(self, found: Sequence[Any]) -> Any:
        """See `Settable`: the greatest."""
        return max(found)

    def with_settings(self, settings: Mapping[Setting, Any]) -> MessagesRequest:
        """See `Generation`; the format needs `max_tokens`."""
        if settings.get(Setting.MAX_TOKENS, 0) is None:
            raise ValueError("Anthropic's messages need max_tokens")
        return super().with_settings(settings)


class CountRequest(Named, TokenCount):
    """A question how many tokens a request would be."""

    __slots__ = ()
    method = "count_tokens"

    @property
    def references(self) -> Sequence[StoredObject]:
        """The thread and the container that the request would go on in."""
        return references_of(self.value)


class Counted(TokenCounted):
    """`{"input_tokens": n}`."""

    __slots__ = ()
    method = "count_tokens"

    @property
    def tokens(self) -> int | None:
        """How many; None where it says no count."""
        tokens = self.value.get("input_tokens")
        return tokens if type(tokens) is int and tokens >= 0 else None


class _Answer(AnthropicCalls, Told):
    """What a whole message and an event of one have in common."""

    __slots__ = ()
    method = "chat"


class MessageAnswer(_Answer, Completion):
    """A whole message."""

    __slots__ = ()

    @property
    def usage(self) -> Usage | None:
        """What the provider counted."""
        return read_usage(self.value.get("usage"))

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """What it names that requests can refer to."""
        return handed_out_by(self.value)

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why it ended, in Anthropic's words."""
        reason = self.value.get("stop_reason")
        return (reason,) if isinstance(reason, str) else ()


class MessageEvent(_Answer, CompletionChunk):
    """One event of a streamed message.

    Args:
        usage: what was counted so far, where this event tells any of it.
    """

    __slots__ = ("_usage",)

    def __init__(
        self, value: Mapping[str, Any], raw: bytes, spots: Sequence[Spot] = (), usage: Usage | None = None
    ) -> None:
        super().__init__(value, raw, spots)
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
    def handed_out(self) -> Sequence[StoredObject]:
        """What it names that requests can refer to; most events name nothing."""
        kind = self.value.get("type")
        holder = self._started if kind == "message_start" else self.value["delta"] if kind == "message_delta" else {}
        return handed_out_by(holder)

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why it ended, in Anthropic's words."""
        delta = self.value.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        return (reason,) if isinstance(reason, str) else ()

    @property
    def named_at(self) -> Path:
        return ("message", "model")

    @property
    def _started(self) -> Mapping[str, Any]:
        message = self.value.get("message")
        return message if isinstance(message, dict) else {}


class MessageError(AnthropicCalls, LlmError):
    """`{"type": "error", "error": {"type", "message"}}`, also as an event."""

    __slots__ = ()
    method = "chat"


def from_client(value: Any, raw: bytes, kind: type[MessagesRequest] | type[CountRequest]) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable("anthropic", fault, raw)
    return kind(value, raw)


def check_answer(value: Any) -> Mapping[str, Any]:
    """A whole answer in the shape that it is read in.

    Raises:
        Malformed: it has another.
    """
    if not isinstance(value, dict):
        reject("this is not an object")
    check_keys(value, _ANSWER)
    if not isinstance(value.get("stop_reason"), str | None):
        reject("stop_reason must be a string")
    handed_out_by(value)
    return value


def read_usage(usage: Any) -> Usage | None:
    """Usage in Anthropic's words; None where it says nothing, or what is counted is no number."""
    if not isinstance(usage, dict):
        return None
    passes = usage.get("iterations")
    taken = [entry for entry in passes if isinstance(entry, dict)] if isinstance(passes, list) else []
    parts = [found for entry in taken or [usage] if (found := _one_pass(entry)) is not None]
    if len(parts) < len(taken or [usage]):
        return None
    details = usage.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
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
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    if not isinstance(value.get("model"), str):
        reject("model must be a string")
    if not value.get("messages"):
        reject("messages must not be empty")
    for turn in objects(value["messages"], "messages"):
        check_keys(turn, _TURN)
    check_flag(value.get("stream"), "stream")
    output = as_object(value.get("output_config"), "output_config")
    check_keys(output, _OUTPUT)
    text_of(output, "effort")
    others = value.get("fallbacks")
    listed = () if isinstance(others, str) else objects(others, "fallbacks")
    for other in listed:
        check_keys(other, _FALLBACK)
    for holder in (value, *listed):
        limit = holder.get("max_tokens")
        if limit is not None and (type(limit) is not int or limit < 0):  # 0 fills the prompt's cache
            reject("max_tokens must be an integer from 0 on")
    for setting in _NUMBERS:
        check_number(value.get(setting), setting)
    hosted_tools(value)
    references_of(value)

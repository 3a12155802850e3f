"""OpenAI responses: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A request is admitted only if what policies read of it has the type that they are promised; so is an answer. All else
  is `Opaque(malformed=True)`.
- A key that equals one of the format's but for case is refused: two readers would differ.
- A changed message keeps every byte that was not changed (framing/json_splice.py).

Source: OpenAI, Responses API.

Not here: bytes (openai_responses_answer.py), texts (openai_responses_texts.py), what OpenAI keeps
(openai_responses_stored.py), tools that the provider runs (openai_chat_hosted_tools.py: they are named alike).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs import llm_found
from ext_proc.codecs.llm_changes import Settable, Told
from ext_proc.codecs.llm_fields import as_object, check_flag, check_keys, check_number, objects, reject, text_of
from ext_proc.codecs.llm_found import Found, numbered
from ext_proc.codecs.llm_offers import objects_in, offered_in
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Malformed, Place, Spot, unreadable
from ext_proc.codecs.openai_chat_hosted_tools import hosted_tools
from ext_proc.codecs.openai_chat_request_texts import too_many_values
from ext_proc.codecs.openai_responses_calls import ResponsesCalls
from ext_proc.codecs.openai_responses_stored import conversation_in, handed_out_by, is_kept, references_of
from ext_proc.codecs.openai_responses_texts import (
    ITEM,
    MAX_ITEMS,
    beside,
    of_item,
)
from ext_proc.framing.json_splice import Path
from ext_proc.limits import Limits
from ext_proc.messages import (
    ChannelKind,
    Completion,
    CompletionChunk,
    HostedTool,
    LlmError,
    Message,
    OfferedFunction,
    Opaque,
    Piece,
    Role,
    Setting,
    StoredObject,
    Usage,
)

_SETTINGS: Mapping[Setting, Path] = {
    Setting.MAX_TOKENS: ("max_output_tokens",),
    Setting.TEMPERATURE: ("temperature",),
    Setting.TOP_P: ("top_p",),
    Setting.REASONING_EFFORT: ("reasoning", "effort"),
}
_NUMBERS = frozenset({Setting.TEMPERATURE, Setting.TOP_P})
_REQUEST = frozenset(
    {"model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "reasoning", "tools"}
    | {"tool_choice", "previous_response_id", "conversation", "prompt", "background", "store", "text"}
)
_REASONING = frozenset({"effort", "summary"})
_ANSWER = frozenset(
    {"id", "object", "model", "output", "status", "usage", "error", "incomplete_details", "instructions", "output_text"}
    | {"conversation"}
)
EVENT = ITEM | {
    *("response", "item", "part", "output_index", "content_index", "summary_index", "command_index", "item_id"),
    "sequence_number",
}
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}


class ResponsesRequest(Prompted, Settable):
    """A request for a response."""

    __slots__ = ()
    method = "responses"

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider runs itself for this request."""
        return _hosted_tools(self.value)

    @property
    def deferred(self) -> bool:
        """See `Generation`: in the background."""
        return self.value.get("background") is True

    @property
    def rounds(self) -> int | None:
        """See `Generation.rounds`; not known where an earlier answer, or a conversation, is gone on with."""
        return None if self.value.get("previous_response_id") or self.value.get("conversation") else super().rounds

    @property
    def offered_functions(self) -> Iterator[OfferedFunction]:
        """The client's own functions, and those that items of the input bring along."""
        yield from offered_in(self.value.get("tools"))
        for item in objects_in(self.value.get("input")):
            if item.get("type") != "mcp_list_tools":  # what a server listed is no offer of the caller's
                yield from offered_in(item.get("tools"))

    @property
    def references(self) -> Sequence[StoredObject]:
        """What it refers to that OpenAI keeps."""
        return references_of(self.value, self.hosted_tools)

    @property
    def keeps_answer(self) -> bool:
        """Whether OpenAI keeps the answer."""
        return is_kept(self.value)

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """See `Settable`."""
        return (_SETTINGS[setting],) if setting in _SETTINGS else ()


class _Response(ResponsesCalls, Told):
    """What a whole answer and an event of one have in common."""

    __slots__ = ()
    method = "responses"

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The answer's object; {} for an event without it."""
        raise NotImplementedError

    @property
    def model(self) -> str:
        """The model's name; "" where it does not stand."""
        model = self.snapshot.get("model")
        return model if isinstance(model, str) else ""

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, which the last snapshot says."""
        return read_usage(self.snapshot.get("usage"))

    @property
    def deferred(self) -> bool:
        """See `ModelAnswer`: in the background."""
        return self.snapshot.get("background") is True

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """What it names that requests can refer to."""
        return handed_out_by(self.value, self.snapshot)

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why it ended: "completed", or what OpenAI says is missing."""
        status = self.snapshot.get("status")
        if status not in ("completed", "incomplete", "failed", "cancelled"):
            return ()
        details = self.snapshot.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return (reason if isinstance(reason, str) else str(status),)


class ResponsesAnswer(_Response, Completion):
    """A whole answer."""

    __slots__ = ()

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The answer itself."""
        return self.value


class ResponsesEvent(_Response, CompletionChunk):
    """One event of a streamed answer.

    Attributes:
        called: the name of the tool that the event's item is a call of; "" where it is none.
    """

    __slots__ = ("called",)

    def __init__(self, value: Mapping[str, Any], raw: bytes, spots: Sequence[Spot] = (), called: str = "") -> None:
        super().__init__(value, raw, spots)
        self.called = called

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The answer's object, where the event has it."""
        response = self.value.get("response")
        return response if isinstance(response, dict) else {}

    @property
    def named_at(self) -> Path:
        return ("response", "model")

    def with_model(self, name: str) -> Self:
        """The same event by another name of the model; itself, where it names none."""
        return super().with_model(name) if self.snapshot else self


class ResponsesError(ResponsesCalls, LlmError):
    """OpenAI's error object, or an `error` event."""

    __slots__ = ()
    method = "responses"


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    return ResponsesRequest(value, raw)


def texts_of(request: ResponsesRequest, limits: Limits) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        pieces = [place.piece for place in _places(request.value, request.raw)]
    except Malformed as fault:
        return unreadable("openai", fault, request.raw)
    return too_many_values(pieces, limits) or pieces


def with_texts(request: ResponsesRequest, texts: Mapping[int, str]) -> ResponsesRequest:
    """The request with new ones of its texts, by index; what repeats or indexes a changed one goes."""
    places = _places(request.value, request.raw)
    return request.remade(*llm_found.with_texts(request.value, request.raw, places, texts, beside))


def _places(value: Mapping[str, Any], raw: bytes) -> Iterator[Place]:
    """Every text of a request: its instructions, the values of its prompt, its input."""
    yield from numbered(_instructions(value), 0, raw)
    said = value.get("input")
    if isinstance(said, str):
        if said:
            yield from numbered(iter([Found(ChannelKind.CONTENT, Role.USER, ("input",), said)]), 0, raw)
        return
    yield from places_in(objects(said, "input"), "input", raw)


def places_in(items: Sequence[Mapping[str, Any]], name: str, raw: bytes) -> Iterator[Place]:
    """Every text of the items that a client sends.

    Args:
        name: of the member that they stand in.

    Raises:
        Malformed: something has another type than its field's.
    """
    for position, item in enumerate(items):
        role = item.get("role")
        by_user = "role" in item or text_of(item, "type") in ("message", "mcp_approval_response")
        usual = Role.USER if by_user else Role.ASSISTANT
        whose = _ROLES.get(role, usual) if isinstance(role, str) else usual
        yield from numbered(of_item(item, (name, position), whose), position, raw)


def _instructions(value: Mapping[str, Any]) -> Iterator[Found]:
    if text_of(value, "instructions"):
        yield Found(ChannelKind.CONTENT, Role.SYSTEM, ("instructions",), value["instructions"])
    prompt = value.get("prompt")
    if isinstance(prompt, dict) and prompt.get("variables"):
        yield Found(ChannelKind.CONTENT, Role.USER, ("prompt", "variables"), None)


def tools_in(items: Sequence[Mapping[str, Any]]) -> Sequence[HostedTool]:
    """The tools that items bring along and the provider runs itself.

    Raises:
        Malformed: something that names them has another type than its field's.
    """
    found: list[HostedTool] = []
    for item in items:
        if "tools" in item and item.get("type") != "mcp_list_tools":  # what a server listed is no offer of the caller's
            found += hosted_tools({"tools": item["tools"]})
    return found


def check_answer(value: Any) -> Mapping[str, Any]:
    """An answer's object in the shape that it is read in.

    Raises:
        Malformed: it has another.
    """
    if not isinstance(value, dict):
        reject("this is not an object")
    check_keys(value, _ANSWER)
    for name in ("id", "status"):
        text_of(value, name)
    conversation_in(value.get("conversation"))
    return value


def output_of(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The items of an answer.

    Raises:
        Malformed: they are no list of objects.
    """
    output = objects(answer.get("output"), "output")
    if len(output) > MAX_ITEMS:
        reject("an answer has too many items")
    return output


def read_usage(usage: Any) -> Usage | None:
    """Usage in OpenAI's words; None where it says nothing, or what is counted is no number."""
    if not isinstance(usage, dict):
        return None
    counts: list[Any] = [usage.get("input_tokens"), usage.get("output_tokens")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    read, written = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return Usage(
        input_tokens=counts[0],
        output_tokens=counts[1],
        cached_tokens=_count(read, "cached_tokens"),
        cache_write_tokens=_count(read, "cache_write_tokens"),
        reasoning_tokens=_count(written, "reasoning_tokens"),
        input_audio_tokens=_count(read, "audio_tokens"),
        output_audio_tokens=_count(written, "audio_tokens"),
    )


def _count(details: Any, name: str) -> int:
    count = details.get(name) if isinstance(details, dict) else None
    return count if type(count) is int and count > 0 else 0


def _hosted_tools(request: Mapping[str, Any]) -> Sequence[HostedTool]:
    """The tools of a request, and those that items of its input bring along."""
    said = request.get("input")
    return [*hosted_tools(request), *tools_in(() if isinstance(said, str) else objects(said, "input"))]


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    text_of(value, "model")  # a stored prompt may name it
    for name in ("stream", "background"):
        check_flag(value.get(name), name)
    reasoning = as_object(value.get("reasoning"), "reasoning")
    check_keys(reasoning, _REASONING)
    text_of(reasoning, "effort")
    limit = value.get("max_output_tokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        reject("max_output_tokens must be a positive integer")
    for setting in _NUMBERS:
        check_number(value.get(setting), setting)
    if not isinstance(value.get("input"), str):
        objects(value.get("input"), "input")
    references_of(value, _hosted_tools(value))
    is_kept(value)

"""OpenAI chat: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A request is admitted only if what policies read of it has the type that they are promised; so is an answer. All else
  is `Opaque(malformed=True)`.
- A key that equals one of the protocol's but for case is refused: two readers would differ.
- A setting with two spellings is read as the smaller value (of words, by the alphabet) and written in every spelling
  that the caller used, so that no reader finds another.
- Whatever holds an `error` that says something is an error, beside choices too: official clients raise there. So is
  what calls itself one (`"object": "error"`: Mistral, and vLLM before it wrote `error`).
- A changed message keeps every byte that was not changed (framing/json_splice.py).

Not here: bytes (openai_chat_frames.py), texts of answers (openai_chat_texts.py), tools that the provider runs
(openai_chat_hosted_tools.py), what it keeps (openai_chat_stored.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs.llm_changes import Settable, Told
from ext_proc.codecs.llm_fields import as_object, as_text, check_flag, check_keys, check_number, objects, reject
from ext_proc.codecs.llm_offers import function, objects_in, offered_in
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Malformed, at_path, unreadable
from ext_proc.codecs.openai_chat_calls import ChatCalls
from ext_proc.codecs.openai_chat_hosted_tools import MEMBERS, hosted_tools
from ext_proc.codecs.openai_chat_stored import handed_out_by, references_of
from ext_proc.codecs.openai_usage import asking_for_usage, without_usage
from ext_proc.framing.json_splice import Path
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    HostedTool,
    LlmError,
    Message,
    OfferedFunction,
    Setting,
    StoredObject,
    Usage,
)

# In the order in which a setting that is not there yet is spelled: the first is OpenAI's own.
_SPELLINGS: Mapping[Setting, tuple[Path, ...]] = {
    Setting.MAX_TOKENS: (("max_completion_tokens",), ("max_tokens",)),
    Setting.TEMPERATURE: (("temperature",),),
    Setting.TOP_P: (("top_p",),),
    Setting.SEED: (("seed",),),
    Setting.N: (("n",),),
    Setting.REASONING_EFFORT: (("reasoning_effort",), ("reasoning", "effort")),  # OpenRouter and Ollama take both
}
_SETTINGS = tuple((setting, path) for setting, paths in _SPELLINGS.items() for path in paths)
_REASONING = frozenset({"effort"})
_NUMBERS = frozenset({Setting.TEMPERATURE, Setting.TOP_P})
_REQUEST = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "user",
        *(str(path[0]) for paths in _SPELLINGS.values() for path in paths),
        *MEMBERS,
    }
)
ANSWER = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs"})
HELD = frozenset(
    {
        "role",
        "content",
        "refusal",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking_blocks",
        "tool_calls",
        "function_call",
        "audio",
        "annotations",
    }
)
_TURN = HELD | {"name", "tool_call_id"}


class Asking(Prompted, Settable):
    """What a request for a chat and one of the older API have in common."""

    __slots__ = ()

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider runs itself for this request."""
        return hosted_tools(self.value)

    @property
    def offered_functions(self) -> Iterator[OfferedFunction]:
        """The client's own functions; in the older member too."""
        yield from offered_in(self.value.get("tools"))
        for definition in objects_in(self.value.get("functions")):
            yield from function(definition, "parameters")

    def including_usage(self) -> Self:
        """The same request, asking that its stream tells usage; itself where it does already, or there is no stream."""
        asking = asking_for_usage(self.value, self.raw)
        return self if asking is None else self.remade(*asking)


class ChatRequest(Asking):
    """A request for a chat completion."""

    __slots__ = ()
    method = "chat"

    @property
    def references(self) -> Sequence[StoredObject]:
        """What it refers to that the provider keeps."""
        return references_of(self.value)

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """See `Settable`: in every spelling that the caller used, else in OpenAI's own."""
        spelled = [path for path in _SPELLINGS[setting] if path[-1] in _holder(self.value, path)]
        return spelled or _SPELLINGS[setting][:1]

    def of_several(self, found: Sequence[Any]) -> Any:
        """See `Settable`: the smallest."""
        return min(found) if len(found) > 1 else found[0]


class _Chat(ChatCalls, Told):
    """What a whole answer and an event of one have in common."""

    __slots__ = ()
    method = "chat"

    @property
    def usage(self) -> Usage | None:
        """What the provider counted; Groq puts it into a field of its own where it streams."""
        usage = self.value.get("usage")
        if usage is None:
            own = self.value.get("x_groq")
            usage = own.get("usage") if isinstance(own, dict) else None
        return read_usage(usage) if isinstance(usage, dict) else None

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """What it names that requests can refer to."""
        return handed_out_by(choices_of(self.value))

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Of the choices that end here."""
        choices = self.value.get("choices") or ()  # objects, by `check_answer`
        return tuple([choice["finish_reason"] for choice in choices if choice.get("finish_reason")])


class ChatCompletion(_Chat, Completion):
    """A whole answer."""

    __slots__ = ()


class ChatChunk(_Chat, CompletionChunk):
    """One event of a streamed answer."""

    __slots__ = ()

    def without_usage(self) -> Self | None:
        """The same event without what asking for usage adds; None where nothing is left of it."""
        left = without_usage(self.value, self.raw)
        if left is None:
            return None
        return self if left[1] is self.raw else self.remade(*left)


class ChatError(ChatCalls, LlmError):
    """OpenAI's error object: `{"error": {"message", "type", "param", "code"}}`."""

    __slots__ = ()
    method = "chat"


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    return ChatRequest(value, raw)


def check_answer(value: Any, holder: str, *, listing: bool) -> Mapping[str, Any]:
    """An answer, or an event of one, in the shape that it is read in.

    Args:
        holder: "message" of a whole answer, "delta" of a streamed one.
        listing: whether the list of models was asked for, which has no choices.

    Raises:
        Malformed: it has another.
    """
    if not isinstance(value, dict):
        reject("this is not an object")
    check_keys(value, ANSWER)
    if listing and "choices" in value:
        reject("a list of models holds choices")
    if not listing and holder == "message" and "choices" not in value and not says_error(value):
        reject("an answer has no choices")
    for choice in choices_of(value):
        check_keys(choice, CHOICE)
        held = choice.get(holder)
        if isinstance(held, dict):
            check_keys(held, HELD)
        as_text(choice.get("finish_reason"), "finish_reason")
    return value


def says_error(value: Any) -> bool:
    """Whether a document or an event is an error."""
    return isinstance(value, dict) and (bool(value.get("error")) or value.get("object") == "error")


def choices_of(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """An answer's choices; () where it has none.

    Raises:
        Malformed: they are no list of objects.
    """
    return objects(value.get("choices"), "choices")


def _holder(value: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """What a setting stands in; {} where that is not there."""
    held = at_path(value, path[:-1])
    return held if isinstance(held, dict) else {}


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    if not isinstance(value.get("model"), str):
        reject("model must be a string")
    turns = value.get("messages")
    if not isinstance(turns, list) or set(map(type, turns)) != {dict}:
        reject("messages must be a list of objects and not empty")
    if not set().union(*turns) <= _TURN:
        for turn in turns:
            check_keys(turn, _TURN)
    check_flag(value.get("stream"), "stream")
    check_keys(as_object(value.get("reasoning"), "reasoning"), _REASONING)
    for setting, path in _SETTINGS:
        if path[0] in value:
            check_setting(setting, str(path[-1]), at_path(value, path))
    hosted_tools(value)
    references_of(value)


def check_setting(setting: Setting, name: str, value: Any) -> None:
    """Looks at a setting.

    Raises:
        Malformed: it has another type than its field's, or no sense.
    """
    if value is None:
        return
    if setting is Setting.REASONING_EFFORT:
        as_text(value, name)
    elif setting in _NUMBERS:
        check_number(value, name)
    elif type(value) is not int:
        reject(f"{name} must be an integer")
    elif setting is not Setting.SEED and value < 1:
        # -1 for "no limit", as some servers have it, would be the smallest of all limits to a policy.
        reject(f"{name} must be positive")


def read_usage(usage: Mapping[str, Any]) -> Usage | None:
    """Usage in OpenAI's words and its imitators'; None where what is counted is no number."""
    tokens = [usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and count >= 0 for count in tokens):
        return None
    prompt, completion = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    cached = (
        prompt.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),  # DeepSeek
        usage.get("cached_tokens"),  # Together
        usage.get("num_cached_tokens"),  # Mistral
    )
    return Usage(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cached_tokens=_first_count(*cached),
        cache_write_tokens=_first_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=_first_count(completion.get("reasoning_tokens")),
        input_audio_tokens=_first_count(prompt.get("audio_tokens")),
        output_audio_tokens=_first_count(completion.get("audio_tokens")),
    )


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _first_count(*counts: Any) -> int:
    return next((count for count in counts if type(count) is int and count > 0), 0)

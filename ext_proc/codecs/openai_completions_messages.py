"""OpenAI completions, the older API: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- What is asked is one `prompt` or several, each a string or a list of tokens, and a `suffix` to write up to. Tokens are
  no text: nobody is shown them, and they pass.
- A setting has one spelling here. `max_tokens` may be 0: what is asked then is the prompt's own probabilities.
- Answers have the shape of chat's, but that a choice keeps its text itself.

Sources: OpenAI, completions (legacy); vLLM, Mistral (fill in the middle), DeepSeek (FIM completion).

Not here: the shape of answers (openai_chat_messages.py, openai_chat_texts.py), bytes (openai_chat_frames.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs import llm_found
from ext_proc.codecs.llm_fields import check_flag, check_keys, reject, text_of
from ext_proc.codecs.llm_texts import Malformed, Place, unreadable
from ext_proc.codecs.openai_chat_hosted_tools import MEMBERS, hosted_tools
from ext_proc.codecs.openai_chat_messages import Asking, ChatChunk, ChatCompletion, check_setting
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path
from ext_proc.messages import (
    Channel,
    ChannelKind,
    LlmError,
    Message,
    Piece,
    Role,
    Setting,
)

_SETTINGS: Mapping[Setting, str] = {
    Setting.MAX_TOKENS: "max_tokens",
    Setting.TEMPERATURE: "temperature",
    Setting.TOP_P: "top_p",
    Setting.SEED: "seed",
    Setting.N: "n",
}
_REQUEST = frozenset({"model", "prompt", "suffix", "stream", "best_of", "echo", *_SETTINGS.values(), *MEMBERS})


class CompletionRequest(Asking):
    """A request to go on with a text."""

    __slots__ = ()
    method = "completions"

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """See `Settable`."""
        return ((_SETTINGS[setting],),) if setting in _SETTINGS else ()


class TextCompletion(ChatCompletion):
    """A whole answer."""

    __slots__ = ()
    method = "completions"


class TextChunk(ChatChunk):
    """One event of a streamed answer."""

    __slots__ = ()
    method = "completions"


class CompletionsError(LlmError):
    """OpenAI's error object."""

    __slots__ = ()
    method = "completions"


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    return CompletionRequest(value, raw)


def texts_of(request: CompletionRequest) -> Sequence[Piece]:
    """The texts of a request; see `codec.Codec.texts`."""
    return [place.piece for place in _places(request.value)]


def with_texts(request: CompletionRequest, texts: Mapping[int, str]) -> CompletionRequest:
    """The request with new ones of its texts, by index."""
    value = request.value
    return CompletionRequest(*llm_found.with_texts(value, request.raw, _places(value), texts))


def texts_under(value: Mapping[str, Any], name: str) -> Iterator[Place]:
    """What is asked under a name: a text, several, or tokens; each text is a choice."""
    asked = value.get(name)
    if isinstance(asked, str):
        if asked:
            yield Place(_channel(0), (name,), asked)
        return
    for position, each in enumerate(asked or ()):
        if isinstance(each, str) and each:
            yield Place(_channel(position), (name, position), each)


def check_asked(asked: Any, name: str) -> None:
    """Looks at what is asked under a name.

    Raises:
        Malformed: it is neither text nor tokens, nor a list of the one or of the other.
    """
    if isinstance(asked, str | None) or _are_texts(asked) or _are_tokens(asked):
        return
    if not isinstance(asked, list) or not all(map(_are_tokens, asked)):
        reject(f"{name} must be a string, a list of strings, or tokens")


def _are_texts(asked: Any) -> bool:
    return isinstance(asked, list) and all(isinstance(each, str) for each in asked)


def _are_tokens(asked: Any) -> bool:
    return isinstance(asked, list) and all(type(each) is int for each in asked)


def _places(value: Mapping[str, Any]) -> Iterator[Place]:
    yield from texts_under(value, "prompt")
    if value.get("suffix"):
        yield Place(_channel(0, 1), ("suffix",), value["suffix"])


def _channel(choice: int, index: int = 0) -> Channel:
    return Channel(ChannelKind.CONTENT, choice, index, Direction.REQUEST, Role.USER)


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    if not isinstance(value.get("model"), str):
        reject("model must be a string")
    check_asked(value.get("prompt"), "prompt")
    text_of(value, "suffix")
    check_flag(value.get("stream"), "stream")
    for setting, name in _SETTINGS.items():
        if not (setting is Setting.MAX_TOKENS and type(value.get(name)) is int and value[name] == 0):
            check_setting(setting, name, value.get(name))
    hosted_tools(value)

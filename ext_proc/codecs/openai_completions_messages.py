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
from typing import Any, NoReturn

import msgspec

from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Ambiguous, Malformed, Place
from ext_proc.codecs.openai_chat_hosted_tools import MEMBERS, hosted_tools
from ext_proc.codecs.openai_chat_messages import ChatChunk, ChatCompletion, check_setting, unreadable
from ext_proc.codecs.openai_usage import asking_for_usage, without_usage
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Generation,
    HostedTool,
    LlmError,
    Message,
    Piece,
    Role,
    Setting,
    encode_json,
)

_SETTINGS: Mapping[Setting, str] = {
    Setting.MAX_TOKENS: "max_tokens",
    Setting.TEMPERATURE: "temperature",
    Setting.TOP_P: "top_p",
    Setting.SEED: "seed",
    Setting.N: "n",
}
_REQUEST = frozenset({"model", "prompt", "suffix", "stream", "best_of", "echo", *_SETTINGS.values(), *MEMBERS})


class CompletionRequest(Prompted, Generation):
    """A request to go on with a text."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "completions"

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider runs itself for this request: proxies take them here too."""
        return hosted_tools(self.value)

    def setting(self, setting: Setting) -> Any:
        """A setting as the caller gave it; None where it did not, or the format has none."""
        return self.value.get(_SETTINGS.get(setting, ""))

    def with_model(self, name: str) -> CompletionRequest:
        """The same request for another model."""
        return CompletionRequest({**self.value, "model": name}, splice(self.raw, {("model",): encode_tolerant(name)}))

    def including_usage(self) -> CompletionRequest:
        """The same request, asking that its stream tells usage; itself where it does already, or there is no stream."""
        asking = asking_for_usage(self.value, self.raw)
        return self if asking is None else CompletionRequest(*asking)

    def with_settings(self, settings: Mapping[Setting, Any]) -> CompletionRequest:
        """The same request with settings replaced; None removes one.

        Raises:
            ValueError: the format has no such setting.
        """
        value = dict(self.value)
        changes: dict[Path, bytes | None] = {}
        for setting, wanted in settings.items():
            if setting not in _SETTINGS:
                raise ValueError(f"OpenAI's completions have no {setting}")
            name = _SETTINGS[setting]
            value.pop(name, None)
            if wanted is not None:
                value[name] = wanted
            changes[(name,)] = None if wanted is None else encode_json(wanted)
        return CompletionRequest(value, splice(self.raw, changes))


class TextCompletion(ChatCompletion):
    """A whole answer."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "completions"

    def with_model(self, name: str) -> TextCompletion:
        """The same answer by another name of the model."""
        return TextCompletion(*self._renamed(self.raw, name))


class TextChunk(ChatChunk):
    """One event of a streamed answer."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "completions"

    def with_model(self, name: str) -> TextChunk:
        """The same event by another name of the model."""
        return TextChunk(*self._renamed(self.raw, name))

    def without_usage(self) -> TextChunk | None:
        """The same event without what asking for usage adds; None where nothing is left of it."""
        left = without_usage(self.value, self.raw)
        if left is None:
            return None
        return self if left[1] is self.raw else TextChunk(*left, self.spots)


class CompletionsError(LlmError):
    """OpenAI's error object."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return "completions"


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable(fault, raw)
    return CompletionRequest(value, raw)


def texts_of(request: CompletionRequest) -> Sequence[Piece]:
    """The texts of a request; see `codec.Codec.texts`."""
    return [Piece(place.channel, place.text) for place in _places(request.value)]


def with_texts(request: CompletionRequest, texts: Mapping[int, str]) -> CompletionRequest:
    """The request with new ones of its texts, by index."""
    places = enumerate(_places(request.value))
    raw = splice(request.raw, {place.path: encode_json(texts[number]) for number, place in places if number in texts})
    return CompletionRequest(msgspec.json.decode(raw), raw)


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
        _reject(f"{name} must be a string, a list of strings, or tokens")


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
        _reject("a request must be an object")
    if colliding_key(value, _REQUEST) is not None:
        raise Ambiguous("a key is ambiguous")
    if not isinstance(value.get("model"), str):
        _reject("model must be a string")
    check_asked(value.get("prompt"), "prompt")
    if not isinstance(value.get("suffix"), str | None):
        _reject("suffix must be a string")
    if not isinstance(value.get("stream"), bool | None):
        _reject("stream must be true or false")
    for setting, name in _SETTINGS.items():
        if not (setting is Setting.MAX_TOKENS and type(value.get(name)) is int and value[name] == 0):
            check_setting(setting, name, value.get(name))
    hosted_tools(value)


def _reject(detail: str) -> NoReturn:
    raise Malformed(detail)

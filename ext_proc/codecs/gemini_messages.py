"""Gemini: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- The model stands in the path. A request for another model has another path (gemini.py mirrors it); where the body
  repeats the name it must be the same, and changes with it.
- A request is admitted only if what policies read of it has the type that they are promised; so is an answer. All else
  is `Opaque(malformed=True)`.

Source: Google, Gemini API and Vertex AI (generateContent, streamGenerateContent, countTokens, embeddings).

Not here: bytes (gemini_answer.py), texts (gemini_texts.py, gemini_request_texts.py), tools
(gemini_hosted_tools.py), usage (gemini_usage.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import msgspec

from ext_proc.codecs.gemini_calls import GeminiCalls
from ext_proc.codecs.gemini_hosted_tools import hosted_tools
from ext_proc.codecs.gemini_offers import offered_by
from ext_proc.codecs.gemini_texts import check_keys, member, object_of, spelling, text_of
from ext_proc.codecs.gemini_usage import read_usage
from ext_proc.codecs.llm_changes import Named, Settable, Told
from ext_proc.codecs.llm_fields import check_number, objects, reject
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Malformed, unreadable
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Embedded,
    Embedding,
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

_CONFIG = "generationConfig"
_SETTINGS: Mapping[Setting, str] = {
    Setting.MAX_TOKENS: "maxOutputTokens",
    Setting.TEMPERATURE: "temperature",
    Setting.TOP_P: "topP",
    Setting.SEED: "seed",
    Setting.N: "candidateCount",
}
_COUNTS = frozenset({Setting.MAX_TOKENS, Setting.N})
_REQUEST = frozenset(
    {"contents", "content", "systemInstruction", "tools", "toolConfig", _CONFIG, "safetySettings", "cachedContent"}
    | {"model", "requests", "generateContentRequest", "instances"}
)
_COUNTED = "generateContentRequest"
_ANSWER = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "error"})
CANDIDATE = frozenset({"content", "finishReason", "index", "groundingMetadata", "logprobsResult"})


class _Request(Named):
    """What all requests have in common: the model's name in the path."""

    __slots__ = ("_model",)

    def __init__(self, value: Mapping[str, Any], raw: bytes, model: str) -> None:
        super().__init__(value, raw)
        self._model = model

    @property
    def model(self) -> str:
        """The model's name in the path."""
        return self._model

    @property
    def references(self) -> Sequence[StoredObject]:
        """The caches that it begins with; a count may hold the request that it is about."""
        return _caches(self.value)

    def with_model(self, name: str) -> Self:
        """The same request for another model: the body as it is, but where it repeats the name."""
        changes = {path: encode_tolerant(_like(old, name)) for path, old in _names(self.value)}
        if not changes:
            return self.remade(self.value, self.raw, name)
        raw = splice(self.raw, changes)
        return self.remade(msgspec.json.decode(raw), raw, name)

    def remade(self, value: Mapping[str, Any], raw: bytes, model: str | None = None) -> Self:
        """See `Named`; by default for the same model."""
        return type(self)(value, raw, self._model if model is None else model)


class GeminiRequest(_Request, Prompted, Settable):
    """A request to generate content.

    Attributes:
        streamed: whether the path asks for the answer in pieces.
    """

    __slots__ = ("streamed",)

    def __init__(self, value: Mapping[str, Any], raw: bytes, model: str, *, streamed: bool = False) -> None:
        super().__init__(value, raw, model)
        self.streamed = streamed

    def remade(self, value: Mapping[str, Any], raw: bytes, model: str | None = None) -> Self:
        """See `Named`; by default for the same model."""
        return type(self)(value, raw, self._model if model is None else model, streamed=self.streamed)

    method = "chat"

    @property
    def stream(self) -> bool:
        """Whether the answer is asked for in pieces."""
        return self.streamed

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider runs itself for this request."""
        return hosted_tools(self.value)

    @property
    def offered_functions(self) -> Iterator[OfferedFunction]:
        """The client's own functions."""
        return offered_by(self.value)

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """See `Settable`; in the spelling that the caller used."""
        name = _SETTINGS.get(setting)
        return () if name is None else ((spelling(self.value, _CONFIG), spelling(config_of(self.value), name)),)


class GeminiCount(_Request, TokenCount):
    """A question how many tokens a request would be."""

    __slots__ = ()
    method = "count_tokens"


class GeminiEmbedding(_Request, Prompted, Embedding):
    """A request for vectors, of one content or of several."""

    __slots__ = ()
    method = "embeddings"


class _Answer(GeminiCalls, Told):
    """What a whole answer and a piece of a streamed one have in common: they have one shape."""

    __slots__ = ()
    method = "chat"

    @property
    def model(self) -> str:
        """The version of the model that answered."""
        return text_of(self.value, "modelVersion")

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far: running totals, of which the last counts."""
        return read_usage(member(self.value, "usageMetadata"))

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why candidates ended, in Gemini's words, and why a prompt was not answered."""
        feedback = member(self.value, "promptFeedback")
        blocked = member(feedback, "blockReason") if isinstance(feedback, dict) else None
        reasons = [member(candidate, "finishReason") for candidate in self.value.get("candidates") or ()]
        return tuple(reason for reason in (*reasons, blocked) if isinstance(reason, str))

    @property
    def named_at(self) -> Path:
        return (spelling(self.value, "modelVersion"),)


class GeminiAnswer(_Answer, Completion):
    """A whole answer."""

    __slots__ = ()


class GeminiChunk(_Answer, CompletionChunk):
    """A piece of a streamed answer."""

    __slots__ = ()


class GeminiCounted(TokenCounted):
    """`{"totalTokens": n}`."""

    __slots__ = ()
    method = "count_tokens"

    @property
    def tokens(self) -> int | None:
        """How many; None where it says no count."""
        tokens = member(self.value, "totalTokens")
        return tokens if type(tokens) is int and tokens >= 0 else None


class GeminiEmbedded(Embedded):
    """Vectors."""

    __slots__ = ()
    method = "embeddings"

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, where it says."""
        return read_usage(member(self.value, "usageMetadata"))


class GeminiError(GeminiCalls, LlmError):
    """Google's error object: `{"error": {"code", "message", "status"}}`."""

    __slots__ = ()
    method = "chat"


def from_client(value: Any, raw: bytes, *, model: str, action: str) -> Message:
    """The message that a client's JSON value is. Never raises.

    Args:
        action: what the path asks for, e.g. "generateContent".
    """
    try:
        _check_request(value, model)
        if action == "countTokens":
            return GeminiCount(value, raw, model)
        if action.endswith(("embedContent", "EmbedContents")):
            return GeminiEmbedding(value, raw, model)
        hosted_tools(value)
        return GeminiRequest(value, raw, model, streamed=action.startswith("stream"))
    except Malformed as fault:
        return unreadable("gemini", fault, raw)


def config_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """`generationConfig`; {} where it does not stand."""
    config = member(request, _CONFIG)
    return config if isinstance(config, dict) else {}


def check_answer(value: Any) -> Mapping[str, Any]:
    """An answer, or a piece of one, in the shape that it is read in.

    Raises:
        Malformed: it has another.
    """
    if not isinstance(value, dict):
        reject("this is not an object")
    check_keys(value, _ANSWER)
    return value


def _names(request: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where a body repeats the model's name.

    Raises:
        Malformed: something has another type than its field's.
    """
    inner = object_of(request, _COUNTED)
    holders: list[tuple[Path, Mapping[str, Any]]] = [((), request), ((spelling(request, _COUNTED),), inner)]
    holders += [(("requests", n), each) for n, each in enumerate(objects(request.get("requests"), "requests"))]
    for path, holder in holders:
        check_keys(holder, _REQUEST)
        if text_of(holder, "model"):
            yield (*path, "model"), holder["model"]


def _caches(request: Mapping[str, Any]) -> Sequence[StoredObject]:
    """The caches that a request names.

    Raises:
        Malformed: a name is no text.
    """
    named = [text_of(holder, "cachedContent") for holder in (request, object_of(request, _COUNTED))]
    return tuple(StoredObject(StoredKind.CACHE, name) for name in dict.fromkeys(named) if name)


def _like(old: str, name: str) -> str:
    """A model's name as `old` is written: "models/a", "publishers/google/models/a", "a"."""
    return f"{''.join(old.rpartition('/')[:2])}{name}"


def _check_request(value: Any, model: str) -> None:
    if not isinstance(value, dict):
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    if any(name != _like(name, model) for _, name in _names(value)):
        reject("the body names another model than the path")
    objects(value.get("contents"), "contents")
    _caches(value)
    config = object_of(value, _CONFIG)
    check_keys(config, frozenset(_SETTINGS.values()))
    for setting, name in _SETTINGS.items():
        number = member(config, name)
        check_number(number, name)
        if setting in _COUNTS and number is not None and (type(number) is not int or number < 1):
            reject(f"{name} must be a positive integer")

"""OpenAI embeddings: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- What is asked is one `input` or several, each a string or a list of tokens; for models that see, an object with parts
  as chat's content has them, and in vLLM's words `messages`. Tokens and pictures are no text: they pass.
- The vectors of an answer are not decoded: they are no text, and there may be millions of numbers. What is read is all
  else of it. Of a member that stands there twice the last counts, as it does for clients: nothing is decided on it.

Sources: OpenAI, embeddings; Mistral, vLLM, Ollama and OpenRouter, embeddings.

Not here: bytes (openai_embeddings.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ext_proc.codecs import llm_found
from ext_proc.codecs.llm_changes import Named
from ext_proc.codecs.llm_fields import check_keys, reject
from ext_proc.codecs.llm_prompts import Prompted
from ext_proc.codecs.llm_texts import Malformed, Place, unreadable
from ext_proc.codecs.opaques import malformed
from ext_proc.codecs.openai_chat_messages import read_usage
from ext_proc.codecs.openai_chat_request_texts import counted, of_turn, of_turns
from ext_proc.codecs.openai_chat_texts import of_part
from ext_proc.codecs.openai_completions_messages import check_asked, texts_under
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.limits import Limits
from ext_proc.messages import Embedded, Embedding, LlmError, Message, Opaque, Piece, Role, Usage

_REQUEST = frozenset({"model", "input", "messages", "dimensions", "encoding_format", "user"})
_ANSWER = frozenset({"object", "data", "model", "usage", "error"})
_VECTORS = "data"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EmbeddingRequest(Prompted, Named, Embedding):
    """A request for vectors."""

    __slots__ = ()
    method = "embeddings"


class EmbeddingAnswer(Named, Embedded):
    """Vectors.

    Attributes:
        value: without the vectors.
    """

    __slots__ = ()
    method = "embeddings"

    @property
    def usage(self) -> Usage | None:
        """What the provider counted."""
        usage = self.value.get("usage")
        return read_usage(usage) if isinstance(usage, dict) else None


class EmbeddingsError(LlmError):
    """OpenAI's error object."""

    __slots__ = ()
    method = "embeddings"


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        _check_request(value)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    return EmbeddingRequest(value, raw)


def from_server(raw: bytes, limits: Limits) -> Mapping[str, Any] | Opaque:
    """The members of an answer, but for the vectors; or why they cannot be read. Never raises."""
    try:
        members = _MEMBERS.decode(raw)
        check_keys(members, _ANSWER)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return malformed("json-malformed", "this is no object in JSON", raw)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    try:
        return {
            name: parse(bytes(member), limits.json_depth, limits.json_values)
            for name, member in members.items()
            if name != _VECTORS
        }
    except JsonError as error:
        return malformed(error.reason, error.detail, raw)


def texts_of(request: EmbeddingRequest) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        return [place.piece for place in _places(request.value)]
    except Malformed as fault:
        return unreadable("openai", fault, request.raw)


def with_texts(request: EmbeddingRequest, texts: Mapping[int, str]) -> EmbeddingRequest:
    """The request with new ones of its texts, by index."""
    value = request.value
    return EmbeddingRequest(*llm_found.with_texts(value, request.raw, _places(value), texts))


def _places(value: Mapping[str, Any]) -> Iterator[Place]:
    """Every text.

    Raises:
        Malformed: something has another type than its field's.
    """
    if _are_objects(value.get("input")):
        for position, each in enumerate(value["input"]):
            at: Path = ("input", position)
            yield from counted(of_turn(each, at) if "content" in each else of_part(each, 0, at), position, Role.USER)
    else:
        yield from texts_under(value, "input")
    yield from of_turns(value.get("messages") or ())


def _are_objects(asked: Any) -> bool:
    return isinstance(asked, list) and bool(asked) and all(isinstance(each, dict) for each in asked)


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        reject("a request must be an object")
    check_keys(value, _REQUEST)
    if not isinstance(value.get("model"), str):
        reject("model must be a string")
    if not _are_objects(value.get("input")):
        check_asked(value.get("input"), "input")
    if value.get("messages") is not None and not _are_objects(value["messages"]):
        reject("messages must be a list of objects and not empty")

"""OpenAI's codec for conversations: what begins one, with items that may be there from the start.

Rules:
- What is read: POST of plain JSON to a path that ends in /v1/conversations. What is done with one conversation has its
  id in its path (openai_stored.py), or is opaque.
- Its items are those of a Responses request: the same texts, the same references. With a tool that the provider runs
  itself it is opaque, for the conversation would bring that into requests that do not show it.
- So is what has other members: another API has this path, too (Mistral), and generates.

Source: OpenAI, Conversations API.

Not here: items (openai_responses_texts.py, openai_responses_stored.py), the tools (openai_chat_hosted_tools.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs import llm_found
from ext_proc.codecs.codec import Decoder
from ext_proc.codecs.llm_fields import check_keys, objects, reject, text_of
from ext_proc.codecs.llm_frames import AnswerReader, RequestDecoder
from ext_proc.codecs.llm_texts import Malformed, unreadable
from ext_proc.codecs.openai_chat_request_texts import too_many_values
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.codecs.openai_responses_messages import places_in, tools_in
from ext_proc.codecs.openai_responses_stored import references_in
from ext_proc.codecs.openai_responses_texts import beside
from ext_proc.codecs.openai_stored import StoredReader
from ext_proc.limits import Limits
from ext_proc.messages import (
    ConversationStart,
    ConversationStarted,
    LlmError,
    Message,
    Opaque,
    Piece,
    RequestHead,
    StoredKind,
    StoredObject,
)

_REQUEST = frozenset({"items", "metadata"})


class ConversationRequest(ConversationStart):
    """What begins a conversation."""

    __slots__ = ()
    method = "conversations"

    @property
    def references(self) -> Sequence[StoredObject]:
        """What its items refer to."""
        found = [StoredObject(kind, id) for item in _items(self.value) for kind, id in references_in(item) if id]
        return tuple(dict.fromkeys(found))


class ConversationAnswer(ConversationStarted):
    """The conversation."""

    __slots__ = ()
    method = "conversations"

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """The conversation itself."""
        id = text_of(self.value, "id")
        return (StoredObject(StoredKind.CONVERSATION, id),) if id else ()


class ConversationError(LlmError):
    """OpenAI's error object."""

    __slots__ = ()
    method = "conversations"


class ConversationReader(StoredReader):
    """Reads one answer; see `llm_frames.AnswerReader`."""

    failure = ConversationError

    def made(self, value: Mapping[str, Any], data: bytes) -> Message:
        """See `StoredReader`."""
        return ConversationAnswer(value, data)


class OpenAiConversationsCodec(OpenAiCodec):
    """OpenAI's conversations; see `codec.Codec`."""

    endings = ("/v1/conversations",)  # the last word alone may be the path of another protocol's server
    whole = (ConversationAnswer,)
    error = ConversationError
    results = (ConversationStarted, LlmError, Opaque)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(_from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        return ConversationReader(requests, limits, failed=failed)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; an answer has none."""
        if not isinstance(message, ConversationRequest):
            return ()
        try:
            pieces = [place.piece for place in places_in(_items(message.value), "items", message.raw)]
        except Malformed as fault:
            return unreadable("openai", fault, message.raw)
        return too_many_values(pieces, limits) or pieces

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, ConversationRequest), "nothing else has texts of its own"
        places = places_in(_items(message.value), "items", message.raw)
        return ConversationRequest(*llm_found.with_texts(message.value, message.raw, places, texts, beside))


def _from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        if not isinstance(value, dict):
            reject("a request must be an object")
        check_keys(value, _REQUEST)
        for item in _items(value):
            tuple(references_in(item))
        if tools_in(_items(value)) or value.keys() - _REQUEST:
            return Opaque("conversation-unread", "a conversation with this in it is not read", raw=raw)
    except Malformed as fault:
        return unreadable("openai", fault, raw)
    return ConversationRequest(value, raw)


def _items(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return objects(value.get("items"), "items")

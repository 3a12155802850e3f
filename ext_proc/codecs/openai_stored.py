"""OpenAI's codec for what it keeps: one response that is fetched, cancelled or deleted, one conversation likewise.

Rules:
- The path says all: `/responses/{id}`, `/responses/{id}/cancel`, `/v1/conversations/{id}`. An id is letters, digits,
  `_` and `-`; with any other it is opaque, and so are the items of a response or a conversation.
- A response that is fetched, whole or as a stream, and one that is cancelled, is an answer of the model's, with all its
  texts. Else only that something is there, or was deleted.

Source: OpenAI, Responses API (retrieve, cancel, delete), Conversations API.

Not here: what a response says (openai_responses_answer.py), what begins a conversation (openai_conversations.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.llm_fields import check_keys, reject, text_of
from ext_proc.codecs.llm_frames import AnswerReader, Part, RequestDecoder
from ext_proc.codecs.llm_reader import Reader
from ext_proc.codecs.llm_texts import Malformed, unreadable
from ext_proc.codecs.openai_chat_denials import error_object
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.codecs.openai_responses_answer import ResponsesReader
from ext_proc.codecs.openai_responses_messages import ResponsesAnswer, ResponsesError
from ext_proc.limits import Limits
from ext_proc.messages import (
    Channel,
    Completion,
    CompletionChunk,
    LlmError,
    Message,
    Opaque,
    Piece,
    RequestHead,
    StoredAnswer,
    StoredKind,
    StoredObject,
    StoredRequest,
)
from ext_proc.policy import Deny

_PATH = re.compile(
    r".*/(?:responses/(?P<response>[A-Za-z0-9_-]{1,256})(?P<cancel>/cancel)?"
    r"|v1/conversations/(?P<conversation>[A-Za-z0-9_-]{1,256}))",
    re.ASCII,
)
_DONE = {"GET": "retrieve", "DELETE": "delete"}
_CANCELLED = {"POST": "cancel"}
_ANSWER = frozenset({"id", "object", "deleted", "error"})


class StoredReader(Reader):
    """Reads what is said of something that is kept, or was; see `llm_frames.AnswerReader`.

    Attributes:
        failure: the class of an error.
    """

    provider = "OpenAI"
    format = "openai"
    failure: ClassVar[type[LlmError]] = ResponsesError

    def _document(self, value: Any, data: bytes) -> Part:
        if not isinstance(value, dict):
            reject("this is not an object")
        check_keys(value, _ANSWER)
        self._channels.finish()
        if self._is_error(value):
            self._has_erred()
            return Part(self.failure(value, data))
        text_of(value, "id")
        self._produced = True
        return Part(self.made(value, data))

    def made(self, value: Mapping[str, Any], data: bytes) -> Message:
        """The message that it is."""
        return StoredAnswer(data)

    def _event(self, value: Any, data: bytes) -> Part:
        raise Malformed("this comes in one document")

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: there is no text."""
        return b""

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """Nothing: there is no stream to end."""
        return b""

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return error_object(deny, trail_id, status)


class OpenAiStoredCodec(OpenAiCodec):
    """What OpenAI keeps; see `codec.Codec`."""

    whole = (ResponsesAnswer, StoredAnswer)
    error = ResponsesError
    results = (Completion, CompletionChunk, StoredAnswer, LlmError, Opaque)

    def matches(self, head: RequestHead) -> Match:
        """YES for a request whose path and method are about one thing that is kept, NO for any other."""
        return Match.NO if _asked(head) is None else Match.YES

    def transport_message(self, head: RequestHead) -> Message | None:
        """What is asked: no such request has a body."""
        return _asked(head)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a body that no such request has."""
        return RequestDecoder(_from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        asked = _asked(request)
        of_model = asked is not None and asked.thing.kind is StoredKind.RESPONSE and request.method != "DELETE"
        return (ResponsesReader if of_model else StoredReader)(requests, limits, failed=failed)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """None: the frames of an answer have its own."""
        return ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """Nothing here has texts of its own."""
        raise AssertionError("nothing has texts of its own")


def _asked(head: RequestHead) -> StoredRequest | None:
    found = _PATH.fullmatch(head.path)
    if found is None:
        return None
    done = _CANCELLED.get(head.method) if found["cancel"] else _DONE.get(head.method)
    if done is None:
        return None
    if found["response"]:
        return StoredRequest(f"responses.{done}", StoredObject(StoredKind.RESPONSE, found["response"]))
    return StoredRequest(f"conversations.{done}", StoredObject(StoredKind.CONVERSATION, found["conversation"]))


def _from_client(value: Any, raw: bytes) -> Message:
    return unreadable("openai", Malformed("such a request has no body"), raw)

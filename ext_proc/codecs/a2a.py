"""A2A's codec, for versions 0.3 and 1.0 of its JSON-RPC binding, and for the fetching of agents' cards.

Rules:
- What is read: POST with JSON, and GET of a card. All else on a governed route is opaque, the REST binding
  (application/a2a+json, paths of tasks) and the gRPC binding among it.
- An answer is read as JSON or as server-sent events, as its content type says.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: frames (jsonrpc_frames.py), readers (a2a_frames.py), classes of messages (a2a_messages.py), denials
(a2a_denials.py), texts (a2a_texts.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import a2a_denials, a2a_texts
from ext_proc.codecs.a2a_frames import AgentReader, ClientReader, Tally
from ext_proc.codecs.a2a_messages import class_by_request
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.jsonrpc_frames import EventDecoder, JsonDecoder
from ext_proc.limits import Limits
from ext_proc.messages import (
    A2aError,
    A2aRequest,
    A2aResult,
    AgentCard,
    CardFetch,
    ExtendedCard,
    HeadersOnly,
    Message,
    Opaque,
    Piece,
    RequestHead,
    ResponseHead,
    TaskPage,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

# Where an agent's card stands (1.0, section 8.2; the second is 0.2's, which clients of 0.3 still ask for), below
# whatever path the agent has.
CARD_PATHS = ("/.well-known/agent-card.json", "/.well-known/agent.json")
_ANYTHING: tuple[type[Message], ...] = (A2aResult, TaskPage, ExtendedCard, AgentCard, A2aError, Opaque)


def fetches_card(head: RequestHead) -> bool:
    """Whether a request is for an agent's card."""
    return head.method == "GET" and head.path.endswith(CARD_PATHS)


class A2aCodec:
    """The Agent2Agent protocol over JSON-RPC; see `codec.Codec`."""

    name = "a2a"

    def matches(self, head: RequestHead) -> Match:
        """YES for the requests of the JSON-RPC binding and for cards, NO for any other: headers alone tell."""
        called = head.method == "POST" and plain_type(head.headers) == JSON
        return Match.YES if called or fetches_card(head) else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message of a GET; None for a POST."""
        return CardFetch(b"") if head.method == "GET" else None

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: no header repeats what a body asks."""
        return None

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return JsonDecoder(ClientReader(limits), Tally(), limits, limit=limits.request_body, required=True)

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers the request: a frame per event, or one for a JSON body."""
        asked = next((message for message in requests if isinstance(message, A2aRequest | CardFetch)), None)
        reader = AgentReader(asked, failed=not 200 <= response.status < 300, limits=limits)
        streamed = self.streams(response)
        tally = Tally(asked, response.status, streamed=streamed)
        if streamed:
            return EventDecoder(reader, tally, limits)
        return JsonDecoder(reader, tally, limits, limit=limits.response_body, required=False)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8; one without a type is read as JSON: a card's 304."""
        return "content-type" not in response.headers or plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back; all of them where no request says what is awaited."""
        for request in requests:
            if isinstance(request, A2aRequest):
                return (class_by_request(request), A2aError, Opaque)
            if isinstance(request, CardFetch):
                return (AgentCard, Opaque)
        return _ANYTHING

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """A JSON-RPC error; see a2a_denials.py."""
        return a2a_denials.denial(denials, head, trail_id)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error with the request's id; None for one answer of many, whose stream ends with the error."""
        return a2a_denials.refusal(message, deny, trail_id)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of messages, tasks and artifacts: A2A's messages are whole, in streams too."""
        return a2a_texts.texts_of(message)

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A message with other texts."""
        return a2a_texts.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """{}: no header repeats a body."""
        return {}

"""MCP's codec, for both of its wires: legacy (2024-11-05 to 2025-11-25) and 2026-07-28.

Rules:
- What is read: POST with JSON, GET for an event stream, DELETE. All else on a governed route is opaque.
- An answer is read as JSON or as server-sent events, as its content type says.
- `answers` promises: no message of another class comes out of a decoder for these requests, so that what need not be
  read is not read.

Not here: frames (jsonrpc_frames.py), readers (mcp_frames.py), classes of messages (mcp_messages.py), headers
(mcp_headers.py), denials (mcp_denials.py), texts (mcp_texts.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import mcp_denials, mcp_texts
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.jsonrpc_frames import EventDecoder, JsonDecoder
from ext_proc.codecs.mcp_frames import ClientReader, ServerReader, Tally
from ext_proc.codecs.mcp_headers import accepts_events, header_message, is_modern, may_batch, mirrored
from ext_proc.codecs.mcp_messages import Asked, class_by_request
from ext_proc.limits import Limits
from ext_proc.messages import (
    CacheableResult,
    DiscoverResult,
    HeadersOnly,
    InitializeResult,
    McpError,
    McpNotification,
    McpRequest,
    McpResult,
    Message,
    Opaque,
    Piece,
    PromptList,
    RequestHead,
    ResourceList,
    ResourceTemplateList,
    ResponseHead,
    ServerRequest,
    SessionEnd,
    StreamOpen,
    ToolList,
    ToolResult,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

# Beside its result, any answer can be an error, and a stream can carry the server's own messages.
_ALWAYS: tuple[type[Message], ...] = (McpError, McpNotification, ServerRequest, Opaque)
_LISTS = (ToolList, ResourceList, ResourceTemplateList, PromptList)
_ANYTHING: tuple[type[Message], ...] = (
    ToolResult,
    *_LISTS,
    CacheableResult,
    DiscoverResult,
    InitializeResult,
    McpResult,
    *_ALWAYS,
)


class McpCodec:
    """The Model Context Protocol over streamable HTTP; see `codec.Codec`."""

    name = "mcp"

    def matches(self, head: RequestHead) -> Match:
        """YES for the requests of MCP's transport, NO for any other: headers alone tell."""
        if head.method == "POST":
            found = plain_type(head.headers) == JSON
        elif head.method == "GET":
            found = accepts_events(head.headers)
        else:
            found = head.method == "DELETE"
        return Match.YES if found else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message of a GET or DELETE; None for a POST."""
        if head.method == "GET":
            return StreamOpen(b"")
        return SessionEnd(b"") if head.method == "DELETE" else None

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """The method and name of a POST of revision 2026-07-28; None for one whose headers are not all in order."""
        return header_message(head)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        reader = ClientReader(arrays=may_batch(head), limits=limits)
        return JsonDecoder(reader, Tally(Asked(())), limits, limit=limits.request_body, required=True)

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: a frame per event, or one for a JSON body."""
        asked = Asked(requests)
        reader = ServerReader(asked, failed=not 200 <= response.status < 300, limits=limits)
        tally = Tally(asked, response.status)
        if self.streams(response):
            return EventDecoder(reader, tally, limits)
        return JsonDecoder(reader, tally, limits, limit=limits.response_body, required=False)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8; one without a type is read as JSON.

        A body that may follow mostly does not: servers answer DELETE and notifications with nothing, and some of them
        (Node's) say so only at its end. One that does follow and is no JSON-RPC is malformed.
        """
        return "content-type" not in response.headers or plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back; all of them where no request says what is awaited (none known, a GET)."""
        found: dict[type[Message], None] = {}
        for request in requests:
            if isinstance(request, McpRequest):
                found[class_by_request(request)] = None
        return (*found, *_ALWAYS) if found else _ANYTHING

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """JSON-RPC errors (or results with `isError`); see mcp_denials.py."""
        return mcp_denials.denial(denials, head, trail_id, batch=batch)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error with the denied message's id; None for notifications and for what the server asks."""
        return mcp_denials.refusal(message, deny, trail_id)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of calls and results: MCP's messages are whole, in streams too."""
        return mcp_texts.texts_of(message)

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A call or result with other texts."""
        return mcp_texts.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """Mcp-Method and Mcp-Name of revision 2026-07-28; {} on the legacy wire.

        Mcp-Param-* is not among them: which argument a header repeats is known from the tool's schema only.
        """
        return mirrored(message) if is_modern(head) else {}

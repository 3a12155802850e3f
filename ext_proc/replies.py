"""What we answer, free of protobuf: the last word of the ladder.

Rules:
- One reply is one ProcessingResponse, but for `Abort` and `Finish`, which end the RPC.
- `metadata` is dynamic metadata by namespace; Envoy takes the namespaces listed in `receiving_namespaces`.

Not here: when which reply is due (engine/exchange.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.events import BodyMode, Direction
from ext_proc.headers import HeaderMutation

Metadata = Mapping[str, Mapping[str, Any]]
NO_METADATA: Metadata = {}
UNCHANGED = HeaderMutation()


@dataclass(frozen=True, slots=True)
class Modes:
    """A `mode_override`: what Envoy shall send for the rest of the exchange (`ProcessingMode`).

    Trailer modes follow the body modes: FULL_DUPLEX_STREAMED needs SEND, or Envoy refuses it.
    """

    request_body: BodyMode = BodyMode.NONE
    response_body: BodyMode = BodyMode.NONE
    request_trailers: bool = False
    response_trailers: bool = False
    response_headers: bool = True


@dataclass(frozen=True, slots=True)
class HeadersReply:
    """Answers HeadersReceived: header changes, and optionally how the rest is to be sent."""

    direction: Direction
    mutation: HeaderMutation = UNCHANGED
    clear_route_cache: bool = False
    modes: Modes | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModesReply:
    """A standalone `mode_override` before the held request-headers reply (Envoy 1.40)."""

    modes: Modes


@dataclass(frozen=True, slots=True)
class BodyReply:
    """Answers BodyReceived outside full duplex. `body=None` leaves the bytes as they are; b"" clears them."""

    direction: Direction
    body: bytes | None = None
    mutation: HeaderMutation = UNCHANGED
    clear_route_cache: bool = False
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamedBody:
    """Body bytes in full duplex (`StreamedBodyResponse`), at most 64 KiB."""

    direction: Direction
    data: bytes
    end_of_stream: bool = False
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrailersReply:
    """Answers TrailersReceived."""

    direction: Direction
    mutation: HeaderMutation = UNCHANGED
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImmediateReply:
    """An HTTP response of ours instead of the upstream's; `details` is Envoy's %RESPONSE_CODE_DETAILS%."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, bytes], ...] = ()
    details: str = ""
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Abort:
    """Ends the RPC with an error status, so that Envoy fails closed (a clean end would let the rest through unread)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Ends the RPC with OK; only ever after Envoy's half-close."""


Reply = HeadersReply | ModesReply | BodyReply | StreamedBody | TrailersReply | ImmediateReply | Abort | Finish

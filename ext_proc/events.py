"""What Envoy said, free of protobuf: the first word of the ladder.

Rules:
- One ProcessingRequest is one event; wire/ makes them, the engine reads them.
- `Tick` and `Closed` are the transport's own events: the engine has no clock and no connection.

Not here: what we answer (replies.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.headers import Headers


class Direction(enum.Enum):
    """Towards the upstream, or back to the client. "Response" always means the HTTP response."""

    REQUEST = "request"
    RESPONSE = "response"


class BodyMode(enum.Enum):
    """Envoy's `ProcessingMode.BodySendMode`, by its name and number."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4


@dataclass(frozen=True, slots=True)
class EnvoyFacts:
    """What Envoy tells beside the HTTP message.

    Attributes:
        metadata: dynamic metadata forwarded to us, by namespace (`forwarding_namespaces`).
        attributes: requested CEL attributes (`request_attributes`), by name.
        request_body_mode: the filter's configured mode from `protocol_config`; None where an older Envoy omits it.
        response_body_mode: likewise for the response.
        observability_mode: Envoy expects no answer at all.
    """

    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    request_body_mode: BodyMode | None = None
    response_body_mode: BodyMode | None = None
    observability_mode: bool = False


NO_FACTS = EnvoyFacts()


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """The headers of one direction; `end_of_stream` means neither body nor trailers follow."""

    direction: Direction
    headers: Headers
    end_of_stream: bool = False
    facts: EnvoyFacts = NO_FACTS


@dataclass(slots=True)  # made for every event: frozen ones take three times as long
class BodyReceived:
    """Body bytes; never changed. Where trailers follow, the last one has `end_of_stream=False`, in BUFFERED too."""

    direction: Direction
    data: bytes
    end_of_stream: bool = False


@dataclass(frozen=True, slots=True)
class TrailersReceived:
    """The trailers of one direction, which end it."""

    direction: Direction
    trailers: Headers


@dataclass(frozen=True, slots=True)
class Tick:
    """The transport's time.

    Attributes:
        now: monotonic seconds, for how long something took or may take.
        time: seconds since the Unix epoch, for what the world dates: tokens, expiries.
    """

    now: float
    time: float = 0.0


class CloseCause(enum.Enum):
    """Why the RPC is over."""

    HALF_CLOSED = "half_closed"  # Envoy has nothing more to say
    CANCELLED = "cancelled"  # Envoy reset the RPC: a client or an upstream is gone, or Envoy gave up on us
    FAILED = "failed"  # we ended it with an error status


@dataclass(frozen=True, slots=True)
class Closed:
    """The RPC is over; comes once, and may come while a checkpoint is outstanding."""

    cause: CloseCause


Event = HeadersReceived | BodyReceived | TrailersReceived | Tick | Closed

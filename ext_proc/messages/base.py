"""What every message is, and the heads of the HTTP request and response that messages come in.

Rules:
- A message is immutable. A changed one is a new message; one that nobody changed leaves as the bytes that came (`raw`).
- The class is what a policy subscribes to by annotating its hook, and a subclass is also its parents.
- What cannot be read is a message too: `Opaque`. Nothing on a governed route is without a type.

Not here: how bytes become messages, or which answer may hold what (codecs/).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from ext_proc.headers import Headers
from ext_proc.messages.channel import ChannelKind
from ext_proc.trail import Outcome


def encode_json(value: Any) -> bytes:
    """A JSON value in compact UTF-8; the way back for all that `framing.json_view.parse` gives."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        # msgspec writes integers of 64 bits; a document may hold longer ones, and must not lose a digit of them here.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What the request's headers say."""

    method: str
    path: str  # without the query
    authority: str
    headers: Headers
    end_of_stream: bool = False
    query: str = ""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What the response's headers say."""

    status: int
    headers: Headers
    end_of_stream: bool = False


class Message:
    """One protocol unit.

    Attributes:
        raw: its bytes as they came (for a server-sent event: the joined data).
        method: the protocol's name for what is asked; "" where there is none.
        target: the tool, prompt, resource or model it is aimed at; "" where there is none.
        kind: the class, for CEL and logs.
        names: the routing fact that `target` is ("tool", "model"); "" where nothing is routed by it.
        texts: the kinds of text that such a message may hold, for policies with `on_text`.
        passes_unguarded: whether a request goes on where no policy has a say about it; else it is as opaque there.
    """

    __slots__ = ("raw",)
    kind: ClassVar[str] = "message"
    names: ClassVar[str] = ""
    texts: ClassVar[frozenset[ChannelKind]] = frozenset()
    passes_unguarded: ClassVar[bool] = True

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @property
    def method(self) -> str:
        return ""

    @property
    def target(self) -> str:
        return ""

    @property
    def outcome(self) -> Outcome:
        """What this unit says of how the exchange ended; OK unless it is an answer that says otherwise."""
        return Outcome.OK

    def as_variables(self) -> dict[str, Any]:
        """The message as CEL sees it under `message`."""
        return {"kind": self.kind, "method": self.method, "target": self.target}

    def __repr__(self) -> str:
        # No payload: a repr ends up in logs and tracebacks.
        return f"<{type(self).__name__} {self.method} {self.target} {len(self.raw)} bytes>"


class Opaque(Message):
    """Bytes on a governed route that are no message of its protocol.

    Attributes:
        reason: why, as a short slug for the trail, e.g. "json-duplicate-key" or "not-mcp".
        detail: the same for the caller, without a byte of the payload.
        malformed: it claims to be of the protocol and is not; never let through by `allow_opaque`, for two readers may
            read it in two ways.
        too_large: past a limit (413); nor is this ever let through by `allow_opaque`: it was of the protocol.
        id: the id of the request that it was meant to be, where one can be read: its denial carries it.
    """

    __slots__ = ("detail", "id", "malformed", "reason", "too_large")
    kind = "opaque"

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        raw: bytes = b"",
        malformed: bool = False,
        too_large: bool = False,
        id: str | int | None = None,
    ) -> None:
        super().__init__(raw)
        self.id = id
        self.reason = reason
        self.detail = detail
        self.malformed = malformed
        self.too_large = too_large

    @property
    def outcome(self) -> Outcome:
        return Outcome.INVALID

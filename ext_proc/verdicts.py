"""What a policy may say: the fourth word of the ladder.

Rules:
- A verdict is immutable, and says what is wanted, not how it is done: the protocol's shape is the codec's.
- What a caller may read of it holds nothing of the payload and nothing of the rules.

Not here: how verdicts are folded (engine/pipeline.py), what is no verdict (engine/verdicts.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.headers import HeaderMutation
from ext_proc.messages import Message


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change. `Mutation()` changes nothing and is the identity of `then`.

    Attributes:
        headers: of the HTTP request or response that the message is in; only where they can still be changed.
        message: replaces the message.
        drop: takes the message out (an element of a batch, an event of a stream).
        metadata: dynamic metadata for Envoy, under the namespace `gatehouse`.
        facts: for routing: each leaves as the request header `x-gatehouse-<name>` and as dynamic metadata.
    """

    headers: HeaderMutation = field(default_factory=HeaderMutation)
    message: Message | None = None
    drop: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def then(self, later: Mutation) -> Mutation:
        """This change followed by `later`; associative."""
        return Mutation(
            headers=self.headers.then(later.headers),
            message=later.message if later.message is not None else self.message,
            drop=self.drop or later.drop,
            metadata={**self.metadata, **later.metadata},
            facts={**self.facts, **later.facts},
        )


@dataclass(frozen=True, slots=True)
class Deny:
    """No. The caller gets it in the protocol's own error shape, with the trail's id.

    Attributes:
        reason: a short slug for the trail and metrics, e.g. "tool-not-allowed"; one of few, for it labels a metric.
        message: what the caller may read; nothing of the payload, nothing of the rules.
        status: the HTTP status; None leaves it to the protocol.
        code: the protocol's error code; None leaves it to the codec.
        data: added to the protocol's error data.
        headers: added to the HTTP response, e.g. `www-authenticate`.
        as_result: MCP only: answer with a result with `isError: true`, from which a model can correct itself.
    """

    reason: str
    message: str
    status: int | None = None
    code: int | None = None
    data: Mapping[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    as_result: bool = False


@dataclass(frozen=True, slots=True)
class Respond:
    """An HTTP answer of the policy's own, in place of the upstream's."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reason: str = "responded"


Verdict = None | Mutation | Deny | Respond


@dataclass(frozen=True, slots=True)
class Edit:
    """Replaces the text at [start, end), by absolute offset; start == end inserts.

    What is put into a string of JSON is escaped by the engine. A text of kind NAME can only be read.
    """

    start: int
    end: int
    replacement: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A verdict on text: edits, and the watermark up to which the policy is done and the text may leave."""

    watermark: float
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDeny:
    """Ends the answer in the protocol's own way; a request, or an answer that has not begun to leave, is denied.

    Attributes:
        reason: a short slug for the trail and metrics.
        message: what the caller may read, where the protocol has a place for it.
        closing_text: a last text on the channel, before the end of a streamed answer; not in JSON.
    """

    reason: str
    message: str = "a text was not let through"
    closing_text: str = ""


TextVerdict = None | Text | TextDeny

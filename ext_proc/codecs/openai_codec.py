"""What OpenAI's codecs have in common: POST of JSON to a path that tells the format, one shape of errors.

Rules:
- A path's end tells the format, for deployments and gateways put what they like before it. What no codec names is
  opaque: a stored chat, one model, files, images, sound.

Not here: any of the formats (openai_chat.py, openai_responses.py, openai_conversations.py, openai_completions.py,
openai_embeddings.py); what all models' codecs have in common (llm_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ext_proc.codecs.codec import Match
from ext_proc.codecs.content_types import JSON, plain_type
from ext_proc.codecs.llm_codec import LlmCodec
from ext_proc.codecs.openai_chat_denials import error_object
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    LlmError,
    Message,
    Opaque,
    RequestHead,
)
from ext_proc.policy import Deny


class OpenAiCodec(LlmCodec):
    """A format of OpenAI's; see `codec.Codec`.

    Attributes:
        endings: how the path of a request ends.
        results: the classes that can come back.
    """

    name = "openai"
    endings: ClassVar[tuple[str, ...]]
    results: ClassVar[tuple[type[Message], ...]] = (Completion, CompletionChunk, LlmError, Opaque)

    def matches(self, head: RequestHead) -> Match:
        """YES for a request of the format, NO for any other: headers alone tell."""
        found = head.method == "POST" and head.path.endswith(self.endings) and plain_type(head.headers) == JSON
        return Match.YES if found else Match.NO

    def error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        """See `LlmCodec`."""
        return error_object(deny, trail_id, status)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        return self.results

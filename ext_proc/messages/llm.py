"""Language models' messages, the same for every provider: requests to generate, answers, pieces of streams.

Rules:
- A codec makes subclasses that know where their format keeps each thing; policies use only what stands here.
- A changed message keeps every byte that was not changed (framing/json_splice.py).

Not here: any provider's field names (codecs/).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from ext_proc.messages.base import Message
from ext_proc.messages.channel import ChannelKind, Piece
from ext_proc.messages.prompt import PromptPart
from ext_proc.messages.proposals import Arguments, CallKey, Proposals, ProposedCall
from ext_proc.messages.stored import StoredObject
from ext_proc.trail import Outcome


class Setting(enum.StrEnum):
    """What a caller may ask of a generation, by OpenTelemetry's and the providers' common names."""

    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    SEED = "seed"
    N = "n"
    REASONING_EFFORT = "reasoning_effort"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them; `estimated` where it did not say.

    Attributes:
        input_tokens: of the prompt, those from a cache included.
        output_tokens: generated, reasoning included.
        cached_tokens: the part of the input that was read from a cache.
        cache_write_tokens: the part of the input that was written to one.
        reasoning_tokens: the part of the output that the caller may not see.
        input_audio_tokens, output_audio_tokens: the parts that are sound.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A tool that the provider runs itself: what it calls and reads there passes no gateway.

    Attributes:
        kind: as the provider names it, e.g. "web_search", "code_interpreter", "mcp"; what formats keep apart has a
            prefix: "plugin:web", "data_source:azure_search".
        server_url, server_label: of a server that the provider connects to, as they stand there; "" for none.
        connector_id: of a server that the provider keeps itself; "" for none.
        allowed_tools: the server's tools that the model may use; None where the request names none: all.
        require_approval: which calls wait for the caller's yes, in the provider's words; None where it does not say.
        parameters: the whole of what the caller wrote of it; may hold credentials.
    """

    kind: str
    server_url: str = field(default="", repr=False)  # may hold a secret too
    server_label: str = ""
    connector_id: str = ""
    allowed_tools: Sequence[str] | None = None
    require_approval: str | Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class OfferedFunction:
    """A function that the caller offers the model, and runs itself.

    Attributes:
        schema: of its arguments, JSON Schema as the caller wrote it: it may be none at all.
    """

    name: str
    schema: Any = field(repr=False)


class LlmMessage(Message):
    """A unit of a language model's API.

    Attributes:
        value: the decoded JSON object; not to be changed.
    """

    __slots__ = ("value",)
    kind: ClassVar[str] = "llm"

    def __init__(self, value: Mapping[str, Any], raw: bytes) -> None:
        super().__init__(raw)
        self.value = value

    @property
    def model(self) -> str:
        """The model's name as it stands in the message; "" where there is none."""
        model = self.value.get("model")
        return model if isinstance(model, str) else ""

    def with_model(self, name: str) -> LlmMessage:
        """The same message with another model's name."""
        raise TypeError(f"{type(self).__name__} names no model")


class ModelRequest(LlmMessage):
    """What is asked of a model, whatever that is."""

    __slots__ = ()
    names: ClassVar[str] = "model"

    @property
    def target(self) -> str:
        return self.model

    def prompt(self) -> Iterator[PromptPart]:
        """What it puts before the model, for counting; costs as much as the request is long. Never raises."""
        return iter(())

    @property
    def references(self) -> Sequence[StoredObject]:
        """What it refers to that the provider keeps."""
        return ()

    def as_variables(self) -> dict[str, Any]:
        return {**super().as_variables(), "model": self.model}


class TokenCount(ModelRequest):
    """A question how many tokens a request would be."""

    __slots__ = ()
    kind: ClassVar[str] = "token_count"
    texts = frozenset(ChannelKind)


class Embedding(ModelRequest):
    """A request for vectors of texts."""

    __slots__ = ()
    kind: ClassVar[str] = "embedding"
    texts = frozenset({ChannelKind.CONTENT})


class Generation(ModelRequest):
    """A request to generate."""

    __slots__ = ()
    kind: ClassVar[str] = "generation"
    texts = frozenset(ChannelKind)

    @property
    def stream(self) -> bool:
        """Whether the answer is asked for in pieces."""
        return self.value.get("stream") is True

    def including_usage(self) -> Generation:
        """The same request, asking that its stream tells usage; itself where nobody has to ask, or it does already."""
        return self

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider would run itself; functions that the client runs are none of them."""
        return ()

    @property
    def offered_functions(self) -> Iterator[OfferedFunction]:
        """The functions that the client runs itself, as far as their arguments have a schema; a name may come twice."""
        return iter(())

    @property
    def deferred(self) -> bool:
        """Whether the answer is made apart from this exchange: begun here, and fetched when it is there."""
        return False

    @property
    def rounds(self) -> int | None:
        """How often the model has proposed calls and was told what they gave, since the caller's last words. None where
        the provider keeps the conversation, so that not all of it stands here."""
        return None

    @property
    def keeps_answer(self) -> bool:
        """Whether the provider keeps the answer, so that later requests can refer to it and its items."""
        return False

    def setting(self, setting: Setting) -> Any:
        """A setting as the caller gave it; None where it did not, or the format has none."""
        return None

    def with_settings(self, settings: Mapping[Setting, Any]) -> Generation:
        """The same request with settings replaced; None removes one.

        Raises:
            ValueError: the format has no such setting.
        """
        raise ValueError(f"{type(self).__name__} has no settings")

    def as_variables(self) -> dict[str, Any]:
        return {**super().as_variables(), "stream": self.stream}


class ConversationStart(LlmMessage):
    """A request to keep a conversation, which later requests to generate go on with."""

    __slots__ = ()
    kind: ClassVar[str] = "conversation_start"
    texts = frozenset(ChannelKind)

    @property
    def references(self) -> Sequence[StoredObject]:
        """What it refers to that the provider keeps."""
        return ()


class ModelListing(Message):
    """A request for the list of models."""

    __slots__ = ()
    kind: ClassVar[str] = "model_listing"

    @property
    def method(self) -> str:
        return "models"


class ModelAnswer(LlmMessage):
    """What a model's API answered, an error excepted."""

    __slots__ = ()

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, if this message says."""
        return None

    @property
    def deferred(self) -> bool:
        """Whether it was made apart from the request for it, and says so."""
        return False

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """What it names that later requests can refer to; in a stream, events name a thing again."""
        return ()


class ConversationStarted(LlmMessage):
    """A conversation that the provider keeps from now on."""

    __slots__ = ()
    kind: ClassVar[str] = "conversation_started"

    @property
    def handed_out(self) -> Sequence[StoredObject]:
        """The conversation."""
        return ()


class TokenCounted(ModelAnswer):
    """How many tokens a request would be."""

    __slots__ = ()
    kind: ClassVar[str] = "token_counted"

    @property
    def tokens(self) -> int | None:
        """How many; None where it does not say, or says what can be no count."""
        return None


class Embedded(ModelAnswer):
    """Vectors."""

    __slots__ = ()
    kind: ClassVar[str] = "embedded"


class Completion(ModelAnswer):
    """A whole answer."""

    __slots__ = ()
    kind: ClassVar[str] = "completion"
    texts = frozenset(ChannelKind)

    @property
    def finish_reasons(self) -> Sequence[str]:
        """Why its choices ended, in the provider's words, for those that end with it."""
        return ()

    @property
    def pieces(self) -> Sequence[Piece]:
        """The texts in it."""
        return ()

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls that it proposes to its client; in a stream those whose name stands in this event."""
        return ()

    def without_calls(self, decided: Proposals) -> Self | None:
        """The same message without the calls that were taken out of its answer; itself where it has none of them, None
        where nothing is left of it.

        Args:
            decided: what became of the answer's calls, those of this message included.
        """
        return self


class CompletionChunk(Completion):
    """One event of a streamed answer."""

    __slots__ = ()
    kind: ClassVar[str] = "completion_chunk"

    def knowing(self, arguments: Mapping[CallKey, Arguments]) -> Self:
        """The same event, which knows what came behind it: the arguments of calls whose name stands in it."""
        raise TypeError(f"{type(self).__name__} proposes no calls in pieces")

    def without_usage(self) -> CompletionChunk | None:
        """The same event without what `Generation.including_usage` adds to a stream; itself where that is nothing, None
        where nothing is left of it."""
        return self


class LlmError(LlmMessage):
    """The provider's own error, also in the middle of a stream."""

    __slots__ = ()
    kind: ClassVar[str] = "llm_error"

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls in what stands beside it: some clients read on, as if there were no error."""
        return ()

    @property
    def outcome(self) -> Outcome:
        return Outcome.PROTOCOL_ERROR

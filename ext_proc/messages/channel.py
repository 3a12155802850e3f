"""Texts as policies see them: channels, their pieces in messages, and windows on them.

Rules:
- A channel is one text: of an answer, where it may come in pieces over many events, or of a request, where it is whole.
- JSON within a message (a tool's arguments, structured content) is not one text: each string in it is.

Not here: which field of which protocol is a text (codecs/), who is shown what (engine/).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ext_proc.events import Direction


class ChannelKind(enum.StrEnum):
    """What a text is."""

    CONTENT = "content"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    TOOL_ARGUMENTS = "tool_arguments"  # a string among the values of a tool call's arguments
    TOOL_INPUT = "tool_input"  # plain text, for a tool that takes no JSON
    NAME = "name"  # a key of an object in JSON: to be read and denied, not to be changed


class Role(enum.StrEnum):
    """Whose words a text is, by the roles of chat requests."""

    SYSTEM = "system"  # the application's instructions; "developer" too
    USER = "user"  # what the caller says, and any role that is none of these
    ASSISTANT = "assistant"  # the model's own words, in an answer or a history
    TOOL = "tool"  # what a tool or a resource gave back: nobody vouches for it


@dataclass(frozen=True, slots=True)
class Channel:
    """One text.

    Attributes:
        choice: in a model's answer the choice (or candidate) it belongs to, whose end closes it; in a chat request the
            message's position; 0 in MCP.
        index: tells apart several texts of one kind. In a model's answer: the tool call's position, or for the other
            kinds the field or part that it stands in, where a format has several. Elsewhere they are counted from 0.
        direction: towards the upstream, or back to the client.
        path: of a string in JSON, where it stands there, as a JSON Pointer (RFC 6901; a key longer than 256 characters
            is cut); of a name, the object that it is a key of; "" for plain text.
        number: of a string in JSON, counted from 0: keys may occur twice in what a model wrote.
        copy: whether the text repeats that of another channel of the answer, whose lengths are not to be added up. It
            is said of a piece, and tells no channels apart.
    """

    kind: ChannelKind
    choice: int = 0
    index: int = 0
    direction: Direction = Direction.RESPONSE
    role: Role = Role.ASSISTANT
    path: str = ""
    number: int = 0
    copy: bool = field(default=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Of what mostly differs, and once: it is asked for several times for every event.
        object.__setattr__(self, "_hash", hash((self.kind, self.choice, self.index, self.number)))

    def __hash__(self) -> int:
        return self._hash


class Form(enum.Enum):
    """What the text of a piece is."""

    PLAIN = "plain"
    WRITTEN_JSON = "written"  # the source of JSON, as a model wrote it: in pieces, and perhaps no JSON at all
    VALID_JSON = "valid"  # the source of JSON that a strict reader accepted, whole


@dataclass(slots=True)  # made for every event: frozen ones take three times as long
class Piece:
    """A stretch of a channel's text, or of the JSON source that its texts are in, as it stands in one message; never
    changed."""

    channel: Channel
    text: str = field(repr=False)
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class TextWindow:
    """A policy's view of one text: what came since its own watermark.

    Attributes:
        start: the absolute offset, in characters, of the first character of `text`.
        closed: nothing will follow: the last call for this channel.
    """

    channel: Channel
    start: int
    text: str = field(repr=False)
    closed: bool

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.start + len(self.text)


class RequestText(TextWindow):
    """A text on its way to the upstream: whole, in one window."""

    __slots__ = ()


class ResponseText(TextWindow):
    """A text on its way to the client."""

    __slots__ = ()

"""Requests, answers, decoders and recordings for the tests of models' formats: what is not any one format's.

Rules:
- A `Format` is a codec with a path and a small request; its methods do what tests of every format do.

Not here: values of one format (anthropic_building.py, gemini_building.py, openai_building.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ext_proc.codecs.codec import Codec, Decoder, Frame
from ext_proc.codecs.llm_frames import LlmFrame
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Channel, ChannelKind, Message, Opaque, Piece, RequestHead, ResponseHead
from ext_proc.policy import Deny
from tests.exchange.recordings import RECORDINGS, Recording
from tests.unit.codecs.openai_building import STREAM, answer_head, drain, encoded, messages_of


@dataclass(frozen=True)
class Format:
    """A codec under test.

    Attributes:
        path: where it is asked to generate.
        asked: a small request.
        apis: those of tests/data whose recordings it reads.
    """

    codec: Codec
    path: str
    asked: Any
    apis: frozenset[str]

    def head(self, method: str = "POST", path: str | None = None, **headers: str) -> RequestHead:
        lines = {"content_type": "application/json"} if method == "POST" else {}
        return RequestHead(method, path or self.path, "example.test", Headers.of(**{**lines, **headers}))

    def read(self, value: Any, limits: Limits = DEFAULTS, path: str | None = None) -> Message:
        """The message of a POST."""
        (frame,) = drain(self.codec.request_decoder(self.head(path=path), limits), encoded(value))
        (message,) = frame.messages
        return message

    def texts(self, message: Message) -> list[Piece]:
        """The texts of a request."""
        found = self.codec.texts(message, DEFAULTS)
        assert isinstance(found, list | tuple)
        return list(found)

    def decoder(
        self,
        response: ResponseHead = STREAM,
        limits: Limits = DEFAULTS,
        path: str | None = None,
        requests: Sequence[Message] | None = None,
    ) -> Decoder:
        """A decoder for the answer to `requests`; to the small one without."""
        asked = (self.read(self.asked, path=path),) if requests is None else requests
        return self.codec.response_decoder(asked, self.head(path=path), response, limits)

    def decoded(self, body: Any, response: ResponseHead = STREAM, **options: Any) -> tuple[list[Frame], Decoder]:
        """The frames of an answer, and its decoder after the end."""
        decoder = self.decoder(response, **options)
        return drain(decoder, encoded(body)), decoder

    def told(self, body: bytes) -> Any:
        """All that the frames of a stream and its end say, and what the decoder would write of its own."""
        decoder, frames, states = self.decoder(), [], []
        for frame in decoder.feed(body):
            assert isinstance(frame, LlmFrame)
            frames.append(_told(frame))
            states.append((len(decoder.unanswered), decoder.outcome))
        written = decoder.text_event(Channel(ChannelKind.CONTENT), "x"), decoder.stream_end(Deny("no", "no"), "t")
        frames += [_told(frame) for frame in decoder.close() if isinstance(frame, LlmFrame)]
        return frames, states, written, decoder.outcome

    @property
    def recordings(self) -> dict[str, Recording]:
        return {name: recording for name, recording in RECORDINGS.items() if recording.api in self.apis}

    def asked_in(self, recording: Recording) -> tuple[RequestHead, list[Message]]:
        """The head and the messages of a recorded request."""
        path, _, query = recording.path.partition("?")
        lines = Headers.of(content_type="application/json")
        head = RequestHead(recording.method, path, recording.host, lines, query=query)
        return head, messages_of(drain(self.codec.request_decoder(head, DEFAULTS), recording.request))

    def answer_to(self, recording: Recording) -> Decoder:
        """A decoder for a recorded answer."""
        head, asked = self.asked_in(recording)
        response = answer_head(recording.status, recording.response_headers["content-type"])
        return self.codec.response_decoder(asked, head, response, DEFAULTS)


def _told(frame: LlmFrame) -> Any:
    part = frame.part
    message = part.message
    if isinstance(message, Opaque):
        said: Any = (message.reason, message.detail, message.malformed)
    else:
        said = message and (type(message), message.as_variables(), getattr(message, "usage", None))
    copies = [piece.channel.copy for piece in frame.pieces]
    changes = getattr(part.changes, "args", part.changes)
    return frame.raw, said, part.spots, copies, part.closes, part.ends, changes, part.late and part.late()

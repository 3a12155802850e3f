"""The answer's body where it is read: decided message by message, and text by text.

Rules:
- Nothing of a response leaves before its message was decided; unchanged messages leave byte-identical.
- Where a body may change, content-length goes with the headers reply: in full duplex Envoy keeps a stale one, and a
  longer body would run into the pooled connection's next response.
- A deny after response headers is the protocol's own error in the message's place, never raw bytes in the middle.
- The outcome is read from the body, also inside HTTP 200, and leaves as metadata with the last reply.

Not here: answers that are not read (response_side.py), texts (text_flow.py, whole_texts.py), content codings
(decoding.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.engine.checkpoint import PASS, Checkpoint, Decision
from ext_proc.engine.decoding import IN_THE_CLEAR, coding_of
from ext_proc.engine.plan import ResponsePlan
from ext_proc.engine.refusals import HELD_TOO_LONG, UNREADABLE, refuse, refuse_all
from ext_proc.engine.scope import Scope, Steps, changed, chunks
from ext_proc.engine.text_flow import Bytes, TextFlow
from ext_proc.engine.whole_texts import decide_texts
from ext_proc.events import BodyMode, BodyReceived, Direction
from ext_proc.headers import HeaderMutation
from ext_proc.messages import A2aAnswer, LlmMessage, McpCall, Message, Opaque
from ext_proc.policy import Deny, Respond
from ext_proc.replies import BodyReply, HeadersReply, StreamedBody, TrailersReply
from ext_proc.trail import Outcome, Stage

_NO_LENGTH = HeaderMutation(remove=("content-length",))
_AS_IT_CAME = BodyReply(Direction.RESPONSE)


class ResponseBody:
    """One answer's body.

    Args:
        plan: with a mode in which the body comes.
        headers: the changes that the headers brought about.

    Attributes:
        held_since: when the headers reply began to wait for the body; None where it does not.
        finished: whether the end of the body was seen.
    """

    def __init__(self, scope: Scope, plan: ResponsePlan, decoder: Decoder, headers: HeaderMutation) -> None:
        assert scope.route is not None
        assert scope.codec is not None
        self.scope = scope
        self.held_since: float | None = None
        self.finished = False
        self._plan = plan
        self._decoder = decoder
        self._waits = bool(decoder.unanswered)
        response = scope.exchanged.response
        self._streams = response is not None and scope.codec.streams(response)
        pipeline = scope.route.pipeline
        self._flow = TextFlow(scope, decoder) if pipeline.has(Stage.RESPONSE_TEXT) else None
        only_read = plan.body is BodyMode.STREAMED and not plan.edits
        self._observers = pipeline.observers(scope.checkpoint(Stage.RESPONSE)) if only_read else None
        self._headers = headers
        self._out = bytearray()
        self._read_so_far = bytearray()
        refusals = (scope.codec.refusal(message, denial, scope.trail.id) for message, denial in scope.refused)
        self._unsent_joins: list[Message] = [refusal for refusal in refusals if refusal is not None]
        self._cut_by: Deny | None = None  # what ended the answer before its end

    def open(self) -> None:
        """Answers the headers, or holds their reply."""
        scope = self.scope
        if self._plan.body is BodyMode.FULL_DUPLEX_STREAMED:
            self._headers = self._headers.then(_NO_LENGTH).then(self._recoded())
        if self._plan.hold_headers:
            self.held_since = scope.exchanged.now
            return
        modes = None if scope.reserved else scope.override(self._plan.modes)
        scope.send(HeadersReply(Direction.RESPONSE, self._headers, modes=modes))

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold`."""
        self.held_since = None
        self.scope.engine_denial(Stage.RESPONSE, HELD_TOO_LONG.reason)
        refuse_all(self.scope, HELD_TOO_LONG)

    def close(self) -> None:
        """The RPC is over before the end of the body was seen: settles the outcome."""
        seen = self._decoder.outcome
        for _ in self._decoder.close():
            pass
        # What is missing or broken now was cut off: the upstream did not end there.
        cut_off = self._decoder.outcome is not seen
        self.scope.trail.outcome = self.scope.trail.outcome.worse(Outcome.TRUNCATED if cut_off else seen)

    def observe(self, event: BodyReceived) -> bool:
        """Takes a piece of an answer that is only observed, for which `steps` would do the same; whether it is one."""
        if self._observers is None or event.end_of_stream:
            return False
        waited = self._waits
        for frame in self._decoder.feed(event.data):
            for message in frame.messages:
                if not isinstance(message, Opaque):
                    self._observers.tell(message)
        self._waits = bool(self._decoder.unanswered)
        self._acknowledge(known=waited and not self._waits)
        return True

    def steps(self, event: BodyReceived) -> Steps:
        """What a piece of the body leads to."""
        scope = self.scope
        if self._plan.body is BodyMode.BUFFERED:
            yield from self._on_whole_body(event, self._decoder)
            return
        duplex = self._plan.body is BodyMode.FULL_DUPLEX_STREAMED
        waited = self._waits
        yield from self._take(self._decoder.feed(event.data))
        # Many clients leave once they have their answers: what is known then may be the last that Envoy is told.
        self._waits = bool(self._decoder.unanswered)
        known = event.end_of_stream or (waited and not self._waits)
        if event.end_of_stream:
            yield from self._take_end(self._decoder)
            self._settle()
        if scope.has_replied():
            return
        if not duplex:
            self._acknowledge(known=known)
            return
        if known:
            scope.trail.outcome = scope.trail.outcome.worse(self._decoder.outcome)
        empty = not (self._out or event.end_of_stream or self.held_since is not None)
        if empty and (known or not scope.reserved):
            # Trailers that came with the headers are handed over only once a chunk was answered (Envoy 1.40).
            metadata = scope.described(final=True) if known else {}
            scope.send(StreamedBody(Direction.RESPONSE, b"", False, metadata))
        self._flush(end=event.end_of_stream, known=known)

    def end(self) -> Steps:
        """Trailers came: the body is whole."""
        scope = self.scope
        if not self.finished:
            yield from self._take_end(self._decoder)
            self._settle()
            if scope.has_replied():
                return  # the denial is the answer to this event
            if self._plan.body is BodyMode.FULL_DUPLEX_STREAMED:
                self._flush(end=False, known=False)
        scope.send(TrailersReply(Direction.RESPONSE, metadata=scope.described(final=True)))

    def _acknowledge(self, *, known: bool) -> None:
        """Answers a piece that goes on as it came; the outcome goes with it if it is known."""
        scope = self.scope
        if not known:
            scope.send(_AS_IT_CAME)
            return
        scope.trail.outcome = scope.trail.outcome.worse(self._decoder.outcome)
        scope.send(BodyReply(Direction.RESPONSE, metadata=scope.described(final=True)))

    def _on_whole_body(self, event: BodyReceived, decoder: Decoder) -> Steps:
        scope = self.scope
        yield from self._take(decoder.feed(event.data))
        yield from self._take_end(decoder)
        self._settle()
        if scope.has_replied():
            return
        headers = HeaderMutation()
        assert scope.exchanged.response is not None
        replaced = None if self._out == self._read_so_far else bytes(self._out)
        if replaced is not None:
            headers = self._recoded()
            if "content-length" in scope.exchanged.response.headers:
                length = str(len(replaced)).encode()
                headers = headers.then(HeaderMutation(set=(("content-length", length),)))
        scope.send(BodyReply(Direction.RESPONSE, replaced, headers, metadata=scope.described(final=True)))

    def _settle(self) -> None:
        """The end of the body was seen: the outcome is final."""
        self.finished = True
        if not self.scope.has_replied():
            self.scope.trail.outcome = self.scope.trail.outcome.worse(self._decoder.outcome)

    def _take(self, frames: Iterable[Frame]) -> Steps:
        """Decides frame by frame; what may leave is put into the output."""
        keep = self._plan.body is not BodyMode.STREAMED
        for frame in frames:
            if self._plan.body is BodyMode.BUFFERED:
                self._read_so_far += frame.raw
            if self._is_over():
                continue  # the iterator is still to be exhausted: the decoder keeps its state in it
            changes = yield from self._decide_frame(frame)
            if changes is None or not (keep or self._flow):
                continue
            joins: list[Message] = []
            if self._unsent_joins and frame.messages:
                joins, self._unsent_joins = self._unsent_joins, []
            if self._flow is not None and not self._is_over():
                yield from self._take_text(self._flow.take(frame, changes, joins))
                continue
            if not self._is_over():
                self._out += frame.encode(changes, joins) if changes or joins else frame.raw
                continue
            assert self._cut_by is not None, "nobody was answered: the caller would have been told so"
            if len(frame.messages) > 1 or joins:
                if not self._streams:
                    self._out += self._cut_document(frame, changes, joins, self._cut_by)
                    continue
                self._out += frame.encode(changes, joins)
            dropped: list[Frame] = []
            if self._flow is not None:
                self._flow.drop()
                dropped = self._flow.dropped
            self._out += self._decoder.stream_end(self._cut_by, self.scope.trail.id, [*dropped, frame])

    def _cut_document(
        self, frame: Frame, changes: Mapping[int, Message | None], joins: Sequence[Message], deny: Deny
    ) -> bytes:
        """A batch with errors in place of what could not be read: in its array, for one body is one document."""
        codec, trail_id = self.scope.codec, self.scope.trail.id
        assert codec is not None
        kept = {index: None if isinstance(frame.messages[index], Opaque) else kept for index, kept in changes.items()}
        refusals = (codec.refusal(message, deny, trail_id) for message in self._decoder.unanswered)
        return frame.encode(kept, [*joins, *(refusal for refusal in refusals if refusal is not None)])

    def _take_end(self, decoder: Decoder) -> Steps:
        """Decides what the end of the body completes, and closes all channels."""
        yield from self._take(decoder.close())
        if self._flow is not None and not self._is_over():
            yield from self._take_text(self._flow.close())

    def _take_text(self, steps: Bytes) -> Steps:
        """Lets the policies see text; what may leave is put into the output, unless it is only read."""
        out = yield from steps
        assert self._flow is not None
        if self._plan.body is BodyMode.STREAMED:
            return
        self._out += out
        denial, channel = self._flow.denial, self._flow.denied_on
        if denial is None or self._is_over():
            return
        deny = Deny(denial.reason, denial.message)
        if self._may_answer_instead():
            self.held_since = None
            refuse_all(self.scope, deny)
            return
        if denial.closing_text and channel is not None:
            self._out += self._decoder.text_event(channel, denial.closing_text)
        self._out += self._decoder.stream_end(deny, self.scope.trail.id, self._flow.dropped)
        self._cut_by = deny
        self.scope.trail.outcome = Outcome.REFUSED

    def _is_over(self) -> bool:
        """Whether nothing more of the upstream's answer may leave."""
        return self._cut_by is not None or self.scope.has_replied()

    def _decide_frame(self, frame: Frame) -> Generator[Checkpoint, Decision, dict[int, Message | None] | None]:
        """The changes to a frame; None where the client has been answered instead."""
        scope = self.scope
        assert scope.route is not None
        assert scope.codec is not None
        changes: dict[int, Message | None] = {}
        for index, message in enumerate(frame.messages):
            denial: Deny | Respond | None = None
            if isinstance(message, Opaque):
                readable_otherwise = not message.malformed and not message.too_large  # the server's own error page
                if readable_otherwise or not self._plan.edits:  # nor can errors of ours join what is no document
                    continue
                scope.engine_denial(Stage.RESPONSE, message.reason)
                denial = self._cut_by = UNREADABLE
            else:
                denial, kept = yield from self._decide(message)
                if denial is None and kept is not message:
                    changes[index] = kept
            if denial is None:
                continue
            if self._answer_instead(message, denial, alone=len(frame.messages) == 1):
                return None
            deny = denial if isinstance(denial, Deny) else Deny(denial.reason, "answered by the gateway")
            changes[index] = scope.codec.refusal(message, deny, scope.trail.id)
            if isinstance(message, McpCall) and not self._streams:
                self._cut_by = deny  # a document is all of the answer, and this is none to what its client asked
            if changes[index] is None and isinstance(message, LlmMessage | A2aAnswer):
                self._cut_by = deny  # a piece of one answer: nothing stands in its place, and what follows is no answer
            scope.trail.outcome = Outcome.REFUSED
        return changes

    def _decide(
        self, message: Message
    ) -> Generator[Checkpoint, Decision, tuple[Deny | Respond | None, Message | None]]:
        """A message's denial, or else what is left of it, its own texts decided: None where a policy took it out."""
        scope = self.scope
        assert scope.route is not None
        pipeline = scope.route.pipeline
        if pipeline.wants(Stage.RESPONSE, (type(message),)):
            decision = yield from scope.ask(Stage.RESPONSE, message)
            if decision is not PASS:
                if decision.denial is not None or decision.mutation.drop:
                    return decision.denial, None
                message = changed(decision.mutation, message) or message
        if not pipeline.shows_text(Stage.RESPONSE_TEXT, (type(message),)):
            return None, message
        decided = yield from decide_texts(scope, Stage.RESPONSE_TEXT, message)
        return (decided, None) if isinstance(decided, Deny) else (None, decided)

    def _answer_instead(self, message: Message, denial: Deny | Respond, *, alone: bool) -> bool:
        """Answers with an HTTP response of ours where nothing of the upstream's has left and nothing else is in it."""
        if not alone or not self._may_answer_instead():
            return False
        self.held_since = None
        if isinstance(denial, Respond) or isinstance(message, Opaque | McpCall):
            refuse(self.scope, denial)
        else:
            self.scope.deny(message, denial)
        return True

    def _may_answer_instead(self) -> bool:
        """Whether nothing of the upstream's answer has left, its headers included."""
        return self._plan.body is BodyMode.BUFFERED or self.held_since is not None

    def _recoded(self) -> HeaderMutation:
        """An answer that may leave otherwise than it came leaves in the clear."""
        response = self.scope.exchanged.response
        return IN_THE_CLEAR if response is not None and coding_of(response.headers) else HeaderMutation()

    def _flush(self, *, end: bool, known: bool) -> None:
        """Sends what may leave, in chunks; first the headers reply, if it was held for this moment.

        Args:
            known: whether the outcome goes with it.
        """
        scope = self.scope
        if self.held_since is not None:
            if not self.finished:
                return
            self.held_since = None
            scope.send(HeadersReply(Direction.RESPONSE, self._headers))
        metadata = scope.described(final=True) if known else {}
        for piece in chunks(Direction.RESPONSE, bytes(self._out), end=end, metadata=metadata):
            scope.send(piece)
        self._out.clear()

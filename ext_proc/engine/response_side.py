"""The answer's way: headers, then a body that is unread, read, or decided message by message.

Rules:
- Nothing of a response leaves before its message was decided; unchanged messages leave byte-identical.
- Where a body may change, content-length goes with the headers reply: in full duplex Envoy keeps a stale one, and a
  longer body would run into the pooled connection's next response.
- A deny after response headers is the protocol's own error in the message's place, never raw bytes in the middle.
- A chunk of full duplex is at most 64 KiB.
- The outcome is read from the body, also inside HTTP 200, and leaves as metadata with the last reply.

Not here: the request (request_side.py), the choice of modes (plan.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.decoding import IN_THE_CLEAR, can_decode, coding_of, read_through
from ext_proc.engine.half import Half
from ext_proc.engine.plan import UNREAD, ResponsePlan, plan_response
from ext_proc.engine.refusals import (
    CANNOT_HOLD,
    HELD_TOO_LONG,
    UNDECIDED,
    UNREADABLE,
    refuse,
    refuse_all,
    refuse_too_large,
)
from ext_proc.engine.scope import Scope, Steps, changed, chunks
from ext_proc.engine.text_flow import Bytes, TextFlow
from ext_proc.events import BodyMode, BodyReceived, Direction, HeadersReceived, TrailersReceived
from ext_proc.headers import HeaderMutation
from ext_proc.messages import Message, Opaque, ResponseHead
from ext_proc.policy import Deny, Respond
from ext_proc.replies import BodyReply, HeadersReply, StreamedBody, TrailersReply
from ext_proc.trail import Outcome, Stage

_NO_LENGTH = HeaderMutation(remove=("content-length",))


class ResponseSide:
    """One exchange's response."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.half = Half(Direction.RESPONSE)
        self.held_since: float | None = None
        self._plan: ResponsePlan = UNREAD
        self._decoder: Decoder | None = None
        self._flow: TextFlow | None = None
        self._headers = HeaderMutation()
        self._out = bytearray()
        self._read_so_far = bytearray()
        self._unsent_joins: list[Message] = []
        self._cut = False
        self._finished = False

    @property
    def complete(self) -> bool:
        """Whether the client has its whole answer, as far as was to be seen: the upstream's, or ours."""
        return self._finished or self.scope.has_replied()

    def steps(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> Steps:
        """What an event leads to.

        Raises:
            ProtocolError: Envoy sent what its own protocol rules out.
        """
        self.half.advance(event)
        if isinstance(event, HeadersReceived):
            yield from self._on_headers(event)
        elif isinstance(event, BodyReceived):
            yield from self._on_body(event)
        else:
            yield from self._on_trailers()

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold`."""
        self.held_since = None
        self.scope.engine_denial(Stage.RESPONSE, HELD_TOO_LONG.reason)
        refuse_all(self.scope, HELD_TOO_LONG)

    def close(self) -> None:
        """The RPC is over: settles the outcome of an answer whose end was not seen."""
        scope = self.scope
        if self.complete:
            return
        if self.half.phase.value == "idle":
            # A request of ours to read, and no answer at all: the client or the upstream is gone.
            if scope.route is not None:
                scope.trail.outcome = scope.trail.outcome.worse(Outcome.TRUNCATED)
        elif self._decoder is not None:
            seen = self._decoder.outcome
            for _ in self._decoder.close():
                pass
            # What is missing or broken now was cut off: the upstream did not end there.
            cut_off = self._decoder.outcome is not seen
            scope.trail.outcome = scope.trail.outcome.worse(Outcome.TRUNCATED if cut_off else seen)

    def _on_headers(self, event: HeadersReceived) -> Steps:
        scope = self.scope
        status = event.headers.get(":status") or ""
        head = ResponseHead(int(status) if status.isdigit() else 0, event.headers, event.end_of_stream)
        scope.exchanged.response = head
        if scope.has_replied():
            scope.send(HeadersReply(Direction.RESPONSE))  # our own immediate answer, on its way out
            return
        scope.trail.status = head.status
        if scope.route is None or scope.codec is None:
            self._finish_unread(head)
            return
        if not scope.decided:
            self._undecided(head)
            return
        if scope.route.pipeline.has(Stage.RESPONSE_HEADERS):
            decision = yield from scope.ask(Stage.RESPONSE_HEADERS)
            if decision.denial is not None:
                refuse(scope, decision.denial)
                return
            self._headers = decision.mutation.headers
        if not scope.requests and not scope.refused:
            self._finish_unread(head)  # passed unread on the way in: nothing tells what the answer would be
            return
        if scope.refused and (head.end_of_stream or head.status == 202):
            scope.answer(scope.codec.denial(scope.refused, scope.exchanged.request, scope.trail.id, batch=True))
            return
        if not head.end_of_stream and not (scope.codec.readable(head) and can_decode(head.headers)):
            self._on_unreadable(head)
            return
        self._read(head)

    def _read(self, head: ResponseHead) -> None:
        """Chooses the mode and answers the headers, or holds them."""
        scope = self.scope
        assert scope.route is not None
        assert scope.codec is not None
        limits = scope.rulebook.limits
        self._plan = plan = plan_response(
            scope.route,
            scope.codec,
            scope.requests,
            head,
            limits,
            joins=bool(scope.refused),
            reserved=scope.reserved,
            fixed=None if scope.override(UNREAD.modes) else scope.fixed_response,
        )
        if plan.edits and plan.body in (BodyMode.STREAMED, BodyMode.NONE):
            scope.engine_denial(Stage.RESPONSE_HEADERS, CANNOT_HOLD.reason)
            refuse_all(scope, CANNOT_HOLD)
            return
        decoder = scope.codec.response_decoder(scope.requests, scope.exchanged.request, head, limits)
        self._decoder = read_through(decoder, head.headers, limits)
        if plan.body is BodyMode.NONE:
            if head.end_of_stream:
                for _ in self._decoder.close():
                    pass
                scope.trail.outcome = scope.trail.outcome.worse(self._decoder.outcome)
            self._finish_unread(head)
            return
        if scope.route.pipeline.has(Stage.TEXT):
            self._flow = TextFlow(scope, self._decoder)
        for message, denial in scope.refused:
            refusal = scope.codec.refusal(message, denial, scope.trail.id)
            if refusal is not None:
                self._unsent_joins.append(refusal)
        if plan.body is BodyMode.FULL_DUPLEX_STREAMED:
            self._headers = self._headers.then(_NO_LENGTH).then(self._recoded())
        if plan.hold_headers:
            self.held_since = scope.exchanged.now
            return
        scope.send(
            HeadersReply(
                Direction.RESPONSE, self._headers, modes=None if scope.reserved else scope.override(plan.modes)
            )
        )

    def _finish_unread(self, head: ResponseHead) -> None:
        """The last word on an exchange whose answer's body is not read."""
        scope = self.scope
        if scope.route is not None and head.status >= 400:
            scope.trail.outcome = scope.trail.outcome.worse(Outcome.PROTOCOL_ERROR)
        self._finished = True
        metadata = {} if scope.route is None else scope.described(final=True)
        scope.send(HeadersReply(Direction.RESPONSE, self._headers, metadata=metadata))

    def _undecided(self, head: ResponseHead) -> None:
        """An answer although the request was never decided.

        An error is Envoy's own (413 past its buffer, a reset); a success means that the body we asked for was
        withheld, i.e. overrides are not allowed in the filter's configuration.
        """
        scope = self.scope
        assert scope.route is not None
        if head.status < 400 and scope.route.pipeline.enforces:
            scope.engine_denial(Stage.RESPONSE_HEADERS, UNDECIDED.reason)
            scope.trail.note("the filter must set allow_mode_override: true")
            refuse_all(scope, UNDECIDED)
            return
        if head.status == 413:
            scope.trail.note("past Envoy's buffer limit")
            refuse_too_large(scope)
            return
        self._finish_unread(head)

    def _on_unreadable(self, head: ResponseHead) -> None:
        scope = self.scope
        assert scope.route is not None
        assert scope.codec is not None
        holds = bool(scope.refused) or scope.route.pipeline.guards(scope.codec.answers(scope.requests))
        listed = any(rule.accepts(scope.exchanged.request, head.headers) for rule in scope.route.allow_opaque)
        if holds and not listed and head.status < 400 and scope.exchanged.request.method != "HEAD":
            scope.engine_denial(Stage.RESPONSE_HEADERS, UNREADABLE.reason)
            refuse_all(scope, UNREADABLE)
            return
        if head.status < 400:
            scope.trail.outcome = scope.trail.outcome.worse(Outcome.INVALID)
        scope.trail.note("the answer was passed unread")
        self._finish_unread(head)

    def _on_body(self, event: BodyReceived) -> Steps:
        scope = self.scope
        if scope.has_replied() or self._decoder is None:
            self._echo(event)
            return
        if self._plan.body is BodyMode.BUFFERED:
            yield from self._on_whole_body(event, self._decoder)
            return
        duplex = self._plan.body is BodyMode.FULL_DUPLEX_STREAMED
        waited = bool(self._decoder.unanswered)
        yield from self._take(self._decoder.feed(event.data))
        # Many clients leave once they have their answers: what is known then may be the last that Envoy is told.
        known = event.end_of_stream or (waited and not self._decoder.unanswered)
        if event.end_of_stream:
            yield from self._take_end(self._decoder)
            self._settle()
        if scope.has_replied():
            return
        if known:
            scope.trail.outcome = scope.trail.outcome.worse(self._decoder.outcome)
        if duplex:
            if not (self._out or event.end_of_stream or scope.reserved):
                # Trailers that came with the headers are handed over only once a chunk was answered (Envoy 1.40).
                scope.send(StreamedBody(Direction.RESPONSE, b"", False))
            self._flush(end=event.end_of_stream, known=known)
        else:
            metadata = scope.described(final=True) if known else {}
            scope.send(BodyReply(Direction.RESPONSE, metadata=metadata))

    def _echo(self, event: BodyReceived) -> None:
        """Hands back a body that nobody reads, in the form of its mode."""
        if not self.scope.reserved:
            self.scope.send(BodyReply(Direction.RESPONSE))
            return
        self._out += event.data
        self._flush(end=event.end_of_stream, known=event.end_of_stream)

    def _on_trailers(self) -> Steps:
        scope = self.scope
        if scope.has_replied():
            scope.send(TrailersReply(Direction.RESPONSE))
            return
        if self._decoder is not None and not self._finished:
            yield from self._take_end(self._decoder)
            self._settle()
            if scope.has_replied():
                return  # the denial is the answer to this event
            if self._plan.body is BodyMode.FULL_DUPLEX_STREAMED:
                self._flush(end=False, known=False)
        metadata = {} if scope.route is None else scope.described(final=True)
        scope.send(TrailersReply(Direction.RESPONSE, metadata=metadata))

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
        assert self._decoder is not None
        self._finished = True
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
            assert self._decoder is not None
            if len(frame.messages) > 1 or joins:
                self._out += frame.encode(changes, joins)
            dropped: list[Frame] = []
            if self._flow is not None:
                self._flow.drop()
                dropped = self._flow.dropped
            self._out += self._decoder.stream_end(UNREADABLE, self.scope.trail.id, [*dropped, frame])

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
        assert self._decoder is not None
        if denial.closing_text and channel is not None:
            self._out += self._decoder.text_event(channel, denial.closing_text)
        self._out += self._decoder.stream_end(deny, self.scope.trail.id, self._flow.dropped)
        self._cut = True
        self.scope.trail.outcome = Outcome.REFUSED

    def _is_over(self) -> bool:
        """Whether nothing more of the upstream's answer may leave."""
        return self._cut or self.scope.has_replied()

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
                if readable_otherwise or not self._plan.edits or not scope.route.pipeline.guards_answers:
                    continue
                scope.engine_denial(Stage.RESPONSE, message.reason)
                denial = UNREADABLE
                self._cut = True
            elif scope.route.pipeline.wants(Stage.RESPONSE, (type(message),)):
                decision = yield from scope.ask(Stage.RESPONSE, message)
                denial = decision.denial
                if denial is None:
                    replaced = changed(decision.mutation, message)
                    if decision.mutation.drop:
                        changes[index] = None
                    elif replaced is not None:
                        changes[index] = replaced
            if denial is None:
                continue
            if self._answer_instead(message, denial, alone=len(frame.messages) == 1):
                return None
            deny = denial if isinstance(denial, Deny) else Deny(denial.reason, "answered by the gateway")
            changes[index] = scope.codec.refusal(message, deny, scope.trail.id)
            scope.trail.outcome = Outcome.REFUSED
        return changes

    def _answer_instead(self, message: Message, denial: Deny | Respond, *, alone: bool) -> bool:
        """Answers with an HTTP response of ours where nothing of the upstream's has left and nothing else is in it."""
        if not alone or not self._may_answer_instead():
            return False
        self.held_since = None
        if isinstance(denial, Respond) or isinstance(message, Opaque):
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
            if not self._finished:
                return
            self.held_since = None
            scope.send(HeadersReply(Direction.RESPONSE, self._headers))
        metadata = scope.described(final=True) if known else {}
        for piece in chunks(Direction.RESPONSE, bytes(self._out), end=end, metadata=metadata):
            scope.send(piece)
        self._out.clear()

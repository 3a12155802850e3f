"""The answer's headers: what may come, what is asked for, and what can be said at once.

Rules:
- An answer to a request that was never decided is refused: the filter withheld the body that we asked for.
- What cannot be read is refused where a policy would have to decide about it; the upstream's own errors pass untouched.
- An answer that nobody reads passes in whatever mode it comes, and its outcome is taken from the status.

Not here: bodies that are read (response_body.py), the request (request_side.py), the choice of modes (plan.py).
"""

from __future__ import annotations

from ext_proc.codecs.content_types import claims_messages
from ext_proc.engine.decoding import can_decode, read_through
from ext_proc.engine.gathering import GatheringDecoder
from ext_proc.engine.half import Half, Phase
from ext_proc.engine.plan import UNREAD, plan_response
from ext_proc.engine.refusals import CANNOT_HOLD, UNDECIDED, UNREADABLE, refuse, refuse_all, refuse_too_large
from ext_proc.engine.response_body import ResponseBody
from ext_proc.engine.scope import Scope, Steps, chunks
from ext_proc.events import BodyMode, BodyReceived, Direction, HeadersReceived, TrailersReceived
from ext_proc.headers import HeaderMutation
from ext_proc.messages import ResponseHead
from ext_proc.replies import BodyReply, HeadersReply, TrailersReply
from ext_proc.trail import Outcome, Stage


class ResponseSide:
    """One exchange's response."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.half = Half(Direction.RESPONSE)
        self._headers = HeaderMutation()
        self._body: ResponseBody | None = None
        self._finished = False
        self._ours = False  # what comes is our own immediate answer, on its way out

    @property
    def complete(self) -> bool:
        """Whether the client has its whole answer, as far as was to be seen: the upstream's, or ours."""
        read = self._body is not None and self._body.finished
        return self._finished or read or self.scope.unread or self.scope.has_replied()

    @property
    def held_since(self) -> float | None:
        """When the headers reply began to wait for the body; None where it does not."""
        return None if self._body is None else self._body.held_since

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

    def observe(self, event: BodyReceived) -> bool:
        """Works off a piece of an answer that is only observed, as `steps` would; whether it is one."""
        if self._body is None or self.half.phase is not Phase.OPEN or self.scope.has_replied():
            return False
        return self._body.observe(event)

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold`."""
        assert self._body is not None
        self._body.expire()

    def close(self) -> None:
        """The RPC is over: settles the outcome of an answer whose end was not seen."""
        scope = self.scope
        if self.complete:
            return
        if self._body is not None:
            self._body.close()
        elif self.half.phase is Phase.IDLE and scope.route is not None:
            # A request of ours to read, and no answer at all: the client or the upstream is gone.
            scope.trail.outcome = scope.trail.outcome.worse(Outcome.TRUNCATED)

    def _on_headers(self, event: HeadersReceived) -> Steps:
        scope = self.scope
        status = event.headers.get(":status") or ""
        code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0
        head = ResponseHead(code, event.headers, event.end_of_stream)
        scope.exchanged.response = head
        if scope.has_replied():
            self._ours = True
            scope.send(HeadersReply(Direction.RESPONSE))
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
        plan = plan_response(
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
        if scope.route.pipeline.wants_whole_calls and scope.codec.streams(head):
            decoder = GatheringDecoder(decoder, limits.call)
        if not head.end_of_stream:  # else no byte is coded, and a coding that nobody knows is in nobody's way
            decoder = read_through(decoder, head.headers, limits)
        if plan.body is not BodyMode.NONE:
            self._body = ResponseBody(scope, plan, decoder, self._headers)
            self._body.open()
            return
        if head.end_of_stream:
            for _ in decoder.close():
                pass
            scope.trail.outcome = scope.trail.outcome.worse(decoder.outcome)
        self._finish_unread(head)

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
        # An upstream's own error page is in nobody's way, unless it says of itself that it is a message.
        shown = head.status < 400 or claims_messages(head.headers)
        if holds and not listed and shown and scope.exchanged.request.method != "HEAD":
            scope.engine_denial(Stage.RESPONSE_HEADERS, UNREADABLE.reason)
            refuse_all(scope, UNREADABLE)
            return
        if head.status < 400:
            scope.trail.outcome = scope.trail.outcome.worse(Outcome.INVALID)
        scope.trail.note("the answer was passed unread")
        self._finish_unread(head)

    def _on_body(self, event: BodyReceived) -> Steps:
        if self._body is not None and not self.scope.has_replied():
            yield from self._body.steps(event)
            return
        if self._is_replaced():
            return
        # A body that nobody reads is handed back in the form of its mode.
        if not self.scope.reserved:
            self.scope.send(BodyReply(Direction.RESPONSE))
            return
        for piece in chunks(Direction.RESPONSE, event.data, end=event.end_of_stream):
            self.scope.send(piece)

    def _on_trailers(self) -> Steps:
        scope = self.scope
        if self._body is not None and not scope.has_replied():
            yield from self._body.end()
            return
        if self._is_replaced():
            return
        governed = scope.route is not None and not scope.has_replied()
        scope.send(TrailersReply(Direction.RESPONSE, metadata=scope.described(final=True) if governed else {}))

    def _is_replaced(self) -> bool:
        """Whether the client was answered while this answer came: what was under way of it must not follow."""
        return self.scope.has_replied() and not self._ours

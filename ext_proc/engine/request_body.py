"""The request's body: held whole, by Envoy or here, and decided before a byte of it goes on.

Rules:
- Facts for routing leave where header changes still count (BUFFERED: the body reply; full duplex: the headers reply,
  held until the body was decided), and clear the route cache.
- A changed body on a sized request carries its exact new content-length in the same reply; in full duplex, where Envoy
  would keep a stale one, the length is removed.
- Batches: allowed elements go on; the errors of denied ones join the answer (scope.refused); all denied: answered at
  once.
- The texts of a message are decided after the message itself, and before a byte of it goes on.
- A body that nobody reads is handed back in the form of its mode.

Not here: what is asked for (request_side.py, plan.py), texts (whole_texts.py), content codings (decoding.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from ext_proc.codecs.codec import Codec, Decoder, Frame, Match
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.decoding import IN_THE_CLEAR, SniffingDecoder, coding_of, read_through
from ext_proc.engine.empty_body import EmptyBody
from ext_proc.engine.plan import RequestPlan
from ext_proc.engine.scope import Scope, Steps, changed, chunks
from ext_proc.engine.whole_texts import decide_texts
from ext_proc.errors import ProtocolError
from ext_proc.events import BodyMode, BodyReceived, Direction
from ext_proc.framing.header_value import decode_header_value
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.messages import Message, Opaque
from ext_proc.policy import Deny, Respond
from ext_proc.replies import BodyReply, HeadersReply, ModesReply, TrailersReply
from ext_proc.trail import Stage

TAKEN_OUT = Deny("taken-out", "a policy of the gateway took this out of the request")
_TOO_SLOW = Deny("request-too-slow", "the request's body took too long", status=408)


class RequestBody:
    """One request's body.

    Args:
        headers: the changes that the headers brought about; they leave with the body's decision.
    """

    def __init__(self, scope: Scope, headers: HeaderMutation) -> None:
        self.scope = scope
        self.held_since: float | None = None
        self._headers = headers
        self._mode = BodyMode.NONE
        self._decoder: Decoder | None = None
        self._named: list[Message] = []
        self._taken_out: list[tuple[Message, Deny]] = []
        self._out = bytearray()
        self._changed = False

    def open(self, codecs: Sequence[Codec], plan: RequestPlan) -> None:
        """Asks Envoy for the body, and answers the headers or holds their reply.

        Args:
            codecs: those that may read it; of several, or of one that is not sure, the body decides.

        Raises:
            ProtocolError: a fixed mode cannot hold the request for the policies that enforce.
        """
        scope = self.scope
        head, limits = scope.exchanged.request, scope.rulebook.limits
        said = codecs[0].transport_message(head)
        if said is not None:
            self._decoder = EmptyBody(said, head.method)
        elif len(codecs) == 1 and codecs[0].matches(head) is Match.YES:
            self._decoder = read_through(codecs[0].request_decoder(head, limits), head.headers, limits)
        else:
            sniffing = SniffingDecoder(codecs, head, limits, self._choose)
            self._decoder = read_through(sniffing, head.headers, limits)
        self._mode = plan.body
        modes = scope.override(plan.modes)
        if modes is None:
            self._use_fixed_mode()
            return
        scope.reserved = plan.reserve
        if plan.body is BodyMode.BUFFERED:
            scope.send(HeadersReply(Direction.REQUEST, self._headers, modes=modes))
        else:
            self.held_since = scope.exchanged.now
            scope.send(ModesReply(modes))

    def _choose(self, codec: Codec) -> None:
        self.scope.codec = codec

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold` for their body."""
        self.held_since = None
        self.scope.engine_denial(Stage.REQUEST, _TOO_SLOW.reason)
        self.scope.deny(Opaque(_TOO_SLOW.reason, _TOO_SLOW.message), _TOO_SLOW)

    def _use_fixed_mode(self) -> None:
        """Gets the body in the mode that somebody else's configuration fixed.

        Raises:
            ProtocolError: it comes in pieces that leave at once, or not at all, and a policy enforces.
        """
        scope = self.scope
        assert scope.route is not None
        self._mode = scope.fixed_request
        if self._mode is BodyMode.FULL_DUPLEX_STREAMED:
            self.held_since = scope.exchanged.now
            return
        if self._mode is not BodyMode.BUFFERED and scope.route.pipeline.enforces:
            raise ProtocolError(
                f"the filter's request_body_mode {self._mode.name} cannot hold a request back for the policies here"
            )
        if self._mode is BodyMode.NONE:
            scope.decided = True
        scope.send(HeadersReply(Direction.REQUEST, self._headers))

    def steps(self, event: BodyReceived) -> Steps:
        """What a piece of the body leads to.

        Raises:
            ProtocolError: no mode explains that it came.
        """
        scope = self.scope
        if scope.has_replied():
            return  # chunks that were under way when the client was answered
        if self._decoder is None:
            self._echo(event)
            return
        buffered = self._mode is BodyMode.BUFFERED
        end = event.end_of_stream or buffered
        yield from self._take(self._decoder.feed(event.data))
        if end:
            yield from self._take_end(self._decoder)
        if scope.has_replied():
            return
        if buffered:
            self._reply_to_whole_body()
        elif self._mode is BodyMode.STREAMED:
            scope.decided = scope.decided or end
            scope.send(BodyReply(Direction.REQUEST))
        elif end or self._out:
            self._stream(end=end)

    def _echo(self, event: BodyReceived) -> None:
        """Hands back a body that nobody reads, in the form of its mode.

        Raises:
            ProtocolError: no configured mode explains that it came.
        """
        mode = self.scope.fixed_request
        if mode is BodyMode.NONE:
            raise ProtocolError("a request body that was not asked for")
        if mode is not BodyMode.FULL_DUPLEX_STREAMED:
            self.scope.send(BodyReply(Direction.REQUEST))
            return
        for piece in chunks(Direction.REQUEST, event.data, end=event.end_of_stream):
            self.scope.send(piece)

    def end(self) -> Steps:
        """Trailers came: the body is whole."""
        scope = self.scope
        if scope.has_replied():
            return
        if self._decoder is not None and self._mode is BodyMode.FULL_DUPLEX_STREAMED:
            yield from self._take_end(self._decoder)
            if scope.has_replied():
                return
            self._stream(end=False)
        scope.send(TrailersReply(Direction.REQUEST))

    def _take(self, frames: Iterable[Frame]) -> Steps:
        """Decides frame by frame; what may go on is put into the output."""
        scope = self.scope
        for frame in frames:
            if scope.has_replied():
                continue
            # The spans of a body past the limit name nothing and are no batch: kept, they would be the whole body.
            self._named += [m for m in frame.messages if not (isinstance(m, Opaque) and m.too_large)]
            scope.name_messages(self._named)
            changes = yield from self._decide_frame(frame)
            if changes is None or self._mode is BodyMode.STREAMED:  # what is only read has gone on
                continue
            self._out += frame.encode(changes) if changes else frame.raw
            self._changed = self._changed or bool(changes)

    def _take_end(self, decoder: Decoder) -> Steps:
        """Decides what the end of the body completes; answers here where nothing is left to go on."""
        scope = self.scope
        yield from self._take(decoder.close())
        if scope.requests or scope.has_replied():
            return
        assert scope.codec is not None
        head, trail_id = scope.exchanged.request, scope.trail.id
        if scope.refused:
            scope.answer(scope.codec.denial(scope.refused, head, trail_id, batch=True))
        elif self._taken_out:
            scope.answer(scope.codec.denial(self._taken_out, head, trail_id, batch=len(self._taken_out) > 1))

    def _decide_frame(self, frame: Frame) -> Generator[Checkpoint, Decision, dict[int, Message | None] | None]:
        """The changes to a frame; None where the client has been answered instead."""
        scope = self.scope
        batch = frame.batch
        changes: dict[int, Message | None] = {}
        for index, message in enumerate(frame.messages):
            denial: Deny | Respond | None
            kept: Message | None = message
            if isinstance(message, Opaque):
                listable = not (message.malformed or message.too_large)
                denial = scope.opaque_denial(message, allowed=listable)
                if denial is None and not message.malformed:
                    # Nothing tells what its answer would be: that passes unread too. Spans past a limit are not kept.
                    scope.trail.note(f"passed unread: {message.reason}")
                    continue
            else:
                denial, kept = yield from self._decide(message)
            if denial is not None:
                if not batch or isinstance(denial, Respond):
                    scope.deny(message, denial)
                    return None
                scope.refused.append((message, denial))
                changes[index] = None
                continue
            if kept is not message:
                changes[index] = kept
            if kept is None:
                self._taken_out.append((message, TAKEN_OUT))
            else:
                scope.forward(message, kept)
        return changes

    def _decide(
        self, message: Message
    ) -> Generator[Checkpoint, Decision, tuple[Deny | Respond | None, Message | None]]:
        """A message's denial, or else what goes on of it, its texts decided: None where a policy took it out."""
        decision = yield from self.scope.ask(Stage.REQUEST, message)
        if decision.denial is not None:
            return decision.denial, None
        kept: Message | None = None
        if not decision.mutation.drop:
            decided = yield from decide_texts(
                self.scope, Stage.REQUEST_TEXT, changed(decision.mutation, message) or message
            )
            if isinstance(decided, Deny):
                return decided, None
            kept = decided
        self._headers = self._headers.then(decision.mutation.headers)
        if kept is not None and kept is not message:
            self._mirror(message, kept)
        return None, kept

    def _mirror(self, before: Message, after: Message) -> None:
        """Headers that repeat the body follow its change (MCP: whoever rewrites a name rewrites Mcp-Name).

        Only those that did repeat it: one that is missing or says something else is the client's mistake or its trick,
        and the server has to see it to reject it (2026-07-28, -32020).
        """
        codec, head = self.scope.codec, self.scope.exchanged.request
        assert codec is not None
        repeated = codec.mirrored_headers(before, head)
        lines = codec.mirrored_headers(after, head)
        self._headers = self._headers.then(
            HeaderMutation(
                set=tuple(
                    (name, value.encode())
                    for name, value in lines.items()
                    if name in repeated and _repeats(head.headers, name, repeated[name])
                )
            )
        )

    def _reply_to_whole_body(self) -> None:
        """Lets a buffered body go on, as it came or anew, with the headers that its decision changed."""
        scope = self.scope
        scope.decided = True
        headers = self._headers.then(scope.routing_headers())
        if self._changed:
            headers = headers.then(self._recoded())
        if self._changed and "content-length" in scope.exchanged.request.headers:
            headers = headers.then(HeaderMutation(set=(("content-length", str(len(self._out)).encode()),)))
        scope.send(
            BodyReply(
                Direction.REQUEST,
                bytes(self._out) if self._changed else None,
                headers,
                clear_route_cache=True,
                metadata=scope.described(final=False),
            )
        )

    def _recoded(self) -> HeaderMutation:
        """A body that leaves otherwise than it came leaves in the clear."""
        return IN_THE_CLEAR if coding_of(self.scope.exchanged.request.headers) else HeaderMutation()

    def _stream(self, *, end: bool) -> None:
        """Sends what may go on, in chunks; first the headers reply, if it was held for this moment."""
        scope = self.scope
        if self.held_since is not None:
            self.held_since = None
            scope.decided = True
            headers = self._headers.then(scope.routing_headers()).then(self._recoded())
            if self._changed or coding_of(scope.exchanged.request.headers):
                headers = headers.then(HeaderMutation(remove=("content-length",)))
            metadata = scope.described(final=False)
            scope.send(HeadersReply(Direction.REQUEST, headers, clear_route_cache=True, metadata=metadata))
        for piece in chunks(Direction.REQUEST, bytes(self._out), end=end):
            scope.send(piece)
        self._out.clear()


def _repeats(headers: Headers, name: str, value: str) -> bool:
    """Whether there is one header `name`, and it stands for the same text as `value`."""
    found = [line.decode("latin-1") for line in headers.get_all(name)]
    return len(found) == 1 and decode_header_value(found[0]) == decode_header_value(value)

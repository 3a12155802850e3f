"""The request's way: headers, then a body held whole, by Envoy or here, and decided before a byte of it goes on.

Rules:
- A client's copies of our routing headers are always removed, on ungoverned routes too.
- On a route where a policy enforces, what cannot be read is denied, unless `allow_opaque` lists it; what claims to be
  of the protocol and is malformed is always denied there, for the next reader may read it otherwise.
- Facts for routing leave where header changes still count (BUFFERED: the body reply; full duplex: the headers reply,
  held until the body was decided), and clear the route cache.
- A changed body on a sized request carries its exact new content-length in the same reply; in full duplex, where Envoy
  would keep a stale one, the length is removed.
- Batches: allowed elements go on; the errors of denied ones join the answer (scope.refused); all denied: answered at
  once.

Not here: the answer (response_side.py), the choice of modes (plan.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from ext_proc.codecs.codec import Codec, Decoder, Frame, Match
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.decoding import IN_THE_CLEAR, can_decode, coding_of, read_through
from ext_proc.engine.half import Half
from ext_proc.engine.plan import NOTHING_MORE, plan_request
from ext_proc.engine.scope import Scope, Steps, changed, chunks
from ext_proc.errors import ProtocolError
from ext_proc.events import BodyMode, BodyReceived, Direction, EnvoyFacts, HeadersReceived, TrailersReceived
from ext_proc.framing.header_value import decode_header_value
from ext_proc.headers import HeaderMutation, Headers, content_length
from ext_proc.identity import UNKNOWN, Identity, from_metadata
from ext_proc.messages import Message, Opaque, RequestHead
from ext_proc.policy import Deny, Respond
from ext_proc.replies import BodyReply, HeadersReply, ImmediateReply, ModesReply, TrailersReply
from ext_proc.trail import Stage

_TOO_SLOW = Deny("request-too-slow", "the request's body took too long", status=408)


class RequestSide:
    """One exchange's request."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.half = Half(Direction.REQUEST)
        self.held_since: float | None = None
        self._mode = BodyMode.NONE
        self._decoder: Decoder | None = None
        self._headers = HeaderMutation()
        self._named: list[Message] = []
        self._out = bytearray()
        self._changed = False

    def steps(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> Steps:
        """What an event leads to.

        Raises:
            ProtocolError: Envoy sent what its own protocol or our configuration rules out.
        """
        self.half.advance(event)
        if isinstance(event, HeadersReceived):
            yield from self._on_headers(event)
        elif isinstance(event, BodyReceived):
            yield from self._on_body(event)
        else:
            yield from self._on_trailers()

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold` for their body."""
        self.held_since = None
        self.scope.engine_denial(Stage.REQUEST, _TOO_SLOW.reason)
        self.scope.deny(Opaque(_TOO_SLOW.reason, _TOO_SLOW.message), _TOO_SLOW)

    def _on_headers(self, event: HeadersReceived) -> Steps:
        scope = self.scope
        self._take_note_of_modes(event.facts)
        head = request_head(event)
        scope.exchanged.request = head
        scope.trail.traceparent = head.headers.get("traceparent") or ""
        prefix = scope.rulebook.header_prefix
        copies = tuple(dict.fromkeys(name for name, _ in head.headers if name.startswith(prefix)))
        self._headers = HeaderMutation(remove=copies)
        route = scope.rulebook.route_for(head)
        if route is None:
            self._unmatched(bool(copies))
            return
        scope.begin(route, head, self._identity(event.facts))
        codec = next((codec for codec in route.codecs if codec.matches(head) is Match.YES), None)
        scope.codec = codec or route.codecs[0]
        if route.pipeline.has(Stage.REQUEST_HEADERS):
            decision = yield from scope.ask(Stage.REQUEST_HEADERS)
            if decision.denial is not None:
                scope.deny(Opaque("denied", "denied at the headers"), decision.denial)
                return
            self._headers = self._headers.then(decision.mutation.headers)
        if codec is None or not can_decode(head.headers):
            self._pass_or_deny(_unreadable(head), allowed=True)
            return
        if route.pipeline.guards(codec.answers(())):
            # An answer that may be edited must arrive in the clear (ext_proc: compressed bodies come as they are).
            self._headers = self._headers.then(HeaderMutation(remove=("accept-encoding",)))
        message = codec.transport_message(head)
        if message is not None:
            yield from self._on_transport_message(codec, message, head)
        elif event.end_of_stream:
            self._pass_or_deny(Opaque("empty-body", "the body is empty", malformed=True), allowed=False)
        else:
            self._ask_for_body(codec, head)

    def _take_note_of_modes(self, facts: EnvoyFacts) -> None:
        """Ours are NONE, to be overridden; somebody else's fixed ones are worked with as far as they go.

        Raises:
            ProtocolError: BUFFERED_PARTIAL, which silently hands over a prefix.
        """
        scope = self.scope
        modes = (facts.request_body_mode or BodyMode.NONE, facts.response_body_mode or BodyMode.NONE)
        if BodyMode.BUFFERED_PARTIAL in modes:
            raise ProtocolError("the filter's body mode BUFFERED_PARTIAL hands over half a body; use BUFFERED or NONE")
        scope.fixed_request, scope.fixed_response = modes
        scope.reserved = scope.fixed_response is BodyMode.FULL_DUPLEX_STREAMED
        if modes != (BodyMode.NONE, BodyMode.NONE):
            scope.trail.note("the filter's body modes are fixed; set NONE and allow_mode_override: true")

    def _unmatched(self, copied: bool) -> None:
        scope = self.scope
        if not scope.rulebook.deny_unmatched:
            scope.decided = True
            scope.send(
                HeadersReply(
                    Direction.REQUEST, self._headers, clear_route_cache=copied, modes=scope.override(NOTHING_MORE)
                )
            )
            return
        scope.engine_denial(Stage.REQUEST_HEADERS, "unmatched-route")
        text = f"no route of the gateway's bundle matches (trail {scope.trail.id})\n"
        scope.answer(ImmediateReply(404, text.encode(), (("content-type", b"text/plain"),)))

    def _identity(self, facts: EnvoyFacts) -> Identity:
        for source in self.scope.rulebook.identity:
            found = from_metadata(facts.metadata, source.namespace, source.payload_key)
            if found is not UNKNOWN:
                return found
        return UNKNOWN

    def _on_transport_message(self, codec: Codec, message: Message, head: RequestHead) -> Steps:
        scope = self.scope
        assert scope.route is not None
        if content_length(head.headers) or "transfer-encoding" in head.headers:
            self._pass_or_deny(Opaque("unexpected-body", f"{head.method} carries no body here"), allowed=True)
            return
        scope.name_messages([message])
        denial = None
        if scope.route.pipeline.wants(Stage.REQUEST, (type(message),)):
            decision = yield from scope.ask(Stage.REQUEST, message)
            denial = decision.denial
            self._headers = self._headers.then(decision.mutation.headers)
        if denial is not None:
            scope.deny(message, denial)
            return
        scope.requests = [message]
        scope.decided = True
        plan = plan_request(scope.route, codec, head, False, scope.rulebook.limits)
        scope.reserved = scope.reserved or plan.reserve
        self._headers = self._headers.then(scope.routing_headers())
        scope.send(
            HeadersReply(
                Direction.REQUEST,
                self._headers,
                clear_route_cache=True,
                modes=scope.override(plan.modes),
                metadata=scope.described(final=False),
            )
        )

    def _ask_for_body(self, codec: Codec, head: RequestHead) -> None:
        scope = self.scope
        assert scope.route is not None
        plan = plan_request(scope.route, codec, head, True, scope.rulebook.limits)
        if plan.too_large:
            self._pass_or_deny(
                Opaque("request-too-large", "the body is larger than the gateway reads", too_large=True), allowed=True
            )
            return
        limits = scope.rulebook.limits
        self._decoder = read_through(codec.request_decoder(head, limits), head.headers, limits)
        self._mode = plan.body
        scope.reserved = scope.reserved or plan.reserve
        modes = scope.override(plan.modes)
        if modes is None:
            self._use_fixed_mode()
        elif plan.body is BodyMode.BUFFERED:
            scope.send(HeadersReply(Direction.REQUEST, self._headers, modes=modes))
        else:
            self.held_since = scope.exchanged.now
            scope.send(ModesReply(modes))

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

    def _pass_or_deny(self, message: Opaque, *, allowed: bool) -> None:
        """Decides at the headers on a request that cannot be read.

        Args:
            allowed: whether `allow_opaque` may list it.
        """
        denial = self._opaque_denial(message, allowed=allowed)
        if denial is not None:
            self.scope.deny(message, denial)
        else:
            self.scope.decided = True
            self.scope.trail.note(f"passed unread: {message.reason}")
            self.scope.send(
                HeadersReply(
                    Direction.REQUEST,
                    self._headers,
                    clear_route_cache=bool(self._headers),
                    modes=self.scope.override(NOTHING_MORE),
                )
            )

    def _opaque_denial(self, message: Opaque, *, allowed: bool) -> Deny | None:
        scope = self.scope
        assert scope.route is not None
        head = scope.exchanged.request
        listed = allowed and any(rule.accepts(head, head.headers) for rule in scope.route.allow_opaque)
        if listed or not scope.route.pipeline.enforces:
            return None
        scope.engine_denial(Stage.REQUEST, message.reason)
        return Deny(reason=message.reason, message=message.detail, status=413 if message.too_large else None)

    def _on_body(self, event: BodyReceived) -> Steps:
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

    def _on_trailers(self) -> Steps:
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
            self._named += frame.messages
            scope.name_messages(self._named)
            changes = yield from self._decide_frame(frame)
            if changes is None:
                continue
            self._out += frame.encode(changes) if changes else frame.raw
            self._changed = self._changed or bool(changes)

    def _take_end(self, decoder: Decoder) -> Steps:
        """Decides what the end of the body completes; answers a batch of which nothing is left to go on."""
        scope = self.scope
        yield from self._take(decoder.close())
        if scope.refused and not scope.requests and not scope.has_replied():
            assert scope.codec is not None
            scope.answer(scope.codec.denial(scope.refused, scope.exchanged.request, scope.trail.id, batch=True))

    def _decide_frame(self, frame: Frame) -> Generator[Checkpoint, Decision, dict[int, Message | None] | None]:
        """The changes to a frame; None where the client has been answered instead."""
        scope = self.scope
        batch = frame.batch
        changes: dict[int, Message | None] = {}
        for index, message in enumerate(frame.messages):
            denial: Deny | Respond | None
            if isinstance(message, Opaque):
                denial, decision = self._opaque_denial(message, allowed=False), None
            else:
                decision = yield from scope.ask(Stage.REQUEST, message)
                denial = decision.denial
            if denial is not None:
                if not batch or isinstance(denial, Respond):
                    scope.deny(message, denial)
                    return None
                scope.refused.append((message, denial))
                changes[index] = None
                continue
            if decision is not None:
                self._headers = self._headers.then(decision.mutation.headers)
                replaced = changed(decision.mutation, message)
                if decision.mutation.drop:
                    changes[index] = None
                    continue
                if replaced is not None:
                    changes[index] = replaced
                    self._mirror(message, replaced)
                    message = replaced
            scope.requests.append(message)
        return changes

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


def request_head(event: HeadersReceived) -> RequestHead:
    """The request's head from its header lines."""
    headers = event.headers
    path, _, query = (headers.get(":path") or "").partition("?")
    return RequestHead(
        method=headers.get(":method") or "",
        path=path,
        authority=headers.get(":authority") or headers.get("host") or "",
        headers=headers,
        end_of_stream=event.end_of_stream,
        query=query,
    )


def _unreadable(head: RequestHead) -> Opaque:
    return Opaque("not-this-protocol", f"{head.method} with this content type is not what this route speaks")


def _repeats(headers: Headers, name: str, value: str) -> bool:
    """Whether there is one header `name`, and it stands for the same text as `value`."""
    found = [line.decode("latin-1") for line in headers.get_all(name)]
    return len(found) == 1 and decode_header_value(found[0]) == decode_header_value(value)

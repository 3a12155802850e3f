"""The request's headers: whose route it is, who calls, what can be said at once, and what is asked for.

Rules:
- A client's copies of our routing headers are always removed, on ungoverned routes too.
- On a route where a policy enforces, what cannot be read is denied, unless `allow_opaque` lists it; what claims to be
  of the protocol and is malformed is always denied there, for the next reader may read it otherwise.
- The filter's modes are ours to override, or somebody else's and fixed: those are worked with as far as they go.

Not here: the body (request_body.py), the answer (response_side.py), the choice of modes (plan.py).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ext_proc.codecs.auto import candidates
from ext_proc.codecs.codec import Codec
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.decoding import can_decode
from ext_proc.engine.empty_body import unexpected_body
from ext_proc.engine.half import Half
from ext_proc.engine.identification import challenged
from ext_proc.engine.plan import NOTHING_MORE, plan_request
from ext_proc.engine.request_body import TAKEN_OUT, RequestBody
from ext_proc.engine.scope import Scope, Steps
from ext_proc.errors import ProtocolError
from ext_proc.events import BodyMode, BodyReceived, Direction, EnvoyFacts, HeadersReceived, TrailersReceived
from ext_proc.headers import HeaderMutation, content_length
from ext_proc.messages import Message, Opaque, RequestHead
from ext_proc.replies import HeadersReply, ImmediateReply
from ext_proc.trail import Stage


class RequestSide:
    """One exchange's request."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.half = Half(Direction.REQUEST)
        self._headers = HeaderMutation()
        self._body = RequestBody(scope, self._headers)

    def steps(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> Steps:
        """What an event leads to.

        Raises:
            ProtocolError: Envoy sent what its own protocol or our configuration rules out.
        """
        self.half.advance(event)
        if isinstance(event, HeadersReceived):
            yield from self._on_headers(event)
        elif isinstance(event, BodyReceived):
            yield from self._body.steps(event)
        else:
            yield from self._body.end()

    @property
    def held_since(self) -> float | None:
        """When the headers reply began to wait for the body; None where it does not."""
        return None if self.scope.has_replied() else self._body.held_since

    def expire(self) -> None:
        """The held headers waited longer than `limits.hold` for their body."""
        self._body.expire()

    def _on_headers(self, event: HeadersReceived) -> Steps:
        scope = self.scope
        self._take_note_of_modes(event.facts)
        head = request_head(event)
        scope.exchanged.request = head
        # W3C Trace Context: 55 characters in version 00; what is much longer is none.
        scope.trail.traceparent = (head.headers.get("traceparent") or "")[:256]
        prefix = scope.rulebook.header_prefix
        copies = tuple(dict.fromkeys(name for name, _ in head.headers if name.startswith(prefix)))
        self._headers = HeaderMutation(remove=copies)
        route = scope.rulebook.route_for(head)
        if route is None:
            self._unmatched(bool(copies))
            return
        scope.begin(route, head)
        found = candidates(route.codecs, head)
        codec = found[0] if found else None
        scope.codec = codec or route.codecs[0]
        decision = yield from scope.identify(event.facts)
        if decision.denial is not None:
            denial = challenged(decision.denial, route.pipeline.bindings)
            scope.deny(Opaque("denied", "denied before it was read"), denial)
            return
        if route.pipeline.has(Stage.REQUEST_HEADERS):
            decision = yield from scope.ask(Stage.REQUEST_HEADERS)
            if decision.denial is not None:
                scope.deny(Opaque("denied", "denied at the headers"), decision.denial)
                return
            self._headers = self._headers.then(decision.mutation.headers)
        if codec is None or is_upgrade(head) or not can_decode(head.headers):
            self._pass_or_deny(_unreadable(head), allowed=True)
            return
        if any(route.pipeline.guards(one.answers(())) for one in found):
            # An answer that may be edited must arrive in the clear (ext_proc: compressed bodies come as they are).
            self._headers = self._headers.then(HeaderMutation(remove=("accept-encoding",)))
        message = codec.transport_message(head)
        if message is not None:
            yield from self._on_transport_message(codec, message, head)
        elif event.end_of_stream:
            self._pass_or_deny(Opaque("empty-body", "the body is empty", malformed=True), allowed=False)
        elif not (yield from self._by_headers(codec, head)):
            self._ask_for_body(found, head)

    def _by_headers(self, codec: Codec, head: RequestHead) -> Generator[Checkpoint, Decision, bool]:
        """Decides on what the headers say that the body is; whether the body need not be asked for."""
        scope = self.scope
        assert scope.route is not None
        said = codec.header_message(head)
        if said is None:
            return False
        decision = yield from scope.ask(Stage.REQUEST_HEADERS, said)
        if decision.denial is not None:
            scope.name_messages([said])
            scope.deny(said, decision.denial)
            return True
        if not (decision.settled and scope.route.trusts_headers) or scope.override(NOTHING_MORE) is None:
            return False
        scope.name_messages([said])
        self._go_on(codec, said, head)
        return True

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

    def _on_transport_message(self, codec: Codec, message: Message, head: RequestHead) -> Steps:
        scope = self.scope
        assert scope.route is not None
        if not message.passes_unguarded and not scope.route.pipeline.holds_all(Stage.REQUEST, (type(message),)):
            undecided = Opaque("unguarded-request", "no policy here tells whether this caller may ask for this")
            self._pass_or_deny(undecided, allowed=True)
            return
        if not head.end_of_stream:
            # It may be empty all the same, which only its end tells; and modes that are not ours may not tell of it.
            if content_length(head.headers) or scope.override(NOTHING_MORE) is None:
                self._pass_or_deny(unexpected_body(head.method), allowed=True)
            else:
                self._ask_for_body([codec], head)
            return
        scope.name_messages([message])
        denial = None
        if scope.route.pipeline.wants(Stage.REQUEST, (type(message),)):
            decision = yield from scope.ask(Stage.REQUEST, message)
            denial = decision.denial or (TAKEN_OUT if decision.mutation.drop else None)
            self._headers = self._headers.then(decision.mutation.headers)
        if denial is not None:
            scope.deny(message, denial)
            return
        self._go_on(codec, message, head)

    def _go_on(self, codec: Codec, message: Message, head: RequestHead) -> None:
        """Lets a request go on whose body nobody reads."""
        scope = self.scope
        assert scope.route is not None
        scope.forward(message, message)
        scope.decided = True
        plan = plan_request(scope.route, [codec], head, False, scope.rulebook.limits)
        modes = scope.override(plan.modes)
        if modes is not None:
            scope.reserved = plan.reserve
        self._headers = self._headers.then(scope.routing_headers())
        scope.send(
            HeadersReply(
                Direction.REQUEST,
                self._headers,
                clear_route_cache=True,
                modes=modes,
                metadata=scope.described(final=False),
            )
        )

    def _ask_for_body(self, codecs: Sequence[Codec], head: RequestHead) -> None:
        scope = self.scope
        assert scope.route is not None
        plan = plan_request(scope.route, codecs, head, True, scope.rulebook.limits)
        if plan.too_large:
            self._pass_or_deny(
                Opaque("request-too-large", "the body is larger than the gateway reads", too_large=True), allowed=False
            )
            return
        self._body = RequestBody(scope, self._headers)
        self._body.open(codecs, plan)

    def _pass_or_deny(self, message: Opaque, *, allowed: bool) -> None:
        """Decides at the headers on a request that cannot be read.

        Args:
            allowed: whether `allow_opaque` may list it.
        """
        denial = self.scope.opaque_denial(message, allowed=allowed)
        if denial is not None:
            self.scope.deny(message, denial)
        else:
            self.scope.decided = True
            self.scope.unread = True
            self.scope.trail.note(f"passed unread: {message.reason}")
            self.scope.send(
                HeadersReply(
                    Direction.REQUEST,
                    self._headers,
                    clear_route_cache=bool(self._headers),
                    modes=self.scope.override(NOTHING_MORE),
                )
            )


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


def is_upgrade(head: RequestHead) -> bool:
    """Whether bytes of another protocol may follow in both directions, without an end (RFC 9110, section 7.8).

    Envoy tells of an extended CONNECT (RFC 8441) in the same words.
    """
    options = b",".join(head.headers.get_all("connection")).lower().split(b",")
    return "upgrade" in head.headers and b"upgrade" in (option.strip() for option in options)


def _unreadable(head: RequestHead) -> Opaque:
    if is_upgrade(head):
        return Opaque("upgrade", "the bytes of an upgrade are read by nobody here")
    if not can_decode(head.headers):
        return Opaque("coding-unknown", "this content coding is not one that the gateway reads")
    return Opaque("not-this-protocol", f"{head.method} with this content type is not what this route speaks")

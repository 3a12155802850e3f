"""The request's headers: whose route it is, who calls, what can be said at once, and what is asked for.

Rules:
- A client's copies of our routing headers are always removed, on ungoverned routes too.
- On a route where a policy enforces, what cannot be read is denied, unless `allow_opaque` lists it; what claims to be
  of the protocol and is malformed is always denied there, for the next reader may read it otherwise.
- The filter's modes are ours to override, or somebody else's and fixed: those are worked with as far as they go.

Not here: the body (request_body.py), the answer (response_side.py), the choice of modes (plan.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ext_proc.codecs.auto import candidates
from ext_proc.codecs.codec import Codec
from ext_proc.engine.decoding import can_decode
from ext_proc.engine.half import Half
from ext_proc.engine.plan import NOTHING_MORE, plan_request
from ext_proc.engine.request_body import RequestBody
from ext_proc.engine.scope import Scope, Steps
from ext_proc.errors import ProtocolError
from ext_proc.events import BodyMode, BodyReceived, Direction, EnvoyFacts, HeadersReceived, TrailersReceived
from ext_proc.headers import HeaderMutation
from ext_proc.identity import UNKNOWN, Identity, from_metadata
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
        return self._body.held_since

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
        scope.begin(route, head, self._identity(event.facts))
        found = candidates(route.codecs, head)
        codec = found[0] if found else None
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
            self._ask_for_body(found, head)

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
        if not head.end_of_stream:  # a body, or the frames of an upgrade: nobody would read them
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

    def _ask_for_body(self, codecs: Sequence[Codec], head: RequestHead) -> None:
        scope = self.scope
        assert scope.route is not None
        plan = plan_request(scope.route, codecs[0], head, True, scope.rulebook.limits)
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


def _unreadable(head: RequestHead) -> Opaque:
    if not can_decode(head.headers):
        return Opaque("coding-unknown", "this content coding is not one that the gateway reads")
    return Opaque("not-this-protocol", f"{head.method} with this content type is not what this route speaks")

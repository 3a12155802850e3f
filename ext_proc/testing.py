"""For plug-in authors and our own tests: play one HTTP exchange through the real engine, without Envoy.

Rules:
- The engine, codecs and pipeline are the real ones; what is simulated is Envoy, by the rules of ext_proc that it
  keeps: which bodies it sends in which mode, one reply to each event outside full duplex, headers held until answered.
- A reply that Envoy would call spurious, or one that is missing, is an AssertionError.
- What a policy says is looked at, not how fast it is: unless bound otherwise it has a minute, for a test must not fail
  because its machine is busy.

Not here: a check of what really happens in Envoy (tests/envoy does that).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from ext_proc.codecs.mcp import McpCodec
from ext_proc.credentials.metadata import JWT_NAMESPACE
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.events import (
    BodyMode,
    BodyReceived,
    CloseCause,
    Closed,
    Direction,
    EnvoyFacts,
    Event,
    HeadersReceived,
    Tick,
    TrailersReceived,
)
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.limits import Limits
from ext_proc.policy import Policy
from ext_proc.replies import (
    Abort,
    BodyReply,
    Finish,
    HeadersReply,
    ImmediateReply,
    Modes,
    ModesReply,
    Reply,
    StreamedBody,
    TrailersReply,
)
from ext_proc.running import decide as decide
from ext_proc.running import in_force as in_force
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import NO_STORE, Store
from ext_proc.trail import Trail

Cut = Callable[[bytes], Sequence[bytes]]
Claims = Mapping[str, Any] | None
PATIENCE = 60.0  # seconds for a hook, and for all hooks of one message
R = TypeVar("R", HeadersReply, ModesReply, BodyReply, StreamedBody, TrailersReply)


@dataclass(slots=True)
class HttpRequest:
    """A request as a client sends it or an upstream gets it."""

    body: bytes = b""
    method: str = "POST"
    path: str = "/mcp"
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    )
    claims: Claims = None  # the payload of a token that Envoy verified
    authority: str = "tools.example"
    sized: bool = True
    trailers: dict[str, str] | None = None


@dataclass(slots=True)
class HttpResponse:
    """A response as an upstream sends it or a client gets it; `complete` is False for one that was cut off."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    trailers: dict[str, str] | None = None
    sized: bool = True
    complete: bool = True

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


@dataclass(slots=True)
class Played:
    """What came of it.

    Attributes:
        upstream: what reached the upstream; None if nothing did.
        client: what the client got; None if Envoy was made to fail (aborted).
        metadata: the dynamic metadata under `gatehouse`, merged in order.
    """

    trail: Trail
    upstream: HttpRequest | None = None
    client: HttpResponse | None = None
    aborted: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


_PATIENT = Limits(decision=PATIENCE)


def rulebook_of(
    *policies: Policy[Any, Any] | Binding, limits: Limits = _PATIENT, read_answers: bool = True, **route: Any
) -> Rulebook:
    """A rulebook with one MCP route on /mcp and these policies, enforced and with `PATIENCE` unless bound otherwise."""
    bindings = [policy if isinstance(policy, Binding) else Binding(policy, timeout=PATIENCE) for policy in policies]
    pipeline = Pipeline(bindings, time.monotonic)
    only = Route("tools", RouteMatch(path="/mcp"), "mcp", (McpCodec(),), pipeline, read_answers=read_answers, **route)
    return Rulebook("test", "r1", (only,), limits=limits)


def call(tool: str, arguments: Mapping[str, Any] | None = None, id: int | str = 1) -> dict[str, Any]:
    """A `tools/call` request."""
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments or {}}}


def request(value: Any, **changes: Any) -> HttpRequest:
    """A POST to /mcp with `value` as its JSON body."""
    return HttpRequest(body=value if isinstance(value, bytes) else msgspec.json.encode(value), **changes)


def response(value: Any, **changes: Any) -> HttpResponse:
    """A 200 with `value` as its JSON body."""
    return HttpResponse(body=value if isinstance(value, bytes) else msgspec.json.encode(value), **changes)


def whole(body: bytes) -> Sequence[bytes]:
    """No cutting: the body in one chunk."""
    return [body]


def play(
    policy: Policy[Any, Any], sent: Any, answer: Any = None, claims: Claims = None, store: Store | None = None
) -> Played:
    """Plays one MCP request through one enforced policy.

    Args:
        sent: the JSON-RPC message, as a value or as bytes.
        answer: the upstream's JSON-RPC message; by default an empty result with the request's id.
        claims: the payload of a verified token; None for an unknown caller.
        store: see `pass_through`.
    """
    if answer is None and isinstance(sent, Mapping):
        result: dict[str, Any] = {"tools": []} if sent.get("method") == "tools/list" else {}
        answer = {"jsonrpc": "2.0", "id": sent.get("id"), "result": result}
    return pass_through(rulebook_of(policy), request(sent, claims=claims), response(answer), store=store)


def pass_through(
    rulebook: Rulebook,
    sent: HttpRequest,
    answer: HttpResponse | Callable[[HttpRequest], HttpResponse],
    cut: Cut = whole,
    fixed: tuple[BodyMode, BodyMode] = (BodyMode.NONE, BodyMode.NONE),
    *,
    store: Store | None = None,
    trail_id: str = "trail-1",
) -> Played:
    """Plays one exchange; policies that are not `in_force` are opened for it, and closed.

    Args:
        cut: cuts bodies into chunks wherever Envoy would stream them.
        fixed: the filter's configured body modes, of the request and the response; other than NONE they are not
            overridden.
        store: e.g. `EmbeddedStore.in_memory()`, for several exchanges; None for one that ends with this exchange.
    """
    if store is None and any(binding.policy.keeps_state for r in rulebook.routes for binding in r.pipeline.bindings):
        with EmbeddedStore.in_memory() as own:
            return pass_through(rulebook, sent, answer, cut, fixed, store=own, trail_id=trail_id)
    with in_force(*rulebook.policies):
        return _Envoy(Exchange(rulebook, trail_id, store or NO_STORE), cut, fixed).run(sent, answer)


class _Answered(Exception):
    """An ImmediateReply or an abort came instead of what was expected."""


class _Envoy:
    """Envoy's part of one exchange."""

    def __init__(self, exchange: Exchange, cut: Cut, fixed: tuple[BodyMode, BodyMode]) -> None:
        self.exchange = exchange
        self.played = Played(self.exchange.trail)
        self.cut = cut
        self.fixed = fixed
        self.modes = Modes(request_body=fixed[0], response_body=fixed[1])
        self._outbox: list[Reply] = []

    def run(self, sent: HttpRequest, answer: HttpResponse | Callable[[HttpRequest], HttpResponse]) -> Played:
        cause = CloseCause.HALF_CLOSED
        try:
            self.played.upstream = upstream = self._request(sent)
            given = answer(upstream) if callable(answer) else answer
            self._response(upstream, given)
            if not given.complete:
                cause = CloseCause.CANCELLED
        except _Answered:
            if self.played.aborted:
                cause = CloseCause.FAILED
        self._tell(Closed(cause))
        assert self.exchange.over
        leftover = [reply for reply in self._outbox if not isinstance(reply, Finish)]
        assert not leftover, f"spurious {leftover}"
        return self.played

    def _request(self, sent: HttpRequest) -> HttpRequest:
        headers = dict(sent.headers)
        if sent.body and sent.sized:
            headers.setdefault("content-length", str(len(sent.body)))
        pseudo = {":method": sent.method, ":path": sent.path, ":authority": sent.authority, ":scheme": "http"}
        metadata = {} if sent.claims is None else {JWT_NAMESPACE: {"payload": sent.claims}}
        facts = EnvoyFacts(metadata, request_body_mode=self.fixed[0], response_body_mode=self.fixed[1])
        ends = not sent.body and sent.trailers is None
        self._tell(HeadersReceived(Direction.REQUEST, _headers({**pseudo, **headers}), ends, facts))
        upstream = HttpRequest(sent.body, sent.method, sent.path, headers, sent.claims, trailers=sent.trailers)
        if self._outbox and isinstance(self._outbox[0], ModesReply):
            self.modes = self._take(ModesReply).modes
            assert self.modes.request_body is BodyMode.FULL_DUPLEX_STREAMED, "nothing else may be overridden alone"
            upstream.body = self._upload(sent, headers)
            return upstream
        if self.modes.request_body is BodyMode.FULL_DUPLEX_STREAMED and not ends:
            upstream.body = self._upload(sent, headers)
            return upstream
        self._request_headers(headers)
        if upstream.body and self.modes.request_body is BodyMode.STREAMED:
            for piece, last in self._pieces(sent.body, sent.trailers is None):
                self._tell(BodyReceived(Direction.REQUEST, piece, last))
                assert self._take(BodyReply).body is None, "only read in this mode"
        if upstream.body and self.modes.request_body is BodyMode.BUFFERED:
            self._tell(BodyReceived(Direction.REQUEST, sent.body, end_of_stream=sent.trailers is None))
            changed = self._take(BodyReply)
            _apply(headers, changed.mutation)
            upstream.body = sent.body if changed.body is None else changed.body
            assert int(headers.get("content-length", len(upstream.body))) == len(upstream.body), "a wrong length"
        return upstream

    def _upload(self, sent: HttpRequest, headers: dict[str, str]) -> bytes:
        """Full duplex with the headers reply held."""
        waiting = not self._outbox
        if not waiting:
            self._request_headers(headers)
        for piece, last in self._pieces(sent.body, sent.trailers is None):
            self._tell(BodyReceived(Direction.REQUEST, piece, last))
        if sent.trailers is not None:
            self._tell(TrailersReceived(Direction.REQUEST, _headers(sent.trailers)))
        if waiting:
            self._request_headers(headers)
        body, ended = self._collect()
        assert ended or sent.trailers is not None, "the stream was never ended"
        assert int(headers.get("content-length", len(body))) == len(body), "a stale length smuggles the rest"
        if sent.trailers is not None:
            self._take(TrailersReply)
        return body

    def _request_headers(self, headers: dict[str, str]) -> None:
        reply = self._take(HeadersReply)
        _apply(headers, reply.mutation)
        assert reply.modes is None or self.fixed == (BodyMode.NONE, BodyMode.NONE), "fixed modes are not overridden"
        self.modes = reply.modes or self.modes

    def _pieces(self, body: bytes, ends: bool) -> Iterator[tuple[bytes, bool]]:
        """The chunks of a streamed body, and whether each ends the stream."""
        pieces = list(self.cut(body))
        for position, piece in enumerate(pieces):
            yield piece, ends and position == len(pieces) - 1

    def _collect(self) -> tuple[bytes, bool]:
        """The chunks that full duplex sent, and whether they ended the stream."""
        body, ended = b"", False
        while self._outbox and isinstance(self._outbox[0], StreamedBody):
            chunk = self._take(StreamedBody)
            assert not ended, "a chunk after the end of the stream"
            assert len(chunk.data) <= 64 * 1024
            body += chunk.data
            ended = chunk.end_of_stream
        return body, ended

    def _response(self, upstream: HttpRequest, answer: HttpResponse) -> None:
        headers = dict(answer.headers)
        if answer.body and answer.sized:
            headers["content-length"] = str(len(answer.body))
        ends = not answer.body and answer.trailers is None and answer.complete
        self.played.client = client = HttpResponse(b"", answer.status, headers, answer.trailers, answer.sized)
        if not self.modes.response_headers:
            client.body = answer.body
            return
        self._tell(HeadersReceived(Direction.RESPONSE, _headers({":status": str(answer.status), **headers}), ends))
        held = self.modes.response_body is BodyMode.FULL_DUPLEX_STREAMED and not self._outbox
        if not held:
            self._response_headers(headers)
        if ends:
            assert not held, "nothing follows these headers: their reply cannot wait"
            return
        mode = self.modes.response_body
        if mode is BodyMode.NONE:
            client.body = answer.body
        elif mode is not BodyMode.BUFFERED:
            self._stream(answer, client, headers, held)
        elif answer.complete:
            self._tell(BodyReceived(Direction.RESPONSE, answer.body, answer.trailers is None))
            changed = self._take(BodyReply)
            _apply(headers, changed.mutation)
            client.body = answer.body if changed.body is None else changed.body
            assert int(headers.get("content-length", len(client.body))) == len(client.body), "a wrong content-length"
        client.complete = answer.complete

    def _response_headers(self, headers: dict[str, str]) -> None:
        reply = self._take(HeadersReply)
        _apply(headers, reply.mutation)
        self.modes = reply.modes or self.modes

    def _stream(self, answer: HttpResponse, client: HttpResponse, headers: dict[str, str], held: bool) -> None:
        duplex = self.modes.response_body is BodyMode.FULL_DUPLEX_STREAMED
        sized = "content-length" in headers
        for piece, last in self._pieces(answer.body, answer.trailers is None and answer.complete):
            self._tell(BodyReceived(Direction.RESPONSE, piece, last))
            if not duplex:
                reply = self._take(BodyReply)
                client.body += piece if reply.body is None else reply.body
        if answer.trailers is not None:
            self._tell(TrailersReceived(Direction.RESPONSE, _headers(answer.trailers)))
        if duplex:
            if held and (self._outbox or answer.complete):
                self._response_headers(headers)
                sized = "content-length" in headers
            client.body, ended = self._collect()
            assert ended or answer.trailers is not None or not answer.complete, "the stream was never ended"
            stale = sized and int(headers["content-length"]) != len(client.body)
            assert not stale, "full duplex keeps a stale content-length: it must be removed"
        if answer.trailers is not None:
            self._take(TrailersReply)

    def _tell(self, event: Event) -> None:
        self.exchange.receive(Tick(time.monotonic(), time.time()))
        self.exchange.receive(event)
        decide(self.exchange)
        self._outbox.extend(self.exchange.replies())

    def _take(self, kind: type[R]) -> R:
        """The next reply, which must be of `kind`, unless the exchange was answered or aborted."""
        assert self._outbox, f"Envoy waits for a {kind.__name__} that never comes"
        reply = self._outbox.pop(0)
        if isinstance(reply, Abort):
            self.played.aborted, self.played.client = reply.reason, None
            raise _Answered
        if not isinstance(reply, Abort | Finish | ModesReply):
            self.played.metadata.update(reply.metadata.get("gatehouse", {}))
        if isinstance(reply, ImmediateReply):
            lines = {name: value.decode() for name, value in reply.headers}
            self.played.client = HttpResponse(reply.body, reply.status, lines)
            raise _Answered
        assert isinstance(reply, kind), f"{type(reply).__name__} where Envoy waits for {kind.__name__}"
        return reply


def _headers(lines: Mapping[str, str]) -> Headers:
    return Headers((name, value.encode()) for name, value in lines.items())


def _apply(headers: dict[str, str], mutation: HeaderMutation) -> None:
    for name in mutation.remove:
        headers.pop(name, None)
    for name, value in mutation.set:
        headers[name] = value.decode()

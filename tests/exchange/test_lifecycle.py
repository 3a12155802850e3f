"""Event lists: order, ends, faults of Envoy's, and time."""

from __future__ import annotations

import msgspec
import pytest

from ext_proc.engine.checkpoint import PASS, Decision
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.route import Rulebook
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
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.policy import Deny
from ext_proc.replies import Abort, BodyReply, Finish, HeadersReply, ImmediateReply, Reply, StreamedBody, TrailersReply
from ext_proc.testing import call, decide, rulebook_of
from ext_proc.trail import Outcome, Stage
from tests.exchange.policies import DenyResult, DenyTool, Guard, Watcher

BODY = msgspec.json.encode(call("search"))
REQ, RESP = Direction.REQUEST, Direction.RESPONSE


def request_headers(facts: EnvoyFacts | None = None, **changes: str) -> HeadersReceived:
    lines = {
        ":method": "POST",
        ":path": "/mcp?x=1",
        ":authority": "h:80",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        **changes,
    }
    return HeadersReceived(
        REQ, Headers((name, value.encode()) for name, value in lines.items()), facts=facts or EnvoyFacts()
    )


def response_headers(status: str = "200", content_type: str = "application/json", end: bool = False) -> HeadersReceived:
    lines = ((":status", status.encode()), ("content-type", content_type.encode()))
    return HeadersReceived(RESP, Headers(lines), end_of_stream=end)


def drive(exchange: Exchange, *events: Event) -> list[Reply]:
    replies: list[Reply] = []
    for event in events:
        exchange.receive(event)
        decide(exchange)
        replies += exchange.replies()
    return replies


def kinds(replies: list[Reply]) -> list[str]:
    return [type(reply).__name__ for reply in replies]


def started(book: Rulebook | None = None) -> Exchange:
    exchange = Exchange(book or rulebook_of(Watcher()), "t")
    exchange.receive(Tick(10.0))
    return exchange


def test_each_event_has_exactly_one_reply_outside_full_duplex() -> None:
    exchange = started()
    steps: list[tuple[Event, type[Reply]]] = [
        (request_headers(), HeadersReply),
        (BodyReceived(REQ, BODY, end_of_stream=True), BodyReply),
        (response_headers(), HeadersReply),
        (BodyReceived(RESP, b"{}"), BodyReply),
        (BodyReceived(RESP, b""), BodyReply),
        (TrailersReceived(RESP, Headers()), TrailersReply),
    ]
    for event, kind in steps:
        replies = drive(exchange, event)
        assert [type(reply) for reply in replies] == [kind], event


def test_a_chunk_of_which_nothing_may_leave_yet_is_answered_with_an_empty_one() -> None:
    """In full duplex chosen with the response, Envoy keeps trailers that came with the headers until it is answered."""
    exchange = started(rulebook_of(DenyResult(b"secret")))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True), response_headers())
    answer = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
    assert drive(exchange, BodyReceived(RESP, answer)) == [StreamedBody(RESP, b"", False)]
    assert drive(exchange, TrailersReceived(RESP, Headers()))[0] == StreamedBody(RESP, answer, False)


def test_a_body_that_comes_with_trailers_is_decided_when_it_is_there() -> None:
    """BUFFERED: the body message has end_of_stream=false where trailers follow."""
    exchange = started(rulebook_of(DenyTool("search")))
    drive(exchange, request_headers())
    (reply,) = drive(exchange, BodyReceived(REQ, BODY, end_of_stream=False))
    assert isinstance(reply, ImmediateReply)


def test_ok_is_sent_only_after_envoys_half_close() -> None:
    exchange = started()
    replies = drive(
        exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True), response_headers(end=True)
    )
    assert not any(isinstance(reply, Finish | Abort) for reply in replies)
    assert kinds(drive(exchange, Closed(CloseCause.HALF_CLOSED))) == ["Finish"]


@pytest.mark.parametrize("cause", [CloseCause.CANCELLED, CloseCause.FAILED])
def test_a_cancelled_or_failed_rpc_is_not_finished(cause: CloseCause) -> None:
    exchange = started()
    assert drive(exchange, request_headers(), Closed(cause))[1:] == []


def test_complete_comes_exactly_once_and_nothing_after_it() -> None:
    watcher = Watcher()
    exchange = started(rulebook_of(watcher))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True), response_headers(end=True))
    drive(exchange, Closed(CloseCause.HALF_CLOSED), Closed(CloseCause.CANCELLED), response_headers())
    assert exchange.over
    assert watcher.seen[-1:] == ["complete empty"]
    assert sum(seen.startswith("complete") for seen in watcher.seen) == 1
    assert exchange.next_checkpoint() is None


def test_a_close_while_a_checkpoint_is_outstanding_drops_it_and_a_late_decision_does_nothing() -> None:
    exchange = started(rulebook_of(DenyTool("search")))
    drive(exchange, request_headers())
    exchange.receive(BodyReceived(REQ, BODY, end_of_stream=True))
    outstanding = exchange.next_checkpoint()
    assert outstanding is not None
    assert outstanding.stage is Stage.REQUEST
    exchange.receive(Closed(CloseCause.CANCELLED))
    exchange.resolve(Decision(denial=Deny("late", "late")))
    complete = exchange.next_checkpoint()
    assert complete is not None
    assert complete.stage is Stage.COMPLETE
    assert list(exchange.replies()) == []
    exchange.resolve(PASS)
    assert exchange.over
    assert exchange.trail.outcome == "truncated"


def test_events_that_come_while_a_checkpoint_is_outstanding_wait_for_it() -> None:
    exchange = started(rulebook_of(DenyTool("other")))
    drive(exchange, request_headers())
    exchange.receive(BodyReceived(REQ, BODY, end_of_stream=True))
    exchange.receive(response_headers(end=True))
    assert list(exchange.replies()) == []
    decide(exchange)
    assert kinds(list(exchange.replies())) == ["BodyReply", "HeadersReply"]


def test_a_decision_that_nobody_asked_for_does_nothing() -> None:
    exchange = started()
    exchange.resolve(Decision(denial=Deny("early", "early")))
    assert list(exchange.replies()) == []


FAULTS: dict[str, list[Event]] = {
    "a body first": [BodyReceived(REQ, b"x")],
    "trailers first": [TrailersReceived(REQ, Headers())],
    "headers twice": [request_headers(), request_headers()],
    "a body after the end": [HeadersReceived(REQ, Headers(), end_of_stream=True), BodyReceived(REQ, b"x")],
    "an unasked body": [request_headers(None, **{":path": "/elsewhere"}), BodyReceived(REQ, b"x")],
    "half a request": [request_headers(EnvoyFacts(request_body_mode=BodyMode.BUFFERED_PARTIAL))],
    "half a response": [request_headers(EnvoyFacts(response_body_mode=BodyMode.BUFFERED_PARTIAL))],
    "a fixed mode that cannot hold": [request_headers(EnvoyFacts(request_body_mode=BodyMode.STREAMED))],
    "fixed modes without a body": [request_headers(EnvoyFacts(response_body_mode=BodyMode.BUFFERED))],
}  # fmt: skip


@pytest.mark.parametrize("events", FAULTS.values(), ids=FAULTS.keys())
def test_what_breaks_ext_procs_rules_aborts_the_rpc_so_that_envoy_fails_closed(events: list[Event]) -> None:
    exchange = started(rulebook_of(DenyTool("x")))
    replies = drive(exchange, *events)
    assert isinstance(replies[-1], Abort)
    assert replies[-1].reason
    assert drive(exchange, response_headers()) == []
    assert drive(exchange, Closed(CloseCause.HALF_CLOSED)) == []
    assert exchange.trail.outcome != "ok"


def test_a_response_without_any_request_passes() -> None:
    """An earlier filter may have replied locally."""
    exchange = started(rulebook_of(DenyTool("x")))
    assert kinds(drive(exchange, response_headers("401"))) == ["HeadersReply"]


def test_our_own_immediate_answer_may_come_back_as_a_response() -> None:
    exchange = started(rulebook_of(DenyTool("search")))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True))
    replies = drive(exchange, response_headers(), BodyReceived(RESP, b"...", end_of_stream=True))
    assert replies == [HeadersReply(RESP), BodyReply(RESP)]
    assert exchange.trail.outcome == "refused"


def test_an_answer_to_a_request_that_was_never_decided_is_refused() -> None:
    """Overrides not allowed: the body we asked for never comes, the upstream's answer does."""
    exchange = started(rulebook_of(DenyTool("x")))
    (_, refused) = drive(exchange, request_headers(), response_headers())
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 500
    assert "allow_mode_override" in exchange.trail.notes[0]


def test_envoys_own_413_becomes_the_protocols_error() -> None:
    exchange = started(rulebook_of(DenyTool("x")))
    (_, refused) = drive(exchange, request_headers(), response_headers("413", "text/plain"))
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 413
    assert b"jsonrpc" in refused.body


def test_in_observability_mode_nothing_is_answered() -> None:
    exchange = started(rulebook_of(DenyTool("x")))
    replies = drive(exchange, request_headers(EnvoyFacts(observability_mode=True)), response_headers(end=True))
    assert replies == []


def test_a_held_headers_reply_is_given_up_after_the_limit() -> None:
    exchange = started(rulebook_of(Guard(), limits=Limits(hold=5.0)))
    listing = msgspec.json.encode({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
    drive(exchange, request_headers(), BodyReceived(REQ, listing, end_of_stream=True))
    assert exchange.wake_at() is None
    assert drive(exchange, response_headers(), BodyReceived(RESP, b'{"jsonrpc"')) == []
    assert exchange.wake_at() == 15.0
    assert drive(exchange, Tick(14.9)) == []
    (refused,) = drive(exchange, Tick(15.0))
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 504
    assert msgspec.json.decode(refused.body)["id"] == 3
    assert exchange.wake_at() is None


def test_the_trail_knows_how_long_it_took() -> None:
    exchange = started()
    drive(exchange, request_headers(), Tick(10.5), Closed(CloseCause.CANCELLED))
    assert exchange.trail.started == 10.0
    assert exchange.trail.duration == 0.5


def test_the_callers_trace_and_path_are_kept_without_the_query() -> None:
    exchange = started()
    drive(exchange, request_headers(traceparent="00-abc-def-01"))
    assert exchange.trail.traceparent == "00-abc-def-01"
    assert exchange.trail.route == "tools"


@pytest.mark.parametrize(
    ("content_type", "came"),
    [
        ("text/event-stream", b""),
        ("text/event-stream", b": beat\n\n"),
        ("text/event-stream", b"data: {"),
        ("application/json", b""),
        ("application/json", b'{"jsonrpc":'),
    ],
)
def test_an_answer_that_was_cut_off_is_truncated_not_empty_or_invalid(content_type: str, came: bytes) -> None:
    exchange = started()
    events: list[Event] = [request_headers(), BodyReceived(REQ, BODY, True), response_headers("200", content_type)]
    drive(exchange, *events, *([BodyReceived(RESP, came)] if came else []), Closed(CloseCause.CANCELLED))
    assert (exchange.trail.outcome, exchange.trail.cause) == (Outcome.TRUNCATED, "cancelled")


def test_a_stream_that_waits_for_nothing_may_be_left_at_any_moment() -> None:
    exchange = started()
    lines = ((":method", b"GET"), (":path", b"/mcp"), ("accept", b"text/event-stream"))
    drive(exchange, HeadersReceived(REQ, Headers(lines), end_of_stream=True))
    drive(exchange, response_headers("200", "text/event-stream"), BodyReceived(RESP, b": beat\n\n"))
    drive(exchange, Closed(CloseCause.CANCELLED))
    assert (exchange.trail.outcome, exchange.trail.cause) == (Outcome.OK, "cancelled")


def test_an_exchange_that_we_failed_is_never_called_complete() -> None:
    exchange = started(rulebook_of(DenyTool("search")))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True), Closed(CloseCause.FAILED))
    assert exchange.trail.cause == "failed"

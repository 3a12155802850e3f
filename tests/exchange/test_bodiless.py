"""Event lists: requests that their headers alone say, however they end; and upgrades, which have no end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ext_proc.engine.route import OpaqueRule, Rulebook
from ext_proc.events import BodyMode, BodyReceived, Direction, EnvoyFacts, Event, HeadersReceived, TrailersReceived
from ext_proc.headers import Headers
from ext_proc.messages import SessionEnd
from ext_proc.policy import Context, Deny, Mutation, Verdict
from ext_proc.replies import HeadersReply, ImmediateReply, ModesReply, Reply, StreamedBody, TrailersReply
from ext_proc.testing import rulebook_of
from tests.exchange.policies import Base, DenyTool, Watcher
from tests.exchange.test_lifecycle import drive, started

REQ = Direction.REQUEST
EVENTS = (("accept", "text/event-stream"),)
UPGRADE = (("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"))
NOTHING_ENDS: list[list[Event]] = [
    [BodyReceived(REQ, b"", end_of_stream=True)],
    [BodyReceived(REQ, b""), BodyReceived(REQ, b"", end_of_stream=True)],
    [TrailersReceived(REQ, Headers((("x-a", b"b"),)))],
    [BodyReceived(REQ, b""), TrailersReceived(REQ, Headers(()))],
]


class StaysOpen(Base):
    """Lets nobody end a session."""

    def on_request(self, message: SessionEnd, ctx: Context[Any]) -> Verdict:
        return Deny("stays-open", "sessions are not ended here")


def headers(method: str, *lines: tuple[str, str]) -> HeadersReceived:
    """A request's headers, which do not end it."""
    named = ((":method", method), (":path", "/mcp"), (":authority", "h"), *lines)
    return HeadersReceived(REQ, Headers((name, value.encode()) for name, value in named))


def reason_of(reply: Reply) -> bytes:
    assert isinstance(reply, ImmediateReply)
    return reply.body


@pytest.mark.parametrize("book", [rulebook_of(DenyTool("x")), rulebook_of(Watcher())], ids=["enforcing", "watching"])
@pytest.mark.parametrize(("method", "lines"), [("GET", EVENTS), ("DELETE", ()), ("DELETE", (("content-length", "0"),))])
@pytest.mark.parametrize("ends", NOTHING_ENDS)
def test_a_get_or_delete_that_ends_without_a_byte_goes_on_as_what_its_headers_say(
    book: Rulebook, method: str, lines: tuple[tuple[str, str], ...], ends: list[Event]
) -> None:
    exchange = started(book)
    (first,) = drive(exchange, headers(method, *lines))
    assert isinstance(first, ModesReply)
    assert first.modes.request_body is BodyMode.FULL_DUPLEX_STREAMED
    reply, *rest = drive(exchange, *ends)
    assert isinstance(reply, HeadersReply)
    assert ("x-gatehouse-method", method.encode()) in reply.mutation.set
    assert rest == [StreamedBody(REQ, b"", True) if isinstance(ends[-1], BodyReceived) else TrailersReply(REQ)]
    assert exchange.trail.method == method


def test_policies_decide_about_it_when_it_has_ended() -> None:
    exchange = started(rulebook_of(StaysOpen()))
    drive(exchange, headers("DELETE"))
    (reply,) = drive(exchange, BodyReceived(REQ, b"", end_of_stream=True))
    assert b"stays-open" in reason_of(reply)


class TakesOut(Base):
    """Takes the end of a session out of the request."""

    def on_request(self, message: SessionEnd, ctx: Context[Any]) -> Verdict:
        return Mutation(drop=True)


@pytest.mark.parametrize("ends", [[], *NOTHING_ENDS])
def test_what_a_policy_takes_out_reaches_nobody_however_it_ends(ends: list[Event]) -> None:
    exchange = started(rulebook_of(TakesOut()))
    (reply,) = drive(exchange, replace(headers("DELETE"), end_of_stream=not ends), *ends)[-1:]
    assert b"taken-out" in reason_of(reply)


@pytest.mark.parametrize("declared", [(), (("content-length", "0"),)])
def test_a_post_without_a_byte_is_malformed_when_trailers_end_it_for_buffered_would_let_it_pass(
    declared: tuple[tuple[str, str], ...],
) -> None:
    """Seen on Envoy 1.40: BUFFERED, a request of headers and trailers alone goes on, and nobody is told."""
    exchange = started(rulebook_of(DenyTool("x")))
    (first,) = drive(exchange, headers("POST", ("content-type", "application/json"), *declared))
    assert isinstance(first, ModesReply)
    (reply,) = drive(exchange, TrailersReceived(REQ, Headers(())))
    assert b"json-empty" in reason_of(reply)


@pytest.mark.parametrize("fixed", [BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED])
def test_under_somebody_elses_modes_one_that_is_not_ended_is_denied_where_a_policy_enforces(fixed: BodyMode) -> None:
    asked = headers("DELETE")
    asked = replace(asked, facts=EnvoyFacts(request_body_mode=fixed, response_body_mode=BodyMode.NONE))
    (reply,) = drive(started(rulebook_of(DenyTool("x"))), asked)
    assert b"unexpected-body" in reason_of(reply)


def test_its_first_byte_is_denied_where_a_policy_enforces() -> None:
    exchange = started(rulebook_of(DenyTool("x")))
    drive(exchange, headers("GET", *EVENTS))
    (reply,) = drive(exchange, BodyReceived(REQ, b""), BodyReceived(REQ, b"{"), BodyReceived(REQ, b"}", True))
    assert b"unexpected-body" in reason_of(reply)


def test_a_length_is_denied_at_the_headers() -> None:
    (reply,) = drive(started(rulebook_of(DenyTool("x"))), headers("GET", *EVENTS, ("content-length", "2")))
    assert b"unexpected-body" in reason_of(reply)


@pytest.mark.parametrize(
    "book", [rulebook_of(Watcher()), rulebook_of(DenyTool("x"), allow_opaque=(OpaqueRule("GET"),))]
)
def test_its_body_goes_on_byte_for_byte_where_nothing_enforces_or_the_route_lists_it(book: Rulebook) -> None:
    exchange = started(book)
    drive(exchange, headers("GET", *EVENTS))
    replies = drive(exchange, BodyReceived(REQ, b"on"), BodyReceived(REQ, b"e"), BodyReceived(REQ, b"", True))
    assert isinstance(replies[0], HeadersReply)
    assert replies[1:] == [StreamedBody(REQ, b"on"), StreamedBody(REQ, b"e"), StreamedBody(REQ, b"", True)]
    assert exchange.trail.notes == ["passed unread: unexpected-body"]


@pytest.mark.parametrize(
    ("method", "lines"), [("GET", EVENTS), ("POST", (("content-type", "application/json"),)), ("DELETE", ())]
)
def test_an_upgrade_is_decided_at_its_headers_for_its_bytes_have_no_end(
    method: str, lines: tuple[tuple[str, str], ...]
) -> None:
    asked = headers(method, *lines, *UPGRADE)
    (denied,) = drive(started(rulebook_of(DenyTool("x"))), asked)
    assert b'"upgrade"' in reason_of(denied)
    for book in (rulebook_of(Watcher()), rulebook_of(DenyTool("x"), allow_opaque=(OpaqueRule(path="/mcp"),))):
        (passed,) = drive(started(book), asked)
        assert isinstance(passed, HeadersReply)
        assert passed.modes is not None
        assert (passed.modes.request_body, passed.modes.response_body) == (BodyMode.NONE, BodyMode.NONE)


@pytest.mark.parametrize("lines", [(("upgrade", "websocket"),), (("connection", "upgrade"),)])
def test_half_of_an_upgrade_is_none(lines: tuple[tuple[str, str], ...]) -> None:
    """Envoy takes both headers for an upgrade, and neither of them alone."""
    exchange = started(rulebook_of(DenyTool("x")))
    (reply,) = drive(exchange, headers("POST", ("content-type", "application/json"), *lines))
    assert isinstance(reply, ModesReply)

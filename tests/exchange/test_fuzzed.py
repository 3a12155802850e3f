"""Event lists and inputs in which fuzzing found a fault, made small (tests/fuzz)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ext_proc.codecs.auto import McpByBody
from ext_proc.engine.decoding import SniffingDecoder
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.route import Rulebook
from ext_proc.events import BodyMode, BodyReceived, Direction, EnvoyFacts, HeadersReceived, Tick, TrailersReceived
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import McpNotification, RequestHead, encode_json
from ext_proc.policy import Context, Deny, Verdict
from ext_proc.replies import Abort, HeadersReply, ImmediateReply, StreamedBody
from ext_proc.testing import HttpRequest, HttpResponse, pass_through, request, response, rulebook_of
from tests.exchange.policies import Base, DenyTool, Guard, Watcher
from tests.exchange.test_lifecycle import BODY, drive, request_headers, response_headers, started
from tests.exchange.test_requests import BATCH, DONE
from tests.exchange.test_responses import LIST, TOOLS
from tests.fuzz.inputs import cuttings
from tests.fuzz.retained import retained

REQ, RESP = Direction.REQUEST, Direction.RESPONSE
BUFFERED, DUPLEX, STREAMED = BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.STREAMED
SMALL = Limits(request_body=1000, response_body=1000, envoy_buffer=1000)
SPAN = 64 * 1024
UNSIZED = {"content-length": "none"}


def waiting_for_body(book: Rulebook, fixed: BodyMode = BodyMode.NONE) -> Exchange:
    """An exchange whose request, of unknown length, is still to come."""
    exchange = started(book)
    other = DUPLEX if fixed is not BodyMode.NONE else BodyMode.NONE
    drive(exchange, request_headers(EnvoyFacts(request_body_mode=fixed, response_body_mode=other), **UNSIZED))
    return exchange


def test_a_request_past_the_limit_is_no_batch_however_it_is_cut() -> None:
    body = b"{" + b" " * 300
    book = rulebook_of(Watcher(), limits=Limits(request_body=200))
    for chunks in cuttings(body):
        played = pass_through(book, HttpRequest(body, sized=False), HttpResponse(), cut=lambda _: chunks)  # noqa: B023 used up at once
        assert played.upstream is not None
        assert played.upstream.body == body
        assert "x-gatehouse-method" not in played.upstream.headers
        assert played.trail.notes == ["passed unread: too-large"]


@pytest.mark.parametrize("fixed", [BodyMode.NONE, STREAMED, DUPLEX], ids=str)
def test_a_request_past_the_limit_that_nothing_enforces_on_is_not_kept(fixed: BodyMode) -> None:
    exchange = waiting_for_body(rulebook_of(Watcher(), limits=SMALL), fixed)
    for _ in range(30):
        drive(exchange, BodyReceived(REQ, b" " * SPAN))
    assert retained(exchange) < 4 * SPAN


def test_an_answer_that_nobody_may_edit_is_not_held_and_not_kept() -> None:
    exchange = started(rulebook_of(Watcher(), limits=SMALL))
    drive(exchange, request_headers(EnvoyFacts(request_body_mode=BUFFERED, response_body_mode=DUPLEX)))
    drive(exchange, BodyReceived(REQ, BODY, end_of_stream=True))
    (reply,) = drive(exchange, response_headers())
    assert isinstance(reply, HeadersReply)
    left = 0
    for _ in range(30):
        left += sum(
            len(reply.data)
            for reply in drive(exchange, BodyReceived(RESP, b" " * SPAN))
            if isinstance(reply, StreamedBody)
        )
    assert left > 28 * SPAN
    assert retained(exchange) < 4 * SPAN


def test_an_answer_past_the_limit_that_errors_of_ours_should_join_is_refused_and_not_kept() -> None:
    exchange = started(rulebook_of(DenyTool("delete_file"), limits=SMALL))
    modes = EnvoyFacts(request_body_mode=BUFFERED, response_body_mode=DUPLEX)
    drive(exchange, request_headers(modes, **{"content-length": "none", "mcp-protocol-version": "2025-03-26"}))
    drive(exchange, BodyReceived(REQ, encode_json(BATCH), end_of_stream=True))
    assert drive(exchange, response_headers()) == []
    (refused,) = drive(exchange, BodyReceived(RESP, b"[" + b" " * 1000))
    assert isinstance(refused, ImmediateReply)
    assert {answer["id"] for answer in msgspec.json.decode(refused.body)} == {1, 2}
    assert drive(exchange, BodyReceived(RESP, b" " * SPAN)) == []


def test_nothing_of_an_answer_follows_the_denial_in_its_place() -> None:
    exchange = started(rulebook_of(Guard(), limits=SMALL))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True), response_headers())
    (refused,) = drive(exchange, BodyReceived(RESP, b"{" + b" " * 1000))
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 502
    assert drive(exchange, BodyReceived(RESP, b"a secret"), TrailersReceived(RESP, Headers())) == []


def test_no_answer_hides_behind_a_byte_order_mark_that_the_client_finds_at_the_start() -> None:
    """What was before it is taken out, and only at the start of a stream does a client pass over such a mark."""

    class NoNotes(Base):
        def on_response(self, message: McpNotification, ctx: Context[Any]) -> Verdict:
            return Deny("no-notes", "not this one")

    note = b'data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'
    hidden = b'\xef\xbb\xbfdata: {"jsonrpc":"2.0","id":1,"result":{"content":[],"a":"secret"}}\n\n'
    answer = HttpResponse(note + hidden, headers={"content-type": "text/event-stream"}, sized=False)
    played = pass_through(rulebook_of(NoNotes("no-notes"), Guard(b"secret")), request(BODY), answer)
    assert played.client is not None
    assert b"secret" not in played.client.body
    assert b"this may not be seen" in played.client.body


def test_a_denied_request_is_not_answered_again_when_its_time_is_over() -> None:
    exchange = waiting_for_body(rulebook_of(DenyTool("search"), limits=Limits(hold=5.0)))
    (denied,) = drive(exchange, BodyReceived(REQ, BODY, end_of_stream=True))
    assert isinstance(denied, ImmediateReply)
    assert exchange.wake_at() is None
    assert drive(exchange, Tick(99.0)) == []
    assert exchange.trail.status == denied.status


def test_an_exchange_that_was_aborted_wants_nothing_more_and_says_nothing_more() -> None:
    exchange = waiting_for_body(rulebook_of(DenyTool("search"), limits=Limits(hold=5.0)))
    (aborted,) = drive(exchange, BodyReceived(RESP, b"x"))
    assert isinstance(aborted, Abort)
    assert exchange.wake_at() is None
    assert drive(exchange, Tick(99.0)) == []


def test_an_answer_that_every_policy_sees_comes_buffered_where_that_mode_is_fixed() -> None:
    book = rulebook_of(Guard(b"delete_file"))
    played = pass_through(book, request(LIST), response(TOOLS), fixed=(BUFFERED, BUFFERED))
    assert played.client is not None
    assert played.client.status == 451
    played = pass_through(book, request(BODY), DONE, fixed=(BUFFERED, BUFFERED))
    assert played.client is not None
    assert played.client.body == DONE.body


def test_an_answer_of_headers_alone_may_name_any_coding() -> None:
    exchange = started(rulebook_of(Guard()))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True))
    lines = ((":status", b"202"), ("content-encoding", b"unknown"))
    (reply,) = drive(exchange, HeadersReceived(RESP, Headers(lines), end_of_stream=True))
    assert isinstance(reply, HeadersReply)


@pytest.mark.parametrize("status", ["²", "٢٠٠", "9" * 5000, "", "-1"], ids=lambda status: status[:3])
def test_a_status_that_is_no_number_is_none(status: str) -> None:
    exchange = started(rulebook_of(Watcher()))
    drive(exchange, request_headers(), BodyReceived(REQ, BODY, end_of_stream=True))
    (reply,) = drive(exchange, response_headers(status, end=True))
    assert isinstance(reply, HeadersReply)
    assert exchange.trail.status == 0


def test_a_body_that_no_codec_reads_is_its_own_bytes_where_nobody_changed_it() -> None:
    head = RequestHead("POST", "/any", "", Headers.of(content_type="application/json"))
    decoder = SniffingDecoder((McpByBody(),), head, Limits(), lambda codec: None)
    (frame,) = [*decoder.feed(b'{"a":1}'), *decoder.close()]
    assert frame.encode({}) == frame.raw == b'{"a":1}'
    assert frame.encode({0: None}) == b""

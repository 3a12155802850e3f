"""Request bodies that Envoy does not buffer for us: full duplex with the headers held until the body was decided."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.events import BodyReceived, Direction, Tick
from ext_proc.limits import Limits
from ext_proc.replies import ImmediateReply, ModesReply
from ext_proc.testing import HttpRequest, call, pass_through, request, response, rulebook_of
from tests.exchange.policies import DenyTool, RenameTool, Watcher
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.test_lifecycle import drive, kinds, request_headers, started
from tests.exchange.test_requests import BATCH, DONE

SMALL = Limits(envoy_buffer=64)
LARGE = call("search", {"text": "x" * 200_000})


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("trailers", [None, {"x-t": "1"}])
def test_a_large_call_goes_on_byte_for_byte_with_its_facts(sized: bool, trailers: dict[str, str] | None) -> None:
    sent = request(LARGE, sized=sized, trailers=trailers)
    played = pass_through(rulebook_of(DenyTool("other"), limits=SMALL), sent, DONE)
    assert played.upstream is not None
    assert played.upstream.body == sent.body
    assert played.upstream.headers["x-gatehouse-tool"] == "search"
    assert played.upstream.headers.get("content-length") == (str(len(sent.body)) if sized else None)
    assert played.trail.outcome == "ok"


def test_a_large_denied_call_reaches_nobody() -> None:
    for sized in (True, False):
        played = pass_through(rulebook_of(DenyTool("search"), limits=SMALL), request(LARGE, sized=sized), DONE)
        assert played.upstream is None
        assert played.client is not None
        assert played.client.json["error"]["data"]["reason"] == "tool-not-allowed"


def test_a_large_rewritten_call_loses_its_length_so_that_nothing_is_smuggled_behind_it() -> None:
    played = pass_through(rulebook_of(RenameTool(), limits=SMALL), request(LARGE), DONE)
    assert played.upstream is not None
    assert msgspec.json.decode(played.upstream.body)["params"]["name"] == "search-v2"
    assert "content-length" not in played.upstream.headers


def test_a_body_of_unknown_length_is_bounded_and_refused_as_soon_as_it_is_too_large() -> None:
    book = rulebook_of(DenyTool("x"), limits=Limits(request_body=1000))
    exchange = started(book)
    drive(exchange, request_headers(None, **{"content-length": "none"}))
    assert drive(exchange, BodyReceived(Direction.REQUEST, b"[" + b" " * 900)) == []
    (refused,) = drive(exchange, BodyReceived(Direction.REQUEST, b" " * 900))
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 413
    assert drive(exchange, BodyReceived(Direction.REQUEST, b" " * 900, end_of_stream=True)) == []


def test_a_body_that_is_too_large_passes_where_nothing_enforces() -> None:
    sent = request(LARGE, sized=False)
    played = pass_through(rulebook_of(Watcher(), limits=Limits(request_body=1000)), sent, DONE)
    assert played.upstream is not None
    assert played.upstream.body == sent.body


def test_an_empty_body_of_unknown_length_is_malformed() -> None:
    sent = HttpRequest(b"", trailers={"x-t": "1"})
    played = pass_through(rulebook_of(DenyTool("x")), sent, DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 400


def test_a_large_batch_is_decided_element_by_element() -> None:
    answer = response([{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}])
    played = pass_through(rulebook_of(DenyTool("delete_file"), limits=SMALL), request(BATCH), answer)
    assert played.upstream is not None
    assert [m.get("id") for m in msgspec.json.decode(played.upstream.body)] == [1, None]
    assert played.client is not None
    assert [m["id"] for m in played.client.json] == [1, 2]


def test_headers_that_wait_for_a_body_are_given_up_after_the_limit() -> None:
    exchange = started(rulebook_of(DenyTool("x"), limits=Limits(hold=5.0)))
    replies = drive(exchange, request_headers(None, **{"content-length": "none"}))
    assert isinstance(replies[0], ModesReply)
    assert exchange.wake_at() == 15.0
    (refused,) = drive(exchange, Tick(15.0))
    assert isinstance(refused, ImmediateReply)
    assert refused.status == 408
    assert kinds(drive(exchange, Tick(99.0))) == []


positions = st.lists(st.integers(0, 10_000), max_size=12)
bodies = st.one_of(
    st.sampled_from([msgspec.json.encode(value) for value in (call("search"), call("secret"), BATCH, {"x": 1})]),
    st.binary(min_size=1, max_size=40),
)


@given(bodies, st.sampled_from([Watcher, lambda: DenyTool("secret"), RenameTool]), positions)
@settings(max_examples=200, deadline=None)
def test_any_cutting_of_a_request_gives_the_same_bytes_and_the_same_trail(
    body: bytes, policy: type[Watcher], where: list[int]
) -> None:
    sent = HttpRequest(body, sized=False)
    whole = pass_through(rulebook_of(policy()), sent, DONE)
    cut = pass_through(rulebook_of(policy()), sent, DONE, cut=lambda data: cut_at(data, where))
    assert seen(cut) == seen(whole)
    assert (cut.upstream is None) == (whole.upstream is None)
    if cut.upstream is not None and whole.upstream is not None:
        assert cut.upstream.body == whole.upstream.body
        assert cut.upstream.headers == whole.upstream.headers

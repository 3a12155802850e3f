"""What Envoy is asked for, and that nothing is asked for that no policy of the route needs."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.pipeline import Binding
from ext_proc.engine.plan import ResponsePlan, plan_request, plan_response
from ext_proc.events import BodyMode
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import ChannelKind, McpRequest, Message, RequestHead, ResponseHead, ToolCall
from ext_proc.testing import call, rulebook_of
from tests.exchange.policies import DenyTool, Guard, HideTool, Watcher
from tests.exchange.text_policies import Counter, DenyWord, InAnswers, InRequests, only

LIMITS = Limits(envoy_buffer=1000, request_body=5000, response_body=5000)
CALL = ToolCall(call("search"))
LIST = McpRequest({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
DUPLEX = BodyMode.FULL_DUPLEX_STREAMED


def request_head(length: str | None) -> RequestHead:
    headers = Headers() if length is None else Headers.of(content_length=length)
    return RequestHead("POST", "/mcp", "h", headers)


@pytest.mark.parametrize(
    ("length", "body", "too_large"),
    [
        ("10", BodyMode.BUFFERED, False),
        ("1000", BodyMode.BUFFERED, False),
        ("1001", DUPLEX, False),
        (None, DUPLEX, False),
        ("nonsense", DUPLEX, False),
        ("5001", DUPLEX, True),
    ],
)
def test_a_body_is_buffered_only_if_it_surely_fits(length: str | None, body: BodyMode, too_large: bool) -> None:
    route = rulebook_of(DenyTool("x")).routes[0]
    plan = plan_request(route, route.codecs, request_head(length), True, LIMITS)
    assert (plan.body, plan.too_large) == (body, too_large)
    assert plan.modes.request_trailers is (body is DUPLEX)


def test_full_duplex_for_the_answer_is_reserved_only_where_every_answer_is_decided() -> None:
    for policy, reserved in ((DenyTool("x"), False), (HideTool("x"), False), (Watcher(), False), (Guard(), True)):
        route = rulebook_of(policy).routes[0]
        assert plan_request(route, route.codecs, request_head("10"), True, LIMITS).reserve is reserved
        assert plan_request(route, route.codecs, request_head(None), True, LIMITS).reserve is False
    several = PROTOCOLS["auto"].codecs()
    assert plan_request(rulebook_of(Guard()).routes[0], several, request_head("10"), True, LIMITS).reserve is True
    shadow = rulebook_of(Binding(Guard(), enforce=False)).routes[0]
    assert plan_request(shadow, shadow.codecs, request_head("10"), True, LIMITS).reserve is False


def planned(
    policy: Any, asked: Message, length: str | None, kind: str = "application/json", **options: Any
) -> ResponsePlan:
    lines = {"content-type": kind} | ({} if length is None else {"content-length": length})
    headers = Headers((name, value.encode()) for name, value in lines.items())
    route = rulebook_of(policy, read_answers=options.pop("read", True)).routes[0]
    head = ResponseHead(200, headers, end_of_stream=options.pop("ended", False))
    options = {"joins": False, "reserved": False} | options
    return plan_response(route, route.codecs[0], [asked], head, LIMITS, **options)


def test_an_answer_that_nobody_reads_is_not_asked_for() -> None:
    assert planned(HideTool("x"), CALL, "10", read=False).body is BodyMode.NONE
    assert planned(HideTool("x"), LIST, "10", read=False).body is BodyMode.BUFFERED
    assert planned(Watcher(), CALL, "10", read=False).body is BodyMode.BUFFERED
    assert planned(HideTool("x"), LIST, "10", ended=True).body is BodyMode.NONE


@pytest.mark.parametrize(
    ("policy", "length", "kind", "body"),
    [
        (HideTool("x"), "10", "application/json", BodyMode.BUFFERED),
        (HideTool("x"), "1001", "application/json", DUPLEX),
        (HideTool("x"), None, "application/json", DUPLEX),
        (HideTool("x"), None, "text/event-stream", DUPLEX),
        (HideTool("x"), "10", "text/event-stream", DUPLEX),
        (DenyTool("x"), "10", "application/json", BodyMode.BUFFERED),
        (DenyTool("x"), None, "application/json", BodyMode.STREAMED),
        (DenyTool("x"), None, "text/event-stream", BodyMode.STREAMED),
    ],
)
def test_an_answer_is_held_where_it_may_be_changed_and_read_otherwise(
    policy: Any, length: str | None, kind: str, body: BodyMode
) -> None:
    plan = planned(policy, LIST, length, kind)
    assert (plan.body, plan.hold_headers) == (body, False)
    assert plan.edits is isinstance(policy, HideTool)
    assert plan.modes.response_trailers is (body in (DUPLEX, BodyMode.STREAMED))


@pytest.mark.parametrize(
    ("policy", "body", "edits"),
    [
        (DenyWord("x"), DUPLEX, True),
        (InAnswers(DenyWord("x")), DUPLEX, True),
        (Counter(), BodyMode.STREAMED, False),
        (Binding(DenyWord("x"), enforce=False), BodyMode.STREAMED, False),
        (InRequests(DenyWord("x")), BodyMode.NONE, False),
        (only(DenyWord("x"), frozenset({ChannelKind.REASONING})), BodyMode.NONE, False),
    ],
)
def test_an_answer_is_held_for_its_texts_only_where_a_policy_may_edit_such(
    policy: Any, body: BodyMode, edits: bool
) -> None:
    plan = planned(policy, CALL, None, "text/event-stream", read=False)
    assert (plan.body, plan.edits) == (body, edits)
    assert planned(policy, LIST, None, "text/event-stream", read=False).body is BodyMode.NONE, "lists hold no text"


def test_what_was_reserved_stays_and_its_headers_wait_for_json() -> None:
    assert planned(Guard(), CALL, "10", reserved=True) == ResponsePlan(DUPLEX, hold_headers=True, edits=True)
    stream = planned(Guard(), CALL, None, "text/event-stream", reserved=True)
    assert stream == ResponsePlan(DUPLEX, hold_headers=False, edits=True)


def test_errors_that_join_an_answer_are_an_edit() -> None:
    assert planned(DenyTool("x"), CALL, None, joins=True).body is DUPLEX


def test_a_fixed_mode_is_taken_as_it_is() -> None:
    assert planned(HideTool("x"), LIST, None, fixed=BodyMode.BUFFERED).body is BodyMode.BUFFERED

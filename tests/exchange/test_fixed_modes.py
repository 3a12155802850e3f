"""Under somebody else's fixed body modes: what they can hold is governed, what they cannot is refused."""

from __future__ import annotations

import pytest

from ext_proc.events import BodyMode
from ext_proc.testing import HttpRequest, HttpResponse, call, pass_through, request, response, rulebook_of
from tests.exchange.policies import DenyTool, Guard, HideTool, RenameTool, Watcher
from tests.exchange.test_cutting import cut_at
from tests.exchange.test_requests import DONE
from tests.exchange.test_responses import LIST, PROGRESS, SSE, TOOLS, listed, sse

BUFFERED, DUPLEX, STREAMED = BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.STREAMED
HOLDING = [(BUFFERED, BUFFERED), (BUFFERED, DUPLEX), (DUPLEX, BUFFERED), (DUPLEX, DUPLEX)]


@pytest.mark.parametrize("fixed", HOLDING, ids=str)
def test_modes_that_hold_are_governed(fixed: tuple[BodyMode, BodyMode]) -> None:
    book = rulebook_of(DenyTool("delete_file"), HideTool("delete_file"))
    assert pass_through(book, request(call("delete_file")), DONE, fixed=fixed).upstream is None
    passed = pass_through(book, request(call("search")), DONE, fixed=fixed)
    assert passed.upstream is not None
    assert passed.upstream.headers["x-gatehouse-tool"] == "search"
    assert passed.client is not None
    assert passed.client.body == DONE.body
    assert listed(pass_through(book, request(LIST), response(TOOLS), fixed=fixed)) == ["search"]
    assert passed.trail.notes == ["the filter's body modes are fixed; set NONE and allow_mode_override: true"]


@pytest.mark.parametrize("fixed", HOLDING, ids=str)
def test_a_rewritten_call_is_whole_under_fixed_modes(fixed: tuple[BodyMode, BodyMode]) -> None:
    played = pass_through(rulebook_of(RenameTool()), request(call("search")), DONE, fixed=fixed)
    assert played.upstream is not None
    assert b"search-v2" in played.upstream.body


ANY = [*HOLDING, (STREAMED, STREAMED), (STREAMED, DUPLEX), (BUFFERED, BodyMode.NONE)]
ANSWERS = [DONE, HttpResponse(sse(PROGRESS), headers=dict(SSE), sized=False), HttpResponse(status=204, headers={})]


@pytest.mark.parametrize("fixed", ANY, ids=str)
@pytest.mark.parametrize("path", ["/mcp", "/elsewhere"])
def test_what_nobody_enforces_on_passes_byte_for_byte_under_any_mode(
    fixed: tuple[BodyMode, BodyMode], path: str
) -> None:
    sent = request(call("search", {"text": "x" * 500}), path=path)
    for answer in ANSWERS:
        played = pass_through(rulebook_of(Watcher()), sent, answer, lambda body: cut_at(body, [3, 90]), fixed)
        assert played.upstream is not None
        assert played.upstream.body == sent.body
        assert played.client is not None
        assert (played.client.status, played.client.body) == (answer.status, answer.body)
        if path == "/mcp":
            assert played.trail.cause == "complete"


def test_a_request_that_streams_past_cannot_be_held_and_is_refused() -> None:
    for mode in (STREAMED, BodyMode.NONE):
        played = pass_through(rulebook_of(DenyTool("x")), request(call("search")), DONE, fixed=(mode, BUFFERED))
        assert played.upstream is None
        assert "cannot hold a request back" in played.aborted


def test_an_answer_that_streams_past_cannot_be_held_and_is_refused() -> None:
    for mode in (STREAMED, BodyMode.NONE):
        played = pass_through(rulebook_of(HideTool("x")), request(LIST), response(TOOLS), fixed=(BUFFERED, mode))
        assert played.client is not None
        assert played.client.status == 500
        assert played.client.json["error"]["data"]["reason"] == "mode-cannot-hold"


def test_headers_alone_are_ordinary_under_fixed_modes() -> None:
    for fixed in HOLDING:
        ended = HttpRequest(method="DELETE", headers={})
        played = pass_through(rulebook_of(Guard()), ended, HttpResponse(status=200, headers={}), fixed=fixed)
        assert played.client is not None
        assert played.client.status == 200

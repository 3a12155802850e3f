"""What no client and no server should send, through the engine with every policy of calls on."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import Played, call, pass_through, request, response
from tests.exchange import hostile

LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
PLAIN = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def is_told_clearly(played: Played) -> bool:
    """Whether the caller got an answer that it can read, or the upstream's own."""
    assert played.aborted == ""
    assert played.client is not None
    if played.upstream is not None:
        return True
    return 200 <= played.client.status < 500 and hostile.is_json_rpc(played.client.body)


@settings(max_examples=150)
@given(hostile.bodies(), hostile.headers())
def test_whatever_a_client_sends_only_what_is_allowed_goes_on(body: bytes, headers: dict[str, str]) -> None:
    book = hostile.rulebook()
    with EmbeddedStore.in_memory() as store:
        pass_through(book, request(LIST, claims=hostile.CALLER), response(hostile.LISTED), store=store)
        sent = request(body, claims=hostile.CALLER, headers={**PLAIN, **headers})
        played = pass_through(book, sent, response(ANSWER), store=store)
    assert is_told_clearly(played)
    assert played.upstream is None or hostile.may_go_on(played.upstream.body)


@settings(max_examples=150)
@given(hostile.schemas, hostile.schemas, hostile.values)
def test_whatever_schema_a_server_lists_calls_are_decided_and_told_clearly(
    input: Any, output: Any, arguments: Any
) -> None:
    tool = {"name": "search", "inputSchema": input, "outputSchema": output, "annotations": arguments}
    listed = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool, tool]}}
    sent = call("search", arguments if isinstance(arguments, dict) else {"query": arguments})
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "structuredContent": arguments}}
    book = hostile.rulebook()
    with EmbeddedStore.in_memory() as store:
        first = pass_through(book, request(LIST, claims=hostile.CALLER), response(listed), store=store)
        played = pass_through(book, request(sent, claims=hostile.CALLER), response(answer), store=store)
    for one in (first, played):
        assert one.aborted == ""
        assert one.client is not None
        assert hostile.is_json_rpc(one.client.body)
    failed = [entry.reason for one in (first, played) for entry in one.trail.entries if entry.verdict == "error"]
    assert failed == [], "no policy stumbles"

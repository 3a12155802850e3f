"""What happens to requests: decided before a byte goes on, and nothing that cannot be read goes on unlisted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ext_proc.codecs.mcp import McpCodec
from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import OpaqueRule, Rulebook
from ext_proc.limits import Limits
from ext_proc.messages import ToolCall
from ext_proc.policy import Context, Deny, Mutation, Respond, Verdict
from ext_proc.testing import HttpRequest, HttpResponse, Played, call, pass_through, play, request, response, rulebook_of
from tests.exchange.policies import Base, DenyTool, RenameTool, Watcher

LIST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
DONE = response({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "ok"}]}})


def error_of(played: Played) -> dict[str, Any]:
    assert played.client is not None
    error: dict[str, Any] = played.client.json["error"]
    return error


def test_a_denied_call_is_answered_with_its_own_id_and_reaches_nobody() -> None:
    played = play(DenyTool("delete_file"), call("delete_file", id="abc"))
    assert played.upstream is None
    assert played.client is not None
    assert (played.client.status, played.client.json["id"]) == (200, "abc")
    assert error_of(played)["message"] == "not this one"
    assert error_of(played)["data"] == {"trail": "trail-1", "reason": "tool-not-allowed"}
    assert played.trail.outcome == "refused"
    assert played.metadata["outcome"] == "refused"
    assert played.metadata["reason"] == "tool-not-allowed"


def test_an_allowed_call_goes_on_byte_for_byte_with_its_facts_as_headers() -> None:
    body = b'{ "jsonrpc":"2.0","id":1 ,"method":"tools/call","params":{"name":"search","arguments":{"n":1.50}}}\n'
    played = pass_through(rulebook_of(DenyTool("other")), request(body), DONE)
    assert played.upstream is not None
    assert played.upstream.body == body
    assert {k: v for k, v in played.upstream.headers.items() if k.startswith("x-gatehouse-")} == {
        "x-gatehouse-protocol": "mcp",
        "x-gatehouse-method": "tools/call",
        "x-gatehouse-tool": "search",
    }
    assert (played.trail.method, played.trail.target, played.trail.outcome) == ("tools/call", "search", "ok")
    assert played.metadata["tool"] == "search"


def test_a_clients_copies_of_our_headers_are_removed_on_governed_and_ungoverned_routes() -> None:
    forged = {"content-type": "application/json", "x-gatehouse-upstream": "cheap", "x-gatehouse-tool": "harmless"}
    governed = pass_through(rulebook_of(), request(call("search"), headers=dict(forged)), DONE)
    assert governed.upstream is not None
    assert governed.upstream.headers["x-gatehouse-tool"] == "search"
    assert "x-gatehouse-upstream" not in governed.upstream.headers
    ungoverned = pass_through(rulebook_of(), request({}, path="/elsewhere", headers=dict(forged)), DONE)
    assert ungoverned.upstream is not None
    assert not any(name.startswith("x-gatehouse-") for name in ungoverned.upstream.headers)


def test_a_request_that_no_route_matches_passes_untouched_unless_the_bundle_denies_it() -> None:
    book = rulebook_of(DenyTool("x"))
    other = request(b"\x00\xff not ours", path="/mcpx")
    assert pass_through(book, other, DONE).upstream is not None
    strict = Rulebook(book.name, book.revision, book.routes, deny_unmatched=True)
    played = pass_through(strict, other, DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 404
    assert played.trail.denied is not None


OPAQUE = [
    HttpRequest(b"hello", headers={"content-type": "text/plain"}),
    HttpRequest(b"{}", headers={}),
    HttpRequest(b"{}", headers={"content-type": "application/json", "content-encoding": "compress"}),
    HttpRequest(method="OPTIONS", headers={}),
    HttpRequest(method="HEAD", headers={}),
    HttpRequest(method="GET", headers={"accept": "text/html"}),
    HttpRequest(method="GET", headers={"accept": "*/*"}),
    HttpRequest(b"{}", method="PUT"),
    HttpRequest(b"{}", method="DELETE"),
    HttpRequest(method="GET", headers={"upgrade": "websocket", "connection": "upgrade"}),
]


@pytest.mark.parametrize("sent", OPAQUE, ids=lambda sent: f"{sent.method} {sent.headers}")
def test_opaque_traffic_is_denied_where_a_policy_enforces_and_passes_where_none_does(sent: HttpRequest) -> None:
    denied = pass_through(rulebook_of(DenyTool("x")), sent, DONE)
    assert denied.upstream is None
    assert denied.client is not None
    assert 400 <= denied.client.status < 500
    assert denied.trail.outcome == "refused"
    assert denied.client.json["error"]["data"]["trail"] == "trail-1"
    passed = pass_through(rulebook_of(Watcher()), sent, DONE)
    assert passed.upstream is not None
    assert passed.upstream.body == sent.body
    shadow = pass_through(rulebook_of(Binding(DenyTool("x"), enforce=False)), sent, DONE)
    assert shadow.upstream is not None


def test_opaque_traffic_that_the_route_lists_passes_unread_and_is_noted() -> None:
    book = rulebook_of(DenyTool("x"), allow_opaque=(OpaqueRule(method="OPTIONS"), OpaqueRule(content_type="text/*")))
    played = pass_through(book, HttpRequest(method="OPTIONS", headers={}), HttpResponse(status=204, headers={}))
    assert played.upstream is not None
    assert played.trail.notes == ["passed unread: not-this-protocol"]
    assert (played.trail.outcome, played.trail.cause) == ("ok", "complete")
    assert pass_through(book, HttpRequest(b"x", headers={"content-type": "text/plain"}), DONE).upstream is not None
    assert pass_through(book, HttpRequest(b"x", headers={"content-type": "image/png"}), DONE).upstream is None


CALL_OF_A = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":%b}}'
MALFORMED = {
    "cut off": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sea',
    "not JSON": b"hello",
    "empty object": b"{}",
    "a string": b'"tools/call"',
    "a number": b"17",
    "null": b"null",
    "empty batch": b"[]",
    "blank": b" \n",
    "not UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\xff"}}',
    "duplicate key": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"delete"}}',
    "escaped duplicate": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\\u0061me":"delete"}}',
    "duplicate deep inside": CALL_OF_A % b'{"x":[{"k":1,"k":2}]}',
    "key in another case": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"delete"}}',
    "method in another case": b'{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call"}',
    "very deep": CALL_OF_A % (b'{"x":' + b"[" * 9999 + b"]" * 9999 + b"}"),
    "id null": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "id true": b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    "method a number": b'{"jsonrpc":"2.0","id":1,"method":5}',
    "no name": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}',
    "name a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["a"]}}',
    "params a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["a"]}',
    "arguments a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[1]}}',
    "trailing text": b'{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    "byte order mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    "NaN": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":NaN}}}',
    "wrong version": b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
}  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bodies_get_a_json_rpc_error_and_reach_nobody_although_everything_is_allowed(body: bytes) -> None:
    book = rulebook_of(DenyTool("x"), allow_opaque=(OpaqueRule(),))
    played = pass_through(book, request(body), DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 400
    assert played.client.json["error"]["code"] in (-32700, -32600, -32602)
    assert played.client.json["error"]["data"]["trail"] == "trail-1"
    denied = played.trail.denied
    assert denied is not None
    assert denied.policy == "gatehouse"
    assert denied.reason


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bodies_pass_untouched_where_nothing_enforces(body: bytes) -> None:
    played = pass_through(rulebook_of(Watcher()), request(body), DONE)
    assert played.upstream is not None
    assert played.upstream.body == body


def test_an_empty_body_is_malformed() -> None:
    played = pass_through(rulebook_of(DenyTool("x")), request(b""), DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 400


def test_a_declared_length_past_the_limit_is_refused_before_a_byte_is_read() -> None:
    book = rulebook_of(DenyTool("x"), limits=Limits(request_body=1000))
    played = pass_through(book, request(call("search", {"x": "y" * 2000})), DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 413
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "request-too-large"


def test_a_rewritten_call_carries_its_exact_length() -> None:
    played = play(RenameTool(), call("search"))
    assert played.upstream is not None
    assert msgspec.json.decode(played.upstream.body)["params"]["name"] == "search-v2"
    assert played.upstream.headers["content-length"] == str(len(played.upstream.body))


def test_a_rewritten_name_is_rewritten_in_the_header_that_repeats_it() -> None:
    sent = request(call("search"))
    sent.headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search"}
    played = pass_through(rulebook_of(RenameTool()), sent, DONE)
    assert played.upstream is not None
    assert played.upstream.headers["mcp-name"] == "search-v2"


@pytest.mark.parametrize("name", [None, "other", "=?base64?c2Vhcm?="])
def test_a_header_that_did_not_repeat_the_name_is_left_for_the_server_to_reject(name: str | None) -> None:
    sent = request(call("search"))
    sent.headers |= {"mcp-protocol-version": "2026-07-28"} | ({} if name is None else {"mcp-name": name})
    played = pass_through(rulebook_of(RenameTool()), sent, DONE)
    assert played.upstream is not None
    assert msgspec.json.decode(played.upstream.body)["params"]["name"] == "search-v2"
    assert played.upstream.headers.get("mcp-name") == name


def test_a_header_that_repeated_the_name_in_another_encoding_is_rewritten_too() -> None:
    sent = request(call("search"))
    sent.headers |= {"mcp-protocol-version": "2026-07-28", "mcp-name": "=?base64?c2VhcmNo?="}
    played = pass_through(rulebook_of(RenameTool()), sent, DONE)
    assert played.upstream is not None
    assert played.upstream.headers["mcp-name"] == "search-v2"


def test_a_policys_own_response_is_given_as_it_is() -> None:
    class Teapot(Base):
        def on_request_headers(self, ctx: Context[Any]) -> Verdict:
            return Respond(418, (("x-tea", "yes"),), b"short and stout")

    played = play(Teapot(), call("search"))
    assert played.upstream is None
    assert played.client == HttpResponse(b"short and stout", 418, {"x-tea": "yes"})


def test_a_denial_at_the_headers_asks_for_no_body() -> None:
    class Closed(Base):
        def on_request_headers(self, ctx: Context[Any]) -> Verdict:
            return Deny("closed", "come back later", status=503)

    played = play(Closed(), call("search"))
    assert played.client is not None
    assert played.client.status == 503
    assert played.client.json["error"]["message"] == "come back later"


def test_a_tool_name_that_no_header_can_carry_is_encoded() -> None:
    played = play(DenyTool("x"), call("löschen\r\nx-evil: 1"))
    assert played.upstream is not None
    value = played.upstream.headers["x-gatehouse-tool"]
    assert value.startswith("=?base64?")
    assert value.isascii()


BATCH = [call("search", id=1), call("delete_file", id=2), {"jsonrpc": "2.0", "method": "notifications/cancelled"}]


def test_of_a_batch_the_allowed_elements_go_on_and_the_errors_of_denied_ones_join_the_answer() -> None:
    answer = response([{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}])
    played = pass_through(rulebook_of(DenyTool("delete_file")), request(BATCH), answer)
    assert played.upstream is not None
    assert [m.get("id") for m in msgspec.json.decode(played.upstream.body)] == [1, None]
    assert played.client is not None
    assert [m["id"] for m in played.client.json] == [1, 2]
    assert played.client.json[1]["error"]["data"]["reason"] == "tool-not-allowed"
    assert played.upstream.headers["x-gatehouse-method"] == "batch"
    assert "x-gatehouse-tool" not in played.upstream.headers


def test_the_errors_join_a_streamed_answer_too() -> None:
    event = b'data: {"jsonrpc":"2.0","id":1,"result":{"content":[]}}\n\n'
    answer = HttpResponse(event, headers={"content-type": "text/event-stream"}, sized=False)
    played = pass_through(rulebook_of(DenyTool("delete_file")), request(BATCH), answer)
    assert played.client is not None
    assert played.client.body.startswith(event)
    assert b'"id":2,"error"' in played.client.body


def test_a_batch_that_is_all_denied_is_answered_at_once() -> None:
    played = pass_through(rulebook_of(DenyTool("a")), request([call("a", id=1), call("a", id=2)]), DONE)
    assert played.upstream is None
    assert played.client is not None
    assert [m["id"] for m in played.client.json] == [1, 2]


def test_a_denied_batch_of_one_is_answered_with_an_array_of_one() -> None:
    played = pass_through(rulebook_of(DenyTool("a")), request([call("a", id=1)]), DONE)
    assert played.client is not None
    assert [m["id"] for m in played.client.json] == [1]


def test_where_only_notifications_are_left_of_a_batch_their_202_becomes_the_denials() -> None:
    sent = request([call("a", id=1), {"jsonrpc": "2.0", "method": "notifications/cancelled"}])
    played = pass_through(rulebook_of(DenyTool("a")), sent, HttpResponse(status=202, headers={}))
    assert played.upstream is not None
    assert played.client is not None
    assert [m["id"] for m in played.client.json] == [1]


def test_a_batch_in_a_revision_without_batches_is_malformed() -> None:
    sent = request(BATCH)
    sent.headers["mcp-protocol-version"] = "2025-06-18"
    assert pass_through(rulebook_of(DenyTool("x")), sent, DONE).upstream is None


def test_the_codec_in_use_is_the_real_one() -> None:
    assert rulebook_of().routes[0].codecs[0].name == McpCodec.name == "mcp"


def test_a_get_or_delete_whose_stream_stays_open_is_not_read_by_anybody_and_so_denied() -> None:
    """Over HTTP/2 a body needs no length; the frames of an upgrade are no body at all."""
    for sent in (
        HttpRequest(b"{}", method="GET", headers={"accept": "text/event-stream"}, sized=False),
        HttpRequest(b"{}", method="DELETE", headers={}, sized=False),
    ):
        played = pass_through(rulebook_of(DenyTool("x")), sent, DONE)
        assert played.upstream is None
        assert played.trail.denied is not None
        assert played.trail.denied.reason == "unexpected-body"


def test_what_is_too_large_is_never_let_through_by_a_list_of_opaque_traffic() -> None:
    book = rulebook_of(DenyTool("delete"), limits=Limits(request_body=2000, batch=2), allow_opaque=(OpaqueRule(),))
    for value in (call("delete", {"x": "y" * 3000}), [call("delete", id=number) for number in range(3)]):
        for sized in (True, False):
            played = pass_through(book, request(value, sized=sized), DONE)
            assert played.upstream is None
            assert played.client is not None
            assert played.client.status == 413


def test_a_document_of_too_many_values_is_refused_before_they_are_made() -> None:
    body = b"[" + b",".join([b"{}"] * 2000) + b"]"
    played = pass_through(rulebook_of(DenyTool("x"), limits=Limits(json_values=1000)), request(body), DONE)
    assert played.upstream is None
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "json-too-many"


def test_names_that_a_client_wrote_are_cut_wherever_they_are_told() -> None:
    sent = request(call("t" * 5000))
    sent.headers["traceparent"] = "0" * 5000
    played = pass_through(rulebook_of(DenyTool("x")), sent, DONE)
    told = [played.trail.target, played.trail.traceparent, *played.trail.facts.values(), *played.metadata.values()]
    assert max(len(str(text)) for text in told) <= 256


def test_a_message_that_a_policy_takes_out_is_answered_here_where_nothing_else_goes_on() -> None:
    class TakeOut(Base):
        def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
            return Mutation(drop=True)

    played = pass_through(rulebook_of(TakeOut()), request(call("a", id=4)), DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.json["id"] == 4
    rest = {"jsonrpc": "2.0", "id": 5, "method": "ping"}
    left = pass_through(rulebook_of(TakeOut()), request([call("a", id=4), rest]), DONE)
    assert left.upstream is not None
    assert msgspec.json.decode(left.upstream.body) == [rest]

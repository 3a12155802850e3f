"""server-requests: what a server asks of its caller passes by rule, on every wire by the same ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import HttpResponse, Played, call, response
from ext_proc.trail import Word
from gatehouse_policies.server_requests import Parameters, ServerRequests
from gatehouse_policies.session_binding import Parameters as Bound
from gatehouse_policies.session_binding import SessionBinding
from tests.policies.town import ANN, BOB, MODERN, Broken, Town, reason

PAY = call("pay", {"amount": 9})
DONE = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "done"}]}}
FORM = {
    "message": "which colour?",
    "requestedSchema": {"type": "object", "properties": {"colour": {"type": "string"}}},
}
URL = {"mode": "url", "message": "sign in", "url": "https://pay.example.com/1", "elicitationId": "e-1"}
PHISHING = {**URL, "url": "https://pay.example.com.evil.example/1"}
SAMPLE: dict[str, Any] = {"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}], "maxTokens": 100}
ASKED: dict[str, dict[str, Any]] = {"elicitation/create": FORM, "sampling/createMessage": SAMPLE, "roots/list": {}}
ROOTS = {"method": "roots/list"}
STREAM = {"content-type": "text/event-stream"}

Wire = Callable[..., Played]


def town(*more: Any, **parameters: Any) -> Town:
    parameters.setdefault("default", "allow")
    return Town(*more, ServerRequests("asks", Parameters.model_validate(parameters)), server="bank")


def event(value: object) -> bytes:
    return b"event: message\ndata: " + json.dumps(value).encode() + b"\n\n"


def stream(*values: object) -> HttpResponse:
    """An event stream."""
    return HttpResponse(b"".join(map(event, values)), headers=dict(STREAM))


def asks(method: str, params: Mapping[str, Any] | None = None, id: int | str = 7) -> dict[str, Any]:
    """A request of the server's own."""
    return {"jsonrpc": "2.0", "id": id, "method": method, **({} if params is None else {"params": params})}


def needs(asked: Mapping[str, Any], state: str | None = None) -> dict[str, Any]:
    """A result that asks before it goes on."""
    result: dict[str, Any] = {"resultType": "input_required", "inputRequests": dict(asked)}
    return {"jsonrpc": "2.0", "id": 1, "result": result if state is None else {**result, "requestState": state}}


def on_a_call(here: Town, method: str, params: Mapping[str, Any] | None, **options: Any) -> Played:
    """Asks on the stream of a call, before its result."""
    return here.play(PAY, stream(asks(method, params), DONE), **options)


def on_the_servers_stream(here: Town, method: str, params: Mapping[str, Any] | None, **options: Any) -> Played:
    """Asks on the stream of a GET."""
    return here.play(None, stream(asks(method, params)), method="GET", **options)


def in_a_result(here: Town, method: str, params: Mapping[str, Any] | None, **options: Any) -> Played:
    """Asks in a result of 2026-07-28."""
    asked = {"method": method, **({} if params is None else {"params": params})}
    return here.play(PAY, response(needs({"a": asked})), version=MODERN, **options)


WIRES: list[Wire] = [on_a_call, on_the_servers_stream, in_a_result]
wires = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.__name__)


def messages(played: Played) -> list[Any]:
    """What the client got."""
    assert played.client is not None
    if played.client.headers["content-type"] != "text/event-stream":
        return [played.client.json]
    lines = played.client.body.split(b"\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]


def refused(played: Played) -> tuple[str, bool]:
    """Why it was denied, and whether the client was asked all the same."""
    body = b"" if played.client is None else played.client.body
    return reason(played), any(method.encode() in body.replace(b"\\/", b"/") for method in ASKED)


@wires
@pytest.mark.parametrize("method", ASKED)
def test_what_a_rule_allows_passes_byte_for_byte(wire: Wire, method: str) -> None:
    here = town(default="deny", rules=[{"methods": [method], "allow": True}])
    played, plain = wire(here, method, ASKED[method]), wire(Town(server="bank"), method, ASKED[method])
    assert played.client is not None
    assert plain.client is not None
    assert (reason(played), played.client.body) == ("", plain.client.body)
    assert [entry.reason for entry in played.trail.entries if entry.reason] == ["rules[0]"]


@wires
@pytest.mark.parametrize("method", ASKED)
def test_what_no_rule_is_about_is_denied_by_default(wire: Wire, method: str) -> None:
    assert Parameters().default == "deny"
    assert refused(wire(town(default="deny"), method, ASKED[method]))[0] == "server-request-denied"


@wires
def test_the_first_rule_that_fits_decides(wire: Wire) -> None:
    rules = [
        {"methods": ["roots/list"], "servers": ["other"], "allow": True},
        {"methods": ["roots/*"], "servers": ["b*"], "allow": False},
        {"methods": ["roots/list"], "allow": True},
    ]
    assert reason(wire(town(rules=rules), "roots/list", {})) == "server-request-denied"
    assert reason(wire(town(rules=[rules[0], rules[2]], default="deny"), "roots/list", {})) == ""


@wires
@pytest.mark.parametrize(
    ("allow", "denied"),
    [
        ("identity.subject == 'ann'", False),
        ("identity.subject == 'bob'", True),
        ("args.maxTokens <= 100 && message.method == 'sampling/createMessage'", False),
        ("args.maxTokens < 100", True),
        ("args.nothing == 1", True),
        ("server == 'bank'", False),
    ],
)
def test_a_condition_sees_who_is_asked_and_for_what(wire: Wire, allow: str, denied: bool) -> None:
    here = town(default="deny", rules=[{"methods": ["sampling/*"], "allow": allow}])
    assert bool(reason(wire(here, "sampling/createMessage", SAMPLE, claims=ANN))) is denied


@wires
def test_a_rule_can_be_about_one_mode_of_elicitation(wire: Wire) -> None:
    rules = [{"modes": ["form"], "allow": True}, {"modes": ["url"], "allow": False}]
    here = town(rules=rules, url_domains=["pay.example.com"])
    assert reason(wire(here, "elicitation/create", FORM)) == ""
    assert reason(wire(here, "elicitation/create", {**FORM, "mode": "form"})) == ""
    assert reason(wire(here, "elicitation/create", URL)) == "server-request-denied"
    assert reason(wire(here, "roots/list", {})) == "", "neither is about it"


@wires
def test_a_method_that_is_not_known_passes_only_where_a_rule_names_it(wire: Wire) -> None:
    assert reason(wire(town(), "vendor/inspect", {})) == "server-request-unknown"
    assert reason(wire(town(rules=[{"methods": ["vendor/*"], "allow": True}]), "vendor/inspect", {})) == ""


def test_a_ping_asks_for_nothing() -> None:
    here = town(default="deny")
    assert reason(on_a_call(here, "ping", None)) == ""
    assert reason(here.play({"jsonrpc": "2.0", "id": 7, "result": {}})) == "", "and is answered"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"])
def test_what_a_server_asks_about_tasks_is_asked_too(method: str) -> None:
    assert reason(on_a_call(town(default="deny"), method, {"taskId": "t"})) == "server-request-denied"
    assert reason(on_a_call(town(), method, {"taskId": "t"})) == ""


@pytest.mark.parametrize("wire", [on_a_call, on_the_servers_stream], ids=lambda wire: wire.__name__)
def test_in_the_place_of_a_denied_request_its_client_is_asked_what_it_refuses(wire: Wire) -> None:
    played = wire(town(default="deny"), "sampling/createMessage", SAMPLE)
    first, *rest = messages(played)
    assert first == asks("gatehouse/denied", {"trail": "trail-1", "reason": "server-request-denied"})
    assert rest == ([DONE] if wire is on_a_call else []), "what else is on the stream goes on"
    denied = [entry for entry in played.trail.entries if entry.verdict is Word.DENY]
    assert [(entry.policy, entry.reason) for entry in denied] == [("asks", "server-request-denied")]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (asks("roots/list", {}), "server-request-denied"),
        ({"jsonrpc": "2.0", "method": "tasks/get", "params": {"taskId": "t"}}, "server-request-malformed"),
        (
            {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"inputRequests": {"a": ROOTS}}},
            "server-request-denied",
        ),
        (
            {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}},
            "elicitation-unseen",
        ),
    ],
    ids=["a request", "one without an id", "in a notification", "complete"],
)
def test_a_document_that_only_asks_is_an_error_for_the_call(asked: dict[str, Any], expected: str, sized: bool) -> None:
    """On no wire is that an answer, but some client might act on it."""
    answer = response(asked)
    answer.sized = sized
    for sent in (PAY, [PAY]):
        played = town(default="deny").play(sent, answer, version="2025-03-26")
        assert played.client is not None
        assert played.client.status == 200
        found = messages(played)[0]
        error = found[0] if isinstance(found, list) else found
        assert (error["id"], error["error"]["data"]["reason"]) == (1, expected)


def test_a_document_that_asks_beside_its_answers_keeps_them() -> None:
    answer = response([asks("roots/list", {}), DONE])
    found = messages(town(default="deny").play([PAY], answer, version="2025-03-26"))[0]
    assert [one.get("method") for one in found] == ["gatehouse/denied", None]
    assert found[-1] == DONE


def test_a_result_that_asks_for_too_much_is_an_error_that_says_which_and_why() -> None:
    asked = {"a": {"method": "roots/list"}, "b": {"method": "elicitation/create", "params": PHISHING}}
    played = town(url_domains=["pay.example.com"]).play(PAY, response(needs(asked)), version=MODERN)
    (error,) = messages(played)
    assert error["id"] == 1
    assert error["error"]["message"] == (
        "the server asked for elicitation/create: its address is not one that is allowed here"
    )
    assert error["error"]["data"]["reason"] == "url-not-listed"
    assert refused(played) == ("url-not-listed", True), "the words name the method"
    assert played.client is not None
    assert b"evil" not in played.client.body
    assert b"roots/list" not in played.client.body, "nothing is left of the result"


def test_a_rule_has_words_of_its_own() -> None:
    here = town(rules=[{"methods": ["roots/list"], "allow": False, "message": "no roots, ask the desk"}])
    assert messages(in_a_result(here, "roots/list", {}))[0]["error"]["message"] == "no roots, ask the desk"


def test_the_name_of_an_unknown_method_is_not_repeated() -> None:
    (error,) = messages(in_a_result(town(), "evil.example/now", {}))
    assert error["error"]["message"] == "the server asked for an unknown method: this method is not known here"


@pytest.mark.parametrize("kind", ["complete", "task", None])
def test_what_a_result_asks_is_seen_whatever_its_type_says(kind: str | None) -> None:
    answer = needs({"a": {"method": "roots/list"}})
    answer["result"].pop("resultType")
    if kind is not None:
        answer["result"]["resultType"] = kind
    for sent in (PAY, {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t"}}):
        assert reason(town(default="deny").play(sent, response(answer))) == "server-request-denied"


@pytest.mark.parametrize(
    "sent",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "p"}},
        {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///x"}},
        {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}},
    ],
    ids=lambda sent: str(sent["method"]),
)
@pytest.mark.parametrize("answers", [response, stream], ids=["json", "events"])
def test_what_a_result_asks_is_seen_whatever_it_answers(
    sent: dict[str, Any], answers: Callable[[Any], HttpResponse]
) -> None:
    asked = needs({"a": {"method": "roots/list"}})
    assert messages(town().play(sent, answers(asked), version=MODERN)) == [asked]
    (error,) = messages(town(default="deny").play(sent, answers(asked), version=MODERN))
    assert (error["id"], error["error"]["data"]["reason"]) == (1, "server-request-denied")


def test_in_a_batch_each_answer_and_each_request_is_decided_for_itself() -> None:
    sent = [call("pay", id=1), call("pay", id=2)]
    done = {**DONE, "id": 2}
    answered = [needs({"a": {"method": "roots/list"}}), asks("roots/list", {}), done]
    here = town(rules=[{"methods": ["roots/list"], "allow": False}])
    found = messages(here.play(sent, HttpResponse(event(answered), headers=dict(STREAM)), version="2025-03-26"))[0]
    assert [one.get("method") or one.get("error", {}).get("code") for one in found] == [
        -31403,
        "gatehouse/denied",
        None,
    ]
    assert found[-1] == done


def test_what_a_task_asks_in_a_notification_is_seen() -> None:
    params = {"taskId": "t", "inputRequests": {"a": {"method": "roots/list"}}}
    told = {"jsonrpc": "2.0", "method": "notifications/tasks", "params": params}
    played = town(default="deny").play(PAY, stream(told, DONE))
    assert (reason(played), messages(played)) == ("server-request-denied", [DONE])
    assert messages(town().play(PAY, stream(told, DONE))) == [told, DONE]


@wires
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://pay.example.com/1", ""),
        ("https://pay.example.com.evil.example/1", "url-not-listed"),
        ("http://pay.example.com/1", "url-not-listed"),
        ("https://203.0.113.7/", "url-not-listed"),
        ("https://pay.example.com@evil.example/", "url-ambiguous"),
        ("https://pay.example.com\\.evil.example/", "url-ambiguous"),
        ("javascript:alert(1)", "url-ambiguous"),
        (["https://pay.example.com/1"], "server-request-malformed"),
        (None, "server-request-malformed"),
    ],
)
def test_a_person_is_sent_to_listed_addresses_only(wire: Wire, url: object, expected: str) -> None:
    played = wire(town(url_domains=["pay.example.com"]), "elicitation/create", {**URL, "url": url})
    assert reason(played) == expected
    if expected:
        assert played.client is not None
        assert b"evil" not in played.client.body


@wires
def test_without_a_list_nobody_is_sent_anywhere(wire: Wire) -> None:
    assert reason(wire(town(), "elicitation/create", URL)) == "url-not-listed"


@wires
@pytest.mark.parametrize(
    "params",
    [
        {**FORM, "url": "https://pay.example.com/1"},
        {**URL, "requestedSchema": {}},
        {**URL, "mode": "URL"},
        {**URL, "mode": "window"},
        {**URL, "mode": None},
        {**URL, "mode": ["url"]},
        {**FORM, "requestedSchema": "all"},
        {**FORM, "message": ["which?"]},
    ],
)
def test_an_elicitation_that_clients_may_show_in_two_ways_is_denied(wire: Wire, params: dict[str, Any]) -> None:
    played = wire(town(url_domains=["pay.example.com"]), "elicitation/create", params)
    assert reason(played) == "server-request-malformed"


@wires
@pytest.mark.parametrize(("secrets", "expected"), [("deny", "form-asks-for-secrets"), ("allow", "")])
def test_a_form_does_not_ask_for_secrets(wire: Wire, secrets: str, expected: str) -> None:
    form = {"message": "sign in", "requestedSchema": {"type": "object", "properties": {"api_key": {"type": "string"}}}}
    assert reason(wire(town(secrets_by_form=secrets), "elicitation/create", form)) == expected
    assert reason(wire(town(secrets_by_form=secrets), "elicitation/create", FORM)) == ""


@wires
@pytest.mark.parametrize(
    ("change", "parameters", "expected"),
    [
        ({"maxTokens": 4096}, {}, ""),
        ({"maxTokens": 4097}, {}, "sampling-too-much"),
        ({"maxTokens": 4097}, {"max_tokens": 5000}, ""),
        ({"maxTokens": "9"}, {}, "server-request-malformed"),
        ({"maxTokens": True}, {}, "server-request-malformed"),
        ({"maxTokens": None}, {}, "server-request-malformed"),
        ({"maxTokens": 0}, {}, "server-request-malformed"),
        ({"maxTokens": -1}, {}, "server-request-malformed"),
        ({"messages": SAMPLE["messages"] * 3}, {"messages": 2}, "sampling-too-much"),
        ({"messages": {}}, {}, "server-request-malformed"),
        ({"tools": [{"name": "x", "inputSchema": {}}]}, {}, "sampling-with-tools"),
        ({"tools": []}, {}, "sampling-with-tools"),
        ({"toolChoice": {"mode": "required"}}, {}, "sampling-with-tools"),
        ({"tools": [{"name": "x", "inputSchema": {}}]}, {"tools": "allow"}, ""),
        ({"includeContext": "none"}, {}, ""),
        ({"includeContext": "thisServer"}, {}, ""),
        ({"includeContext": "allServers"}, {}, "sampling-with-context"),
        ({"includeContext": "everything"}, {}, "sampling-with-context"),
        ({"includeContext": ["none"]}, {}, "sampling-with-context"),
        ({"includeContext": "allServers"}, {"include_context": ["allServers"]}, ""),
        ({"modelPreferences": {"hints": [{"name": "large"}]}}, {}, ""),
    ],
)
def test_sampling_stays_in_its_bounds(
    wire: Wire, change: dict[str, Any], parameters: dict[str, Any], expected: str
) -> None:
    here = town(sampling=parameters)
    assert reason(wire(here, "sampling/createMessage", {**SAMPLE, **change})) == expected


@wires
def test_what_is_asked_is_bounded_in_size(wire: Wire) -> None:
    long = {**FORM, "message": "x" * 2000}
    assert reason(wire(town(request_size=2000), "elicitation/create", long)) == "server-request-too-large"
    assert reason(wire(town(request_size=3000), "elicitation/create", long)) == ""
    named = [{"methods": ["*x"], "allow": False}]
    assert reason(wire(town(rules=named, request_size=2000), "x" * 2000, {})) == "server-request-too-large"


def test_one_result_asks_for_so_much_and_no_more() -> None:
    asked = {str(number): {"method": "roots/list"} for number in range(3)}
    assert reason(town(requests_per_result=3).play(PAY, response(needs(asked)))) == ""
    assert reason(town(requests_per_result=2).play(PAY, response(needs(asked)))) == "server-requests-too-many"


def test_one_stream_asks_for_so_much_and_no_more() -> None:
    asked = [asks("roots/list", {}, number) for number in range(4)]
    played = town(requests_per_exchange=3).play(None, stream(*asked, asks("ping", None, 9)), method="GET")
    assert reason(played) == "server-requests-too-many"
    assert [found["method"] for found in messages(played)] == [*["roots/list"] * 3, "gatehouse/denied", "ping"]


def test_one_caller_is_asked_for_so_much_and_no_more() -> None:
    here = town(requests_per_caller=2)
    denied = [reason(on_a_call(here, "roots/list", {}, claims=ANN)) for _ in range(3)]
    assert denied == ["", "", "server-requests-too-many"]
    assert reason(on_a_call(here, "roots/list", {}, claims=BOB)) == "", "another caller's share is its own"


def test_no_server_uses_up_what_another_may_ask() -> None:
    store = EmbeddedStore.in_memory()
    parameters = Parameters(default="allow", requests_per_caller=1)
    bank, desk = (Town(ServerRequests("asks", parameters), store=store, server=name) for name in ("bank", "desk"))
    denied = [reason(on_a_call(here, "roots/list", {}, claims=ANN)) for here in (bank, bank, desk, desk)]
    assert denied == ["", "server-requests-too-many"] * 2


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list"])
def test_a_request_without_an_id_is_taken_out(method: str) -> None:
    told = {"jsonrpc": "2.0", "method": method, "params": ASKED[method]}
    played = town().play(PAY, stream(told, DONE))
    assert (reason(played), messages(played)) == ("server-request-malformed", [DONE])


def test_what_is_asked_beside_the_answer_to_initialize_is_of_the_session_that_it_opens() -> None:
    here = town()
    opened = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    answer = stream(asks("ping"), {"jsonrpc": "2.0", "id": 1, "result": opened})
    answer.headers["mcp-session-id"] = "s"
    here.play({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}, answer, claims=ANN)
    assert sends(here, {"id": 7, "result": {}}, claims=ANN, session="s") == ""
    assert sends(here, {"id": 7, "result": {}}, claims=ANN, session="t") == "answer-unasked"


def sends(here: Town, answer: Mapping[str, Any], **options: Any) -> str:
    """Why a client's answer may not go to the server."""
    return reason(here.play({"jsonrpc": "2.0", **answer}, HttpResponse(status=202, headers={}), **options))


RESULT: Mapping[str, Any] = {"result": {"roots": []}}
ERROR: Mapping[str, Any] = {"error": {"code": -32601, "message": "Method not found"}}


def test_an_answer_reaches_the_server_if_it_was_allowed_to_ask() -> None:
    here = town()
    on_a_call(here, "roots/list", {}, claims=ANN, session="s")
    for answer in (RESULT, ERROR):
        assert sends(here, {"id": 7, **answer}, claims=ANN, session="s") == ""


def test_of_what_was_denied_only_a_refusal_reaches_the_server() -> None:
    here = town(default="deny")
    on_a_call(here, "roots/list", {}, claims=ANN)
    assert sends(here, {"id": 7, **ERROR}, claims=ANN) == ""
    assert sends(here, {"id": 7, **RESULT}, claims=ANN) == "answer-unasked"


@pytest.mark.parametrize("answer", [RESULT, ERROR], ids=["result", "error"])
@pytest.mark.parametrize(
    ("id", "options"),
    [
        (8, {"claims": ANN, "session": "s"}),
        ("7", {"claims": ANN, "session": "s"}),
        (7, {"claims": BOB, "session": "s"}),
        (7, {"claims": None, "session": "s"}),
        (7, {"claims": ANN, "session": "t"}),
        (7, {"claims": ANN}),
    ],
)
def test_an_answer_to_what_was_never_asked_stays_here(
    id: int | str, options: dict[str, Any], answer: Mapping[str, Any]
) -> None:
    here = town()
    on_a_call(here, "roots/list", {}, claims=ANN, session="s")
    played = here.play({"jsonrpc": "2.0", "id": id, **answer}, **options)
    assert (reason(played), played.upstream) == ("answer-unasked", None)
    assert played.client is not None
    assert (played.client.status, played.client.json["id"]) == (403, None)


def test_an_error_about_nothing_in_particular_passes() -> None:
    assert sends(town(), {"id": None, "error": {"code": -32700, "message": "cannot read this"}}) == ""


def test_with_answers_any_nothing_is_kept_and_the_store_is_not_asked() -> None:
    here = Town(ServerRequests("asks", Parameters(default="allow", answers="any")), store=Broken())
    assert reason(on_a_call(here, "roots/list", {})) == ""
    assert sends(here, {"id": 8, **RESULT}) == ""
    complete = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}}
    assert messages(here.play(PAY, stream(complete, DONE))) == [complete, DONE]


def test_a_store_that_fails_lets_nothing_be_asked() -> None:
    here = Town(ServerRequests("asks", Parameters(default="allow")), store=Broken())
    played = on_a_call(here, "roots/list", {})
    assert [found.get("method") for found in messages(played)] == ["gatehouse/denied", None]
    assert sends(here, {"id": 7, **RESULT}) == "raised StoreError"


def needed(*elicitations: Mapping[str, Any]) -> dict[str, Any]:
    """An error -32042."""
    data = {"elicitations": list(elicitations)}
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32042, "message": "go there first", "data": data}}


@pytest.mark.parametrize("answers", [response, stream], ids=["json", "events"])
def test_an_error_sends_a_person_to_listed_addresses_only(answers: Callable[[Any], HttpResponse]) -> None:
    here = town(url_domains=["pay.example.com"])
    assert messages(here.play(PAY, answers(needed(URL)))) == [needed(URL)]
    played = here.play(PAY, answers(needed(URL, PHISHING)))
    (error,) = messages(played)
    assert (error["id"], error["error"]["data"]["reason"]) == (1, "url-not-listed")
    assert played.client is not None
    assert b"evil" not in played.client.body
    assert reason(town(url_domains=["pay.example.com"], default="deny").play(PAY, answers(needed(URL)))) == (
        "server-request-denied"
    )


def test_another_error_of_the_servers_passes() -> None:
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}
    assert messages(town(default="deny").play(PAY, response(error))) == [error]


@pytest.mark.parametrize("asked", [asks("elicitation/create", URL), needed(URL)], ids=["request", "error"])
def test_an_elicitation_is_complete_only_for_whom_it_was_shown_to(asked: dict[str, Any]) -> None:
    here = town(url_domains=["pay.example.com"])
    here.play(PAY, stream(asked), claims=ANN, session="s")

    def told(id: object, **options: Any) -> bool:
        complete = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": id}}
        return bool(messages(here.play(None, stream(complete), method="GET", **options)))

    assert told("e-1", claims=ANN, session="s")
    assert not told("e-2", claims=ANN, session="s")
    assert not told(None, claims=ANN, session="s")
    assert not told("e-1", claims=BOB, session="s")
    assert not told("e-1", claims=ANN, session="t")


def test_an_elicitation_that_was_denied_is_never_complete() -> None:
    here = town()
    here.play(PAY, stream(asks("elicitation/create", URL), DONE))
    complete = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e-1"}}
    played = here.play(None, stream(complete), method="GET")
    assert (reason(played), messages(played)) == ("elicitation-unseen", [])


STATE = 'v1.0paque~{"a": 1}\u00fc\U0001f98a='


def test_beside_session_binding_a_state_passes_exactly_and_comes_back_from_its_principal_only() -> None:
    here = town(SessionBinding("sessions", Bound()), default="allow")
    asked = needs({"a": {"method": "roots/list"}}, STATE)
    played = here.play(PAY, response(asked), ANN, version=MODERN)
    assert messages(played) == [asked]
    again = {**PAY, "params": {**PAY["params"], "requestState": STATE, "inputResponses": {"a": {"roots": []}}}}
    assert reason(here.play(again, claims=BOB, version=MODERN)) == "state-unknown"
    back = here.play(again, claims=ANN, version=MODERN)
    assert back.upstream is not None
    assert json.loads(back.upstream.body)["params"]["requestState"] == STATE


def test_a_state_of_what_was_denied_is_not_handed_out() -> None:
    here = town(SessionBinding("sessions", Bound()), default="deny")
    played = here.play(PAY, response(needs({"a": {"method": "roots/list"}}, STATE)), ANN, version=MODERN)
    assert played.client is not None
    assert b"v1." not in played.client.body
    again = {**PAY, "params": {**PAY["params"], "requestState": STATE}}
    assert reason(here.play(again, claims=ANN, version=MODERN)) == "state-unknown"


@pytest.mark.parametrize(
    "parameters",
    [
        {"rules": [{"allow": True}]},
        {"rules": [{"methods": ["*"], "allow": "nonsense("}]},
        {"rules": [{"modes": ["page"], "allow": True}]},
        {"url_domains": ["*"]},
        {"url_domains": ["http://pay.example.com"]},
        {"requests_per_result": 33},
        {"sampling": {"include_context": ["all"]}},
        {"tools": []},
    ],
)
def test_parameters_that_say_nothing_or_too_much_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)


def cuts(positions: Sequence[float]) -> Callable[[bytes], Sequence[bytes]]:
    """Cuts a body at these parts of its length."""

    def cut(body: bytes) -> Sequence[bytes]:
        places = [0, *sorted(int(position * len(body)) for position in positions), len(body)]
        return [body[start:end] for start, end in itertools.pairwise(places) if start < end] or [b""]

    return cut


EVERYTHING = [
    asks("roots/list", {}, 1),
    asks("elicitation/create", PHISHING, 2),
    asks("elicitation/create", URL, 3),
    {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e-1"}},
    {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e-2"}},
    asks("sampling/createMessage", {**SAMPLE, "maxTokens": 1_000_000}, 4),
    DONE,
]


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=30)
def test_a_stream_is_decided_alike_however_it_is_cut(positions: list[float]) -> None:
    here = town(url_domains=["pay.example.com"])
    played = here.play(PAY, stream(*EVERYTHING), cut=cuts(positions))
    found = messages(played)
    assert [one.get("params", {}).get("reason", one.get("method")) for one in found] == [
        "roots/list",
        "url-not-listed",
        "elicitation/create",
        "notifications/elicitation/complete",
        "sampling-too-much",
        None,
    ]
    assert found[-1] == DONE
    assert played.client is not None
    assert b"evil" not in played.client.body


@given(st.lists(st.floats(0, 1), max_size=8), st.booleans())
@settings(max_examples=30)
def test_a_result_is_decided_alike_however_it_is_cut(positions: list[float], phishes: bool) -> None:
    asked = needs({"a": {"method": "elicitation/create", "params": PHISHING if phishes else URL}}, STATE)
    answer = response(asked)
    answer.sized = False
    here = town(url_domains=["pay.example.com"])
    played = here.play(PAY, answer, cut=cuts(positions), version=MODERN)
    assert reason(played) == ("url-not-listed" if phishes else "")
    assert played.client is not None
    assert (b"evil" not in played.client.body) if phishes else (played.client.body == answer.body)

"""Body modes through a real Envoy: whatever the planner chose, bodies arrive exactly and connections stay in step.

Rules:
- Each exchange is followed by another on the same client connection and the same connection of the upstream's pool:
  a byte too many or too few of the first would be in its way.
- The upstream's body comes with its headers, after Gatehouse was told them, or byte by byte (docs/adr/0005).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.envoy.bootstraps import with_trailers
from tests.envoy.exchanges import LIST, answer_to, call, event, in_event
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.keepalive import WHEN, Exchanges, bare, written
from tests.envoy.observed import decisions, mark, metric
from tests.envoy.raw import JSON_LINES, RawAnswer, chunked, head, in_chunks, raw_client, sized
from tests.envoy.upstream import Script, keeping

MIB = 1024 * 1024
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: modes, revision: "1"}
limits: {request_body: 2MiB}
routes:
  - name: access
    match: {path: /mcp/access}
    protocol: mcp
    policies: [access]
    allow_opaque: [{method: HEAD}, {method: OPTIONS}]
  - {name: guard, match: {path: /mcp/guard}, protocol: mcp, policies: [guard]}
  - {name: watch, match: {path: /mcp/watch}, protocol: mcp, policies: [watcher]}
  - {name: unread, match: {path: /mcp/unread}, protocol: mcp, policies: [access], outcome: policies}
  - {name: longer, match: {path: /mcp/longer}, protocol: mcp, policies: [longer]}
  - {name: shorter, match: {path: /mcp/shorter}, protocol: mcp, policies: [shorter]}
  - {name: longer-held, match: {path: /mcp/held-longer}, protocol: mcp, policies: [guard, longer]}
  - {name: shorter-held, match: {path: /mcp/held-shorter}, protocol: mcp, policies: [guard, shorter]}
policies:
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: watcher, type: "tests.envoy.policies:Watcher"}
  - {name: longer, type: "tests.envoy.policies:Rewrites", parameters: {text: "länger ", times: 500}}
  - {name: shorter, type: "tests.envoy.policies:Rewrites", parameters: {text: "k", times: 1}}
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: ["secret*"], allow: false}
        - {methods: ["*"], allow: true}
"""
CALL = call("search", text="grüße " * 50)
ROUTES = ["access", "guard", "watch", "unread"]
HELD = "guard"  # the route on which the headers of JSON wait for the body
HIDING = ["access", "unread"]  # the routes with a policy that hides tools
ASKED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one hidden": (LIST, ["search", "secret-plans"]),
    "all shown": (LIST, ["search", "fetch"]),
    "call": (CALL, []),
}
BEFORE = b": hello\r\n\r\nid: 1\ndata:\n\n" + event({"jsonrpc": "2.0", "method": "notifications/progress"})
AFTER = b": over\n\n"
FORMS = ["sized", "chunked", "large sized", "large chunked", "stream"]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@pytest.fixture
def modes(running: Running) -> Exchanges:
    return Exchanges(running)


def text_in(form: str) -> str:
    return "ü🦊" * 200_000 if "large" in form else "grüße 🦊"


def body_of(form: str, message: dict[str, Any], tools: Sequence[str]) -> bytes:
    """The upstream's answer as bytes that nobody else would write just so."""
    value = answer_to(message, *tools, text=text_in(form))
    if "stream" in form:
        return BEFORE + event(value, "\r\n") + AFTER
    return (" " + json.dumps(value, indent=1, ensure_ascii=form == "sized") + "\n").encode()


def cut(body: bytes, when: str) -> list[bytes]:
    """All in one, or in pieces: of one byte, or of many where there would be too many pieces."""
    if when != "in pieces":
        return [body]
    size = 1 if len(body) < 10_000 else 60_001
    return [body[at : at + size] for at in range(0, len(body), size)]


def length_is_right(answer: RawAnswer) -> None:
    """The client read exactly what was announced; nothing else may announce a length."""
    assert answer.header("content-length") in (None, str(len(answer.body)))


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("route", "asked"),
    [(route, asked) for route in ROUTES for asked in ASKED if route in HIDING or asked != "all shown"],
)
def test_an_answer_arrives_exactly_or_filtered_exactly(
    modes: Exchanges, route: str, asked: str, form: str, when: str
) -> None:
    message, tools = ASKED[asked]
    body = body_of(form, message, tools)
    stream = form == "stream"
    content_type = "text/event-stream" if stream else "application/json"
    script = written(cut(body, when), sized=form.endswith("sized"), content_type=content_type, when=when)
    sent = json.dumps(message).encode()
    with raw_client(modes.running) as client:
        if when == "after its headers":
            held = route == HELD and not stream
            answer = modes.one_in_steps(client, script, sized(f"/mcp/{route}", sent), held=held)
        else:
            answer = modes.one(client, script, sized(f"/mcp/{route}", sent))
    assert answer.status == 200
    length_is_right(answer)
    assert modes.running.upstream.requests[0].body == sent
    if "secret-plans" not in tools or route not in HIDING:
        assert answer.body == body
        return
    kept = answer_to(message, "search", text=text_in(form))
    if stream:
        assert answer.body.startswith(BEFORE)
        assert answer.body.endswith(AFTER)
        assert in_event(answer.body[len(BEFORE) :]) == kept
    else:
        assert answer.json == kept


@pytest.mark.parametrize("form", [form for form in FORMS if form != "stream"])
def test_a_denied_answer_has_its_own_status_where_headers_wait(modes: Exchanges, form: str) -> None:
    body = body_of(form, LIST, ["forbidden"])
    with raw_client(modes.running) as client:
        modes.running.upstream.answer_with(written([body], sized=form.endswith("sized")))
        answer = client.ask(sized("/mcp/guard", json.dumps(LIST).encode()))
        assert (answer.status, answer.json["error"]["data"]["reason"]) == (451, "guarded")
        assert b"forbidden" not in answer.body


REWRITES = ["longer", "shorter", "held-longer", "held-shorter"]


def rewritten(route: str) -> str:
    return "länger " * 500 if route.endswith("longer") else "k"


@pytest.mark.parametrize("size", [300, MIB + 300])
@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("route", REWRITES)
def test_a_request_of_another_length_smuggles_nothing(modes: Exchanges, route: str, is_sized: bool, size: int) -> None:
    body = json.dumps(call("search", text="x" * size)).encode()
    path = f"/mcp/{route}"
    request = sized(path, body) if is_sized else chunked(path, [body[:100], body[100:]])
    script = written([json.dumps(answer_to(CALL)).encode()], sized=True)
    with raw_client(modes.running) as client:
        answer = modes.one(client, script, request)
    got = modes.running.upstream.requests[0]
    assert json.loads(got.body) == call("search", text=rewritten(route))
    assert (got.header("content-length") is None) == (got.header("transfer-encoding") == "chunked")
    assert got.header("content-length") in (None, str(len(got.body)))
    assert answer.json == answer_to(CALL, text=rewritten(route))
    length_is_right(answer)


@pytest.mark.parametrize("form", [*FORMS, "stream sized"])
@pytest.mark.parametrize("when", ["with its headers", "in pieces"])
@pytest.mark.parametrize("route", REWRITES)
def test_an_answer_of_another_length_smuggles_nothing(modes: Exchanges, route: str, when: str, form: str) -> None:
    body = body_of(form, CALL, [])
    content_type = "text/event-stream" if "stream" in form else "application/json"
    script = written(cut(body, when), sized=form.endswith("sized"), content_type=content_type, when=when)
    with raw_client(modes.running) as client:
        answer = modes.one(client, script, sized(f"/mcp/{route}", json.dumps(CALL).encode()))
    value = in_event(answer.body[len(BEFORE) :]) if "stream" in form else answer.json
    assert value == answer_to(CALL, text=rewritten(route))
    length_is_right(answer)


PLAIN = ("content-type", "text/plain")
SMALL: dict[str, tuple[int, bytes, Script]] = {
    "202": (202, b"", bare(202, ("content-length", "0"))),
    "204": (204, b"", bare(204)),
    "304 with a length": (304, b"", bare(304, ("etag", '"1"'), ("content-length", "77"))),
    "404 with text": (404, b"no such page", bare(404, PLAIN, ("content-length", "12"), body=b"no such page")),
    "404 in chunks": (
        404,
        b"no such page",
        bare(404, PLAIN, ("transfer-encoding", "chunked"), body=in_chunks([b"no such page"])),
    ),
    "empty JSON": (200, b"", bare(200, ("content-type", "application/json"), ("content-length", "0"))),
    "empty JSON in chunks": (
        200,
        b"",
        bare(200, ("content-type", "application/json"), ("transfer-encoding", "chunked"), body=in_chunks([])),
    ),
    "empty stream": (
        200,
        b"",
        bare(200, ("content-type", "text/event-stream"), ("transfer-encoding", "chunked"), body=in_chunks([])),
    ),
}


@pytest.mark.parametrize(("status", "body", "script"), SMALL.values(), ids=SMALL.keys())
@pytest.mark.parametrize("message", [LIST, CALL], ids=["list", "call"])
@pytest.mark.parametrize("route", ROUTES)
def test_answers_with_little_or_no_body_are_ordinary(
    modes: Exchanges, route: str, message: dict[str, Any], status: int, body: bytes, script: Script
) -> None:
    with raw_client(modes.running) as client:
        answer = modes.one(client, script, sized(f"/mcp/{route}", json.dumps(message).encode()))
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_pass_where_nothing_enforces_or_the_route_lists_them(
    modes: Exchanges, route: str, method: str
) -> None:
    upstream = modes.running.upstream
    lines = (("content-length", "40"),) if method == "HEAD" else (("content-length", "2"), ("allow", "POST"))
    upstream.answer_with(keeping(bare(200, *lines, body=b"" if method == "HEAD" else b"ok")))
    with raw_client(modes.running) as client:
        client.send(head(f"/mcp/{route}", method=method))
        answer = client.answer(method)
        modes.in_step(client)
    denied = route in ("guard", "unread")
    assert answer.status == (403 if denied else 200)
    if method == "HEAD" and not denied:
        assert answer.header("content-length") == "40"
    assert [request.method for request in upstream.requests] == ["POST"] if denied else [method, "POST"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("parts", [1, 3, 40], ids=lambda parts: f"{parts} parts")
def test_a_chunked_request_arrives_exactly(modes: Exchanges, route: str, parts: int) -> None:
    body = json.dumps(CALL, indent=2).encode()
    size = -(-len(body) // parts)
    request = chunked(f"/mcp/{route}", [body[at : at + size] for at in range(0, len(body), size)])
    result = json.dumps(answer_to(CALL)).encode()
    with raw_client(modes.running) as client:
        answer = modes.one(client, written([result], sized=True), request)
    assert answer.body == result
    assert modes.running.upstream.requests[0].body == body


@pytest.mark.parametrize("route", ["access", "guard", "watch"])
@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB])
def test_a_request_at_the_edge_of_envoys_buffer_arrives_exactly(modes: Exchanges, route: str, size: int) -> None:
    body = json.dumps(CALL).encode().ljust(size)
    result = json.dumps(answer_to(CALL)).encode()
    with raw_client(modes.running) as client:
        answer = modes.one(client, written([result], sized=True), sized(f"/mcp/{route}", body))
    assert (answer.status, answer.body) == (200, result)
    assert modes.running.upstream.requests[0].body == body


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
def test_a_request_past_the_limit_is_answered_in_the_protocols_shape(modes: Exchanges, is_sized: bool) -> None:
    body = json.dumps(CALL).encode().ljust(2 * MIB + 1)
    upstream = modes.running.upstream
    upstream.answer_with(bare(200))
    with raw_client(modes.running) as client:
        if is_sized:
            # Refused at the headers: what it would send is never asked for.
            client.send(head("/mcp/access", *JSON_LINES, ("content-length", str(len(body)))))
        else:
            client.send(chunked("/mcp/access", [body[:MIB], body[MIB:]]))
        answer = client.answer()
    assert answer.status == 413
    assert answer.header("content-type") == "application/json"
    assert (answer.json["jsonrpc"], answer.json["error"]["code"]) == ("2.0", -31413)
    assert upstream.requests == []


@pytest.mark.parametrize("tool", ["search", "secret-plans"])
@pytest.mark.parametrize("size", [100, MIB + 100])
def test_a_client_that_expects_100_continue_is_told_to(modes: Exchanges, size: int, tool: str) -> None:
    body = json.dumps(call(tool)).encode().ljust(size)
    result = json.dumps(answer_to(CALL)).encode()
    modes.running.upstream.answer_with(keeping(written([result], sized=True)))
    lines = (*JSON_LINES, ("content-length", str(len(body))), ("expect", "100-continue"))
    with raw_client(modes.running) as client:
        client.send(head("/mcp/access", *lines))
        assert client.answer().status == 100
        client.send(body)
        answer = client.answer()
        if tool == "search":
            assert answer.body == result
            assert modes.running.upstream.requests[0].body == body
        else:
            assert answer.json["error"]["data"]["reason"] == "tool-not-allowed"
        modes.in_step(client)


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize(("route", "message"), [("access", LIST), ("guard", CALL), ("watch", CALL), ("unread", CALL)])
def test_an_answer_of_24_mib_arrives(modes: Exchanges, route: str, message: dict[str, Any], is_sized: bool) -> None:
    value = answer_to(message, "search", text="y" * 24 * MIB)
    body = json.dumps(value).encode()
    wait_for(lambda: metric(modes.running, "gatehouse_exchanges_active") == 0 or None, "the end of all before it")
    since = mark(modes.running)
    with raw_client(modes.running) as client:
        parts = [body[at : at + 256 * 1024] for at in range(0, len(body), 256 * 1024)]
        answer = modes.one(client, written(parts, sized=is_sized), sized(f"/mcp/{route}", json.dumps(message).encode()))
    assert answer.status == 200
    assert answer.body == body
    length_is_right(answer)
    decision = decisions(modes.running, since, 2)[0]
    assert (decision["outcome"], decision["cause"]) == ("ok", "complete")


TRAILERS = (("x-checksum", "17"),)
TRAILED: dict[str, tuple[str, Callable[[Any], list[bytes]]]] = {
    "JSON": ("application/json", lambda value: [json.dumps(value).encode()]),
    "stream": ("text/event-stream", lambda value: [BEFORE, event(value)]),
    "a piece of a stream": ("text/event-stream", lambda value: [BEFORE[:4]]),
    "nothing": ("text/event-stream", lambda value: []),
}


# Not "nothing" with its headers: where full duplex is chosen with the response, Envoy 1.40 then never tells the end.
TRAILED_WHEN = [(what, when) for what in TRAILED for when in WHEN[:2] if (what, when) != ("nothing", WHEN[0])]


@pytest.mark.parametrize(("what", "when"), TRAILED_WHEN)
@pytest.mark.parametrize("message", [LIST, CALL], ids=["list", "call"])
@pytest.mark.parametrize("route", ROUTES)
def test_trailers_of_an_answer_arrive(
    gatehouse_stack: Stacks, route: str, message: dict[str, Any], what: str, when: str
) -> None:
    modes = Exchanges(gatehouse_stack(BUNDLE, edit_bootstrap=with_trailers))
    content_type, parts = TRAILED[what]
    body = parts(answer_to(message, "search"))
    script = written(body, sized=False, content_type=content_type, when=when, trailers=TRAILERS)
    request = sized(f"/mcp/{route}", json.dumps(message).encode())
    with raw_client(modes.running) as client:
        if when == "after its headers":
            held = route == HELD and content_type == "application/json"
            answer = modes.one_in_steps(client, script, request, held=held)
        else:
            answer = modes.one(client, script, request)
    assert answer.body == b"".join(body)
    assert answer.trailers == TRAILERS


@pytest.mark.parametrize("route", ["access", "guard", "watch", "longer"])
def test_trailers_of_a_request_arrive(gatehouse_stack: Stacks, route: str) -> None:
    modes = Exchanges(gatehouse_stack(BUNDLE, edit_bootstrap=with_trailers))
    body = json.dumps(CALL).encode()
    request = chunked(f"/mcp/{route}", [body[:7], body[7:]], trailers=TRAILERS)
    with raw_client(modes.running) as client:
        answer = modes.one(client, written([json.dumps(answer_to(CALL)).encode()], sized=True), request)
    assert answer.status == 200
    got = modes.running.upstream.requests[0]
    assert json.loads(got.body) == (CALL if route != "longer" else call("search", text=rewritten(route)))
    assert got.trailers == TRAILERS

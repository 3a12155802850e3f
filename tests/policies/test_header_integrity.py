"""header-integrity: headers that contradict the body are refused, and the same ones as by the official server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    encode_header_value,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from ext_proc.codecs.mcp_messages import from_client
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding
from ext_proc.events import BodyMode, Direction, EnvoyFacts, HeadersReceived
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import McpMessage, RequestHead, ToolList, encode_json
from ext_proc.policy import Context, Deny, Exchanged, Verdict
from ext_proc.replies import ImmediateReply
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import Played, call, decide, pass_through, request, response, rulebook_of
from ext_proc.trail import Trail
from gatehouse_policies.header_integrity import HeaderIntegrity, Parameters
from tests.policies.town import MODERN, Town, reason, went_on

MISMATCH = -32020
TOOL = {
    "name": "query",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "limit": {"type": "integer", "x-mcp-header": "Limit"},
            "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
            "where": {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}},
            "free": {"type": "string"},
        },
    },
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def policy(**parameters: Any) -> HeaderIntegrity:
    return HeaderIntegrity("headers", Parameters.model_validate(parameters))


def modern(sent: dict[str, Any], version: Any = MODERN) -> dict[str, Any]:
    """A request as revision 2026-07-28 has it."""
    meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
    return {**sent, "params": {**sent.get("params", {}), "_meta": meta}}


def headers_of(sent: Mapping[str, Any], **changes: str | None) -> dict[str, str]:
    """The headers that a client sends with it; `mcp_name=None` leaves one out."""
    lines = {"mcp-protocol-version": MODERN, "mcp-method": sent["method"]}
    if "name" in sent.get("params", {}):
        lines["mcp-name"] = encode_header_value(sent["params"]["name"])
    for name, value in changes.items():
        lines.pop(name.replace("_", "-"), None)
        if value is not None:
            lines[name.replace("_", "-")] = value
    return lines


def sent_with(town: Town, sent: dict[str, Any], **changes: str | None) -> Played:
    return town.play(modern(sent), headers=headers_of(sent, **changes))


def refused(played: Played, why: str = "header-mismatch", id: Any = 1) -> bool:
    """Whether it was answered as the specification says, and the upstream did not see it."""
    assert played.client is not None
    if reason(played) != why or went_on(played):
        return False
    body = played.client.json
    assert played.client.headers["content-type"] == "application/json"
    assert (played.client.status, body["id"], body["error"]["code"]) == (400, id, MISMATCH)
    return True


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "echo"}, "echo"),
        ("tools/call", {"name": "\u00fcber tool "}, encode_header_value("\u00fcber tool ")),
        ("tools/call", {"name": "echo"}, "=?base64?ZWNobw==?="),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": "file:///x"}, "file:///x"),
        ("tasks/get", {"taskId": "t-1"}, "t-1"),
        ("tools/list", {}, None),
        ("server/discover", {}, None),
    ],
)
def test_headers_that_repeat_the_body_pass(method: str, params: dict[str, Any], name: str | None) -> None:
    sent = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    played = sent_with(Town(policy()), sent, mcp_name=name)
    assert (reason(played), went_on(played)) == ("", True)
    assert refused(sent_with(Town(policy()), sent, mcp_method="ping", mcp_name=name))
    if name is not None:
        assert refused(sent_with(Town(policy()), sent, mcp_name=name + "x"))


def test_a_notification_is_held_to_it_too() -> None:
    sent = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert went_on(sent_with(Town(policy()), sent))
    assert refused(sent_with(Town(policy()), sent, mcp_method="tools/list"), id=None)


def test_an_answer_cannot_hide_behind_a_methods_header() -> None:
    answer = {"jsonrpc": "2.0", "id": 1, "result": {}}
    played = Town(policy()).play(answer, headers=headers_of(LIST))
    assert (reason(played), went_on(played)) == ("header-mismatch", False)


@pytest.mark.parametrize("version", ["2025-11-25", "", 1, None])
def test_the_version_in_the_body_is_the_headers(version: Any) -> None:
    played = Town(policy()).play(modern(call("echo"), version), headers=headers_of(call("echo")))
    assert refused(played)


@pytest.mark.parametrize("header", [None, "2025-11-25", "2025-06-18"])
@pytest.mark.parametrize("legacy", ["check", "ignore"])
def test_a_stateless_body_needs_its_version_in_the_header(legacy: str, header: str | None) -> None:
    played = Town(policy(legacy=legacy)).play(modern(LIST), headers=headers_of(LIST, mcp_protocol_version=header))
    assert refused(played)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mcp_method": None}, "header-missing"),
        ({"mcp_name": None}, "header-missing"),
        ({"mcp_name": "=?base64?###?="}, "header-malformed"),
        ({"mcp_method": "=?base64?dG9vbHMvY2FsbA==?="}, "header-malformed"),
        ({"mcp_protocol_version": f"{MODERN}, {MODERN}"}, "header-malformed"),
    ],
)
def test_what_the_headers_alone_show_is_refused_before_the_body_is_asked_for(
    changes: dict[str, str | None], why: str
) -> None:
    lines = [(name, value.encode()) for name, value in headers_of(call("echo"), **changes).items()]
    assert replies_to_headers(lines) == (400, None, why)


@pytest.mark.parametrize("header", ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region"])
@pytest.mark.parametrize("version", [MODERN, "2025-11-25"])
def test_a_header_that_stands_twice_is_refused_before_the_body_is_asked_for(version: str, header: str) -> None:
    told = {**headers_of(call("echo"), mcp_protocol_version=version), "mcp-param-region": "eu"}
    lines = [(name, value.encode()) for name, value in told.items()]
    again = [line for line in lines if line[0] == header]
    if (version, header) == ("2025-11-25", "mcp-protocol-version"):
        again = [(header, MODERN.encode())]
    assert replies_to_headers([*lines, *again]) == (400, None, "header-duplicated")


def replies_to_headers(lines: Sequence[tuple[str, bytes]]) -> tuple[int, Any, str]:
    """The status, id and reason of what is answered to the headers of a POST, before any byte of its body."""
    pseudo = [(":method", b"POST"), (":path", b"/mcp"), (":authority", b"t"), ("content-type", b"application/json")]
    exchange = Exchange(rulebook_of(policy()), "trail-1")
    facts = EnvoyFacts({}, request_body_mode=BodyMode.NONE, response_body_mode=BodyMode.NONE)
    exchange.receive(HeadersReceived(Direction.REQUEST, Headers([*pseudo, *lines]), False, facts))
    decide(exchange)
    (reply,) = exchange.replies()
    assert isinstance(reply, ImmediateReply)
    body = response(reply.body).json
    assert body["error"]["code"] == MISMATCH
    return reply.status, body["id"], body["error"]["data"]["reason"]


def test_earlier_revisions_need_no_such_headers() -> None:
    for version in ("", "2025-03-26", "2025-11-25"):
        assert went_on(Town(policy()).play(call("echo"), version=version))


@pytest.mark.parametrize("lies", [{"mcp-method": "tools/list"}, {"mcp-name": "other"}, {"mcp-name": "=?base64?#?="}])
def test_what_an_earlier_revision_carries_must_fit_unless_it_is_ignored(lies: dict[str, str]) -> None:
    honest = {"mcp-method": "tools/call", "mcp-name": "echo"}
    assert went_on(Town(policy()).play(call("echo"), version="2025-11-25", headers=honest))
    assert not went_on(Town(policy()).play(call("echo"), version="2025-11-25", headers={**honest, **lies}))
    ignoring = Town(policy(legacy="ignore"))
    assert went_on(ignoring.play(call("echo"), version="2025-11-25", headers={**honest, **lies}))


def test_each_message_of_a_batch_is_compared() -> None:
    batch = [call("echo", id=1), call("other", id=2)]
    played = Town(policy()).play(batch, version="2025-03-26", headers={"mcp-name": "echo"})
    assert played.upstream is not None
    assert b"other" not in played.upstream.body


def test_in_shadow_it_records_and_nothing_else() -> None:
    here = Town(Binding(policy(), enforce=False))
    played = sent_with(here, call("echo"), mcp_name="other")
    assert went_on(played)
    assert [entry.reason for entry in played.trail.entries if entry.reason] == ["header-mismatch"]


def test_the_answer_quotes_neither_headers_nor_arguments() -> None:
    here = listed()
    for changes in ({"mcp_name": "s3cret"}, {"mcp_method": "s3cret"}, {"mcp_param_region": "s3cret"}):
        played = sent_with(here, call("query", {"region": "s3cret-too"}), **changes)
        assert played.client is not None
        assert played.client.status == 400
        assert b"s3cret" not in played.client.body


def listed(tool: dict[str, Any] = TOOL, **parameters: Any) -> Town:
    """A town in which the tool was listed."""
    here = Town(policy(**parameters))
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}})
    assert went_on(here.play(modern(LIST), answer, headers=headers_of(LIST)))
    return here


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({"region": "eu"}, {"region": "eu"}),
        ({"region": "\u00fc"}, {"region": "=?base64?w7w=?="}),
        ({"region": None, "free": "x"}, {}),
        ({}, {}),
        ({}, {"unknown": "x"}),
        ({"limit": 42}, {"limit": "42"}),
        ({"limit": 42}, {"limit": "42.0"}),
        ({"limit": 42.0}, {"limit": "42"}),
        ({"limit": 9007199254740993}, {"limit": "9007199254740993"}),
        ({"limit": 0}, {"limit": "-0"}),
        ({"dry": True}, {"dry-run": "true"}),
        ({"where": {"city": "Bern"}}, {"city": "Bern"}),
        ({"where": "no object"}, {}),
        ({"limit": [1]}, {}),
    ],
)
def test_arguments_that_headers_repeat_pass(arguments: dict[str, Any], lines: dict[str, str]) -> None:
    changes = {f"mcp_param_{name}": value for name, value in lines.items()}
    assert reason(sent_with(listed(), call("query", arguments), **changes)) == ""


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({"region": "eu"}, {}),
        ({"region": "eu"}, {"region": "us"}),
        ({"region": None}, {"region": "eu"}),
        ({}, {"region": "eu"}),
        ({"region": "eu"}, {"region": "=?base64?#?="}),
        ({"limit": 42}, {"limit": "43"}),
        ({"limit": 42}, {"limit": "42.5"}),
        ({"limit": 9007199254740993}, {"limit": "9007199254740992"}),
        ({"limit": 1000}, {"limit": "1e3"}),
        ({"limit": 1}, {"limit": "9" * 5000}),
        ({"limit": [1]}, {"limit": "1"}),
        ({"dry": True}, {"dry-run": "1"}),
        ({"dry": True}, {"dry-run": "True"}),
        ({"where": {"city": "Bern"}}, {"city": "Basel"}),
    ],
)
def test_arguments_that_headers_contradict_are_refused(arguments: dict[str, Any], lines: dict[str, str]) -> None:
    changes = {f"mcp_param_{name}": value for name, value in lines.items()}
    sent = call("query", arguments)
    assert refused(sent_with(listed(), sent, **changes))
    assert went_on(sent_with(listed(arguments="ignore"), sent, **changes))


def test_of_a_tool_that_was_not_listed_no_argument_is_compared() -> None:
    played = sent_with(Town(policy()), call("query", {"region": "eu"}), mcp_param_region="us")
    assert went_on(played)
    assert [entry.reason for entry in played.trail.entries if entry.reason] == ["the tool was not listed yet"]


def test_wishes_that_are_invalid_ask_for_nothing() -> None:
    twice = {"type": "string", "x-mcp-header": "Region"}
    tool = {"name": "query", "inputSchema": {"type": "object", "properties": {"a": twice, "b": twice}}}
    assert went_on(sent_with(listed(tool), call("query", {"a": "x"}), mcp_param_region="y"))


def test_a_legacy_call_that_repeats_an_argument_must_repeat_it_right() -> None:
    here = listed()
    for value, expected in (("eu", True), ("us", False)):
        lines = {"mcp-param-region": value}
        assert went_on(here.play(call("query", {"region": "eu"}), version="2025-11-25", headers=lines)) is expected
    assert went_on(here.play(call("query", {"region": "eu"}), version="2025-11-25"))


METHODS = ["tools/call", "prompts/get", "resources/read", "tools/list", "server/discover"]
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
TEXTS = st.sampled_from(["echo", "\u00fcber", " edge ", "=?base64?ZWNobw==?=", "", "file:///a", "\U0001f98a", "a\nb"])


@given(data=st.data())
def test_the_standard_headers_are_judged_as_by_the_official_server(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    name = data.draw(TEXTS)
    body = modern({"jsonrpc": "2.0", "id": 1, "method": method, "params": {NAMED.get(method, "cursor"): name}})
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = data.draw(
        st.sampled_from([MODERN, "2025-11-25"])
    )
    wrapped = encode_header_value(f"{name}\n")  # never plain
    names = [encode_header_value(name), "other", wrapped, "=?base64?#?=", None] if method in NAMED else [None, "any"]
    told = {
        "mcp-protocol-version": data.draw(st.sampled_from([MODERN, "2025-11-25", None])),
        "mcp-method": data.draw(st.sampled_from([method, *METHODS, None])),
        "mcp-name": data.draw(st.sampled_from(names)),
    }
    lines = {name: value for name, value in told.items() if value is not None}
    theirs = classify_inbound_request(body, headers=lines)
    # What both call an earlier revision is no business of theirs.
    assume(not (isinstance(theirs, InboundLadderRejection) and theirs.code == -32022))
    assume(
        not (
            lines.get("mcp-protocol-version")
            == body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"]
            != MODERN
        )
    )
    assert judged(body, lines) is (isinstance(theirs, InboundLadderRejection) and theirs.code == MISMATCH)


def judged(body: dict[str, Any], lines: Mapping[str, str]) -> bool:
    """Whether the standard headers are refused."""
    judge = policy(arguments="ignore")
    head = RequestHead("POST", "/mcp", "t", Headers((name, value.encode("latin-1")) for name, value in lines.items()))
    ctx: Context[None] = Context(Exchanged(UNKNOWN, "tools", "mcp", head, Trail("t")), None)
    message = from_client(body, b"")
    assert isinstance(message, McpMessage)
    verdicts: list[Verdict] = [judge.on_request_headers(ctx), judge.on_request(message, ctx)]
    return any(isinstance(verdict, Deny) for verdict in verdicts)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(allow_nan=False), TEXTS)
VALUES = SCALARS | st.sampled_from([[1], {}])
CITY = st.fixed_dictionaries({}, optional={"city": VALUES})
ARGUMENTS = st.fixed_dictionaries({}, optional={"region": VALUES, "limit": VALUES, "dry": VALUES, "where": CITY})
CHANGES = st.dictionaries(
    st.sampled_from(["mcp-param-region", "mcp-param-limit", "mcp-param-dry-run", "mcp-param-city", "mcp-param-x"]),
    st.sampled_from([None, "1", "1.0", "01", "true", "True", "echo", "=?base64?#?=", "=?base64?ZWNobw==?=", "-0.00"]),
)


@given(arguments=ARGUMENTS, changes=CHANGES)
def test_the_headers_of_arguments_are_judged_as_by_the_official_server(
    arguments: dict[str, Any], changes: dict[str, str | None]
) -> None:
    schema = TOOL["inputSchema"]
    told = {name.lower(): value for name, value in mcp_param_headers(x_mcp_header_map(schema), arguments).items()}
    lines = {name: value for name, value in {**told, **changes}.items() if value is not None}
    theirs = validate_mcp_param_headers(schema, arguments, lines)
    lines |= {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "query"}
    assert asyncio.run(arguments_judged(arguments, lines)) is (theirs is not None)


async def arguments_judged(arguments: dict[str, Any], lines: Mapping[str, str]) -> bool:
    head = RequestHead("POST", "/mcp", "t", Headers((name, value.encode("latin-1")) for name, value in lines.items()))
    judge: Any = policy()
    with EmbeddedStore.in_memory() as store:
        ctx: Context[None] = Context(Exchanged(UNKNOWN, "tools", "mcp", head, Trail("t"), store=store), None)
        page = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [TOOL]}}
        await judge.on_response(ToolList(page, encode_json(page)), ctx)
        verdict = await judge.on_request(from_client(call("query", arguments), b""), ctx)
    return isinstance(verdict, Deny)


@given(cuts=st.lists(st.integers(1, 60), max_size=6), honest=st.booleans())
def test_however_the_body_is_cut_the_same_is_decided(cuts: list[int], honest: bool) -> None:
    def cut(body: bytes) -> Sequence[bytes]:
        pieces, rest = [], body
        for size in cuts:
            pieces.append(rest[:size])
            rest = rest[size:]
        return [*pieces, rest]

    lines = headers_of(call("echo"), mcp_name="echo" if honest else "other", content_type="application/json")
    sent = request(modern(call("echo")), headers=lines, sized=False)
    played = pass_through(rulebook_of(policy(arguments="ignore")), sent, response({}), cut)
    assert went_on(played) is honest
    assert reason(played) == ("" if honest else "header-mismatch")

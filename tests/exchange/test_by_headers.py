"""What headers of revision 2026-07-28 decide before the body: denials, and, where a route trusts them, all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding
from ext_proc.events import BodyMode, Direction, EnvoyFacts, HeadersReceived
from ext_proc.expressions import Expression
from ext_proc.headers import Headers
from ext_proc.messages import HeadersOnly, McpCall, RequestText, ToolCall
from ext_proc.policy import Context, Deny, Mutation, NoParameters, Policy, TextVerdict, Verdict
from ext_proc.replies import HeadersReply, ImmediateReply, ModesReply, Reply
from ext_proc.testing import HttpResponse, call, decide, pass_through, request, response, rulebook_of
from ext_proc.trail import Stage, Trail
from gatehouse_policies import tool_access
from gatehouse_policies.header_integrity import HeaderIntegrity
from gatehouse_policies.header_integrity import Parameters as Integrity

MODERN = "2026-07-28"
RULES: list[dict[str, Any]] = [
    {"methods": ["tools/list", "server/discover", "notifications/*"], "allow": True},
    {"tools": ["search"], "allow": True},
    {"tools": ["pay"], "allow": "args.amount < 10.0"},
    {"tools": ["delete_*"], "allow": "'admin' in identity.groups", "message": "deleting needs the admin group"},
]
ASKED, WHOLE, DENIED = "asked for", "not asked for", "denied"


def access(rules: Sequence[Mapping[str, Any]] = RULES, default: str = "deny") -> tool_access.ToolAccess:
    parameters = tool_access.Parameters.model_validate({"default": default, "rules": rules})
    return tool_access.ToolAccess("who-may-call", parameters)


def headers_of(method: str, name: str | None = None) -> dict[str, str]:
    lines = {"mcp-protocol-version": MODERN, "mcp-method": method}
    return lines if name is None else {**lines, "mcp-name": name}


def met(
    *policies: Policy[Any, Any] | Binding,
    lines: Mapping[str, str],
    more: Sequence[tuple[str, str]] = (),
    fixed: BodyMode = BodyMode.NONE,
    trusts: bool = True,
) -> tuple[str, Trail, Reply]:
    """What becomes of a body after its headers."""
    pseudo = {":method": "POST", ":path": "/mcp", ":authority": "t", "content-type": "application/json"}
    found = [*{**pseudo, "content-length": "100", **lines}.items(), *more]
    exchange = Exchange(rulebook_of(*policies, trusts_headers=trusts), "trail-1")
    facts = EnvoyFacts({}, request_body_mode=fixed, response_body_mode=BodyMode.NONE)
    headers = Headers((name, value.encode()) for name, value in found)
    exchange.receive(HeadersReceived(Direction.REQUEST, headers, False, facts))
    decide(exchange)
    (reply,) = exchange.replies()
    if isinstance(reply, ImmediateReply):
        return DENIED, exchange.trail, reply
    assert isinstance(reply, HeadersReply | ModesReply)
    modes = reply.modes
    unread = modes is not None and modes.request_body is BodyMode.NONE and isinstance(reply, HeadersReply)
    return WHOLE if unread else ASKED, exchange.trail, reply


def test_what_a_rule_without_arguments_denies_is_denied_at_the_headers_on_every_route() -> None:
    for trusts in (False, True):
        found, trail, reply = met(access(), lines=headers_of("tools/call", "delete_file"), trusts=trusts)
        assert found == DENIED
        assert isinstance(reply, ImmediateReply)
        error = HttpResponse(reply.body).json
        assert (reply.status, error["id"], error["error"]["message"]) == (403, None, "deleting needs the admin group")
        assert (trail.method, trail.target) == ("tools/call", "delete_file")
        (entry,) = [entry for entry in trail.entries if entry.stage is not Stage.IDENTITY]
        assert (entry.stage, entry.reason) == (Stage.REQUEST_HEADERS, "tool-not-allowed")


@pytest.mark.parametrize(
    ("method", "name", "found"),
    [
        ("tools/call", "search", WHOLE),
        ("tools/list", None, WHOLE),
        ("notifications/cancelled", None, WHOLE),
        ("tools/call", "=?base64?c2VhcmNo?=", WHOLE),
        ("tools/call", "pay", ASKED),
        ("tools/call", "other", DENIED),
        ("prompts/get", "search", DENIED),
        ("resources/read", "file:///x", DENIED),
        ("tools/destroy", None, DENIED),
        ("completion/complete", None, ASKED),
        ("subscriptions/listen", None, ASKED),
    ],
)
def test_where_headers_are_trusted_what_they_decide_needs_no_body(method: str, name: str | None, found: str) -> None:
    assert met(access(), lines=headers_of(method, name))[0] == found
    instead = ASKED if found == WHOLE else found
    assert met(access(), lines=headers_of(method, name), trusts=False)[0] == instead


def test_what_goes_on_without_its_body_is_named_in_the_trail_and_for_routing() -> None:
    _, trail, reply = met(access(), lines=headers_of("tools/call", "search"))
    assert isinstance(reply, HeadersReply)
    assert (trail.method, trail.target) == ("tools/call", "search")
    told = dict(reply.mutation.set)
    assert (told["x-gatehouse-method"], told["x-gatehouse-tool"]) == (b"tools/call", b"search")


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ({"mcp-protocol-version": MODERN}, ()),
        (headers_of("tools/call"), ()),
        (headers_of("tools/call", "=?base64?#?="), ()),
        (headers_of("tools/call", "delete_file"), (("mcp-name", "search"),)),
        (headers_of("tools/call", "delete_file"), (("mcp-method", "tools/list"),)),
        (headers_of("tools/call", "delete_file"), (("mcp-protocol-version", "2025-11-25"),)),
        ({**headers_of("tools/call", "delete_file"), "mcp-protocol-version": "2025-11-25"}, ()),
        ({"mcp-method": "tools/call", "mcp-name": "delete_file"}, ()),
    ],
)
def test_headers_that_are_not_in_order_decide_nothing(lines: dict[str, str], more: Sequence[tuple[str, str]]) -> None:
    assert met(access(), lines=lines, more=more)[0] == ASKED


def test_under_somebody_elses_body_mode_the_body_that_comes_is_read() -> None:
    search = headers_of("tools/call", "search")
    _, _, reply = met(access(), lines=search)
    assert isinstance(reply, HeadersReply)
    exchange = Exchange(rulebook_of(access(), trusts_headers=True), "trail-1")
    pseudo = {":method": "POST", ":path": "/mcp", "content-type": "application/json", "content-length": "100"}
    facts = EnvoyFacts({}, request_body_mode=BodyMode.BUFFERED, response_body_mode=BodyMode.NONE)
    headers = Headers((name, value.encode()) for name, value in {**pseudo, **search}.items())
    exchange.receive(HeadersReceived(Direction.REQUEST, headers, False, facts))
    decide(exchange)
    assert exchange.trail.target == "", "nothing was decided yet"


class Renames(Policy[NoParameters, None]):
    """Calls another tool than was asked for."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return Mutation(message=message.with_params({**message.params, "name": "search"}))


class Answers(Policy[NoParameters, None]):
    """Says what it is told to of headers; of a body nothing."""

    def __init__(self, answer: Any) -> None:
        super().__init__("answers", NoParameters())
        self.answer = answer

    def by_headers(self, message: HeadersOnly, ctx: Context[None]) -> bool | Deny | None:
        if isinstance(self.answer, BaseException):
            raise self.answer
        assert message.stands_for is ToolCall
        return self.answer  # type: ignore[no-any-return]  # what a test gave

    def on_request(self, message: McpCall, ctx: Context[None]) -> Verdict:
        return None


NO = Deny("no", "no")


def test_behind_a_policy_that_may_change_the_request_nothing_is_foreseen() -> None:
    renames = Renames("renames", NoParameters())
    delete = headers_of("tools/call", "delete_file")
    assert met(renames, access(), lines=delete)[0] == ASKED
    assert met(access(), renames, lines=delete)[0] == DENIED
    assert met(access(), renames, lines=headers_of("tools/call", "search"))[0] == ASKED
    assert met(renames, access(), lines=headers_of("tools/list"))[0] == WHOLE, "it is not about lists"


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([True, True], WHOLE),
        ([True, False], ASKED),
        ([False, NO], DENIED),
        ([None, NO], ASKED),
        ([RuntimeError("payload"), NO], ASKED),
        ([NO, None], DENIED),
    ],
)
def test_all_policies_must_be_sure(answers: list[Any], found: str) -> None:
    assert met(*map(Answers, answers), lines=headers_of("tools/call", "x"))[0] == found


def test_a_shadow_policy_neither_denies_at_the_headers_nor_lets_its_body_pass() -> None:
    for answer in (NO, None, False):
        found, trail, _ = met(Binding(Answers(answer), enforce=False), lines=headers_of("tools/call", "x"))
        assert (found, [entry.reason for entry in trail.entries if entry.reason]) == (ASKED, [])
    assert met(Binding(Answers(None), enforce=False), access(), lines=headers_of("tools/call", "no"))[0] == DENIED


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("request.method == 'POST'", DENIED),
        ("request.method == 'GET'", WHOLE),
        ("message.target == 'x'", ASKED),
        ("size(args) == 0", ASKED),
        ("identity.claims.missing == 1", ASKED),
    ],
)
def test_a_condition_that_needs_the_body_leaves_it_to_the_body(when: str, found: str) -> None:
    policy = Binding(Answers(NO), when=Expression(when))
    assert met(policy, lines=headers_of("tools/call", "x"))[0] == found


class Reads(Policy[NoParameters, None]):
    """Wants the texts of requests."""

    def on_text(self, text: RequestText, ctx: Context[None]) -> TextVerdict:
        return None


def test_a_policy_for_texts_needs_the_body_where_there_can_be_texts() -> None:
    reads = Reads("reads", NoParameters())
    assert met(access(), reads, lines=headers_of("tools/call", "search"))[0] == ASKED
    assert met(access(), reads, lines=headers_of("tools/list"))[0] == WHOLE


def test_header_integrity_holds_headers_to_the_body_even_on_a_route_that_trusts_them() -> None:
    integrity = HeaderIntegrity("headers", Integrity(arguments="ignore"))
    assert met(integrity, access(), lines=headers_of("tools/call", "search"))[0] == ASKED
    assert met(integrity, access(), lines=headers_of("tools/call", "delete_file"))[0] == DENIED


def test_an_answer_to_what_went_on_unread_is_governed_all_the_same() -> None:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("search", "other")]
    listed = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
    sent = request({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    sent.headers |= headers_of("tools/list")
    played = pass_through(rulebook_of(access(), trusts_headers=True), sent, listed)
    assert played.upstream is not None
    assert played.upstream.body == sent.body
    assert played.client is not None
    assert [tool["name"] for tool in played.client.json["result"]["tools"]] == ["search"]
    assert played.metadata["method"] == "tools/list"


PATTERNS = st.sampled_from(["a", "ab", "a*", "*", "tools/call", "tools/*", "prompts/get", "ping"])
URIS = st.sampled_from(["file:///a", "file:///*", "*"])
CONDITIONS = st.sampled_from([True, False, "size(args) == 0", "message.target == 'a'", "identity.verified"])
NAMES = {key: st.lists(PATTERNS, min_size=1, max_size=2) for key in ("methods", "tools", "prompts")}
RULE = st.fixed_dictionaries(
    {"allow": CONDITIONS}, optional={**NAMES, "resources": st.lists(URIS, min_size=1, max_size=2)}
).filter(lambda rule: len(rule) > 1)


@given(
    rules=st.lists(RULE, max_size=4),
    default=st.sampled_from(["allow", "deny"]),
    method=st.sampled_from(["tools/call", "prompts/get", "resources/read", "tools/list", "ping", "made/up"]),
    name=st.sampled_from(["a", "ab", "b", "file:///a", "file:///a/../b"]),
)
def test_the_headers_never_decide_otherwise_than_the_body(
    rules: list[dict[str, Any]], default: str, method: str, name: str
) -> None:
    params: dict[str, Any] = {"uri" if method == "resources/read" else "name": name}
    named = method in ("tools/call", "prompts/get", "resources/read")
    sent = {**call(""), "method": method, "params": params if named else {}}
    early = met(access(rules, default), lines=headers_of(method, name if named else None))[0]
    played = pass_through(rulebook_of(access(rules, default)), request(sent), HttpResponse(b"", 202, {}))
    if early != ASKED:
        assert (early == WHOLE) is (played.upstream is not None)

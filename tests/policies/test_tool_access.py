"""tool-access: rules by method, tool and condition; lists show only what could be called."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.limits import Limits
from ext_proc.messages import CacheableResult, ToolResult
from ext_proc.testing import HttpResponse, Played, call, pass_through, play, request, response, rulebook_of
from gatehouse_policies.access_rules import KNOWN_METHODS
from gatehouse_policies.tool_access import Parameters, ToolAccess
from tests.policies.town import MODERN, Broken, Town

RULES: list[dict[str, Any]] = [
    {"methods": ["initialize", "ping", "server/discover", "tools/list", "notifications/*"], "allow": True},
    {"tools": ["search", "docs.*"], "allow": True},
    {"tools": ["delete_*"], "allow": "'admin' in identity.groups", "message": "deleting needs the admin group"},
]
ADMIN = {"sub": "ann", "groups": ["admin"]}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def policy(rules: list[dict[str, Any]] | None = None, default: str = "deny") -> ToolAccess:
    parameters = Parameters.model_validate({"default": default, "rules": RULES if rules is None else rules})
    return ToolAccess("who-may-call", parameters)


def reason(played: Played) -> str | None:
    return None if played.trail.denied is None else played.trail.denied.reason


def method(name: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}


def read(uri: str, verb: str = "read") -> dict[str, Any]:
    return method(f"resources/{verb}", uri=uri)


def prompt(name: str, **arguments: str) -> dict[str, Any]:
    return {**method("prompts/get"), "params": {"name": name, "arguments": arguments}}


def complete(**ref: str) -> dict[str, Any]:
    return method("completion/complete", ref=ref, argument={"name": "a", "value": "b"})


@pytest.mark.parametrize("tool", ["search", "docs.read", "docs."])
def test_a_tool_that_a_rule_names_may_be_called(tool: str) -> None:
    played = play(policy(), call(tool))
    assert reason(played) is None
    assert [entry.reason for entry in played.trail.entries] == ["rules[1]"]


@pytest.mark.parametrize("tool", ["searching", "Search", "docs", "my.docs.read", "", "search\n", "*"])
def test_a_tool_that_no_rule_names_may_not_be_called(tool: str) -> None:
    played = play(policy(), call(tool))
    assert reason(played) == "tool-not-allowed"
    assert played.upstream is None


def test_a_condition_over_the_identity_decides_and_its_message_reaches_the_caller() -> None:
    denied = play(policy(), call("delete_file"))
    assert denied.client is not None
    assert denied.client.json["error"]["message"] == "deleting needs the admin group"
    assert reason(play(policy(), call("delete_file"), claims=ADMIN)) is None
    assert (
        reason(play(policy(), call("delete_file"), claims={"sub": "bob", "groups": ["admins"]})) == "tool-not-allowed"
    )


def test_a_condition_over_the_arguments_decides_and_absent_arguments_are_empty() -> None:
    rules = [{"tools": ["pay"], "allow": "args.amount <= 1000.0"}]
    assert reason(play(policy(rules), call("pay", {"amount": 999.5}))) is None
    assert reason(play(policy(rules), call("pay", {"amount": 1000.5}))) == "tool-not-allowed"
    assert reason(play(policy(rules), call("pay", {"amount": "999"}))) == "tool-not-allowed"
    assert reason(play(policy(rules), {**call("pay"), "params": {"name": "pay"}})) == "tool-not-allowed"
    none = [{"tools": ["pay"], "allow": "size(args) == 0"}]
    assert reason(play(policy(none), {**call("pay"), "params": {"name": "pay"}})) is None
    assert reason(play(policy(none), {**call("pay"), "params": {"name": "pay", "arguments": None}})) is None


def test_the_first_rule_that_fits_decides() -> None:
    rules = [{"tools": ["a*"], "allow": False}, {"tools": ["ab"], "allow": True}]
    assert reason(play(policy(rules), call("ab"))) == "tool-not-allowed"
    assert reason(play(policy(rules[::-1]), call("ab"))) is None


def test_a_rule_with_methods_and_tools_wants_both_to_fit() -> None:
    rules = [{"methods": ["tools/list"], "tools": ["a"], "allow": True}]
    assert reason(play(policy(rules), call("a"))) == "tool-not-allowed"
    assert reason(play(policy([{"methods": ["tools/*"], "tools": ["a"], "allow": True}]), call("a"))) is None


def test_methods_are_allowed_by_name_and_glob() -> None:
    for name in ("initialize", "tools/list", "notifications/cancelled"):
        assert reason(play(policy(), method(name))) is None
    assert reason(play(policy(), read("file:///x"))) == "resource-not-allowed"
    assert reason(play(policy([{"methods": ["resources/*"], "allow": True}]), read("file:///x"))) is None
    assert reason(play(policy(), method("logging/setLevel"))) == "method-not-allowed"


def test_unknown_methods_are_denied_whatever_the_default_unless_a_rule_names_them() -> None:
    assert reason(play(policy([], default="allow"), method("tools/destroy"))) == "method-unknown"
    assert reason(play(policy([], default="allow"), method("ping"))) is None
    named = [{"methods": ["tools/destroy"], "allow": True}]
    assert reason(play(policy(named), method("tools/destroy"))) is None


def test_the_known_methods_are_those_of_the_official_sdk_and_tasks() -> None:
    methods = pytest.importorskip("mcp_types.methods")
    official = methods.SPEC_CLIENT_METHODS | methods.SPEC_CLIENT_NOTIFICATION_METHODS
    assert official <= KNOWN_METHODS
    assert all("task" in extra for extra in KNOWN_METHODS - official)


def tools(*names: str, **result: Any) -> dict[str, Any]:
    listed = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    return {"jsonrpc": "2.0", "id": 1, "result": {"tools": listed, **result}}


def shown(played: Played) -> list[str]:
    assert played.client is not None
    return [tool["name"] for tool in played.client.json["result"]["tools"]]


def test_a_list_shows_exactly_what_its_caller_may_call() -> None:
    answer = tools("search", "delete_file", "docs.read", "payroll")
    book = rulebook_of(policy())
    unknown = pass_through(book, request(LIST), response(answer))
    assert shown(unknown) == ["search", "docs.read"]
    admin = pass_through(book, request(LIST, claims=ADMIN), response(answer))
    assert shown(admin) == ["search", "delete_file", "docs.read"]
    assert unknown.trail.entries[-1].reason == "hid 2 of 4 tools"


def test_what_differs_by_caller_is_private_to_the_caller() -> None:
    book = rulebook_of(policy())
    for names in (("search",), ("search", "delete_file")):
        public = response(tools(*names, ttlMs=60000, cacheScope="public"))
        played = pass_through(book, request(LIST), public)
        assert played.client is not None
        assert played.client.json["result"]["cacheScope"] == "private"
        assert played.client.json["result"]["ttlMs"] == 60000
    legacy = pass_through(book, request(LIST), response(tools("search", "x")))
    assert legacy.client is not None
    assert "cacheScope" not in legacy.client.json["result"]


ON_MODERN = {"content-type": "application/json", "mcp-protocol-version": MODERN}
STAFF = {"sub": "ann", "groups": ["staff"]}
CONDITION = "'staff' in identity.groups"
READS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "under a condition": ({"resources": ["file:///staff/*"], "allow": CONDITION}, {}, "private"),
    "by method under a condition": ({"methods": ["resources/*"], "allow": CONDITION}, {}, "private"),
    "without a condition": ({"resources": ["file:///*"], "allow": True}, {}, "public"),
    "beside a condition": (
        {"resources": ["file:///staff/*"], "allow": True},
        {"resources": ["*"], "allow": CONDITION},
        "public",
    ),
}


@pytest.mark.parametrize(("first", "second", "scope"), READS.values(), ids=READS.keys())
@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("as_stream", [False, True])
def test_what_was_read_under_a_condition_is_private_to_the_caller(
    first: dict[str, Any], second: dict[str, Any], scope: str, annotated: bool, as_stream: bool
) -> None:
    rules = [rule for rule in (first, second) if rule]
    if annotated:
        rules.append({"tools": ["t"], "allow": True, "unless_annotated": ["writes"]})
    contents = [{"uri": "file:///staff/a", "text": "plan"}]
    value = {"jsonrpc": "2.0", "id": 1, "result": {"contents": contents, "ttlMs": 60_000, "cacheScope": "public"}}
    answer = response(value)
    if as_stream:
        body = b"data: " + json.dumps(value).encode() + b"\n\n"
        answer = HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)
    sent = request(read("file:///staff/a"), headers=ON_MODERN, claims=STAFF)
    played = pass_through(rulebook_of(policy(rules)), sent, answer)
    assert played.client is not None
    got = json.loads(played.client.body.removeprefix(b"data: "))["result"]
    assert got == {"contents": contents, "ttlMs": 60_000, "cacheScope": scope}


def test_what_a_server_says_of_itself_under_a_condition_is_private_too() -> None:
    said = {"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": [], "ttlMs": 5, "cacheScope": "public"}}
    rules = [{"methods": ["server/discover"], "allow": CONDITION}]
    sent = request(method("server/discover"), headers=ON_MODERN, claims=STAFF)
    played = pass_through(rulebook_of(policy(rules)), sent, response(said))
    assert played.client is not None
    assert played.client.json["result"]["cacheScope"] == "private"


def test_what_was_read_by_headers_alone_is_private_too() -> None:
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"contents": [], "ttlMs": 5, "cacheScope": "public"}})
    headers = {**ON_MODERN, "mcp-method": "resources/read", "mcp-name": "file:///a"}
    sent = request(read("file:///a"), headers=headers, claims=STAFF)
    book = rulebook_of(policy([{"resources": ["file:///*"], "allow": CONDITION}]), trusts_headers=True)
    played = pass_through(book, sent, answer)
    assert played.client is not None
    assert played.client.json["result"]["cacheScope"] == "private"


def test_what_carries_no_word_for_caches_stays_as_it_is() -> None:
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"contents": []}})
    rules = [{"resources": ["*"], "allow": CONDITION}]
    sent = request(read("file:///a"), claims=STAFF)
    played = pass_through(rulebook_of(policy(rules)), sent, answer)
    assert played.client is not None
    assert played.client.body == answer.body


@pytest.mark.parametrize(
    ("rules", "held"),
    [
        ([{"resources": ["*"], "allow": CONDITION}], True),
        ([{"resources": ["*"], "allow": True}], False),
        ([{"tools": ["*"], "allow": CONDITION}, {"resources": ["*"], "allow": True}], False),
        ([{"methods": ["tools/*"], "allow": CONDITION}, {"resources": ["*"], "allow": True}], False),
        ([{"methods": ["*"], "allow": CONDITION}], True),
    ],
)
def test_what_was_read_is_held_only_where_a_condition_could_be_about_it(
    rules: list[dict[str, Any]], held: bool
) -> None:
    pipeline = rulebook_of(policy(rules)).routes[0].pipeline
    assert pipeline.guards([CacheableResult]) is held
    assert not pipeline.guards([ToolResult]), "and what a tool gave never is"


def test_a_tool_whose_rule_asks_for_arguments_is_shown() -> None:
    rules: list[dict[str, Any]] = [
        {"methods": ["tools/list"], "allow": True},
        {"tools": ["pay"], "allow": "args.amount < 5"},
    ]
    assert shown(pass_through(rulebook_of(policy(rules)), request(LIST), response(tools("pay", "x")))) == ["pay"]


def test_a_condition_over_the_message_is_asked_for_every_tool() -> None:
    rules: list[dict[str, Any]] = [
        {"methods": ["tools/list"], "allow": True},
        {"tools": ["*"], "allow": "message.target.endsWith('e')"},
    ]
    answer = response(tools("one", "two", "three"))
    assert shown(pass_through(rulebook_of(policy(rules)), request(LIST), answer)) == ["one", "three"]


def test_with_default_allow_a_list_hides_only_what_a_rule_denies() -> None:
    rules = [{"tools": ["b"], "allow": False}]
    book = rulebook_of(policy(rules, default="allow"))
    assert shown(pass_through(book, request(LIST), response(tools("a", "b", "c")))) == ["a", "c"]


def test_a_page_of_a_list_keeps_its_cursor() -> None:
    played = pass_through(rulebook_of(policy()), request(LIST), response(tools("x", nextCursor="p2")))
    assert played.client is not None
    assert played.client.json["result"] == {"tools": [], "nextCursor": "p2"}


def test_the_clients_answers_to_the_servers_requests_pass() -> None:
    assert reason(play(policy(), {"jsonrpc": "2.0", "id": 5, "result": {"roots": []}})) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"rules": [{"allow": True}]},
        {"rules": [{"tools": ["a"]}]},
        {"rules": [{"tools": ["a"], "allow": "identity."}]},
        {"rules": [{"tools": ["a"], "allow": "idenity.kind == 'x'"}]},
        {"rules": [{"tools": ["a"], "allow": 1}]},
        {"default": "maybe"},
        {"rules": [{"servers": ["a"], "allow": True}]},
        {"rules": [{"resources": ["srv/*"], "allow": True}]},
        {"rules": [{"resources": ["https://example.com*"], "allow": True}]},
        {"rules": [{"methods": ["tools/call"], "unless_annotated": ["destructive"], "allow": True}]},
        {"rules": [{"tools": ["a"], "unless_annotated": ["dangerous"], "allow": True}]},
        {"rule": []},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)


HUMAN = {"sub": "ann", "sub_profile": "user"}
AGENT = {"sub": "ann", "act": {"sub": "agent-7"}, "scope": "docs:read"}
MACHINE = {"sub": "batch", "client_id": "batch"}
CALLERS: list[dict[str, Any]] = [
    {"tools": ["payments.transfer"], "allow": "identity.kind == 'human' && args.amount <= 1000.0"},
    {
        "tools": ["docs.*"],
        "allow": "identity.kind in ['human', 'delegated_agent'] && 'docs:read' in identity.scopes",
    },
]


@pytest.mark.parametrize(
    ("claims", "sent", "allowed"),
    [
        (HUMAN, call("payments.transfer", {"amount": 1000}), True),
        (HUMAN, call("payments.transfer", {"amount": 1000.01}), False),
        (HUMAN, call("payments.transfer", {}), False),
        (AGENT, call("payments.transfer", {"amount": 1}), False),
        (MACHINE, call("payments.transfer", {"amount": 1}), False),
        (None, call("payments.transfer", {"amount": 1}), False),
        ({"sub": "ann"}, call("payments.transfer", {"amount": 1}), False),
        (AGENT, call("docs.read"), True),
        ({**AGENT, "scope": "docs:write"}, call("docs.read"), False),
        ({**HUMAN, "scope": "docs:read docs:write"}, call("docs.read"), True),
        ({**MACHINE, "scope": "docs:read"}, call("docs.read"), False),
    ],
)
def test_people_and_agents_may_do_different_things(claims: Any, sent: Any, allowed: bool) -> None:
    assert (play(policy(CALLERS), sent, claims=claims).upstream is not None) is allowed


def test_a_rule_may_be_about_some_servers_only() -> None:
    rules = [
        {"servers": ["files-*"], "tools": ["delete"], "allow": False},
        {"servers": ["files-*", "web"], "methods": ["*"], "allow": True},
    ]
    for server, tool, allowed in (
        ("files-eu", "delete", False),
        ("files-eu", "read", True),
        ("web", "delete", True),
        ("mail", "read", False),
        ("", "read", False),  # the route's own name is "tools"
    ):
        played = pass_through(rulebook_of(policy(rules), server=server), request(call(tool)), response(tools()))
        assert (played.upstream is not None) is allowed, (server, tool)
    named = [{"tools": ["*"], "allow": "server == 'tools' && route == 'tools'"}]
    assert reason(play(policy(named), call("a"))) is None


RESOURCES: list[dict[str, Any]] = [
    {"resources": ["file:///srv/secret/*"], "allow": False, "message": "that is secret"},
    {"resources": ["file:///srv/*", "docs://*"], "allow": True},
    {"resources": ["https://*.example.com/*"], "methods": ["resources/read"], "allow": "'admin' in identity.groups"},
]


@pytest.mark.parametrize("verb", ["read", "subscribe", "unsubscribe"])
def test_a_rule_about_a_resource_covers_reading_and_subscribing(verb: str) -> None:
    assert reason(play(policy(RESOURCES), read("file:///srv/a.md", verb))) is None
    denied = play(policy(RESOURCES), read("file:///srv/secret/a.md", verb))
    assert denied.client is not None
    assert (reason(denied), denied.client.json["error"]["message"]) == ("resource-not-allowed", "that is secret")
    assert reason(play(policy(RESOURCES), read("file:///etc/passwd", verb))) == "resource-not-allowed"


def test_methods_narrow_a_rule_about_resources() -> None:
    web = "https://docs.example.com/a"
    assert reason(play(policy(RESOURCES), read(web), claims=ADMIN)) is None
    assert reason(play(policy(RESOURCES), read(web, "subscribe"), claims=ADMIN)) == "resource-not-allowed"
    assert reason(play(policy(RESOURCES), read(web))) == "resource-not-allowed"


@pytest.mark.parametrize(
    "uri",
    [
        "FILE:///srv/secret/a",
        "file:/srv/secret/a",
        "file://localhost/srv/secret/a",
        "file:///srv/%73ecret/a",
        "file:///srv/x/../secret/a",
        "file:///srv/./secret/a",
        "file:///srv//secret/a",
        "file:///srv/secret%2fa",
        "file:///srv/%2e%2e/etc/passwd",
        "file:///srv/%252e%252e/etc/passwd",
        "file:///srv\\secret\\a",
        "file:///srv/a#/../secret/a",
        "file:///srv/a?/../../etc/passwd",
        "https://docs.example.com@evil.example/",
        "https://evil.example/.example.com/",
        "https://docs.example.com.evil.example/",
        "srv/a",
        "",
    ],
)
def test_no_way_of_writing_a_uri_fools_a_rule(uri: str) -> None:
    for claims in (None, ADMIN):
        played = play(policy(RESOURCES), read(uri), claims=claims)
        assert played.upstream is None
        assert reason(played) in ("resource-not-allowed", "resource-ambiguous")


def test_a_uri_that_could_be_read_in_several_ways_is_denied_only_where_rules_name_resources() -> None:
    open_door = [{"methods": ["resources/*"], "allow": True}]
    odd = read("file:///srv/x/../secret/a")
    assert reason(play(policy(open_door), odd)) is None
    assert reason(play(policy([*open_door, *RESOURCES]), odd)) == "resource-ambiguous"
    assert reason(play(policy(RESOURCES, default="allow"), odd)) == "resource-ambiguous"


def test_prompts_are_ruled_by_name_and_arguments() -> None:
    rules: list[dict[str, Any]] = [
        {"prompts": ["public.*"], "allow": True},
        {"prompts": ["letter"], "allow": "args.to.endsWith('@acme.example')"},
    ]
    assert reason(play(policy(rules), prompt("public.a"))) is None
    assert reason(play(policy(rules), prompt("letter", to="ann@acme.example"))) is None
    for denied in (prompt("letter", to="ann@evil.example"), prompt("letter"), prompt("private")):
        assert reason(play(policy(rules), denied)) == "prompt-not-allowed"
    assert reason(play(policy(rules), call("public.a"))) == "tool-not-allowed"


def test_completing_is_ruled_by_what_is_completed() -> None:
    rules = [*RESOURCES, {"prompts": ["public.*"], "allow": True}]
    for ref, denied in (
        ({"type": "ref/prompt", "name": "public.a"}, None),
        ({"type": "ref/prompt", "name": "private"}, "prompt-not-allowed"),
        ({"type": "ref/resource", "uri": "file:///srv/{name}"}, None),
        ({"type": "ref/resource", "uri": "file:///srv/secret/{name}"}, "resource-not-allowed"),
        ({"type": "ref/resource", "uri": "file:///srv/x/../{name}"}, "resource-ambiguous"),
        ({"type": "ref/resource", "uri": "{+all}"}, "resource-ambiguous"),
        ({"type": "ref/new"}, "method-not-allowed"),
    ):
        assert reason(play(policy(rules), complete(**ref))) == denied
    assert reason(play(policy([{"methods": ["completion/complete"], "allow": True}]), complete(type="ref/new"))) is None


def test_listening_to_resources_needs_every_one_of_them() -> None:
    def listen(*uris: str) -> dict[str, Any]:
        return method("subscriptions/listen", notifications={"resourceSubscriptions": list(uris)})

    assert reason(play(policy(RESOURCES), listen("file:///srv/a", "docs://b"))) is None
    assert reason(play(policy(RESOURCES), listen("file:///srv/a", "file:///srv/secret/b"))) == "resource-not-allowed"
    assert reason(play(policy(RESOURCES), listen("file:///srv/a", "file:///srv/../b"))) == "resource-ambiguous"
    assert reason(play(policy(RESOURCES), listen(*["file:///srv/a"] * 1001))) == "resources-too-many"
    assert reason(play(policy(RESOURCES), listen())) == "method-not-allowed"


def page(name: str, key: str, *entries: str, **result: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {name: [{key: entry, "name": "n"} | {key: entry} for entry in entries], **result},
    }


LISTS: list[dict[str, Any]] = [{"methods": ["*/list"], "allow": True}]


@pytest.mark.parametrize(
    ("asked", "holds", "key", "rules", "offered", "seen"),
    [
        (
            "resources/list",
            "resources",
            "uri",
            RESOURCES,
            [
                "file:///srv/a",
                "file:///srv/secret/b",
                "FILE:///srv/c",
                "file:///srv/../d",
                "https://d.example.com/",
                "x",
            ],
            ["file:///srv/a", "FILE:///srv/c"],
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            RESOURCES,
            [
                "file:///srv/{a}",
                "file:///{+a}",
                "file:///srv/secret/{b}",
                "docs://{a}{?b}",
                "docs://{a}",
                "{a}",
                "x:{=a}",
            ],
            ["file:///srv/{a}", "docs://{a}"],
        ),
        (
            "prompts/list",
            "prompts",
            "name",
            [{"prompts": ["a*"], "allow": True}, {"prompts": ["b"], "allow": "args.x == '1'"}],
            ["a", "ab", "b", "c"],
            ["a", "ab", "b"],
        ),
    ],
)
def test_every_list_shows_what_its_caller_could_use(
    asked: str, holds: str, key: str, rules: Any, offered: list[str], seen: list[str]
) -> None:
    answer = response(page(holds, key, *offered, nextCursor="2", ttlMs=5, cacheScope="public"))
    played = pass_through(rulebook_of(policy([*LISTS, *rules])), request(method(asked)), answer)
    assert played.client is not None
    result = played.client.json["result"]
    assert [entry[key] for entry in result[holds]] == seen
    assert (result["nextCursor"], result["cacheScope"]) == ("2", "private")


def test_a_condition_over_a_resource_is_asked_for_every_entry() -> None:
    rules = [*LISTS, {"resources": ["*"], "allow": "message.target.endsWith('.md') || 'admin' in identity.groups"}]
    answer = response(page("resources", "uri", "file:///a.md", "file:///b.txt"))
    for claims, seen in ((None, ["file:///a.md"]), (ADMIN, ["file:///a.md", "file:///b.txt"])):
        played = pass_through(rulebook_of(policy(rules)), request(method("resources/list"), claims=claims), answer)
        assert played.client is not None
        assert [entry["uri"] for entry in played.client.json["result"]["resources"]] == seen


def annotated(**annotations: bool) -> dict[str, Any]:
    return {"name": "t", "inputSchema": {"type": "object"}, "annotations": annotations}


SAFE = {"readOnlyHint": True, "openWorldHint": False}


@pytest.mark.parametrize(
    ("listed", "tool", "allowed"),
    [
        (["destructive"], annotated(), False),
        (["destructive"], annotated(destructiveHint=True), False),
        (["destructive"], annotated(destructiveHint=False), True),
        (["destructive"], annotated(readOnlyHint=True, destructiveHint=True), True),
        (["open_world"], annotated(), False),
        (["open_world"], annotated(readOnlyHint=True), False),
        (["open_world"], annotated(openWorldHint=False), True),
        (["writes"], annotated(), False),
        (["writes"], annotated(destructiveHint=False), False),
        (["writes"], annotated(readOnlyHint=True), True),
        (["destructive", "open_world", "writes"], annotated(**SAFE), True),
        (["destructive", "open_world", "writes"], annotated(readOnlyHint=True), False),
        (["destructive"], {"name": "t", "inputSchema": {}, "annotations": "safe"}, False),
        (["destructive"], {"name": "t", "inputSchema": {}, "annotations": {"destructiveHint": "no"}}, False),
    ],
)
def test_a_tool_is_denied_and_hidden_by_what_it_says_or_does_not_say(
    listed: list[str], tool: dict[str, Any], allowed: bool
) -> None:
    rules = [{"methods": ["tools/list"], "allow": True}, {"tools": ["t"], "allow": True, "unless_annotated": listed}]
    here = Town(policy(rules))
    listing = here.play(LIST, response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}}))
    assert (shown(listing) == ["t"]) is allowed
    called = here.play(call("t"))
    assert reason(called) == (None if allowed else "tool-annotated")


def test_a_tool_that_was_never_listed_is_taken_for_the_worst() -> None:
    rules = [{"tools": ["t"], "allow": True, "unless_annotated": ["destructive"], "message": "not this one"}]
    here = Town(policy([{"methods": ["tools/list"], "allow": True}, *rules]))
    denied = here.play(call("t"))
    assert denied.client is not None
    assert reason(denied) == "tool-unlisted"
    assert "list the tools, then call again" in denied.client.json["result"]["content"][0]["text"]
    here.play(LIST, response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [annotated(destructiveHint=True)]}}))
    denied = here.play(call("t"))
    assert denied.client is not None
    assert denied.client.json["error"]["message"] == "not this one"


def test_what_is_known_of_a_tool_is_known_of_its_own_server_only() -> None:
    rules = [
        {"methods": ["tools/list"], "allow": True},
        {"tools": ["t"], "allow": True, "unless_annotated": ["writes"]},
    ]
    here = Town(policy(rules), server="files")
    here.play(LIST, response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [annotated(**SAFE)]}}))
    assert reason(here.play(call("t"))) is None
    assert reason(Town(policy(rules), server="files", store=here.store).play(call("t"))) is None
    assert reason(Town(policy(rules), server="mail", store=here.store).play(call("t"))) == "tool-unlisted"


def test_without_a_store_what_asks_for_annotations_is_denied() -> None:
    rules = [{"tools": ["t"], "allow": True, "unless_annotated": ["writes"]}]
    assert reason(Town(policy(rules), store=Broken()).play(call("t"))) == "raised StoreError"


hints = st.dictionaries(
    st.sampled_from(["readOnlyHint", "destructiveHint", "openWorldHint", "idempotentHint"]),
    st.booleans() | st.sampled_from([None, "yes", 1]),
)
listings = st.lists(st.sampled_from(["destructive", "open_world", "writes"]), min_size=1, unique=True)


@given(hints, listings, st.booleans(), st.booleans())
def test_no_annotation_lets_anything_through_that_the_rule_alone_would_not(
    told: dict[str, Any], listed: list[str], allow: bool, known: bool
) -> None:
    rules = [{"methods": ["tools/list"], "allow": True}, {"tools": ["t"], "allow": allow}]
    alone = Town(policy(rules))
    narrowed = Town(policy([rules[0], {**rules[1], "unless_annotated": listed}]))
    tool = {"name": "t", "inputSchema": {}, "annotations": told}
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}})
    outcomes = []
    for here in (alone, narrowed):
        seen = shown(here.play(LIST, answer)) if known else []
        outcomes.append((seen == ["t"], here.play(call("t")).upstream is not None))
    assert all(after <= before for before, after in zip(*outcomes, strict=True))


def test_ten_thousand_entries_are_filtered_in_one_go() -> None:
    rules: list[dict[str, Any]] = [
        *LISTS,
        *({"tools": [f"x{n}*y*z*"], "allow": True} for n in range(50)),
        {"tools": ["t*"], "allow": True},
    ]
    names = [f"t{n}" if n % 2 else f"x{n}" + "y" * 100 for n in range(10_000)]
    described = [{"name": name, "inputSchema": {}, "description": "d"} for name in names]
    described[0]["description"] = "d" * 1024 * 1024
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": described}})
    patient = Limits(decision=60.0)  # a slow machine is not what is looked at
    played = pass_through(rulebook_of(policy(rules), limits=patient), request(LIST), answer)
    assert len(shown(played)) == 5000


@given(
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    kind=st.sampled_from(["tools", "resources", "prompts"]),
    as_stream=st.booleans(),
)
def test_a_list_is_filtered_alike_however_it_is_cut(cuts: list[int], kind: str, as_stream: bool) -> None:
    rules = [*LISTS, *RULES, *RESOURCES, {"prompts": ["a*"], "allow": True}]
    asked, value, left = {
        "tools": (LIST, tools("search", "x", "docs.a"), ["search", "docs.a"]),
        "resources": (method("resources/list"), page("resources", "uri", "file:///srv/a", "file:///b"), ["n"]),
        "prompts": (method("prompts/list"), page("prompts", "name", "a", "b"), ["a"]),
    }[kind]
    body = msgspec.json.encode(value)
    if as_stream:
        body = b": hello\n\nevent: message\ndata: " + body + b"\n\n"

    def cut(data: bytes) -> list[bytes]:
        bounds = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(bounds)]

    answer = HttpResponse(
        body,
        headers={"content-type": "text/event-stream"} if as_stream else {"content-type": "application/json"},
        sized=False,
    )
    whole = pass_through(rulebook_of(policy(rules)), request(asked), answer)
    pieces = pass_through(rulebook_of(policy(rules)), request(asked), answer, cut=cut)
    assert pieces.client is not None
    assert whole.client is not None
    assert pieces.client.body == whole.client.body
    data = pieces.client.body.partition(b"data: ")[2] if as_stream else pieces.client.body
    assert [entry["name"] for entry in msgspec.json.decode(data.strip())["result"][kind]] == left

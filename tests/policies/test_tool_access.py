"""tool-access: rules by method, tool and condition; lists show only what could be called."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ext_proc.testing import Played, call, pass_through, play, request, response, rulebook_of
from gatehouse_policies.tool_access import KNOWN_METHODS, Parameters, ToolAccess

RULES = [
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


def method(name: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": name}


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
    assert reason(play(policy(), method("resources/read") | {"params": {"uri": "file:///x"}})) == "method-not-allowed"


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
        {"rule": []},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)

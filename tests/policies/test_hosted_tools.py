"""tool-access over models: tools that a provider runs itself obey the same rules, by names that cannot be forged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.messages import HostedTool
from ext_proc.testing import Played, call, play
from gatehouse_policies.access_rules import Rule
from gatehouse_policies.hosted_tools import HostedToolGlob, names_of
from gatehouse_policies.tool_access import Parameters, ToolAccess
from tests.policies.chats import chat, reasons, refusal, went_on
from tests.unit.codecs.openai_building import asking

DOCS = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.example.com/mcp"}
FUNCTION = {"type": "function", "function": {"name": "delete_everything", "parameters": {"type": "object"}}}
RULES: list[dict[str, Any]] = [
    {"tools": ["search"], "allow": True},
    {"hosted": ["web_search*"], "allow": "'staff' in identity.groups", "message": "searching is for staff"},
    {"hosted": ["mcp:https://docs.example.com/*", "mcp:connector_gmail", "plugin:web"], "allow": True},
]
STAFF = {"sub": "ann", "groups": ["staff"]}


def policy(rules: list[dict[str, Any]] | None = None, default: str = "deny", **more: Any) -> ToolAccess:
    written = {"default": default, "rules": RULES if rules is None else rules, **more}
    return ToolAccess("access", Parameters.model_validate(written))


def asked(
    *tools: Any,
    rules: list[dict[str, Any]] | None = None,
    default: str = "deny",
    claims: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Played:
    return chat(
        policy(rules, default), sent=asking(**({"tools": list(tools)} if tools else {}), **fields), claims=claims
    )


def reason(played: Played) -> str | None:
    return None if played.trail.denied is None else played.trail.denied.reason


def test_a_tool_that_a_rule_names_goes_on_and_the_trail_says_by_which() -> None:
    played = asked(DOCS, FUNCTION)
    assert went_on(played) == asking(tools=[DOCS, FUNCTION])
    assert reasons(played) == ["rules[2]"]


def test_a_tool_that_no_rule_names_is_the_clients_own_error_and_reaches_no_provider() -> None:
    played = asked({"type": "code_interpreter", "container": {"type": "auto"}})
    status, error = refusal(played)
    assert (status, error["type"], error["code"]) == (403, "permission_error", "hosted-tool-not-allowed")
    assert error["message"] == "the model's provider may not run one of these tools itself here"
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "hosted-tool-not-allowed"
    assert reason(asked({"type": "code_interpreter"}, default="allow")) is None


def test_each_of_a_requests_tools_must_be_allowed() -> None:
    assert reason(asked(DOCS, {"type": "mcp", "connector_id": "connector_gmail"})) is None
    assert reason(asked(DOCS, {"type": "file_search"})) == "hosted-tool-not-allowed"
    assert reason(asked(DOCS, model="m:online")) is None
    assert reason(asked(DOCS, enable_code_interpreter=True)) == "hosted-tool-not-allowed"


@pytest.mark.parametrize("default", ["deny", "allow"])
def test_a_request_without_such_tools_passes_untouched_whatever_the_default_is(default: str) -> None:
    for sent in (asking(), asking(tools=[FUNCTION]), asking(tools=[])):
        played = chat(policy([], default), sent=sent)
        assert went_on(played) == sent
        assert [(entry.verdict, entry.reason) for entry in played.trail.entries] == [("allow", "")]


def test_a_condition_over_the_identity_decides_and_its_message_reaches_the_caller() -> None:
    ways: list[dict[str, Any]] = [{"tools": [{"type": "web_search_preview"}]}, {"web_search_options": {}}]
    for way in [*ways, {"enable_search": True}]:
        assert refusal(asked(**way))[1]["message"] == "searching is for staff"
        assert reason(asked(**way, claims=STAFF)) is None


def test_a_condition_sees_the_model_and_what_the_caller_wrote_of_the_tool() -> None:
    rules = [
        {
            "hosted": ["mcp:*"],
            "allow": "args.require_approval == 'always' && args.allowed_tools.all(t, t in ['search'])",
        },
        {"hosted": ["web_search"], "allow": "message.model == 'm' && message.kind == 'generation'"},
    ]
    fit = {**DOCS, "require_approval": "always", "allowed_tools": ["search"]}
    assert reason(asked(fit, rules=rules)) is None
    for unfit in ({**fit, "require_approval": "never"}, {**fit, "allowed_tools": ["delete"]}, DOCS):
        assert reason(asked(unfit, rules=rules)) == "hosted-tool-not-allowed"
    assert reason(asked(rules=rules, web_search_options={})) is None
    assert reason(asked(rules=rules, web_search_options={}, model="n")) == "hosted-tool-not-allowed"


def test_the_first_rule_that_fits_decides() -> None:
    rules = [{"hosted": ["mcp:https://docs.example.com/private/*"], "allow": False}, {"hosted": ["*"], "allow": True}]
    private = {**DOCS, "server_url": "https://docs.example.com/private/mcp"}
    assert (reason(asked(DOCS, rules=rules)), reason(asked(private, rules=rules))) == (None, "hosted-tool-not-allowed")
    assert reason(asked(private, rules=rules[::-1])) is None


def test_a_rule_narrowed_to_a_server_is_about_that_upstream_alone() -> None:
    """The route of these chats is named `models`, and so is its upstream."""
    for servers, expected in ((["models"], None), (["other"], "hosted-tool-not-allowed"), (["mod*"], None)):
        assert reason(asked(DOCS, rules=[{"servers": servers, "hosted": ["*"], "allow": True}])) == expected


def test_a_rule_about_methods_or_tools_allows_nothing_that_a_provider_runs() -> None:
    rules = [{"methods": ["*"], "allow": True}, {"tools": ["*"], "prompts": ["*"], "resources": ["*"], "allow": True}]
    assert reason(asked(DOCS, rules=rules)) == "hosted-tool-not-allowed"


def test_a_rule_about_hosted_tools_allows_nothing_of_mcp() -> None:
    access = policy([{"hosted": ["*"], "allow": True}])
    assert reason(play(access, call("search"))) == "tool-not-allowed"
    assert reason(play(access, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})) == "method-not-allowed"
    assert reason(play(policy(), call("search"))) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.example.com/mcp",
        "HTTPS://DOCS.example.com/mcp",
        "https://docs.example.com:443/mcp",
        "https://docs.example.com/%6dcp",
        "https://docs.example.com/mcp/more",
    ],
)
def test_a_url_is_compared_in_its_normal_form(url: str) -> None:
    assert reason(asked({**DOCS, "server_url": url})) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://docs.example.com.evil.example/mcp", "hosted-tool-not-allowed"),
        ("https://evil.example/https://docs.example.com/mcp", "hosted-tool-ambiguous"),
        ("https://evil.example/?u=https://docs.example.com/mcp", "hosted-tool-not-allowed"),
        ("http://docs.example.com/mcp", "hosted-tool-not-allowed"),
        ("https://docs.example.com:8443/mcp", "hosted-tool-not-allowed"),
        ("https://docs.example.com@evil.example/mcp", "hosted-tool-ambiguous"),
        ("https://docs.example.com/../mcp", "hosted-tool-ambiguous"),
        ("https://docs.example.com/%2e%2e/mcp", "hosted-tool-ambiguous"),
        ("https://docs.example.com\\@evil.example/", "hosted-tool-ambiguous"),
        ("https://docs.example.com/mcp#x", "hosted-tool-ambiguous"),
        ("https://docs.example.com/mcp\n", "hosted-tool-ambiguous"),
        ("https://0x7f000001/mcp", "hosted-tool-ambiguous"),
        ("//docs.example.com/mcp", "hosted-tool-ambiguous"),
        ("docs.example.com/mcp", "hosted-tool-not-allowed"),
        ("mailto:docs.example.com", "hosted-tool-ambiguous"),
        (" ", "hosted-tool-ambiguous"),
        ("", "hosted-tool-not-allowed"),
    ],
)
def test_another_server_or_an_ambiguous_one_is_denied(url: str, expected: str) -> None:
    assert reason(asked({**DOCS, "server_url": url})) == expected


@pytest.mark.parametrize(
    "kind",
    [
        *("mcp:https://docs.example.com/mcp", "mcp:connector_gmail", "mcp:", "x://docs.example.com"),
        *("MCP", " mcp", "mcp\n", "Web_Search", "web search", "web_se\u0430rch"),
    ],
)
def test_a_kind_cannot_be_made_to_read_like_another(kind: str) -> None:
    assert reason(asked({"type": kind})) == "hosted-tool-ambiguous"
    everything = [{"hosted": ["*"], "allow": True}]
    assert reason(asked({"type": kind}, rules=everything)) == "hosted-tool-ambiguous"


def test_a_server_with_a_url_and_a_connector_must_be_allowed_as_both() -> None:
    gmail = {"type": "mcp", "connector_id": "connector_gmail"}
    assert reason(asked({**gmail, "server_url": DOCS["server_url"]})) is None
    assert reason(asked({**gmail, "server_url": "https://evil.example/mcp"})) == "hosted-tool-not-allowed"
    assert reason(asked({**DOCS, "connector_id": "connector_drive"})) == "hosted-tool-not-allowed"


def test_a_server_that_the_provider_knows_by_its_label_is_named_by_it() -> None:
    labelled = {"type": "mcp", "server_label": "connector_gmail"}
    assert names_of(HostedTool("mcp", server_label="wiki")) == ["mcp:wiki"]
    assert names_of(HostedTool("mcp")) == ["mcp:"]
    assert reason(asked({**labelled, "server_label": "wiki"})) == "hosted-tool-not-allowed"
    assert reason(asked({**labelled, "server_label": "wiki"}, rules=[{"hosted": ["mcp:wiki"], "allow": True}])) is None
    proxy = {**DOCS, "server_url": "litellm_proxy/mcp/github"}
    assert reason(asked(proxy, rules=[{"hosted": ["mcp:litellm_proxy/mcp/*"], "allow": True}])) is None
    climbing = {**DOCS, "server_url": "litellm_proxy/mcp/../x"}
    assert reason(asked(climbing, rules=[{"hosted": ["*"], "allow": True}])) == "hosted-tool-ambiguous"


def test_without_a_rule_about_them_even_ambiguous_tools_fall_to_the_default() -> None:
    odd = {**DOCS, "server_url": "https://docs.example.com/../mcp"}
    assert reason(asked(odd, rules=[], default="allow")) is None
    assert reason(asked(odd, rules=[], default="deny")) == "hosted-tool-not-allowed"


def test_a_denying_rule_holds_where_the_default_allows() -> None:
    rules = [{"hosted": ["mcp:*", "web_search*", "plugin:web"], "allow": False}]
    ways: list[dict[str, Any]] = [
        {"tools": [DOCS]},
        {"web_search_options": {}},
        {"model": "m:online"},
        {"plugins": ["web"]},
    ]
    for way in ways:
        assert reason(asked(**way, rules=rules, default="allow")) == "hosted-tool-not-allowed"
    assert reason(asked({"type": "file_search"}, rules=rules, default="allow")) is None


def test_more_tools_than_any_provider_takes_are_denied() -> None:
    everything = [{"hosted": ["*"], "allow": True}]
    assert reason(asked(*[DOCS] * 128, rules=everything)) is None
    assert reason(asked(*[DOCS] * 129, rules=everything)) == "hosted-tools-too-many"
    assert reason(asked(*[FUNCTION] * 300, rules=everything)) is None


def test_in_shadow_it_is_recorded_and_goes_on() -> None:
    played = chat(Binding(policy(), enforce=False), sent=asking(tools=[{"type": "file_search"}]))
    assert went_on(played) == asking(tools=[{"type": "file_search"}])
    assert reasons(played) == ["hosted-tool-not-allowed"]


def test_rules_that_ask_for_annotations_stand_beside_rules_about_hosted_tools() -> None:
    rules = [{"tools": ["*"], "allow": True, "unless_annotated": ["destructive"]}, *RULES[1:]]
    assert reason(asked(DOCS, rules=rules)) is None
    assert reason(asked({"type": "file_search"}, rules=rules)) == "hosted-tool-not-allowed"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"hosted": ["mcp"]}, "expected mcp:* for all servers"),
        ({"hosted": ["https://docs.example.com/*"]}, "expected the kind before the URL"),
        ({"hosted": ["mcp:docs.example.com/*"]}, "expected a URL with its scheme behind mcp:"),
        ({"hosted": ["mcp:https://docs.example.com*"]}, "expected the host to end before *"),
        ({"hosted": ["mcp:https://Docs.example.com/*"]}, "expected it in normal form"),
        ({"hosted": ["mcp:https://docs.example.com/../*"]}, "expected a URI that can be read in one way only"),
        ({"hosted": ["mcp:*"], "unless_annotated": ["writes"]}, "a rule with `hosted` has neither"),
        ({"hosted": ["mcp:*"], "tools": ["a"], "unless_annotated": ["writes"]}, "a rule with `hosted` has neither"),
        ({"hosted": ["mcp:*"], "methods": ["tools/call"]}, "a rule with `hosted` has neither"),
        ({}, "a rule needs `methods`, `tools`, `prompts`, `resources` or `hosted`"),
    ],
)
def test_a_rule_that_cannot_mean_what_it_says_is_an_error_at_load(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        Rule.model_validate({**rule, "allow": True})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("*", "web_search", True),
        ("*", "mcp:https://a.example/x", True),
        ("mcp:*", "mcp:https://a.example/x", True),
        ("mcp:*", "mcp:connector_x", True),
        ("mcp:*", "mcp:", True),
        ("mcp:*", "mcpx", False),
        ("mcp:*a*", "mcp:https://a.example/x", False),
        ("mcp:connector_*", "mcp:connector_x", True),
        ("mcp:https://a.example/*", "mcp:https://a.example/x/y", True),
        ("mcp:https://*.a.example/*", "mcp:https://b.a.example/", True),
        ("mcp:https://a.example/x", "other:https://a.example/x", False),
        ("mcp:https://a.example/*", "mcp:connector_x", False),
        ("web_search?", "web_search", False),
        ("web_search", "Web_Search", False),
        ("web_search", "web_search\n", False),
        ("openrouter:*", "openrouter:web_fetch", True),
    ],
)
def test_a_glob_fits_what_its_author_sees(glob: str, name: str, fits: bool) -> None:
    assert HostedToolGlob(glob).fits(name) is fits


EVERYWHERE = msgspec.json.encode(
    asking(tools=[FUNCTION, DOCS], web_search_options={"user_location": {"city": "Zürich"}})
)


@settings(max_examples=60)
@given(st.data())
def test_wherever_the_body_is_cut_the_verdict_is_the_same(data: st.DataObject) -> None:
    def cut(body: bytes) -> list[bytes]:
        ends = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
        return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]

    denied = chat(policy(), sent=EVERYWHERE, cut=cut)
    assert refusal(denied)[1]["code"] == "hosted-tool-not-allowed"
    allowed = chat(policy(), sent=EVERYWHERE, cut=cut, claims=STAFF)
    assert allowed.upstream is not None
    assert (allowed.upstream.body, reasons(allowed)) == (EVERYWHERE, ["rules[2], rules[1]"])

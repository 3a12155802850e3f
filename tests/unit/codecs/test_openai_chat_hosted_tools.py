"""codecs/openai_chat_hosted_tools: what a request asks its provider to run, wherever in the body it says so."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.messages import Generation, HostedTool, Opaque
from tests.unit.codecs.openai_building import asking, read_request

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
MCP = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.example.com/mcp"}


def hosted(**fields: Any) -> list[HostedTool]:
    message = read_request(asking(**fields))
    assert isinstance(message, Generation), message
    return list(message.hosted_tools)


def kinds(**fields: Any) -> list[str]:
    return [tool.kind for tool in hosted(**fields)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [{"type": "web_search_preview"}, FUNCTION, {"type": "code_interpreter"}]}, 2),
        ({"tools": [{"type": "web_search"}]}, ["web_search"]),
        ({"tools": [{"type": "openrouter:web_fetch"}]}, ["openrouter:web_fetch"]),
        ({"tools": [{"type": "what nobody knows"}]}, ["what nobody knows"]),
        ({"tools": [{"type": ""}]}, [""]),
        ({"tools": [{"type": "Function", "function": {"name": "f"}}]}, ["Function"]),
        ({"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]}, ["builtin_function"]),
        ({"tools": [{"googleSearch": {}}, {"codeExecution": {}}]}, ["googleSearch", "codeExecution"]),
        ({"tools": [{"function": {"name": "f"}, "googleSearch": {}}]}, ["googleSearch"]),
        ({"web_search_options": {}}, ["web_search"]),
        ({"web_search_options": {"search_context_size": "low"}}, ["web_search"]),
        ({"search_parameters": {"mode": "auto"}}, ["web_search"]),
        ({"search_parameters": {}}, ["web_search"]),
        ({"search_settings": {"include_domains": ["a.example"]}}, ["web_search"]),
        ({"enable_search": True}, ["web_search"]),
        ({"enable_search": 0}, ["web_search"]),
        ({"search_options": {"forced_search": True}}, ["web_search"]),
        ({"web_search": {"enable": True}}, ["web_search"]),
        ({"web_search": {"enable": 0}}, ["web_search"]),
        ({"enable_code_interpreter": "yes"}, ["code_interpreter"]),
        ({"plugins": [{"id": "web"}, "other", {}]}, ["plugin:web", "plugin:other", "plugin:"]),
        ({"data_sources": [{"type": "azure_search", "parameters": {}}]}, ["data_source:azure_search"]),
        ({"compound_custom": {"tools": {"enabled_tools": ["browser_automation"]}}}, ["browser_automation"]),
        ({"model": "maker/model:online"}, ["plugin:web"]),
        ({"model": "maker/model:free:Online"}, ["plugin:web"]),
        ({"model": "maker/model: online "}, ["plugin:web"]),
        ({"models": ["maker/a", 7, "maker/b:online"]}, ["plugin:web"]),
        ({"extra_body": {"tools": [MCP]}}, ["mcp"]),
        ({"extra_body": {"extra_body": {"enable_search": True}}}, ["web_search"]),
    ],
)
def test_what_the_provider_runs_is_found_wherever_it_stands(fields: dict[str, Any], expected: Any) -> None:
    found = kinds(**fields)
    assert found == (["web_search_preview", "code_interpreter"] if expected == 2 else expected)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": None},
        {"tools": []},
        {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}]},
        {"tools": [{"function": {"name": "f"}}]},
        {"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]},
        {"functions": [{"name": "f"}]},
        {"web_search_options": None},
        {"enable_search": False},
        {"search_parameters": {"mode": "off"}},
        {"web_search": {"enable": False}},
        {"plugins": [{"id": "web", "enabled": False}]},
        {"compound_custom": {"models": {"reasoning_model": "m"}}},
        {"model": "online"},
        {"model": "maker/model:free"},
        {"model": "maker/online-model"},
        {"extra_body": None},
        {"extra_body": {"top_k": 4}},
    ],
)
def test_functions_of_the_client_and_what_is_off_are_none(fields: dict[str, Any]) -> None:
    assert hosted(**fields) == []


def test_a_server_is_told_with_all_that_is_said_of_it() -> None:
    entry = {**MCP, "allowed_tools": ["search"], "require_approval": "never", "headers": {"authorization": "s3cret"}}
    (tool,) = hosted(tools=[entry])
    expected = HostedTool(
        "mcp",
        server_url="https://docs.example.com/mcp",
        server_label="docs",
        allowed_tools=("search",),
        require_approval="never",
        parameters=entry,
    )
    assert tool == expected
    assert "s3cret" not in repr(tool)
    assert "docs.example.com" not in repr(tool)
    (connector,) = hosted(
        tools=[{"type": "mcp", "connector_id": "connector_gmail", "allowed_tools": {"read_only": True}}]
    )
    assert (connector.connector_id, connector.server_url, connector.allowed_tools) == ("connector_gmail", "", None)
    (filtered,) = hosted(tools=[{**MCP, "allowed_tools": {"tool_names": ["a"]}, "require_approval": {"never": {}}}])
    assert (filtered.allowed_tools, filtered.require_approval) == (("a",), {"never": {}})


def test_a_server_may_be_told_in_anthropics_member_but_not_in_both() -> None:
    (tool,) = hosted(tools=[{"type": "mcp", "server_label": "docs", "url": "https://evil.example/mcp"}])
    assert tool.server_url == "https://evil.example/mcp"
    message = read_request(asking(tools=[{**MCP, "url": "https://evil.example/mcp"}]))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("ambiguous-key", True)


def test_servers_in_anthropics_words_are_the_same_thing() -> None:
    entry = {"type": "url", "url": "https://a.example/mcp", "name": "a", "tool_configuration": {"allowed_tools": ["t"]}}
    (tool,) = hosted(mcp_servers=[entry])
    assert (tool.kind, tool.server_url, tool.server_label, tool.allowed_tools) == (
        "mcp",
        "https://a.example/mcp",
        "a",
        ("t",),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": {}},
        {"tools": "web_search"},
        {"tools": ["web_search"]},
        {"tools": [None]},
        {"tools": [{}]},
        {"tools": [{"type": None}]},
        {"tools": [{"type": 7}]},
        {"tools": [{"type": ["mcp"]}]},
        {"tools": [{**MCP, "server_url": 7}]},
        {"tools": [{**MCP, "server_label": {}}]},
        {"tools": [{**MCP, "connector_id": False}]},
        {"tools": [{**MCP, "allowed_tools": "all"}]},
        {"tools": [{**MCP, "allowed_tools": [7]}]},
        {"tools": [{**MCP, "allowed_tools": {"tool_names": "all"}}]},
        {"tools": [{**MCP, "require_approval": True}]},
        {"plugins": {"id": "web"}},
        {"plugins": [7]},
        {"plugins": [{"id": 7}]},
        {"data_sources": {}},
        {"data_sources": ["azure_search"]},
        {"data_sources": [{"type": 7}]},
        {"models": "maker/b:online"},
        {"tools": [{"type": "mcp", "url": 7}]},
        {"mcp_servers": {}},
        {"mcp_servers": ["https://a.example"]},
        {"mcp_servers": [{"url": 7}]},
        {"mcp_servers": [{"url": "https://a.example", "tool_configuration": []}]},
        {"compound_custom": []},
        {"compound_custom": {"tools": ["web_search"]}},
        {"compound_custom": {"tools": {"enabled_tools": "web_search"}}},
        {"compound_custom": {"tools": {"enabled_tools": [7]}}},
        {"extra_body": [1]},
        {"extra_body": {"tools": "web_search"}},
    ],
)
def test_what_has_another_type_than_its_fields_is_malformed(fields: dict[str, Any]) -> None:
    message = read_request(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("openai-invalid", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"Tools": [MCP]},
        {"web_\u017fearch_options": {}},  # a long s, which Go reads as an s
        {"tools": [{**FUNCTION, "Type": "mcp"}]},
        {"tools": [{**MCP, "SERVER_URL": "https://evil.example"}]},
        {"search_parameters": {"mode": "off", "Mode": "on"}},
        {"extra_body": {"PLUGINS": [{"id": "web"}]}},
        {"Extra_Body": {"enable_search": True}},
    ],
)
def test_a_key_that_differs_by_case_alone_is_refused(fields: dict[str, Any]) -> None:
    message = read_request(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("ambiguous-key", True)


def test_a_changed_request_still_tells_its_tools() -> None:
    message = read_request(asking(tools=[MCP]))
    assert isinstance(message, Generation)
    renamed = message.with_model("other:online")
    assert isinstance(renamed, Generation)
    assert [tool.kind for tool in renamed.hosted_tools] == ["mcp", "plugin:web"]

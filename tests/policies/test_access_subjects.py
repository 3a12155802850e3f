"""What a message is about, as rules name it.

Not here: what rules decide (test_tool_access.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.messages import (
    CompleteRequest,
    McpCall,
    McpRequest,
    PromptGet,
    PromptList,
    ResourceList,
    ResourceRead,
    ResourceTemplateList,
    SubscriptionsListen,
    ToolCall,
    ToolList,
)
from gatehouse_policies.access_rules import Subject
from gatehouse_policies.access_subjects import KINDS, WOULD_BE, subjects_of


def message(kind: type[McpRequest], method: str, **params: Any) -> Any:
    return kind({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, b"")


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        (message(ToolCall, "tools/call", name="search"), [Subject("tool", "search")]),
        (message(PromptGet, "prompts/get", name="greet"), [Subject("prompt", "greet")]),
        (message(ResourceRead, "resources/read", uri="file:///a"), [Subject("resource", "file:///a")]),
        (
            message(CompleteRequest, "completion/complete", ref={"type": "ref/prompt", "name": "greet"}),
            [Subject("prompt", "greet")],
        ),
        (
            message(CompleteRequest, "completion/complete", ref={"type": "ref/resource", "uri": "file:///{name}"}),
            [Subject("resource", "file:///x")],
        ),
        (
            message(
                SubscriptionsListen, "subscriptions/listen", notifications={"resourceSubscriptions": ["a:b", "c:d"]}
            ),
            [Subject("resource", "a:b"), Subject("resource", "c:d")],
        ),
        (message(McpRequest, "ping"), [Subject()]),
    ],
)
def test_a_request_is_about_what_it_names_and_else_about_its_method(asked: Any, about: list[Subject]) -> None:
    assert list(subjects_of(asked)) == about


@pytest.mark.parametrize("page", [ToolList, PromptList, ResourceList, ResourceTemplateList])
def test_an_entry_of_a_list_is_about_what_asking_for_it_would_be(page: Any) -> None:
    method, kind, would_be = WOULD_BE[page]
    asked = would_be("file:///a")
    assert isinstance(asked, McpCall)
    assert (asked.method, list(subjects_of(asked))) == (method, [Subject(kind, "file:///a")])
    assert KINDS[type(asked)] == kind

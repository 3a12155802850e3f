"""What a message of MCP is about, as `tool-access` has rules for it: a tool, a prompt, resources, or its method alone.

Not here: rules (access_rules.py), what they decide (tool_access.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ext_proc.messages import (
    CompleteRequest,
    McpCall,
    McpList,
    PromptGet,
    PromptList,
    ResourceList,
    ResourceRead,
    ResourceTemplateList,
    SubscriptionsListen,
    ToolCall,
    ToolList,
)
from gatehouse_policies.access_rules import Kind, Subject
from gatehouse_policies.resource_uris import sample_of

KINDS: Mapping[type[McpCall], Kind] = {ToolCall: "tool", PromptGet: "prompt", ResourceRead: "resource"}


def _request(kind: type[McpCall], method: str, **params: str) -> McpCall:
    return kind({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}, b"")


# For each list, what its entries are for: the method, the kind of subject, and the request that would be made.
WOULD_BE: Mapping[type[McpList], tuple[str, Kind, Callable[[str], McpCall]]] = {
    ToolList: ("tools/call", "tool", lambda name: _request(ToolCall, "tools/call", name=name)),
    PromptList: ("prompts/get", "prompt", lambda name: _request(PromptGet, "prompts/get", name=name)),
    ResourceList: ("resources/read", "resource", lambda uri: _request(ResourceRead, "resources/read", uri=uri)),
    ResourceTemplateList: ("resources/read", "resource", lambda uri: _request(ResourceRead, "resources/read", uri=uri)),
}


def subjects_of(message: McpCall) -> Sequence[Subject]:
    """What a request is about; several for a subscription, all of which must be allowed."""
    if isinstance(message, ToolCall):
        return [Subject("tool", message.name)]
    if isinstance(message, PromptGet):
        return [Subject("prompt", message.name)]
    if isinstance(message, ResourceRead):
        return [Subject("resource", message.target)]
    if isinstance(message, CompleteRequest):
        if message.prompt is not None:
            return [Subject("prompt", message.prompt)]
        if message.uri is not None:
            return [Subject("resource", sample_of(message.uri))]
    if isinstance(message, SubscriptionsListen) and message.uris:
        return [Subject("resource", uri) for uri in message.uris]
    return [Subject()]

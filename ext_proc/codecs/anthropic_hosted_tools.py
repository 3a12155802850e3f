"""Anthropic messages: what a request asks the provider to run itself.

Rules:
- In `tools` whatever has a type other than `custom` is the provider's by name, also where the client runs it (`bash_*`,
  `computer_*`): the type says that the model was made for it. `mcp_servers` are servers that the provider connects to.
- A toolset (`mcp_toolset`) opens a server of `mcp_servers`, by its name: it is told with the server. One that names
  none of them is told by itself.
- Blocks of messages add tools too, by value (`tool_addition`, also among the `tool_changes` of a `compaction`).

Sources: Anthropic, Messages API (tools), MCP connector, mid-conversation tool changes.

Not here: who may ask for what (policies); the rest of a request (anthropic_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_object, check_keys, objects, reject, text_of
from ext_proc.messages import HostedTool

CLIENTS_OWN = "custom"
_TOOLSET = "mcp_toolset"
_TOOL = frozenset(
    {"type", "name", "description", "input_schema", "mcp_server_name", "default_config", "configs", "enabled"}
)
_CHANGE = frozenset({"type", "tool", "tool_changes", "definition"})
_SERVER = frozenset({"type", "url", "name", "authorization_token", "tool_configuration", "allowed_tools"})


def hosted_tools(request: Mapping[str, Any]) -> Sequence[HostedTool]:
    """The tools that are the provider's by name, and the servers that it connects to.

    Raises:
        Malformed: something that names them has another type than its field's.
    """
    found: list[HostedTool] = []
    toolsets: dict[str, list[Mapping[str, Any]]] = {}
    for tool in (*objects(request.get("tools"), "tools"), *added_tools(request)):
        check_keys(tool, _TOOL)
        kind = text_of(tool, "type")
        if kind == _TOOLSET:
            toolsets.setdefault(text_of(tool, "mcp_server_name"), []).append(tool)
        elif kind not in ("", CLIENTS_OWN) or not ("name" in tool or kind):
            found.append(HostedTool(kind, parameters=tool))
    for server in objects(request.get("mcp_servers"), "mcp_servers"):
        check_keys(server, _SERVER)
        name = text_of(server, "name")
        found.append(
            HostedTool(
                "mcp",
                server_url=text_of(server, "url"),
                server_label=name,
                allowed_tools=_allowed(server, toolsets.pop(name, ())),
                parameters=server,
            )
        )
    strangers = ((name, tool) for name, tools in toolsets.items() for tool in tools)
    return [*found, *(HostedTool(_TOOLSET, server_label=name, parameters=tool) for name, tool in strangers)]


def added_tools(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tools that messages bring by value.

    Raises:
        Malformed: something there has another type than its field's.
    """
    for turn in objects(request.get("messages"), "messages"):
        content = turn.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict):
                check_keys(block, _CHANGE)
                for change in (block, *objects(block.get("tool_changes"), "tool_changes")):
                    check_keys(change, _CHANGE)
                    tool = as_object(change.get("tool"), "tool")
                    check_keys(tool, _CHANGE)
                    if tool.get("definition") is not None:
                        yield as_object(tool.get("definition"), "definition")


def _allowed(server: Mapping[str, Any], toolsets: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
    """The tools of a server that the model may use; None where the request names none: all."""
    configuration = as_object(server.get("tool_configuration"), "tool_configuration")
    check_keys(configuration, _SERVER)
    allowed = configuration.get("allowed_tools")
    if allowed is not None and not (isinstance(allowed, list) and all(isinstance(name, str) for name in allowed)):
        reject("allowed_tools must be a list of strings")
    listed = [_enabled(tool) for tool in toolsets]
    if allowed is not None:
        return tuple(allowed)
    if not listed or None in listed:
        return None
    return tuple(name for names in listed for name in names or ())


def _enabled(toolset: Mapping[str, Any]) -> Sequence[str] | None:
    """The tools that a toolset enables one by one; None where it enables those that it does not name."""
    configs, usual = (
        as_object(toolset.get("configs"), "configs"),
        as_object(toolset.get("default_config"), "default_config"),
    )
    check_keys(usual, _TOOL)
    for name in configs:
        check_keys(as_object(configs.get(name), name), _TOOL)
    if usual.get("enabled") is not False:
        return None
    return [name for name in configs if as_object(configs.get(name), name).get("enabled") is True]

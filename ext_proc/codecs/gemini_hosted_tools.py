"""Gemini: what a request asks the provider to run itself.

Rules:
- In `tools` whatever is not a list of the client's functions is the provider's, by its name in camel case.
- `mcpServers` are servers that the provider connects to.

Source: Google, Gemini API and Vertex AI (Tool).

Not here: who may ask for what (policies); the rest of a request (gemini_messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.gemini_texts import camel, check_keys, object_of, text_of
from ext_proc.codecs.llm_fields import objects
from ext_proc.messages import HostedTool

_OWN_FUNCTIONS = "functionDeclarations"
_SERVERS = "mcpServers"
_TRANSPORT = "streamableHttpTransport"
_TOOL = frozenset({_OWN_FUNCTIONS, _SERVERS, _TRANSPORT, "url", "name"})


def hosted_tools(request: Mapping[str, Any]) -> Sequence[HostedTool]:
    """The tools that the provider would run for this request.

    Raises:
        Malformed: something that names them has another type than its field's.
    """
    found: list[HostedTool] = []
    for tool in objects(request.get("tools"), "tools"):
        check_keys(tool, _TOOL)
        for name, value in tool.items():
            kind = camel(name)
            if kind == _SERVERS:
                found += map(_server, objects(value, _SERVERS))
            elif kind != _OWN_FUNCTIONS:
                found.append(HostedTool(kind, parameters=value if isinstance(value, dict) else {}))
    return found


def _server(server: Mapping[str, Any]) -> HostedTool:
    check_keys(server, _TOOL)
    transport = object_of(server, _TRANSPORT)
    check_keys(transport, _TOOL)
    url = text_of(transport, "url")
    return HostedTool("mcp", server_url=url, server_label=text_of(server, "name"), parameters=server)

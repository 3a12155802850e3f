"""An MCP server on the official SDK that offers something of every kind, two to a page, and keeps not all its promises.

    python -m tests.envoy.offering_server --port 18081

Rules:
- It checks nothing of what it is sent: what reaches a tool is seen in its answer.
- Its lists say that anybody may share them.

Not here: who starts it (test_tools.py).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mcp_types as types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server

_PAGE = 2
_SHARED = CacheHint(ttl_ms=60_000, scope="public")
_FILES = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "depth": {"type": "integer", "minimum": 1, "maximum": 9},
        "kinds": {"type": "array", "items": {"enum": ["file", "folder"]}, "uniqueItems": True},
    },
    "required": ["path"],
    "additionalProperties": False,
}
_COUNTED = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
_NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
_AMOUNT = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
_ANYTHING: dict[str, Any] = {"type": "object"}
# The second is applied twice by the third, and so on: 2 to the power of 40 times in all.
_BOMB = {
    "type": "object",
    "properties": {"text": {"$ref": "#/$defs/d40"}},
    "$defs": {
        "d0": {"type": "string"},
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}, {"$ref": f"#/$defs/d{n - 1}"}]} for n in range(1, 41)},
    },
}
_REGEX = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
READS = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)

TOOLS = [
    types.Tool(name="files.read", input_schema=_FILES, annotations=READS),
    types.Tool(name="files.delete", input_schema=_FILES),
    types.Tool(name="payments.transfer", input_schema=_AMOUNT),
    types.Tool(name="count.right", input_schema=_NUMBER, output_schema=_COUNTED),
    types.Tool(name="count.wrong", input_schema=_NUMBER, output_schema=_COUNTED),
    types.Tool(name="count.two-faced", input_schema=_NUMBER, output_schema=_COUNTED),
    types.Tool(name="hostile.bomb", input_schema=_BOMB),
    types.Tool(name="hostile.regex", input_schema=_REGEX),
    types.Tool(name="hostile.elsewhere", input_schema={**_ANYTHING, "$ref": "http://127.0.0.1:1/schema.json"}),
]
URIS = ["file:///srv/public/a.md", "file:///srv/private/b.md", "file:///srv/public/c.md", "docs://handbook"]
TEMPLATES = ["file:///srv/public/{name}", "file:///srv/private/{name}", "file:///{+path}"]
PROMPTS = ["public.greeting", "private.letter", "public.summary"]

Item = TypeVar("Item")


def _page(items: Sequence[Item], params: types.PaginatedRequestParams | None) -> tuple[list[Item], str | None]:
    """One page, and where the next begins."""
    start = int(params.cursor) if params is not None and params.cursor else 0
    end = start + _PAGE
    return list(items[start:end]), str(end) if end < len(items) else None


async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    tools, cursor = _page(TOOLS, params)
    return types.ListToolsResult(tools=tools, next_cursor=cursor)


async def list_resources(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    uris, cursor = _page(URIS, params)
    return types.ListResourcesResult(resources=[types.Resource(name=u, uri=u) for u in uris], next_cursor=cursor)


async def list_templates(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    found, cursor = _page(TEMPLATES, params)
    templates = [types.ResourceTemplate(name=template, uri_template=template) for template in found]
    return types.ListResourceTemplatesResult(resource_templates=templates, next_cursor=cursor)


async def list_prompts(_: Any, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    names, cursor = _page(PROMPTS, params)
    return types.ListPromptsResult(prompts=[types.Prompt(name=name) for name in names], next_cursor=cursor)


async def read_resource(_: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text="what is in it")])


async def get_prompt(_: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    said = types.TextContent(type="text", text=f"this is {params.name}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=said)])


async def complete(_: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=["one", "two"]))


def _counted(text: str, count: object) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content={"count": count}
    )


_ANSWERS: dict[str, Callable[[int], types.CallToolResult]] = {
    "count.right": lambda number: _counted(json.dumps({"count": number}), number),
    "count.wrong": lambda number: _counted("see the content", str(number)),
    "count.two-faced": lambda number: _counted(json.dumps({"count": number + 1}), number),
}


async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    if params.name in _ANSWERS:
        return _ANSWERS[params.name](arguments["number"])
    text = f"{params.name} got {json.dumps(arguments, sort_keys=True)}"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


server = Server(
    "offering",
    cache_hints={
        "tools/list": _SHARED,
        "resources/list": _SHARED,
        "resources/templates/list": _SHARED,
        "prompts/list": _SHARED,
    },
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
)


def main() -> None:
    """Serves /mcp on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="An MCP server that offers something of every kind.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()

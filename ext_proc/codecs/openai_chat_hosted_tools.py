"""OpenAI chat: the tools of a request that the provider runs itself, wherever in the body a server takes them from.

Rules:
- In `tools` whatever is no function of the client's (`function`, `custom`) is the provider's, known or not; an entry
  without a type is told by its members, as proxies before Gemini take them. A `namespace` is what is in it.
- Beside `tools` there are the members of SWITCHES, `plugins`, `data_sources`, `mcp_servers`, `compound_custom`, and the
  suffix `:online` of a model's name. Only null and false are off, and what its server documents as off.
- What stands in `extra_body` counts too: proxies unpack it.
- A request in which this has another type than its field's is malformed: one reader's tool is another's nothing.

Sources: OpenAI, chat completions (`tools`, `web_search_options`); OpenRouter, plugins, server tools, model variants;
Groq, compound systems; xAI, Live Search; Alibaba Model Studio, Qwen's chat completions; Baidu Qianfan, web search;
Azure OpenAI, On Your Data; Anthropic, MCP connector.

Not here: which of them are allowed (a policy's), what a model does by its nature (a search model searches).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_object, check_keys, reject, text_of
from ext_proc.codecs.llm_texts import Ambiguous
from ext_proc.messages import HostedTool

# Members of a request that switch a tool on by themselves, and the kind of tool.
SWITCHES: Mapping[str, str] = {
    "web_search_options": "web_search",  # OpenAI, Perplexity
    "search_parameters": "web_search",  # xAI
    "search_settings": "web_search",  # Groq
    "enable_search": "web_search",  # Qwen
    "search_options": "web_search",  # Qwen
    "web_search": "web_search",  # Qianfan
    "enable_code_interpreter": "code_interpreter",  # Qwen
}
# Every member that is read here, for the check of keys that differ in case only.
MEMBERS = frozenset(
    {*SWITCHES, "tools", "plugins", "data_sources", "mcp_servers", "compound_custom", "model", "models", "extra_body"}
)
_OFF: Mapping[str, Mapping[str, Any]] = {"search_parameters": {"mode": "off"}, "web_search": {"enable": False}}
_OF_A_TOOL = frozenset(
    {
        *("type", "function", "custom", "server_url", "url", "server_label", "connector_id"),
        *("allowed_tools", "require_approval"),
    }
)
_CLIENTS_OWN = ("function", "custom")
# Members of a function that came without a type, in OpenAI's words and in Anthropic's.
_OF_A_FUNCTION = frozenset(
    {"type", "function", "name", "description", "parameters", "strict", "input_schema", "cache_control"}
)


def hosted_tools(request: Mapping[str, Any]) -> Sequence[HostedTool]:
    """The tools that the provider would run for this request, in no particular order.

    Raises:
        Malformed: something that names them has another type than its field's.
    """
    found: list[HostedTool] = []
    body = request
    while body:
        check_keys(body, MEMBERS)
        found += _of_body(body)
        body = as_object(body.get("extra_body"), "extra_body")
    return found


def _of_body(body: Mapping[str, Any]) -> Iterator[HostedTool]:
    for entry in _list(body, "tools"):
        if not _is_clients_function(entry):
            yield from _of_tool(entry)
    for name in SWITCHES.keys() & body.keys():
        value, kind = body[name], SWITCHES[name]
        if not _is_off(name, value):
            yield HostedTool(kind, parameters=value if isinstance(value, dict) else {})
    for entry in _list(body, "plugins"):
        yield from _of_plugin(entry)
    for entry in _list(body, "data_sources"):
        yield HostedTool(f"data_source:{text_of(_is_object(entry, 'data_sources'), 'type')}", parameters=entry)
    for entry in _list(body, "mcp_servers"):
        yield _of_server(_is_object(entry, "mcp_servers"))
    own = as_object(as_object(body.get("compound_custom"), "compound_custom").get("tools"), "tools")
    for enabled in _list(own, "enabled_tools"):
        yield HostedTool(_is_text(enabled, "enabled_tools"))
    for model in [body.get("model"), *_list(body, "models")]:
        # OpenRouter: a shortcut for its plug-in, which may stand among other variants.
        if isinstance(model, str) and "online" in map(str.strip, model.casefold().split(":")[1:]):
            yield HostedTool("plugin:web")


def _is_clients_function(entry: Any) -> bool:
    """Whether it is what most tools are, told at a glance: `{"type": "function", "function": ...}`."""
    return type(entry) is dict and len(entry) == 2 and entry.get("type") == "function" and "function" in entry


def _of_tool(entry: Any) -> Iterator[HostedTool]:
    check_keys(_is_object(entry, "tools"), _OF_A_TOOL)
    kind = entry.get("type")
    if kind is None:
        members = [name for name in entry if name not in _OF_A_FUNCTION]
        if not members and "function" not in entry and "name" not in entry:
            reject("a tool must have a type")
        for name in members:
            yield HostedTool(name, parameters=entry[name] if isinstance(entry[name], dict) else {})
    elif _is_text(kind, "type") == "namespace":
        for each in _list(entry, "tools"):
            yield from _of_tool(each)
    elif kind not in _CLIENTS_OWN:
        yield HostedTool(
            kind,
            server_url=_server_url(entry),
            server_label=text_of(entry, "server_label"),
            connector_id=text_of(entry, "connector_id"),
            allowed_tools=_allowed_tools(entry.get("allowed_tools")),
            require_approval=_approval(entry.get("require_approval")),
            parameters=entry,
        )


def _server_url(entry: Mapping[str, Any]) -> str:
    """OpenAI's member, or Anthropic's, which proxies translate: not both."""
    own, other = text_of(entry, "server_url"), text_of(entry, "url")
    if own and other:
        raise Ambiguous("a tool has two addresses")
    return own or other


def _of_plugin(entry: Any) -> Iterator[HostedTool]:
    if isinstance(entry, str):
        yield HostedTool(f"plugin:{entry}")
    elif _is_object(entry, "plugins").get("enabled") is not False:
        yield HostedTool(f"plugin:{text_of(entry, 'id')}", parameters=entry)


def _of_server(entry: Mapping[str, Any]) -> HostedTool:
    """An entry of Anthropic's `mcp_servers`, which proxies pass on."""
    configuration = as_object(entry.get("tool_configuration"), "tool_configuration")
    return HostedTool(
        "mcp",
        server_url=text_of(entry, "url"),
        server_label=text_of(entry, "name"),
        allowed_tools=_allowed_tools(configuration.get("allowed_tools")),
        parameters=entry,
    )


def _is_off(name: str, value: Any) -> bool:
    if value is None or value is False:
        return True
    off = _OFF.get(name, {})
    if off and isinstance(value, dict):
        check_keys(value, frozenset(off))
    # By type too: 0 is no `false` to every reader.
    return isinstance(value, dict) and any(type(value.get(m)) is type(w) and value[m] == w for m, w in off.items())


def _allowed_tools(value: Any) -> Sequence[str] | None:
    """Names, as a list or as OpenAI's filter, which may have none."""
    names = value.get("tool_names") if isinstance(value, dict) else value
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        reject("allowed_tools must be a list of strings, or an object with one in tool_names")
    return tuple(names)


def _approval(value: Any) -> str | Mapping[str, Any] | None:
    if not isinstance(value, str | dict | None):
        reject("require_approval must be a string or an object")
    return value


def _list(holder: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = holder.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        reject(f"{name} must be a list")
    return value


def _is_object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        reject(f"{name} must be a list of objects")
    return value


def _is_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        reject(f"{name} must be a string")
    return value

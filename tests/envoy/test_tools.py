"""Who may do what, with which arguments, and what comes back: through a real Envoy, with official clients and servers.

Rules:
- The server behind checks nothing, and keeps not all its promises (offering_server.py).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
import yaml
from mcp import Client, MCPError

from ext_proc.demo.files import shipped
from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy import callers
from tests.envoy.harness import Running, Stacks
from tests.envoy.offering_server import PROMPTS, TEMPLATES, TOOLS, URIS

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: tools, revision: "1"}
limits: {decision: 900ms}  # hostile schemas take their time, on a busy machine more of it
store: {hosts: one, embedded: {path: tools.db}}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, server: offering, policies: [callers, shapes]}
policies:
  - name: callers
    type: tool-access
    parameters:
      rules:
        - {methods: ["initialize", "ping", "server/discover", "*/list", "notifications/*"], allow: true}
        - {tools: ["payments.transfer"], allow: "identity.kind == 'human' && args.amount <= 1000.0"}
        - {tools: ["files.*"], allow: "identity.verified", unless_annotated: [destructive]}
        - {tools: ["count.*", "hostile.*"], allow: true}
        - {resources: ["file:///srv/public/*"], allow: true}
        - {resources: ["file:///srv/private/*"], allow: "identity.kind == 'human'"}
        - {prompts: ["public.*"], allow: true}
        - {prompts: ["*"], allow: "identity.kind == 'human'"}
  - name: shapes
    type: tool-arguments
    parameters:
      unknown_schema: deny
      constraints: {"files.read": {properties: {path: {pattern: "^/srv/public/"}}}}
"""
WIRES = ["legacy", "2026-07-28"]
HUMAN: dict[str, object] = {"sub_profile": "user"}
GOOD = {"path": "/srv/public/a.md"}


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Puts the server behind Envoy: edits the bootstrap."""
    (port,) = free_ports(1)

    def edit(bootstrap: str) -> str:
        config = yaml.safe_load(bootstrap)
        (cluster,) = (found for found in config["static_resources"]["clusters"] if found["name"] == "mcp")
        address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return str(yaml.safe_dump(config, sort_keys=False))

    with Processes(tmp_path_factory.mktemp("offering")) as processes:
        command = [sys.executable, "-m", "tests.envoy.offering_server", "--port", str(port)]
        processes.start("offering", command, accepts(LOOPBACK, port))
        processes.wait_until_ready()
        yield edit


@pytest.fixture
def running(gatehouse_stack: Stacks, offering: Callable[[str], str]) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=offering)


@asynccontextmanager
async def client(running: Running, wire: str, caller: str = "ann") -> AsyncIterator[Client]:
    """MCP's client as a human ("ann"), as somebody verified ("bob"), or as nobody ("")."""
    claims = {"ann": HUMAN, "bob": {}}
    headers = callers.bearer(running.stack.token(caller, claims[caller])) if caller else {}
    async with callers.client(running, headers, mode=wire) as connection:
        yield connection


async def pages(ask: Callable[[str | None], Awaitable[Any]], holds: str) -> tuple[list[Any], int, set[str | None]]:
    """All entries over all pages, how many pages there were, and the scopes that a cache may keep them in."""
    found: list[Any] = []
    scopes: set[str | None] = set()
    cursor: str | None = None
    for count in range(1, 20):
        page = await ask(cursor)
        found += getattr(page, holds)
        scopes.add(page.cache_scope)
        cursor = page.next_cursor
        if cursor is None:
            return found, count, scopes
    raise AssertionError("the list never ends")


async def tools_of(connection: Client) -> set[str]:
    """The tools that a client is shown over all pages."""
    found, _, _ = await pages(lambda cursor: connection.list_tools(cursor=cursor), "tools")
    return {tool.name for tool in found}


def said(result: types.CallToolResult) -> str:
    """What the model reads of a call."""
    return " ".join(block.text for block in result.content if isinstance(block, types.TextContent))


async def reason_of(call: Awaitable[Any]) -> str:
    """Why a call was denied with an error of the protocol."""
    with pytest.raises(MCPError) as denied:
        await call
    return str(denied.value.error.data["reason"])


SHOWN = {
    "ann": {"files.read", "payments.transfer"},
    "bob": {"files.read", "payments.transfer"},
    "": {"payments.transfer"},
}
ALWAYS = {tool.name for tool in TOOLS if tool.name.startswith(("count.", "hostile."))}


@pytest.mark.parametrize("caller", SHOWN)
@pytest.mark.parametrize("wire", WIRES)
async def test_every_list_shows_over_all_its_pages_what_its_caller_could_use(
    running: Running, wire: str, caller: str
) -> None:
    human = caller == "ann"
    async with client(running, wire, caller) as c:
        tools, count, scopes = await pages(lambda cursor: c.list_tools(cursor=cursor), "tools")
        assert {tool.name for tool in tools} == SHOWN[caller] | ALWAYS
        assert count == (len(TOOLS) + 1) // 2
        resources, count, more = await pages(lambda cursor: c.list_resources(cursor=cursor), "resources")
        assert [r.uri for r in resources] == [u for u in URIS if "public" in u or (human and "private" in u)]
        assert count == 2
        scopes |= more
        templates, _, more = await pages(lambda cursor: c.list_resource_templates(cursor=cursor), "resource_templates")
        assert [t.uri_template for t in templates] == TEMPLATES[: 2 if human else 1]
        scopes |= more
        prompts, _, more = await pages(lambda cursor: c.list_prompts(cursor=cursor), "prompts")
        assert [p.name for p in prompts] == [name for name in PROMPTS if human or name.startswith("public.")]
        scopes |= more
        if wire != "legacy":  # which has no such thing
            assert scopes == {"private"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_corrects_itself_by_what_the_denied_call_says(running: Running, wire: str) -> None:
    async with client(running, wire) as c:
        await tools_of(c)
        first = await c.call_tool("files.read", {"path": "/etc/passwd", "depth": "2", "kinds": ["file", "link"]})
        assert first.is_error
        assert "path: expected text that matches ^/srv/public/" in said(first)
        assert "depth: expected a whole number" in said(first)
        assert 'kinds[1]: expected one of "file", "folder"' in said(first)
        assert "passwd" not in said(first)
        second = await c.call_tool("files.read", {"path": "/srv/public/a.md", "depth": 2, "kinds": ["file", "folder"]})
        assert not second.is_error
        assert "/srv/public/a.md" in said(second)


@pytest.mark.parametrize("wire", WIRES)
async def test_before_a_list_was_seen_no_call_passes_and_after_it_calls_do(
    gatehouse_stack: Stacks, offering: Callable[[str], str], wire: str
) -> None:
    # A server whose tools nobody has listed: what is known is kept by its name.
    running = gatehouse_stack(BUNDLE.replace("server: offering", f"server: unseen-{wire}"), edit_bootstrap=offering)
    async with client(running, wire) as c:
        early = await c.call_tool("count.right", {"number": 3})
        assert early.is_error
        assert "list the tools" in said(early)
        assert await tools_of(c) >= {"count.right"}
        later = await c.call_tool("count.right", {"number": 3})
        assert later.structured_content == {"count": 3}


@pytest.mark.parametrize("wire", WIRES)
async def test_arguments_and_kinds_of_callers_decide_together(running: Running, wire: str) -> None:
    async with client(running, wire, "ann") as c:
        await tools_of(c)
        assert not (await c.call_tool("payments.transfer", {"amount": 1000})).is_error
        assert await reason_of(c.call_tool("payments.transfer", {"amount": 1000.5})) == "tool-not-allowed"
        assert await reason_of(c.call_tool("payments.transfer", {})) == "tool-not-allowed"
        assert await reason_of(c.call_tool("files.delete", GOOD)) == "tool-annotated"
    async with client(running, wire, "bob") as c:
        assert await reason_of(c.call_tool("payments.transfer", {"amount": 1})) == "tool-not-allowed"
        assert not (await c.call_tool("files.read", GOOD)).is_error


@pytest.mark.parametrize("wire", WIRES)
async def test_results_that_are_not_as_promised_are_withheld(running: Running, wire: str) -> None:
    async with client(running, wire) as c:
        await tools_of(c)
        right = await c.call_tool("count.right", {"number": 3})
        assert (right.is_error, right.structured_content) == (False, {"count": 3})
        wrong = await c.call_tool("count.wrong", {"number": 3})
        assert (wrong.is_error, wrong.structured_content) == (True, None)
        assert "count: expected a whole number" in said(wrong)
        two_faced = await c.call_tool("count.two-faced", {"number": 3})
        assert two_faced.is_error
        assert said(two_faced) == "the tool's result was withheld: a text in it contradicts its structured content"


@pytest.mark.parametrize("wire", WIRES)
async def test_hostile_schemas_hold_nothing_up(running: Running, wire: str) -> None:
    async with client(running, wire) as c:
        await tools_of(c)
        bomb = await c.call_tool("hostile.bomb", {"text": "x"})
        assert bomb.is_error
        assert "takes too long" in said(bomb)
        regex = await c.call_tool("hostile.regex", {"text": "a" * 5000 + "!"})
        assert "text: expected text that matches" in said(regex)
        assert not (await c.call_tool("hostile.regex", {"text": "aaa"})).is_error
        elsewhere = await c.call_tool("hostile.elsewhere", {})
        assert "cannot check arguments by this tool's schema" in said(elsewhere)


@pytest.mark.parametrize("wire", WIRES)
async def test_resources_are_read_by_their_uri_however_it_is_written(running: Running, wire: str) -> None:
    async with client(running, wire, "bob") as c:
        (read,) = (await c.read_resource("file:///srv/public/a.md")).contents
        assert getattr(read, "text", "") == "what is in it"
        for uri, why in {
            "file:///srv/private/b.md": "resource-not-allowed",
            "FILE:///srv/private/b.md": "resource-not-allowed",
            "file:///srv/public/../private/b.md": "resource-ambiguous",
            "file:///srv/public/%2e%2e/private/b.md": "resource-ambiguous",
            "file:///srv/public%2f..%2fprivate/b.md": "resource-ambiguous",
            "docs://handbook": "resource-not-allowed",
        }.items():
            assert await reason_of(c.read_resource(uri)) == why, uri
    async with client(running, wire, "ann") as c:
        assert (await c.read_resource("file:///srv/private/b.md")).contents


@pytest.mark.parametrize("wire", WIRES)
async def test_prompts_and_completions_fall_under_the_same_rules(running: Running, wire: str) -> None:
    prompt = types.PromptReference
    template = types.ResourceTemplateReference
    argument = {"name": "name", "value": "o"}
    async with client(running, wire, "bob") as c:
        assert (await c.get_prompt("public.greeting")).messages
        assert await reason_of(c.get_prompt("private.letter")) == "prompt-not-allowed"
        completed = await c.complete(prompt(type="ref/prompt", name="public.greeting"), argument)
        assert completed.completion.values == ["one", "two"]
        denied = c.complete(prompt(type="ref/prompt", name="private.letter"), argument)
        assert await reason_of(denied) == "prompt-not-allowed"
        assert (await c.complete(template(type="ref/resource", uri=TEMPLATES[0]), argument)).completion.values
        denied = c.complete(template(type="ref/resource", uri=TEMPLATES[1]), argument)
        assert await reason_of(denied) == "resource-not-allowed"


EXAMPLE = shipped("policies/bundles/tools.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("wire", WIRES)
async def test_the_example_bundle_does_what_it_says_to_the_demos_server(gatehouse_stack: Stacks, wire: str) -> None:
    running = gatehouse_stack(EXAMPLE, demo_upstreams=True)
    async with client(running, wire, "bob") as c:
        shown = await tools_of(c)
        assert shown == {
            "search",
            "docs.read",
            "docs.report",
            "docs.statistics",
            "docs.echo",
            "docs.order",
            "delete_file",
        }
        assert said(await c.call_tool("search", {"query": "queue"})) == "runbook"
        assert "query: expected at least 2 characters" in said(await c.call_tool("search", {"query": "q"}))
        assert "text: expected at most 1000 characters" in said(await c.call_tool("docs.echo", {"text": "x" * 1001}))
        assert (await c.call_tool("docs.echo", {"text": "x" * 1000})).structured_content == {"result": "x" * 1000}
        assert (await c.call_tool("docs.statistics", {})).structured_content == {
            "documents": 3,
            "words": 35,
            "longest": "runbook",
        }
        assert said(await c.call_tool("delete_file", {"path": "/tmp/a"})) == "deleted /tmp/a"
        assert "path: expected text that matches" in said(await c.call_tool("delete_file", {"path": "/tmp/../a"}))
        assert await reason_of(c.call_tool("delete_file", {"path": "/etc/a"})) == "tool-not-allowed"
        assert await reason_of(c.call_tool("export_salaries", {})) == "tool-not-allowed"
    async with client(running, wire, "") as c:
        assert await reason_of(c.call_tool("delete_file", {"path": "/tmp/a"})) == "tool-not-allowed"

"""A call that needs a person's yes, through a real Envoy: MCP's official client on both wires, the page in Chromium.

Rules:
- Calls come from an agent that acts for ann. Whoever visits is the same people's tokens, got by another client.
- The server is asked what reached its tool, past the gate's own words.

Not here: each way to forge a yes (tests/policies/test_confirm.py, test_confirm_page.py).
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import mcp_types as types
import pytest
import yaml
from mcp import Client, MCPError, UrlElicitationRequiredError
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Page

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.browser import Chromium
from tests.envoy.callers import bearer
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import log_lines, mark
from tests.envoy.pages import ANYWHERE, stack_with_pages

MODERN, LEGACY = "2026-07-28", "legacy"
Ask = Callable[[types.ElicitRequestParams], Awaitable[types.ElicitResult]]


def bundle(keys: str) -> str:
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "gatehouse/v1",
                "kind": "Bundle",
                "metadata": {"name": "confirm"},
                "pages": {"url": f"{ANYWHERE}/gatehouse"},
                "identity": [
                    {"metadata": {}},
                    {"jwt": {"issuer": "gatehouse-demo", "audiences": ["gatehouse"], "jwks": {"file": keys}}},
                ],
                "clients": [{"id": "portal", "kind": "interactive"}, {"id": "assistant", "kind": "agent"}],
                "routes": [
                    {
                        "name": "files",
                        "match": {"path": "/mcp"},
                        "protocol": "mcp",
                        "policies": ["ask", "ask-sre", "sessions"],
                    }
                ],
                "policies": [
                    {
                        "name": "ask",
                        "type": "confirm",
                        "timeout": "2s",
                        "when": "!has(args.path) || !args.path.startsWith('/prod')",
                        "parameters": {"tools": ["delete_*", "pay"]},
                    },
                    {
                        "name": "ask-sre",
                        "type": "confirm",
                        "timeout": "2s",
                        "when": "has(args.path) && args.path.startsWith('/prod')",
                        "parameters": {"tools": ["delete_*"], "by": {"approvers": {"groups": ["sre"]}}},
                    },
                    {"name": "sessions", "type": "session-binding", "timeout": "2s"},
                ],
                "limits": {"decision": "900ms"},
                "store": {"embedded": {"timeout": "1s"}},
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Site:
    """A stack with a server behind it, and a browser."""

    running: Running
    chromium: Chromium

    def token(self, who: str, client: str, groups: tuple[str, ...] = ()) -> dict[str, str]:
        return bearer(self.running.stack.token(who, {"client_id": client, "groups": list(groups)}))

    @asynccontextmanager
    async def client(
        self, wire: str, ask: Ask | None = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[Client]:
        """MCP's client: as an agent for ann, unless it has another token."""

        async def elicits(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult | types.ErrorData:
            assert ask is not None
            return await ask(params)

        async with (
            httpx2.AsyncClient(
                headers=headers or self.token("ann", "assistant"), timeout=10.0, trust_env=False
            ) as http,
            Client(
                streamable_http_client(self.running.stack.mcp_url, http_client=http),
                mode=wire,
                elicitation_callback=elicits if ask is not None else None,
            ) as connection,
        ):
            yield connection

    async def deleted(self) -> list[str]:
        """What reached the tool, by its own word."""
        async with self.client(MODERN) as connection:
            result = (await connection.call_tool("deleted")).structured_content
        assert result is not None
        return list(result["result"])

    def presses(self, url: str, button: str, headers: dict[str, str], why: str = "") -> str:
        """What a person sees in a browser after pressing a button of the page."""

        async def steps(page: Page) -> str:
            await page.goto(url)
            await page.get_by_role("textbox").fill(why)
            await page.get_by_role("button", name=button).click()
            await page.get_by_role("heading", name="This call was decided").wait_for()
            return await page.inner_text("main")

        return self.chromium.visit(steps, headers)

    def posts(self, url: str, decision: str, headers: dict[str, str]) -> list[int]:
        """The same by hand: the page is read, and its form is sent."""
        lines = {**headers, "origin": self.running.stack.url}
        with httpx2.Client(headers=lines, timeout=10.0, trust_env=False) as http:
            read = http.get(url)
            found = re.search(
                f'name="decision" value="{decision}"><input type="hidden" name="token" value="(.+?)"', read.text
            )
            sent = http.post(url, data={"decision": decision, "token": found[1] if found else ""})
        return [read.status_code, sent.status_code]


@pytest.fixture(scope="module")
def site(gatehouse_stack: Stacks, chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("confirm")
    keys = folder / "jwks.json"
    (port,) = free_ports(1)

    def to_server(bootstrap: str) -> str:
        config = yaml.safe_load(bootstrap)
        (cluster,) = (found for found in config["static_resources"]["clusters"] if found["name"] == "mcp")
        endpoint = {"address": {"socket_address": {"address": LOOPBACK, "port_value": port}}}
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": endpoint}]}]
        return str(yaml.safe_dump(config, sort_keys=False))

    with Processes(folder) as processes, tempfile.TemporaryDirectory(prefix="pages-") as short:
        command = [sys.executable, "-m", "tests.envoy.stateful_server", "--port", str(port), "--name", "files"]
        processes.start("server", command, accepts(LOOPBACK, port))
        processes.wait_until_ready()
        where = f"unix:{short}/pages.sock"
        yield Site(stack_with_pages(gatehouse_stack, bundle(str(keys)), where, keys, to_server), chromium)


def text_of(result: types.CallToolResult) -> str:
    return " ".join(getattr(block, "text", "") for block in result.content)


def says(action: str, **content: Any) -> types.ElicitResult:
    return types.ElicitResult(action=action, content=content or None)  # type: ignore[arg-type]  # one of three texts


def reasons(site: Site, since: int, count: int) -> list[str]:
    """What the policies said of calls of the tool, in order, once so many were decided."""

    def look() -> list[str] | None:
        lines = [line for line in log_lines(site.running, since) if line.get("target") in ("delete_file", "pay")]
        found = [
            entry["reason"]
            for line in lines
            for entry in line["entries"]
            if entry["policy"].startswith("ask") and entry["stage"] == "request"
        ]
        return found if len(lines) >= count else None

    return wait_for(look, f"{count} decisions about the tool")


async def test_the_official_client_is_asked_and_its_yes_is_for_this_call_once(site: Site) -> None:
    asked: list[types.ElicitRequestParams] = []

    async def yes(params: types.ElicitRequestParams) -> types.ElicitResult:
        assert (await site.deleted()).count("/srv/modern") == len(asked), "nothing reaches the tool before"
        asked.append(params)
        return says("accept", confirmed=True)

    since = mark(site.running)
    async with site.client(MODERN, yes) as connection:
        for _ in range(2):
            result = await connection.call_tool("delete_file", {"path": "/srv/modern"})
            assert text_of(result) == "deleted /srv/modern"
    assert (await site.deleted()).count("/srv/modern") == 2
    assert len(asked) == 2, "each call is asked about"
    for said in ("delete_file", "files", '"ann"', '"assistant"', '"path": "/srv/modern"'):
        assert said in asked[0].message
    assert reasons(site, since, 4) == ["confirmation-required", "confirmed"] * 2


async def test_the_official_client_says_no_and_the_model_reads_it(site: Site) -> None:
    async def no(params: types.ElicitRequestParams) -> types.ElicitResult:
        return says("decline")

    async with site.client(MODERN, no) as connection:
        refused = await connection.call_tool("delete_file", {"path": "/srv/declined"})
        assert (refused.is_error, text_of(refused)) == (True, "the person who was asked said no to this call")
        again = await connection.call_tool("delete_file", {"path": "/srv/declined"})
        assert again.is_error
    assert "/srv/declined" not in await site.deleted()


async def test_on_2025_11_25_the_page_is_named_approved_and_the_call_passes_exactly_once(site: Site) -> None:
    async with site.client(LEGACY) as connection:
        with pytest.raises(MCPError) as needed:
            await connection.call_tool("delete_file", {"path": "/srv/legacy"})
        (elicitation,) = UrlElicitationRequiredError.from_error(needed.value.error).elicitations
        url, decide = elicitation.url, site.posts
        agents = await asyncio.to_thread(decide, url, "approve", site.token("ann", "assistant"))
        others = await asyncio.to_thread(decide, url, "approve", site.token("bob", "portal"))
        assert (agents, others) == ([404, 404], [404, 404])
        with pytest.raises(MCPError):
            await connection.call_tool("delete_file", {"path": "/srv/legacy"})
        assert "/srv/legacy" not in await site.deleted(), "nothing reached the tool before"
        assert await asyncio.to_thread(decide, url, "approve", site.token("ann", "portal")) == [200, 303]
        passed = await connection.call_tool("delete_file", {"path": "/srv/legacy"})
        assert text_of(passed) == "deleted /srv/legacy"
        with pytest.raises(MCPError) as anew:
            await connection.call_tool("delete_file", {"path": "/srv/legacy"})
        (other,) = UrlElicitationRequiredError.from_error(anew.value.error).elicitations
        assert other.url != url
    assert (await site.deleted()).count("/srv/legacy") == 1


async def test_a_client_that_can_ask_nobody_is_told_what_it_lacks_and_of_the_page(site: Site) -> None:
    async with site.client(MODERN) as connection:
        with pytest.raises(MCPError) as needed:
            await connection.call_tool("delete_file", {"path": "/srv/lacking"})
        error = needed.value.error
        assert (error.code, error.data["requiredCapabilities"]) == (-32021, {"elicitation": {"form": {}}})
        assert error.data["url"] in error.message
        await asyncio.to_thread(site.presses, error.data["url"], "Approve", site.token("ann", "portal"))
        assert text_of(await connection.call_tool("delete_file", {"path": "/srv/lacking"})) == "deleted /srv/lacking"


async def test_a_person_without_the_link_finds_in_a_browser_what_waits_for_them(site: Site) -> None:
    async def finds(page: Page) -> str:
        await page.goto(f"{site.running.stack.url}/gatehouse/ask/")
        assert await page.inner_text("h1") == "Calls that wait for you"
        await page.get_by_role("link", name="delete_file").first.click()
        shown = await page.inner_text("pre")
        await page.get_by_role("button", name="Approve").click()
        await page.get_by_role("heading", name="This call was decided").wait_for()
        return shown

    async with site.client(LEGACY) as connection:
        with pytest.raises(MCPError):
            await connection.call_tool("delete_file", {"path": "/srv/lost-link"})
        shown = await asyncio.to_thread(site.chromium.visit, finds, site.token("ann", "portal"))
        assert '"path": "/srv/lost-link"' in shown
        assert (
            text_of(await connection.call_tool("delete_file", {"path": "/srv/lost-link"})) == "deleted /srv/lost-link"
        )
    for headers in (site.token("ann", "assistant"), {}):
        answer = httpx2.get(f"{site.running.stack.url}/gatehouse/ask/", headers=headers, timeout=10.0, trust_env=False)
        assert answer.status_code == (404 if headers else 401)


async def test_the_token_that_a_person_calls_with_is_not_the_one_to_say_yes_with(site: Site) -> None:
    own = site.token("ann", "portal")
    async with site.client(LEGACY, headers=own) as connection:
        with pytest.raises(MCPError) as needed:
            await connection.call_tool("delete_file", {"path": "/srv/own"})
    (elicitation,) = UrlElicitationRequiredError.from_error(needed.value.error).elicitations
    assert await asyncio.to_thread(site.posts, elicitation.url, "approve", own) == [404, 404]


async def test_an_approver_says_yes_in_a_browser_while_the_official_client_waits(site: Site) -> None:
    seen: list[str] = []

    async def opens(params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestURLParams)
        bob = site.token("bob", "portal", ("sre",))
        seen.append(await asyncio.to_thread(site.presses, params.url, "Approve", bob))
        return says("accept")

    since = mark(site.running)
    async with site.client(MODERN, opens) as connection:
        result = await connection.call_tool("delete_file", {"path": "/prod/db"})
    assert text_of(result) == "deleted /prod/db"
    assert 'It was allowed by "bob", at ' in seen[0]
    assert '"path": "/prod/db"' in seen[0]
    visits = [line for line in log_lines(site.running, since) if line["event"] == "visit"]
    assert [(line["subject"], line["policy"], line["reason"]) for line in visits] == [
        ("bob", "ask-sre", ""),
        ("bob", "ask-sre", "confirmation-approved"),
        ("bob", "ask-sre", ""),
    ]


async def test_an_approver_says_no_and_why_in_a_browser_and_the_model_reads_it(site: Site) -> None:
    async def opens(params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestURLParams)
        bob = site.token("bob", "portal", ("sre",))
        await asyncio.to_thread(site.presses, params.url, "Deny", bob, "not before the backup")
        return says("accept")

    async with site.client(MODERN, opens) as connection:
        result = await connection.call_tool("delete_file", {"path": "/prod/no"})
    told = "this call was refused by a person who was asked: not before the backup"
    assert (result.is_error, text_of(result)) == (True, told)
    assert "/prod/no" not in await site.deleted()


@pytest.mark.parametrize("wire", [MODERN])
async def test_a_server_that_asks_its_own_question_after_the_yes_is_answered(site: Site, wire: str) -> None:
    questions: list[str] = []

    async def yes(params: types.ElicitRequestParams) -> types.ElicitResult:
        questions.append(params.message)
        return says("accept", confirmed=True) if "Allow the tool" in params.message else says("accept", approved=True)

    async with site.client(wire, yes) as connection:
        assert text_of(await connection.call_tool("pay", {"amount": 5})) == "paid 5"
    assert [question.partition(" ")[0] for question in questions] == ["Allow", "pay"]


async def test_what_hides_in_an_argument_is_seen_in_a_browser_and_runs_nowhere(site: Site) -> None:
    path = "/srv/\u202egpj.exe\u200b<script>document.title='owned'</script>"
    async with site.client(LEGACY) as connection:
        with pytest.raises(MCPError) as needed:
            await connection.call_tool("delete_file", {"path": path})
    (elicitation,) = UrlElicitationRequiredError.from_error(needed.value.error).elicitations

    async def looks(page: Page) -> tuple[str, str, int]:
        await page.goto(elicitation.url)
        return await page.title(), await page.inner_text("pre"), await page.locator("main script").count()

    title, shown, scripts = await asyncio.to_thread(site.chromium.visit, looks, site.token("ann", "portal"))
    assert (title, scripts) == ("Allow this call?", 0)
    assert "\u27e8U+202E RIGHT-TO-LEFT OVERRIDE\u27e9gpj.exe\u27e8U+200B ZERO WIDTH SPACE\u27e9<script>" in shown

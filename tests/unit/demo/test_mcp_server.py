"""The demo's MCP server, asked by the official client on both wires."""

from __future__ import annotations

from typing import Literal

import pytest
from mcp import Client

from ext_proc.demo.mcp_server import server

Mode = Literal["auto", "legacy"]
BOTH: list[Mode] = ["auto", "legacy"]


@pytest.mark.parametrize("mode", BOTH)
async def test_it_lists_its_tools_and_says_which_destroy(mode: Mode) -> None:
    async with Client(server, mode=mode) as client:
        tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
    documents = {"docs.read", "docs.report", "docs.statistics", "docs.echo", "docs.order"}
    assert set(tools) == {"search", "delete_file", "export_salaries", *documents}
    assert [name for name, hints in tools.items() if hints is not None and hints.destructive_hint] == ["delete_file"]


@pytest.mark.parametrize("mode", BOTH)
async def test_it_tells_its_progress(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ext_proc.demo.mcp_server._STEP_SECONDS", 0)
    steps: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total))

    async with Client(server, mode=mode) as client:
        await client.call_tool("docs.report", {}, progress_callback=note)
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("mode", BOTH)
async def test_it_answers_with_text_structure_and_errors(mode: Mode) -> None:
    async with Client(server, mode=mode) as client:
        found = await client.call_tool("search", {"query": "queue"})
        counted = await client.call_tool("docs.statistics")
        echo = await client.call_tool("docs.echo", {"text": "Grüße 🌍"})
        missing = await client.call_tool("docs.read", {"name": "secrets"})
    assert found.structured_content == {"result": "runbook"}
    assert counted.structured_content == {"documents": 3, "words": 35, "longest": "runbook"}
    assert echo.structured_content == {"result": "Grüße 🌍"}
    assert missing.is_error
    assert "there is no document 'secrets'" in str(missing.content)

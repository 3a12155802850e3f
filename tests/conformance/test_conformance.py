"""The official MCP suite finds the same through Envoy and Gatehouse as it finds at the server itself.

Rules:
- What is compared is every check and its words, not only the score.
- The rules in the path enforce and deny by default, and a test shows that the suite would notice them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client
from pydantic import BaseModel

from ext_proc.demo.stack import Stack
from tests.conformance.bundles import OFFERED_TOOLS, bundle, guarded
from tests.conformance.conftest import gateway
from tests.conformance.suite import Findings, run_suite
from tests.conformance.tools import HIDDEN

REVISIONS = ("2025-11-25", "2026-07-28")
ROUNDS = 4
# Tools of npm's server that answer alike each time, and with what they are called.
EVERYTHING_CALLS: dict[str, dict[str, Any]] = {
    "echo": {"message": "äöü \u2028 same text"},
    "get-sum": {"a": 2, "b": 3.5},
    "get-tiny-image": {},
    "get-structured-content": {"location": "Chicago"},
    "get-annotated-message": {"messageType": "error", "includeImage": True},
    "get-resource-links": {"count": 3},
    "trigger-long-running-operation": {"duration": 0.2, "steps": 4},
}

Direct = dict[tuple[str, str], Findings]


def requirements(url: str, revision: str, output: Path) -> Findings:
    return run_suite(url, output, ["--requirements", revision])


@pytest.fixture(scope="module")
def direct(servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Direct:
    """What was found at each server itself, by server and revision."""
    output = tmp_path_factory.mktemp("direct")
    return {
        (server, revision): steady(f"http://{address}/mcp", revision, output / f"{server}-{revision}")
        for server, address in servers.items()
        for revision in REVISIONS
    }


def steady(url: str, revision: str, output: Path) -> Findings:
    """What is found twice running: some checks of the suite wait for a fixed time, and a busy machine fails them."""
    before = requirements(url, revision, output / "0")
    for turn in range(1, ROUNDS):
        found = requirements(url, revision, output / str(turn))
        if found.checks == before.checks:
            return found
        before = found
    raise AssertionError(f"no two rounds of {ROUNDS} at the server itself found the same")


def nothing_was_refused(stack: Stack) -> None:
    """Every exchange in Envoy's access log was Gatehouse's too, and none ended with its refusal."""
    lines = stack.access_log()
    assert lines
    assert all(line["trail"] for line in lines)
    assert not [line for line in lines if line["outcome"] == "refused"]


def test_our_server_offers_all_that_both_revisions_require(direct: Direct) -> None:
    assert direct["ours", "2025-11-25"].conforms
    assert direct["ours", "2025-11-25"].score == (84, 0)
    assert direct["ours", "2026-07-28"].conforms
    # All that fails belongs to the tasks extension, which is not scored and which the SDK does not have.
    failed = {check.scenario for check in direct["ours", "2026-07-28"].checks if check.status == "FAILURE"}
    assert all(scenario.startswith("tasks-") for scenario in failed)


def same_as_direct(stack: Stack, server: str, direct: Direct, output: Path) -> None:
    for revision in REVISIONS:
        found = requirements(stack.mcp_url, revision, output / revision)
        for turn in range(1, ROUNDS):  # a busy machine fails checks that wait for a fixed time; see `steady`
            if found.checks == direct[server, revision].checks:
                break
            found = requirements(stack.mcp_url, revision, output / f"{revision}-{turn}")
        assert found.checks == direct[server, revision].checks
        assert found.conforms == direct[server, revision].conforms
    nothing_was_refused(stack)


def test_every_check_ends_as_it_does_without_a_gateway(before_ours: Stack, direct: Direct, tmp_path: Path) -> None:
    same_as_direct(before_ours, "ours", direct, tmp_path)


def test_so_does_every_check_of_another_server(before_everything: Stack, direct: Direct, tmp_path: Path) -> None:
    same_as_direct(before_everything, "everything", direct, tmp_path)


def test_no_check_fails_for_all_the_policies_for_mcp(servers: dict[str, str], direct: Direct, tmp_path: Path) -> None:
    # What a policy refuses it refuses in its own words, which is why words are not compared here.
    with gateway(guarded(str(tmp_path / "state.db")), servers["ours"], tmp_path) as stack:
        for revision in REVISIONS:
            for turn in range(ROUNDS):  # a busy machine fails checks that wait for a fixed time; see `steady`
                found = requirements(stack.mcp_url, revision, tmp_path / f"{revision}-{turn}")
                worse = failures(found) - failures(direct["ours", revision])
                if not worse:
                    break
            assert not worse
            assert found.conforms == direct["ours", revision].conforms
        refused = Counter(line["details"] for line in stack.access_log() if line["outcome"] == "refused")
    # The suite asks on purpose for what never was handed out, and with headers that the body contradicts.
    assert set(refused) == {
        "gatehouse_header-mismatch",
        "gatehouse_header-missing",
        "gatehouse_session-unknown",
        "gatehouse_state-unknown",
        "gatehouse_task-unknown",
    }


def failures(found: Findings) -> Counter[tuple[str, str]]:
    """The checks that failed, by scenario and id."""
    return Counter((check.scenario, check.id) for check in found.checks if check.status == "FAILURE")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_list_of_tools_was_filtered_all_the_while(
    before_ours: Stack, servers: dict[str, str], mode: Literal["legacy", "auto"]
) -> None:
    async with Client(f"http://{servers['ours']}/mcp", mode=mode) as client:
        offered = {tool.name: tool for tool in (await client.list_tools()).tools}
    async with Client(before_ours.mcp_url, mode=mode) as client:
        shown = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert HIDDEN in offered
    assert shown == {name: tool for name, tool in offered.items() if name != HIDDEN}


async def test_the_official_client_gets_the_same_from_another_server(
    before_everything: Stack, servers: dict[str, str]
) -> None:
    assert await everything_said(before_everything.mcp_url) == await everything_said(
        f"http://{servers['everything']}/mcp"
    )
    nothing_was_refused(before_everything)


def test_the_suite_notices_a_call_that_the_rules_do_not_allow(servers: dict[str, str], tmp_path: Path) -> None:
    allowed = [name for name in OFFERED_TOOLS if name != "test_simple_text"]
    with gateway(bundle("Reads", allowed), servers["ours"], tmp_path) as stack:
        for scenario, expected in (("tools-call-simple-text", "FAILURE"), ("tools-call-image", "SUCCESS")):
            found = run_suite(stack.mcp_url, tmp_path / scenario, ["--scenario", scenario])
            assert [check.status for check in found.checks if check.id == scenario] == [expected]


async def everything_said(url: str) -> list[Any]:
    """What npm's server answers to a client that asks for everything it can."""
    said: list[BaseModel] = []
    steps: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total))

    async with Client(url, mode="legacy") as client:
        for name, arguments in EVERYTHING_CALLS.items():
            said.append(await client.call_tool(name, arguments, progress_callback=on_progress))
        resources = await client.list_resources()
        said += [resources, await client.list_resource_templates(), await client.list_prompts()]
        said += [await client.read_resource(resource.uri) for resource in resources.resources]
        said.append(await client.get_prompt("simple-prompt"))
        said.append(await client.get_prompt("args-prompt", {"city": "Rome"}))
    return [*[one.model_dump(mode="json") for one in said], steps]

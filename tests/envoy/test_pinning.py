"""A rug pull through real Envoys, and the commands that look at it: two Gatehouses that share a store see one thing.

Rules:
- The official client asks on both wires; `gatehouse tools` is a process of its own, as an operator runs it.
- The server behind says something else of its tool whenever a test says so (changing_server.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy.harness import Running
from tests.envoy.hosts import IDENTITY, InTurn, client, hosts, said
from tests.redis_server import redis_server

STORES: dict[str, dict[str, Any]] = {
    "one file": {"hosts": "one", "embedded": {"path": "pins.db", "timeout": "8s"}},
    "one Redis": {"redis": {"url": "where", "timeout": "1s", "connect_timeout": "1s"}},
}


def bundle(store: str) -> dict[str, Any]:
    return {
        "apiVersion": "gatehouse/v1",
        "kind": "Bundle",
        "metadata": {"name": "pinning"},
        "limits": {"decision": "9s"},
        "secrets": {"where": {"file": "url"}},
        "store": STORES[store],
        "identity": [IDENTITY],
        "routes": [
            {"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "server": "reports", "policies": ["pins"]}
        ],
        "policies": [{"name": "pins", "type": "tool-pinning", "timeout": "8s"}],
    }


@dataclass(frozen=True, slots=True)
class Place:
    """Two Gatehouses in front of one server.

    Attributes:
        file: where the server's version stands.
    """

    one: Running
    other: Running
    folder: Path
    file: Path

    def tools(self, *arguments: str, code: int = 0, answer: str = "") -> str:
        """Runs `gatehouse tools`: what it printed."""
        command, *rest = arguments
        line = [sys.executable, "-m", "ext_proc.cli", "tools", command, "--bundle", str(self.folder / "bundle.yaml")]
        done = subprocess.run([*line, *rest], input=answer, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert all(character.isprintable() or character == "\n" for character in done.stdout)
        return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module", params=STORES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pinning")
    file = folder / "version"
    file.write_text("1")
    (port,) = free_ports(1)
    with ExitStack() as running, Processes(tmp_path_factory.mktemp("server")) as processes:
        command = [sys.executable, "-m", "tests.envoy.changing_server", "--port", str(port)]
        processes.start("server", [*command, "--version-file", str(file)], accepts(LOOPBACK, port))
        processes.wait_until_ready()
        redis = running.enter_context(redis_server()) if request.param == "one Redis" else None
        (folder / "url").write_text("redis://nobody.example" if redis is None else f"unix://{redis.socket}")
        one, other = running.enter_context(hosts(folder, bundle(request.param), f"{LOOPBACK}:{port}"))
        yield Place(one, other, folder, file)


async def shown(connection: Client) -> set[str]:
    return {tool.name for tool in (await connection.list_tools(cache_mode="bypass")).tools}


async def reason(connection: Client) -> str:
    """Why a call of the report's reader is denied; "" where it is not."""
    try:
        await connection.call_tool("read_report", {"path": "a"})
    except MCPError as denied:
        return str(denied.error.data["reason"])
    return ""


async def told(running: Running, wire: str) -> str | None:
    """The instructions that a new client gets; "auto" asks for them on 2026-07-28, where nobody has to."""
    async with client(InTurn([running]), wire, "ann") as connection:
        return connection.instructions


async def test_a_rug_pull_is_hidden_and_uncallable_everywhere_until_somebody_approves_what_they_saw(
    place: Place,
) -> None:
    both = {"read_report", "about_reports"}
    async with (
        client(InTurn([place.one]), "legacy", "ann") as ann,
        client(InTurn([place.other]), "2026-07-28", "bob") as bob,
    ):
        for connection in (ann, bob):
            assert await shown(connection) == both
            assert await said(connection, "read_report", path="a") == (False, "read_report 1")
        assert await told(place.one, "auto") == ann.instructions == "Read reports as in version 1."

        place.file.write_text("2")
        assert await shown(ann) == {"about_reports"}
        assert await reason(ann) == "tool-quarantined"
        assert await said(ann, "about_reports") == (False, "about_reports 2")
        assert await shown(bob) == {"about_reports"}
        assert await reason(bob) == "tool-quarantined"

        difference = place.tools("diff", "reports", "read_report")
        assert "why: changed, hidden-characters" in difference
        assert '-  "description": "Reads a report.",' in difference
        assert '+  "description": "Reads a report.⟨U+200B ZERO WIDTH SPACE⟩⟨TAGS "send"⟩\\n' in difference
        assert '+    This is version 2.",' in difference
        (digest,) = (line.split()[1].rstrip(",") for line in difference.splitlines() if line.startswith("+++"))
        approved = place.tools("approve", "reports", "read_report", "--digest", digest[:20], "--by", "carol")
        assert approved == f"approved reports read_report {digest}\n"
        rows = json.loads(place.tools("list", "--format", "json"))
        (row,) = (row for row in rows if row["tool"] == "read_report")
        assert (row["state"], row["approved"][-1]["by"]) == ("pinned", "carol")

        for connection in (ann, bob):
            assert await shown(connection) == both
            assert await said(connection, "read_report", path="a") == (False, "read_report 2")

    for running, wire in ((place.one, "legacy"), (place.other, "auto")):
        assert await told(running, wire) is None
    asked = place.tools("approve", "reports", "(instructions)", answer="y\n")
    assert '+"Read reports as in version 2."' in asked
    for running, wire in ((place.one, "auto"), (place.other, "legacy")):
        assert await told(running, wire) == "Read reports as in version 2."

    # What is forgotten is trusted as at first, on both hosts, and only with its first listing.
    place.file.write_text("1")
    assert place.tools("forget", "reports", "--yes") == "forgot reports\n"
    assert place.tools("list") == "no server has listed tools yet\n"
    async with client(InTurn([place.other]), "2026-07-28", "bob") as bob:
        assert await reason(bob) == "tool-unpinned"
        assert await shown(bob) == both
        assert await said(bob, "read_report", path="a") == (False, "read_report 1")
        place.file.write_text("3")
        assert await shown(bob) == {"about_reports"}
        assert await reason(bob) == "tool-quarantined"

"""The process under real traffic: a new bundle while streams run, the drain, the health that Envoy sees.

Rules:
- A test that ends Gatehouse has a stack of its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ext_proc.server.health import HEALTH_SERVICE
from ext_proc.wire.service import SERVICE
from tests.envoy.exchanges import HEADERS, LIST, answer_to, asked, call, event, in_event, posted, step_by_step
from tests.envoy.harness import Running, Stacks, gatehouse_parts, wait_for, with_gatehouse_parts
from tests.envoy.observed import (
    bundle_file,
    decisions,
    envoy_stat,
    logged,
    mark,
    metric,
    nothing_left,
    signal_gatehouse,
)
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: process, revision: "REVISION"}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [access]}
policies:
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: ["search"], allow: SEARCH}
        - {tools: ["fetch"], allow: FETCH}
        - {methods: ["tools/list"], allow: true}
"""
FIRST = BUNDLE.replace("REVISION", "1").replace("SEARCH", "true").replace("FETCH", "false")
SECOND = BUNDLE.replace("REVISION", "2").replace("SEARCH", "false").replace("FETCH", "true")


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    """A stack with the first bundle in force, whatever a test before this one put in its place."""
    stack = gatehouse_stack(FIRST)
    reload(stack, FIRST)
    return stack


def reload(running: Running, text: str) -> dict[str, Any]:
    """Puts another bundle in force; gives the line that says so."""
    return reload_with(running, lambda path: path.write_text(text, encoding="utf-8"), "bundle reloaded")


def reload_with(running: Running, change: Callable[[Path], object], event: str) -> dict[str, Any]:
    """Changes the bundle's file and asks for a reload; gives the line with what came of it."""
    since = mark(running)
    change(bundle_file(running))
    signal_gatehouse(running, signal.SIGHUP)
    return logged(running, event, since)


def is_allowed(running: Running, tool: str) -> bool:
    """Whether a call of `tool` reaches the upstream."""
    running.upstream.answer_with(json_body(answer_to(call(tool))))
    answer = posted(running, call(tool)).json()
    assert ("error" in answer) is (running.upstream.requests == [])
    return "result" in answer


def test_a_new_bundle_is_in_force_for_new_exchanges(running: Running) -> None:
    assert (is_allowed(running, "search"), is_allowed(running, "fetch")) == (True, False)
    line = reload(running, SECOND)
    assert (line["revision"], line["previous_revision"]) == ("2", "1")
    assert (is_allowed(running, "search"), is_allowed(running, "fetch")) == (False, True)
    assert metric(running, "gatehouse_bundle_info", revision="2") == 1
    assert metric(running, "gatehouse_bundle_info", revision="1") == 0


def test_a_running_stream_ends_under_the_bundle_it_began_with(running: Running) -> None:
    script, gates = step_by_step([b": beat\n\n", event(answer_to(LIST, "search", "fetch"))])
    running.upstream.answer_with(script, gates)
    since = mark(running)
    with asked(running, LIST) as response:
        running.upstream.open(gates[0])
        arriving = response.iter_raw()
        assert next(arriving) == b": beat\n\n"
        reload(running, SECOND)
        running.upstream.open(gates[1])
        (shown,) = in_event(b"".join(arriving))["result"]["tools"]
        assert shown["name"] == "search"
    (decision,) = decisions(running, since)
    assert (decision["revision"], decision["outcome"]) == ("1", "ok")
    running.upstream.answer_with(json_body(answer_to(LIST, "search", "fetch")))
    (shown,) = posted(running, LIST).json()["result"]["tools"]
    assert shown["name"] == "fetch"


async def test_every_exchange_is_decided_by_one_bundle_whole(running: Running) -> None:
    running.upstream.answer_with(json_body(answer_to(call())))
    since = mark(running)
    enough = asyncio.Event()
    answered = 0

    async def ask_on(client: httpx.AsyncClient, tool: str) -> None:
        nonlocal answered
        while not enough.is_set():
            assert (await client.post(running.stack.mcp_url, json=call(tool), headers=HEADERS)).status_code == 200
            answered += 1

    def reload_amid_traffic(text: str) -> None:
        before = answered
        wait_for(lambda: answered >= before + 20 or None, "answers under the bundle in force")
        reload(running, text)

    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
        for tool in ("search", "fetch") * 3:
            group.create_task(ask_on(client, tool))
        for text in (SECOND, FIRST, SECOND):
            await asyncio.to_thread(reload_amid_traffic, text)
        enough.set()
    found = [
        (decision["revision"], decision["target"], decision["outcome"])
        for decision in decisions(running, since, answered)
    ]
    assert set(found) == {
        ("1", "search", "ok"),
        ("1", "fetch", "refused"),
        ("2", "search", "refused"),
        ("2", "fetch", "ok"),
    }


def remove(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda path: path.write_text("", encoding="utf-8"), ["expected"], id="empty"),
        pytest.param(
            lambda path: path.write_text("kind: Nonsense\nroutes: 1\n", encoding="utf-8"),
            ["apiVersion", "kind", "metadata", "routes"],
            id="bad",
        ),
        pytest.param(lambda path: path.write_text("routes: [", encoding="utf-8"), ["YAML"], id="broken"),
        pytest.param(lambda path: path.write_bytes(b"\xff\xfe\x00"), ["UTF-8"], id="no text"),
        pytest.param(remove, ["cannot read", "No such file"], id="missing"),
        pytest.param(become_a_folder, ["a regular file"], id="unreadable"),
    ],
)
def test_a_bundle_that_cannot_be_used_never_takes_a_good_ones_place(
    running: Running, change: Callable[[Path], object], said: list[str]
) -> None:
    failed = metric(running, "gatehouse_bundle_reloads_total", result="failed")
    file = bundle_file(running)
    try:
        line = reload_with(running, change, "bundle not reloaded; the one in force stays")
        assert line["revision"] == "1"
        problems = "\n".join(line["problems"])
        assert [word for word in said if word not in problems] == []
        assert metric(running, "gatehouse_bundle_reloads_total", result="failed") == failed + 1
        assert metric(running, "gatehouse_bundle_info", revision="1") == 1
        assert (is_allowed(running, "search"), is_allowed(running, "fetch")) == (True, False)
    finally:
        if file.is_dir():
            file.rmdir()


@pytest.mark.parametrize("listen", ["unix", "tcp"])
def test_a_drain_lets_a_running_stream_end_and_takes_no_new_exchange(
    gatehouse_stack: Stacks, listen: Literal["unix", "tcp"]
) -> None:
    running = gatehouse_stack(FIRST, listen=listen, serve_arguments=["--drain-seconds", "8"], fresh=True)
    parts = [b": beat\n\n", event(answer_to(LIST, "search"))]
    script, gates = step_by_step(parts)
    running.upstream.answer_with(script, gates)
    process = running.stack.processes["gatehouse"].process
    address = logged(running, "serving")["listen"]
    with grpc.insecure_channel(address) as channel, asked(running, LIST) as response:
        watching = watch(channel)
        assert next(watching).status == HealthCheckResponse.SERVING
        running.upstream.open(gates[0])
        arriving = response.iter_raw()
        assert next(arriving) == parts[0]
        signal_gatehouse(running, signal.SIGTERM)
        assert logged(running, "draining")["active"] == 1
        assert next(watching).status == HealthCheckResponse.NOT_SERVING
        assert httpx.get(f"{running.stack.admin_url}/readyz").status_code == 503
        assert list(watching) == []  # from here on no new exchange is taken
        assert posted(running, call()).status_code >= 500
        assert len(running.upstream.requests) == 1
        running.upstream.open(gates[1])
        assert b"".join(arriving) == parts[1]
    assert process.wait(timeout=10) == 0
    assert logged(running, "drained")["finished"] is True
    (decision,) = decisions(running, 0)
    assert (decision["outcome"], decision["cause"]) == ("ok", "complete")


def watch(channel: grpc.Channel) -> Any:
    """Gatehouse's health as it changes."""
    method = channel.unary_stream(
        f"/{HEALTH_SERVICE}/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=SERVICE), timeout=10)


def with_health_checks(bootstrap: str) -> str:
    """Envoy asks Gatehouse for its health every 50 ms."""
    http_filter, cluster = gatehouse_parts(bootstrap)
    check = {
        "timeout": "1s",
        "interval": "0.05s",
        "no_traffic_interval": "0.05s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": SERVICE},
    }
    return with_gatehouse_parts(bootstrap, http_filter, {**cluster, "health_checks": [check]})


def test_envoys_own_health_check_sees_that_gatehouse_serves_and_that_it_leaves(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(
        FIRST, edit_bootstrap=with_health_checks, serve_arguments=["--drain-seconds", "8"], fresh=True
    )
    wait_for(lambda: envoy_stat(running, "cluster.gatehouse.health_check.success") or None, "a check that succeeds")
    assert envoy_stat(running, "cluster.gatehouse.membership_healthy") == 1
    assert is_allowed(running, "search")
    nothing_left(running)
    signal_gatehouse(running, signal.SIGTERM)
    wait_for(lambda: envoy_stat(running, "cluster.gatehouse.membership_healthy") == 0 or None, "unhealthy in Envoy")
    process = running.stack.processes["gatehouse"].process
    assert process.poll() is None  # Envoy knew before it was gone
    assert process.wait(timeout=10) == 0

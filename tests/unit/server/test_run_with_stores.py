"""Processes whose policies keep state: what they share, what survives, and what happens where the store fails."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ext_proc.wire.pb.external_processor_pb2 import HttpBody, ProcessingRequest, ProcessingResponse
from ext_proc.wire.service import PROCESS
from tests.redis_server import RedisServer, redis_server
from tests.unit.server.fakes import post_message
from tests.unit.server.test_http import status
from tests.unit.server.test_run import START, Running, refused, running

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: tested, revision: "REVISION"}
limits: {decision: 5s}
secrets: {where: {file: url}}
store: STORE
routes:
  - {name: tools, match: {path: /mcp}, protocol: mcp, policies: [calls]}
policies:
  - {name: calls, type: "tests.unit.bundle.plugins:CallLimit", mode: MODE, timeout: 5s, parameters: {limit: 2}}
"""
FILE = "{hosts: one, embedded: {path: NAME, timeout: 500ms}}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle.yaml"


def write(bundle: Path, store: str, revision: str = "1", mode: str = "enforce", url: str = "redis://h") -> None:
    (bundle.parent / "url").write_text(url)
    bundle.write_text(BUNDLE.replace("STORE", store).replace("REVISION", revision).replace("MODE", mode))


def in_file(name: str = "state.db") -> str:
    return FILE.replace("NAME", name)


async def call(process: Running, tool: str) -> str:
    """Calls a tool: "" where it may go on, else the reason of the denial."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).encode()
    channel: Any
    async with asyncio.timeout(START), grpc.aio.insecure_channel(process.listen) as channel:
        rpc = channel.stream_stream(PROCESS)()
        await rpc.write(post_message("/mcp", len(body)))
        await rpc.read()
        await rpc.write(ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)).SerializeToString())
        answer = ProcessingResponse.FromString(await rpc.read())
        await rpc.done_writing()
        await rpc.code()
    found = re.search(rb'"reason":\s*"([a-z-]+)"', answer.immediate_response.body)
    return found[1].decode() if found else ""


async def reload(process: Running) -> str:
    """Reloads the bundle; the revision that is in force then."""
    process.signalled(signal.SIGHUP)
    return str((await process.logged("bundle reloaded"))["revision"])


async def test_processes_of_a_host_count_together(bundle: Path) -> None:
    write(bundle, in_file())
    async with running(bundle) as one, running(bundle) as other:
        assert [await call(one, "search"), await call(other, "search")] == ["", ""]
        assert [await call(one, "search"), await call(other, "search")] == ["called-too-often"] * 2
        assert await call(one, "read") == ""


async def test_what_was_kept_survives_a_restart_and_a_new_bundle(bundle: Path) -> None:
    write(bundle, in_file())
    async with running(bundle) as process:
        assert await call(process, "search") == ""
    async with running(bundle) as process:
        write(bundle, in_file(), revision="2")
        assert await reload(process) == "2"
        assert await call(process, "search") == ""
        assert await call(process, "search") == "called-too-often"
        write(bundle, in_file("other.db"), revision="3")
        assert await reload(process) == "3"
        assert await call(process, "search") == ""


async def test_without_a_policy_that_keeps_state_no_file_is_made(bundle: Path) -> None:
    write(bundle, in_file(), mode="off")
    async with running(bundle) as process:
        await call(process, "search")
        assert b"gatehouse_store" not in re.sub(rb"#.*", b"", await process.asked("/metrics"))
    assert sorted(file.name for file in bundle.parent.iterdir()) == ["bundle.yaml", "url"]


async def test_a_store_that_cannot_be_opened_ends_the_start_with_a_sentence(bundle: Path) -> None:
    write(bundle, in_file("url"))
    *_, said = (await refused(bundle)).splitlines()
    assert said == f"cannot use {bundle.parent}/url as a store: file is not a database"


async def test_a_store_that_cannot_be_opened_keeps_the_bundle_out(bundle: Path) -> None:
    write(bundle, in_file())
    async with running(bundle) as process:
        assert await call(process, "search") == ""
        write(bundle, in_file("url/state.db"), revision="2")
        process.signalled(signal.SIGHUP)
        facts = await process.logged("bundle not reloaded; the one in force stays")
        assert facts["problems"] == [
            f"cannot use {bundle.parent}/url/state.db as a store: {bundle.parent}/url is no folder"
        ]
        assert await call(process, "search") == ""
        assert await call(process, "search") == "called-too-often"


@pytest.fixture
def redis(bundle: Path) -> Any:
    with redis_server() as server:
        yield server


def in_redis(server: RedisServer, bundle: Path, **changes: str) -> None:
    write(
        bundle,
        "{redis: {url: where, timeout: 500ms, connect_timeout: 500ms, failures: 1000}}",
        url=f"unix://{server.socket}",
        **changes,
    )


async def test_processes_that_share_a_redis_count_together(bundle: Path, redis: RedisServer) -> None:
    in_redis(redis, bundle)
    async with running(bundle) as one, running(bundle) as other:
        assert [await call(one, "search"), await call(other, "search")] == ["", ""]
        assert [await call(one, "search"), await call(other, "search")] == ["called-too-often"] * 2
    assert all(key.startswith(b"gatehouse:tested:{") for key in redis.ask("KEYS", "*"))


async def test_a_redis_that_is_gone_denies_and_the_process_stays_ready(bundle: Path, redis: RedisServer) -> None:
    in_redis(redis, bundle)
    redis.end()
    async with running(bundle) as process:
        assert status(await process.asked("/readyz")) == 200
        assert await call(process, "search") == "policy-failed"
        metrics = await process.asked("/metrics")
        assert b'gatehouse_store_up{region="",store="redis"} 0.0' in metrics
        assert (
            b'gatehouse_store_operations_total{operation="count",region="",result="failed",store="redis"} ' in metrics
        )
        redis.start()
        assert await call(process, "search") == ""
        assert b'gatehouse_store_up{region="",store="redis"} 1.0' in await process.asked("/metrics")
        assert (await process.logged("the store works again"))["store"] == "redis"
        redis.end()
        write(bundle, "{redis: {url: where, prefix: new}}", revision="2", url=f"unix://{redis.socket}")
        process.signalled(signal.SIGHUP)
        facts = await process.logged("bundle not reloaded; the one in force stays")
        assert facts["problems"] == ["cannot use Redis as a store: it cannot be reached"]


async def test_a_redis_that_refuses_us_ends_the_start_with_a_sentence(bundle: Path, redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "requirepass", "hunter2")
    write(bundle, "{redis: {url: where}}", url=f"unix://:hunter2-wrong@{redis.socket}")
    *_, said = (await refused(bundle)).splitlines()
    assert said == "cannot use Redis as a store: it refuses our credentials, or what they may do"
